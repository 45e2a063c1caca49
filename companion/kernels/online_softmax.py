"""The softmax in one pass: a small state for each query, and how two of them become one."""

from numbers import Integral
from typing import NamedTuple

from companion.arrays import (
    Array,
    Namespace,
    array_namespace,
    broadcast_shape,
    cast,
    require_floating,
    require_same_dtype,
    widen,
)
from companion.kernels.reach import as_slice, mask_part
from companion.masks import check_mask, unchecked_mask_scores
from companion.scores import check_rows, check_scale, unchecked_scaled_scores
from companion.softmax import powers_below

__all__ = [
    "SoftmaxState",
    "empty_state",
    "merge_states",
    "online_attention",
    "softmax_state",
    "state_output",
]


class SoftmaxState(NamedTuple):
    """All that a query has to remember of the keys it has seen (:eq:`eq-softmax-state`).

    Attributes
    ----------
    maximum : array, shape (..., T, 1)
        The largest score, −∞ where no key was seen.
    total : array, shape (..., T, 1)
        The sum of ``exp(score - maximum)``.
    weighted : array, shape (..., T, d_v)
        The sum of ``exp(score - maximum) * value``.
    """

    maximum: Array
    total: Array
    weighted: Array


def softmax_state(scores: Array, value: Array) -> SoftmaxState:
    """Sum up one block of keys (:eq:`eq-softmax-state`).

    Parameters
    ----------
    scores : array, shape (..., T, S)
        −∞ hides a key.
    value : array, shape (..., S, d_v)

    Returns
    -------
    SoftmaxState
        In the arguments' dtype, and in float32 for 16 bits, in which the sum over many keys would
        leave the range.

    Raises
    ------
    TypeError
        If an argument is not floating or the dtypes differ.
    ValueError
        If the shapes do not match, or there is no key.
    """
    xp = array_namespace(scores=scores, value=value)
    require_floating(xp, scores=scores, value=value)
    require_same_dtype(scores=scores, value=value)
    if scores.ndim < 2 or scores.shape[-1] == 0:
        raise ValueError(f"scores must be (..., T, S) with S of at least 1, got {scores.shape}")
    if value.ndim < 2 or value.shape[-2] != scores.shape[-1]:
        raise ValueError(
            f"value must be (..., S={scores.shape[-1]}, d_v) to match scores {scores.shape}, "
            f"got {value.shape}"
        )
    return unchecked_softmax_state(xp, scores, value)


def unchecked_softmax_state(xp: Namespace, scores: Array, value: Array) -> SoftmaxState:
    """Do what :func:`softmax_state` does, without its checks."""
    scores = widen(xp, scores)
    maximum = xp.max(scores, axis=-1, keepdims=True)
    powers = powers_below(xp, scores, _finite(xp, maximum))  # (..., T, S)
    total = xp.sum(powers, axis=-1, keepdims=True)
    return SoftmaxState(maximum, total, powers @ widen(xp, value))


def empty_state(like: SoftmaxState) -> SoftmaxState:
    """Return the state of no keys, the identity of :func:`merge_states`, shaped like another."""
    _check_states(like=like)
    xp = array_namespace(maximum=like.maximum)
    return SoftmaxState(
        xp.full_like(like.maximum, -xp.inf), xp.zeros_like(like.total), xp.zeros_like(like.weighted)
    )


def merge_states(first: SoftmaxState, second: SoftmaxState) -> SoftmaxState:
    """Join what was seen of two sets of keys (:eq:`eq-softmax-merge`).

    In exact arithmetic the grouping of merges does not matter (:prf:ref:`thm-softmax-merge`).

    Parameters
    ----------
    first, second : SoftmaxState
        Of the same queries and of keys that do not overlap.

    Returns
    -------
    SoftmaxState

    Raises
    ------
    TypeError
        If an argument is no state, or their arrays come from different libraries.
    ValueError
        If their shapes differ.

    References
    ----------
    Milakov and Gimelshein, *Online normalizer calculation for softmax*, 2018.
    """
    _check_states(first=first, second=second)
    xp = array_namespace(first=first.maximum, second=second.maximum)
    if first.weighted.shape != second.weighted.shape:
        raise ValueError(
            f"second must have the shape of first, {first.weighted.shape}, "
            f"got {second.weighted.shape}"
        )
    return unchecked_merge_states(xp, first, second)


