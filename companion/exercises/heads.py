"""Checkers for the exercises of the chapter on many heads."""

import operator
from typing import Any

import array_api_compat
import numpy as np

from companion.arrays import array_namespace
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
    """Say whether this entry of a packed (5, 6) matrix becomes head 2, row 3, column 1."""
    if attempt is None or attempt is ...:
        print("Not attempted yet: give a pair (row, column), counted from one.")
        return
    try:
        row, column = (operator.index(number) for number in attempt)
    except (TypeError, ValueError):
        print(f"Give a pair of whole numbers (row, column); got {attempt!r}.")
        return
    if not (1 <= row <= ROWS and 1 <= column <= COLUMNS):
        print(f"There are rows 1 to {ROWS} and columns 1 to {COLUMNS}, counted from one.")
    elif (row, column) == RESHAPED_ENTRY:
        print("That is where a reshape alone takes it from. Which token does row 3 belong to?")
    elif row != SPLIT_ENTRY[0]:
        print("Another token's row: splitting cuts columns and leaves tokens where they are.")
    elif column != SPLIT_ENTRY[1]:
        print("The right token, another column. Which columns belong to head 2?")
    else:
        print("Right: the token stays, and head 2 begins after the columns of head 1.")


def check_single_head(attempt: Any, twins: AttentionParameters) -> None:
    """Say whether this is one head with the same output as two heads with the same weights."""
    if not _is_parameters(attempt):
        return
    if attempt.heads != 1:
        print(f"w_q must hold one head, shape (1, d, d_k); it holds {attempt.heads}.")
    elif attempt.w_v.shape[-1] * attempt.heads == twins.w_v.shape[-1]:
        print("Two heads of d_v columns bring 2·d_v columns to W^O. How wide are your values?")
    elif _same_output(attempt, twins):
        print("Right: equal weights mix columns that may as well stand side by side.")


def check_unrolled(attempt: Any, grouped: AttentionParameters) -> None:
    """Say whether these are ungrouped heads with the same output as grouped ones."""
    if not _is_parameters(attempt):
        return
    if attempt.heads != grouped.heads:
        print(f"The number of query heads must stay {grouped.heads}; got {attempt.heads}.")
    elif attempt.w_k.shape[0] != grouped.heads:
        print(
            f"w_k must hold a key head for each of {grouped.heads} query heads; "
            f"got shape {attempt.w_k.shape}."
        )
    elif _same_output(attempt, grouped, hint="Which key head did each query head share?"):
        print("Right: each key/value head is repeated for the neighbours that share it.")


def check_cache_bytes(attempt: Any) -> None:
    """Say whether this is the size of the cache of the model in the exercise, in bytes."""
    if attempt is None or attempt is ...:
        print("Not attempted yet: give a number of bytes.")
        return
    try:
        size = operator.index(attempt)
    except TypeError:
        print(f"Give a whole number of bytes; got {attempt!r}.")
        return
    right = BYTES * LAYERS * TOKENS * KV_HEADS * 2 * WIDTH
    hints = {
        right // LAYERS: "That is one layer.",
        right // 2: "Half of it: do you count keys and values, and two bytes for each number?",
        right // 4: "A quarter of it: there are keys and values, and each number has two bytes.",
        right * HEADS // KV_HEADS: "That is with a key/value head for every query head.",
    }
    if size == right:
        print(f"Right: with {HEADS} key/value heads it would be {HEADS // KV_HEADS} times as much.")
    else:
        print(hints.get(size, "Not yet. Numbers for one token in one layer, times what?"))


def _is_parameters(attempt: Any) -> bool:
    """Say what is expected where the attempt is no AttentionParameters."""
    if attempt is None or attempt is ...:
        print("Not attempted yet: give an AttentionParameters.")
        return False
    if not isinstance(attempt, AttentionParameters):
        print(f"Give an AttentionParameters; got {type(attempt).__name__}.")
        return False
    return True


def _same_output(attempt: AttentionParameters, wanted: AttentionParameters, hint: str = "") -> bool:
    """Compare on a drawn input, and say what differs."""
    try:
        xp = array_namespace(attempt=attempt.w_q, wanted=wanted.w_q)
        rows = np.random.default_rng(11).standard_normal((7, wanted.w_q.shape[1]))
        device = array_api_compat.device(wanted.w_q)
        x = xp.asarray(rows, dtype=wanted.w_q.dtype, device=device)
        got, expected = multi_head_attention(x, attempt), multi_head_attention(x, wanted)
    except (TypeError, ValueError) as error:
        print(f"It does not take the same input: {error}.")
        return False
    if got.shape != expected.shape:
        print(f"The output must have shape {expected.shape}, (N, d_out); got {got.shape}.")
        return False
    # Twice as many terms in another order: rounding, and no more.
    error = float(xp.max(xp.abs(got - expected)))
    if not error <= 64 * float(xp.finfo(got.dtype).eps) * float(xp.max(xp.abs(expected))):
        print(f"The shape is right, but the output differs from the one wanted. {hint}".strip())
        return False
    return True
