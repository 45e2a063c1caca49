"""Attention over Dask arrays: each worker sums up its keys, and a fixed tree merges the states."""

import math
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import accumulate, product
from types import ModuleType
from typing import Any

import array_api_compat
import numpy as np

from companion.arrays import Array
from companion.extras import import_extra
from companion.kernels.merge_tree import LEAF, Key, tree
from companion.kernels.shards import (
    Shard,
    empty_packed,
    merged,
    overlap,
    packed_output,
    packed_state,
)

Block = tuple[int, ...]
Chunks = tuple[tuple[int, ...], ...]


def check_known_sizes(**arrays: Array | None) -> None:
    """Raise where Dask does not know how long the chunks of an array are."""
    for name, array in arrays.items():
        if array is not None and any(math.isnan(size) for size in array.shape):
            raise ValueError(
                f"{name} must have chunks of known sizes, got shape {array.shape}: "
                f"its compute_chunk_sizes() finds them out"
            )


def check_dask_call(call: Any) -> None:
    """Raise where an option asks for what chunks on several workers do not have."""
    if call.return_weights:
        raise ValueError("return_weights must be False for Dask arrays, got True")
    if call.implementation == "textbook":
        raise ValueError("implementation must be 'tiled' or None for Dask arrays, got 'textbook'")
    if call.threads is not None:
        raise ValueError(f"threads must be None for Dask arrays, got {call.threads}")


def dask_attention(query: Any, key: Any, value: Any, call: Any) -> Any:
    """Do what :func:`companion.scaled_dot_product_attention` does, lazily, on Dask arrays.

    `call` is what `companion.attention.check_attention` made of its options.

    Each chunk of keys leaves a packed state, and a tree merges them whose form follows from the
    number of chunks alone. What causality, a window or a mask in memory hides from a chunk of
    queries is no task of it.
    """
    name = f"attention-{_dask('base').tokenize(query.name, key.name, value.name, call)}"
    batch = () if query.ndim == 2 else call.shape[:-3]
    query, key, value = _cut_alike(query, key, value, batch)
    outer = [] if query.ndim == 2 else [*_batch_chunks(batch, query, key, value), query.chunks[-3]]
    grid: Chunks = (*outer, query.chunks[-2], key.chunks[-2])
    mask, reach = _cut(call.attn_mask, grid), call.reach
    reach = reach._replace(offset=_cut(reach.offset, grid[:-3]))
    call = call._replace(attn_mask=mask, reach=reach)
    graph: dict[Any, Any] = {}
    for block in product(*(range(len(sizes)) for sizes in grid[:-1])):
        graph |= _block_tasks(name, block, grid, (query, key, value), call)
    parts = [a for a in (query, key, value, mask, reach.offset) if _is_dask(a)]
    whole = _dask("highlevelgraph").HighLevelGraph.from_collections(name, graph, dependencies=parts)
    chunks = (*grid[:-1], value.chunks[-1])
    return _dask("array").Array(whole, name, chunks, dtype=query.dtype, meta=query._meta)


def _dask(module: str) -> ModuleType:
    return import_extra(f"dask.{module}", "distributed", "attention over Dask arrays")


def _is_dask(array: object) -> bool:
    return bool(array_api_compat.is_dask_array(array))


def _cut_alike(query: Any, key: Any, value: Any, batch: Block) -> tuple[Any, Any, Any]:
    """Let queries and values follow the chunks of the keys; no row is cut."""
    key = key.rechunk({-1: -1})
    value = value.rechunk({-2: key.chunks[-2], -1: -1})
    query = query.rechunk({-1: -1})
    if query.ndim > 2:
        times = query.shape[-3] // max(1, key.shape[-3])  # query heads of one key head
        value = value.rechunk({-3: key.chunks[-3]})
        query = query.rechunk({-3: tuple(times * heads for heads in key.chunks[-3])})
    for axis, sizes in enumerate(_batch_chunks(batch, query, key, value), start=-len(batch) - 3):
        query, key, value = (
            array.rechunk({axis: sizes})
            if array.ndim >= -axis and array.shape[axis] == sum(sizes)
            else array
            for array in (query, key, value)
        )
    return query, key, value


