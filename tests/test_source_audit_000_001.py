"""The statements of the source notes 000 and 001: where they fail, the smallest counterexample."""

import itertools
import math
import tracemalloc

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

import companion
from companion import BlockParameters, FeedForwardParameters, NormParameters
from companion import scaled_dot_product_attention as attend
from companion.heads import AttentionParameters
from tests.support.audit import ONE, SMALL, find, inputs, matrices, qkv


def steepness(scores):
    """Return the spectral norm of the softmax's Jacobian."""
    weights = companion.softmax(np.asarray(scores, dtype=np.float64))
    return np.linalg.norm(companion.softmax_jacobian(weights), 2)


# 000


def test_000_s1():
    given = inputs("000-E2")
    weights = [given[f"W_{role}"] for role in "QKV"]
    rank = np.linalg.matrix_rank
    assert [rank(w) for w in weights] == [2, 2, 2]
    assert rank(np.concatenate(weights)) == 2  # stacked: one row space, so one image
    assert rank(np.concatenate(weights, axis=1)) == 2  # side by side: they lose the same, too
    assert not np.array_equal(weights[0], weights[1])


def test_000_s4():
    keys = np.asarray([[1.0], [0.0]])

    def saturated(q):
        return steepness(companion.scaled_scores(q * ONE, keys)[0]) < 0.005

    assert find(st.integers(0, 50), saturated) == 6
    query, key, _ = qkv(inputs("000-E4"))
    weights = companion.softmax(companion.scaled_scores(query, key))
    np.testing.assert_allclose(weights[:, 2], [0.96, 0.9994, 0.99999], rtol=7e-4)


def test_000_s5():
    query, key, _ = qkv(inputs("000-E3"))
    scores = companion.scaled_scores(query, key)
    assert (scores > 0).all()  # the product has no mask of its own
    mask = companion.causal_mask(3)
    assert (companion.softmax(np.where(mask, scores, 0.0))[~mask] > 0).all()
    assert (companion.softmax(companion.mask_scores(scores, mask))[~mask] == 0).all()


# 001


def test_001_s2():
    def idle_block(width):
        """Return a block whose parts add nothing."""
        zero = np.zeros((width, width))
        attention = AttentionParameters(zero[None], zero[None], zero[None], zero)
        network = FeedForwardParameters(zero, np.zeros(width), zero, np.zeros(width))
        norm = NormParameters.neutral(width)
        return BlockParameters(attention, norm, network, norm)

    def refutes(row):
        x = np.asarray([row], dtype=np.float64)
        post, pre = (companion.transformer_block(x, idle_block(2), norm=n) for n in ("post", "pre"))
        np.testing.assert_array_equal(pre, x)
        return np.abs(post - pre).max() > 0.5 and np.any(post)

    assert find(st.tuples(SMALL, SMALL), refutes) == (0, 1)
    output = companion.transformer_block(np.asarray([[0.0, 1.0]]), idle_block(2))
    np.testing.assert_allclose(output, [[-1, 1]], atol=1e-4)


@hypothesis.given(
    st_numpy.arrays(np.float64, (3, 4), elements=st.floats(-5, 5)),
    st_numpy.arrays(np.float64, (4, 2), elements=st.floats(-5, 5)),
)
def test_001_s4(scores, value):
    output = companion.weighted_values(companion.softmax(scores), value)
    longest = np.linalg.norm(value, axis=1).max()
    assert (np.linalg.norm(output, axis=1) <= longest * (1 + 1e-12) + 1e-300).all()
    # That each weight is at most 1, the note's reason, does not bound the sum.
    assert np.linalg.norm(np.ones((1, 2)) @ np.ones((2, 1))) > 1


