"""A decoder's layers on NumPy in float32: the same sums, in fewer passes over memory.

Everything but the attention works on each row by itself. So many rows are cut into pieces, which
workers take side by side, each through the end of one layer and the beginning of the next. Few
rows, as when a model writes one token after another, are left to BLAS, whose threads share the
weights: all the time there is that of reading them.
"""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import array_api_compat.numpy
import numpy as np

from companion.arrays import Array
from companion.attention import Call
from companion.kernels.reach import Reach
from companion.kernels.threads import parallel_map, thread_count
from companion.language_model.cache import KeyValueCache
from companion.language_model.config import LanguageModelConfig
from companion.language_model.fast_attention import attend
from companion.language_model.parameters import DecoderLayerParameters, LanguageModelParameters
from companion.norms import unchecked_rms_norm

__all__ = ["fast_states"]

xp: Any = array_api_compat.numpy

ROWS = 256
"""Rows of a piece: enough for a fast product, few enough for the cache of a core."""
FEW = 32
"""Rows up to which BLAS's own threads share a product, and pieces would each read all weights."""
ENTRIES = 32768
"""Entries that go through the gate's passes at once, so that all but the first hit the cache."""
LARGE = 2.0**100
"""Squares of a row that add up to more are those of the careful form."""

Room: TypeAlias = tuple[np.ndarray, np.ndarray]


def fast_states(
    x: Array,
    parameters: LanguageModelParameters,
    turns: tuple[Array, Array],
    cache: KeyValueCache | None,
    visible: Array | None,
    return_all: bool,
) -> list[Array]:
    """Send embedded rows (..., N, d) through all layers of plain parameters.

    `turns` are the cosines and sines of their rotation, `visible` says which of the cache's tokens
    and these are no padding. Returned is a list of the last state, or of all.
    """
    given: Any = x
    c, shape = parameters.config, given.shape
    rows = given.reshape(-1, *shape[-2:]).copy()  # (B, N, d)
    query = np.empty((len(rows), c.head_count, shape[-2], c.head_dim), np.float32)
    rooms = _rooms(c, rows.shape, cache)
    call = _call(query, cache, visible)
    parts = _parts(rows, query, turns, c, 0 if cache is None else cache.length)
    layers: list[Any] = [*parameters.layers, None]
    states = [given]
    with np.errstate(all="ignore"):  # a gate that is shut overflows
        _run(partial(_advance, None, layers[0], rooms[0], c.eps), parts)
        for number, layer in enumerate(parameters.layers):
            done = layer, attend(query, *rooms[number], call)
            room = rooms[(number + 1) % len(rooms)]
            _run(partial(_advance, done, layers[number + 1], room, c.eps), parts)
            state: Any = rows.reshape(shape)
            states = [*states, state.copy()] if return_all else [state]
    return states


def _rooms(
    config: LanguageModelConfig, shape: tuple[int, ...], cache: KeyValueCache | None
) -> list[Room]:
    """Say where each layer's keys and values are: (B, H_kv, S, d_k) with room for the new ones."""
    batch, count, _ = shape
    if cache is None:
        places = (batch, config.key_value_head_count, count, config.head_dim)
        one = np.empty(places, np.float32), np.empty(places, np.float32)
        return [one] * config.layer_count  # each layer's take the place of the last one's
    rooms = (cache.rows(layer, count) for layer in range(config.layer_count))
    return [
        (keys.reshape(batch, *keys.shape[-3:]), values.reshape(batch, *values.shape[-3:]))
        for keys, values in rooms
    ]


def _call(query: np.ndarray, cache: KeyValueCache | None, visible: Any) -> Call:
    """Describe the attention of all layers."""
    offset, left = 0, -1
    if cache is not None:
        offset, left = cache.length, -1 if cache.window is None else cache.window
    batch, heads, count, width = query.shape
    mask = None if visible is None else visible.reshape(batch, 1, 1, -1)
    shape, reach = (batch, heads, count, offset + count), Reach(offset, left, 0)
    return Call(shape, mask, reach, 1 / math.sqrt(width), None, False, None, None)


