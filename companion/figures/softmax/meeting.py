"""One query meets every key, and its weights mix every value."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from companion.arrays import Array, to_numpy
from companion.figures.kit.canvas import Canvas, literal
from companion.figures.kit.cells import NUMBER, draw_numbers, outline
from companion.figures.kit.figure import Figure, Table, style
from companion.figures.kit.palette import HIGHLIGHT, INK, LINES, MUTED
from companion.figures.kit.tables import table
from companion.figures.kit.wording import short, signed
from companion.scores import scaled_scores
from companion.softmax import softmax, weighted_values

__all__ = ["roles_meet"]

LABEL, NAME = 11.0, 12.0
#: Left edges of the columns, and the size of a cell.
KEYS, SCORES, WEIGHTS, VALUES = 46.0, 185.0, 228.0, 233.0
CELL, LINE, HEIGHT = 34.0, 25.0, 21.0
LARGEST = 4.0  # the number with the darkest cell


@style()
def roles_meet(
    x: Array, query: Array, key: Array, value: Array, *, tokens: Sequence[str], follow: int = 2
) -> Figure:
    """Draw one token's query meeting every key, and the weights mixing every value.

    Parameters
    ----------
    x : array, shape (N, d)
    query, key : array, shape (N, d_k) with d_k at most 4
    value : array, shape (N, d_v) with d_v at most 4
    tokens : sequence of N str
    follow : int
        The query that is followed, counted from 0.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are more columns than a phone has room for.
    """
    if key.shape[1] > 4 or value.shape[1] > 4:
        columns = key.shape[1], value.shape[1]
        raise ValueError(f"key and value must have at most 4 columns, got {columns}")
    scores = scaled_scores(query, key)
    weights = softmax(scores)
    output = weighted_values(weights, value)
    rows = (to_numpy(a).astype(np.float64) for a in (x, query, key, value, scores, weights, output))
    x, query, key, value, scores, weights, output = rows
    canvas, token = Canvas(), tokens[follow]
    keys, values = KEYS + key.shape[1] * CELL / 2, VALUES + value.shape[1] * CELL / 2
    _input(canvas, token, x[follow], follow, (keys, values))
    _cells(canvas, KEYS, -42.0, query[follow], outlined=True)
    canvas.text(KEYS - 6.0, -42.0, f"$q_{follow + 1}$", size=NAME, align="right", colour=HIGHLIGHT)
    _heads(canvas, keys, values)
    for j, name in enumerate(tokens):
        y = (j + 0.5) * LINE
        canvas.text(0.0, y, literal(name), size=LABEL, align="left", bold=j == follow)
        _cells(canvas, KEYS, y, key[j])
        canvas.text(SCORES, y, signed(scores[follow, j]), size=NUMBER, align="right")
        share = f"{100 * weights[follow, j]:.1f} %"
        canvas.text(WEIGHTS, y, share, size=NUMBER, align="right")
        _cells(canvas, VALUES, y, value[j])
    _output(canvas, len(tokens) * LINE, values, output[follow], follow)
    said = "; ".join(
        f"{name}: key {_row(key[j])}, score {signed(scores[follow, j])}, "
        f"weight {100 * weights[follow, j]:.1f} %, value {_row(value[j])}"
        for j, name in enumerate(tokens)
    )
    return canvas.finish(
        f"The row of {token}, {_row(x[follow])}, becomes the query {_row(query[follow])} by W^Q, "
        f"as every row becomes a key by W^K and a value by W^V. The query meets every key: {said}. "
        f"The values, each times its weight, add up to the output {_row(output[follow])}.",
        [_met(key, scores[follow], weights[follow], value, tokens)],
    )


def _met(
    key: np.ndarray, scores: np.ndarray, weights: np.ndarray, value: np.ndarray, tokens: Any
) -> Table:
    columns = [f"key {c + 1}" for c in range(key.shape[1])] + ["score", "weight in %"]
    columns += [f"value {c + 1}" for c in range(value.shape[1])]
    return table(
        np.column_stack([key, scores, 100 * weights, value]),
        "what the query meets",
        row_labels=tokens,
        column_labels=columns,
        row_title="token",
    )


def _input(
    canvas: Canvas, token: str, row: np.ndarray, follow: int, targets: tuple[float, float]
) -> None:
    """Draw the row that everything is made of, and its three ways."""
    y, (keys, values) = -118.0, targets
    canvas.text(0.0, y, literal(token), size=LABEL, align="left", bold=True)
    canvas.text(
        KEYS, y - 21.0, f"input row $x_{follow + 1}$", size=LABEL, align="left", colour=MUTED
    )
    _cells(canvas, KEYS, y, row)
    bottom, right = y + LINE / 2 + 1.0, KEYS + len(row) * CELL
    for letter, colour, points in (
        ("Q", LINES[0], [(keys, bottom), (keys, -55.0)]),
        ("K", LINES[1], [(152.5, bottom), (152.5, -11.0), (keys + 26.0, -11.0)]),
        (
            "V",
            LINES[2],
            [(right - 14.0, bottom), (right - 14.0, -62.0), (values, -62.0), (values, -20.0)],
        ),
    ):
        canvas.arrow(points, colour=colour)
        place = (points[0][0] + 6.0, -84.0)
        canvas.text(*place, f"$W^{letter}$", size=NAME, align="left", colour=colour)


def _heads(canvas: Canvas, keys: float, values: float) -> None:
    for place, head, align in (
        (keys, "keys $k_j$", "center"),
        (SCORES, "score", "right"),
        (WEIGHTS, "weight", "right"),
        (values, "values $v_j$", "center"),
    ):
        canvas.text(place, -11.0, head, size=NUMBER, align=align, colour=MUTED)


def _output(canvas: Canvas, bottom: float, middle: float, row: np.ndarray, follow: int) -> None:
    canvas.arrow([(middle, bottom + 2.0), (middle, bottom + 17.0)])
    _cells(canvas, VALUES, bottom + 31.0, row, outlined=True)
    label = f"output $a_{follow + 1}$ = sum of $w_{{{follow + 1}j}} v_j$"
    canvas.text(VALUES - 8.0, bottom + 31.0, label, size=LABEL, align="right", colour=HIGHLIGHT)


def _cells(
    canvas: Canvas, left: float, middle: float, row: np.ndarray, *, outlined: bool = False
) -> None:
    top, width = middle - HEIGHT / 2, len(row) * CELL
    look = {"largest": LARGEST, "write": short}
    draw_numbers(canvas, (left, top), row[None, :], (CELL, HEIGHT), **look)
    if outlined:
        outline(canvas, (left, top, width, HEIGHT))
    else:
        canvas.rectangle(left, top, width, HEIGHT, edge=INK, order=3.0)


def _row(row: np.ndarray) -> str:
    return f"({', '.join(map(short, row))})"
