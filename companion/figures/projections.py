"""The drawings of the chapter on queries, keys and values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from companion.arrays import to_numpy
from companion.figures.kit import wording
from companion.figures.kit.canvas import Canvas
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.palette import (
    FAINT,
    HIGHLIGHT,
    HIGHLIGHT_FILL,
    INK,
    LINES,
    MUTED,
    PANEL,
    map_colour,
    number_colour,
)
from companion.figures.kit.tables import by_head, table

__all__ = ["asymmetry", "matrix_product", "three_roles"]

NUMBER, LABEL, NAME = 10.0, 10.5, 12.0
HEIGHT = 23.0
ROLES = (
    ("query", "$W^Q$", "what I look for", "meets every key"),
    ("key", "$W^K$", "what I offer", "meets every query"),
    ("value", "$W^V$", "what I hand over", "goes into the mix"),
)


@style()
def three_roles(
    x: Any, query: Any, key: Any, value: Any, *, token: str, features: Sequence[str]
) -> Figure:
    """Draw one token's vector and the three that are made of it.

    Parameters
    ----------
    x : array, shape (d,)
    query, key : array, shape (d_k,)
    value : array, shape (d_v,)
    token : str
        What `x` is the vector of.
    features : sequence of d str
        What the entries of `x` stand for.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If an argument is no vector, or the features do not fit `x`.
    """
    vectors = _checked_vectors(x=x, query=query, key=key, value=value)
    source, *made = vectors.values()
    if len(features) != len(source):
        raise ValueError(f"features must be {len(source)}, one for each entry, got {len(features)}")
    canvas = Canvas()
    side, column = 336.0 / len(source), 112.0
    canvas.text(0.0, -22.0, f"x, the row of {token}", size=NAME, align="left", bold=True)
    for i, (number, feature) in enumerate(zip(source, features, strict=True)):
        canvas.text((i + 0.5) * side, -6.0, feature, size=NUMBER, colour=MUTED)
        _cell(canvas, i * side, 5.0, side, wording.plain(number), fill=HIGHLIGHT_FILL)
    for k, (vector, role) in enumerate(zip(made, ROLES, strict=True)):
        _draw_role(canvas, (k + 0.5) * column, 5.0 + HEIGHT, len(source), vector, role, LINES[k])
    said = ", ".join(f"{f} {wording.plain(v)}" for f, v in zip(features, source, strict=True))
    parts = [f"One token in three roles. The row of {token}, x, is {said}."]
    for (name, _, meaning, use), vector in zip(ROLES, made, strict=True):
        numbers = " ".join(map(wording.plain, vector))
        parts.append(f"The {name}, {meaning}, has {len(vector)} entries, {numbers}, and {use}.")
    return canvas.finish(" ".join(parts))


def _draw_role(
    canvas: Canvas,
    middle: float,
    top: float,
    width: int,
    vector: np.ndarray,
    role: tuple[str, str, str, str],
    colour: str,
) -> None:
    name, matrix, meaning, use = role
    canvas.arrow([(middle, top + 3.0), (middle, top + 45.0)], colour=colour)
    canvas.text(middle - 8.0, top + 22.0, matrix, size=NAME, align="right", colour=colour)
    shape = f"{width} × {len(vector)}"
    canvas.text(middle + 8.0, top + 22.0, shape, size=NUMBER, align="left", colour=MUTED)
    side = min(35.0, 108.0 / len(vector))
    left, y = middle - side * len(vector) / 2, top + 48.0
    for i, number in enumerate(vector):
        _cell(canvas, left + i * side, y, side, wording.plain(number), fill=PANEL)
    canvas.rectangle(left, y, side * len(vector), HEIGHT, edge=colour, line=1.6, order=3.0)
    canvas.text(middle, y + 38.0, name, size=NAME, bold=True, colour=colour)
    canvas.text(middle, y + 55.0, meaning, size=LABEL)
    canvas.text(middle, y + 70.0, use, size=NUMBER, colour=MUTED)


@style()
def matrix_product(
    x: Any,
    weight: Any,
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
    canvas = Canvas()
    x_side, side = 27.0, 36.0
    left = x_side * x.shape[1] + 16.0
    top = HEIGHT * weight.shape[0] + 14.0
    _numbers(canvas, left, 0.0, side, weight, largest)
    _numbers(canvas, 0.0, top, x_side, x, largest)
    _numbers(canvas, left, top, side, product, largest)
    for i, feature in enumerate(features):
        canvas.text(left - 6.0, (i + 0.5) * HEIGHT, feature, size=LABEL, align="right")
    for i, token in enumerate(tokens):
        place, colour = (-6.0, top + (i + 0.5) * HEIGHT), HIGHLIGHT if i == row else INK
        canvas.text(*place, token, size=LABEL, align="right", bold=i == row, colour=colour)
    y, right = top + row * HEIGHT, left + column * side
    for box in (
        (0.0, y, x_side * x.shape[1], HEIGHT),
        (right, 0.0, side, HEIGHT * weight.shape[0]),
        (right, y, side, HEIGHT),
    ):
        canvas.rectangle(*box, edge=HIGHLIGHT, line=2.4, radius=2.0, order=3.0)
    below = top + HEIGHT * x.shape[0] + 13.0
    middle = left + side * weight.shape[1] / 2
    numbers = []
    for name, matrix, place, rows, columns in (
        ("$X$", x, (x_side * x.shape[1] / 2, below), tokens, features),
        ("$W^Q$", weight, (middle, -14.0), features, None),
        ("$Q$", product, (middle, below), tokens, None),
    ):
        canvas.text(*place, f"{name}   {matrix.shape[0]} × {matrix.shape[1]}", size=NAME)
        labels = {"row_labels": rows, "column_labels": columns}
        numbers.append(table(matrix, name, write=wording.plain, **labels))
    return canvas.finish(_product_alt(x, weight, product, tokens, row, column), numbers)


def _check_product(x: Any, weight: Any, tokens: Any, features: Any, row: int, column: int) -> None:
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


def _numbers(
    canvas: Canvas, x: float, y: float, side: float, matrix: np.ndarray, largest: float
) -> None:
    for i, entries in enumerate(matrix):
        for j, entry in enumerate(entries):
            t = round(float(entry) / largest, 4)
            look = {"fill": map_colour(t), "colour": number_colour(t) if entry else MUTED}
            _cell(canvas, x + j * side, y + i * HEIGHT, side, wording.plain(float(entry)), **look)


def _cell(
    canvas: Canvas, x: float, y: float, width: float, text: str, *, fill: str, colour: str = INK
) -> None:
    canvas.rectangle(x, y, width, HEIGHT, fill=fill, edge=FAINT)
    canvas.text(x + width / 2, y + HEIGHT / 2, text, size=NUMBER, colour=colour)


def _product_alt(x: Any, weight: Any, product: Any, tokens: Any, row: int, column: int) -> str:
    shapes = [f"{matrix.shape[0]} by {matrix.shape[1]}" for matrix in (x, weight, product)]
    terms = [
        f"{wording.plain(a)} times {wording.plain(b)}"
        for a, b in zip(x[row], weight[:, column], strict=True)
        if a != 0 and b != 0
    ]
    numbers = " ".join(map(wording.plain, product[row]))
    return (
        f"Matrix product: X, {shapes[0]}, at the left; W^Q, {shapes[1]}, above; Q, {shapes[2]}, "
        f"where they meet. Row {row + 1} ({tokens[row]}) of Q is {numbers}. Its outlined entry, "
        f"{wording.plain(product[row, column])}, is the row's x against column {column + 1} of "
        f"W^Q: {' plus '.join(terms) or 'all terms are 0'}."
    )


@style()
def asymmetry(
    shares: Mapping[str, Any], *, random: tuple[float, float], followed: tuple[str, int]
) -> Figure:
    """Draw one dot a head on a scale from symmetric forms to random ones.

    Parameters
    ----------
    shares : mapping of str to array, shape (H,)
        For every layer by name, the antisymmetric shares of its heads, each in [0, 1].
    random : (float, float)
        The least and the greatest share of random matrices of the same shape.
    followed : (str, int)
        The layer and the head whose dot is named.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a share is not in [0, 1].
    """
    rows = _checked_vectors(**shares)
    for layer, values in rows.items():
        if not np.all((values >= 0) & (values <= 1)):
            raise ValueError(f"shares[{layer!r}] must lie in [0, 1], got {values}")
    canvas, width, high, longest = Canvas(), 290.0, 62.0, 0.8
    bottom = high * len(rows)
    for k, (layer, values) in enumerate(rows.items()):
        base = high * (k + 1) - 9.0
        canvas.text(-10.0, base - 14.0, layer, size=LABEL, align="right", bold=True)
        canvas.line([(0.0, base + 4.5), (width, base + 4.5)], colour=FAINT, width=0.8)
        for head, (x, level) in enumerate(_swarm(values / longest * width)):
            named = followed == (layer, head)
            y = base - 8.0 * level
            canvas.disc(x, y, 3.8, fill=HIGHLIGHT if named else LINES[0])
            if named:
                canvas.text(x, y - 14.0, f"head {head}", size=LABEL, bold=True, colour=HIGHLIGHT)
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8):
        x = tick / longest * width
        canvas.line([(x, bottom), (x, bottom + 4.0)], colour=MUTED, width=1.0)
        canvas.text(x, bottom + 13.0, f"{tick:.1f}", size=NUMBER)
    canvas.line([(0.0, bottom), (width, bottom)], colour=MUTED, width=1.0)
    least, most = (share / longest * width for share in random)
    canvas.rectangle(least, 0.0, most - least, bottom, fill=MUTED)
    canvas.text((least + most) / 2, -9.0, "random matrices", size=LABEL, colour=MUTED)
    title = "antisymmetric share; 0 is symmetric"
    canvas.text(width / 2, bottom + 30.0, title, size=LABEL, colour=MUTED)
    said = _asymmetry_alt(rows, random, *followed)
    return canvas.finish(said, [by_head(rows, "antisymmetric share")])


def _swarm(places: np.ndarray) -> list[tuple[float, int]]:
    """Return each dot's place and the lowest level on which it covers no other."""
    taken: list[float] = []
    levels = {}
    for i in np.argsort(np.round(places, 2), kind="stable"):
        x = float(places[i])
        level = next((k for k, end in enumerate(taken) if x - end >= 8.5), len(taken))
        taken[level : level + 1] = [x]
        levels[int(i)] = (x, level)
    return [levels[i] for i in range(len(places))]


def _asymmetry_alt(
    rows: Mapping[str, np.ndarray], random: tuple[float, float], layer: str, head: int
) -> str:
    said = "One dot for each head on a scale of antisymmetric shares, where 0 is symmetric."
    for name, values in rows.items():
        said += (
            f" The {len(values)} heads of {name} lie from {min(values):.2f} to {max(values):.2f}."
        )
    said += f" Head {head} of {layer} has {rows[layer][head]:.2f}."
    return f"{said} Random matrices lie from {random[0]:.3f} to {random[1]:.3f}."


def _checked_vectors(**vectors: Any) -> dict[str, np.ndarray]:
    hosts = {name: to_numpy(vector).astype(np.float64) for name, vector in vectors.items()}
    for name, host in hosts.items():
        if host.ndim != 1 or len(host) == 0:
            raise ValueError(f"{name} must be a vector that is not empty, got shape {host.shape}")
    return hosts
