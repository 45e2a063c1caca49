"""Products of matrices drawn as blocks with their shapes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from companion.arrays import to_numpy
from companion.figures import wording
from companion.figures.canvas import MARGIN, Canvas, literal, text_size
from companion.figures.figure import MAX_WIDTH, Figure, style
from companion.figures.palette import (
    FAINT,
    HIGHLIGHT,
    HIGHLIGHT_FILL,
    INK,
    MUTED,
    PANEL,
    map_colour,
    number_colour,
)

__all__ = ["Matrix", "equation", "equations"]

NAME, LABEL, LETTERS, NUMBER, SHAPE, TITLE = 15.0, 11.0, 11.5, 10.0, 10.0, 12.0
LARGEST_CELL, LARGEST_NUMBERED_CELL, SMALLEST_CELL = 20.0, 34.0, 5.0
MOST_CELLS = 12  # a longer side is drawn shortened and without its cells
OPERATOR, STEP = 26.0, 34.0
SPOKEN = {"@": "times", "=": "equals", "+": "plus", "→": "becomes", "≈": "is close to"}


@dataclass(frozen=True)
class Matrix:
    """One block of an :func:`equation`.

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
    highlight_row: int | None = None
    highlight_column: int | None = None
    values: Any = None
    decimals: int = 1

    def __post_init__(self) -> None:
        rows, columns = self.shape
        if rows < 1 or columns < 1:
            raise ValueError(f"shape must hold two positive numbers, got {self.shape}")
        for name, count in (("row_labels", rows), ("column_labels", columns)):
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


@style()
def equation(*parts: Matrix | str, title: str | None = None) -> Figure:
    """Draw matrices with operators between them, such as ``X @ W^Q = Q``.

    Parameters
    ----------
    *parts : Matrix or str
        Blocks and the operators between them; ``"@"`` is a matrix product and drawn as a dot.
    title : str, optional
        Written above, and at the head of the alt text.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the matrices on the two sides of ``"@"`` do not fit together, if operators and matrices
        do not take turns, or if the blocks are too many for the width of a phone.
    """
    return equations(parts, title=title)


@style()
def equations(
    *lines: Sequence[Matrix | str], between: str | None = None, title: str | None = None
) -> Figure:
    """Draw several equations below each other, on one scale, each as :func:`equation` does.

    Parameters
    ----------
    *lines : sequence of Matrix or str
    between : str, optional
        Written beside an arrow from each equation to the next.
    title : str, optional
        Written above, and at the head of the alt text.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        As :func:`equation` does.
    """
    for parts in lines:
        _check_parts(parts)
    sides, writes = zip(*(_side(parts) for parts in lines), strict=True)
    side, write = min(sides), all(writes)
    canvas, middle = Canvas(), 0.0
    for k, parts in enumerate(lines):
        if k > 0:
            top = canvas.bounds[3] + 6.0
            if between is not None:
                _draw_step(canvas, top, between)
                top += STEP
            middle = top + max(_above(m) + m.drawn[0] * side / 2 for m in _matrices(parts))
        _draw_line(canvas, middle, parts, side, write)
    if title is not None:
        left, top, right, _ = canvas.bounds
        canvas.text((left + right) / 2, top - 18.0, title, size=TITLE, bold=True)
    said = [_alt(parts, title if k == 0 else None) for k, parts in enumerate(lines)]
    return canvas.finish(f" Then {between}: ".join(said) if between else " ".join(said))


def _draw_line(
    canvas: Canvas, middle: float, parts: Sequence[Matrix | str], side: float, write: bool
) -> None:
    x = 0.0
    for part in parts:
        if isinstance(part, str):
            sign, width = "•" if part == "@" else part, _operator_width(part)
            canvas.text(x + width / 2, middle, sign, size=NAME, colour=MUTED)
            x += width
        else:
            x += _labels_width(part)
            _draw_matrix(canvas, (x, middle), part, side, write)
            x += part.drawn[1] * side


def _draw_step(canvas: Canvas, top: float, text: str) -> None:
    left, _, right, _ = canvas.bounds
    x = (left + right) / 2
    canvas.arrow([(x, top), (x, top + STEP - 6.0)])
    canvas.text(x + 8.0, top + STEP / 2 - 3.0, text, size=LABEL, align="left")


def _matrices(parts: Sequence[Matrix | str]) -> list[Matrix]:
    return [part for part in parts if isinstance(part, Matrix)]


def _operator_width(sign: str) -> float:
    return max(OPERATOR, text_size(sign, NAME)[0] + 8.0)


def _above(matrix: Matrix) -> float:
    """Return how far the name of a matrix reaches above it."""
    labels = [text_size(literal(label), LABEL, bold=True)[0] for label in matrix.column_labels]
    return max(labels, default=0.0) + (18.0 if labels else 13.0) + NAME / 2


