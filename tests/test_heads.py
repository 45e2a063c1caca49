"""Many heads: split and merge, packed weights, cross-attention, grouped heads, and their oracle."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion import AttentionParameters, pitfalls
from companion.arrays import to_numpy
from companion.figures import heads as figures
from tests.support.homes import NUMPY

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
    assert abs(output - exact).max() <= 8 * np.finfo(np.float32).eps * abs(exact).max()


@pytest.mark.claim("prop-sum-of-heads")
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(6, 6), (6, 2), (4, 1)]),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_concatenating_then_projecting_is_a_sum_over_heads(seed, heads, d_k, d_v):
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


@pytest.mark.parametrize("context", [False, True])
def test_projecting_then_attending_is_the_whole(home, context):
    parameters = on(home, draw_parameters())
    rng = np.random.default_rng(8)
    x, other = (home.asarray(rng.standard_normal((2, n, 12))) for n in (7, 4))
    given = {"context": other} if context else {}
    query, key, value = companion.project_heads(x, parameters, **given)
    assert query.shape == (2, 6, 7, 5)
    assert key.shape[:-1] == value.shape[:-1] == (2, 2, 4 if context else 7)
    options = {"return_weights": True, "is_causal": not context}
    halves = companion.attend_heads(query, key, value, parameters, **options)
    whole = companion.multi_head_attention(x, parameters, **given, **options)
    for half, expected in zip(halves, whole, strict=True):
        np.testing.assert_array_equal(to_numpy(half), to_numpy(expected))


def test_a_state_stands_between_the_halves():
    parameters = draw_parameters()
    x = np.random.default_rng(9).standard_normal((7, 12))
    _, key, value = companion.project_heads(x[:5], parameters)

    def after_five(query, new_key, new_value):
        return (
            query,
            np.concatenate([key, new_key], axis=-2),
            np.concatenate([value, new_value], axis=-2),
        )

    late = companion.multi_head_attention(
        x[5:], parameters, state=after_five, is_causal=True, query_offset=5
    )
    whole = companion.multi_head_attention(x, parameters, is_causal=True)
    np.testing.assert_allclose(late, whole[5:], atol=1e-14)


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


# One head and two neighbours


SEEDS = st.integers(0, 2**32 - 1)


def one_random_head(rng, contents=2, places=4, d_k=3, d_v=5):
    """Draw a head whose output has two halves of the contents' width, and what its rows add up."""
    width = contents + places
    shapes = ((1, width, d_k), (1, width, d_k), (1, width, d_v), (d_v, 2 * contents))
    biases = ((1, d_k), (1, d_k), (1, d_v), (2 * contents,))
    head = AttentionParameters(*(rng.standard_normal(shape) for shape in shapes + biases))
    embedding, positions = rng.standard_normal((contents, width)), rng.standard_normal((6, width))
    return head, embedding, positions


@pytest.mark.claim("thm-one-head")
@given(SEEDS, st.integers(1, 4), st.integers(1, 6), st.booleans())
def test_the_next_token_enters_the_left_half_of_a_single_head(seed, i, d_v, hides):
    rng = np.random.default_rng(seed)
    head, embedding, positions = one_random_head(rng, d_v=d_v)
    visible = np.ones((6, 6), bool)
    visible[i] = rng.random(6) < 0.5 if hides else True
    visible[i, [i - 1, i, i + 1]] = True
    content, direction = rng.standard_normal((6, 2)), rng.standard_normal(2)
    lengths, least = [], []
    values = embedding @ head.w_v[0] @ head.w_o[:, :2]  # M of the left half
    for t in (1e4, -1e4):
        content[i + 1] = t * direction
        rows = content @ embedding + positions
        output, weights = companion.multi_head_attention(
            rows, head, attn_mask=visible, return_weights=True
        )
        lengths.append(np.linalg.norm(output[i, :2]))
        least.append(weights[0, i, i + 1])
    content[i + 1] = 0
    rows = companion.project(content @ embedding + positions, head.w_v[0], head.b_v[0])
    fixed = np.linalg.norm(rows @ head.w_o, axis=-1) + np.linalg.norm(head.b_o)
    grown = 1e4 * np.linalg.norm(direction @ values)
    # On the way on which its score does not fall, its weight is at least what it is at t = 0.
    rows = content @ embedding + positions
    _, weights = companion.multi_head_attention(rows, head, attn_mask=visible, return_weights=True)
    assert max(least) >= weights[0, i, i + 1] * (1 - 1e-12) > 0
    assert max(lengths) >= weights[0, i, i + 1] * (grown - fixed.max()) - fixed.max() - 1e-6


