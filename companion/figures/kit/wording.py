"""Alt text made from the data: what a heat map, a mask or a set of curves says, in words."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from companion.figures.kit.axis import power_of_ten
from companion.figures.kit.grid import Frame
from companion.figures.kit.map_data import Maps

__all__ = [
    "curves",
    "maps",
    "mask",
    "numbered",
    "plain",
    "short",
    "signed",
    "spoken",
    "three_digits",
]

FEW_POINTS = 14  # of a curve that has been measured; one that is computed has more
ROWS_IN_WORDS = 6  # of a larger matrix only some rows are described


def signed(value: float, decimals: int = 2) -> str:
    """Write a number with a true minus sign; exactly zero is 0, and what rounds to it is 0.00."""
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    # Rounded first, so that a tie is the same tie on every machine.
    text = f"{round(float(value), decimals + 4):.{decimals}f}"
    return text.replace("-", "" if float(text) == 0 else "−")


def short(value: float) -> str:
    """Write a number with two decimals at most, without zeros at its end."""
    return plain(round(float(value), 2) + 0.0)


def numbered(index: int, labels: Sequence[str] | None) -> str:
    """Return the place counted from one, with its label: ``3 (cat)``."""
    return str(index + 1) if labels is None else f"{index + 1} ({labels[index]})"


def _place(index: int, labels: Sequence[str] | None, title: str) -> str:
    """Return how a row or a column is counted: one whose label is a number by it, unless a token's.

    `title` is that of the axis, on which tokens are queries or keys.
    """
    if labels is not None and labels[index].isdecimal() and title not in ("query", "key"):
        return labels[index]
    return numbered(index, labels)


def _percent(weight: float) -> str:
    if 0 < weight < 0.005:
        return "less than 1 %"
    return f"{100 * weight:.0f} %"


def _row_of_weights(weights: np.ndarray, visible: np.ndarray, frame: Frame) -> str:
    """Say where one row of weights attends: its two largest weights, or that they are all alike."""
    column = "token" if frame.column_title == "key" else frame.column_title
    if not weights[visible].any():
        return "attends to nothing"
    if visible.sum() > 1 and np.ptp(weights[visible]) < 0.005:
        return f"gives {_percent(weights[visible].max())} to each of {visible.sum()} {column}s"
    # Rounded first, so that a tie is the same tie on every machine.
    rounded = np.where(visible, np.round(weights, 3), -1.0)
    first, second = np.argsort(-rounded, kind="stable")[[0, -1 if len(weights) == 1 else 1]]

    def given(j: int) -> str:
        place = _place(j, frame.column_labels, frame.column_title)
        return f"{_percent(weights[j])} to {column} {place}"

    said = f"gives {given(first)}"
    if second != first and rounded[second] >= 0.1:
        said += f" and {given(second)}"
    return said


def plain(value: float) -> str:
    """Write a number as short as four digits allow, and a whole one below ten million whole."""
    for number in (float(value), float(f"{value:.4g}")):
        if abs(number) < 1e7 and number == round(number):
            return f"{round(number)}".replace("-", "−")
    digits, _, exponent = f"{value:.4g}".partition("e")
    power = f"·{power_of_ten(int(exponent))}" if exponent else ""
    return digits.replace("-", "−") + power


def _row_of_values(row: np.ndarray, visible: np.ndarray, frame: Frame, decimals: int) -> str:
    shown = visible & np.isfinite(row)
    if not shown.any():
        return "shows no number"
    rounded = np.round(row, decimals)
    highest = int(np.argmax(np.where(shown, rounded, -np.inf)))
    lowest = int(np.argmin(np.where(shown, rounded, np.inf)))
    if shown.sum() > 1 and rounded[highest] == rounded[lowest]:
        return f"is {signed(row[highest], decimals)} throughout"

    def place(j: int) -> str:
        column = _place(j, frame.column_labels, frame.column_title)
        return f"at {frame.column_title} {column}, {signed(row[j], decimals)}"

    if shown.sum() == 1:
        return f"shows one number, {place(highest)}"
    return f"is highest {place(highest)}, and lowest {place(lowest)}"


def _columns_seen(visible: np.ndarray) -> str:
    """Say which tokens one row of a mask lets through, as runs counted from one."""
    if not visible.any():
        return "sees nothing"
    if visible.all():
        return "sees every token"
    edges = np.flatnonzero(np.diff(np.concatenate(([0], visible.astype(int), [0]))))
    runs = [
        f"{start + 1}" if stop == start + 1 else f"{start + 1} to {stop}"
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
    ]
    return f"sees token{'s' if visible.sum() > 1 else ''} {' and '.join(runs)}"


def _hidden_cells(visible: np.ndarray) -> str:
    """Say how many cells a mask hides, and whether they are those of a causal mask."""
    hidden = int((~visible).sum())
    if hidden == 0:
        return ""
    causal = np.array_equal(visible, np.tril(np.ones_like(visible)))
    which = ", every key after its query" if causal else ""
    return f"{hidden} of {visible.size} cells are hidden{which}."


def maps(drawn: Maps) -> str:
    """Say what one or several heat maps show."""
    several = len(drawn.values) > 1
    weights = "weights" if drawn.frame.column_title == "key" else "shares"
    of = weights if drawn.are_weights else "numbers"
    kind = f"{len(drawn.values)} heat maps of {of}, each" if several else f"heat map of {of}"
    title = drawn.titles[0] if drawn.titles is not None and not several else None
    parts = [_opening(kind, drawn.frame, title)]
    for k, (matrix, visible) in enumerate(zip(drawn.values, drawn.visible, strict=True)):
        if several:
            parts.append(f"Map {k + 1}:" if drawn.titles is None else f"{drawn.titles[k]}:")
        said, largest = _sentences(drawn, matrix, visible)
        order = np.argsort(-largest, kind="stable")
        parts.append(_rows(drawn.frame, said, order, few=2 if several else 3))
        parts.append(_hidden_cells(visible))
    return " ".join(part for part in parts if part)


def _sentences(
    drawn: Maps, matrix: np.ndarray, visible: np.ndarray
) -> tuple[list[str], np.ndarray]:
    """Return what is said of each row, and how large its largest number is."""
    frame, shown = drawn.frame, visible & np.isfinite(matrix)
    largest = np.where(shown, np.abs(matrix), 0.0).max(axis=1)
    if drawn.are_weights:
        said = [
            _row_of_weights(row, seen, frame) for row, seen in zip(matrix, visible, strict=True)
        ]
        return said, np.round(largest, 3)
    said = [
        _row_of_values(row, seen, frame, drawn.decimals)
        for row, seen in zip(matrix, visible, strict=True)
    ]
    return said, np.round(largest, drawn.decimals)


def _opening(kind: str, frame: Frame, title: str | None) -> str:
    """Say what is drawn, how large it is, and what its rows and columns are."""
    rows = f"{frame.rows} row{'' if frame.rows == 1 else 's'} ({frame.row_title})"
    columns = f"{frame.columns} column{'' if frame.columns == 1 else 's'} ({frame.column_title})"
    head = "" if title is None else f"{title}: "
    text = f"{head}{kind} with {rows} and {columns}"
    if frame.row_labels is not None and frame.row_labels == frame.column_labels:
        text += f" over “{' '.join(frame.row_labels)}”"
    return f"{text[0].upper()}{text[1:]}."


def mask(frame: Frame, visible: np.ndarray, title: str | None) -> str:
    """Say which tokens each row of a mask sees."""
    said = [_columns_seen(row) for row in visible]
    order = np.linspace(0, frame.rows - 1, min(3, frame.rows)).astype(int)
    parts = [
        _opening("mask", frame, title),
        _rows(frame, said, order, which="For example"),
        _hidden_cells(visible),
    ]
    return " ".join(part for part in parts if part)


def _rows(
    frame: Frame, said: Sequence[str], order: np.ndarray, *, few: int = 3, which: str = "Strongest"
) -> str:
    """Put the sentences of the rows together: all of them, or the followed and the first few."""

    def row(i: int) -> str:
        outlined = ", outlined," if i == frame.highlight_row else ""
        return f"row {_place(i, frame.row_labels, frame.row_title)}{outlined} {said[i]}"

    if frame.rows <= min(ROWS_IN_WORDS, 2 * few):
        text = "; ".join(row(i) for i in range(frame.rows))
        return f"{text[0].upper()}{text[1:]}."
    chosen = [int(i) for i in order if i != frame.highlight_row][:few]
    text = f"{which}: {'; '.join(row(i) for i in chosen)}."
    if frame.highlight_row is None:
        return text
    followed = row(frame.highlight_row)
    return f"{followed[0].upper()}{followed[1:]}. {text}"


def curves(
    x: np.ndarray,
    drawn: Mapping[str, np.ndarray],
    bands: Mapping[str, object],
    references: Sequence[str],
    titles: tuple[str, str],
    logarithmic: tuple[bool, bool],
    title: str | None,
) -> str:
    """Say what each curve does: where it starts and ends, and where it is highest and lowest."""
    x_title, y_title = (spoken(text) for text in titles)
    head = "" if title is None else f"{spoken(title)}: "
    scales = {
        (True, True): ", both axes logarithmic",
        (True, False): ", x axis logarithmic",
        (False, True): ", y axis logarithmic",
        (False, False): "",
    }[logarithmic]
    span = f"from {plain(x[0])} to {plain(x[-1])}"
    text = f"{head}line plot of {y_title} against {x_title} {span}{scales}."
    sentences = [f"{text[0].upper()}{text[1:]}"]
    for name, y in drawn.items():
        kind = " (reference)" if name in references else ""
        kind += ", with a band of error" if name in bands else ""
        sentences.append(f"{spoken(name)}{kind}: {_course(x, y, logarithmic[0])}.")
    return " ".join(sentences)


def _course(x: np.ndarray, y: np.ndarray, logarithmic: bool) -> str:
    known = np.isfinite(y)
    x, y = x[known], y[known]
    rounded = np.array([three_digits(value) for value in y])
    if np.ptp(rounded) == 0:
        return f"{plain(rounded[0])} throughout"
    said = f"from {plain(rounded[0])} at {plain(x[0])} to {plain(rounded[-1])} at {plain(x[-1])}"
    for word, value in (("highest", rounded.max()), ("lowest", rounded.min())):
        if value not in (rounded[0], rounded[-1]):
            at = _turn(x, y, np.flatnonzero(rounded == value), logarithmic)
            said += f", {word} {plain(value)} at {plain(at)}"
    return said


def _turn(x: np.ndarray, y: np.ndarray, places: np.ndarray, logarithmic: bool) -> float:
    """Return where a curve turns: at the first of some places, or in between.

    Few points, and points at whole numbers, are all there is. More are samples of a smooth curve,
    which seldom turns at one of them: it does where the parabola through three of them does.
    """
    if len(x) <= FEW_POINTS or np.array_equal(x, np.round(x)):
        return float(x[places[0]])
    run = places[places - places[0] == np.arange(len(places))]
    place = run[len(run) // 2]
    near = x[place - 1 : place + 2]
    before, middle, after = np.log(near) if logarithmic else near
    a, b, _ = np.polyfit([before - middle, 0.0, after - middle], y[place - 1 : place + 2], 2)
    turn = middle - b / (2 * a) if a else middle
    if logarithmic:
        return three_digits(math.exp(turn))
    return round(float(turn), 2 - math.floor(math.log10(np.ptp(x))))


def three_digits(value: float) -> float:
    """Round to three digits what is not whole."""
    return float(value) if value == round(value) else float(f"{value:.3g}")


def spoken(text: str) -> str:
    """Return a label without the marks of its mathematics."""
    for mark, word in (
        ("\\sqrt", "√"),
        ("\\top", "T"),
        ("\\cdot ", "·"),
        ("\\cdot", "·"),
        ("\\", ""),
    ):
        text = text.replace(mark, word)
    return "".join(character for character in text if character not in "${}")
