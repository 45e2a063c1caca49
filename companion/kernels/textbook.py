"""Attention as the equation reads: all scores, all weights, then the mixtures."""

from collections.abc import Callable

from companion.arrays import Array, Namespace, array_namespace, broadcast_shape, cast, widen
from companion.masks import unchecked_mask_scores
from companion.scores import unchecked_scaled_scores, unchecked_soft_cap
from companion.softmax import unchecked_softmax, unchecked_weighted_values

__all__ = ["textbook_attention"]


def masked_softmax(scores: Array, masks: list[Array], softcap: float | None) -> Array:
    """Turn scaled scores into weights: the cap, then the masks, then the softmax."""
    return unchecked_masked_softmax(array_namespace(scores=scores), scores, masks, softcap)


def unchecked_masked_softmax(
    xp: Namespace, scores: Array, masks: list[Array], softcap: float | None
) -> Array:
    """Do what `masked_softmax` does, without its checks."""
    return unchecked_softmax(xp, capped_and_masked(xp, scores, masks, softcap), -1)


def capped_and_masked(
    xp: Namespace, scores: Array, masks: list[Array], softcap: float | None
) -> Array:
    """Return what the softmax takes: the cap, then the masks."""
    scores = unchecked_soft_cap(xp, scores, softcap)
    for mask in masks:
        scores = unchecked_mask_scores(xp, scores, mask)
    return scores


def textbook_attention(
    xp: Namespace,
    query: Array,
    key: Array,
    value: Array,
    masks: list[Array],
    scale: float,
    softcap: float | None,
    *,
    weigh: Callable[[Array, list[Array], float | None], Array] | None = None,
) -> tuple[Array, Array]:
    """Follow :eq:`eq-attention` with all weights in memory at once: (output, weights).

    The arguments are those of :func:`companion.scaled_dot_product_attention`, checked there, with
    all masks in one list. `weigh` takes the place of `masked_softmax`; it may write the
    weights into the scores' memory.
    """
    dtype = query.dtype
    query, key, value = widen(xp, query), widen(xp, key), widen(xp, value)
    rows = query.shape[-3:-1]  # (H, T), or (T,) for one head
    scores = unchecked_scaled_scores(xp, group(xp, query, key), key, scale)
    scores = ungroup(xp, scores, rows)  # (..., H, T, S)
    if masks:
        scores = _broadcast(xp, scores, masks)
    if weigh is None:
        weights = unchecked_masked_softmax(xp, scores, masks, softcap)
    else:
        weights = weigh(scores, masks, softcap)
    output = ungroup(xp, unchecked_weighted_values(xp, group(xp, weights, value), value), rows)
    if masks:
        # 0 · ∞ is NaN, so a row of zero weights does not yet make a row of zeros.
        blind = xp.all(weights == 0, axis=-1, keepdims=True)
        output = xp.where(blind, xp.zeros_like(output), output)
    return cast(xp, output, dtype), cast(xp, weights, dtype)


def _broadcast(xp: Namespace, scores: Array, masks: list[Array]) -> Array:
    """Give the scores the batch of the masks, which may be that of the values."""
    shape = broadcast_shape(scores.shape, *(mask.shape for mask in masks))
    return (
        scores if shape == scores.shape else xp.asarray(xp.broadcast_to(scores, shape), copy=True)
    )


def group(xp: Namespace, rows: Array, shared: Array) -> Array:
    """Stack the rows of all heads that share a key/value head: (..., H_kv, H/H_kv · T, n)."""
    if rows.ndim == 2 or rows.shape[-3] == shared.shape[-3]:
        return rows
    *batch, heads, length, width = rows.shape
    groups = shared.shape[-3]
    return xp.reshape(rows, (*batch, groups, heads // max(groups, 1) * length, width))


def ungroup(xp: Namespace, rows: Array, heads_and_length: tuple[int, ...]) -> Array:
    """Undo :func:`group`: (..., H, T, n)."""
    if rows.shape[-len(heads_and_length) - 1 : -1] == heads_and_length:
        return rows
    return xp.reshape(rows, (*rows.shape[:-3], *heads_and_length, rows.shape[-1]))
