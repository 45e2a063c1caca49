"""Drawings of the chapter on softmax: a mixture by hand, look-ups, the hull, sizes of gradients."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from companion.arrays import array_namespace, to_numpy
from companion.figures.kit.canvas import Canvas, text_size
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.palette import (
    FAINT,
    HIGHLIGHT,
    INK,
    LINES,
    MUTED,
    PANEL,
    map_colour,
    number_colour,
)
from companion.figures.kit.plots import curves
from companion.figures.kit.tables import table
from companion.figures.kit.wording import numbered, short, signed
from companion.softmax import softmax, weighted_values

__all__ = ["gradient_sizes", "mixture", "mixtures_in_hull", "sharpening"]

LABEL, NUMBER, TITLE = 11.0, 10.0, 10.0
LINE = 27.0
#: Left edges of the columns of :func:`mixture`, and how long a weight of 1 is drawn.
SCORE, BAR, CELLS, WHOLE = 100.0, 112.0, 228.0, 130.0
CELL = 35.0


@style()
def mixture(
    tokens: Sequence[str], scores: Any, weights: Any, value: Any, *, follow: int = 2
) -> Figure:
    """Draw how one row of scores becomes weights, and the weights one mixed row of values.

    Parameters
    ----------
    tokens : sequence of S str
    scores, weights : array, shape (S, S)
    value : array, shape (S, d_v) with d_v at most 4
    follow : int
        The query whose row is drawn, counted from 0.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are more than four columns of values, which a phone has no room for.
    """
    array_namespace(scores=scores, weights=weights, value=value)
    scores, weights, value = (to_numpy(a).astype(np.float64) for a in (scores, weights, value))
    if value.shape[1] > 4:
        raise ValueError(f"value must have at most 4 columns, got shape {value.shape}")
    row, shares = scores[follow], weights[follow]
    mixed = shares @ value
    canvas = Canvas()
    _heads(canvas, tokens[follow], value.shape[1])
    for j, token in enumerate(tokens):
        y = (j + 0.5) * LINE
        canvas.text(0.0, y, token, size=LABEL, align="left", bold=j == follow)
        canvas.text(SCORE, y, signed(row[j]), size=LABEL, align="right")
        length = round(float(shares[j]), 4) * WHOLE
        canvas.rectangle(BAR, y - 6.0, length, 12.0, fill=LINES[0])
        share = f"{100 * shares[j]:.1f} %"
        canvas.text(BAR + length + 5.0, y, share, size=NUMBER, align="left")
        _cells(canvas, y, value[j])
    bottom = len(tokens) * LINE
    right = CELLS + value.shape[1] * CELL
    canvas.line([(0.0, bottom + 3.0), (right, bottom + 3.0)], width=1.0)
    y = bottom + 6.0 + LINE / 2
    canvas.text(0.0, y, "mixture", size=LABEL, align="left", bold=True, colour=HIGHLIGHT)
    canvas.text(BAR, y, f"{100 * shares.sum():.0f} %", size=NUMBER, align="left")
    _cells(canvas, y, mixed)
    size = (right - CELLS, LINE - 4.0)
    canvas.rectangle(CELLS, y - size[1] / 2, *size, edge=HIGHLIGHT, line=2.4, radius=2.0, order=3)
    said = [
        f"{token}: score {signed(score)}, weight {100 * share:.1f} %, value {_row(handed, short)}"
        for token, score, share, handed in zip(tokens, row, shares, value, strict=True)
    ]
    return canvas.finish(
        f"Table of what the query {tokens[follow]} makes of {len(tokens)} keys. {'; '.join(said)}. "
        f"The values mixed with these weights give {_row(mixed, short)}.",
        [
            table(
                np.column_stack([row, 100 * shares, value]),
                f"what the query {tokens[follow]} makes of the keys",
                row_labels=tokens,
                column_labels=["score", "weight in %", *_value_columns(value)],
                row_title="key",
            )
        ],
    )


def _value_columns(value: np.ndarray) -> list[str]:
    return [f"value {c + 1}" for c in range(value.shape[1])]


def _heads(canvas: Canvas, token: str, columns: int) -> None:
    middle = CELLS + columns * CELL / 2
    for x, head, align in (
        (0.0, "key", "left"),
        (SCORE, f"score of {token}", "right"),
        (BAR, "weight", "left"),
        (middle, "value row", "center"),
    ):
        canvas.text(x, -9.0, head, size=TITLE, align=align, colour=MUTED)


def _cells(canvas: Canvas, middle: float, row: np.ndarray) -> None:
    for c, number in enumerate(row):
        t = round(float(np.clip(number / 4.0, -1.0, 1.0)), 4)
        x, y, height = CELLS + c * CELL, middle - (LINE - 4.0) / 2, LINE - 4.0
        canvas.rectangle(x, y, CELL, height, fill=map_colour(t), edge=FAINT)
        colour = number_colour(t)
        canvas.text(x + CELL / 2, middle, short(number), size=NUMBER, colour=colour)


def _row(row: np.ndarray, write: Callable[[float], str] = signed) -> str:
    return f"({', '.join(map(write, row))})"


def sharpening(scores: Any, labels: Sequence[str], betas: Any) -> Figure:
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
        lines[", ".join(labels[j] for j in same)] = weights[:, first]
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


@style()
def mixtures_in_hull(
    value: Any, scores: Any, labels: Sequence[str], *, follow: int = 2, side: float = 285.0
) -> Figure:
    """Draw two columns of the values, their convex hull, and the mixtures inside it.

    The followed row of scores is also multiplied by β from 0 to ∞, and its mixture leaves a path.

    Parameters
    ----------
    value : array, shape (S, 2)
    scores : array, shape (S, S)
    labels : sequence of S str
    follow : int
        The query whose path is drawn, counted from 0.
    side : float
        Length in points of the longer side of the plotting area.

    Returns
    -------
    Figure
    """
    from scipy.spatial import ConvexHull

    xp = array_namespace(value=value, scores=scores)
    betas = xp.asarray([0.0, *(2.0 ** (k / 8) for k in range(-40, 49))], dtype=scores.dtype)
    path = weighted_values(softmax(betas[:, None] * scores[follow, :][None, :]), value)
    outputs = to_numpy(weighted_values(softmax(scores), value)).astype(np.float64)
    path, points = (to_numpy(a).astype(np.float64) for a in (path, value))
    corners = ConvexHull(points).vertices
    low, high = points.min(axis=0), points.max(axis=0)
    unit = side / float((high - low).max())

    def place(point: np.ndarray) -> tuple[float, float]:
        x, y = np.round((point - low) * unit, 2)
        return float(x), float(-y)

    canvas = Canvas()
    canvas.polygon([place(points[i]) for i in corners], fill=PANEL, order=0.5)
    outline = [place(points[i]) for i in [*corners, corners[0]]]
    canvas.line(outline, colour=MUTED, width=1.0)
    canvas.line([place(p) for p in path], colour=HIGHLIGHT, width=2.0)
    places = [place(output) for output in outputs]
    for i, (x, y) in enumerate(places):
        canvas.polygon([(x, y - 4.5), (x + 4.5, y), (x, y + 4.5), (x - 4.5, y)], fill=LINES[1])
        if i != follow:
            near = any(0 < right - x < 30.0 and abs(other - y) < 12.0 for right, other in places)
            look = {"size": NUMBER, "colour": LINES[1]}
            edge = _right_edge(outline, y)
            if near:
                canvas.text(x - 8.0, y, labels[i], align="right", **look)
            elif x + 8.0 + text_size(labels[i], NUMBER)[0] < edge:
                canvas.text(x + 8.0, y, labels[i], align="left", **look)
            else:  # the edge of the hull would go through the name
                canvas.line([(x + 5.0, y), (edge + 3.0, y)], colour=LINES[1], width=0.8)
                canvas.text(edge + 6.0, y, labels[i], align="left", **look)
    for i, point in enumerate(points):
        x, y = place(point)
        canvas.disc(x, y, 4.0, fill=LINES[0])
        below = 11.0 if point[1] == low[1] else 0.0  # clear of the hull's lower edge
        canvas.text(x + 7.0, y + below, labels[i], size=LABEL, align="left", colour=LINES[0])
    (x, y), look = place(path[0]), {"size": NUMBER, "colour": HIGHLIGHT, "bold": True}
    canvas.disc(x, y, 4.0, fill=HIGHLIGHT)
    canvas.disc(x, y, 2.4, fill=PANEL)
    canvas.text(x + 9.0, y, "β = 0", align="left", **look)
    x, y = places[follow]
    canvas.text(x - 9.0, y, f"{labels[follow]}, β = 1", align="right", **look)
    _plane(canvas, place(high), low, high)
    return canvas.finish(_hull_alt(points, corners, outputs, path, labels, follow))


def _right_edge(outline: list[tuple[float, float]], y: float, half: float = 6.0) -> float:
    """Return how far right an outline reaches beside a line of text at this height."""
    heights = np.linspace(y - half, y + half, 5)
    crossed = [
        ax + (bx - ax) * (height - ay) / (by - ay)
        for (ax, ay), (bx, by) in pairwise(outline)
        for height in heights
        if min(ay, by) <= height <= max(ay, by) and ay != by
    ]
    return max(crossed)


def _plane(
    canvas: Canvas, upper_right: tuple[float, float], low: np.ndarray, high: np.ndarray
) -> None:
    right, top = upper_right
    ground = 26.0
    canvas.line([(0.0, ground), (right, ground)], width=1.0)
    canvas.line([(-14.0, 0.0), (-14.0, top)], width=1.0)
    for x, number, align in ((0.0, low[0], "left"), (right, high[0], "right")):
        canvas.text(x, ground + 11.0, signed(number), size=NUMBER, align=align, colour=INK)
    for y, number in ((0.0, low[1]), (top, high[1])):
        canvas.text(-20.0, y, signed(number), size=NUMBER, align="right", colour=INK)
    canvas.text(right / 2, ground + 11.0, "value column 1", size=TITLE, colour=MUTED)
    canvas.text(-32.0, top / 2, "value column 2", size=TITLE, colour=MUTED, angle=90.0)


def _hull_alt(
    points: np.ndarray,
    corners: np.ndarray,
    outputs: np.ndarray,
    path: np.ndarray,
    labels: Sequence[str],
    follow: int,
) -> str:
    said = ", ".join(f"{labels[i]} {_row(point)}" for i, point in enumerate(points))
    around = ", ".join(labels[i] for i in sorted(corners))
    made = ", ".join(f"{labels[i]} {_row(output)}" for i, output in enumerate(outputs))
    name = numbered(follow, labels)
    return (
        f"Plane of two value columns. Value rows: {said}. Corners of their convex hull: {around}. "
        f"Inside it the outputs: {made}. The output of row {name} moves on a curve inside the hull "
        f"from {_row(path[0])}, the mean of the values, at β = 0 through {_row(outputs[follow])} "
        f"at β = 1 to {_row(path[-1])} for large β."
    )


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
