"""Attention between a small fast memory and a large slow one, with every number counted that moves.

The queries, keys and values of one head start in the slow memory, and the output ends there. Only
numbers in the fast memory can be computed with, and more than it has room for is an error.
"""

import math
from collections.abc import Iterable

from companion.arrays import Array, Namespace, array_namespace, require_floating, require_same_dtype
from companion.kernels.online_softmax import merge_states, softmax_state, state_output
from companion.scores import scaled_scores
from companion.softmax import softmax

__all__ = ["FastMemory", "tile_rows", "trace_textbook", "trace_tiled"]


class FastMemory:
    """A count of the numbers that are held, and of those that came or went.

    Parameters
    ----------
    capacity : int
        How many numbers there is room for.

    Attributes
    ----------
    held : int
        Numbers in the fast memory now.
    moved : int
        Numbers that were read from the slow memory or written to it so far.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held = 0
        self.moved = 0

    def hold(self, *arrays: Array) -> None:
        """Make room for what is computed here; MemoryError where there is none."""
        self.held += _count(arrays)
        if self.held > self.capacity:
            raise MemoryError(f"{self.held} numbers held, and capacity is {self.capacity}")

    def drop(self, *arrays: Array) -> None:
        """Forget arrays."""
        self.held -= _count(arrays)

    def load(self, array: Array) -> Array:
        """Read an array from the slow memory."""
        self.moved += _count([array])
        self.hold(array)
        return array

    def store(self, array: Array) -> Array:
        """Write an array to the slow memory and forget it here."""
        self.moved += _count([array])
        self.drop(array)
        return array


def _count(arrays: Iterable[Array]) -> int:
    return sum(math.prod(array.shape) for array in arrays)


def trace_textbook(query: Array, key: Array, value: Array, capacity: int) -> tuple[Array, int]:
    """Compute :eq:`eq-attention` in three steps, each from slow memory to slow memory.

    Both products work on square tiles as large as fit, the softmax on as many rows as fit.

    Parameters
    ----------
    query : array, shape (T, d_k)
    key : array, shape (S, d_k)
    value : array, shape (S, d_v)
    capacity : int
        Numbers that the fast memory holds: at least S, and room for a tile of one number.

    Returns
    -------
    output : array, shape (T, d_v)
    moved : int
        Numbers that were read or written (:prf:ref:`prop-tile-traffic`).

    Raises
    ------
    TypeError
        If an argument is not floating or the dtypes differ.
    ValueError
        If shapes do not match or the capacity is too small.
    """
    xp = _check(query, key, value)
    (count, d_k), (length, d_v) = query.shape, value.shape
    least = max(length, 1 + 2 * max(d_k, d_v))
    if capacity < least:
        raise ValueError(f"capacity must be at least {least} for {length} keys, got {capacity}")
    fast = FastMemory(capacity)
    some = math.isqrt(capacity + max(d_k, d_v) ** 2) - max(d_k, d_v)  # some² + 2 some d fit
    key_tiles = _tiles(length, some)

    def scores_of(rows: slice) -> Array:
        tiles = []
        part = fast.load(query[rows, :])  # (some, d_k)
        for keys in key_tiles:
            facing = fast.load(key[keys, :])  # (some, d_k)
            scores = scaled_scores(part, facing)
            fast.hold(scores)
            tiles.append(fast.store(scores))
            fast.drop(facing)
        fast.drop(part)
        return xp.concat(tiles, axis=-1)

    def mixture_of(rows: slice) -> Array:
        mixed = xp.zeros_like(value[:1, :]) + xp.zeros_like(weights[rows, :1])  # (some, d_v)
        fast.hold(mixed)
        for keys in key_tiles:
            part = fast.load(weights[rows, keys])  # (some, some)
            facing = fast.load(value[keys, :])  # (some, d_v)
            mixed = mixed + part @ facing
            fast.drop(part, facing)
        return fast.store(mixed)

    scores = xp.concat([scores_of(rows) for rows in _tiles(count, some)])  # (T, S)
    whole = _tiles(count, capacity // length)
    weights = xp.concat([fast.store(softmax(fast.load(scores[rows, :]))) for rows in whole])
    return xp.concat([mixture_of(rows) for rows in _tiles(count, some)]), fast.moved


def trace_tiled(
    query: Array, key: Array, value: Array, capacity: int, *, block_size: int = 1
) -> tuple[Array, int]:
    """Compute :eq:`eq-attention` with all scores made, used and forgotten in the fast memory.

    For as many queries as fit, all blocks of keys and values are read in turn and merged into
    the queries' states (:eq:`eq-softmax-merge`).

    Parameters
    ----------
    query : array, shape (T, d_k)
    key : array, shape (S, d_k)
    value : array, shape (S, d_v)
    capacity : int
        Numbers that the fast memory holds.
    block_size : int
        Keys in a block.

    Returns
    -------
    output : array, shape (T, d_v)
    moved : int
        Numbers that were read or written (:prf:ref:`prop-tile-traffic`).

    Raises
    ------
    TypeError
        If an argument is not floating or the dtypes differ.
    ValueError
        If shapes do not match or the capacity is too small.

    References
    ----------
    Dao et al., *FlashAttention*, 2022, where a tile of keys waits for all queries instead.
    """
    xp = _check(query, key, value)
    rows_of_a_tile = tile_rows(capacity, query.shape[1], value.shape[1], block_size=block_size)
    fast = FastMemory(capacity)
    finished = []
    for rows in _tiles(query.shape[0], rows_of_a_tile):
        part = fast.load(query[rows, :])
        state = None
        for keys in _tiles(key.shape[0], block_size):
            key_block, value_block = fast.load(key[keys, :]), fast.load(value[keys, :])
            scores = scaled_scores(part, key_block)
            fast.hold(scores)
            seen = softmax_state(scores, value_block)
            fast.hold(*seen)
            if state is not None:
                fast.drop(*state)  # the merged state takes the place of the old one
                seen, old = merge_states(state, seen), seen
                fast.hold(*seen)
                fast.drop(*old)
            state = seen
            fast.drop(key_block, value_block, scores)
        assert state is not None  # there is at least one key
        output = state_output(state)
        fast.drop(part, state.maximum, state.total)
        finished.append(fast.store(output))
    return xp.concat(finished), fast.moved


def tile_rows(capacity: int, d_k: int, d_v: int, *, block_size: int = 1) -> int:
    """Return how many queries fit with their states beside one block of keys and values.

    A query takes its d_k numbers, two states of d_v + 2 (its own and the block's) and a score for
    each key of the block; ValueError where not even one query fits.
    """
    room = capacity - block_size * (d_k + d_v)
    rows = room // (d_k + 2 * (d_v + 2) + block_size)
    if block_size < 1 or rows < 1:
        raise ValueError(
            f"capacity must leave room for one query and a block of at least one key, "
            f"got {capacity} for d_k={d_k}, d_v={d_v} and block_size={block_size}"
        )
    return rows


def _tiles(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _check(query: Array, key: Array, value: Array) -> Namespace:
    xp = array_namespace(query=query, key=key, value=value)
    require_floating(xp, query=query, key=key, value=value)
    require_same_dtype(query=query, key=key, value=value)
    if query.ndim != 2 or query.shape[0] == 0:
        raise ValueError(f"query must be (T, d_k) with T of at least 1, got {query.shape}")
    if key.ndim != 2 or key.shape[0] == 0 or key.shape[1] != query.shape[1]:
        raise ValueError(f"key must be (S, d_k={query.shape[1]}) with S >= 1, got {key.shape}")
    if value.ndim != 2 or value.shape[0] != key.shape[0]:
        raise ValueError(f"value must be (S={key.shape[0]}, d_v), got {value.shape}")
    return xp
