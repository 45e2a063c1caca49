"""From scores to weights, and from weights to a mixture of values."""

from numbers import Integral

import array_api_compat

from companion.arrays import (
    Array,
    Namespace,
    array_namespace,
    cast,
    require_floating,
    require_same_dtype,
    widen,
)
from companion.libraries import largest_float

__all__ = ["hardmax", "logsumexp", "softmax", "softmax_jacobian", "weighted_values"]


def softmax(scores: Array, *, axis: int = -1) -> Array:
    """Turn scores into positive weights that sum to one (:eq:`eq-softmax`).

    Parameters
    ----------
    scores : array, any shape with at least one axis
        −∞ is allowed and gets weight 0.
    axis : int
        The axis that sums to one.

    Returns
    -------
    array
        Same shape and dtype; float16 is computed in float32. Where all scores are −∞ all weights
        are 0. A score of +∞ or NaN makes its weights NaN.

    Raises
    ------
    TypeError
        If `scores` is not floating.
    ValueError
        If `axis` is no axis of `scores`.
    """
    xp = array_namespace(scores=scores)
    check_axis(xp, scores, axis)
    return unchecked_softmax(xp, scores, axis)


def unchecked_softmax(xp: Namespace, scores: Array, axis: int) -> Array:
    """Do what :func:`softmax` does, without its checks."""
    if scores.shape[axis] == 0:
        return scores
    powers, total, _ = exponentials(xp, scores, axis)
    # The largest score adds exp(0) = 1 to the total, so what is less than 1/2 is an empty row's 0.
    weights = powers / xp.maximum(total, 0.5)
    return cast(xp, weights, scores.dtype)


def logsumexp(scores: Array, *, axis: int = -1) -> Array:
    """Compute ``log(sum(exp(scores)))`` along an axis without overflow (:eq:`eq-logsumexp`).

    Parameters
    ----------
    scores : array, any shape with at least one axis
    axis : int
        The axis that is summed over; it must not be empty.

    Returns
    -------
    array
        The shape of `scores` without `axis`, in its dtype; −∞ where all scores are −∞.

    Raises
    ------
    TypeError
        If `scores` is not floating.
    ValueError
        If `axis` is no axis of `scores` or is empty.
    """
    xp = array_namespace(scores=scores)
    check_axis(xp, scores, axis)
    if scores.shape[axis] == 0:
        raise ValueError(f"scores must not be empty along axis {axis}, got shape {scores.shape}")
    _, total, top = exponentials(xp, scores, axis)
    logs = xp.log(xp.maximum(total, 0.5)) + top
    logs = xp.where(total == 0, xp.full_like(logs, -xp.inf), logs)
    return cast(xp, xp.squeeze(logs, axis=axis), scores.dtype)


def exponentials(xp: Namespace, scores: Array, axis: int) -> tuple[Array, Array, Array]:
    """Return exp(scores − top), its sum, and the finite number `top`, with `axis` kept."""
    scores = widen(xp, scores)
    largest = largest_float(xp, scores.dtype)
    top = xp.maximum(xp.max(scores, axis=axis, keepdims=True), -largest)  # −∞ − −∞ would be NaN
    powers = powers_below(xp, scores, top)
    return powers, xp.sum(powers, axis=axis, keepdims=True), top


def powers_below(xp: Namespace, scores: Array, top: Array) -> Array:
    """Return exp(scores − top) for scores that are at most the number `top`, or −∞."""
    largest = largest_float(xp, scores.dtype)
    # A score very far below the top counts as if it were just half the largest float below: its
    # exponential is 0 either way, and the difference of two finite scores does not overflow.
    # Below a negative top no difference does, and there the floor is −∞.
    floor = xp.minimum(xp.abs(top) - largest / 2, xp.copysign(xp.inf, top))
    return xp.exp(xp.maximum(scores, floor) - top)


