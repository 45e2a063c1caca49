"""A checker for attention in tiles that the reader writes: it knows how blocks are joined wrong.

Each mistake is a function of its own here. A reader's function is run on the same numbers, and the
mistake that gives what it gives is named.
"""

import functools
import math
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from companion.arrays import array_module, to_numpy
from companion.exercises.feedback import (
    Feedback,
    agrees,
    floats,
    function,
    result,
    say,
)
from companion.exercises.kernels.watched import most_at_once
from companion.exercises.mistakes import check_named, check_nearly, one_array
from companion.softmax import softmax

__all__ = ["check_in_tiles"]

BLOCK = 32
MANY = BLOCK**2  # keys, in as many blocks as a block has keys: states are no more than scores
LONG = 4 * MANY  # keys with which all scores would be seen in the memory


class Tile(NamedTuple):
    """What a reader's function is handed, on the host."""

    query: np.ndarray  # (T, d_k)
    key: np.ndarray  # (S, d_k)
    value: np.ndarray  # (S, d_v)
    block_size: int


def check_in_tiles(attempt: Any) -> None:
    """Check a function (query, key, value, block_size) → attention (T, d_v), block by block."""
    say(_tile, attempt)


def _tile(attempt: Any) -> str:
    attend = function(attempt, "write in_tiles(query, key, value, block_size)")
    rng = np.random.default_rng(29)
    run = functools.partial(_run, attend)
    sizes = (4, 7, 3, 2, 3), (3, 8, 5, 4, 2), (1, 5, 2, 3, 4)
    draws = [_drawn(rng, *size) for size in sizes]
    for given in draws:
        found, right = run(given), _attend(given)
        if agrees(found, right):
            continue
        check_named(given, draws, run, _mistakes)
        check_nearly(found, right)
        raise Feedback(_what_is_seen(attend, found, given))
    _check_edges(attend, rng)
    _check_blocks(attend, rng)
    _check_memory(attend, rng)
    return "Right: whatever the cut, and never all scores at a time."


def _check_edges(attend: Callable[..., Any], rng: np.random.Generator) -> None:
    """Try blocks of one key and of more than there are, and scores that are far from 0 or apart."""
    plain = _drawn(rng, 4, 6, 3, 2, 1)
    along = np.ones((6, 1))  # with keys of this first column, a query's own sets the scores' level
    key = np.hstack([along, plain.key[:, 1:]])
    falling = np.asarray([2000.0, 2001, 0, 1, -2000, -2001])[:, None]
    levels = math.sqrt(3) * np.asarray([-2000.0, 0.0, 2000.0, 5.0])[:, None]
    for given, said in (
        (plain, "It is right, but for blocks of a single key."),
        (plain._replace(block_size=9), "A block of all keys and more comes out wrong."),
        (
            plain._replace(query=np.hstack([levels[[2] * 4], plain.query[:, 1:]]), key=key),
            "Ordinary scores come out right, scores around 2000 do not: before exp the largest so "
            "far is taken away, and nothing else is done.",
        ),
        (
            plain._replace(query=np.hstack([levels[[0] * 4], plain.query[:, 1:]]), key=key),
            "Where all scores are around −2000 it is not right: with which maximum do you begin?",
        ),
        (
            plain._replace(query=np.hstack([levels, plain.query[:, 1:]]), key=key),
            "Where the queries' scores lie far apart it is not right: each query has a maximum of "
            "its own.",
        ),
        (
            Tile(along[:4], falling, plain.value, 2),
            "Where a later block's scores are much smaller it is not right: m is the largest so "
            "far, and not the block's own.",
        ),
        (
            Tile(along[:4], falling[::-1], plain.value, 2),
            "Where a later block's scores are much larger it is not right: by what do the sums "
            "shrink?",
        ),
    ):
        # What rounds a score of 2000 changes its power as much.
        if not agrees(_run(attend, given), _attend(given), roundings=2**16):
            raise Feedback(said)


def _check_blocks(attend: Callable[..., Any], rng: np.random.Generator) -> None:
    """See how many scores there are at once, where NumPy's operations can be watched."""
    given = _drawn(rng, 3, MANY, 2, 2, BLOCK)
    if not isinstance(array_module().zeros(1), np.ndarray):
        return
    made = most_at_once(lambda watched: _run(watched(attend), given))
    if made > 3 * BLOCK:
        raise Feedback(
            f"The numbers are right, but for 3 queries and {MANY} keys in blocks of {BLOCK} you "
            f"make {made} scores or powers at once, and a block has {3 * BLOCK}."
        )


def _check_memory(attend: Callable[..., Any], rng: np.random.Generator) -> None:
    """See whether all scores are there at once, where NumPy says what it holds."""
    given = _drawn(rng, 64, LONG, 2, 2, 2 * BLOCK)
    if not isinstance(array_module().zeros(1), np.ndarray):
        return
    scores = given.query.itemsize * len(given.query) * LONG  # bytes of all of them
    held = _held(lambda: _run(attend, given))
    if held > scores / 2:
        raise Feedback(
            f"The numbers are right, but for 64 queries and {LONG} keys in blocks of {2 * BLOCK} "
            f"you hold {held / scores:.1f} times the bytes of all scores. Use a block's scores, "
            "and forget them."
        )


