"""The drawings of the chapter on the transformer block."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from companion.arrays import to_numpy
from companion.figures.kit.canvas import Canvas, text_size
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.palette import FAINT, INK, LINES, MUTED, PANEL
from companion.figures.kit.plots import curves

__all__ = ["norm_placements", "through_layers"]

PLACEMENTS = {
    "post-norm": ("attention", "+", "norm 1", "feed-forward", "+", "norm 2"),
    "pre-norm": ("norm 1", "attention", "+", "norm 2", "feed-forward", "+"),
}
BOX_WIDTH, BOX_HEIGHT, STEP, DISC = 92.0, 26.0, 46.0, 9.0
BETWEEN, BYPASS = 172.0, 62.0
MIDDLE = 3  # steps before Y


@style()
def norm_placements() -> Figure:
    """Draw the steps of a post-norm and of a pre-norm block beside each other.

    Returns
    -------
    Figure
    """
    canvas = Canvas()
    for k, (title, steps) in enumerate(PLACEMENTS.items()):
        _draw_steps(canvas, k * BETWEEN, title, steps)
    said = []
    for title, steps in PLACEMENTS.items():
        way = ", ".join(("X", *steps[:MIDDLE], "Y", *steps[MIDDLE:], "Z"))
        said.append(f"{title}: {way.replace('+', 'plus the residual')}")
    alt = (
        "Two blocks from top to bottom, each with two arrows that lead the residual past a part "
        f"to the plus after it. {'. '.join(said)}. In post-norm each plus is normed before the "
        "residual goes on; in pre-norm no norm lies between X and Z on the residual's way."
    )
    return canvas.finish(alt)


def _draw_steps(canvas: Canvas, x: float, title: str, steps: tuple[str, ...]) -> None:
    """Draw one block; a residual leaves where the last sum, or its norm, is done."""
    canvas.text(x, -44.0, title, size=12.0, bold=True)
    canvas.text(x, -20.0, "$X$", size=12.0)
    above, leaves = -10.0, 4.0
    for i, step in enumerate(steps):
        y = (i + 0.5) * STEP + 8.0
        half = DISC if step == "+" else BOX_HEIGHT / 2
        canvas.arrow([(x, above), (x, y - half - 2.0)])
        if step == "+":
            aside = [(x, leaves), (x - BYPASS, leaves), (x - BYPASS, y), (x - DISC - 2.0, y)]
            canvas.line(aside[:2], colour=LINES[0], width=2.0)
            canvas.arrow(aside[1:], colour=LINES[0], width=2.0)
            canvas.disc(x, y, DISC, fill=PANEL)
            canvas.text(x, y, "+", size=13.0, bold=True)
            normed_next = title == "post-norm"
            leaves = y + (STEP + BOX_HEIGHT / 2 if normed_next else half) + 8.0
        else:
            norm = step.startswith("norm")
            canvas.rectangle(
                x - BOX_WIDTH / 2,
                y - half,
                BOX_WIDTH,
                BOX_HEIGHT,
                fill="none" if norm else PANEL,
                edge=MUTED if norm else FAINT,
                line=1.2,
                radius=half - 0.5 if norm else 4.0,
            )
            canvas.text(x, y, step, size=11.0, colour=INK)
        above = y + half
        if i + 1 == MIDDLE:
            canvas.text(x + 8.0, y + STEP / 2, "$Y$", size=12.0, align="left")
    end = len(steps) * STEP + 12.0
    canvas.arrow([(x, above), (x, end)])
    canvas.text(x, end + 4.0 + text_size("$Z$", 12.0)[1] / 2, "$Z$", size=12.0)


def through_layers(
    measured: Mapping[str, Any],
    *,
    y_title: str,
    references: tuple[str, ...] = (),
    y_ticks: Sequence[float] | None = None,
) -> Figure:
    """Draw something measured before the first layer and after each, on a logarithmic axis.

    Parameters
    ----------
    measured : mapping of str to array, shape (layers + 1,)
        The curves by name.
    y_title : str
        What was measured.
    references : tuple of str
        Names of curves to compare with.
    y_ticks : sequence of float, optional
        The values marked on the axis.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are no curves, their lengths differ, or a value is not positive.
    """
    lines = {name: to_numpy(values) for name, values in measured.items()}
    lengths = sorted({len(values) for values in lines.values()})
    if len(lengths) != 1:
        raise ValueError(f"measured must be curves of one length, got lengths {lengths}")
    return curves(
        np.arange(lengths[0]),
        lines,
        x_title="layers passed",
        y_title=y_title,
        y_log=True,
        references=references,
        y_ticks=y_ticks,
    )