class _Piece(NamedTuple):
    """Some rows, and what a worker fills for them: views, made once for all layers."""

    x: np.ndarray  # (n, d), changed in place
    normed: np.ndarray  # (n, d)
    projected: np.ndarray  # (n, (H + 2 H_kv) d_k)
    pairs: np.ndarray  # (b, m, H + H_kv, 2, d_k/2), of it: queries and keys
    partners: np.ndarray  # the same, the halves swapped
    value: np.ndarray  # (b, H_kv, m, d_k), of it
    cosine: np.ndarray  # (b or 1, m, 1, 1, d_k/2)
    sine: np.ndarray  # (b or 1, m, 1, 2, d_k/2): minus, then plus
    turned: np.ndarray  # (b, m, H + H_kv, 2, d_k/2)
    crossed: np.ndarray  # the same
    turned_query: np.ndarray  # (b, H, m, d_k), of turned
    turned_key: np.ndarray  # (b, H_kv, m, d_k), of turned
    query: np.ndarray  # (b, H, m, d_k), of all rows' queries
    place: tuple[Any, ...]  # of the rows among all, (B, H, N, d_k)
    room: tuple[Any, ...]  # of the rows among the keys and values, (B, H_kv, S, d_k)
    merged: np.ndarray  # (n, H d_k)
    bundle: np.ndarray  # (b, H, m, d_k), of it
    gate_up: np.ndarray  # (n, 2 d_ff)
    gate: np.ndarray  # (n, d_ff), of it
    up: np.ndarray  # (n, d_ff), of it


