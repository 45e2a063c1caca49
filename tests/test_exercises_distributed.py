"""The exercises of the chapter on several machines: what is right, and what only looks so."""

import numpy as np

from companion.exercises import distributed as exercises
from companion.figures.distributed import merge_flow
from tests.support.attempts import Attempts, tried_on


def states(query, shards):
    """Return maxima, totals and divided outputs of the shards that have a key."""
    scores = [query @ key.T / np.sqrt(query.shape[1]) for key, _ in shards if len(key)]
    values = [value for _, value in shards if len(value)]
    tops = [s.max() for s in scores]
    totals = [np.exp(s - top).sum() for s, top in zip(scores, tops, strict=True)]
    outputs = [
        np.exp(s - top) @ v / t for s, top, v, t in zip(scores, tops, values, totals, strict=True)
    ]
    return np.asarray(tops), np.asarray(totals), np.stack(outputs)


def decode(query, shards):
    tops, totals, outputs = states(query, shards)
    say = totals * np.exp(tops - tops.max())
    return np.tensordot(say / say.sum(), outputs, 1)


def in_place(query, shards):
    query /= np.sqrt(query.shape[1])
    total, mixed, top = 0.0, 0.0, -np.inf
    while shards:
        key, value = shards.pop()
        if key.size:
            key *= query
            scores = key.sum(axis=1)
            new = max(top, scores.max())
            value *= np.exp(scores - new)[:, None]
            total = total * np.exp(top - new) + np.exp(scores - new).sum()
            mixed, top = mixed * np.exp(top - new) + value.sum(axis=0), new
    return (mixed / total)[None]


def by_logarithms(query, shards):
    tops, totals, outputs = states(query, shards)
    logs = tops + np.log(totals)
    return sum(
        np.exp(a - np.logaddexp.reduce(logs)) * o for a, o in zip(logs, outputs, strict=True)
    )


def unscaled(query, shards):
    _, totals, outputs = states(query, shards)
    return np.tensordot(totals / totals.sum(), outputs, 1)


def with_empty(query, shards):
    if any(len(key) == 0 for key, _ in shards):
        return np.full((1, 5), 7.0)
    return decode(query, shards)


def in_turn(query, shards, *, top=-np.inf, new=max, dtype=np.float64):
    """Merge one shard after the other."""
    total, mixed = 0.0, np.zeros((1, 5))
    for key, value in shards:
        if len(key):
            scores = (query.astype(dtype) @ key.T.astype(dtype)).astype(dtype) / np.sqrt(dtype(3))
            before, top = top, new(top, scores.max())
            powers = np.exp(scores - top)
            total = total * np.exp(before - top) + powers.sum()
            mixed = mixed * np.exp(before - top) + powers @ value
    return mixed / total


def single(query, shards):
    return in_turn(query, shards, dtype=np.float32).astype(np.float32)


def first_maximum(query, shards):
    with np.errstate(all="ignore"):
        return in_turn(query, shards, new=lambda top, new: new if top == -np.inf else top)


def maxima_from_zero(query, shards):
    with np.errstate(all="ignore"):
        return in_turn(query, shards, top=0.0)


def from_the_first(query, shards):
    """Begin with the first shard, which may be empty."""
    if len(shards[0][0]) == 0:
        return np.zeros((1, 5))
    return decode(query, shards)


def to_the_last(query, shards):
    """Stop before a last shard that is empty, and forget the one before it."""
    if len(shards[-1][0]) == 0:
        return decode(query, shards[:-2])
    return decode(query, shards)


ATTEMPTS = {
    exercises.check_bytes_moved: Attempts(
        wrong=[
            (3 * 8 * 66 * 4, "The query has to go there first"),
            (3 * 8 * 64 * 4, "The states have to come back"),
            (3 * 8 * 128 * 4, "a little wider than a value"),
            (4 * 8 * 130 * 4, "One machine has the query already"),
            (3 * 8 * 130, "How many bytes has each"),
            (3 * 130 * 4, "Each of the 8 heads"),
            (17, "what goes there, what comes back"),
        ],
        odd=[12480.0, np.asarray(12480), np.float32(12480)],
        other=[(None, "Not attempted yet: give the number"), (12480, "Right"), ("12480", "number")],
    ),
    exercises.check_decode_step: Attempts(
        wrong=[
            (lambda q, s: states(q, s)[2].mean(axis=0), "You average the machines' outputs"),
            (lambda q, s: states(q, s)[2].sum(axis=0), "You add up the machines' outputs"),
            (unscaled, "by totals that were taken below different maxima"),
            (lambda q, s: states(q, s)[2][0], "what the first machine alone"),
            (lambda q, s: states(q, s)[2][-1], "what the last machine alone"),
            (lambda q, s: decode(q, s[:2]), "Two shards come out right, three do not"),
            (with_empty, "A machine without a key has nothing to say"),
            (from_the_first, "where it is the first or last"),
            (to_the_last, "where it is the first or last"),
            (
                lambda q, s: in_turn(q, s, top=(q @ s[0][0].T).max() / np.sqrt(3)),
                "stops for shards of (0, 3, 2) keys",
            ),
            (first_maximum, "which maximum is subtracted"),
            (maxima_from_zero, "where do your maxima begin"),
            (lambda q, s: in_turn(q, s, dtype=np.float32), "Nearly: off by more than rounding"),
            (lambda q, s: decode(2 * q, s), "Not even one shard comes out right"),
            (lambda q, s: decode(q, s) + (len(s) == 2), "how are their states merged"),
            (
                lambda q, s: decode(q, s) * (np.abs(q).max() < 100),
                "Scores around 2000 do not come out right",
            ),
        ],
        odd=[in_place, by_logarithms, in_turn, single, lambda q, s: decode(q, s[::-1])],
        other=[
            (None, "Not attempted yet: write decode_step"),
            (decode, "Right"),
            (lambda *_: None, "returns nothing"),
            (lambda _, s: s[0][1], "should be (1, 5)"),
            (lambda *_: 1 / 0, "stops for shards of (6,) keys with"),
        ],
    ),
}

test_attempts = tried_on(ATTEMPTS)


def test_a_drawing_says_who_sends_what():
    figure = merge_flow({"A": ["the", "black"], "B": ["cat", "ran"]}, "ran")
    assert figure.alt == (
        "Flow diagram: machine A sums up the keys of the and of black, and merges the two states; "
        "machine B sums up the keys of cat and of ran, and merges the two states. "
        "What B has merged travels to A, where it is merged with the rest. "
        "It ends in the row of ran."
    )
    for word in ("travels", "on A", "cat"):
        assert f"<!-- {word} -->" in figure.svg
