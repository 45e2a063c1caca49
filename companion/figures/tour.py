"""The drawings of the tour and of the cover: one word looks at all, in one picture each."""

from collections.abc import Sequence

import numpy as np

from companion.arrays import Array, to_numpy
from companion.figures.kit.canvas import Canvas, literal, text_size
from companion.figures.kit.cells import NUMBER, draw_cell, draw_numbers, outline
from companion.figures.kit.figure import MAX_WIDTH, Figure, style
from companion.figures.kit.palette import (
    FILLED,
    HIGHLIGHT,
    INK,
    LINES,
    MUTED,
    map_colour,
    number_colour,
)
from companion.figures.kit.wording import short, signed
from companion.scores import scaled_scores
from companion.softmax import softmax, weighted_values

__all__ = ["one_word_asks", "row_of_weights"]

LABEL, NAME = 11.0, 12.0
CELL, LINE = 36.0, 16.0
LARGEST = 4.0  # the number with the darkest cell
# The middles of the columns: the question, the first of the words and what parts two, the answer.
QUESTION, FIRST, STEP, ANSWER = 22.0, 80.0, 50.0, 336.0
TALLEST, WIDEST = 52.0, 24.0  # a bar, and all the pipes together, for a share of one


@style()
def one_word_asks(
    query: Array, key: Array, value: Array, *, tokens: Sequence[str], row: int
) -> Figure:
    """Draw how one word's query meets every key, and how its shares let the values flow together.

    Parameters
    ----------
    query, key : array, shape (N, d_k)
    value : array, shape (N, d_v)
    tokens : sequence of N str
        At most five, for which there is room.
    row : int
        The word that asks, counted from 0.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are more tokens than there is room for.
    """
    if len(tokens) > 5:
        raise ValueError(f"tokens must be at most 5, got {len(tokens)}")
    scores = scaled_scores(query, key)[row, :]
    weights = softmax(scores)
    output = weighted_values(weights[None, :], value)[0, :]
    drawn = (query[row, :], key, value, scores, weights, output)
    asks, key, value, scores, weights, output = (to_numpy(a).astype(np.float64) for a in drawn)
    canvas = Canvas()
    keys_end = 16.0 + LINE * key.shape[1]
    base = keys_end + 42.0 + TALLEST
    values, values_end = base + 14.0, base + 14.0 + LINE * value.shape[1]
    _stack(canvas, QUESTION, 16.0, asks, f"{tokens[row]} asks")
    for j, token in enumerate(tokens):
        x, share = FIRST + STEP * j, round(float(weights[j]), 4)
        follow = j == row
        look = HIGHLIGHT if follow else INK
        canvas.text(x, 4.0, literal(token), size=LABEL, bold=follow, colour=look)
        draw_numbers(canvas, (x - CELL / 2, 16.0), key[j][:, None], (CELL, LINE), largest=LARGEST)
        canvas.text(x, keys_end + 12.0, signed(scores[j]), size=NUMBER)
        height = max(TALLEST * share, 0.8)
        canvas.rectangle(x - CELL / 2, base - height, CELL, height, fill=LINES[0])
        canvas.text(x, base - height - 8.0, _percent(share), size=NUMBER, bold=share >= 0.5)
        draw_numbers(
            canvas, (x - CELL / 2, values), value[j][:, None], (CELL, LINE), largest=LARGEST
        )
    _pipes(canvas, values_end + 3.0, weights)
    _stack(canvas, ANSWER, values, output, "its new row")
    for y, name in (
        (16.0 + LINE * key.shape[1] / 2, "keys"),
        (keys_end + 12.0, "scores"),
        (base - TALLEST / 2, "weights"),
    ):
        canvas.text(ANSWER - 24.0, y, name, size=LABEL, align="left", colour=MUTED)
    middle = values + LINE * value.shape[1] / 2
    canvas.text(QUESTION, middle, "values", size=LABEL, colour=MUTED)
    said = "; ".join(
        f"{token}: key {_row(key[j])}, score {signed(scores[j])}, weight {_percent(weights[j])}, "
        f"value {_row(value[j])}"
        for j, token in enumerate(tokens)
    )
    return canvas.finish(
        f"{tokens[row]} asks with its query {_row(asks)}, which meets the key of every word: "
        f"{said}. The values flow together, each by its weight, into its new row: "
        f"{_row(output)}."
    )


