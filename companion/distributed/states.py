"""What one worker says to some queries, in one array, and two of them as one."""

from companion.arrays import Array, array_namespace, require_floating, require_same_dtype, widen
from companion.kernels.shards import merged

__all__ = ["merge_packed"]


def merge_packed(first: Array, second: Array) -> Array:
    """Join what two workers know of the same queries (:eq:`eq-packed-merge`).

    Parameters
    ----------
    first, second : array, shape (..., T, d_v + 2)
        Each of keys that the other has not: columns m, t and u / t of their
        :class:`companion.SoftmaxState`; −∞, 0 and 0 where no key is visible.

    Returns
    -------
    array, shape (..., T, d_v + 2)
        In the arguments' dtype, and in float32 for 16 bits.

    Raises
    ------
    TypeError
        If the arguments come from different libraries, or are not floating, or their dtypes differ.
    ValueError
        If their shapes differ, or there are not three columns at least.
    """
    xp = array_namespace(first=first, second=second)
    require_floating(xp, first=first, second=second)
    require_same_dtype(first=first, second=second)
    if first.ndim < 2 or first.shape[-1] < 3:
        raise ValueError(f"first must be (..., T, d_v + 2), got shape {first.shape}")
    if second.shape != first.shape:
        raise ValueError(f"second must have the shape of first, {first.shape}, got {second.shape}")
    return merged(widen(xp, first), widen(xp, second))
