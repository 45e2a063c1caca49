"""Curves of measured and computed quantities, labelled at their ends.

Curves are told apart by dashes and markers as well as by colour, and named where they end, so that
no legend has to be searched.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from companion.arrays import Array
from companion.figures.kit import wording
from companion.figures.kit.axis import Axis, choose_axis, tick_texts
from companion.figures.kit.canvas import Canvas, text_size
from companion.figures.kit.curve_data import checked_bands, checked_lines
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.palette import FAINT, LINES, MUTED
from companion.figures.kit.tables import curve_table
from companion.figures.kit.titles import draw_title, wrapped

__all__ = ["curves"]

NAME, TICK, AXIS_TITLE, TITLE = 11.0, 10.5, 11.0, 12.0
WIDTH = 345.0
NAME_ROOM = 96.0
NAME_LINE = 14.0
MOST_MARKERS, FEW_MARKERS = 15, 7
_DASHES = ((), (6.0, 2.5), (6.0, 2.0, 1.5, 2.0), (1.5, 2.0), (9.0, 2.0), (3.0, 1.5))
_MARKERS = ("disc", "square", "triangle", "diamond", "wedge", "plus")
# The corners of all but the disc, in units of its radius.
_CORNERS = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "triangle": ((0.0, -1.2), (1.2, 0.96), (-1.2, 0.96)),
    "diamond": ((0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)),
    "wedge": ((0.0, 1.2), (1.2, -0.96), (-1.2, -0.96)),
    "plus": (
        *((-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4)),
        *((0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)),
    ),
}


@style()
def curves(
    x: Array,
    lines: Mapping[str, Any],
    *,
    x_title: str,
    y_title: str,
    title: str | None = None,
    x_log: bool = False,
    y_log: bool = False,
    bands: Mapping[str, tuple[Any, Any]] | None = None,
    references: Sequence[str] = (),
    x_ticks: Sequence[float] | None = None,
    y_ticks: Sequence[float] | None = None,
    y_limits: tuple[float, float] | None = None,
    height: float = 200.0,
) -> Figure:
    """Draw curves over one x.

    Parameters
    ----------
    x : array, shape (n,)
        Increasing.
    lines : mapping of str to array, shape (n,)
        The curves by name; at most six. NaN leaves a gap.
    x_title, y_title : str
        What the axes show, with the unit where there is one; a logarithmic axis says so itself.
    title : str, optional
        Written above, and at the head of the alt text.
    x_log, y_log : bool
        Whether an axis is logarithmic.
    bands : mapping of str to (low, high), optional
        For a curve by its name, the edges of a band around it, such as its sampling error.
    references : sequence of str
        Names of curves that are only there to compare with, such as a theory: thin, grey, without
        markers.
    x_ticks, y_ticks : sequence of float, optional
        The values marked on an axis.
    y_limits : (float, float), optional
        The ends of the y axis.
    height : float
        Of the plotting area, in points.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a shape, a name, a limit or a value on a logarithmic axis does not fit.
    """
    x, drawn = checked_lines(x, lines, x_log, y_log)
    edges = checked_bands(bands or {}, drawn)
    for name in references:
        if name not in drawn:
            raise ValueError(f"references must name curves out of {list(drawn)}, got {name!r}")
    every_y = np.concatenate([*drawn.values(), *(edge for band in edges.values() for edge in band)])
    every_y = every_y[np.isfinite(every_y)]
    x_axis = choose_axis(x, logarithmic=x_log, ticks=x_ticks, limits=(x[0], x[-1]))
    y_axis = choose_axis(every_y, logarithmic=y_log, ticks=y_ticks, limits=y_limits)
    plot = _Plot(x_axis, y_axis, height, list(drawn))
    plot.axes(x_title, y_title, title)
    looks = _looks(drawn, references)
    for name, (low, high) in edges.items():
        plot.band(x, low, high, looks[name][0])
    for name, y in drawn.items():
        plot.curve(x, y, *looks[name])
    plot.names(x, drawn, {name: look[0] for name, look in looks.items()})
    words = wording.curves(x, drawn, edges, references, (x_title, y_title), (x_log, y_log), title)
    return plot.canvas.finish(words, curve_table(x, drawn, x_title, y_title))


class _Plot:
    """A plotting area of the full width, with room for the curves' names on its right."""

    def __init__(self, x_axis: Axis, y_axis: Axis, height: float, names: list[str]) -> None:
        self.canvas = Canvas()
        self.x_axis, self.y_axis, self.height = x_axis, y_axis, height
        self._lines = {name: wrapped(name.split(), NAME, NAME_ROOM) for name in names}
        every_line = [line for wrapped in self._lines.values() for line in wrapped]
        names_width = max(text_size(line, NAME, bold=True)[0] for line in every_line)
        self._ticks_width = max((text_size(t, TICK)[0] for t in tick_texts(y_axis)), default=0.0)
        self.width = WIDTH - self._ticks_width - 8.0 - names_width - 14.0

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point lies on the canvas."""
        return (
            self.x_axis.fraction(x) * self.width,
            self.height * (1.0 - self.y_axis.fraction(y)),
        )

    def axes(self, x_title: str, y_title: str, title: str | None) -> None:
        canvas, left = self.canvas, -7.0 - self._ticks_width
        for tick, text in zip(self.y_axis.ticks, tick_texts(self.y_axis), strict=True):
            y = self.place(self.x_axis.low, tick)[1]
            canvas.line([(0.0, y), (self.width, y)], colour=FAINT, width=0.6, order=0.5)
            canvas.text(-7.0, y, text, size=TICK, align="right")
        canvas.line([(0.0, self.height), (self.width, self.height)], colour=MUTED, width=1.0)
        for tick, text in zip(self.x_axis.ticks, tick_texts(self.x_axis), strict=True):
            x = self.place(tick, self.y_axis.low)[0]
            canvas.line([(x, self.height), (x, self.height + 4.0)], colour=MUTED, width=1.0)
            canvas.text(x, self.height + 13.0, text, size=TICK)
        x_title, y_title = (
            f"{words}, logarithmic" if axis.logarithmic else words
            for words, axis in ((x_title, self.x_axis), (y_title, self.y_axis))
        )
        canvas.text(self.width / 2, self.height + 31.0, x_title, size=AXIS_TITLE, colour=MUTED)
        canvas.text(left, -18.0, y_title, size=AXIS_TITLE, align="left", colour=MUTED)
        if title is not None:
            draw_title(canvas, left, -40.0, title, size=TITLE)

    def band(self, x: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str) -> None:
        known = np.isfinite(low) & np.isfinite(high)
        points = [self.place(*p) for p in zip(x[known], low[known], strict=True)]
        points += [self.place(*p) for p in zip(x[known][::-1], high[known][::-1], strict=True)]
        self.canvas.polygon(points, fill=colour, opacity=0.2, order=1.0)

    def curve(
        self,
        x: np.ndarray,
        y: np.ndarray,
        colour: str,
        dashes: Sequence[float],
        marker: str | None,
    ) -> None:
        known = np.flatnonzero(np.isfinite(y))
        width = 2.0 if marker else 1.3
        for run in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
            if len(run) > 1:
                points = [self.place(x[i], y[i]) for i in run]
                self.canvas.line(points, colour=colour, width=width, dashes=dashes, order=2.0)
        if marker:
            few = min(len(known), MOST_MARKERS if len(known) <= MOST_MARKERS else FEW_MARKERS)
            for i in known[np.linspace(0, len(known) - 1, few).round().astype(int)]:
                _mark(self.canvas, *self.place(x[i], y[i]), marker, colour)

    def names(
        self, x: np.ndarray, drawn: Mapping[str, np.ndarray], colours: Mapping[str, str]
    ) -> None:
        """Write the names beside the curves' ends, moved apart where they would overlap."""
        ends = {name: self._end(x, y) for name, y in drawn.items()}
        order = sorted(ends, key=lambda name: ends[name][1])
        heights = [sum(map(_line_height, self._lines[name])) for name in order]
        middles = _apart([ends[name][1] for name in order], heights, self.height)
        for name, middle in zip(order, middles, strict=True):
            lines = self._lines[name]
            end_x, end_y = ends[name]
            if abs(middle - end_y) > 3.0 or self.width - end_x > 12.0:
                points = [(end_x + 3.0, end_y), (self.width + 11.0, middle)]
                self.canvas.line(points, colour=colours[name], width=0.9)
            for k, line in enumerate(lines):
                y = middle + (k - (len(lines) - 1) / 2) * NAME_LINE
                self.canvas.text(
                    self.width + 14.0,
                    y,
                    line,
                    size=NAME,
                    align="left",
                    colour=colours[name],
                    bold="$" not in name,  # mathematics has no bold to match
                )

    def _end(self, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        last = np.flatnonzero(np.isfinite(y))[-1]
        end_x, end_y = self.place(float(x[last]), float(y[last]))
        return end_x, min(max(end_y, 0.0), self.height)


def _looks(
    drawn: Mapping[str, np.ndarray], references: Sequence[str]
) -> dict[str, tuple[str, Sequence[float], str | None]]:
    looks: dict[str, tuple[str, Sequence[float], str | None]] = {}
    k = 0
    for name in drawn:
        if name in references:
            looks[name] = (MUTED, (3.0, 2.0), None)
        else:
            looks[name] = (LINES[k], _DASHES[k], _MARKERS[k])
            k += 1
    return looks


def _mark(canvas: Canvas, x: float, y: float, marker: str, colour: str) -> None:
    r = 3.2
    if marker == "disc":
        canvas.disc(x, y, r, fill=colour)
    else:
        canvas.polygon([(x + r * a, y + r * b) for a, b in _CORNERS[marker]], fill=colour)


def _line_height(line: str) -> float:
    """Return the room a line of a name takes: a root reaches into the line above."""
    return NAME_LINE - NAME + text_size(line, NAME, bold=True)[1]


def _apart(middles: list[float], heights: list[float], lowest: float) -> list[float]:
    """Move labels, sorted from top to bottom, apart until none overlaps, as little as it takes."""
    groups: list[tuple[float, float, list[int]]] = []  # the middle, the height, the members
    for i in range(len(middles)):
        members = [i]
        while True:
            height = sum(heights[m] for m in members)
            middle = sum(middles[m] for m in members) / len(members)
            middle = min(max(middle, height / 2 - NAME_LINE), lowest - height / 2 + NAME_LINE / 2)
            if not groups or middle - groups[-1][0] >= (height + groups[-1][1]) / 2:
                break
            members = groups.pop()[2] + members
        groups.append((middle, height, members))
    placed = []
    for middle, height, members in groups:
        y = middle - height / 2
        for m in members:
            placed.append(y + heights[m] / 2)
            y += heights[m]
    return placed
