"""Backwards through attention: from what it returned to queries, keys and values."""

import math
from typing import Any, NamedTuple

import array_api_compat
import numpy as np

from companion.arrays import (
    Array,
    Namespace,
    broadcast_shape,
    cast,
    computing_dtype,
    require_library,
    require_same_dtype,
    widen,
)
from companion.attention import Call, Implementation, check_attention, is_tiled
from companion.attention import unchecked_scaled_dot_product_attention as attend
from companion.gradients.softmax import unchecked_soft_cap_backward
from companion.gradients.sums import check_gradient, summed_to
from companion.kernels import backward
from companion.kernels.reach import as_slice, mask_part
from companion.kernels.textbook import capped_and_masked, group, ungroup
from companion.scores import unchecked_scaled_scores
from companion.softmax import powers_below, unchecked_softmax

__all__ = ["AttentionRecord", "attention_backward", "attention_record"]

NUMPY: Namespace = array_api_compat.numpy  # type: ignore[assignment]
SCORES = 2**22
"""Scores held at once where a tile is some rows of all heads."""


class AttentionRecord(NamedTuple):
    """What the forward may keep for the way back: memory that grows with the length alone.

    Attributes
    ----------
    output : array, shape (T, d_v) or (..., H, T, d_v)
        What :func:`companion.scaled_dot_product_attention` returned.
    maximum : array, shape (T, 1) or (..., H, T, 1)
        The largest score of each row, −∞ where it sees no key.
    total : array, shape (T, 1) or (..., H, T, 1)
        The sum of ``exp(score - maximum)``.
    """

    output: Array
    maximum: Array
    total: Array


def attention_record(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    *,
    is_causal: bool = False,
    query_offset: int | Array = 0,
    window: tuple[int, int] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    implementation: Implementation | None = None,
    threads: int | None = None,
) -> AttentionRecord:
    """Attend, and keep what the way back needs beside the arguments.

    The arguments are those of :func:`companion.scaled_dot_product_attention`, and so are the errors
    raised.

    Returns
    -------
    AttentionRecord
        Its output is the forward's; maximum and total are in the computing dtype, float32 for
        16 bits.
    """
    options = (window, scale, softcap, False, implementation, threads)
    xp, call = check_attention(query, key, value, attn_mask, is_causal, query_offset, *options)
    return unchecked_attention_record(xp, query, key, value, call)


def unchecked_attention_record(
    xp: Namespace, query: Array, key: Array, value: Array, call: Call
) -> AttentionRecord:
    """Do what :func:`attention_record` does, without its checks."""
    output: Any = attend(xp, query, key, value, call)
    if _on_cores(xp, query, key, value, call):
        given = _gather(query, key, value, call)
        largest, total = backward.row_sums(given, call.threads)
        if query.ndim == 2:
            largest, total = largest[0], total[0]
        return AttentionRecord(output, largest, total)
    parts = [
        _row_sums(xp, query[..., as_slice(rows), :], key, call, rows) for rows in _blocks(xp, call)
    ]
    largest, total = (xp.concat(column, axis=-2) for column in zip(*parts, strict=True))
    return AttentionRecord(output, largest, total)


def attention_backward(
    d_output: Array,
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    *,
    is_causal: bool = False,
    query_offset: int | Array = 0,
    window: tuple[int, int] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    implementation: Implementation | None = None,
    threads: int | None = None,
    saved: AttentionRecord | tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array]:
    r"""Go back through :func:`companion.scaled_dot_product_attention`.

    With weights P and output O of a head: :math:`dV = P^{\mathsf T} dO`,
    :math:`dP = dO\,V^{\mathsf T}`, :math:`dS = P \odot (dP - D)` where D is the product of each row
    of O with its row of dO, :math:`dQ = c\,dS\,K` and :math:`dK = c\,dS^{\mathsf T} Q`:
    :eq:`eq-attention-backward`, with D by :prf:ref:`thm-tiled-backward`. What a mask hides gets
    gradient 0: :prf:ref:`prop-mask-backward`. None is made for a mask; of one that is added it
    would be dS.

    Parameters
    ----------
    d_output : array, shape (T, d_v) or (..., H, T, d_v)
        Gradient with respect to the forward's output.
    query, key, value, attn_mask, is_causal, query_offset, window, scale, softcap
        What the forward took. Key and value heads that are shared sum over their group.
    implementation : {"textbook", "tiled"}, optional
        ``"textbook"`` forms all weights, ``"tiled"`` a tile of them at a time: its memory grows
        with T and S but not with T·S. None chooses as the forward does.
    threads : int, optional
        As in the forward.
    saved : AttentionRecord, optional
        What :func:`attention_record` kept; without it the row sums are made again.

    Returns
    -------
    d_query, d_key, d_value : arrays, shaped like query, key and value
        In their dtype; float16 is computed in float32.

    Raises
    ------
    TypeError, ValueError
        As the forward says, and if `d_output` or `saved` does not fit it in shape and dtype.

    References
    ----------
    Dao et al., *FlashAttention*, 2022, appendix B.
    """
    options = (window, scale, softcap, False, implementation, threads)
    xp, call = check_attention(query, key, value, attn_mask, is_causal, query_offset, *options)
    require_library(xp, "query", d_output=d_output)
    require_same_dtype(query=query, d_output=d_output)
    shape = (*call.shape[:-1], value.shape[-1])
    check_gradient(d_output, shape)
    if saved is not None:
        saved = _checked_record(xp, saved, shape, query)
    return unchecked_attention_backward(xp, d_output, query, key, value, call, saved)


