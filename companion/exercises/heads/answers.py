"""Checkers of the answers that are an entry, a number, or the weights of a layer."""

from typing import Any

import numpy as np

from companion.exercises.feedback import (
    Feedback,
    floats,
    instance,
    on_the_host,
    rounding,
    run,
    say,
    whole_number,
    whole_numbers,
)
from companion.heads import AttentionParameters, multi_head_attention

__all__ = [
    "check_cache_bytes",
    "check_single_head",
    "check_split_entry",
    "check_unrolled",
]

ROWS, COLUMNS = 5, 6
SPLIT_ENTRY, RESHAPED_ENTRY = (3, 4), (4, 4)
ROUNDINGS = 1024  # sharp softmaxes multiply what rounding did to the scores
LAYERS, HEADS, KV_HEADS, WIDTH, TOKENS, BYTES = 32, 32, 8, 128, 8192, 2


def check_split_entry(attempt: Any) -> None:
    """Check the (row, column) of a packed (5, 6) matrix that becomes head 2, row 3, column 1."""
    say(_split_entry, attempt)


def _split_entry(attempt: Any) -> str:
    row, column = whole_numbers(attempt, 2, "give a pair (row, column), counted from one")
    if not (1 <= row <= ROWS and 1 <= column <= COLUMNS):
        raise Feedback(f"There are rows 1 to {ROWS} and columns 1 to {COLUMNS}, counted from one.")
    if (row, column) == RESHAPED_ENTRY:
        raise Feedback(
            "That is where a reshape alone takes it from. Which token does row 3 belong to?"
        )
    if (row + 1, column + 1) == SPLIT_ENTRY:
        raise Feedback("Are your row and your column counted from one?")
    if row != SPLIT_ENTRY[0]:
        raise Feedback("Another token's row: splitting cuts columns and leaves tokens alone.")
    if column != SPLIT_ENTRY[1]:
        raise Feedback("The right token, another column. Which columns belong to head 2?")
    return "Right: the token stays, and head 2 begins after the columns of head 1."


def check_single_head(attempt: Any, twins: AttentionParameters) -> None:
    """Check the parameters of one head with the output of two heads of the same weights."""
    say(_single_head, attempt, twins)


def _single_head(attempt: Any, twins: AttentionParameters) -> str:
    _check_kind(attempt)
    if attempt.heads != 1:
        raise Feedback(f"w_q must hold one head, shape (1, d, d_k); it holds {attempt.heads}.")
    if attempt.w_v.shape[-1] == twins.w_v.shape[-1]:
        raise Feedback(
            "Two heads of d_v columns bring 2·d_v columns to W^O. How wide are your values?"
        )
    _check_output(attempt, twins)
    return "Right: equal weights mix columns that may as well stand side by side."


def check_unrolled(attempt: Any, grouped: AttentionParameters) -> None:
    """Check the parameters of ungrouped heads with the output of grouped ones."""
    say(_unrolled, attempt, grouped)


def _unrolled(attempt: Any, grouped: AttentionParameters) -> str:
    _check_kind(attempt)
    if attempt.heads != grouped.heads:
        raise Feedback(f"The number of query heads must stay {grouped.heads}; got {attempt.heads}.")
    if attempt.w_k.shape[0] != grouped.heads:
        raise Feedback(
            f"w_k must hold a key head for each of {grouped.heads} query heads; "
            f"got shape {attempt.w_k.shape}."
        )
    _check_output(attempt, grouped, hint=" Which key head did each query head share?")
    return "Right: each key/value head is repeated for the neighbours that share it."


def check_cache_bytes(attempt: Any) -> None:
    """Check the size of the cache of the model in the exercise, in bytes."""
    say(_cache_bytes, attempt)


def _cache_bytes(attempt: Any) -> str:
    size = whole_number(attempt, "give a number of bytes")
    right = BYTES * LAYERS * TOKENS * KV_HEADS * 2 * WIDTH
    hints = {
        right // LAYERS: "That is one layer.",
        right // 2: "Half of it: do you count keys and values, and two bytes for each number?",
        right // 4: "A quarter of it: there are keys and values, and each number has two bytes.",
        right * HEADS // KV_HEADS: "That is with a key/value head for every query head.",
    }
    if size != right:
        raise Feedback(hints.get(size, "Not yet. Numbers for one token in one layer, times what?"))
    return f"Right: with {HEADS} key/value heads it would be {HEADS // KV_HEADS} times as much."


def _check_kind(attempt: Any) -> None:
    instance(attempt, AttentionParameters, "An AttentionParameters", "give an AttentionParameters")


def _check_output(
    attempt: AttentionParameters, wanted: AttentionParameters, hint: str = ""
) -> None:
    """Compare in float64 on drawn inputs of several sizes and scales, and say what differs."""
    coarser = rounding(floats(attempt.w_q), floats(wanted.w_q), roundings=ROUNDINGS)
    rng = np.random.default_rng(11)
    for shape, scale in (((7,), 1.0), ((2, 4), 3.0), ((1,), 0.01)):
        x = scale * (0.5 + rng.standard_normal((*shape, wanted.w_q.shape[1])))
        right = _output(wanted, x)
        found = floats(_output(attempt, x), right.shape, f"{'B by ' * len(shape[1:])}N by d_out")
        if not (np.abs(found - right) <= coarser * np.abs(right).max()).all():
            raise Feedback(f"The shape is right, but the output differs from the one wanted.{hint}")


def _output(parameters: AttentionParameters, x: np.ndarray) -> np.ndarray:
    trouble = "It does not take the same input:"
    host = on_the_host(parameters, trouble=trouble)
    output: np.ndarray = run(multi_head_attention, x, host, trouble=trouble)
    return output