def _parts(
    rows: np.ndarray,
    query: np.ndarray,
    turns: tuple[Any, Any],
    config: LanguageModelConfig,
    offset: int,
) -> list[list[_Piece]]:
    """Cut the rows into pieces, and deal them out to the workers."""
    batch, count, width = rows.shape
    workers = 1 if batch * count <= FEW else thread_count()
    cosine, sine = (array.reshape(-1, count, 1, 1, config.head_dim // 2) for array in turns)
    cosine = cosine.astype(np.float32)
    sine = np.concatenate([-sine, sine], axis=3).astype(np.float32)
    places = _places(batch, count, workers)
    workers = min(workers, len(places))
    most = max((b.stop - b.start) * (n.stop - n.start) for b, n in places)
    c, heads = config, config.head_count
    turning = heads + c.key_value_head_count
    cut = turning * c.head_dim
    columns = (width, cut + c.key_value_head_count * c.head_dim, cut, cut, heads * c.head_dim)

    def piece(place: tuple[slice, slice], rooms: list[np.ndarray]) -> _Piece:
        texts, tokens = place
        sizes = texts.stop - texts.start, tokens.stop - tokens.start
        x = rows[texts, tokens].reshape(-1, width)
        normed, projected, turned, crossed, merged, gate_up = (room[: len(x)] for room in rooms)
        pairs = projected[:, :cut].reshape(*sizes, turning, 2, -1)
        whole = np.swapaxes(turned.reshape(*sizes, turning, -1), 1, 2)  # (b, H + H_kv, m, d_k)
        of_batch = texts if len(cosine) > 1 else slice(None)
        return _Piece(
            x=x,
            normed=normed,
            projected=projected,
            pairs=pairs,
            partners=pairs[..., ::-1, :],
            value=np.swapaxes(projected[:, cut:].reshape(*sizes, -1, c.head_dim), 1, 2),
            cosine=cosine[of_batch, tokens],
            sine=sine[of_batch, tokens],
            turned=turned.reshape(pairs.shape),
            crossed=crossed.reshape(pairs.shape),
            turned_query=whole[:, :heads],
            turned_key=whole[:, heads:],
            query=query[texts, :, tokens],
            place=(texts, slice(None), tokens),
            room=(texts, slice(None), slice(offset + tokens.start, offset + tokens.stop)),
            merged=merged,
            bundle=np.swapaxes(merged.reshape(*sizes, heads, -1), 1, 2),
            gate_up=gate_up,
            gate=gate_up[:, : c.hidden_width],
            up=gate_up[:, c.hidden_width :],
        )

    parts = []
    for worker in range(workers):
        rooms = [np.empty((most, n), np.float32) for n in (*columns, 2 * c.hidden_width)]
        parts.append([piece(place, rooms) for place in places[worker::workers]])
    return parts


def _places(batch: int, count: int, workers: int) -> list[tuple[slice, slice]]:
    """Cut (batch, count) rows into pieces of whole texts, or each of a part of one text."""

    def cut(length: int, pieces: int) -> list[slice]:
        ends = [length * i // pieces for i in range(pieces + 1)]
        return [slice(start, stop) for start, stop in itertools.pairwise(ends)]

    if batch * count <= FEW:
        return [(slice(0, batch), slice(0, count))]
    if batch > 1 and count < ROWS:
        wanted = workers * math.ceil(batch * count / (workers * ROWS))
        return [(texts, slice(0, count)) for texts in cut(batch, min(wanted, batch))]
    wanted = math.ceil(count / ROWS)
    if batch == 1:
        wanted = min(workers * math.ceil(wanted / workers), count)
    return [(slice(i, i + 1), tokens) for i in range(batch) for tokens in cut(count, wanted)]


def _run(function: Callable[[list[_Piece]], None], parts: list[list[_Piece]]) -> None:
    if len(parts) == 1:
        function(parts[0])
    else:
        parallel_map(function, parts, threads=len(parts))


def _advance(
    done: tuple[DecoderLayerParameters, Any] | None,
    following: DecoderLayerParameters | None,
    room: Room,
    eps: float,
    pieces: list[_Piece],
) -> None:
    """Take pieces from the mixtures of one layer to the queries, keys and values of the next."""
    for piece in pieces:
        if done is not None:
            _finish(piece, *done, eps)
        if following is not None:
            _begin(piece, following, *room, eps)


def _begin(p: _Piece, layer: Any, keys: np.ndarray, values: np.ndarray, eps: float) -> None:
    """Make the queries, keys and values of some rows."""
    _norm(p.x, layer.norm_1, eps, p.normed)
    product(p.normed, layer.w_qkv, p.projected)
    np.multiply(p.pairs, p.cosine, out=p.turned)
    np.multiply(p.partners, p.sine, out=p.crossed)
    np.add(p.turned, p.crossed, out=p.turned)
    p.query[...] = p.turned_query
    keys[p.room] = p.turned_key
    values[p.room] = p.value


def _finish(p: _Piece, layer: Any, mixed: np.ndarray, eps: float) -> None:
    """Add what the heads bring to some rows, and then what the gated network brings."""
    p.bundle[...] = mixed[p.place]
    product(p.merged, layer.w_o, p.normed)
    np.add(p.x, p.normed, out=p.x)
    _norm(p.x, layer.norm_2, eps, p.normed)
    product(p.normed, layer.w_gate_up, p.gate_up)
    step = max(1, ENTRIES // p.gate.shape[1])
    for start in range(0, len(p.gate), step):
        _open(p.gate[start : start + step], p.up[start : start + step])
    product(p.gate, layer.w_down, p.normed)
    np.add(p.x, p.normed, out=p.x)


def product(rows: np.ndarray, weight: Any, out: np.ndarray) -> None:
    """Multiply some rows with a weight: all the work there is beside the attention."""
    np.matmul(rows, weight, out=out)


def _norm(x: np.ndarray, weight: Any, eps: float, out: np.ndarray) -> None:
    """Do what :func:`companion.rms_norm` does, each row by itself."""
    squares = np.vecdot(x, x)
    size = np.sqrt(squares * np.float32(1 / x.shape[1]) + np.float32(eps))
    np.divide(x, size[:, None], out=out)
    np.multiply(out, weight, out=out)
    if not squares.max() < LARGE:
        rows: Any = x
        careful: Any = unchecked_rms_norm(xp, rows, weight, eps)
        np.copyto(out, careful, where=~(squares < LARGE)[:, None])


def _open(gate: np.ndarray, up: np.ndarray) -> None:
    """Replace the gate by SiLU of it, times what it lets through."""
    shut = np.exp(np.negative(gate))
    shut += 1
    gate /= shut
    gate *= up
