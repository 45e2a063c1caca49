"""Attention tile by tile: the weights are used where they are made, and never stored."""

import math
import threading
from collections import deque
from typing import Any, cast

import array_api_compat
import numpy as np

from companion.arrays import Array, Namespace, computing_dtype
from companion.kernels.cpu import KEYS, ROWS, Job, Worker
from companion.kernels.decoding import FEW, attend_few
from companion.kernels.gpu import fused_softmax
from companion.kernels.reach import Reach, as_slice, mask_part
from companion.kernels.textbook import masked_softmax, textbook_attention
from companion.kernels.threads import parallel_map, thread_count

__all__ = ["tiled_attention"]

SCORES = 2**24
"""Scores held at once where a tile is some rows of all heads."""

TOGETHER = 2**19
"""Scores at once where a tile is some rows of some heads."""


def tiled_attention(
    xp: Namespace,
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None,
    reach: Reach,
    scale: float,
    softcap: float | None,
    threads: int | None,
) -> Array:
    """Compute :eq:`eq-attention` in memory that grows with the length, not with its square.

    The arguments are those of :func:`companion.scaled_dot_product_attention`, checked there, but
    for two: `xp` is the array module of the arrays, and `reach` says which keys a query may see by
    its place alone, and so stands for `is_causal`, `query_offset` and `window` together. On NumPy
    the tiles are shared between the cores and lean on :prf:ref:`prop-softmax-bound`; on
    other array modules a tile is some rows of all heads, computed as the equation reads, and on
    CuPy all that lies between its two products is fused.
    """
    if not _on_numpy(xp, query) or 0 in (*query.shape, *key.shape, *value.shape):
        return _in_row_blocks(xp, query, key, value, attn_mask, reach, scale, softcap)
    if query.ndim == 2:
        heads = (query[None], key[None], value[None])
        return on_cores(*heads, attn_mask, reach, scale, softcap, threads)[0]
    return on_cores(query, key, value, attn_mask, reach, scale, softcap, threads)


def _on_numpy(xp: Namespace, query: Array) -> bool:
    """Say whether the arrays are NumPy's, and of a kind whose bits the loops know."""
    known = (np.float32, np.float64)
    return array_api_compat.is_numpy_namespace(xp) and computing_dtype(xp, query.dtype) in known


