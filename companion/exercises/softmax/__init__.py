"""Checkers for the exercises of the chapter on softmax and weighted values."""

from companion.exercises.softmax.answers import (
    check_jacobian_product,
    check_needed_lead,
    check_quiet_softmax,
    check_rising_tokens,
)
from companion.exercises.softmax.mixture import check_mixture

__all__ = [
    "check_jacobian_product",
    "check_mixture",
    "check_needed_lead",
    "check_quiet_softmax",
    "check_rising_tokens",
]
