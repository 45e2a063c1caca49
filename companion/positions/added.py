"""A vector for each position, added to the token's row: fixed sinusoids, or a learned table."""

import operator

from companion.arrays import (
    Array,
    DType,
    Namespace,
    array_module,
    array_namespace,
    require_floating,
)
from companion.libraries import dtype_named

__all__ = ["add_positions", "sinusoidal_positions"]


def sinusoidal_positions(
    length: int,
    width: int,
    *,
    base: float = 10_000.0,
    xp: Namespace | None = None,
    dtype: DType = None,
) -> Array:
    """Compute the fixed position vectors of the 2017 transformer (:eq:`eq-sinusoids`).

    Column 2m holds the sine and column 2m + 1 the cosine of ``position / base**(2m / width)``.

    Parameters
    ----------
    length : int
        Number of positions N.
    width : int
        Number of columns d; where it is odd the last sine has no cosine beside it.
    base : float
        Sets the longest wavelength, 2π·base.
    xp : module, optional
        The array module of the result; :func:`companion.array_module` chooses where it is left out.
    dtype : dtype, optional
        Floating dtype of the result, float64 where it is left out (JAX has none outside its 64-bit
        mode, and gives float32).

    Returns
    -------
    array, shape (N, d)

    Raises
    ------
    ValueError
        If `length` is negative, `width` is not positive or `base` is not positive.

    References
    ----------
    Vaswani et al., *Attention is all you need*, 2017, section 3.5.
    """
    length, width = operator.index(length), operator.index(width)
    if length < 0:
        raise ValueError(f"length must not be negative, got {length}")
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    if not base > 0:
        raise ValueError(f"base must be positive, got {base}")
    xp = array_module() if xp is None else xp
    pairs = (width + 1) // 2
    wide = dtype_named(xp, "float64")
    rates = base ** (-2 * xp.arange(pairs, dtype=wide) / width)  # (pairs,)
    angles = xp.arange(length, dtype=wide)[:, None] * rates  # (N, pairs)
    columns = xp.stack([xp.sin(angles), xp.cos(angles)], axis=-1)  # (N, pairs, 2)
    table = xp.reshape(columns, (length, 2 * pairs))[:, :width]
    return table if dtype is None else xp.astype(table, dtype)


def add_positions(x: Array, positions: Array) -> Array:
    """Add position vector i to row i.

    Parameters
    ----------
    x : array, shape (..., N, d)
        Packed embeddings.
    positions : array, shape (M, d) with M ≥ N
        A table of position vectors, fixed (:func:`sinusoidal_positions`) or learned.

    Returns
    -------
    array, shape (..., N, d)

    Raises
    ------
    ValueError
        If the widths differ, or if the table ends before the sentence does.
    """
    xp = array_namespace(x=x, positions=positions)
    check_positions(xp, x, positions)
    return unchecked_add_positions(xp, x, positions)


def check_positions(xp: Namespace, x: Array, positions: Array) -> None:
    """Raise unless the table has a row as wide as those of `x` for each of them."""
    require_floating(xp, x=x, positions=positions)
    if x.ndim < 2:
        raise ValueError(f"x must be (..., N, d), got shape {x.shape}")
    length, width = x.shape[-2:]
    if positions.ndim != 2 or positions.shape[1] != width or positions.shape[0] < length:
        raise ValueError(
            f"positions must be (M, d={width}) with M at least N={length} to match x {x.shape}, "
            f"got {positions.shape}"
        )


def unchecked_add_positions(xp: Namespace, x: Array, positions: Array) -> Array:
    """Do what :func:`add_positions` does, without its checks."""
    del xp  # the forms of all rooms are called alike
    return x + positions[: x.shape[-2], :]