def softmax_jacobian(weights: Array) -> Array:
    """Return the derivative of every weight by every score (:eq:`eq-softmax-jacobian`).

    Parameters
    ----------
    weights : array, shape (..., n)
        The softmax of n scores.

    Returns
    -------
    array, shape (..., n, n)
        Entry (i, j) is ∂wᵢ/∂sⱼ = wᵢ (δᵢⱼ − wⱼ), symmetric, with rows that sum to zero.

    Raises
    ------
    TypeError
        If `weights` is not floating.
    ValueError
        If `weights` has no axis.
    """
    xp = array_namespace(weights=weights)
    check_axis(xp, weights, -1)
    wide = widen(xp, weights)
    identity = xp.eye(wide.shape[-1], dtype=wide.dtype, device=array_api_compat.device(wide))
    jacobian = wide[..., :, None] * (identity - wide[..., None, :])
    return cast(xp, jacobian, weights.dtype)


def hardmax(scores: Array, *, axis: int = -1) -> Array:
    """Share all weight equally among the largest scores (:prf:ref:`prop-soft-lookup-limit`).

    It is what ``softmax(beta * scores)`` tends to as beta grows: the hard look-up.

    Parameters
    ----------
    scores : array, any shape with at least one axis
    axis : int
        The axis that sums to one.

    Returns
    -------
    array
        Same shape and dtype; 0 everywhere where all scores are −∞.

    Raises
    ------
    TypeError
        If `scores` is not floating.
    ValueError
        If `axis` is no axis of `scores`.
    """
    xp = array_namespace(scores=scores)
    check_axis(xp, scores, axis)
    if scores.shape[axis] == 0:
        return scores
    wide = widen(xp, scores)
    top = xp.max(wide, axis=axis, keepdims=True)
    weights = unchecked_softmax(xp, xp.where(wide < top, -xp.inf, wide), axis)
    return cast(xp, weights, scores.dtype)


def weighted_values(weights: Array, value: Array) -> Array:
    """Mix the value rows with the weights (:eq:`eq-weighted-values`).

    Parameters
    ----------
    weights : array, shape (..., T, S)
        Rows of weights that are not negative and sum to one (or are all 0).
    value : array, shape (..., S, d_v)
        Leading axes broadcast.

    Returns
    -------
    array, shape (..., T, d_v)
        Row i is the sum of ``weights[i, j] * value[j]``, in the arguments' dtype; float16 is
        computed in float32. A value row that is not finite reaches every output row, also those
        that give it weight 0, because 0 · ∞ is NaN.

    Raises
    ------
    TypeError
        If an argument is not floating or the dtypes differ.
    ValueError
        If the shapes do not match.
    """
    xp = array_namespace(weights=weights, value=value)
    check_mixture(xp, weights, value)
    return unchecked_weighted_values(xp, weights, value)


def check_mixture(xp: Namespace, weights: Array, value: Array) -> None:
    """Raise unless `weights` (..., T, S) can mix the rows of `value` (..., S, d_v)."""
    require_floating(xp, weights=weights, value=value)
    require_same_dtype(weights=weights, value=value)
    if weights.ndim < 2:
        raise ValueError(f"weights must be (..., T, S), got shape {weights.shape}")
    if value.ndim < 2 or value.shape[-2] != weights.shape[-1]:
        raise ValueError(
            f"value must be (..., S={weights.shape[-1]}, d_v) to match weights {weights.shape}, "
            f"got {value.shape}"
        )


def unchecked_weighted_values(xp: Namespace, weights: Array, value: Array) -> Array:
    """Do what :func:`weighted_values` does, without its checks."""
    value_in = widen(xp, value)
    mixed = widen(xp, weights) @ value_in
    # A mixture is no longer than its longest part: rounding alone takes it past the largest float.
    limit = largest_float(xp, value_in.dtype)
    finite = xp.all(xp.isfinite(value_in), axis=-2, keepdims=True)
    mixed = xp.where(finite, xp.minimum(xp.maximum(mixed, -limit), limit), mixed)
    return cast(xp, mixed, value.dtype)


def check_axis(xp: Namespace, scores: Array, axis: int) -> None:
    """Raise unless `scores` are floating and have this axis."""
    require_floating(xp, scores=scores)
    if not isinstance(axis, Integral) or not -scores.ndim <= axis < scores.ndim:
        raise ValueError(
            f"axis must be one of the {scores.ndim} axes of scores {scores.shape}, got {axis!r}"
        )
