"""Drawings of the chapter on the feed-forward network: one row, wider, bent and narrow again."""

from collections.abc import Callable
from typing import Any

import numpy as np

from companion.arrays import Array, array_namespace, to_numpy
from companion.feed_forward import FeedForwardParameters, feed_forward, gelu
from companion.figures.kit.canvas import Canvas
from companion.figures.kit.cells import NUMBER, draw_number
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.palette import HIGHLIGHT, INK, MUTED
from companion.figures.kit.wording import signed
from companion.projections import project

__all__ = ["expand_and_reduce"]

CELL, HEIGHT, GAP = 35.0, 24.0, 76.0
PLACES = 14.0  # the height of the line of numbers between a row and its title
LARGEST = 2.0  # the number that gets the darkest colour
MOST = 10


@style()
def expand_and_reduce(
    x: Array,
    parameters: FeedForwardParameters,
    *,
    activation: Callable[[Any], Any] = gelu,
    name: str = "x",
) -> Figure:
    """Draw what becomes of one row: (d,) to (d_ff,), each entry bent, and back to (d_out,).

    Parameters
    ----------
    x : array, shape (d,)
    parameters : FeedForwardParameters
    activation : callable
        As in :func:`companion.feed_forward`.
    name : str
        Whose row it is.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a row has more than ten columns, which a phone has no room for, or a shape does not fit.
    """
    xp = array_namespace(x=x)
    p = parameters
    before = project(x[None, :], p.w_1, p.b_1, name="w_1")
    after = feed_forward(x[None, :], p, activation=activation)
    rows = [to_numpy(xp.reshape(a, (-1,))) for a in (x, before, activation(before), after)]
    widest = max(row.shape[0] for row in rows)
    if widest > MOST:
        raise ValueError(f"rows must have at most {MOST} columns, got {widest}")
    canvas = Canvas()
    titles = [f"the row of {name}", "pre-activations", "hidden row", "output row"]
    sizes = ["$d$", "$d_{ff}$", "$d_{ff}$", "$d$"]
    steps = ["$W_1$, $b_1$: wider", "bend each entry", "$W_2$, $b_2$: narrow again"]
    middle = widest * CELL / 2
    for k, (row, title, size) in enumerate(zip(rows, titles, sizes, strict=True)):
        top = k * (HEIGHT + GAP)
        left = middle - row.shape[0] * CELL / 2
        above = top - PLACES - 9.0
        canvas.text(left, above, title, size=11.0, align="left", bold=True)
        right = left + row.shape[0] * CELL
        canvas.text(right, above, f"{size} = {row.shape[0]}", align="right", size=10.5)
        _cells(canvas, left, top, row, outlined=k in (0, 3))
        if k < 3:
            below = top + HEIGHT
            canvas.arrow([(middle, below + 4.0), (middle, below + GAP - PLACES - 20.0)])
            canvas.text(
                middle + 10.0, below + 20.0, steps[k], size=11.0, align="left", colour=MUTED
            )
    said = [
        f"{title} ({', '.join(signed(v) for v in row)})"
        for title, row in zip(titles, rows, strict=True)
    ]
    return canvas.finish(f"Four rows of numbered cells, from top to bottom. {'; '.join(said)}.")


def _cells(canvas: Canvas, left: float, top: float, row: np.ndarray, *, outlined: bool) -> None:
    for c, number in enumerate(row):
        x = left + c * CELL
        canvas.text(x + CELL / 2, top - 8.0, str(c + 1), size=NUMBER, colour=MUTED)
        draw_number(canvas, (x, top, CELL, HEIGHT), number, largest=LARGEST)
    edge, line = (HIGHLIGHT, 2.4) if outlined else (INK, 0.8)
    canvas.rectangle(left, top, len(row) * CELL, HEIGHT, edge=edge, line=line, order=3)
