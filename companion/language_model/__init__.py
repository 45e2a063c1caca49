"""A causal language model: a decoder that is made of the earlier chapters, and writes."""

from companion.language_model.cache import KeyValueCache
from companion.language_model.config import LanguageModelConfig
from companion.language_model.decoder import decoder_states, state_logits
from companion.language_model.parameters import (
    DecoderLayerParameters,
    LanguageModelParameters,
    language_model_tensors,
)

__all__ = [
    "DecoderLayerParameters",
    "KeyValueCache",
    "LanguageModelConfig",
    "LanguageModelParameters",
    "decoder_states",
    "language_model_tensors",
    "state_logits",
]
