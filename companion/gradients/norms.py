"""Backwards through the norms."""

from typing import Any

from companion.arrays import Array, Namespace, array_namespace, cast, require_same_dtype, widen
from companion.gradients.sums import check_gradient, summed_to
from companion.norms import check_norm, within_range

__all__ = ["layer_norm_backward", "rms_norm_backward"]


def layer_norm_backward(
    d_output: Array, x: Array, weight: Array, bias: Array | None = None, *, eps: float = 1e-5
) -> tuple[Array, Array, Array | None]:
    r"""Go back through :func:`companion.layer_norm`.

    By :prf:ref:`prop-norm-backward`.

    With the normed row :math:`n`, :math:`g = w \odot dy`, m the mean over a row and r the root that
    the row was divided by, :math:`r\,dx = g - m(g) - n\,m(g \odot n)`. What a norm takes out
    of a row, its gradient does not put back: it is orthogonal to the ones, and, but for ε, to the
    row.

    Parameters
    ----------
    d_output : array, shape (..., d)
    x : array, shape (..., d)
    weight : array, shape (d,)
    bias : array, shape (d,), optional
    eps : float
        As in the forward.

    Returns
    -------
    d_x, d_weight, d_bias : arrays, shaped like x, weight and bias; None without a bias

    Raises
    ------
    TypeError
        If an argument is not floating or the dtypes differ.
    ValueError
        If the shapes do not match or `eps` is negative.
    """
    xp = array_namespace(d_output=d_output, x=x, weight=weight, bias=bias)
    check_norm(xp, x, weight, bias, eps)
    require_same_dtype(x=x, d_output=d_output)
    check_gradient(d_output, x.shape)
    return unchecked_layer_norm_backward(xp, d_output, x, weight, bias, eps)


def unchecked_layer_norm_backward(
    xp: Namespace, d_output: Array, x: Array, weight: Array, bias: Array | None, eps: Any
) -> tuple[Array, Array, Array | None]:
    """Do what :func:`layer_norm_backward` does, without its checks."""
    d_wide = widen(xp, d_output)
    rows, eps, unit = within_range(xp, widen(xp, x), eps)
    centred = rows - xp.mean(rows, axis=-1, keepdims=True)
    root = xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + eps)
    normed = centred / root
    scaled = d_wide * widen(xp, weight)
    along = xp.mean(scaled * normed, axis=-1, keepdims=True)
    d_x = (scaled - xp.mean(scaled, axis=-1, keepdims=True) - normed * along) / root / unit
    d_weight = cast(xp, summed_to(xp, d_wide * normed, weight.shape), weight.dtype)
    d_bias = None
    if bias is not None:
        d_bias = cast(xp, summed_to(xp, d_wide, bias.shape), bias.dtype)
    return cast(xp, d_x, x.dtype), d_weight, d_bias


def rms_norm_backward(
    d_output: Array, x: Array, weight: Array, *, eps: float = 1e-6
) -> tuple[Array, Array]:
    r"""Go back through :func:`companion.rms_norm`.

    By :prf:ref:`prop-norm-backward`.

    As :func:`layer_norm_backward`, but that no mean is taken away:
    :math:`r\,dx = g - n\,m(g \odot n)`, with r the root of the mean square.

    Parameters
    ----------
    d_output : array, shape (..., d)
    x : array, shape (..., d)
    weight : array, shape (d,)
    eps : float
        As in the forward.

    Returns
    -------
    d_x, d_weight : arrays, shaped like x and weight

    Raises
    ------
    TypeError
        If an argument is not floating or the dtypes differ.
    ValueError
        If the shapes do not match or `eps` is negative.
    """
    xp = array_namespace(d_output=d_output, x=x, weight=weight)
    check_norm(xp, x, weight, None, eps)
    require_same_dtype(x=x, d_output=d_output)
    check_gradient(d_output, x.shape)
    return unchecked_rms_norm_backward(xp, d_output, x, weight, eps)


def unchecked_rms_norm_backward(
    xp: Namespace, d_output: Array, x: Array, weight: Array, eps: Any
) -> tuple[Array, Array]:
    """Do what :func:`rms_norm_backward` does, without its checks."""
    d_wide = widen(xp, d_output)
    rows, eps, unit = within_range(xp, widen(xp, x), eps)
    root = xp.sqrt(xp.mean(rows * rows, axis=-1, keepdims=True) + eps)
    normed = rows / root
    scaled = d_wide * widen(xp, weight)
    d_x = (scaled - normed * xp.mean(scaled * normed, axis=-1, keepdims=True)) / root / unit
    d_weight = summed_to(xp, d_wide * normed, weight.shape)
    return cast(xp, d_x, x.dtype), cast(xp, d_weight, weight.dtype)
