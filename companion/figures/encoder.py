"""The drawings of the chapter on a trained encoder."""

from collections.abc import Sequence

import numpy as np

from companion.arrays import Array, to_numpy
from companion.figures.kit.canvas import Canvas
from companion.figures.kit.figure import MAX_WIDTH, Figure, Table, style
from companion.figures.kit.flows import Box, flow
from companion.figures.kit.palette import FAINT, MUTED, map_colour
from companion.figures.kit.tables import by_head

__all__ = ["all_heads", "text_to_vector"]

LEFT, BETWEEN = 34.0, 3.0
SHADES = 20  # a cell's shade is rounded to one of these: what is nearly white is not drawn


def text_to_vector(tokens: Sequence[str], *, width: int, layers: int) -> Figure:
    """Draw the way from a text to its vector, with the shape at each station.

    Parameters
    ----------
    tokens : sequence of N str
    width, layers : int
        d, and the number of blocks.

    Returns
    -------
    Figure
    """
    n = len(tokens)
    stations = [
        Box("text", "a text"),
        Box("ids", "token ids", f"({n},)"),
        Box("first", "rows $X_0$", f"({n}, {width})"),
        Box("last", f"rows $X_{layers}$", f"({n}, {width})"),
        Box("mean", "mean row $s$", f"({width},)"),
        Box("vector", "vector $v$", f"({width},)"),
    ]
    steps = (
        "tokenizer",
        "embed, positions, norm",
        f"{layers} blocks",
        "mean over the tokens",
        "divide by the length",
    )
    arrows = [(stations[i].name, stations[i + 1].name, step) for i, step in enumerate(steps)]
    return flow([[station] for station in stations], arrows)


@style()
def all_heads(weights: Array, tokens: Sequence[str]) -> Figure:
    """Draw the weights of every head of every layer over one sentence as thumbnails.

    Parameters
    ----------
    weights : array, shape (layers, H, N, N)
        Each row sums to one.
    tokens : sequence of N str
        The first is taken for the special token on which heads rest.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the shape does not fit the tokens.
    """
    values = to_numpy(weights).astype(np.float64)
    n = len(tokens)
    if values.ndim != 4 or values.shape[2:] != (n, n):
        raise ValueError(f"weights must be (layers, H, {n}, {n}), got shape {values.shape}")
    layers, heads = values.shape[:2]
    apart = (MAX_WIDTH - 8.0 - LEFT) / heads
    side = (apart - BETWEEN) / n
    canvas = Canvas()
    canvas.text(0.0, -24.0, "head →", size=10.0, align="left", colour=MUTED)
    canvas.text(0.0, -8.0, "layer ↓", size=10.0, align="left", colour=MUTED)
    for layer in range(layers):
        middle = layer * apart + (apart - BETWEEN) / 2
        canvas.text(LEFT - 8.0, middle, str(layer), size=11.0, align="right", bold=True)
        for head in range(heads):
            x, y = LEFT + head * apart, layer * apart
            _thumbnail(canvas, x, y, side, values[layer, head])
            if layer == 0:
                canvas.text(x + (apart - BETWEEN) / 2, -8.0, str(head), size=11.0, bold=True)
    return canvas.finish(_told(values, tokens), _habits(values, tokens))


def _thumbnail(canvas: Canvas, x: float, y: float, side: float, weights: np.ndarray) -> None:
    shades = np.round(weights * SHADES) / SHADES
    for i, j in np.argwhere(shades > 0):
        fill = map_colour(float(shades[i, j]))
        canvas.cell(x + j * side, y + i * side, side, fill, edge="none")
    canvas.rectangle(x, y, side * len(weights), side * len(weights), edge=FAINT, order=1.5)


def _habits(values: np.ndarray, tokens: Sequence[str]) -> list[Table]:
    """Return what the thumbnails are looked at for, a number a head: all weights are too many."""
    habits = {
        f"average weight on {tokens[0]} from the other tokens": _resting(values),
        "average weight on the token before": _looking_back(values),
    }
    return [
        by_head({str(layer): heads for layer, heads in enumerate(numbers)}, title)
        for title, numbers in habits.items()
    ]


def _resting(values: np.ndarray) -> np.ndarray:
    others = values[:, :, 1:, 0]  # its own row says nothing about the others
    shares: np.ndarray = others.mean(axis=2)
    return shares


def _looking_back(values: np.ndarray) -> np.ndarray:
    shares: np.ndarray = np.diagonal(values, offset=-1, axis1=2, axis2=3).mean(axis=2)
    return shares


def _told(values: np.ndarray, tokens: Sequence[str]) -> str:
    """Say of each layer how much its heads rest on the first token, and which head looks back."""
    layers, heads, n = values.shape[:3]
    first, back = _resting(values).mean(axis=1), np.round(_looking_back(values), 2)
    said = [
        f"layer {layer}: {100 * first[layer]:.0f} % and head {back[layer].argmax()}, "
        f"{100 * back[layer].max():.0f} %"
        for layer in range(layers)
    ]
    return (
        f"{layers} rows, one for each layer, of {heads} thumbnails, one for each head, over {n} "
        f"tokens: rows queries, columns keys. Average weight on {tokens[0]} from the other tokens, "
        "and the head that gives most to the token before, with what it gives: "
        f"{'; '.join(said)}."
    )
