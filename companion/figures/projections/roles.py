"""One token in its three roles, and what becomes of each."""

from collections.abc import Sequence

import numpy as np

from companion.arrays import Array
from companion.figures.kit.canvas import Canvas
from companion.figures.kit.cells import NUMBER, draw_cell
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.flows import Arrow, Box, flow
from companion.figures.kit.map_data import checked_vectors
from companion.figures.kit.palette import HIGHLIGHT_FILL, LINES, MUTED, PANEL
from companion.figures.kit.wording import plain

__all__ = ["roles_flow", "three_roles"]

LABEL, NAME, HEIGHT = 10.5, 12.0, 23.0
ROLES = (
    ("query", "$W^Q$", "what I look for", "meets every key"),
    ("key", "$W^K$", "what I offer", "meets every query"),
    ("value", "$W^V$", "what I hand over", "goes into the mix"),
)


@style()
def three_roles(
    x: Array, query: Array, key: Array, value: Array, *, token: str, features: Sequence[str]
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
    vectors = checked_vectors(x=x, query=query, key=key, value=value)
    source, *made = vectors.values()
    if len(features) != len(source):
        raise ValueError(f"features must be {len(source)}, one for each entry, got {len(features)}")
    canvas = Canvas()
    side, column = 336.0 / len(source), 112.0
    canvas.text(0.0, -22.0, f"x, the row of {token}", size=NAME, align="left", bold=True)
    for i, (number, feature) in enumerate(zip(source, features, strict=True)):
        canvas.text((i + 0.5) * side, -6.0, feature, size=NUMBER, colour=MUTED)
        box = (i * side, 5.0, side, HEIGHT)
        draw_cell(canvas, box, plain(number), fill=HIGHLIGHT_FILL)
    for k, (vector, role) in enumerate(zip(made, ROLES, strict=True)):
        _draw_role(canvas, (k + 0.5) * column, 5.0 + HEIGHT, len(source), vector, role, LINES[k])
    said = ", ".join(f"{f} {plain(v)}" for f, v in zip(features, source, strict=True))
    parts = [f"One token in three roles. The row of {token}, x, is {said}."]
    for (name, _, meaning, use), vector in zip(ROLES, made, strict=True):
        numbers = " ".join(map(plain, vector))
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
        draw_cell(canvas, (left + i * side, y, side, HEIGHT), plain(number), fill=PANEL)
    canvas.rectangle(left, y, side * len(vector), HEIGHT, edge=colour, line=1.6, order=3.0)
    canvas.text(middle, y + 38.0, name, size=NAME, bold=True, colour=colour)
    canvas.text(middle, y + 55.0, meaning, size=LABEL)
    canvas.text(middle, y + 70.0, use, size=NUMBER, colour=MUTED)


def roles_flow(
    x: Array, query: Array, key: Array, value: Array, *, token: str, follow: int = 2
) -> Figure:
    """Draw what one token does as a query, as a key and as a value.

    Parameters
    ----------
    x : array, shape (N, d)
    query, key : array, shape (N, d_k)
    value : array, shape (N, d_v)
    token : str
        The token that is followed.
    follow : int
        Its row, counted from 0.

    Returns
    -------
    Figure
    """
    count = x.shape[0]
    asking = -0.12  # as far from the middle as a phone has room for
    rows = [
        [Box("x", f"row {follow + 1}, {token}", f"1 × {x.shape[1]}", highlight=True)],
        [
            Box("q", "as a query", f"1 × {query.shape[1]}", column=asking),
            Box("k", "as a key", f"1 × {key.shape[1]}"),
            Box("v", "as a value", f"1 × {value.shape[1]}"),
        ],
        [
            Box("asks", f"meets {count} keys", operation=True, column=asking),
            Box("answers", f"meets {count} queries", operation=True, column=1.0),
        ],
        [
            Box("row", "row of weights", f"1 × {count}", column=asking),
            Box("column", "weights for it", f"{count} × 1", column=1.0),
        ],
        [
            Box("own", "its own output", f"1 × {value.shape[1]}", column=asking),
            Box("all", f"all {count} outputs", f"{count} × {value.shape[1]}", column=1.0),
        ],
    ]
    arrows: list[Arrow] = [
        ("x", "q", "$W^Q$"),
        ("x", "k", "$W^K$"),
        ("x", "v", "$W^V$"),
        ("q", "asks"),
        ("k", "answers"),
        ("asks", "row"),
        ("answers", "column"),
        ("row", "own"),
        ("column", "all"),
        ("v", "all"),
    ]
    return flow(rows, arrows)
