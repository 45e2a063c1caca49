"""Keys by their length and their angle to one query."""

import math
from collections.abc import Sequence

import numpy as np

from companion.arrays import Array, to_numpy
from companion.figures.kit.canvas import Canvas
from companion.figures.kit.cells import NUMBER
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.palette import HIGHLIGHT, INK, LINES, MUTED
from companion.figures.kit.wording import signed

__all__ = ["keys_around_query"]

LABEL = 11.0


@style()
def keys_around_query(query: Array, key: Array, *, tokens: Sequence[str], name: str) -> Figure:
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
        canvas.text(unit * value, 18.0, signed(score), size=NUMBER)
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
        f"{token}: length {signed(float(length))}, "
        f"{math.degrees(math.acos(max(-1.0, min(1.0, float(cosine))))):.0f} degrees, "
        f"score {signed(float(score))}"
        for token, length, cosine, score in zip(tokens, lengths, cosines, scores, strict=True)
    )
    return (
        f"{len(tokens)} keys as arrows from one point; the query of {name} points to the right. "
        f"A key's scaled score depends only on how far it reaches to the right. {keys}."
    )