@pytest.mark.claim("thm-one-head")
@given(SEEDS, st.integers(1, 4), st.booleans())
def test_with_its_values_closed_a_single_head_misses_contents_by_any_amount(seed, i, hidden):
    """Without a value map, or with the neighbour hidden, the left half knows nothing of it."""
    rng = np.random.default_rng(seed)
    head, _, positions = one_random_head(rng)
    visible = np.ones((6, 6), bool)
    if hidden:
        visible[i, i - 1] = False
    else:
        head.w_v[0, :2] = 0
    positions[:, :2] = 0
    embedding = np.eye(2, 6)
    fixed = (positions @ head.w_v[0] + head.b_v[0]) @ head.w_o[:, :2]  # what the rows send
    for size in (0.0, 1e3, 1e6):
        content = np.zeros((6, 2))
        content[i - 1] = size
        x = content @ embedding + positions
        output, weights = companion.multi_head_attention(
            x, head, attn_mask=visible, return_weights=True
        )
        half = output[i, :2] - head.b_o[:2]
        np.testing.assert_allclose(half, weights[0, i] @ fixed, rtol=0, atol=1e-9)
        assert np.linalg.norm(half) <= np.linalg.norm(fixed, axis=-1).max() * (1 + 1e-9)
    assert np.linalg.norm(output[i, :2] - 1e6) > 1e6


