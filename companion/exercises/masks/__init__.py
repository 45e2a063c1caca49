"""Checkers for the exercises of the chapter on causal masks."""

from companion.exercises.masks.answers import (
    check_changed_rows,
    check_exposing_change,
    check_received_weight,
    check_smallest_left,
    check_streaming_mask,
    check_visible_pairs,
)
from companion.exercises.masks.head import check_last_rows, check_masked_head
from companion.exercises.masks.padded import check_padded_head

__all__ = [
    "check_changed_rows",
    "check_exposing_change",
    "check_last_rows",
    "check_masked_head",
    "check_padded_head",
    "check_received_weight",
    "check_smallest_left",
    "check_streaming_mask",
    "check_visible_pairs",
]
