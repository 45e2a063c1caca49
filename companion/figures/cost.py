"""The drawings of the chapter on costs, from measurements that are kept beside the benchmarks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from companion.figures.kit.axis import Axis, choose_axis, tick_texts
from companion.figures.kit.canvas import Canvas, Point, text_size
from companion.figures.kit.figure import Figure, Table, style
from companion.figures.kit.palette import FAINT, INK, LINES, MUTED
from companion.figures.kit.plots import curves
from companion.figures.kit.tables import table
from companion.figures.kit.titles import draw_title
from companion.figures.kit.wording import plain, three_digits

__all__ = ["growth", "machine_name", "roofline"]

LEFT, WIDTH, HEIGHT = -44.0, 290.0, 250.0
MARK, RIM = 2.8, 0.7
ROW = 16.0
# The instructions that decide how many numbers one of them takes, the widest first.
VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2", "sve": "SVE", "asimd": "Neon"}
# How far from its mark a number may stand, and in how many directions it is tried.
RINGS, DIRECTIONS = (11.0, 13.0, 15.0, 18.0), 16


def machine_name(record: Mapping[str, Any]) -> str:
    """Return what a measurement was made on, as a caption says it."""
    machine = record["machine"]
    threads = max((library["num_threads"] for library in machine["blas"]), default=1)
    plural = "" if threads == 1 else "s"
    found = machine["instruction_sets"]
    vectors = next((f" with {name}" for key, name in VECTORS.items() if key in found), "")
    numpy = machine["versions"]["numpy"]
    return f"{machine['cpu']}{vectors}, {threads} thread{plural}, NumPy {numpy}"


def growth(
    record: Mapping[str, Any],
    quantity: str,
    *,
    names: Mapping[str, str],
    start: int,
    y_title: str,
) -> Figure:
    """Draw how something measured grows with N, beside the curves N, N log N and N².

    Parameters
    ----------
    record : mapping
        Of ``benchmarks/results/cost.json``.
    quantity : {"seconds", "peak"}
        Which number of its layers.
    names : mapping of str to str
        The layers to draw, and what to call them. One that was not measured is left out.
    start : int
        The N at which every curve is 1; shorter ones are left out.
    y_title : str

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a layer was not measured at `start` and some larger N.
    """
    lines: dict[str, Any] = {}
    lengths: list[int] = []
    known = {entry["name"] for entry in record["layers"]}
    for layer, name in names.items():
        if layer not in known:
            continue
        found = {
            entry["length"]: entry[quantity]
            for entry in record["layers"]
            if entry["name"] == layer and entry["length"] >= start
        }
        if start not in found or len(found) < 2:
            raise ValueError(f"names must be layers measured at N={start} and more, got {layer!r}")
        lengths = sorted(found)
        lines[name] = np.asarray([found[n] / found[start] for n in lengths])
    n = np.asarray(lengths, dtype=np.float64)
    references = {
        "$N$": n / start,
        r"$N \log N$": n / start * np.log(n) / math.log(start),
        "$N^2$": (n / start) ** 2,
    }
    return curves(
        n,
        {**references, **lines},
        x_title="tokens N",
        y_title=y_title,
        title=f"On {machine_name(record)}",
        x_log=True,
        y_log=True,
        references=list(references),
        height=230.0,
    )


@style()
def roofline(record: Mapping[str, Any]) -> Figure:
    """Draw where steps lie under the two limits of a machine.

    Parameters
    ----------
    record : mapping
        Of ``benchmarks/results/roofline.json``.

    Returns
    -------
    Figure
    """
    limits, steps = record["limits"], record["steps"]
    points = [
        (step["flops"] / step["moved"], step["flops"] / step["seconds"] / limits["flop_rate"])
        for step in steps
    ]
    ridge = limits["flop_rate"] / limits["bandwidth"]
    area = _Area.of(points, ridge)
    canvas, machine = Canvas(), machine_name(record)
    draw_title(canvas, LEFT, -40.0, f"On {machine}", size=11.0)
    lines = _draw_axes(canvas, area)
    lowest = max(area.x.low, area.y.low * ridge)
    corners = [(lowest, lowest / ridge), (ridge, 1.0), (area.x.high, 1.0)]
    roof = [area.place(*corner) for corner in corners]
    canvas.line(roof, colour=INK, width=1.6)
    _mark_steps(canvas, [area.place(*point) for point in points], steps, [*lines, *pairwise(roof)])
    _list_steps(canvas, steps, HEIGHT + 56.0)
    names = [f"{step['phase']}, {step['name']}" for step in steps]
    said = "; ".join(
        f"{name}: {_three(x)} FLOPs a byte, {_three(y)} of the highest rate"
        for name, (x, y) in zip(names, points, strict=True)
    )
    return canvas.finish(
        f"A roofline, measured on {machine}. The roof rises in proportion to the "
        f"FLOPs a byte and is flat from {_three(ridge)} on. {said}.",
        [_step_table(names, points, ridge)],
    )


@dataclass(frozen=True)
class _Area:
    """The plotting area of a roofline: FLOPs a byte against a share of the highest rate."""

    x: Axis
    y: Axis

    @classmethod
    def of(cls, points: Sequence[Point], ridge: float) -> "_Area":
        across = np.asarray([*(x for x, _ in points), ridge])
        up = np.asarray([*(y for _, y in points), 1.0])
        ends = (float(across.min()) / 1.6, float(across.max()) * 1.8)
        x_axis = choose_axis(across, logarithmic=True, limits=ends)
        return cls(
            x_axis, choose_axis(up, logarithmic=True, limits=(up.min() / 2.2, up.max() * 1.3))
        )

    def place(self, x: float, y: float) -> Point:
        """Return where a point lies on the canvas."""
        return self.x.fraction(x) * WIDTH, (1.0 - self.y.fraction(y)) * HEIGHT


def _draw_axes(canvas: Canvas, area: _Area) -> list[tuple[Point, Point]]:
    """Draw both axes, and return the lines that go through the plotting area."""
    title = "share of the highest FLOP rate, logarithmic"
    canvas.text(LEFT, -20.0, title, align="left", colour=MUTED)
    lines = []
    for tick, text in zip(area.y.ticks, tick_texts(area.y), strict=True):
        y = area.place(area.x.low, tick)[1]
        lines.append(((0.0, y), (WIDTH, y)))
        canvas.line(lines[-1], colour=FAINT, width=0.6, order=0.5)
        canvas.text(-7.0, y, text, size=10.5, align="right")
    canvas.line([(0.0, HEIGHT), (WIDTH, HEIGHT)], colour=MUTED, width=1.0)
    for tick, text in zip(area.x.ticks, tick_texts(area.x), strict=True):
        x = area.place(tick, area.y.low)[0]
        canvas.line([(x, HEIGHT), (x, HEIGHT + 4.0)], colour=MUTED, width=1.0)
        canvas.text(x, HEIGHT + 13.0, text, size=10.5)
    canvas.text(WIDTH / 2, HEIGHT + 31.0, "FLOPs a byte, logarithmic", colour=MUTED)
    return lines


def _three(value: float) -> str:
    return plain(three_digits(value))


def _step_table(names: Sequence[str], points: Sequence[Point], ridge: float) -> Table:
    return table(
        np.asarray([(x, y, y / min(1.0, x / ridge)) for x, y in points]),
        "measured steps",
        row_labels=names,
        column_labels=["FLOPs a byte", "share of the highest rate", "share of its limit"],
        row_title="step",
        column_title="",
        write=_three,
    )


def _mark_steps(
    canvas: Canvas,
    marks: Sequence[Point],
    steps: Sequence[Mapping[str, Any]],
    lines: Sequence[tuple[Point, Point]],
) -> None:
    """Mark every step, and put its number where no mark, no line and no other number is."""
    numbers: list[Point] = []
    for k, ((x, y), step) in enumerate(zip(marks, steps, strict=True)):
        _mark(canvas, x, y, step["phase"])
        others = [*marks[:k], *marks[k + 1 :]]
        turns = [2 * math.pi * i / DIRECTIONS for i in range(DIRECTIONS)]
        spots = [(x + r * math.cos(t), y + r * math.sin(t)) for r in RINGS for t in turns]
        free = (
            spot
            for spot in spots
            if all(math.dist(spot, taken) > 11.0 for taken in [*others, *numbers])
            and all(_distance(spot, line) > 8.0 for line in lines)
        )
        spot = next(free, spots[0])
        numbers.append(spot)
        canvas.text(*spot, str(k + 1), size=10.5, bold=True, colour=_colour(step["phase"]))


def _distance(point: Point, line: tuple[Point, Point]) -> float:
    """Return how far a point is from a straight line between two others."""
    (x0, y0), (x1, y1) = line
    along = ((point[0] - x0) * (x1 - x0) + (point[1] - y0) * (y1 - y0)) / math.dist(*line) ** 2
    along = min(max(along, 0.0), 1.0)
    return math.dist(point, (x0 + along * (x1 - x0), y0 + along * (y1 - y0)))


def _list_steps(canvas: Canvas, steps: Sequence[Mapping[str, Any]], top: float) -> None:
    phases = list(dict.fromkeys(step["phase"] for step in steps))
    for column, phase in enumerate(phases):
        left = -30.0 + column * 175.0
        _mark(canvas, left, top, phase)
        canvas.text(left + 12.0, top, phase, align="left", bold=True, colour=_colour(phase))
        numbered = [(k, step) for k, step in enumerate(steps, 1) if step["phase"] == phase]
        for row, (k, step) in enumerate(numbered, 1):
            gap = text_size("10", 11.0)[0] - text_size(str(k), 11.0)[0]
            text = f"{k}  {step['name']}"
            canvas.text(left + gap, top + row * ROW, text, size=11.0, align="left")


def _mark(canvas: Canvas, x: float, y: float, phase: str) -> None:
    """Mark a place; a white rim parts what overlaps."""
    for r, fill in ((MARK + RIM, "#ffffff"), (MARK, _colour(phase))):
        if phase == "prefill":
            canvas.disc(x, y, r, fill=fill)
        else:
            corners = [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)]
            canvas.polygon(corners, fill=fill)


def _colour(phase: str) -> str:
    return LINES[0] if phase == "prefill" else LINES[1]
