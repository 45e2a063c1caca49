"""Drawings of the chapter on softmax: mixtures, look-ups, the hull, and attention as a whole."""

from companion.figures.softmax.hull import mixtures_in_hull
from companion.figures.softmax.meeting import roles_meet
from companion.figures.softmax.mixing import mixture
from companion.figures.softmax.overview import attention_flow, matrix_form, pipeline
from companion.figures.softmax.sharpness import gradient_sizes, sharpening

__all__ = [
    "attention_flow",
    "gradient_sizes",
    "matrix_form",
    "mixture",
    "mixtures_in_hull",
    "pipeline",
    "roles_meet",
    "sharpening",
]
