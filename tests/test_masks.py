"""Who sees whom: the masks, what hides exactly, what leaks, and that the future never arrives."""

import itertools
import math

import array_api_compat
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

import companion
from companion import loops, pitfalls
from companion import scaled_dot_product_attention as attend
from companion.arrays import to_numpy
from companion.figures import masks as figures
from tests.support.homes import NUMPY, STRICT

jax.config.update("jax_enable_x64", True)

FINITE = {"allow_nan": False, "allow_infinity": False}
SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.integers(1, 9)


def bits(x):
    return to_numpy(x).tobytes()


def head_one():
    example = companion.running_example()
    weights = (w[0] for w in (example.w_q, example.w_k, example.w_v))
    return companion.project_qkv(example.x, *weights)


def self_attention(rng, width=5, d_k=3, d_v=4, biases=False):
    """Make a map from X to its attention output, with random weights."""
    shapes = [(width, d_k), (width, d_k), (width, d_v)]
    weights = [rng.standard_normal(shape) for shape in shapes]
    offsets = [rng.standard_normal(shape[1]) if biases else None for shape in shapes]

    def attention(x, *mask, **options):
        return attend(*companion.project_qkv(x, *weights, *offsets), *mask, **options)

    return attention, weights, offsets


# The masks themselves


@pytest.mark.claim("eq-causal-mask")
@given(LENGTHS, LENGTHS, st.integers(-12, 12))
def test_a_causal_mask_shows_what_is_not_later(queries, keys, offset):
    mask = companion.causal_mask(queries, keys, query_offset=offset, xp=NUMPY.xp)
    assert mask.dtype == np.bool_
    expected = [[j <= i + offset for j in range(keys)] for i in range(queries)]
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.claim("eq-window-mask")
@given(LENGTHS, LENGTHS, st.integers(-1, 10), st.integers(-1, 10), st.integers(-12, 12))
def test_a_window_shows_what_is_near(queries, keys, left, right, offset):
    mask = companion.window_mask(
        queries, keys, window=(left, right), query_offset=offset, xp=NUMPY.xp
    )
    for i, j in itertools.product(range(queries), range(keys)):
        not_too_early = left == -1 or i + offset - left <= j
        not_too_late = right == -1 or j <= i + offset + right
        assert mask[i, j] == (not_too_early and not_too_late)


def test_the_causal_mask_is_a_window_without_a_left_end():
    for offset in (-2, 0, 3):
        causal = companion.causal_mask(4, 6, query_offset=offset)
        window = companion.window_mask(4, 6, window=(-1, 0), query_offset=offset)
        np.testing.assert_array_equal(causal, window)


@pytest.mark.claim("eq-causal-mask", "eq-window-mask")
def test_every_batch_row_may_have_its_own_offset(home):
    offsets = np.asarray([[4, 0, -7], [2, 1, 9]])
    causal = companion.causal_mask(3, 5, query_offset=home.asarray(offsets))
    window = companion.window_mask(3, 5, window=(1, 0), query_offset=home.asarray(offsets))
    assert causal.shape == window.shape == (2, 3, 1, 3, 5)
    for batch in np.ndindex(2, 3):
        offset = int(offsets[batch])
        one = companion.causal_mask(3, 5, query_offset=offset)
        np.testing.assert_array_equal(to_numpy(causal)[batch][0], one)
        one = companion.window_mask(3, 5, window=(1, 0), query_offset=offset)
        np.testing.assert_array_equal(to_numpy(window)[batch][0], one)


def test_an_offset_without_axes_makes_a_plain_mask(home):
    mask = companion.causal_mask(2, 4, query_offset=home.asarray(np.asarray(1)))
    np.testing.assert_array_equal(to_numpy(mask), [[1, 1, 0, 0], [1, 1, 1, 0]])


@pytest.mark.parametrize(("queries", "keys"), [(0, 3), (3, 0), (0, 0)])
def test_a_mask_may_be_empty(queries, keys):
    assert companion.causal_mask(queries, keys).shape == (queries, keys)


