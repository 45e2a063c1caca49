"""A decoder and its cache: the same rows however they are read, and nothing from the future."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion.language_model import fast_decoder
from companion.language_model.decoder import decoder_states, state_logits
from tests.support.homes import NUMPY, array_homes
from tests.support.tiny_language_model import tiny_config, tiny_parameters, tiny_tensors
from tests.support.tolerance import assert_as_exact

PLAIN = tiny_parameters()
EXACT = tiny_parameters(np.float64)
HOMES = pytest.mark.parametrize("home", array_homes(), ids=lambda home: home.name)
LENGTHS = [1, 2, 5, 33, 64, 97, 257, 600]
seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def some_ids(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 257, shape)


def by_chapters(ids, p):
    """Compute a decoder's logits by the functions of earlier chapters, one text at a time."""
    c = p.config
    x = companion.embed(ids, p.embedding)
    places = np.arange(len(ids))
    for block in p.blocks:
        query, key, value = companion.project_heads(
            companion.rms_norm(x, block.norm_1.weight, eps=c.eps), block.attention
        )
        query, key = (companion.rotate(rows, places, base=c.rotary_base) for rows in (query, key))
        x = x + companion.attend_heads(query, key, value, block.attention, is_causal=True)
        normed = companion.rms_norm(x, block.norm_2.weight, eps=c.eps)
        x = x + companion.gated_feed_forward(normed, block.feed_forward)
    return companion.rms_norm(x, p.norm, eps=c.eps) @ p.unembedding.T


def by_equation(ids, p, cache=None, **options):
    """Go the way of the other libraries: a mask of one's own keeps the fast form away."""
    return decoder_states(ids, p, cache, attn_mask=np.asarray(True), **options)


# What a decoder computes


@pytest.mark.claim("eq-next-token")
@pytest.mark.parametrize("tied", [True, False])
def test_a_decoder_is_made_of_the_earlier_chapters(tied):
    p = tiny_parameters(np.float64, tied=tied)
    ids = some_ids(9)
    np.testing.assert_allclose(
        state_logits(decoder_states(ids, p), p), by_chapters(ids, p), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_the_fast_form_is_as_exact_as_the_equation(batch, length):
    ids = some_ids(*batch, length)
    assert PLAIN.is_plain
    assert not EXACT.is_plain
    fast = decoder_states(ids, PLAIN, return_all=True)
    textbook = by_equation(ids, PLAIN, return_all=True)
    exact = decoder_states(ids, EXACT, return_all=True)
    assert len(fast) == PLAIN.config.layer_count + 1
    for states in zip(fast, textbook, exact, strict=True):
        assert states[0].dtype == np.float32
        assert_as_exact(*states)
    np.testing.assert_array_equal(fast[-1], decoder_states(ids, PLAIN))


@pytest.mark.parametrize("batch", [40, 300])
def test_many_short_texts_are_as_exact(batch):
    ids = some_ids(batch, 7)
    assert_as_exact(decoder_states(ids, PLAIN), by_equation(ids, PLAIN), decoder_states(ids, EXACT))


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_rows_of_extreme_size_are_normed_all_the_same(size):
    """All that is added to a row is as large as the row, so each norm counts."""

    def scaled(p):
        factor = p.embedding.dtype.type(size)
        layers = [
            replace(layer, w_o=layer.w_o * factor, w_down=layer.w_down * factor)
            for layer in p.layers
        ]
        return replace(p, embedding=p.embedding * factor, layers=tuple(layers))

    ids, p, exact = some_ids(5), scaled(PLAIN), scaled(EXACT)
    assert p.is_plain
    logits = state_logits(decoder_states(ids, p), p)
    expected = state_logits(decoder_states(ids, exact), exact)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * scale)


@HOMES
def test_a_decoder_follows_its_arrays(home):
    ids = some_ids(2, 6)
    p = companion.map_parameters(home.asarray, EXACT)
    states = decoder_states(home.asarray(ids), p, return_all=True)
    logits = state_logits(states[-1], p)
    expected = state_logits(decoder_states(ids, EXACT), EXACT)
    np.testing.assert_allclose(companion.to_numpy(logits), expected, rtol=1e-9, atol=1e-12)


