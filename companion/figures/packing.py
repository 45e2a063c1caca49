"""Drawings of the chapter on packing: from words to rows, positions, batches, and likeness."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from companion.arrays import to_numpy
from companion.figures.canvas import Canvas
from companion.figures.figure import Figure, style
from companion.figures.grid import draw_key
from companion.figures.heatmaps import heat_map
from companion.figures.palette import FAINT, HIGHLIGHT, INK, MUTED, map_colour, number_colour
from companion.figures.plots import curves
from companion.figures.tables import table
from companion.figures.wording import plain, signed
from companion.packing import token_ids
from companion.running_example import RunningExample

__all__ = [
    "position_likeness",
    "position_table",
    "ragged_batch",
    "row_likeness",
    "words_to_rows",
]

CELL, LINE = 20.0, 20.0
LABEL, NUMBER = 11.0, 10.0


@style()
def words_to_rows(example: RunningExample, *, follow: int = 2) -> Figure:
    """Draw how tokens become ids, ids rows of the table, and rows plus positions the matrix X.

    Parameters
    ----------
    example : RunningExample
    follow : int
        The row to follow, counted from 0.

    Returns
    -------
    Figure
    """
    ids = to_numpy(token_ids(example.tokens, example.vocabulary))
    length = len(ids)
    embedding, x = to_numpy(example.embedding), to_numpy(example.x)
    positions = to_numpy(example.positions)[:length]
    width = embedding.shape[1] * CELL
    left, second = 42.0, 42.0 + width + 18.0
    below = length * LINE + 46.0
    canvas = Canvas()
    _tokens_and_ids(canvas, example.tokens, ids, below, follow)
    for j, feature in enumerate(example.features):
        canvas.text(left + (j + 0.5) * CELL, -6.0, feature, size=NUMBER, align="left", angle=45.0)
    _matrix(canvas, left, 0.0, embedding, int(ids[follow]))
    canvas.text(left + width + 9.0, length * LINE / 2, "+", size=15.0)
    _matrix(canvas, second, 0.0, positions, follow)
    _matrix(canvas, left, below, x, follow)
    canvas.text(left / 2, below + length * LINE / 2, "=", size=15.0)
    under = length * LINE + 13.0
    _title(canvas, left, under, "table E", embedding.shape)
    _title(canvas, second, under, "positions P", positions.shape)
    _title(canvas, left, below + under, "X", x.shape)
    row, turn = (follow + 0.5) * LINE, second + width + 12.0
    path = [(turn - 9.0, row), (turn, row), (turn, below + row), (left + width + 4.0, below + row)]
    canvas.arrow(path, colour=HIGHLIGHT)
    words = sorted(example.vocabulary, key=example.vocabulary.__getitem__)
    numbers = [
        table(matrix, title, row_labels=names, column_labels=example.features, write=plain)
        for matrix, title, names in (
            (embedding, "embedding table E", words),
            (positions, "positions P", [str(i) for i in range(length)]),
            (x, "X", example.tokens),
        )
    ]
    added, sums = _written(positions[follow]), _written(x[follow])
    return canvas.finish(
        f"{length} tokens, {' '.join(example.tokens)}, with the ids {_written(ids)}. Each id picks "
        f"a row of the embedding table E, {_size(embedding)}; the position's row of P is added, "
        f"and the sum is a row of X, {_size(x)}. Outlined: row {follow + 1}, "
        f"{example.tokens[follow]}, id {ids[follow]}. Embedding {_written(embedding[ids[follow]])} "
        f"plus position {added} is {sums}.",
        numbers,
    )


def _tokens_and_ids(
    canvas: Canvas, tokens: Sequence[str], ids: np.ndarray, below: float, follow: int
) -> None:
    canvas.text(0.0, -0.75 * LINE, "token", size=NUMBER, align="right", colour=MUTED)
    canvas.text(33.0, -0.75 * LINE, "id", size=NUMBER, colour=MUTED)
    for i, token in enumerate(tokens):
        y = (i + 0.5) * LINE
        colour, bold = (HIGHLIGHT, True) if i == follow else (INK, False)
        canvas.arrow([(5.0, y), (24.0, y)], colour=HIGHLIGHT if i == follow else MUTED)
        canvas.text(33.0, y, str(ids[i]), size=LABEL, colour=colour, bold=bold)
        for top in (0.0, below):
            canvas.text(0.0, top + y, token, size=LABEL, align="right", colour=colour, bold=bold)


def _matrix(canvas: Canvas, x: float, y: float, values: np.ndarray, follow: int) -> None:
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            t = float(value) / 2.0  # the largest entry of the running example is 1.5
            left, top = x + j * CELL, y + i * LINE
            canvas.rectangle(left, top, CELL, LINE, fill=map_colour(t), edge=FAINT)
            colour = number_colour(t) if value else MUTED
            middle = (left + CELL / 2, top + LINE / 2)
            canvas.text(*middle, f"{value:g}", size=NUMBER, colour=colour)
    top, width = y + follow * LINE, values.shape[1] * CELL
    canvas.rectangle(x, top, width, LINE, edge=HIGHLIGHT, line=2.4, radius=2.0, order=3)


def _title(canvas: Canvas, x: float, y: float, name: str, shape: tuple[int, ...]) -> None:
    canvas.text(x, y, f"{name} {shape}", size=LABEL, align="left", bold=True)


def _written(values: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _size(matrix: np.ndarray) -> str:
    return f"{matrix.shape[0]} rows and {matrix.shape[1]} columns"


def position_table(positions: Any) -> Figure:
    """Draw a table of sinusoidal positions, one position a row.

    Parameters
    ----------
    positions : array, shape (N, d)

    Returns
    -------
    Figure
    """
    host = to_numpy(positions)
    length, width = host.shape
    drawn = heat_map(
        host,
        [str(n) for n in range(length)],
        row_title="position",
        column_title="column",
        limits=(-1.0, 1.0),
        annotate=False,
    )
    turns = (np.diff(np.sign(np.round(host, 6)), axis=0) != 0).sum(axis=0)
    return replace(
        drawn,
        alt=f"Heat map with {length} rows, the positions 0 to {length - 1}, and {width} columns, "
        f"values from −1 to 1. Position 0 alternates between {signed(host[0, 0])} and "
        f"{signed(host[0, 1])}. Going down, column 1 changes sign {turns[0]} times, column "
        f"{width // 2} {turns[width // 2 - 1]} times and column {width} {turns[-1]} times.",
    )


def position_likeness(tables: Mapping[str, Any]) -> Figure:
    """Draw the cosine of two position vectors against their distance, for several tables.

    A curve is the mean over all pairs at one distance; its band reaches from the smallest to the
    largest, so a table in which only the distance counts has no band.

    Parameters
    ----------
    tables : mapping of str to array, shape (N, d)
        Tables of position vectors by name, with one and the same N.

    Returns
    -------
    Figure
    """
    lines, bands = {}, {}
    for name, positions in tables.items():
        cosines = _cosines(to_numpy(positions))
        diagonals = [np.round(np.diagonal(cosines, k), 6) for k in range(len(cosines))]
        lines[name] = np.asarray([diagonal.mean() for diagonal in diagonals])
        bands[name] = tuple(
            np.asarray([end(diagonal) for diagonal in diagonals]) for end in (np.min, np.max)
        )
    distances = np.arange(len(cosines))
    ticks = {"x_ticks": distances[::2].tolist(), "y_ticks": [0, 0.25, 0.5, 0.75, 1]}
    titles = {"x_title": "distance of the two positions", "y_title": "cosine"}
    drawn = curves(distances, lines, bands=bands, y_limits=(0.0, 1.0), **titles, **ticks)
    said = [
        f"{name}: {signed(line[0])} at 0, {signed(line[1])} at 1, {signed(line[-1])} at "
        f"{distances[-1]}, lowest {signed(line.min())} at {line.argmin()}; pairs at one distance "
        f"differ by at most {signed(np.ptp(np.stack(bands[name]), axis=0).max())}"
        for name, line in lines.items()
    ]
    opening = f"Line plot of the cosine of two position vectors, distances 0 to {distances[-1]}"
    return replace(drawn, alt=f"{opening}. {'. '.join(said)}.")


@style()
def ragged_batch(sentences: Sequence[Sequence[str]], token_mask: Any, *, follow: str) -> Figure:
    """Draw a padded batch: a word where there is a token, hatching where there is padding.

    Parameters
    ----------
    sentences : sequence of B sequences of str
    token_mask : boolean array, shape (B, N)
        True where there is a token.
    follow : str
        The token that is set off.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the mask does not have a place for every token.
    """
    mask = to_numpy(token_mask)
    lengths = [len(sentence) for sentence in sentences]
    if mask.sum(axis=1).tolist() != lengths:
        raise ValueError(f"token_mask must let {lengths} tokens through, got {mask.sum(axis=1)}")
    width, height = 59.0, 26.0
    canvas = Canvas()
    for b, sentence in enumerate(sentences):
        canvas.text(-8.0, (b + 0.5) * height, str(b + 1), size=LABEL, align="right")
        for i in range(mask.shape[1]):
            x, y = i * width, b * height
            canvas.rectangle(x, y, width, height, edge=FAINT)
            if not mask[b, i]:
                canvas.hatch(x, y, width, height)
                continue
            colour, bold = (HIGHLIGHT, True) if sentence[i] == follow else (INK, False)
            middle = (x + width / 2, y + height / 2)
            canvas.text(*middle, sentence[i], size=LABEL, colour=colour, bold=bold)
    canvas.text(-8.0, -11.0, "sentence ↓", size=NUMBER, align="right", colour=MUTED)
    for i in range(mask.shape[1]):
        canvas.text((i + 0.5) * width, -11.0, str(i), size=NUMBER, colour=MUTED)
    canvas.text(0.0, -27.0, "position →", size=NUMBER, align="left", colour=MUTED)
    draw_key(canvas, 0.0, len(sentences) * height, hatched="padding: a row of zeros")
    said = [
        f"sentence {b + 1}, {' '.join(sentence)}, fills {len(sentence)}"
        for b, sentence in enumerate(sentences)
    ]
    return canvas.finish(
        f"A batch of {len(sentences)} sentences in {mask.shape[1]} places each: {'; '.join(said)}. "
        f"The other {int((~mask).sum())} of {mask.size} places are hatched: padding."
    )


def row_likeness(x: Any, tokens: Sequence[str], *, highlight_row: int | None = None) -> Figure:
    """Draw the cosines between all rows of a packed sentence.

    Parameters
    ----------
    x : array, shape (N, d)
    tokens : sequence of N str
    highlight_row : int, optional
        The row to follow, counted from 0.

    Returns
    -------
    Figure
    """
    cosines = _cosines(to_numpy(x))
    drawn = heat_map(
        cosines,
        tokens,
        tokens,
        row_title="row",
        column_title="row",
        limits=(-1.0, 1.0),
        highlight_row=highlight_row,
        annotate=False,
    )
    first, second = np.triu_indices(len(tokens), k=1)
    likeness = np.round(cosines[first, second], 2)
    order = np.argsort(-likeness, kind="stable")
    pairs = [
        f"{tokens[first[k]]} ({first[k] + 1}) and {tokens[second[k]]} ({second[k] + 1}) "
        f"{signed(likeness[k])}"
        for k in order[:6]
    ]
    alt = f"Heat map of the cosines between the {len(tokens)} rows of {' '.join(tokens)}."
    if pairs:
        alt += f" Most alike: {'; '.join(pairs)}."
    rest = likeness[order[6:]]
    if len(rest):
        alt += f" All other pairs lie between {signed(rest.min())} and {signed(rest.max())}."
    return replace(drawn, alt=alt)


def _cosines(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    directions = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    # A cosine never exceeds 1, whatever the rounding.
    return np.clip(directions @ directions.T, -1.0, 1.0)
