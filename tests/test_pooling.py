"""A sentence's vector is the mean of its tokens' rows, brought to length 1."""

import numpy as np
import pytest

from companion.arrays import to_numpy
from companion.encoder.pooling import mean_pool, unit_rows

STATES = np.asarray([[[1.0, 4.0], [3.0, 0.0], [7.0, 7.0]], [[2.0, 6.0], [5.0, 5.0], [9.0, 9.0]]])
MASK = np.asarray([[True, True, False], [True, False, False]])


def test_only_real_tokens_are_averaged(home):
    mean = mean_pool(home.asarray(STATES), home.asarray(MASK))
    np.testing.assert_array_equal(to_numpy(mean), [[2.0, 2.0], [2.0, 6.0]])


def test_without_a_mask_every_row_counts(home):
    mean = mean_pool(home.asarray(STATES))
    np.testing.assert_allclose(to_numpy(mean), STATES.mean(axis=1))


@pytest.mark.parametrize("padding", [np.nan, np.inf, 1e308])
def test_what_stands_in_the_padding_never_counts(home, padding):
    states = np.where(MASK[..., None], STATES, padding)
    mean = mean_pool(home.asarray(states), home.asarray(MASK))
    np.testing.assert_array_equal(to_numpy(mean), [[2.0, 2.0], [2.0, 6.0]])


def test_a_sentence_without_tokens_is_zero(home):
    mean = mean_pool(home.asarray(STATES), home.asarray(np.zeros((2, 3), dtype=bool)))
    np.testing.assert_array_equal(to_numpy(mean), np.zeros((2, 2)))
    assert mean_pool(home.asarray(STATES[:, :0])).shape == (2, 2)


def test_float16_is_averaged_without_overflow():
    states = np.full((100, 3), 60_000, dtype=np.float16)
    mean = mean_pool(states)
    assert mean.dtype == np.float16
    np.testing.assert_array_equal(mean, states[0])
    units = unit_rows(states)
    assert units.dtype == np.float16
    np.testing.assert_allclose(units, 1 / np.sqrt(3), rtol=1e-3)


def test_rows_of_length_one_keep_their_direction(home):
    x = np.random.default_rng(0).standard_normal((4, 5, 7))
    units = to_numpy(unit_rows(home.asarray(x)))
    np.testing.assert_allclose(np.linalg.norm(units, axis=-1), 1, rtol=1e-15)
    np.testing.assert_allclose(units * np.linalg.norm(x, axis=-1, keepdims=True), x, rtol=1e-12)


def test_a_row_of_zeros_stays(home):
    units = unit_rows(home.asarray(np.asarray([[3.0, 4.0], [0.0, 0.0]])))
    np.testing.assert_allclose(to_numpy(units), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-15)


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e20, 1e38])
def test_squares_that_leave_the_range_of_the_floats_do_no_harm(home, size):
    x = (size * np.asarray([[0.6, -0.8], [1.0, 0.0]])).astype(np.float32)
    units = to_numpy(unit_rows(home.asarray(x)))
    np.testing.assert_allclose(units, [[0.6, -0.8], [1.0, 0.0]], rtol=1e-6)


def test_rows_without_numbers_stay(home):
    assert unit_rows(home.asarray(np.zeros((3, 0)))).shape == (3, 0)
