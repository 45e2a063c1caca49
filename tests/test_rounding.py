"""Bounds on rounding hold for every order, on every device, and are no larger than they must be."""

from fractions import Fraction

import array_api_compat.numpy
import jax.numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion import rounding
from companion.cost.rounding import attention_error_bound, gamma, round_significand, unit_roundoff
from tests.support.homes import STRICT

SINGLE = unit_roundoff("float32")
seeds = st.integers(0, 2**32 - 1)


def exact_dot(x, y):
    return sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(x, y, strict=True))


def size(x, y):
    return exact_dot(np.abs(x), np.abs(y))


def float32_total(products, rng):
    """Add up in float32 along a random tree."""
    parts = list(products)
    while len(parts) > 1:
        i, j = sorted(rng.choice(len(parts), 2, replace=False))
        parts.append(parts.pop(j) + parts.pop(i))
    return parts[0]


@pytest.mark.claim("eq-rounding-model")
@given(
    st.floats(2.0**-50, 2.0**50, width=32),
    st.floats(2.0**-50, 2.0**50, width=32),
    st.sampled_from(["+", "-", "*", "/"]),
)
def test_an_operation_is_exact_up_to_one_rounding(a, b, sign):
    def apply(x, y):
        return {"+": x + y, "-": x - y, "*": x * y, "/": x / y}[sign]

    exact = apply(Fraction(a), Fraction(b))
    error = abs(Fraction(float(apply(np.float32(a), np.float32(b)))) - exact)
    assert error <= Fraction(unit_roundoff(np.float32)) * abs(exact)


@pytest.mark.claim("eq-rounding-model")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_unit_roundoff_is_half_of_epsilon_and_is_reached(dtype):
    u = unit_roundoff(dtype)
    assert u == float(np.finfo(dtype).eps) / 2
    halfway = Fraction(1) + Fraction(u)  # a tie: rounded to 1
    assert dtype(1) + dtype(u) == 1
    assert dtype(1) + dtype(2 * u) > 1
    assert (halfway - 1) / halfway < Fraction(u)


def test_formats_go_by_dtype_of_any_library_or_by_name():
    assert unit_roundoff(STRICT.xp.float32) == unit_roundoff(np.dtype("float32")) == 2.0**-24
    assert unit_roundoff("tf32") == 2.0**-11
    assert unit_roundoff("bfloat16") == 2.0**-8
    with pytest.raises(ValueError, match=r"kind must be one of float64, float32, .* got 'int64'"):
        unit_roundoff(np.int64)


@pytest.mark.claim("lem-rounding-product")
@given(st.integers(1, 60), seeds, st.sampled_from([2.0**-7, 2.0**-11, 2.0**-24]))
def test_a_product_of_roundings_stays_within_gamma(n, seed, u):
    rng = np.random.default_rng(seed)
    # Both ends and both kinds of factor, exactly.
    deltas = [Fraction(u) * int(s) for s in rng.choice([-1, 1], n)]
    upright = rng.random(n) < 0.5
    product = Fraction(1)
    for delta, up in zip(deltas, upright, strict=True):
        product *= (1 + delta) if up else 1 / (1 + delta)
    bound = n * Fraction(u) / (1 - n * Fraction(u))
    assert abs(product - 1) <= bound
    assert gamma(n, u) == pytest.approx(float(bound), rel=1e-12)
    worst = (1 / (1 - Fraction(u))) ** n - 1
    assert worst >= n * Fraction(u)  # so no bound below n u can hold


def test_gamma_refuses_what_it_cannot_bound():
    assert gamma(0, SINGLE) == 0
    with pytest.raises(ValueError, match=r"n u must be below 1, got 256 · 0\.0039"):
        gamma(256, 2.0**-8)
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        gamma(-1, SINGLE)


@pytest.mark.claim("thm-dot-error")
@given(st.integers(1, 40), seeds, st.floats(0, 4))
def test_a_dot_product_in_any_order_is_within_the_bound(n, seed, spread):
    rng = np.random.default_rng(seed)
    x, y = (rng.standard_normal(n) * 10 ** rng.uniform(-spread, spread, n) for _ in range(2))
    x, y = x.astype(np.float32), y.astype(np.float32)
    allowed = Fraction(gamma(n, SINGLE)) * size(x, y)
    found = {Fraction(float(float32_total(x * y, rng))) for _ in range(4)}
    found.add(Fraction(float(x @ y)))
    assert all(abs(f - exact_dot(x, y)) <= allowed for f in found)


