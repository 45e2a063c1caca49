"""How a mistake in a function of the reader's is recognised: by what it makes, wherever it is run.

Each mistake is a function of its own in a checker. Where a reader's function gives what a mistake
gives, in everything that was drawn, the mistake is named.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np

from companion.exercises.feedback import Feedback, agrees, reads_attempts, written_out

__all__ = ["check_named", "check_nearly", "one_array"]

D = TypeVar("D")


def check_named(
    wrong: D,
    draws: Sequence[D],
    run: Callable[[D], np.ndarray],
    mistakes: Callable[[D], Iterable[tuple[str, np.ndarray]]],
    *,
    roundings: float = 64,
) -> None:
    """Stop a check where one mistake gives what a function gives, for everything that was drawn.

    What is said of it is what is said for `wrong`, the draw for which the function is wrong. For
    each draw `mistakes` yields the same mistakes in the same order. A draw for which the function
    stops says neither yes nor no.
    """
    seen = []
    for draw in draws:
        with suppress(Feedback):
            seen.append((run(draw), [made for _, made in mistakes(draw)]))
    for place, (said, _) in enumerate(mistakes(wrong)):
        if all(_same(found, made[place], roundings) for found, made in seen):
            raise Feedback(said)


def _same(found: np.ndarray, made: np.ndarray, roundings: float) -> bool:
    return found.shape == made.shape and agrees(
        np.nan_to_num(found), np.nan_to_num(made), roundings=roundings
    )


def check_nearly(
    found: np.ndarray,
    right: np.ndarray,
    *,
    within: float = 1e-5,
    why: str = "Do you add something to the sum, or compute in float32?",
) -> None:
    """Stop a check where what was found is off by little, and no mistake needs another name."""
    if (np.abs(found - right) <= within * np.abs(right).max(axis=-1, keepdims=True)).all():
        raise Feedback(f"Nearly: off by more than rounding. {why}")


@reads_attempts
def one_array(returned: Any, alone: str) -> Any:
    """Return what a function returned, with an array in place of lists, where it is one thing."""
    if isinstance(returned, tuple) and len(returned) == 1:
        raise Feedback(
            "Your function returns a tuple of one entry, and an array is asked for: is there a "
            "comma at the end of its last line?"
        )
    if isinstance(returned, tuple):
        raise Feedback(
            f"Your function returns several things, in a tuple: {alone} alone are asked for, in "
            "one array."
        )
    return written_out(returned, "return an array")
