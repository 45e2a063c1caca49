"""A llama model's folder is read whole, or refused with a word about what is wrong."""

import json
import os
import re
import struct
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from companion.language_model.pretrained import load_language_model
from tests.support import tiny_llama as tiny
from tests.support.tiny_llama import write_config, write_json, write_tensors, write_tokenizer

QUERY, EMBEDDING, HEAD = (
    "model.layers.1.self_attn.q_proj.weight",
    "model.embed_tokens.weight",
    "lm_head.weight",
)
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path):
    return tiny.write_folder(tmp_path)


def whole(folder, **changed):
    write_tensors(folder / "model.safetensors", **changed)


def rewrite(path, part):
    path.write_bytes(part(path.read_bytes()))


def shard(folder, **changed):
    """Put the tensors into two files with an index, of which `changed` changes entries."""
    (folder / "model.safetensors").unlink(missing_ok=True)
    names = sorted(tiny.tensors())
    files = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        part = {name: tiny.tensors()[name] for name in names if files[name] == file}
        save_file(part, folder / file)
    weight_map = {k: v for k, v in (files | changed).items() if v is not None}
    write_json(folder / INDEX, {"metadata": {"total_size": 1}, "weight_map": weight_map})


def query_rows(folder):
    return load_language_model(folder)[0].layers[1].w_qkv[:, : tiny.HEADS * tiny.HEAD_DIM].T


# What is read


def test_sizes_and_stops_come_from_the_configs(folder):
    config = load_language_model(folder)[0].config
    assert (config.vocabulary_size, config.layer_count, config.width) == (269, 2, 32)
    assert (config.head_count, config.key_value_head_count, config.head_dim) == (4, 2, 16)
    assert (config.hidden_width, config.context_length, config.tied) == (96, 40, False)
    assert (config.rotary_base, config.eps, config.bos_id) == (500.0, 1e-3, 0)
    assert config.stop_ids == (1, 2)


@pytest.mark.parametrize(
    ("config", "generation", "stops"),
    [
        (1, None, (1,)),
        ([2, 1], None, (2, 1)),
        (None, 2, (2,)),
        ([1], [2, 1, 3], (1, 2, 3)),
        (None, None, ()),
    ],
)
def test_every_end_of_either_config_stops(folder, config, generation, stops):
    write_config(folder, eos_token_id=config)
    (folder / "generation_config.json").unlink()
    if generation is not None:
        write_json(folder / "generation_config.json", {"eos_token_id": generation})
    assert load_language_model(folder)[0].config.stop_ids == stops


@pytest.mark.parametrize(
    "changed",
    [
        {"rope_theta": 700},
        {"rope_theta": None, "rope_parameters": {"rope_theta": 700.0, "rope_type": "default"}},
        {"rope_theta": 700.0, "rope_parameters": {"rope_theta": 700.0}},
        {"rope_theta": 700.0, "rope_scaling": {"type": "default"}},
    ],
)
def test_the_base_stands_at_the_top_or_beneath(folder, changed):
    write_config(folder, **changed)
    assert load_language_model(folder)[0].config.rotary_base == 700.0


def test_what_a_config_may_leave_out(folder):
    write_config(
        folder,
        num_key_value_heads=None,
        head_dim=None,
        num_attention_heads=2,
        tie_word_embeddings=None,
        bos_token_id=None,
        hidden_act=None,
    )
    changed = {
        f"model.layers.{i}.self_attn.{part}_proj.weight": np.ones((32, 32), "f4")
        for i in range(2)
        for part in "qkvo"
    }
    whole(folder, **changed)
    config = load_language_model(folder)[0].config
    assert (config.key_value_head_count, config.head_dim, config.bos_id) == (2, 16, None)


def test_a_tied_output_may_be_in_the_file_if_it_is_the_embedding(folder):
    write_config(folder, tie_word_embeddings=True)
    whole(folder, **{HEAD: None})
    assert load_language_model(folder)[0].output is None
    whole(folder, **{HEAD: tiny.tensors()[EMBEDDING]})
    assert load_language_model(folder)[0].output is None
    whole(folder)
    with pytest.raises(ValueError, match=rf"{HEAD} must be {EMBEDDING}, as tie_word_embeddings"):
        load_language_model(folder)