@pytest.mark.claim("thm-dot-error")
def test_order_changes_bits_and_the_bound_is_for_the_summands_not_for_the_sum():
    one, u = np.float32(1), np.float32(SINGLE)
    assert (one + u) + u == 1
    assert one + (u + u) > 1
    # Cancelling summands: no correct bit is left, and the bound says so.
    x, y = np.asarray([1, SINGLE, -1], dtype=np.float32), np.ones(3, dtype=np.float32)
    total = (x[0] + x[1]) + x[2]
    assert total == 0
    assert exact_dot(x, y) > 0
    assert exact_dot(x, y) <= Fraction(gamma(3, SINGLE)) * size(x, y)


def wide(arrays):
    return [np.asarray(a, dtype=np.float64) for a in arrays]


@pytest.mark.claim("thm-attention-error")
@given(st.integers(1, 40), st.integers(1, 12), seeds, st.floats(0.01, 4), st.booleans())
def test_attention_in_float32_is_within_the_bound(length, d_k, seed, spread, is_causal):
    rng = np.random.default_rng(seed)
    arrays = [
        (spread * rng.standard_normal((length, width))).astype(np.float32)
        for width in (d_k, d_k, 3)
    ]
    exact = companion.scaled_dot_product_attention(*wide(arrays), is_causal=is_causal)
    bound = attention_error_bound(*arrays, unit=SINGLE, is_causal=is_causal)
    single = companion.scaled_dot_product_attention(
        *arrays, is_causal=is_causal, implementation="textbook"
    )
    assert single.dtype == np.float32
    assert np.all(np.abs(single - exact) <= bound + 1e-14)


@pytest.mark.claim("thm-attention-error")
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_the_kernels_of_another_library_are_within_the_bound_too(spread):
    rng = np.random.default_rng(6)
    arrays = [(spread * rng.standard_normal((97, 16))).astype(np.float32) for _ in range(3)]
    output = companion.scaled_dot_product_attention(*(jax.numpy.asarray(a) for a in arrays))
    assert output.dtype == np.float32
    exact = companion.scaled_dot_product_attention(*wide(arrays))
    bound = attention_error_bound(*arrays, unit=SINGLE)
    assert np.all(np.abs(np.asarray(output) - exact) <= bound)


@pytest.mark.claim("thm-attention-error")
def test_the_bound_is_the_formula():
    rng = np.random.default_rng(8)
    q, k, v = rng.standard_normal((5, 3)), rng.standard_normal((7, 3)), rng.standard_normal((7, 2))
    u, scale, kappa = 2.0**-11, 0.4, rounding.EXPONENTIAL
    bound = attention_error_bound(q, k, v, unit=u, scale=scale)
    for i in range(5):
        weights = companion.softmax(scale * (k @ q[i]))
        largest = max(scale * np.abs(q[i]) @ np.abs(k[j]) for j in range(7))
        factor = np.exp(2 * gamma(3 + 4, u) * largest) * (1 + gamma(2 * 7 + 2 * kappa, u)) - 1
        np.testing.assert_allclose(bound[i], factor * (weights @ np.abs(v)), rtol=1e-12)


@pytest.mark.claim("thm-attention-error")
def test_the_bound_notices_tf32_and_sees_no_hidden_key():
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal((257, 64)).astype(np.float32) for _ in range(3)]
    exact = companion.scaled_dot_product_attention(*wide(arrays))
    bound = attention_error_bound(*arrays, unit=SINGLE)
    coarse = companion.scaled_dot_product_attention(*(round_significand(a, 10) for a in arrays))
    assert np.any(np.abs(coarse - exact) > 2 * bound)
    first = attention_error_bound(*arrays, unit=SINGLE, is_causal=True)[0]
    factor = first / np.abs(arrays[2][0].astype(np.float64))
    np.testing.assert_allclose(factor, factor[0])  # the first row sees its own value alone


