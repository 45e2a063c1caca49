"""Drawings of the chapter on tiles: what is in a tile, who computes it, and what was measured."""

from companion.figures.kernels.cores import core_schedule
from companion.figures.kernels.records import memory_by_length, times_by_length
from companion.figures.kernels.tiles import tile_sweep

__all__ = ["core_schedule", "memory_by_length", "tile_sweep", "times_by_length"]
