"""What is in a tile: the scores of one attention, cut into tiles."""

from collections.abc import Sequence
from dataclasses import dataclass

from companion.figures.kit.canvas import Canvas, literal
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.palette import FILLED, HIGHLIGHT, INK, MUTED, PANEL, number_colour

__all__ = ["tile_sweep"]

GRID, STRIP, GAP = 150.0, 16.0, 7.0
LONGEST = 24

Span = tuple[int, int]


@style()
def tile_sweep(
    tokens: Sequence[str],
    *,
    rows: int,
    keys: int,
    row: int,
    block: int,
    is_causal: bool = False,
) -> Figure:
    """Draw the scores as tiles, at the moment when a few queries meet one block of keys.

    Parameters
    ----------
    tokens : sequence of N str
        At most 24; only as many as fit are written.
    rows, keys : int
        Queries and keys of a tile.
    row : int
        The row to follow, which says whose turn it is.
    block : int
        The block of keys, counted from 0, that it meets now.
    is_causal : bool
        Mark the tiles that a causal mask hides whole.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are no tokens or too many, or a number does not fit them.
    """
    _check_sweep(len(tokens), rows=rows, keys=keys, row=row, block=block)
    sweep = _Sweep.of(len(tokens), rows, keys, row, block, is_causal)
    canvas = Canvas()
    _draw_strips(canvas, sweep)
    _draw_tiles(canvas, sweep, row)
    if is_causal:
        _draw_diagonal(canvas, sweep)
    _mark_row(canvas, row, sweep.cell, tokens)
    canvas.text(GRID / 2, GRID + 14.0, "scores: only the filled tile exists", size=11.0)
    return canvas.finish(_sweep_alt(sweep, row, tokens[row], is_causal))


