"""Checkers for the exercises of the chapter on many heads."""

from typing import Any

import array_api_compat
import numpy as np

from companion.arrays import array_namespace
from companion.exercises.feedback import (
    Feedback,
    attempted,
    mismatch,
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
    attempted(attempt, "give an AttentionParameters")
    if not isinstance(attempt, AttentionParameters):
        raise mismatch("An AttentionParameters", attempt)


def _check_output(
    attempt: AttentionParameters, wanted: AttentionParameters, hint: str = ""
) -> None:
    """Compare on a drawn input, and say what differs."""
    try:
        xp = array_namespace(attempt=attempt.w_q, wanted=wanted.w_q)
        rows = np.random.default_rng(11).standard_normal((7, wanted.w_q.shape[1]))
        device = array_api_compat.device(wanted.w_q)
        x = xp.asarray(rows, dtype=wanted.w_q.dtype, device=device)
        got, expected = multi_head_attention(x, attempt), multi_head_attention(x, wanted)
    except (TypeError, ValueError) as error:
        raise Feedback(f"It does not take the same input: {error}.") from None
    if got.shape != expected.shape:
        raise Feedback(f"The shape should be {expected.shape}, N by d_out; yours is {got.shape}.")
    # Twice as many terms in another order: rounding, and no more.
    error = float(xp.max(xp.abs(got - expected)))
    if not error <= 64 * float(xp.finfo(got.dtype).eps) * float(xp.max(xp.abs(expected))):
        raise Feedback(f"The shape is right, but the output differs from the one wanted.{hint}")
