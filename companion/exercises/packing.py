"""Checkers for the exercises of the chapter on packing."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from companion.arrays import array_module, to_numpy
from companion.examples.running_example import running_example
from companion.exercises.feedback import (
    Feedback,
    agrees,
    array,
    entries,
    finite,
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
    "check_pack_sentences",
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


def check_pack_sentences(attempt: Any, *, xp: Any = None) -> None:
    """Check a function (lists of ids, table, positions) → x (B, N, d), token_mask (B, N) of xp."""
    say(_pack_sentences, attempt, xp or array_module())


def _pack_sentences(attempt: Any, xp: Any) -> str:
    pack = function(attempt, "write a function of sentences, table and positions")
    rng = np.random.default_rng(0)
    for lengths, words, places, width in (
        ((4, 2, 3), 7, 9, 5),
        ((1,), 3, 4, 2),
        ((3, 5, 2), 6, 7, 4),
        ((2, 6), 5, 8, 3),
        ((3, 3, 3, 3), 6, 3, 4),
    ):
        table, positions = (1 + rng.standard_normal((n, width)) for n in (words, places))
        sentences = [[int(i) for i in rng.integers(1, words - 1, n)] for n in lengths]
        sentences[0][-1] = 0  # an id like any other
        sentences[-1][0] = words - 1
        table[words - 1] = -positions[0]  # whose token has a row of zeros
        case = f" for sentences of {', '.join(map(str, lengths))} tokens"
        given = (xp.asarray(table), xp.asarray(positions))
        returned = result(pack, [list(ids) for ids in sentences], *given, case=case)
        _check_packed(returned, sentences, table, positions)
    return "Right: one array, and a mask that says where its tokens are."


def _check_packed(
    returned: Any, sentences: list[list[int]], table: np.ndarray, positions: np.ndarray
) -> None:
    """Compare a reader's batch and mask with the right ones, and say which mistake is seen."""
    x, token_mask = entries(returned, 2, "return a pair, (x, token_mask)")
    lengths = np.asarray([len(ids) for ids in sentences])
    tokens = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(tokens.shape, -1)
    ids[tokens] = np.concatenate(sentences)
    _check_batch_shape(array(x).shape, lengths, table.shape[1], len(positions))
    _check_token_mask(token_mask, tokens, ids, table[ids] + positions[: len(tokens[0])])
    _check_tokens(finite(x), tokens, table[ids], positions)
    _check_padding(finite(x), tokens, table, positions)


def _check_batch_shape(
    shape: tuple[int, ...], lengths: np.ndarray, width: int, places: int
) -> None:
    count, longest = len(lengths), int(lengths.max())
    if shape == (count, longest, width):
        return
    seen = {
        (longest, count, width): "Your x has the tokens first and the sentences second.",
        (count, width, longest): "Your x holds a token as a column.",
        (count, int(lengths[0]), width): "Your x is as long as the first sentence.",
        (count, int(lengths[-1]), width): "Your x is as long as the last sentence.",
        (count, int(lengths.min()), width): "Your x is cut to the shortest sentence.",
        (count, places, width): "Your x is as long as the table of positions, not as the batch.",
        (int(lengths.sum()), width): "Your sentences lie end to end in one matrix.",
    }
    asked = f"The shape of x should be (B={count}, N={longest}, d={width}); yours is {shape}."
    raise Feedback(f"{seen.get(shape, '')} {asked}".strip())


def _check_token_mask(given: Any, right: np.ndarray, ids: np.ndarray, x: np.ndarray) -> None:
    found = array(given, right.shape, "an entry for each place in each sentence")
    if found.dtype.kind != "b":
        raise Feedback(f"Your token_mask holds {found.dtype}: it should be boolean.")
    if np.array_equal(found, right):
        return
    for mistaken, trouble in (
        (~right, "is turned over: True where there is padding"),
        (right[:, ::-1], "has the padding before the tokens"),
        (right & (ids != 0), "hides a token whose id is 0, and 0 is an id like any other"),
        (right & x.any(axis=-1), "hides a token whose row happens to be zero"),
        (np.ones_like(right), "is True everywhere, and some places are padding"),
    ):
        if np.array_equal(found, mistaken):
            raise Feedback(f"Your token_mask {trouble}.")
    raise Feedback("Your token_mask has another number of tokens, or has them in other places.")


def _check_tokens(
    found: np.ndarray, tokens: np.ndarray, words: np.ndarray, positions: np.ndarray
) -> None:
    """Compare the rows of the tokens, and say what has been made of them, where that is seen."""
    length = tokens.shape[1]
    here = positions[:length]
    places = np.zeros(tokens.shape, dtype=int)
    places[tokens] = np.arange(tokens.sum()) % len(positions)
    right = (words + here)[tokens]
    if agrees(found[tokens], right):
        return
    made = {
        "Your rows hold no position.": words,
        "Your rows hold the positions and no embedding.": here + 0 * words,
        "Embedding and position are multiplied in your rows.": words * here,
        "Your positions count from one.": words + np.roll(positions, -1, axis=0)[:length],
        "Your positions go on counting from one sentence to the next.": words + positions[places],
        "All your tokens have the vector of position 0.": words + positions[0],
    }
    for trouble, rows in made.items():
        if agrees(found[tokens], rows[tokens]):
            raise Feedback(trouble)
    ends = [found[b, length - n :] for b, n in enumerate(tokens.sum(axis=1))]
    if agrees(np.concatenate(ends), right):
        raise Feedback("The mask has the padding after the tokens, and x has it before them.")
    raise Feedback("The mask is right, and the rows of your tokens are not yet E plus P.")