def _checked_record(
    xp: Namespace, saved: Any, shape: tuple[int, ...], query: Array
) -> AttentionRecord:
    if not isinstance(saved, tuple) or len(saved) != 3:
        raise TypeError(
            f"saved must be (output, maximum, total) or None, got {type(saved).__name__}"
        )
    record, rows = AttentionRecord(*saved), (*shape[:-1], 1)
    for (name, array), wanted in zip(record._asdict().items(), (shape, rows, rows), strict=True):
        require_library(xp, "query", **{f"saved.{name}": array})
        if array.shape != wanted:
            raise ValueError(f"{name} of saved must have shape {wanted}, got {array.shape}")
        dtype = query.dtype if name == "output" else computing_dtype(xp, query.dtype)
        if array.dtype != dtype:
            raise TypeError(f"{name} of saved must be {dtype}, got {array.dtype}")
    return record


def unchecked_attention_backward(
    xp: Namespace,
    d_output: Array,
    query: Array,
    key: Array,
    value: Array,
    call: Call,
    saved: AttentionRecord | None,
) -> tuple[Array, Array, Array]:
    """Do what :func:`attention_backward` does, without its checks."""
    if _on_cores(xp, query, key, value, call):
        return _tiled(d_output, query, key, value, call, saved)
    d_wide, rows_of_query = widen(xp, d_output), widen(xp, query)
    key_in, value_in = widen(xp, key), widen(xp, value)
    d_queries, d_key, d_value = [], xp.zeros_like(key_in), xp.zeros_like(value_in)
    for rows in _blocks(xp, call):
        span = as_slice(rows)
        record = None
        if saved is not None:
            record = AttentionRecord(*(widen(xp, array)[..., span, :] for array in saved))
        some = d_wide[..., span, :], rows_of_query[..., span, :]
        parts = _textbook(xp, *some, key_in, value_in, call, rows, record)
        d_queries.append(parts[0])
        d_key, d_value = d_key + parts[1], d_value + parts[2]
    d_query = d_queries[0] if len(d_queries) == 1 else xp.concat(d_queries, axis=-2)
    return (
        cast(xp, d_query, query.dtype),
        cast(xp, d_key, key.dtype),
        cast(xp, d_value, value.dtype),
    )


def _on_cores(xp: Namespace, query: Array, key: Array, value: Array, call: Call) -> bool:
    """Say whether NumPy's loops over tiles do it: they know the bits of these floats alone."""
    known = (np.float32, np.float64)
    return (
        is_tiled(xp, call)
        and array_api_compat.is_numpy_namespace(xp)
        and computing_dtype(xp, query.dtype) in known
        and 0 not in (*query.shape, *key.shape, *value.shape)
    )


def _gather(query: Any, key: Any, value: Any, call: Call) -> backward.Given:
    arrays = (query, key, value)
    return backward.gather(*arrays, call.attn_mask, call.reach, call.scale, call.softcap)


