"""Rotary positions and linear biases: distance alone counts, in both pairings, and how it fails."""

import cmath

import array_api_compat.numpy as xp_numpy
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion import scaled_dot_product_attention as attend
from tests.support.homes import array_homes

seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)
PAIRINGS = ("half", "interleaved")
pairings = st.sampled_from(PAIRINGS)
HOMES = pytest.mark.parametrize("home", array_homes(), ids=lambda home: home.name)


def pairs_of(row, pairing):
    """Read a row as complex numbers, one a pair, by the definition."""
    half = len(row) // 2
    if pairing == "half":
        return [complex(row[m], row[m + half]) for m in range(half)]
    return [complex(row[2 * m], row[2 * m + 1]) for m in range(half)]


@pytest.mark.claim("eq-rotary")
@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("base", [10_000.0, 100_000.0, 7.5])
def test_rotation_multiplies_each_pair_with_its_own_unit_number(pairing, base):
    rng = np.random.default_rng(3)
    x, positions = rng.standard_normal((4, 6)), np.asarray([0, 1, 5, 4000])
    rotated = companion.rotate(x, positions, base=base, pairing=pairing)
    for row, position, turned in zip(x, positions, rotated, strict=True):
        angles = [position * base ** (-2 * m / 6) for m in range(3)]
        expected = [
            z * cmath.exp(1j * angle)
            for z, angle in zip(pairs_of(row, pairing), angles, strict=True)
        ]
        np.testing.assert_allclose(pairs_of(turned, pairing), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.claim("thm-rotary-distance")
@given(seeds, pairings, st.integers(-5000, 5000))
def test_the_scores_depend_on_the_distance_alone(rng, pairing, shift):
    query, key = rng.standard_normal((2, 3, 7, 8))
    positions = rng.integers(0, 100, 7)

    def scores(at):
        q, k = (companion.rotate(x, at, pairing=pairing) for x in (query, key))
        return companion.scaled_scores(q, k)

    np.testing.assert_allclose(scores(positions + shift), scores(positions), atol=1e-9)


@pytest.mark.claim("thm-rotary-distance")
@given(seeds, pairings)
def test_each_score_is_that_of_a_key_turned_by_the_distance(rng, pairing):
    query, key = rng.standard_normal((2, 5, 6))
    places = np.arange(5)
    q, k = (companion.rotate(x, places, pairing=pairing) for x in (query, key))
    for i in range(5):
        distances = places - i
        away = companion.rotate(key, distances, pairing=pairing)
        np.testing.assert_allclose(q[i] @ k.T, query[i] @ away.T, atol=1e-12)


def test_a_score_is_another_at_another_distance():
    query, key = np.random.default_rng(0).standard_normal((2, 1, 6))
    scores = [
        (companion.rotate(query, np.asarray([i])) @ companion.rotate(key, np.asarray([3])).T).item()
        for i in range(3, 9)
    ]
    assert np.abs(np.diff(scores)).min() > 1e-3


@given(seeds, pairings, pairings)
def test_turning_back_undoes_it_with_the_same_pairs_alone(rng, pairing, other):
    x, positions = rng.standard_normal((2, 3, 5, 6)), rng.integers(1, 9000, (2, 5))
    rotated = companion.rotate(x, positions, pairing=pairing)
    back = companion.rotate_back(rotated, positions, pairing=other)
    assert np.allclose(back, x, atol=1e-12) == (pairing == other)


@given(seeds, pairings)
def test_turning_back_is_the_transpose(rng, pairing):
    x, y = rng.standard_normal((2, 5, 6))
    positions = rng.integers(-50, 50, 5)
    forth = companion.rotate(x, positions, pairing=pairing)
    back = companion.rotate_back(y, positions, pairing=pairing)
    np.testing.assert_allclose((forth * y).sum(), (x * back).sum(), atol=1e-12)
    np.testing.assert_allclose((forth**2).sum(axis=-1), (x**2).sum(axis=-1))  # no length changes


@given(seeds)
def test_one_pairing_is_the_other_on_columns_in_another_order(rng):
    x, positions = rng.standard_normal((5, 8)), rng.integers(0, 99, 5)
    order = np.arange(8).reshape(2, 4).T.reshape(-1)  # 0 4 1 5 …: halves side by side
    interleaved = companion.rotate(x[:, order], positions, pairing="interleaved")
    np.testing.assert_array_equal(interleaved, companion.rotate(x, positions)[:, order])


def test_each_text_of_a_batch_has_positions_of_its_own():
    x = np.random.default_rng(1).standard_normal((2, 3, 4, 6))
    positions = np.asarray([[0, 1, 2, 3], [7, 7, 8, 10]])
    rotated = companion.rotate(x, positions)
    for b, h in np.ndindex(2, 3):
        np.testing.assert_array_equal(
            rotated[b, h], companion.rotate(x[b, h], positions[b]), strict=True
        )


def test_far_positions_keep_their_digits_in_single_precision():
    x = np.random.default_rng(2).standard_normal((3, 64))
    positions = np.asarray([100_000, 1_000_003, 2**24 + 1])  # beyond float32's whole numbers
    single = companion.rotate(x.astype(np.float32), positions)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, companion.rotate(x, positions), atol=2e-6)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_narrow_rows_are_turned_in_float32_and_rounded_once(dtype):
    x = np.random.default_rng(2).standard_normal((5, 8)).astype(dtype)
    wide = companion.rotate(x.astype(np.float32), np.arange(5))
    rotated = companion.rotate(x, np.arange(5))
    assert rotated.dtype == dtype
    np.testing.assert_array_equal(rotated, wide.astype(dtype))