def _stack(canvas: Canvas, x: float, y: float, numbers: np.ndarray, title: str) -> None:
    """Draw a row of numbers upright and outlined, its title above."""
    draw_numbers(canvas, (x - CELL / 2, y), numbers[:, None], (CELL, LINE), largest=LARGEST)
    outline(canvas, (x - CELL / 2, y, CELL, LINE * len(numbers)))
    canvas.text(x, y - 12.0, literal(title), size=NUMBER, bold=True, colour=HIGHLIGHT)


def _pipes(canvas: Canvas, top: float, weights: np.ndarray) -> None:
    """Let a pipe as wide as its share come down from each value, and all run to the answer."""
    bottom, right = top + WIDEST + 8.0, ANSWER + WIDEST / 2
    flown = 0.0
    for j, weight in enumerate(weights):
        # Rounded to what can be seen, so that the last bit of a device does not reach the drawing.
        width = WIDEST * round(float(weight), 4)
        x = FIRST + STEP * j - width / 2
        canvas.rectangle(x, top, width, bottom - flown - top, fill=FILLED)
        flown += width
        canvas.rectangle(x, bottom - flown, right - x, width + 0.2, fill=FILLED)
    canvas.rectangle(right - WIDEST, top + 8.0, WIDEST, bottom - top - 7.8, fill=FILLED)
    head = [(ANSWER - 18.0, top + 9.0), (ANSWER, top - 1.0), (ANSWER + 18.0, top + 9.0)]
    canvas.polygon(head, fill=FILLED)


@style()
def row_of_weights(weights: Array, tokens: Sequence[str], *, row: int) -> Figure:
    """Draw a sentence and how much of its weight one of its words gives to each.

    Parameters
    ----------
    weights : array, shape (N,)
        Shares of one.
    tokens : sequence of N str
    row : int
        Whose weights these are, counted from 0.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are not as many weights as tokens.
    """
    shares = np.round(to_numpy(weights).astype(np.float64), 4)
    if shares.shape != (len(tokens),):
        raise ValueError(f"weights must be ({len(tokens)},) for the tokens, got {shares.shape}")
    widths = [max(text_size(literal(token), NUMBER)[0] + 4.0, 21.0) for token in tokens]
    gap = min(6.0, (MAX_WIDTH - 6.0 - sum(widths)) / (len(tokens) - 1))
    canvas, x = Canvas(), 0.0
    for j, (token, share, width) in enumerate(zip(tokens, shares.tolist(), widths, strict=True)):
        box = (x, 0.0, width, 22.0)
        draw_cell(canvas, box, literal(token), fill=map_colour(share), colour=number_colour(share))
        height = max(1.6 * TALLEST * share, 0.8)
        bar = 0.7 * width
        canvas.rectangle(x + (width - bar) / 2, -4.0 - height, bar, height, fill=LINES[0])
        if share >= 0.005:
            canvas.text(x + width / 2, -12.0 - height, f"{100 * share:.0f}", bold=share >= 0.5)
        if j == row:
            outline(canvas, box)
        x += width + gap
    order = [j for j in np.argsort(-shares, kind="stable").tolist() if shares[j] >= 0.1]
    given = ", ".join(f"{_percent(shares[j])} to {tokens[j]}" for j in order)
    return canvas.finish(
        f"The sentence {' '.join(tokens)}. Its word {tokens[row]}, outlined, gives {given} of its "
        "weight; a bar above each word says how much it gets, in percent."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _row(numbers: np.ndarray) -> str:
    return f"({', '.join(short(number) for number in numbers)})"
