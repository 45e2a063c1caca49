"""A llama model in a GGUF file: its sizes, and its tensors under their usual names."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from companion.language_model.config import LanguageModelConfig
from companion.language_model.gguf_file import GgufFile, read_rows
from companion.language_model.gguf_tokenizer import stored_token_id, stored_tokens
from companion.language_model.parameters import language_model_tensors

__all__ = ["gguf_config", "gguf_names", "gguf_tensor"]

SIZES = {
    "layer_count": "llama.block_count",
    "width": "llama.embedding_length",
    "head_count": "llama.attention.head_count",
    "hidden_width": "llama.feed_forward_length",
    "context_length": "llama.context_length",
}
# What the file may say, as what stands there is what is done; any other key that begins with
# "llama." says that something else is.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "llama.rope.scaling.type": ("none",),
    "llama.expert_count": (0,),
    "llama.expert_used_count": (0,),
    "llama.attention.causal": (True,),
    "general.type": ("model",),
    "split.count": (0, 1),
}
READ = {
    *SIZES.values(),
    "llama.vocab_size",
    "llama.attention.head_count_kv",
    "llama.attention.key_length",
    "llama.attention.value_length",
    "llama.attention.layer_norm_rms_epsilon",
    "llama.rope.dimension_count",
    "llama.rope.freq_base",
}
OUTSIDE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
IN_A_BLOCK = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}
STOPS = ("eos", "eot", "eom")  # the ends of a text, of a turn and of a message


def gguf_config(file: GgufFile) -> LanguageModelConfig:
    """Read the sizes of a model.

    Raises
    ------
    ValueError
        If the file holds another architecture or a variant that this library does not compute, or
        leaves out what it must say.
    """
    said = file.metadata
    if (got := said.get("general.architecture")) != "llama":
        raise ValueError(f"{file.path}: general.architecture must be 'llama', got {got!r}")
    for key, expected in NEUTRAL.items():
        if key in said and said[key] not in expected:
            raise ValueError(f"{file.path}: {key} must be {expected[0]!r}, got {said[key]!r}")
    for key in said:
        if key.startswith("llama.") and key not in READ and key not in NEUTRAL:
            raise ValueError(
                f"{file.path}: {key}={said[key]!r} asks for something that is not done here"
            )
    sizes = {name: _size(file, key) for name, key in SIZES.items()}
    heads = sizes["head_count"]
    head_dim = _size(file, "llama.attention.key_length", sizes["width"] // heads)
    for key in ("llama.attention.value_length", "llama.rope.dimension_count"):
        if (got := _size(file, key, head_dim)) != head_dim:
            raise ValueError(f"{file.path}: {key} must be that of a head, {head_dim}, got {got}")
    words = len(stored_tokens(file))
    if (vocabulary := _size(file, "llama.vocab_size", words)) < words:
        raise ValueError(
            f"{file.path}: llama.vocab_size must be at least the number of tokens {words}, "
            f"got {vocabulary}"
        )
    stops = [stored_token_id(file, name) for name in STOPS]
    try:
        return LanguageModelConfig(
            **sizes,
            vocabulary_size=vocabulary,
            key_value_head_count=_size(file, "llama.attention.head_count_kv", heads),
            head_dim=head_dim,
            rotary_base=_number(file, "llama.rope.freq_base"),
            eps=_number(file, "llama.attention.layer_norm_rms_epsilon"),
            tied=OUTSIDE["lm_head.weight"] not in file.tensors,
            bos_id=stored_token_id(file, "bos"),
            stop_ids=tuple(dict.fromkeys(stop for stop in stops if stop is not None)),
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file.path}: {error}") from error


def gguf_names(file: GgufFile, config: LanguageModelConfig) -> dict[str, str]:
    """Check the names and shapes of all tensors, and return the file's names by the usual ones.

    Raises
    ------
    ValueError
        If a tensor is missing, unknown or of another shape.
    """
    # More layers than tensors cannot be there, and their table could fill the memory.
    layers = min(config.layer_count, len(file.tensors) + 1)
    table = language_model_tensors(replace(config, layer_count=layers))
    names = {name: _name_in_file(name) for name in table}
    for name, stored in names.items():
        if stored not in file.tensors:
            raise ValueError(f"{file.path} must hold the tensor {stored}, and does not")
        if (got := file.tensors[stored].shape) != table[name]:
            raise ValueError(f"{file.path}: {stored} must be of shape {table[name]}, got {got}")
    if unknown := sorted(file.tensors.keys() - names.values()):
        raise ValueError(f"{file.path} must hold no other tensors, got {unknown[0]}")
    return names


def gguf_tensor(file: GgufFile, config: LanguageModelConfig, name: str, stored: str) -> np.ndarray:
    """Read one tensor in float32, the rows of queries and keys ordered for pairs in halves."""
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return read_rows(file, stored)
    # A head's rows lie as 0, h, 1, h + 1, … where h is half of d_k: what is rotated together stands
    # side by side.
    half = config.head_dim // 2
    heads = file.tensors[stored].shape[0] // config.head_dim
    in_head = np.arange(config.head_dim).reshape(2, half).T.reshape(-1)
    order = np.arange(heads)[:, None] * config.head_dim + in_head
    return read_rows(file, stored, order.reshape(-1))


def _name_in_file(name: str) -> str:
    if name in OUTSIDE:
        return OUTSIDE[name]
    _, _, layer, part = name.split(".", 3)
    return f"blk.{layer}.{IN_A_BLOCK[part]}"


def _size(file: GgufFile, key: str, default: int | None = None) -> int:
    value = file.metadata.get(key, default)
    if type(value) is not int or not 0 < value < 2**31:
        raise ValueError(f"{file.path}: {key} must be a positive integer, got {value!r}")
    return value


def _number(file: GgufFile, key: str) -> float:
    value = file.metadata.get(key)
    if not isinstance(value, float) or not 0 < value < math.inf:
        raise ValueError(f"{file.path}: {key} must be a positive number, got {value!r}")
    return value
