"""The block of a trained encoder on NumPy in float32: the same sums, fewer passes over memory."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import array_api_compat
import numpy as np

from companion.block import BlockParameters
from companion.norms import layer_norm

__all__ = ["even_parts", "fast_block", "is_plain", "lay_out"]

ROWS = 128
"""Tokens that a worker takes at once: enough for a fast product, few enough for its cache."""
ENTRIES = 32768
"""Entries that go through GELU's many passes at once, so that all but the first hit the cache."""

# |x| Φ(−|x|) is exp(−x²/2) |x| ABOVE(|x|) / BELOW(|x|), the highest powers first; BELOW begins with
# a 1 that is not listed. Fitted to erfcx up to |x| = 14: off by a factor of at most
# 1 + 3.8e-8 (1 + x²), and the rounding of x²/2 to float32 alone can be as much.
ABOVE = (0.39879646, 3.02654623, 9.62428389, 14.17864683)
BELOW = (7.57449367, 25.28612351, 41.87434312, 28.35729473)
FAR = 15.0
"""From here on |x| Φ(−|x|) is 0 in float32."""


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
    """The weights of a block, so that the queries, keys and values of all heads are one product."""

    w_qkv: Any  # (d, 2 · H · d_k + H · d_v)
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
    weights = [np.moveaxis(w, 0, 1).reshape(w.shape[1], -1) for w in (p.w_q, p.w_k, p.w_v)]
    biases = [b.reshape(-1) for b in (p.b_q, p.b_k, p.b_v)]
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
    x = _add(_attend(x, lengths, laid_out), x)
    x = cast(np.ndarray, layer_norm(x, p.norm_1.weight, p.norm_1.bias, eps=eps))
    hidden = _add(x @ network.w_1, network.b_1)
    for start in range(0, hidden.size, ENTRIES):
        _gelu(hidden.reshape(-1)[start : start + ENTRIES])
    x = _add(_add(hidden @ network.w_2, network.b_2), x)
    return cast(np.ndarray, layer_norm(x, p.norm_2.weight, p.norm_2.bias, eps=eps))


def _add(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Add to an array that no one else needs."""
    np.add(x, y, out=x)
    return x


def _attend(x: np.ndarray, lengths: Sequence[int], laid_out: LaidOut) -> np.ndarray:
    """Let the tokens of each sentence attend to one another: (N_1 + … + N_B, d)."""
    p: Any = laid_out.parameters.attention
    projected = _add(x @ laid_out.w_qkv, laid_out.b_qkv)
    cuts = np.cumsum([p.b_q.size, p.b_k.size])
    query, key, value = (
        np.moveaxis(part.reshape(len(x), *bias.shape), 1, 0)  # (H, N_1 + … + N_B, d_k)
        for part, bias in zip(np.split(projected, cuts, axis=1), (p.b_q, p.b_k, p.b_v), strict=True)
    )
    query *= 1 / math.sqrt(query.shape[-1])
    mixed = np.empty((len(x), *p.b_v.shape), x.dtype)
    for start, stop in itertools.pairwise([0, *itertools.accumulate(lengths)]):
        if start == stop:
            continue
        rows = slice(start, stop)
        scores = query[:, rows] @ key[:, rows].mT  # (H, N, N)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        bundle = scores @ value[:, rows]
        bundle /= scores.sum(axis=-1, keepdims=True)
        mixed[rows] = np.moveaxis(bundle, 0, 1)
    return _add(mixed.reshape(len(x), len(p.w_o)) @ p.w_o, p.b_o)


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
    below *= -0.5
    above *= np.exp(below, out=below)
    np.clip(x, 0, np.inf, out=x)
    x -= above
