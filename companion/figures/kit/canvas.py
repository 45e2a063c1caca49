"""A drawing surface measured in points, with y pointing down, that grows with what is put on it.

Every mark, text included, is measured when it is drawn, so that nothing is ever cut off.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypedDict

from companion.figures.kit.figure import FONT, MATH_FONT, Figure, Table
from companion.figures.kit.palette import FAINT, HATCH, INK, MUTED

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.font_manager import FontProperties

__all__ = ["MARGIN", "Canvas", "Point", "TextLook", "literal", "text_size"]

Box = tuple[float, float, float, float]
Point = tuple[float, float]

MARGIN = 2.0
SMALLEST_TEXT = 10.0
#: From the middle of a line of text down to its baseline, in units of the font size.
_TO_BASELINE = 0.345
_HATCH_SPACING = 5.0


@cache
def text_size(text: str, size: float, *, bold: bool = False) -> tuple[float, float]:
    """Return the width and the height in points of one line of text."""
    from matplotlib.cbook import is_math_text
    from matplotlib.textpath import text_to_path

    line = _typeset(text)
    is_math = bool(is_math_text(line))
    if not is_math:
        line = line.replace(r"\$", "$")
    font = _font(size, bold)
    width, height, _ = text_to_path.get_text_width_height_descent(line, font, is_math)
    return float(width), max(float(height), size)


def _font(size: float, bold: bool) -> "FontProperties":
    """Return the font in which a text is measured and drawn."""
    from matplotlib.font_manager import FontProperties

    weight = "bold" if bold else "normal"
    return FontProperties(family=FONT, weight=weight, size=size, math_fontfamily=MATH_FONT)


def literal(text: str) -> str:
    """Return a token to be written as it is, dollar signs included."""
    return text.replace("$", r"\$")


def _typeset(text: str) -> str:
    r"""Write a transpose as a letter: matplotlib spaces ``\top`` as an operator."""
    return text.replace(r"\top", r"\mathsf{T}")


def _broken(upper: Point, lower: Point, middle: Point, room: Point) -> list[Point]:
    """Return the ends of what is left of a line falling at 45 degrees outside a box."""
    total = upper[0] + upper[1]  # the same all along the line
    right = min(middle[0] + room[0], total - (middle[1] - room[1]))
    left = max(middle[0] - room[0], total - (middle[1] + room[1]))
    if left >= right or right >= upper[0] or left <= lower[0]:
        return [upper, lower]
    return [upper, (right, total - right), (left, total - left), lower]


class TextLook(TypedDict, total=False):
    """How several texts look that are written in different places."""

    size: float
    colour: str
    bold: bool


class Canvas:
    """Marks placed in points; :meth:`finish` makes the figure. Use it within ``style()``."""

    def __init__(self) -> None:
        import matplotlib.figure

        self._figure = matplotlib.figure.Figure()
        self._axes = self._figure.add_axes((0.0, 0.0, 1.0, 1.0))
        self._axes.set_axis_off()
        self.bounds: Box = (math.inf, math.inf, -math.inf, -math.inf)
        # A map has thousands of these: each colour becomes one path, and so does all hatching.
        self._cells: dict[tuple[str, str], list[Point]] = {}
        self._hatching: list[Point] = []

    def cell(self, x: float, y: float, side: float, fill: str, edge: str = FAINT) -> None:
        """Draw a square of a grid, below all other marks; in a thumbnail it has no edge, "none"."""
        corners = [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]
        self._cells.setdefault((fill, edge), []).extend(corners)
        self._extend((x - 0.4, y - 0.4, x + side + 0.4, y + side + 0.4))

    def rectangle(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str = "none",
        edge: str = "none",
        line: float = 0.8,
        radius: float = 0.0,
        order: float = 1.0,
    ) -> None:
        """Draw a rectangle from its upper left corner."""
        from matplotlib.patches import FancyBboxPatch, Rectangle

        look: dict[str, Any] = {
            "facecolor": fill,
            "edgecolor": edge,
            "linewidth": line,
            "zorder": order,
        }
        if radius:
            shape = f"round,pad=0,rounding_size={radius}"
            patch: Artist = FancyBboxPatch((x, y), width, height, boxstyle=shape, **look)
        else:
            patch = Rectangle((x, y), width, height, **look)
        self._place(patch)
        self._extend((x - line / 2, y - line / 2, x + width + line / 2, y + height + line / 2))

    def hatch(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        text: str = "",
        *,
        size: float = 10.0,
    ) -> None:
        """Fill a rectangle with slanted lines, broken around a text: what is hidden or padding."""
        middle = (x + width / 2, y + height / 2)
        inset = min(2.0, width / 8, height / 8)
        x, y, width, height = x + inset, y + inset, width - 2 * inset, height - 2 * inset
        spacing = min(_HATCH_SPACING, (width + height) / 4)
        room = (text_size(text, size)[0] / 2 + 3.0, size / 2 + 2.0) if text else (0.0, 0.0)
        ends: list[Point] = []
        for i in range(1, math.ceil((width + height) / spacing)):
            along = i * spacing
            upper = (x + min(along, width), y + max(0.0, along - width))
            lower = (x + max(0.0, along - height), y + min(along, height))
            ends += _broken(upper, lower, middle, room)
        xs, ys = zip(*ends, strict=True)
        self._extend((min(xs), min(ys), max(xs), max(ys)))
        self._hatching += ends
        if text:
            self.text(*middle, text, size=size, colour=MUTED)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 11.0,
        colour: str = INK,
        align: str = "center",
        bold: bool = False,
        angle: float = 0.0,
    ) -> None:
        """Write one line of text with its middle at the height `y`.

        `align` says which end of the text lies at `x`; a text turned by `angle` degrees turns
        around that end. ValueError is raised where a phone could not show the text legibly.
        """
        if size < SMALLEST_TEXT:
            raise ValueError(f"size must be at least {SMALLEST_TEXT:g} points, got {size:g}")
        width, height = text_size(text, size, bold=bold)
        shift = {"left": 0.0, "center": -width / 2, "right": -width}[align]
        turn = math.radians(angle)
        right, up = (math.cos(turn), -math.sin(turn)), (-math.sin(turn), -math.cos(turn))
        drop = _TO_BASELINE * size
        origin = (x + shift * right[0] - drop * up[0], y + shift * right[1] - drop * up[1])
        self._axes.text(
            *origin,
            _typeset(text),
            fontproperties=_font(size, bold),
            color=colour,
            rotation=angle,
            rotation_mode="anchor",
            ha="left",
            va="baseline",
            zorder=4,
        )
        corners = [
            (origin[0] + a * right[0] + b * up[0], origin[1] + a * right[1] + b * up[1])
            for a in (0.0, width)
            for b in (-0.24 * size, height - 0.24 * size)
        ]
        xs, ys = zip(*corners, strict=True)
        self._extend((min(xs), min(ys), max(xs), max(ys)))

    def line(
        self,
        points: Sequence[Point],
        *,
        colour: str = MUTED,
        width: float = 1.2,
        dashes: Sequence[float] = (),
        order: float = 2.0,
    ) -> None:
        """Draw straight lines from point to point; `dashes` alternates strokes and gaps."""
        from matplotlib.lines import Line2D

        xs, ys = zip(*points, strict=True)
        style: Any = (0, tuple(dashes)) if dashes else "-"
        self._place(Line2D(xs, ys, color=colour, linewidth=width, linestyle=style, zorder=order))
        half = width / 2
        self._extend((min(xs) - half, min(ys) - half, max(xs) + half, max(ys) + half))

    def arrow(
        self,
        points: Sequence[Point],
        *,
        colour: str = MUTED,
        width: float = 1.4,
    ) -> None:
        """Draw straight lines from point to point, with a head at the last."""
        (x0, y0), (x1, y1) = points[-2:]
        length = math.hypot(x1 - x0, y1 - y0)
        along = ((x1 - x0) / length, (y1 - y0) / length)
        neck = (x1 - 6.0 * along[0], y1 - 6.0 * along[1])
        self.line([*points[:-1], neck], colour=colour, width=width)
        side = (-3.2 * along[1], 3.2 * along[0])
        head = [
            (x1, y1),
            (neck[0] + side[0], neck[1] + side[1]),
            (neck[0] - side[0], neck[1] - side[1]),
        ]
        self.polygon(head, fill=colour)

    def polygon(
        self,
        points: Sequence[Point],
        *,
        fill: str,
        opacity: float = 1.0,
        order: float = 3.0,
    ) -> None:
        """Fill the polygon with the given corners."""
        from matplotlib.patches import Polygon

        look: dict[str, Any] = {
            "facecolor": fill,
            "alpha": opacity,
            "linewidth": 0,
            "zorder": order,
        }
        self._place(Polygon(points, closed=True, **look))
        xs, ys = zip(*points, strict=True)
        self._extend((min(xs), min(ys), max(xs), max(ys)))

    def disc(self, x: float, y: float, radius: float, *, fill: str, order: float = 3.0) -> None:
        """Fill a disc around (x, y)."""
        from matplotlib.patches import Circle

        self._place(Circle((x, y), radius, facecolor=fill, linewidth=0, zorder=order))
        self._extend((x - radius, y - radius, x + radius, y + radius))

    def finish(self, alt: str, tables: Iterable[Table] = ()) -> Figure:
        """Return what was drawn as a figure just large enough for it."""
        for (fill, edge), corners in self._cells.items():
            look: dict[str, Any] = {
                "facecolor": fill,
                "edgecolor": edge,
                "linewidth": 0.8,
                "zorder": 0.9,
            }
            self._polygons(corners, 4, look)
        self._polygons(self._hatching, 2, {"fill": False, "edgecolor": HATCH, "linewidth": 0.7})
        x0, y0, x1, y1 = self.bounds
        x0, y0, x1, y1 = x0 - MARGIN, y0 - MARGIN, x1 + MARGIN, y1 + MARGIN
        self._figure.set_size_inches((x1 - x0) / 72, (y1 - y0) / 72)
        self._axes.set_xlim(x0, x1)
        self._axes.set_ylim(y1, y0)
        return Figure.from_matplotlib(self._figure, alt, tuple(tables))

    def _polygons(self, corners: list[Point], count: int, look: dict[str, Any]) -> None:
        """Draw many polygons of `count` corners each, or lines where it is 2, as one path."""
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        if not corners:
            return
        vertices: list[Point] = []
        for i in range(0, len(corners), count):
            vertices += corners[i : i + count]
            vertices += corners[i : i + 1] if count > 2 else []
        closing = [Path.CLOSEPOLY] if count > 2 else []
        codes = [Path.MOVETO, *[Path.LINETO] * (count - 1), *closing] * (len(corners) // count)
        path = Path(vertices, codes)
        path.should_simplify = False
        self._place(PathPatch(path, **look))

    def _place(self, artist: "Artist") -> None:
        self._axes.add_artist(artist)
        artist.set_clip_on(False)

    def _extend(self, box: Box) -> None:
        a, b = self.bounds, box
        self.bounds = (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
