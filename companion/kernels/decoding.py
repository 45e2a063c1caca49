"""Few queries against many keys, as when a model generates: the keys are cut, and states merged."""

from typing import Any, cast

import array_api_compat.numpy
import numpy as np

from companion.arrays import Namespace, computing_dtype
from companion.kernels import exponential
from companion.kernels.reach import Reach, as_slice
from companion.kernels.textbook import textbook_attention
from companion.kernels.threads import parallel_map

xp = cast(Namespace, array_api_compat.numpy)

FEW = 32
"""Queries below which the keys and values are read where they lie, and not laid out anew."""
PART = 4096
"""Keys of which a worker makes one state."""
SHARE = 2**21
"""Keys' and values' numbers that are worth a thread of their own."""
ROWS = 3
"""Rows up to which each is multiplied with the keys by itself: a product of few would copy them."""


def attend_few(
    query: Any,
    key: Any,
    value: Any,
    mask: Any,
    reach: Reach,
    scale: float,
    softcap: float | None,
    workers: int,
) -> np.ndarray:
    """Compute attention of T < 32 queries, the arguments broadcast to one batch of heads."""
    *batch, heads, count, _ = query.shape
    shared, length = key.shape[-3:-1]
    size = heads // shared
    output = np.empty((*batch, heads, count, value.shape[-1]), query.dtype)
    parts = [range(start, min(start + PART, length)) for start in range(0, length, PART)]
    places = [(*index, j) for index in np.ndindex(*batch) for j in range(shared)]

    offsets: Any = reach.offset  # an array, as the others of the batch

    def head(place: tuple[int, ...]) -> tuple[Any, Any, Any, Any, Reach]:
        """Cut out one key head and the query heads that it serves."""
        *index, j = place
        some = slice(j * size, (j + 1) * size)
        placed = reach._replace(offset=int(offsets[tuple(index)]))
        masked = None if mask is None else mask[tuple(index)][some]
        return query[tuple(index)][some], key[place], value[place], masked, placed

    def state(job: tuple[tuple[int, ...], range]) -> tuple[Any, Any, Any]:
        with np.errstate(all="ignore"):
            return _state(*head(job[0]), scale, softcap, job[1])

    chosen = exponential.choose(computing_dtype(np, query.dtype), mask)
    jobs = [(place, keys) for place in places for keys in parts]
    work = len(places) * length * (key.shape[-1] + value.shape[-1])
    workers = min(workers, max(1, work // SHARE))
    states = iter(parallel_map(state, jobs, threads=workers))
    for place in places:
        *index, j = place
        some = output[tuple(index)][j * size : (j + 1) * size]
        with np.errstate(all="ignore"):
            merged = _merge([next(states) for _ in parts], chosen).reshape(some.shape)
            np.copyto(some, merged, casting="same_kind")
            wrong = ~np.isfinite(merged).all(axis=-1, keepdims=True)
            if wrong.any():
                np.copyto(some, _by_equation(*head(place), scale, softcap), where=wrong)
    return output


def _state(
    query: Any,
    key: Any,
    value: Any,
    mask: Any,
    reach: Reach,
    scale: float,
    softcap: float | None,
    keys: range,
) -> tuple[Any, Any, Any]:
    """Sum up some keys of one head for all rows (:eq:`eq-softmax-state`), to the base taken here.

    A row whose scores may have overflowed has a total that is not a number.
    """
    dtype = computing_dtype(np, query.dtype)
    chosen = exponential.choose(dtype, mask)
    factor = scale if softcap is None else scale / softcap
    rows = np.multiply(query, factor, dtype=dtype).reshape(-1, query.shape[-1])
    key, value = (np.asarray(array[as_slice(keys)], dtype) for array in (key, value))
    if len(rows) <= ROWS:
        scores = np.matmul(rows[:, None, :], key.mT)[:, 0]
    else:
        scores = np.matmul(key, rows.mT).mT
    visible = _visible(query.shape[:2], mask, reach, keys)
    lost = None
    if not np.isfinite(scores).all():
        lost = ~np.isfinite(scores)
        lost = (lost if visible is None else lost & visible).any(axis=-1, keepdims=True)
    if softcap is not None:
        np.tanh(scores, out=scores)
        scores *= softcap
    if mask is not None and mask.dtype != bool:
        added = mask[..., as_slice(keys)].astype(dtype, copy=False)
        scores += np.broadcast_to(added, (*query.shape[:2], len(keys))).reshape(scores.shape)
    if visible is not None:
        np.copyto(scores, -np.inf, where=~visible)
    top = np.maximum(scores.max(axis=-1, keepdims=True), np.finfo(dtype).min)
    exponential.below_largest(chosen, scores, top, chosen.factor)
    total = scores.sum(axis=-1, keepdims=True)
    if lost is not None:
        total[lost] = np.nan
    if len(rows) <= ROWS:
        return top, total, np.matmul(scores[:, None, :], value)[:, 0]
    return top, total, np.matmul(scores, value)


def _visible(shape: tuple[int, int], mask: Any, reach: Reach, keys: range) -> Any:
    """Return which keys each row sees, (g · T, keys), or None where each sees all."""
    heads, count = shape
    masks = []
    if reach.is_bounded:
        low, high = reach.spans(range(count), keys.stop)
        if low.max() > keys.start or high.min() < keys.stop:
            masks += reach.masks(xp, None, range(count), keys)
    if mask is not None:
        part = mask[..., as_slice(keys)]
        masks.append(part if part.dtype == bool else part > -np.inf)
    if not masks:
        return None
    visible = np.ones((heads, count, len(keys)), bool)
    for part in masks:
        visible &= part
    return None if visible.all() else visible.reshape(-1, len(keys))


def _merge(states: list[tuple[Any, Any, Any]], chosen: exponential.Base) -> Any:
    """Merge the states of all parts, in their order, and divide (:eq:`eq-softmax-merge`).

    What comes out for a row whose largest score may hide an overflow is not a number.
    """
    tops, totals, mixtures = (np.stack(arrays) for arrays in zip(*states, strict=True))
    top = tops.max(axis=0)
    shrink = chosen.power((tops - top) * chosen.factor)
    total = (shrink * totals).sum(axis=0)
    mixed = (shrink * mixtures).sum(axis=0)
    merged = mixed / np.where(total == 0, 1, total)
    limit = np.finfo(tops.dtype).max * 2.0**-20
    return np.where((np.abs(top) < limit) | (total == 0), merged, np.nan)


def _by_equation(
    query: Any, key: Any, value: Any, mask: Any, reach: Reach, scale: float, softcap: float | None
) -> Any:
    """Compute all rows of one head and its group as the textbook form does."""
    masks = [] if mask is None else [mask]
    masks += reach.masks(xp, None, range(query.shape[-2]), range(len(key)))
    parts = (query, key[None], value[None])
    return textbook_attention(xp, *parts, masks, scale, softcap)[0]