def test_weights_lie_in_memory_once():
    layer, block = PLAIN.layers[0], PLAIN.blocks[0]
    for part in (block.attention.w_q, block.attention.w_k, block.attention.w_v):
        assert np.shares_memory(part, layer.w_qkv)
    assert np.shares_memory(block.feed_forward.w_gate, layer.w_gate_up)
    tensors = tiny_tensors(PLAIN.config)
    total = sum(tensor.size for tensor in tensors.values())
    assert companion.count_parameters(PLAIN) == total


def test_no_weight_is_asked_for_twice_or_kept_from_the_file():
    tensors, asked = tiny_tensors(tiny_config()), []

    class Counted(dict):
        def __getitem__(self, name):
            asked.append(name)
            return super().__getitem__(name).astype(np.float32)

    p = companion.LanguageModelParameters.from_tensors(tiny_config(), Counted(tensors), xp=np)
    assert asked == list(companion.language_model_tensors(tiny_config()))
    assert not any(np.shares_memory(p.embedding, tensor) for tensor in tensors.values())


# Nothing from the future


@HOMES
@pytest.mark.parametrize("length", [2, 40, 97, 257, 600])
def test_a_later_token_changes_no_bit_of_an_earlier_row(home, length):
    p = PLAIN if home is NUMPY else companion.map_parameters(home.asarray, PLAIN)
    before = some_ids(length)
    after = before.copy()
    after[-1] = (after[-1] + 1) % 257
    states = [companion.to_numpy(decoder_states(home.asarray(ids), p)) for ids in (before, after)]
    np.testing.assert_array_equal(states[0][:-1], states[1][:-1])
    assert not np.array_equal(states[0][-1], states[1][-1])


def test_not_even_a_token_whose_row_is_huge_does():
    table = PLAIN.embedding.copy()
    table[256] *= np.float32(1e20)
    p = replace(PLAIN, embedding=table)
    before = some_ids(40) % 256
    after = before.copy()
    after[-1] = 256
    states = [decoder_states(ids, p) for ids in (before, after)]
    np.testing.assert_array_equal(states[0][:-1], states[1][:-1])


# The cache


def in_blocks(ids, p, cuts, cache, states=decoder_states):
    """Read ids block by block with a cache, and put their rows together."""
    ends = [0, *cuts, ids.shape[-1]]
    rows = [states(ids[..., i:j], p, cache) for i, j in itertools.pairwise(ends) if i < j]
    return np.concatenate(rows, axis=-2)


@pytest.mark.claim("thm-cached-rows")
@given(seeds, st.lists(st.integers(0, 90), max_size=6).map(sorted))
def test_rows_are_the_same_with_a_cache_however_the_text_is_cut(rng, cuts):
    ids = rng.integers(0, 257, 90)
    for states in (decoder_states, by_equation):
        cache = companion.KeyValueCache(PLAIN.config, xp=np)
        cached = in_blocks(ids, PLAIN, cuts, cache, states)
        assert_as_exact(cached, by_equation(ids, PLAIN), decoder_states(ids, EXACT))
        assert cache.length == cache.seen == cache.position == 90
        np.testing.assert_array_equal(cache.token_ids, ids)


@pytest.mark.parametrize("batch", [(), (3,), (2, 2)])
def test_one_token_at_a_time_gives_the_same_rows_and_tokens(batch):
    ids = some_ids(*batch, 70)
    cache = companion.KeyValueCache(PLAIN.config, batch, xp=np)
    cached = in_blocks(ids, PLAIN, range(70), cache)
    assert_as_exact(cached, by_equation(ids, PLAIN), decoder_states(ids, EXACT))
    best, again = (
        state_logits(rows, PLAIN).argmax(axis=-1) for rows in (cached, decoder_states(ids, PLAIN))
    )
    np.testing.assert_array_equal(best, again)


