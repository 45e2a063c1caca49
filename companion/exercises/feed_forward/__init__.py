"""Checkers for the exercises of the chapter on the feed-forward network."""

from companion.exercises.feed_forward.answers import (
    check_changed_rows,
    check_gated_width,
    check_maximum,
    check_prune,
)
from companion.exercises.feed_forward.two_layers import check_two_layers

__all__ = [
    "check_changed_rows",
    "check_gated_width",
    "check_maximum",
    "check_prune",
    "check_two_layers",
]
