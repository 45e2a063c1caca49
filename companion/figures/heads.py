"""The drawings of the chapter on many heads."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from companion.arrays import Array, to_numpy
from companion.figures.kit.canvas import Canvas
from companion.figures.kit.cells import draw_cell
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.heatmaps import heat_map, heat_maps
from companion.figures.kit.palette import HIGHLIGHT, MUTED, map_colour

__all__ = ["contribution_sizes", "head_gallery", "split_and_merge"]

CELL_WIDTH, CELL_HEIGHT = 15.0, 12.0
BETWEEN_HEADS, ARROW = 26.0, 30.0
#: A place on the map of colours for each head; 0 is what belongs to no head.
HUES = (0.35, -0.35)


@style()
def split_and_merge(
    tokens: Sequence[str], *, d_k: int, d_v: int, width: int, follow: int = 2
) -> Figure:
    """Draw the way of the queries through two heads to the output.

    Parameters
    ----------
    tokens : sequence of N str
    d_k, d_v, width : int
        d_k, d_v and d.
    follow : int
        The row that is outlined all the way, counted from 0.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If `follow` is no row.
    """
    n = len(tokens)
    if not 0 <= follow < n:
        raise ValueError(f"follow must be a row from 0 to {n - 1}, got {follow}")
    beside, apart = 2 * d_v * CELL_WIDTH, d_v * CELL_WIDTH + BETWEEN_HEADS
    middle = [beside / 2 + BETWEEN_HEADS / 2]
    heads = [middle[0] - apart / 2, middle[0] + apart / 2]
    levels = [
        (middle, d_k, HUES, "queries", f"($N$, $H d_k$) = ({n}, {2 * d_k})"),
        (heads, d_k, HUES, "two heads", f"($H$, $N$, $d_k$) = (2, {n}, {d_k})"),
        (heads, d_v, HUES, "mixtures", f"($H$, $N$, $d_v$) = (2, {n}, {d_v})"),
        (middle, d_v, HUES, "side by side", f"($N$, $H d_v$) = ({n}, {2 * d_v})"),
        (middle, width, (0.0,), "output", f"($N$, $d$) = ({n}, {width})"),
    ]
    canvas = Canvas()
    right = beside + BETWEEN_HEADS + 14.0
    for k, (centres, columns, hues, name, shape) in enumerate(levels):
        y = k * (n * CELL_HEIGHT + ARROW)
        _rows(canvas, centres, y, (n, columns), hues, follow)
        half = y + n * CELL_HEIGHT / 2
        canvas.text(right, half - 8.0, name, size=11.0, align="left", bold=True)
        canvas.text(right, half + 8.0, shape, size=10.5, align="left", colour=MUTED)
    for i, token in enumerate(tokens):
        y = (i + 0.5) * CELL_HEIGHT
        canvas.text(-6.0, y, token, size=10.0, align="right", bold=i == follow)
    steps = ((middle, "split"), (heads, "attend"), (middle, "merge"), (middle, "times $W^O$"))
    for k, (centres, step) in enumerate(steps):
        y = k * (n * CELL_HEIGHT + ARROW) + n * CELL_HEIGHT
        for x in centres:
            canvas.arrow([(x, y + 5.0), (x, y + ARROW - 5.0)])
            canvas.text(x + 8.0, y + ARROW / 2 - 1.0, step, size=11.0, align="left")
    return canvas.finish(
        f"Five levels. {n} rows of queries with {2 * d_k} columns are split into two heads of "
        f"{d_k} columns. Each head attends by itself and gives {d_v} columns. Merged side by side "
        f"they are {2 * d_v} columns, which W^O turns into {width}. Row {follow + 1} "
        f"({tokens[follow]}) is outlined and stays row {follow + 1} all the way."
    )


def _rows(
    canvas: Canvas,
    centres: Sequence[float],
    top: float,
    shape: tuple[int, int],
    hues: Sequence[float],
    follow: int,
) -> None:
    """Draw one level: blocks around the centres, the hues' columns dealt out from the left."""
    rows, columns = shape
    parts = len(hues) // len(centres)
    for b, centre in enumerate(centres):
        left = centre - parts * columns * CELL_WIDTH / 2
        for p in range(parts):
            fill = map_colour(hues[b * parts + p])
            for i in range(rows):
                for c in range(columns):
                    x = left + (p * columns + c) * CELL_WIDTH
                    y = top + i * CELL_HEIGHT
                    draw_cell(canvas, (x, y, CELL_WIDTH, CELL_HEIGHT), fill=fill)
        size = (parts * columns * CELL_WIDTH, CELL_HEIGHT)
        place = (left, top + follow * CELL_HEIGHT)
        canvas.rectangle(*place, *size, edge=HIGHLIGHT, line=2.2, order=3.0)


