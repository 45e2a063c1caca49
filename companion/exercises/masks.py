"""Checkers for the exercises of the chapter on causal masks."""

import operator
from typing import Any

import array_api_compat

from companion.arrays import array_namespace
from companion.pitfalls import attention_masked_after_softmax
from companion.projections import project_qkv
from companion.running_example import running_example

__all__ = [
    "check_changed_rows",
    "check_exposing_change",
    "check_smallest_left",
    "check_streaming_mask",
    "check_visible_pairs",
]

TOKENS, CHANGED, LEFT = 5, 2, 1
STREAM, WINDOW = 8, 2
LENGTH, LAYERS = 4096, 32


def check_changed_rows(attempt: Any) -> None:
    """Say whether these are the output rows that change with *black* in a window of (1, 0)."""
    if attempt is None or attempt is ...:
        print("Not attempted yet: give a set of row numbers from 1 to 5, such as {1, 5}.")
        return
    if not isinstance(attempt, (set, frozenset, list, tuple)) or not all(
        isinstance(row, int) for row in attempt
    ):
        print(f"Give a set of whole numbers, the rows that change; got {attempt!r}.")
        return
    named = set(attempt)
    # Row i changes if it may see the changed row, which also is its own query when it is that row.
    right = {i for i in range(1, TOKENS + 1) if i - LEFT <= CHANGED <= i}
    if not named <= set(range(1, TOKENS + 1)):
        print(f"There are rows 1 to {TOKENS}, counted from one; got {sorted(named)}.")
    elif named - right and min(named - right) < CHANGED:
        print("You name a row that stands before black: it would have to see the future.")
    elif named - right:
        print("You name a row whose window does not reach back to black.")
    elif right - named:
        print("A row is missing whose window holds black. Whose keys are in row i's window?")
    else:
        print("Right: a row changes if and only if its window holds the changed token.")


def check_streaming_mask(attempt: Any) -> None:
    """Say whether this is a causal window of two tokens back beside an ever visible first token."""
    if attempt is None or attempt is ...:
        print(f"Not attempted yet: give a boolean array of shape ({STREAM}, {STREAM}).")
        return
    try:
        xp = array_namespace(attempt=attempt)
    except TypeError as error:
        print(f"{error}. Build it with xp, as the chapter does.")
        return
    if attempt.dtype != xp.bool:
        print(f"A mask that says True where a query may attend is boolean; got {attempt.dtype}.")
        return
    if attempt.shape != (STREAM, STREAM):
        print(
            f"Expected one row for each of {STREAM} queries and one column for each of {STREAM} "
            f"keys; got shape {attempt.shape}."
        )
        return
    visible = {(i, j) for i in range(STREAM) for j in range(STREAM) if bool(attempt[i, j])}
    window = {(i, j) for i in range(STREAM) for j in range(max(0, i - WINDOW), i + 1)}
    sink = {(i, 0) for i in range(STREAM)}
    if any(j > i for i, j in visible):
        print("Some query sees a later token: the answer leaks.")
    elif window - visible:
        print(f"Some query does not see itself and the {WINDOW} tokens before it.")
    elif sink - visible:
        print("Some query has lost sight of the first token.")
    elif visible - window - sink:
        print("Some query sees a token that is neither in its window nor the first.")
    else:
        print("Right: joined by |, what either mask shows is seen; by &, what both show.")


def check_exposing_change(attempt: Any) -> None:
    """Say whether a change of the last key and value row gives away masking after the softmax."""
    if attempt is None or attempt is ...:
        print("Not attempted yet: give a pair (changed_key, changed_value).")
        return
    if not isinstance(attempt, (tuple, list)) or len(attempt) != 2:
        print("Give a pair (changed_key, changed_value), two arrays.")
        return
    try:
        xp = array_namespace(changed_key=attempt[0], changed_value=attempt[1])
    except TypeError as error:
        print(f"{error}.")
        return
    device = array_api_compat.device(attempt[0])
    example = running_example(xp, dtype=attempt[0].dtype)
    arrays = (example.x, example.w_q[0, ...], example.w_k[0, ...], example.w_v[0, ...])
    query, key, value = project_qkv(*(array_api_compat.to_device(a, device) for a in arrays))
    for name, given, own in (("key", attempt[0], key), ("value", attempt[1], value)):
        if given.shape != own.shape or given.dtype != own.dtype:
            print(
                f"changed_{name} must have the shape of {name}, {own.shape}, and its dtype; "
                f"got {given.shape}, {given.dtype}."
            )
            return
        if not bool(xp.all(xp.isfinite(given))):
            print(f"changed_{name} must be finite: NaN gives every variant away, also the right.")
            return
        if bool(xp.any(given[:-1, :] != own[:-1, :])):
            print(f"Only the last row may change: changed_{name} differs from {name} before it.")
            return

    before = attention_masked_after_softmax(query, key, value)
    after = attention_masked_after_softmax(query, *attempt)
    if bool(xp.any(before[:-1, :] != after[:-1, :])):
        print("Right: earlier rows of the broken variant move, by way of the denominator.")
    else:
        print("Earlier rows of the broken variant keep every bit: it is not exposed.")
        print("Where does a future token still enter earlier rows: as key or as value?")


def check_smallest_left(attempt: Any) -> None:
    """Say whether 32 causal windows of this reach let token 4096 depend on token 1, and no less."""
    left = _whole_number(attempt, "the window's left bound")
    if left is None:
        return
    reach = LAYERS * left
    if reach < LENGTH - 1:
        print(f"Too small: {LAYERS} layers of it do not reach back from the last token to token 1.")
    elif reach - LAYERS >= LENGTH - 1:
        print("It reaches, but a smaller one does too.")
    else:
        print("Right: every layer reaches one window further back, so the reaches add up.")


def check_visible_pairs(attempt: Any, left: int) -> None:
    """Say whether this is how many pairs a causal window shows among 4096 tokens."""
    pairs = _whole_number(attempt, "the number of visible pairs")
    if pairs is None:
        return
    # Row i of N sees min(i, left + 1) keys.
    right = sum(min(i, left + 1) for i in range(1, LENGTH + 1))
    if pairs > LENGTH * (LENGTH + 1) // 2:
        print("That is more than a causal mask without a window shows.")
    elif pairs == LENGTH * left:
        print("Close: does the window's left bound count the token itself?")
    elif pairs == LENGTH * (left + 1):
        print("Close: the first rows have fewer tokens before them than the window holds.")
    elif pairs != right:
        print("Not yet. How many keys does row i see, for small i and for large i?")
    else:
        share = right / (LENGTH * (LENGTH + 1) // 2)
        print(f"Right: {share:.1%} of the pairs that a causal mask without a window shows.")


def _whole_number(attempt: Any, meaning: str) -> int | None:
    """Return the attempt as an int, or say what is expected and return None."""
    if attempt is None or attempt is ...:
        print(f"Not attempted yet: give {meaning}, a whole number.")
        return None
    try:
        return operator.index(attempt)
    except TypeError:
        print(f"Give {meaning} as a whole number; got {attempt!r}.")
        return None
