"""The small writer: a decoder whose weights are bytes, with a scale for each row.

A folder holds ``config.json`` and ``tokenizer.json``, as Hugging Face's llama folders do, and
``model.safetensors``: each matrix in int8, its rows' scales beside it in float32 under its name and
``_scale``, and each norm in float32. So a page can carry the same bytes, and compute the same.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from companion.arrays import Namespace
from companion.extras import import_extra
from companion.files import existing_file
from companion.language_model.causal_language_model import CausalLanguageModel
from companion.language_model.config import LanguageModelConfig
from companion.language_model.llama_config import SIZES, read_llama_config
from companion.language_model.llama_tokenizer import read_llama_tokenizer
from companion.language_model.parameters import LanguageModelParameters, language_model_tensors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["small_writer"]

FOLDER = Path(__file__).parents[1] / "examples" / "small_writer"
WEIGHTS, SCALE = "model.safetensors", "_scale"
LARGEST = 127  # of a byte, on either side of zero


def small_writer(
    path: str | PathLike[str] | None = None, *, xp: Namespace | None = None
) -> CausalLanguageModel:
    """Read the small writer that comes with the library, or another in its form.

    Parameters
    ----------
    path : str or path, optional
        A folder with ``config.json``, ``tokenizer.json`` and ``model.safetensors``; left out, it is
        the library's own.
    xp : module, optional
        The array module of the weights; :func:`companion.array_module` chooses where it is left
        out.

    Returns
    -------
    CausalLanguageModel
        Its weights are float32: each byte times the scale of its row.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ModuleNotFoundError
        If a library that reads the files is missing; the message says what to install.
    ValueError
        If a file is damaged, or a tensor is missing, unknown, or of another shape or dtype.
    """
    folder = FOLDER if path is None else Path(path)
    config = read_llama_config(folder)
    tokenizer = read_llama_tokenizer(folder, config.vocabulary_size)
    tensors = {
        name: array if scale is None else array * scale[:, None]
        for name, (array, scale) in read_bytes(folder, config).items()
    }
    parameters = LanguageModelParameters.from_tensors(config, tensors, xp=xp)
    return CausalLanguageModel(parameters, tokenizer)


def read_bytes(
    folder: Path, config: LanguageModelConfig
) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Read each tensor as it is stored: a norm, or the bytes of a matrix and its rows' scales."""
    path = existing_file(folder / WEIGHTS)
    safetensors = import_extra("safetensors.numpy", "language-model", "the small writer")
    try:
        stored: dict[str, np.ndarray] = safetensors.load_file(path)
    except Exception as error:  # a damaged header is met in many ways
        raise ValueError(f"{path} must be an undamaged safetensors file: {error}") from error
    read: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    for name, shape in language_model_tensors(config).items():
        if len(shape) == 1:
            read[name] = _taken(path, stored, name, shape, np.float32), None
        else:
            scale = _taken(path, stored, name + SCALE, shape[:1], np.float32)
            read[name] = _taken(path, stored, name, shape, np.int8), scale
    if stored:
        raise ValueError(f"{path} must hold no other tensors, got {min(stored)}")
    return read


def _taken(
    path: Path,
    stored: dict[str, np.ndarray],
    name: str,
    shape: tuple[int, ...],
    dtype: type[np.generic],
) -> np.ndarray:
    if name not in stored:
        raise ValueError(f"{path} must hold the tensor {name}, and does not")
    array = stored.pop(name)
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"{path}: {name} must be {dtype.__name__} of shape {shape}, "
            f"got {array.dtype} of shape {array.shape}"
        )
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{path}: {name} must be finite, got a value that is not")
    return array


def store_small_writer(
    folder: Path,
    config: LanguageModelConfig,
    tensors: Mapping[str, np.ndarray],
    tokenizer: "Tokenizer",
) -> None:
    """Write a model in the small writer's form; its weights are rounded.

    `tensors` are those of :func:`companion.language_model_tensors`, in float32.
    """
    safetensors = import_extra("safetensors.numpy", "language-model", "the small writer")
    stored: dict[str, np.ndarray] = {}
    for name, shape in language_model_tensors(config).items():
        tensor = np.asarray(tensors[name], dtype=np.float32)
        if tensor.shape != shape:
            raise ValueError(f"{name} must be of shape {shape}, got {tensor.shape}")
        if len(shape) == 1:
            stored[name] = tensor
        else:
            stored[name], stored[name + SCALE] = rounded_rows(tensor)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(_config_text(config), encoding="utf-8", newline="\n")
    text = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text + "\n", encoding="utf-8", newline="\n")
    safetensors.save_file(stored, folder / WEIGHTS)


def rounded_rows(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round each row to bytes times a scale, its largest entry to 127: (R, C) → (R, C), (R,)."""
    largest = np.max(np.abs(matrix), axis=1)
    scale = np.where(largest > 0, largest / LARGEST, 1).astype(np.float32)
    whole = np.round(matrix / scale[:, None]).clip(-LARGEST, LARGEST)
    return whole.astype(np.int8), scale


def _config_text(config: LanguageModelConfig) -> str:
    sizes = asdict(config)
    said = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **{key: sizes[name] for name, key in SIZES.items()},
        "num_key_value_heads": config.key_value_head_count,
        "head_dim": config.head_dim,
        "rope_theta": config.rotary_base,
        "rms_norm_eps": config.eps,
        "tie_word_embeddings": config.tied,
        "bos_token_id": config.bos_id,
        "eos_token_id": list(config.stop_ids),
    }
    return json.dumps(said, indent=1) + "\n"
