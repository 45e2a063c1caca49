"""A checker for the rotation that the reader writes: it knows what people get wrong in it.

Each mistake is a rotation of its own here. A reader's is run on the same rows, and the mistake that
gives what it gives is named.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from companion.arrays import array_module
from companion.exercises.feedback import (
    Feedback,
    agrees,
    floats,
    function,
    result,
    say,
    written_out,
)
from companion.exercises.mistakes import check_named, check_nearly

__all__ = ["check_rotation"]


class Rows(NamedTuple):
    """What a reader's function is handed."""

    x: np.ndarray  # (H, N, d_k)
    positions: np.ndarray  # (N,)
    base: float


def check_rotation(attempt: Any) -> None:
    """Check a function (x, positions, base) → turned rows: (H, N, d_k), (N,) → (H, N, d_k)."""
    say(_rotation, attempt)


def _rotation(attempt: Any) -> str:
    turn = function(attempt, "write turn_rows(x, positions, base)")
    rng = np.random.default_rng(31)
    draws = [
        Rows(0.5 + rng.standard_normal(shape), start + np.arange(shape[1]), base)
        for shape, start, base in (
            ((2, 4, 6), 0, 100.0),
            ((3, 2, 8), 11, 10_000.0),
            ((1, 5, 10), 3, 50.0),
        )
    ]
    for rows in draws:
        found, right = _run(turn, rows), _turned(rows)
        if not agrees(found, right):
            check_nearly(found, right)
            check_named(rows, draws, lambda given: _run(turn, given), _mistakes)
            raise Feedback(_what_is_seen(found, rows))
    _check_edges(turn, rng)
    return "Right: every pair at its own speed, and no length changes."


def _check_edges(turn: Callable[..., Any], rng: np.random.Generator) -> None:
    """Try positions that are no run of numbers, and one token far away."""
    for places, said in (
        (np.asarray([7, 0, 3]), "Where positions do not rise by one it goes wrong: read them all."),
        (np.asarray([5000]), "One token far away goes wrong."),
        (np.asarray([0.25, 1.5]), "Positions between whole numbers go wrong."),
        (np.asarray([-2, -1]), "Positions below 0 go wrong."),
    ):
        rows = Rows(rng.standard_normal((2, len(places), 4)), places, 1000.0)
        # An angle is as exact as it is large.
        if not agrees(_run(turn, rows), _turned(rows), roundings=64 * (1 + abs(places).max())):
            raise Feedback(said)
    rows = Rows(rng.standard_normal((2, 3, 2)), np.arange(3), 1000.0)
    if not agrees(_run(turn, rows), _turned(rows)):
        raise Feedback("With d_k = 2, a single pair, it goes wrong.")


def _run(turn: Callable[..., Any], rows: Rows) -> np.ndarray:
    xp = array_module()
    case = f" for x of shape {rows.x.shape}"
    given = xp.asarray(rows.x, copy=True), xp.asarray(rows.positions, copy=True), rows.base
    returned = written_out(result(turn, *given, case=case), "return an array")
    return floats(returned, rows.x.shape, "that of x")


def _halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half:]


def _angles(rows: Rows, power: float = 2.0) -> np.ndarray:
    """Return how far each pair of each row turns: (N, d_k/2)."""
    width = rows.x.shape[-1]
    rates = rows.base ** (-power * np.arange(width // 2) / width)
    angles: np.ndarray = rows.positions[:, None] * rates
    return angles


def _turned(rows: Rows, angles: np.ndarray | None = None) -> np.ndarray:
    angles = _angles(rows) if angles is None else angles
    first, second = _halves(rows.x)
    cosine, sine = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], -1)


def _mistakes(rows: Rows) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what to say of each mistake, and the rows that it makes."""
    x, angles = rows.x, _angles(rows)
    cosine, sine = np.cos(angles), np.sin(angles)
    first, second = _halves(x)
    one, two = x[..., 0::2], x[..., 1::2]

    def woven(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.stack([a, b], axis=-1).reshape(x.shape)

    yield (
        "You pair neighbours, 2m and 2m + 1. Here number m is paired with number m + d_k/2.",
        woven(one * cosine - two * sine, two * cosine + one * sine),
    )
    yield (
        "You take pairs of neighbours and lay the results out in halves.",
        np.concatenate([one * cosine - two * sine, two * cosine + one * sine], -1),
    )
    yield (
        "You take pairs from the two halves and lay the results out as neighbours.",
        woven(first * cosine - second * sine, second * cosine + first * sine),
    )
    yield "All pairs turn the other way round: look at the signs.", _turned(rows, -angles)
    yield (
        "That is no rotation, both signs are alike: lengths change.",
        np.concatenate([first * cosine - second * sine, second * cosine - first * sine], -1),
    )
    yield (
        "That is no rotation, both signs are alike: lengths change.",
        np.concatenate([first * cosine + second * sine, second * cosine + first * sine], -1),
    )
    yield (
        "The exponent is too small by a factor of 2: pair m turns by base^(−2m / d_k) a position.",
        _turned(rows, _angles(rows, 1.0)),
    )
    yield (
        "The exponent is too large by a factor of 2: there are d_k/2 pairs.",
        _turned(rows, _angles(rows, 4.0)),
    )
    yield (
        "The angles grow with m where they should shrink: pair 0 is the fastest.",
        _turned(rows, _angles(rows, -2.0)),
    )
    yield (
        "Your positions begin at 1: the rows turn by one position too many.",
        _turned(rows, _angles(rows._replace(positions=rows.positions + 1))),
    )
    yield (
        "The first row is turned as if it stood at 0. `positions` says where they stand.",
        _turned(rows, _angles(rows._replace(positions=np.arange(len(rows.positions))))),
    )
    yield (
        "All pairs turn alike. Pair m has a rate of its own.",
        _turned(rows, _angles(rows, 0.0)),
    )
    yield "Nothing has turned.", x
    yield (
        "The first half is overwritten before the second is made of it: keep a copy.",
        np.concatenate(
            [
                first * cosine - second * sine,
                second * cosine + (first * cosine - second * sine) * sine,
            ],
            -1,
        ),
    )


def _what_is_seen(found: np.ndarray, rows: Rows) -> str:
    """Say what tells the reader where to look: lengths, or the first position."""
    lengths = np.linalg.norm(found, axis=-1), np.linalg.norm(rows.x, axis=-1)
    if not agrees(lengths[0], lengths[1]):
        return "Not yet: the lengths of the rows change, and no rotation does that."
    still = rows.positions == 0
    if still.any() and not agrees(found[:, still], rows.x[:, still]):
        return "Not yet: the row at position 0 should stay as it is."
    return "Not yet: lengths are kept, but the pairs turn by other angles."
