"""Layer norm and root-mean-square norm against JAX and their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion import NormParameters, pitfalls
from companion.arrays import to_numpy

jax.config.update("jax_enable_x64", True)


def draw(*shapes):
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape) * 3 + 1 for shape in shapes]


@pytest.mark.claim("eq-layer-norm")
@pytest.mark.parametrize("eps", [1e-5, 1e-12, 0.5])
@pytest.mark.parametrize("with_bias", [True, False])
def test_layer_norm_is_that_of_jax(home, eps, with_bias):
    x, weight, bias = draw((2, 3, 5, 6), (6,), (6,))
    standardized = jax.nn.standardize(jnp.asarray(x), axis=-1, epsilon=eps)
    expected = standardized * weight + (bias if with_bias else 0)
    got = companion.layer_norm(
        home.asarray(x), home.asarray(weight), home.asarray(bias) if with_bias else None, eps=eps
    )
    np.testing.assert_allclose(to_numpy(got), expected, atol=1e-13)


@pytest.mark.claim("eq-layer-norm")
@given(st.integers(0, 2**32 - 1), st.floats(-100, 100), st.floats(0.5, 100))
def test_shift_and_scale_of_a_row_are_forgotten(seed, shift, scale):
    x = np.random.default_rng(seed).standard_normal((4, 6))
    one, zero = np.ones(6), np.zeros(6)
    normed = companion.layer_norm(x, one, zero, eps=0.0)
    np.testing.assert_allclose(normed.mean(axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose((normed**2).mean(axis=-1), 1, atol=1e-12)
    moved = companion.layer_norm(scale * x + shift, one, zero, eps=0.0)
    np.testing.assert_allclose(moved, normed, atol=1e-9)


@pytest.mark.claim("eq-rms-norm")
def test_rms_norm_is_its_definition(home):
    x, weight = draw((2, 5, 6), (6,))
    expected = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 0.25) * weight
    got = companion.rms_norm(home.asarray(x), home.asarray(weight), eps=0.25)
    np.testing.assert_allclose(to_numpy(got), expected, atol=1e-14)


def test_a_row_without_variance_gets_the_bias():
    bias = np.arange(6.0)
    row = np.full((1, 6), 7.0)
    np.testing.assert_array_equal(companion.layer_norm(row, np.ones(6), bias), bias[None])


def test_float16_is_computed_in_float32_and_rounded_once():
    x, weight, bias = (a.astype(np.float16) for a in draw((3, 64), (64,), (64,)))
    x *= 300  # squares overflow float16
    got = companion.layer_norm(x, weight, bias)
    single = companion.layer_norm(*(a.astype(np.float32) for a in (x, weight, bias)))
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, single.astype(np.float16))
    rms = companion.rms_norm(x, weight)
    single = companion.rms_norm(x.astype(np.float32), weight.astype(np.float32))
    np.testing.assert_array_equal(rms, single.astype(np.float16))


def test_broken_norms_are_given_away():
    x, weight, bias = draw((5, 6), (6,), (6,))
    weight, bias = np.ones(6), np.zeros(6)
    over_tokens = pitfalls.layer_norm_over_tokens(x, weight, bias)
    unbiased = pitfalls.layer_norm_unbiased(x, weight, bias, eps=0.0)
    assert over_tokens.shape == unbiased.shape == x.shape
    assert np.abs(over_tokens.mean(axis=-1)).max() > 0.1  # rows do not have mean 0
    changed = x.copy()
    changed[-1] += 1
    assert not np.allclose(
        pitfalls.layer_norm_over_tokens(changed, weight, bias)[:-1], over_tokens[:-1]
    )
    np.testing.assert_allclose((unbiased**2).mean(axis=-1), 5 / 6)  # not 1


@pytest.mark.parametrize("bias", [True, False])
def test_neutral_weights_change_nothing_more(home, bias):
    norm = NormParameters.neutral(6, bias=bias, xp=home.xp, dtype=home.xp.float32)
    assert norm.weight.dtype == home.xp.float32
    assert to_numpy(norm.weight).tolist() == [1.0] * 6
    assert (norm.bias is None) != bias


def test_what_does_not_fit_is_refused():
    x, weight, bias = draw((5, 6), (6,), (6,))
    with pytest.raises(ValueError, match=r"weight must be \(d,\) to match x \(5, 6\), got \(5,\)"):
        companion.layer_norm(x, weight[:5], bias)
    with pytest.raises(ValueError, match=r"bias must be \(d,\) to match x"):
        companion.layer_norm(x, weight, bias[:5])
    with pytest.raises(ValueError, match=r"eps must not be negative, got -1\.0"):
        companion.layer_norm(x, weight, bias, eps=-1.0)
    with pytest.raises(TypeError, match="weight must have the dtype of x"):
        companion.rms_norm(x, weight.astype(np.float32))


@pytest.mark.claim("prop-layer-norm")
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.sampled_from([0.0, 1e-5, 0.3]), st.data())
def test_layer_norm_is_a_projection_and_a_length(seed, d, eps, data):
    x = np.random.default_rng(seed).standard_normal((3, d)) * 3 + 1
    one, zero = np.ones(d), np.zeros(d)
    normed = companion.layer_norm(x, one, zero, eps=eps)
    projected = x @ (np.eye(d) - np.ones((d, d)) / d)
    squares = (projected**2).sum(axis=-1, keepdims=True)
    expected = np.sqrt(d) * projected / np.sqrt(squares + d * eps)
    np.testing.assert_allclose(normed, expected, rtol=1e-8, atol=1e-9)
    variance = x.var(axis=-1)
    np.testing.assert_allclose((normed**2).mean(axis=-1), variance / (variance + eps), rtol=1e-9)
    shift, scale = data.draw(st.floats(-100, 100)), data.draw(st.floats(0.01, 100))
    moved = companion.layer_norm(x + shift, one, zero, eps=eps)
    np.testing.assert_allclose(moved, normed, atol=1e-6)
    scaled = companion.layer_norm(scale * x, one, zero, eps=eps)
    other = companion.layer_norm(x, one, zero, eps=eps / scale**2)
    np.testing.assert_allclose(scaled, other, rtol=1e-9, atol=1e-9)
    if eps > 0:
        assert ((normed**2).mean(axis=-1) < 1).all()
