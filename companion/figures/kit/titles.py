"""Titles and names of any length, on as many lines as their room asks for.

A title may name the processor that something was measured on, and processors' names are long.
"""

from companion.figures.kit.canvas import MARGIN, Canvas, text_size
from companion.figures.kit.figure import MAX_WIDTH

__all__ = ["draw_title", "wrapped"]

LINE = 1.35  # from line to line, in units of the font size


def draw_title(canvas: Canvas, x: float, y: float, title: str, *, size: float) -> None:
    """Write a title from a left edge on, its last line with its middle at the height `y`."""
    room = MAX_WIDTH - 2 * MARGIN - 1.0
    words = [piece for word in title.split() for piece in _pieces(word, size, room)]
    lines = wrapped(words, size, room)
    for k, line in enumerate(lines, 1 - len(lines)):
        canvas.text(x, y + k * LINE * size, line, size=size, align="left", bold=True)


def wrapped(words: list[str], size: float, room: float) -> list[str]:
    """Put bold words on lines no wider than the room; a word that is wider has one for itself."""
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_size(longer, size, bold=True)[0] <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _pieces(word: str, size: float, room: float) -> list[str]:
    """Break a word that is wider than the room; mathematics stays whole."""
    pieces = [""]
    for character in word:
        if "$" not in word and text_size(pieces[-1] + character, size, bold=True)[0] > room:
            pieces.append("")
        pieces[-1] += character
    return pieces
