"""Grids of square cells with tokens along two edges: what heat maps and masks are drawn on."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from companion.figures.kit.canvas import MARGIN, Canvas, literal, text_size
from companion.figures.kit.figure import MAX_WIDTH
from companion.figures.kit.palette import FAINT, HIGHLIGHT, INK, MUTED

__all__ = ["Frame", "PaintCell", "checked_frame", "draw_grids", "draw_key", "lay_out"]

#: Paints cell (i, j) into the square of the given side whose upper left corner is (x, y).
PaintCell = Callable[[Canvas, float, float, float, int, int], None]

LABEL, AXIS_TITLE, TITLE = 11.0, 10.0, 12.0
LARGEST_CELL = 48.0
SMALLEST_LABELLED_CELL = 13.0
GAP = 7.0
BETWEEN_PANELS = 18.0
LINE = 16.0
SWATCH = 11.0
SLANT = math.radians(45.0)


@dataclass(frozen=True)
class Frame:
    """What all the grids of one figure share: size, labels, and the row to follow."""

    rows: int
    columns: int
    row_labels: Sequence[str] | None
    column_labels: Sequence[str] | None
    row_title: str
    column_title: str
    highlight_row: int | None


@dataclass(frozen=True)
class Layout:
    """Where things go: the cells' side, the room for labels, and whether these are slanted."""

    side: float
    left: float
    header: float
    slanted: bool
    labelled: bool


def lay_out(frame: Frame, across: int) -> Layout:
    """Choose the largest cells with which `across` grids fit beside each other."""
    room = MAX_WIDTH - 2 * MARGIN - BETWEEN_PANELS * (across - 1) - 2.0
    widths = [text_size(literal(label), LABEL)[0] for label in frame.column_labels or ()]
    row_widths = [
        text_size(literal(label), LABEL, bold=True)[0] for label in frame.row_labels or ()
    ]
    titles = (f"{frame.row_title} ↓", f"{frame.column_title} →")
    corner = max(text_size(title, AXIS_TITLE)[0] for title in titles)
    left = max([corner, *row_widths]) + GAP
    side = min(LARGEST_CELL, (room - left) / (across * frame.columns))
    bare = min(LARGEST_CELL, room / (across * frame.columns))
    thumbnail = Layout(bare, left=0.0, header=0.0, slanted=False, labelled=False)
    if side < SMALLEST_LABELLED_CELL:
        return thumbnail
    if max(widths, default=0.0) <= side - 3.0:
        return Layout(
            side, left, header=LINE * (2 if widths else 1) + 3.0, slanted=False, labelled=True
        )
    slant = math.cos(SLANT)
    for _ in range(4):  # narrower cells let the last labels stick out further
        ends = [
            slant * (w + LABEL) - (frame.columns - j - 0.5) * side for j, w in enumerate(widths)
        ]
        side = min(LARGEST_CELL, (room - left - max(0.0, *ends)) / (across * frame.columns))
    if side < SMALLEST_LABELLED_CELL:
        return thumbnail
    header = slant * (max(widths) + LABEL / 2) + GAP
    return Layout(side, left, header, slanted=True, labelled=True)


def draw_grids(
    canvas: Canvas,
    frame: Frame,
    layout: Layout,
    painters: Sequence[PaintCell],
    titles: Sequence[str] | None,
    columns: int,
) -> float:
    """Draw one grid for each painter, `columns` of them side by side; return the lowest edge."""
    bottom = 0.0
    y = 0.0
    for k, paint in enumerate(painters):
        first = k % columns == 0
        if first:
            y = bottom + (BETWEEN_PANELS if k else 0.0) + layout.header
            y += 1.25 * LINE if titles else 0.0
        x = layout.left + (k % columns) * (frame.columns * layout.side + BETWEEN_PANELS)
        if titles:
            middle = x + frame.columns * layout.side / 2
            canvas.text(middle, y - layout.header - 0.75 * LINE, titles[k], size=TITLE, bold=True)
        _draw_grid(canvas, x, y, frame, layout, paint, first)
        bottom = y + frame.rows * layout.side
    return bottom


