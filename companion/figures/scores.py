"""The drawings of the chapter on scaled scores: all pairs, one query's keys, and spreads."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from companion.arrays import to_numpy
from companion.figures import wording
from companion.figures.canvas import Canvas, text_size
from companion.figures.figure import MAX_WIDTH, Figure, style
from companion.figures.palette import (
    FAINT,
    HIGHLIGHT,
    INK,
    LINES,
    MUTED,
    PANEL,
    map_colour,
    number_colour,
)
from companion.figures.plots import curves
from companion.scores import scaled_scores

__all__ = [
    "every_pair",
    "head_spreads",
    "keys_around_query",
    "variance_by_scale",
    "variance_within_error",
]

NUMBER, LABEL, NAME = 10.0, 11.0, 12.0
SIDE, HEIGHT = 33.0, 23.0
MEASURED, PREDICTED = LINES[0], LINES[1]


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
    return canvas.finish(_pair_alt(query, key, scores, tokens, row, column))


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
    if (query.shape[1] + len(tokens)) * SIDE > MAX_WIDTH - 100.0:
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


def variance_by_scale(widths: Any, variances: Any) -> Figure:
    """Draw the measured variance of q·k, of q·k/√d_k and of q·k/d_k over d_k.

    Parameters
    ----------
    widths : array, shape (n,)
        The values of d_k, increasing.
    variances : array, shape (n,)
        The measured variance of q·k for each.

    Returns
    -------
    Figure
    """
    widths, variances = (to_numpy(a).astype(np.float64) for a in (widths, variances))
    measured = {
        "$q{\\cdot}k$": variances,
        "$q{\\cdot}k/\\sqrt{d_k}$": variances / widths,
        "$q{\\cdot}k/d_k$": variances / widths**2,
    }
    theory = {
        "theory $d_k$": widths,
        "theory 1": np.ones_like(widths),
        "theory $1/d_k$": 1 / widths,
    }
    return curves(
        widths,
        measured | theory,
        x_title="$d_k$, the number of entries (logarithmic)",
        y_title="variance of the score (logarithmic)",
        x_log=True,
        y_log=True,
        references=list(theory),
        y_ticks=[0.001, 0.01, 0.1, 1, 10, 100, 1000],
    )


def variance_within_error(widths: Any, ratios: Any, errors: Any) -> Figure:
    """Draw measured over predicted variance, with three standard errors around 1.

    Parameters
    ----------
    widths, ratios, errors : array, shape (n,)
        The values of d_k, the measured variance over d_k, and the standard error of that ratio.

    Returns
    -------
    Figure
    """
    widths, ratios, errors = (to_numpy(a).astype(np.float64) for a in (widths, ratios, errors))
    ones = np.ones_like(widths)
    return curves(
        widths,
        {"measured $/d_k$": ratios, "theory": ones},
        x_title="$d_k$, the number of entries (logarithmic)",
        y_title="measured variance of $q{\\cdot}k$ over $d_k$; the band is ±3 standard errors",
        x_log=True,
        bands={"theory": (1 - 3 * errors, 1 + 3 * errors)},
        references=["theory"],
        height=130.0,
    )


@style()
def head_spreads(
    measured: Any, predicted: Any, *, titles: Sequence[str], ticks: Sequence[float]
) -> Figure:
    """Draw the standard deviation of every head's scaled scores beside a prediction, and 1.

    Parameters
    ----------
    measured, predicted : array, shape (L, H)
        Standard deviations of H heads in L layers.
    titles : sequence of L str
        The layers.
    ticks : sequence of float
        The values marked on the logarithmic axis.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the shapes or the titles do not fit.
    """
    measured, predicted = (to_numpy(a).astype(np.float64) for a in (measured, predicted))
    if measured.ndim != 2 or predicted.shape != measured.shape or len(titles) != len(measured):
        raise ValueError(
            f"measured and predicted must be (L={len(titles)}, H), got {measured.shape} and "
            f"{predicted.shape}"
        )
    low, high = min(ticks) / 1.15, max(ticks) * 1.15
    if (
        not low
        < min(measured.min(), predicted.min())
        <= max(measured.max(), predicted.max())
        < high
    ):
        raise ValueError(f"ticks must hold all values, got {min(ticks):g} to {max(ticks):g}")
    left, gap, row = text_size("head", NUMBER)[0] + 8.0, 16.0, 17.0
    width = (MAX_WIDTH - 10.0 - left - gap * (len(titles) - 1)) / len(titles)
    canvas = Canvas()
    for k, title in enumerate(titles):

        def place(value: float, start: float = left + k * (width + gap)) -> float:
            return start + round(math.log(value / low) / math.log(high / low) * width, 3)

        canvas.text(place(math.sqrt(low * high)), -14.0, title, size=LABEL, bold=True)
        for tick in ticks:
            look = {"colour": INK, "width": 1.6} if tick == 1 else {"colour": FAINT, "width": 0.6}
            points = [(place(tick), 0.0), (place(tick), row * measured.shape[1])]
            canvas.line(points, order=0.5, **look)
            canvas.text(place(tick), points[1][1] + 10.0, f"{tick:g}", size=NUMBER)
        for h, (spread, expected) in enumerate(zip(measured[k], predicted[k], strict=True)):
            y = row * (h + 0.5)
            canvas.line([(place(expected), y), (place(spread), y)], colour=MUTED, width=1.2)
            _diamond(canvas, place(expected), y)
            canvas.disc(place(spread), y, 4.2, fill=MEASURED)
            if k == 0:
                canvas.text(left - 8.0, y, str(h), size=NUMBER, align="right")
    canvas.text(left - 8.0, -14.0, "head", size=NUMBER, align="right", colour=MUTED)
    _spread_key(canvas, left, row * measured.shape[1] + 44.0)
    return canvas.finish(_spread_alt(measured, predicted, titles))


def _diamond(canvas: Canvas, x: float, y: float) -> None:
    r = 4.2
    canvas.polygon([(x, y - r), (x + r, y), (x, y + r), (x - r, y)], fill=PREDICTED)


def _spread_key(canvas: Canvas, x: float, y: float) -> None:
    canvas.text(x, y - 16.0, "standard deviation of the scaled scores", size=NUMBER, align="left")
    canvas.disc(x + 5.0, y, 4.2, fill=MEASURED)
    canvas.text(x + 14.0, y, "measured", size=NUMBER, align="left")
    _diamond(canvas, x + 85.0, y)
    canvas.text(x + 94.0, y, "predicted from shared moments", size=NUMBER, align="left")


def _spread_alt(measured: np.ndarray, predicted: np.ndarray, titles: Sequence[str]) -> str:
    said = []
    for title, spreads, expected in zip(titles, measured, predicted, strict=True):
        low, high = int(np.argmin(np.round(spreads, 3))), int(np.argmax(np.round(spreads, 3)))
        above = int(np.sum(spreads > expected))
        said.append(
            f"{title}: measured from {spreads[low]:.2f} (head {low}) to {spreads[high]:.2f} (head "
            f"{high}); predicted from {expected.min():.2f} to {expected.max():.2f}; measured lies "
            f"above predicted in {above} of {len(spreads)} heads."
        )
    return "Standard deviation of the scaled scores of trained heads. " + " ".join(said)
