"""One matrix drawn as a block: its cells, its labels, its name and its shape."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from companion.arrays import to_numpy
from companion.figures.kit import wording
from companion.figures.kit.canvas import Canvas, TextLook, literal, text_size
from companion.figures.kit.cells import draw_cell, draw_numbers
from companion.figures.kit.figure import Table
from companion.figures.kit.palette import (
    HIGHLIGHT,
    HIGHLIGHT_FILL,
    INK,
    MUTED,
    PANEL,
)
from companion.figures.kit.tables import table

__all__ = ["Matrix", "above", "draw_matrix", "labels_width", "numbers"]

NAME, LABEL, LETTERS, SHAPE = 15.0, 11.0, 11.5, 10.0
DARKEST = 0.6  # the shade of the largest number
MOST_CELLS = 12  # a longer side is drawn shortened and without its cells


@dataclass(frozen=True)
class Matrix:
    """One block of an :func:`companion.figures.equation`.

    Attributes
    ----------
    name : str
        Written above, mathematics between dollar signs: ``"$W^Q$"``.
    shape : (int, int)
        Rows and columns, drawn cell by cell up to twelve.
    letters : str
        The shape in letters, written below: ``"(N, d)"``.
    row_labels, column_labels : sequence of str
        Tokens beside the rows or above the columns; none by default.
    row_names, column_names : sequence of str
        The same, where there is room for them in the table of the values only.
    highlight_row, highlight_column : int, optional
        The row and the column to follow, counted from 0.
    values : array of that shape, optional
        Colours the cells as a heat map and is written into them where it fits.
    decimals : int
        Digits after the point of the values.
    """

    name: str
    shape: tuple[int, int]
    letters: str = ""
    row_labels: Sequence[str] = ()
    column_labels: Sequence[str] = ()
    row_names: Sequence[str] = ()
    column_names: Sequence[str] = ()
    highlight_row: int | None = None
    highlight_column: int | None = None
    values: Any = None
    decimals: int = 1

    def __post_init__(self) -> None:
        rows, columns = self.shape
        if rows < 1 or columns < 1:
            raise ValueError(f"shape must hold two positive numbers, got {self.shape}")
        for name, count in (
            ("row_labels", rows),
            ("column_labels", columns),
            ("row_names", rows),
            ("column_names", columns),
        ):
            if len(getattr(self, name)) not in (0, count):
                raise ValueError(f"{name} must be {count}, got {len(getattr(self, name))}")
        for name, count in (("highlight_row", rows), ("highlight_column", columns)):
            place = getattr(self, name)
            if place is not None and not 0 <= place < count <= MOST_CELLS:
                raise ValueError(
                    f"{name} must lie within {count} drawn cells, at most {MOST_CELLS}, got {place}"
                )
        if self.values is not None and to_numpy(self.values).shape != self.shape:
            got = to_numpy(self.values).shape
            raise ValueError(f"values must have the shape {self.shape}, got {got}")

    @property
    def drawn(self) -> tuple[int, int]:
        """How many rows and columns of cells its block is as high and as wide as."""
        rows, columns = (n if n <= MOST_CELLS else _shortened(n) for n in self.shape)
        return rows, columns


def _shortened(count: int) -> int:
    """Return how many cells' length stands for a long side: longer for a longer one."""
    return MOST_CELLS + round(2 * math.log2(count / MOST_CELLS))


def above(matrix: Matrix) -> float:
    """Return how far the name of a matrix reaches above it."""
    labels = [text_size(literal(label), LABEL, bold=True)[0] for label in matrix.column_labels]
    return max(labels, default=0.0) + (18.0 if labels else 13.0) + NAME / 2


def draw_matrix(
    canvas: Canvas, place: tuple[float, float], matrix: Matrix, side: float, write: bool
) -> None:
    """Draw one matrix with the middle of its left edge at a place."""
    rows, columns = matrix.drawn
    width, height = columns * side, rows * side
    x, y = place[0], place[1] - height / 2
    _draw_cells(canvas, x, y, matrix, side, write)
    canvas.rectangle(x, y, width, height, edge=MUTED, line=1.2, order=2.5)
    if matrix.highlight_row is not None:
        _outline(canvas, x, y + matrix.highlight_row * side, width, side)
    if matrix.highlight_column is not None:
        _outline(canvas, x + matrix.highlight_column * side, y, side, height)
    for i, label in enumerate(matrix.row_labels):
        follow = i == matrix.highlight_row
        canvas.text(x - 6.0, y + (i + 0.5) * side, literal(label), align="right", **_look(follow))
    for j, label in enumerate(matrix.column_labels):
        follow = j == matrix.highlight_column
        middle = x + (j + 0.5) * side
        canvas.text(middle, y - 5.0, literal(label), align="left", angle=90.0, **_look(follow))
    canvas.text(x + width / 2, y - above(matrix) + NAME / 2, matrix.name, size=NAME)
    below = y + height + 13.0
    if matrix.letters:
        canvas.text(x + width / 2, below, matrix.letters, size=LETTERS)
        below += 17.0
    shape = f"{matrix.shape[0]} × {matrix.shape[1]}"
    canvas.text(x + width / 2, below, shape, size=SHAPE, colour=MUTED)


def _draw_cells(
    canvas: Canvas, x: float, y: float, matrix: Matrix, side: float, write: bool
) -> None:
    rows, columns = matrix.drawn
    if (rows, columns) != matrix.shape:
        canvas.rectangle(x, y, columns * side, rows * side, fill=PANEL)
        return
    host = None if matrix.values is None else to_numpy(matrix.values).astype(np.float64)
    if host is not None:
        largest = max(float(np.abs(host).max()), 1e-12) / DARKEST
        write_number = partial(wording.signed, decimals=matrix.decimals) if write else None
        draw_numbers(canvas, (x, y), host, (side, side), largest=largest, write=write_number)
        return
    for i in range(rows):
        for j in range(columns):
            follow = i == matrix.highlight_row or j == matrix.highlight_column
            box = (x + j * side, y + i * side, side, side)
            draw_cell(canvas, box, fill=HIGHLIGHT_FILL if follow else PANEL)


def _outline(canvas: Canvas, x: float, y: float, width: float, height: float) -> None:
    canvas.rectangle(x, y, width, height, edge=HIGHLIGHT, line=2.4, radius=1.5, order=3)


def _look(follow: bool) -> TextLook:
    return {"size": LABEL, "bold": follow, "colour": HIGHLIGHT if follow else INK}


def labels_width(matrix: Matrix) -> float:
    """Return the room that the labels beside a matrix take."""
    widths = [text_size(literal(label), LABEL, bold=True)[0] for label in matrix.row_labels]
    return max(widths) + 6.0 if widths else 0.0


def numbers(matrix: Matrix) -> list[Table]:
    """Return the values of a matrix as a table, if it has any."""
    if matrix.values is None:
        return []
    name = f"{matrix.name} {matrix.letters}".strip()
    # The cells may be too narrow for a second digit; a table is not.
    decimals = matrix.decimals and max(matrix.decimals, 2)
    return [
        table(
            matrix.values,
            name,
            row_labels=matrix.row_labels or matrix.row_names,
            column_labels=matrix.column_labels or matrix.column_names,
            decimals=decimals,
        )
    ]
