"""Flow diagrams: what becomes what, from top to bottom, as a phone is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias, TypedDict

from companion.figures.kit import wording
from companion.figures.kit.canvas import MARGIN, Canvas, Point, text_size
from companion.figures.kit.figure import MAX_WIDTH, Figure, style
from companion.figures.kit.palette import FAINT, HIGHLIGHT, HIGHLIGHT_FILL, INK, MUTED, PANEL

__all__ = ["Arrow", "Box", "flow"]

Arrow: TypeAlias = tuple[str, str] | tuple[str, str, str]
"""From which box to which, and what is written beside it."""

TEXT, SHAPE, ARROW, TITLE = 11.0, 10.5, 12.0, 12.0
ROW_GAP, COLUMN_GAP, PADDING = 36.0, 22.0, 10.0


@dataclass(frozen=True)
class Box:
    """One box of a :func:`flow`.

    Attributes
    ----------
    name : str
        What arrows call it.
    text : str
        What is written in it, mathematics between dollar signs.
    shape : str
        A second, smaller line: the shape.
    operation : bool
        Whether it is something done (rounded and plain) rather than something that is (filled).
    highlight : bool
        Whether it is what the reader follows.
    column : float, optional
        Where its middle lies, counted in columns from 0; by default a row is centred.
    """

    name: str
    text: str
    shape: str = ""
    operation: bool = False
    highlight: bool = False
    column: float | None = None

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in points."""
        width = max(text_size(self.text, TEXT, bold=True)[0], text_size(self.shape, SHAPE)[0])
        return width + 2 * PADDING + 4.0, 42.0 if self.shape else 28.0


@style()
def flow(
    rows: Sequence[Sequence[Box]],
    arrows: Sequence[Arrow],
    *,
    title: str | None = None,
) -> Figure:
    """Draw boxes in rows, from top to bottom, with arrows between them.

    Parameters
    ----------
    rows : sequence of sequence of Box
        The boxes, row by row.
    arrows : sequence of (from, to) or (from, to, label)
        The boxes' names, and what is written beside the arrow, such as ``"$W^Q$"``. An arrow to the
        next row goes down; one that skips rows goes down beside them and enters its target from
        the side, so give its source a `column` that is free below.
    title : str, optional
        Written above, and at the head of the alt text.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a name is used twice or not known, if an arrow does not point to a lower row or to its
        own, or if the boxes are too wide for a phone.
    """
    boxes = _checked_boxes(rows, arrows)
    middles = _places(rows)
    canvas = Canvas()
    for name, box in boxes.items():
        _draw_box(canvas, *middles[name], box)
    row_of = {box.name: i for i, row in enumerate(rows) for box in row}
    for source, target, *label in arrows:
        skips = row_of[target] - row_of[source]
        points = _route(middles[source], middles[target], boxes[source], boxes[target], skips)
        canvas.arrow(points)
        if label:
            _label_arrow(canvas, points, label[0])
    if title is not None:
        left, top, right, _ = canvas.bounds
        canvas.text((left + right) / 2, top - 18.0, title, size=TITLE, bold=True)
    return canvas.finish(_alt(boxes, arrows, title))


class _Frame(TypedDict):
    fill: str
    edge: str
    line: float
    radius: float


def _draw_box(canvas: Canvas, x: float, y: float, box: Box) -> None:
    width, height = box.size
    look: _Frame = {"fill": PANEL, "edge": FAINT, "line": 1.0, "radius": 4.0}
    if box.operation:
        look = {"fill": "none", "edge": MUTED, "line": 1.2, "radius": height / 2 - 0.5}
    if box.highlight:
        look |= {"fill": HIGHLIGHT_FILL, "edge": HIGHLIGHT, "line": 2.0}
    canvas.rectangle(x - width / 2, y - height / 2, width, height, **look)
    colour = HIGHLIGHT if box.highlight else INK
    up = 8.0 if box.shape else 0.0
    canvas.text(x, y - up, box.text, size=TEXT, bold=box.highlight, colour=colour)
    if box.shape:
        canvas.text(x, y + 9.0, box.shape, size=SHAPE, colour=MUTED)