def held(function):
    """Return what a call returns, and the bytes that are held at its peak."""
    tracemalloc.start()
    try:
        return function(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_001_s5():
    for length in (512, 1024):
        arrays = query, key, value = np.random.default_rng(0).standard_normal((3, length, 4))

        def row_by_row(query=query, key=key, value=value):
            return np.concatenate(
                [attend(query[i : i + 1], key, value) for i in range(query.shape[0])]
            )

        (stored, weights), peak = held(
            lambda arrays=arrays: attend(*arrays, return_weights=True, implementation="textbook")
        )
        output, small = held(row_by_row)
        np.testing.assert_allclose(output, stored, rtol=0, atol=1e-13)
        assert peak > weights.nbytes == 8 * length**2  # to store the weights takes N² numbers
        assert small < 8 * 80 * length  # to compute the output does not

    def multiply_adds(length, width):
        projections, scores_and_mixture = 4 * length * width**2, 2 * length**2 * width
        return projections, scores_and_mixture

    for factor in (1, 10, 100):  # no factor makes N² d a bound at N = 1
        width = factor + 1
        assert 3 * width**2 > factor * 1**2 * width  # queries, keys and values alone
    for length, width in itertools.product(range(1, 40), range(1, 20)):
        linear, square = multiply_adds(length, width)
        assert (square > linear) == (length > 2 * width)


def test_001_s6():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((7, 512))
    w_q, w_k, w_v = rng.standard_normal((3, 512, 64))
    query, key, value = companion.project_qkv(x, w_q, w_k, w_v)
    assert query.shape == key.shape == value.shape == (7, 64)
    narrow = companion.project(x, w_v[:, :5])
    assert attend(query, key, narrow).shape == (7, 5)  # values may have a width of their own
    with pytest.raises(ValueError, match="key"):
        attend(query, key[:, :5], value)  # keys may not


def weights_of(x, w_q, w_k):
    query, key = (companion.project(x, np.asarray([[float(w)]])) for w in (w_q, w_k))
    return companion.softmax(companion.scaled_scores(query, key))


def test_001_s7():
    w_q, w_k = np.asarray([[1.0], [0.0]]), np.asarray([[0.0], [1.0]])
    query, key = (companion.project(np.eye(2), w) for w in (w_q, w_k))
    np.testing.assert_array_equal(companion.scaled_scores(query, key), [[0, 1], [0, 0]])

    def symmetric_and_different(case):
        w_q, w_k, x = case
        weights = weights_of(x, w_q, w_k)
        return w_q != w_k and w_q * w_k != 0 and np.allclose(weights, weights.T)

    case = st.tuples(
        st.integers(1, 9), st.integers(1, 9), st.integers(2, 4).flatmap(lambda n: matrices(n, 1))
    )
    w_q, w_k, x = find(case, symmetric_and_different)
    assert sorted([w_q, w_k]) == [1, 2]
    np.testing.assert_array_equal(x, [[0], [0]])

    opposite = weights_of(np.asarray([[1.0], [-1.0]]), 1, 2)
    np.testing.assert_array_equal(opposite, opposite.T)

    def asymmetric_and_equal(x):
        weights = weights_of(x, 1, 1)
        return not np.allclose(weights, weights.T)

    np.testing.assert_array_equal(
        find(st.integers(1, 4).flatmap(lambda n: matrices(n, 1)), asymmetric_and_equal), [[0], [1]]
    )


def variance(pairs):
    """Return the exact variance of the scaled score over equally likely queries and keys."""
    scores = [companion.scaled_scores(q * ONE, k * ONE)[0, 0] for q, k in pairs]
    return np.var(scores)


def test_001_s8():
    coin = (-1, 1)
    assert variance(itertools.product(coin, coin)) == 1  # independent
    assert variance(zip(coin, coin, strict=True)) == 0  # the key copies the query
    # Enough, and not necessary: here the second entry of k is its first times the first of q.
    cases = list(itertools.product(coin, repeat=3))
    query, key = ([(a, b) for a, b, _ in cases], [(c, c * a) for a, _, c in cases])
    for entries in (np.asarray(query), np.asarray(key)):
        np.testing.assert_array_equal(entries.T @ entries / 8, np.eye(2))
    assert np.var(np.sum(np.multiply(query, key), axis=1)) == 2  # d_k
    keys_of = {q: {k for p, k in zip(query, key, strict=True) if p == q} for q in query}
    assert keys_of[1, 1] != keys_of[-1, 1]  # q tells something of k


def test_001_s9():
    def refutes(sizes):
        q, k = sizes
        return variance(itertools.product((-q, q), (-k, k))) != 1

    sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
    assert sorted(find(sizes, refutes)) == [1, 2]
    assert variance(itertools.product((-1, 1), (-2, 2))) == 4
    rng = np.random.default_rng(2)  # and the factor is not necessary: W^Q can hold it
    x, w_q, w_k = rng.standard_normal((5, 6)), *rng.standard_normal((2, 6, 3))
    scaled = companion.scaled_scores(companion.project(x, w_q), companion.project(x, w_k))
    absorbed = companion.project(x, w_q / math.sqrt(3)), companion.project(x, w_k)
    np.testing.assert_allclose(companion.scaled_scores(*absorbed, scale=1.0), scaled, atol=1e-14)


def test_001_s10():
    rng = np.random.default_rng(3)
    x, w_q, w_k, w_v = rng.standard_normal((5, 6)), *rng.standard_normal((3, 6, 3))
    outputs = []
    for x_i in x:
        scores = [x_i @ w_q @ (x_j @ w_k) / math.sqrt(3) for x_j in x]
        exponentials = np.exp(scores)
        weights = exponentials / exponentials.sum()
        outputs.append(sum(w * (x_j @ w_v) for w, x_j in zip(weights, x, strict=True)))
    once = attend(*companion.project_qkv(x, w_q, w_k, w_v))
    np.testing.assert_allclose(once, outputs, rtol=1e-12)


def test_001_s12():
    def falls(scores):
        """A larger norm of the scores with a smaller gradient refutes the growth."""
        return steepness(scores) < steepness((0, 0))

    assert find(st.tuples(st.integers(0, 9), st.integers(0, 9)), falls) == (0, 1)
    np.testing.assert_allclose([steepness((0, 0)), steepness((0, 1))], [0.5, 0.393], atol=5e-4)
    assert round(math.exp(np.linalg.norm((0, 1))), 2) == 2.72


def test_001_s14():
    def refutes(sizes):
        width, value_width = sizes
        x = np.ones((1, width))
        brought = attend(x, x, companion.project(x, np.ones((width, value_width))))
        try:
            return (x + brought).shape != x.shape
        except ValueError:
            return True

    assert find(st.tuples(st.integers(1, 9), st.integers(1, 9)), refutes) == (1, 2)
    head = AttentionParameters(*(np.ones((1, 1, n)) for n in (1, 1, 2)), np.ones((2, 1)))
    assert (ONE + companion.multi_head_attention(ONE, head)).shape == (1, 1)


class Counted:
    """A number that counts its multiplications."""

    count = 0

    def __init__(self, value):
        self.value = value

    def __mul__(self, other):
        Counted.count += 1
        return Counted(self.value * other.value)

    def __add__(self, other):
        return Counted(self.value + other.value)


def multiplications(*shapes):
    """Count those of a matrix product."""
    left, right = (np.vectorize(Counted, otypes=[object])(np.ones(shape)) for shape in shapes)
    Counted.count = 0
    left @ right
    return Counted.count


@pytest.mark.parametrize("length", [1, 3, 8])
def test_001_s15(length):
    d_k, d_v = 4, 5
    scan = multiplications((1, d_k), (d_k, length))
    mixture = multiplications((1, length), (length, d_v))
    assert (scan, scan + mixture) == (length * d_k, length * (d_k + d_v))
    table = {0.3: "found"}  # a dictionary compares for equality, a soft look-up for likeness
    assert 0.1 + 0.2 not in table
    key = np.asarray([[30.0], [-30.0]])
    found = attend(np.asarray([[0.1 + 0.2]]), key, np.asarray([[1.0], [0.0]]))
    np.testing.assert_allclose(found, 1, atol=1e-7)


def test_001_s16():
    def refutes(sizes):
        length, positions = sizes
        try:
            companion.add_positions(np.zeros((length, 1)), np.zeros((positions, 1)))
        except ValueError:
            return True
        return False

    assert find(st.tuples(st.integers(1, 9), st.integers(1, 9)), refutes) == (2, 1)
    long = np.zeros((1000, 1))
    assert attend(long, long, long).shape == (1000, 1)  # the formula takes any length


def likeness(rows):
    """Return the mean cosine between different rows."""
    unit = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return (np.sum(unit @ unit.T) - len(rows)) / (len(rows) * (len(rows) - 1))


def test_001_s17():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((8, 32))
    assert likeness(rows) < 0.2
    for _ in range(12):
        block = BlockParameters.random(rng, width=32, heads=4, hidden=128)
        rows = companion.transformer_block(rows, block)
        np.testing.assert_allclose((rows**2).mean(axis=-1), 1, atol=1e-3)  # all keep their size
    assert likeness(rows) > 0.9  # and all rows become one
    keys = np.asarray([[1.0], [2.0]])  # the first equals the query, the second weighs more
    weights = companion.softmax(companion.scaled_scores(ONE, keys))
    assert weights[0, 1] > weights[0, 0]
