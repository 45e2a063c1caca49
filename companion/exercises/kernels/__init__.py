"""Checkers for the exercises of the chapter on tiles and the online softmax."""

from companion.exercises.kernels.answers import (
    check_bound_with_mask,
    check_causal_tiles,
    check_merge_logs,
    check_merged_output,
)
from companion.exercises.kernels.step import check_online_step
from companion.exercises.kernels.tile import check_in_tiles

__all__ = [
    "check_bound_with_mask",
    "check_causal_tiles",
    "check_in_tiles",
    "check_merge_logs",
    "check_merged_output",
    "check_online_step",
]
