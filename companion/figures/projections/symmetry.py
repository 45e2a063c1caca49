"""How far the forms of trained heads are from symmetric ones."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from companion.figures.kit.canvas import Canvas
from companion.figures.kit.cells import NUMBER
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.map_data import checked_vectors
from companion.figures.kit.palette import FAINT, HIGHLIGHT, LINES, MUTED
from companion.figures.kit.tables import by_head

__all__ = ["asymmetry"]

LABEL = 10.5


@style()
def asymmetry(
    shares: Mapping[str, Any], *, random: tuple[float, float], followed: tuple[str, int]
) -> Figure:
    """Draw one dot a head on a scale from symmetric forms to random ones.

    Parameters
    ----------
    shares : mapping of str to array, shape (H,)
        For every layer by name, the antisymmetric shares of its heads, each in [0, 1].
    random : (float, float)
        The least and the greatest share of random matrices of the same shape.
    followed : (str, int)
        The layer and the head whose dot is named.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a share is not in [0, 1].
    """
    rows = checked_vectors(**shares)
    for layer, values in rows.items():
        if not np.all((values >= 0) & (values <= 1)):
            raise ValueError(f"shares[{layer!r}] must lie in [0, 1], got {values}")
    canvas, width, high, longest = Canvas(), 290.0, 62.0, 0.8
    bottom = high * len(rows)
    for k, (layer, values) in enumerate(rows.items()):
        base = high * (k + 1) - 9.0
        canvas.text(-10.0, base - 14.0, layer, size=LABEL, align="right", bold=True)
        canvas.line([(0.0, base + 4.5), (width, base + 4.5)], colour=FAINT, width=0.8)
        for head, (x, level) in enumerate(_swarm(values / longest * width)):
            named = followed == (layer, head)
            y = base - 8.0 * level
            canvas.disc(x, y, 3.8, fill=HIGHLIGHT if named else LINES[0])
            if named:
                canvas.text(x, y - 14.0, f"head {head}", size=LABEL, bold=True, colour=HIGHLIGHT)
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8):
        x = tick / longest * width
        canvas.line([(x, bottom), (x, bottom + 4.0)], colour=MUTED, width=1.0)
        canvas.text(x, bottom + 13.0, f"{tick:.1f}", size=NUMBER)
    canvas.line([(0.0, bottom), (width, bottom)], colour=MUTED, width=1.0)
    least, most = (share / longest * width for share in random)
    canvas.rectangle(least, 0.0, most - least, bottom, fill=MUTED)
    canvas.text((least + most) / 2, -9.0, "random matrices", size=LABEL, colour=MUTED)
    title = "antisymmetric share; 0 is symmetric"
    canvas.text(width / 2, bottom + 30.0, title, size=LABEL, colour=MUTED)
    said = _asymmetry_alt(rows, random, *followed)
    return canvas.finish(said, [by_head(rows, "antisymmetric share")])


def _swarm(places: np.ndarray) -> list[tuple[float, int]]:
    """Return each dot's place and the lowest level on which it covers no other."""
    taken: list[float] = []
    levels = {}
    for i in np.argsort(np.round(places, 2), kind="stable"):
        x = float(places[i])
        level = next((k for k, end in enumerate(taken) if x - end >= 8.5), len(taken))
        taken[level : level + 1] = [x]
        levels[int(i)] = (x, level)
    return [levels[i] for i in range(len(places))]


def _asymmetry_alt(
    rows: Mapping[str, np.ndarray], random: tuple[float, float], layer: str, head: int
) -> str:
    said = "One dot for each head on a scale of antisymmetric shares, where 0 is symmetric."
    for name, values in rows.items():
        said += (
            f" The {len(values)} heads of {name} lie from {min(values):.2f} to {max(values):.2f}."
        )
    said += f" Head {head} of {layer} has {rows[layer][head]:.2f}."
    return f"{said} Random matrices lie from {random[0]:.3f} to {random[1]:.3f}."
