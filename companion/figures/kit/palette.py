"""The book's colours: told apart by colour-blind readers, legible on white and in the dark theme.

The dark theme shows a figure through ``invert(1) hue-rotate(180deg)``, which keeps the hue and
turns light into dark. Every colour here keeps its contrast on both sides of that filter.
"""

__all__ = [
    "BACKGROUND_DARK",
    "FAINT",
    "FILLED",
    "HATCH",
    "HIGHLIGHT",
    "HIGHLIGHT_FILL",
    "INK",
    "LINES",
    "MUTED",
    "PANEL",
    "contrast",
    "in_dark_theme",
    "map_colour",
    "number_colour",
]

INK = "#1a1a1a"
MUTED = "#5b6470"
FAINT = "#c3c9d1"
HATCH = "#8a94a0"
PANEL = "#eef2f7"
HIGHLIGHT = "#b3366b"
HIGHLIGHT_FILL = "#f9e4ed"
BACKGROUND_DARK = "#121212"

# Okabe and Ito's hues, darkened until text in them reads on white.
LINES = ("#0072b2", "#c04f00", "#007a59", "#a8437f", "#8a6d00", "#1a1a1a")

# A map runs from white to a deep hue. It steps a little at one half, over the band of middle tones
# on which no number would be legible both in the light and in the dark theme.
_BLUE = (("#ffffff", "#5c9bd6"), ("#2f74c0", "#08306b"))
_ORANGE = (("#ffffff", "#e08a4a"), ("#b85410", "#6b2500"))


def map_colour(t: float) -> str:
    """Return the colour of `t` in [-1, 1]: white at 0, deep blue at 1, deep orange at -1."""
    if not -1.0 <= t <= 1.0:
        raise ValueError(f"t must lie in [-1, 1], got {t}")
    halves = _BLUE if t >= 0 else _ORANGE
    strength = 2.0 * abs(t)
    (start, end), along = (halves[0], strength) if strength < 1.0 else (halves[1], strength - 1.0)
    return _hex(tuple(a + (b - a) * along for a, b in zip(_rgb(start), _rgb(end), strict=True)))


def number_colour(t: float) -> str:
    """Return black or white, whichever is legible on ``map_colour(t)`` in both themes."""
    return "#000000" if abs(t) < 0.5 else "#ffffff"


def in_dark_theme(colour: str) -> str:
    """Return what the filter ``invert(1) hue-rotate(180deg)`` makes of a colour."""
    red, green, blue = (1.0 - channel for channel in _rgb(colour))
    luma = 0.213 * red + 0.715 * green + 0.072 * blue
    return _hex(tuple(min(max(2.0 * luma - channel, 0.0), 1.0) for channel in (red, green, blue)))


def contrast(colour: str, other: str) -> float:
    """Return the contrast ratio of two colours, from 1 to 21, as WCAG 2 defines it."""
    dark, light = sorted((_luminance(colour), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    red, green, blue = (
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
        for channel in _rgb(colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def _hex(rgb: tuple[float, ...]) -> str:
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in rgb)


#: What is filled where cells are filled or not: what may be attended to, or is computed now.
FILLED = map_colour(0.45)