def draw_key(
    canvas: Canvas,
    x: float,
    y: float,
    *,
    scale: Sequence[tuple[str, str]] | None = None,
    swatches: Sequence[tuple[str, str]] = (),
    hatched: str | None = None,
) -> None:
    """Explain below a grid what its colours and its hatching stand for.

    `scale` holds the colours of a scale from end to end, the outer two with the values they stand
    for; `swatches` single colours with what they stand for; `hatched` says it of the hatching.
    """
    y += 10.0
    middle = y + SWATCH / 2

    def write(text: str) -> None:
        nonlocal x
        canvas.text(x, middle, text, size=AXIS_TITLE, align="left", colour=MUTED)
        x += text_size(text, AXIS_TITLE)[0]

    if scale:
        write(scale[0][1])
        x += 6.0
        for colour, _ in scale:
            canvas.rectangle(x, y, SWATCH, SWATCH, fill=colour, edge=FAINT)
            x += SWATCH
        x += 6.0
        write(scale[-1][1])
        x += 18.0
    for colour, name in swatches:
        canvas.rectangle(x, y, SWATCH, SWATCH, fill=colour, edge=FAINT)
        x += SWATCH + 6.0
        write(name)
        x += 18.0
    if hatched:
        canvas.rectangle(x, y, SWATCH, SWATCH, edge=FAINT)
        canvas.hatch(x, y, SWATCH, SWATCH)
        x += SWATCH + 6.0
        write(hatched)


def checked_frame(
    shape: tuple[int, ...],
    row_labels: Sequence[str] | None,
    column_labels: Sequence[str] | None,
    row_title: str,
    column_title: str,
    highlight_row: int | None,
) -> Frame:
    """Return the frame of a grid, or raise ValueError where labels do not fit its shape."""
    rows, columns = shape
    labels: list[tuple[str, ...] | None] = []
    for name, given, count in (
        ("row_labels", row_labels, rows),
        ("column_labels", column_labels, columns),
    ):
        if given is not None and len(given) != count:
            raise ValueError(
                f"{name} must be {count} for a {rows} × {columns} matrix, got {len(given)}"
            )
        labels.append(None if given is None else tuple(given))
    if highlight_row is not None and not 0 <= highlight_row < rows:
        raise ValueError(f"highlight_row must be from 0 to {rows - 1}, got {highlight_row}")
    return Frame(rows, columns, labels[0], labels[1], row_title, column_title, highlight_row)


def _draw_grid(
    canvas: Canvas,
    x: float,
    y: float,
    frame: Frame,
    layout: Layout,
    paint: PaintCell,
    first: bool,
) -> None:
    side = layout.side
    for i in range(frame.rows):
        for j in range(frame.columns):
            paint(canvas, x + j * side, y + i * side, side, i, j)
    if layout.labelled:
        _column_labels(canvas, x, y, frame, layout, with_title=first)
        if first:
            _row_labels(canvas, x, y, frame, layout)
    if frame.highlight_row is not None:
        top = y + frame.highlight_row * side
        width = frame.columns * side
        line = 2.4 if layout.labelled else 1.5
        canvas.rectangle(x, top, width, side, edge=HIGHLIGHT, line=line, radius=2.0, order=3)


def _row_labels(canvas: Canvas, x: float, y: float, frame: Frame, layout: Layout) -> None:
    for i, label in enumerate(frame.row_labels or ()):
        follow = i == frame.highlight_row
        canvas.text(
            x - GAP,
            y + (i + 0.5) * layout.side,
            literal(label),
            size=LABEL,
            align="right",
            bold=follow,
            colour=HIGHLIGHT if follow else INK,
        )
    canvas.text(
        x - GAP,
        y - 3.0 - LINE / 2,
        f"{frame.row_title} ↓",
        size=AXIS_TITLE,
        align="right",
        colour=MUTED,
    )


def _column_labels(
    canvas: Canvas, x: float, y: float, frame: Frame, layout: Layout, *, with_title: bool
) -> None:
    for j, label in enumerate(frame.column_labels or ()):
        middle = x + (j + 0.5) * layout.side
        if layout.slanted:
            place = (middle - 4.0, y - 6.0)
            canvas.text(*place, literal(label), size=LABEL, align="left", angle=math.degrees(SLANT))
        else:
            canvas.text(middle, y - 3.0 - LINE / 2, literal(label), size=LABEL)
    if not with_title:
        return
    title = f"{frame.column_title} →"
    if layout.slanted:  # beside the slanted labels the corner is free
        place, align = (x - GAP, y - 3.0 - 1.5 * LINE), "right"
    else:
        place, align = (x, y - layout.header + LINE / 2), "left"
    canvas.text(*place, title, size=AXIS_TITLE, align=align, colour=MUTED)
