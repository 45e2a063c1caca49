"""Checkers for the exercises of the chapter on what attention costs."""

from companion.exercises.cost.answers import (
    check_cache_heads,
    check_decoding_batch,
    check_weights_bytes,
    check_window_pairs,
)
from companion.exercises.cost.layer import check_layer_ledger

__all__ = [
    "check_cache_heads",
    "check_decoding_batch",
    "check_layer_ledger",
    "check_weights_bytes",
    "check_window_pairs",
]