@pytest.mark.claim("prop-no-better-than-zeros")
@given(SEEDS, st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_with_scores_from_positions_one_head_is_no_better_than_zeros(seed, i, m, hides):
    rng = np.random.default_rng(seed)
    head, _, positions = one_random_head(rng, contents=m)
    head.w_q[0, :m] = head.w_k[0, :m] = 0  # scores see positions only
    positions[:, :m] = 0
    visible = np.ones((6, 6), bool)
    if hides:
        visible[i] = rng.random(6) < 0.5
    _, weights = companion.multi_head_attention(
        positions, head, attn_mask=visible, return_weights=True
    )
    back, ahead = weights[0, i, i - 1], weights[0, i, i + 1]
    other, half = (i - 1, slice(0, m)) if ahead >= back else (i + 1, slice(m, 2 * m))
    heavier = 2 * i - other
    ratio = min(back, ahead) / max(back, ahead) if max(back, ahead) > 0 else 0.0
    unit = rng.standard_normal(m)
    unit /= np.linalg.norm(unit)
    reported, misses = [], []
    for sign in (1, -1):
        content = np.zeros((6, m))
        content[other], content[heavier] = sign * unit, -sign * ratio * unit
        assert (np.linalg.norm(content, axis=-1) <= 1 + 1e-12).all()
        output = companion.multi_head_attention(
            content @ np.eye(m, m + 4) + positions, head, attn_mask=visible
        )
        reported.append(output[i, half])
        misses.append(np.linalg.norm(output[i, half] - content[other]))
    np.testing.assert_allclose(*reported, rtol=0, atol=1e-12)  # it does not see the difference
    assert max(misses) >= 1 - 1e-9


def two_neighbour_heads(length, width):
    """Make the two heads of the proof; `scale` is β."""
    nothing = np.zeros((width, length))
    w_q = np.stack([np.concatenate([nothing, np.eye(length)])] * 2)
    w_k = np.stack([np.concatenate([nothing, np.eye(length, k=k)]) for k in (1, -1)])
    w_v = np.stack([np.eye(width + length, width)] * 2)
    return AttentionParameters(w_q, w_k, w_v, np.eye(2 * width))


@pytest.mark.claim("thm-two-heads")
@given(SEEDS, st.integers(3, 9), st.integers(1, 4), st.floats(0, 30), st.floats(1e-3, 1e6))
def test_two_heads_report_both_neighbours(seed, length, width, beta, size):
    content = size * np.random.default_rng(seed).standard_normal((length, width))
    x = np.concatenate([content, np.eye(length)], axis=1)
    heads = two_neighbour_heads(length, width)
    target = np.concatenate([content[:-2], content[2:]], axis=1)
    miss = companion.multi_head_attention(x, heads, scale=beta)[1:-1] - target
    largest = np.linalg.norm(content, axis=-1).max()
    bound = 2 * (length - 1) / (np.exp(beta) + length - 1) * largest
    for half in (miss[:, :width], miss[:, width:]):
        assert np.linalg.norm(half, axis=-1).max() <= bound * (1 + 1e-12) + 1e-14 * largest
    assert bound < 2 * (length - 1) * np.exp(-beta) * largest
    masks = np.stack([np.eye(length, k=-1), np.eye(length, k=1)]) == 1
    exact = companion.multi_head_attention(x, heads, attn_mask=masks)
    np.testing.assert_array_equal(exact[1:-1], target)


@pytest.mark.claim("cor-head-order")
def test_heads_have_no_order(home):
    parameters = draw_parameters(kv_heads=6)
    x = np.random.default_rng(9).standard_normal((2, 7, 12))
    order = np.random.default_rng(10).permutation(6)
    blocks = parameters.w_o.reshape(6, 3, 12)
    names = ("w_q", "w_k", "w_v", "b_q", "b_k", "b_v")
    shuffled = AttentionParameters(
        w_o=blocks[order].reshape(18, 12),
        b_o=parameters.b_o,
        **{name: getattr(parameters, name)[order] for name in names},
    )
    outputs = [
        to_numpy(companion.multi_head_attention(home.asarray(x), on(home, p)))
        for p in (parameters, shuffled)
    ]
    np.testing.assert_allclose(*outputs, rtol=0, atol=1e-13)
    half_done = companion.multi_head_attention(x, replace(shuffled, w_o=parameters.w_o))
    assert abs(half_done - outputs[0]).max() > 0.1


@pytest.mark.claim("prop-sum-of-heads")
def test_a_contribution_is_weights_times_input_times_one_matrix(home):
    parameters = draw_parameters(kv_heads=6, bias=False)
    x = np.random.default_rng(11).standard_normal((7, 12))
    placed = home.asarray(x), on(home, parameters)
    _, weights = companion.multi_head_attention(*placed, return_weights=True)
    parts = to_numpy(companion.head_contributions(*placed))
    for h in range(6):
        matrix = parameters.w_v[h] @ parameters.w_o[3 * h : 3 * h + 3]
        np.testing.assert_allclose(parts[h], to_numpy(weights)[h] @ x @ matrix, atol=1e-13)


# What heads cost


class Counted(np.ndarray):
    """An array that counts the multiply-adds of its products and its exponentials."""

    counts: ClassVar[dict[str, int]] = {}

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        plain = [np.asarray(a) if isinstance(a, np.ndarray) else a for a in inputs]
        if out is not None:
            options["out"] = tuple(np.asarray(a) for a in out)
        result = getattr(ufunc, method)(*plain, **options)
        if ufunc is np.matmul:
            self.counts["multiply-adds"] += result.size * plain[0].shape[-1]
        if ufunc is np.exp:
            self.counts["exponentials"] += result.size
        return result.view(Counted) if isinstance(result, np.ndarray) else result


def counted_attention(length, width, *, return_weights, **sizes):
    Counted.counts = {"multiply-adds": 0, "exponentials": 0}
    rng = np.random.default_rng(12)
    parameters = AttentionParameters.random(rng, width=width, bias=False, **sizes)
    parameters = companion.map_parameters(lambda a: a.view(Counted), parameters)
    x = rng.standard_normal((length, width)).view(Counted)
    made = companion.multi_head_attention(x, parameters, return_weights=return_weights)
    assert not return_weights or made[1].size == sizes["heads"] * length**2
    return Counted.counts["multiply-adds"], Counted.counts["exponentials"]


@pytest.mark.claim("prop-head-cost")
@pytest.mark.parametrize("return_weights", [False, True])
@pytest.mark.parametrize("heads", [1, 2, 8])
def test_heads_cost_exponentials_and_no_multiplications(heads, return_weights):
    n, d = 11, 16
    counts = counted_attention(n, d, heads=heads, return_weights=return_weights)
    assert counts == (4 * n * d**2 + 2 * n**2 * d, heads * n**2)


@pytest.mark.claim("eq-cache-size")
@pytest.mark.parametrize("kv_heads", [6, 2, 1])
def test_the_cache_holds_the_keys_and_values_of_the_shared_heads(kv_heads):
    parameters = draw_parameters(kv_heads=kv_heads)
    x = np.random.default_rng(13).standard_normal((9, 12))
    kept = [companion.project(x, w) for w in (parameters.w_k, parameters.w_v)]
    assert sum(rows.size for rows in kept) == 9 * kv_heads * (5 + 3)
    query = companion.project(x, parameters.w_q, parameters.b_q)
    biases = parameters.b_k[:, None], parameters.b_v[:, None]
    kept = [rows + bias for rows, bias in zip(kept, biases, strict=True)]
    mixed = companion.scaled_dot_product_attention(query, *kept)
    output = companion.merge_heads(mixed) @ parameters.w_o + parameters.b_o
    whole = companion.multi_head_attention(x, parameters)
    np.testing.assert_allclose(output, whole, atol=1e-13)  # nothing else need be kept


# What breaks


def test_two_broken_halves_pass_the_round_trip():
    x = np.random.default_rng(14).standard_normal((5, 6))
    split, merge = pitfalls.split_heads_by_reshape, pitfalls.merge_heads_by_reshape
    np.testing.assert_array_equal(merge(split(x, 2)), x)
    assert (companion.merge_heads(split(x, 2)) != x).any()
    assert (merge(companion.split_heads(x, 2)) != x).any()


def test_splitting_follows_every_reordering_and_reshape_alone_does_not(home):
    x, order = np.random.default_rng(15).standard_normal((5, 6)), np.asarray([3, 0, 4, 1, 2])
    for split, follows in (
        (companion.split_heads, True),
        (pitfalls.split_heads_by_reshape, False),
    ):
        before, after = (to_numpy(split(home.asarray(rows), 2)) for rows in (x, x[order]))
        assert np.array_equal(before[:, order], after) == follows


def test_merging_by_reshape_shows_earlier_rows_a_later_token(home):
    example = companion.running_example()
    stacks = example.w_q, example.w_k, example.w_v
    query, key, value = (companion.project(example.x, w) for w in stacks)
    other = value + (np.arange(5)[:, None] == 4)
    for merge, rows in (
        (companion.merge_heads, [5]),
        (pitfalls.merge_heads_by_reshape, [3, 5]),
    ):
        before, after = (
            to_numpy(
                merge(
                    companion.scaled_dot_product_attention(
                        *(home.asarray(a) for a in (query, key, v)), is_causal=True
                    )
                )
            )
            for v in (value, other)
        )
        assert (np.flatnonzero((before != after).any(axis=-1)) + 1).tolist() == rows


# What the chapter says of trained heads


@pytest.fixture(scope="module")
def trained():
    path = Path(__file__).parents[1] / "notebooks" / "data" / "minilm_heads.npz"
    return companion.load_trained_heads(path, dtype=np.float64)


def test_a_value_moves_the_rows_that_look_at_it(trained):
    cat, layer = trained.sentence("The black cat ran quickly."), trained.layer(0)
    _, weights = companion.multi_head_attention(cat.inputs[0], layer, return_weights=True)
    assert weights[2, 3, 2] > 0.99
    assert (np.delete(weights[2, :, 2], 3) < 0.001).all()
    assert weights[3, 1:, 2].min() > 0.01


def test_a_sink_holds_weight_and_adds_little(trained):
    ring = trained.sentence("The girl lost her ring but she found it again.")
    layer = trained.layer(2)
    _, weights = companion.multi_head_attention(ring.inputs[2], layer, return_weights=True)
    sizes = np.linalg.norm(companion.head_contributions(ring.inputs[2], layer), axis=-1)
    assert weights[7, 1:-1, 0].mean() > 0.8
    assert sizes.mean(axis=1).argmin() == 7
    value = companion.project(ring.inputs[2], layer.w_v, layer.b_v)[7]
    block = layer.w_o[7 * 32 : 8 * 32]
    emptied = np.linalg.norm(value[0] @ block) * weights[7, 1:, 0].mean()
    filled = (value[1:-1].mean(axis=0) - value[0]) @ block
    assert emptied < 0.15 * sizes[7, 1:].mean()
    assert np.linalg.norm(filled) * weights[7, 1:, 0].mean() > 5 * sizes[7, 1:].mean()


def test_head_2_4_brings_girl_to_she_and_is_not_alone(trained):
    ring = trained.sentence("The girl lost her ring but she found it again.")
    layer = trained.layer(2)
    _, weights = companion.multi_head_attention(ring.inputs[2], layer, return_weights=True)
    value = companion.project(ring.inputs[2], layer.w_v, layer.b_v)
    step = np.einsum("hv,hvd->hd", value[:, 5] - value[:, 2], layer.w_o.reshape(12, 32, 384))
    moved = weights[:, :, 2] * np.linalg.norm(step, axis=-1)[:, None]
    assert [ring.tokens[i] for i in np.flatnonzero(moved[4] > 1)] == ["her", "she", ".", "[SEP]"]
    assert np.flatnonzero(moved[:, 7] > 0.5).tolist() == [2, 4, 5, 9, 10]
    out = companion.multi_head_attention(ring.inputs[2], layer)
    parts = companion.head_contributions(ring.inputs[2], layer)
    share = np.linalg.norm(parts, axis=-1) / np.linalg.norm(out, axis=-1)
    assert share[4, 7] == pytest.approx(0.72, abs=0.005)
    assert share[4, 2] == pytest.approx(0.11, abs=0.005)


# The figures


def test_the_way_through_the_heads_is_told():
    tokens = companion.running_example().tokens
    figure = figures.split_and_merge(tokens, d_k=3, d_v=4, width=6)
    for part in (
        "5 rows of queries with 6 columns",
        "8 columns, which W^O turns into 6",
        "3 (cat)",
    ):
        assert part in figure.alt
    with pytest.raises(ValueError, match="follow must be a row from 0 to 4, got 5"):
        figures.split_and_merge(tokens, d_k=3, d_v=4, width=6, follow=5)


def test_the_gallery_says_where_heads_rest_and_look():
    weights = np.asarray(
        [[[1.0, 0, 0], [1, 0, 0], [0.5, 0.25, 0.25]], [[0, 1, 0]] * 2 + [[0, 0, 1]]]
    )
    alt = figures.head_gallery(weights, "abc", layer=4).alt
    assert "Thumbnails of 2 heads over 3 tokens" in alt
    assert "on a, and on later tokens: 4.0: 75 % and 0 %; 4.1: 0 % and 0 %." in alt
    with pytest.raises(ValueError, match=r"weights must be \(H, 2, 2\)"):
        figures.head_gallery(weights, "ab", layer=4)


def test_the_contributions_are_told():
    alt = figures.contribution_sizes(np.asarray([[1.0, 2.0], [0.5, 0.0]]), "ab", layer=2).alt
    assert "2.0: 1.50 on average, longest at b, 2.00" in alt
    assert "2.1: 0.25 on average, longest at a, 0.50" in alt
    with pytest.raises(ValueError, match=r"sizes must be \(H, 3\)"):
        figures.contribution_sizes(np.ones((2, 2)), "abc", layer=2)
    with pytest.raises(ValueError, match="must not be negative"):
        figures.contribution_sizes(-np.ones((2, 2)), "ab", layer=2)


def halves(c, value_map, scores, positions):
    """Let one head read contents c (N, m) in row 2 of 5: its output's left and right half."""
    weights = companion.softmax(np.where(np.arange(5) == 2, -np.inf, scores(c)))
    mixed = weights @ (c @ value_map + positions)
    return mixed[: c.shape[1]], mixed[c.shape[1] :]


@pytest.mark.claim("prop-no-better-than-zeros")
@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
def test_a_head_that_reads_contents_still_misses_by_one(seed, m):
    rng = np.random.default_rng(seed)
    value_map, reading = rng.standard_normal((m, 2 * m)), rng.standard_normal(m)
    positions, offsets = rng.standard_normal((5, 2 * m)), rng.standard_normal(5)
    u = rng.standard_normal(m)
    u -= (u @ reading) / (reading @ reading) * reading  # the scores do not see this direction
    u /= np.linalg.norm(u)

    def scores(c):
        return c @ reading + offsets

    previous, following = companion.softmax(np.where(np.arange(5) == 2, -np.inf, offsets))[[1, 3]]
    worst = 0.0
    for sign in (1, -1):
        c = np.zeros((5, m))
        small = min(previous, following) / max(previous, following)
        c[1], c[3] = (u, -small * u) if following >= previous else (-small * u, u)
        c *= sign
        left, right = halves(c, value_map, scores, positions)
        worst = max(worst, np.linalg.norm(left - c[1]), np.linalg.norm(right - c[3]))
    assert worst >= 1 - 1e-9


def test_contents_of_one_number_are_the_exception():
    errors = []
    for kappa in (0.1, 0.01, 0.001):
        shift = np.zeros((5, 2))
        shift[1], shift[3] = (1 / kappa, -1 / kappa), (-1 / kappa, 1 / kappa)
        worst = 0.0
        for left in np.linspace(-1, 1, 9):
            for right in np.linspace(-1, 1, 9):
                c = np.zeros((5, 1))
                c[1], c[3] = left, right
                only_neighbours = np.where(np.isin(np.arange(5), (1, 3)), 0, -np.inf)
                got = halves(
                    c, np.ones((1, 2)), lambda c, k=kappa, v=only_neighbours: k * c[:, 0] + v, shift
                )
                worst = max(worst, abs(got[0][0] - left), abs(got[1][0] - right))
        errors.append(worst)
    np.testing.assert_allclose(errors, [0.1, 0.01, 0.001], rtol=0.1)
