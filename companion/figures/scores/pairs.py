"""All scaled scores as one product, every query against every key."""

from collections.abc import Sequence

import numpy as np

from companion.arrays import Array, to_numpy
from companion.figures.kit.canvas import Canvas, TextLook
from companion.figures.kit.cells import draw_numbers, outline
from companion.figures.kit.figure import MAX_WIDTH, Figure, style
from companion.figures.kit.palette import HIGHLIGHT, INK
from companion.figures.kit.tables import table
from companion.figures.kit.wording import signed
from companion.scores import scaled_scores

__all__ = ["every_pair"]

LABEL, NAME = 11.0, 12.0
SIDE, HEIGHT = 36.0, 23.0


@style()
def every_pair(query: Array, key: Array, *, tokens: Sequence[str], row: int, column: int) -> Figure:
    """Draw all scaled scores as a product: every query on the left meets every key at the top.

    Parameters
    ----------
    query, key : array, shape (N, d_k)
    tokens : sequence of N str
    row, column : int
        The query and the key whose score is followed, counted from 0.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the shapes or the tokens do not fit, or there is no such score.
    """
    scores = to_numpy(scaled_scores(query, key)).astype(np.float64)
    query, key = (to_numpy(rows).astype(np.float64) for rows in (query, key))
    _check_pair(query, key, scores, tokens, row, column)
    d_k, length = query.shape[1], len(tokens)
    left, top = SIDE * d_k + 14.0, HEIGHT * d_k + 14.0
    canvas = Canvas()
    size, largest = (SIDE, HEIGHT), float(np.abs(scores).max()) or 1.0
    draw_numbers(canvas, (0.0, top), query, size, largest=None)
    draw_numbers(canvas, (left, 0.0), key.T, size, largest=None)
    draw_numbers(canvas, (left, top), scores, size, largest=largest)
    for i, token in enumerate(tokens):
        look: TextLook = {"size": LABEL, "bold": i == row, "colour": HIGHLIGHT if i == row else INK}
        canvas.text(-6.0, top + (i + 0.5) * HEIGHT, token, align="right", **look)
        look = {"size": LABEL, "bold": i == column, "colour": HIGHLIGHT if i == column else INK}
        place = (left + (i + 0.5) * SIDE, -6.0)
        canvas.text(*place, token, align="left", angle=45.0, **look)
    y, x = top + row * HEIGHT, left + column * SIDE
    outline(canvas, (0.0, y, SIDE * d_k, HEIGHT))
    outline(canvas, (x, 0.0, SIDE, HEIGHT * d_k))
    canvas.rectangle(left, y, SIDE * length, HEIGHT, edge=HIGHLIGHT, line=1.2, order=3.0)
    outline(canvas, (x, y, SIDE, HEIGHT))
    below = top + HEIGHT * length + 13.0
    canvas.text(SIDE * d_k / 2, below, f"$Q$   {length} × {d_k}", size=NAME)
    place = (left - 8.0, HEIGHT * d_k / 2)
    canvas.text(*place, f"$K^\\top$   {d_k} × {length}", size=NAME, align="right")
    name = f"$QK^\\top/\\sqrt{{d_k}}$   {length} × {length}"
    canvas.text(left + SIDE * length / 2, below, name, size=NAME)
    numbers = [
        table(matrix, name, row_labels=rows, column_labels=columns)
        for matrix, name, rows, columns in (
            (query, "Q", tokens, None),
            (key.T, "$K^\\top$", None, tokens),
            (scores, "scaled scores", tokens, tokens),
        )
    ]
    return canvas.finish(_pair_alt(query, key, scores, tokens, row, column), numbers)


def _check_pair(
    query: np.ndarray,
    key: np.ndarray,
    scores: np.ndarray,
    tokens: Sequence[str],
    row: int,
    column: int,
) -> None:
    if query.ndim != 2 or query.shape != key.shape or len(tokens) != len(query):
        raise ValueError(
            f"query and key must be (N={len(tokens)}, d_k) with one token a row, "
            f"got {query.shape} and {key.shape}"
        )
    if not (0 <= row < len(scores) and 0 <= column < len(scores)):
        raise ValueError(f"row and column must be inside {scores.shape}, got {row}, {column}")
    if (query.shape[1] + len(tokens)) * SIDE > MAX_WIDTH - 85.0:
        raise ValueError(
            f"query and key must fit the width of a phone, got {len(tokens)} tokens and "
            f"d_k={query.shape[1]}"
        )


def _listed(values: np.ndarray) -> str:
    return ", ".join(signed(float(value)) for value in values)


def _pair_alt(
    query: np.ndarray,
    key: np.ndarray,
    scores: np.ndarray,
    tokens: Sequence[str],
    row: int,
    column: int,
) -> str:
    d_k, length = query.shape[1], len(tokens)
    return (
        f"Matrix product: Q ({length} × {d_k}) on the left and the transposed K ({d_k} × {length}) "
        f"above meet in the scaled scores ({length} × {length}). The tokens are "
        f"{' '.join(tokens)}. Outlined: the query of {tokens[row]} ({_listed(query[row])}), the "
        f"key of {tokens[column]} ({_listed(key[column])}), and their scaled score "
        f"{signed(float(scores[row, column]))}. The row of scores of {tokens[row]} is "
        f"{_listed(scores[row])}."
    )
