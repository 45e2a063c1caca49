"""Tables of positions, and how alike positions and rows are."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from companion.arrays import Array, to_numpy
from companion.figures.kit.figure import Figure
from companion.figures.kit.heatmaps import heat_map
from companion.figures.kit.plots import curves
from companion.figures.kit.tables import Labels, curve_table, table
from companion.figures.kit.wording import plain, signed

__all__ = ["position_likeness", "position_table", "row_likeness"]


def position_table(positions: Array) -> Figure:
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
    labels: Labels = {
        "row_labels": [str(n) for n in range(length)],
        "column_labels": [str(n) for n in range(width)],
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
    lines: dict[str, np.ndarray] = {}
    bands: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, positions in tables.items():
        cosines = _cosines(to_numpy(positions))
        diagonals = [np.round(np.diagonal(cosines, k), 6) for k in range(len(cosines))]
        lines[name] = np.asarray([diagonal.mean() for diagonal in diagonals])
        least, most = (
            np.asarray([end(diagonal) for diagonal in diagonals]) for end in (np.min, np.max)
        )
        bands[name] = least, most
    distances = np.arange(len(cosines))
    drawn = curves(
        distances,
        lines,
        bands=bands,
        x_title="distance of the two positions",
        y_title="cosine",
        x_ticks=distances[::2].tolist(),
        y_ticks=[0, 0.25, 0.5, 0.75, 1],
        y_limits=(0.0, 1.0),
    )
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


def row_likeness(x: Array, tokens: Sequence[str], *, highlight_row: int | None = None) -> Figure:
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
    cosines: np.ndarray = np.clip(directions @ directions.T, -1.0, 1.0)
    return cosines
