"""From words to X: look-up, positions, batches, and what order the rows know of."""

import inspect
import math
from dataclasses import replace
from pathlib import Path

import array_api_compat.numpy as xp_numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

import companion
from companion import loops, pitfalls
from companion import scaled_dot_product_attention as attend
from companion.arrays import to_numpy
from companion.figures import heat_map
from companion.figures import packing as figures

DATA = Path(__file__).parent.parent / "notebooks" / "data" / "minilm_heads.npz"
DOG = "The big dog saw the small dog near the river."
EXAMPLE = companion.running_example(np)
seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)
lengths = st.integers(1, 9)


@pytest.fixture(scope="module")
def trained():
    return companion.load_trained_heads(DATA, xp=np, dtype=np.float64)


def pack(tokens, xp=xp_numpy):
    """Pack a sentence in the vocabulary of the running example."""
    example = companion.running_example(xp)
    ids = companion.token_ids(tokens, example.vocabulary, xp=xp)
    return companion.add_positions(companion.embed(ids, example.embedding), example.positions)


def head(x, **options):
    """Put rows through the first head of the running example."""
    weights = EXAMPLE.w_q[0], EXAMPLE.w_k[0], EXAMPLE.w_v[0]
    return attend(*(x @ weight for weight in weights), **options)


# Tokens, ids and the look-up


def test_a_vocabulary_counts_tokens_in_order_of_appearance():
    tokens = ["the", "cat", "the", "ran", "cat"]
    assert companion.build_vocabulary(tokens) == {"the": 0, "cat": 1, "ran": 2}


@given(st.lists(st.text(max_size=3), min_size=1, max_size=20))
def test_ids_lead_back_to_the_tokens(tokens):
    vocabulary = companion.build_vocabulary(tokens)
    names = list(vocabulary)
    assert sorted(vocabulary.values()) == list(range(len(set(tokens))))
    ids = companion.token_ids(tokens, vocabulary, xp=xp_numpy)
    assert ids.dtype == np.int64
    assert [names[i] for i in ids] == tokens


@pytest.mark.parametrize("shape", [(), (0,), (1,), (4,), (2, 3), (2, 0, 3), (2, 1, 3)])
@pytest.mark.parametrize("kind", ["int64", "uint8"])
def test_look_up_takes_one_row_for_every_id(home, shape, kind):
    table = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    ids = np.random.default_rng(1).integers(0, 7, size=shape).astype(kind)
    found = companion.embed(home.asarray(ids), home.asarray(table))
    assert found.dtype == home.xp.float32
    assert np.array_equal(to_numpy(found), table[ids])


@pytest.mark.parametrize("wrong", [-1, -7, 7, 8, 2**40])
def test_an_id_that_no_row_owns_is_an_error(home, wrong):
    table = home.asarray(np.ones((7, 5)))
    with pytest.raises(ValueError, match=f"ids must be in 0 … 6 .*, got {wrong}$"):
        companion.embed(home.asarray(np.asarray([0, 6, wrong, 3])), table)


def test_an_empty_table_has_no_ids():
    assert companion.embed(np.asarray([], dtype=np.int64), np.ones((0, 3))).shape == (0, 3)
    with pytest.raises(ValueError, match="ids must be in"):
        companion.embed(np.asarray([0]), np.ones((0, 3)))


@pytest.mark.claim("prop-one-hot")
@given(seeds, lengths, lengths, lengths)
def test_look_up_is_a_product_with_a_one_hot_matrix(rng, length, size, width):
    table, ids = rng.standard_normal((size, width)), rng.integers(0, size, size=length)
    one_hot = np.zeros((length, size))
    one_hot[np.arange(length), ids] = 1
    assert np.array_equal(one_hot @ table, companion.embed(ids, table))


# Rows become a matrix


@pytest.mark.claim("eq-packing")
@given(seeds, lengths, lengths, lengths)
def test_row_i_is_the_embedding_of_token_i_plus_position_i(rng, length, size, width):
    table, positions = rng.standard_normal((size, width)), rng.standard_normal((12, width))
    ids = rng.integers(0, size, size=length)
    x = companion.add_positions(companion.embed(ids, table), positions)
    rows = [table[t] + positions[i] for i, t in enumerate(ids)]
    assert x.shape == (length, width)
    assert all(np.array_equal(x[i], row) for i, row in enumerate(rows))
    assert np.array_equal(companion.pack_rows(rows), x)


