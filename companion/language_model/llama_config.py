"""What a llama folder's JSON files say of it: its sizes, or that it is another model."""

import math
from pathlib import Path
from typing import Any

from companion.files import read_json, size
from companion.language_model.config import LanguageModelConfig

__all__ = ["read_llama_config"]

SIZES = {
    "vocabulary_size": "vocab_size",
    "layer_count": "num_hidden_layers",
    "width": "hidden_size",
    "head_count": "num_attention_heads",
    "hidden_width": "intermediate_size",
    "context_length": "max_position_embeddings",
}
# What the file may say, as what stands there is what is done; None stands for nothing said.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "model_type": ("llama",),
    "hidden_act": ("silu", "swish", None),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "add_cross_attention": (False, None),
    "is_encoder_decoder": (False, None),
    "quantization_config": (None,),
    # Of relatives of the family, in case a file says llama and means one of them.
    "partial_rotary_factor": (1, None),
    "rotary_pct": (1, None),
    "sliding_window": (None,),
    "use_sliding_window": (False, None),
    "attention_chunk_size": (None,),
    "no_rope_layers": (None,),
    "num_experts": (0, None),
    "num_local_experts": (0, None),
    "n_routed_experts": (0, None),
    "use_qk_norm": (False, None),
    "qk_layernorm": (False, None),
    "clip_qkv": (None,),
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
    "logit_scale": (1, None),
    "logits_scaling": (1, None),
    "attention_multiplier": (None,),
    "embedding_multiplier": (1, None),
    "residual_multiplier": (1, None),
}
ROTARY = {"rope_theta", "rope_type", "type", "partial_rotary_factor"}


def read_llama_config(folder: Path) -> LanguageModelConfig:
    """Read the sizes of a model in a folder, and the ids that end its texts.

    Parameters
    ----------
    folder : Path
        Holds ``config.json``, and ``generation_config.json`` where the model has one.

    Raises
    ------
    FileNotFoundError
        If ``config.json`` is missing.
    ValueError
        If a file is damaged, describes a model that this library does not compute, or leaves out
        what it must say.
    """
    path = folder / "config.json"
    said = read_json(path, dict)
    if (got := said.get("architectures")) != ["LlamaForCausalLM"]:
        raise ValueError(f"{path}: architectures must be ['LlamaForCausalLM'], got {got!r}")
    for key, expected in NEUTRAL.items():
        if (got := said.get(key)) not in expected:
            raise ValueError(f"{path}: {key} must be {expected[0]!r}, got {got!r}")
    _check_own_code(path, said)
    sizes = {name: size(path, said, key) for name, key in SIZES.items()}
    heads, head_dim = sizes["head_count"], said.get("head_dim")
    if head_dim is None and sizes["width"] % heads != 0:
        raise ValueError(
            f"{path}: num_attention_heads must divide hidden_size={sizes['width']} where head_dim "
            f"is not given, got {heads}"
        )
    if not isinstance(tied := said.get("tie_word_embeddings", False), bool):
        raise ValueError(f"{path}: tie_word_embeddings must be true or false, got {tied!r}")
    generation = folder / "generation_config.json"
    others = read_json(generation, dict) if generation.exists() else {}
    stops = [*_stop_ids(path, said), *_stop_ids(generation, others)]
    try:
        return LanguageModelConfig(
            **sizes,
            key_value_head_count=_size_or(path, said, "num_key_value_heads", heads),
            head_dim=_size_or(path, said, "head_dim", sizes["width"] // heads),
            rotary_base=_rotary_base(path, said),
            eps=_positive(path, "rms_norm_eps", said.get("rms_norm_eps")),
            tied=tied,
            bos_id=said.get("bos_token_id"),
            stop_ids=tuple(dict.fromkeys(stops)),
        )
    except (TypeError, ValueError) as error:
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def _check_own_code(path: Path, said: dict[str, Any]) -> None:
    """Refuse a model that brings a program of its own: that may compute anything."""
    brought = said.get("auto_map")
    if isinstance(brought, dict) and "AutoModelForCausalLM" in brought:
        raise ValueError(
            f"{path}: auto_map must bring no model of its own, "
            f"got {brought['AutoModelForCausalLM']!r}"
        )


def _rotary_base(path: Path, said: dict[str, Any]) -> float:
    """Return the one base that the file gives, in any of the three places; there is no other."""
    bases: dict[str, Any] = {}
    if said.get("rope_theta") is not None:
        bases["rope_theta"] = said["rope_theta"]
    for key in ("rope_parameters", "rope_scaling"):
        rotary = said.get(key)
        if rotary is None:
            continue
        if not isinstance(rotary, dict):
            raise ValueError(f"{path}: {key} must be a JSON object, got {rotary!r}")
        kind = rotary.get("rope_type", rotary.get("type", "default"))
        if kind != "default":
            raise ValueError(f"{path}: rope_type of {key} must be 'default', got {kind!r}")
        if unknown := sorted(rotary.keys() - ROTARY):
            raise ValueError(f"{path}: {key} must be of plain rotation, got {unknown[0]!r} in it")
        if (share := rotary.get("partial_rotary_factor", 1)) != 1:
            raise ValueError(f"{path}: partial_rotary_factor of {key} must be 1, got {share!r}")
        if rotary.get("rope_theta") is not None:
            bases[f"rope_theta of {key}"] = rotary["rope_theta"]
    if not bases:
        raise ValueError(
            f"{path}: rope_theta must stand in the file or under rope_parameters, and does not"
        )
    numbers = {_positive(path, key, base) for key, base in bases.items()}
    if len(numbers) > 1:
        raise ValueError(f"{path}: rope_theta must be one number, got {sorted(numbers)}")
    return numbers.pop()


def _stop_ids(path: Path, said: dict[str, Any]) -> list[int]:
    """Return every id that ends a text: the file gives none, one or a list."""
    given = said.get("eos_token_id")
    stops = [] if given is None else given if isinstance(given, list) else [given]
    for stop in stops:
        if type(stop) is not int:
            raise ValueError(f"{path}: eos_token_id must hold integers, got {stop!r}")
    return stops


def _size_or(path: Path, said: dict[str, Any], key: str, default: int) -> int:
    return default if said.get(key) is None else size(path, said, key)


def _positive(path: Path, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{path}: {key} must be a positive number, got {value!r}")
    return float(value)
