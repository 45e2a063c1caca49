"""The small writer's bytes make the model that they say, and a damaged folder is named."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import companion
from book._extensions import explorer_writer
from companion.language_model import language_model_tensors
from companion.language_model.small_writer import FOLDER, rounded_rows, store_small_writer
from tests.support import stand_in_writer as stand_in


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_in.store(tmp_path_factory.mktemp("writer"))


@pytest.fixture
def folder(stored: Path, tmp_path: Path) -> Path:
    for path in stored.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_row_is_bytes_times_its_scale() -> None:
    matrix = np.asarray([[0.5, -1.0, 0.25], [0, 0, 0], [3e-30, 1e-30, 0]], dtype=np.float32)
    whole, scale = rounded_rows(matrix)
    assert whole.dtype == np.int8
    assert scale.dtype == np.float32
    assert whole.tolist() == [[64, -127, 32], [0, 0, 0], [127, 42, 0]]
    assert np.all(np.abs(whole * scale[:, None] - matrix) <= 0.5001 * scale[:, None])


def test_the_model_is_what_the_bytes_say(stored: Path) -> None:
    model = companion.small_writer(stored, xp=np)
    assert model.config == stand_in.CONFIG
    tensors = stand_in.random_tensors()
    rounded = {}
    for name, tensor in tensors.items():
        if tensor.ndim == 2:
            scale = (np.abs(tensor).max(axis=1) / 127).astype(np.float32)
            rounded[name] = np.round(tensor / scale[:, None]) * scale[:, None]
            assert np.abs(rounded[name] - tensor).max() <= 0.5001 * scale.max()
    embedding = rounded["model.embed_tokens.weight"]
    np.testing.assert_array_equal(model.parameters.embedding, embedding)
    down = rounded["model.layers.3.mlp.down_proj.weight"]
    np.testing.assert_array_equal(model.parameters.layers[3].w_down, down.T)
    norm = tensors["model.layers.2.input_layernorm.weight"]
    np.testing.assert_array_equal(model.parameters.layers[2].norm_1, norm)
    text = "The row of a token – its query."
    assert model.tokenizer.decode(model.tokenizer.encode(text)) == text
    assert np.all(np.isfinite(model.logits([1, 2, 3])))
    weights = (stored / "model.safetensors").stat().st_size
    assert weights < 1_300_000


def test_the_library_s_own_is_read_unless_another_is_named() -> None:
    if not FOLDER.exists():
        with pytest.raises(
            FileNotFoundError, match=r"small_writer must hold the file config\.json"
        ):
            companion.small_writer(xp=np)
        return
    model = companion.small_writer(xp=np)
    assert np.all(np.isfinite(model.logits(model.tokenizer.encode("She"))))


def damaged(folder: Path, **changed: np.ndarray | None) -> None:
    path = folder / "model.safetensors"
    tensors = {**load_file(path), **changed}
    save_file({name: t for name, t in tensors.items() if t is not None}, path)


NORM, MATRIX = "model.norm.weight", "model.embed_tokens.weight"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({MATRIX: None}, f"must hold the tensor {MATRIX}, and does not"),
        ({f"{MATRIX}_scale": None}, f"must hold the tensor {MATRIX}_scale, and does not"),
        ({"more": np.ones(2, np.float32)}, "must hold no other tensors, got more"),
        (
            {NORM: np.ones(127, np.float32)},
            f"{NORM} must be float32 of shape (128,), got float32 of shape (127,)",
        ),
        (
            {MATRIX: np.ones((1024, 128), np.float32)},
            f"{MATRIX} must be int8 of shape (1024, 128), got float32",
        ),
        ({NORM: np.full(128, np.nan, np.float32)}, f"{NORM} must be finite, got a value"),
    ],
)
def test_a_damaged_tensor_is_named(changed: dict[str, Any], message: str, folder: Path) -> None:
    damaged(folder, **changed)
    with pytest.raises(ValueError, match=re.escape(message)):
        companion.small_writer(folder, xp=np)


def test_a_damaged_or_missing_file_is_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="must be an undamaged safetensors file"):
        companion.small_writer(folder, xp=np)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"must hold the file model\.safetensors"):
        companion.small_writer(folder, xp=np)


def test_tensors_of_another_shape_are_not_stored(tmp_path: Path) -> None:
    tensors = {**stand_in.random_tensors(), NORM: np.ones(5, np.float32)}
    tokenizer = stand_in.byte_pair_tokenizer()
    with pytest.raises(
        ValueError, match=r"model.norm.weight must be of shape \(128,\), got \(5,\)"
    ):
        store_small_writer(tmp_path, stand_in.CONFIG, tensors, tokenizer)
    assert list(tmp_path.iterdir()) == []


def test_the_page_has_the_very_bytes(stored: Path) -> None:
    text = explorer_writer.script(stored)
    assert len(text) < 1_700_000
    data = json.loads(re.fullmatch(r'explorerData\.put\("writer", (.*)\);\n', text)[1])
    tensors = load_file(stored / "model.safetensors")
    matrices = np.frombuffer(base64.b64decode(data["matrices"]), "i1")
    scales = np.frombuffer(base64.b64decode(data["scales"]), "<f4")
    norms = np.frombuffer(base64.b64decode(data["norms"]), "<f4")
    at = row = one = 0
    for name, shape in language_model_tensors(stand_in.CONFIG).items():
        if len(shape) == 1:
            assert np.array_equal(norms[one : one + shape[0]], tensors[name])
            one += shape[0]
        else:
            size = shape[0] * shape[1]
            assert np.array_equal(matrices[at : at + size], tensors[name].ravel())
            assert np.array_equal(scales[row : row + shape[0]], tensors[f"{name}_scale"])
            at, row = at + size, row + shape[0]
    assert (at, row, one) == (len(matrices), len(scales), len(norms))
    tokenizer = stand_in.byte_pair_tokenizer()
    assert data["tokens"]["names"] == [tokenizer.id_to_token(i) for i in range(1024)]
    assert data["tokens"]["special"] == [0]
    assert companion.small_writer(stored).tokenizer.encode("") == []  # as in the page
    assert data["config"]["stops"] == [0]


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("normalizer",), {"type": "NFC"}, "normalizer must be None, got {'type': 'NFC'}"),
        (("post_processor",), {"type": "ByteLevel"}, "post_processor must be None, got {'type'"),
        (("pre_tokenizer", "add_prefix_space"), True, "add_prefix_space must be False, got True"),
        (("pre_tokenizer", "use_regex"), False, "use_regex must be True, got False"),
        (("model", "ignore_merges"), True, "ignore_merges must be False, got True"),
        (("model", "vocab"), {"a": 1}, "vocab must hold a token for each of 256 bytes, got fewer"),
    ],
)
def test_a_tokenizer_that_the_page_does_not_have_is_refused(
    keys: tuple[str, ...], value: object, message: str, folder: Path
) -> None:
    path = folder / "tokenizer.json"
    said = json.loads(path.read_text(encoding="utf-8"))
    place = said
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(message)):
        explorer_writer.tokenizer_data(folder)


def test_the_explorer_has_the_station_where_there_is_a_writer(stored: Path, tmp_path: Path) -> None:
    station = explorer_writer.station(stored)
    assert 'data-writer="../_static/explorer-writer.js"' in station
    assert f"{len(explorer_writer.script(stored)) / 1e6:.1f} MB" in station
    assert 'data-writer=""' in explorer_writer.station(tmp_path / "none")
