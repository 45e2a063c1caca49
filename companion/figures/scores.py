"""The drawings of the chapter on scaled scores: all pairs, one query's keys, and spreads."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from companion.arrays import to_numpy
from companion.figures.kit import wording
from companion.figures.kit.canvas import Canvas
from companion.figures.kit.figure import MAX_WIDTH, Figure, style
from companion.figures.kit.palette import (
    FAINT,
    HIGHLIGHT,
    INK,
    LINES,
    MUTED,
    PANEL,
    map_colour,
    number_colour,
)
from companion.figures.kit.tables import table
from companion.figures.spreads import head_spreads, variance_by_scale, variance_within_error
from companion.scores import scaled_scores

__all__ = [
    "every_pair",
    "head_spreads",
    "keys_around_query",
    "variance_by_scale",
    "variance_within_error",
]

NUMBER, LABEL, NAME = 10.0, 11.0, 12.0
SIDE, HEIGHT = 36.0, 23.0


@style()
def every_pair(query: Any, key: Any, *, tokens: Sequence[str], row: int, column: int) -> Figure:
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
    _cells(canvas, 0.0, top, query)
    _cells(canvas, left, 0.0, key.T)
    _cells(canvas, left, top, scores, largest=float(np.abs(scores).max()) or 1.0)
    for i, token in enumerate(tokens):
        look = {"bold": i == row, "colour": HIGHLIGHT if i == row else INK}
        canvas.text(-6.0, top + (i + 0.5) * HEIGHT, token, size=LABEL, align="right", **look)
        look = {"bold": i == column, "colour": HIGHLIGHT if i == column else INK}
        place = (left + (i + 0.5) * SIDE, -6.0)
        canvas.text(*place, token, size=LABEL, align="left", angle=45.0, **look)
    outline = {"edge": HIGHLIGHT, "line": 2.4, "radius": 2.0, "order": 3.0}
    y, x = top + row * HEIGHT, left + column * SIDE
    canvas.rectangle(0.0, y, SIDE * d_k, HEIGHT, **outline)
    canvas.rectangle(x, 0.0, SIDE, HEIGHT * d_k, **outline)
    canvas.rectangle(left, y, SIDE * length, HEIGHT, edge=HIGHLIGHT, line=1.2, order=3.0)
    canvas.rectangle(x, y, SIDE, HEIGHT, **outline)
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


def _cells(
    canvas: Canvas, x: float, y: float, matrix: np.ndarray, largest: float | None = None
) -> None:
    """Write a matrix into cells, coloured by its values where their largest size is given."""
    for i, entries in enumerate(matrix):
        for j, entry in enumerate(entries):
            t = 0.0 if largest is None else round(float(entry) / largest, 4)
            fill = PANEL if largest is None else map_colour(t)
            corner = (x + j * SIDE, y + i * HEIGHT)
            canvas.rectangle(*corner, SIDE, HEIGHT, fill=fill, edge=FAINT)
            middle = (corner[0] + SIDE / 2, corner[1] + HEIGHT / 2)
            number = wording.signed(float(entry))
            canvas.text(*middle, number, size=NUMBER, colour=number_colour(t))


def _listed(values: np.ndarray) -> str:
    return ", ".join(wording.signed(float(value)) for value in values)


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
        f"{wording.signed(float(scores[row, column]))}. The row of scores of {tokens[row]} is "
        f"{_listed(scores[row])}."
    )


@style()
def keys_around_query(query: Any, key: Any, *, tokens: Sequence[str], name: str) -> Figure:
    """Draw all keys as arrows, by their length and their angle to one query.

    The query points to the right, and how far a key reaches to the right is all that its score
    depends on.

    Parameters
    ----------
    query : array, shape (d_k,)
    key : array, shape (S, d_k)
    tokens : sequence of S str
    name : str
        Whose query it is.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the shapes or the tokens do not fit, or the query is zero.
    """
    query, key = (to_numpy(a).astype(np.float64) for a in (query, key))
    if query.ndim != 1 or key.shape != (len(tokens), len(query)) or not np.any(query):
        raise ValueError(
            f"query must be (d_k,) and not zero, and key ({len(tokens)}, d_k), got shapes "
            f"{query.shape} and {key.shape}"
        )
    along = key @ query / np.linalg.norm(query)
    across = np.linalg.norm(key - along[:, None] * query / np.linalg.norm(query), axis=1)
    scores = key @ query / math.sqrt(len(query))
    low, high = min(0.0, float(along.min())), max(0.0, float(along.max()))
    unit = min(230.0 / (high - low), 230.0 / float(across.max()))
    canvas = Canvas()
    _ground(canvas, unit * low, unit * high, name)
    for value in sorted({round(float(a), 6) for a in along}):
        reach = max(float(h) for a, h in zip(along, across, strict=True) if abs(a - value) < 1e-5)
        line = [(unit * value, -unit * reach), (unit * value, 8.0)]
        canvas.line(line, colour=MUTED, width=0.9, dashes=(3.0, 2.5), order=1.0)
        score = value * float(np.linalg.norm(query)) / math.sqrt(len(query))
        canvas.text(unit * value, 18.0, wording.signed(score), size=NUMBER)
    for a, h, token in zip(along, across, tokens, strict=True):
        tip = (round(unit * float(a), 3), round(-unit * float(h), 3))
        canvas.arrow([(0.0, 0.0), tip], colour=LINES[0], width=2.0)
        side, align = (6.0, "left") if a >= 0 else (-6.0, "right")
        canvas.text(tip[0] + side, tip[1] - 5.0, token, size=LABEL, align=align)
    return canvas.finish(_keys_alt(key, query, scores, tokens, name))


def _ground(canvas: Canvas, left: float, right: float, name: str) -> None:
    """Draw the line along the query, and what is measured below it."""
    end = right + 34.0
    canvas.line([(left - 14.0, 0.0), (end, 0.0)], colour=MUTED, width=1.0, order=1.0)
    canvas.arrow([(0.0, 0.0), (end, 0.0)], colour=HIGHLIGHT, width=2.6)
    canvas.text(end + 4.0, 0.0, f"query of {name}", size=LABEL, align="left", colour=HIGHLIGHT)
    canvas.disc(0.0, 0.0, 2.6, fill=INK)
    canvas.text(end + 4.0, 18.0, "scaled score", size=NUMBER, align="left", colour=MUTED)


def _keys_alt(
    key: np.ndarray, query: np.ndarray, scores: np.ndarray, tokens: Sequence[str], name: str
) -> str:
    lengths = np.linalg.norm(key, axis=1)
    cosines = key @ query / (lengths * np.linalg.norm(query))
    keys = "; ".join(
        f"{token}: length {wording.signed(float(length))}, "
        f"{math.degrees(math.acos(max(-1.0, min(1.0, float(cosine))))):.0f} degrees, "
        f"score {wording.signed(float(score))}"
        for token, length, cosine, score in zip(tokens, lengths, cosines, scores, strict=True)
    )
    return (
        f"{len(tokens)} keys as arrows from one point; the query of {name} points to the right. "
        f"A key's scaled score depends only on how far it reaches to the right. {keys}."
    )
