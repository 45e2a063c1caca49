"""Checkers for the exercises of the chapter on packing."""

import math
from typing import Any

import numpy as np

from companion.arrays import array_module, to_numpy
from companion.examples.running_example import running_example
from companion.exercises.feedback import (
    Feedback,
    agrees,
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
    # The sizes are those of the table's rows, of x and of P, which may be longer than x. By the
    # scales, no fixed number tells which rows are close.
    for width, length, places, scale in ((7, 16, 20, 1.0), (3, 1, 6, 1e9), (4, 9, 12, 1e-9)):
        table = scale * _table_of_look_alikes(rng, width)
        ids = rng.permutation(np.arange(max(length, len(table))) % len(table))[:length]
        positions = 20 * scale * rng.standard_normal((places, width))
        given = [xp.asarray(part) for part in (ids, table, positions)]
        x = add_positions(embed(given[0], given[1]), given[2])
        sizes = f" for x {tuple(x.shape)}, table {table.shape} and positions {positions.shape}"
        found = array(result(unpack, x, *given[1:], case=sizes), (length,), "one id a row")
        _check_ids(found, ids, table)
    return "Right: packed again, your ids give x. Packing lost nothing, since P is known."


def _table_of_look_alikes(rng: np.random.Generator, width: int) -> np.ndarray:
    """Make rows that only all their columns tell apart: no direction, length, sum or product."""
    row, other = rng.standard_normal((2, width))
    one_column_off = other + (1 + rng.random(width)) * np.eye(width)
    alike = [2 * row, 5 * row, -row, row + 1, np.roll(row, 1)]
    return np.stack([row, *alike, other, *one_column_off])


def _check_ids(found: np.ndarray, ids: np.ndarray, table: np.ndarray) -> None:
    if found.dtype.kind not in "iu":
        raise Feedback(f"Ids are whole numbers; yours have dtype {found.dtype}.")
    if found.min() < 0 or found.max() >= len(table):
        raise Feedback(f"An id lies in 0 … V − 1, here 0 … {len(table) - 1}; not all of yours do.")
    wrong = np.flatnonzero(found != ids)
    if not len(wrong):
        return
    took, right = table[found[wrong[0]]], table[ids[wrong[0]]]
    again = f"Pack your ids again: row {wrong[0] + 1} does not come back."
    gap = np.abs(took - right).max()
    if gap < 1e-6:
        raise Feedback(f"{again} In this table rows may be as near as {gap:.1g}: take the nearest.")
    if np.count_nonzero(took != right) == 1:
        raise Feedback(f"{again} The row you took differs in one column: compare all of them.")
    if np.linalg.matrix_rank(np.stack([took, right])) == 1:
        raise Feedback(f"{again} The row you took lies along the right one, and is another.")
    raise Feedback(
        f"{again} (The sums in x are rounded, so look for the nearest row, not for an equal one.)"
    )


def check_token_mean(attempt: Any, *, xp: Any = None) -> None:
    """Check a function (x, token_mask) → means (B, d) over tokens, of arrays of the module xp."""
    say(_token_mean, attempt, xp or array_module())


def _token_mean(attempt: Any, xp: Any) -> str:
    mean = function(attempt, "write a function of x and token_mask")
    rng = np.random.default_rng(0)
    for lengths, width, scale in (((5, 2, 3), 4, 1.0), ((6,), 2, 1e3), ((1, 7), 3, 1e-3)):
        sentences = [scale * (1 + rng.standard_normal((n, width))) for n in lengths]
        x, token_mask = pack_batch([xp.asarray(sentence) for sentence in sentences])
        _check_means(mean, xp, x, token_mask, np.stack([s.mean(axis=0) for s in sentences]))
    return "Right: a sentence's mean does not depend on the company it keeps in the batch."


def _check_means(mean: Any, xp: Any, x: Any, token_mask: Any, right: np.ndarray) -> None:
    shape = (right.shape, "one mean a sentence")
    found = floats(result(mean, x, token_mask), *shape)
    if not np.isfinite(found).all():
        raise Feedback("Your means are not all finite, and the batch is.")
    for junk, trouble in (
        (1e6, "Your means change when the rows of padding hold other numbers than zero."),
        (math.nan, "A NaN in a row of padding reaches your means, for 0 · NaN is NaN: select."),
    ):
        filled = xp.where(token_mask[:, :, None], x, xp.full_like(x, junk))
        if not agrees(floats(result(mean, filled, token_mask), *shape), found):
            raise Feedback(trouble)
    if not agrees(found, right):
        unpadded = to_numpy(token_mask).all(axis=1)
        if agrees(found[unpadded], right[unpadded]):
            raise Feedback(
                "The sums may be right, but sentences with padding are divided by the wrong number."
            )
        raise Feedback(
            "The sums may be right, but not what divides them, also where a sentence has no "
            "padding."
        )


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