def _check_padding(
    found: np.ndarray, tokens: np.ndarray, table: np.ndarray, positions: np.ndarray
) -> None:
    if not found[~tokens].any():
        return
    here = np.broadcast_to(positions[: tokens.shape[1]], found.shape)
    for held, trouble in (
        (here, "the vector of their position"),
        (table[0] + 0 * here, "the embedding of id 0"),
        (table[0] + here, "what a token of id 0 would hold"),
        (table[-1] + here, "what the last word of the table would hold"),
    ):
        if agrees(found[~tokens], held[~tokens]):
            raise Feedback(f"The tokens are right, but your rows of padding hold {trouble}.")
    raise Feedback("The tokens are right, but your rows of padding are not zero.")


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
        _check_ids(found, ids, table, to_numpy(x), positions)
    return "Right: packed again, your ids give x. Packing lost nothing, since P is known."


def _table_of_look_alikes(rng: np.random.Generator, width: int) -> np.ndarray:
    """Make rows that only all their columns tell apart: no direction, length, sum or product."""
    row, other = rng.standard_normal((2, width))
    one_column_off = other + (1 + rng.random(width)) * np.eye(width)
    alike = [2 * row, 5 * row, -row, row + 1, np.roll(row, 1)]
    return np.stack([row, *alike, other, *one_column_off])


def _check_ids(
    found: np.ndarray, ids: np.ndarray, table: np.ndarray, x: np.ndarray, positions: np.ndarray
) -> None:
    if found.dtype.kind not in "iu":
        raise Feedback(f"Ids are whole numbers; yours have dtype {found.dtype}.")
    if found.min() < 0 or found.max() >= len(table):
        raise Feedback(f"An id lies in 0 … V − 1, here 0 … {len(table) - 1}; not all of yours do.")
    wrong = np.flatnonzero(found != ids)
    if not len(wrong):
        return
    took, right = table[found[wrong[0]]], table[ids[wrong[0]]]
    again = f"Pack your ids again: row {wrong[0] + 1} does not come back."
    left = x - positions[: len(x)]
    if any(np.array_equal(found, _first(within)) for within in _tolerances(left, table)):
        raise Feedback(
            f"{again} You take the first row within some tolerance, it seems, and the entries of "
            f"this table are of size {np.abs(table).max():.0e}: take the nearest."
        )
    for trouble, mistaken in _mistaken_ids(table, x, positions):
        if len(ids) > 1 and np.array_equal(found, mistaken):
            raise Feedback(f"{again} {trouble}")
    if np.count_nonzero(took != right) == 1:
        raise Feedback(f"{again} The row you took differs in one column: compare all of them.")
    if np.linalg.matrix_rank(np.stack([took, right])) == 1:
        raise Feedback(f"{again} The row you took lies along the right one, and is another.")
    raise Feedback(
        f"{again} Without the vector of its position it is nearer to another row of the table than "
        "to the one you took."
    )


def _mistaken_ids(
    table: np.ndarray, x: np.ndarray, positions: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Make what people find in place of the ids, and say what is wrong with it."""
    here = positions[: len(x)]
    for taken, trouble in (
        (0 * here, "Your rows still hold their positions: take those away first."),
        (-here, "You add the positions once more: they are to be taken away."),
        (positions[1 : len(x) + 1], "Your positions count from one."),
        (positions[:1], "You take the vector of position 0 away from every row."),
    ):
        if len(taken) in (1, len(x)):
            gaps = (x - taken)[:, None, :] - table
            for order in (2, 1, np.inf):
                yield trouble, np.argmin(np.linalg.norm(gaps, ord=order, axis=-1), axis=1)
    left = x - here
    yield (
        "The row with the largest product need not be the nearest: it may just be long.",
        np.argmax(left @ table.T, axis=1),
    )
    yield (
        "The sums in x are rounded, so look for the nearest row, not for an equal one.",
        _first(left[:, None, :] == table),
    )


def _tolerances(left: np.ndarray, table: np.ndarray) -> Iterator[np.ndarray]:
    """Say which entries are close, (N, V, d), by each of the tolerances that people choose.

    None of them is as small as rounding is, so a row that is equal is another mistake.
    """
    for exponent in range(-12, -2):
        for rtol in (0.0, 1e-5):
            yield np.isclose(left[:, None, :], table, rtol=rtol, atol=10.0**exponent)


def _first(within: np.ndarray) -> np.ndarray:
    """Return the first row of which all is so, and row 0 where there is none."""
    first: np.ndarray = np.argmax(within.all(axis=-1), axis=1)
    return first


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
        factors = np.sum(found * right, axis=1) / np.sum(right * right, axis=1)
        if not factors.all() or not agrees(found, factors[:, None] * right):
            raise Feedback(
                "Your means are no sums of a sentence's own tokens, whatever divides them: which "
                "rows do you add up?"
            )
        unpadded = to_numpy(token_mask).all(axis=1)
        if agrees(found[unpadded], right[unpadded]):
            raise Feedback(
                "The sums are right, but sentences with padding are divided by the wrong number."
            )
        raise Feedback(
            "The sums are right, but not what divides them, also where a sentence has no padding."
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