def test_padding_is_hidden_from_every_query_of_every_head(home):
    tokens = np.asarray([[True, True, False], [True, False, False]])
    mask = companion.padding_mask(home.asarray(tokens))
    assert mask.shape == (2, 1, 1, 3)
    seen = np.broadcast_to(to_numpy(mask), (2, 4, 5, 3))
    for b, h, i in np.ndindex(2, 4, 5):
        np.testing.assert_array_equal(seen[b, h, i], tokens[b])


def test_combined_masks_show_what_all_of_them_show(home):
    rng = np.random.default_rng(1)
    arrays = [rng.random(shape) < 0.6 for shape in ((4, 5), (3, 1, 1, 5), (2, 4, 1))]
    combined = companion.combine_masks(*(home.asarray(a) for a in arrays), None)
    expected = np.logical_and.reduce(np.broadcast_arrays(*arrays))
    np.testing.assert_array_equal(to_numpy(combined), expected)
    assert companion.combine_masks(None, None) is None
    only = home.asarray(arrays[0])
    assert companion.combine_masks(None, only) is only


def test_an_additive_mask_is_zero_or_minus_infinity(home):
    mask = np.random.default_rng(2).random((3, 4)) < 0.5
    for dtype in ("float16", "float32", "float64"):
        if hasattr(home.xp, dtype):  # the standard knows no float16
            additive = companion.additive_mask(home.asarray(mask), getattr(home.xp, dtype))
            assert to_numpy(additive).dtype == dtype
            np.testing.assert_array_equal(to_numpy(additive), np.where(mask, 0.0, -np.inf))


@pytest.mark.claim("eq-masked-scores")
@given(SEEDS, LENGTHS, LENGTHS)
def test_masked_scores_are_the_scores_or_minus_infinity(seed, queries, keys):
    rng = np.random.default_rng(seed)
    scores, mask = rng.standard_normal((2, queries, keys)), rng.random((queries, keys)) < 0.5
    for given_mask in (mask, companion.additive_mask(mask, np.float64)):
        masked = companion.mask_scores(scores, given_mask)
        for index in np.ndindex(*scores.shape):
            assert masked[index] == (scores[index] if mask[index[1:]] else -np.inf)


@pytest.mark.claim("eq-masked-scores")
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_selecting_does_not_look_at_what_it_hides(home, poison):
    scores = home.asarray(np.asarray([[1.0, poison, 2.0]]))
    mask = home.asarray(np.asarray([[True, False, True]]))
    for given_mask in (mask, companion.additive_mask(mask, home.xp.float64)):
        with np.errstate(invalid="ignore"):  # NumPy remarks on the sum that is then hidden
            masked = companion.mask_scores(scores, given_mask)
        np.testing.assert_array_equal(to_numpy(masked), [[1.0, -np.inf, 2.0]])
    if np.isnan(poison):
        added = scores + companion.additive_mask(mask, home.xp.float64)
        assert np.isnan(to_numpy(companion.softmax(added))).all()


def test_a_float_mask_shifts_scores_too(home):
    scores = home.asarray(np.asarray([[1.0, 2.0]], np.float32))
    mask = home.asarray(np.asarray([[0.5, -np.inf]]))
    masked = companion.mask_scores(scores, mask)
    assert to_numpy(masked).dtype == np.float32
    np.testing.assert_array_equal(to_numpy(masked), [[1.5, -np.inf]])


def test_the_masked_softmax_agrees_with_jax():
    rng = np.random.default_rng(3)
    scores, mask = 5 * rng.standard_normal((2, 7, 9)), rng.random((2, 7, 9)) < 0.7
    mask[..., 0] = True
    theirs = jax.nn.softmax(jnp.asarray(scores), where=jnp.asarray(mask))
    ours = companion.softmax(companion.mask_scores(scores, mask))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-15)


# A finite number leaks, −∞ does not


@pytest.mark.claim("prop-finite-fill")
@given(SEEDS, st.integers(0, 5), st.integers(1, 5), st.floats(-30, 5))
def test_a_finite_fill_leaks_as_much_as_the_formula_says(seed, visible, hidden, fill):
    scores = np.random.default_rng(seed).standard_normal(visible)
    row = np.concatenate([scores, np.full(hidden, fill)])
    leaked = math.exp(fill) / (np.exp(scores).sum() + hidden * math.exp(fill))
    weights = companion.softmax(row)
    np.testing.assert_allclose(weights[visible:], leaked, rtol=1e-12)
    assert (weights[visible:] > 0).all()
    if visible == 0:
        np.testing.assert_allclose(weights, 1 / hidden, rtol=1e-12)


