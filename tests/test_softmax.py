"""Softmax and weighted values: oracles, edges, every claim of the chapter, pitfalls, checkers."""

import math

import hypothesis
import jax
import numpy as np
import pytest
import scipy.special
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import companion
from companion import pitfalls
from companion.arrays import to_numpy
from tests.support.homes import NUMPY, array_homes

jax.config.update("jax_enable_x64", True)

EPSILON = 2.0**-52
HOMES = st.sampled_from(array_homes())


def normal(*shape, seed=0, spread=1.0):
    return spread * np.random.default_rng(seed).standard_normal(shape)


def rows(least=1, most=9, bound=40.0):
    """Draw one row of finite scores."""
    numbers = st.floats(-bound, bound, allow_subnormal=False)
    return hnp.arrays(np.float64, st.integers(least, most), elements=numbers)


def spectral_norm(matrix):
    return np.linalg.norm(matrix, ord=2, axis=(-2, -1))


@pytest.fixture(scope="module")
def head():
    example = companion.running_example(NUMPY.xp)
    weights = (w[0, ...] for w in (example.w_q, example.w_k, example.w_v))
    query, key, value = companion.project_qkv(example.x, *weights)
    return query, key, value, companion.scaled_scores(query, key)


# The function itself, against others' and at its edges.


@pytest.mark.claim("eq-softmax", "eq-logsumexp")
@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
@pytest.mark.parametrize("spread", [1.0, 300.0])
def test_agrees_with_scipy_along_every_axis(home, axis, spread):
    scores = normal(3, 5, 4, spread=spread)
    ours = home.asarray(scores)
    weights = to_numpy(companion.softmax(ours, axis=axis))
    logs = to_numpy(companion.logsumexp(ours, axis=axis))
    np.testing.assert_allclose(weights, scipy.special.softmax(scores, axis=axis), rtol=1e-13)
    np.testing.assert_allclose(logs, scipy.special.logsumexp(scores, axis=axis), rtol=1e-13)


@pytest.mark.claim("eq-softmax", "eq-logsumexp")
def test_agrees_with_jax():
    scores = normal(4, 5, spread=30.0)
    np.testing.assert_allclose(companion.softmax(scores), jax.nn.softmax(scores), rtol=1e-13)
    theirs = jax.scipy.special.logsumexp(scores, axis=-1)
    np.testing.assert_allclose(companion.logsumexp(scores), theirs, rtol=1e-13)


@pytest.mark.claim("eq-logsumexp")
@given(HOMES, rows())
def test_a_weight_is_the_exponential_of_score_minus_logsumexp(home, scores):
    ours = home.asarray(scores)
    expected = np.exp(scores - float(companion.logsumexp(ours)))
    np.testing.assert_allclose(to_numpy(companion.softmax(ours)), expected, rtol=1e-13)


@pytest.mark.claim("eq-softmax")
@given(HOMES, rows())
def test_rows_are_positive_sum_to_one_and_ratios_are_differences(home, scores):
    weights = to_numpy(companion.softmax(home.asarray(scores)))
    assert np.all(weights > 0)
    assert abs(weights.sum() - 1) <= len(scores) * EPSILON
    ratios = weights[:, None] / weights[None, :]
    np.testing.assert_allclose(ratios, np.exp(scores[:, None] - scores[None, :]), rtol=1e-13)