def _held(call: Callable[[], Any]) -> int:
    """Return the most bytes that are held at once during a call, beyond those before it."""
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        if not tracing:
            tracemalloc.stop()


def _drawn(rng: np.random.Generator, t: int, s: int, d_k: int, d_v: int, block_size: int) -> Tile:
    query, key = 1.5 * rng.standard_normal((t, d_k)), rng.standard_normal((s, d_k))
    return Tile(query, key, 1 + rng.standard_normal((s, d_v)), block_size)


def _scores(given: Tile, scale: float | None = None) -> np.ndarray:
    products = given.query @ given.key.T
    scores: np.ndarray = products * (given.key.shape[1] ** -0.5 if scale is None else scale)
    return scores


def _attend(given: Tile, scale: float | None = None) -> np.ndarray:
    mixed: np.ndarray = to_numpy(softmax(_scores(given, scale))) @ given.value
    return mixed


def _run(attend: Callable[..., Any], given: Tile) -> np.ndarray:
    xp = array_module()
    arrays = (xp.asarray(array) for array in given[:3])
    shape = (given.query.shape[0], given.value.shape[1])
    case = f" for {shape[0]} queries and {len(given.key)} keys in blocks of {given.block_size}"
    returned = result(attend, *arrays, given.block_size, case=case)
    return floats(one_array(returned, "the output's rows"), shape, "a row for each query")


State = tuple[np.ndarray, np.ndarray, np.ndarray]


def _states(given: Tile, scores: np.ndarray) -> list[State]:
    """Return the state of each block: (T, 1), (T, 1) and (T, d_v)."""
    states = []
    for start in range(0, len(given.key), given.block_size):
        keys = slice(start, start + given.block_size)
        m = scores[:, keys].max(axis=1, keepdims=True)
        powers = np.exp(scores[:, keys] - m)
        states.append((m, powers.sum(axis=1, keepdims=True), powers @ given.value[keys]))
    return states


def _joined(states: list[State], *, of_t: float = 1, of_u: float = 1, of_new: float = 1) -> State:
    """Merge the states, with a mistaken factor's logarithm for the sums before or the block's.

    It is multiplied by 1 where the factor is right, by 0 where there is none, by −1 where it is
    turned over.
    """
    m, t, u = states[0]
    for other, t_2, u_2 in states[1:]:
        top = np.maximum(m, other)
        new = np.exp(of_new * (other - top))
        t = np.exp(of_t * (m - top)) * t + new * t_2
        u = np.exp(of_u * (m - top)) * u + new * u_2
        m = top
    return m, t, u


def _mistakes(given: Tile) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what to say of each mistake, and the output that it makes."""
    states = _states(given, _scores(given))
    outputs = [u / t for _, t, u in states]
    yield (
        "You average the blocks' outputs: each block then has the same say, however well its keys "
        "fit.",
        np.mean(outputs, axis=0),
    )
    yield (
        "You add up the blocks' outputs, each divided already. Divide once, at the end.",
        sum(outputs, np.zeros_like(outputs[0])),
    )
    grow = "Your sums grow where they should shrink: which maximum is taken from which?"
    alone = (
        "You merge without rescaling: sums that were taken below different maxima do not add up. "
        "Or is the maximum the new one already where you compute the factor?"
    )
    for said, of_t, of_u, of_new in (
        (alone, 0, 0, 0),
        (alone, 0, 0, 1),
        ("The sum of the powers is not shrunk, and the sum of the values is.", 0, 1, 1),
        ("The sum of the values is not shrunk, and the sum of the powers is.", 1, 0, 1),
        (grow, -1, -1, 1),
        (grow, -1, -1, -1),
    ):
        _, t, u = _joined(states, of_t=of_t, of_u=of_u, of_new=of_new)
        yield said, u / t
    yield "The sum of the values is not divided by that of the powers.", _joined(states)[2]
    yield "You return what the last block alone gives.", outputs[-1]
    yield "You return what the first block alone gives.", outputs[0]
    _, t, u = _joined(states[: len(given.key) // given.block_size])
    yield "The last block, which is shorter, is left out.", u / t
    yield from _wrong_scales(given)


def _wrong_scales(given: Tile) -> Iterator[tuple[str, np.ndarray]]:
    d_k, d_v = given.key.shape[1], given.value.shape[1]
    for said, scale in (
        ("Your scores are not scaled: how many terms has each product?", 1.0),
        ("You divide by d_k, and not by its root.", 1 / d_k),
        ("You divide by √d_v: it is queries and keys that are multiplied.", d_v**-0.5),
        ("You divide by the root of the block's size: how wide is a key?", given.block_size**-0.5),
    ):
        yield said, _attend(given, scale)


def _what_is_seen(attend: Callable[..., Any], found: np.ndarray, given: Tile) -> str:
    """Say whether a block alone comes out right, or not even that."""
    if not np.isfinite(found).all():
        return "Some of your numbers are not finite. What are −∞ − (−∞), 0 · ∞ and 0 / 0?"
    one = given._replace(block_size=len(given.key))
    if agrees(_run(attend, one), _attend(one)):
        return (
            "With all keys in one block it is right, with several it is not: how are they joined?"
        )
    return "Not even one block of all keys comes out right: look at scores, scale and sums."
