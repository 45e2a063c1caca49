"""The product that makes queries, with its numbers."""

from collections.abc import Sequence

import numpy as np

from companion.arrays import Array, to_numpy
from companion.figures.kit.canvas import Canvas
from companion.figures.kit.cells import draw_numbers, outline
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.palette import HIGHLIGHT, INK
from companion.figures.kit.tables import table
from companion.figures.kit.wording import plain

__all__ = ["matrix_product"]

LABEL, NAME = 10.5, 12.0
HEIGHT = 23.0
X_SIDE, SIDE = 27.0, 36.0


@style()
def matrix_product(
    x: Array,
    weight: Array,
    *,
    tokens: Sequence[str],
    features: Sequence[str],
    row: int,
    column: int,
) -> Figure:
    """Draw :math:`Q = X W^Q` with its numbers: each row on the left meets each column at the top.

    Parameters
    ----------
    x : array, shape (N, d)
    weight : array, shape (d, d_k)
    tokens : sequence of N str
    features : sequence of d str
        What the columns of `x`, and so the rows of `weight`, stand for.
    row, column : int
        The entry of the product to follow, counted from 0.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the shapes or the labels do not fit, or there is no such entry.
    """
    x, weight = (to_numpy(matrix).astype(np.float64) for matrix in (x, weight))
    _check_product(x, weight, tokens, features, row, column)
    product = x @ weight
    largest = max(float(np.abs(matrix).max()) for matrix in (x, weight, product)) or 1.0
    canvas, left = Canvas(), X_SIDE * x.shape[1] + 16.0
    top = HEIGHT * weight.shape[0] + 14.0
    for place, matrix, side in (
        ((left, 0.0), weight, SIDE),
        ((0.0, top), x, X_SIDE),
        ((left, top), product, SIDE),
    ):
        look = {"largest": largest, "write": plain, "faint_zero": True}
        draw_numbers(canvas, place, matrix, (side, HEIGHT), **look)
    _draw_labels(canvas, left, top, tokens, features, row)
    y, right = top + row * HEIGHT, left + column * SIDE
    outline(canvas, (0.0, y, X_SIDE * x.shape[1], HEIGHT))
    outline(canvas, (right, 0.0, SIDE, HEIGHT * weight.shape[0]))
    outline(canvas, (right, y, SIDE, HEIGHT))
    below = top + HEIGHT * x.shape[0] + 13.0
    middle = left + SIDE * weight.shape[1] / 2
    numbers = []
    for name, matrix, place, rows, columns in (
        ("$X$", x, (X_SIDE * x.shape[1] / 2, below), tokens, features),
        ("$W^Q$", weight, (middle, -14.0), features, None),
        ("$Q$", product, (middle, below), tokens, None),
    ):
        canvas.text(
            place[0], place[1], f"{name}   {matrix.shape[0]} × {matrix.shape[1]}", size=NAME
        )
        numbers.append(table(matrix, name, row_labels=rows, column_labels=columns, write=plain))
    return canvas.finish(_product_alt(x, weight, product, tokens, row, column), numbers)


def _draw_labels(
    canvas: Canvas,
    left: float,
    top: float,
    tokens: Sequence[str],
    features: Sequence[str],
    row: int,
) -> None:
    for i, feature in enumerate(features):
        canvas.text(left - 6.0, (i + 0.5) * HEIGHT, feature, size=LABEL, align="right")
    for i, token in enumerate(tokens):
        place, colour = (-6.0, top + (i + 0.5) * HEIGHT), HIGHLIGHT if i == row else INK
        canvas.text(*place, token, size=LABEL, align="right", bold=i == row, colour=colour)


def _check_product(
    x: np.ndarray,
    weight: np.ndarray,
    tokens: Sequence[str],
    features: Sequence[str],
    row: int,
    column: int,
) -> None:
    if x.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[0]:
        raise ValueError(
            f"x and weight must be (N, d) and (d, d_k), got shapes {x.shape} and {weight.shape}"
        )
    if (len(tokens), len(features)) != x.shape:
        got = len(tokens), len(features)
        raise ValueError(f"tokens and features must be as many as x has, {x.shape}, got {got}")
    if not (0 <= row < len(x) and 0 <= column < weight.shape[1]):
        shape = (len(x), weight.shape[1])
        raise ValueError(f"row and column must be inside the product {shape}, got {row}, {column}")


def _product_alt(
    x: np.ndarray,
    weight: np.ndarray,
    product: np.ndarray,
    tokens: Sequence[str],
    row: int,
    column: int,
) -> str:
    shapes = [f"{matrix.shape[0]} by {matrix.shape[1]}" for matrix in (x, weight, product)]
    terms = [
        f"{plain(a)} times {plain(b)}"
        for a, b in zip(x[row], weight[:, column], strict=True)
        if a != 0 and b != 0
    ]
    numbers = " ".join(map(plain, product[row]))
    return (
        f"Matrix product: X, {shapes[0]}, at the left; W^Q, {shapes[1]}, above; Q, {shapes[2]}, "
        f"where they meet. Row {row + 1} ({tokens[row]}) of Q is {numbers}. Its outlined entry, "
        f"{plain(product[row, column])}, is the row's x against column {column + 1} of "
        f"W^Q: {' plus '.join(terms) or 'all terms are 0'}."
    )