def test_frequencies_of_old_files_are_passed_over(folder):
    whole(folder, **{"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, "f4")})
    assert query_rows(folder).shape == (64, 32)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrow_tensors_become_float32_exactly(folder, dtype):
    narrow = {name: rows.astype(dtype) for name, rows in tiny.tensors().items()}
    whole(folder, **narrow)
    parameters, _ = load_language_model(folder)
    for name, array in (("lm_head.weight", parameters.output), (QUERY, query_rows(folder))):
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, narrow[name].astype(np.float32))
        assert not np.array_equal(array, tiny.tensors()[name])


def test_files_with_an_index_are_read_as_one(folder):
    expected, _ = load_language_model(folder)
    shard(folder)
    assert not (folder / "model.safetensors").exists()
    got, _ = load_language_model(folder)
    for i in range(tiny.LAYERS):
        for name, array in vars(expected.layers[i]).items():
            np.testing.assert_array_equal(getattr(got.layers[i], name), array)
    np.testing.assert_array_equal(got.output, expected.output)


def test_a_folder_may_hold_links_to_its_files(folder, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).rename(store / name)
        (folder / name).symlink_to(store / name)
    assert query_rows(folder).shape == (64, 32)


# What is refused

CONFIGS = [
    ({"architectures": ["MistralForCausalLM"]}, "architectures must be ['LlamaForCausalLM'], got"),
    ({"architectures": None}, "architectures must be ['LlamaForCausalLM'], got None"),
    ({"model_type": "mistral"}, "model_type must be 'llama', got 'mistral'"),
    ({"hidden_act": "gelu"}, "hidden_act must be 'silu', got 'gelu'"),
    ({"attention_bias": True}, "attention_bias must be False, got True"),
    ({"mlp_bias": True}, "mlp_bias must be False, got True"),
    ({"quantization_config": {"bits": 4}}, "quantization_config must be None, got {'bits': 4}"),
    ({"sliding_window": 16}, "sliding_window must be None, got 16"),
    ({"num_local_experts": 8}, "num_local_experts must be 0, got 8"),
    ({"use_qk_norm": True}, "use_qk_norm must be False, got True"),
    ({"partial_rotary_factor": 0.5}, "partial_rotary_factor must be 1, got 0.5"),
    ({"auto_map": {"AutoModelForCausalLM": "m.M"}}, "auto_map must bring no model of its own"),
    ({"rope_theta": None}, "rope_theta must stand in the file or under rope_parameters"),
    ({"rope_theta": None, "rope_parameters": {"rope_type": "default"}}, "rope_theta must stand in"),
    ({"rope_theta": "x"}, "rope_theta must be a positive number, got 'x'"),
    ({"rope_theta": float("nan")}, "rope_theta must be a positive number, got nan"),
    ({"rope_theta": True}, "rope_theta must be a positive number, got True"),
    ({"rope_parameters": {"rope_theta": 7.0}}, "rope_theta must be one number, got [7.0, 500.0]"),
    ({"rope_parameters": [7]}, "rope_parameters must be a JSON object, got [7]"),
    (
        {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
        "rope_type of rope_scaling must be 'default', got 'llama3'",
    ),
    (
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        "rope_type of rope_scaling must be 'default', got 'linear'",
    ),
    (
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 500.0}},
        "rope_type of rope_parameters must be 'default', got 'yarn'",
    ),
    (
        {"rope_parameters": {"rope_theta": 500.0, "factor": 2.0}},
        "rope_parameters must be of plain rotation, got 'factor' in it",
    ),
    (
        {"rope_parameters": {"rope_theta": 500.0, "partial_rotary_factor": 0.5}},
        "partial_rotary_factor of rope_parameters must be 1, got 0.5",
    ),
    ({"rms_norm_eps": None}, "rms_norm_eps must be a positive number, got None"),
    ({"rms_norm_eps": float("inf")}, "rms_norm_eps must be a positive number, got inf"),
    ({"hidden_size": "32"}, "hidden_size must be a positive integer, got '32'"),
    ({"vocab_size": None}, "vocab_size must be a positive integer, got None"),
    ({"num_hidden_layers": 2**40}, "num_hidden_layers must be at most 2147483647, got"),
    (
        {"num_hidden_layers": 2**31 - 1},
        "must hold the tensor model.layers.2.input_layernorm.weight",
    ),
    ({"num_hidden_layers": 1}, "must hold no other tensors, got model.layers.1.input_layernorm"),
    ({"num_key_value_heads": 3}, "key_value_head_count must divide head_count=4, got 3"),
    ({"head_dim": 15}, "head_dim must be even"),
    (
        {"head_dim": None, "num_attention_heads": 5},
        "num_attention_heads must divide hidden_size=32",
    ),
    ({"tie_word_embeddings": "no"}, "tie_word_embeddings must be true or false, got 'no'"),
    ({"eos_token_id": "</s>"}, "eos_token_id must hold integers, got '</s>'"),
    ({"eos_token_id": 269}, "stop_ids[0] must be below vocabulary_size=269, got 269"),
    ({"bos_token_id": -1}, "bos_id must be below vocabulary_size=269, got -1"),
    ({"vocab_size": 268}, "must have ids below vocab_size=268 of config.json, got 268"),
    ({"vocab_size": 300}, f"{EMBEDDING} must be F32, F16, BF16 of shape (300, 32), got F32 of"),
]


