"""The block of a trained encoder on NumPy in float32: the same sums, fewer passes over memory."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import array_api_compat
import numpy as np

from companion.block import BlockParameters
from companion.kernels.exponential import Base, fastest
from companion.norms import within_range

__all__ = ["even_parts", "fast_block", "is_plain", "lay_out"]

ROWS = 512
"""Tokens that a worker takes at once: for each such part, all weights come from far memory."""
ENTRIES = 32768
"""Entries that go through GELU's many passes at once, so that all but the first hit the cache."""

# |x| Φ(−|x|) is exp(−x²/2) |x| ABOVE(|x|) / BELOW(|x|), the highest powers first; BELOW begins with
# a 1 that is not listed. Fitted to erfcx up to |x| = 14: off by a factor of at most
# 1 + 3.8e-8 (1 + x²), and the rounding of x²/2 to float32 alone can be as much.
ABOVE = (0.39879646, 3.02654623, 9.62428389, 14.17864683)
BELOW = (7.57449367, 25.28612351, 41.87434312, 28.35729473)
FAR = 15.0
"""From here on |x| Φ(−|x|) is 0 in float32."""
FAINT = 2.0**-60
"""A row of powers with a smaller sum may have lost some that count."""


def is_plain(parameters: BlockParameters) -> bool:
    """Say whether :func:`fast_block` knows such a block: float32 on NumPy, all biases, no gate.

    Parameters
    ----------
    parameters : BlockParameters

    Returns
    -------
    bool
        False too where key heads are shared.
    """
    p, network = parameters.attention, parameters.feed_forward
    biases = [p.b_q, p.b_k, p.b_v, p.b_o]
    biases += [getattr(network, name, None) for name in ("b_1", "b_2")]  # a gate leaves no place
    return (
        array_api_compat.is_numpy_array(p.w_q)
        and p.w_q.dtype == np.float32
        and p.w_q.shape[0] == p.w_k.shape[0]
        and all(bias is not None for bias in biases)
    )


class LaidOut(NamedTuple):
    """The weights of a block, so that the queries, keys and values of all heads are one product.

    The factors of the scores are in the queries' weights, and each value has one more column: a 1.
    """

    w_qkv: Any  # (d, 2 · H · d_k + H · (d_v + 1))
    b_qkv: Any
    parameters: BlockParameters


def lay_out(parameters: BlockParameters) -> LaidOut:
    """Lay the weights of a block out for :func:`fast_block`, once for all parts of a batch.

    Parameters
    ----------
    parameters : BlockParameters
        Those that :func:`is_plain` lets through.

    Returns
    -------
    LaidOut
        A copy of the projections; a weight that changes afterwards needs another.
    """
    p: Any = parameters.attention
    scale = np.float32(_exponential().factor / math.sqrt(p.w_q.shape[-1]))
    w_v = np.concatenate([p.w_v, np.zeros_like(p.w_v[..., :1])], axis=-1)
    b_v = np.concatenate([p.b_v, np.ones_like(p.b_v[..., :1])], axis=-1)
    weights = [np.moveaxis(w, 0, 1).reshape(w.shape[1], -1) for w in (scale * p.w_q, p.w_k, w_v)]
    biases = [b.reshape(-1) for b in (scale * p.b_q, p.b_k, b_v)]
    return LaidOut(np.concatenate(weights, axis=1), np.concatenate(biases), parameters)


def even_parts(lengths: Sequence[int], workers: int) -> list[range]:
    """Cut a list of sentences into parts of about as many tokens, as many for each worker.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each sentence.
    workers : int
        The number of parts is a multiple of it, where there are sentences enough.

    Returns
    -------
    list of range
        Which sentences are in each part; none is empty.
    """
    ends = np.cumsum(lengths)
    total = max(int(ends[-1]), 1)
    parts = workers * math.ceil(total / (workers * ROWS))
    middles = ends - np.asarray(lengths) / 2
    part = np.floor(middles * parts / total)
    cuts = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(lengths)]
    return [range(start, stop) for start, stop in itertools.pairwise(cuts)]


