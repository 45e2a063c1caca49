"""Checkpoints: a published encoder's files, read into the parameters of earlier chapters."""

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from companion.arrays import Array, Namespace, array_module
from companion.block import BlockParameters
from companion.encoder.config import EncoderConfig, read_config
from companion.encoder.embedding import EmbeddingParameters
from companion.extras import import_extra
from companion.feed_forward import FeedForwardParameters
from companion.files import existing_file
from companion.heads import AttentionParameters, split_heads
from companion.norms import NormParameters
from companion.parameters import move_parameters

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "EncoderParameters",
    "load_checkpoint",
    "load_tokenizer",
    "tensor_table",
]

# Parameter: the tensor's name in the file, and its shape there. PyTorch's linear layers keep W^T,
# (outputs, inputs), and the heads of Q, K and V side by side.
EMBEDDING_TENSORS = {
    "word": ("word_embeddings.weight", ("V", "d")),
    "position": ("position_embeddings.weight", ("M", "d")),
    "token_type": ("token_type_embeddings.weight", ("P", "d")),
    "norm.weight": ("LayerNorm.weight", ("d",)),
    "norm.bias": ("LayerNorm.bias", ("d",)),
}
BLOCK_TENSORS = {
    "attention.w_q": ("attention.self.query.weight", ("d", "d")),
    "attention.b_q": ("attention.self.query.bias", ("d",)),
    "attention.w_k": ("attention.self.key.weight", ("d", "d")),
    "attention.b_k": ("attention.self.key.bias", ("d",)),
    "attention.w_v": ("attention.self.value.weight", ("d", "d")),
    "attention.b_v": ("attention.self.value.bias", ("d",)),
    "attention.w_o": ("attention.output.dense.weight", ("d", "d")),
    "attention.b_o": ("attention.output.dense.bias", ("d",)),
    "norm_1.weight": ("attention.output.LayerNorm.weight", ("d",)),
    "norm_1.bias": ("attention.output.LayerNorm.bias", ("d",)),
    "feed_forward.w_1": ("intermediate.dense.weight", ("d_ff", "d")),
    "feed_forward.b_1": ("intermediate.dense.bias", ("d_ff",)),
    "feed_forward.w_2": ("output.dense.weight", ("d", "d_ff")),
    "feed_forward.b_2": ("output.dense.bias", ("d",)),
    "norm_2.weight": ("output.LayerNorm.weight", ("d",)),
    "norm_2.bias": ("output.LayerNorm.bias", ("d",)),
}
# In the file and no part of a sentence's vector: the numbers 0 … M − 1, and a head for pretraining.
UNUSED_TENSORS = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")


@dataclass(frozen=True, eq=False)
class EncoderParameters:
    """A whole encoder.

    Attributes
    ----------
    config : EncoderConfig
    embedding : EmbeddingParameters
    blocks : tuple of BlockParameters
    """

    config: EncoderConfig
    embedding: EmbeddingParameters
    blocks: tuple[BlockParameters, ...]


