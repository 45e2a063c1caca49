"""The exercises of the chapter on packing: what their checkers take for right, and what not."""

import itertools
from decimal import Decimal

import numpy as np
import pytest

import companion
from companion.exercises import packing as exercises
from tests.support.attempts import Attempts, tried_on
from tests.support.homes import NUMPY

CAT_ROW = [0.5, 0, 1.5, 0, 1, 0]  # at position 3 of *quickly ran the cat*


def gaps(x, table, positions):
    return (x - positions[: len(x)])[:, None, :] - table[None, :, :]


def nearest(x, table, positions):
    return np.argmin((gaps(x, table, positions) ** 2).sum(axis=-1), axis=1)


def nearest_in_place(x, table, positions):
    x -= positions[: len(x)]
    table *= -1
    return np.argmin(np.abs(x[:, None, :] + table).max(axis=-1), axis=1)


def nearest_without_slice(x, table, positions):
    return np.argmin((((x - positions)[:, None, :] - table) ** 2).sum(axis=-1), axis=1)


def nearest_with_positions(x, table, positions):
    return nearest(x, table, 0 * positions)


def by_one_column(x, table, positions):
    return np.argmin(np.abs(gaps(x, table, positions)[:, :, 0]), axis=1)


def by_all_but_one_column(x, table, positions):
    return np.argmin(np.abs(gaps(x, table, positions)[:, :, 1:]).sum(axis=-1), axis=1)


def by_cosine(x, table, positions):
    embedded = x - positions[: len(x)]
    return np.argmax(embedded @ (table / np.linalg.norm(table, axis=1, keepdims=True)).T, axis=1)


def by_product(x, table, positions):
    return np.argmax((x - positions[: len(x)]) @ table.T, axis=1)


def by_equality(x, table, positions):
    return np.argmax((gaps(x, table, positions) == 0).all(axis=-1), axis=1)


def by_sum(x, table, positions):
    return np.argmin(np.abs(gaps(x, table, positions).sum(axis=-1)), axis=1)


def by_centred_row(x, table, positions):
    centred = (rows - rows.mean(axis=1, keepdims=True) for rows in (x - positions[: len(x)], table))
    return nearest(*centred, 0 * positions)


def by_length(x, table, positions):
    lengths = np.linalg.norm(x - positions[: len(x)], axis=1), np.linalg.norm(table, axis=1)
    return np.argmin(np.abs(lengths[0][:, None] - lengths[1]), axis=1)


class Nearest:
    """A class in place of a function, and other letters."""

    def __new__(cls, rows, vocabulary, places, dtype=np.int32):
        return np.asarray([int(i) for i in nearest(rows, vocabulary, places)], dtype=dtype)


def token_mean(x, token_mask):
    keep = token_mask[:, :, None]
    return np.where(keep, x, 0.0).sum(axis=1) / keep.sum(axis=1)


def mean_in_place(x, token_mask):
    x[~token_mask] = 0
    token_mask |= False
    return x.sum(axis=1) / token_mask.sum(axis=1)[:, None]


def mean_by_product(x, token_mask):
    keep = token_mask[:, :, None]
    return (x * keep).sum(axis=1) / keep.sum(axis=1)


def mean_over_the_batch(x, token_mask):
    return np.where(token_mask[:, :, None], x, 0.0).sum(axis=1) / token_mask.sum() * len(x)


def mean_into_one_buffer():
    """Return the same array from call to call, with what the padding holds in it."""
    buffers = {}

    def mean(x, token_mask):
        buffer = buffers.setdefault(x.shape, np.empty((len(x), x.shape[2])))
        buffer[...] = x.sum(axis=1) / token_mask.sum(axis=1)[:, None]
        return buffer

    return mean


def mean_over_two_or_more(x, token_mask):
    """Guard the division too well: a sentence of one token is halved."""
    keep = token_mask[:, :, None]
    return np.where(keep, x, 0.0).sum(axis=1) / np.maximum(keep.sum(axis=1), 2)


def ids_of_close_rows(x, table, positions):
    """Take the first row that is close by a tolerance that suits ordinary numbers only."""
    close = np.isclose((x - positions[: len(x)])[:, None], table)
    return close.all(axis=-1).argmax(axis=1)


def ids_of_rows_within(x, table, positions):
    gaps = np.abs((x - positions[: len(x)])[:, None] - table)
    return (gaps < 1e-12).all(axis=-1).argmax(axis=1)


