"""Checkers for the exercises of the chapter on a trained encoder."""

from companion.exercises.encoder.answers import (
    check_index_bytes,
    check_nearest,
    check_passes,
    check_squared_distance,
    check_tensor_names,
)
from companion.exercises.encoder.pooling import check_sentence_vectors

__all__ = [
    "check_index_bytes",
    "check_nearest",
    "check_passes",
    "check_sentence_vectors",
    "check_squared_distance",
    "check_tensor_names",
]