def _draw_matrix(
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
        look = {"size": LABEL, "bold": follow, "colour": HIGHLIGHT if follow else INK}
        canvas.text(x - 6.0, y + (i + 0.5) * side, literal(label), align="right", **look)
    for j, label in enumerate(matrix.column_labels):
        follow = j == matrix.highlight_column
        look = {"size": LABEL, "bold": follow, "colour": HIGHLIGHT if follow else INK}
        canvas.text(x + (j + 0.5) * side, y - 5.0, literal(label), align="left", angle=90.0, **look)
    canvas.text(x + width / 2, y - _above(matrix) + NAME / 2, matrix.name, size=NAME)
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
    largest = 1.0 if host is None else max(float(np.abs(host).max()), 1e-12)
    for i in range(rows):
        for j in range(columns):
            t = 0.0 if host is None else round(0.6 * float(host[i, j]) / largest, 4)
            follow = i == matrix.highlight_row or j == matrix.highlight_column
            plain = HIGHLIGHT_FILL if follow else PANEL
            fill = plain if host is None else map_colour(t)
            canvas.rectangle(x + j * side, y + i * side, side, side, fill=fill, edge=FAINT)
            if write and host is not None:
                number = wording.signed(float(host[i, j]), matrix.decimals)
                middle = (x + (j + 0.5) * side, y + (i + 0.5) * side)
                canvas.text(*middle, number, size=NUMBER, colour=number_colour(t))


def _outline(canvas: Canvas, x: float, y: float, width: float, height: float) -> None:
    canvas.rectangle(x, y, width, height, edge=HIGHLIGHT, line=2.4, radius=1.5, order=3)


def _labels_width(matrix: Matrix) -> float:
    widths = [text_size(literal(label), LABEL, bold=True)[0] for label in matrix.row_labels]
    return max(widths) + 6.0 if widths else 0.0


def _side(parts: Sequence[Matrix | str]) -> tuple[float, bool]:
    """Return the largest side of a cell that fits, and whether numbers fit into the cells."""
    matrices = _matrices(parts)
    taken = sum(_operator_width(part) for part in parts if isinstance(part, str))
    taken += sum(map(_labels_width, matrices))
    room = MAX_WIDTH - 2 * MARGIN - 3.0 - taken
    side = room / sum(matrix.drawn[1] for matrix in matrices)
    if side < SMALLEST_CELL:
        raise ValueError(
            f"parts must fit the width of a phone, got {len(matrices)} matrices that leave "
            f"{side:.1f} points a column"
        )
    numbers = {
        wording.signed(float(value), matrix.decimals)
        for matrix in matrices
        if matrix.values is not None
        for value in to_numpy(matrix.values).astype(np.float64).flat
    }
    widths = [text_size(number, NUMBER)[0] for number in numbers]
    needed = max(widths, default=0.0) + 5.0
    if widths and needed <= side:
        return min(side, max(needed, LARGEST_CELL), LARGEST_NUMBERED_CELL), True
    return min(side, LARGEST_CELL), False


def _check_parts(parts: Sequence[Matrix | str]) -> None:
    kinds = [isinstance(part, Matrix) for part in parts]
    if not kinds or kinds != [k % 2 == 0 for k in range(len(parts))] or not kinds[-1]:
        raise ValueError(f"parts must be matrices with operators between them, got {len(parts)}")
    for left, sign, right in zip(parts, parts[1:], parts[2:], strict=False):
        if sign != "@" or not isinstance(left, Matrix) or not isinstance(right, Matrix):
            continue
        if left.shape[1] != right.shape[0]:
            raise ValueError(
                f"{right.name} must have {left.shape[1]} rows to follow {left.name} "
                f"{left.shape}, got {right.shape}"
            )


def _alt(parts: Sequence[Matrix | str], title: str | None) -> str:
    said = []
    for part in parts:
        if isinstance(part, str):
            said.append(SPOKEN.get(part, wording.spoken(part)))
        else:
            letters = f"{wording.spoken(part.letters).strip('()')}: " if part.letters else ""
            size = f"{letters}{part.shape[0]} × {part.shape[1]}"
            said.append(f"{wording.spoken(part.name)} ({size})")
    text = " ".join(said) + "."
    text = text if title is None else f"{wording.spoken(title)}: {text}"
    matrices = _matrices(parts)
    labelled = next((m.row_labels for m in matrices if m.row_labels), ())
    if labelled:
        text += f" The rows are {', '.join(labelled)}."
    followed = [
        f"{what} {wording.numbered(place, labels or None)} of {wording.spoken(m.name)}"
        for m in matrices
        for what, place, labels in (
            ("row", m.highlight_row, m.row_labels),
            ("column", m.highlight_column, m.column_labels),
        )
        if place is not None
    ]
    if followed:
        text += f" Highlighted: {', '.join(followed)}."
    return text
