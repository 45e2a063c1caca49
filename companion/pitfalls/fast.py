"""Broken variants of the part on speed: costs, devices and tiles."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from companion.arrays import Array, array_namespace, to_numpy
from companion.attention import scaled_dot_product_attention
from companion.cost import Cost
from companion.kernels.online_softmax import SoftmaxState, softmax_state, state_output
from companion.pitfalls.one_head import causal_like
from companion.scores import scaled_scores
from companion.softmax import softmax

__all__ = [
    "attention_averaged_over_blocks",
    "attention_bounded_by_all_keys",
    "attention_windowed_by_mask",
    "embed_with_wrapped_ids",
    "least_time_by_flops",
    "merge_without_rescaling",
    "scores_scaled_by_numpy",
    "softmax_through_the_host",
    "time_of_first_call",
]


def embed_with_wrapped_ids(ids: Array, table: Array) -> Array:
    """Look up rows as CuPy does, which wraps an id that is out of range around without a word.

    Right: :func:`companion.embed`.
    """
    xp = array_namespace(ids=ids, table=table)
    return xp.take(table, ids % table.shape[0], axis=0)


def scores_scaled_by_numpy(query: Array, key: Array) -> Array:
    """Divide by NumPy's √d_k, a float64 number that turns float32 scores into float64 ones.

    Right: :func:`companion.scaled_scores`.
    """
    array_namespace(query=query, key=key)
    scores: Array = query @ key.mT / np.sqrt(query.shape[-1])
    return scores


def softmax_through_the_host(scores: Array) -> Array:
    """Compute on the host and send the result to whichever device is the default one.

    Right: :func:`companion.softmax`, which stays where its scores are.
    """
    xp = array_namespace(scores=scores)
    return xp.asarray(softmax(to_numpy(scores)))


def attention_windowed_by_mask(query: Array, key: Array, value: Array, *, left: int) -> Array:
    """Compute every score of a causal window's attention, then hide those outside the window.

    The numbers are right and the price is that of no window. Right: compare no query with keys
    that its window hides, as slices or tiles do.
    """
    return scaled_dot_product_attention(
        query, key, value, is_causal=True, window=(left, 0), implementation="textbook"
    )


def least_time_by_flops(cost: Cost, *, flop_rate: float, bandwidth: float) -> float:
    """Count the operations and forget that their operands have to come from somewhere.

    Right: :func:`companion.cost.least_time`.
    """
    del bandwidth
    return cost.flops / flop_rate


def time_of_first_call(function: Callable[[], Any], *, clock: Callable[[], float]) -> float:
    """Time one call and take it for all of them, although the first also loads and allocates.

    Right: call it untimed first, then take the median of several.
    """
    start = clock()
    function()
    return clock() - start


def merge_without_rescaling(first: SoftmaxState, second: SoftmaxState) -> SoftmaxState:
    """Add totals and weighted values although each was taken below a maximum of its own.

    Right: :func:`companion.merge_states`.
    """
    xp = array_namespace(first=first.maximum, second=second.maximum)
    maximum = xp.maximum(first.maximum, second.maximum)
    return SoftmaxState(maximum, first.total + second.total, first.weighted + second.weighted)


def attention_averaged_over_blocks(
    query: Array, key: Array, value: Array, *, block_size: int
) -> Array:
    """Compute attention within each block of keys, and average the outputs.

    Every block then has the same say, however well its keys fit. Right:
    :func:`companion.online_attention`, which divides once, at the end.
    """
    array_namespace(query=query, key=key, value=value)
    outputs = []
    for start in range(0, key.shape[-2], block_size):
        keys = slice(start, min(start + block_size, key.shape[-2]))
        scores = scaled_scores(query, key[..., keys, :])
        outputs.append(state_output(softmax_state(scores, value[..., keys, :])))
    return cast(Array, sum(outputs) / len(outputs))  # not the 0 that an empty sum is


def attention_bounded_by_all_keys(query: Array, key: Array, value: Array) -> Array:
    """Shift the scores of causal attention by a bound over all keys, and trust it.

    Later keys thus change the last bits of earlier rows, or take all their exponentials to 0, and
    a norm may overflow. Right: :func:`companion.scaled_dot_product_attention`, where a row's bound
    comes from the keys it sees, and a row whose bound is too loose is computed without it.
    """
    xp = array_namespace(query=query, key=key, value=value)
    norms = [xp.sqrt(xp.sum(rows * rows, axis=-1, keepdims=True)) for rows in (query, key)]
    bound = norms[0] * xp.max(norms[1], axis=-2, keepdims=True) * query.shape[-1] ** -0.5
    scores = scaled_scores(query, key) - bound
    powers = xp.where(causal_like(xp, scores), xp.exp(scores), xp.zeros_like(scores))
    return powers @ value / xp.sum(powers, axis=-1, keepdims=True)
