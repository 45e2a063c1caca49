"""Backwards through scores, softmax and the mixture of values."""

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
from companion.gradients.sums import check_gradient, summed_to
from companion.scores import check_rows, check_scale, check_softcap
from companion.softmax import check_axis, check_mixture, unchecked_softmax

__all__ = [
    "scaled_scores_backward",
    "soft_cap_backward",
    "softmax_backward",
    "weighted_values_backward",
]


def scaled_scores_backward(
    d_scores: Array, query: Array, key: Array, *, scale: float | None = None
) -> tuple[Array, Array]:
    r"""Go back through :func:`companion.scaled_scores`.

    With :math:`S = c\,QK^{\mathsf T}`: :math:`dQ = c\,dS\,K` and :math:`dK = c\,dS^{\mathsf T} Q`,
    by :prf:ref:`thm-product-backward`.

    Parameters
    ----------
    d_scores : array, shape (..., T, S)
    query : array, shape (..., T, d_k)
    key : array, shape (..., S, d_k)
    scale : float, optional
        As in the forward.

    Returns
    -------
    d_query, d_key : arrays, shaped like query and key

    Raises
    ------
    TypeError
        If an argument is not floating, the dtypes differ, or `scale` is no number.
    ValueError
        If the shapes do not match, d_k is 0, or `scale` is not finite.
    """
    xp = array_namespace(d_scores=d_scores, query=query, key=key)
    check_rows(xp, query, key)
    require_same_dtype(query=query, d_scores=d_scores)
    batch = broadcast_shape(query.shape[:-2], key.shape[:-2])
    check_gradient(d_scores, (*batch, query.shape[-2], key.shape[-2]), "d_scores")
    scale = check_scale(scale, query.shape[-1])
    return unchecked_scaled_scores_backward(xp, d_scores, query, key, scale)


def unchecked_scaled_scores_backward(
    xp: Namespace, d_scores: Array, query: Array, key: Array, scale: float
) -> tuple[Array, Array]:
    """Do what :func:`scaled_scores_backward` does, without its checks."""
    scaled = widen(xp, d_scores) * scale
    d_query = summed_to(xp, scaled @ widen(xp, key), query.shape)
    d_key = summed_to(xp, scaled.mT @ widen(xp, query), key.shape)
    return cast(xp, d_query, query.dtype), cast(xp, d_key, key.dtype)


def soft_cap_backward(d_capped: Array, scores: Array, cap: float | None) -> Array:
    r"""Go back through :func:`companion.soft_cap`: the slope is 1 − tanh²(scores / cap).

    By :prf:ref:`prop-entry-backward`.

    Parameters
    ----------
    d_capped : array, shaped like scores
    scores : array, any shape
        What the forward took, not what it returned.
    cap : float or None

    Returns
    -------
    array, shaped like scores

    Raises
    ------
    TypeError
        If an argument is not floating, the dtypes differ, or `cap` is no number.
    ValueError
        If the shapes differ, or `cap` is negative or not finite.
    """
    xp = array_namespace(d_capped=d_capped, scores=scores)
    require_floating(xp, scores=scores)
    require_same_dtype(scores=scores, d_capped=d_capped)
    check_gradient(d_capped, scores.shape, "d_capped")
    return unchecked_soft_cap_backward(xp, d_capped, scores, check_softcap(cap))


def unchecked_soft_cap_backward(
    xp: Namespace, d_capped: Array, scores: Array, cap: float | None
) -> Array:
    """Do what :func:`soft_cap_backward` does, without its checks; 0 is no cap here, None is."""
    if cap is None:
        return d_capped
    wide = widen(xp, scores)
    # cosh⁻² keeps its digits where tanh is 1 to the last one, and overflows to 0.
    decay = xp.exp(-2 * xp.abs(xp.minimum(xp.maximum(wide, -64 * cap), 64 * cap) / cap))
    slope = 4 * decay / (1 + decay) ** 2
    return cast(xp, widen(xp, d_capped) * slope, scores.dtype)


def softmax_backward(d_weights: Array, scores: Array, *, axis: int = -1) -> Array:
    r"""Go back through :func:`companion.softmax` without its Jacobian.

    With weights p: :math:`dS = p \odot (dp - \langle p, dp \rangle)`, by
    :prf:ref:`thm-softmax-backward`. A score of −∞ has weight 0 and gets gradient 0
    (:prf:ref:`prop-mask-backward`), and each row of the result sums to 0.

    Parameters
    ----------
    d_weights : array, shaped like scores
    scores : array, any shape with at least one axis
    axis : int
        As in the forward.

    Returns
    -------
    array, shaped like scores

    Raises
    ------
    TypeError
        If an argument is not floating or the dtypes differ.
    ValueError
        If the shapes differ or `axis` is no axis of `scores`.
    """
    xp = array_namespace(d_weights=d_weights, scores=scores)
    check_axis(xp, scores, axis)
    require_same_dtype(scores=scores, d_weights=d_weights)
    check_gradient(d_weights, scores.shape, "d_weights")
    return unchecked_softmax_backward(xp, d_weights, scores, axis)


def unchecked_softmax_backward(xp: Namespace, d_weights: Array, scores: Array, axis: int) -> Array:
    """Do what :func:`softmax_backward` does, without its checks."""
    weights = unchecked_softmax(xp, widen(xp, scores), axis)
    return cast(xp, from_weights(xp, widen(xp, d_weights), weights, axis), scores.dtype)


def from_weights(xp: Namespace, d_weights: Array, weights: Array, axis: int = -1) -> Array:
    """Return the scores' gradient where the weights are known."""
    shared = xp.sum(d_weights * weights, axis=axis, keepdims=True)
    return weights * (d_weights - shared)


def weighted_values_backward(d_output: Array, weights: Array, value: Array) -> tuple[Array, Array]:
    r"""Go back through :func:`companion.weighted_values`.

    With :math:`O = PV`: :math:`dP = dO\,V^{\mathsf T}` and :math:`dV = P^{\mathsf T} dO`, by
    :prf:ref:`thm-product-backward`.

    Parameters
    ----------
    d_output : array, shape (..., T, d_v)
    weights : array, shape (..., T, S)
    value : array, shape (..., S, d_v)

    Returns
    -------
    d_weights, d_value : arrays, shaped like weights and value

    Raises
    ------
    TypeError
        If an argument is not floating or the dtypes differ.
    ValueError
        If the shapes do not match.
    """
    xp = array_namespace(d_output=d_output, weights=weights, value=value)
    check_mixture(xp, weights, value)
    require_same_dtype(value=value, d_output=d_output)
    batch = broadcast_shape(weights.shape[:-2], value.shape[:-2])
    check_gradient(d_output, (*batch, weights.shape[-2], value.shape[-1]))
    return unchecked_weighted_values_backward(xp, d_output, weights, value)


def unchecked_weighted_values_backward(
    xp: Namespace, d_output: Array, weights: Array, value: Array
) -> tuple[Array, Array]:
    """Do what :func:`weighted_values_backward` does, without its checks."""
    d_wide = widen(xp, d_output)
    d_weights = summed_to(xp, d_wide @ widen(xp, value).mT, weights.shape)
    d_value = summed_to(xp, widen(xp, weights).mT @ d_wide, value.shape)
    return cast(xp, d_weights, weights.dtype), cast(xp, d_value, value.dtype)
