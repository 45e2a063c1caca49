"""Many heads: split and merge, packed weights, cross-attention, grouped heads, and their oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import NUMPY
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion import AttentionParameters, pitfalls
from companion.arrays import to_numpy

jax.config.update("jax_enable_x64", True)


def draw_parameters(seed=1, dtype=np.float64, **sizes):
    """Draw weights whose biases are not 0, so that a forgotten one is seen."""
    rng = np.random.default_rng(seed)
    sizes = {"width": 12, "heads": 6, "kv_heads": 2, "d_k": 5, "d_v": 3} | sizes
    parameters = AttentionParameters.random(rng, dtype=dtype, **sizes)
    return companion.map_parameters(
        lambda array: array + (0.1 * rng.standard_normal(array.shape)).astype(dtype), parameters
    )


def on(home, parameters):
    return companion.map_parameters(home.asarray, parameters)


def with_jax(x, p, context=None, visible=None, is_causal=False):
    """Compute multi-head attention in float64 from JAX's pieces, heads kept apart by einsum."""
    context = x if context is None else context
    group = p.heads // p.w_k.shape[0]
    query = jnp.einsum("bnd,hdk->bhnk", x, p.w_q) + p.b_q[:, None]
    key = jnp.einsum("bnd,hdk->bhnk", context, p.w_k) + p.b_k[:, None]
    value = jnp.einsum("bnd,hdk->bhnk", context, p.w_v) + p.b_v[:, None]
    key, value = jnp.repeat(key, group, axis=1), jnp.repeat(value, group, axis=1)
    scores = jnp.einsum("bhtk,bhsk->bhts", query, key) / np.sqrt(p.w_q.shape[-1])
    if is_causal:
        visible = np.tri(*scores.shape[-2:], dtype=bool)
    if visible is not None:
        scores = jnp.where(visible, scores, -jnp.inf)
    mixed = jnp.einsum("bhts,bhsv->bhtv", jax.nn.softmax(scores, axis=-1), value)
    w_o = p.w_o.reshape(p.heads, -1, p.w_o.shape[-1])
    return np.asarray(jnp.einsum("bhtv,hvd->btd", mixed, w_o) + p.b_o)


@pytest.mark.claim("eq-multi-head")
@pytest.mark.parametrize("kv_heads", [6, 3, 1])
@pytest.mark.parametrize("is_causal", [False, True])
def test_it_is_what_jax_gives(home, kv_heads, is_causal):
    parameters = draw_parameters(kv_heads=kv_heads)
    x = np.random.default_rng(2).standard_normal((2, 7, 12))
    output = companion.multi_head_attention(
        home.asarray(x), on(home, parameters), is_causal=is_causal
    )
    expected = with_jax(x, parameters, is_causal=is_causal)
    np.testing.assert_allclose(to_numpy(output), expected, rtol=0, atol=1e-13)


@pytest.mark.claim("eq-multi-head")
def test_cross_attention_with_another_width_and_padding(home):
    rng = np.random.default_rng(3)
    parameters = AttentionParameters(
        **{
            name: home.asarray(rng.standard_normal(shape))
            for name, shape in {
                "w_q": (4, 12, 5),
                "w_k": (2, 8, 5),
                "w_v": (2, 8, 3),
                "w_o": (12, 7),
                "b_q": (4, 5),
                "b_k": (2, 5),
                "b_v": (2, 3),
                "b_o": (7,),
            }.items()
        }
    )
    x, context = rng.standard_normal((2, 5, 12)), rng.standard_normal((2, 9, 8))
    token_mask = np.arange(9) < np.asarray([[9], [4]])
    output, weights = companion.multi_head_attention(
        home.asarray(x),
        parameters,
        context=home.asarray(context),
        attn_mask=companion.padding_mask(home.asarray(token_mask)),
        return_weights=True,
    )
    host = companion.map_parameters(to_numpy, parameters)
    expected = with_jax(x, host, context, visible=token_mask[:, None, None, :])
    np.testing.assert_allclose(to_numpy(output), expected, rtol=0, atol=1e-12)
    assert weights.shape == (2, 4, 5, 9)
    assert (to_numpy(weights)[1, :, :, 4:] == 0).all()


def test_a_mask_for_every_batch_and_head(home):
    parameters = draw_parameters()
    rng = np.random.default_rng(4)
    x, visible = rng.standard_normal((2, 7, 12)), rng.random((2, 6, 7, 7)) < 0.7
    visible |= np.eye(7, dtype=bool)
    output = companion.multi_head_attention(
        home.asarray(x), on(home, parameters), attn_mask=home.asarray(visible)
    )
    expected = with_jax(x, parameters, visible=visible)
    np.testing.assert_allclose(to_numpy(output), expected, rtol=0, atol=1e-13)


def test_float32_is_as_exact_as_float32_is():
    parameters = draw_parameters(width=64, heads=4, kv_heads=4, d_k=16, d_v=16, dtype=np.float32)
    x = np.random.default_rng(5).standard_normal((3, 97, 64)).astype(np.float32)
    output = companion.multi_head_attention(x, parameters)
    wide = companion.move_parameters(parameters, NUMPY.xp, dtype=np.float64)
    exact = with_jax(x.astype(np.float64), wide)
    assert output.dtype == np.float32
    assert (
        np.sqrt(np.mean((output - exact) ** 2)) <= 8 * np.finfo(np.float32).eps * abs(exact).max()
    )


