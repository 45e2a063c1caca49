"""A checker for the cached step that the reader writes: it knows what people get wrong in it.

Each mistake is a step of its own here. A reader's is run on the same rows, and the mistake that
gives what it gives is named.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from companion.arrays import array_module, to_numpy
from companion.exercises.feedback import (
    Feedback,
    agrees,
    entries,
    floats,
    function,
    reads_attempts,
    result,
    say,
    written_out,
)
from companion.exercises.mistakes import check_named
from companion.positions import rotate
from companion.softmax import softmax

__all__ = ["check_cached_step"]


class Step(NamedTuple):
    """What a reader's function is handed: one new token's rows, and what was kept."""

    query: np.ndarray  # (H, 1, d_k)
    key: np.ndarray  # (H_kv, 1, d_k)
    value: np.ndarray  # (H_kv, 1, d_v)
    past_key: np.ndarray  # (H_kv, P, d_k), turned
    past_value: np.ndarray  # (H_kv, P, d_v)


def check_cached_step(attempt: Any) -> None:
    """Check a function (query, key, value, past_key, past_value) → (output, keys, values)."""
    say(_cached_step, attempt)


def _cached_step(attempt: Any) -> str:
    step = function(attempt, "write cached_step(query, key, value, past_key, past_value)")
    rng = np.random.default_rng(37)
    draws = [
        _drawn(rng, sizes, past)
        for sizes, past in (
            ((4, 2, 6, 5), 7),
            ((6, 2, 4, 3), 12),
            ((3, 3, 8, 2), 2),
            ((4, 1, 6, 5), 3),
        )
    ]
    for given in draws:
        found = _run(step, given)
        if not _same(found, _stepped(given)):
            check_named(given, draws, lambda one: _row(_run(step, one)), _mistakes)
            raise Feedback(_what_is_wrong(found, given))
    first = _drawn(rng, (4, 2, 6, 5), 0)
    if not _same(_run(step, first), _stepped(first)):
        raise Feedback("With nothing in the cache it goes wrong: the first token sees itself.")
    return "Right: one new query meets all keys, and only one key was turned for it."


def _drawn(rng: np.random.Generator, sizes: tuple[int, int, int, int], past: int) -> Step:
    heads, shared, d_k, d_v = sizes
    query = rng.standard_normal((heads, 1, d_k))
    keys = rng.standard_normal((shared, past + 1, d_k))
    value = 1 + rng.standard_normal((shared, past + 1, d_v))
    return Step(query, keys[:, past:], value[:, past:], _turn(keys[:, :past], 0), value[:, :past])


Kept = tuple[np.ndarray, np.ndarray, np.ndarray]


def _turn(x: np.ndarray, place: int) -> np.ndarray:
    return to_numpy(rotate(x, place + np.arange(x.shape[1])))


def _stepped(given: Step, *, at: int | None = None) -> Kept:
    """Return output, keys and values, right unless the new token is put elsewhere."""
    place = given.past_key.shape[1] if at is None else at
    keys = np.concatenate([given.past_key, _turn(given.key, place)], axis=1)
    values = np.concatenate([given.past_value, given.value], axis=1)
    return _mixed(_turn(given.query, place), keys, values), keys, values


def _mixed(
    query: np.ndarray, keys: np.ndarray, values: np.ndarray, *, scale: float | None = None
) -> np.ndarray:
    group = query.shape[0] // keys.shape[0]
    keys, values = (np.repeat(kept, group, axis=0) for kept in (keys, values))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    mixed: np.ndarray = to_numpy(softmax(scale * (query @ keys.mT))) @ values
    return mixed


def _run(step: Callable[..., Any], given: Step) -> Kept:
    xp = array_module()
    case = f" for a cache of {given.past_key.shape[1]} tokens"
    arrays = (xp.asarray(array, copy=True) for array in given)
    return _read(result(step, *arrays, case=case), given)


@reads_attempts
def _read(returned: Any, given: Step) -> Kept:
    what = "return the output, the keys and the values"
    output, keys, values = (written_out(part, what) for part in entries(returned, 3, what))
    heads, shared = given.query.shape[0], given.key.shape[0]
    length, d_k, d_v = given.past_key.shape[1] + 1, given.key.shape[-1], given.value.shape[-1]
    return (
        floats(output, (heads, 1, d_v), "a row of each query head"),
        floats(keys, (shared, length, d_k), "the keys of all tokens in each key head"),
        floats(values, (shared, length, d_v), "the values of all tokens in each key head"),
    )


def _same(found: Kept, right: Kept) -> bool:
    return all(map(agrees, found, right))


def _row(kept: Kept) -> np.ndarray:
    """Lay the three arrays out in one row, so that a mistake is a row too."""
    return np.concatenate([part.ravel() for part in kept])


def _what_is_wrong(found: Kept, given: Step) -> str:
    right = _stepped(given)
    if not agrees(found[2], right[2]):
        return "The values that you keep are not the past ones with the new one behind them."
    if not agrees(found[1], right[1]):
        return "The keys that you keep are not the past ones with the new one, turned, behind them."
    return "What you keep is right, the output is not. Which query meets which keys?"


def _mistakes(given: Step) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what to say of each mistake, and what it returns, in one row."""
    yield from ((said, _row(kept)) for said, kept in _wrong_steps(given))


def _wrong_steps(given: Step) -> Iterator[tuple[str, Kept]]:
    """Yield what to say of each mistake, and what it returns."""
    past = given.past_key.shape[1]
    output, keys, values = _stepped(given)
    query = _turn(given.query, past)
    yield (
        "The new token stands at 0, or is not turned at all. How many tokens stand before it?",
        _stepped(given, at=0),
    )
    yield (
        "The new token stands one place too far back: behind P tokens, counted from 0, comes P.",
        _stepped(given, at=past + 1),
    )
    yield (
        "The new token stands where the last one does: behind P tokens, counted from 0, comes P.",
        _stepped(given, at=max(past - 1, 0)),
    )
    yield "The query is not turned.", (_mixed(given.query, keys, values), keys, values)
    bare = np.concatenate([given.past_key, given.key], axis=1)
    yield "The new key is not turned.", (_mixed(query, bare, values), bare, values)
    yield (
        "The output is right, but you keep the new key as it was before it was turned.",
        (output, bare, values),
    )
    again = _turn(bare, 0)
    yield (
        "The past keys are turned already, and you turn them once more.",
        (_mixed(query, again, values), again, values),
    )
    yield from _wrong_mixtures(given, query, keys, values)


def _wrong_mixtures(
    given: Step, query: np.ndarray, keys: np.ndarray, values: np.ndarray
) -> Iterator[tuple[str, Kept]]:
    """Yield mistakes that keep what is right, and mix it wrongly."""
    group = query.shape[0] // keys.shape[0]
    tiled = (np.tile(kept, (group, 1, 1)) for kept in (keys, values))
    yield (
        "Key head j serves the query heads j·g … (j + 1)·g − 1: repeat each, do not tile them all.",
        (_mixed(query, *tiled), keys, values),
    )
    yield (
        "The new query sees the first key alone: a causal mask of one row needs the offset.",
        (_mixed(query, keys[:, :1], values[:, :1]), keys, values),
    )
    yield (
        "The new token does not see itself.",
        (_mixed(query, given.past_key, given.past_value), keys, values),
    )
    yield "The scale 1/√d_k is missing.", (_mixed(query, keys, values, scale=1), keys, values)
    width = given.value.shape[-1]
    yield (
        "You scale by the width of the values: a score is as wide as a key.",
        (_mixed(query, keys, values, scale=1 / math.sqrt(width)), keys, values),
    )
