"""The drawings of the chapter on causal masks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from companion.arrays import Array, to_numpy
from companion.figures.kit.canvas import Canvas
from companion.figures.kit.cells import draw_cell
from companion.figures.kit.figure import MAX_WIDTH, Figure, style
from companion.figures.kit.grid import PaintCell, checked_frame, draw_grids, draw_key, lay_out
from companion.figures.kit.heatmaps import heat_map, heat_maps
from companion.figures.kit.palette import FILLED, INK, LINES, MUTED
from companion.figures.kit.tables import by_head, mask_tables

__all__ = ["causal_beside_bidirectional", "mask_gallery", "score_triangle", "weight_on_the_future"]

ACROSS = 3
BAR, BAR_GAP, BETWEEN_PANELS, HEAD_ROOM, NUMBER_ROOM = 12.0, 4.0, 20.0, 30.0, 30.0


def score_triangle(
    masked_scores: Array, tokens: Sequence[str], *, highlight_row: int | None = None
) -> Figure:
    """Draw the scores with −∞ in the cells that a mask hides.

    Parameters
    ----------
    masked_scores : array, shape (N, N)
        Scores, −∞ where hidden.
    tokens : sequence of N str
    highlight_row : int, optional
        The row to follow.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a shape, the number of tokens or `highlight_row` does not fit.
    """
    drawn = heat_map(masked_scores, tokens, tokens, highlight_row=highlight_row)
    hidden = to_numpy(masked_scores) == -np.inf
    above = np.array_equal(hidden, np.triu(np.ones_like(hidden), 1))
    where = ", all those above the diagonal and no others" if above else ""
    cells = f"{hidden.sum()} of {hidden.size} cells hold −∞{where}."
    title = "scaled scores"
    return replace(
        drawn,
        alt=f"{drawn.alt.replace('numbers', title, 1)} {cells}",
        tables=(replace(drawn.tables[0], title=title),),
    )


def causal_beside_bidirectional(
    bidirectional: Array, causal: Array, tokens: Sequence[str], *, highlight_row: int | None = None
) -> Figure:
    """Draw the weights of one head over one sentence, without the causal mask and with it.

    Parameters
    ----------
    bidirectional, causal : array, shape (N, N)
        Weights; what lies above the diagonal of the second is drawn as hidden.
    tokens : sequence of N str
    highlight_row : int, optional
        The row to follow.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a shape, the number of tokens or `highlight_row` does not fit.
    """
    visible = np.tri(len(tokens), dtype=bool)
    drawn = heat_maps(
        [bidirectional, causal],
        tokens,
        tokens,
        titles=["without a mask", "causal"],
        visible=[None, visible],
        highlight_row=highlight_row,
    )
    before, after = (
        np.round(to_numpy(weights), 3).argmax(axis=1) for weights in (bidirectional, causal)
    )
    lost = [
        f"row {i + 1} ({tokens[i]}), which turns from {tokens[before[i]]} to {tokens[after[i]]}"
        for i in np.flatnonzero(before > np.arange(len(tokens))).tolist()
    ]
    said = f"The mask hides the largest weight of {', and of '.join(lost)}." if lost else ""
    return replace(drawn, alt=f"{drawn.alt} {said}".strip())


@style()
def mask_gallery(masks: Mapping[str, Any], *, highlight_row: int) -> Figure:
    """Draw several masks over the same tokens, three side by side.

    Parameters
    ----------
    masks : mapping of str to boolean array, shape (T, S)
        By title; all of one shape.
    highlight_row : int
        The row to follow, which the alt text reads out.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are no masks, their shapes differ, or `highlight_row` is no row.
    """
    seen = {title: to_numpy(mask) for title, mask in masks.items()}
    shapes = {mask.shape for mask in seen.values()}
    if len(shapes) != 1:
        raise ValueError(f"masks must be of one shape, got {sorted(shapes)}")
    ((rows, columns),) = shapes
    numbers = [str(i + 1) for i in range(max(rows, columns))]
    frame = checked_frame(
        (rows, columns), numbers[:rows], numbers[:columns], "query", "key", highlight_row
    )
    layout = lay_out(frame, ACROSS)
    canvas = Canvas()
    painters = [_mask_painter(mask) for mask in seen.values()]
    bottom = draw_grids(canvas, frame, layout, painters, list(seen), ACROSS)
    draw_key(
        canvas, layout.left, bottom, swatches=[(FILLED, "may attend")], hatched="may not attend"
    )
    said = [
        f"{title}: {mask.sum()} pairs, row {highlight_row + 1} sees "
        f"{', '.join(str(j + 1) for j in np.flatnonzero(mask[highlight_row])) or 'nothing'}"
        for title, mask in seen.items()
    ]
    alt = (
        f"{len(seen)} masks over {rows} queries and {columns} keys, {rows * columns} pairs each, "
        f"row {highlight_row + 1} outlined. {'; '.join(said)}."
    )
    tables = mask_tables(seen, row_labels=frame.row_labels, column_labels=frame.column_labels)
    return canvas.finish(alt, tables)


def _mask_painter(visible: np.ndarray) -> PaintCell:
    def paint(canvas: Canvas, x: float, y: float, side: float, i: int, j: int) -> None:
        box = (x, y, side, side)
        draw_cell(canvas, box, fill=FILLED if visible[i, j] else "none")
        if not visible[i, j]:
            canvas.hatch(*box)

    return paint


@style()
def weight_on_the_future(shares: Mapping[str, Any]) -> Figure:
    """Draw for every head of some layers which part of its weight lies on later tokens.

    A dashed line marks one half, where uniform weights lie on average.

    Parameters
    ----------
    shares : mapping of str to array, shape (H,)
        By layer; the same H for all, numbers from 0 to 1.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are no layers, their shapes differ, or a share is no share.
    """
    drawn = {name: to_numpy(share) for name, share in shares.items()}
    shapes = {share.shape for share in drawn.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"shares must hold (H,) for each layer, got shapes {sorted(shapes)}")
    if not all(np.all((share >= 0) & (share <= 1)) for share in drawn.values()):
        raise ValueError("shares must lie in [0, 1]")
    canvas = Canvas()
    width = (MAX_WIDTH - 6.0 - BETWEEN_PANELS * (len(drawn) - 1)) / len(drawn) - HEAD_ROOM
    for k, (name, share) in enumerate(drawn.items()):
        left = k * (width + HEAD_ROOM + BETWEEN_PANELS)
        _bars(canvas, left, width, name, share, LINES[k])
    said = [
        f"{name}: from {share.min():.2f} in head {share.argmin()} "
        f"to {share.max():.2f} in head {share.argmax()}, heads over one half: {np.sum(share > 0.5)}"
        for name, share in drawn.items()
    ]
    alt = f"Bars for {len(share)} heads in each of {len(drawn)} layers. {'; '.join(said)}."
    return canvas.finish(alt, [by_head(drawn, "share of the weight on later tokens")])


def _bars(
    canvas: Canvas, left: float, width: float, name: str, share: np.ndarray, colour: str
) -> None:
    """Draw one panel: the heads' numbers left of the bars, the shares in a column right of them."""
    scale = (width - NUMBER_ROOM) / max(0.6, float(share.max()))
    bottom = len(share) * (BAR + BAR_GAP)
    canvas.text(left - 6.0, -14.0, "head", size=10.0, align="right", colour=MUTED)
    canvas.text(left + width / 2, -14.0, name, size=12.0, bold=True)
    canvas.text(left + width, -14.0, "share", size=10.0, align="right", colour=MUTED)
    for h, value in enumerate(share):
        y = h * (BAR + BAR_GAP) + BAR_GAP / 2
        canvas.text(left - 6.0, y + BAR / 2, str(h), size=10.5, align="right")
        # Rounded to what can be seen, so that the last bit of a device does not reach the drawing.
        canvas.rectangle(left, y, max(scale * round(float(value), 3), 0.8), BAR, fill=colour)
        canvas.text(left + width, y + BAR / 2, f"{value:.2f}", size=10.0, align="right")
    half = left + 0.5 * scale
    canvas.line([(half, 0.0), (half, bottom)], colour=INK, width=1.0, dashes=(4.0, 2.5), order=3.0)
    canvas.text(half, bottom + 9.0, "½", size=10.5)
    canvas.line([(left, 0.0), (left, bottom)], colour=MUTED, width=1.0)