def _tiled(
    d_output: Any, query: Any, key: Any, value: Any, call: Call, saved: Any
) -> tuple[Any, Any, Any]:
    given = _gather(query, key, value, call)
    if saved is None:
        output, largest, total = backward.attend_again(given, call.threads)
        if query.ndim == 2:
            output, largest, total = output[0], largest[0], total[0]
    else:
        output, largest, total = saved
    dtype = given.query.dtype
    d_wide, output = (np.asarray(array, dtype) for array in (d_output, output))
    shared = np.sum(d_wide * output, axis=-1, keepdims=True)
    largest, total = (np.asarray(array, dtype) for array in (largest, total))
    if query.ndim == 2:
        d_wide, shared, largest, total = (
            np.reshape(array, (1, *array.shape[-2:])) for array in (d_wide, shared, largest, total)
        )
    made = backward.gradients(given, d_wide, shared, largest, total, call.threads)
    d_query, d_key, d_value = (
        cast(NUMPY, summed_to(NUMPY, part[0] if query.ndim == 2 else part, like.shape), like.dtype)
        for part, like in zip(made, (query, key, value), strict=True)
    )
    return d_query, d_key, d_value


def _blocks(xp: Namespace, call: Call) -> list[range]:
    """Cut the queries into blocks whose scores are held at once; the textbook form has one."""
    count = step = call.shape[-2]
    if is_tiled(xp, call):
        step = SCORES // max(1, math.prod(call.shape) // max(count, 1))
    step = max(1, step)
    return [range(start, min(start + step, count)) for start in range(0, max(count, 1), step)]


def _scores(
    xp: Namespace, query: Array, key: Array, call: Call, rows: range
) -> tuple[Array, Array]:
    """Return the scores of some rows before the cap and the masks, and what the softmax takes."""
    length, heads_and_rows = key.shape[-2], query.shape[-3:-1]
    masks = [] if call.attn_mask is None else [mask_part(call.attn_mask, rows, range(length))]
    masks += call.reach.masks(xp, array_api_compat.device(query), rows, range(length))
    scores = unchecked_scaled_scores(xp, group(xp, query, key), key, call.scale)
    scores = ungroup(xp, scores, heads_and_rows)
    shape = broadcast_shape(scores.shape, *(mask.shape for mask in masks))
    scores = xp.broadcast_to(scores, shape)
    return scores, capped_and_masked(xp, scores, masks, call.softcap)


def _row_sums(
    xp: Namespace, query: Array, key: Array, call: Call, rows: range
) -> tuple[Array, Array]:
    """Return each row's largest score and its sum of exponentials below it."""
    _, scores = _scores(xp, widen(xp, query), widen(xp, key), call, rows)
    if scores.shape[-1] == 0:
        empty = xp.zeros((*scores.shape[:-1], 1), dtype=scores.dtype)
        return empty - xp.inf, empty
    largest = xp.max(scores, axis=-1, keepdims=True)
    finite = xp.where(largest == -xp.inf, xp.zeros_like(largest), largest)
    return largest, xp.sum(powers_below(xp, scores, finite), axis=-1, keepdims=True)


def _textbook(
    xp: Namespace,
    d_output: Array,
    query: Array,
    key: Array,
    value: Array,
    call: Call,
    rows: range,
    saved: AttentionRecord | None,
) -> tuple[Array, Array, Array]:
    """Follow the equations for some rows, with all their weights in memory at once."""
    plain, scores = _scores(xp, query, key, call, rows)
    if saved is None:
        weights = unchecked_softmax(xp, scores, -1)
    else:
        top = xp.where(saved.maximum == -xp.inf, xp.zeros_like(saved.maximum), saved.maximum)
        weights = powers_below(xp, scores, top) / xp.maximum(saved.total, 0.5)
    shape = broadcast_shape(weights.shape[:-2], d_output.shape[:-2])
    heads_and_rows = query.shape[-3:-1]
    d_rows = group(xp, d_output, value)  # (..., H_kv, H/H_kv · T, d_v)
    d_weights = ungroup(xp, d_rows @ value.mT, heads_and_rows)  # (..., H, T, S)
    d_value = group(xp, xp.broadcast_to(weights, (*shape, *weights.shape[-2:])), value).mT @ d_rows
    shared = xp.sum(weights * d_weights, axis=-1, keepdims=True)
    # A hidden key has weight 0 and gets 0, though a value that is not finite spoils its row's rest.
    d_scores = xp.where(weights == 0, xp.zeros_like(weights), weights * (d_weights - shared))
    if call.softcap is not None:
        d_scores = unchecked_soft_cap_backward(
            xp, d_scores, xp.broadcast_to(plain, d_scores.shape), call.softcap
        )
    d_products = group(xp, d_scores * call.scale, key)
    d_query = ungroup(xp, d_products @ key, heads_and_rows)
    d_key = d_products.mT @ group(xp, query, key)
    return (
        summed_to(xp, d_query, query.shape),
        summed_to(xp, d_key, key.shape),
        summed_to(xp, d_value, value.shape),
    )
