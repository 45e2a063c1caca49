"""Every mixture lies in the convex hull of the values."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from companion.arrays import Array, array_namespace, to_numpy
from companion.figures.kit.canvas import Canvas, Point, TextLook, text_size
from companion.figures.kit.cells import NUMBER
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.palette import HIGHLIGHT, INK, LINES, MUTED, PANEL
from companion.figures.kit.wording import numbered, signed
from companion.softmax import softmax, weighted_values

__all__ = ["mixtures_in_hull"]

LABEL, TITLE = 11.0, 10.0


@style()
def mixtures_in_hull(
    value: Array, scores: Array, labels: Sequence[str], *, follow: int = 2, side: float = 285.0
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
    corners = [int(corner) for corner in ConvexHull(points).vertices]
    plane = _Plane.of(points, side)
    canvas = Canvas()
    outline = [plane.place(points[i]) for i in [*corners, corners[0]]]
    canvas.polygon(outline[:-1], fill=PANEL, order=0.5)
    canvas.line(outline, colour=MUTED, width=1.0)
    canvas.line([plane.place(p) for p in path], colour=HIGHLIGHT, width=2.0)
    places = [plane.place(output) for output in outputs]
    _draw_outputs(canvas, places, outline, labels, follow)
    for i, point in enumerate(points):
        x, y = plane.place(point)
        canvas.disc(x, y, 4.0, fill=LINES[0])
        below = 11.0 if point[1] == plane.low[1] else 0.0  # clear of the hull's lower edge
        canvas.text(x + 7.0, y + below, labels[i], size=LABEL, align="left", colour=LINES[0])
    _draw_ends(canvas, plane.place(path[0]), places[follow], labels[follow])
    _draw_axes(canvas, plane)
    return canvas.finish(_hull_alt(points, corners, outputs, path, labels, follow))


@dataclass(frozen=True)
class _Plane:
    """The plane of two columns of values, and how many points a unit of it is long."""

    low: np.ndarray
    high: np.ndarray
    unit: float

    @classmethod
    def of(cls, points: np.ndarray, side: float) -> "_Plane":
        low, high = points.min(axis=0), points.max(axis=0)
        return cls(low, high, side / float((high - low).max()))

    def place(self, point: np.ndarray) -> Point:
        """Return where a point lies on the canvas."""
        x, y = np.round((point - self.low) * self.unit, 2)
        return float(x), float(-y)


def _draw_outputs(
    canvas: Canvas,
    places: Sequence[Point],
    outline: Sequence[Point],
    labels: Sequence[str],
    follow: int,
) -> None:
    """Draw a diamond for each output, with its name where it is clear of the hull's edge."""
    for i, (x, y) in enumerate(places):
        canvas.polygon([(x, y - 4.5), (x + 4.5, y), (x, y + 4.5), (x - 4.5, y)], fill=LINES[1])
        if i == follow:
            continue
        near = any(0 < right - x < 30.0 and abs(other - y) < 12.0 for right, other in places)
        look: TextLook = {"size": NUMBER, "colour": LINES[1]}
        edge = _right_edge(outline, y)
        if near:
            canvas.text(x - 8.0, y, labels[i], align="right", **look)
        elif x + 8.0 + text_size(labels[i], NUMBER)[0] < edge:
            canvas.text(x + 8.0, y, labels[i], align="left", **look)
        else:  # the edge of the hull would go through the name
            canvas.line([(x + 5.0, y), (edge + 3.0, y)], colour=LINES[1], width=0.8)
            canvas.text(edge + 6.0, y, labels[i], align="left", **look)


def _draw_ends(canvas: Canvas, start: Point, output: Point, label: str) -> None:
    """Mark where the path begins, and name the output that it goes through."""
    look: TextLook = {"size": NUMBER, "colour": HIGHLIGHT, "bold": True}
    x, y = start
    canvas.disc(x, y, 4.0, fill=HIGHLIGHT)
    canvas.disc(x, y, 2.4, fill=PANEL)
    canvas.text(x + 9.0, y, "β = 0", align="left", **look)
    x, y = output
    canvas.text(x - 9.0, y, f"{label}, β = 1", align="right", **look)


def _right_edge(outline: Sequence[Point], y: float, half: float = 6.0) -> float:
    """Return how far right an outline reaches beside a line of text at this height."""
    heights = np.linspace(y - half, y + half, 5)
    crossed: list[float] = [
        ax + (bx - ax) * (height - ay) / (by - ay)
        for (ax, ay), (bx, by) in pairwise(outline)
        for height in heights
        if min(ay, by) <= height <= max(ay, by) and ay != by
    ]
    return max(crossed)


def _draw_axes(canvas: Canvas, plane: _Plane) -> None:
    low, high = plane.low, plane.high
    (right, top), ground = plane.place(high), 26.0
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
    corners: Sequence[int],
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


def _row(row: np.ndarray) -> str:
    return f"({', '.join(map(signed, row))})"
