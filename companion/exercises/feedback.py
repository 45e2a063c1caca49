"""What the checkers share: how they answer, how they read an attempt, and when it is right.

An attempt is a stranger. Whatever it is, the functions here read it, and what goes wrong meanwhile
becomes feedback. A function of the reader's gets copies, so that it may work in place.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Set, Sized
from dataclasses import is_dataclass
from decimal import Decimal
from itertools import islice
from numbers import Real
from typing import Any, ParamSpec, TypeVar

import array_api_compat
import numpy as np

from companion.arrays import array_namespace, to_numpy
from companion.parameters import map_parameters, move_parameters

P = ParamSpec("P")
R = TypeVar("R")

#: Up to here a float tells whole numbers apart, and no answer of the book is larger.
LARGEST = 2.0**53
#: So many characters of another's error message are shown.
LONGEST = 80


class Feedback(Exception):
    """What is still wrong with an attempt."""


def say(check: Callable[..., str], *arguments: Any) -> None:
    """Print what a check says of an attempt, be it right or wrong."""
    try:
        with np.errstate(all="ignore"):  # what a warning about an attempt would say, feedback says
            print(check(*arguments))
    except Feedback as trouble:
        print(trouble)


def reads_attempts(take: Callable[P, R]) -> Callable[P, R]:
    """Let a function that reads attempts turn whatever they raise into feedback."""

    @functools.wraps(take)
    def taken(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return take(*arguments, **options)
        except Feedback:
            raise
        except Exception as error:
            raise Feedback(ended(f"What you give cannot be read: {_words(error)}")) from None

    return taken


def _words(error: BaseException) -> str:
    """Name an error in one short line, also one that cannot say what it is."""
    try:
        words = " ".join(str(error).split())
    except Exception:
        words = "no words for it"
    if len(words) > LONGEST:
        start = words[: LONGEST + 1].rpartition(" ")[0]
        words = f"{start} …" if len(start) > LONGEST // 2 else f"{words[:LONGEST]}…"
    return f"{type(error).__name__}: {words}"


def ended(sentence: str) -> str:
    """Return a sentence with a full stop, unless it ends already."""
    return sentence if sentence.endswith((".", "…", "?", "!")) else f"{sentence}."


def mismatch(wanted: str, attempt: Any) -> Feedback:
    """Make the feedback on an attempt of another kind than the one that is wanted."""
    kind = f"the class {attempt.__name__}" if isinstance(attempt, type) else type(attempt).__name__
    return Feedback(f"{wanted} is asked for, and this is {kind}.")


def attempted(attempt: Any, what_to_do: str) -> None:
    """Stop a check where nothing has been attempted yet."""
    if attempt is None or attempt is ...:
        raise Feedback(f"Not attempted yet: {what_to_do}.")


@reads_attempts
def instance(attempt: Any, kind: type, wanted: str, what_to_do: str) -> Any:
    """Return an attempt that is of this kind."""
    attempted(attempt, what_to_do)
    if not isinstance(attempt, kind):
        raise mismatch(wanted, attempt)
    return attempt


@reads_attempts
def number(attempt: Any, what_to_do: str) -> float:
    """Return an attempt that is one finite number, also as an array without axes."""
    return float(_number("A number", attempt, what_to_do))


@reads_attempts
def whole_number(attempt: Any, what_to_do: str) -> int:
    """Return an attempt that is one whole number, also one written as a float: 3.0."""
    found = _number("A whole number", attempt, what_to_do)
    if found != int(found):
        raise Feedback(f"A whole number is asked for, got {found}.")
    return int(found)


def _number(wanted: str, attempt: Any, what_to_do: str) -> Any:
    attempted(attempt, what_to_do)
    if is_array(attempt) and attempt.ndim == 0:
        attempt = to_numpy(attempt).item()
    if not _is_real(attempt):
        raise mismatch(wanted, attempt)
    found: Any = attempt  # the class of all real numbers does not say that they compare
    if found != found or found in (float("inf"), -float("inf")):
        raise Feedback(f"A finite number is asked for, got {found}.")
    if not -LARGEST <= found <= LARGEST:
        raise Feedback("A number of ordinary size is asked for, and yours is beyond 2^53.")
    return found


def _is_real(attempt: Any) -> bool:
    return isinstance(attempt, Real | Decimal) and not isinstance(attempt, bool)


@reads_attempts
def entries(attempt: Any, count: int, what_to_do: str) -> list[Any]:
    """Return the entries of an attempt that is a list, an array or any other row of so many."""
    attempted(attempt, what_to_do)
    wanted = "A pair" if count == 2 else f"A list of {count}"
    given = ""
    if is_array(attempt):
        given = f"{type(attempt).__name__} of shape {tuple(attempt.shape)}"
        host = to_numpy(attempt)
        attempt = list(host) if host.ndim else host.item()
    ordered = isinstance(attempt, Iterable) and not isinstance(attempt, str | bytes | Mapping | Set)
    if not ordered or isinstance(attempt, type):
        raise Feedback(f"{str(mismatch(wanted, attempt))[:-1]}: {what_to_do}.")
    found = list(islice(attempt, count + 1))
    if len(found) != count:
        more = f"more than {count}" if len(found) > count else len(found)
        length = len(attempt) if isinstance(attempt, Sized) else more
        kind = given or f"{type(attempt).__name__} of length {length}"
        raise Feedback(f"{wanted} is asked for, and this is {kind}: {what_to_do}.")
    for entry in found:
        attempted(entry, what_to_do)
    return found


def numbers(attempt: Any, count: int, what_to_do: str) -> np.ndarray:
    """Return an attempt that holds so many finite numbers."""
    found = [number(entry, what_to_do) for entry in entries(attempt, count, what_to_do)]
    return np.asarray(found)


def whole_numbers(attempt: Any, count: int, what_to_do: str) -> list[int]:
    """Return an attempt that holds so many whole numbers."""
    return [whole_number(entry, what_to_do) for entry in entries(attempt, count, what_to_do)]


@reads_attempts
def members(attempt: Any, wanted: str, what_to_do: str) -> list[Any]:
    """Return the members of an attempt that is a set, a list, an array or an iterator."""
    attempted(attempt, what_to_do)
    if is_array(attempt):
        attempt = to_numpy(attempt).tolist()
    if not isinstance(attempt, Iterable) or isinstance(attempt, str | bytes | Mapping | type):
        raise mismatch(wanted, attempt)
    return list(islice(attempt, 1000))


@reads_attempts
def rows(attempt: Any, last: int, what_to_do: str) -> set[int]:
    """Return an attempt that names some of the rows from 1 to the last."""
    found = members(attempt, "A set of row numbers", what_to_do)
    named = {whole_number(row, what_to_do) for row in found}
    if not named <= set(range(1, last + 1)):
        shown = f"{sorted(named)[:9]}{' and more' if len(named) > 9 else ''}"
        raise Feedback(f"There are rows 1 to {last}, counted from one; got {shown}.")
    return named


def is_array(attempt: Any) -> bool:
    """Say whether an attempt is an array; NumPy's scalar classes claim to be and are none."""
    return not isinstance(attempt, type) and array_api_compat.is_array_api_obj(attempt)