def tensor_table(config: EncoderConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """List every parameter with its tensor: the name in the file, and the shape there.

    Parameters
    ----------
    config : EncoderConfig

    Returns
    -------
    dict of str to (str, tuple of int)
        ``"blocks[0].attention.b_o"`` has ``("encoder.layer.0.attention.output.dense.bias", (d,))``.
    """
    sizes = {"d": config.width, "d_ff": config.hidden}
    sizes |= {"V": config.vocabulary, "M": config.positions, "P": config.token_types}
    rooms = [("embedding", "embeddings", EMBEDDING_TENSORS)]
    rooms += [(f"blocks[{i}]", f"encoder.layer.{i}", BLOCK_TENSORS) for i in range(config.layers)]
    return {
        f"{ours}.{parameter}": (f"{theirs}.{tensor}", tuple(sizes[letter] for letter in shape))
        for ours, theirs, tensors in rooms
        for parameter, (tensor, shape) in tensors.items()
    }


def load_checkpoint(
    folder: str | PathLike[str], *, xp: Namespace | None = None
) -> EncoderParameters:
    """Read an encoder's weights, and check all of them before anything is handed out.

    Parameters
    ----------
    folder : str or path
        Holds ``config.json``, ``sentence_bert_config.json`` and ``model.safetensors``.
    xp : module, optional
        The array module of the weights; :func:`companion.array_module` chooses where it is left
        out.

    Returns
    -------
    EncoderParameters
        In float32. The file is memory-mapped and nothing in it is executed.

    Raises
    ------
    FileNotFoundError
        If the folder or one of the files is missing.
    ModuleNotFoundError
        If the library that reads the file is missing; the message says what to install.
    ValueError
        If a file is damaged, describes another architecture, or holds a tensor that is missing,
        unknown, of another shape or dtype, or not finite.

    References
    ----------
    Devlin et al., *BERT*, 2019. Reimers and Gurevych, *Sentence-BERT*, 2019.
    """
    xp = array_module() if xp is None else xp
    folder = Path(folder)
    config = read_config(folder)
    arrays = _read_tensors(folder / "model.safetensors", config)

    def part(prefix: str) -> dict[str, Array]:
        return {
            name.removeprefix(prefix): array
            for name, array in arrays.items()
            if name.startswith(prefix) and "." not in name.removeprefix(prefix)
        }

    embedding = EmbeddingParameters(
        **part("embedding."), norm=NormParameters(**part("embedding.norm."))
    )
    blocks = tuple(
        BlockParameters(
            attention=AttentionParameters(**part(f"blocks[{i}].attention.")),
            norm_1=NormParameters(**part(f"blocks[{i}].norm_1.")),
            feed_forward=FeedForwardParameters(**part(f"blocks[{i}].feed_forward.")),
            norm_2=NormParameters(**part(f"blocks[{i}].norm_2.")),
        )
        for i in range(config.layers)
    )
    return move_parameters(EncoderParameters(config, embedding, blocks), xp)


def load_tokenizer(folder: str | PathLike[str]) -> "Tokenizer":
    """Read ``tokenizer.json``, and set it to cut at the model's own length and to fill up nothing.

    The file's own settings, which cut and fill up to some other length, are overridden.

    Parameters
    ----------
    folder : str or path
        Holds ``config.json`` and ``sentence_bert_config.json`` too.

    Returns
    -------
    tokenizers.Tokenizer

    Raises
    ------
    FileNotFoundError
        If the folder or one of the files is missing.
    ModuleNotFoundError
        If the library `tokenizers` is missing; the message says what to install.
    ValueError
        If a file is damaged, or the tokenizer has ids that the vocabulary has no row for.
    """
    tokenizers = import_extra("tokenizers", "encoder", "a published model")
    folder = Path(folder)
    config = read_config(folder)
    path = existing_file(folder / "tokenizer.json")
    try:
        tokenizer: Tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{path} must describe a tokenizer: {error}") from error
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest >= config.vocabulary:
        raise ValueError(
            f"{path} must have ids below vocab_size={config.vocabulary} of config.json, "
            f"got {highest}"
        )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    special = tokenizer.num_special_tokens_to_add(False)
    prompt = len(tokenizer.encode(config.prompt).ids) - special
    if special + prompt >= config.max_length:
        beside = f"{special} special tokens" + f" and {prompt} of the prompt" * bool(prompt)
        raise ValueError(
            f"{folder / 'sentence_bert_config.json'}: max_seq_length must leave room beside "
            f"{beside}, got {config.max_length}"
        )
    tokenizer.enable_truncation(config.max_length)
    return tokenizer


def _read_tensors(path: Path, config: EncoderConfig) -> dict[str, Array]:
    """Read every parameter's array; all names, shapes and dtypes are checked before the first."""
    safetensors = import_extra("safetensors", "encoder", "a published model")
    existing_file(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            # More layers than tensors cannot be there, and their table could fill the memory.
            layers = min(config.layers, len(file.keys()) + 1)
            table = tensor_table(replace(config, layers=layers))
            _check_tensors(path, file, table)
            stored = {name: file.get_tensor(tensor) for name, (tensor, _) in table.items()}
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} must be an undamaged safetensors file: {error}") from error
    for name, array in stored.items():
        if not np.all(np.isfinite(array)):
            raise ValueError(f"{path}: {table[name][0]} must be finite, got a value that is not")
    return {name: _arrange(name, array, config.heads) for name, array in stored.items()}


def _check_tensors(path: Path, file: Any, table: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    held = set(file.keys())
    expected = {tensor for tensor, _ in table.values()}
    missing = [tensor for tensor, _ in table.values() if tensor not in held]
    unknown = sorted(held - expected - set(UNUSED_TENSORS))
    if missing:
        found = f"; it holds {unknown[0]}, which has no place here" if unknown else ""
        raise ValueError(f"{path} must hold the tensor {missing[0]}, and does not{found}")
    if unknown:
        raise ValueError(f"{path} must hold no other tensors, got {unknown[0]}")
    for tensor, shape in table.values():
        header = file.get_slice(tensor)
        got, dtype = tuple(header.get_shape()), header.get_dtype()
        if got != shape or dtype != "F32":
            raise ValueError(
                f"{path}: {tensor} must be F32 of shape {shape}, got {dtype} of shape {got}"
            )


def _arrange(parameter: str, stored: np.ndarray, heads: int) -> Array:
    """Turn a tensor as PyTorch stores it into ours: inputs before outputs, heads first."""
    role = parameter.rpartition(".")[2]
    if role in ("w_q", "w_k", "w_v"):
        return split_heads(stored.T, heads)  # (H, d, d_k)
    if role in ("b_q", "b_k", "b_v"):
        return stored.reshape(heads, -1)  # (H, d_k)
    return stored.T if role in ("w_o", "w_1", "w_2") else stored
