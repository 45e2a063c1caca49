"""One row of scores becomes weights, and the weights one mixed row of values."""

from collections.abc import Sequence

import numpy as np

from companion.arrays import Array, array_namespace, to_numpy
from companion.figures.kit.canvas import Canvas
from companion.figures.kit.cells import NUMBER, draw_numbers, outline
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.palette import HIGHLIGHT, LINES, MUTED
from companion.figures.kit.tables import table
from companion.figures.kit.wording import short, signed

__all__ = ["mixture"]

LABEL, TITLE = 11.0, 10.0
LINE, CELL, HEIGHT = 27.0, 35.0, 23.0
LARGEST = 4.0  # the value with the darkest cell
#: Left edges of the columns, and how long a weight of 1 is drawn.
SCORE, BAR, CELLS, WHOLE = 100.0, 112.0, 228.0, 130.0


@style()
def mixture(
    tokens: Sequence[str], scores: Array, weights: Array, value: Array, *, follow: int = 2
) -> Figure:
    """Draw how one row of scores becomes weights, and the weights one mixed row of values.

    Parameters
    ----------
    tokens : sequence of S str
    scores, weights : array, shape (S, S)
    value : array, shape (S, d_v) with d_v at most 4
    follow : int
        The query whose row is drawn, counted from 0.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are more than four columns of values, which a phone has no room for.
    """
    array_namespace(scores=scores, weights=weights, value=value)
    scores, weights, value = (to_numpy(a).astype(np.float64) for a in (scores, weights, value))
    if value.shape[1] > 4:
        raise ValueError(f"value must have at most 4 columns, got shape {value.shape}")
    row, shares = scores[follow], weights[follow]
    mixed = shares @ value
    canvas = Canvas()
    _heads(canvas, tokens[follow], value.shape[1])
    _draw_keys(canvas, tokens, row, shares, value, follow)
    _draw_mixture(canvas, len(tokens) * LINE, shares, mixed)
    said = [
        f"{token}: score {signed(score)}, weight {100 * share:.1f} %, value {_row(handed)}"
        for token, score, share, handed in zip(tokens, row, shares, value, strict=True)
    ]
    return canvas.finish(
        f"Table of what the query {tokens[follow]} makes of {len(tokens)} keys. {'; '.join(said)}. "
        f"The values mixed with these weights give {_row(mixed)}.",
        [
            table(
                np.column_stack([row, 100 * shares, value]),
                f"what the query {tokens[follow]} makes of the keys",
                row_labels=tokens,
                column_labels=[
                    "score",
                    "weight in %",
                    *(f"value {c + 1}" for c in range(value.shape[1])),
                ],
                row_title="key",
            )
        ],
    )


def _heads(canvas: Canvas, token: str, columns: int) -> None:
    middle = CELLS + columns * CELL / 2
    for x, head, align in (
        (0.0, "key", "left"),
        (SCORE, f"score of {token}", "right"),
        (BAR, "weight", "left"),
        (middle, "value row", "center"),
    ):
        canvas.text(x, -9.0, head, size=TITLE, align=align, colour=MUTED)


def _draw_keys(
    canvas: Canvas,
    tokens: Sequence[str],
    row: np.ndarray,
    shares: np.ndarray,
    value: np.ndarray,
    follow: int,
) -> None:
    """Draw a line for each key: its score, its weight as a bar, and its row of values."""
    for j, token in enumerate(tokens):
        y = (j + 0.5) * LINE
        canvas.text(0.0, y, token, size=LABEL, align="left", bold=j == follow)
        canvas.text(SCORE, y, signed(row[j]), size=LABEL, align="right")
        length = round(float(shares[j]), 4) * WHOLE
        canvas.rectangle(BAR, y - 6.0, length, 12.0, fill=LINES[0])
        share = f"{100 * shares[j]:.1f} %"
        canvas.text(BAR + length + 5.0, y, share, size=NUMBER, align="left")
        _cells(canvas, y, value[j])


def _draw_mixture(canvas: Canvas, bottom: float, shares: np.ndarray, mixed: np.ndarray) -> None:
    right, y = CELLS + len(mixed) * CELL, bottom + 6.0 + LINE / 2
    canvas.line([(0.0, bottom + 3.0), (right, bottom + 3.0)], width=1.0)
    canvas.text(0.0, y, "mixture", size=LABEL, align="left", bold=True, colour=HIGHLIGHT)
    canvas.text(BAR, y, f"{100 * shares.sum():.0f} %", size=NUMBER, align="left")
    _cells(canvas, y, mixed)
    outline(canvas, (CELLS, y - HEIGHT / 2, right - CELLS, HEIGHT))


def _cells(canvas: Canvas, middle: float, row: np.ndarray) -> None:
    look = {"largest": LARGEST, "write": short}
    draw_numbers(canvas, (CELLS, middle - HEIGHT / 2), row[None, :], (CELL, HEIGHT), **look)


def _row(row: np.ndarray) -> str:
    return f"({', '.join(map(short, row))})"