@HOMES
def test_a_cache_follows_its_arrays(home):
    p = companion.map_parameters(home.asarray, EXACT)
    ids = some_ids(2, 9)
    cache = companion.KeyValueCache(
        p.config, (2,), xp=home.xp, dtype=p.embedding.dtype, device=home.device
    )
    parts = [
        decoder_states(home.asarray(ids[:, cut]), p, cache) for cut in np.split(np.arange(9), 3)
    ]
    whole = np.concatenate([companion.to_numpy(part) for part in parts], axis=-2)
    np.testing.assert_allclose(whole, decoder_states(ids, EXACT), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(companion.to_numpy(cache.token_ids), ids)


def test_a_cache_computes_no_row_again(monkeypatch):
    """The rows that meet each weight are those of new tokens."""
    counted = []
    product = fast_decoder.product

    def counting(rows, weight, out):
        counted.append((len(rows), weight.shape))
        product(rows, weight, out)

    monkeypatch.setattr(fast_decoder, "product", counting)
    ids, c = some_ids(50), PLAIN.config
    cache = companion.KeyValueCache(c, xp=np)
    in_blocks(ids, PLAIN, [20, *range(20, 50)], cache)
    layer = PLAIN.layers[0]
    for weight in (layer.w_qkv, layer.w_o, layer.w_gate_up, layer.w_down):
        rows = sum(count for count, shape in counted if shape == weight.shape)
        assert rows == 50 * c.layer_count


def test_a_cache_grows_without_copying_at_every_step():
    cache = companion.KeyValueCache(PLAIN.config, xp=np)
    rooms = set()
    for i in range(300):
        decoder_states(some_ids(1, seed=i), PLAIN, cache)
        rooms.add(id(cache.rows(0, 0)[0].base))
        assert cache.rows(0, 0)[0].base.shape[-2] <= max(64, 2 * (i + 1))
    assert len(rooms) <= 4  # 64, 128, 256, 512
    c = PLAIN.config
    assert cache.nbytes == 2 * 4 * 300 * c.layer_count * c.key_value_head_count * c.head_dim


def test_a_cache_that_was_cut_goes_on_as_if_it_had_read_no_more():
    ids, other = some_ids(40), some_ids(20, seed=1)
    cache = companion.KeyValueCache(PLAIN.config, xp=np)
    decoder_states(ids, PLAIN, cache)
    cache.cut(25)
    assert (cache.length, cache.seen, cache.position) == (25, 25, 25)
    rows = decoder_states(other, PLAIN, cache)
    text = np.concatenate([ids[:25], other])
    assert_as_exact(rows, by_equation(text, PLAIN)[25:], decoder_states(text, EXACT)[25:])
    np.testing.assert_array_equal(cache.token_ids, text)
    cache.cut(0)
    np.testing.assert_array_equal(decoder_states(ids, PLAIN, cache), decoder_states(ids, PLAIN))


def test_an_interrupted_pass_leaves_the_cache_as_it_was(monkeypatch):
    ids = some_ids(30)
    cache = companion.KeyValueCache(PLAIN.config, xp=np)
    decoder_states(ids[:20], PLAIN, cache)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fast_decoder, "attend", interrupt)
        with pytest.raises(KeyboardInterrupt):
            decoder_states(ids[20:], PLAIN, cache)
    assert cache.length == cache.seen == 20
    rows = decoder_states(ids[20:], PLAIN, cache)
    assert_as_exact(rows, by_equation(ids, PLAIN)[20:], decoder_states(ids, EXACT)[20:])


# Windows


def windowed(ids, p, window):
    """Let each row see itself and `window` tokens before it."""
    length = ids.shape[-1]
    mask = companion.window_mask(length, window=(window, 0), xp=NUMPY.xp)
    return decoder_states(ids, p, attn_mask=mask)


@given(seeds, st.integers(0, 30), st.lists(st.integers(0, 60), max_size=5).map(sorted))
def test_a_window_hides_what_is_farther_and_keeps_no_more(rng, window, cuts):
    ids = rng.integers(0, 257, 60)
    cache = companion.KeyValueCache(PLAIN.config, xp=np, window=window)
    rows = in_blocks(ids, PLAIN, cuts, cache)
    assert_as_exact(rows, windowed(ids, PLAIN, window), windowed(ids, EXACT, window))
    assert cache.length == min(window, 60)
    assert cache.position == cache.seen == 60


