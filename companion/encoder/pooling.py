"""Pooling: the rows of a sentence's tokens, made one unit vector."""

from companion.arrays import Array, Namespace, array_namespace, cast, require_floating, widen
from companion.libraries import largest_float

__all__ = ["mean_pool", "unit_rows"]


def mean_pool(states: Array, token_mask: Array | None = None) -> Array:
    """Average the rows of each sentence, its padding left out.

    Parameters
    ----------
    states : array, shape (..., N, d)
    token_mask : boolean array, shape (..., N), optional
        True where there is a token; without it every row counts.

    Returns
    -------
    array, shape (..., d)
        Zero for a sentence without tokens. float16 is computed in float32.

    Raises
    ------
    TypeError
        If the states are not floating or the mask is not boolean.
    ValueError
        If the shapes do not match.

    References
    ----------
    Reimers and Gurevych, *Sentence-BERT*, 2019, section 3.
    """
    xp = array_namespace(states=states, token_mask=token_mask)
    require_floating(xp, states=states)
    if states.ndim < 2:
        raise ValueError(f"states must be (..., N, d), got shape {states.shape}")
    if token_mask is None:
        token_mask = xp.ones_like(states[..., 0], dtype=xp.bool)
    if token_mask.dtype != xp.bool:
        raise TypeError(f"token_mask must be boolean, got {token_mask.dtype}")
    if token_mask.shape != states.shape[:-1]:
        raise ValueError(
            f"token_mask must be {states.shape[:-1]} to match states {states.shape}, "
            f"got {token_mask.shape}"
        )
    return unchecked_mean_pool(xp, states, token_mask)


def unchecked_mean_pool(xp: Namespace, states: Array, token_mask: Array) -> Array:
    """Do what :func:`mean_pool` does, without its checks."""
    wide = widen(xp, states)
    kept = xp.where(token_mask[..., None], wide, xp.zeros_like(wide))
    count = xp.sum(xp.astype(token_mask, wide.dtype), axis=-1)[..., None]
    count = xp.where(count == 0, xp.ones_like(count), count)
    if (rows := kept.shape[-2]) == 0:
        return cast(xp, xp.sum(kept, axis=-2), states.dtype)
    # The sum of columns near the end of the range would leave it: they are made smaller for it.
    size = xp.max(xp.abs(kept), axis=-2)
    limit, fold = largest_float(xp, wide.dtype), 2.0 ** rows.bit_length()
    unit = xp.where(size > limit / fold, xp.full_like(size, fold), xp.ones_like(size))
    mean = xp.sum(kept / unit[..., None, :], axis=-2) / count
    # A mean is no larger than the largest of its numbers: rounding alone takes it past it.
    return cast(xp, xp.minimum(xp.maximum(mean, -size / unit), size / unit) * unit, states.dtype)


def unit_rows(x: Array) -> Array:
    """Scale each row to length 1, so that a dot product of two is the cosine between them.

    Parameters
    ----------
    x : array, shape (..., d)

    Returns
    -------
    array, shape (..., d)
        A row of zeros has no direction and stays. float16 is computed in float32.

    Raises
    ------
    TypeError
        If `x` is not floating.
    ValueError
        If `x` has no axis.
    """
    xp = array_namespace(x=x)
    require_floating(xp, x=x)
    if x.ndim < 1:
        raise ValueError(f"x must be (..., d), got shape {x.shape}")
    return unchecked_unit_rows(xp, x)


def unchecked_unit_rows(xp: Namespace, x: Array) -> Array:
    """Do what :func:`unit_rows` does, without its checks."""
    wide = widen(xp, x)
    if wide.shape[-1] == 0:
        return x
    largest = xp.max(xp.abs(wide), axis=-1, keepdims=True)
    # Squares of the numbers themselves could leave the range of the floats.
    wide = wide / xp.where(largest == 0, xp.ones_like(largest), largest)
    square = xp.sum(wide * wide, axis=-1, keepdims=True)
    # A row of zeros is put aside before the root, which has no finite slope at 0.
    length = xp.sqrt(xp.where(square == 0, xp.ones_like(square), square))
    return cast(xp, wide / length, x.dtype)
