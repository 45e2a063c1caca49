"""Checkers of the answers that are numbers."""

import math
from typing import Any

import numpy as np

from companion.exercises.feedback import Feedback, number, numbers, say

__all__ = ["check_cache_bytes", "check_perplexity", "check_still_pairs", "check_stretched"]


def check_cache_bytes(attempt: Any) -> None:
    """Check the bytes of a cache: 30 layers, 9 query heads over 3 key heads of 64, 1000 tokens."""
    say(_cache_bytes, attempt)


def _cache_bytes(attempt: Any) -> str:
    found = number(attempt, "give a number of bytes")
    right = 2 * 30 * 3 * 64 * 1000 * 4
    for wrong, why in (
        (right // 2, "that is half: keys alone, values alone, or two bytes a number."),
        (3 * right, "that is a key for each query head. How many key heads are there?"),
        (right // 4, "those are numbers. A float32 has four bytes."),
        (right // 30, "that is one layer."),
        (right // 1000, "that is one token."),
    ):
        if math.isclose(found, wrong, rel_tol=0.005):
            raise Feedback(f"Close: {why}")
    if math.isclose(found * 1e6, right, rel_tol=0.01) or math.isclose(
        found * 2**20, right, rel_tol=0.01
    ):
        raise Feedback("Close: bytes are asked for, and yours seem to be megabytes.")
    if found != right and math.isclose(found, right, rel_tol=0.005):
        raise Feedback("Close: to the byte, please.")
    if found != right:
        raise Feedback("Not yet. A token leaves a key and a value in each head of each layer.")
    return "Right: 46 megabytes, and a third of what nine key heads would take."


def check_perplexity(attempt: Any) -> None:
    """Check the perplexity of a text of which three tokens had ½, ⅛ and ¹⁄₁₆."""
    say(_perplexity, attempt)


def _perplexity(attempt: Any) -> str:
    found = number(attempt, "give a number")
    for wrong, why in (
        (
            3 / (1 / 2 + 1 / 8 + 1 / 16),
            "that is one over the mean probability.",
        ),
        ((2 + 8 + 16) / 3, "that averages 2, 8 and 16. Average their logarithms."),
        (math.log(256) / 3, "that is the loss, in nats."),
        (8 / 3, "that is the loss, in bits."),
        (256, "that is one over the probability of all three. How much is it a token?"),
        (1 / 6.3496, "that is the typical probability itself. Among how many is that a choice?"),
    ):
        if math.isclose(found, wrong, rel_tol=0.005):
            raise Feedback(f"Close: {why}")
    if not math.isclose(found, 256 ** (1 / 3), rel_tol=0.005):
        raise Feedback("Not yet. Take the mean of the three surprises, and e to that power.")
    return "Right: the third root of 256, as if there had been six or seven to choose from."


def check_still_pairs(attempt: Any) -> None:
    """Check how many of 32 pairs, base 100,000, turn by less than a full turn in 8192 tokens."""
    say(_still_pairs, attempt)


def _still_pairs(attempt: Any) -> str:
    found = number(attempt, "give a number of pairs")
    waves = 2 * math.pi * 100_000 ** (np.arange(32) / 32)
    right = int((waves > 8192).sum())
    if found == 32 - right:
        raise Feedback("Close: those are the pairs that do come round.")
    if found == int((waves / (2 * math.pi) > 8192).sum()):
        raise Feedback("Close: a turn is 2π, not 1.")
    if found == int((2 * math.pi * 10_000 ** (np.arange(32) / 32) > 8192).sum()):
        raise Feedback("Close: that is for the base 10,000. This model's is 100,000.")
    if found != right:
        raise Feedback("Not yet. Pair m needs 2π · base^(2m / d_k) tokens for a full turn.")
    return "Right: more than a third of the pairs make no full turn within the context."


def check_stretched(attempt: Any) -> None:
    """Check by what to divide positions, and by what to multiply the base, for a context × 4."""
    say(_stretched, attempt)


def _stretched(attempt: Any) -> str:
    divisor, factor = numbers(attempt, 2, "give the divisor, and the factor of the base")
    if math.isclose(divisor, 0.25, rel_tol=0.01):
        raise Feedback("Close: positions are to become smaller, and you divide by less than 1.")
    if not math.isclose(divisor, 4, rel_tol=0.01):
        raise Feedback("Not yet: four times as many tokens are to end at the same last angle.")
    if math.isclose(factor, 4, rel_tol=0.01):
        raise Feedback("Close: the base is raised to 2m / d_k, and that is 62/64 at most.")
    if not math.isclose(factor, 4 ** (32 / 31), rel_tol=0.01):
        raise Feedback("The first is right. Which factor, to the power 62/64, makes 4?")
    return "Right: the first squeezes all pairs alike, the second leaves the fast ones as they are."
