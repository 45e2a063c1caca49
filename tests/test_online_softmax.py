"""The softmax as a state that can be merged: the teaching version of the tiled form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion import empty_state, merge_states, online_attention, softmax_state, state_output
from companion import scaled_dot_product_attention as attend
from companion.arrays import to_numpy
from tests.support.homes import array_homes
from tests.support.tolerance import assert_as_exact


def states(rng, *sizes):
    blocks = [(rng.standard_normal((2, 3, n)) * 5, rng.standard_normal((2, n, 4))) for n in sizes]
    return [softmax_state(scores, value) for scores, value in blocks], blocks


def equal(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)


@pytest.mark.claim("eq-softmax-state", "eq-softmax-merge")
def test_the_merge_of_two_blocks_is_the_state_of_both():
    (first, second), blocks = states(np.random.default_rng(1), 5, 7)
    scores = np.concatenate([scores for scores, _ in blocks], axis=-1)
    value = np.concatenate([value for _, value in blocks], axis=-2)
    equal(merge_states(first, second), softmax_state(scores, value))
    np.testing.assert_allclose(
        state_output(merge_states(first, second)), companion.softmax(scores) @ value, atol=1e-14
    )


@pytest.mark.claim("thm-softmax-merge")
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.1, 10.0, 300.0]))
def test_merging_is_associative_and_commutative_with_an_identity(seed, spread):
    rng = np.random.default_rng(seed)
    (a, b, c), _ = states(rng, 2, 3, 1)
    a, c = (s._replace(maximum=s.maximum + spread * rng.standard_normal((2, 3, 1))) for s in (a, c))
    left, right = merge_states(merge_states(a, b), c), merge_states(a, merge_states(b, c))
    equal(left, right)
    equal(merge_states(a, b), merge_states(b, a))
    for same in (merge_states(a, empty_state(a)), merge_states(empty_state(a), a)):
        assert all(np.array_equal(x, y) for x, y in zip(same, a, strict=True))


def test_merging_nothing_with_nothing_is_nothing():
    (a,), _ = states(np.random.default_rng(2), 2)
    nothing = empty_state(a)
    assert all(
        np.array_equal(x, y) for x, y in zip(merge_states(nothing, nothing), nothing, strict=True)
    )
    np.testing.assert_array_equal(state_output(nothing), np.zeros((2, 3, 4)))


@given(
    home=st.sampled_from(array_homes()),
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(1, 40),
    block_size=st.integers(1, 41),
    hidden=st.floats(0, 1),
    floating=st.booleans(),
)
def test_online_attention_is_attention(home, seed, length, block_size, hidden, floating):
    rng = np.random.default_rng(seed)
    query, key, value = (
        rng.standard_normal((2, n, w)) for n, w in ((5, 6), (length, 6), (length, 3))
    )
    mask = rng.random((2, 5, length)) >= hidden
    if floating:
        mask = np.where(mask, rng.standard_normal(mask.shape), -np.inf)
    arrays = [home.asarray(a) for a in (query, key, value, mask)]
    output = online_attention(*arrays, block_size=block_size)
    np.testing.assert_allclose(to_numpy(output), attend(query, key, value, mask), atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_lower_precision_stays_itself_and_is_as_exact_as_the_textbook_form(dtype):
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal((2, 97, 16)).astype(dtype) for _ in range(3)]
    exact = attend(*(a.astype(np.float64) for a in arrays))
    output, textbook = online_attention(*arrays, block_size=10), attend(*arrays)
    assert output.dtype == dtype
    assert_as_exact(output, textbook, exact)
