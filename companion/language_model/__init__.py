"""A causal language model: a decoder that is made of the earlier chapters, and writes."""

from companion.language_model.cache import KeyValueCache
from companion.language_model.causal_language_model import CausalLanguageModel
from companion.language_model.config import LanguageModelConfig
from companion.language_model.decoder import decoder_states, state_logits
from companion.language_model.generation import Completion
from companion.language_model.loss import cross_entropy, perplexity
from companion.language_model.parameters import (
    DecoderLayerParameters,
    LanguageModelParameters,
    language_model_tensors,
)
from companion.language_model.pretrained import load_language_model, published_model_path
from companion.language_model.sampling import Sampling, next_token_probabilities, sample_tokens
from companion.language_model.small_writer import small_writer
from companion.language_model.tokenizer import TextStream, TextTokenizer

__all__ = [
    "CausalLanguageModel",
    "Completion",
    "DecoderLayerParameters",
    "KeyValueCache",
    "LanguageModelConfig",
    "LanguageModelParameters",
    "Sampling",
    "TextStream",
    "TextTokenizer",
    "cross_entropy",
    "decoder_states",
    "language_model_tensors",
    "load_language_model",
    "next_token_probabilities",
    "perplexity",
    "published_model_path",
    "sample_tokens",
    "small_writer",
    "state_logits",
]
