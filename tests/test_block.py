"""The block and the stack: both norms against a reference in JAX, and what they may not see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion import BlockParameters, NormParameters, pitfalls
from companion.arrays import to_numpy

jax.config.update("jax_enable_x64", True)


def draw_block(seed=1, dtype=np.float64, **sizes):
    """Draw a block in which no bias is 0 and no norm neutral."""
    rng = np.random.default_rng(seed)
    sizes = {"width": 12, "heads": 4, "hidden": 20, "kv_heads": 2, "d_k": 5, "d_v": 2} | sizes
    block = BlockParameters.random(rng, dtype=dtype, **sizes)
    return companion.map_parameters(
        lambda array: array + (0.1 * rng.standard_normal(array.shape)).astype(dtype), block
    )


def norm_with_jax(x, norm, eps=1e-5):
    return jax.nn.standardize(x, axis=-1, epsilon=eps) * norm.weight + norm.bias


def attend_with_jax(x, p, visible):
    group = p.heads // p.w_k.shape[0]
    query = jnp.einsum("bnd,hdk->bhnk", x, p.w_q) + p.b_q[:, None]
    key = jnp.repeat(jnp.einsum("bnd,hdk->bhnk", x, p.w_k) + p.b_k[:, None], group, axis=1)
    value = jnp.repeat(jnp.einsum("bnd,hdk->bhnk", x, p.w_v) + p.b_v[:, None], group, axis=1)
    scores = jnp.einsum("bhtk,bhsk->bhts", query, key) / np.sqrt(p.w_q.shape[-1])
    weights = jax.nn.softmax(jnp.where(visible, scores, -jnp.inf), axis=-1)
    mixed = jnp.einsum("bhts,bhsv->bthv", weights, value)
    return mixed.reshape(*x.shape[:-1], -1) @ p.w_o + p.b_o


def block_with_jax(x, p, visible, norm, activation=None):
    def feed(rows):
        if hasattr(p.feed_forward, "w_gate"):
            f = p.feed_forward
            return ((activation or jax.nn.silu)(rows @ f.w_gate) * (rows @ f.w_up)) @ f.w_down
        f = p.feed_forward
        bent = (activation or (lambda h: jax.nn.gelu(h, approximate=False)))(rows @ f.w_1 + f.b_1)
        return bent @ f.w_2 + f.b_2

    x = jnp.asarray(x)
    if norm == "post":
        x = norm_with_jax(x + attend_with_jax(x, p.attention, visible), p.norm_1)
        return norm_with_jax(x + feed(x), p.norm_2)
    x = x + attend_with_jax(norm_with_jax(x, p.norm_1), p.attention, visible)
    return x + feed(norm_with_jax(x, p.norm_2))


X = np.random.default_rng(2).standard_normal((3, 7, 12))
PADDED = (np.arange(7) < np.asarray([[7], [4], [1]]))[:, None, None, :]


@pytest.mark.claim("eq-post-norm")
@pytest.mark.claim("eq-pre-norm")
@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("mask", ["none", "padding", "causal"])
def test_the_block_is_jaxs(norm, gated, mask):
    block = draw_block(gated=gated)
    options = {"none": {}, "padding": {"attn_mask": PADDED}, "causal": {"is_causal": True}}[mask]
    visible = {"none": True, "padding": PADDED, "causal": np.tri(7, dtype=bool)}[mask]
    output = companion.transformer_block(X, block, norm=norm, **options)
    expected = block_with_jax(X, block, visible, norm)
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-12)


@pytest.mark.claim("eq-post-norm")
@pytest.mark.claim("eq-pre-norm")
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_stack_is_jaxs_with_an_activation_of_your_own(home, norm):
    blocks = [draw_block(seed) for seed in (1, 2, 3)]
    final = None if norm == "post" else draw_block(4).norm_1
    states = companion.transformer_stack(
        home.asarray(X),
        companion.map_parameters(home.asarray, blocks),
        norm=norm,
        final_norm=None if final is None else companion.map_parameters(home.asarray, final),
        activation=companion.silu,
        is_causal=True,
        return_all=True,
    )
    expected = [X]
    for block in blocks:
        visible = np.tri(7, dtype=bool)
        expected.append(block_with_jax(expected[-1], block, visible, norm, jax.nn.silu))
    if final is not None:
        expected[-1] = norm_with_jax(expected[-1], final)
    assert len(states) == 4
    for state, wanted in zip(states, expected, strict=True):
        np.testing.assert_allclose(to_numpy(state), wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("gated", [False, True])
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(2, 12), data=st.data())
def test_a_causal_stack_is_causal_to_the_bit(norm, gated, seed, length, data):
    blocks = [draw_block(seed + i, np.float32, gated=gated) for i in range(2)]
    final = NormParameters.neutral(12, dtype=np.float32) if norm == "pre" else None
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, length, 12)).astype(np.float32)
    cut = data.draw(st.integers(1, length - 1), label="first changed token")
    options = {"norm": norm, "final_norm": final, "is_causal": True}
    before = companion.transformer_stack(x, blocks, **options)
    x[:, cut:] = rng.standard_normal(x[:, cut:].shape) * 10
    after = companion.transformer_stack(x, blocks, **options)
    np.testing.assert_array_equal(before[:, :cut].view("u4"), after[:, :cut].view("u4"))
    assert not np.array_equal(before[:, cut:], after[:, cut:])


@pytest.mark.parametrize("norm", ["post", "pre"])
@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_the_block_follows_every_reordering(norm, seed, length):
    rng = np.random.default_rng(seed)
    x, order = rng.standard_normal((length, 12)), rng.permutation(length)
    block = draw_block(seed)
    output = companion.transformer_block(x, block, norm=norm)
    shuffled = companion.transformer_block(x[order], block, norm=norm)
    np.testing.assert_allclose(shuffled, output[order], atol=1e-11)


def test_broken_blocks_are_given_away():
    block = draw_block()
    right = companion.transformer_block(X, block)
    broken = pitfalls.block_with_residual_around_the_norm(X, block)
    assert broken.shape == right.shape
    assert np.abs(broken - right).max() > 0.1
    # a network of zeros leaves the normed sum as it is, and there the two part
    silent = companion.map_parameters(np.zeros_like, block.feed_forward)
    neutral = NormParameters.neutral(12)
    parts = {"attention": block.attention, "feed_forward": silent}
    quiet = BlockParameters(**parts, norm_1=neutral, norm_2=neutral)
    once = companion.layer_norm(
        X + companion.multi_head_attention(X, block.attention), neutral.weight, neutral.bias
    )
    assert np.allclose(companion.transformer_block(X, quiet), once, atol=1e-4)
    assert not np.allclose(pitfalls.block_with_residual_around_the_norm(X, quiet), once, atol=0.1)


def test_a_stack_with_one_feed_forward_does_not_know_the_others():
    blocks = [draw_block(1), draw_block(2)]
    changed = [
        blocks[0],
        BlockParameters(**(vars(blocks[1]) | {"feed_forward": draw_block(3).feed_forward})),
    ]
    shared = [pitfalls.stack_with_one_feed_forward(X, stack) for stack in (blocks, changed)]
    np.testing.assert_array_equal(*shared)
    own = [companion.transformer_stack(X, stack) for stack in (blocks, changed)]
    assert not np.allclose(*own)


def test_what_does_not_fit_is_refused():
    block, final = draw_block(), NormParameters.neutral(12)
    with pytest.raises(ValueError, match="norm must be 'post' or 'pre', got 'none'"):
        companion.transformer_block(X, block, norm="none")
    with pytest.raises(ValueError, match="final_norm must be given for norm='pre', got NoneType"):
        companion.transformer_stack(X, [block], norm="pre")
    with pytest.raises(ValueError, match="final_norm must be left out for norm='post'"):
        companion.transformer_stack(X, [block], final_norm=final)
    with pytest.raises(ValueError, match=r"w_q must be \(\.\.\., d=11, d_out\)"):
        companion.transformer_block(X[..., :11], block)


def test_the_running_example_is_a_whole_block():
    example = companion.running_example()
    assert companion.count_parameters(example.block) == 328
    output = companion.transformer_block(example.x, example.block)
    np.testing.assert_allclose(output.mean(axis=-1), 0, atol=1e-15)
    np.testing.assert_allclose(output.var(axis=-1), 1, atol=1e-4)
