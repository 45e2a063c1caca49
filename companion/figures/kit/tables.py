"""The numbers of a drawing as tables, made from the data that are drawn."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypedDict

import numpy as np

from companion.arrays import to_numpy
from companion.figures.kit import wording
from companion.figures.kit.axis import power_of_ten
from companion.figures.kit.figure import Table
from companion.figures.kit.map_data import Maps

__all__ = [
    "MOST_NUMBERS",
    "Labels",
    "by_head",
    "curve_table",
    "map_tables",
    "mask_tables",
    "table",
]

#: A figure of more has a table of each row's highest and lowest number instead.
MOST_NUMBERS = 2500
EMPTY = "what the mask hides is left empty"
MOST_POINTS = 40  # a curve of more is a function, whose samples say nothing by themselves


class Labels(TypedDict):
    """What a matrix's rows and columns are, for its table and its map."""

    row_labels: Sequence[str]
    column_labels: Sequence[str]
    row_title: str
    column_title: str


def table(
    values: Any,
    title: str,
    *,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    row_title: str = "row",
    column_title: str = "column",
    decimals: int = 2,
    visible: np.ndarray | None = None,
    write: Callable[[float], str] | None = None,
) -> Table:
    """Return a matrix as a table.

    Parameters
    ----------
    values : array, shape (R, C)
    title : str
        What the numbers are.
    row_labels, column_labels : sequence of str, optional
        R and C names; one that comes twice is told with its place. Without them, places from 1.
    row_title, column_title : str
        What rows and columns are.
    decimals : int
        Digits after the point.
    visible : array of bool, shape (R, C), optional
        A cell where it is False stays empty.
    write : callable, optional
        Writes a number, in place of `decimals`.

    Returns
    -------
    Table
    """
    host = to_numpy(values).astype(np.float64)
    shown = np.ones(host.shape, dtype=bool) if visible is None else visible
    write = write or partial(wording.signed, decimals=decimals)
    rows = tuple(
        tuple(write(float(value)) if seen else "" for value, seen in zip(row, see, strict=True))
        for row, see in zip(host, shown, strict=True)
    )
    row_names, column_names = (
        _names(labels, count)
        for labels, count in zip((row_labels, column_labels), host.shape, strict=True)
    )
    titles = [wording.spoken(text) for text in (title, row_title, column_title)]
    return Table(titles[0], titles[1], titles[2], row_names, column_names, rows)


def _names(labels: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if not labels:
        return tuple(str(i + 1) for i in range(count))
    once = len(set(labels)) == count
    return tuple(labels if once else (f"{label} ({i + 1})" for i, label in enumerate(labels)))


def by_head(layers: Mapping[str, Any], title: str) -> Table:
    """Return one number for each head of each layer as a table, with the heads counted from 0."""
    rows = [to_numpy(values) for values in layers.values()]
    numbers = np.full((len(rows), max(map(len, rows))), np.nan)
    for layer, row in enumerate(rows):
        numbers[layer, : len(row)] = row
    return table(
        numbers,
        title,
        row_labels=list(layers),
        column_labels=[str(head) for head in range(numbers.shape[1])],
        row_title="layer",
        column_title="head",
        visible=~np.isnan(numbers),
    )


def map_tables(maps: Maps) -> list[Table]:
    """Return the numbers of heat maps, a table for each map."""
    kind = "weights" if maps.are_weights else ""
    several = len(maps.values) > 1
    titles = maps.titles or [
        f"{kind or 'numbers'} of map {k + 1}" if several else kind for k in range(len(maps.values))
    ]
    large = sum(values.size for values in maps.values) > MOST_NUMBERS
    make = _summary if large else _whole
    return [make(maps, k, title) for k, title in enumerate(titles)]


def _whole(maps: Maps, k: int, title: str) -> Table:
    frame, visible = maps.frame, maps.visible[k]
    return table(
        maps.values[k],
        "; ".join(filter(None, [title, "" if visible.all() else EMPTY])),
        row_labels=frame.row_labels,
        column_labels=frame.column_labels,
        row_title=frame.row_title,
        column_title=frame.column_title,
        decimals=maps.decimals,
        visible=visible,
    )


def _summary(maps: Maps, k: int, title: str) -> Table:
    """Return the highest and the lowest number of each row, and their columns counted from 1."""
    frame, values = maps.frame, maps.values[k]
    shown = maps.visible[k] & np.isfinite(values)
    rounded = np.round(values, maps.decimals)
    places = [
        np.where(shown, rounded, -np.inf).argmax(axis=1),
        np.where(shown, rounded, np.inf).argmin(axis=1),
    ]
    rows = []
    for i, seen in enumerate(shown.any(axis=1)):
        found = [(wording.signed(values[i, at[i]], maps.decimals), str(at[i] + 1)) for at in places]
        rows.append(tuple(text if seen else "" for pair in found for text in pair))
    at = f"at {frame.column_title}"
    return Table(
        ": ".join(filter(None, [title, "each row’s highest and lowest"])),
        frame.row_title,
        "",
        _names(frame.row_labels, frame.rows),
        ("highest", at, "lowest", at),
        tuple(rows),
    )


def mask_tables(
    masks: Mapping[str, np.ndarray],
    *,
    row_labels: Sequence[str] | None,
    column_labels: Sequence[str] | None,
    row_title: str = "query",
    column_title: str = "key",
) -> list[Table]:
    """Return masks as tables of 1 where a query may attend and 0 where not; the first says so."""
    legend = " (1 = may attend)"
    return [
        table(
            visible,
            title if k else title + legend,
            row_labels=row_labels,
            column_labels=column_labels,
            row_title=row_title,
            column_title=column_title,
            write=wording.plain,
        )
        for k, (title, visible) in enumerate(masks.items())
    ]


def curve_table(
    x: np.ndarray, lines: Mapping[str, np.ndarray], x_title: str, y_title: str
) -> Iterable[Table]:
    """Return the points of curves as a table, or nothing where they are only samples."""
    if len(x) > MOST_POINTS:
        return []
    points = np.stack(list(lines.values()), axis=1)
    return [
        table(
            points,
            y_title,
            row_labels=[wording.plain(value) for value in x],
            column_labels=[wording.spoken(name) for name in lines],
            row_title=x_title,
            column_title="curve",
            visible=np.isfinite(points),
            write=wording.plain if _whole_numbers(points) else _three_digits,
        )
    ]


def _whole_numbers(points: np.ndarray) -> bool:
    known = points[np.isfinite(points)]
    return bool(np.all(known == np.round(known)))


def _three_digits(value: float) -> str:
    """Write three digits, zeros among them, so that what was measured as 1.00 does not say 1."""
    if value == 0:
        return "0"
    sign, text = "−" if value < 0 else "", f"{abs(value):.2e}"
    digits, _, exponent = text.partition("e")
    power = int(exponent)
    if not -3 <= power < 5:
        return f"{sign}{digits}·{power_of_ten(power)}"
    return f"{sign}{float(text):.{max(0, 2 - power)}f}"