def test_a_long_text_in_a_window_needs_the_memory_of_the_window():
    cache = companion.KeyValueCache(PLAIN.config, xp=np, window=20)
    ids = some_ids(500)
    in_blocks(ids, PLAIN, range(500), cache)
    assert cache.rows(0, 0)[0].base.shape[-2] == 64
    with pytest.raises(
        ValueError, match=r"seen must be 0 or 500, since the window has dropped 480"
    ):
        cache.cut(490)
    cache.cut(500)
    assert (cache.length, cache.seen) == (20, 500)
    cache.cut(0)
    rows = decoder_states(ids[:9], PLAIN, cache)
    assert_as_exact(rows, windowed(ids[:9], PLAIN, 20), windowed(ids[:9], EXACT, 20))


# Texts of unlike length


def padded(texts):
    longest = max(map(len, texts))
    ids, mask = (np.zeros((len(texts), longest), dtype) for dtype in (np.int64, bool))
    for row, text in enumerate(texts):
        ids[row, longest - len(text) :] = text
        mask[row, longest - len(text) :] = True
    return ids, mask


@given(seeds, st.lists(st.integers(1, 40), min_size=1, max_size=4), st.booleans())
def test_a_padded_text_is_read_as_if_it_were_alone(rng, lengths, with_cache):
    texts = [rng.integers(0, 257, n) for n in lengths]
    ids, mask = padded(texts)
    cache = None
    if with_cache:
        cache = companion.KeyValueCache(PLAIN.config, (len(texts),), xp=np)
    rows = decoder_states(ids, PLAIN, cache, token_mask=mask)
    for row, text in zip(rows, texts, strict=True):
        alone = by_equation(text, PLAIN), decoder_states(text, EXACT)
        assert_as_exact(row[-len(text) :], *alone)
    if cache is None:
        return
    np.testing.assert_array_equal(cache.position, lengths)
    for step in range(3):  # and so are the tokens that follow, and another block
        more = rng.integers(0, 257, (len(texts), 1 + step))
        texts = [np.concatenate(pair) for pair in zip(texts, more, strict=True)]
        rows = decoder_states(more, PLAIN, cache)
        for row, text in zip(rows, texts, strict=True):
            exact = decoder_states(text, EXACT)[-1 - step :]
            assert_as_exact(row, by_equation(text, PLAIN)[-1 - step :], exact)


def test_padding_in_a_later_block_is_skipped_too():
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 257, (2, 10)), [rng.integers(0, 257, n) for n in (3, 8)]
    cache = companion.KeyValueCache(PLAIN.config, (2,), xp=np)
    decoder_states(first, PLAIN, cache)
    ids, mask = padded(second)
    rows = decoder_states(ids, PLAIN, cache, token_mask=mask)
    for row, *parts in zip(rows, first, second, strict=True):
        text = np.concatenate(parts)
        n = len(parts[1])
        alone = by_equation(text, PLAIN)[-n:], decoder_states(text, EXACT)[-n:]
        assert_as_exact(row[-n:], *alone)


# What is refused


