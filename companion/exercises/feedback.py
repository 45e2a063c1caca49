"""What the checkers share: how they answer, and the kinds of attempts that several ask for.

Those that are told what there is to do say so where nothing has been attempted yet; all say what
an attempt is instead of what is asked for.
"""

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import array_api_compat
import numpy as np

from companion.arrays import to_numpy


class Feedback(Exception):
    """What is still wrong with an attempt."""


def say(check: Callable[..., str], *arguments: Any) -> None:
    """Print what a check says of an attempt, be it right or wrong."""
    try:
        print(check(*arguments))
    except Feedback as trouble:
        print(trouble)


def mismatch(wanted: str, attempt: Any) -> Feedback:
    """Make the feedback on an attempt of another kind than the one that is wanted."""
    return Feedback(f"{wanted} is asked for, and this is {type(attempt).__name__}.")


def attempted(attempt: Any, what_to_do: str) -> None:
    """Stop a check where nothing has been attempted yet."""
    if attempt is None or attempt is ...:
        raise Feedback(f"Not attempted yet: {what_to_do}.")


def number(attempt: Any, what_to_do: str) -> float:
    """Return an attempt that is one finite number, also as an array without axes."""
    scalar = _scalar(attempt, Real, "A number", what_to_do)
    try:
        value = float(scalar)
    except OverflowError as error:
        raise Feedback(f"A number of ordinary size is asked for: {error}.") from None
    if not math.isfinite(value):
        raise Feedback(f"A finite number is asked for, got {value}.")
    return value


def whole_number(attempt: Any, what_to_do: str) -> int:
    """Return an attempt that is one whole number, also as an array without axes."""
    return int(_scalar(attempt, Integral, "A whole number", what_to_do))


def _scalar(attempt: Any, kind: type, wanted: str, what_to_do: str) -> Any:
    attempted(attempt, what_to_do)
    if array_api_compat.is_array_api_obj(attempt) and attempt.ndim == 0:
        attempt = to_numpy(attempt).item()
    if isinstance(attempt, bool) or not isinstance(attempt, kind):
        raise mismatch(wanted, attempt)
    return attempt


def entries(attempt: Any, count: int, what_to_do: str) -> list[Any]:
    """Return the entries of an attempt that is a list, a tuple or an array of so many."""
    attempted(attempt, what_to_do)
    wanted = "A pair" if count == 2 else f"A list of {count}"
    if array_api_compat.is_array_api_obj(attempt):
        attempt = to_numpy(attempt).tolist()
    if not isinstance(attempt, list | tuple) or len(attempt) != count:
        length = f" of length {len(attempt)}" if isinstance(attempt, list | tuple) else ""
        kind = type(attempt).__name__
        raise Feedback(f"{wanted} is asked for, and this is {kind}{length}: {what_to_do}.")
    for entry in attempt:
        attempted(entry, what_to_do)
    return list(attempt)


def numbers(attempt: Any, count: int, what_to_do: str) -> np.ndarray:
    """Return an attempt that holds so many finite numbers."""
    found = [number(entry, what_to_do) for entry in entries(attempt, count, what_to_do)]
    return np.asarray(found)


def whole_numbers(attempt: Any, count: int, what_to_do: str) -> list[int]:
    """Return an attempt that holds so many whole numbers."""
    return [whole_number(entry, what_to_do) for entry in entries(attempt, count, what_to_do)]


def rows(attempt: Any, last: int, what_to_do: str) -> set[int]:
    """Return an attempt that names some of the rows from 1 to the last."""
    attempted(attempt, what_to_do)
    if not isinstance(attempt, set | frozenset | list | tuple):
        raise mismatch("A set of row numbers", attempt)
    named = {whole_number(row, what_to_do) for row in attempt}
    if not named <= set(range(1, last + 1)):
        raise Feedback(f"There are rows 1 to {last}, counted from one; got {sorted(named)}.")
    return named


def array(attempt: Any, shape: tuple[int, ...] | None = None, meaning: str = "") -> np.ndarray:
    """Return an attempt that is an array, of this shape where one is given, on the host."""
    if not array_api_compat.is_array_api_obj(attempt):
        raise mismatch("An array", attempt)
    if shape is not None and tuple(attempt.shape) != shape:
        raise Feedback(f"The shape should be {shape}, {meaning}; yours is {tuple(attempt.shape)}.")
    return to_numpy(attempt)


def floats(attempt: Any, shape: tuple[int, ...] | None = None, meaning: str = "") -> np.ndarray:
    """Return an attempt that is an array of real numbers, as float64 on the host."""
    host = array(attempt, shape, meaning)
    if host.dtype.kind not in "iuf":
        raise Feedback(f"Real numbers are asked for, and your array holds {host.dtype}.")
    return host.astype(np.float64)


def function(attempt: Any, what_to_do: str = "hand over your function") -> Callable[..., Any]:
    """Return an attempt that is a function."""
    attempted(attempt, what_to_do)
    if not callable(attempt):
        raise mismatch("A function", attempt)
    return attempt


def result(
    attempt: Callable[..., Any],
    *arguments: Any,
    case: str = "",
    unfinished: str = "your function returns nothing so far",
) -> Any:
    """Return what the reader's function makes of the arguments, which may fail in any way."""
    try:
        returned = attempt(*arguments)
    except Exception as error:
        kind = type(error).__name__
        raise Feedback(f"Your function stops{case} with {kind}: {str(error)[:80]}") from None
    attempted(returned, unfinished)
    return returned
