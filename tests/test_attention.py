"""The central call against oracles, over the shapes, masks, precisions and edges it promises."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion import scaled_dot_product_attention as attend
from companion.arrays import to_numpy
from tests.support.homes import NUMPY, STRICT

jax.config.update("jax_enable_x64", True)


def reference(query, key, value, visible, bias=0.0, scale=None, softcap=None):
    """Compute attention in float64 by the definition, one query of one head at a time."""
    query, key, value = (np.asarray(a, dtype=np.float64) for a in (query, key, value))
    *batch, heads, queries, d_k = query.shape
    keys, group = key.shape[-2], heads // key.shape[-3]
    visible = np.broadcast_to(visible, (*batch, heads, queries, keys))
    bias = np.broadcast_to(np.asarray(bias, dtype=np.float64), visible.shape)
    output = np.zeros((*batch, heads, queries, value.shape[-1]))
    for index in np.ndindex(*batch, heads, queries):
        *b, h, _ = index
        seen = np.flatnonzero(visible[index])
        if len(seen) == 0:
            continue
        k, v = key[(*b, h // group)][seen], value[(*b, h // group)][seen]
        scores = k @ query[index] * (1 / math.sqrt(d_k) if scale is None else scale)
        if softcap:
            scores = softcap * np.tanh(scores / softcap)
        scores = scores + bias[index][seen]
        powers = np.exp(scores - scores.max())
        output[index] = powers @ v / powers.sum()
    return output


def tolerance(dtype, expected):
    """Allow rounding: a few units in the last place of the largest value, never tuned to a case."""
    return 32 * float(np.finfo(dtype).eps) * max(1.0, float(np.max(np.abs(expected), initial=0)))


def draw(rng, dtype, *shapes):
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


SHAPES = {
    "T != S": ((2, 4, 5, 8), (2, 4, 7, 8), (2, 4, 7, 8)),
    "d_v != d_k": ((2, 3, 5, 8), (2, 3, 5, 8), (2, 3, 5, 3)),
    "one token": ((1, 2, 1, 4), (1, 2, 1, 4), (1, 2, 1, 4)),
    "odd lengths": ((1, 2, 97, 16), (1, 2, 257, 16), (1, 2, 257, 16)),
    "grouped heads": ((2, 6, 5, 8), (2, 2, 7, 8), (2, 2, 7, 5)),
    "one key head": ((2, 6, 5, 8), (2, 1, 7, 8), (2, 1, 7, 8)),
    "two batch axes": ((2, 3, 4, 5, 8), (2, 3, 4, 6, 8), (2, 3, 4, 6, 2)),
}


@pytest.mark.claim("eq-attention")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_it_is_the_definition(home, shapes, dtype):
    query, key, value = draw(np.random.default_rng(1), dtype, *shapes)
    expected = reference(query, key, value, True)
    output = attend(*(home.asarray(a) for a in (query, key, value)))
    assert to_numpy(output).dtype == dtype
    np.testing.assert_allclose(to_numpy(output), expected, rtol=0, atol=tolerance(dtype, expected))


@pytest.mark.claim("eq-attention")
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("window", [None, (2, 0), (1, 3)])
@pytest.mark.parametrize("kv_heads", [6, 2, 1])
def test_it_agrees_with_jax(is_causal, window, kv_heads):
    rng = np.random.default_rng(2)
    query, key, value = draw(
        rng, np.float32, (2, 6, 9, 8), (2, kv_heads, 9, 8), (2, kv_heads, 9, 8)
    )
    mask = rng.random((2, 1, 9, 9)) < 0.8
    mask |= np.eye(9, dtype=bool)  # a row that sees nothing is not JAX's
    theirs = jax.nn.dot_product_attention(
        *(jnp.asarray(a.swapaxes(1, 2)) for a in (query, key, value)),
        mask=jnp.asarray(mask),
        is_causal=is_causal,
        local_window_size=window,
    )
    ours = attend(query, key, value, mask, is_causal=is_causal, window=window)
    np.testing.assert_allclose(ours, np.asarray(theirs).swapaxes(1, 2), rtol=0, atol=2e-6)


def test_one_head_needs_no_head_axis(home):
    query, key, value = draw(np.random.default_rng(3), np.float64, (5, 4), (7, 4), (7, 3))
    flat = attend(*(home.asarray(a) for a in (query, key, value)), is_causal=True)
    deep = attend(*(home.asarray(a[None]) for a in (query, key, value)), is_causal=True)
    assert flat.shape == (5, 3)
    np.testing.assert_array_equal(to_numpy(flat), to_numpy(deep)[0])


def test_batches_broadcast_and_heads_of_key_and_value_go_together(home):
    query, key, value = draw(
        np.random.default_rng(4), np.float64, (3, 4, 5, 8), (4, 6, 8), (2, 1, 4, 6, 3)
    )
    output, weights = attend(*(home.asarray(a) for a in (query, key, value)), return_weights=True)
    assert output.shape == (2, 3, 4, 5, 3)
    assert weights.shape == (2, 3, 4, 5, 6)
    full = [np.broadcast_to(a, (2, 3, *a.shape[-3:])) for a in (query, key, value)]
    np.testing.assert_allclose(to_numpy(output), reference(*full, True), atol=1e-14)


MASK_SHAPES = [(), (7,), (5, 7), (1, 7), (5, 1), (6, 5, 7), (1, 1, 7), (2, 1, 1, 7), (2, 6, 5, 7)]


@pytest.mark.parametrize("shape", MASK_SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["boolean", "float", "float with infinity"])
def test_masks_of_every_broadcastable_shape(home, shape, kind):
    rng = np.random.default_rng(5)
    query, key, value = draw(rng, np.float64, (2, 6, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4))
    visible, bias = np.ones(shape, dtype=bool), np.zeros(shape)
    if kind != "float":
        visible = np.asarray(rng.random(shape) < 0.6)
    if kind != "boolean":
        bias = np.asarray(rng.standard_normal(shape))
    mask = visible if kind == "boolean" else np.where(visible, bias, -np.inf)
    output = attend(*(home.asarray(a) for a in (query, key, value)), home.asarray(mask))
    expected = reference(query, key, value, visible, bias)
    np.testing.assert_allclose(to_numpy(output), expected, rtol=0, atol=1e-13)


def positions_visible(queries, keys, offset, is_causal, left, right):
    visible = np.zeros((queries, keys), dtype=bool)
    for i in range(queries):
        for j in range(keys):
            after = left == -1 or j >= i + offset - left
            before = right == -1 or j <= i + offset + right
            visible[i, j] = after and before and (j <= i + offset or not is_causal)
    return visible


@pytest.mark.claim("eq-causal-mask")
@pytest.mark.claim("eq-window-mask")
@given(
    queries=st.integers(1, 6),
    keys=st.integers(1, 8),
    offset=st.integers(-7, 9),
    is_causal=st.booleans(),
    window=st.none() | st.tuples(st.integers(-1, 4), st.integers(-1, 4)),
)
def test_causal_offsets_and_windows(queries, keys, offset, is_causal, window):
    query, key, value = draw(
        np.random.default_rng(6), np.float64, (1, queries, 4), (1, keys, 4), (1, keys, 2)
    )
    output = attend(query, key, value, is_causal=is_causal, query_offset=offset, window=window)
    left, right = window or (-1, -1)
    visible = positions_visible(queries, keys, offset, is_causal, left, right)
    np.testing.assert_allclose(output, reference(query, key, value, visible), atol=1e-13)


@pytest.mark.claim("eq-causal-mask")
def test_an_offset_for_every_batch_row(home):
    query, key, value = draw(
        np.random.default_rng(7), np.float64, (3, 2, 4, 8), (3, 2, 9, 8), (3, 2, 9, 8)
    )
    offsets = np.asarray([0, 5, -2])
    output = attend(
        *(home.asarray(a) for a in (query, key, value)),
        is_causal=True,
        query_offset=home.asarray(offsets),
        window=(3, 1),
    )
    for b, offset in enumerate(offsets):
        one = attend(
            query[b], key[b], value[b], is_causal=True, query_offset=int(offset), window=(3, 1)
        )
        np.testing.assert_array_equal(to_numpy(output)[b], one)


def test_a_cached_step_is_a_row_of_the_whole(home):
    query, key, value = (
        home.asarray(a) for a in draw(np.random.default_rng(8), np.float64, *[(2, 7, 8)] * 3)
    )
    whole = attend(query, key, value, is_causal=True)
    for i in range(7):
        step = attend(
            query[:, i : i + 1, :],
            key[:, : i + 1, :],
            value[:, : i + 1, :],
            is_causal=True,
            query_offset=i,
        )
        np.testing.assert_allclose(to_numpy(step)[:, 0], to_numpy(whole)[:, i], atol=1e-14)


def test_scale_then_softcap_then_float_mask_then_selection(home):
    rng = np.random.default_rng(9)
    query, key, value = draw(rng, np.float64, (2, 5, 8), (2, 5, 8), (2, 5, 3))
    bias = rng.standard_normal((5, 5)) * 3
    output = attend(
        *(home.asarray(a) for a in (query, key, value)),
        home.asarray(bias),
        is_causal=True,
        scale=1.7,
        softcap=2.5,
    )
    expected = reference(query, key, value, np.tri(5, dtype=bool), bias, scale=1.7, softcap=2.5)
    np.testing.assert_allclose(to_numpy(output), expected, atol=1e-13)


def test_weights_are_what_mixes_the_values(home):
    rng = np.random.default_rng(10)
    query, key, value = draw(rng, np.float32, (2, 4, 5, 8), (2, 2, 6, 8), (2, 2, 6, 3))
    output, weights = attend(
        *(home.asarray(a) for a in (query, key, value)), is_causal=True, return_weights=True
    )
    weights = to_numpy(weights)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    assert (weights[..., ~np.tri(5, 6, dtype=bool)] == 0).all()
    mixed = weights @ np.repeat(value, 2, axis=1)
    np.testing.assert_allclose(mixed, to_numpy(output), atol=1e-6)


def test_float16_is_computed_in_float32_and_rounded_once():
    query, key, value = draw(np.random.default_rng(11), np.float16, *[(2, 33, 64)] * 3)
    half = attend(query * 30, key * 30, value)  # the unscaled scores overflow float16
    single = attend(*(a.astype(np.float32) for a in (query * 30, key * 30, value)))
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, single.astype(np.float16))
    _, weights = attend(query, key, value, return_weights=True)
    assert weights.dtype == np.float16


def test_error_is_that_of_the_precision():
    query, key, value = draw(np.random.default_rng(12), np.float64, *[(2, 257, 64)] * 3)
    single = attend(*(a.astype(np.float32) for a in (query, key, value)))
    exact = attend(*(a.astype(np.float32).astype(np.float64) for a in (query, key, value)))
    assert np.abs(single - exact).max() < 4e-6


@pytest.mark.parametrize(
    "hide",
    [
        {"attn_mask": False},
        {"attn_mask": -np.inf},
        {"is_causal": True, "query_offset": -9},
        {"window": (1, 1), "query_offset": 20},
    ],
    ids=["boolean", "float", "causal", "window"],
)
def test_a_row_with_nothing_to_see_is_zero(home, hide):
    hide = dict(hide)
    query, key, value = draw(np.random.default_rng(13), np.float64, *[(2, 4, 3)] * 3)
    value[0, 1] = np.nan
    if "attn_mask" in hide:
        hide["attn_mask"] = home.asarray(np.full((4, 4), hide["attn_mask"]))
    output, weights = attend(
        *(home.asarray(a) for a in (query, key, value)), return_weights=True, **hide
    )
    assert (to_numpy(output) == 0).all()
    assert (to_numpy(weights) == 0).all()


def test_no_keys_at_all_give_zero(home):
    query = home.asarray(np.ones((2, 3, 4)))
    nothing = home.asarray(np.ones((2, 0, 4)))
    output, weights = attend(query, nothing, nothing, return_weights=True)
    assert output.shape == (2, 3, 4)
    assert weights.shape == (2, 3, 0)
    assert (to_numpy(output) == 0).all()
    assert attend(query[:, :0, :], query, query).shape == (2, 0, 4)


@pytest.mark.parametrize("masked_by", ["boolean", "float", "causal"])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_what_the_mask_hides_never_reaches_the_output(home, masked_by, poison):
    query, key, value = draw(np.random.default_rng(14), np.float64, *[(2, 4, 3)] * 3)
    visible = np.tri(4, dtype=bool)
    options = {
        "boolean": {"attn_mask": home.asarray(visible)},
        "float": {"attn_mask": home.asarray(np.where(visible, 0.0, -np.inf))},
        "causal": {"is_causal": True},
    }[masked_by]
    clean = attend(*(home.asarray(a) for a in (query, key, value)), **options)
    key[:, 3] = poison  # only the last query may see it
    with np.errstate(invalid="ignore"):  # NumPy remarks on the product that is then hidden
        output = attend(*(home.asarray(a) for a in (query, key, value)), **options)
    np.testing.assert_array_equal(to_numpy(output)[:, :3], to_numpy(clean)[:, :3])


def test_a_value_that_is_not_finite_propagates(home):
    query, key, value = draw(np.random.default_rng(15), np.float64, *[(1, 4, 3)] * 3)
    value[0, 3, 1] = np.inf
    with np.errstate(invalid="ignore"):
        output = to_numpy(attend(*(home.asarray(a) for a in (query, key, value)), is_causal=True))
    assert np.isnan(output[0, :3, 1]).all()
    assert output[0, 3, 1] == np.inf
    assert np.isfinite(output[..., [0, 2]]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_finite_scores_give_finite_outputs(dtype):
    largest = np.finfo(dtype).max
    root = math.sqrt(largest)
    for factor, scale in ((0.9, None), (2.0, 0.1), (1e-14, 1e12)):
        query, key = np.full((1, 3, 4), root * factor, dtype), np.full((1, 5, 4), root, dtype)
        key[:, 1] *= -1
        if factor == 0.9:
            key *= 0.25
        assert np.isfinite(attend(query, key, key, scale=scale)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_mixture_of_the_largest_floats_does_not_overflow(dtype):
    largest = np.finfo(dtype).max
    for keys in range(1, 40):  # at some of these lengths the rounded weights sum to more than one
        equal = np.zeros((1, keys, 4), dtype)
        with np.errstate(over="ignore"):
            output = attend(equal, equal, np.full((1, keys, 4), largest, dtype))
        assert np.isfinite(output).all()
        np.testing.assert_allclose(output, largest, rtol=1e-6)


def test_scores_far_apart_need_no_warning():
    query = np.asarray([[1.0]], np.float32)
    key = np.asarray([[3e38], [-3e38], [3.4e38]], np.float32)
    value = np.asarray([[1.0], [2.0], [3.0]], np.float32)
    np.testing.assert_array_equal(attend(query, key, value), [[3.0]])
    np.testing.assert_array_equal(attend(query, key[1:2], value[1:2]), [[2.0]])
    for top in 2.0 ** np.arange(100, 128, 0.37):
        row = np.asarray([top, -np.finfo(np.float32).max, -np.inf], np.float32)
        np.testing.assert_array_equal(companion.softmax(row), [1, 0, 0])


FUTURE = st.fixed_dictionaries(
    {
        "length": st.integers(2, 40),
        "kv_heads": st.sampled_from([1, 2, 4]),
        "d_k": st.integers(1, 17),
        "d_v": st.integers(1, 9),
        "dtype": st.sampled_from([np.float16, np.float32, np.float64]),
        "seed": st.integers(0, 2**32 - 1),
        "size": st.sampled_from([1e-3, 1.0, 50.0]),
        "window": st.sampled_from([None, (5, 0), (-1, 3)]),
    }
)


@pytest.mark.claim("thm-causal")
@given(FUTURE, st.data())
def test_a_changed_future_leaves_earlier_rows_bit_identical(case, data):
    rng, length = np.random.default_rng(case["seed"]), case["length"]
    shape = (case["kv_heads"], length)
    query, key, value = draw(
        rng,
        case["dtype"],
        (4, length, case["d_k"]),
        (*shape, case["d_k"]),
        (*shape, case["d_v"]),
    )
    key = key * case["dtype"](case["size"])
    cut = data.draw(st.integers(1, length - 1), label="first changed token")
    options = {"is_causal": True, "window": case["window"]}
    before = attend(query, key, value, **options)
    for array, factor in ((query, 7), (key, -9), (value, 100)):
        array[:, cut:] = rng.standard_normal(array[:, cut:].shape) * factor
    after = attend(query, key, value, **options)
    bits = f"u{before.dtype.itemsize}"
    np.testing.assert_array_equal(before[:, :cut].view(bits), after[:, :cut].view(bits))


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_order_without_positions_means_nothing(seed, length):
    rng = np.random.default_rng(seed)
    query, key, value = draw(rng, np.float64, *[(2, length, 4)] * 3)
    order = rng.permutation(length)
    shuffled = attend(query[:, order], key[:, order], value[:, order])
    np.testing.assert_allclose(shuffled, attend(query, key, value)[:, order], atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(-50, 50))
def test_rows_stay_between_the_values_and_shifts_change_nothing(seed, length, shift):
    query, key, value = draw(np.random.default_rng(seed), np.float64, *[(2, length, 4)] * 3)
    output = attend(query, key, value)
    slack = 1e-12
    assert (output <= value.max(axis=-2, keepdims=True) + slack).all()
    assert (output >= value.min(axis=-2, keepdims=True) - slack).all()
    shifted = attend(query, key, value, np.full((length, 1), shift))
    np.testing.assert_allclose(shifted, output, atol=1e-11)


def test_arguments_are_left_as_they_were():
    arrays = draw(np.random.default_rng(16), np.float32, *[(2, 5, 4)] * 3)
    mask = np.zeros((5, 5), np.float32)
    copies = [a.copy() for a in (*arrays, mask)]
    attend(*arrays, mask, is_causal=True, softcap=3.0)
    for array, copy in zip((*arrays, mask), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_views_and_strides_are_welcome():
    rng = np.random.default_rng(17)
    packed = rng.standard_normal((2, 9, 3, 4, 8))  # (B, N, QKV, H, d_k), as packed layers keep it
    query, key, value = packed.transpose(2, 0, 3, 1, 4)
    contiguous = [np.ascontiguousarray(a) for a in (query, key, value)]
    np.testing.assert_allclose(attend(query, key, value), attend(*contiguous), atol=1e-14)


def test_numpy_scalars_are_numbers():
    arrays = draw(np.random.default_rng(18), np.float32, *[(2, 5, 4)] * 3)
    plain = attend(*arrays, scale=0.5, softcap=2.0, is_causal=True, query_offset=1)
    scalars = attend(
        *arrays,
        scale=np.float64(0.5),
        softcap=np.float32(2),
        is_causal=np.bool_(True),
        query_offset=np.int32(1),
    )
    assert scalars.dtype == np.float32
    np.testing.assert_array_equal(plain, scalars)
    np.testing.assert_array_equal(attend(*arrays, softcap=0), attend(*arrays))


def test_implementation_none_is_textbook():
    arrays = draw(np.random.default_rng(19), np.float32, *[(2, 5, 4)] * 3)
    np.testing.assert_array_equal(attend(*arrays, implementation="textbook"), attend(*arrays))


def test_mixed_libraries_are_refused():
    x = np.ones((3, 4))
    with pytest.raises(
        TypeError, match=r"key .* of query, numpy, got an array of array_api_strict"
    ):
        attend(NUMPY.asarray(x), STRICT.asarray(x), NUMPY.asarray(x))


def test_the_running_example_keeps_its_story():
    example = companion.running_example()
    query, key, value = companion.project_qkv(example.x, example.w_q, example.w_k, example.w_v)
    _, weights = attend(query, key, value, return_weights=True)
    cat, black, quickly = 2, 1, 4
    assert weights[0, cat].argmax() == black
    assert weights[0, 3].argmax() == quickly
    assert weights[1, black].argmax() == cat
