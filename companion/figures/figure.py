"""A figure: its drawing as SVG, and the text that says the same to who cannot see it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from companion.figures.palette import FAINT, INK, MUTED

__all__ = ["FONT", "MATH_FONT", "MAX_WIDTH", "Figure", "style"]

#: Both come with matplotlib, so that a figure is the same on every machine.
FONT, MATH_FONT = "DejaVu Sans", "dejavusans"

#: Points: 5.2 inches, which a phone 390 pixels wide shows at seven tenths of its size.
MAX_WIDTH = 374.4

_STYLE: Mapping[str, Any] = {
    "svg.fonttype": "path",
    "svg.hashsalt": "companion",
    "font.family": FONT,
    "font.size": 11.0,
    "mathtext.fontset": MATH_FONT,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 11.0,
    "axes.linewidth": 0.9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "lines.linewidth": 2.0,
    "lines.markersize": 5.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the book's style, whatever the session's own matplotlib settings are.

    Use it around drawing code or, as ``@style()``, on a function; the session's settings are back
    when it is left.
    """
    import matplotlib

    keep = {"backend", "backend_fallback", "interactive", "toolbar", "timezone"}
    defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if key not in keep}
    with matplotlib.rc_context({**defaults, **_STYLE}):
        yield


@dataclass(frozen=True, repr=False)
class Figure:
    """A drawing and its alt text.

    Attributes
    ----------
    svg : str
        The drawing: text as paths, transparent background, the same bytes for the same data.
    alt : str
        What the drawing shows, in words made from the data.
    """

    svg: str
    alt: str

    @classmethod
    def from_matplotlib(cls, figure: Any, alt: str) -> "Figure":
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
        FigureCanvasSVG(figure).print_svg(text, metadata=unrecorded)
        svg = text.getvalue()
        return cls(svg[svg.index("<svg") :], alt)

    def save(self, path: str | Path) -> None:
        """Write the drawing to an SVG file."""
        Path(path).write_text(self.svg, encoding="utf-8", newline="\n")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"image/svg+xml": self.svg, "text/plain": self.alt}

    def __repr__(self) -> str:
        return self.alt
