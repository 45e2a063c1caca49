"""A GGUF file is read whole, or refused with a word about what is wrong."""

import hashlib
import re
import struct
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

from companion.language_model.gguf_file import read_gguf, read_rows
from companion.language_model.pretrained import load_language_model
from tests.support import tiny_llama as tiny
from tests.support.published_model import published_model

SHA_256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
QUERY, EMBEDDING = "blk.1.attn_q.weight", "token_embd.weight"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tiny.gguf"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the bytes of a file that is in order."""
    return tiny.write_gguf(tmp_path_factory.mktemp("whole") / "tiny.gguf").read_bytes()


@pytest.fixture(scope="module")
def published():
    return published_model()


def arrays(parameters):
    """Return every array of a model by its name."""
    found = {"embedding": parameters.embedding, "norm": parameters.norm}
    if parameters.output is not None:
        found["output"] = parameters.output
    for i, layer in enumerate(parameters.layers):
        found |= {f"{i}.{name}": array for name, array in vars(layer).items()}
    return found


# What is read


def test_a_file_and_a_folder_of_the_same_weights_are_one_model(path, tmp_path):
    from_file, _ = load_language_model(tiny.write_gguf(path))
    (tmp_path / "folder").mkdir()
    from_folder, _ = load_language_model(tiny.write_folder(tmp_path / "folder"))
    assert arrays(from_file).keys() == arrays(from_folder).keys()
    for name, array in arrays(from_file).items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, arrays(from_folder)[name], strict=True)


def test_query_and_key_rows_are_put_in_halves(path):
    parameters, _ = load_language_model(tiny.write_gguf(path))
    expected = [tiny.tensors()[f"model.layers.1.self_attn.{part}_proj.weight"] for part in "qkv"]
    np.testing.assert_array_equal(parameters.layers[1].w_qkv, np.concatenate(expected).T)
    stored = [tiny.gguf_tensors()[f"blk.1.attn_{part}.weight"] for part in "qkv"]
    same = [np.array_equal(*pair) for pair in zip(expected, stored, strict=True)]
    assert same == [False, False, True]


def test_sizes_come_from_the_metadata(path):
    config = load_language_model(tiny.write_gguf(path, {"tokenizer.ggml.eot_token_id": 2}))[
        0
    ].config
    assert (config.layer_count, config.width, config.hidden_width) == (2, 32, 96)
    assert (config.head_count, config.key_value_head_count, config.head_dim) == (4, 2, 16)
    assert (config.vocabulary_size, config.context_length) == (269, 40)
    assert (config.rotary_base, config.eps) == (500.0, float(np.float32(1e-3)))
    assert (config.bos_id, config.stop_ids, config.tied) == (0, (1, 2), False)


def test_what_a_file_may_leave_out(path):
    left_out = dict.fromkeys(
        [
            "general.type",
            "llama.vocab_size",
            "llama.attention.value_length",
            "llama.rope.dimension_count",
            "tokenizer.chat_template",
            "tokenizer.ggml.bos_token_id",
            "tokenizer.ggml.eos_token_id",
            "tokenizer.ggml.add_bos_token",
        ]
    )
    parameters, tokenizer = load_language_model(tiny.write_gguf(path, left_out, tied=True))
    config = parameters.config
    assert (config.vocabulary_size, config.tied, config.bos_id, config.stop_ids) == (
        269,
        True,
        None,
        (),
    )
    assert parameters.output is None
    assert tokenizer.chat_template is None
    assert tokenizer.encode("cat") == [*tokenizer.encode("cat", start=False)]


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_stored_numbers_mean_what_the_library_says(path, kind):
    drawn = tiny.gguf_tensors()
    file = read_gguf(tiny.write_gguf(path, kinds={EMBEDDING: kind, QUERY: kind}))
    chosen = gguf.GGMLQuantizationType[kind]
    for name in (EMBEDDING, QUERY):
        expected = gguf.quants.dequantize(gguf.quants.quantize(drawn[name], chosen), chosen)
        np.testing.assert_array_equal(read_rows(file, name), expected, strict=True)
        assert not np.array_equal(expected, drawn[name])


def test_a_wide_alignment_is_kept_to(path):
    parameters, _ = load_language_model(tiny.write_gguf(path, {"general.alignment": 256}))
    expected = tiny.tensors()["model.norm.weight"]
    np.testing.assert_array_equal(parameters.norm, expected)


# What is refused

