"""Checkers for the exercises of the chapter on NumPy and CuPy."""

from companion.exercises.arrays.answers import (
    check_break_even,
    check_portable,
    check_stored_bits,
    check_two_clocks,
)
from companion.exercises.arrays.anywhere import check_attention_anywhere
from companion.exercises.arrays.timer import check_timer

__all__ = [
    "check_attention_anywhere",
    "check_break_even",
    "check_portable",
    "check_stored_bits",
    "check_timer",
    "check_two_clocks",
]
