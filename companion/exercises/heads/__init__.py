"""Checkers for the exercises of the chapter on many heads."""

from companion.exercises.heads.answers import (
    check_cache_bytes,
    check_single_head,
    check_split_entry,
    check_unrolled,
)
from companion.exercises.heads.many import check_multi_head

__all__ = [
    "check_cache_bytes",
    "check_multi_head",
    "check_single_head",
    "check_split_entry",
    "check_unrolled",
]
