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


@pytest.mark.claim("eq-multi-head")
@pytest.mark.parametrize("is_causal", [False, True])
def test_multi_head_attention(home, is_causal):
    rng = np.random.default_rng(2)
    parameters = companion.AttentionParameters.random(
        rng, width=6, heads=4, kv_heads=2, d_k=3, d_v=5
    )
    parameters = companion.map_parameters(
        lambda array: home.asarray(array + 0.1 * rng.standard_normal(array.shape)), parameters
    )
    (x,) = map(home.asarray, draw((5, 6)))
    loop = loops.multi_head_attention_loop(x, parameters, is_causal=is_causal)
    matrix = companion.multi_head_attention(x, parameters, is_causal=is_causal)
    np.testing.assert_allclose(to_numpy(loop), to_numpy(matrix), atol=TOLERANCE)


@pytest.mark.claim("eq-feed-forward")
@pytest.mark.parametrize("bias", [False, True])
def test_feed_forward(home, bias):
    rng = np.random.default_rng(3)
    parameters = companion.FeedForwardParameters.random(rng, width=6, hidden=10, bias=bias)
    parameters = companion.map_parameters(
        lambda array: home.asarray(array + 0.1 * rng.standard_normal(array.shape)), parameters
    )
    (x,) = map(home.asarray, draw((5, 6)))
    loop = loops.feed_forward_loop(x, parameters, activation=companion.silu)
    matrix = companion.feed_forward(x, parameters, activation=companion.silu)
    np.testing.assert_allclose(to_numpy(loop), to_numpy(matrix), atol=TOLERANCE)


@pytest.mark.claim("eq-layer-norm")
def test_layer_norm(home):
    x, weight, bias = map(home.asarray, draw((5, 6), (6,), (6,)))
    loop = loops.layer_norm_loop(x, weight, bias, eps=0.1)
    matrix = companion.layer_norm(x, weight, bias, eps=0.1)
    np.testing.assert_allclose(to_numpy(loop), to_numpy(matrix), atol=TOLERANCE)