def test_the_bound_follows_its_arrays(home):
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((2, 5, 3)).astype(np.float32) for _ in range(3)]
    there = attention_error_bound(*(home.asarray(a) for a in arrays), unit=SINGLE)
    assert str(there.dtype).endswith("float64")
    here = attention_error_bound(*arrays, unit=SINGLE)
    np.testing.assert_allclose(companion.to_numpy(there), here, rtol=1e-12)
    with pytest.raises(TypeError, match="query must have a real floating dtype"):
        attention_error_bound(np.ones((2, 2), dtype=int), arrays[1], arrays[2], unit=SINGLE)


@pytest.mark.claim("prop-rounded-inputs")
@given(st.integers(1, 64), seeds, st.sampled_from([7, 10]))
def test_rounded_inputs_and_a_finer_sum(n, seed, bits):
    rng = np.random.default_rng(seed)
    x, y = (rng.standard_normal(n).astype(np.float32) for _ in range(2))
    total = np.sum(round_significand(x, bits) * round_significand(y, bits))
    bound = (1 + 2.0 ** -(bits + 1)) ** 2 * (1 + gamma(n, SINGLE)) - 1
    assert abs(Fraction(float(total)) - exact_dot(x, y)) <= Fraction(bound) * size(x, y)


@pytest.mark.claim("prop-rounded-inputs")
def test_the_bound_for_rounded_inputs_is_nearly_reached():
    x = np.asarray([1 + 2.0**-8 - 2.0**-20], dtype=np.float32)  # just below a tie: down to 1
    error = abs(float(round_significand(x, 7)[0]) ** 2 - float(x[0]) ** 2)
    bound = ((1 + 2.0**-8) ** 2 - 1) * float(x[0]) ** 2
    assert 0.98 * bound < error <= bound


def test_seven_bits_are_bfloat16():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(100_000) * 10.0 ** rng.integers(-30, 30, 100_000)).astype(np.float32)
    theirs = jax.numpy.asarray(x).astype(jax.numpy.bfloat16).astype(jax.numpy.float32)
    no_tie = x.view(np.uint32) % 2**16 != 2**15
    np.testing.assert_array_equal(round_significand(x, 7)[no_tie], np.asarray(theirs)[no_tie])


@given(st.floats(allow_subnormal=False), st.integers(1, 52))
def test_rounding_goes_to_a_nearest_number(x, bits):
    # Up to here the next power of two is a finite number.
    if abs(x) >= 2.0**1023 or 0 < abs(x) < 2.0**-900:
        x = 0.0
    rounded = float(round_significand(np.asarray([x]), bits)[0])
    if not np.isfinite(x):
        assert rounded == x or (np.isnan(rounded) and np.isnan(x))
        return
    mantissa = Fraction(rounded) / Fraction(2) ** int(np.floor(np.log2(abs(rounded) or 1)) - bits)
    assert mantissa.denominator in (1, 2)  # log2 may be one too high just below a power of two
    assert abs(Fraction(rounded) - Fraction(x)) <= Fraction(2) ** -(bits + 1) * abs(Fraction(x))


def test_rounding_follows_its_array_and_checks_the_bits(home):
    x = home.asarray(np.asarray([1.0, 1.00390625 - 1e-5, 0.0, np.inf, -np.inf]))
    rounded = round_significand(x, 7)
    expected = [1.0, 1.0, 0.0, np.inf, -np.inf]
    np.testing.assert_array_equal(companion.to_numpy(rounded), expected)
    single = np.asarray([1.5, -3e38], dtype=np.float32)
    np.testing.assert_array_equal(round_significand(single, 23), single)
    assert round_significand(single, 2).dtype == np.float32
    for bits in (0, 53):
        with pytest.raises(ValueError, match=rf"bits must be in 1 … 52 for .*, got {bits}"):
            round_significand(x, bits)
    with pytest.raises(TypeError, match="x must have a real floating dtype"):
        round_significand(np.asarray([1]), 7)


def test_numpys_exponential_keeps_to_what_the_bound_assumes():
    xp = array_api_compat.numpy
    for dtype in (np.float32, np.float64):
        x = np.linspace(-80, 0, 20_001, dtype=dtype)
        exact = np.exp(x.astype(np.longdouble))
        error = np.max(np.abs(xp.exp(x) - exact) / exact)
        assert error <= gamma(rounding.EXPONENTIAL, unit_roundoff(dtype))
