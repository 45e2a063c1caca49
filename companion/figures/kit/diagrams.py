"""Products of matrices drawn as blocks with their shapes."""

from collections.abc import Sequence

import numpy as np

from companion.arrays import to_numpy
from companion.figures.kit import wording
from companion.figures.kit.canvas import MARGIN, Canvas, text_size
from companion.figures.kit.cells import NUMBER
from companion.figures.kit.figure import MAX_WIDTH, Figure, style
from companion.figures.kit.matrices import Matrix, above, draw_matrix, labels_width, numbers
from companion.figures.kit.palette import MUTED

__all__ = ["Matrix", "equation", "equations"]

NAME, LABEL, TITLE = 15.0, 11.0, 12.0
LARGEST_CELL, LARGEST_NUMBERED_CELL, SMALLEST_CELL = 20.0, 34.0, 5.0
OPERATOR, STEP, GAP = 26.0, 34.0, 16.0
RISE = 2.0  # a superscript of a name reaches above its line
SPOKEN = {"@": "times", "=": "equals", "+": "plus", "→": "becomes", "≈": "is close to"}


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
            if between is None:
                top += GAP
            else:
                _draw_step(canvas, top, between)
                top += STEP
            middle = top + max(above(m) + m.drawn[0] * side / 2 for m in _matrices(parts))
        _draw_line(canvas, middle, parts, side, write)
    if title is not None:
        left, top, right, _ = canvas.bounds
        canvas.text((left + right) / 2, top - 18.0, title, size=TITLE, bold=True)
    left, top, right, bottom = canvas.bounds
    canvas.bounds = left, top - RISE, right, bottom
    said = [_alt(parts, title if k == 0 else None) for k, parts in enumerate(lines)]
    tables = [table for parts in lines for m in _matrices(parts) for table in numbers(m)]
    return canvas.finish(f" Then {between}: ".join(said) if between else " ".join(said), tables)


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
            x += labels_width(part)
            draw_matrix(canvas, (x, middle), part, side, write)
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


def _side(parts: Sequence[Matrix | str]) -> tuple[float, bool]:
    """Return the largest side of a cell that fits, and whether numbers fit into the cells."""
    matrices = _matrices(parts)
    taken = sum(_operator_width(part) for part in parts if isinstance(part, str))
    taken += sum(map(labels_width, matrices))
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
            ("row", m.highlight_row, m.row_labels or m.row_names),
            ("column", m.highlight_column, m.column_labels or m.column_names),
        )
        if place is not None
    ]
    if followed:
        text += f" Highlighted: {', '.join(followed)}."
    return text
