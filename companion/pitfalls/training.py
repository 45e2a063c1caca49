"""Broken variants of the way back, and of what a training makes of it."""

import math

from companion.arrays import Array, array_namespace
from companion.language_model import cross_entropy
from companion.masks import causal_mask, mask_scores
from companion.scores import scaled_scores
from companion.softmax import softmax

__all__ = [
    "attention_backward_without_mask",
    "cross_entropy_backward_over_all_rows",
    "cross_entropy_over_padding",
    "cross_entropy_without_shift",
    "scaled_scores_backward_without_scale",
    "softmax_backward_entry_by_entry",
]


def softmax_backward_entry_by_entry(d_weights: Array, scores: Array) -> Array:
    """Give each score the slope of its own weight, w (1 − w), and forget the others of the row.

    Right: :func:`companion.softmax_backward`.
    """
    weights = softmax(scores)
    return d_weights * weights * (1 - weights)


def scaled_scores_backward_without_scale(
    d_scores: Array, query: Array, key: Array
) -> tuple[Array, Array]:
    """Go back through the product alone, as if nothing had divided it by √d_k.

    Right: :func:`companion.scaled_scores_backward`.
    """
    return d_scores @ key, d_scores.mT @ query


def attention_backward_without_mask(
    d_output: Array, query: Array, key: Array, value: Array
) -> tuple[Array, Array, Array]:
    """Go back through causal attention, but through the softmax of all scores, hidden ones too.

    Right: :func:`companion.attention_backward`, in which a hidden score has weight 0.
    """
    xp = array_namespace(query=query, key=key)
    scores = scaled_scores(query, key)
    weights = softmax(mask_scores(scores, causal_mask(query.shape[-2], xp=xp)))
    d_weights = d_output @ value.mT
    everywhere = softmax(scores)
    shared = xp.sum(d_weights * everywhere, axis=-1, keepdims=True)
    d_scores = everywhere * (d_weights - shared) / math.sqrt(query.shape[-1])
    return d_scores @ key, d_scores.mT @ query, weights.mT @ d_output


def cross_entropy_without_shift(logits: Array, token_ids: Array) -> Array:
    """Ask each row for the token that it was given, and not for the next.

    Right: :func:`companion.cross_entropy` of all rows but the last, and of ``token_ids[1:]``.
    """
    return cross_entropy(logits, token_ids)


def cross_entropy_over_padding(logits: Array, targets: Array, padding: int) -> Array:
    """Count the padding as something to foretell, under the id that fills it.

    Right: :func:`companion.cross_entropy`, which leaves −1 out.
    """
    xp = array_namespace(logits=logits, targets=targets)
    return cross_entropy(logits, xp.where(targets < 0, xp.full_like(targets, padding), targets))


def cross_entropy_backward_over_all_rows(logits: Array, targets: Array) -> Array:
    """Divide by the number of rows, and not by how many of them have a target.

    Right: :func:`companion.cross_entropy_backward`.
    """
    xp = array_namespace(logits=logits, targets=targets)
    right = xp.astype(targets[..., None] == xp.arange(logits.shape[-1]), logits.dtype)
    counted = xp.astype(targets >= 0, logits.dtype)[..., None]
    return (softmax(logits) - right) * counted / math.prod(targets.shape)
