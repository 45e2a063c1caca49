"""The book's drawings: one look, made from the data on the page, each with its alt text.

`kit` holds the few kinds of drawing the book knows; every chapter has a room beside it that
puts them to use. A drawing imports the kit and whatever computes what it shows, never an exercise
or a pitfall. matplotlib is imported when something is drawn, not before.
"""

from companion.figures.kit.batches import batch
from companion.figures.kit.canvas import Canvas
from companion.figures.kit.diagrams import Matrix, equation
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.flows import Box, flow
from companion.figures.kit.heatmaps import heat_map, heat_maps, mask_map
from companion.figures.kit.plots import curves

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
