"""Checkers for the exercises of the chapter on gradients and training."""

from companion.exercises.training.answers import check_first_loss, check_still_rows
from companion.exercises.training.attention import check_attention_backward
from companion.exercises.training.optimiser import check_adamw
from companion.exercises.training.rows import check_softmax_backward

__all__ = [
    "check_adamw",
    "check_attention_backward",
    "check_first_loss",
    "check_softmax_backward",
    "check_still_rows",
]
