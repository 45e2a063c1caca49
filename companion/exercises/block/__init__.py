"""Checkers for the exercises of the chapter on the transformer block."""

from companion.exercises.block.answers import (
    check_branch_scale,
    check_break_even_length,
    check_normed_row,
    check_parallel_block,
)
from companion.exercises.block.pre_norm import check_pre_norm_block

__all__ = [
    "check_branch_scale",
    "check_break_even_length",
    "check_normed_row",
    "check_parallel_block",
    "check_pre_norm_block",
]
