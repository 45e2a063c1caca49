"""What one worker knows of its keys, in one array that can travel; and two of them as one."""

import math
from typing import Any, NamedTuple

import array_api_compat

from companion.arrays import Array, Namespace, array_namespace, cast, computing_dtype, widen
from companion.kernels.reach import Reach, as_slice, mask_part
from companion.kernels.textbook import capped_and_masked, group, ungroup
from companion.kernels.threads import parallel_map
from companion.scores import unchecked_scaled_scores
from companion.softmax import exponentials, powers_below

SCORES = 2**20
"""Scores that a worker holds at once, as far as a piece of `LEAST` keys allows."""
LEAST = 64


class Shard(NamedTuple):
    """Which rows and keys a worker is given, and what is asked of them."""

    rows: range
    keys: range
    reach: Reach  # its offset is 0 where an array of offsets comes as an argument of its own
    scale: float
    softcap: float | None
    batch: tuple[int, ...]  # that of the output's block


def packed_state(
    shard: Shard,
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    offset: Array | None = None,
) -> Array:
    """Sum up a worker's keys for some queries: (..., H, T, d_v + 2), or (T, d_v + 2).

    The columns are the largest score m, the sum t of :eq:`eq-softmax-state`, and u / t, which
    stays as small as the values are: u itself can leave the range where no output does. Without a
    visible key they are −∞, 0 and 0. What begins in 16 bits is summed up in float32.

    One thread of BLAS computes it, however the worker was started.
    """
    arrays = (query, key, value, attn_mask, offset)
    return parallel_map(lambda _: _packed_state(shard, *arrays), [None], threads=1)[0]


def _packed_state(
    shard: Shard,
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None,
    offset: Array | None,
) -> Array:
    xp, device = array_namespace(query=query), array_api_compat.device(query)
    if attn_mask is not None:
        attn_mask = xp.asarray(attn_mask, device=device)  # one of NumPy's, beside CuPy's arrays
    reach = shard.reach if offset is None else shard.reach._replace(offset=offset)
    query, key, value = widen(xp, query), widen(xp, key), widen(xp, value)
    grouped, heads = group(xp, query, key), query.shape[-3:-1]
    count = max(LEAST, SCORES // max(1, math.prod((*shard.batch, *heads))))
    state = None
    for start in range(shard.keys.start, shard.keys.stop, count):
        keys = range(start, min(start + count, shard.keys.stop))
        if not overlap(keys, reach.keys(shard.rows, shard.keys.stop)):
            continue
        here = range(keys.start - shard.keys.start, keys.stop - shard.keys.start)
        rows = key[..., as_slice(here), :]
        scores = ungroup(xp, unchecked_scaled_scores(xp, grouped, rows, shard.scale), heads)
        masks = reach.masks(xp, device, shard.rows, keys)
        if attn_mask is not None:
            masks.insert(0, mask_part(attn_mask, range(len(shard.rows)), here))
        scores = capped_and_masked(xp, _spread(xp, scores, shard.batch), masks, shard.softcap)
        part = _state(xp, scores, value[..., as_slice(here), :])
        state = part if state is None else merged(state, part)
    if state is None:
        shape = (*shard.batch, *heads, value.shape[-1] + 2)
        return empty_packed(query, shape)
    return state


def overlap(first: range, second: range) -> bool:
    """Say whether two runs of numbers have one in common."""
    return max(first.start, second.start) < min(first.stop, second.stop)


def _spread(xp: Namespace, scores: Array, batch: tuple[int, ...]) -> Array:
    """Give the scores the batch that masks and values may have beyond them."""
    shape = (*batch, *scores.shape[-3:]) if scores.ndim > 2 else scores.shape
    return scores if scores.shape == shape else xp.broadcast_to(scores, shape)


def _state(xp: Namespace, scores: Array, value: Array) -> Array:
    """Sum up a piece of the keys, as :func:`companion.softmax_state` does, and divide."""
    powers, total, top = exponentials(xp, scores, -1)
    blind = total == 0
    weights = powers / xp.where(blind, xp.ones_like(total), total)  # of these keys alone
    mean = ungroup(xp, group(xp, weights, value) @ value, scores.shape[-3:-1])
    mean = xp.where(blind, xp.zeros_like(mean), mean)  # 0 · ∞ is NaN
    return xp.concat([xp.where(blind, xp.full_like(top, -xp.inf), top), total, mean], axis=-1)


def merged(first: Array, second: Array) -> Array:
    """Join what two workers know of the same queries (:eq:`eq-packed-merge`)."""
    xp = array_namespace(first=first, second=second)
    (m, t, o), (m_2, t_2, o_2) = unpack(first), unpack(second)
    top = xp.maximum(m, m_2)
    finite = xp.where(top == -xp.inf, xp.zeros_like(top), top)
    part = t * powers_below(xp, m, finite)
    part_2 = t_2 * powers_below(xp, m_2, finite)
    total = part + part_2
    whole = xp.where(total == 0, xp.ones_like(total), total)
    return xp.concat([top, total, o * (part / whole) + o_2 * (part_2 / whole)], axis=-1)


def unpack(state: Array) -> tuple[Array, Array, Array]:
    """Cut a packed state into m and t, both (..., T, 1), and u / t, (..., T, d_v)."""
    return state[..., 0:1], state[..., 1:2], state[..., 2:]


def empty_packed(like: Array, shape: tuple[int, ...]) -> Array:
    """Return the packed state of no keys, of the library and device of another array."""
    xp, device = array_namespace(like=like), array_api_compat.device(like)
    dtype = computing_dtype(xp, like.dtype)
    zeros = xp.zeros(shape, dtype=dtype, device=device)
    return xp.concat([zeros[..., :1] - xp.inf, zeros[..., 1:]], axis=-1)


def packed_output(state: Array, dtype: Any) -> Array:
    """Take attention's output out of a packed state, rounded once."""
    xp = array_namespace(state=state)
    return cast(xp, xp.asarray(unpack(state)[2], copy=True), dtype)
