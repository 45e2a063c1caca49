"""Drawings of the chapter on packing: from words to rows, positions, batches, and likeness."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from companion.arrays import to_numpy
from companion.examples.running_example import RunningExample
from companion.figures.kit.canvas import Canvas
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.grid import draw_key
from companion.figures.kit.heatmaps import heat_map
from companion.figures.kit.palette import FAINT, HIGHLIGHT, INK, MUTED, map_colour, number_colour
from companion.figures.kit.plots import curves
from companion.figures.kit.tables import curve_table, table
from companion.figures.kit.wording import plain, signed
from companion.packing import token_ids

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
    left, second = 42.0, 42.0 + width + 32.0
    below = length * LINE + 46.0
    canvas = Canvas()
    _tokens_and_ids(canvas, example.tokens, ids, below, follow)
    for j, feature in enumerate(example.features):
        canvas.text(left + (j + 0.5) * CELL, -6.0, feature, size=NUMBER, align="left", angle=45.0)
    _matrix(canvas, left, 0.0, embedding, int(ids[follow]))
    canvas.text(second - 13.0, -0.75 * LINE, "position", size=NUMBER, align="left", colour=MUTED)
    for i in range(length):
        colour, bold = (HIGHLIGHT, True) if i == follow else (INK, False)
        place = (second - 5.0, (i + 0.5) * LINE)
        canvas.text(*place, str(i), size=LABEL, align="right", colour=colour, bold=bold)
    _matrix(canvas, second, 0.0, positions, follow)
    _matrix(canvas, left, below, x, follow)
    under = length * LINE + 13.0
    _title(canvas, left, under, "table E", embedding.shape)
    canvas.text(second - 18.0, under, "+", size=15.0)
    _title(canvas, second, under, "positions P", positions.shape)
    canvas.text(left - 18.0, below + under, "=", size=15.0)
    _title(canvas, left, below + under, "X", x.shape)
    row, turn = (follow + 0.5) * LINE, second + width + 10.0
    path = [(turn - 7.0, row), (turn, row), (turn, below + row), (left + width + 4.0, below + row)]
    canvas.arrow(path, colour=HIGHLIGHT)
    words = sorted(example.vocabulary, key=example.vocabulary.__getitem__)
    numbers = [
        table(
            matrix,
            title,
            row_labels=names,
            column_labels=example.features,
            row_title=row_title,
            column_title="feature",
            write=plain,
        )
        for matrix, title, row_title, names in (
            (embedding, "embedding table E", "token", words),
            (positions, "positions P", "position", _counted(length)),
            (x, "X", "token", example.tokens),
        )
    ]
    added, sums = _written(positions[follow]), _written(x[follow])
    return canvas.finish(
        f"{length} tokens, {' '.join(example.tokens)}, with the ids {_written(ids)}. Each id picks "
        f"a row of the embedding table E, {_size(embedding)}; the position's row of P is added, "
        f"and the sum is a row of X, {_size(x)}. Outlined: row {follow + 1}, "
        f"{example.tokens[follow]}, id {ids[follow]}, at position {follow}, counted from 0. "
        f"Embedding {_written(embedding[ids[follow]])} plus position vector {added} is {sums}.",
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


def _counted(length: int) -> list[str]:
    return [str(n) for n in range(length)]


def _size(matrix: np.ndarray) -> str:
    return f"{matrix.shape[0]} rows and {matrix.shape[1]} columns"


def position_table(positions: Any) -> Figure:
    """Draw a table of sinusoidal positions, one position a row; rows and columns count from 0.

    Parameters
    ----------
    positions : array, shape (N, d)

    Returns
    -------
    Figure
    """
    host = to_numpy(positions)
    length, width = host.shape
    labels = {
        "row_labels": _counted(length),
        "column_labels": _counted(width),
        "row_title": "position",
        "column_title": "column",
    }
    drawn = heat_map(host, **labels, limits=(-1.0, 1.0), annotate=False)
    numbers = table(host, "entries of P", **labels, write=_hundredths)
    signs = np.sign(np.round(host, 6)).T
    turns = [np.count_nonzero(np.diff(column[column != 0])) for column in signs]
    columns = 0, width // 2 - 1, width - 1
    said = [f"{turns[c] or 'none'} in column {c}" for c in columns]
    return replace(
        drawn,
        alt=f"Heat map with {length} rows, the positions 0 to {length - 1}, and {width} columns, "
        f"0 to {width - 1}, values from −1 to 1. Position 0 alternates between "
        f"{plain(host[0, 0])} and {plain(host[0, 1])}. Changes of sign, going down: "
        f"{', '.join(said)}.",
        tables=(numbers,),
    )


def _hundredths(value: float) -> str:
    """Write two decimals, of 0 too: among sines and cosines it is a number like any other."""
    return signed(value) if value else "0.00"


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
    columns = {}
    for name, line in lines.items():
        columns[name] = line
        least, most = bands[name]
        if np.any(least < most):
            columns |= {f"{name}, least": least, f"{name}, most": most}
    said = [
        f"{name}: {signed(line[0])} at 0, {signed(line[1])} at 1, {signed(line[-1])} at "
        f"{distances[-1]}, lowest {signed(line.min())} at {line.argmin()}; pairs at one distance "
        f"differ by at most {signed(np.ptp(np.stack(bands[name]), axis=0).max())}"
        for name, line in lines.items()
    ]
    opening = f"Line plot of the cosine of two position vectors, distances 0 to {distances[-1]}"
    numbers = tuple(curve_table(distances, columns, "distance", "cosine"))
    return replace(drawn, alt=f"{opening}. {'. '.join(said)}.", tables=numbers)


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
        for i in range(mask.shape[1]):
            x, y = i * width, b * height
            canvas.rectangle(x, y, width, height, edge=FAINT)
            if not mask[b, i]:
                canvas.hatch(x, y, width, height)
                continue
            colour, bold = (HIGHLIGHT, True) if sentence[i] == follow else (INK, False)
            middle = (x + width / 2, y + height / 2)
            canvas.text(*middle, sentence[i], size=LABEL, colour=colour, bold=bold)
    for i in range(mask.shape[1]):
        canvas.text((i + 0.5) * width, -11.0, str(i), size=NUMBER, colour=MUTED)
    canvas.text(0.0, -27.0, "position →", size=NUMBER, align="left", colour=MUTED)
    draw_key(canvas, 0.0, len(sentences) * height, hatched="padding: a row of zeros")
    said = [f"“{' '.join(sentence)}” fills {len(sentence)}" for sentence in sentences]
    return canvas.finish(
        f"A batch of {len(sentences)} sentences, one a row, in {mask.shape[1]} places each, "
        f"the positions 0 to {mask.shape[1] - 1}: {'; '.join(said)}. "
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
        title="cosine",
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
