"""Checkers of the chapter on packing."""

from collections.abc import Callable
from numbers import Integral
from typing import Any

import array_api_compat
import numpy as np

from companion.arrays import array_module, to_numpy
from companion.packing import add_positions, embed, pack_batch
from companion.running_example import running_example

__all__ = [
    "check_cat_row",
    "check_distinct_rows",
    "check_ids_from_rows",
    "check_padding_cost",
    "check_token_mean",
]


def check_cat_row(attempt: Any) -> None:
    """Say whether `attempt` is the row of *cat* in the packed sentence *the cat ran*."""
    print(_cat_row(attempt))


def _cat_row(attempt: Any) -> str:
    if _missing(attempt):
        return "Not attempted yet: write down the six numbers of the row."
    row = _numbers(attempt)
    if row is None:
        return "A row is six numbers, such as a list; this is something else."
    if row.shape != (6,):
        return f"A row of X has d = 6 numbers; yours has shape {row.shape}."
    example = running_example(np)
    position = row - example.embedding[example.vocabulary["cat"]]
    places = np.flatnonzero((example.positions == position).all(axis=1))
    if len(places) == 0:
        return "Take the embedding of cat away from your row: what is left is no row of P."
    if places[0] == 1:
        return "Right: what cat is, from its id, plus where it stands in this sentence."
    return (
        f"The embedding of cat is in it, and so is row {places[0] + 1} of P: "
        "at which position of *this* sentence does cat stand?"
    )


def check_distinct_rows(attempt: Any) -> None:
    """Say whether `attempt` counts the distinct output rows of *the cat ran the cat*."""
    print(_distinct_rows(attempt))


def _distinct_rows(attempt: Any) -> str:
    if _missing(attempt):
        return "Not attempted yet: write down a whole number."
    if not _whole(attempt):
        return f"A count is a whole number, this is {type(attempt).__name__}."
    if not 1 <= attempt <= 5:
        return "Five tokens have at least one and at most five distinct output rows."
    if attempt == 3:
        return "Right: tokens whose rows are equal stay equal, and all others are told apart."
    return "Which rows are equal before attention, and what does the corollary say of them after?"


def check_ids_from_rows(attempt: Callable[..., Any] | None, *, xp: Any = None) -> None:
    """Say whether ``attempt(x, table, positions)`` returns the ids that were packed into x.

    Parameters
    ----------
    attempt : callable or None
    xp : module, optional
        The array module of the arrays it is called with.
    """
    print(_ids_from_rows(attempt, array_module() if xp is None else xp))


def _ids_from_rows(attempt: Any, xp: Any) -> str:
    if _missing(attempt):
        return "Not attempted yet: write a function of x, table and positions."
    if not callable(attempt):
        return f"A function is wanted, this is {type(attempt).__name__}."
    rng = np.random.default_rng(0)
    # Rows of growing length, so that the largest inner product is not the nearest row, and
    # positions large enough that they cannot be left in.
    table = xp.asarray(rng.standard_normal((11, 7)) * np.arange(1, 12)[:, None])
    positions = xp.asarray(20 * rng.standard_normal((9, 7)))
    ids = rng.integers(0, 11, size=9)
    x = add_positions(embed(xp.asarray(ids), table), positions)
    found, trouble = _called(attempt, x, table, positions)
    if trouble:
        return trouble
    if found.shape != (9,):
        return f"One id a row is wanted, shape (N,) = (9,); yours has shape {found.shape}."
    if found.dtype.kind not in "iu":
        return f"Ids are whole numbers; yours have dtype {found.dtype}."
    if found.min() < 0 or found.max() > 10:
        return "An id lies in 0 … V − 1, here 0 … 10; not all of yours do."
    wrong = np.flatnonzero(found != ids)
    if len(wrong):
        return (
            f"Pack your ids again: row {wrong[0] + 1} does not come back. (The sums in x are "
            "rounded, so look for the nearest row, not for an equal one.)"
        )
    return "Right: packed again, your ids give x. Packing lost nothing, since P is known."