@pytest.mark.parametrize(("changed", "message"), CONFIGS, ids=[str(c)[:60] for c, _ in CONFIGS])
def test_another_model_is_refused_by_name(folder, changed, message):
    write_config(folder, **changed)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load_language_model(folder)
    assert str(folder) in str(error.value)


DAMAGES = {
    "a missing tensor": (
        lambda f: whole(f, **{QUERY: None}),
        f"must hold the tensor {QUERY}, and does not",
    ),
    "another name": (
        lambda f: whole(f, **{QUERY: None, "model.layers.1.q": np.ones(2, "f4")}),
        f"must hold the tensor {QUERY}, and does not; it holds model.layers.1.q",
    ),
    "an unknown tensor": (
        lambda f: whole(f, **{"model.layers.0.self_attn.q_norm.weight": np.ones(16, "f4")}),
        "must hold no other tensors, got model.layers.0.self_attn.q_norm.weight",
    ),
    "a bias": (
        lambda f: whole(f, **{"model.layers.0.self_attn.q_proj.bias": np.ones(64, "f4")}),
        "must hold no other tensors, got model.layers.0.self_attn.q_proj.bias",
    ),
    "a misshapen tensor": (
        lambda f: whole(f, **{QUERY: np.ones((32, 64), "f4")}),
        f"{QUERY} must be F32, F16, BF16 of shape (64, 32), got F32 of shape (32, 64)",
    ),
    "another dtype": (
        lambda f: whole(f, **{QUERY: np.ones((64, 32), "f8")}),
        f"{QUERY} must be F32, F16, BF16 of shape (64, 32), got F64 of shape (64, 32)",
    ),
    "not finite": (
        lambda f: whole(f, **{QUERY: np.full((64, 32), np.nan, "f4")}),
        f"{QUERY} must be finite",
    ),
    "cut off": (
        lambda f: rewrite(f / "model.safetensors", lambda b: b[:-9]),
        "must be an undamaged safetensors file",
    ),
    "empty": (
        lambda f: rewrite(f / "model.safetensors", lambda _: b""),
        "must be an undamaged safetensors file",
    ),
    "a huge header": (
        lambda f: rewrite(f / "model.safetensors", lambda b: struct.pack("<Q", 2**62) + b[8:]),
        "must be an undamaged safetensors file",
    ),
    "a dtype of no library": (
        lambda f: rewrite(f / "model.safetensors", lambda b: b.replace(b'"F32"', b'"F33"')),
        "must be an undamaged safetensors file",
    ),
    "a pickle": (
        lambda f: rewrite(f / "model.safetensors", lambda _: b"\x80\x04K\x01."),
        "must be an undamaged safetensors file",
    ),
    "a damaged config": (
        lambda f: rewrite(f / "config.json", lambda b: b[:-1]),
        "must be undamaged JSON",
    ),
    "a config that is a list": (
        lambda f: write_json(f / "config.json", []),
        "must hold a JSON object, got list",
    ),
    "a key twice": (
        lambda f: rewrite(f / "config.json", lambda b: b[:-1] + b', "head_dim": 8}'),
        "the key 'head_dim' stands twice",
    ),
    "a nested config": (
        lambda f: (f / "config.json").write_text("[" * 100_000),
        "must be undamaged JSON",
    ),
    "a long config": (
        lambda f: os.truncate(f / "config.json", 2**26 + 1),
        "must have at most 67108864 bytes, got 67108865",
    ),
    "a damaged generation config": (
        lambda f: (f / "generation_config.json").write_text("{"),
        "must be undamaged JSON",
    ),
    "a damaged tokenizer": (
        lambda f: (f / "tokenizer.json").write_text('{"version": "1.0"}'),
        "must describe a tokenizer",
    ),
    "a chat template that is none": (
        lambda f: write_json(f / "tokenizer_config.json", {"chat_template": 5}),
        "chat_template must be a text, got 5",
    ),
    "a special token that is none": (
        lambda f: write_json(f / "tokenizer_config.json", {"bos_token": 5}),
        "bos_token must name a token, got 5",
    ),
    "a first token that is none": (
        lambda f: write_json(
            f / "tokenizer_config.json", {"bos_token": "<none>", "add_bos_token": True}
        ),
        "bos_token must be a token of tokenizer.json, got '<none>'",
    ),
    "a setting that is none": (
        lambda f: write_json(f / "tokenizer_config.json", {"add_eos_token": "yes"}),
        "add_eos_token must be true or false, got 'yes'",
    ),
    "a template that is no text": (
        lambda f: (f / "chat_template.jinja").write_bytes(b"\xff"),
        "must be undamaged UTF-8",
    ),
    "an index that leads out": (
        lambda f: shard(f, **{QUERY: "../secret.safetensors"}),
        f"{QUERY} must be in a .safetensors file of the folder, got '../secret.safetensors'",
    ),
    "an index that leads to the root": (
        lambda f: shard(f, **{QUERY: "/etc/secret.safetensors"}),
        f"{QUERY} must be in a .safetensors file of the folder, got '/etc/secret.safetensors'",
    ),
    "an index that leads out on Windows": (
        lambda f: shard(f, **{QUERY: "..\\secret.safetensors"}),
        f"{QUERY} must be in a .safetensors file of the folder",
    ),
    "an index to another kind of file": (
        lambda f: shard(f, **{QUERY: "pytorch_model.bin"}),
        f"{QUERY} must be in a .safetensors file of the folder, got 'pytorch_model.bin'",
    ),
    "an index to a number": (
        lambda f: shard(f, **{QUERY: 5}),
        f"{QUERY} must be in a .safetensors file of the folder, got 5",
    ),
    "an index to the other file": (
        lambda f: shard(f, **{HEAD: "model-00002-of-00002.safetensors"}),
        f"{HEAD}",
    ),
    "an index that leaves a tensor out": (
        lambda f: shard(f, **{HEAD: None}),
        f"must hold no tensor that {INDEX} does not say, got {HEAD}",
    ),
    "an index with a tensor more": (
        lambda f: shard(f, extra="model-00001-of-00002.safetensors"),
        f"must hold the tensor extra, as {INDEX} says",
    ),
    "an empty index": (
        lambda f: (shard(f), write_json(f / INDEX, {"weight_map": {}})),
        "weight_map must name the file of each tensor",
    ),
    "an index with a name twice": (
        lambda f: (
            shard(f),
            rewrite(f / INDEX, lambda b: b.replace(b'_map": {', b'_map": {"a":1,"a":1,')),
        ),
        "the key 'a' stands twice",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_refused(folder, damage, message):
    damage(folder)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load_language_model(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"must hold the file {name}, and does not"):
        load_language_model(folder)


def test_a_missing_part_is_named(folder):
    shard(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    expected = r"must hold the file model-00002-of-00002.safetensors, and does not"
    with pytest.raises(FileNotFoundError, match=expected):
        load_language_model(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_what_is_no_file_is_not_opened(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)  # to open it would wait for ever
    with pytest.raises(FileNotFoundError, match=f"must hold the file {name}, and does not"):
        load_language_model(folder)
    (folder / name).unlink()
    (folder / name).symlink_to(folder / name)
    with pytest.raises(FileNotFoundError, match=f"must hold the file {name}, and does not"):
        load_language_model(folder)


def test_all_tensors_are_looked_at_before_any_is_read(folder, monkeypatch):
    from companion.language_model.llama_folder import TensorFolder

    whole(folder, **{HEAD: np.ones((2, 2), "f4"), EMBEDDING: np.full((269, 32), np.nan, "f4")})
    monkeypatch.setattr(TensorFolder, "read", lambda *_: pytest.fail("a tensor was read"))
    with pytest.raises(ValueError, match=f"{HEAD} must be"):
        load_language_model(folder)


def test_what_is_missing_says_what_to_install(folder, monkeypatch):
    for library in ("safetensors", "ml_dtypes", "tokenizers", "tqdm"):
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, library, None)
            expected = rf"needs the library {library}, .*\[language-model\]"
            with pytest.raises(ModuleNotFoundError, match=expected):
                load_language_model(folder)


def test_no_file_is_left_open(folder):
    shard(folder)
    load_language_model(folder)
    if sys.platform == "linux":
        held = [os.path.realpath(fd) for fd in Path("/proc/self/fd").iterdir()]
        assert not [path for path in held if path.startswith(str(folder))]
    for path in list(folder.iterdir()):
        path.unlink()


# The tokenizer's settings


def test_the_first_token_is_as_tokenizer_json_says_or_as_the_settings_do(folder):
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    for said, expected in [
        ({}, [0, 264]),
        ({"add_bos_token": False}, [264]),
        ({"add_bos_token": True, "add_eos_token": True}, [0, 264, 1]),
        ({"add_eos_token": True}, [264, 1]),
    ]:
        write_json(folder / "tokenizer_config.json", settings | said)
        _, tokenizer = load_language_model(folder)
        assert tokenizer.encode("cat", start=False) == [264]
        assert tokenizer.encode("cat") == expected


def test_no_text_is_cut_or_filled_up(folder):
    _, tokenizer = load_language_model(folder)
    assert len(tokenizer.encode("x" * 30)) == 31
    assert len(tokenizer.encode("x")) == 2


def test_settings_and_template_may_be_missing(folder):
    (folder / "tokenizer_config.json").unlink()
    _, tokenizer = load_language_model(folder)
    assert (tokenizer.chat_template, dict(tokenizer.names)) == (None, {})
    assert tokenizer.encode("cat") == [0, 264]


def test_a_template_may_stand_in_a_file_or_under_a_name(folder):
    several = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    write_json(folder / "tokenizer_config.json", {"chat_template": several})
    assert load_language_model(folder)[1].chat_template == "d"
    (folder / "chat_template.jinja").write_text("file")
    assert load_language_model(folder)[1].chat_template == "file"


def test_a_vocabulary_smaller_than_the_model_is_read(folder):
    write_config(folder, vocab_size=300)
    rows = np.ones((300, 32), "f4")
    whole(folder, **{EMBEDDING: rows, HEAD: rows})
    write_tokenizer(folder)
    assert load_language_model(folder)[0].embedding.shape == (300, 32)