def fast_block(
    x: np.ndarray, lengths: Sequence[int], parameters: BlockParameters | LaidOut, *, eps: float
) -> np.ndarray:
    """Compute ``transformer_block(x, parameters, eps=eps)`` for sentences of any lengths.

    Everything but the attention works on each token by itself, so the sentences lie one below the
    other in one matrix, without padding, and only the attention tells them apart.

    Parameters
    ----------
    x : float32 NumPy array, shape (N_1 + … + N_B, d)
    lengths : sequence of int
        N_1, …, N_B.
    parameters : BlockParameters or LaidOut
        Those that :func:`is_plain` lets through, or what :func:`lay_out` made of them.
    eps : float
        Of the layer norms.

    Returns
    -------
    float32 NumPy array, shape (N_1 + … + N_B, d)

    Raises
    ------
    ValueError
        If the lengths do not add up to the rows of `x`.
    """
    if sum(lengths) != len(x):
        raise ValueError(f"lengths must add up to the {len(x)} rows of x, got {sum(lengths)}")
    laid_out = parameters if isinstance(parameters, LaidOut) else lay_out(parameters)
    # What `is_plain` has seen, no annotation says: there is no gate, and all arrays are NumPy's.
    p, network = laid_out.parameters, cast(Any, laid_out.parameters.feed_forward)
    x = _norm(_add(_attend(x, lengths, laid_out), x), p.norm_1, eps)
    hidden = x @ network.w_1
    rows = max(1, ENTRIES // hidden.shape[1])
    for start in range(0, len(hidden), rows):
        _gelu(_add(hidden[start : start + rows], network.b_1))
    return _norm(_add(_add(hidden @ network.w_2, network.b_2), x), p.norm_2, eps)


def _exponential() -> Base:
    return fastest(np.dtype(np.float32))


def _add(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Add to an array that no one else needs."""
    np.add(x, y, out=x)
    return x


def _norm(x: np.ndarray, norm: Any, eps: float) -> np.ndarray:
    """Compute the layer norm of an array that no one else needs."""
    rows, eps, _ = cast(Any, within_range(np, x, eps))
    rows -= np.vecdot(rows, np.ones_like(norm.weight))[:, None] / rows.shape[1]
    variance = np.vecdot(rows, rows)[:, None] / rows.shape[1]
    rows /= np.sqrt(variance + eps)
    rows *= norm.weight
    return _add(rows, norm.bias)


def _attend(x: np.ndarray, lengths: Sequence[int], laid_out: LaidOut) -> np.ndarray:
    """Let the tokens of each sentence attend to one another: (N_1 + … + N_B, d)."""
    p: Any = laid_out.parameters.attention
    heads = len(p.w_q)
    projected = _add(x @ laid_out.w_qkv, laid_out.b_qkv)
    query, key, value = (
        np.moveaxis(part.reshape(len(x), heads, part.shape[1] // heads), 1, 0)  # (H, N_1 + …, d_k)
        for part in np.split(projected, [p.b_q.size, p.b_q.size + p.b_k.size], axis=1)
    )
    mixed = np.empty((len(x), *p.b_v.shape), x.dtype)
    for start, stop in itertools.pairwise([0, *itertools.accumulate(lengths)]):
        if start == stop:
            continue
        rows = slice(start, stop)
        bundle = _mix(query[:, rows], key[:, rows], value[:, rows])
        np.divide(bundle[..., :-1], bundle[..., -1:], out=np.moveaxis(mixed[rows], 0, 1))
    return _add(mixed.reshape(len(x), len(p.w_o)) @ p.w_o, p.b_o)


def _mix(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Add the values up by the powers of the scores; their last column has the powers' sums."""
    for axes in ((-2, -1), -1):  # one top for all rows of a head is faster, and nearly always does
        scores = query @ key.mT  # (H, N, N)
        scores -= scores.max(axis=axes, keepdims=True)
        _exponential().power(scores, out=scores)
        bundle: np.ndarray = scores @ value
        if bundle[..., -1].min() >= FAINT:
            break
    return bundle


def _gelu(x: np.ndarray) -> None:
    """Replace float32 numbers by their GELU: x Φ(x) = max(x, 0) − |x| Φ(−|x|)."""
    size = np.abs(x)
    np.clip(size, 0, FAR, out=size)
    above = ABOVE[0] * size
    for coefficient in ABOVE[1:]:
        above += coefficient
        above *= size
    below = BELOW[0] + size
    for coefficient in BELOW[1:]:
        below *= size
        below += coefficient
    above /= below
    np.multiply(size, size, out=below)
    base = _exponential()
    below *= -0.5 * base.factor
    above *= base.power(below, out=below)
    np.clip(x, 0, np.inf, out=x)
    x -= above
