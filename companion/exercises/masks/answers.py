"""Checkers of the answers that are a number, a set of rows, or an array."""

from typing import Any

import numpy as np

from companion.arrays import to_numpy
from companion.examples.running_example import running_example
from companion.exercises.feedback import (
    LARGEST,
    Feedback,
    array,
    entries,
    floats,
    numbers,
    rows,
    say,
    whole_number,
    written_out,
)
from companion.pitfalls import attention_masked_after_softmax
from companion.projections import project_qkv

__all__ = [
    "check_changed_rows",
    "check_exposing_change",
    "check_received_weight",
    "check_smallest_left",
    "check_streaming_mask",
    "check_visible_pairs",
]

TOKENS, CHANGED, LEFT = 5, 2, 1
STREAM, WINDOW = 8, 2
LENGTH, LAYERS = 4096, 32
#: Weights that someone writes down are rounded to two decimals.
TWO_DECIMALS = 0.0051


def check_received_weight(attempt: Any) -> None:
    """Check what the first and the last of five tokens receive in all, where all scores are 0."""
    say(_received_weight, attempt)


def _received_weight(attempt: Any) -> str:
    first, last = numbers(attempt, 2, "give a pair (first, last) of numbers")
    right = sum(1 / i for i in range(1, TOKENS + 1)), 1 / TOKENS
    hints = {
        right[::-1]: "Those are the two, but which of them does everybody see?",
        (1.0, 1.0): "That is so without a mask: each row gives every token the same.",
        (float(TOKENS), 1.0): "So many rows see it. What does each of them give?",
        (
            1.0,
            right[1],
        ): "What the first row gives is counted. Which other rows see the first token?",
        (right[1], right[1]): "That is what the last row gives. Add up what all five rows give.",
    }
    for (one, other), said in hints.items():
        if abs(first - one) <= TWO_DECIMALS and abs(last - other) <= TWO_DECIMALS:
            raise Feedback(said)
    if not abs(last - right[1]) <= TWO_DECIMALS:
        raise Feedback("Not yet, for the last token: which rows see it, and how many see as many?")
    if not abs(first - right[0]) <= TWO_DECIMALS:
        raise Feedback("Not yet, for the first token: row i shares its weight among how many?")
    return "Right: the first token is everybody's past, and gets most where nobody prefers anyone."


def check_changed_rows(attempt: Any) -> None:
    """Check the set of output rows that change with *black* in a window of (1, 0)."""
    say(_changed_rows, attempt)


def _changed_rows(attempt: Any) -> str:
    named = rows(attempt, TOKENS, "give a set of row numbers from 1 to 5, such as {1, 5}")
    # Row i changes if it may see the changed row, which also is its own query when it is that row.
    right = {i for i in range(1, TOKENS + 1) if i - LEFT <= CHANGED <= i}
    if named == {row - 1 for row in right}:
        raise Feedback("Are your rows counted from one? Black stands in row 2.")
    if any(row < CHANGED for row in named):
        raise Feedback("You name a row that stands before black: it would have to see the future.")
    if named - right:
        raise Feedback("You name a row whose window does not reach back to black.")
    if right - named:
        raise Feedback("A row is missing whose window holds black. Whose keys does row i see?")
    return "Right: a row changes if and only if its window holds the changed token."


def check_streaming_mask(attempt: Any) -> None:
    """Check the mask (8, 8) of a causal window of two tokens back and a first token always seen."""
    say(_streaming_mask, attempt)


def _streaming_mask(attempt: Any) -> str:
    given = written_out(attempt, f"give a boolean array of shape ({STREAM}, {STREAM})")
    visible = array(given, (STREAM, STREAM), "a row for each query and a column for each key")
    if visible.dtype.kind != "b":
        raise Feedback(
            f"A mask that says True where a query may attend is boolean; got {visible.dtype}."
        )
    i, j = np.indices(visible.shape)
    window, first = (i - WINDOW <= j) & (j <= i), j == 0
    if np.any(visible & (j > i)):
        raise Feedback("Some query sees a later token: the answer leaks.")
    if np.any(window & ~visible):
        raise Feedback(f"Some query does not see itself and the {WINDOW} tokens before it.")
    if np.any(first & ~visible):
        raise Feedback("Some query has lost sight of the first token.")
    if np.any(visible & ~window & ~first):
        raise Feedback("Some query sees a token that is neither in its window nor the first.")
    return "Right: joined by |, what either mask shows is seen; by &, what both show."


