"""Attention tile by tile: the weights are used where they are made, and never stored."""

import math
from typing import Any

import array_api_compat
import numpy as np

from companion.cpu_kernel import ROWS, Job, Worker
from companion.reach import Reach, as_slice, mask_part
from companion.textbook import textbook_attention
from companion.threads import parallel_map, thread_count

SCORES = 2**24
"""Scores held at once where a tile is some rows of all heads."""


def tiled_attention(
    xp: Any,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any,
    reach: Reach,
    scale: float,
    softcap: float | None,
    threads: int | None,
) -> Any:
    """Compute :eq:`eq-attention` in memory that grows with the length, not with its square.

    The arguments are those of :func:`companion.scaled_dot_product_attention`, checked there. On
    NumPy the tiles are shared between the cores and lean on :prf:ref:`prop-softmax-bound`; on
    other array modules a tile is some rows of all heads, computed as the equation reads.
    """
    if not array_api_compat.is_numpy_namespace(xp) or 0 in (*query.shape, *key.shape, *value.shape):
        return _in_row_blocks(xp, query, key, value, attn_mask, reach, scale, softcap)
    if query.ndim == 2:
        heads = (query[None], key[None], value[None])
        return _on_cores(*heads, attn_mask, reach, scale, softcap, threads)[0]
    return _on_cores(query, key, value, attn_mask, reach, scale, softcap, threads)


def _in_row_blocks(
    xp: Any,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any,
    reach: Reach,
    scale: float,
    softcap: float | None,
) -> Any:
    """Follow the equation for some queries of all heads at a time."""
    count, length = query.shape[-2], key.shape[-2]
    batch = np.broadcast_shapes(*(array.shape[:-3] for array in (query, key, value)))
    heads = math.prod((*batch, *query.shape[-3:-2]))
    step = max(1, SCORES // max(1, length * heads))
    # A value that is not finite reaches every query, so no key can then be left out.
    finite = bool(xp.all(xp.isfinite(value)))
    device = array_api_compat.device(query)
    blocks = []
    for start in range(0, max(count, 1), step):
        rows = range(start, min(start + step, count))
        keys = reach.keys(rows, length) if finite else range(length)
        masks = [] if attn_mask is None else [mask_part(attn_mask, rows, keys)]
        masks += reach.masks(xp, device, rows, keys)
        parts = (
            array[..., as_slice(span), :]
            for array, span in ((query, rows), (key, keys), (value, keys))
        )
        blocks.append(textbook_attention(xp, *parts, masks, scale, softcap)[0])
    return xp.concat(blocks, axis=-2)


def _on_cores(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any,
    reach: Reach,
    scale: float,
    softcap: float | None,
    threads: int | None,
) -> Any:
    """Share the key heads, and parts of the rows of their queries, between the cores."""
    workers = thread_count(threads)
    batch = np.broadcast_shapes(*(array.shape[:-3] for array in (query, key, value)))
    heads, count = query.shape[-3:-1]
    shared = key.shape[-3]
    group = heads // shared
    output = np.empty((*batch, heads, count, value.shape[-1]), query.dtype)
    query, key, value = (
        np.broadcast_to(array, (*batch, *array.shape[-3:])) for array in (query, key, value)
    )
    if attn_mask is not None:
        attn_mask = np.broadcast_to(attn_mask, (*batch, heads, count, key.shape[-2]))
    offsets = np.broadcast_to(reach.offset, batch)
    pieces = math.ceil(4 * workers / (math.prod(batch) * shared))
    step = max(math.ceil(count / pieces / ROWS), 4) * ROWS
    jobs = []
    for start in reversed(range(0, count, step)):  # under a causal mask the last rows see most
        for *index, j in np.ndindex(*batch, shared):
            part = (*index, slice(j * group, (j + 1) * group))
            jobs.append(
                Job(
                    query[part],
                    key[(*index, j)],
                    value[(*index, j)],
                    None if attn_mask is None else attn_mask[part],
                    reach._replace(offset=int(offsets[tuple(index)])),
                    scale,
                    softcap,
                    range(start, min(start + step, count)),
                    min(step, count),
                    output[part],
                )
            )
    idle: list[Worker] = []

    def fill(job: Job) -> None:
        try:
            worker = idle.pop()
        except IndexError:
            worker = Worker(job)
        worker.fill(job)
        idle.append(worker)

    parallel_map(fill, jobs, threads=workers)
    return output