IDS = some_ids(5)
REFUSED = {
    "no token": (lambda _: decoder_states(IDS[:0], PLAIN), ValueError, "with N at least 1"),
    "no axis": (lambda _: decoder_states(IDS[0], PLAIN), ValueError, "with N at least 1, got ()"),
    "an id too far": (
        lambda _: decoder_states(IDS + 257, PLAIN),
        ValueError,
        "token_ids must be in 0 … 256",
    ),
    "no ids": (lambda _: decoder_states(IDS * 1.0, PLAIN), TypeError, "token_ids must have an int"),
    "too long": (
        lambda _: decoder_states(some_ids(701), PLAIN),
        ValueError,
        "within the model's context of 700 tokens, got 701",
    ),
    "too long with the cache": (
        lambda c: [decoder_states(some_ids(n), PLAIN, c) for n in (600, 101)],
        ValueError,
        "within the model's context of 700 tokens, got 701",
    ),
    "too long beside padding": (
        lambda _: decoder_states(some_ids(1, 702), PLAIN, token_mask=np.arange(702)[None, :] > 0),
        ValueError,
        "got 701",
    ),
    "another batch": (
        lambda c: decoder_states(IDS[None], PLAIN, c),
        ValueError,
        "cache must be of the batch shape (1,) of token_ids (1, 5), got ()",
    ),
    "another model's cache": (
        lambda _: decoder_states(IDS, PLAIN, companion.KeyValueCache(tiny_config(eps=0.1), xp=np)),
        ValueError,
        "cache must be made for this model",
    ),
    "a mask of another shape": (
        lambda _: decoder_states(IDS, PLAIN, token_mask=IDS[None] > 0),
        ValueError,
        "token_mask must be (5,) like token_ids, got (1, 5)",
    ),
    "a mask of numbers": (
        lambda _: decoder_states(IDS, PLAIN, token_mask=IDS),
        TypeError,
        "token_mask must be boolean",
    ),
    "a mask of scores that does not fit": (
        lambda _: decoder_states(IDS, PLAIN, attn_mask=np.ones((5, 4), bool)),
        ValueError,
        "attn_mask must broadcast to the scores (6, 5, 5), got (5, 4)",
    ),
    "states of another width": (
        lambda _: state_logits(np.ones((5, 3), np.float32), PLAIN),
        ValueError,
        "states must be (..., d=20), got shape (5, 3)",
    ),
    "states of another dtype": (
        lambda _: state_logits(np.ones((5, 20)), PLAIN),
        TypeError,
        "states must have the dtype of embedding",
    ),
    "a negative window": (
        lambda _: companion.KeyValueCache(PLAIN.config, window=-1),
        ValueError,
        "window must not be negative, got -1",
    ),
    "a cut too far": (lambda c: c.cut(1), ValueError, "seen must be 0 to 0, as many as were"),
}


@pytest.mark.parametrize(("call", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_a_bad_call_is_answered(call, kind, message):
    cache = companion.KeyValueCache(PLAIN.config, xp=np)
    with pytest.raises(kind, match=re.escape(message)):
        call(cache)


CONFIGS = {
    "layer_count": (0, "layer_count must be at least 1, got 0"),
    "width": (2.0, "width must be an integer, got 2.0"),
    "head_count": (True, "head_count must be an integer, got True"),
    "key_value_head_count": (4, "key_value_head_count must divide head_count=6, got 4"),
    "head_dim": (5, "head_dim must be even, to be rotated in pairs, got 5"),
    "rotary_base": (0.0, "rotary_base must be positive and finite, got 0.0"),
    "eps": (float("nan"), "eps must be positive and finite, got nan"),
    "bos_id": (257, "bos_id must be below vocabulary_size=257, got 257"),
    "stop_ids": ((3, -1), "stop_ids[1] must be below vocabulary_size=257, got -1"),
}


@pytest.mark.parametrize(("name", "case"), CONFIGS.items(), ids=CONFIGS)
def test_sizes_that_do_not_fit_are_refused(name, case):
    value, message = case
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        tiny_config(**{name: value})


def test_tensors_that_do_not_fit_are_refused():
    config = tiny_config()
    tensors = tiny_tensors(config)
    make = companion.LanguageModelParameters.from_tensors
    name = "model.layers.1.self_attn.k_proj.weight"
    missing = {key: tensor for key, tensor in tensors.items() if key != name}
    for changed, message in (
        (missing, f"tensors must hold {name}, and do not"),
        (tensors | {"lm_head.bias": np.ones(257)}, "tensors must hold no others, got lm_head.bias"),
        (tensors | {name: tensors[name].T}, f"{name} must be of shape .8, 20., got .20, 8."),
    ):
        with pytest.raises(ValueError, match=message):
            make(config, changed, xp=np)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layers": PLAIN.layers[:2]}, "layers must be layer_count=3 of them, got 2"),
        ({"output": None}, "output must be an array with tied=False, got None"),
        ({"norm": PLAIN.norm[:-1]}, r"norm of LanguageModelParameters must be \(20\), got"),
        ({"embedding": PLAIN.embedding[1:]}, r"embedding of .* must be \(257, 20\), got \(256"),
        ({"config": tiny_config(head_count=2, key_value_head_count=1)}, r"layers\[0\].w_qkv of"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        replace(PLAIN, **changed)
    with pytest.raises(ValueError, match=r"w_gate_up .* must have 2·d_ff=56 columns"):
        replace(PLAIN.layers[0], w_gate_up=PLAIN.layers[0].w_gate_up[:, :-1])
