"""Attention's gradient tile by tile on NumPy: five products, and no weight is kept."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import array_api_compat.numpy
import numpy as np

from companion.arrays import Namespace, computing_dtype
from companion.kernels import exponential
from companion.kernels.reach import Reach, as_slice
from companion.kernels.threads import parallel_map
from companion.kernels.tiled import on_cores

xp = cast(Namespace, array_api_compat.numpy)

ROWS = 512
"""Queries of a tile."""
KEYS = 256
"""Keys of a tile."""
JOBS = 8
"""Jobs that a call is cut into, however many cores there are, so that its sums repeat."""


class Given(NamedTuple):
    """What a call is about, in the dtype that it is computed in, broadcast to one batch."""

    query: Any  # (*batch, H, T, d_k)
    key: Any  # (*batch, H_kv, S, d_k)
    value: Any  # (*batch, H_kv, S, d_v)
    mask: Any  # (*batch, H, T, S) or None
    reach: Reach  # its offset an array of the batch shape
    scale: float
    softcap: float | None


class Rows(NamedTuple):
    """What is known of each row of a head before the way back: (T, d_v), and (T, 1) thrice."""

    d_output: Any
    shared: Any
    largest: Any
    total: Any


class Tile(NamedTuple):
    """Some rows and keys of one head, and which of them see which; None where all see all."""

    rows: slice
    keys: slice
    visible: Any


def gather(
    query: Any,
    key: Any,
    value: Any,
    mask: Any,
    reach: Reach,
    scale: float,
    softcap: float | None,
) -> Given:
    """Broadcast the arguments of a call to one batch of heads and widen them."""
    arrays: list[Any] = [query, key, value]
    if query.ndim == 2:
        arrays = [array[None] for array in arrays]
    batch = np.broadcast_shapes(*(array.shape[:-3] for array in arrays))
    dtype = computing_dtype(np, query.dtype)
    query, key, value = (
        np.broadcast_to(np.asarray(array, dtype), (*batch, *array.shape[-3:])) for array in arrays
    )
    if mask is not None:
        mask = np.broadcast_to(mask, (*batch, *query.shape[-3:-1], key.shape[-2]))
    offset = np.broadcast_to(cast(Any, reach.offset), batch)
    return Given(query, key, value, mask, reach._replace(offset=offset), scale, softcap)


def attend_again(given: Given, threads: int | None) -> tuple[Any, Any, Any]:
    """Return the output, a number near each row's largest score, and its sum of exponentials below.

    The forward's loops know the sums of nearly all rows, and so most calls need no loops of their
    own for them.
    """
    sums = np.full((2, *given.query.shape[:-1], 1), np.nan, given.query.dtype)
    output = on_cores(*given, threads, sums=sums)
    known = not np.isnan(sums[1]).any()
    return output, *(sums if known else row_sums(given, threads))


def row_sums(given: Given, threads: int | None) -> tuple[Any, Any]:
    """Return each row's largest score and its sum of exponentials below it, (*batch, H, T, 1)."""
    *batch, heads, count, _ = given.query.shape
    largest = np.empty((*batch, heads, count, 1), given.query.dtype)
    total = np.empty_like(largest)
    group = heads // max(given.key.shape[-3], 1)

    def fill(job: tuple[tuple[int, ...], int]) -> None:
        index, head = job
        one = _head(given, index, head, head // group)
        with np.errstate(all="ignore"):
            _fill_row_sums(one, largest[index][head], total[index][head])

    jobs = [(index, head) for index in np.ndindex(*batch) for head in range(heads)]
    parallel_map(fill, jobs, threads=threads)
    return largest, total


def _fill_row_sums(one: Given, largest: Any, total: Any) -> None:
    base = exponential.fastest(one.query.dtype)
    query, key = one.query * _factor(one), np.ascontiguousarray(one.key.T)
    room = np.empty(ROWS * KEYS, query.dtype)
    largest[:], total[:] = -np.inf, 0
    for tile in _tiles(one, range(len(query)), range(len(one.key))):
        so_far, sums = largest[tile.rows], total[tile.rows]
        scores = _room(room, tile)
        np.matmul(query[tile.rows], key[:, tile.keys], out=scores)
        _bend(one, tile, scores)
        if tile.visible is not None:
            scores[~tile.visible] = -np.inf
        top = np.maximum(so_far, scores.max(axis=-1, keepdims=True))
        finite = np.where(top == -np.inf, 0, top)
        _exponentiate(base, scores, finite)
        if tile.visible is not None:
            scores[~tile.visible] = 0
        sums *= np.exp(so_far - finite)
        sums += scores.sum(axis=-1, keepdims=True)
        so_far[:] = top


def gradients(
    given: Given, d_output: Any, shared: Any, largest: Any, total: Any, threads: int | None
) -> Any:
    """Return the gradients of query, key and value, each with the batch of all.

    `shared` (*batch, H, T, 1) is what the scores of a row have in common, the product of its output
    and the output's gradient; `largest` and `total` are what `row_sums` returns.
    """
    *batch, heads, _, _ = given.query.shape
    kv_heads, length = given.key.shape[-3:-1]
    group = heads // max(kv_heads, 1)
    # One head alone is cut along its keys, each part with sums of its own for the queries.
    parts = math.ceil(JOBS / max(1, math.prod(batch) * kv_heads))
    step = max(1, math.ceil(length / KEYS / parts)) * KEYS
    spans = [range(start, min(start + step, length)) for start in range(0, length, step)]
    d_query = np.zeros((len(spans), *given.query.shape), given.query.dtype)
    d_key, d_value = (
        np.zeros(given.key.shape, given.key.dtype),
        np.zeros(given.value.shape, given.key.dtype),
    )

    def add(job: tuple[tuple[int, ...], int, int]) -> None:
        index, shared_head, part = job
        sums_of_keys = d_key[index][shared_head], d_value[index][shared_head]
        for head in range(shared_head * group, (shared_head + 1) * group):
            one = _head(given, index, head, shared_head)
            rows = Rows(*(array[index][head] for array in (d_output, shared, largest, total)))
            with np.errstate(all="ignore"):
                _add(one, rows, spans[part], d_query[part][index][head], *sums_of_keys)

    jobs = [
        (index, head, part)
        for index in np.ndindex(*batch)
        for head in range(kv_heads)
        for part in reversed(range(len(spans)))
    ]
    parallel_map(add, jobs, threads=threads)
    total = d_query[0]
    for part in d_query[1:]:
        total += part
    total *= given.scale
    d_key *= given.scale
    return total, d_key, d_value


def _add(one: Given, rows: Rows, span: range, d_query: Any, d_key: Any, d_value: Any) -> None:
    """Add what the keys of `span` give and get through one head, its scale left out."""
    base, (d_output, shared, largest, total) = exponential.fastest(one.query.dtype), rows
    query, key = one.query * _factor(one), np.ascontiguousarray(one.key.T)
    top = np.where(largest == -np.inf, 0, largest)
    # A column more in the second product takes from every weight's gradient what the row has in
    # common, and the row's total goes into the gradient of its output: two passes over each tile
    # that are not made. The largest score is not taken away so: its own must come to exactly 0.
    ones = np.ones((len(one.key), 1), one.key.dtype)
    d_rows = np.concatenate([d_output, -shared], -1) / np.where(total == 0, 1, total)
    d_mixed = np.ascontiguousarray(d_rows[:, :-1])
    value = np.ascontiguousarray(np.concatenate([one.value, ones], -1).T)
    rooms = [np.empty(ROWS * KEYS, query.dtype) for _ in range(2)]
    for tile in _tiles(one, range(len(query)), span):
        weights, d_scores = (_room(room, tile) for room in rooms)
        np.matmul(query[tile.rows], key[:, tile.keys], out=weights)
        bent = _bend(one, tile, weights)
        _exponentiate(base, weights, top[tile.rows])
        np.matmul(d_rows[tile.rows], value[:, tile.keys], out=d_scores)
        if tile.visible is not None:
            hidden = ~tile.visible
            weights[hidden] = d_scores[hidden] = 0
        d_value[tile.keys] += weights.T @ d_mixed[tile.rows]
        d_scores *= weights
        if bent is not None:
            d_scores *= bent
        d_query[tile.rows] += d_scores @ one.key[tile.keys]
        d_key[tile.keys] += d_scores.T @ one.query[tile.rows]


def _head(given: Given, index: tuple[int, ...], head: int, shared: int) -> Given:
    """Return the call of one head alone, its arrays of two axes."""
    offsets: Any = given.reach.offset
    return given._replace(
        query=given.query[index][head],
        key=given.key[index][shared],
        value=given.value[index][shared],
        mask=None if given.mask is None else given.mask[index][head],
        reach=given.reach._replace(offset=int(offsets[index])),
    )


def _tiles(one: Given, rows: range, span: range) -> Iterator[Tile]:
    """Cut rows and keys into tiles, and leave out those that no row sees anything of."""
    count = len(one.key)
    for start in rows[::ROWS]:
        some = range(start, min(start + ROWS, rows.stop))
        low, high = one.reach.spans(some, count)
        seen = one.reach.keys(some, count)
        for first in span[::KEYS]:
            keys = range(first, min(first + KEYS, span.stop))
            if keys.stop <= seen.start or keys.start >= seen.stop:
                continue
            visible = None
            if one.mask is not None:
                mask = one.mask[as_slice(some), as_slice(keys)]
                visible = mask if mask.dtype == bool else mask > -np.inf
            if low.max() > keys.start or high.min() < keys.stop:
                (placed,) = one.reach.masks(xp, None, some, keys)
                visible = placed if visible is None else visible & placed
            if visible is None or visible.any():
                yield Tile(as_slice(some), as_slice(keys), visible)


def _room(room: Any, tile: Tile) -> Any:
    """Return an array for the scores of a tile, in this memory."""
    shape = (tile.rows.stop - tile.rows.start, tile.keys.stop - tile.keys.start)
    return room[: math.prod(shape)].reshape(shape)


def _factor(one: Given) -> float:
    """Return what a query is multiplied by before its products with the keys."""
    return one.scale if one.softcap is None else one.scale / one.softcap


def _bend(one: Given, tile: Tile, scores: Any) -> Any:
    """Cap the scores of a tile and add the mask, in place; return the slope of the cap, or None."""
    slope = None
    if one.softcap is not None:
        np.tanh(scores, out=scores)
        slope = (1 - scores) * (1 + scores)
        scores *= one.softcap
    if one.mask is not None and one.mask.dtype != bool:
        mask = one.mask[tile.rows, tile.keys].astype(scores.dtype)
        scores += np.where(mask == -np.inf, 0, mask)
    return slope


def _exponentiate(base: exponential.Base, scores: Any, top: Any) -> None:
    """Put the powers of the scores below `top` in their place.

    Nothing becomes subnormal, which would be slow.
    """
    scores -= top
    if base.factor != 1:
        scores *= scores.dtype.type(base.factor)
    least = (np.finfo(scores.dtype).minexp + 1) / base.bits
    np.maximum(scores, scores.dtype.type(least), out=scores)
    base.power(scores, out=scores)