@given(st.permutations(range(6)))
def test_permuted_scores_have_permuted_weights(order):
    scores = normal(6, seed=3)
    permuted = companion.softmax(scores[list(order)])
    np.testing.assert_allclose(permuted, companion.softmax(scores)[list(order)], rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_largest_finite_scores_neither_overflow_nor_warn(dtype):
    largest = np.finfo(dtype).max
    scores = np.asarray([[largest, -largest, 0], [largest, largest, -largest]], dtype=dtype)
    weights = companion.softmax(scores)
    assert weights.dtype == dtype
    np.testing.assert_array_equal(weights, np.asarray([[1, 0, 0], [0.5, 0.5, 0]], dtype=dtype))
    expected = np.asarray([largest, largest], dtype=dtype)  # log 2 is lost beside it
    np.testing.assert_array_equal(companion.logsumexp(scores), expected)


def test_a_row_that_is_all_hidden_gets_no_weight(home):
    scores = home.asarray(np.asarray([[-np.inf, -np.inf], [-np.inf, 3.0]]))
    for function in (companion.softmax, companion.hardmax):
        np.testing.assert_array_equal(to_numpy(function(scores)), [[0, 0], [0, 1]])
    np.testing.assert_array_equal(to_numpy(companion.logsumexp(scores)), [-np.inf, 3.0])


@pytest.mark.parametrize("stray", [np.nan, np.inf])
def test_a_score_that_is_not_a_number_shows(stray):
    with np.errstate(invalid="ignore"):
        weights = companion.softmax(np.asarray([0.0, stray, 1.0]))
    assert np.isnan(weights).all()


def test_no_scores_make_no_weights(home):
    for shape in ((3, 0), (0, 3), (0,)):
        empty = home.asarray(np.zeros(shape))
        for function in (companion.softmax, companion.hardmax):
            assert function(empty).shape == shape
    assert companion.logsumexp(home.asarray(np.zeros((0, 3)))).shape == (0,)


@pytest.mark.parametrize("shape", [(1,), (1, 1), (97,), (2, 3, 257)])
def test_float16_is_computed_in_float32_and_rounded_once(shape):
    scores = normal(*shape, spread=3.0).astype(np.float16)
    weights = companion.softmax(scores)
    wide = companion.softmax(scores.astype(np.float32))
    np.testing.assert_array_equal(weights, wide.astype(np.float16))
    value = normal(shape[-1], 3).astype(np.float16)
    if len(shape) > 1:
        mixed = companion.weighted_values(weights, value)
        exact = weights.astype(np.float32) @ value.astype(np.float32)
        np.testing.assert_array_equal(mixed, exact.astype(np.float16))


# Only differences count.


@pytest.mark.claim("prop-softmax-shift")
@given(HOMES, rows(bound=10.0), st.floats(-1e6, 1e6))
def test_a_shift_of_the_row_changes_nothing(home, scores, shift):
    moved = to_numpy(companion.softmax(home.asarray(scores + shift)))
    # The shifted scores are off by half a unit in the last place each, and so are the weights.
    error = 2 * EPSILON * (abs(shift) + 10.0) + 1e-14
    np.testing.assert_allclose(moved, companion.softmax(scores), rtol=2 * error)


@pytest.mark.claim("prop-softmax-shift")
@given(rows(least=2, bound=10.0), rows(least=2, bound=10.0), st.booleans())
def test_equal_weights_come_only_from_a_shift(scores, others, shifted):
    others = scores + others[0] if shifted else np.resize(others, scores.shape)
    spread = np.ptp(scores - others)
    assume(spread < 1e-12 or spread > 1e-6)
    same = np.allclose(companion.softmax(scores), companion.softmax(others), rtol=1e-9, atol=0)
    assert same == (spread < 1e-12)


@pytest.mark.claim("prop-softmax-shift")
@given(rows(bound=700.0))
def test_numerators_and_denominator_are_bounded(scores):
    powers = np.exp(scores - scores.max())
    assert powers.max() == 1
    assert 1 <= powers.sum() <= len(scores) * (1 + EPSILON * len(scores))
    np.testing.assert_allclose(companion.softmax(scores), powers / powers.sum(), rtol=1e-15)


@pytest.mark.claim("cor-key-bias")
@given(HOMES, hnp.arrays(np.float64, 3, elements=st.floats(-10, 10)))
def test_a_bias_on_all_keys_changes_no_weight(home, bias):
    query, key = home.asarray(normal(4, 3)), home.asarray(normal(5, 3, seed=1))
    before = companion.softmax(companion.scaled_scores(query, key))
    after = companion.softmax(companion.scaled_scores(query, key + home.asarray(bias)))
    np.testing.assert_allclose(to_numpy(after), to_numpy(before), atol=1e-13)


# Log-sum-exp.


@pytest.mark.claim("prop-logsumexp")
@given(HOMES, rows(), st.floats(-100, 100))
def test_logsumexp_lies_above_the_maximum_by_at_most_log_n(home, scores, shift):
    smooth = float(companion.logsumexp(home.asarray(scores)))
    slack = 4 * EPSILON * (np.abs(scores).max() + 4)
    assert scores.max() - slack <= smooth <= scores.max() + math.log(len(scores)) + slack
    moved = float(companion.logsumexp(home.asarray(scores + shift)))
    assert moved == pytest.approx(smooth + shift, abs=1e-12)


@pytest.mark.claim("prop-logsumexp")
def test_logsumexp_meets_its_bounds_only_where_it_should():
    one, equal, mixed = np.asarray([3.0]), np.full(7, 3.0), np.asarray([3.0, 2.0, 3.0])
    assert companion.logsumexp(one) == 3.0
    assert companion.logsumexp(equal) == pytest.approx(3.0 + math.log(7), rel=1e-15)
    assert 3.0 + 1e-3 < companion.logsumexp(mixed) < 3.0 + math.log(3) - 1e-3


@pytest.mark.claim("prop-logsumexp")
def test_the_slope_of_logsumexp_is_the_softmax():
    scores = normal(6)
    slope = jax.jit(jax.grad(jax.scipy.special.logsumexp))(scores)
    np.testing.assert_allclose(companion.softmax(scores), slope, rtol=1e-13)
    h = 1e-5
    ahead, back = (companion.logsumexp(scores + sign * h * np.eye(6)) for sign in (1, -1))
    np.testing.assert_allclose((ahead - back) / (2 * h), slope, atol=1e-9)


# Soft and hard look-up.


@pytest.mark.claim("prop-soft-lookup-limit")
@given(
    HOMES,
    st.lists(st.integers(-3, 3), min_size=1, max_size=8),
    st.floats(0.0, 60.0),
    hnp.arrays(np.float64, (8, 2), elements=st.floats(-5, 5)),
)
def test_a_soft_look_up_tends_to_a_hard_one(home, scores, beta, values):
    scores, values = np.asarray(scores, dtype=np.float64), values[: len(scores)]
    n, top = len(scores), scores == scores.max()
    m = int(top.sum())
    gap = scores.max() - scores[~top].max() if m < n else 1.0
    weights = to_numpy(companion.softmax(home.asarray(beta * scores)))
    bound = (n - m) / m * math.exp(-beta * gap)
    assert weights[~top].sum() <= bound * (1 + 1e-12)
    assert np.ptp(weights[top]) == 0
    limit = to_numpy(companion.hardmax(home.asarray(scores)))
    np.testing.assert_allclose(limit, top / m, rtol=1e-15)
    assert np.abs(weights - limit).max() <= bound * (1 + 1e-12) + 4 * EPSILON
    distance = np.linalg.norm(weights @ values - limit @ values)
    largest = np.linalg.norm(values, axis=-1).max()
    assert distance <= 2 * largest * bound * (1 + 1e-12) + 1e-14


@pytest.mark.claim("prop-soft-lookup-limit")
@given(rows(bound=5.0), st.floats(0.0, 2.0))
def test_a_small_beta_gives_the_plain_mean(scores, beta):
    weights, n, spread = companion.softmax(beta * scores), len(scores), np.ptp(scores)
    assert np.all(weights >= math.exp(-beta * spread) / n * (1 - 1e-12))
    assert np.all(weights <= math.exp(beta * spread) / n * (1 + 1e-12))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_hardmax_shares_among_ties_along_an_axis(home, axis):
    scores = np.asarray([[1.0, 2.0, 2.0], [1.0, 0.0, 2.0]])
    shares = to_numpy(companion.hardmax(home.asarray(scores), axis=axis))
    expected = scores == scores.max(axis=axis, keepdims=True)
    expected = expected / expected.sum(axis=axis, keepdims=True)
    np.testing.assert_array_equal(shares, expected)


# Mixtures of values.


@pytest.mark.claim("eq-weighted-values")
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_each_output_row_is_its_own_mixture(home, batch):
    weights, value = np.abs(normal(*batch, 4, 5)), normal(*batch, 5, 3, seed=1)
    mixed = to_numpy(companion.weighted_values(home.asarray(weights), home.asarray(value)))
    for i in range(4):
        row = sum(weights[..., i, j, None] * value[..., j, :] for j in range(5))
        np.testing.assert_allclose(mixed[..., i, :], row, atol=1e-13)


@pytest.mark.claim("eq-weighted-values")
def test_exchanging_a_value_row_moves_each_output_by_its_weight(home):
    weights = companion.softmax(home.asarray(normal(6, 5)))
    value, other = normal(5, 3, seed=1), normal(5, 3, seed=2)
    swapped = np.where(np.arange(5)[:, None] == 2, other, value)
    before, after = (companion.weighted_values(weights, home.asarray(v)) for v in (value, swapped))
    expected = to_numpy(weights)[:, 2:3] * (other - value)[2]
    np.testing.assert_allclose(to_numpy(after - before), expected, atol=1e-14)


@pytest.mark.claim("eq-attention")
def test_the_whole_formula_is_its_steps(head):
    query, key, value, scores = head
    steps = companion.weighted_values(companion.softmax(scores), value)
    np.testing.assert_array_equal(companion.scaled_dot_product_attention(query, key, value), steps)
    theirs = jax.nn.softmax(query @ key.T / math.sqrt(3)) @ value
    np.testing.assert_allclose(steps, theirs, atol=1e-14)


def test_attention_has_no_one_constant_for_all_x():
    """Two tokens 0 and t, all matrices (1): the first output answers to x_1 like t²/4."""

    def output(x):
        return companion.scaled_dot_product_attention(x, x, x)[0, 0]

    for t in (1.0, 10.0, 100.0):
        h = 1e-5 / t
        slope = (output(np.asarray([[h], [t]])) - output(np.asarray([[-h], [t]]))) / (2 * h)
        np.testing.assert_allclose(slope, 0.5 + t**2 / 4, rtol=1e-5)
    one = np.asarray([[3.0]])
    assert companion.scaled_dot_product_attention(one, one, one) == one  # with N = 1 it is x W^V


@pytest.mark.claim("prop-convex-hull")
def test_a_best_value_inside_the_hull_is_reached_with_weight_on_all():
    """Part 4 speaks of corners: in between, what the other values add may cancel."""
    scores, value = np.asarray([[0.0, 5.0, 0.0]]), np.asarray([[-1.0], [0.0], [1.0]])
    weights = companion.softmax(scores)
    assert np.all(weights > 0.006)
    assert companion.weighted_values(weights, value)[0, 0] == value[1, 0]
    corner = companion.weighted_values(weights, value[[1, 0, 2]])  # the best value is an end now
    assert -1 < corner[0, 0] < -0.9


@pytest.mark.claim("prop-convex-hull")
@given(
    HOMES,
    hnp.arrays(np.float64, (3, 5), elements=st.floats(-30, 30)),
    hnp.arrays(np.float64, (5, 2), elements=st.floats(-1e3, 1e3, allow_subnormal=False)),
    hnp.arrays(np.float64, 2, elements=st.floats(-1, 1)),
)
def test_outputs_stay_among_the_values(home, scores, value, direction):
    weights = companion.softmax(home.asarray(scores))
    mixed = to_numpy(companion.weighted_values(weights, home.asarray(value)))
    slack = 1e-12 * (1 + np.abs(value).max())
    # In the convex hull: no direction in which an output goes further than every value.
    assert np.all(mixed @ direction <= (value @ direction).max() + slack)
    assert np.all(mixed <= value.max(axis=0) + slack)
    assert np.all(mixed >= value.min(axis=0) - slack)
    for order in (1, 2, np.inf):
        lengths = np.linalg.norm(value, ord=order, axis=-1)
        mean = to_numpy(weights) @ lengths
        assert np.all(np.linalg.norm(mixed, ord=order, axis=-1) <= mean + slack)
        assert np.all(mean <= lengths.max() + slack)


@pytest.mark.claim("prop-convex-hull")
@given(st.floats(0.0, 30.0))
def test_finite_scores_reach_a_corner_only_if_all_values_are_equal(gap):
    weights = companion.softmax(np.asarray([[gap, 0.0]]))
    assert weights[0, 1] > 0
    assert companion.weighted_values(weights, np.asarray([[1.0], [0.0]]))[0, 0] < 1
    mixed = companion.weighted_values(weights, np.asarray([[2.0], [2.0]]))
    assert mixed[0, 0] == pytest.approx(2, rel=1e-15)


def test_in_float32_a_gap_of_18_is_a_hard_look_up_and_105_leaves_nothing():
    for gap, one, zero in ((16, False, False), (18, True, False), (80, True, False)):
        weights = companion.softmax(np.asarray([gap, 0], dtype=np.float32))
        assert (weights[0] == 1, weights[1] == 0) == (one, zero)
    assert companion.softmax(np.asarray([105, 0], dtype=np.float32))[1] == 0


def test_mixtures_of_inputs_is_refuted_by_one_token():
    """Find the smallest counterexample to *each output lies between the inputs*."""

    def refutes(case):
        x, weight = (np.asarray([[float(number)]]) for number in case)
        return companion.scaled_dot_product_attention(x, x, x @ weight)[0, 0] != x[0, 0]

    pairs = st.tuples(st.integers(), st.integers())
    settings = hypothesis.settings(derandomize=True, database=None)
    assert hypothesis.find(pairs, refutes, settings=settings) == (1, 0)


def test_mixing_and_projecting_change_places(head):
    *_, value, scores = head
    example, weights = companion.running_example(NUMPY.xp), companion.softmax(scores)
    mixed_first = companion.project(weights @ example.x, example.w_v[0, ...])
    np.testing.assert_allclose(
        mixed_first, companion.weighted_values(weights, value), rtol=0, atol=1e-14
    )


# The Jacobian.


@pytest.mark.claim("eq-softmax-jacobian")
def test_jacobian_is_the_derivative(home):
    scores = normal(2, 3, 5)
    ours = to_numpy(companion.softmax_jacobian(companion.softmax(home.asarray(scores))))
    assert ours.shape == (2, 3, 5, 5)
    derivative = jax.jit(jax.jacobian(jax.nn.softmax))
    for row in np.ndindex(2, 3):
        np.testing.assert_allclose(ours[row], derivative(scores[row]), atol=1e-15)


@pytest.mark.claim("eq-softmax-jacobian")
@given(rows(least=2, bound=5.0))
def test_jacobian_is_within_the_error_bound_of_central_differences(scores):
    n, h = len(scores), EPSILON ** (1 / 3)
    ahead, back = (companion.softmax(scores + sign * h * np.eye(n)) for sign in (1, -1))
    slopes = ((ahead - back) / (2 * h)).T  # the step's score becomes the column
    exact = companion.softmax_jacobian(companion.softmax(scores))
    assert np.abs(exact - slopes).max() < h**2 / 48 + (n + 8) * EPSILON / h


@pytest.mark.claim("prop-softmax-jacobian")
@given(rows(), st.integers(0, 2**32 - 1))
def test_jacobian_is_a_covariance(scores, seed):
    weights, x = companion.softmax(scores), normal(len(scores), seed=seed)
    jacobian = companion.softmax_jacobian(weights)
    variance = weights @ x**2 - (weights @ x) ** 2
    assert x @ jacobian @ x == pytest.approx(variance, abs=1e-13)
    np.testing.assert_allclose(jacobian, jacobian.T, rtol=0, atol=1e-17)
    for axis in (0, 1):
        np.testing.assert_allclose(jacobian.sum(axis=axis), 0, atol=len(scores) * EPSILON)
    assert np.linalg.eigvalsh(jacobian).min() > -len(scores) * EPSILON


@pytest.mark.claim("thm-jacobian-bound")
@given(rows(least=2))
def test_the_softmax_is_never_steep(scores):
    weights = companion.softmax(scores)
    norm = spectral_norm(companion.softmax_jacobian(weights))
    assert norm <= 0.5 + 1e-15
    if np.abs(np.sort(weights)[-2:] - 0.5).max() > 1e-3:
        assert norm < 0.5 - 1e-7
    else:
        assert norm == pytest.approx(0.5, abs=1e-2)


@pytest.mark.claim("thm-jacobian-bound")
@pytest.mark.parametrize("n", [2, 3, 8])
def test_two_halves_reach_the_bound(n):
    weights = np.asarray([0.5, 0.5] + [0.0] * (n - 2))
    assert spectral_norm(companion.softmax_jacobian(weights)) == pytest.approx(0.5, rel=1e-15)


@pytest.mark.claim("cor-softmax-lipschitz")
@given(rows(bound=10.0), st.integers(0, 2**32 - 1), st.floats(1e-3, 30.0))
def test_weights_and_outputs_move_continuously(scores, seed, spread):
    n = len(scores)
    others, value = scores + normal(n, seed=seed, spread=spread), normal(n, 3, seed=seed)
    step = np.linalg.norm(scores - others)
    change = companion.softmax(scores) - companion.softmax(others)
    assert np.linalg.norm(change) <= step / 2 + 1e-15
    assert np.linalg.norm(change @ value) <= step * spectral_norm(value) / 2 + 1e-14


@pytest.mark.claim("cor-softmax-lipschitz")
def test_no_constant_below_one_half_would_do():
    step = np.asarray([1e-3, -1e-3])
    change = companion.softmax(step) - companion.softmax(-step)
    assert np.linalg.norm(change) / np.linalg.norm(2 * step) > 0.499999


# What the scale is for.


@pytest.mark.claim("prop-saturation")
@given(rows(least=2, bound=15.0))
def test_a_lead_shuts_the_gradient_off(scores):
    second, first = np.sort(scores)[-2:]
    norm = spectral_norm(companion.softmax_jacobian(companion.softmax(scores)))
    bound = 2 * (len(scores) - 1) * math.exp(second - first)
    assert norm <= bound * (1 + 1e-2) if bound > 1e-13 else norm < 1e-12


@pytest.mark.claim("eq-query-gradient")
@pytest.mark.parametrize("scale", [1.0, -0.25])
def test_gradient_by_the_query(scale):
    query, key = normal(1, 8), normal(5, 8, seed=1)
    weights = companion.softmax(companion.scaled_scores(query, key, scale=scale))[0]
    ours = scale * companion.softmax_jacobian(weights) @ key
    theirs = jax.jit(jax.jacobian(lambda q: jax.nn.softmax(scale * key @ q)))(query[0])
    np.testing.assert_allclose(ours, theirs, atol=1e-14)
    assert spectral_norm(ours) <= abs(scale) * spectral_norm(key) / 2


def gradient_sizes(d_k, scale, draws=400, keys=16):
    """Measure the sizes of ∂w/∂s and ∂w/∂q for random queries and keys, as the chapter does."""
    rng = np.random.default_rng(11)
    key = rng.standard_normal((draws, keys, d_k))
    scores = companion.scaled_scores(rng.standard_normal((draws, 1, d_k)), key, scale=scale)
    jacobian = companion.softmax_jacobian(companion.softmax(scores)[:, 0, :])
    squared = np.linalg.eigvalsh(jacobian @ (key @ key.mT) @ jacobian)[:, -1]
    return np.linalg.eigvalsh(jacobian)[:, -1], scale * np.sqrt(squared)


def mean_and_error(sample):
    return sample.mean(), sample.std(ddof=1) / math.sqrt(len(sample))


def test_with_the_scale_no_gradient_depends_on_the_width():
    small, large = (gradient_sizes(d_k, 1 / math.sqrt(d_k)) for d_k in (16, 256))
    for before, after in zip(small, large, strict=True):
        assert 0.15 < np.median(after) < 0.25
        (first, e1), (second, e2) = mean_and_error(before), mean_and_error(after)
        assert abs(first - second) < 5 * math.hypot(e1, e2)


def test_without_the_scale_medians_collapse_but_the_mean_by_the_query_does_not():
    (s64, q64), (s256, q256) = (gradient_sizes(d_k, 1.0) for d_k in (64, 256))
    assert np.median(s256) < np.median(s64) / 5
    assert np.median(q256) < np.median(q64) / 3
    assert s256.max() <= 0.5 + 1e-12  # and never like exp(‖s‖)
    (by_scores, e1), (by_query, e2) = mean_and_error(s256), mean_and_error(q256)
    before, e0 = mean_and_error(s64)
    assert abs(by_scores - before / 2) < 0.15 * before + 3 * (e0 + e1)  # like 1/√d_k
    assert by_query + 3 * e2 > mean_and_error(q64)[0]
    assert by_query > 100 * np.median(s256)


@pytest.mark.claim("eq-effective-tokens")
@given(HOMES, rows(least=1, bound=30.0))
def test_the_effective_number_of_tokens(home, scores):
    weights = to_numpy(companion.softmax(home.asarray(scores)))
    entropy = -np.sum(weights * np.log(weights))
    assert entropy == pytest.approx(scipy.special.entr(weights).sum(), abs=1e-13)
    assert entropy == pytest.approx(
        float(companion.logsumexp(home.asarray(scores))) - weights @ scores, abs=1e-12
    )
    assert 1 - 1e-12 <= math.exp(entropy) <= len(scores) * (1 + 1e-12)


@pytest.mark.claim("eq-effective-tokens")
@pytest.mark.parametrize("n", [1, 2, 7])
def test_equal_weights_count_every_token_and_a_sure_one_counts_once(n):
    equal, sure = np.full(n, 1 / n), np.asarray([1.0] + [0.0] * (n - 1))
    assert math.exp(scipy.special.entr(equal).sum()) == pytest.approx(n)
    assert math.exp(scipy.special.entr(sure).sum()) == 1


def test_cat_in_float16_is_the_float64_row_rounded_once(head):
    query, key, value, _ = head
    half = (array.astype(np.float16) for array in (query, key, value))
    for array, narrow in zip(head, (a.astype(np.float16) for a in head), strict=False):
        if array is not head[3]:
            np.testing.assert_array_equal(array, narrow)
    row = companion.scaled_dot_product_attention(*half)[2]
    exact = companion.scaled_dot_product_attention(query, key, value)[2]
    np.testing.assert_array_equal(row, exact.astype(np.float16))


# What breaks.


def sums_to_one(function, scores):
    return np.allclose(function(scores).sum(axis=-1), 1)


def ignores_a_shift_of_all(function, scores):
    return np.allclose(function(scores + 1000), function(scores))


def ignores_a_shift_of_one_row(function, scores):
    lifted = scores + 1000.0 * (np.arange(len(scores))[:, None] == 0)
    return np.allclose(function(lifted), function(scores))


PROPERTIES = (sums_to_one, ignores_a_shift_of_all, ignores_a_shift_of_one_row)


@pytest.mark.parametrize(
    ("function", "held"),
    [
        (companion.softmax, (True, True, True)),
        (pitfalls.softmax_over_queries, (False, True, False)),
        (pitfalls.softmax_without_shift, (True, False, False)),
        (pitfalls.softmax_shifted_by_global_maximum, (True, True, False)),
    ],
)
def test_a_property_exposes_each_pitfall(head, function, held):
    with np.errstate(over="ignore", invalid="ignore"):
        assert tuple(has(function, head[3]) for has in PROPERTIES) == held


@pytest.mark.parametrize(("dtype", "score"), [("float32", 89.0), ("float16", 12.0)])
def test_without_the_shift_moderate_scores_overflow(dtype, score):
    scores = np.asarray([score, score - 1, 0], dtype=dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isnan(pitfalls.softmax_without_shift(scores)[0])
    assert np.isfinite(companion.softmax(scores)).all()


@pytest.mark.parametrize("function", [companion.hardmax, companion.softmax_jacobian])
def test_float16_is_rounded_once(function):
    numbers = np.random.default_rng(30).random((7, 33))
    half = companion.softmax(numbers).astype(np.float16)
    got = function(half)
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, function(half.astype(np.float32)).astype(np.float16))


def test_a_hard_look_up_does_not_hide_nan():
    assert np.isnan(companion.hardmax(np.asarray([1.0, np.nan, 2.0]))).all()
