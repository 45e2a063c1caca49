"""The feed-forward network and its activations against JAX, by the position, and without a bend."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from conftest import STRICT
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion import FeedForwardParameters, GatedFeedForwardParameters, pitfalls
from companion.arrays import to_numpy

jax.config.update("jax_enable_x64", True)

WIDE = np.concatenate([np.linspace(-40, 40, 4001), [0.0, 1e-300, -1e-300, 1e30, -1e30]])


def noisy(parameters, seed=9):
    """Give the biases something to say."""
    rng = np.random.default_rng(seed)
    return companion.map_parameters(
        lambda array: array + 0.1 * rng.standard_normal(array.shape), parameters
    )


@pytest.mark.claim("eq-gelu")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_gelu_is_relatively_exact_far_below_zero_too(dtype):
    x = WIDE.astype(dtype)
    wide = x.astype(np.float64)
    expected = wide * np.exp(scipy.special.log_ndtr(wide))
    known = np.abs(expected) > np.finfo(dtype).tiny  # below it float loses digits
    got = companion.gelu(x)
    assert got.dtype == dtype
    # Φ(x) passes on an error of x² units in the last place of x, in any way of computing it
    bound = 4 * np.finfo(dtype).eps * (1 + wide**2)
    error = np.abs(got[known] / expected[known] - 1)
    assert (error <= bound[known]).all()


@pytest.mark.claim("eq-gelu-tanh")
def test_tanh_gelu_is_jaxs(home):
    x = WIDE[:-2]
    got = to_numpy(companion.gelu(home.asarray(x), approximate="tanh"))
    np.testing.assert_allclose(got, jax.nn.gelu(jnp.asarray(x), approximate=True), atol=1e-14)


@pytest.mark.claim("eq-silu")
def test_silu_is_jaxs_and_does_not_overflow(home):
    x = np.concatenate([WIDE, [-1e4, 1e4]])
    got = to_numpy(companion.silu(home.asarray(x)))
    expected = np.asarray(jax.nn.silu(jnp.asarray(x)))
    np.testing.assert_allclose(got, expected, rtol=1e-14, atol=1e-300)


@pytest.mark.claim("eq-relu")
def test_relu_is_jaxs(home):
    got = to_numpy(companion.relu(home.asarray(WIDE)))
    np.testing.assert_array_equal(got, np.asarray(jax.nn.relu(jnp.asarray(WIDE))))


@pytest.mark.parametrize("activation", [companion.relu, companion.gelu, companion.silu])
def test_float16_is_computed_in_float32_and_rounded_once(activation):
    x = np.linspace(-8, 8, 999).astype(np.float16)
    got = activation(x)
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, activation(x.astype(np.float32)).astype(np.float16))


@pytest.mark.claim("eq-feed-forward")
@pytest.mark.parametrize("bias", [False, True])
def test_two_layers_are_jaxs(bias):
    p = FeedForwardParameters.random(np.random.default_rng(1), width=6, hidden=10, bias=bias)
    p = noisy(p)
    x = np.random.default_rng(2).standard_normal((2, 3, 5, 6))
    hidden = jnp.asarray(x) @ p.w_1 + (p.b_1 if bias else 0)
    expected = jax.nn.gelu(hidden, approximate=False) @ p.w_2 + (p.b_2 if bias else 0)
    np.testing.assert_allclose(companion.feed_forward(x, p), expected, atol=1e-14)


@pytest.mark.claim("eq-gated")
def test_the_gated_network_is_jaxs(home):
    p = GatedFeedForwardParameters.random(np.random.default_rng(3), width=6, hidden=10)
    x = np.random.default_rng(4).standard_normal((2, 5, 6))
    expected = (jax.nn.silu(jnp.asarray(x) @ p.w_gate) * (x @ p.w_up)) @ p.w_down
    there = companion.map_parameters(home.asarray, p)
    got = companion.gated_feed_forward(home.asarray(x), there)
    np.testing.assert_allclose(to_numpy(got), expected, atol=1e-14)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_each_position_is_alone(seed, length):
    rng = np.random.default_rng(seed)
    p = noisy(FeedForwardParameters.random(rng, width=6, hidden=10), seed)
    x, order = rng.standard_normal((length, 6)), rng.permutation(length)
    output = companion.feed_forward(x, p)
    np.testing.assert_allclose(companion.feed_forward(x[order], p), output[order], atol=1e-13)
    changed = x.copy()
    changed[-1] += 1
    np.testing.assert_array_equal(companion.feed_forward(changed, p)[:-1], output[:-1])


def test_without_the_activation_it_is_one_affine_map():
    p = noisy(FeedForwardParameters.random(np.random.default_rng(5), width=6, hidden=10))
    x = np.random.default_rng(6).standard_normal((5, 6))
    one_map = x @ (p.w_1 @ p.w_2) + (p.b_1 @ p.w_2 + p.b_2)
    np.testing.assert_allclose(pitfalls.linear_feed_forward(x, p), one_map, atol=1e-14)
    assert np.abs(companion.feed_forward(x, p) - one_map).max() > 0.1
    # an affine map keeps midpoints; the network does not
    middle = (x[:1] + x[1:2]) / 2
    broken, right = (
        [f(rows, p) for rows in (x[:1], x[1:2], middle)]
        for f in (pitfalls.linear_feed_forward, companion.feed_forward)
    )
    np.testing.assert_allclose(broken[2], (broken[0] + broken[1]) / 2, atol=1e-14)
    assert np.abs(right[2] - (right[0] + right[1]) / 2).max() > 1e-3


def test_what_cannot_be_is_refused():
    x = np.ones((5, 6))
    with pytest.raises(ValueError, match="approximate must be 'none' or 'tanh', got 'erf'"):
        companion.gelu(x, approximate="erf")
    with pytest.raises(TypeError, match="must be a NumPy or CuPy array for approximate='none'"):
        companion.gelu(STRICT.asarray(x))
    for activation in (companion.gelu, companion.relu, companion.silu):
        with pytest.raises(TypeError, match="x must have a real floating dtype, got int64"):
            activation(np.arange(3))
    p = FeedForwardParameters.random(np.random.default_rng(7), width=5, hidden=8)
    with pytest.raises(ValueError, match=r"w_1 must be \(\.\.\., d=6, d_out\)"):
        companion.feed_forward(x, p)
    gated = GatedFeedForwardParameters.random(np.random.default_rng(7), width=5, hidden=8)
    with pytest.raises(ValueError, match=r"w_gate must be \(\.\.\., d=6, d_out\)"):
        companion.gated_feed_forward(x, gated)
