"""A published encoder, from its files to a vector for each sentence."""

from companion.encoder.checkpoint import (
    EncoderParameters,
    load_checkpoint,
    load_tokenizer,
    tensor_table,
)
from companion.encoder.config import EncoderConfig
from companion.encoder.embedding import EmbeddingParameters, embed_tokens
from companion.encoder.pooling import mean_pool, unit_rows
from companion.encoder.sentence_encoder import SentenceEncoder
from companion.encoder.states import token_states

__all__ = [
    "EmbeddingParameters",
    "EncoderConfig",
    "EncoderParameters",
    "SentenceEncoder",
    "embed_tokens",
    "load_checkpoint",
    "load_tokenizer",
    "mean_pool",
    "tensor_table",
    "token_states",
    "unit_rows",
]