def _in_row_blocks(
    xp: Namespace,
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None,
    reach: Reach,
    scale: float,
    softcap: float | None,
) -> Array:
    """Follow the equation for some queries of all heads at a time, on CuPy in fused kernels."""
    weigh = fused_softmax if array_api_compat.is_cupy_namespace(xp) else masked_softmax
    count, length = query.shape[-2], key.shape[-2]
    batch = np.broadcast_shapes(*(array.shape[:-3] for array in (query, key, value)))
    heads = math.prod((*batch, *query.shape[-3:-2]))
    step = max(1, SCORES // max(1, length * heads))
    device = array_api_compat.device(query)
    dtype, wide = query.dtype, computing_dtype(xp, query.dtype)
    query, key, value = (xp.astype(array, wide, copy=False) for array in (query, key, value))
    blocks = []
    for start in range(0, max(count, 1), step):
        rows = range(start, min(start + step, count))
        keys = reach.keys(rows, length)
        masks = [] if attn_mask is None else [mask_part(attn_mask, rows, keys)]
        masks += reach.masks(xp, device, rows, keys)
        some, seen = query[..., as_slice(rows), :], as_slice(keys)
        mixed, weights = textbook_attention(
            xp, some, key[..., seen, :], value[..., seen, :], masks, scale, softcap, weigh=weigh
        )
        if len(keys) < length:
            mixed = mixed + _spoilt(xp, value, keys, mixed, weights)
        blocks.append(xp.astype(mixed, dtype, copy=False))
    return xp.concat(blocks, axis=-2)


def _spoilt(xp: Namespace, value: Array, keys: range, mixed: Array, weights: Array) -> Array:
    """Return NaN where a value that is not finite, of keys that were left out, counts 0 · ∞ times.

    Asking whether there is one would wait for the device.
    """
    rest = (value[..., : keys.start, :], value[..., keys.stop :, :])
    zeros: Any = sum(xp.sum(0 * part, axis=-2, keepdims=True) for part in rest)
    # (..., H_kv, 1, d_v)
    if mixed.ndim > 2:
        group = mixed.shape[-3] // max(zeros.shape[-3], 1)
        zeros = xp.repeat(zeros, group, axis=-3)
    blind = xp.all(weights == 0, axis=-1, keepdims=True)
    return xp.where(blind, xp.zeros_like(zeros), zeros)


def on_cores(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any,
    reach: Reach,
    scale: float,
    softcap: float | None,
    threads: int | None,
    loops: type[Worker] = Worker,
    sums: Any = None,
) -> Array:
    """Share the heads, and parts of their rows, between the cores, each with loops of its own.

    `sums` (2, …, H, T, 1) is filled with a number near each row's largest score and the sum of the
    exponentials below it, where the loops know them: else it stays as it is, or becomes NaN.
    """
    workers = thread_count(threads)
    batch = np.broadcast_shapes(*(array.shape[:-3] for array in (query, key, value)))
    heads, count = query.shape[-3:-1]
    length = key.shape[-2]
    query, key, value = (
        np.broadcast_to(array, (*batch, *array.shape[-3:])) for array in (query, key, value)
    )
    if attn_mask is not None:
        attn_mask = np.broadcast_to(attn_mask, (*batch, heads, count, length))
    reach = reach._replace(offset=np.broadcast_to(cast(Any, reach.offset), batch))
    if count < FEW:
        return attend_few(query, key, value, attn_mask, reach, scale, softcap, workers)
    # Short heads go together, in calls of NumPy that are long enough for the cores to work at once.
    output = np.empty((*batch, heads, count, value.shape[-1]), query.dtype)
    most = max(1, TOGETHER // (min(count, ROWS) * min(length, KEYS)))
    most = min(most, math.ceil(math.prod(batch) * heads / (2 * workers)))
    groups = _groups(heads, key.shape[-3], max(1, most))
    pieces = math.ceil(4 * workers / (math.prod(batch) * len(groups)))
    step = min(count, math.ceil(count / pieces / ROWS) * ROWS)
    whole = Job(query, key, value, attn_mask, reach, scale, softcap, range(count), output, sums)
    jobs = [
        _part(whole, index, *group, range(start, min(start + step, count)))
        for start in reversed(range(0, count, step))  # under a causal mask the last rows see most
        for index in np.ndindex(*batch)
        for group in groups
    ]
    own, made = threading.local(), []

    def fill(job: Job) -> None:
        if not hasattr(own, "worker"):
            own.worker = _worker(loops, query.dtype)
            made.append(own.worker)
        own.worker.fill(job)

    parallel_map(fill, jobs, threads=workers)
    for worker in made:
        worker.forget()
    _spare.extend(made)
    return output


_spare: deque[Worker] = deque(maxlen=16)
"""Workers whose calls are over. Fresh memory costs a short call as much as its products."""


def _worker(loops: type[Worker], dtype: Any) -> Worker:
    """Take a worker of this kind that is free, or make one."""
    try:
        worker = _spare.pop()
    except IndexError:
        return loops(dtype)
    fits = type(worker) is loops and worker.dtype == computing_dtype(np, dtype)
    return worker if fits else loops(dtype)


def _part(job: Job, index: tuple[int, ...], heads: slice, shared: slice, rows: range) -> Job:
    """Cut one job out of the job of a whole batch: some heads of one of its members."""
    offsets: Any = job.reach.offset  # an array, as the others of the batch
    return job._replace(
        query=job.query[index][heads],
        key=job.key[index][shared],
        value=job.value[index][shared],
        mask=None if job.mask is None else job.mask[index][heads],
        reach=job.reach._replace(offset=int(offsets[index])),
        rows=rows,
        output=job.output[index][heads],
        sums=None if job.sums is None else job.sums[(slice(None), *index, heads)],
    )


def _groups(heads: int, shared: int, most: int) -> list[tuple[slice, slice]]:
    """Cut the heads into groups that share one key head or have one each: heads, key heads."""
    if heads == shared:
        groups = [slice(i, min(i + most, heads)) for i in range(0, heads, most)]
        return [(group, group) for group in groups]
    size = heads // shared
    return [
        (slice(j * size + i, j * size + min(i + most, size)), slice(j, j + 1))
        for j in range(shared)
        for i in range(0, size, most)
    ]
