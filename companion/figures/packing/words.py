"""How words become the rows of one matrix, and sentences a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from companion.arrays import to_numpy
from companion.examples.running_example import RunningExample
from companion.figures.kit.canvas import Canvas
from companion.figures.kit.cells import NUMBER, draw_numbers, outline
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.grid import draw_key
from companion.figures.kit.palette import FAINT, HIGHLIGHT, INK, MUTED
from companion.figures.kit.tables import table
from companion.figures.kit.wording import plain
from companion.packing import token_ids

__all__ = ["ragged_batch", "words_to_rows"]

CELL, LINE, LABEL = 20.0, 20.0, 11.0
LARGEST = 2.0  # beyond 1.5, the largest entry of the running example


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
    host = _Numbers.of(example)
    canvas = Canvas()
    _draw_way(canvas, example, host, follow)
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
            (host.embedding, "embedding table E", "token", words),
            (host.positions, "positions P", "position", [str(n) for n in range(len(host.ids))]),
            (host.x, "X", "token", example.tokens),
        )
    ]
    return canvas.finish(_rows_alt(example.tokens, host, follow), numbers)


@dataclass(frozen=True)
class _Numbers:
    """The numbers of the running example that are drawn, on the host."""

    ids: np.ndarray
    embedding: np.ndarray
    positions: np.ndarray
    x: np.ndarray

    @classmethod
    def of(cls, example: RunningExample) -> "_Numbers":
        ids = token_ids(example.tokens, example.vocabulary)
        drawn = (ids, example.embedding, example.positions[: ids.shape[0], ...], example.x)
        return cls(*map(to_numpy, drawn))


def _draw_way(canvas: Canvas, example: RunningExample, host: _Numbers, follow: int) -> None:
    """Draw the tokens, the table beside the positions, and below them what they add up to."""
    length, width = len(host.ids), host.embedding.shape[1] * CELL
    left, second, below = 42.0, 42.0 + width + 32.0, length * LINE + 46.0
    _tokens_and_ids(canvas, example.tokens, host.ids, below, follow)
    for j, feature in enumerate(example.features):
        canvas.text(left + (j + 0.5) * CELL, -6.0, feature, size=NUMBER, align="left", angle=45.0)
    _matrix(canvas, left, 0.0, host.embedding, int(host.ids[follow]))
    canvas.text(second - 13.0, -0.75 * LINE, "position", size=NUMBER, align="left", colour=MUTED)
    for i in range(length):
        colour, bold = (HIGHLIGHT, True) if i == follow else (INK, False)
        place = (second - 5.0, (i + 0.5) * LINE)
        canvas.text(*place, str(i), size=LABEL, align="right", colour=colour, bold=bold)
    _matrix(canvas, second, 0.0, host.positions, follow)
    _matrix(canvas, left, below, host.x, follow)
    under = length * LINE + 13.0
    _title(canvas, left, under, "table E", host.embedding.shape)
    canvas.text(second - 18.0, under, "+", size=15.0)
    _title(canvas, second, under, "positions P", host.positions.shape)
    canvas.text(left - 18.0, below + under, "=", size=15.0)
    _title(canvas, left, below + under, "X", host.x.shape)
    row, turn = (follow + 0.5) * LINE, second + width + 10.0
    path = [(turn - 7.0, row), (turn, row), (turn, below + row), (left + width + 4.0, below + row)]
    canvas.arrow(path, colour=HIGHLIGHT)


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
    look = {"largest": LARGEST, "write": "{:g}".format, "faint_zero": True}
    draw_numbers(canvas, (x, y), values, (CELL, LINE), **look)
    outline(canvas, (x, y + follow * LINE, values.shape[1] * CELL, LINE))


def _title(canvas: Canvas, x: float, y: float, name: str, shape: tuple[int, ...]) -> None:
    canvas.text(x, y, f"{name} {shape}", size=LABEL, align="left", bold=True)


def _rows_alt(tokens: Sequence[str], host: _Numbers, follow: int) -> str:
    ids, embedding, x = host.ids, host.embedding, host.x
    added, sums = _written(host.positions[follow]), _written(x[follow])
    return (
        f"{len(ids)} tokens, {' '.join(tokens)}, with the ids {_written(ids)}. Each id picks "
        f"a row of the embedding table E, {_size(embedding)}; the position's row of P is added, "
        f"and the sum is a row of X, {_size(x)}. Outlined: row {follow + 1}, "
        f"{tokens[follow]}, id {ids[follow]}, at position {follow}, counted from 0. "
        f"Embedding {_written(embedding[ids[follow]])} plus position vector {added} is {sums}."
    )


def _written(values: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _size(matrix: np.ndarray) -> str:
    return f"{matrix.shape[0]} rows and {matrix.shape[1]} columns"


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