def unchecked_merge_states(
    xp: Namespace, first: SoftmaxState, second: SoftmaxState
) -> SoftmaxState:
    """Do what :func:`merge_states` does, without its checks."""
    first, second = (SoftmaxState(*(widen(xp, x) for x in state)) for state in (first, second))
    maximum = xp.maximum(first.maximum, second.maximum)
    shrink_first = powers_below(xp, first.maximum, _finite(xp, maximum))
    shrink_second = powers_below(xp, second.maximum, _finite(xp, maximum))
    return SoftmaxState(
        maximum,
        first.total * shrink_first + second.total * shrink_second,
        first.weighted * shrink_first + second.weighted * shrink_second,
    )


def _check_states(**states: object) -> None:
    for name, state in states.items():
        if not isinstance(state, SoftmaxState):
            raise TypeError(f"{name} must be a SoftmaxState, got {type(state).__name__}")


def _finite(xp: Namespace, maximum: Array) -> Array:
    """Put 0 for −∞, so that no ∞ − ∞ arises where no key was seen."""
    return xp.where(maximum == -xp.inf, xp.zeros_like(maximum), maximum)


def state_output(state: SoftmaxState) -> Array:
    """Divide the weighted values by the total: attention's output (..., T, d_v), 0 for no key.

    In the dtype of the state: float32 for what began in 16 bits.
    """
    _check_states(state=state)
    xp = array_namespace(total=state.total)
    return unchecked_state_output(xp, state)


def unchecked_state_output(xp: Namespace, state: SoftmaxState) -> Array:
    """Do what :func:`state_output` does, without its checks."""
    total = widen(xp, state.total)
    return widen(xp, state.weighted) / xp.where(total == 0, xp.ones_like(total), total)


def online_attention(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    *,
    block_size: int = 128,
    scale: float | None = None,
) -> Array:
    """Compute attention block of keys by block of keys, with no row of weights ever complete.

    Parameters
    ----------
    query : array, shape (..., T, d_k)
    key : array, shape (..., S, d_k)
    value : array, shape (..., S, d_v)
        Leading axes broadcast; S is at least 1.
    attn_mask : boolean or float array that broadcasts to (..., T, S), optional
        As in :func:`companion.scaled_dot_product_attention`.
    block_size : int
        Keys in a block; at least 1.
    scale : float, optional
        Factor of the products, 1/√d_k where it is left out.

    Returns
    -------
    array, shape (..., T, d_v)
        In the arguments' dtype; float16 is computed in float32 and rounded once.

    Raises
    ------
    TypeError
        If arrays come from different libraries, or a dtype or an option is of the wrong kind.
    ValueError
        If shapes do not match, there is no key, or an option is out of range.

    References
    ----------
    Rabe and Staats, *Self-attention does not need O(n²) memory*, 2021.
    """
    xp = array_namespace(query=query, key=key, value=value, attn_mask=attn_mask)
    require_floating(xp, query=query, key=key, value=value)
    require_same_dtype(query=query, key=key, value=value)
    if not isinstance(block_size, Integral) or isinstance(block_size, bool):
        raise TypeError(f"block_size must be an integer, got {type(block_size).__name__}")
    if block_size < 1:
        raise ValueError(f"block_size must be at least 1, got {block_size}")
    block_size = int(block_size)  # the sums below would leave the range of a narrow integer
    if key.ndim < 2 or key.shape[-2] == 0:
        raise ValueError(f"key must be (..., S, d_k) with S of at least 1, got {key.shape}")
    if value.ndim < 2 or value.shape[-2] != key.shape[-2]:
        raise ValueError(
            f"value must be (..., S={key.shape[-2]}, d_v) to match key {key.shape}, "
            f"got {value.shape}"
        )
    check_rows(xp, query, key)
    scale = check_scale(scale, query.shape[-1])
    if attn_mask is not None:
        batch = broadcast_shape(query.shape[:-2], key.shape[:-2])
        check_mask(xp, attn_mask, (*batch, query.shape[-2], key.shape[-2]), "mask")
    dtype, queries = query.dtype, range(query.shape[-2])
    query, key, value = widen(xp, query), widen(xp, key), widen(xp, value)
    state = None
    for start in range(0, key.shape[-2], block_size):
        keys = range(start, min(start + block_size, key.shape[-2]))
        span = as_slice(keys)
        scores = unchecked_scaled_scores(xp, query, key[..., span, :], scale)  # (..., T, block)
        if attn_mask is not None:
            scores = unchecked_mask_scores(xp, scores, mask_part(attn_mask, queries, keys))
        part = unchecked_softmax_state(xp, scores, value[..., span, :])
        state = part if state is None else unchecked_merge_states(xp, state, part)
    return cast(xp, unchecked_state_output(xp, state), dtype)
