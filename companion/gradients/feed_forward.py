"""Backwards through the activations and the feed-forward networks."""

import math
from collections.abc import Callable
from typing import get_args

from companion.arrays import (
    Array,
    Namespace,
    array_namespace,
    cast,
    require_floating,
    require_same_dtype,
    widen,
)
from companion.feed_forward import (
    Approximation,
    FeedForwardParameters,
    GatedFeedForwardParameters,
    check_activation,
    gelu,
    relu,
    sigmoid,
    silu,
    unchecked_gelu,
    unchecked_relu,
    unchecked_silu,
)
from companion.gradients.projections import unchecked_project_backward
from companion.gradients.sums import check_gradient
from companion.libraries import complementary_error
from companion.projections import check_projection, unchecked_project

__all__ = [
    "feed_forward_backward",
    "gated_feed_forward_backward",
    "gelu_backward",
    "relu_backward",
    "silu_backward",
]


def relu_backward(d_output: Array, x: Array) -> Array:
    """Go back through :func:`companion.relu`: what was positive passes, and 0 where x is 0.

    By :prf:ref:`prop-entry-backward`.

    Parameters
    ----------
    d_output, x : arrays of one shape

    Returns
    -------
    array, shaped like x

    Raises
    ------
    TypeError
        If an argument is not floating or the dtypes differ.
    ValueError
        If the shapes differ.
    """
    xp = _check(d_output, x)
    return unchecked_relu_backward(xp, d_output, x)


def unchecked_relu_backward(xp: Namespace, d_output: Array, x: Array) -> Array:
    """Do what :func:`relu_backward` does, without its checks."""
    return xp.where(x > 0, d_output, xp.zeros_like(d_output))


def gelu_backward(d_output: Array, x: Array, *, approximate: Approximation = "none") -> Array:
    r"""Go back through :func:`companion.gelu`: the slope of xΦ(x) is Φ(x) + xφ(x).

    By :prf:ref:`prop-entry-backward`.

    Parameters
    ----------
    d_output, x : arrays of one shape
    approximate : {"none", "tanh"}
        As in the forward.

    Returns
    -------
    array, shaped like x

    Raises
    ------
    TypeError
        If an argument is not floating, the dtypes differ, or for ``"none"`` the array library has
        no erfc.
    ValueError
        If the shapes differ or `approximate` is something else.
    """
    xp = _check(d_output, x)
    if approximate not in get_args(Approximation):
        raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")
    if approximate == "tanh":
        return _gelu_tanh_backward(xp, d_output, x)
    check_activation(x, gelu)
    return unchecked_gelu_backward(xp, d_output, x)


def unchecked_gelu_backward(xp: Namespace, d_output: Array, x: Array) -> Array:
    """Do what :func:`gelu_backward` does by default, without its checks."""
    wide = widen(xp, x)
    near = xp.minimum(xp.maximum(wide, -64), 64)  # φ is 0 there; a square could overflow
    density = xp.exp(-0.5 * near * near) * (1 / math.sqrt(2 * math.pi))
    slope = 0.5 * complementary_error(wide * -math.sqrt(0.5)) + near * density
    return cast(xp, widen(xp, d_output) * slope, x.dtype)


def _gelu_tanh_backward(xp: Namespace, d_output: Array, x: Array) -> Array:
    wide = widen(xp, x)
    near = xp.minimum(xp.maximum(wide, -64), 64)
    factor = 2 * math.sqrt(2 / math.pi)  # (1 + tanh(z)) / 2 is the sigmoid of 2z
    inner = factor * (near + 0.044715 * near**3)
    share = sigmoid(xp, inner)
    slope = share + near * share * sigmoid(xp, -inner) * factor * (1 + 3 * 0.044715 * near**2)
    return cast(xp, widen(xp, d_output) * slope, x.dtype)


def silu_backward(d_output: Array, x: Array) -> Array:
    r"""Go back through :func:`companion.silu`: the slope is σ(x)(1 + x(1 − σ(x))).

    By :prf:ref:`prop-entry-backward`.

    Parameters
    ----------
    d_output, x : arrays of one shape

    Returns
    -------
    array, shaped like x

    Raises
    ------
    TypeError
        If an argument is not floating or the dtypes differ.
    ValueError
        If the shapes differ.
    """
    xp = _check(d_output, x)
    return unchecked_silu_backward(xp, d_output, x)


def unchecked_silu_backward(xp: Namespace, d_output: Array, x: Array) -> Array:
    """Do what :func:`silu_backward` does, without its checks."""
    wide = widen(xp, x)
    decay = xp.exp(-xp.abs(wide))
    under = 1 + decay
    share = xp.where(wide >= 0, xp.ones_like(wide), decay) / under
    near = xp.minimum(xp.maximum(wide, -1024), 1024)  # the product is 0 there, and ∞ · 0 is NaN
    # σ(x)·σ(−x) is e / (1 + e)² with e = exp(−|x|), so neither end loses digits.
    slope = share + near * (decay / (under * under))
    return cast(xp, widen(xp, d_output) * slope, x.dtype)


def _check(d_output: Array, x: Array) -> Namespace:
    xp = array_namespace(d_output=d_output, x=x)
    require_floating(xp, x=x)
    require_same_dtype(x=x, d_output=d_output)
    check_gradient(d_output, x.shape)
    return xp


