"""Drawings of the chapter on scaled scores: all pairs, one query's keys, and spreads."""

from companion.figures.scores.directions import keys_around_query
from companion.figures.scores.pairs import every_pair
from companion.figures.scores.spreads import head_spreads, variance_by_scale, variance_within_error

__all__ = [
    "every_pair",
    "head_spreads",
    "keys_around_query",
    "variance_by_scale",
    "variance_within_error",
]