@pytest.mark.claim("prop-finite-fill")
def test_the_leak_shrinks_with_the_fill_unless_nothing_is_visible():
    fills = (0.0, -5.0, -20.0, -100.0)
    leaks = [companion.softmax(np.asarray([0.3, -1.0, fill]))[2] for fill in fills]
    assert leaks == sorted(leaks, reverse=True)
    assert leaks[-1] < 1e-40
    for fill in fills:
        np.testing.assert_allclose(companion.softmax(np.full(3, fill)), 1 / 3)


def test_the_running_example_leaks_what_the_chapter_says():
    query, key, value = head_one()
    scores, mask = companion.scaled_scores(query, key), companion.causal_mask(5)
    leaking = companion.softmax(np.where(mask, scores, 0.0))
    leaked = np.where(mask, 0.0, leaking).sum(axis=-1)
    np.testing.assert_allclose(leaked, [0.7631, 0.3836, 0.0845, 0.1172, 0.0], atol=5e-5)
    np.testing.assert_allclose(
        pitfalls.attention_with_leaking_zeros(query, key, value), leaking @ value, atol=1e-15
    )


def test_the_smallest_leak_has_two_tokens_and_no_scores():
    def leaks(scores):
        mask = companion.causal_mask(len(scores))
        return bool((companion.softmax(np.where(mask, scores, 0.0))[~mask] != 0).any())

    squares = LENGTHS.flatmap(
        lambda n: st_numpy.arrays(np.float64, (n, n), elements=st.floats(-5, 5, **FINITE))
    )
    quiet = settings(database=None, derandomize=True, max_examples=200)
    np.testing.assert_array_equal(find(squares, leaks, settings=quiet), np.zeros((2, 2)))


@pytest.mark.claim("lem-hidden-weights")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@given(data=st.data())
def test_hidden_weights_are_zero_and_the_others_a_softmax_of_their_own(dtype, data):
    keys = data.draw(st.integers(1, 12))
    limit = float(np.finfo(dtype).max)
    elements = st.floats(-limit, limit, width=8 * np.dtype(dtype).itemsize) | st.integers(-9, 9)
    scores = data.draw(st_numpy.arrays(dtype, keys, elements=elements))
    mask = data.draw(st_numpy.arrays(np.bool_, keys).filter(np.any))
    weights = companion.softmax(companion.mask_scores(scores, mask))
    assert bits(weights[~mask]) == bits(np.zeros(np.sum(~mask), dtype))  # +0, every bit of it
    alone = companion.softmax(scores[mask])
    np.testing.assert_allclose(weights[mask], alone, rtol=0, atol=2 * np.finfo(dtype).eps)


def test_the_exponential_of_minus_infinity_is_zero_to_the_bit(home):
    for dtype in (home.xp.float32, home.xp.float64):
        power = home.xp.exp(home.asarray([-math.inf], dtype))
        assert not any(bits(power))


@pytest.mark.claim("cor-restriction")
@given(SEEDS, LENGTHS, LENGTHS)
def test_a_mask_keeps_the_proportions_of_what_it_shows(seed, queries, keys):
    rng = np.random.default_rng(seed)
    scores, mask = 3 * rng.standard_normal((queries, keys)), rng.random((queries, keys)) < 0.5
    mask[:, 0] = True
    kept = np.where(mask, companion.softmax(scores), 0.0)
    masked = companion.softmax(companion.mask_scores(scores, mask))
    np.testing.assert_allclose(masked, kept / kept.sum(axis=-1, keepdims=True), atol=1e-14)


def test_a_large_negative_number_is_no_mask():
    row = np.asarray([[2.0, 1.0, 0.0]])
    unmasked = companion.softmax(row)
    np.testing.assert_allclose(companion.softmax(row - 1e9), unmasked, atol=1e-6)
    drowned = companion.softmax(row.astype(np.float32) - np.float32(1e9))
    np.testing.assert_array_equal(drowned, np.full((1, 3), np.float32(1) / 3))
    np.testing.assert_array_equal(companion.softmax(np.asarray([-2e9, -1e9])), [0, 1])
    assert np.spacing(np.float32(1e9)) == 64
    assert np.finfo(np.float16).max == 65504
    with pytest.warns(RuntimeWarning, match="overflow"):
        half = np.asarray([-1e9, -1e9]).astype(np.float16)
    assert (half == -np.inf).all()
    with pytest.warns(RuntimeWarning, match="invalid value"):
        assert np.isnan(pitfalls.softmax_without_shift(half)).all()
    np.testing.assert_array_equal(companion.softmax(half), [0, 0])