@reads_attempts
def written_out(attempt: Any, what_to_do: str) -> Any:
    """Return an attempt with an array in place of lists of numbers, which a reader may write."""
    attempted(attempt, what_to_do)
    if not isinstance(attempt, list | tuple):
        return attempt
    written = np.asarray(attempt)
    if written.dtype != object:
        return written
    for entry in written.flat:
        attempted(entry, what_to_do)
    return written.astype(np.float64)  # of fractions and decimals


@reads_attempts
def array(attempt: Any, shape: tuple[int, ...] | None = None, meaning: str = "") -> np.ndarray:
    """Return a copy on the host of an attempt that is an array, of this shape if one is given."""
    if not is_array(attempt):
        raise mismatch("An array", attempt)
    if isinstance(attempt, np.ma.MaskedArray | np.matrix):  # which the library does not take
        raise mismatch("A plain array", attempt)
    if shape is not None and tuple(attempt.shape) != shape:
        raise Feedback(f"The shape should be {shape}, {meaning}; yours is {tuple(attempt.shape)}.")
    return np.array(to_numpy(attempt))


@reads_attempts
def floats(attempt: Any, shape: tuple[int, ...] | None = None, meaning: str = "") -> np.ndarray:
    """Return a copy on the host of an array, or of lists, of real numbers: float32 or 64."""
    if isinstance(attempt, list):
        attempt = written_out(attempt, "give an array of numbers")
    host = array(attempt, shape, meaning)
    if host.dtype == object and all(_is_real(entry) for entry in host.flat):
        host = host.astype(np.float64)  # made entry by entry, by a function of one number
    if host.dtype.kind not in "iuf":
        raise Feedback(f"Real numbers are asked for, and your array holds {host.dtype}.")
    if host.dtype.kind == "f" and host.dtype.itemsize == 2:
        raise Feedback("float16 is too coarse to tell right from wrong here: float32 will do.")
    single = host.dtype.kind == "f" and host.dtype.itemsize == 4
    return host.astype(np.float32 if single else np.float64)  # in this machine's byte order


