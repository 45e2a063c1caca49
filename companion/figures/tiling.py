"""Drawings of the chapter on tiles that need no measurement: what is in a tile, and who does it."""

from collections.abc import Sequence

from companion.figures.kit.canvas import Canvas, literal
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.palette import (
    HIGHLIGHT,
    INK,
    MUTED,
    PANEL,
    map_colour,
    number_colour,
)

__all__ = ["core_schedule", "tile_sweep"]

NOW = map_colour(0.45)
GRID, STRIP, GAP = 150.0, 16.0, 7.0
LANE, LANE_GAP, SPAN = 24.0, 5.0, 250.0
LONGEST = 24


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
    """Draw the scores as tiles, at the moment when one tile of queries meets one block of keys.

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
    count = len(tokens)
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
    canvas, cell = Canvas(), GRID / count
    bands, blocks = _cut(count, rows), _cut(count, keys)
    turn = row // rows
    hidden = [
        (band, span) for band in bands for span in blocks if is_causal and _is_hidden(band, span)
    ]
    done = block == max(j for j, span in enumerate(blocks) if (bands[turn], span) not in hidden)

    for i, (top, bottom) in enumerate(bands):
        y, size = top * cell, (bottom - top) * cell
        _strip(canvas, -GAP - STRIP, y, STRIP, size, i == turn)
        _strip(canvas, GRID + GAP, y, STRIP, size, i == turn and done)
        if i == turn and not done:
            canvas.rectangle(GRID + GAP, y, STRIP, size, edge=INK, line=1.8)
    for j, (left, right) in enumerate(blocks):
        for line in (1, 2):
            y = -line * (STRIP + GAP)
            _strip(canvas, left * cell, y, (right - left) * cell, STRIP, j == block)
    canvas.text(-GAP - STRIP - 6.0, -9.0, "Q", align="right")
    canvas.text(GRID + GAP, -9.0, "output", align="left")
    for line, name in ((1, "V"), (2, "K")):
        canvas.text(-6.0, -line * (STRIP + GAP) + STRIP / 2, name, align="right")

    for i, band in enumerate(bands):
        for j, span in enumerate(blocks):
            x, y = span[0] * cell, band[0] * cell
            box = (x, y, (span[1] - span[0]) * cell, (band[1] - band[0]) * cell)
            if (band, span) in hidden:
                canvas.hatch(*box)
            current = i == turn and j == block
            canvas.rectangle(*box, fill=NOW if current else "none", edge=MUTED, line=1.0)
            if i == turn and (band, span) not in hidden:
                middle = (x + box[2] / 2, (row + 0.5) * cell)
                colour = number_colour(0.45) if current else MUTED
                canvas.text(*middle, str(j + 1), size=10.5, colour=colour, bold=current)
    if is_causal:
        steps = [(i * cell, y * cell) for i in range(1, count) for y in (i - 1, i)]
        # Above the frame of the row, which would hide its steps.
        canvas.line([*steps, (GRID, GRID - cell), (GRID, GRID)], colour=INK, width=1.0, order=3.6)
    _mark_row(canvas, row, cell, tokens)
    canvas.text(GRID / 2, GRID + 14.0, "scores: only the filled tile exists", size=11.0)
    seen = f"queries {bands[turn][0] + 1} to {bands[turn][1]}"
    facing = f"keys {blocks[block][0] + 1} to {blocks[block][1]}"
    filled = "K, V and the output" if done else "K and V; its part of the output is outlined"
    skipped = (
        f" A stepped line is the diagonal; {len(hidden)} tiles behind it are hatched."
        if is_causal
        else ""
    )
    return canvas.finish(
        f"A square of scores, {count} queries by {count} keys, cut into {len(bands)} by "
        f"{len(blocks)} tiles. The tile of {seen}, with row {row + 1} ({tokens[row]}) in it, meets "
        f"{facing}: only this tile is filled, with its part of Q, {filled}.{skipped}"
    )


def _cut(count: int, size: int) -> list[tuple[int, int]]:
    """Cut a length into parts of one size, the last perhaps shorter: (start, end) of each."""
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def _is_hidden(band: tuple[int, int], span: tuple[int, int]) -> bool:
    """Whether a causal mask hides all of a tile: its first key comes after its last query."""
    return span[0] > band[1] - 1


def _strip(canvas: Canvas, x: float, y: float, width: float, height: float, now: bool) -> None:
    canvas.rectangle(x, y, width, height, fill=NOW if now else PANEL, edge=MUTED)


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


@style()
def core_schedule(*, product: float, elementwise: float, heads: int, cores: int = 2) -> Figure:
    """Draw two ways to share the heads of attention between cores, and when each is done.

    Above, every product is shared by all cores and the exponentials, which NumPy computes on one
    core, are not. Below, each core computes heads of its own from beginning to end.

    Parameters
    ----------
    product, elementwise : float
        Time of one product and of the exponentials of one head, on one core.
    heads, cores : int

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a time is not positive or a number is less than 1.
    """
    if min(product, elementwise) <= 0 or min(heads, cores) < 1:
        raise ValueError(
            f"times must be positive and numbers at least 1, got product={product}, "
            f"elementwise={elementwise}, heads={heads}, cores={cores}"
        )
    shared, own = [], []  # (core, start, duration, is a product, head)
    for head in range(heads):
        start = head * (2 * product / cores + elementwise)
        ways = [(0.0, product / cores), (product / cores + elementwise, product / cores)]
        shared += [(c, start + at, time, True, head) for at, time in ways for c in range(cores)]
        shared.append((0, start + product / cores, elementwise, False, head))
        begin = head // cores * (2 * product + elementwise)
        steps = ((0.0, product), (product, elementwise), (product + elementwise, product))
        for number, (at, time) in enumerate(steps):
            own.append((head % cores, begin + at, time, number != 1, head))
    ends = [max(at + time for _, at, time, _, _ in tasks) for tasks in (shared, own)]
    canvas, top = Canvas(), 0.0
    titles = ("each step on as many cores as it takes", "each core its own head")
    for tasks, title, end in zip((shared, own), titles, ends, strict=True):
        top = _panel(canvas, top, tasks, title, end, SPAN / max(ends), cores)
    _key(canvas, top, f"on one core a product takes {product:g}, exponentials {elementwise:g}")
    return canvas.finish(
        f"Two time tables for {heads} heads on {cores} cores, with products that take {product:g} "
        f"and exponentials that take {elementwise:g} on one core. Where each product is shared and "
        f"the exponentials run on one core, all is done after {ends[0]:g}. Where each core has its "
        f"own head, all is done after {ends[1]:g}."
    )


Task = tuple[int, float, float, bool, int]


def _panel(
    canvas: Canvas,
    top: float,
    tasks: Sequence[Task],
    title: str,
    end: float,
    points: float,
    cores: int,
) -> float:
    """Draw one time table and return where the next may begin."""
    canvas.text(0.0, top, title, align="left", bold=True)
    for core in range(cores):
        y = top + 12.0 + core * (LANE + LANE_GAP)
        canvas.text(-6.0, y + LANE / 2, f"core {core + 1}", size=10.5, align="right", colour=MUTED)
        busy = sorted(task[1:] for task in tasks if task[0] == core)
        free = 0.0
        for start, time, is_product, head in [*busy, (end, 0.0, True, 0)]:
            if start > free + 1e-9:
                canvas.hatch(free * points, y, (start - free) * points, LANE)
            free = start + time
            if time:
                fill = NOW if is_product else PANEL
                canvas.rectangle(start * points, y, time * points, LANE, fill=fill, edge=MUTED)
                words = str(head + 1)
                canvas.text((start + time / 2) * points, y + LANE / 2, words, size=10.5)
    bottom = top + 12.0 + cores * (LANE + LANE_GAP)
    canvas.line([(end * points, top + 6.0), (end * points, bottom)], colour=INK, width=1.6)
    middle = (top + 12.0 + bottom - LANE_GAP) / 2
    canvas.text(end * points + 7.0, middle, f"done at {end:g}", size=10.5, align="left")
    return bottom + 18.0


def _key(canvas: Canvas, top: float, times: str) -> None:
    x = 0.0
    for fill, words in ((NOW, "product"), (PANEL, "exponentials"), (None, "idle")):
        if fill is None:
            canvas.hatch(x, top - 6.0, 18.0, 12.0)
        else:
            canvas.rectangle(x, top - 6.0, 18.0, 12.0, fill=fill, edge=MUTED)
        canvas.text(x + 23.0, top, words, size=10.5, align="left")
        x += 80.0 if words == "product" else 108.0
    for line, words in enumerate(("in the boxes: heads", times), 1):
        canvas.text(0.0, top + 17.0 * line, words, size=10.5, align="left", colour=MUTED)