@pytest.mark.claim("prop-sum-of-heads")
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(6, 6), (6, 2), (4, 1)]),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_concatenation_then_w_o_is_a_sum_over_heads(seed, heads, d_k, d_v):
    parameters = draw_parameters(seed, heads=heads[0], kv_heads=heads[1], d_k=d_k, d_v=d_v)
    x = np.random.default_rng(seed).standard_normal((2, 4, 12))
    parts = companion.head_contributions(x, parameters, is_causal=True)
    assert parts.shape == (2, heads[0], 4, 12)
    whole = companion.multi_head_attention(x, parameters, is_causal=True)
    np.testing.assert_allclose(parts.sum(axis=-3) + parameters.b_o, whole, atol=1e-12)


@pytest.mark.claim("eq-split-heads")
def test_head_h_holds_its_own_columns_of_every_token(home):
    x = np.arange(2 * 5 * 12, dtype=np.float64).reshape(2, 5, 12)
    split = to_numpy(companion.split_heads(home.asarray(x), 4))
    assert split.shape == (2, 4, 5, 3)
    for h in range(4):
        np.testing.assert_array_equal(split[:, h], x[:, :, 3 * h : 3 * h + 3])


@pytest.mark.claim("eq-split-heads")
@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 4))
def test_merging_undoes_splitting(heads, length, columns):
    x = np.random.default_rng(6).standard_normal((2, length, heads * columns))
    np.testing.assert_array_equal(companion.merge_heads(companion.split_heads(x, heads)), x)


def test_a_packed_projection_is_three_separate_ones(home):
    parameters = draw_parameters(d_v=3)
    stacks = (parameters.w_q, parameters.w_k, parameters.w_v)
    biases = (parameters.b_q, parameters.b_k, parameters.b_v)
    weight = np.concatenate([np.moveaxis(w, 0, 1).reshape(12, -1) for w in stacks], axis=1)
    bias = np.concatenate([b.reshape(-1) for b in biases])
    sizes = {"heads": 6, "kv_heads": 2, "d_k": 5, "d_v": 3}
    for packed, parts in ((weight, stacks), (bias, biases)):
        cut = companion.split_packed_projection(home.asarray(packed), **sizes)
        for part, expected in zip(cut, parts, strict=True):
            np.testing.assert_array_equal(to_numpy(part), expected)


def test_the_running_example_through_the_loop():
    example = companion.running_example()
    attention = example.block.attention
    output = companion.multi_head_attention(example.x, attention)
    loop = companion.loops.multi_head_attention_loop(example.x, attention)
    np.testing.assert_allclose(output, loop, atol=1e-15)


def test_a_changed_future_leaves_earlier_rows_bit_identical():
    parameters = draw_parameters(dtype=np.float32)
    x = np.random.default_rng(7).standard_normal((2, 9, 12)).astype(np.float32)
    before = companion.multi_head_attention(x, parameters, is_causal=True)
    x[:, 5:] *= -3
    after = companion.multi_head_attention(x, parameters, is_causal=True)
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert not np.array_equal(before[:, 5:], after[:, 5:])


@pytest.mark.parametrize("heads", [2, 3])
def test_reshape_alone_passes_the_shape_check_and_mixes_tokens(heads):
    x = np.random.default_rng(8).standard_normal((5, 6))
    broken, right = pitfalls.split_heads_by_reshape(x, heads), companion.split_heads(x, heads)
    assert broken.shape == right.shape
    changed = x.copy()
    changed[3] += 1  # one token only
    touched = (pitfalls.split_heads_by_reshape(changed, heads) != broken).any(axis=(0, 2))
    assert touched.sum() > 1 or not touched[3]
    touched = (companion.split_heads(changed, heads) != right).any(axis=(0, 2))
    assert touched.tolist() == [False, False, False, True, False]
    merged = pitfalls.merge_heads_by_reshape(right)
    assert merged.shape == x.shape
    assert not np.array_equal(merged, x)


BAD_CALLS = [
    (lambda _: companion.split_heads(np.ones((5, 7)), 2), ValueError, "with H=2 heads"),
    (lambda _: companion.split_heads(np.ones(4), 2), ValueError, r"got shape \(4,\)"),
    (
        lambda _: companion.merge_heads(np.ones((5, 4))),
        ValueError,
        r"must be \(\.\.\., H, N, d_v\)",
    ),
    (
        lambda _: companion.split_packed_projection(np.ones((12, 9)), heads=2, d_k=2),
        ValueError,
        r"= 12 columns, got shape \(12, 9\)",
    ),
    (lambda p: companion.multi_head_attention(np.ones((5, 11)), p), ValueError, "w_q must be"),
    (
        lambda p: companion.multi_head_attention(np.ones(12), p),
        ValueError,
        r"x must be \(\.\.\., N",
    ),
    (
        lambda p: companion.multi_head_attention(np.ones((5, 12)), p, context=np.ones((4, 11))),
        ValueError,
        "w_k must be",
    ),
    (lambda p: companion.multi_head_attention([[1.0]], p), TypeError, "x must be an array"),
    (
        lambda p: companion.multi_head_attention(
            np.ones((5, 12)), p, attn_mask=np.ones((2, 2)) == 1
        ),
        ValueError,
        r"attn_mask must broadcast to the scores \(6, 5, 5\)",
    ),
]


@pytest.mark.parametrize(("call", "error", "part"), BAD_CALLS)
def test_a_bad_call_is_told_what_is_wrong(call, error, part):
    with pytest.raises(error, match=part):
        call(draw_parameters())