def _batch_chunks(batch: Block, query: Any, key: Any, value: Any) -> Iterator[tuple[int, ...]]:
    """Yield the chunks of each batch axis: those of the keys, where they have it."""
    for axis, size in enumerate(batch, start=-len(batch) - 3):
        yield next(
            array.chunks[axis]
            for array in (key, value, query)
            if array.ndim >= -axis and array.shape[axis] == size
        )


def _cut(array: Any, grid: Chunks) -> Any:
    """Cut a Dask array that broadcasts to the grid along its lines; leave what is none."""
    if not _is_dask(array) or array.ndim == 0:
        return array
    lines = zip(array.shape, grid[-array.ndim :], strict=True)
    return array.rechunk(tuple(sizes if sum(sizes) == n else (n,) for n, sizes in lines))


def _ranges(sizes: Iterable[int]) -> list[range]:
    return [range(stop - size, stop) for size, stop in zip(sizes, accumulate(sizes), strict=True)]


def _at(array: Any, block: Block) -> Any:
    """Name the chunk of a Dask array that belongs to a block of the scores."""
    if not _is_dask(array):
        return None
    inner = block[len(block) - array.ndim :]
    return (array.name, *(min(i, n - 1) for i, n in zip(inner, array.numblocks, strict=True)))


def _block_tasks(
    name: str, block: Block, grid: Chunks, arrays: tuple[Any, Any, Any], call: Any
) -> dict[Any, Any]:
    """Make the tasks of one block of the output, and of the states that it is merged from."""
    query, key, value = arrays
    sizes = [of_axis[i] for i, of_axis in zip(block, grid[:-1], strict=True)]
    rows, spans = _ranges(grid[-2])[block[-1]], _ranges(grid[-1])
    reach, before = call.reach, block[:-1]  # the batch and the head
    seen = reach.keys(rows, call.shape[-1])
    offset = _at(reach.offset, block[:-2])
    leaves: dict[int, Key] = {}
    tasks: dict[Any, Any] = {}
    for number, keys in enumerate(spans):
        mask = _mask_of(call.attn_mask, (*block, number), grid)
        if 0 in sizes or not overlap(keys, seen) or mask is HIDDEN:
            continue
        shard = Shard(
            rows,
            keys,
            reach._replace(offset=0) if offset else reach,
            call.scale,
            call.softcap,
            tuple(sizes[:-2]),
        )
        parts = (_at(query, (*block, 0)), *(_at(a, (*before, number, 0)) for a in (key, value)))
        leaf = leaves[number] = (LEAF + name, *block, number)
        tasks[leaf] = (partial(packed_state, shard), *parts, mask, offset)
    steps, root = tree("merge-" + name, block, len(spans), leaves, merged)
    if root is None:
        root = ("empty-" + name, *block)
        shape = (*sizes, value.shape[-1] + 2)
        steps[root] = (partial(empty_packed, query._meta, shape),)
    out = {(name, *block, 0): (partial(packed_output, dtype=query.dtype), root)}
    return tasks | steps | out


HIDDEN = object()


def _mask_of(mask: Any, block: Block, grid: Chunks) -> Any:
    """Return the part of a mask for a block: None if it hides nothing, `HIDDEN` if it hides all."""
    if mask is None or _is_dask(mask):
        return _at(mask, block)
    inner = len(block) - mask.ndim
    part = mask[
        tuple(
            slice(None) if n == 1 else slice(span.start, span.stop)
            for n, span in zip(
                mask.shape,
                (_ranges(sizes)[i] for i, sizes in zip(block[inner:], grid[inner:], strict=True)),
                strict=True,
            )
        )
    ]
    visible = part if part.dtype == np.bool_ else part != -np.inf
    if not visible.any():
        return HIDDEN
    return None if part.dtype == np.bool_ and visible.all() else part
