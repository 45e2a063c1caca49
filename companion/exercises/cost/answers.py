"""Checkers of the answers that are a number, or a function of two."""

import math
from typing import Any

from companion.exercises.feedback import (
    Feedback,
    function,
    number,
    result,
    say,
    whole_number,
)

__all__ = [
    "check_cache_heads",
    "check_decoding_batch",
    "check_weights_bytes",
    "check_window_pairs",
]


def check_weights_bytes(attempt: Any) -> None:
    """Check the gibibytes of all weights of 32 heads over 32,768 tokens in float16."""
    say(_weights_bytes, attempt)


def _weights_bytes(attempt: Any) -> str:
    size = number(attempt, "give a number of gibibytes")
    right = 2 * 32 * 32768**2 / 2**30
    for wrong, why in (
        (right / 32, "that is one head; there are 32."),
        (right / 2, "that counts numbers as bytes; float16 takes two."),
        (right * 2, "that is float32; float16 takes two bytes."),
        (right * 2**30, "that is bytes; divide by 2**30."),
        (right * 2**30 / 1e9, "those are gigabytes of 10⁹ bytes; a gibibyte has 2**30."),
    ):
        if math.isclose(size, wrong, rel_tol=0.01):
            raise Feedback(f"Close: {why}")
    if size != right:
        raise Feedback("Count the numbers first: a square for every head. Then bytes a number.")
    return "Right: for one layer, and for numbers that are used once."


def check_window_pairs(attempt: Any) -> None:
    """Check a function (length, left) → number of pairs in a causal window."""
    say(_window_pairs, attempt)


def _window_pairs(attempt: Any) -> str:
    count = function(attempt, "hand over your function of length and left")
    for length, left in ((1, 0), (9, 0), (9, 3), (9, 8), (3, 9), (6, 6), (1000, 64)):
        case = f" for N = {length} and {left} tokens back"
        got = number(result(count, length, left, case=case), "return the number of pairs")
        pairs = sum(min(i, left) + 1 for i in range(length))
        if got != pairs:
            side = "many" if got > pairs else "few"
            hint = "Does every token see itself, and the first ones fewer?"
            if left >= length:
                hint = "How far back can the last token see?"
            raise Feedback(f"Too {side} pairs{case}. {hint}")
    return "Right: also where the window is longer than the text."


def check_decoding_batch(attempt: Any) -> None:
    """Check how many sequences must be decoded together to reach 300 FLOPs a byte."""
    say(_decoding_batch, attempt)


def _decoding_batch(attempt: Any) -> str:
    rows = whole_number(attempt, "give a number of sequences")
    if rows <= 0:
        raise Feedback(f"A positive number of sequences is asked for, got {rows}.")
    flops, size = 2 * rows, 2
    if flops != 300 * size:
        side = "too few" if flops < 300 * size else "more than it takes"
        raise Feedback(
            f"With {rows:,} rows a weight of two bytes takes part in {flops:,} FLOPs: {side}."
        )
    return "Right: as many rows as the machine does FLOPs a byte, because 2 FLOPs meet 2 bytes."


def check_cache_heads(attempt: Any) -> None:
    """Check how many key/value heads a cache of 4 GiB holds for 32 layers and 32,768 tokens."""
    say(_cache_heads, attempt)


def _cache_heads(attempt: Any) -> str:
    heads = whole_number(attempt, "give a number of key/value heads")
    if heads < 1:
        raise Feedback(f"A whole number of heads, at least 1, is asked for, got {heads}.")
    size = 32 * 32768 * heads * (128 + 128) * 2 / 2**30
    taken = f"{heads:,} heads take" if heads > 1 else "1 head takes"
    if size > 4:
        raise Feedback(f"{taken} {size:g} GiB.")
    if size < 4:
        raise Feedback(f"{taken} {size:g} GiB; there is room for more.")
    return "Right: 4 GiB to the byte. With 32 query heads, four of them share each."
