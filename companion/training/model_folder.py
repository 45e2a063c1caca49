"""A model's weights, sizes and tokenizer, as the folder that a published model comes in."""

import json
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from companion.arrays import to_numpy
from companion.extras import import_extra
from companion.files import write_whole
from companion.language_model.config import LanguageModelConfig
from companion.language_model.parameters import LanguageModelParameters, language_model_tensors
from companion.language_model.tokenizer import TextTokenizer

__all__ = ["save_language_model"]


def save_language_model(
    folder: str | PathLike[str],
    parameters: LanguageModelParameters,
    tokenizer: TextTokenizer | None = None,
) -> None:
    """Write a model as :meth:`companion.CausalLanguageModel.from_pretrained` reads one.

    Each file is written whole or not at all.

    Parameters
    ----------
    folder : str or path
        Made where it is not there. It gets ``config.json``, ``model.safetensors`` in float32 and,
        with a tokenizer, ``tokenizer.json``; a chat template is not written.
    parameters : LanguageModelParameters
    tokenizer : TextTokenizer, optional

    Raises
    ------
    ModuleNotFoundError
        If the library `safetensors` is missing; the message says what to install.
    OSError
        If the folder cannot be written to.
    ValueError
        If the tokenizer has ids that the model has no row for.
    """
    safetensors = import_extra("safetensors.numpy", "language-model", "a model's file")
    folder, config = Path(folder), parameters.config
    if tokenizer is not None:
        check_tokenizer(tokenizer, config)
        text = tokenizer.tokenizer.to_str(pretty=True)
        write_whole(folder / "tokenizer.json", text.encode("utf-8"))
    write_whole(folder / "config.json", json.dumps(_said(config), indent=2).encode("utf-8"))
    tensors = dict(zip(language_model_tensors(config), _tensors(parameters), strict=True))
    content = safetensors.save(tensors, metadata={"format": "pt"})
    write_whole(folder / "model.safetensors", content)


def check_tokenizer(tokenizer: TextTokenizer, config: LanguageModelConfig) -> None:
    """Raise unless each token has a row of the embedding."""
    highest = max(tokenizer.tokenizer.get_vocab().values(), default=-1)
    if highest >= config.vocabulary_size:
        raise ValueError(
            f"tokenizer must have ids below vocabulary_size={config.vocabulary_size} of the "
            f"weights, got {highest}"
        )


def _tensors(parameters: LanguageModelParameters) -> Iterator[np.ndarray]:
    """Yield the tensors in the order of their names, outputs before inputs."""
    p, c = parameters, parameters.config
    heads, shared = c.head_count * c.head_dim, c.key_value_head_count * c.head_dim

    def host(array: Any) -> np.ndarray:
        return np.ascontiguousarray(to_numpy(array), dtype=np.float32)

    yield host(p.embedding)
    for layer in p.layers:
        yield host(layer.norm_1)
        for part in np.split(to_numpy(layer.w_qkv), [heads, heads + shared], axis=1):
            yield host(part.T)
        yield host(to_numpy(layer.w_o).T)
        yield host(layer.norm_2)
        for part in np.split(to_numpy(layer.w_gate_up), 2, axis=1):
            yield host(part.T)
        yield host(to_numpy(layer.w_down).T)
    yield host(p.norm)
    if p.output is not None:
        yield host(p.output)


def _said(config: LanguageModelConfig) -> dict[str, Any]:
    c = config
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "vocab_size": c.vocabulary_size,
        "num_hidden_layers": c.layer_count,
        "hidden_size": c.width,
        "num_attention_heads": c.head_count,
        "num_key_value_heads": c.key_value_head_count,
        "head_dim": c.head_dim,
        "intermediate_size": c.hidden_width,
        "max_position_embeddings": c.context_length,
        "rope_theta": c.rotary_base,
        "rms_norm_eps": c.eps,
        "tie_word_embeddings": c.tied,
        "bos_token_id": c.bos_id,
        "eos_token_id": list(c.stop_ids),
        "torch_dtype": "float32",
    }