def finite(attempt: Any, shape: tuple[int, ...] | None = None, meaning: str = "") -> np.ndarray:
    """Return a copy on the host of an attempt that is an array of finite, ordinary numbers."""
    host = floats(attempt, shape, meaning)
    if not np.isfinite(host).all():
        raise Feedback("Finite numbers are asked for; not all of yours are.")
    if not (np.abs(host) <= LARGEST).all():
        raise Feedback("Numbers of ordinary size are asked for, and one of yours is beyond 2^53.")
    return host


def rounding(*found: np.ndarray, roundings: float = 64) -> float:
    """Return the relative error that is rounding, in the coarsest dtype of what was found."""
    return roundings * max(float(np.finfo(part.dtype).eps) for part in found)


def agrees(found: np.ndarray, right: Any, *, size: Any = None, roundings: float = 64) -> bool:
    """Say whether what was found is right but for rounding, in every row.

    Rounding is that of the coarser dtype of the two. An error is measured against `size`, which is
    the largest number of its row if left out. NaN agrees with nothing.
    """
    right = np.asarray(right)
    tolerance = rounding(found, right, roundings=roundings)
    right = right.astype(np.float64)
    if size is None:
        size = np.abs(right).max(axis=-1, keepdims=True) if right.ndim else abs(right)
    gap = np.abs(found.astype(np.float64) - right)
    return bool((gap <= tolerance * size).all())


@reads_attempts
def function(attempt: Any, what_to_do: str = "hand over your function") -> Callable[..., Any]:
    """Return an attempt that is a function."""
    attempted(attempt, what_to_do)
    if not callable(attempt):
        raise mismatch("A function", attempt)
    call: Callable[..., Any] = attempt
    return call


def result(
    attempt: Callable[..., Any],
    *arguments: Any,
    case: str = "",
    unfinished: str = "your function returns nothing so far",
) -> Any:
    """Return what the reader's function makes of copies of the arguments, where it may fail."""
    returned = run(attempt, *arguments, trouble=f"Your function stops{case} with")
    attempted(returned, unfinished)
    return returned


def run(call: Callable[..., Any], *arguments: Any, trouble: str) -> Any:
    """Call with copies of the arguments and make feedback of any failure, beginning like this."""
    try:
        return call(*(own(argument) for argument in arguments))
    except (Exception, SystemExit) as error:
        raise Feedback(f"{trouble} {_words(error)}") from None


def on_the_host(parameters: Any, *, trouble: str) -> Any:
    """Return a reader's parameters as NumPy's float64, in which a checker computes with them."""
    move = functools.partial(move_parameters, xp=np, dtype=np.float64)
    return run(move, parameters, trouble=trouble)


def own(argument: Any) -> Any:
    """Copy an array, or all arrays of parameters, so that nobody else sees what is done to it."""
    if is_dataclass(argument) and not isinstance(argument, type):
        return map_parameters(own, argument)
    if is_array(argument):
        return array_namespace(argument=argument).asarray(argument, copy=True)
    return argument
