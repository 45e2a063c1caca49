"""The feed-forward network: each token by itself, wider, bent, and narrow again."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from companion.arrays import (
    Array,
    DType,
    Namespace,
    array_module,
    array_namespace,
    cast,
    require_floating,
    widen,
)
from companion.libraries import complementary_error, has_complementary_error, largest_float
from companion.parameters import Parameters, check_parameters, draw_weight
from companion.projections import check_projection, project, unchecked_project

__all__ = [
    "FeedForwardParameters",
    "GatedFeedForwardParameters",
    "feed_forward",
    "gated_feed_forward",
    "gelu",
    "relu",
    "silu",
]

Approximation: TypeAlias = Literal["none", "tanh"]


def relu(x: Array) -> Array:
    """Keep what is positive, and 0 elsewhere (:eq:`eq-relu`).

    Parameters
    ----------
    x : array, any shape

    Returns
    -------
    array
        Same shape and dtype.

    Raises
    ------
    TypeError
        If `x` is not floating.
    """
    xp = array_namespace(x=x)
    require_floating(xp, x=x)
    return unchecked_relu(xp, x)


def unchecked_relu(xp: Namespace, x: Array) -> Array:
    """Do what :func:`relu` does, without its checks."""
    return xp.maximum(x, xp.zeros_like(x))


def gelu(x: Array, *, approximate: Approximation = "none") -> Array:
    """Weigh x by the chance that a standard normal number is smaller (:eq:`eq-gelu`).

    Parameters
    ----------
    x : array, any shape
    approximate : {"none", "tanh"}
        ``"none"`` is x Φ(x), ``"tanh"`` the approximation of :eq:`eq-gelu-tanh`.

    Returns
    -------
    array
        Same shape and dtype; float16 is computed in float32.

    Raises
    ------
    TypeError
        If `x` is not floating, or for ``"none"`` if its array library has no erfc: the Array API
        standard has none; NumPy's comes from SciPy, and CuPy, PyTorch and JAX have their own.
    ValueError
        If `approximate` is something else.

    References
    ----------
    Hendrycks and Gimpel, *Gaussian error linear units*, 2016.
    """
    xp = array_namespace(x=x)
    require_floating(xp, x=x)
    if approximate not in get_args(Approximation):
        raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")
    if approximate == "tanh":
        return _gelu_tanh(xp, x)
    check_activation(x, gelu)
    return unchecked_gelu(xp, x)


def unchecked_gelu(xp: Namespace, x: Array) -> Array:
    """Do what :func:`gelu` does by default, without its checks."""
    wide = widen(xp, x)
    # Φ(x) = erfc(−x/√2)/2 loses nothing where x is far below 0; (1 + erf(x/√2))/2 would.
    bent = 0.5 * finite_below(xp, wide) * complementary_error(wide * -math.sqrt(0.5))
    return cast(xp, bent, x.dtype)


def _gelu_tanh(xp: Namespace, x: Array) -> Array:
    wide = widen(xp, x)
    near = xp.minimum(xp.maximum(wide, -64), 64)  # tanh is ±1 there; a cube could overflow
    inner = math.sqrt(2 / math.pi) * (near + 0.044715 * near**3)
    # (1 + tanh(z)) / 2 is the logistic sigmoid of 2z, which keeps its digits far below 0.
    return cast(xp, sigmoid(xp, 2 * inner) * finite_below(xp, wide), x.dtype)


def silu(x: Array) -> Array:
    """Weigh x by its logistic sigmoid, x / (1 + exp(−x)) (:eq:`eq-silu`).

    Parameters
    ----------
    x : array, any shape

    Returns
    -------
    array
        Same shape and dtype; float16 is computed in float32.

    Raises
    ------
    TypeError
        If `x` is not floating.
    """
    xp = array_namespace(x=x)
    require_floating(xp, x=x)
    return unchecked_silu(xp, x)


def unchecked_silu(xp: Namespace, x: Array) -> Array:
    """Do what :func:`silu` does, without its checks."""
    wide = widen(xp, x)
    return cast(xp, sigmoid(xp, wide) * finite_below(xp, wide), x.dtype)


def sigmoid(xp: Namespace, x: Array) -> Array:
    """Return 1 / (1 + exp(−x)), entry by entry."""
    decay = xp.exp(-xp.abs(x))  # exp(−x) itself would overflow far below 0
    return xp.where(x >= 0, xp.ones_like(x), decay) / (1 + decay)


def finite_below(xp: Namespace, x: Array) -> Array:
    """Put the least float for −∞, so that its share of 0 is 0."""
    return xp.maximum(x, -largest_float(xp, x.dtype))


UNCHECKED = ((gelu, unchecked_gelu), (relu, unchecked_relu), (silu, unchecked_silu))


def check_activation(x: Array, activation: Callable[[Array], Array]) -> None:
    """Raise unless the library of `x` has what the activation needs: the exact GELU an erfc."""
    if activation is gelu and not has_complementary_error(x):
        raise TypeError(
            f"x must be a NumPy, CuPy, PyTorch or JAX array for approximate='none', "
            f"got {type(x).__name__}"
        )


def _unchecked_form(
    activation: Callable[[Array], Array],
) -> Callable[[Namespace, Array], Array] | None:
    """Return the form without checks of one of the three above, None for a function of yours."""
    return next((form for public, form in UNCHECKED if activation is public), None)


@dataclass(frozen=True, eq=False)
class FeedForwardParameters(Parameters):
    """The weights of a two-layer network.

    Attributes
    ----------
    w_1 : array, shape (d, d_ff)
    b_1 : array, shape (d_ff,), or None
    w_2 : array, shape (d_ff, d_out)
    b_2 : array, shape (d_out,), or None

    Raises
    ------
    TypeError
        If the arrays come from different libraries or differ in dtype.
    ValueError
        If the shapes do not fit together.
    """

    w_1: Array
    b_1: Array | None
    w_2: Array
    b_2: Array | None

    def __post_init__(self) -> None:
        check_parameters(
            "FeedForwardParameters",
            w_1=(self.w_1, ("d", "d_ff")),
            b_1=(self.b_1, ("d_ff",)),
            w_2=(self.w_2, ("d_ff", "d_out")),
            b_2=(self.b_2, ("d_out",)),
        )

    @classmethod
    def random(
        cls,
        rng: np.random.Generator,
        *,
        width: int,
        hidden: int,
        bias: bool = True,
        xp: Namespace | None = None,
        dtype: DType = None,
    ) -> "FeedForwardParameters":
        """Draw weights of variance 1 / (number of inputs); biases are 0.

        Parameters
        ----------
        rng : numpy.random.Generator
        width, hidden : int
            d and d_ff.
        bias : bool
            Whether there are biases.
        xp, dtype : optional
            Array module and floating dtype, as in :func:`companion.random_normal`.
        """
        xp = array_module() if xp is None else xp
        w_1 = draw_weight(rng, (width, hidden), xp, dtype)
        w_2 = draw_weight(rng, (hidden, width), xp, dtype)
        b_1 = xp.zeros((hidden,), dtype=w_1.dtype) if bias else None
        b_2 = xp.zeros((width,), dtype=w_1.dtype) if bias else None
        return cls(w_1, b_1, w_2, b_2)


def feed_forward(
    x: Array, parameters: FeedForwardParameters, *, activation: Callable[[Array], Array] = gelu
) -> Array:
    """Widen each row, bend it, and narrow it again (:eq:`eq-feed-forward`).

    Parameters
    ----------
    x : array, shape (..., N, d)
    parameters : FeedForwardParameters
    activation : callable
        Works on each entry by itself: :func:`gelu`, :func:`relu`, :func:`silu` or your own.

    Returns
    -------
    array, shape (..., N, d_out)

    Raises
    ------
    TypeError, ValueError
        As :func:`companion.project` says.
    """
    xp = array_namespace(x=x, w_1=parameters.w_1)
    check_projection(xp, x, parameters.w_1, parameters.b_1, "w_1")
    check_activation(x, activation)
    return unchecked_feed_forward(xp, x, parameters, activation)


def unchecked_feed_forward(
    xp: Namespace, x: Array, parameters: FeedForwardParameters, activation: Callable[[Array], Array]
) -> Array:
    """Do what :func:`feed_forward` does, without its checks."""
    p = parameters
    hidden = unchecked_project(xp, x, p.w_1, p.b_1)  # (..., N, d_ff)
    if (bend := _unchecked_form(activation)) is None:
        # What a function of yours returns comes in through the door.
        return project(activation(hidden), p.w_2, p.b_2, name="w_2")
    return unchecked_project(xp, bend(xp, hidden), p.w_2, p.b_2)


@dataclass(frozen=True, eq=False)
class GatedFeedForwardParameters(Parameters):
    """The weights of a gated network, without biases as is usual.

    Attributes
    ----------
    w_gate, w_up : array, shape (d, d_ff)
    w_down : array, shape (d_ff, d_out)

    Raises
    ------
    TypeError
        If the arrays come from different libraries or differ in dtype.
    ValueError
        If the shapes do not fit together.
    """

    w_gate: Array
    w_up: Array
    w_down: Array

    def __post_init__(self) -> None:
        check_parameters(
            "GatedFeedForwardParameters",
            w_gate=(self.w_gate, ("d", "d_ff")),
            w_up=(self.w_up, ("d", "d_ff")),
            w_down=(self.w_down, ("d_ff", "d_out")),
        )

    @classmethod
    def random(
        cls,
        rng: np.random.Generator,
        *,
        width: int,
        hidden: int,
        xp: Namespace | None = None,
        dtype: DType = None,
    ) -> "GatedFeedForwardParameters":
        """Draw weights of variance 1 / (number of inputs).

        The arguments are those of :meth:`FeedForwardParameters.random`, without `bias`.
        """
        xp = array_module() if xp is None else xp
        shapes = ((width, hidden), (width, hidden), (hidden, width))
        return cls(*(draw_weight(rng, shape, xp, dtype) for shape in shapes))


def gated_feed_forward(
    x: Array, parameters: GatedFeedForwardParameters, *, activation: Callable[[Array], Array] = silu
) -> Array:
    """Let one half of the hidden layer open and close the other (:eq:`eq-gated`).

    Parameters
    ----------
    x : array, shape (..., N, d)
    parameters : GatedFeedForwardParameters
    activation : callable
        :func:`silu` makes it SwiGLU.

    Returns
    -------
    array, shape (..., N, d_out)

    Raises
    ------
    TypeError, ValueError
        As :func:`companion.project` says.

    References
    ----------
    Shazeer, *GLU variants improve transformer*, 2020.
    """
    xp = array_namespace(x=x, w_gate=parameters.w_gate)
    check_projection(xp, x, parameters.w_gate, None, "w_gate")
    check_activation(x, activation)
    return unchecked_gated_feed_forward(xp, x, parameters, activation)


def unchecked_gated_feed_forward(
    xp: Namespace,
    x: Array,
    parameters: GatedFeedForwardParameters,
    activation: Callable[[Array], Array],
) -> Array:
    """Do what :func:`gated_feed_forward` does, without its checks."""
    p = parameters
    gate = unchecked_project(xp, x, p.w_gate, None)  # (..., N, d_ff)
    values = unchecked_project(xp, x, p.w_up, None)
    if (bend := _unchecked_form(activation)) is None:
        return project(activation(gate) * values, p.w_down, name="w_down")
    return unchecked_project(xp, bend(xp, gate) * values, p.w_down, None)
