"""The exercises of the chapter on causal masks: what their checkers take for right."""

from decimal import Decimal

import numpy as np

import companion
from companion import to_numpy
from companion.exercises import masks as exercises
from tests.support.attempts import Attempts, tried_on
from tests.support.homes import NUMPY

WINDOW = to_numpy(companion.window_mask(8, window=(2, 0), xp=NUMPY.xp))
CAUSAL = np.tri(8, dtype=bool)
FIRST = np.arange(8) == 0
STREAM = WINDOW | FIRST
EXAMPLE = companion.running_example(NUMPY.xp)
_, KEY, VALUE = companion.project_qkv(EXAMPLE.x, EXAMPLE.w_q[0], EXAMPLE.w_k[0], EXAMPLE.w_v[0])
LAST = np.arange(5)[:, None] == 4


def plus(array, row):
    return array + (np.arange(5)[:, None] == row)


ATTEMPTS = {
    exercises.check_changed_rows: Attempts(
        wrong=[
            ({1, 2, 3}, "before black"),
            ({1, 2}, "counted from one"),
            ({2, 3, 4, 5}, "does not reach back"),
            ({2, 3, 4}, "does not reach back"),
            ({2}, "missing"),
            ({3}, "missing"),
        ],
        odd=[
            [3, 2],
            np.asarray([2.0, 3.0]),
            iter((2, 3, 3)),
            range(2, 4),
            {2: "black", 3: 0}.keys(),
        ],
        other=[
            (None, "Not attempted"),
            (..., "Not attempted"),
            (3, "A set of row numbers is asked for, and this is int"),
            ({2: True, 3: True}, "A set of row numbers is asked for, and this is dict"),
            ({"cat"}, "A whole number is asked for, and this is str"),
            ({0, 1}, "rows 1 to 5"),
            (set(), "missing"),
            ({2, 3}, "Right"),
        ],
    ),
    exercises.check_streaming_mask: Attempts(
        wrong=[
            (WINDOW, "lost sight of the first"),
            (CAUSAL, "neither in its window nor the first"),
            (np.ones((8, 8), bool), "later token"),
            (np.eye(8, dtype=bool) | FIRST, "does not see itself and the 2 tokens"),
            (STREAM.T, "later token"),
            (~STREAM, "later token"),
            (STREAM | np.eye(8, k=-3, dtype=bool), "neither in its window nor the first"),
            (WINDOW | FIRST[:, None] & CAUSAL, "lost sight of the first"),
        ],
        odd=[STREAM.tolist(), np.asfortranarray(STREAM), [np.asarray(row) for row in STREAM]],
        other=[
            (None, "Not attempted"),
            (STREAM, "Right"),
            (CAUSAL[:5], "yours is (5, 8)"),
            (STREAM.astype(np.float64), "boolean; got"),
            (STREAM.astype(int).tolist(), "boolean; got"),
            ([[True]], "yours is (1, 1)"),
            ([[True], [True, False]], "cannot be read: ValueError"),
            ("mask", "An array is asked for, and this is str"),
        ],
    ),
    exercises.check_exposing_change: Attempts(
        wrong=[
            ((KEY, plus(VALUE, 4)), "keep every bit"),
            ((KEY, VALUE), "keep every bit"),
            ((plus(KEY, 0), VALUE), "Only the last row may change: changed_key"),
            ((KEY + 1, VALUE), "Only the last row may change: changed_key"),
            ((KEY, plus(VALUE, 2)), "Only the last row may change: changed_value"),
            ((np.where(LAST, np.nan, KEY), VALUE), "must be finite"),
            ((np.where(LAST, 1e308, KEY), VALUE), "of ordinary size"),
        ],
        odd=[
            [plus(KEY, 4).tolist(), VALUE],
            (part.astype(np.float32) for part in (plus(KEY, 4), VALUE)),
            (np.where(LAST, 1e15, KEY), np.where(LAST, -1e15, VALUE)),
        ],
        other=[
            (None, "Not attempted"),
            (3, "give a pair (changed_key"),
            ((KEY, 3), "An array is asked for"),
            ((KEY, VALUE.T), "should be (5, 4), that of value"),
            ((plus(KEY, 4), VALUE), "Right"),
            ((plus(KEY, 4), plus(VALUE, 4)), "Right"),
        ],
    ),
    exercises.check_smallest_left: Attempts(
        wrong=[
            (127, "Too small"),
            (129, "a smaller one does too"),
            (4095, "a smaller one does too"),
            (32, "Too small"),
            (4095 / 32, "A whole number is asked for, got 127.96875"),
        ],
        odd=[128.0, np.asarray(128), np.uint8(128), Decimal(128)],
        other=[
            (None, "Not attempted"),
            (127.5, "A whole number is asked for, got 127.5"),
            (-5, "Too small"),
            (128, "Right"),
        ],
    ),
    exercises.check_visible_pairs: Attempts(
        wrong=[
            (4096 * 129, "the first rows"),
            (4096 * 128, "count the token itself"),
            (4096 * 4097 // 2, "Not yet"),
            (4096**2, "more than a causal mask"),
            (sum(min(i, 128) for i in range(1, 4097)), "Not yet"),
        ],
        odd=[520128.0, np.float32(520128), np.asarray(520128)],
        other=[
            (None, "Not attempted"),
            ("many", "A whole number is asked for, and this is str"),
            (17, "Not yet"),
            (-1e15, "Not yet"),
            (520128, "Right: 6.2%"),
        ],
        needs={"left": 128},
    ),
}

test_attempts = tried_on(ATTEMPTS)


def test_masks_and_changes_may_be_on_any_device(capsys, home):
    exercises.check_streaming_mask(home.asarray(STREAM))
    exercises.check_exposing_change(tuple(home.asarray(part) for part in (plus(KEY, 4), VALUE)))
    assert capsys.readouterr().out.count("Right") == 2


def test_the_changed_rows_are_those_that_change():
    example = companion.running_example()
    weights = [w[0] for w in (example.w_q, example.w_k, example.w_v)]
    other = example.x.copy()
    other[1] = example.embedding[0]
    before, after = (
        companion.scaled_dot_product_attention(
            *companion.project_qkv(x, *weights), is_causal=True, window=(1, 0)
        )
        for x in (example.x, other)
    )
    np.testing.assert_array_equal(np.flatnonzero((before != after).any(axis=-1)) + 1, [2, 3])


def test_the_visible_pairs_are_those_of_the_window_that_the_check_before_takes(capsys):
    for left, said in (
        (None, "left bound first"),
        (127, "127 is not the left bound that is asked for"),
        (129, "129 is not the left bound that is asked for"),
        (128.0, "Right"),
    ):
        pairs = 520128 if left is None else sum(min(i, int(left) + 1) for i in range(1, 4097))
        exercises.check_visible_pairs(pairs, left=left)
        assert said in capsys.readouterr().out


def test_the_visible_pairs_are_those_of_the_mask():
    blocks = (
        companion.window_mask(256, 4096, window=(128, 0), query_offset=first)
        for first in range(0, 4096, 256)
    )
    assert sum(int(block.sum()) for block in blocks) == 520128
