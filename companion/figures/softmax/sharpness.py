"""What a factor before the softmax does to weights and to gradients."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from companion.arrays import Array, array_namespace, to_numpy
from companion.figures.kit.figure import Figure
from companion.figures.kit.plots import curves
from companion.softmax import softmax

__all__ = ["gradient_sizes", "sharpening"]


def sharpening(scores: Array, labels: Sequence[str], betas: Array) -> Figure:
    """Draw the weights softmax(βs) against β: from a plain mean to a hard look-up.

    The table has every third β.

    Parameters
    ----------
    scores : array, shape (n,)
        One row; equal scores share a curve.
    labels : sequence of n str
    betas : array, shape (m,)
        Positive and increasing.

    Returns
    -------
    Figure
    """
    xp = array_namespace(scores=scores, betas=betas)
    host = np.round(to_numpy(scores).astype(np.float64), 12)
    weights = to_numpy(softmax(betas[:, None] * scores[None, :])).astype(np.float64)
    lines = {}
    for first in sorted(np.unique(host, return_index=True)[1]):
        same = np.flatnonzero(host == host[first])
        lines[", ".join(labels[j] for j in same.tolist())] = weights[:, first]
    drawn = curves(
        to_numpy(xp.astype(betas, xp.float64)),
        lines,
        x_title="β",
        y_title="weight",
        x_log=True,
        y_limits=(0.0, 1.0),
        y_ticks=[0, 0.25, 0.5, 0.75, 1],
    )
    (numbers,) = drawn.tables
    some = replace(numbers, row_labels=numbers.row_labels[::3], rows=numbers.rows[::3])
    return replace(drawn, tables=(some,))


def gradient_sizes(d_k: Any, unscaled: Any, scaled: Any, *, y_title: str) -> Figure:
    """Draw the median and the mean size of a gradient against d_k, with and without the scale.

    The axis of the sizes has whole powers of ten, 1 among them.

    Parameters
    ----------
    d_k : array, shape (n,)
        Increasing.
    unscaled, scaled : array, shape (n, trials)
        Sizes without and with the factor 1/√d_k. The band is two standard errors of the mean.
    y_title : str
        What the sizes are of.

    Returns
    -------
    Figure
    """
    lines, bands = {}, {}
    for name, sizes in (("without scale", unscaled), ("with scale", scaled)):
        host = to_numpy(sizes).astype(np.float64)
        lines[f"{name}, median"] = np.median(host, axis=1)
        mean = lines[f"{name}, mean"] = host.mean(axis=1)
        error = 2.0 * host.std(axis=1, ddof=1) / np.sqrt(host.shape[1])
        bands[f"{name}, mean"] = (mean - error, mean + error)
    every = np.concatenate([*lines.values(), *(edge for band in bands.values() for edge in band)])
    low, high = float(every.min()), float(every.max())
    powers = [math.floor(math.log10(size)) for size in (low, high)]
    ticks = [10.0**power for power in range(min(0, powers[0]), max(0, powers[1]) + 1)]
    return curves(
        d_k,
        lines,
        bands=bands,
        x_title="$d_k$",
        y_title=y_title,
        x_log=True,
        y_log=True,
        y_ticks=ticks,
        y_limits=(ticks[0], max(ticks[-1], 1.1 * high)),
        height=230.0,
    )
