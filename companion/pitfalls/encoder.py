"""Broken variants of the part on a trained transformer."""

from dataclasses import replace

from companion.arrays import Array
from companion.encoder.embedding import EmbeddingParameters
from companion.heads import AttentionParameters, merge_heads, split_heads
from companion.packing import embed
from companion.positions import add_positions

__all__ = ["attention_as_stored", "embed_tokens_without_norm"]


def attention_as_stored(parameters: AttentionParameters) -> AttentionParameters:
    """Forget that PyTorch stores Wᵀ: where H·d_k = d all four matrices are square, and they fit.

    Right: :func:`companion.load_checkpoint`.
    """
    p = parameters

    def turned(weight: Array) -> Array:
        return split_heads(merge_heads(weight).mT, p.heads)  # (H, d, d_k), by way of (d, H·d_k)

    return replace(p, w_q=turned(p.w_q), w_k=turned(p.w_k), w_v=turned(p.w_v), w_o=p.w_o.mT)


def embed_tokens_without_norm(ids: Array, parameters: EmbeddingParameters) -> Array:
    """Add up word, position and token-type rows, and forget the norm behind the sum.

    Right: :func:`companion.embed_tokens`.
    """
    p = parameters
    return add_positions(embed(ids, p.word), p.position) + p.token_type[0, :]