def test_rows_are_stacked_where_they_are(home):
    rows = [home.asarray(np.asarray(row, dtype=np.float32)) for row in ([1, 2, 3], [4, 5, 6])]
    x = companion.pack_rows(rows)
    assert x.dtype == home.xp.float32
    assert to_numpy(x).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_positions_are_added_to_every_sentence_of_a_batch(home):
    rng = np.random.default_rng(0)
    x, positions = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((6, 5))
    added = to_numpy(companion.add_positions(home.asarray(x), home.asarray(positions)))
    for i in range(4):
        assert np.array_equal(added[:, :, i, :], x[:, :, i, :] + positions[i])


@pytest.mark.claim("prop-row-product")
@given(seeds, lengths, lengths, lengths)
def test_one_product_maps_every_token_by_itself(rng, length, width, columns):
    x, weight = rng.standard_normal((length, width)), rng.standard_normal((width, columns))
    product = companion.project(x, weight)
    assert np.allclose(product, loops.project_loop(x, weight), rtol=0, atol=1e-13)
    altered = x.copy()
    altered[0] = rng.standard_normal(width)
    assert np.array_equal(companion.project(altered, weight)[1:], product[1:])


def test_the_running_example_is_packed_as_the_chapter_prints_it():
    assert EXAMPLE.tokens == ("the", "black", "cat", "ran", "quickly")
    assert len(EXAMPLE.features) == EXAMPLE.x.shape[1] == 6
    assert list(EXAMPLE.vocabulary.values()) == [0, 1, 2, 3, 4]
    assert EXAMPLE.x[2].tolist() == [0, 0, 1.5, 0, 1, 0]
    assert pack(["the", "cat", "ran"])[1].tolist() == [0.5, 0, 1, 0, 1, 0]
    assert np.array_equal(pack(EXAMPLE.tokens), EXAMPLE.x)
    assert len(np.unique(EXAMPLE.embedding, axis=0)) == 5
    assert len(np.unique(EXAMPLE.positions, axis=0)) == 8


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_running_example_is_exact_in_every_precision(dtype):
    example = companion.running_example(np, getattr(np, dtype))
    for name in ("embedding", "positions", "x", "w_q", "w_k", "w_v"):
        assert getattr(example, name).dtype == dtype
        assert np.array_equal(getattr(example, name), getattr(EXAMPLE, name))


# Ragged batches


@given(seeds, st.lists(st.integers(0, 6), min_size=1, max_size=5), lengths)
def test_a_ragged_batch_comes_back_as_it_was(rng, sizes, width):
    sentences = [rng.standard_normal((size, width)).astype(np.float32) for size in sizes]
    x, token_mask = companion.pack_batch(sentences)
    assert x.shape == (len(sizes), max(sizes), width)
    assert x.dtype == np.float32
    assert token_mask.sum(axis=1).tolist() == sizes
    assert not x[~token_mask].any()
    restored = companion.unpack_batch(x, token_mask)
    assert len(restored) == len(sentences)
    for after, before in zip(restored, sentences, strict=True):
        assert np.array_equal(after, before)


def test_a_batch_stays_where_its_sentences_are(home):
    sentences = [np.ones((3, 2)), np.full((1, 2), 2.0)]
    x, token_mask = companion.pack_batch([home.asarray(sentence) for sentence in sentences])
    assert to_numpy(x)[:, :, 0].tolist() == [[1, 1, 1], [2, 0, 0]]
    assert to_numpy(token_mask).tolist() == [[True, True, True], [True, False, False]]
    restored = companion.unpack_batch(x, token_mask)
    for after, before in zip(restored, sentences, strict=True):
        assert np.array_equal(to_numpy(after), before)


def test_the_token_mask_keeps_attention_off_the_padding():
    sentences = [pack(text.split()) for text in ("the black cat ran quickly", "the cat ran")]
    x, token_mask = companion.pack_batch(sentences)
    query, key, value = (x[:, None] @ w[0] for w in (EXAMPLE.w_q, EXAMPLE.w_k, EXAMPLE.w_v))
    alone = head(sentences[1])
    masked = attend(query, key, value, companion.padding_mask(token_mask))
    assert np.allclose(masked[1, 0, :3], alone, rtol=0, atol=1e-15)
    # A row of zeros is not the same as no row.
    assert np.abs(attend(query, key, value)[1, 0, :3] - alone).max() > 0.1


# Positions


