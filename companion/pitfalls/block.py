"""Broken variants of the part on the block: heads, feed-forward network and norms."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from companion.arrays import Array, array_namespace
from companion.block import BlockParameters, transformer_stack
from companion.feed_forward import FeedForwardParameters, feed_forward, gelu
from companion.heads import multi_head_attention
from companion.norms import layer_norm

__all__ = [
    "block_with_residual_around_the_norm",
    "gelu_without_root_two",
    "layer_norm_over_tokens",
    "layer_norm_unbiased",
    "linear_feed_forward",
    "merge_heads_by_reshape",
    "split_heads_by_reshape",
    "stack_with_one_feed_forward",
]


def split_heads_by_reshape(x: Array, heads: int) -> Array:
    """Cut (..., N, H·d_k) into (..., H, N, d_k) by reshape alone, which mixes tokens.

    Right: :func:`companion.split_heads`.
    """
    xp = array_namespace(x=x)
    *batch, length, columns = x.shape
    return xp.reshape(x, (*batch, heads, length, columns // heads))


def merge_heads_by_reshape(x: Array) -> Array:
    """Lay (..., H, N, d_v) out as (..., N, H·d_v) by reshape alone, which mixes tokens.

    Right: :func:`companion.merge_heads`.
    """
    xp = array_namespace(x=x)
    *batch, heads, length, columns = x.shape
    return xp.reshape(x, (*batch, length, heads * columns))


def linear_feed_forward(x: Array, parameters: FeedForwardParameters) -> Array:
    """Leave the activation out, so that two layers are one affine map.

    Right: :func:`companion.feed_forward`.
    """
    return feed_forward(x, parameters, activation=lambda hidden: hidden)


def gelu_without_root_two(x: Array) -> Array:
    """Compute x (1 + erf(x)) / 2, where the error function's argument is x / √2.

    Right: :func:`companion.gelu`.
    """
    return gelu(2**0.5 * x) / 2**0.5


def layer_norm_over_tokens(x: Array, weight: Array, bias: Array, *, eps: float = 1e-5) -> Array:
    """Norm every column over the tokens where every token's row is meant.

    Right: :func:`companion.layer_norm`.
    """
    xp = array_namespace(x=x, weight=weight, bias=bias)
    centred = x - xp.mean(x, axis=-2, keepdims=True)
    variance = xp.mean(centred * centred, axis=-2, keepdims=True)
    return centred / xp.sqrt(variance + eps) * weight + bias


def layer_norm_unbiased(x: Array, weight: Array, bias: Array, *, eps: float = 1e-5) -> Array:
    """Divide the sum of squares by d − 1 where d is meant.

    Right: :func:`companion.layer_norm`.
    """
    xp = array_namespace(x=x, weight=weight, bias=bias)
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    variance = xp.sum(centred * centred, axis=-1, keepdims=True) / (x.shape[-1] - 1)
    return centred / xp.sqrt(variance + eps) * weight + bias


def block_with_residual_around_the_norm(x: Array, parameters: BlockParameters) -> Array:
    """Add the second residual from x, the block's input, where the first norm's output is meant.

    Right: :func:`companion.transformer_block` with ``norm="post"``.
    """
    p = parameters
    network: Any = p.feed_forward  # one without a gate
    middle = layer_norm(x + multi_head_attention(x, p.attention), p.norm_1.weight, p.norm_1.bias)
    total = x + feed_forward(middle, network)
    return layer_norm(total, p.norm_2.weight, p.norm_2.bias)


def stack_with_one_feed_forward(x: Array, blocks: Sequence[BlockParameters]) -> Array:
    """Use the first block's feed-forward network in every layer.

    Right: :func:`companion.transformer_stack`, where each block has its own.
    """
    shared = [replace(block, feed_forward=blocks[0].feed_forward) for block in blocks]
    return transformer_stack(x, shared)
