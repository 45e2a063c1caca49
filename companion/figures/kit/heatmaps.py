"""Heat maps of weights, scores and masks, with the tokens beside them.

A cell is as dark as its value is large. What fits is written: numbers into cells that are wide
enough, tokens beside rows that are high enough; where numbers do not fit, a key shows the scale.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from companion.arrays import Array
from companion.figures.kit import wording
from companion.figures.kit.canvas import Canvas, text_size
from companion.figures.kit.cells import NUMBER
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.grid import PaintCell, checked_frame, draw_grids, draw_key, lay_out
from companion.figures.kit.map_data import Maps, checked_maps, checked_matrix
from companion.figures.kit.palette import FILLED, map_colour, number_colour
from companion.figures.kit.tables import map_tables, mask_tables

__all__ = ["heat_map", "heat_maps", "mask_map"]


def heat_map(
    matrix: Array,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    *,
    title: str | None = None,
    row_title: str = "query",
    column_title: str = "key",
    annotate: bool | None = None,
    visible: Any = None,
    highlight_row: int | None = None,
    limits: tuple[float, float] | None = None,
    decimals: int = 2,
) -> Figure:
    """Draw one matrix of weights or scores.

    Parameters
    ----------
    matrix : array, shape (R, C)
        Weights in [0, 1] are drawn from white to deep blue; anything else, such as scores, from
        deep orange over white at zero to deep blue. A value that is not finite is written out.
    row_labels, column_labels : sequence of str, optional
        The tokens, R and C of them.
    title : str, optional
        Written above, and at the head of the alt text.
    row_title, column_title : str
        What rows and columns are.
    annotate : bool, optional
        Whether numbers are written into the cells; by default when they fit. Exactly zero is
        written 0, what rounds to zero 0.00.
    visible : array of bool, shape (R, C), optional
        False hides a cell: it is hatched and carries no number.
    highlight_row : int, optional
        The row to follow, counted from 0: outlined, and described in the alt text.
    limits : (float, float), optional
        The values of the scale's ends, ``(0, largest)`` or ``(-largest, largest)``.
    decimals : int
        Digits after the point, in the cells and in the alt text.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a shape, a label count, `highlight_row` or `limits` does not fit the matrix, if a value
        lies outside `limits`, or if numbers are demanded that do not fit.
    """
    return heat_maps(
        [matrix],
        row_labels,
        column_labels,
        titles=None if title is None else [title],
        row_title=row_title,
        column_title=column_title,
        annotate=annotate,
        visible=visible,
        highlight_row=highlight_row,
        limits=limits,
        decimals=decimals,
    )


@style()
def heat_maps(
    matrices: Sequence[Any],
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    *,
    titles: Sequence[str] | None = None,
    row_title: str = "query",
    column_title: str = "key",
    annotate: bool | None = None,
    visible: Any = None,
    highlight_row: int | None = None,
    limits: tuple[float, float] | None = None,
    decimals: int = 2,
    columns: int = 2,
) -> Figure:
    """Draw several matrices over the same tokens on one scale, `columns` of them side by side.

    The parameters are those of :func:`heat_map`, with one title a matrix; `visible` is one mask for
    all or a list with one mask, or None, a matrix.
    """
    maps = checked_maps(
        matrices,
        visible,
        titles,
        limits,
        decimals,
        labels=(row_labels, column_labels, row_title, column_title, highlight_row),
    )
    if not 1 <= columns <= 4:
        raise ValueError(f"columns must be from 1 to 4, got {columns}")
    layout = lay_out(maps.frame, min(columns, len(maps.values)))
    fit = _widest_number(maps) <= layout.side - 5.0
    if annotate and not fit:
        raise ValueError(
            f"annotate=True needs numbers that fit cells {layout.side:.0f} points wide, got "
            f"{decimals} decimals and {maps.frame.columns} columns"
        )
    write = fit if annotate is None else annotate
    canvas = Canvas()
    painters = [_painter(maps, k, write) for k in range(len(maps.values))]
    bottom = draw_grids(canvas, maps.frame, layout, painters, titles, columns)
    hatched = "hidden by the mask" if not all(seen.all() for seen in maps.visible) else None
    scale = None if write else _scale(maps.limits)
    draw_key(canvas, layout.left, bottom, scale=scale, hatched=hatched)
    return canvas.finish(wording.maps(maps), map_tables(maps))


@style()
def mask_map(
    visible: Any,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    *,
    title: str | None = None,
    row_title: str = "query",
    column_title: str = "key",
    highlight_row: int | None = None,
) -> Figure:
    """Draw a boolean mask: filled where a query may attend, hatched where it may not.

    Parameters
    ----------
    visible : array of bool, shape (R, C)
        True where row i may attend to column j.
    row_labels, column_labels, title, row_title, column_title, highlight_row
        As in :func:`heat_map`.

    Raises
    ------
    TypeError
        If `visible` is not boolean.
    ValueError
        If a shape, a label count or `highlight_row` does not fit.
    """
    seen = checked_matrix(visible, "visible")
    if seen.dtype != bool:
        raise TypeError(f"visible must have dtype bool, got {seen.dtype}")
    frame = checked_frame(
        seen.shape, row_labels, column_labels, row_title, column_title, highlight_row
    )

    def paint(canvas: Canvas, x: float, y: float, side: float, i: int, j: int) -> None:
        canvas.cell(x, y, side, FILLED if seen[i, j] else "none")
        if not seen[i, j]:
            canvas.hatch(x, y, side, side)

    canvas = Canvas()
    layout = lay_out(frame, 1)
    titles = None if title is None else [title]
    bottom = draw_grids(canvas, frame, layout, [paint], titles, columns=1)
    filled = [(FILLED, "may attend")]
    draw_key(canvas, layout.left, bottom, swatches=filled, hatched="may not")
    numbers = mask_tables(
        {title or "mask": seen},
        row_labels=row_labels,
        column_labels=column_labels,
        row_title=row_title,
        column_title=column_title,
    )
    return canvas.finish(wording.mask(frame, seen, title), numbers)


def _painter(maps: Maps, k: int, write: bool) -> PaintCell:
    values, visible = maps.values[k], maps.visible[k]

    def paint(canvas: Canvas, x: float, y: float, side: float, i: int, j: int) -> None:
        value = float(values[i, j])
        number = wording.signed(value, maps.decimals) if write and visible[i, j] else ""
        if not (visible[i, j] and np.isfinite(value)):
            canvas.cell(x, y, side, "none")
            canvas.hatch(x, y, side, side, number, size=NUMBER)
            return
        # Rounded to what can be seen, so that the last bit of a device does not reach the drawing.
        t = round(value / maps.limits[1], 2)
        canvas.cell(x, y, side, map_colour(t))
        if number:
            middle = (x + side / 2, y + side / 2)
            canvas.text(*middle, number, size=NUMBER, colour=number_colour(t))

    return paint


def _scale(limits: tuple[float, float]) -> list[tuple[str, str]]:
    """Return the colours of the key from end to end, and what is written beside the outer ones."""
    low, high = limits
    steps = np.linspace(low / high, 1.0, 11)
    names = [""] * len(steps)
    names[0], names[-1] = wording.plain(low), wording.plain(high)
    return [(map_colour(float(t)), name) for t, name in zip(steps, names, strict=True)]


def _widest_number(maps: Maps) -> float:
    numbers = {
        wording.signed(float(value), maps.decimals)
        for values, seen in zip(maps.values, maps.visible, strict=True)
        for value in values[seen]
    }
    return max((text_size(number, NUMBER)[0] for number in numbers), default=0.0)
