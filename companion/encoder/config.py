"""What a published encoder's JSON files say of it: its sizes, or that it is another model."""

import math
from dataclasses import dataclass
from pathlib import Path

from companion.encoder.modules import Pooling, read_modules, read_prompt
from companion.files import read_json, size

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
    prompt : str
        Put before every text.
    pooling : "mean" or "cls"
        Whose row a sentence's vector is: the mean over the tokens, or the first token's.
    normalize : bool
        Whether the vector is scaled to length 1.
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
    prompt: str = ""
    pooling: Pooling = "mean"
    normalize: bool = True


def read_config(folder: Path) -> EncoderConfig:
    """Read the sizes of the encoder in a folder.

    Parameters
    ----------
    folder : Path
        Holds ``config.json`` and ``sentence_bert_config.json``, and what else
        :meth:`companion.SentenceEncoder.from_pretrained` says.

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
    content = read_json(path, dict)
    for key, (expected, default) in ARCHITECTURE.items():
        if (got := content.get(key, default)) != expected:
            raise ValueError(f"{path}: {key} must be {expected!r}, got {got!r}")
    sizes = {name: size(path, content, key) for name, key in SIZES.items()}
    if sizes["width"] % sizes["heads"] != 0:
        raise ValueError(
            f"{path}: num_attention_heads must divide hidden_size={sizes['width']}, "
            f"got {sizes['heads']}"
        )
    eps = content.get("layer_norm_eps")
    if not isinstance(eps, float) or not 0 < eps < math.inf:
        raise ValueError(f"{path}: layer_norm_eps must be a positive float, got {eps!r}")
    pooling, normalize = read_modules(folder)
    return EncoderConfig(
        **sizes,
        eps=eps,
        max_length=_max_length(folder, sizes["positions"]),
        prompt=read_prompt(folder),
        pooling=pooling,
        normalize=normalize,
    )


def _max_length(folder: Path, positions: int) -> int:
    path = folder / "sentence_bert_config.json"
    content = read_json(path, dict)
    max_length = size(path, content, "max_seq_length")
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
