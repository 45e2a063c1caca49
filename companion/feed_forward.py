"""The feed-forward network: each token by itself, wider, bent, and narrow again."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import array_api_compat
import numpy as np

from companion.arrays import (
    Array,
    DType,
    Namespace,
    array_module,
    array_namespace,
    computing_dtype,
    require_floating,
)
from companion.parameters import check_parameters, draw_weight
from companion.projections import project

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
        standard has none, NumPy's comes from SciPy and CuPy's from CuPy.
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
    wide = xp.astype(x, computing_dtype(xp, x.dtype), copy=False)
    if approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)
        bent = 0.5 * wide * (1 + xp.tanh(inner))
    else:
        # Φ(x) = erfc(−x/√2)/2 loses nothing where x is far below 0; (1 + erf(x/√2))/2 would.
        bent = 0.5 * wide * _erfc(wide * -math.sqrt(0.5))
    return xp.astype(bent, x.dtype, copy=False)


def _erfc(x: Array) -> Array:
    if array_api_compat.is_numpy_array(x):
        from scipy.special import erfc
    elif array_api_compat.is_cupy_array(x):  # pragma: gpu
        from cupyx.scipy.special import erfc
    else:
        raise TypeError(
            f"x must be a NumPy or CuPy array for approximate='none', got {type(x).__name__}"
        )
    tail: Array = erfc(x)
    return tail


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
    wide = xp.astype(x, computing_dtype(xp, x.dtype), copy=False)
    decay = xp.exp(-xp.abs(wide))  # exp(−x) itself would overflow far below 0
    sigmoid = xp.where(wide >= 0, xp.ones_like(wide), decay) / (1 + decay)
    return xp.astype(wide * sigmoid, x.dtype, copy=False)


@dataclass(frozen=True, eq=False)
class FeedForwardParameters:
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
    p = parameters
    hidden = activation(project(x, p.w_1, p.b_1, name="w_1"))  # (..., N, d_ff)
    return project(hidden, p.w_2, p.b_2, name="w_2")


@dataclass(frozen=True, eq=False)
class GatedFeedForwardParameters:
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
    p = parameters
    gate = activation(project(x, p.w_gate, name="w_gate"))  # (..., N, d_ff)
    return project(gate * project(x, p.w_up, name="w_up"), p.w_down, name="w_down")
