"""The cell of a matrix, painted alike in every drawing: its shade, its edge and its number.

A heat map, which may have thousands of cells, is painted by :meth:`Canvas.cell` instead.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from companion.figures.kit.canvas import Canvas
from companion.figures.kit.palette import (
    FAINT,
    HIGHLIGHT,
    INK,
    MUTED,
    PANEL,
    map_colour,
    number_colour,
)
from companion.figures.kit.wording import signed

__all__ = ["NUMBER", "draw_cell", "draw_number", "draw_numbers", "outline"]

NUMBER = 10.0

#: Left edge, upper edge, width and height.
Area = tuple[float, float, float, float]
Write = Callable[[float], str]


def draw_cell(
    canvas: Canvas, box: Area, text: str = "", *, fill: str = "none", colour: str = INK
) -> None:
    """Draw a cell with what is written in it."""
    x, y, width, height = box
    canvas.rectangle(*box, fill=fill, edge=FAINT)
    if text:
        canvas.text(x + width / 2, y + height / 2, text, size=NUMBER, colour=colour)


def draw_number(
    canvas: Canvas,
    box: Area,
    number: float,
    *,
    largest: float | None,
    write: Write | None = signed,
    faint_zero: bool = False,
) -> None:
    """Draw a cell that is as dark as its number is large, with the number in it.

    Parameters
    ----------
    canvas : Canvas
    box : (left edge, upper edge, width, height)
    number : float
    largest : float or None
        The number with the darkest shade, which larger ones share; None shades nothing.
    write : callable or None
        Writes the number; None leaves it out.
    faint_zero : bool
        Whether a zero, which adds nothing, is written in grey.
    """
    # Rounded to what can be seen, so that the last bit of a device does not reach the drawing.
    t = 0.0 if largest is None else round(float(np.clip(number / largest, -1.0, 1.0)), 4)
    fill = PANEL if largest is None else map_colour(t)
    colour = MUTED if faint_zero and number == 0 else number_colour(t)
    draw_cell(canvas, box, write(float(number)) if write else "", fill=fill, colour=colour)


def draw_numbers(
    canvas: Canvas,
    place: tuple[float, float],
    matrix: np.ndarray,
    size: tuple[float, float],
    **look: Any,
) -> None:
    """Draw a matrix of cells of a size from its upper left corner; `look` as in `draw_number`."""
    (x, y), (width, height) = place, size
    for i, row in enumerate(matrix):
        for j, number in enumerate(row):
            box = (x + j * width, y + i * height, width, height)
            draw_number(canvas, box, number, **look)


def outline(canvas: Canvas, box: Area) -> None:
    """Outline the cells to follow."""
    canvas.rectangle(*box, edge=HIGHLIGHT, line=2.4, radius=2.0, order=3.0)
