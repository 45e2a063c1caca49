"""The points of a plot as it draws them: on the host, and checked."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from companion.arrays import Array, to_numpy
from companion.figures.kit.palette import LINES

__all__ = ["checked_bands", "checked_lines"]


def checked_lines(
    x: Array, lines: Mapping[str, Any], x_log: bool, y_log: bool
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return x and the curves over it by name, or raise where they cannot be drawn."""
    x = to_numpy(x).astype(np.float64)
    if x.ndim != 1 or len(x) < 2 or not np.all(np.diff(x) > 0):
        raise ValueError(f"x must be (n,), n at least 2, and increasing, got shape {x.shape}")
    if x_log and x[0] <= 0:
        raise ValueError(f"x must be positive on a logarithmic axis, got {x[0]:g}")
    if not 1 <= len(lines) <= len(LINES):
        raise ValueError(f"lines must hold from 1 to {len(LINES)} curves, got {len(lines)}")
    drawn = {name: _checked_y(f"lines[{name!r}]", y, x) for name, y in lines.items()}
    for name, y in drawn.items():
        if not np.isfinite(y).any():
            raise ValueError(f"lines[{name!r}] must have a finite value, got none")
        if y_log and np.nanmin(y) <= 0:
            raise ValueError(
                f"lines[{name!r}] must be positive on a logarithmic axis, got {np.nanmin(y):g}"
            )
    return x, drawn


def checked_bands(
    bands: Mapping[str, tuple[Any, Any]], drawn: Mapping[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the lower and the upper edge of each band, or raise where it has no curve."""
    edges = {}
    for name, band in bands.items():
        if name not in drawn:
            raise ValueError(f"bands must name curves out of {list(drawn)}, got {name!r}")
        low, high = (_checked_y(f"bands[{name!r}]", edge, drawn[name]) for edge in band)
        if np.any(low > high):
            raise ValueError(f"bands[{name!r}] must be (low, high), got low above high")
        edges[name] = (low, high)
    return edges


def _checked_y(name: str, y: Any, x: np.ndarray) -> np.ndarray:
    host = to_numpy(y).astype(np.float64)
    if host.shape != x.shape:
        raise ValueError(f"{name} must have the shape of x, {x.shape}, got {host.shape}")
    return host