def _check_sweep(count: int, *, rows: int, keys: int, row: int, block: int) -> None:
    if not 1 <= count <= LONGEST:
        raise ValueError(f"tokens must be 1 to {LONGEST}, got {count}")
    for name, number, least, most in (
        ("rows", rows, 1, count),
        ("keys", keys, 1, count),
        ("row", row, 0, count - 1),
        ("block", block, 0, (count - 1) // keys),
    ):
        if not least <= number <= most:
            raise ValueError(
                f"{name} must lie in {least} … {most} for {count} tokens, got {number}"
            )


@dataclass(frozen=True)
class _Sweep:
    """The tiles of a square of scores, and which of them is computed now."""

    count: int
    bands: list[Span]  # of queries
    blocks: list[Span]  # of keys
    hidden: list[tuple[Span, Span]]
    turn: int
    block: int

    @classmethod
    def of(
        cls, count: int, rows: int, keys: int, row: int, block: int, is_causal: bool
    ) -> "_Sweep":
        bands, blocks = _cut(count, rows), _cut(count, keys)
        hidden = [
            (band, span)
            for band in bands
            for span in blocks
            if is_causal and _is_hidden(band, span)
        ]
        return cls(count, bands, blocks, hidden, row // rows, block)

    @property
    def cell(self) -> float:
        """How many points a score is wide."""
        return GRID / self.count

    @property
    def done(self) -> bool:
        """Whether the block is the last that the queries meet."""
        band = self.bands[self.turn]
        seen = [j for j, span in enumerate(self.blocks) if (band, span) not in self.hidden]
        return self.block == max(seen)


def _draw_strips(canvas: Canvas, sweep: _Sweep) -> None:
    """Draw the parts of the queries and the output beside the scores, of keys and values above."""
    cell, beyond = sweep.cell, GRID + GAP
    for i, (top, bottom) in enumerate(sweep.bands):
        y, size, turn = top * cell, (bottom - top) * cell, i == sweep.turn
        _strip(canvas, -GAP - STRIP, y, STRIP, size, turn)
        _strip(canvas, beyond, y, STRIP, size, turn and sweep.done)
        if turn and not sweep.done:
            canvas.rectangle(beyond, y, STRIP, size, edge=INK, line=1.8)
    for j, (left, right) in enumerate(sweep.blocks):
        for line in (1, 2):
            y = -line * (STRIP + GAP)
            _strip(canvas, left * cell, y, (right - left) * cell, STRIP, j == sweep.block)
    canvas.text(-GAP - STRIP - 6.0, -9.0, "Q", align="right")
    canvas.text(beyond, -9.0, "output", align="left")
    for line, name in ((1, "V"), (2, "K")):
        canvas.text(-6.0, -line * (STRIP + GAP) + STRIP / 2, name, align="right")


def _draw_tiles(canvas: Canvas, sweep: _Sweep, row: int) -> None:
    """Draw the tiles, with their order where the queries are whose turn it is."""
    cell = sweep.cell
    for i, band in enumerate(sweep.bands):
        for j, span in enumerate(sweep.blocks):
            x, y = span[0] * cell, band[0] * cell
            box = (x, y, (span[1] - span[0]) * cell, (band[1] - band[0]) * cell)
            hidden = (band, span) in sweep.hidden
            if hidden:
                canvas.hatch(*box)
            current = i == sweep.turn and j == sweep.block
            canvas.rectangle(*box, fill=FILLED if current else "none", edge=MUTED, line=1.0)
            if i == sweep.turn and not hidden:
                middle = (x + box[2] / 2, (row + 0.5) * cell)
                colour = number_colour(0.45) if current else MUTED
                canvas.text(*middle, str(j + 1), size=10.5, colour=colour, bold=current)


def _draw_diagonal(canvas: Canvas, sweep: _Sweep) -> None:
    count, cell = sweep.count, sweep.cell
    steps = [(i * cell, y * cell) for i in range(1, count) for y in (i - 1, i)]
    # Above the frame of the row, which would hide its steps.
    canvas.line([*steps, (GRID, GRID - cell), (GRID, GRID)], colour=INK, width=1.0, order=3.6)


def _sweep_alt(sweep: _Sweep, row: int, token: str, is_causal: bool) -> str:
    band, span = sweep.bands[sweep.turn], sweep.blocks[sweep.block]
    filled = "K, V and the output"
    if not sweep.done:
        filled = "K and V; its part of the output is outlined"
    skipped = ""
    if is_causal:
        skipped = (
            f" A stepped line is the diagonal; {len(sweep.hidden)} tiles behind it are hatched."
        )
    return (
        f"A square of scores, {sweep.count} queries by {sweep.count} keys, cut into "
        f"{len(sweep.bands)} by {len(sweep.blocks)} tiles. Queries {band[0] + 1} to {band[1]}, "
        f"row {row + 1} ({token}) among them, meet keys {span[0] + 1} to {span[1]}: "
        f"only this tile is filled, with its part of Q, {filled}.{skipped}"
    )


def _cut(count: int, size: int) -> list[Span]:
    """Cut a length into parts of one size, the last perhaps shorter: (start, end) of each."""
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def _is_hidden(band: Span, span: Span) -> bool:
    """Whether a causal mask hides all of a tile: its first key comes after its last query."""
    return span[0] > band[1] - 1


def _strip(canvas: Canvas, x: float, y: float, width: float, height: float, now: bool) -> None:
    canvas.rectangle(x, y, width, height, fill=FILLED if now else PANEL, edge=MUTED)


def _mark_row(canvas: Canvas, row: int, cell: float, tokens: Sequence[str]) -> None:
    """Write the tokens, as far as they fit, and frame the row that is followed."""
    x = -2 * GAP - STRIP
    for i, token in enumerate(tokens):
        if i == row or cell >= 13.0:
            colour, bold = (HIGHLIGHT, True) if i == row else (INK, False)
            text = literal(token)
            canvas.text(x, (i + 0.5) * cell, text, align="right", colour=colour, bold=bold)
    width = GRID + 2 * (GAP + STRIP) + 4.0
    canvas.rectangle(
        -GAP - STRIP - 2.0, row * cell, width, cell, edge=HIGHLIGHT, line=1.4, order=3.5
    )
