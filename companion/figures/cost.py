"""The drawings of the chapter on costs, from measurements that are kept beside the benchmarks."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from companion.figures.axis import choose_axis, tick_texts
from companion.figures.canvas import Canvas, text_size
from companion.figures.figure import Figure, style
from companion.figures.palette import FAINT, INK, LINES, MUTED
from companion.figures.plots import curves

__all__ = ["growth", "machine_name", "roofline"]

WIDTH, HEIGHT = 290.0, 220.0
MARK = 3.4
ROW = 16.0
# Where a number may stand beside its mark, the best place first.
PLACES = ((0, 11.0), (1, 9.0), (1, 0.0), (-1, 0.0), (-1, 9.0), (0, -11.0))


def machine_name(record: Mapping[str, Any]) -> str:
    """Return what a measurement was made on, as a caption says it."""
    machine = record["machine"]
    threads = max((library["num_threads"] for library in machine["blas"]), default=1)
    plural = "" if threads == 1 else "s"
    return f"{machine['cpu']}, {threads} thread{plural}, NumPy {machine['versions']['numpy']}"


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
        title=f"Measured on {machine_name(record)}",
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
    across = np.asarray([p[0] for p in points] + [ridge])
    ends = (float(across.min()) / 1.6, float(across.max()) * 1.8)
    x_axis = choose_axis(across, logarithmic=True, limits=ends)
    up = np.asarray([p[1] for p in points] + [1.0])
    y_axis = choose_axis(up, logarithmic=True, limits=(up.min() / 2.2, up.max() * 1.3))
    canvas = Canvas()

    def place(x: float, y: float) -> tuple[float, float]:
        return x_axis.fraction(x) * WIDTH, (1.0 - y_axis.fraction(y)) * HEIGHT

    canvas.text(-44.0, -40.0, f"Measured on {machine_name(record)}", align="left", bold=True)
    canvas.text(-44.0, -20.0, "share of the highest FLOP rate", align="left", colour=MUTED)
    for tick, text in zip(y_axis.ticks, tick_texts(y_axis), strict=True):
        y = place(x_axis.low, tick)[1]
        canvas.line([(0.0, y), (WIDTH, y)], colour=FAINT, width=0.6, order=0.5)
        canvas.text(-7.0, y, text, size=10.5, align="right")
    canvas.line([(0.0, HEIGHT), (WIDTH, HEIGHT)], colour=MUTED, width=1.0)
    for tick, text in zip(x_axis.ticks, tick_texts(x_axis), strict=True):
        x = place(tick, y_axis.low)[0]
        canvas.line([(x, HEIGHT), (x, HEIGHT + 4.0)], colour=MUTED, width=1.0)
        canvas.text(x, HEIGHT + 13.0, text, size=10.5)
    canvas.text(WIDTH / 2, HEIGHT + 31.0, "FLOPs a byte", colour=MUTED)
    lowest = max(x_axis.low, y_axis.low * ridge)
    roof = [place(lowest, lowest / ridge), place(ridge, 1.0), place(x_axis.high, 1.0)]
    canvas.line(roof, colour=INK, width=1.6)
    _mark_steps(canvas, [place(*point) for point in points], steps)
    _list_steps(canvas, steps, HEIGHT + 56.0)
    said = "; ".join(
        f"{step['phase']}, {step['name']}: {x:.3g} FLOPs a byte, {y:.2g} of the highest rate"
        for step, (x, y) in zip(steps, points, strict=True)
    )
    return canvas.finish(
        f"A roofline, measured on {machine_name(record)}. The roof rises in proportion to the "
        f"FLOPs a byte and is flat from {ridge:.3g} on. {said}."
    )


def _mark_steps(
    canvas: Canvas, places: Sequence[tuple[float, float]], steps: Sequence[Mapping[str, Any]]
) -> None:
    """Mark every step and put its number where it hits no other mark or number."""
    taken = list(places)
    for k, ((x, y), step) in enumerate(zip(places, steps, strict=True)):
        _mark(canvas, x, y, step["phase"])
        half = text_size(str(k + 1), 10.5, bold=True)[0] / 2
        spots = [(x + dx * (half + 6.5), y + dy) for dx, dy in PLACES]
        others = taken[:k] + taken[k + 1 :]

        def room(spot: tuple[float, float], others: Any = others) -> float:
            return min((math.dist(spot, other) for other in others), default=math.inf)

        spot = next((s for s in spots if room(s) > 9.0), max(spots, key=room))
        canvas.text(*spot, str(k + 1), size=10.5, bold=True, colour=_colour(step["phase"]))
        taken.append(spot)


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
    if phase == "prefill":
        canvas.disc(x, y, MARK, fill=_colour(phase))
    else:
        corners = [(x - MARK, y - MARK), (x + MARK, y - MARK), (x + MARK, y + MARK)]
        canvas.polygon([*corners, (x - MARK, y + MARK)], fill=_colour(phase))


def _colour(phase: str) -> str:
    return LINES[0] if phase == "prefill" else LINES[1]