def _places(rows: Sequence[Sequence[Box]]) -> dict[str, Point]:
    """Return the middle of each box."""
    columns = max(len(row) for row in rows)
    widest = max(box.size[0] for row in rows if len(row) > 1 for box in row) if columns > 1 else 0.0
    slot = min(widest + COLUMN_GAP, (MAX_WIDTH - 2 * MARGIN - 3.0) / columns)
    middles, y = {}, 0.0
    for row in rows:
        height = max(box.size[1] for box in row)
        for k, box in enumerate(row):
            column = (columns - len(row)) / 2 + k if box.column is None else box.column
            middles[box.name] = (column * slot, y + height / 2)
        y += height + ROW_GAP
        _check_row(row, middles)
    return middles


def _check_row(row: Sequence[Box], middles: Mapping[str, Point]) -> None:
    for left, right in pairwise(row):
        room = middles[right.name][0] - middles[left.name][0]
        if room < (left.size[0] + right.size[0]) / 2 + 4.0:
            raise ValueError(
                f"rows must fit the width of a phone, got boxes {left.name!r} and {right.name!r} "
                f"that overlap: shorten their texts or set their columns"
            )


def _route(source: Point, target: Point, a: Box, b: Box, skips: int) -> list[Point]:
    """Return the corners of an arrow from one box's edge to another's."""
    (x0, y0), (x1, y1) = source, target
    if skips == 0:
        side = 1.0 if x1 > x0 else -1.0
        return [(x0 + side * a.size[0] / 2, y0), (x1 - side * (b.size[0] / 2 + 2.0), y1)]
    start, top = (x0, y0 + a.size[1] / 2), y1 - b.size[1] / 2 - 2.0
    if skips > 1 and abs(x1 - x0) > b.size[0] / 2:
        side = 1.0 if x0 > x1 else -1.0
        return [start, (x0, y1), (x1 + side * (b.size[0] / 2 + 2.0), y1)]
    if abs(x1 - x0) < 1.0:
        return [start, (x1, top)]
    bend = top - ROW_GAP * 0.65
    return [start, (x0, bend), (x1, bend), (x1, top)]


def _label_arrow(canvas: Canvas, points: Sequence[Point], label: str) -> None:
    (x0, _), (x1, y1) = points[-2:]
    if x0 == x1:  # beside the last stretch, below where a fan of arrows parts
        canvas.text(x1 + 6.0, y1 - 0.33 * ROW_GAP, label, size=ARROW, align="left")
    else:
        canvas.text((x0 + x1) / 2, y1 - 10.0, label, size=ARROW)


def _checked_boxes(
    rows: Sequence[Sequence[Box]], arrows: Sequence[tuple[str, ...]]
) -> dict[str, Box]:
    if not rows or not all(rows):
        raise ValueError("rows must each hold at least one box")
    boxes: dict[str, Box] = {}
    row_of: dict[str, int] = {}
    for i, row in enumerate(rows):
        for box in row:
            if box.name in boxes:
                raise ValueError(f"rows must name each box once, got {box.name!r} twice")
            boxes[box.name], row_of[box.name] = box, i
    for source, target, *_ in arrows:
        for name in (source, target):
            if name not in boxes:
                raise ValueError(f"arrows must name boxes out of {list(boxes)}, got {name!r}")
        if row_of[target] < row_of[source] or source == target:
            raise ValueError(f"arrows must point down or sideways, got {source!r} to {target!r}")
    return boxes


def _alt(boxes: Mapping[str, Box], arrows: Sequence[tuple[str, ...]], title: str | None) -> str:
    head = "Flow diagram." if title is None else f"{wording.spoken(title)}: flow diagram."
    sources = {source for source, *_ in arrows}
    last = {name for name, box in boxes.items() if box.shape and name not in sources}
    sentences = [head]
    for name, box in boxes.items():
        ends = [arrow for arrow in arrows if arrow[0] == name]
        if not ends:
            continue
        targets = [
            wording.spoken(boxes[target].text)
            + (f" (by {wording.spoken(label[0])})" if label else "")
            + (f", {wording.spoken(boxes[target].shape)}" if target in last else "")
            for _, target, *label in ends
        ]
        shape = f", {wording.spoken(box.shape)}," if box.shape else ""
        joined = " and ".join([", ".join(targets[:-1]), targets[-1]]) if targets[1:] else targets[0]
        sentences.append(f"{wording.spoken(box.text)}{shape} leads to {joined}.")
    return " ".join(sentences)
