"""A figure: its drawing as SVG, and words and numbers that say the same to who cannot see it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from companion.extras import import_extra

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

__all__ = ["FONT", "MATH_FONT", "MAX_WIDTH", "TABLES", "Figure", "Table", "style"]

#: How a notebook names the numbers that it stores beside a drawing.
TABLES = "application/vnd.attention-companion.tables+json"

#: Both come with matplotlib, so that a figure is the same on every machine.
FONT, MATH_FONT = "DejaVu Sans", "dejavusans"

#: Points: 5.2 inches, which a phone 390 pixels wide shows at seven tenths of its size.
MAX_WIDTH = 374.4


@contextmanager
def style() -> Iterator[None]:
    """Draw with matplotlib's defaults on no background, whatever the session's own settings are.

    Use it around drawing code or, as ``@style()``, on a function; the session's settings are back
    when it is left.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is missing; the message says what to install.
    """
    matplotlib = import_extra("matplotlib", "figures", "a figure")
    keep = {"backend", "backend_fallback", "interactive", "toolbar", "timezone"}
    defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if key not in keep}
    with matplotlib.rc_context({**defaults, "figure.facecolor": "none"}):
        yield


@dataclass(frozen=True)
class Table:
    """A matrix of a drawing, its numbers written as they are read.

    Attributes
    ----------
    title : str
        What the numbers are.
    row_title, column_title : str
        What rows and columns are.
    row_labels, column_labels : tuple of str
        R and C names.
    rows : tuple of R tuples of C str
        The numbers, "" where there is none.
    """

    title: str
    row_title: str
    column_title: str
    row_labels: tuple[str, ...]
    column_labels: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def as_json(self) -> dict[str, Any]:
        """Return the table as a notebook stores it: the labels and each row on a line with tabs."""
        lines = [("", *self.column_labels)]
        lines += [(name, *row) for name, row in zip(self.row_labels, self.rows, strict=True)]
        return {
            "title": self.title,
            "rows": self.row_title,
            "columns": self.column_title,
            "lines": ["\t".join(line) for line in lines],
        }


@dataclass(frozen=True, repr=False)
class Figure:
    """A drawing, its alt text, and its numbers.

    Attributes
    ----------
    svg : str
        The drawing, on one line: text as paths, transparent background, the same bytes for the
        same data.
    alt : str
        What the drawing shows, in words made from the data.
    tables : tuple of Table
        The numbers of the matrices that are drawn.
    """

    svg: str
    alt: str
    tables: tuple[Table, ...] = ()

    @classmethod
    def from_matplotlib(
        cls, figure: "MatplotlibFigure", alt: str, tables: tuple[Table, ...] = ()
    ) -> "Figure":
        """Make a figure of a ``matplotlib.figure.Figure``; call it within :func:`style`.

        Raises
        ------
        ValueError
            If there is no alt text, or the drawing is wider than a phone can show.
        """
        if not alt.strip():
            raise ValueError("alt must say what the figure shows, got an empty text")
        width = 72.0 * figure.get_figwidth()
        if width > MAX_WIDTH + 0.01:
            raise ValueError(
                f"figure must be at most {MAX_WIDTH / 72:.1f} inches wide to be readable on a "
                f"phone, got {width / 72:.2f}"
            )
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        text = StringIO()
        unrecorded = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        canvas: Any = FigureCanvasSVG(figure)  # it has no types
        canvas.print_svg(text, metadata=unrecorded)
        svg = text.getvalue()
        drawing = _BREAK.sub(" ", svg[svg.index("<svg") :].strip())
        return cls(_rounded(drawing), alt, tables)

    def save(self, path: str | Path) -> None:
        """Write the drawing to an SVG file."""
        Path(path).write_text(self.svg, encoding="utf-8", newline="\n")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        shown: dict[str, Any] = {"image/svg+xml": self.svg, "text/plain": self.alt}
        if self.tables:
            shown[TABLES] = {"tables": [table.as_json() for table in self.tables]}
        return shown

    def __repr__(self) -> str:
        return self.alt


#: What places a mark: an attribute of coordinates or a shift, but no turn, no scale and no id.
_PLACES = re.compile(r'(?<= )(?:d|x|y|width|height|viewBox)="[^"]*"|translate\([^)]*\)')
#: A drawing on one line is one line of a notebook's diff.
_BREAK = re.compile(r"\s*\n\s*")
_NUMBER = re.compile(r"-?\d+\.\d+")


def _rounded(svg: str) -> str:
    """Round every place to a hundredth of a point: no eye sees less, and other machines agree."""
    return _PLACES.sub(lambda place: _NUMBER.sub(_hundredths, place[0]), svg)


def _hundredths(number: re.Match[str]) -> str:
    text = f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