def test_a_row_with_nothing_to_see_is_zero(home):
    arrays = [home.asarray(a) for a in head_one()]
    output, weights = attend(*arrays, is_causal=True, query_offset=-2, return_weights=True)
    assert not to_numpy(output)[:2].any()
    assert not to_numpy(weights)[:2].any()
    np.testing.assert_allclose(to_numpy(weights)[2:].sum(axis=-1), 1, atol=1e-15)


def test_a_row_with_nothing_to_see_is_zero_whatever_the_values_are(home):
    query, key, value = head_one()
    value[3] = np.inf
    arrays = [home.asarray(a) for a in (query, key, value)]
    with np.errstate(invalid="ignore"):  # 0 · ∞ on the way, and in the rows that do see something
        output = attend(*arrays, is_causal=True, query_offset=-2)
    assert not to_numpy(output)[:2].any()


# Nothing leaks


@pytest.mark.claim("thm-causal", "def-causal")
@given(SEEDS, LENGTHS, st.booleans())
def test_row_i_is_the_attention_of_the_first_i_tokens(seed, length, biases):
    rng = np.random.default_rng(seed)
    attention, weights, offsets = self_attention(rng, biases=biases)
    x = rng.standard_normal((length, 5))
    query, key, value = companion.project_qkv(x, *weights, *offsets)
    output = attention(x, is_causal=True)
    for i in range(length):
        powers = np.exp(key[: i + 1] @ query[i] / math.sqrt(3))
        expected = powers @ value[: i + 1] / powers.sum()
        np.testing.assert_allclose(output[i], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        output, loops.attention_loop(query, key, value, is_causal=True), rtol=0, atol=1e-12
    )


@pytest.mark.claim("thm-causal", "def-causal", "prop-same-bits")
@given(
    SEEDS,
    st.integers(2, 40),
    st.sampled_from([np.float16, np.float32, np.float64]),
    st.floats(-30, 30),
    st.data(),
)
def test_a_changed_token_leaves_the_bits_of_earlier_rows(seed, length, dtype, size, data):
    rng = np.random.default_rng(seed)
    cut = data.draw(st.integers(1, length - 1), label="first changed token")
    x, *weights = (
        rng.standard_normal(shape).astype(dtype) for shape in ((length, 7), (7, 3), (7, 3), (7, 4))
    )
    other = x.copy()
    other[cut:] = dtype(size) * rng.standard_normal((length - cut, 7)).astype(dtype)
    before, after = (
        attend(*companion.project_qkv(rows, *weights), is_causal=True) for rows in (x, other)
    )
    assert bits(before[:cut]) == bits(after[:cut])


@pytest.mark.claim("prop-same-bits")
@pytest.mark.parametrize("hidden", [3.5, -3.5, 0.0, -0.0])
def test_zero_times_a_hidden_value_adds_nothing_not_even_a_sign(hidden):
    query = key = np.zeros((9, 2))
    for seen in (0.0, -0.0, 1.0, -1.0):
        value = np.full((9, 3), seen)
        before = attend(query, key, value, is_causal=True)
        value[5:] = hidden
        assert bits(attend(query, key, value, is_causal=True)[:5]) == bits(before[:5])


