"""Checkers for the exercises of the chapter on packing."""

from typing import Any

import numpy as np

from companion.arrays import array_module
from companion.examples.running_example import running_example
from companion.exercises.feedback import (
    Feedback,
    array,
    floats,
    function,
    numbers,
    result,
    say,
    whole_number,
    whole_numbers,
)
from companion.packing import embed, pack_batch
from companion.positions import add_positions

__all__ = [
    "check_cat_row",
    "check_distinct_rows",
    "check_ids_from_rows",
    "check_padding_cost",
    "check_token_mean",
]


def check_cat_row(attempt: Any) -> None:
    """Check the row, six numbers, of *cat* in the packed sentence *quickly ran the cat*."""
    say(_cat_row, attempt)


def _cat_row(attempt: Any) -> str:
    row = numbers(attempt, 6, "write down the six numbers of the row")
    example = running_example(np)
    position = row - example.embedding[example.vocabulary["cat"]]
    places = np.flatnonzero((example.positions == position).all(axis=1))
    if len(places) == 0:
        raise Feedback("Take the embedding of cat away from your row: what is left is no row of P.")
    if places[0] != 3:
        raise Feedback(
            f"The embedding of cat is in it, and so is the vector of position {places[0]}. Counted "
            "from 0, at which position of *this* sentence does cat stand?"
        )
    return "Right: what cat is, from its id, plus where it stands in this sentence."


def check_distinct_rows(attempt: Any) -> None:
    """Check how many distinct output rows *the cat ran the cat* has without positions."""
    say(_distinct_rows, attempt)


def _distinct_rows(attempt: Any) -> str:
    count = whole_number(attempt, "write down a whole number")
    if not 1 <= count <= 5:
        raise Feedback("Five tokens have at least one and at most five distinct output rows.")
    if count != 3:
        raise Feedback(
            "Which rows are equal before attention, and what does the corollary say of them after?"
        )
    return "Right: tokens whose rows are equal stay equal, and all others are told apart."


def check_ids_from_rows(attempt: Any, *, xp: Any = None) -> None:
    """Check a function (x, table, positions) → ids (N,) that unpacks arrays of the module xp."""
    say(_ids_from_rows, attempt, xp or array_module())


def _ids_from_rows(attempt: Any, xp: Any) -> str:
    unpack = function(attempt, "write a function of x, table and positions")
    rng = np.random.default_rng(0)
    # Rows of growing length, so that the largest inner product is not the nearest row, and
    # positions large enough that they cannot be left in.
    table = xp.asarray(rng.standard_normal((11, 7)) * np.arange(1, 12)[:, None])
    positions = xp.asarray(20 * rng.standard_normal((9, 7)))
    ids = rng.integers(0, 11, size=9)
    x = add_positions(embed(xp.asarray(ids), table), positions)
    found = array(result(unpack, x, table, positions), (9,), "one id a row")
    if found.dtype.kind not in "iu":
        raise Feedback(f"Ids are whole numbers; yours have dtype {found.dtype}.")
    if found.min() < 0 or found.max() > 10:
        raise Feedback("An id lies in 0 … V − 1, here 0 … 10; not all of yours do.")
    wrong = np.flatnonzero(found != ids)
    if len(wrong):
        raise Feedback(
            f"Pack your ids again: row {wrong[0] + 1} does not come back. (The sums in x are "
            "rounded, so look for the nearest row, not for an equal one.)"
        )
    return "Right: packed again, your ids give x. Packing lost nothing, since P is known."


def check_token_mean(attempt: Any, *, xp: Any = None) -> None:
    """Check a function (x, token_mask) → means (B, d) over tokens, of arrays of the module xp."""
    say(_token_mean, attempt, xp or array_module())


def _token_mean(attempt: Any, xp: Any) -> str:
    mean = function(attempt, "write a function of x and token_mask")
    rng = np.random.default_rng(0)
    sentences = [rng.standard_normal((length, 4)) for length in (5, 2, 3)]
    right = np.stack([sentence.mean(axis=0) for sentence in sentences])
    x, token_mask = pack_batch([xp.asarray(sentence) for sentence in sentences])
    shape = ((3, 4), "one mean a sentence")
    found = floats(result(mean, x, token_mask), *shape)
    if not np.isfinite(found).all():
        raise Feedback("Your means are not all finite, and the batch is.")
    junk = xp.where(token_mask[:, :, None], x, xp.full_like(x, 1e6))
    again = floats(result(mean, junk, token_mask), *shape)
    if not np.allclose(again, found, rtol=0, atol=1e-6):
        raise Feedback("Your means change when the rows of padding hold other numbers than zero.")
    if not np.allclose(found, right, rtol=0, atol=1e-12):
        whole = np.allclose(found[0], right[0], rtol=0, atol=1e-12)
        which = "sentences with padding" if whole else "a sentence without padding, too,"
        raise Feedback(f"The sums may be right, but {which} are divided by the wrong number.")
    return "Right: a sentence's mean does not depend on the company it keeps in the batch."


def check_padding_cost(attempt: Any) -> None:
    """Check the pair (rows of padding, scores between two tokens) of the batch in the exercise."""
    say(_padding_cost, attempt)


def _padding_cost(attempt: Any) -> str:
    rows, scores = whole_numbers(attempt, 2, "write down two whole numbers, (rows, scores)")
    lengths = np.asarray([512, 64, 64, 64])
    rows_right = rows == int((512 - lengths).sum())
    scores_right = scores == int((lengths**2).sum())
    if rows_right and scores_right:
        return "Right: two thirds of the rows and nearly three quarters of the scores are waste."
    if rows_right:
        raise Feedback("The rows are right. A score of use compares two tokens of one sentence.")
    if scores_right:
        raise Feedback("The scores are right. All four sentences are filled up to the longest one.")
    raise Feedback(
        "Neither yet. Begin with the shape (B, N) of the mask, and count False and True in it."
    )
