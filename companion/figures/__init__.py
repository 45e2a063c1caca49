"""The book's drawings: one look, made from the data on the page, each with its alt text.

The modules here hold the few kinds of drawing the book knows; every chapter has a module of its own
that puts them to use. matplotlib is imported when something is drawn, not before.
"""

from companion.figures.batches import batch
from companion.figures.canvas import Canvas
from companion.figures.diagrams import Matrix, equation
from companion.figures.figure import Figure, style
from companion.figures.flows import Box, flow
from companion.figures.heatmaps import heat_map, heat_maps, mask_map
from companion.figures.plots import curves

__all__ = [
    "Box",
    "Canvas",
    "Figure",
    "Matrix",
    "batch",
    "curves",
    "equation",
    "flow",
    "heat_map",
    "heat_maps",
    "mask_map",
    "style",
]