@pytest.mark.claim("prop-same-bits")
@pytest.mark.parametrize("hidden", [np.inf, np.nan])
def test_a_hidden_value_that_is_not_finite_reaches_earlier_rows(hidden):
    query, key, value = head_one()
    value[4] = hidden
    with np.errstate(invalid="ignore"):  # 0 · ∞ is what this test is about
        assert np.isnan(attend(query, key, value, is_causal=True)[:4]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layer", [0, 2])
def test_trained_heads_keep_their_bits_under_the_mask_and_only_there(trained, layer, dtype):
    for sentence in trained(dtype).sentences.values():
        weights = trained(dtype).layer(layer)
        parameters = [getattr(weights, f"{kind}_{role}") for kind in "wb" for role in "qkv"]
        x = sentence.inputs[layer]
        cut = len(sentence.tokens) - 3
        other = x.copy()
        other[cut] = x[1]
        before, after = (companion.project_qkv(rows, *parameters) for rows in (x, other))
        masked = [attend(*qkv, is_causal=True) for qkv in (before, after)]
        assert bits(masked[0][:, :cut]) == bits(masked[1][:, :cut])
        assert (masked[0] != masked[1])[:, cut:].any(axis=-1).all()
        if dtype is np.float64:
            free = [attend(*qkv) for qkv in (before, after)]
            assert (free[0] != free[1]).any(axis=-1).all()


@pytest.fixture(scope="module")
def trained(pytestconfig):
    path = pytestconfig.rootpath / "notebooks" / "data" / "minilm_heads.npz"
    loaded = {}

    def load(dtype):
        if dtype not in loaded:
            loaded[dtype] = companion.load_trained_heads(path, xp=NUMPY.xp, dtype=dtype)
        return loaded[dtype]

    return load


@pytest.mark.claim("cor-prefix")
@given(SEEDS, st.integers(1, 20), st.data())
def test_the_prefix_of_attention_is_the_attention_of_the_prefix(seed, length, data):
    rng = np.random.default_rng(seed)
    attention, _, _ = self_attention(rng)
    x = rng.standard_normal((length, 5))
    n = data.draw(st.integers(1, length))
    whole = attention(x, is_causal=True)
    np.testing.assert_allclose(attention(x[:n], is_causal=True), whole[:n], rtol=0, atol=1e-12)


@pytest.mark.claim("cor-prefix")
def test_an_offset_continues_where_the_cache_ends():
    query, key, value = head_one()
    whole = attend(query, key, value, is_causal=True)
    for cached in range(5):
        step = attend(query[cached:], key, value, is_causal=True, query_offset=cached)
        np.testing.assert_allclose(step, whole[cached:], rtol=0, atol=1e-12)
    forgotten = attend(query[3:], key, value, is_causal=True)
    assert (np.abs(forgotten - whole[3:]) > 0.1).any()


@pytest.mark.claim("cor-causal-stack")
@given(SEEDS, st.integers(2, 12), st.data())
def test_a_stack_of_causal_layers_is_causal(seed, length, data):
    rng = np.random.default_rng(seed)
    layers = [self_attention(rng, width=5, d_v=5)[0] for _ in range(3)]

    def stack(x):
        for attention in layers:
            x = x + attention(x, is_causal=True)
            x = x + np.tanh(x)  # treats each row by itself
        return x

    cut = data.draw(st.integers(1, length - 1))
    x = rng.standard_normal((length, 5))
    other = x.copy()
    other[cut:] += 1
    before, after = stack(x), stack(other)
    assert bits(before[:cut]) == bits(after[:cut])
    assert (before != after)[cut:].any(axis=-1).all()


@pytest.mark.claim("cor-causal-stack")
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_stacked_windows_reach_as_far_as_their_sum(layers):
    rng = np.random.default_rng(4)
    attentions = [self_attention(rng, width=5, d_v=5)[0] for _ in range(layers)]

    def stack(x):
        for attention in attentions:
            x = x + attention(x, is_causal=True, window=(2, 0))
        return x

    x = rng.standard_normal((12, 5))
    other = x.copy()
    other[1] += 1
    moved = np.flatnonzero((stack(x) != stack(other)).any(axis=-1))
    np.testing.assert_array_equal(moved, np.arange(1, 2 + 2 * layers))


def test_the_first_output_is_the_first_value():
    query, key, value = head_one()
    output = attend(query, key, value, is_causal=True)
    assert bits(output[0]) == bits(value[0])
    assert output[0].shape != companion.running_example().x[0].shape


# Is the mask necessary?


@pytest.mark.claim("prop-no-mask")
@given(SEEDS, st.integers(1, 9), st.data())
def test_without_a_mask_every_value_counts(seed, keys, data):
    rng = np.random.default_rng(seed)
    query, key, value = (rng.standard_normal((keys, n)) for n in (3, 3, 4))
    j = data.draw(st.integers(0, keys - 1))
    change = rng.standard_normal(4)
    before, weights = attend(query, key, value, return_weights=True)
    value[j] += change
    moved = attend(query, key, value) - before
    assert (weights > 0).all()
    np.testing.assert_allclose(moved, weights[:, j, None] * change, rtol=0, atol=1e-13)
    assert (moved != 0).any(axis=-1).all()


@pytest.mark.claim("thm-mask-necessary")
@pytest.mark.parametrize("biases", [False, True])
def test_of_all_masks_over_three_tokens_only_those_that_hide_the_future_are_causal(biases):
    attention, weights, _ = self_attention(np.random.default_rng(5), biases=biases)
    u = np.ones(5)
    assert (u @ weights[2] != 0).any()
    masks = np.asarray(list(itertools.product([False, True], repeat=9))).reshape(512, 1, 3, 3)
    nobody = np.zeros((512, 1, 3, 5))
    before = attention(nobody, masks)  # (512, 1, 3, 4)
    hears = np.zeros((512, 3, 3), dtype=bool)  # [mask, i, j]: row i hears of token j
    for j in range(3):
        after = attention(np.where(np.arange(3)[:, None] == j, u, nobody), masks)
        hears[:, :, j] = (before != after).any(axis=-1)[:, 0]
    causal = ~np.triu(hears, 1).any(axis=(1, 2))
    hides_the_future = ~np.triu(masks[:, 0], 1).any(axis=(1, 2))
    np.testing.assert_array_equal(causal, hides_the_future)
    assert causal.sum() == 2**6


@pytest.mark.claim("thm-mask-necessary")
def test_without_values_no_mask_is_needed():
    query, key, value = head_one()
    output = attend(query, key, np.zeros_like(value))
    assert not output.any()
    equal_rows = np.ones_like(value)
    np.testing.assert_allclose(attend(query, key, equal_rows), equal_rows, atol=1e-15)


# What a mask does not prevent


def test_a_causal_head_can_recite_its_training_text():
    example = companion.running_example()
    position = 20 * np.eye(5)
    by_heart = np.roll(example.embedding, -1, axis=0)
    recited = attend(position, position, by_heart, is_causal=True)
    nearest = (recited @ example.embedding.T).argmax(axis=-1)
    np.testing.assert_array_equal(nearest[:4], [1, 2, 3, 4])


# The broken variants


def moved_rows(variant, *, of_key=False, of_value=False):
    """Return which rows of head 1 move when its last key or value row does."""
    query, key, value = head_one()
    before = variant(query, key, value)
    key, value = key.copy(), value.copy()
    key[-1] += of_key
    value[-1] += of_value
    return np.flatnonzero((variant(query, key, value) != before).any(axis=-1)).tolist()


def right(query, key, value):
    return attend(query, key, value, is_causal=True)


@pytest.mark.parametrize(
    ("variant", "by_value", "by_key"),
    [
        (right, [4], [4]),
        (pitfalls.attention_with_leaking_zeros, [0, 1, 2, 3, 4], [4]),
        (pitfalls.attention_masked_after_softmax, [4], [0, 1, 2, 3, 4]),
        (pitfalls.attention_with_off_by_one_mask, [3, 4], [3, 4]),
    ],
)
def test_a_changed_future_exposes_the_broken_masks(variant, by_value, by_key):
    assert moved_rows(variant, of_value=True) == by_value
    assert moved_rows(variant, of_key=True) == by_key
    assert moved_rows(variant, of_key=True, of_value=True) == sorted({*by_value, *by_key})


def test_masking_after_the_softmax_is_repaired_by_sharing_out_again():
    query, key, value = head_one()
    weights = companion.softmax(companion.scaled_scores(query, key))
    weights = np.where(companion.causal_mask(5), weights, 0.0)
    assert (weights.sum(axis=-1)[:4] < 0.999).all()
    np.testing.assert_array_equal(
        pitfalls.attention_masked_after_softmax(query, key, value), weights @ value
    )
    repaired = weights / weights.sum(axis=-1, keepdims=True) @ value
    np.testing.assert_allclose(repaired, right(query, key, value), atol=1e-14)


def test_zero_times_infinity_exposes_the_multiplied_mask():
    mask = companion.causal_mask(5)
    with pytest.warns(RuntimeWarning, match="invalid value"):
        multiplied = pitfalls.additive_mask_times_infinity(mask, np.float64)
    np.testing.assert_array_equal(np.isnan(multiplied), mask)
    assert not np.isnan(companion.additive_mask(mask, np.float64)).any()


@pytest.mark.parametrize(
    "name",
    [
        "attention_with_leaking_zeros",
        "attention_masked_after_softmax",
        "attention_with_off_by_one_mask",
    ],
)
def test_the_broken_variants_run_on_every_array_module(home, name):
    arrays = head_one()
    expected = getattr(pitfalls, name)(*arrays)
    output = getattr(pitfalls, name)(*(home.asarray(a) for a in arrays))
    np.testing.assert_allclose(to_numpy(output), expected, atol=1e-14)


# The figures


def test_the_triangle_says_what_it_hides():
    query, key, _ = head_one()
    scores = companion.scaled_scores(query, key)
    tokens = companion.running_example().tokens
    masked = companion.mask_scores(scores, companion.causal_mask(5))
    figure = figures.score_triangle(masked, tokens, highlight_row=2)
    assert "10 of 25 cells hold −∞, all those above the diagonal and no others." in figure.alt
    assert figure.alt.startswith("Heat map of scaled scores with 5 rows (query)")
    assert figure.tables[0].title == "scaled scores"
    off = companion.mask_scores(scores, companion.causal_mask(5, query_offset=1))
    assert figures.score_triangle(off, tokens).alt.endswith(" 6 of 25 cells hold −∞.")


def test_the_pair_says_which_rows_lose_their_favourite():
    free = np.asarray([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
    causal = np.asarray([[1, 0, 0], [0.667, 0.333, 0], [0.1, 0.1, 0.8]])
    alt = figures.causal_beside_bidirectional(free, causal, "abc", highlight_row=1).alt
    assert "The mask hides the largest weight of row 1 (a), which turns from b to a." in alt
    assert "hides the largest" not in figures.causal_beside_bidirectional(causal, causal, "abc").alt


def test_the_gallery_reads_out_the_row_to_follow():
    masks = {"causal": companion.causal_mask(4), "none": np.zeros((4, 4), bool)}
    alt = figures.mask_gallery(masks, highlight_row=2).alt
    assert "causal: 10 pairs, row 3 sees 1, 2, 3; none: 0 pairs, row 3 sees nothing." in alt
    with pytest.raises(ValueError, match=r"masks must be of one shape"):
        figures.mask_gallery(
            {"a": np.ones((2, 2), bool), "b": np.ones((3, 3), bool)}, highlight_row=0
        )


def test_the_bars_say_who_looks_ahead():
    shares = {"layer 0": np.asarray([0.1, 0.75, 0.6]), "layer 2": np.asarray([0.2, 0.0, 0.3])}
    drawn = figures.weight_on_the_future(shares)
    alt = drawn.alt
    assert drawn.svg.count("<!-- share -->") == 2
    assert "layer 0: from 0.10 in head 0 to 0.75 in head 1, heads over one half: 2" in alt
    assert "layer 2: from 0.00 in head 1 to 0.30 in head 2, heads over one half: 0" in alt
    with pytest.raises(ValueError, match="shares must lie in"):
        figures.weight_on_the_future({"layer 0": np.asarray([0.5, 1.5])})
    with pytest.raises(ValueError, match=r"shares must hold \(H,\)"):
        figures.weight_on_the_future({"layer 0": np.ones(2), "layer 1": np.ones(3)})


def test_uniform_weights_give_one_half_to_the_future():
    for length in (2, 5, 8):
        later = ~companion.causal_mask(length)
        share = np.where(later, 1 / length, 0).sum(axis=-1)[:-1].mean()
        assert share == pytest.approx(0.5)


def test_masks_made_elsewhere_work_where_the_scores_are():
    mask = array_api_compat.to_device(companion.causal_mask(3, xp=STRICT.xp), STRICT.device)
    scores = STRICT.asarray(np.zeros((3, 3)))
    np.testing.assert_array_equal(
        to_numpy(companion.mask_scores(scores, mask)), np.where(np.tri(3), 0.0, -np.inf)
    )
