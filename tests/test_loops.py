"""The token-by-token definitions and the matrix forms give the same numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion import loops
from companion.arrays import to_numpy

TOLERANCE = 1e-13


def draw(*shapes):
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape) for shape in shapes]


@pytest.mark.claim("eq-projections")
def test_projection(home):
    x, weight = map(home.asarray, draw((5, 6), (6, 3)))
    loop, matrix = loops.project_loop(x, weight), companion.project(x, weight)
    np.testing.assert_allclose(to_numpy(loop), to_numpy(matrix), atol=TOLERANCE)


@pytest.mark.claim("eq-scaled-scores")
def test_scores(home):
    query, key = map(home.asarray, draw((4, 3), (5, 3)))
    loop = loops.scores_loop(query, key, scale=3**-0.5)
    np.testing.assert_allclose(
        to_numpy(loop), to_numpy(companion.scaled_scores(query, key)), atol=TOLERANCE
    )
    unscaled = companion.scaled_scores(query, key, scale=1.0)
    np.testing.assert_allclose(
        to_numpy(loops.scores_loop(query, key)), to_numpy(unscaled), atol=TOLERANCE
    )


@pytest.mark.claim("eq-softmax")
def test_softmax(home):
    (scores,) = map(home.asarray, draw((4, 5)))
    np.testing.assert_allclose(
        to_numpy(loops.softmax_loop(scores)), to_numpy(companion.softmax(scores)), atol=TOLERANCE
    )


@pytest.mark.claim("eq-weighted-values")
def test_weighted_values(home):
    weights, value = map(home.asarray, draw((4, 5), (5, 3)))
    np.testing.assert_allclose(
        to_numpy(loops.weighted_values_loop(weights, value)),
        to_numpy(companion.weighted_values(weights, value)),
        atol=TOLERANCE,
    )


@pytest.mark.claim("eq-attention")
@pytest.mark.parametrize("is_causal", [False, True])
def test_attention(home, is_causal):
    query, key, value = map(home.asarray, draw((7, 3), (5, 3), (5, 4)))
    loop = loops.attention_loop(query, key, value, is_causal=is_causal)
    matrix = companion.scaled_dot_product_attention(query, key, value, is_causal=is_causal)
    np.testing.assert_allclose(to_numpy(loop), to_numpy(matrix), atol=TOLERANCE)


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_causal_attention_of_any_size(length, d_k, d_v, seed):
    rng = np.random.default_rng(seed)
    query, key = rng.standard_normal((2, length, d_k))
    value = rng.standard_normal((length, d_v))
    loop = loops.attention_loop(query, key, value, is_causal=True)
    matrix = companion.scaled_dot_product_attention(query, key, value, is_causal=True)
    np.testing.assert_allclose(loop, matrix, atol=TOLERANCE)
