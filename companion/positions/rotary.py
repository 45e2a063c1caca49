"""Rotary positions: queries and keys turned, so that their products know the distance alone."""

import math
from typing import Literal, TypeAlias, get_args

import array_api_compat

from companion.arrays import (
    Array,
    Namespace,
    array_namespace,
    cast,
    is_floating,
    require_floating,
    require_integer,
    widen,
)
from companion.libraries import dtype_named

__all__ = ["rotate", "rotate_back"]

Pairing: TypeAlias = Literal["half", "interleaved"]


def rotate(
    x: Array, positions: Array, *, base: float = 10_000.0, pairing: Pairing = "half"
) -> Array:
    """Turn each pair of a row's numbers by an angle that grows with its position (:eq:`eq-rotary`).

    Pair m turns by ``position * base**(-2m / d_k)``. A query at i and a key at j, both turned, have
    a product that depends on i − j alone (:prf:ref:`thm-rotary-distance`,
    :prf:ref:`cor-rotary-products`): rotary positions.

    Parameters
    ----------
    x : array, shape (N, d_k) or (..., H, N, d_k)
        Queries or keys; d_k is even.
    positions : integer or floating array, shape (N,), or (..., N) with the axes before the heads
        Where each row stands. Fractions are allowed: so a context is stretched.
    base : float
        Sets the longest wavelength, of nearly 2π·base positions.
    pairing : {"half", "interleaved"}
        Which numbers are a pair: ``"half"`` m and m + d_k/2 (Hugging Face), ``"interleaved"`` 2m
        and 2m + 1 (the paper, and Llama's GGUF files).

    Returns
    -------
    array
        Same shape and dtype; float16 is computed in float32. Angles are computed in float64 (in
        float32 on JAX outside its 64-bit mode) and their sines and cosines rounded once.

    Raises
    ------
    TypeError
        If `x` is not floating, or `positions` are no numbers.
    ValueError
        If d_k is odd, the shapes do not match, or `base` or `pairing` is out of range.

    References
    ----------
    Su et al., *RoFormer: enhanced transformer with rotary position embedding*, 2021.
    """
    xp = array_namespace(x=x, positions=positions)
    check_rotation(xp, x, positions, base, pairing)
    return unchecked_rotate(xp, x, positions, base, pairing)


def rotate_back(
    x: Array, positions: Array, *, base: float = 10_000.0, pairing: Pairing = "half"
) -> Array:
    """Undo :func:`rotate`: turn each pair by the same angle the other way.

    A rotation keeps all products, so this is its transpose too, and sends a gradient back.

    Parameters
    ----------
    x, positions, base, pairing
        As in :func:`rotate`.

    Returns
    -------
    array
        Same shape and dtype.

    Raises
    ------
    TypeError, ValueError
        As :func:`rotate` does.
    """
    xp = array_namespace(x=x, positions=positions)
    check_rotation(xp, x, positions, base, pairing)
    cosine, sine = rotation(xp, positions, x.shape[-1], base)
    return turn(xp, x, cosine, -sine, pairing)


def check_rotation(
    xp: Namespace, x: Array, positions: Array, base: float, pairing: Pairing
) -> None:
    """Raise unless the rows of `x` can be turned by these positions."""
    require_floating(xp, x=x)
    if not is_floating(xp, positions.dtype):
        require_integer(xp, positions=positions)
    if x.ndim < 2 or x.shape[-1] % 2 != 0:
        raise ValueError(f"x must be (..., N, d_k) with an even d_k, got shape {x.shape}")
    length, batch = x.shape[-2], x.shape[:-3]
    if positions.shape not in ((length,), (*batch, length)):
        rows = f"({', '.join(map(str, (*batch, length)))})"
        expected = f"(N={length},)" + f" or {rows}" * bool(batch)
        raise ValueError(
            f"positions must be {expected} to match x {x.shape}, got {positions.shape}"
        )
    if not 0 < base < math.inf:
        raise ValueError(f"base must be positive and finite, got {base}")
    if pairing not in get_args(Pairing):
        raise ValueError(f"pairing must be 'half' or 'interleaved', got {pairing!r}")


def unchecked_rotate(
    xp: Namespace, x: Array, positions: Array, base: float, pairing: Pairing
) -> Array:
    """Do what :func:`rotate` does, without its checks."""
    cosine, sine = rotation(xp, positions, x.shape[-1], base)
    return turn(xp, x, cosine, sine, pairing)


def rotation(xp: Namespace, positions: Array, width: int, base: float) -> tuple[Array, Array]:
    """Return the cosines and sines of the angles of all pairs, in float64: (..., N, d_k/2)."""
    wide = dtype_named(xp, "float64")
    numbers = xp.arange(width // 2, dtype=wide, device=array_api_compat.device(positions))
    angles = xp.astype(positions, wide)[..., None] * base ** (-2 * numbers / width)
    return xp.cos(angles), xp.sin(angles)


def turn(xp: Namespace, x: Array, cosine: Array, sine: Array, pairing: Pairing) -> Array:
    """Turn the pairs of rows (..., H, N, d_k) by angles (..., N, d_k/2) of those cosines."""
    wide = widen(xp, x)
    if cosine.ndim > 2:  # a batch: all heads turn alike
        cosine, sine = cosine[..., None, :, :], sine[..., None, :, :]
    cosine, sine = cast(xp, cosine, wide.dtype), cast(xp, sine, wide.dtype)
    pairs = x.shape[-1] // 2
    if pairing == "half":
        first, second = wide[..., :pairs], wide[..., pairs:]
    else:
        first, second = wide[..., 0::2], wide[..., 1::2]
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    if pairing == "half":
        both = xp.concat(turned, axis=-1)
    else:
        both = xp.reshape(xp.stack(turned, axis=-1), x.shape)
    return cast(xp, both, x.dtype)
