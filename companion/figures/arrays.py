"""Drawings of the chapter on NumPy and CuPy: two clocks, formats of numbers, a recorded GPU run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from companion.cost.devices import CommandQueue
from companion.figures.kit.canvas import Canvas
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.palette import FAINT, INK, LINES, MUTED, PANEL, map_colour
from companion.figures.kit.plots import curves
from companion.figures.kit.wording import plain

__all__ = ["number_formats", "recorded_times", "two_clocks"]

LANE, LANE_GAP, SPAN = 26.0, 30.0, 275.0
BIT, BIT_HEIGHT, BIT_GAP = 10.0, 20.0, 42.0
# Sign, exponent, stored significand.
FORMATS = {
    "float32": (1, 8, 23),
    "TF32": (1, 8, 10),
    "bfloat16": (1, 8, 7),
    "float16": (1, 5, 10),
}
MOST_COMMANDS = 8


@style()
def two_clocks(durations: Sequence[float], launch: float, *, unit: str = "µs") -> Figure:
    """Draw a queue of commands: what the host does, what the device does, and two readings.

    Parameters
    ----------
    durations : sequence of float
        How long each command keeps the device busy; at most eight.
    launch : float
        How long it takes the host to hand one over.
    unit : str
        Of all times.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are no commands or too many, or a time is negative.
    """
    if not 1 <= len(durations) <= MOST_COMMANDS:
        raise ValueError(f"durations must hold 1 to {MOST_COMMANDS} times, got {len(durations)}")
    queue, host, device = CommandQueue(launch), [], []
    for duration in durations:
        handed = queue.host
        queue.submit(duration)
        host.append((handed, queue.host))
        device.append((queue.device - duration, queue.device))
    wrong = queue.host
    queue.synchronize()
    end, canvas = queue.host, Canvas()
    points = SPAN / end if end > 0 else 0.0
    for row, (name, lane, colour) in enumerate(
        [("host", host, PANEL), ("device", device, map_colour(0.3))]
    ):
        top = row * (LANE + LANE_GAP)
        canvas.text(-8.0, top + LANE / 2, name, align="right", bold=True)
        canvas.line([(0.0, top + LANE), (SPAN, top + LANE)], colour=FAINT, width=0.8, order=0.5)
        for number, (start, stop) in enumerate(lane, start=1):
            left, width = start * points, (stop - start) * points
            canvas.rectangle(left, top, width, LANE, fill=colour, edge=MUTED)
            if width >= 12.0:
                canvas.text(left + width / 2, top + LANE / 2, str(number), size=10.5)
    bottom = 2 * LANE + LANE_GAP
    readings = [(wrong, "without waiting", LINES[1]), (end, "after waiting", INK)]
    for row, (time, words, colour) in enumerate(readings):
        x, low = time * points, bottom + 16.0 + 18.0 * row
        canvas.line([(x, -6.0), (x, low - 8.0)], colour=colour, width=1.4, dashes=(4.0, 2.5))
        text = f"{words}: {plain(time)} {unit}"
        canvas.text(
            x, low, text, size=11.0, colour=colour, align="left" if 2 * x < SPAN else "right"
        )
    idle = end - sum(durations)
    return canvas.finish(
        f"Two lanes over time. The host hands over {len(durations)} commands and is done after "
        f"{plain(wrong)} {_spoken(unit)}. The device works through them and is done after "
        f"{plain(end)} {_spoken(unit)}, of which it is idle for {plain(idle)}."
    )


def _spoken(unit: str) -> str:
    return {"µs": "microseconds", "ms": "milliseconds"}.get(unit, unit)


@style()
def number_formats() -> Figure:
    """Draw four formats of numbers, a cell a bit: sign, exponent and stored significand.

    Returns
    -------
    Figure
    """
    canvas = Canvas()
    colours = (MUTED, LINES[1], LINES[0])
    for row, (name, counts) in enumerate(FORMATS.items()):
        top, place = row * BIT_GAP, 0
        canvas.text(0.0, top - 9.0, name, align="left", bold=True)
        words = f"{counts[1]} exponent, {counts[2]} significand"
        canvas.text(32 * BIT, top - 9.0, words, size=10.5, align="right", colour=MUTED)
        for part, (count, colour) in enumerate(zip(counts, colours, strict=True)):
            for _ in range(count):
                left = place * BIT
                # Told apart without colour too: the exponent's cells are lower.
                drop = 5.0 if part == 1 else 0.0
                canvas.rectangle(
                    left, top + drop, BIT, BIT_HEIGHT - drop, fill=colour, edge=map_colour(0.0)
                )
                place += 1
    said = "; ".join(
        f"{name}: {sign} sign bit, {exponent} exponent bits, {significand} bits of the significand"
        for name, (sign, exponent, significand) in FORMATS.items()
    )
    return canvas.finish(f"Four rows of cells, one for each bit. {said}.")


def recorded_times(record: Mapping[str, Any]) -> Figure:
    """Draw the recorded times of attention over the length.

    Parameters
    ----------
    record : dict
        What ``benchmarks/results/gpu.json`` holds.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the record holds fewer than two lengths.
    """
    rows = [row for row in record["attention"] if row["implementation"] == "textbook"]
    rows.sort(key=lambda row: row["length"])
    lines = {
        "CPU": "host",
        "GPU": "device",
        "GPU and bus": "device_and_transfers",
        "GPU, not waited for": "unsynchronised",
    }
    return curves(
        np.asarray([float(row["length"]) for row in rows]),
        {
            name: np.asarray([1000 * row[key]["seconds"] for row in rows])
            for name, key in lines.items()
        },
        x_title="tokens N",
        y_title="milliseconds, textbook form",
        x_log=True,
        y_log=True,
    )
