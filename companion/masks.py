"""Who may attend to whom: causal, windowed and padding masks.

A boolean mask says True where a query may attend to a key. A float mask is added to the scores, and
−∞ in it hides a key for good.
"""

import operator
from typing import Any, TypeGuard

import array_api_compat
import numpy as np

from companion.arrays import (
    Array,
    DType,
    Namespace,
    array_module,
    array_namespace,
    broadcast_shape,
    cast,
    is_floating,
    require_floating,
    require_integer,
)
from companion.libraries import dtype_named

__all__ = [
    "additive_mask",
    "causal_mask",
    "combine_masks",
    "mask_scores",
    "padding_mask",
    "window_mask",
]

FAR = 2**60
"""Positions and widths of windows beyond this are as good as infinite."""


def causal_mask(
    queries: int,
    keys: int | None = None,
    *,
    query_offset: int | Array = 0,
    xp: Namespace | None = None,
) -> Array:
    """Let every query see its own position and all before it (:eq:`eq-causal-mask`).

    Parameters
    ----------
    queries : int
        Number of queries T.
    keys : int, optional
        Number of keys S, T where it is left out.
    query_offset : int or integer array of the batch shape
        Query i stands at position ``i + query_offset`` among the keys; negative is allowed.
    xp : module, optional
        The array module of the result where the offset is an int;
        :func:`companion.array_module` chooses where it is left out.

    Returns
    -------
    boolean array, shape (T, S), or (*batch, 1, T, S) for an array of offsets
        True where key j ≤ i + offset.

    Raises
    ------
    TypeError
        If a size or the offset is not an integer.
    ValueError
        If a size is negative.
    """
    return position_mask(queries, keys, query_offset, left=-1, right=0, xp=xp)


def window_mask(
    queries: int,
    keys: int | None = None,
    *,
    window: tuple[int, int],
    query_offset: int | Array = 0,
    xp: Namespace | None = None,
) -> Array:
    """Let every query see the keys around its own position (:eq:`eq-window-mask`).

    Parameters
    ----------
    queries : int
        Number of queries T.
    keys : int, optional
        Number of keys S, T where it is left out.
    window : (left, right)
        How many positions back and ahead are visible; −1 is unbounded.
    query_offset, xp
        As in :func:`causal_mask`.

    Returns
    -------
    boolean array, shape (T, S), or (*batch, 1, T, S) for an array of offsets
        True where i + offset − left ≤ j ≤ i + offset + right.

    Raises
    ------
    TypeError
        If a size, a bound or the offset is not an integer.
    ValueError
        If a size is negative or a bound is below −1.
    """
    left, right = check_window(window)
    return position_mask(queries, keys, query_offset, left=left, right=right, xp=xp)


def check_window(window: object) -> tuple[int, int]:
    """Return the window as two Python ints, each −1 or more, or raise."""
    if not isinstance(window, (tuple, list)) or len(window) != 2:
        raise TypeError(f"window must be a pair (left, right) of integers, got {window!r}")
    left, right = (min(_integer(bound, "window"), FAR) for bound in window)
    if left < -1 or right < -1:
        raise ValueError(f"window must hold bounds of at least -1, got {(left, right)}")
    return left, right


def position_mask(
    queries: int,
    keys: int | None,
    query_offset: int | Array,
    *,
    left: int,
    right: int,
    xp: Namespace | None = None,
    device: Any = None,
) -> Array:
    """Compare the position of every key with that of every query; −1 is no bound.

    The mask is made by `xp` on `device`, or where the offsets are if they are an array.
    """
    sizes = _integer(queries, "queries"), _integer(queries if keys is None else keys, "keys")
    if min(sizes) < 0:
        raise ValueError(f"queries and keys must not be negative, got {sizes}")
    offset: int | Array
    if is_offset_array(query_offset):
        xp = array_namespace(query_offset=query_offset)
        device = array_api_compat.device(query_offset)
    else:
        xp = array_module() if xp is None else xp
    offset = check_offset(xp, query_offset)
    return unchecked_position_mask(xp, device, *sizes, offset, left, right)


