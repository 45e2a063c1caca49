"""Norms: every row brought to one size before it goes on."""

import functools
import math
from dataclasses import dataclass
from typing import Any

import array_api_compat

from companion.arrays import (
    Array,
    DType,
    Namespace,
    array_module,
    array_namespace,
    cast,
    require_floating,
    require_same_dtype,
    widen,
)
from companion.libraries import dtype_named
from companion.parameters import Parameters, check_parameters

__all__ = ["NormParameters", "layer_norm", "rms_norm"]


def layer_norm(x: Array, weight: Array, bias: Array | None = None, *, eps: float = 1e-5) -> Array:
    """Give every row mean 0 and variance 1, then scale and shift its columns (:eq:`eq-layer-norm`).

    Parameters
    ----------
    x : array, shape (..., d)
    weight : array, shape (d,)
    bias : array, shape (d,), optional
    eps : float
        Added to the variance, under the root.

    Returns
    -------
    array, shape (..., d)
        In the dtype of `x`; float16 is computed in float32. The variance is the biased one, a sum
        divided by d.

    Raises
    ------
    TypeError
        If an argument is not floating or the dtypes differ.
    ValueError
        If the shapes do not match or `eps` is negative.

    References
    ----------
    Ba, Kiros and Hinton, *Layer normalization*, 2016.
    """
    xp = array_namespace(x=x, weight=weight, bias=bias)
    check_norm(xp, x, weight, bias, eps)
    return unchecked_layer_norm(xp, x, weight, bias, eps)


def unchecked_layer_norm(
    xp: Namespace, x: Array, weight: Array, bias: Array | None, eps: Any
) -> Array:
    """Do what :func:`layer_norm` does, without its checks."""
    wide, eps, _ = within_range(xp, widen(xp, x), eps)
    centred = wide - xp.mean(wide, axis=-1, keepdims=True)
    variance = xp.mean(centred * centred, axis=-1, keepdims=True)
    normed = centred / xp.sqrt(variance + eps) * widen(xp, weight)
    if bias is not None:
        normed = normed + widen(xp, bias)
    return cast(xp, normed, x.dtype)


def rms_norm(x: Array, weight: Array, *, eps: float = 1e-6) -> Array:
    """Give every row a mean square of 1, then scale its columns (:eq:`eq-rms-norm`).

    Parameters
    ----------
    x : array, shape (..., d)
    weight : array, shape (d,)
    eps : float
        Added to the mean square, under the root.

    Returns
    -------
    array, shape (..., d)
        In the dtype of `x`; float16 is computed in float32.

    Raises
    ------
    TypeError
        If an argument is not floating or the dtypes differ.
    ValueError
        If the shapes do not match or `eps` is negative.

    References
    ----------
    Zhang and Sennrich, *Root mean square layer normalization*, 2019.
    """
    xp = array_namespace(x=x, weight=weight)
    check_norm(xp, x, weight, None, eps)
    return unchecked_rms_norm(xp, x, weight, eps)


def unchecked_rms_norm(xp: Namespace, x: Array, weight: Array, eps: Any) -> Array:
    """Do what :func:`rms_norm` does, without its checks."""
    wide, eps, _ = within_range(xp, widen(xp, x), eps)
    square = xp.mean(wide * wide, axis=-1, keepdims=True)
    return cast(xp, wide / xp.sqrt(square + eps) * widen(xp, weight), x.dtype)


def within_range(xp: Namespace, rows: Array, eps: float) -> tuple[Array, Any, Any]:
    """Return rows whose squares stay in the range of the floats, their `eps`, and their unit.

    A row near an end of the range is divided by the size of its numbers, and `eps` by the square of
    it, which leaves the normed row as it is. Rows of ordinary size stay as they are to the bit.
    """
    if 0 in rows.shape:
        return rows, eps, 1.0
    low, high, limit = _ordinary_sizes(xp, rows.dtype)
    root = math.sqrt(eps)
    fits_at_once = array_api_compat.is_numpy_namespace(xp) and low <= root
    if fits_at_once and -high <= xp.min(rows) and xp.max(rows) <= high:
        return rows, eps, 1.0
    size = xp.max(xp.abs(rows), axis=-1, keepdims=True)
    extreme = size > high
    if root < low:  # or a row of small numbers is nothing beside it
        size = xp.maximum(size, root)
        extreme = extreme | ((size < low) & (size > 0))
    unit = xp.where(extreme, xp.minimum(size, limit), xp.ones_like(size))
    return rows / unit, xp.where(extreme, (root / unit) ** 2, eps), unit


@functools.lru_cache
def _ordinary_sizes(xp: Namespace, dtype: DType) -> tuple[float, float, float]:
    """Return between which sizes the squares of a long row and of its spread are ordinary."""
    info = xp.finfo(dtype)
    # What is left of a row when its mean is taken away may be smaller than it by the precision.
    low = math.sqrt(float(info.smallest_normal)) / float(info.eps) ** 1.5
    return low, math.sqrt(float(info.max)) * float(info.eps), info.max


def check_norm(xp: Namespace, x: Array, weight: Array, bias: Array | None, eps: float) -> None:
    """Raise unless the rows of `x` can be normed with the weight and the bias."""
    require_floating(xp, x=x, weight=weight, bias=bias)
    require_same_dtype(x=x, weight=weight, bias=bias)
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and (x.ndim < 1 or vector.shape != x.shape[-1:]):
            raise ValueError(f"{name} must be (d,) to match x {x.shape}, got {vector.shape}")
    if not eps >= 0:
        raise ValueError(f"eps must not be negative, got {eps}")


@dataclass(frozen=True, eq=False)
class NormParameters(Parameters):
    """The weights of a norm: with a bias a layer norm; `rms_norm` takes the weight alone.

    Attributes
    ----------
    weight : array, shape (d,)
    bias : array, shape (d,), or None

    Raises
    ------
    TypeError
        If the arrays come from different libraries or differ in dtype.
    ValueError
        If the shapes do not fit together.
    """

    weight: Array
    bias: Array | None = None

    def __post_init__(self) -> None:
        check_parameters("NormParameters", weight=(self.weight, ("d",)), bias=(self.bias, ("d",)))

    @classmethod
    def neutral(
        cls, width: int, *, bias: bool = True, xp: Namespace | None = None, dtype: DType = None
    ) -> "NormParameters":
        """Make the weights that training starts from: weight 1, bias 0."""
        xp = array_module() if xp is None else xp
        dtype = dtype_named(xp, "float64") if dtype is None else dtype
        zeros = xp.zeros((width,), dtype=dtype) if bias else None
        return cls(xp.ones((width,), dtype=dtype), zeros)