Activation = Callable[[Array], Array]
SLOPES = (
    (gelu, unchecked_gelu, unchecked_gelu_backward),
    (relu, unchecked_relu, unchecked_relu_backward),
    (silu, unchecked_silu, unchecked_silu_backward),
)


def check_derived(x: Array, activation: Activation) -> None:
    """Raise unless the activation is one whose way back is here."""
    if not any(activation is public for public, _, _ in SLOPES):
        raise ValueError(
            f"activation must be gelu, relu or silu, whose gradients are known, got {activation!r}"
        )
    check_activation(x, activation)


def bend_and_back(
    activation: Activation,
) -> tuple[Callable[[Namespace, Array], Array], Callable[[Namespace, Array, Array], Array]]:
    """Return the forms without checks of an activation and of its way back."""
    return next((bend, back) for public, bend, back in SLOPES if activation is public)


def feed_forward_backward(
    d_output: Array, x: Array, parameters: FeedForwardParameters, *, activation: Activation = gelu
) -> tuple[Array, FeedForwardParameters]:
    """Go back through :func:`companion.feed_forward`.

    Two products, :prf:ref:`thm-product-backward`, and what acts on each entry between them,
    :prf:ref:`prop-entry-backward`.

    Parameters
    ----------
    d_output : array, shape (..., N, d_out)
    x : array, shape (..., N, d)
    parameters : FeedForwardParameters
    activation : callable
        :func:`companion.gelu`, :func:`companion.relu` or :func:`companion.silu`.

    Returns
    -------
    d_x : array, shaped like x
    d_parameters : FeedForwardParameters
        A gradient in the place of each weight and bias.

    Raises
    ------
    TypeError, ValueError
        As the forward says; if `activation` is another; if `d_output` does not fit.
    """
    p = parameters
    xp = array_namespace(d_output=d_output, x=x, w_1=p.w_1)
    check_projection(xp, x, p.w_1, p.b_1, "w_1")
    require_same_dtype(x=x, d_output=d_output)
    check_derived(x, activation)
    check_gradient(d_output, (*x.shape[:-1], p.w_2.shape[-1]))
    return unchecked_feed_forward_backward(xp, d_output, x, p, activation)


def unchecked_feed_forward_backward(
    xp: Namespace,
    d_output: Array,
    x: Array,
    parameters: FeedForwardParameters,
    activation: Activation,
) -> tuple[Array, FeedForwardParameters]:
    """Do what :func:`feed_forward_backward` does, without its checks."""
    p, (bend, back) = parameters, bend_and_back(activation)
    hidden = unchecked_project(xp, x, p.w_1, p.b_1)  # (..., N, d_ff)
    d_bent, d_w_2, d_b_2 = unchecked_project_backward(xp, d_output, bend(xp, hidden), p.w_2, p.b_2)
    d_hidden = back(xp, d_bent, hidden)
    d_x, d_w_1, d_b_1 = unchecked_project_backward(xp, d_hidden, x, p.w_1, p.b_1)
    return d_x, FeedForwardParameters(d_w_1, d_b_1, d_w_2, d_b_2)


def gated_feed_forward_backward(
    d_output: Array,
    x: Array,
    parameters: GatedFeedForwardParameters,
    *,
    activation: Activation = silu,
) -> tuple[Array, GatedFeedForwardParameters]:
    """Go back through :func:`companion.gated_feed_forward`.

    Gate and values are factors of each other: :prf:ref:`prop-entry-backward`. The rows enter both,
    so their gradients add: :prf:ref:`prop-use-sums`.

    Parameters
    ----------
    d_output : array, shape (..., N, d_out)
    x : array, shape (..., N, d)
    parameters : GatedFeedForwardParameters
    activation : callable
        :func:`companion.gelu`, :func:`companion.relu` or :func:`companion.silu`.

    Returns
    -------
    d_x : array, shaped like x
    d_parameters : GatedFeedForwardParameters
        A gradient in the place of each weight.

    Raises
    ------
    TypeError, ValueError
        As the forward says; if `activation` is another; if `d_output` does not fit.
    """
    p = parameters
    xp = array_namespace(d_output=d_output, x=x, w_gate=p.w_gate)
    check_projection(xp, x, p.w_gate, None, "w_gate")
    require_same_dtype(x=x, d_output=d_output)
    check_derived(x, activation)
    check_gradient(d_output, (*x.shape[:-1], p.w_down.shape[-1]))
    return unchecked_gated_feed_forward_backward(xp, d_output, x, p, activation)


def unchecked_gated_feed_forward_backward(
    xp: Namespace,
    d_output: Array,
    x: Array,
    parameters: GatedFeedForwardParameters,
    activation: Activation,
) -> tuple[Array, GatedFeedForwardParameters]:
    """Do what :func:`gated_feed_forward_backward` does, without its checks."""
    p, (bend, back) = parameters, bend_and_back(activation)
    gate = unchecked_project(xp, x, p.w_gate, None)  # (..., N, d_ff)
    values = unchecked_project(xp, x, p.w_up, None)
    bent = bend(xp, gate)
    d_opened, d_down, _ = unchecked_project_backward(xp, d_output, bent * values, p.w_down, None)
    d_gate = back(xp, d_opened * values, gate)
    from_gate, d_w_gate, _ = unchecked_project_backward(xp, d_gate, x, p.w_gate, None)
    from_values, d_up, _ = unchecked_project_backward(xp, d_opened * bent, x, p.w_up, None)
    return from_gate + from_values, GatedFeedForwardParameters(d_w_gate, d_up, d_down)
