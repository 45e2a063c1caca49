"""Parameters are checked when they are made, and can be counted, changed and moved."""

import re

import numpy as np
import pytest

import companion
from companion import AttentionParameters, BlockParameters, FeedForwardParameters, NormParameters
from companion.arrays import to_numpy
from tests.support.homes import NUMPY, STRICT


def random_block(**options):
    return BlockParameters.random(np.random.default_rng(1), width=12, heads=4, hidden=20, **options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 4 * (12 * 12 + 12) + 2 * 12 * 20 + 20 + 12 + 4 * 12),
        ({"bias": False}, 4 * 12 * 12 + 2 * 12 * 20 + 2 * 12),
        ({"gated": True, "bias": False}, 4 * 12 * 12 + 3 * 12 * 20 + 2 * 12),
        ({"kv_heads": 2, "bias": False}, 3 * 12 * 12 + 2 * 12 * 20 + 2 * 12),
        ({"d_k": 5, "d_v": 2, "bias": False}, 4 * 12 * (5 + 5 + 2 + 2) + 2 * 12 * 20 + 2 * 12),
    ],
)
def test_counting(options, expected):
    block = random_block(**options)
    assert companion.count_parameters(block) == expected
    assert companion.count_parameters((block, block)) == 2 * expected


def test_the_same_seed_draws_the_same_numbers_on_every_module():
    ours, theirs = (random_block(xp=home.xp) for home in (NUMPY, STRICT))
    np.testing.assert_array_equal(ours.attention.w_o, to_numpy(theirs.attention.w_o))
    np.testing.assert_array_equal(ours.feed_forward.w_1, to_numpy(theirs.feed_forward.w_1))
    single = random_block(dtype=np.float32)
    assert single.norm_2.bias.dtype == np.float32
    np.testing.assert_allclose(single.attention.w_q, ours.attention.w_q, rtol=1e-7)


def test_random_weights_keep_the_size_of_what_they_map():
    parameters = FeedForwardParameters.random(np.random.default_rng(2), width=400, hidden=900)
    assert np.var(parameters.w_1) * 400 == pytest.approx(1, abs=0.02)
    assert np.var(parameters.w_2) * 900 == pytest.approx(1, abs=0.02)


def test_moving_keeps_the_numbers_and_none():
    block = random_block(bias=False)
    there = companion.move_parameters([block, block], STRICT.xp)
    assert isinstance(there, list)
    assert there[1].attention.b_q is None
    assert companion.array_namespace(there[0].norm_1.weight) is STRICT.xp
    np.testing.assert_array_equal(to_numpy(there[0].attention.w_k), block.attention.w_k)
    single = companion.move_parameters(block, np, dtype=np.float32)
    assert single.feed_forward.w_2.dtype == np.float32


def test_changing_every_array():
    block = companion.map_parameters(lambda array: 2 * array, random_block())
    np.testing.assert_array_equal(block.norm_1.weight, np.full(12, 2.0))
    np.testing.assert_array_equal(block.attention.w_v, 2 * random_block().attention.w_v)


def test_several_parameters_are_walked_together():
    weights, gradients = [random_block(bias=False)], [random_block(bias=False)]
    (stepped,) = companion.map_parameters(lambda w, g: w - 0.5 * g, weights, gradients)
    expected = weights[0].attention.w_k - 0.5 * gradients[0].attention.w_k
    np.testing.assert_array_equal(stepped.attention.w_k, expected)
    assert stepped.attention.b_q is None


@pytest.mark.parametrize(
    ("other", "error", "part"),
    [
        (lambda block: block, TypeError, "all parameters must be of one kind, list, got Block"),
        (lambda block: [block, block], ValueError, "all parameters must have one length, got [1"),
        (lambda _: [random_block(bias=False)], ValueError, "b_q of AttentionParameters must"),
    ],
)
def test_parameters_of_another_shape_are_not_walked_together(other, error, part):
    with pytest.raises(error, match=re.escape(part)):
        companion.map_parameters(lambda w, g: w - g, [random_block()], other(random_block()))


def zeros(*shape, dtype=np.float64):
    return np.zeros(shape, dtype=dtype)


def attention(**changed):
    good = {
        "w_q": zeros(4, 6, 3),
        "w_k": zeros(2, 6, 3),
        "w_v": zeros(2, 6, 5),
        "w_o": zeros(20, 6),
    }
    return AttentionParameters(**(good | changed))


BAD_PARAMETERS = [
    (
        lambda: attention(w_q=zeros(6, 3)),
        ValueError,
        r"w_q of .* must be \(H, d, d_k\), got \(6, 3\)",
    ),
    (lambda: attention(w_k=zeros(2, 6, 4)), ValueError, r"w_k of .*d_k=3\), got \(2, 6, 4\)"),
    (lambda: attention(w_v=zeros(4, 6, 5)), ValueError, r"w_v of .* must be \(H_kv=2, "),
    (lambda: attention(w_q=zeros(3, 6, 3), w_o=zeros(15, 6)), ValueError, "divides H=3"),
    (lambda: attention(w_o=zeros(10, 6)), ValueError, r"w_o of .* must have H·d_v=20 rows"),
    (lambda: attention(b_q=zeros(3)), ValueError, r"b_q of .* must be \(H=4, d_k=3\), got \(3,\)"),
    (lambda: attention(b_o=zeros(5)), ValueError, r"b_o of .* must be \(d_out=6\), got \(5,\)"),
    (lambda: attention(w_v=zeros(2, 6, 5, dtype=np.float32)), TypeError, "w_v must have the dtype"),
    (lambda: attention(w_v=STRICT.asarray(zeros(2, 6, 5))), TypeError, "w_v must come from"),
    (lambda: attention(w_k=[[[1.0]]]), TypeError, "w_k must be an array"),
    (
        lambda: FeedForwardParameters(zeros(6, 9), zeros(9), zeros(8, 6), None),
        ValueError,
        r"w_2 of FeedForwardParameters must be \(d_ff=9, d_out\), got \(8, 6\)",
    ),
    (
        lambda: companion.GatedFeedForwardParameters(zeros(6, 9), zeros(6, 8), zeros(9, 6)),
        ValueError,
        r"w_up of GatedFeedForwardParameters must be \(d=6, d_ff=9\), got \(6, 8\)",
    ),
    (lambda: NormParameters(zeros(6), zeros(5)), ValueError, r"bias of .* must be \(d=6\)"),
    (
        lambda: BlockParameters(
            attention(),
            NormParameters(zeros(5)),
            FeedForwardParameters(zeros(6, 9), None, zeros(9, 6), None),
            NormParameters(zeros(6)),
        ),
        ValueError,
        r"norm_1.weight of BlockParameters must have the width of attention.w_q, d=6, got 5",
    ),
    (
        lambda: AttentionParameters.random(np.random.default_rng(0), width=13, heads=4),
        ValueError,
        "heads must divide width=13 where d_k is left out, got 4",
    ),
    (lambda: companion.count_parameters({}), TypeError, "a parameter dataclass .* got dict"),
    (lambda: companion.move_parameters(BlockParameters, np), TypeError, "got type"),
]


@pytest.mark.parametrize(("make", "error", "part"), BAD_PARAMETERS)
def test_what_does_not_fit_together_is_refused_when_it_is_made(make, error, part):
    with pytest.raises(error, match=part):
        make()