REFUSED = [
    ({"general.type": "adapter"}, "general.type must be 'model', got 'adapter'"),
    ({"llama.rope.scaling.type": "linear"}, "llama.rope.scaling.type must be 'none', got 'linear'"),
    ({"llama.rope.scaling.factor": 2.0}, "llama.rope.scaling.factor=2.0 asks for something"),
    ({"llama.expert_count": 8}, "llama.expert_count must be 0, got 8"),
    ({"llama.attention.sliding_window": 64}, "llama.attention.sliding_window=64 asks for"),
    ({"llama.attention.causal": False}, "llama.attention.causal must be True, got False"),
    ({"split.count": 2}, "split.count must be 0, got 2"),
    ({"llama.rope.freq_base": None}, "llama.rope.freq_base must be a positive number, got None"),
    ({"llama.rope.freq_base": float("nan")}, "llama.rope.freq_base must be a positive number"),
    ({"llama.attention.layer_norm_rms_epsilon": None}, "layer_norm_rms_epsilon must be a positive"),
    ({"llama.block_count": None}, "llama.block_count must be a positive integer, got None"),
    ({"llama.block_count": 2**31 - 1}, "must hold the tensor blk.2.attn_norm.weight, and does not"),
    ({"llama.block_count": 1}, "must hold no other tensors, got blk.1.attn_k.weight"),
    (
        {"llama.feed_forward_length": [96, 96]},
        "feed_forward_length must be a positive integer, got",
    ),
    ({"llama.attention.head_count": 3}, "key_value_head_count must divide head_count=3, got 2"),
    ({"llama.attention.head_count_kv": 4}, "attn_k.weight must be of shape (64, 32), got (32, 32)"),
    ({"llama.rope.dimension_count": 8}, "llama.rope.dimension_count must be that of a head, 16"),
    ({"llama.attention.value_length": 8}, "llama.attention.value_length must be that of a head"),
    ({"llama.vocab_size": 300}, "token_embd.weight must be of shape (300, 32), got (269, 32)"),
    ({"llama.vocab_size": 200}, "llama.vocab_size must be at least the number of tokens 269"),
    ({"tokenizer.ggml.model": "llama"}, "tokenizer.ggml.model must be 'gpt2', got 'llama'"),
    ({"tokenizer.ggml.pre": "qwen2"}, "tokenizer.ggml.pre must be 'smollm', got 'qwen2'"),
    ({"tokenizer.ggml.pre": None}, "tokenizer.ggml.pre must be 'smollm', got None"),
    ({"tokenizer.ggml.tokens": None}, "tokenizer.ggml.tokens must be a list of str, got None"),
    ({"tokenizer.ggml.tokens": ["a"] * 269}, "tokenizer.ggml.tokens must be 269 different texts"),
    ({"tokenizer.ggml.token_type": [1]}, "tokenizer.ggml.tokens must be 1 different texts"),
    ({"tokenizer.ggml.token_type": [6] * 269}, "tokenizer.ggml.token_type must hold 1, 3, 4 and 5"),
    ({"tokenizer.ggml.merges": None}, "tokenizer.ggml.merges must be a list of str, got None"),
    ({"tokenizer.ggml.merges": ["q z"]}, "tokenizer.ggml.merges must fit the tokens"),
    ({"tokenizer.ggml.merges": ["a"]}, "tokenizer.ggml.merges must fit the tokens"),
    ({"tokenizer.ggml.eos_token_id": 269}, "tokenizer.ggml.eos_token_id must be below"),
    ({"tokenizer.ggml.bos_token_id": "a"}, "tokenizer.ggml.bos_token_id must be below"),
    ({"tokenizer.ggml.bos_token_id": None}, "add_bos_token must be false or name a token"),
    ({"tokenizer.chat_template": 5}, "tokenizer.chat_template must be a text, got 5"),
]


@pytest.mark.parametrize(("changed", "message"), REFUSED, ids=[str(c)[:60] for c, _ in REFUSED])
def test_what_is_not_done_is_refused_by_name(path, changed, message):
    tiny.write_gguf(path, changed)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load_language_model(path)
    assert str(error.value).startswith(str(path))


def test_another_architecture_is_refused_by_name(path):
    tiny.write_gguf(path, architecture="qwen2")
    with pytest.raises(ValueError, match=r"architecture must be 'llama', got 'qwen2'"):
        load_language_model(path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({QUERY: None}, f"must hold the tensor {QUERY}, and does not"),
        ({EMBEDDING: None}, f"must hold the tensor {EMBEDDING}, and does not"),
        ({"blk.0.attn_q.bias": np.zeros(64, "f4")}, "no other tensors, got blk.0.attn_q.bias"),
        ({"rope_freqs.weight": np.ones(8, "f4")}, "no other tensors, got rope_freqs.weight"),
        ({QUERY: np.zeros((32, 64), "f4")}, f"{QUERY} must be of shape (64, 32), got (32, 64)"),
        ({QUERY: np.full((64, 32), np.nan, "f4")}, f"{QUERY} must be finite"),
        ({"output_norm.weight": np.full(32, np.inf, "f4")}, "output_norm.weight must be finite"),
    ],
)
def test_a_missing_or_misshapen_tensor_is_named(path, tensors, message):
    tiny.write_gguf(path, tensors=tensors)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load_language_model(path)
    assert str(path) in str(error.value)


def test_numbers_that_are_not_finite_are_refused_in_quantised_tensors_too(path):
    written = tiny.write_gguf(path, kinds={QUERY: "Q8_0"})
    start = read_gguf(written).tensors[QUERY].start
    content = bytearray(written.read_bytes())
    content[start : start + 2] = np.float16(np.inf).tobytes()  # the scale of the first block
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{QUERY} must be finite"):
        load_language_model(path)


