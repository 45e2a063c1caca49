"""The block and the stack: both norms against a reference in JAX, and what they may not see."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion import BlockParameters, NormParameters, loops, pitfalls
from companion.arrays import to_numpy
from companion.figures import block as figures

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
def test_the_block_is_that_of_jax(norm, gated, mask):
    block = draw_block(gated=gated)
    options = {"none": {}, "padding": {"attn_mask": PADDED}, "causal": {"is_causal": True}}[mask]
    visible = {"none": True, "padding": PADDED, "causal": np.tri(7, dtype=bool)}[mask]
    output = companion.transformer_block(X, block, norm=norm, **options)
    expected = block_with_jax(X, block, visible, norm)
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-12)


@pytest.mark.claim("eq-post-norm")
@pytest.mark.claim("eq-pre-norm")
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_stack_is_that_of_jax_with_an_activation_of_your_own(home, norm):
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


@pytest.mark.claim("cor-causal-block")
@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("gated", [False, True])
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(2, 12) | st.sampled_from([33, 97, 257]),  # and past a tile's edge
    data=st.data(),
)
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


def test_every_layer_has_a_state_of_its_own():
    blocks, kept = [draw_block(1), draw_block(2)], [[], []]

    def keeper(layer):
        def state(query, key, value):
            kept[layer].append((key, value))
            past = (np.concatenate(rows, axis=-2) for rows in zip(*kept[layer], strict=True))
            return query, *past

        return state

    states = [keeper(0), keeper(1)]
    first = companion.transformer_stack(X[:, :4], blocks, states=states, is_causal=True)
    then = companion.transformer_stack(
        X[:, 4:], blocks, states=states, is_causal=True, query_offset=4
    )
    whole = companion.transformer_stack(X, blocks, is_causal=True)
    np.testing.assert_allclose(np.concatenate([first, then], axis=1), whole, atol=1e-12)
    with pytest.raises(ValueError, match="states must be one for each of 2 blocks, got 1"):
        companion.transformer_stack(X, blocks, states=states[:1])


@pytest.mark.claim("cor-block-equivariance")
@pytest.mark.parametrize("norm", ["post", "pre"])
@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_the_block_follows_every_reordering(norm, seed, length):
    rng = np.random.default_rng(seed)
    x, order = rng.standard_normal((length, 12)), rng.permutation(length)
    block = draw_block(seed)
    output = companion.transformer_block(x, block, norm=norm)
    shuffled = companion.transformer_block(x[order], block, norm=norm)
    np.testing.assert_allclose(shuffled, output[order], atol=1e-11)
    final = NormParameters.neutral(12) if norm == "pre" else None
    stack = [block, draw_block(seed + 1)]
    outputs = [
        companion.transformer_stack(rows, stack, norm=norm, final_norm=final)
        for rows in (x, x[order])
    ]
    np.testing.assert_allclose(outputs[1], outputs[0][order], atol=1e-10)


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
    with pytest.raises(ValueError, match="norm must be 'post' or 'pre', got 'none'"):
        companion.transformer_stack(X, [], norm="none")
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


# What the chapter measures and counts


@pytest.mark.claim("eq-post-norm")
@pytest.mark.parametrize("causal", [False, True])
def test_the_block_is_its_loops(home, causal):
    block = draw_block()
    x = X[0]
    rows = loops.multi_head_attention_loop(x, block.attention, is_causal=causal)
    middle = loops.layer_norm_loop(x + rows, block.norm_1.weight, block.norm_1.bias)
    rows = loops.feed_forward_loop(middle, block.feed_forward, activation=companion.silu)
    expected = loops.layer_norm_loop(middle + rows, block.norm_2.weight, block.norm_2.bias)
    moved = companion.map_parameters(home.asarray, block)
    output = companion.transformer_block(
        home.asarray(x), moved, activation=companion.silu, is_causal=causal
    )
    np.testing.assert_allclose(to_numpy(output), expected, rtol=0, atol=1e-12)


@pytest.mark.claim("eq-residual-sum")
def test_a_pre_norm_stack_is_one_long_sum():
    blocks = [draw_block(seed) for seed in range(4)]
    final = NormParameters.neutral(12)
    total, stream = X, X
    for p in blocks:
        attended = companion.multi_head_attention(
            companion.layer_norm(stream, p.norm_1.weight, p.norm_1.bias), p.attention
        )
        middle = stream + attended
        fed = companion.feed_forward(
            companion.layer_norm(middle, p.norm_2.weight, p.norm_2.bias), p.feed_forward
        )
        stream = companion.transformer_block(stream, p, norm="pre")
        total = total + (attended + fed)
    np.testing.assert_allclose(stream, total, atol=1e-12)
    output = companion.transformer_stack(X, blocks, norm="pre", final_norm=final)
    np.testing.assert_allclose(
        output, companion.layer_norm(total, final.weight, final.bias), atol=1e-12
    )


@pytest.mark.claim("prop-random-direction")
def test_a_random_direction_measures_a_jacobian_forward_and_back():
    rng = np.random.default_rng(3)
    jacobian = rng.standard_normal((30, 50)) * np.geomspace(1, 10, 50)
    size = (jacobian**2).sum()
    for matrix in (jacobian, jacobian.T):
        draws = companion.random_normal((matrix.shape[1], 20_000), rng, xp=np)
        squares = ((matrix @ draws) ** 2).sum(axis=0)
        error = squares.std() / np.sqrt(squares.size)
        assert error < 0.01 * size
        assert abs(squares.mean() - size) < 4 * error


def test_a_central_difference_is_the_derivative_along_a_direction():
    block = draw_block()
    x, direction = X[0], np.random.default_rng(3).standard_normal((7, 12))

    def run(rows):
        return block_with_jax(rows[None], block, True, "pre")[0]

    _, derivative = jax.jvp(run, (jnp.asarray(x),), (jnp.asarray(direction),))
    for step in (1e-5, 1e-6):
        up, down = (
            companion.transformer_block(x + sign * step * direction, block, norm="pre")
            for sign in (1, -1)
        )
        np.testing.assert_allclose((up - down) / (2 * step), derivative, atol=1e-7)


class Counted(np.ndarray):
    """An array that counts the multiply-adds of every matrix product it takes part in."""

    count = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        plain = [np.asarray(a) if isinstance(a, Counted) else a for a in inputs]
        if "out" in kwargs:
            kwargs["out"] = tuple(np.asarray(a) for a in kwargs["out"])
        result = getattr(ufunc, method)(*plain, **kwargs)
        if ufunc is np.matmul:
            Counted.count += result.size * plain[0].shape[-1]
        return result.view(Counted) if isinstance(result, np.ndarray) else result


@pytest.mark.claim("prop-block-cost")
@pytest.mark.parametrize(
    ("d", "heads", "d_k", "d_v", "d_ff", "length"),
    [(12, 4, 5, 2, 20, 7), (12, 3, 4, 4, 48, 5), (6, 1, 2, 9, 3, 1), (16, 4, 4, 4, 64, 33)],
)
def test_parameters_and_products_are_predicted(d, heads, d_k, d_v, d_ff, length):
    block = BlockParameters.random(
        np.random.default_rng(1), width=d, heads=heads, hidden=d_ff, d_k=d_k, d_v=d_v
    )
    attention = heads * (2 * d_k + d_v) * (d + 1) + (heads * d_v + 1) * d
    parameters = attention + (d + 1) * d_ff + (d_ff + 1) * d + 4 * d
    assert companion.count_parameters(block) == parameters
    products = d * heads * (2 * d_k + d_v) + heads * d_v * d
    products += length * heads * (d_k + d_v) + 2 * d * d_ff
    if heads * d_k == heads * d_v == d and d_ff == 4 * d:
        assert parameters == 12 * d**2 + 13 * d
        assert products == 12 * d**2 + 2 * length * d
    Counted.count = 0
    counted = companion.map_parameters(lambda array: array.view(Counted), block)
    x = np.random.default_rng(2).standard_normal((length, d))
    for norm in ("post", "pre"):
        Counted.count = 0
        output = companion.transformer_block(x.view(Counted), counted, norm=norm)
        assert Counted.count == length * products
        np.testing.assert_array_equal(output, companion.transformer_block(x, block, norm=norm))


def test_through_24_random_layers():
    rng = np.random.default_rng(0)
    sizes = {"width": 32, "heads": 4, "hidden": 128}
    blocks = [BlockParameters.random(rng, **sizes) for _ in range(24)]
    x = rng.standard_normal((8, 32))
    post = companion.transformer_stack(x, blocks, return_all=True)
    assert all(abs((rows**2).mean() - 1) < 1e-3 for rows in post[1:])
    pre, brought, alike = x, [], []
    for layer, block in enumerate(blocks, 1):
        rows = companion.layer_norm(pre, block.norm_1.weight, block.norm_1.bias)
        brought.append((companion.multi_head_attention(rows, block.attention) ** 2).mean())
        alike.append((rows @ rows.T / 32)[~np.eye(8, dtype=bool)].mean())
        pre = companion.transformer_block(pre, block, norm="pre")
        assert 0.5 < np.sqrt((pre**2).mean() / (1 + layer)) < 1.5
    # What attention brings does not keep its size: averages of like rows are longer.
    assert 4.5 < brought[-1] / brought[0] < 5.5
    assert alike[0] < 0.1
    assert alike[-1] > 0.8
    bare = x
    for block in blocks:
        bare = bare + companion.multi_head_attention(bare, block.attention)
        bare = bare + companion.feed_forward(bare, block.feed_forward)
    assert np.sqrt((bare**2).mean()) > 1e4


# The figures


def test_the_placements_are_told_in_their_order():
    drawn = figures.norm_placements()
    alt = drawn.alt
    assert drawn.svg.count("<!-- $Y$ -->") == 2
    post = "X, attention, plus the residual, norm 1, Y, feed-forward, plus the residual, norm 2, Z"
    pre = "X, norm 1, attention, plus the residual, Y, norm 2, feed-forward, plus the residual, Z"
    assert f"post-norm: {post}" in alt
    assert f"pre-norm: {pre}" in alt


def test_the_curves_through_layers_are_drawn(home):
    curve = home.asarray(np.asarray([1.0, 10.0, 250.0]))
    drawn = figures.through_layers({"none": curve}, y_title="size")
    assert "none: from 1 at 0 to 250 at 2" in drawn.alt
    drawn = figures.through_layers({"none": curve}, y_title="size", y_ticks=[5, 50])
    assert re.findall(r"<!-- (50?|10+) -->", drawn.svg) == ["5", "50"]
    with pytest.raises(ValueError, match=r"one length, got lengths \[2, 3\]"):
        figures.through_layers({"a": np.ones(2), "b": np.ones(3)}, y_title="size")
