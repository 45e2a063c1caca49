"""Checkers for the exercises of the chapter on a causal language model."""

from companion.exercises.language_model.answers import (
    check_cache_bytes,
    check_perplexity,
    check_still_pairs,
    check_stretched,
)
from companion.exercises.language_model.rotation import check_rotation
from companion.exercises.language_model.sampler import check_sampler
from companion.exercises.language_model.step import check_cached_step

__all__ = [
    "check_cache_bytes",
    "check_cached_step",
    "check_perplexity",
    "check_rotation",
    "check_sampler",
    "check_still_pairs",
    "check_stretched",
]