def test_fractions_of_positions_stretch_the_context():
    x = np.random.default_rng(4).standard_normal((5, 8))
    np.testing.assert_allclose(
        companion.rotate(x, np.arange(5) / 2)[::2], companion.rotate(x[::2], np.arange(3))
    )


@HOMES
@pytest.mark.parametrize("pairing", PAIRINGS)
def test_rotation_follows_its_arrays(home, pairing):
    x = np.random.default_rng(5).standard_normal((2, 3, 4, 6))
    positions = np.asarray([[0, 1, 2, 3], [4, 5, 6, 7]])
    there = companion.rotate(home.asarray(x), home.asarray(positions), pairing=pairing)
    expected = companion.rotate(x, positions, pairing=pairing)
    np.testing.assert_allclose(companion.to_numpy(there), expected, rtol=1e-12, atol=1e-14)
    back = companion.rotate_back(there, home.asarray(positions), pairing=pairing)
    np.testing.assert_allclose(companion.to_numpy(back), x, rtol=1e-9, atol=1e-12)


@pytest.mark.claim("cor-rotary-products")
def test_only_products_mattered_and_with_rotation_they_are_those_of_each_distance():
    """A change of basis that no plain score can see changes rotated scores."""
    rng = np.random.default_rng(6)
    query, key = rng.standard_normal((2, 5, 6))
    basis = rng.standard_normal((6, 6))
    q, k = query @ basis, key @ np.linalg.inv(basis).T
    np.testing.assert_allclose(q @ k.T, query @ key.T, atol=1e-9)
    at = np.arange(5)

    def scores(query, key):
        return companion.rotate(query, at) @ companion.rotate(key, at).T

    assert np.abs(scores(q, k) - scores(query, key)).max() > 0.1
    # One that turns the pairs themselves, by any angle each, is seen by neither.
    turns = rng.standard_normal((1, 1))
    q, k = (companion.rotate(x, np.repeat(turns[0], 5)) for x in (query, key))
    np.testing.assert_allclose(scores(q, k), scores(query, key), atol=1e-12)


# Linear biases


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 6, 8, 12, 16])
def test_the_slopes_are_those_of_the_published_recipe(heads):
    def powers(n):
        start = 2 ** (-(2 ** -(np.log2(n) - 3)))
        return [start * start**i for i in range(n)]

    below = 2 ** int(np.floor(np.log2(heads)))
    expected = powers(below) + powers(2 * below)[0::2][: heads - below]
    np.testing.assert_allclose(companion.alibi_slopes(heads, xp=xp_numpy), expected, rtol=1e-12)


@given(seeds, st.integers(1, 6), st.integers(1, 6), st.integers(-4, 4))
def test_a_biased_score_falls_by_slope_times_distance(rng, queries, keys, offset):
    slopes = companion.alibi_slopes(3, xp=xp_numpy)
    mask = companion.alibi_mask(slopes, queries, keys, query_offset=offset)
    for h, i, j in np.ndindex(3, queries, keys):
        assert mask[h, i, j] == -slopes[h] * abs(i + offset - j)
    query, key, value = (rng.standard_normal((3, n, 4)) for n in (queries, keys, keys))
    got = attend(query, key, value, mask)
    weights = companion.softmax(companion.scaled_scores(query, key) + mask)
    np.testing.assert_allclose(got, weights @ value, atol=1e-12)


@HOMES
def test_the_bias_follows_its_array(home):
    slopes = home.asarray(companion.alibi_slopes(3, xp=xp_numpy, dtype=np.float32))
    mask = companion.alibi_mask(slopes, 2, 5, query_offset=3)
    assert mask.dtype == slopes.dtype
    expected = companion.alibi_mask(companion.to_numpy(slopes), 2, 5, query_offset=3)
    np.testing.assert_array_equal(companion.to_numpy(mask), expected)