def head_gallery(weights: Array, tokens: Sequence[str], *, layer: int) -> Figure:
    """Draw the weights of all heads of a layer over one sentence as thumbnails.

    Parameters
    ----------
    weights : array, shape (H, N, N)
    tokens : sequence of N str
        The first is taken for the special token on which heads rest.
    layer : int
        Heads are named ``layer.head``.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the shape does not fit the tokens.
    """
    weights = to_numpy(weights).astype(np.float64)
    n = len(tokens)
    if weights.ndim != 3 or weights.shape[1:] != (n, n):
        raise ValueError(f"weights must be (H, {n}, {n}), got shape {weights.shape}")
    names = [f"{layer}.{h}" for h in range(len(weights))]
    drawn = heat_maps(list(weights), tokens, tokens, titles=names, columns=4)
    rows = weights[:, 1:, :]  # the first token's own row says nothing about the words
    later = np.triu(np.ones((n, n)), 1)[1:]
    shares = np.stack([rows[:, :, 0].mean(axis=-1), (rows * later).sum(axis=-1).mean(axis=-1)])
    said = [
        f"{name}: {100 * first:.0f} % and {100 * ahead:.0f} %"
        for name, first, ahead in zip(names, *shares, strict=True)
    ]
    return replace(
        drawn,
        alt=f"Thumbnails of {len(names)} heads over {n} tokens, rows queries, columns keys. "
        f"Average weight of the rows after the first on {tokens[0]}, and on later tokens: "
        f"{'; '.join(said)}.",
    )


def contribution_sizes(sizes: Array, tokens: Sequence[str], *, layer: int) -> Figure:
    """Draw how long the row is that each head adds to each token's output.

    Parameters
    ----------
    sizes : array, shape (H, N)
        Lengths, none of them negative.
    tokens : sequence of N str
    layer : int
        Heads are named ``layer.head``.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the shape does not fit the tokens or a length is negative.
    """
    sizes = to_numpy(sizes).astype(np.float64)
    if sizes.ndim != 2 or sizes.shape[1] != len(tokens):
        raise ValueError(f"sizes must be (H, {len(tokens)}), got shape {sizes.shape}")
    if not (sizes >= 0).all():
        raise ValueError("sizes must not be negative")
    names = [f"{layer}.{h}" for h in range(len(sizes))]
    scale = (0.0, float(np.ceil(sizes.max())))
    drawn = heat_map(
        sizes, names, tokens, row_title="head", column_title="token", limits=scale, annotate=False
    )
    rounded = np.round(sizes, 2)
    said = [
        f"{name}: {row.mean():.2f} on average, longest at {tokens[row.argmax()]}, {row.max():.2f}"
        for name, row in zip(names, rounded, strict=True)
    ]
    return replace(
        drawn,
        alt=f"Heat map of lengths with {len(names)} rows (head) and {len(tokens)} columns (token). "
        f"{'; '.join(said)}.",
        tables=(replace(drawn.tables[0], title="how long the row is that each head adds"),),
    )
