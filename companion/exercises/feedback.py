"""What the checkers of several chapters share: how they answer, and one number as an attempt."""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import array_api_compat


class Feedback(Exception):
    """What is still wrong with an attempt."""


def say(check: Callable[[Any], str], attempt: Any) -> None:
    """Print what a check says of an attempt, be it right or wrong."""
    try:
        print(check(attempt))
    except Feedback as trouble:
        print(trouble)


def attempted(attempt: Any, what_to_do: str) -> None:
    """Stop a check where nothing has been attempted yet."""
    if attempt is None or attempt is ...:
        raise Feedback(f"Not attempted yet: {what_to_do}.")


def number(attempt: Any, what_to_do: str) -> float:
    """Return an attempt that is one finite number, or say what it is instead."""
    attempted(attempt, what_to_do)
    scalar = array_api_compat.is_array_api_obj(attempt) and attempt.ndim == 0
    if isinstance(attempt, bool) or not (scalar or isinstance(attempt, Real)):
        raise Feedback(f"One number is asked for, and this is {type(attempt).__name__}.")
    try:
        number = float(attempt)
    except (TypeError, ValueError, OverflowError) as error:
        raise Feedback(f"One number of ordinary size is asked for: {error}.") from None
    if not math.isfinite(number):
        raise Feedback(f"A finite number is asked for, got {number}.")
    return number
