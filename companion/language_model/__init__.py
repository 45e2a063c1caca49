"""A causal language model: a decoder that is made of the earlier chapters, and writes."""

from companion.language_model.config import LanguageModelConfig
from companion.language_model.parameters import (
    DecoderLayerParameters,
    LanguageModelParameters,
    language_model_tensors,
)

__all__ = [
    "DecoderLayerParameters",
    "LanguageModelConfig",
    "LanguageModelParameters",
    "language_model_tensors",
]