@pytest.mark.claim("eq-sinusoids")
@pytest.mark.parametrize("width", [1, 2, 5, 6, 16])
@pytest.mark.parametrize("base", [10_000.0, 100.0])
def test_sinusoids_are_the_formula(home, width, base):
    table = to_numpy(companion.sinusoidal_positions(7, width, base=base, xp=home.xp))
    assert table.shape == (7, width)
    for n in range(7):
        for column in range(width):
            angle = n * base ** (-2 * (column // 2) / width)
            wanted = math.cos(angle) if column % 2 else math.sin(angle)
            assert table[n, column] == pytest.approx(wanted, abs=1e-14)


def test_sinusoids_without_a_base_use_ten_thousand():
    assert np.array_equal(
        companion.sinusoidal_positions(9, 6), companion.sinusoidal_positions(9, 6, base=1e4)
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sinusoids_are_rounded_once(home, dtype):
    table = companion.sinusoidal_positions(50, 8, xp=home.xp, dtype=getattr(home.xp, dtype))
    exact = companion.sinusoidal_positions(50, 8, xp=xp_numpy)
    assert str(to_numpy(table).dtype) == dtype
    assert np.array_equal(to_numpy(table), exact.astype(dtype))


def test_no_positions_are_an_empty_table():
    assert companion.sinusoidal_positions(0, 4).shape == (0, 4)


@pytest.mark.claim("prop-sinusoid-product")
@given(st.integers(1, 40), st.integers(0, 800), st.integers(0, 800))
def test_the_product_of_two_positions_depends_on_their_distance(pairs, n, k):
    width = 2 * pairs
    table = companion.sinusoidal_positions(801, width, xp=xp_numpy)
    rates = 10_000.0 ** (-2 * np.arange(pairs) / width)
    product = table[n] @ table[k]
    # The angles reach 800, so they carry rounding errors of up to 800 ε each.
    tolerance = pairs * 800 * 4 * np.finfo(np.float64).eps
    assert abs(product - np.cos((n - k) * rates).sum()) <= tolerance
    assert abs(product - table[abs(n - k)] @ table[0]) <= tolerance
    assert (product >= pairs - tolerance) == (n == k)


@pytest.mark.claim("prop-sinusoid-shift")
@given(st.integers(1, 20), st.integers(0, 60))
def test_a_shift_is_one_rotation_of_every_pair(pairs, shift):
    width = 2 * pairs
    table = companion.sinusoidal_positions(100, width, xp=xp_numpy)
    rotation = np.zeros((width, width))
    for m in range(pairs):
        b = shift * 10_000.0 ** (-2 * m / width)
        block = [[math.cos(b), -math.sin(b)], [math.sin(b), math.cos(b)]]
        rotation[2 * m : 2 * m + 2, 2 * m : 2 * m + 2] = block
    assert np.allclose(rotation @ rotation.T, np.eye(width), rtol=0, atol=1e-15)
    assert np.linalg.det(rotation) == pytest.approx(1)
    moved = table[: 100 - shift] @ rotation
    assert np.allclose(moved, table[shift:], rtol=0, atol=100 * 4 * np.finfo(np.float64).eps)


# No order without positions


@pytest.mark.claim("thm-permutation-equivariance")
@given(seeds, lengths, lengths)
def test_attention_follows_every_reordering(rng, length, width):
    x, order = rng.standard_normal((length, width)), rng.permutation(length)
    w_q, w_k = rng.standard_normal((2, width, 3))
    w_v, bias = rng.standard_normal((width, 4)), rng.standard_normal(3)
    reorder = np.eye(length)[order]  # Π

    def attention(x):
        return attend(x @ w_q + bias, x @ w_k, x @ w_v)

    assert np.array_equal(reorder @ x, x[order])
    assert np.allclose(attention(reorder @ x), reorder @ attention(x), rtol=0, atol=1e-11)
    assert np.allclose(reorder @ x @ w_v, reorder @ (x @ w_v), rtol=0, atol=1e-12)


@pytest.mark.claim("cor-no-order")
@given(seeds, st.lists(st.integers(0, 4), min_size=2, max_size=9))
def test_without_positions_a_sentence_is_a_bag_of_words(rng, ids):
    ids = np.asarray(ids)
    output = head(companion.embed(ids, EXAMPLE.embedding))
    for i, j in zip(*np.nonzero(ids[:, None] == ids[None, :]), strict=True):
        assert np.allclose(output[i], output[j], rtol=0, atol=1e-13)
    reordered = head(companion.embed(rng.permutation(ids), EXAMPLE.embedding))
    assert np.allclose(output.mean(axis=0), reordered.mean(axis=0), rtol=0, atol=1e-13)


def test_attention_is_not_invariant():
    swapped = EXAMPLE.embedding[[1, 0]]
    assert np.abs(head(swapped) - head(EXAMPLE.embedding[:2])).max() > 0.01


@pytest.mark.parametrize("causal", [True, False])
def test_positions_and_a_causal_mask_end_the_symmetry(causal):
    words, order = EXAMPLE.embedding, np.arange(5)[::-1]
    places = 0.0 if causal else EXAMPLE.positions[:5]
    forwards = head(words + places, is_causal=causal)
    backwards = head(words[order] + places, is_causal=causal)
    assert np.abs(forwards[order] - backwards).max() > 0.1


# What the chapter says of a trained encoder


def test_a_real_sentence_is_packed_from_its_tables(trained):
    table, sentence = trained.embedding, trained.sentence(DOG)
    ids = companion.token_ids(sentence.tokens, trained.vocabulary, xp=np)
    x = companion.embed_tokens(ids, table, eps=trained.eps)
    assert np.abs(x - sentence.inputs[0]).max() < 1e-5


def test_words_outweigh_positions_in_a_real_sentence(trained):
    sentence = trained.sentence(DOG)
    x = sentence.inputs[0] / np.linalg.norm(sentence.inputs[0], axis=1, keepdims=True)
    cosines = x @ x.T
    the = [i for i, token in enumerate(sentence.tokens) if token == "the"]
    dogs = [i for i, token in enumerate(sentence.tokens) if token == "dog"]
    assert (the, dogs) == ([1, 5, 9], [3, 7])
    assert cosines[3, 7].round(2) == 0.96
    assert [cosines[i, j].round(2) for i, j in ((1, 5), (5, 9), (1, 9))] == [0.87, 0.89, 0.80]
    equal = np.asarray([[a == b for a in sentence.tokens] for b in sentence.tokens])
    assert cosines[~equal].max() < 0.6


def test_distance_nearly_decides_how_alike_learned_positions_are(trained):
    rows = trained.embedding.position[1:]
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    spread = [np.ptp(np.diagonal(cosines, k)) for k in range(len(rows))]
    assert round(max(spread), 2) == 0.17
    first = trained.embedding.position[0] / np.linalg.norm(trained.embedding.position[0])
    assert (rows @ first).max() < cosines.min() + 0.03


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_who_saw_whom_is_in_the_positions_alone(trained, weight):
    table, layer = trained.embedding, trained.layer(0)
    saw = []
    for text in ("the big dog saw the small dog", "the small dog saw the big dog"):
        ids = companion.token_ids(text.split(), trained.vocabulary, xp=np)
        placed = replace(table, position=weight * table.position)
        x = companion.embed_tokens(ids, placed, eps=trained.eps)
        saw.append(attend(*companion.project_heads(x, layer))[:, 3, :])
    change = np.abs(saw[0] - saw[1]).max() / np.abs(saw[0]).max()
    assert round(100 * change, 1) == (8.4 if weight else 0.0)


def test_word_embeddings_are_over_half_of_the_encoder():
    width, hidden, depth, size = 384, 1536, 6, 30_522
    word = size * width
    other = (512 + 2 + 2) * width  # positions, token types, norm
    attention = 4 * (width * width + width)
    feed_forward = 2 * width * hidden + hidden + width
    layers = depth * (attention + feed_forward + 4 * width)
    pooler = width * width + width
    total = word + other + layers + pooler
    assert round(total / 1e6, 1) == 22.7
    assert word > total / 2


# What breaks


def test_an_unchecked_look_up_takes_minus_one_for_the_last_row():
    ids = np.asarray([0, -1, 3])
    wrong = pitfalls.embed_without_check(ids, EXAMPLE.embedding)
    assert np.array_equal(wrong[1], EXAMPLE.embedding[EXAMPLE.vocabulary["quickly"]])
    with pytest.raises(ValueError, match="got -1"):
        companion.embed(ids, EXAMPLE.embedding)


def test_a_mean_over_padding_depends_on_the_neighbours():
    sentence = pack(["the", "cat", "ran"])
    alone, _ = companion.pack_batch([sentence])
    together, token_mask = companion.pack_batch([sentence, EXAMPLE.x])
    wrong = pitfalls.mean_over_padding
    assert np.allclose(wrong(alone)[0], sentence.mean(axis=0), rtol=0, atol=1e-15)
    assert np.abs(wrong(together)[0] - wrong(alone)[0]).max() > 0.1
    right = [rows.mean(axis=0) for rows in companion.unpack_batch(together, token_mask)]
    assert np.array_equal(right[0], sentence.mean(axis=0))


def test_tokens_as_columns_change_many_rows_for_one_token():
    rows = list(EXAMPLE.embedding[[0, 1, 2, 3, 4, 0]])
    altered = [*rows[:-1], EXAMPLE.embedding[2]]

    def changed(pack):
        return int((pack(rows) != pack(altered)).any(axis=1).sum())

    assert pitfalls.pack_rows_as_columns(rows).shape == companion.pack_rows(rows).shape
    assert changed(companion.pack_rows) == 1
    assert changed(pitfalls.pack_rows_as_columns) == 3


# Figures


def test_every_drawing_is_of_this_chapter():
    drawn = {name for name, _ in inspect.getmembers(figures, inspect.isfunction)}
    assert set(figures.__all__) <= drawn


def test_the_first_picture_follows_a_row():
    drawing = figures.words_to_rows(EXAMPLE)
    assert "Outlined: row 3, cat, id 2, at position 2, counted from 0." in drawing.alt
    assert "Embedding 0, 0, 1, 0, 1, 0 plus position vector 0, 0, 0.5, 0, 0, 0" in drawing.alt
    assert drawing.alt.endswith("is 0, 0, 1.5, 0, 1, 0.")
    other = figures.words_to_rows(EXAMPLE, follow=4)
    assert "Outlined: row 5, quickly, id 4, at position 4" in other.alt
    assert other.svg != drawing.svg


def test_the_position_table_is_described_by_its_turns():
    figure = figures.position_table(companion.sinusoidal_positions(16, 16, xp=xp_numpy))
    assert "Position 0 alternates between 0 and 1." in figure.alt
    assert figure.alt.endswith("going down: 4 in column 0, none in column 7, none in column 15.")
    (numbers,) = figure.tables
    assert numbers.row_labels == numbers.column_labels == tuple(str(n) for n in range(16))
    assert numbers.rows[0] == ("0.00", "1.00") * 8
    assert numbers.rows[15][0] == "0.65"


def test_likeness_by_distance_has_a_band_only_where_more_than_distance_counts():
    rng = np.random.default_rng(0)
    tables = {
        "sinusoidal": companion.sinusoidal_positions(6, 8, xp=xp_numpy),
        "random": rng.standard_normal((6, 8)),
    }
    figure = figures.position_likeness(tables)
    first, second = figure.alt.split("random: ")
    assert first.rstrip(". ").endswith("differ by at most 0")
    assert not second.rstrip(".").endswith("differ by at most 0")
    (numbers,) = figure.tables
    assert numbers.column_labels == ("sinusoidal", "random", "random, least", "random, most")
    assert numbers.rows[5][1] == numbers.rows[5][2] == numbers.rows[5][3]  # of a single pair


def test_a_ragged_batch_is_drawn_from_its_mask():
    sentences = [["the", "cat", "ran"], ["the"]]
    _, token_mask = companion.pack_batch([pack(sentence) for sentence in sentences])
    alt = figures.ragged_batch(sentences, token_mask, follow="cat").alt
    assert "the positions 0 to 2: “the cat ran” fills 3; “the” fills 1. The other" in alt
    assert "The other 2 of 6 places are hatched" in alt
    with pytest.raises(ValueError, match=r"token_mask must let \[3, 1\] tokens through"):
        figures.ragged_batch(sentences, ~token_mask, follow="cat")


def test_row_likeness_names_the_most_alike_pair_first():
    rows = np.asarray([[1.0, 0, 0], [0, 1, 0], [0, 1, 0.1], [0, 0, 1], [0, 0, -1]])
    alt = figures.row_likeness(rows, list("abcde"), highlight_row=1).alt
    assert "Most alike: b (2) and c (3) 1.00; c (3) and d (4) 0.10; a (1) and b (2) 0;" in alt
    assert "All other pairs lie between −1.00 and 0" in alt
    few = figures.row_likeness(rows[:2], ["a", "b"]).alt
    assert few.endswith("rows of a b. Most alike: a (1) and b (2) 0.")
    assert figures.row_likeness(rows[:1], ["a"]).alt.endswith("1 rows of a.")


def test_likeness_is_drawn_as_the_cosines_of_the_rows():
    rng = np.random.default_rng(0)
    rows, tokens = rng.standard_normal((4, 3)), list("abcd")
    cosines = 1 - cdist(rows, rows, "cosine")
    options = {"title": "cosine", "row_title": "row", "column_title": "row"}
    options |= {"limits": (-1.0, 1.0)}
    expected = heat_map(np.clip(cosines, -1, 1), tokens, tokens, annotate=False, **options)
    assert figures.row_likeness(rows, tokens).svg == expected.svg
