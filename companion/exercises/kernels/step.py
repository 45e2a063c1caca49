"""A checker for the online softmax's step that the reader writes: it knows how it goes wrong.

Each mistake is a step of its own here. A reader's step is run from the same states, and the mistake
that gives what it gives is named.
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
    is_array,
    reads_attempts,
    result,
    say,
)

__all__ = ["check_online_step"]


class Meeting(NamedTuple):
    """What a query remembers, and the key that it meets."""

    m: float
    t: float
    u: np.ndarray  # (d_v,)
    score: float
    value: np.ndarray  # (d_v,)


def check_online_step(attempt: Any) -> None:
    """Check a function (m, t, u, score, value) → (m, t, u) after one more key."""
    say(_online_step, attempt)


def _online_step(attempt: Any) -> str:
    step = function(attempt, "write online_step(m, t, u, score, value)")
    rng = np.random.default_rng(23)
    known = [_after(rng, scores, later) for scores, later in (((0.3, 1.2), 2.5), ((2.0, 0.4), 0.9))]
    known += [_after(rng, (-1.5, 0.2, -0.7), 1.1)]
    found = [_run(step, meeting) for meeting in known]
    if not all(_is_right(state, meeting) for state, meeting in zip(found, known, strict=True)):
        raise Feedback(_what_is_wrong(found, known))
    _check_edges(step, rng)
    return "Right: two numbers and a row are all that a query has to remember."


def _check_edges(step: Callable[..., Any], rng: np.random.Generator) -> None:
    """Try what ordinary keys do not show, and last a hidden key before all others."""
    for said, meeting in _edges(rng):
        if not _is_right(_run(step, meeting), meeting):
            raise Feedback(said)
    nothing = _after(rng, (), -math.inf)
    state = _run(step, nothing)
    if not _is_right(state, nothing):
        why = "−∞ − (−∞) is NaN" if np.isnan(state).any() else "m = −∞, t = 0 and u = 0"
        raise Feedback(f"Where the first key is hidden you do not go on with nothing: {why}.")


def _edges(rng: np.random.Generator) -> Iterator[tuple[str, Meeting]]:
    """Yield the first key, a tie, a key that counts little, large scores and a hidden key."""
    for meeting, said in (
        (
            _after(rng, (1.2,), 1.2),
            "Where a score equals the largest so far it is not right: such a key counts, too, and "
            "nothing shrinks.",
        ),
        (
            _after(rng, (0.5, 0.2), -4.0),
            "A score far below the largest so far does not come out right: its key counts little, "
            "and not nothing.",
        ),
        (
            _after(rng, (0.5,), 0.0),
            "A score of 0 does not come out right: it is a score like any other.",
        ),
        (
            _after(rng, (), 0.7),
            "Later keys come out right, the first one does not: m is −∞ then. What are e^(−∞) and "
            "0 · ∞?",
        ),
        (
            _after(rng, (2000.0, 1998.5), 2001.0),
            "Ordinary scores come out right, scores around 2000 do not: no exponential need be "
            "larger than e⁰.",
        ),
        (
            _after(rng, (-2000.0, -2001.0), -1999.5),
            "Ordinary scores come out right, scores around −2000 do not: what is taken from them?",
        ),
        (
            _after(rng, (0.5, 1.0), -math.inf),
            "A hidden key, with the score −∞, changes what you remember of the others.",
        ),
    ):
        yield said, meeting


def _after(rng: np.random.Generator, scores: tuple[float, ...], score: float) -> Meeting:
    """Draw values for some keys, and let a query that has seen them meet one more."""
    value = 1 + rng.standard_normal((len(scores) + 1, 3))
    m = max(scores, default=-math.inf)
    powers = np.exp(np.asarray(scores) - m)
    return Meeting(m, float(powers.sum()), powers @ value[:-1], score, value[-1])


def _step(meeting: Meeting) -> np.ndarray:
    """Return m, t and u after the key, in one row."""
    m, t, u, score, value = meeting
    if score == -math.inf:
        return np.asarray([m, t, *u])
    top = max(m, score)
    shrink, power = math.exp(m - top), math.exp(score - top)
    return np.asarray([top, shrink * t + power, *(shrink * u + power * value)])


def _run(step: Callable[..., Any], meeting: Meeting) -> np.ndarray:
    xp = array_module()
    m, t, u, score, value = meeting
    case = f" for m = {m:g} and score = {score:g}"
    given = m, t, xp.asarray(u, copy=True), score, xp.asarray(value, copy=True)
    return _read(result(step, *given, case=case), u.shape)


@reads_attempts
def _read(returned: Any, shape: tuple[int, ...]) -> np.ndarray:
    m, t, u = entries(returned, 3, "return m, t and u")
    largest, total = (_number(name, x) for name, x in (("m", m), ("t", t)))
    weighted = floats(u, shape, "u, as wide as a value")
    return np.asarray([largest, total, *weighted])


def _number(name: str, x: Any) -> float:
    host = floats(np.asarray(to_numpy(x) if is_array(x) else x))
    if host.size != 1:
        raise Feedback(f"{name} should be one number, and yours has the shape {host.shape}.")
    return float(host.reshape(()))


def _is_right(state: np.ndarray, meeting: Meeting) -> bool:
    return _same(state, _step(meeting))


def _same(state: np.ndarray, other: np.ndarray) -> bool:
    """Compare two states as rows, infinite entries exactly."""
    finite = np.isfinite(other)
    if not np.array_equal(state[~finite], other[~finite], equal_nan=True):
        return False
    # A reader may compute in float32, and the score of a key is as exact as it is large.
    size = np.maximum(1.0, np.abs(other[finite]))
    return agrees(state[finite].astype(np.float32), other[finite], size=size)


def _what_is_wrong(found: list[np.ndarray], known: list[Meeting]) -> str:
    """Name the mistake that gives all that was found, or else the part that is not right."""
    for mistakes in zip(*map(_mistakes, known), strict=True):
        if all(_same(state, wrong) for state, (_, wrong) in zip(found, mistakes, strict=True)):
            said: str = mistakes[0][0]
            return said
    for state, met in zip(found, known, strict=True):
        right = _step(met)
        larger = "larger" if met.score > met.m else "smaller"
        for name, part in (("m", slice(0, 1)), ("t", slice(1, 2)), ("u", slice(2, None))):
            if not _same(state[part], right[part]):
                return f"Where a {larger} score comes than all before, your {name} is not right."
    raise AssertionError("a state is wrong, and no part of it")


def _mistakes(meeting: Meeting) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what to say of each mistake, and the state that it makes."""
    m, t, u, score, value = meeting
    top = max(m, score)
    shrink, power = math.exp(m - top), math.exp(score - top)

    def state(m: float, t: float, u: np.ndarray) -> np.ndarray:
        return np.asarray([m, t, *u])

    yield (
        "Your sums are not shrunk when a larger score comes: they were taken below the old "
        "maximum. Or is m the new one already where you compute the factor?",
        state(top, t + power, u + power * value),
    )
    yield (
        "Your t shrinks and your u does not: both were taken below the old maximum.",
        state(top, shrink * t + power, u + power * value),
    )
    yield (
        "Your u shrinks and your t does not: both were taken below the old maximum.",
        state(top, t + power, shrink * u + power * value),
    )
    yield (
        "Your sums grow where they should shrink: which maximum is taken from which?",
        state(top, t / shrink + power, u / shrink + power * value),
    )
    old = math.exp(score - m)
    yield (
        "The new key's power is taken below the old maximum, the sums below the new one.",
        state(top, shrink * t + old, shrink * u + old * value),
    )
    bare = math.exp(score)
    yield (
        "Nothing is taken away from the new score before exp.",
        state(top, shrink * t + bare, shrink * u + bare * value),
    )
    yield (
        "Your m stays what it was, and the exponentials grow without bound where scores rise.",
        state(m, t + old, u + old * value),
    )
    yield (
        "Your m is the latest score, and not the largest.",
        state(score, t / old + 1, u / old + value),
    )
    yield "The new key is missing in your sums.", state(top, shrink * t, shrink * u)
    yield (
        "The new value enters u without its weight.",
        state(top, shrink * t + power, shrink * u + value),
    )
    yield (
        "Your t counts the new key as 1, whatever its score.",
        state(top, shrink * t + 1, shrink * u + power * value),
    )
    total = shrink * t + power
    yield (
        "You divide u by t already. Then it is no sum, and the next step cannot add to it.",
        state(top, total, (shrink * u + power * value) / total),
    )
