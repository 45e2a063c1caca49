"""The fast form of a block against the readable one in float64, on sentences of any lengths."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion import BlockParameters, transformer_block
from companion.encoder.fast_block import _gelu, _mix, even_parts, fast_block, is_plain
from companion.kernels.exponential import BASES
from tests.support.tolerance import assert_as_exact

EPS = np.finfo(np.float32).eps
LENGTHS = st.lists(st.integers(0, 20), min_size=1, max_size=6)


@pytest.fixture(params=BASES, ids=lambda base: base.power.__name__)
def exponential(request, monkeypatch):
    """Take an exponential that another processor may take."""
    monkeypatch.setattr("companion.encoder.fast_block.fastest", lambda _: request.param)
    return request.param


def plain_block(seed=0, **sizes):
    """Draw a block whose biases and norms say something."""
    rng = np.random.default_rng(seed)
    made = BlockParameters.random(rng, dtype=np.float32, **sizes)
    return companion.map_parameters(
        lambda array: array + 0.1 * rng.standard_normal(array.shape, dtype=np.float32), made
    )


def states(lengths, width, seed=1):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((sum(lengths), width), dtype=np.float32)


def one_by_one(x, lengths, block, eps):
    """Send each sentence through the readable block, alone."""
    sentences = np.split(x, np.cumsum(lengths)[:-1])
    rows = [transformer_block(rows, block, eps=eps) for rows in sentences if len(rows)]
    return np.concatenate(rows or [x])


def assert_as_exact_as_the_readable_block(x, lengths, block, eps=1e-5):
    got = fast_block(x, lengths, block, eps=eps)
    assert got.dtype == np.float32
    assert got.shape == x.shape
    if x.size == 0:
        return
    wide = companion.move_parameters(block, np, dtype=np.float64)
    exact = one_by_one(x.astype(np.float64), lengths, wide, eps)
    readable = one_by_one(x, lengths, block, eps)
    assert_as_exact(got, readable, exact)


@given(
    lengths=LENGTHS,
    heads=st.integers(1, 3),
    d_k=st.integers(1, 5),
    d_v=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_sentences_of_any_lengths_get_the_readable_blocks_numbers(lengths, heads, d_k, d_v, seed):
    block = plain_block(seed, width=7, heads=heads, d_k=d_k, d_v=d_v, hidden=11)
    assert_as_exact_as_the_readable_block(states(lengths, 7, seed), lengths, block)


@pytest.mark.usefixtures("exponential")
@pytest.mark.parametrize("lengths", [[1], [97, 257], [128, 5, 1, 64]])
def test_a_block_of_the_published_sizes_has_the_readable_ones_numbers(lengths):
    block = plain_block(width=384, heads=12, hidden=1536)
    assert_as_exact_as_the_readable_block(states(lengths, 384), lengths, block, eps=1e-12)


def test_eps_counts():
    block = plain_block(width=6, heads=2, hidden=10)
    assert_as_exact_as_the_readable_block(states([4, 3], 6), [4, 3], block, eps=3.0)


@pytest.mark.usefixtures("exponential")
def test_scores_far_apart_do_not_overflow():
    block = plain_block(width=6, heads=2, hidden=10)
    assert_as_exact_as_the_readable_block(300 * states([5, 3], 6), [5, 3], block)


@pytest.mark.parametrize("far", [10.0, 50.0, 100.0, 140.0, 1000.0])
def test_a_token_whose_scores_are_far_below_anothers_loses_nothing(exponential, far):
    query = np.asarray([[[far], [1.0]]], np.float32)
    key = np.asarray([[[1.0], [0.25], [-0.5]]], np.float32)
    value = np.asarray([[[1.0, 1.0], [-2.0, 1.0], [5.0, 1.0]]], np.float32)
    got = _mix(query, key, value)[0, 1]
    powers = exponential.power(key[0, :, 0].astype(np.float64))
    np.testing.assert_allclose(got[0] / got[1], powers @ value[0, :, 0] / powers.sum(), rtol=1e-6)


def test_numbers_whose_squares_are_out_of_range_are_normed():
    block = plain_block(width=6, heads=2, hidden=10)
    network = replace(block.feed_forward, b_2=1e25 * block.feed_forward.b_2)
    far = replace(block, feed_forward=network)
    assert_as_exact_as_the_readable_block(states([5, 3], 6), [5, 3], far)


@pytest.mark.parametrize("lengths", [[3, 3], [3, 5], []])
def test_lengths_must_add_up_to_the_rows(lengths):
    block = plain_block(width=6, heads=2, hidden=10)
    with pytest.raises(
        ValueError, match=f"lengths must add up to the 7 rows of x, got {sum(lengths)}"
    ):
        fast_block(states([4, 3], 6), lengths, block, eps=1e-5)


def test_no_sentence_sees_another_and_none_is_changed():
    block = plain_block(width=6, heads=2, hidden=10)
    x = states([4, 3, 5], 6)
    other = x.copy()
    other[4:7] += 1
    kept = other.copy()
    got, moved = (fast_block(rows, [4, 3, 5], block, eps=1e-5) for rows in (x, other))
    mine = np.r_[0:4, 7:12]
    np.testing.assert_array_equal(got[mine], moved[mine])  # every bit
    assert np.abs(got[4:7] - moved[4:7]).min() > 0
    np.testing.assert_array_equal(other, kept)


@pytest.mark.usefixtures("exponential")
def test_gelu_is_exact_to_the_rounding_of_float32():
    x = np.linspace(-16, 16, 200_003).astype(np.float32)
    wide = x.astype(np.float64)
    exact = wide * np.exp(scipy.special.log_ndtr(wide))
    got = x.copy()
    _gelu(got)
    known = np.abs(exact) > np.finfo(np.float32).tiny  # below it float loses digits
    # Φ(x) passes on an error of x² units in the last place of x, in any way of computing it
    assert (np.abs(got[known] / exact[known] - 1) <= 4 * EPS * (1 + wide[known] ** 2)).all()
    assert np.abs(got - exact).max() <= np.abs(companion.gelu(x) - exact).max()
    assert np.sqrt(np.mean((got - exact) ** 2)) <= EPS


@pytest.mark.usefixtures("exponential")
def test_gelu_of_numbers_far_away_is_what_it_tends_to():
    x = np.asarray([-np.inf, -1e30, -1e4, -0.0, 0.0, 1e4, 1e30, np.inf, np.nan], np.float32)
    got = x.copy()
    _gelu(got)
    np.testing.assert_array_equal(got, np.asarray([0, 0, 0, 0, 0, *x[5:]], np.float32))


@pytest.mark.parametrize(
    ("sizes", "dtype"),
    [
        ({"bias": False}, np.float32),
        ({"gated": True}, np.float32),
        ({"kv_heads": 1}, np.float32),
        ({}, np.float64),
        ({}, np.float16),
    ],
)
def test_another_kind_of_block_is_not_plain(sizes, dtype):
    options = {"width": 6, "heads": 2, "hidden": 10} | sizes
    block = BlockParameters.random(np.random.default_rng(0), dtype=dtype, **options)
    assert not is_plain(block)


def test_only_numpys_blocks_are_plain(home):
    block = BlockParameters.random(
        np.random.default_rng(0), width=6, heads=2, hidden=10, dtype=np.float32, xp=np
    )
    moved = companion.map_parameters(home.asarray, block)
    assert is_plain(moved) == (home.name == "numpy")


@given(lengths=LENGTHS.map(lambda some: 30 * some), workers=st.integers(1, 5))
def test_parts_are_even_and_leave_nothing_out(lengths, workers):
    parts = even_parts(lengths, workers)
    assert [i for part in parts for i in part] == list(range(len(lengths)))
    assert all(parts)
    tokens = [sum(lengths[i] for i in part) for part in parts]
    share = sum(lengths) / (workers * -(-sum(lengths) // (workers * 512)) or 1)
    assert max(tokens) <= min(share, 512) + max(lengths)


def test_short_sentences_are_shared_among_all_workers():
    assert [len(part) for part in even_parts([40] * 32, 2)] == [8, 8, 8, 8]
    assert [len(part) for part in even_parts([10] * 10, 2)] == [5, 5]
    assert [len(part) for part in even_parts([512] * 3, 2)] == [1, 1, 1]
