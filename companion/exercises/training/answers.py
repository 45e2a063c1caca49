"""Checkers for the answers of the chapter on gradients and training: numbers, and a set of rows."""

import math
from typing import Any

from companion.exercises.feedback import Feedback, number, rows, say

__all__ = ["check_first_loss", "check_still_rows"]


def check_still_rows(attempt: Any) -> None:
    """Check which rows of dK are exactly 0 where *cat* looks back only: a set, from 1."""
    say(_still_rows, attempt)


def _still_rows(attempt: Any) -> str:
    named = rows(attempt, 5, "write a set of rows, counted from 1")
    if named == {4, 5}:
        return (
            "Right: what cat may not see gets no gradient, and everything that it sees gets some."
        )
    if named == {3, 4, 5}:
        raise Feedback("Cat may look at itself: its own key is among those that it weighs.")
    if named == {1, 2, 4, 5} or named == {1, 2, 3, 4, 5}:
        raise Feedback("Only the query of cat is in the loss. But which keys does that query meet?")
    if not named:
        raise Feedback(
            "A mask gives some keys the weight 0 in the row of cat. What moves with them?"
        )
    if named < {4, 5}:
        raise Feedback("That row is one of them. Which other does cat fail to see?")
    raise Feedback("Rows 1 to 3 are seen by cat; a row that it sees has a weight, and a say.")


def check_first_loss(attempt: Any) -> None:
    """Check the loss of a fresh model with 50,257 tokens, in nats: a number."""
    say(_first_loss, attempt)


def _first_loss(attempt: Any) -> str:
    found, right = number(attempt, "write a number, in nats"), math.log(50_257)
    if abs(found - right) < 0.05:
        return "Right: it knows nothing, and a choice among V equal tokens costs log V."
    if abs(found - math.log2(50_257)) < 0.05:
        raise Feedback("That is in bits. A nat is the unit of the natural logarithm.")
    if abs(found - math.log10(50_257)) < 0.05:
        raise Feedback("That is the logarithm to base ten; the loss uses the natural one.")
    if abs(found - math.log(1024)) < 0.05:
        raise Feedback("That is the loss for the 1,024 tokens of the small writer.")
    raise Feedback("Every token has the probability 1/V. What is −log of that, for V = 50,257?")