def check_token_mean(attempt: Callable[..., Any] | None, *, xp: Any = None) -> None:
    """Say whether ``attempt(x, token_mask)`` averages each sentence over its tokens.

    Parameters
    ----------
    attempt : callable or None
    xp : module, optional
        The array module of the arrays it is called with.
    """
    print(_token_mean(attempt, array_module() if xp is None else xp))


def _token_mean(attempt: Any, xp: Any) -> str:
    if _missing(attempt):
        return "Not attempted yet: write a function of x and token_mask."
    if not callable(attempt):
        return f"A function is wanted, this is {type(attempt).__name__}."
    rng = np.random.default_rng(0)
    sentences = [rng.standard_normal((length, 4)) for length in (5, 2, 3)]
    right = np.stack([sentence.mean(axis=0) for sentence in sentences])
    x, token_mask = pack_batch([xp.asarray(sentence) for sentence in sentences])
    found, trouble = _called(attempt, x, token_mask)
    if trouble:
        return trouble
    if found.shape != (3, 4):
        return f"One mean a sentence is wanted, (B, d) = (3, 4); yours has shape {found.shape}."
    if not np.isfinite(found).all():
        return "Your means are not all finite, and the batch is."
    junk = xp.where(token_mask[:, :, None], x, xp.full_like(x, 1e6))
    again, trouble = _called(attempt, junk, token_mask)
    if trouble or not np.allclose(again, found, rtol=0, atol=1e-6):
        return "Your means change when the rows of padding hold other numbers than zero."
    if not np.allclose(found, right, rtol=0, atol=1e-12):
        whole = np.allclose(found[0], right[0], rtol=0, atol=1e-12)
        which = "sentences with padding" if whole else "a sentence without padding, too,"
        return f"The sums may be right, but {which} are divided by the wrong number."
    return "Right: a sentence's mean does not depend on the company it keeps in the batch."


def check_padding_cost(attempt: Any) -> None:
    """Check the pair (rows of padding, scores between two tokens) of the batch in the exercise."""
    print(_padding_cost(attempt))


def _padding_cost(attempt: Any) -> str:
    if _missing(attempt):
        return "Not attempted yet: write down two whole numbers, (rows, scores)."
    if not isinstance(attempt, tuple | list) or len(attempt) != 2 or not all(map(_whole, attempt)):
        return "Two whole numbers are wanted, (rows, scores)."
    lengths = np.asarray([512, 64, 64, 64])
    rows_right = attempt[0] == int((512 - lengths).sum())
    scores_right = attempt[1] == int((lengths**2).sum())
    if rows_right and scores_right:
        return "Right: two thirds of the rows and nearly three quarters of the scores are waste."
    if rows_right:
        return "The rows are right. A score of use compares two tokens of the same sentence."
    if scores_right:
        return "The scores are right. All four sentences are filled up to the longest one."
    return "Neither yet. Begin with the shape (B, N) of the mask, and count False and True in it."


def _missing(attempt: Any) -> bool:
    return attempt is None or attempt is ...


def _whole(attempt: Any) -> bool:
    return isinstance(attempt, Integral) and not isinstance(attempt, bool)


def _numbers(attempt: Any) -> np.ndarray | None:
    """Return the numbers in an array of any module or in a list, or None where there are none."""
    if array_api_compat.is_array_api_obj(attempt):
        attempt = to_numpy(attempt)
    try:
        return np.asarray(attempt, dtype=np.float64)
    except (TypeError, ValueError):
        return None


def _called(attempt: Callable[..., Any], *arrays: Any) -> tuple[np.ndarray, str]:
    """Return what the attempt returned, and what was wrong with calling it."""
    try:
        found = attempt(*arrays)
    except Exception as error:  # the reader's own code may fail in any way
        return np.empty(0), f"Your function stopped with {type(error).__name__}: {error}"
    if _missing(found):
        return np.empty(0), "Not attempted yet: your function returns nothing so far."
    if not array_api_compat.is_array_api_obj(found):
        return np.empty(0), f"An array is wanted; yours returned {type(found).__name__}."
    return to_numpy(found), ""