def check_offset(xp: Namespace, query_offset: int | Array) -> int | Array:
    """Return the offset as a Python int or an array of wide integers, within ±FAR, or raise.

    An offset that is farther than any key hides as much, and sums with it do not wrap around.
    """
    if not is_offset_array(query_offset):
        return max(-FAR, min(_integer(query_offset, "query_offset"), FAR))
    require_integer(xp, query_offset=query_offset)
    wide, given = dtype_named(xp, "int64"), xp.iinfo(query_offset.dtype)
    far = min(FAR, xp.iinfo(wide).max // 2)
    if given.max > far:
        query_offset = xp.clip(query_offset, max(-far, given.min), far)
    return xp.astype(query_offset, wide, copy=False)


def unchecked_position_mask(
    xp: Namespace, device: Any, queries: int, keys: int, offset: Any, left: int, right: int
) -> Array:
    """Do what :func:`position_mask` does, without its checks."""
    rows = xp.arange(queries, device=device)[:, None]
    far = xp.iinfo(rows.dtype).max // 2
    left, right = min(left, far), min(right, far)
    if isinstance(offset, int):
        offset = max(-far, min(offset, far))
    elif offset.ndim > 0:
        offset = offset[..., None, None, None]  # (*batch, head, query, key)
    ahead = xp.arange(keys, device=device) - (rows + offset)  # (..., T, S)
    visible = xp.ones(ahead.shape, dtype=xp.bool, device=device)
    if left >= 0:
        visible = visible & (ahead >= -left)
    if right >= 0:
        visible = visible & (ahead <= right)
    return visible


def is_offset_array(query_offset: int | Array) -> TypeGuard[Array]:
    """Tell an array of offsets from one number, which NumPy's scalars are too."""
    if isinstance(query_offset, (int, np.generic)):
        return False
    return array_api_compat.is_array_api_obj(query_offset)


def _integer(value: Any, name: str) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None


def padding_mask(token_mask: Array) -> Array:
    """Hide padding from every query of every head.

    Parameters
    ----------
    token_mask : boolean array, shape (..., S)
        True where there is a token, as :func:`companion.pack_batch` returns it.

    Returns
    -------
    boolean array, shape (..., 1, 1, S)
        Broadcasts over heads and queries of scores (..., H, T, S).

    Raises
    ------
    TypeError
        If the mask is not boolean.
    ValueError
        If it has no axis.
    """
    xp = array_namespace(token_mask=token_mask)
    if token_mask.dtype != xp.bool:
        raise TypeError(f"token_mask must be boolean, got {token_mask.dtype}")
    if token_mask.ndim < 1:
        raise ValueError(f"token_mask must be (..., S), got shape {token_mask.shape}")
    return token_mask[..., None, None, :]


def combine_masks(*masks: Array | None) -> Array | None:
    """Let a query attend where every one of the boolean masks lets it.

    Parameters
    ----------
    *masks : boolean array or None
        Shapes that broadcast together; None forbids nothing.

    Returns
    -------
    boolean array, or None where all are None

    Raises
    ------
    TypeError
        If a mask is not boolean.
    ValueError
        If the shapes do not broadcast.
    """
    given = {f"masks[{i}]": mask for i, mask in enumerate(masks) if mask is not None}
    if not given:
        return None
    xp = array_namespace(**given)
    for name, mask in given.items():
        if mask.dtype != xp.bool:
            raise TypeError(f"{name} must be boolean, got {mask.dtype}")
    shapes = [mask.shape for mask in given.values()]
    try:
        broadcast_shape(*shapes)
    except ValueError:
        raise ValueError(f"masks must broadcast together, got shapes {shapes}") from None
    combined, *others = given.values()
    for mask in others:
        combined = combined & mask
    return combined


def additive_mask(mask: Array, dtype: DType) -> Array:
    """Turn a boolean mask into one that is added: 0 where True, −∞ where False.

    Parameters
    ----------
    mask : boolean array, any shape
    dtype : dtype
        Floating dtype of the result.

    Returns
    -------
    array
        Same shape.

    Raises
    ------
    TypeError
        If the mask is not boolean or the dtype not floating.
    """
    xp = array_namespace(mask=mask)
    if mask.dtype != xp.bool:
        raise TypeError(f"mask must be boolean, got {mask.dtype}")
    zeros = xp.zeros(mask.shape, dtype=dtype, device=array_api_compat.device(mask))
    require_floating(xp, dtype=zeros)
    return xp.where(mask, zeros, xp.full_like(zeros, -xp.inf))


def mask_scores(scores: Array, mask: Array) -> Array:
    """Put −∞ in place of every score that the mask hides (:eq:`eq-masked-scores`).

    Parameters
    ----------
    scores : array, shape (..., T, S)
    mask : boolean or float array that broadcasts to the scores
        A boolean mask selects. A float mask is added, and −∞ in it selects too, so that whatever
        stood in a hidden place, NaN included, is gone.

    Returns
    -------
    array, shape (..., T, S)

    Raises
    ------
    TypeError
        If the mask is neither boolean nor floating.
    ValueError
        If the mask does not broadcast to the scores.
    """
    xp = array_namespace(scores=scores, mask=mask)
    require_floating(xp, scores=scores)
    check_mask(xp, mask, scores.shape, "mask")
    return unchecked_mask_scores(xp, scores, mask)


def unchecked_mask_scores(xp: Namespace, scores: Array, mask: Array) -> Array:
    """Do what :func:`mask_scores` does, without its checks."""
    hidden = xp.full_like(scores, -xp.inf)
    if mask.dtype == xp.bool:
        return xp.where(mask, scores, hidden)
    mask = cast(xp, mask, scores.dtype)
    blocked = mask == -xp.inf
    shifted = scores + xp.where(blocked, xp.zeros_like(mask), mask)
    return xp.where(blocked, hidden, shifted)


def check_mask(xp: Namespace, mask: Array, shape: tuple[int, ...], name: str) -> None:
    """Raise unless `mask` is boolean or floating and broadcasts to the scores' shape."""
    if mask.dtype != xp.bool and not is_floating(xp, mask.dtype):
        raise TypeError(f"{name} must be boolean or real floating, got {mask.dtype}")
    try:
        fits = broadcast_shape(mask.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name} must broadcast to the scores {shape}, got {mask.shape}")
