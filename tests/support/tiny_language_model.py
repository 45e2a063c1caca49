"""Language models in miniature: one of random weights, and one that says what it is told to."""

import itertools
from typing import Any

import numpy as np

from companion.language_model import (
    CausalLanguageModel,
    LanguageModelConfig,
    LanguageModelParameters,
    TextTokenizer,
    language_model_tensors,
)

SIZES: dict[str, Any] = {
    "vocabulary_size": 257,  # the bytes, and what ends a text
    "layer_count": 3,
    "width": 20,
    "head_count": 6,
    "key_value_head_count": 2,
    "head_dim": 4,
    "hidden_width": 28,
    "context_length": 700,
    "rotary_base": 500.0,
    "eps": 1e-5,
    "tied": False,
    "stop_ids": (256,),
}


def tiny_config(**changed: Any) -> LanguageModelConfig:
    return LanguageModelConfig(**(SIZES | changed))


def tiny_tensors(config: LanguageModelConfig, seed: int = 7) -> dict[str, np.ndarray]:
    """Draw every tensor, so that nothing in a block is negligible."""
    rng = np.random.default_rng(seed)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) == 1:
            return 1 + rng.standard_normal(shape) / 4
        return rng.standard_normal(shape) * 1.5 / np.sqrt(shape[1])

    return {name: draw(shape) for name, shape in language_model_tensors(config).items()}


def tiny_parameters(
    dtype: Any = np.float32, xp: Any = np, seed: int = 7, **changed: Any
) -> LanguageModelParameters:
    config = tiny_config(**changed)
    tensors = tiny_tensors(config, seed)
    return LanguageModelParameters.from_tensors(config, tensors, xp=xp, dtype=dtype)


def byte_tokenizer() -> TextTokenizer:
    """Make a token of every byte, 0 to 255 in their order, and one that ends texts."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]  # written as they are
    moved = [byte for byte in range(256) if byte not in kept]
    signs = {byte: chr(byte) for byte in kept}
    signs |= {byte: chr(256 + i) for i, byte in enumerate(moved)}
    tokenizer = Tokenizer(models.BPE({signs[byte]: byte for byte in range(256)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<end>", special=True)])
    return TextTokenizer(tokenizer)


def tiny_model(**changed: Any) -> CausalLanguageModel:
    return CausalLanguageModel(tiny_parameters(**changed), byte_tokenizer())


def scripted_model(text: str, **changed: Any) -> CausalLanguageModel:
    """Make a model that goes on with this text, byte after byte, and then ends it.

    No byte may stand in it twice. The blocks add nothing, a token's row is one direction of its
    own, and the output's row of a token is the direction of the one before it.
    """
    script = [*text.encode(), 256]
    assert len(set(script)) == len(script)
    config = tiny_config(width=258, layer_count=1, **changed)
    tensors = tiny_tensors(config)
    for name in ("self_attn.o_proj", "mlp.down_proj"):
        tensors[f"model.layers.0.{name}.weight"] *= 0
    tensors["model.embed_tokens.weight"] = np.eye(257, 258)
    tensors["model.norm.weight"] = np.ones(258)
    output = np.zeros((257, 258))
    for token, following in itertools.pairwise(script):
        output[following, token] = 1.0
    tensors["lm_head.weight"] = output
    parameters = LanguageModelParameters.from_tensors(config, tensors, xp=np)
    return CausalLanguageModel(parameters, byte_tokenizer())
