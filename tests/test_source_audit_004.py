"""The statements of the source note 004: where they fail, the smallest counterexample."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import strategies as st

import companion
from companion import FeedForwardParameters, pitfalls
from companion import scaled_dot_product_attention as attend
from companion.heads import AttentionParameters
from tests.support.audit import ONE, SMALL, find, matrices


def test_004_s1():
    rng = np.random.default_rng(0)
    x, losses = rng.standard_normal((4, 1)), rng.standard_normal((10, 4, 4))

    def gradient(w_k, g):
        return jax.grad(lambda w_q: jnp.sum(g * ((x * w_q) @ (x * w_k).T)))(1.0)

    def learns_nothing(w_k):
        return all(gradient(float(w_k), g) == 0 for g in losses)

    assert find(st.integers(0, 9), learns_nothing) == 0
    assert all(gradient(1.0, g) != 0 for g in losses)
    assert all(np.isclose(gradient(2.0, g), 2 * gradient(1.0, g)) for g in losses)


def test_004_s2():
    rng = np.random.default_rng(1)
    x, w_1, w_2 = (rng.standard_normal(shape) for shape in ((3, 4), (4, 8), (8, 4)))
    b_1, b_2 = rng.standard_normal(8), rng.standard_normal(4)
    h = x @ w_1 + b_1
    expected = (h * scipy.special.ndtr(h)) @ w_2 + b_2
    output = companion.feed_forward(x, FeedForwardParameters(w_1, b_1, w_2, b_2))
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-13)


def test_004_s3():
    def refutes(numbers):
        """A linear map sends 0 to 0."""
        w_1, b_1, w_2, b_2 = (np.asarray([float(n)]) for n in numbers)
        network = FeedForwardParameters(w_1[:, None], b_1, w_2[:, None], b_2)
        return pitfalls.linear_feed_forward(0 * ONE, network)[0, 0] != 0

    assert find(st.tuples(SMALL, SMALL, SMALL, SMALL), refutes) == (0, 0, 0, 1)


@pytest.mark.claim("prop-second-unit")
def test_004_s4():
    ends = np.asarray([[-1.0], [0.0], [1.0]])
    two = FeedForwardParameters(
        np.asarray([[1.0, -1.0]]), np.zeros(2), np.ones((2, 1)), np.zeros(1)
    )
    size = companion.feed_forward(ends, two, activation=companion.relu)
    np.testing.assert_array_equal(size, [[1], [0], [1]])  # |x|
    line = pitfalls.linear_feed_forward(ends, two)
    np.testing.assert_array_equal(np.diff(line, n=2, axis=0), 0)  # without an activation, a line


@pytest.mark.claim("prop-second-unit")
@hypothesis.given(st.lists(st.floats(-9, 9), min_size=4, max_size=4))
def test_one_hidden_unit_never_turns_round(numbers):
    w_1, b_1, w_2, b_2 = (np.asarray([number]) for number in numbers)
    network = FeedForwardParameters(w_1[:, None], b_1, w_2[:, None], b_2)
    x = np.linspace(-5, 5, 41)[:, None]
    steps = np.diff(companion.feed_forward(x, network, activation=companion.relu)[:, 0])
    assert (steps >= -1e-12).all() or (steps <= 1e-12).all()


@pytest.mark.claim("prop-twin-heads")
def test_004_s7():
    """Two heads that start alike learn alike."""
    rng = np.random.default_rng(2)
    x, target = rng.standard_normal((2, 5, 6))

    def loss(p):
        heads = [
            jax.nn.softmax((x @ p["q"][h]) @ (x @ p["k"][h]).T) @ (x @ p["v"][h]) @ p["o"][h]
            for h in (0, 1)
        ]
        return jnp.sum((sum(heads) - target) ** 2)

    shapes = {"q": (6, 3), "k": (6, 3), "v": (6, 4), "o": (4, 6)}
    start = {name: rng.standard_normal(shape) / 3 for name, shape in shapes.items()}
    p = {name: jnp.stack([w, w]) for name, w in start.items()}
    step = jax.jit(jax.grad(loss))
    for _ in range(20):
        gradients = step(p)
        p = {name: w - 0.01 * gradients[name] for name, w in p.items()}
    assert all(np.allclose(w[0], w[1], rtol=1e-4, atol=1e-6) for w in p.values())
    assert np.abs(p["q"][0] - start["q"]).max() > 1e-3  # learned, and the same twice
    stacks = (np.asarray(p[name]) for name in "qkv")
    whole = AttentionParameters(*stacks, np.concatenate(p["o"]))
    parts = companion.head_contributions(x.astype(whole.w_q.dtype), whole)
    np.testing.assert_allclose(parts[0], parts[1], rtol=1e-5)


@pytest.mark.claim("prop-twin-heads")
@pytest.mark.parametrize("is_causal", [False, True])
def test_the_same_step_of_either_twin_has_the_same_loss(is_causal):
    """So the loss has the same slope for both, in every direction."""
    rng = np.random.default_rng(5)
    x, target = rng.standard_normal((2, 5, 6))
    shapes = {"w_q": (6, 3), "w_k": (6, 3), "w_v": (6, 4), "b_q": (3,), "b_k": (3,), "b_v": (4,)}
    draws = {name: rng.standard_normal((2, *shape)) for name, shape in shapes.items()}
    w_o, b_o = rng.standard_normal((2, 4, 6)), rng.standard_normal(6)

    def loss(*steps):
        stacks = {
            n: np.stack([start + t * way for t in steps]) for n, (start, way) in draws.items()
        }
        blocks = np.concatenate([w_o[0] + t * w_o[1] for t in steps])
        heads = AttentionParameters(**stacks, w_o=blocks, b_o=b_o)
        return np.sum((companion.multi_head_attention(x, heads, is_causal=is_causal) - target) ** 2)

    for step in (1e-3, 0.1, 1.0):
        np.testing.assert_allclose(loss(step, 0), loss(0, step), rtol=1e-13)
        assert not np.isclose(loss(step, 0), loss(0, 0), rtol=1e-6)


def test_004_s8():
    def fed(case):
        """Return what the head makes of X, and of its own queries, keys and values."""
        x, w = np.asarray(case[0], dtype=np.float64)[:, None], case[1] * ONE
        once = companion.project_qkv(x, w, w, w)
        twice = [companion.project(rows, w) for rows in once]
        return attend(*once)[-1, 0], attend(*twice)[-1, 0]

    case = st.tuples(st.tuples(SMALL, SMALL), st.integers(1, 9))
    assert find(case, lambda c: abs(np.subtract(*fed(c))) > 0.01) == ((0, 1), 2)
    np.testing.assert_allclose(fed(((0, 1), 2)), (1.96, 4.0), atol=0.005)
    x, w_q, w_v = np.ones((3, 4)), np.ones((4, 4)), np.ones((4, 2))
    query, value = companion.project(x, w_q), companion.project(x, w_v)  # d = d_k, and d_v = 2
    assert companion.project(query, w_q).shape == query.shape  # queries do not give it away,
    with pytest.raises(ValueError, match=r"weight must be \(..., d=2"):
        companion.project(value, w_v)  # values do


def test_004_s9():
    def differ(tokens):
        x = np.asarray(tokens, dtype=np.float64)[:, None]
        return not np.allclose(attend(x, x, x), attend(x, x, x, is_causal=True))

    tokens = find(st.lists(SMALL, min_size=1), differ)
    assert tokens == [0, 1]
    x = np.asarray([[0.0], [1.0]])
    assert attend(x, x, x)[0, 0] == 0.5
    assert attend(x, x, x, is_causal=True)[0, 0] == 0
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((3, 6, 4))
    np.testing.assert_allclose(attend(*rows)[-1], attend(*rows, is_causal=True)[-1])


@hypothesis.given(st.permutations([0, 1, 2, 3, 0, 1, 2, 3]))
def test_004_s10(kinds):
    """One head: every a finds the b's, every c finds the d's."""
    x = np.eye(4)[kinds]
    w_q = 50 * np.asarray([[1.0, 0], [0, 0], [0, 1], [0, 0]])  # a asks one thing, c another
    w_k = np.asarray([[0.0, 0], [1, 0], [0, 0], [0, 1]])  # b answers the one, d the other
    form = companion.bilinear_form(w_q, w_k)
    assert form[0, 1] == form[2, 3] == 50
    assert np.count_nonzero(form) == 2
    weights = companion.softmax(
        companion.scaled_scores(companion.project(x, w_q), companion.project(x, w_k))
    )
    for asking, asked in ((0, 1), (2, 3)):
        found = weights[np.asarray(kinds) == asking] @ (np.asarray(kinds) == asked)
        np.testing.assert_allclose(found, 1, atol=1e-12)


def test_a_head_of_width_two_holds_twenty_relations():
    """Keys on a circle: each kind of token asks for a direction of its own."""
    angles = 2 * np.pi * np.arange(20) / 20
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1)  # (20, 2)
    weights = companion.softmax(companion.scaled_scores(500 * circle, circle))
    assert (np.diag(weights) > 0.99).all()


def test_one_head_has_one_row_of_weights_for_all_columns():
    """What a head cannot do: move a value into one column and not into another."""
    rng = np.random.default_rng(4)
    query, key = rng.standard_normal((2, 3, 2))
    value = rng.standard_normal((3, 1)) * np.ones((3, 4))  # four equal columns
    output = attend(query, key, value)
    np.testing.assert_array_equal(output, output[:, :1] * np.ones((1, 4)))


@hypothesis.given(matrices(1, 3), matrices(3, 1))
def test_without_an_activation_wider_is_no_richer(w_1, w_2):
    network = FeedForwardParameters(w_1, np.zeros(3), w_2, np.zeros(1))
    x = np.linspace(-2, 2, 9)[:, None]
    one_number = (w_1 @ w_2)[0, 0]
    np.testing.assert_allclose(pitfalls.linear_feed_forward(x, network), one_number * x, atol=1e-12)
