"""What a published encoder's JSON files say of it: its sizes, or that it is another model."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["EncoderConfig", "read_config"]

# What config.json must say, and what it means where it says nothing.
ARCHITECTURE = {
    "model_type": ("bert", None),
    "hidden_act": ("gelu", None),
    "position_embedding_type": ("absolute", "absolute"),
    "is_decoder": (False, False),
}
SIZES = {
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "width": "hidden_size",
    "hidden": "intermediate_size",
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "token_types": "type_vocab_size",
}


@dataclass(frozen=True)
class EncoderConfig:
    """The sizes of an encoder.

    Attributes
    ----------
    layers, heads : int
        Number of blocks, and H in each.
    width, hidden : int
        d and d_ff.
    vocabulary, positions, token_types : int
        Rows of the three embedding tables.
    eps : float
        Of every layer norm.
    max_length : int
        Tokens of a sentence that count, ``[CLS]`` and ``[SEP]`` among them.
    """

    layers: int
    heads: int
    width: int
    hidden: int
    vocabulary: int
    positions: int
    token_types: int
    eps: float
    max_length: int


def read_config(folder: Path) -> EncoderConfig:
    """Read the sizes of the encoder in a folder.

    Parameters
    ----------
    folder : Path
        Holds ``config.json`` and ``sentence_bert_config.json``.

    Returns
    -------
    EncoderConfig

    Raises
    ------
    FileNotFoundError
        If the folder or one of the files is missing.
    ValueError
        If a file is damaged, or describes an encoder that this library does not compute.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"folder must be a folder on this machine that holds a published encoder, got {folder}"
        )
    path = folder / "config.json"
    content = _read_json(path)
    for key, (expected, default) in ARCHITECTURE.items():
        if (got := content.get(key, default)) != expected:
            raise ValueError(f"{path}: {key} must be {expected!r}, got {got!r}")
    sizes = {name: _size(path, content, key) for name, key in SIZES.items()}
    if sizes["width"] % sizes["heads"] != 0:
        raise ValueError(
            f"{path}: num_attention_heads must divide hidden_size={sizes['width']}, "
            f"got {sizes['heads']}"
        )
    eps = content.get("layer_norm_eps")
    if not isinstance(eps, float) or not 0 < eps < math.inf:
        raise ValueError(f"{path}: layer_norm_eps must be a positive float, got {eps!r}")
    _check_pooling(folder)
    return EncoderConfig(**sizes, eps=eps, max_length=_max_length(folder, sizes["positions"]))


def existing_file(path: Path) -> Path:
    """Return the path of a file that is there, or raise FileNotFoundError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} must hold the file {path.name}, and does not")
    return path


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(existing_file(path).read_text(encoding="utf-8"))
    except ValueError as error:  # what damaged JSON and damaged UTF-8 have in common
        raise ValueError(f"{path} must be undamaged JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content


def _size(path: Path, content: dict[str, Any], key: str) -> int:
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{path}: {key} must be a positive integer, got {value!r}")
    return value


def _max_length(folder: Path, positions: int) -> int:
    path = folder / "sentence_bert_config.json"
    content = _read_json(path)
    max_length = _size(path, content, "max_seq_length")
    if max_length > positions:
        raise ValueError(
            f"{path}: max_seq_length must be at most max_position_embeddings={positions} of "
            f"config.json, got {max_length}"
        )
    if (lowered := content.get("do_lower_case", False)) is not False:
        raise ValueError(
            f"{path}: do_lower_case must be False, so that tokenizer.json alone decides, "
            f"got {lowered!r}"
        )
    return max_length


def _check_pooling(folder: Path) -> None:
    """Refuse an encoder whose vectors are no mean over the tokens, where the folder says so."""
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return
    content = _read_json(path)
    # One name in files of today, a flag for each name in older ones.
    chosen = (
        [content.get("pooling_mode")]
        if "pooling_mode" in content
        else [key for key, value in content.items() if key.startswith("pooling_mode_") and value]
    )
    if chosen not in (["mean"], ["pooling_mode_mean_tokens"]):
        raise ValueError(f"{path}: the pooling mode must be the mean over tokens, got {chosen}")
