"""Checkers for the exercises of the chapter on several machines."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from companion.attention import scaled_dot_product_attention
from companion.exercises import mistakes
from companion.exercises.feedback import (
    Feedback,
    agrees,
    floats,
    function,
    own,
    result,
    say,
    whole_number,
)

__all__ = ["check_bytes_moved", "check_decode_step"]


def check_bytes_moved(attempt: Any) -> None:
    """Check the bytes that travel for 8 heads, 1 query, d_k = d_v = 64, on four machines."""
    say(_bytes_moved, attempt)


def _bytes_moved(attempt: Any) -> str:
    found = whole_number(attempt, "give the number of bytes")
    there, back = 3 * 8 * 64 * 4, 3 * 8 * 66 * 4
    if found == there + back:
        return "Right: and a million keys more would not move a byte more."
    said = {
        back: "That is what comes back. The query has to go there first.",
        there: "That is what goes there. The states have to come back.",
        3 * 8 * 64 * 4 * 2: "A state is a little wider than a value: what does it hold beside it?",
        4 * 8 * 64 * 4 + 4 * 8 * 66 * 4: "One machine has the query already, and keeps its state.",
        (there + back) // 4: "Those are numbers. How many bytes has each of them?",
        (there + back) // 8: "Each of the 8 heads has a query and a state of its own.",
    }
    raise Feedback(said.get(found, "Not yet: what goes there, what comes back, and how often?"))


Shards = list[tuple[np.ndarray, np.ndarray]]


def check_decode_step(attempt: Any) -> None:
    """Check a function (query, shards) → output, for one query and keys on several machines."""
    say(_decode_step, attempt)


def _decode_step(attempt: Any) -> str:
    decode = function(attempt, "write decode_step(query, shards)")
    rng = np.random.default_rng(31)
    for lengths, spread, said in (
        ((6,), 1.0, "Not even one shard comes out right: that is plain attention."),
        ((3, 4), 1.0, ""),
        ((2, 5, 1), 1.0, "Two shards come out right, three do not."),
        ((3, 4), 2000.0, "Scores around 2000 do not come out right: which maximum is subtracted?"),
        ((3, 4), -2000.0, "Scores below −2000 do not come out right: where do your maxima begin?"),
        ((3, 0, 2), 1.0, "A machine without a key has nothing to say, and must not disturb."),
        ((0, 3, 2), 1.0, "A machine without a key must not disturb where it is the first or last."),
    ):
        query, shards = _drawn(rng, lengths, spread)
        for held in (shards, shards[::-1]):
            _check_step(decode, query, held, said)
    return "Right: two numbers and a row say all that a machine knows, wherever its keys lie."


def _check_step(decode: Callable[..., Any], query: np.ndarray, shards: Shards, said: str) -> None:
    """Try one query, and say what is wrong: `said`, or what two shards tell of the mistake."""
    lengths = tuple(len(key) for key, _ in shards)
    held = [(own(key), own(value)) for key, value in shards]
    case = f" for shards of {lengths} keys"
    found = floats(result(decode, query, held, case=case), (1, 5), "the one query's output")
    key, value = (np.concatenate(parts) for parts in zip(*shards, strict=True))
    right = scaled_dot_product_attention(query, key, value)
    if agrees(found, right):
        return
    mistakes.check_nearly(found, np.asarray(right))
    raise Feedback(said or _what_is_wrong(found, query, shards))


def _drawn(
    rng: np.random.Generator, lengths: tuple[int, ...], spread: float
) -> tuple[np.ndarray, Shards]:
    """Draw a query and shards; with a negative spread all scores are negative, and far from 0."""
    query = spread * rng.standard_normal((1, 3))
    drawn = [(rng.standard_normal((n, 3)), rng.standard_normal((n, 5))) for n in lengths]
    if spread < 0:
        return -abs(query) + spread, [(1 + abs(key), value) for key, value in drawn]
    return query, drawn


def _what_is_wrong(found: np.ndarray, query: np.ndarray, shards: Shards) -> str:
    """Name the mistake that gives what was found for two shards."""
    scores = [query @ key.mT / math.sqrt(3) for key, _ in shards]
    alone = [scaled_dot_product_attention(query, *shard) for shard in shards]
    tops = [np.max(each) for each in scores]
    totals = [np.sum(np.exp(each - top)) for each, top in zip(scores, tops, strict=True)]
    unscaled = sum(t * o for t, o in zip(totals, alone, strict=True)) / sum(totals)
    for mistake, said in (
        (sum(alone) / 2, "You average the machines' outputs: how well do their keys fit?"),
        (sum(alone), "You add up the machines' outputs, each of which is divided already."),
        (unscaled, "You mix the outputs by totals that were taken below different maxima."),
        (alone[0], "That is what the first machine alone would say."),
        (alone[1], "That is what the last machine alone would say."),
    ):
        if agrees(found, mistake):
            return said
    return "One shard comes out right, two do not: how are their states merged?"
