"""Broken variants of the part on one head: packing, projections, scores, softmax and masks."""

from collections.abc import Sequence

import array_api_compat

from companion.arrays import Array, DType, Namespace, array_namespace
from companion.masks import causal_mask
from companion.scores import scaled_scores
from companion.softmax import softmax, weighted_values

__all__ = [
    "additive_mask_times_infinity",
    "attention_masked_after_softmax",
    "attention_with_leaking_zeros",
    "attention_with_off_by_one_mask",
    "embed_without_check",
    "mean_over_padding",
    "pack_rows_as_columns",
    "project_with_transposed_weight",
    "scores_by_reshape",
    "scores_divided_by_d_k",
    "scores_scaled_by_model_width",
    "scores_with_one_shared_matrix",
    "softmax_over_queries",
    "softmax_shifted_by_global_maximum",
    "softmax_without_shift",
    "split_qkv_in_wrong_order",
]


def embed_without_check(ids: Array, table: Array) -> Array:
    """Look up rows without looking at the ids: −1 quietly means the last row.

    Right: :func:`companion.embed`.
    """
    array_namespace(ids=ids, table=table)
    return table[ids]


def mean_over_padding(x: Array) -> Array:
    """Average a padded batch (B, N, d) over all N rows, padding included.

    Right: divide by the number of tokens, not of rows.
    """
    xp = array_namespace(x=x)
    return xp.mean(x, axis=1)


def pack_rows_as_columns(rows: Sequence[Array]) -> Array:
    """Stack token vectors side by side, a token a column: no shape complains where N = d.

    Right: :func:`companion.pack_rows`.
    """
    xp = array_namespace(*rows)
    return xp.stack(list(rows), axis=1)


def project_with_transposed_weight(x: Array, weight: Array) -> Array:
    """Multiply by Wᵀ where W is meant, as if tokens were columns: square weights never complain.

    Right: :func:`companion.project`.
    """
    array_namespace(x=x, weight=weight)
    return x @ weight.mT


def split_qkv_in_wrong_order(packed: Array, d_k: int, d_v: int) -> tuple[Array, Array, Array]:
    """Take one packed product (..., N, d_k + d_k + d_v) apart as Q, V, K where it holds Q, K, V.

    Right: cut at d_k and at 2 d_k.
    """
    array_namespace(packed=packed)
    query, value = packed[..., :d_k], packed[..., d_k : d_k + d_v]
    return query, packed[..., d_k + d_v :], value


def scores_with_one_shared_matrix(x: Array, weight: Array) -> Array:
    """Use one matrix for queries and keys: whoever looks for a thing then also offers it.

    Right: :func:`companion.project_qkv` with two matrices.
    """
    array_namespace(x=x, weight=weight)
    return scaled_scores(x @ weight, x @ weight)


def scores_by_reshape(query: Array, key: Array) -> Array:
    """Turn the keys on their side by reshape where a transpose is meant.

    Right: :func:`companion.scaled_scores`.
    """
    xp = array_namespace(query=query, key=key)
    sideways = xp.reshape(key, (key.shape[1], key.shape[0]))
    scale: float = query.shape[1] ** -0.5
    return query @ sideways * scale


def scores_divided_by_d_k(query: Array, key: Array) -> Array:
    """Divide by d_k where √d_k is meant.

    Right: :func:`companion.scaled_scores`.
    """
    return scaled_scores(query, key, scale=1 / query.shape[-1])


def scores_scaled_by_model_width(query: Array, key: Array, width: int) -> Array:
    """Divide by √d, the width of x, where √d_k, the width of a key, is meant.

    Right: :func:`companion.scaled_scores`.
    """
    return scaled_scores(query, key, scale=width**-0.5)


def softmax_without_shift(scores: Array) -> Array:
    """Exponentiate the scores as they come: right for small ones, NaN for large ones.

    Right: :func:`companion.softmax`.
    """
    xp = array_namespace(scores=scores)
    powers = xp.exp(scores)
    return powers / xp.sum(powers, axis=-1, keepdims=True)


def softmax_over_queries(scores: Array) -> Array:
    """Let the columns sum to one where the rows should.

    Right: :func:`companion.softmax` along the last axis.
    """
    return softmax(scores, axis=-2)


def softmax_shifted_by_global_maximum(scores: Array) -> Array:
    """Subtract one maximum from all rows: a row far below it vanishes into 0 / 0.

    Right: :func:`companion.softmax`, which shifts each row by its own.
    """
    xp = array_namespace(scores=scores)
    powers = xp.exp(scores - xp.max(scores))
    return powers / xp.sum(powers, axis=-1, keepdims=True)


def attention_with_leaking_zeros(query: Array, key: Array, value: Array) -> Array:
    """Set the scores of future tokens to 0 before the softmax, where −∞ belongs.

    Right: :func:`companion.scaled_dot_product_attention` with ``is_causal=True``.
    """
    xp = array_namespace(query=query, key=key, value=value)
    scores = scaled_scores(query, key)
    visible = causal_like(xp, scores)
    scores = xp.where(visible, scores, xp.zeros_like(scores))
    return weighted_values(softmax(scores), value)


def attention_masked_after_softmax(query: Array, key: Array, value: Array) -> Array:
    """Zero the weights of future tokens after the softmax, without sharing them out again.

    Right: :func:`companion.scaled_dot_product_attention` with ``is_causal=True``.
    """
    xp = array_namespace(query=query, key=key, value=value)
    weights = softmax(scaled_scores(query, key))
    weights = xp.where(causal_like(xp, weights), weights, xp.zeros_like(weights))
    return weighted_values(weights, value)


def attention_with_off_by_one_mask(query: Array, key: Array, value: Array) -> Array:
    """Let every token see one position too far.

    Right: :func:`companion.scaled_dot_product_attention` with ``is_causal=True``.
    """
    xp = array_namespace(query=query, key=key, value=value)
    scores = scaled_scores(query, key)
    visible = causal_like(xp, scores, offset=1)
    scores = xp.where(visible, scores, xp.full_like(scores, -xp.inf))
    return weighted_values(softmax(scores), value)


def additive_mask_times_infinity(mask: Array, dtype: DType) -> Array:
    """Turn a mask into an additive one by multiplying with −∞: 0 · −∞ is NaN.

    Right: :func:`companion.additive_mask`.
    """
    xp = array_namespace(mask=mask)
    return (1 - xp.astype(mask, dtype)) * -xp.inf


def causal_like(xp: Namespace, scores: Array, offset: int = 0) -> Array:
    """Return the causal mask of the scores, on their device."""
    mask = causal_mask(*scores.shape[-2:], query_offset=offset, xp=xp)
    moved: Array = array_api_compat.to_device(mask, array_api_compat.device(scores))
    return moved
