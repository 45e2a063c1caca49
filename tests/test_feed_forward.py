"""The feed-forward network and its activations against JAX, by the position, and without a bend."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion import FeedForwardParameters, GatedFeedForwardParameters, pitfalls
from companion.arrays import to_numpy
from companion.figures import feed_forward as drawings
from tests.support.homes import STRICT

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
def test_tanh_gelu_is_that_of_jax(home):
    x = WIDE[:-2]
    got = to_numpy(companion.gelu(home.asarray(x), approximate="tanh"))
    np.testing.assert_allclose(got, jax.nn.gelu(jnp.asarray(x), approximate=True), atol=1e-14)


@pytest.mark.claim("eq-silu")
def test_silu_is_that_of_jax_and_does_not_overflow(home):
    x = np.concatenate([WIDE, [-1e4, 1e4]])
    got = to_numpy(companion.silu(home.asarray(x)))
    expected = np.asarray(jax.nn.silu(jnp.asarray(x)))
    np.testing.assert_allclose(got, expected, rtol=1e-14, atol=1e-300)


@pytest.mark.claim("eq-relu")
def test_relu_is_that_of_jax(home):
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
def test_two_layers_are_those_of_jax(bias):
    p = FeedForwardParameters.random(np.random.default_rng(1), width=6, hidden=10, bias=bias)
    p = noisy(p)
    x = np.random.default_rng(2).standard_normal((2, 3, 5, 6))
    hidden = jnp.asarray(x) @ p.w_1 + (p.b_1 if bias else 0)
    expected = jax.nn.gelu(hidden, approximate=False) @ p.w_2 + (p.b_2 if bias else 0)
    np.testing.assert_allclose(companion.feed_forward(x, p), expected, atol=1e-14)


@pytest.mark.claim("eq-gated")
def test_the_gated_network_is_that_of_jax(home):
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
    with pytest.raises(
        TypeError, match="a NumPy, CuPy, PyTorch or JAX array for approximate='none'"
    ):
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


def running():
    """Return X and the network of the running example."""
    example = companion.running_example(np)
    return example.x, example.block.feed_forward


@pytest.mark.claim("prop-position-wise")
@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.sampled_from([0, 1]))
def test_a_row_knows_nothing_of_others_or_of_its_place(seed, length, bias):
    rng = np.random.default_rng(seed)
    p = FeedForwardParameters.random(rng, width=6, hidden=10, bias=bool(bias))
    p = noisy(p, seed)
    x, place = rng.standard_normal((length, 6)), int(rng.integers(length))
    output = companion.feed_forward(x, p)
    order = rng.permutation(length)
    np.testing.assert_allclose(companion.feed_forward(x[order], p), output[order], atol=1e-12)
    changed = x.copy()
    changed[place] = rng.standard_normal(6)
    same = np.arange(length) != place
    moved = companion.feed_forward(changed, p)
    np.testing.assert_array_equal(moved[same], output[same])
    assert not np.array_equal(moved[place], output[place])
    alone = companion.feed_forward(x[place : place + 1], p)
    np.testing.assert_allclose(alone[0], output[place], atol=1e-12)


@pytest.mark.claim("prop-affine-collapse")
@pytest.mark.parametrize(("width", "hidden"), [(6, 10), (6, 2), (5, 5), (3, 1)])
def test_the_one_map_has_no_more_rank_than_the_hidden_layer(width, hidden):
    rng = np.random.default_rng(11)
    p = noisy(FeedForwardParameters.random(rng, width=width, hidden=hidden))
    x = rng.standard_normal((20, width))
    w, b = p.w_1 @ p.w_2, p.b_1 @ p.w_2 + p.b_2
    output = pitfalls.linear_feed_forward(x, p)
    np.testing.assert_allclose(output, x @ w + b, atol=1e-12)
    # seen from outside: differences of outputs span no more than min(d, d_ff) directions
    assert np.linalg.matrix_rank(output - output[:1]) == min(width, hidden)
    nothing = pitfalls.linear_feed_forward(np.zeros((1, width)), p)
    np.testing.assert_allclose(nothing[0], b, atol=1e-14)
    assert np.abs(b).max() > 0.01  # affine, and not linear


def test_the_map_without_activation_is_not_linear_the_smallest_counterexample():
    zero, one = np.zeros((1, 1)), np.ones(1)
    p = FeedForwardParameters(zero, np.zeros(1), zero, one)
    assert pitfalls.linear_feed_forward(np.zeros((1, 1)), p)[0, 0] == 1


def tanh_gelu(x):
    """Bend by the tanh form."""
    return companion.gelu(x, approximate="tanh")


BENDS = [companion.relu, companion.gelu, tanh_gelu, companion.silu]


@pytest.mark.claim("prop-reflection")
@pytest.mark.parametrize("bend", BENDS)
@given(x=st.floats(-50, 50))
def test_what_is_taken_from_a_positive_number_is_let_through_of_the_negative_one(bend, x):
    both = bend(np.asarray([x, -x]))
    assert abs(both[0] - both[1] - x) <= 1e-13 * max(1, abs(x))


def test_reflection_would_catch_another_bend():
    bent = np.logaddexp(0, np.asarray([1.0, -1.0])) ** 2  # softplus squared is not of the kind
    assert abs(bent[0] - bent[1] - 1) > 0.1


def test_where_the_forms_of_gelu_differ_and_how_deep_they_dip():
    grid = np.linspace(-8, 8, 160_001)
    exact = companion.gelu(grid)
    gap = np.abs(tanh_gelu(grid) - exact)
    assert 4.7e-4 < gap.max() < 4.8e-4
    assert abs(abs(grid[gap.argmax()]) - 2.699) < 0.002
    np.testing.assert_allclose(gap, gap[::-1], atol=1e-14)  # an even function
    assert abs(exact.min() + 0.16997) < 1e-5
    assert abs(grid[exact.argmin()] + 0.7518) < 1e-3
    # the condition of a lowest point: Φ(x) + x φ(x) = 0
    x = grid[exact.argmin()]
    slope = scipy.special.ndtr(x) + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    assert abs(slope) < 1e-4
    assert np.abs(exact - companion.relu(grid)).max() < 0.17
    assert abs(companion.silu(grid).min() + 0.2785) < 1e-4


def test_one_plus_erf_cancels_and_erfc_does_not():
    x = np.asarray([-6.0, -8.0, -9.0])
    expected = x * np.exp(scipy.special.log_ndtr(x))
    by_erf = x * (1 + scipy.special.erf(x / np.sqrt(2))) / 2
    error = np.abs(by_erf / expected - 1)
    assert error[0] > 1e-11
    assert error[1] > 1e-3
    assert error[2] == 1
    assert (np.abs(companion.gelu(x) / expected - 1) < 1e-13).all()
    assert np.float32(1) + scipy.special.erf(np.float32(-6 / np.sqrt(2))) == 0


def test_the_example_of_positive_numbers_exercises_nothing():
    draw = np.random.RandomState(42).rand
    p = FeedForwardParameters(*(draw(*shape) for shape in ((4, 8), (8,), (8, 4), (4,))))
    row = np.asarray([[1.0, 2, 3, 4]])
    before = row @ p.w_1 + p.b_1
    assert before.min() > 1.2
    exact, linear = companion.feed_forward(row, p), pitfalls.linear_feed_forward(row, p)
    tanh = companion.feed_forward(row, p, activation=tanh_gelu)
    np.testing.assert_allclose(exact, [[13.1175, 21.9869, 15.3624, 24.3429]], atol=5e-5)
    np.testing.assert_allclose(tanh, [[13.1174, 21.9871, 15.3625, 24.3430]], atol=5.1e-5)
    assert np.abs(linear / exact - 1).max() < 0.01
    relu = companion.feed_forward(row, p, activation=companion.relu)
    np.testing.assert_array_equal(relu, linear)
    # the running example has negative pre-activations, and there the bend counts
    x, network = running()
    assert ((x @ network.w_1 + network.b_1) < 0).sum() == 12
    gap = companion.feed_forward(x, network) - pitfalls.linear_feed_forward(x, network)
    assert np.abs(gap).max() > 0.5


@pytest.mark.claim("eq-memories")
def test_the_network_is_a_sum_over_its_hidden_units():
    x, p = running()
    total = np.zeros_like(x) + p.b_2
    for m in range(10):
        total += np.outer(companion.gelu(x @ p.w_1[:, m] + p.b_1[m]), p.w_2[m])
    np.testing.assert_allclose(companion.feed_forward(x, p), total, atol=1e-14)


def test_row_three_by_hand():
    x, p = running()
    np.testing.assert_array_equal(x[2], [0, 0, 1.5, 0, 1, 0])
    before = x[2] @ p.w_1 + p.b_1
    np.testing.assert_array_equal(before, [0, 0.5, 1.5, 0.5, 1, 0, 0.5, -1.5, -0.25, 0])
    bent = companion.gelu(before)
    assert abs(bent[7] - bent[8]) < 2e-4  # far apart before, all but one after
    output = companion.feed_forward(x, p)[2]
    np.testing.assert_allclose(output[2], 0.5 * bent[2] + 0.5 * bent[6] + 0.5, atol=1e-15)
    np.testing.assert_allclose(output, [-0.05, 0.22, 1.37, 0.22, 0.37, -0.67], atol=5e-3)


@pytest.mark.claim("eq-feed-forward-share")
@pytest.mark.parametrize("ratio", [1, 2, 4, 8])
def test_share_of_the_weights(ratio):
    d = 12
    block = companion.BlockParameters.random(
        np.random.default_rng(0), width=d, heads=3, hidden=ratio * d, bias=False
    )
    network = companion.count_parameters(block.feed_forward)
    both = network + companion.count_parameters(block.attention)
    assert network == 2 * d * ratio * d
    assert network / both == ratio / (ratio + 2)


def test_counts_the_chapter_states():
    rng, sizes = np.random.default_rng(0), {"width": 384, "heads": 12}
    encoder = companion.BlockParameters.random(rng, hidden=1536, **sizes)
    assert companion.count_parameters(encoder) == 1_774_464
    assert companion.count_parameters(encoder.feed_forward) == 1_181_568
    d, d_ff = 384, 1536
    weights = 4 * d * d + 2 * d * d_ff
    assert companion.count_parameters(encoder) - weights == 9 * d + d_ff
    gated = GatedFeedForwardParameters.random(rng, width=384, hidden=1024)
    assert companion.count_parameters(gated) == 2 * d * d_ff
    block = companion.running_example(np).block
    counts = [companion.count_parameters(part) for part in (block.feed_forward, block)]
    assert counts == [136, 328]


def test_forgetting_the_root_of_two_is_exposed_by_the_value_at_one():
    one = np.ones(1)
    broken, right = pitfalls.gelu_without_root_two(one), companion.gelu(one)
    assert abs(right[0] - 0.8413) < 1e-4
    assert abs(broken[0] - (1 + scipy.special.erf(1.0)) / 2) < 1e-15
    assert broken[0] > 0.9
    # reflection does not notice
    assert abs(broken[0] - pitfalls.gelu_without_root_two(-one)[0] - 1) < 1e-14


def test_one_network_for_all_layers_is_exposed_by_a_change_of_the_second():
    x = companion.running_example(np).x
    rng = np.random.default_rng(8)
    first, second, other = (
        companion.BlockParameters.random(rng, width=6, heads=2, hidden=10) for _ in range(3)
    )
    changed = companion.BlockParameters(
        second.attention, second.norm_1, other.feed_forward, second.norm_2
    )
    for stack, notices in (
        (companion.transformer_stack, True),
        (pitfalls.stack_with_one_feed_forward, False),
    ):
        same = np.array_equal(stack(x, [first, second]), stack(x, [first, changed]))
        assert same is not notices


def test_the_drawing_shows_the_four_rows():
    x, p = running()
    figure = drawings.expand_and_reduce(x[2], p, name="cat")
    assert "the row of cat (0, 0, 1.50, 0, 1.00, 0)" in figure.alt
    assert "−1.50, −0.25, 0); hidden row (0, 0.35, 1.40" in figure.alt
    assert "output row (−0.05, 0.22, 1.37, 0.22, 0.37, −0.67)" in figure.alt
    places = [n for size in (6, 10, 10, 6) for n in range(1, size + 1)]
    assert [int(n) for n in re.findall(r"<!-- (\d+) -->", figure.svg) if n != "0"] == places
    other = drawings.expand_and_reduce(x[2], p, activation=companion.relu, name="cat")
    assert "hidden row (0, 0.50, 1.50" in other.alt
    wide = FeedForwardParameters.random(np.random.default_rng(0), width=6, hidden=11)
    with pytest.raises(ValueError, match="at most 10 columns, got 11"):
        drawings.expand_and_reduce(x[2], wide)
