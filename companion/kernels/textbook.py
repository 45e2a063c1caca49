"""Attention as the equation reads: all scores, all weights, then the mixtures."""

from collections.abc import Callable
from typing import Any

import numpy as np

from companion.arrays import Array, Namespace, computing_dtype
from companion.masks import mask_scores
from companion.scores import scaled_scores, soft_cap
from companion.softmax import softmax, weighted_values

__all__ = ["textbook_attention"]


def masked_softmax(scores: Array, masks: list[Array], softcap: float | None) -> Array:
    """Turn scaled scores into weights: the cap, then the masks, then the softmax."""
    scores = soft_cap(scores, softcap)
    for mask in masks:
        scores = mask_scores(scores, mask)
    return softmax(scores)


def textbook_attention(
    xp: Namespace,
    query: Array,
    key: Array,
    value: Array,
    masks: list[Array],
    scale: float,
    softcap: float | None,
    *,
    weigh: Callable[..., Any] = masked_softmax,
) -> tuple[Array, Array]:
    """Follow :eq:`eq-attention` with all weights in memory at once: (output, weights).

    The arguments are those of :func:`companion.scaled_dot_product_attention`, checked there, with
    all masks in one list. `weigh` takes the scaled scores, the masks and the cap; it may write the
    weights into the scores' memory.
    """
    dtype = query.dtype
    query, key, value = (
        xp.astype(array, computing_dtype(xp, dtype), copy=False) for array in (query, key, value)
    )
    rows = query.shape[-3:-1]  # (H, T), or (T,) for one head
    scores = scaled_scores(_group(xp, query, key), key, scale=scale)
    scores = _broadcast(xp, _ungroup(xp, scores, rows), masks)
    weights = weigh(scores, masks, softcap)  # (..., H, T, S)
    output = _ungroup(xp, weighted_values(_group(xp, weights, value), value), rows)
    if masks:
        # 0 · ∞ is NaN, so a row of zero weights does not yet make a row of zeros.
        blind = xp.all(weights == 0, axis=-1, keepdims=True)
        output = xp.where(blind, xp.zeros_like(output), output)
    return xp.astype(output, dtype, copy=False), xp.astype(weights, dtype, copy=False)


def _broadcast(xp: Namespace, scores: Array, masks: list[Array]) -> Array:
    """Give the scores the batch of the masks, which may be that of the values."""
    shape = np.broadcast_shapes(scores.shape, *(mask.shape for mask in masks))
    return (
        scores if shape == scores.shape else xp.asarray(xp.broadcast_to(scores, shape), copy=True)
    )


def _group(xp: Namespace, rows: Array, shared: Array) -> Array:
    """Stack the rows of all heads that share a key/value head: (..., H_kv, H/H_kv · T, n)."""
    if rows.ndim == 2:
        return rows
    *batch, heads, length, width = rows.shape
    groups = shared.shape[-3]
    return xp.reshape(rows, (*batch, groups, heads // max(groups, 1) * length, width))


def _ungroup(xp: Namespace, rows: Array, heads_and_length: tuple[int, ...]) -> Array:
    """Undo :func:`_group`: (..., H, T, n)."""
    return xp.reshape(rows, (*rows.shape[:-3], *heads_and_length, rows.shape[-1]))
