"""A checker for attention that follows its arrays: it watches what goes over the bus."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import array_api_compat.numpy
import numpy as np

from companion.arrays import array_namespace, to_numpy
from companion.attention import scaled_dot_product_attention
from companion.exercises.feedback import (
    Feedback,
    agrees,
    ended,
    floats,
    function,
    is_array,
    reads_attempts,
    result,
    say,
)
from companion.exercises.masks.mistakes import FIRST, SECOND, Sizes, mistakes
from companion.exercises.mistakes import check_named, check_nearly

__all__ = ["check_attention_anywhere"]

Draw = tuple[list[np.ndarray], Sizes]  # query, key and value, and how large they are
WIDTH = 11  # of an x that nobody has, so that no width is taken for its
DRAWS = [
    Sizes((), 5, WIDTH, FIRST, 4),
    Sizes((), 4, WIDTH, SECOND, 2),
    Sizes((), 1, WIDTH, 4, 2),
    Sizes((2,), 5, WIDTH, 7, 3),
]
# What takes an array, or a number of it, to the host.
FETCHES = ("__array__", "__buffer__", "__dlpack__", "to_device")
ASKS = ("__bool__", "__complex__", "__float__", "__index__", "__int__")


def check_attention_anywhere(attempt: Any) -> None:
    """Check a causal attention (query, key, value) → output, on any device and in any dtype."""
    say(_attention_anywhere, attempt)


def _attention_anywhere(attempt: Any) -> str:
    attend = function(attempt, "write causal_attention(query, key, value)")
    praise = "Right: it follows its arrays, in library, device and dtype."
    for dtype in ("float64", "float32"):
        _check_home(attend, "NumPy", array_api_compat.numpy, dtype)
    try:
        import array_api_strict
    except ImportError:  # the strict library is an extra
        return f"{praise} (array-api-strict is not installed, so no second device was tried.)"
    device = array_api_strict.Device("device1")
    crossed: set[str] = set()

    def watched(*given: Any) -> Any:
        with _border(type(given[0]), crossed):
            return attend(*given)

    _check_home(watched, "the second device", array_api_strict, "float32", device)
    if crossed & {*FETCHES}:
        raise Feedback(
            "The numbers are right, but at every call your function fetches an array to the host, "
            "and the device waits: compute where the arrays are."
        )
    if crossed:
        raise Feedback(
            "The numbers are right, but your function asks for the value of a number on the "
            "device (float, int, bool or if): the host waits there at every call."
        )
    return praise


@contextlib.contextmanager
def _border(kind: Any, crossed: set[str]) -> Iterator[None]:
    """Note which ways to the host are taken meanwhile with arrays of this class."""
    ways = {name: getattr(kind, name) for name in (*FETCHES, *ASKS)}

    def watched(name: str) -> Callable[..., Any]:
        def cross(array: Any, *arguments: Any, **options: Any) -> Any:
            crossed.add(name)
            return ways[name](array, *arguments, **options)

        return cross

    for name in ways:
        setattr(kind, name, watched(name))
    try:
        yield
    finally:
        for name, way in ways.items():
            setattr(kind, name, way)


def _check_home(
    attend: Callable[..., Any], name: str, xp: Any, dtype: str, device: Any = None
) -> None:
    rng = np.random.default_rng(11)
    draws = [(_drawn(rng, sizes, dtype), sizes) for sizes in DRAWS]

    def run(draw: Draw) -> np.ndarray:
        return floats(result(attend, *(xp.asarray(part, device=device) for part in draw[0])))

    for draw in draws:
        given = [xp.asarray(part, device=device) for part in draw[0]]
        case = f" on {name} for queries of shape {draw[0][0].shape}"
        try:
            got = result(attend, *given, case=case)
        except Feedback as trouble:
            raise Feedback(_why_it_stops(str(trouble), device)) from None
        _check_kind(got, given[0], name, dtype)
        if not _is_right(got, draw, case):
            check_named(draw, [other for other in draws if not other[1].batch], run, _mistakes)
            asked = "is it the softmax of q·k / √d_k over the past and oneself?"
            raise Feedback(f"Not yet{case}: {asked}")


def _drawn(rng: np.random.Generator, sizes: Sizes, dtype: str) -> list[np.ndarray]:
    shapes = [(*sizes.batch, sizes.n, width) for width in (sizes.d_k, sizes.d_k, sizes.d_v)]
    return [(0.3 + rng.standard_normal(shape)).astype(dtype) for shape in shapes]


def _mistakes(draw: Draw) -> Iterator[tuple[str, np.ndarray]]:
    query, key, value = (part.astype(np.float64) for part in draw[0])
    yield from mistakes(query, key, value, draw[1])


def _why_it_stops(said: str, device: Any) -> str:
    """Add to an error on the second device what it says of the reader's function."""
    if device is None:
        return said
    if "convert array" in said or "numpy." in said:
        said = f"{ended(said)} An array meets NumPy there: does every name that you call follow it?"
    elif "same device" in said or "different devices" in said:
        said = f"{ended(said)} What you make yourself is on the default device: say which."
    elif "has no attribute" in said:
        said = f"{ended(said)} The standard knows functions of arrays, and few methods."
    return said


@reads_attempts
def _check_kind(got: Any, given: Any, name: str, dtype: str) -> None:
    """Say where the output is not of its inputs' library, device or dtype."""
    if not is_array(got):
        raise Feedback(f"On {name} it returns {type(got).__name__}, and an array is asked for.")
    if array_namespace(got) is not array_namespace(given):
        raise Feedback(f"On {name} it returns {type(got).__name__}, another library's array.")
    if got.device != given.device:
        raise Feedback(f"On {name} the result is on another device than the queries: {got.device}.")
    if got.dtype != given.dtype:
        raise Feedback(
            f"On {name} {dtype} goes in and {to_numpy(got).dtype} comes out: which number or mask "
            "of yours takes the rest along? A Python float does not."
        )


def _is_right(got: Any, draw: Draw, case: str) -> bool:
    """Say whether an output is right, and stop where it is nearly, or for all but a batch."""
    query, key, value = (part.astype(np.float64) for part in draw[0])
    right = to_numpy(scaled_dot_product_attention(query, key, value, is_causal=True))
    found = floats(got, right.shape, "a row for each query, as wide as a value")
    if agrees(found, right):
        return True
    check_nearly(found, right)
    if draw[1].batch:
        raise Feedback(
            f"One sentence comes out right, a batch does not{case}: which axes are last?"
        )
    return False