def check_exposing_change(attempt: Any) -> None:
    """Check a key and value, changed in the last row, that expose masking after the softmax."""
    say(_exposing_change, attempt)


def _exposing_change(attempt: Any) -> str:
    what_to_do = "give a pair (changed_key, changed_value)"
    pair = entries(attempt, 2, what_to_do)
    example = running_example(np)
    made = project_qkv(example.x, example.w_q[0], example.w_k[0], example.w_v[0])
    query, *own = (to_numpy(rows) for rows in made)
    changed = []
    for name, given, unchanged in zip(("key", "value"), pair, own, strict=True):
        host = floats(written_out(given, what_to_do), unchanged.shape, f"that of {name}")
        if not (np.abs(host) <= LARGEST).all():
            raise Feedback(
                f"changed_{name} must be finite and of ordinary size: NaN gives every variant "
                "away, also the right."
            )
        if np.any(host[:-1] != unchanged[:-1].astype(host.dtype)):
            raise Feedback(
                f"Only the last row may change: changed_{name} differs from {name} before it."
            )
        changed.append(np.concatenate([unchanged[:-1], host[-1:]]))
    before = to_numpy(attention_masked_after_softmax(query, *own))
    after = to_numpy(attention_masked_after_softmax(query, *changed))
    if np.array_equal(before[:-1], after[:-1]):
        raise Feedback(
            "Earlier rows of the broken variant keep every bit: it is not exposed. Where does a "
            "future token still enter earlier rows: as key or as value?"
        )
    return "Right: earlier rows of the broken variant move, by way of the denominator."


def check_smallest_left(attempt: Any) -> None:
    """Check the smallest reach of 32 causal windows that let token 4096 depend on token 1."""
    say(_smallest_left, attempt)


def _smallest_left(attempt: Any) -> str:
    left = whole_number(attempt, "give the window's left bound, a whole number")
    reach = LAYERS * left
    if reach < LENGTH - 1:
        raise Feedback(
            f"Too small: {LAYERS} layers of it do not reach back from the last token to token 1."
        )
    if reach - LAYERS >= LENGTH - 1:
        raise Feedback("It reaches, but a smaller one does too.")
    return "Right: every layer reaches one window further back, so the reaches add up."


def check_visible_pairs(attempt: Any, left: int) -> None:
    """Check how many pairs a window of the smallest left bound shows among 4096 tokens."""
    say(_visible_pairs, attempt, left)


def _visible_pairs(attempt: Any, left: int) -> str:
    pairs = whole_number(attempt, "give the number of visible pairs, a whole number")
    left = whole_number(left, "give the window's left bound first, a whole number")
    try:
        _smallest_left(left)
    except Feedback:
        raise Feedback(
            f"First the window: {left:,} is not the left bound that is asked for."
        ) from None
    every = LENGTH * (LENGTH + 1) // 2
    # Row i of N sees min(i, left + 1) keys.
    right = sum(min(i, left + 1) for i in range(1, LENGTH + 1))
    if pairs > every:
        raise Feedback("That is more than a causal mask without a window shows.")
    if pairs == LENGTH * left:
        raise Feedback("Close: does the window's left bound count the token itself?")
    if pairs == LENGTH * (left + 1):
        raise Feedback("Close: the first rows have fewer tokens before them than the window holds.")
    if pairs != right:
        raise Feedback("Not yet. How many keys does row i see, for small i and for large i?")
    return f"Right: {right / every:.1%} of the pairs that a causal mask without a window shows."
