"""Causal attention of a decoder's layers on NumPy in float32, over keys that are cached."""

from functools import partial
from typing import Any

import array_api_compat.numpy
import numpy as np

from companion.attention import Call, unchecked_scaled_dot_product_attention
from companion.kernels import exponential
from companion.kernels.threads import parallel_map, thread_count

__all__ = ["attend"]

xp: Any = array_api_compat.numpy

ROWS = 64
"""Queries of one head that are taken at once: few, so that little is computed and then hidden."""
SHARE = 2**16
"""Scores that are worth a thread of their own."""


def attend(query: Any, keys: np.ndarray, values: np.ndarray, call: Call) -> Any:
    """Let all rows attend: query (B, H, N, d_k), keys and values (B, H_kv, S, d_k).

    The last of the keys are the rows' own, so row i sees all up to key S − N + i.
    """
    if query.shape[2] == 1:
        return _attend_one(query, keys, values, call)
    if call.attn_mask is not None or call.reach.left >= 0:
        held: tuple[Any, Any] = keys, values
        return unchecked_scaled_dot_product_attention(xp, query, *held, call)
    batch, _, count, _ = query.shape
    shared, length = keys.shape[1:3]
    places = [
        (text, head, start)
        for start in range(0, count, ROWS)[::-1]  # the longest first
        for text in range(batch)
        for head in range(shared)
    ]
    workers = min(thread_count(), len(places), max(1, query[..., 0].size * length // SHARE))
    columns = np.ascontiguousarray(keys.mT)  # (B, H_kv, d_k, S)
    chosen = exponential.choose(np.float32)
    output = np.empty_like(query)
    job = partial(_attend_blocks, query, columns, values, output, call.scale, chosen)
    if workers == 1:
        job(places)
    else:
        parallel_map(job, [places[i::workers] for i in range(workers)], threads=workers)
    return output


def _attend_blocks(
    query: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    output: np.ndarray,
    scale: float,
    chosen: exponential.Base,
    places: list[tuple[int, int, int]],
) -> None:
    """Compute some rows of the query heads that share a key head, for some texts and heads."""
    (_, heads, count, width), (_, shared, _, length) = query.shape, columns.shape
    group, most = heads // shared, min(ROWS, count)
    room = np.empty(group * most * length, np.float32)
    corner = np.where(np.tri(most, dtype=bool), np.float32(0), np.float32(-np.inf))
    factor = np.float32(scale * chosen.factor)
    for text, head, start in places:
        some = slice(head * group, (head + 1) * group), slice(start, min(start + ROWS, count))
        asked = query[text][some] * factor  # (g, n, d_k)
        rows, seen = asked.shape[1], length - count + some[1].stop
        scores = room[: group * rows * seen].reshape(group * rows, seen)
        np.matmul(asked.reshape(-1, width), columns[text, head, :, :seen], out=scores)
        scores.reshape(group, rows, seen)[..., seen - rows :] += corner[:rows, :rows]
        scores -= scores.max(axis=-1, keepdims=True)
        chosen.power(scores, out=scores)
        mixed = scores @ values[text, head, :seen]
        mixed /= scores.sum(axis=-1, keepdims=True)
        output[text][some] = mixed.reshape(asked.shape)


def _attend_one(query: np.ndarray, keys: np.ndarray, values: np.ndarray, call: Call) -> Any:
    """Let one row of each text attend to all that is held of it: BLAS reads them where they lie."""
    batch, shared, _, width = keys.shape
    asked = (query * np.float32(call.scale)).reshape(batch, shared, -1, width, 1)
    scores = np.matmul(keys[:, :, None], asked)[..., 0]  # (B, H_kv, H/H_kv, S)
    if call.attn_mask is not None:
        np.copyto(scores, -np.inf, where=~np.asarray(call.attn_mask))
    scores -= np.maximum(scores.max(axis=-1, keepdims=True), np.finfo(np.float32).min)
    np.exp(scores, out=scores)
    total = scores.sum(axis=-1)[..., None]
    mixed = np.matmul(scores[..., None, :], values[:, :, None])[..., 0, :]
    mixed /= total if call.attn_mask is None else np.where(total == 0, 1, total)
    return mixed.reshape(query.shape)