def test_a_kind_of_numbers_that_is_not_read_is_refused(path, whole):
    content = bytearray(whole)
    at = content.index(QUERY.encode()) + len(QUERY) + 4 + 16  # after its shape
    for number in (27, 31, 99999):
        content[at : at + 4] = struct.pack("<I", number)
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{QUERY} is stored in a way that is not read"):
            load_language_model(path)


def test_a_file_that_is_cut_off_anywhere_is_refused(path, whole):
    for length in [*range(0, 400, 7), *range(400, len(whole), 2003), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut off|empty") as error:
            load_language_model(path)
        assert str(path) in str(error.value)


def test_a_file_that_is_damaged_anywhere_is_read_or_refused(path, whole):
    rng = np.random.default_rng(0)
    path.write_bytes(whole)
    header = read_gguf(path).tensors[EMBEDDING].start
    messages = []
    for _ in range(300):
        content = bytearray(whole)
        at = int(rng.integers(header))
        content[at] ^= int(rng.integers(1, 256))
        path.write_bytes(content)
        try:
            load_language_model(path)
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all(str(path) in message for message in messages)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be a GGUF file, got an empty one"),
        (b"PK\x03\x04" + bytes(60), "which begins with the word GGUF"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "must be of GGUF version 2 or 3, got 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "must be of GGUF version 2 or 3, got 50331648"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), "is cut off or damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "is cut off or damaged"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**63), "is cut off or damaged: a text must end"),
        (
            b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 8, 2**60),
            "is cut off or damaged: a number must end at byte 57, and the file ends at 49",
        ),
        (
            b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 0, 2**60),
            "is cut off or damaged: a list must end at byte",
        ),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"k", 77), "an unknown kind of value, 77"),
        (
            b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 9, 1),
            "an unknown kind of value",
        ),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"\xff", 4), "is damaged: the text at byte"),
        (
            b"GGUF" + struct.pack("<IQQQ17sII", 3, 0, 1, 17, b"general.alignment", 4, 48),
            "general.alignment must be a power of 2 from 8, got 48",
        ),
        (
            b"GGUF" + struct.pack("<IQQ" + "Q1sIB" * 2, 3, 0, 2, *(1, b"k", 0, 5) * 2),
            "the key k must stand there once",
        ),
        (
            b"GGUF" + struct.pack("<IQQ" + "Q1sIQIQ" * 2, 3, 2, 0, *(1, b"t", 1, 1, 0, 0) * 2),
            "the tensor t must be there once",
        ),
        (
            b"GGUF" + struct.pack("<IQQQ1sI", 3, 1, 0, 1, b"t", 2**31) + bytes(64),
            "t must have 1 to 4 dimensions, got 2147483648",
        ),
    ],
    ids=range(16),
)
def test_a_hostile_header_is_refused(path, content, message):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load_language_model(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(path):
    with pytest.raises(FileNotFoundError, match=f"^path must be a .gguf file or a folder.*{path}"):
        load_language_model(path)


def test_float16_is_for_cupy_alone(path):
    tiny.write_gguf(path)
    with pytest.raises(ValueError, match=r"dtype must be 'float32' with .*numpy, got 'float16'"):
        load_language_model(path, xp=np, dtype="float16")
    with pytest.raises(ValueError, match="dtype must be 'float32' or 'float16', got 'float64'"):
        load_language_model(path, dtype="float64")


def test_what_is_missing_says_what_to_install(path, monkeypatch):
    tiny.write_gguf(path)
    for library in ("gguf", "tokenizers", "tqdm"):
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, library, None)
            expected = rf"needs the library {library}, .*\[language-model\]"
            with pytest.raises(ModuleNotFoundError, match=expected):
                load_language_model(path)


# The published model


def test_the_published_file_is_the_one_that_is_meant(published):
    with published.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == SHA_256


LOAD = """
import sys
import threading
import companion
from companion.language_model.pretrained import load_language_model


def memory():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines["RssAnon"].split()[0]) * 1024


def watch():
    while not done.wait(0.002):
        peaks.append(memory())


before, peaks, done = memory(), [], threading.Event()
watcher = threading.Thread(target=watch)
watcher.start()
parameters, _ = load_language_model(sys.argv[1])
done.set()
watcher.join()
arrays = [parameters.embedding, parameters.norm]
arrays += [array for layer in parameters.layers for array in vars(layer).values()]
print(sum(array.nbytes for array in arrays), max(peaks) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system has no /proc")
def test_loading_needs_little_more_than_the_weights(published):
    run = subprocess.run(
        [sys.executable, "-c", LOAD, published], capture_output=True, text=True, check=True
    )
    assert run.stderr == ""  # no bar where nobody looks
    weights, peak = map(int, run.stdout.split())
    assert weights == 538_060_032
    assert 0.9 * weights < peak <= 1.3 * weights