ATTEMPTS = {
    exercises.check_cat_row: Attempts(
        wrong=[
            ([0, 0, 1.5, 0, 1, 0], "so is the vector of position 2."),
            ([0, 0, 1, 0.5, 1, 0], "so is the vector of position 4."),
            ([0.5, 0, 1, 0, 1, 0], "so is the vector of position 1."),
            ([0, 0, 1, 0, 1, 0], "so is the vector of position 0."),
            ([0.5, 0, 1.5, 0, 0, 0], "no row of P"),
            ([0.5, 0, 0.5, 0, 0, 0], "no row of P"),
        ],
        odd=[
            np.asarray(CAT_ROW, np.float32),
            (Decimal(str(entry)) for entry in CAT_ROW),
            (np.asarray(entry) for entry in CAT_ROW),
        ],
        other=[
            (None, "Not attempted yet"),
            (..., "Not attempted yet"),
            ("cat", "six numbers"),
            ([[1], [2, 3]], "list of length 2: write down the six numbers"),
            ([0.5, 0, 1, 0, 1], "this is list of length 5"),
            (np.zeros((1, 6)), "this is list of length 1"),
            ([np.nan] * 6, "A finite number"),
            (itertools.count(), "count of length more than 6"),
            (CAT_ROW, "Right"),
        ],
    ),
    exercises.check_distinct_rows: Attempts(
        wrong=[
            (2, "Which rows are equal"),
            (5, "Which rows are equal"),
            (4, "Which rows are equal"),
            (1, "Which rows are equal"),
        ],
        odd=[3.0, np.float32(3), np.asarray(3), Decimal(3)],
        other=[
            (None, "Not attempted yet"),
            ("three", "this is str"),
            (True, "this is bool"),
            (2.5, "A whole number is asked for, got 2.5"),
            (0, "at least one and at most five"),
            (6, "at least one and at most five"),
            (3, "Right"),
        ],
    ),
    exercises.check_ids_from_rows: Attempts(
        wrong=[
            (nearest_without_slice, "table (14, 7) and positions (20, 7) with ValueError"),
            (nearest_with_positions, "does not come back"),
            (by_one_column, "does not come back. The row you took"),
            (by_all_but_one_column, "differs in one column: compare all of them"),
            (by_cosine, "lies along the right one"),
            (by_product, "does not come back"),
            (by_length, "does not come back"),
            (by_sum, "does not come back"),
            (by_centred_row, "does not come back"),
            (by_equality, "look for the nearest row, not for an equal one"),
            (ids_of_close_rows, "take the nearest"),
            (ids_of_rows_within, "does not come back"),
        ],
        odd=[nearest_in_place, Nearest, lambda a, b, *c: nearest(a, b, c[0]).astype(np.uint8)],
        other=[
            (None, "Not attempted yet"),
            (lambda *_: ..., "Not attempted yet"),
            ([0, 1], "this is list"),
            (lambda x: x, "with TypeError"),
            (lambda *_: [0] * 9, "An array is asked for, and this is list"),
            (lambda x, *_: x, "one id a row; yours is (16, 7)"),
            (lambda x, *_: x[:, 0], "yours have dtype float64"),
            (lambda *arrays: nearest(*arrays) - 14, "0 … 13"),
            (nearest, "Right"),
        ],
        needs={"xp": NUMPY.xp},
    ),
    exercises.check_token_mean: Attempts(
        wrong=[
            (lambda x, _: x.mean(axis=1), "rows of padding hold other numbers"),
            (
                lambda x, token_mask: x.sum(axis=1) / token_mask.sum(axis=1)[:, None],
                "rows of padding hold other numbers",
            ),
            (mean_into_one_buffer(), "rows of padding hold other numbers"),
            (mean_by_product, "A NaN in a row of padding reaches your means"),
            (
                lambda x, token_mask: np.where(token_mask[:, :, None], x, 0.0).mean(axis=1),
                "sentences with padding are divided",
            ),
            (
                lambda x, token_mask: np.where(token_mask[:, :, None], x, 0.0).sum(axis=1),
                "also where a sentence has no padding",
            ),
            (mean_over_the_batch, "also where a sentence has no padding"),
            (mean_over_two_or_more, "sentences with padding are divided"),
        ],
        odd=[
            mean_in_place,
            lambda rows, seen: token_mean(rows, seen).astype(np.float32),
            lambda x, keep: np.stack([x[b, : keep[b].sum()].mean(0) for b in range(len(x))]),
        ],
        other=[
            (None, "Not attempted yet"),
            (lambda *_: None, "Not attempted yet"),
            (3, "this is int"),
            (lambda x, _: x.undefined, "stops with AttributeError"),
            (lambda *_: 0.0, "this is float"),
            (lambda x, _: x.mean(axis=2), "one mean a sentence; yours is (3, 5)"),
            (lambda *_: np.full((3, 4), np.nan), "not all finite"),
            (token_mean, "Right"),
        ],
        needs={"xp": NUMPY.xp},
    ),
    exercises.check_padding_cost: Attempts(
        wrong=[
            ((1344, 4 * 512**2), "The rows are right"),
            ((1344, 512**2), "The rows are right"),
            ((704, 274_432), "The scores are right"),
            ((704, 704**2), "Neither yet"),
        ],
        odd=[(1344.0, 274_432.0), np.asarray([1344, 274_432], np.float32), iter([1344, 274_432])],
        other=[
            (None, "Not attempted yet"),
            (1344, "this is int: write down two whole numbers"),
            ((1344,), "A pair is asked for, and this is tuple of length 1"),
            ({1344, 274_432}, "A pair is asked for, and this is set"),
            ((0, 0), "Neither yet"),
            ((1344, 274_432), "Right"),
        ],
    ),
}

test_attempts = tried_on(ATTEMPTS)


def test_the_row_of_cat_is_that_of_the_packed_sentence():
    example = companion.running_example(NUMPY.xp)
    ids = companion.token_ids(["quickly", "ran", "the", "cat"], example.vocabulary, xp=NUMPY.xp)
    x = companion.add_positions(companion.embed(ids, example.embedding), example.positions)
    assert x[3, :].tolist() == CAT_ROW


def test_the_row_of_cat_may_be_on_any_device(capsys, home):
    exercises.check_cat_row(home.asarray(np.asarray(CAT_ROW)))
    assert "Right" in capsys.readouterr().out


@pytest.mark.parametrize("attempt", [None, 2, "x", (1, 2), CAT_ROW[:4]])
def test_no_checker_gives_the_answer_away(capsys, attempt):
    for name in exercises.__all__:
        getattr(exercises, name)(attempt)
        line = capsys.readouterr().out
        assert not line.startswith("Right")
        assert not any(answer in line for answer in ("three", "1344", "274"))


def test_checkers_find_the_array_module_themselves(capsys, monkeypatch):
    monkeypatch.setenv("COMPANION_ARRAY_MODULE", "numpy")
    exercises.check_ids_from_rows(nearest)
    exercises.check_token_mean(token_mean)
    assert capsys.readouterr().out.count("Right") == 2
