"""The matrices of a heat map as it draws them: on the host, checked, on one scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from companion.arrays import Array, to_numpy
from companion.figures.kit.grid import Frame, checked_frame

__all__ = ["Maps", "checked_maps", "checked_matrix", "checked_vectors"]


ROUNDING = 1e-6  # how far a weight of one may miss it and still be drawn as one


@dataclass(frozen=True)
class Maps:
    """Matrices of one shape on one scale; False in a mask hides a cell."""

    frame: Frame
    values: list[np.ndarray]
    visible: list[np.ndarray]
    titles: Sequence[str] | None
    limits: tuple[float, float]
    decimals: int

    @property
    def are_weights(self) -> bool:
        """Whether every row sums to one, or to zero where it has nothing to attend to."""
        sums = np.concatenate(
            [
                np.where(seen & np.isfinite(v), v, 0.0).sum(axis=1)
                for v, seen in zip(self.values, self.visible, strict=True)
            ]
        )
        return self.limits == (0.0, 1.0) and bool(
            np.all((np.abs(sums - 1.0) < 0.01) | (sums == 0.0))
        )


def checked_maps(
    matrices: Sequence[Any],
    visible: Any,
    titles: Sequence[str] | None,
    limits: tuple[float, float] | None,
    decimals: int,
    *,
    labels: tuple[Any, ...],
) -> Maps:
    """Return matrices with their masks, labels and scale, or raise where something does not fit."""
    if len(matrices) == 0:
        raise ValueError("matrices must hold at least one matrix, got none")
    values = [checked_matrix(matrix, "matrix").astype(np.float64) for matrix in matrices]
    shape = values[0].shape
    for other in values[1:]:
        if other.shape != shape:
            raise ValueError(f"matrices must all have shape {shape}, got {other.shape}")
    if titles is not None and len(titles) != len(values):
        raise ValueError(f"titles must be {len(values)}, one for each map, got {len(titles)}")
    if decimals < 0:
        raise ValueError(f"decimals must be at least 0, got {decimals}")
    masks = visible if isinstance(visible, list | tuple) else [visible] * len(values)
    if len(masks) != len(values):
        raise ValueError(f"visible must hold {len(values)} masks, one a matrix, got {len(masks)}")
    seen = [_checked_mask(mask, shape) for mask in masks]
    drawn = np.concatenate([v[mask & np.isfinite(v)] for v, mask in zip(values, seen, strict=True)])
    frame = checked_frame(shape, *labels)
    return Maps(frame, values, seen, titles, _checked_limits(limits, drawn), decimals)


def checked_matrix(matrix: Array, name: str) -> np.ndarray:
    """Return a matrix on the host, or raise ValueError where it is none."""
    host = to_numpy(matrix)
    if host.ndim != 2 or 0 in host.shape:
        raise ValueError(f"{name} must be (R, C) with at least one cell, got shape {host.shape}")
    return host


def checked_vectors(**vectors: Any) -> dict[str, np.ndarray]:
    """Return vectors on the host by name, or raise ValueError where one is none."""
    hosts = {name: to_numpy(vector).astype(np.float64) for name, vector in vectors.items()}
    for name, host in hosts.items():
        if host.ndim != 1 or len(host) == 0:
            raise ValueError(f"{name} must be a vector that is not empty, got shape {host.shape}")
    return hosts


def _checked_mask(mask: Array, shape: tuple[int, ...]) -> np.ndarray:
    if mask is None:
        return np.ones(shape, dtype=bool)
    host = to_numpy(mask)
    if host.dtype != bool:
        raise TypeError(f"visible must have dtype bool, got {host.dtype}")
    if host.shape != shape:
        raise ValueError(f"visible must have the matrix's shape {shape}, got {host.shape}")
    return host


def _checked_limits(limits: tuple[float, float] | None, drawn: np.ndarray) -> tuple[float, float]:
    low, high = (float(drawn.min()), float(drawn.max())) if drawn.size else (0.0, 1.0)
    if limits is None:
        largest = 1.0 if low >= 0.0 and high <= 1.0 + ROUNDING else max(-low, high)
        return (0.0 if low >= 0.0 else -largest), largest
    if not (limits[1] > 0.0 and limits[0] in (0.0, -limits[1])):
        raise ValueError(f"limits must be (0, largest) or (-largest, largest), got {limits}")
    room = ROUNDING * limits[1]
    if low < limits[0] - room or high > limits[1] + room:
        raise ValueError(f"limits must hold all values, {low:g} to {high:g}, got {limits}")
    return float(limits[0]), float(limits[1])
