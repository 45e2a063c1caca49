"""Attention with linear biases: each score loses a head's slope times the distance."""

import operator

import array_api_compat

from companion.arrays import (
    Array,
    DType,
    Namespace,
    array_module,
    array_namespace,
    require_floating,
)
from companion.libraries import dtype_named

__all__ = ["alibi_mask", "alibi_slopes"]


def alibi_slopes(heads: int, *, xp: Namespace | None = None, dtype: DType = None) -> Array:
    """Return how much each head's scores fall with every step of distance.

    For a power of two they are 2^(−8/H), 2^(−16/H), …, 2^(−8); for another H those of the power
    below it, and then every other one of the power above.

    Parameters
    ----------
    heads : int
        Number of heads H.
    xp, dtype : optional
        Array module and floating dtype, as in :func:`sinusoidal_positions`.

    Returns
    -------
    array, shape (H,)

    Raises
    ------
    ValueError
        If `heads` is less than 1.

    References
    ----------
    Press, Smith and Lewis, *Train short, test long*, 2022.
    """
    heads = operator.index(heads)
    if heads < 1:
        raise ValueError(f"heads must be at least 1, got {heads}")
    xp = array_module() if xp is None else xp
    power = 2 ** (heads.bit_length() - 1)
    exponents = [8 * (i + 1) / power for i in range(power)]
    exponents += [8 * (i + 1) / (2 * power) for i in range(0, 2 * (heads - power), 2)]
    dtype = dtype_named(xp, "float64") if dtype is None else dtype
    return xp.asarray([2.0**-exponent for exponent in exponents], dtype=dtype)


def alibi_mask(slopes: Array, queries: int, keys: int, *, query_offset: int = 0) -> Array:
    """Make the float mask that takes slope times distance off each score.

    Parameters
    ----------
    slopes : array, shape (H,)
        As :func:`alibi_slopes` makes them.
    queries, keys : int
        T and S.
    query_offset : int
        Position of the first query among the keys, such as the cached length.

    Returns
    -------
    array, shape (H, T, S)
        ``-slopes[h] * abs(i + query_offset - j)``: `attn_mask` of
        :func:`companion.scaled_dot_product_attention`. It hides nothing.

    Raises
    ------
    TypeError
        If `slopes` are not floating.
    ValueError
        If `slopes` are no vector, or `queries` or `keys` is negative.
    """
    xp = array_namespace(slopes=slopes)
    require_floating(xp, slopes=slopes)
    if slopes.ndim != 1:
        raise ValueError(f"slopes must be (H,), got shape {slopes.shape}")
    sizes = {"queries": operator.index(queries), "keys": operator.index(keys)}
    for name, size in sizes.items():
        if size < 0:
            raise ValueError(f"{name} must not be negative, got {size}")
    device = array_api_compat.device(slopes)
    rows = xp.arange(sizes["queries"], device=device)[:, None] + operator.index(query_offset)
    distance = xp.abs(rows - xp.arange(sizes["keys"], device=device))  # (T, S)
    return -slopes[:, None, None] * xp.astype(distance, slopes.dtype)
