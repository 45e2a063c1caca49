"""A checker for an encoder's pooling that the reader writes: it knows what people get wrong in it.

Each mistake is a pooling of its own here. A reader's pooling is run on the same numbers, and the
mistake that gives what it gives is named.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from companion.arrays import array_module, to_numpy
from companion.encoder.pooling import mean_pool, unit_rows
from companion.exercises.feedback import (
    Feedback,
    agrees,
    floats,
    function,
    is_array,
    reads_attempts,
    result,
    say,
)
from companion.exercises.mistakes import check_named, check_nearly, one_array

__all__ = ["check_sentence_vectors"]


class Batch(NamedTuple):
    """What a reader's function is handed: the last rows of some texts, and which are tokens."""

    states: np.ndarray  # (B, N, d)
    token_mask: np.ndarray  # (B, N)


def check_sentence_vectors(attempt: Any) -> None:
    """Check a function (states, token_mask) → unit vectors: (B, N, d), (B, N) → (B, d)."""
    say(_sentence_vectors, attempt)


def _sentence_vectors(attempt: Any) -> str:
    pool = function(attempt, "write sentence_vectors(states, token_mask)")
    rng = np.random.default_rng(9)
    run = functools.partial(_run, pool)
    sizes = ((5, 3, 4), 5, 4), ((1, 4), 4, 7), ((6,), 6, 3)
    draws = [_drawn(rng, *size) for size in sizes]
    for batch in draws:
        found, right = run(batch), _pooled(batch)
        if agrees(found, right):
            continue
        check_named(batch, draws, run, _mistakes)
        check_nearly(found, right)
        raise Feedback(_what_is_seen(found, right))
    _check_edges(pool, rng)
    return "Right: what is no token has no say, and every vector has length 1."


def _check_edges(pool: Callable[..., Any], rng: np.random.Generator) -> None:
    """Try padding in front of the tokens and between them, and padding that is not finite."""
    batch = _drawn(rng, (2, 5, 3), 5, 4)
    in_front = Batch(batch.states[:, ::-1], batch.token_mask[:, ::-1])
    if not agrees(_run(pool, in_front), _pooled(in_front)):
        raise Feedback(
            "With padding behind the tokens it is right, with padding in front of them it is not: "
            "ask the mask where they are."
        )
    between = batch._replace(token_mask=batch.token_mask & (np.arange(5) != [[0], [1], [1]]))
    if not agrees(_run(pool, between), _pooled(between)):
        raise Feedback(
            "Where the tokens stand together it is right, with padding between them it is not: ask "
            "the mask about every row."
        )
    for entry, name in ((np.nan, "NaN"), (np.inf, "∞"), (-np.inf, "−∞")):
        anything = np.where(batch.token_mask[..., None], batch.states, entry)
        if not agrees(_run(pool, batch._replace(states=anything)), _pooled(batch)):
            raise Feedback(
                f"Where padding holds {name}, your vectors are not right: 0 · {name} is NaN. "
                "Select the rows of the tokens, do not multiply the others by 0."
            )


def _drawn(rng: np.random.Generator, lengths: tuple[int, ...], n: int, d: int) -> Batch:
    """Draw texts of these lengths, and padding that is larger than any row of a token."""
    token_mask = np.arange(n) < np.asarray(lengths)[:, None]
    states = 0.3 + rng.standard_normal((len(lengths), n, d))
    padding = 5 * rng.standard_normal(states.shape)
    return Batch(np.where(token_mask[..., None], states, padding), token_mask)


def _pooled(batch: Batch) -> np.ndarray:
    return _unit(to_numpy(mean_pool(batch.states, batch.token_mask)))


def _unit(x: np.ndarray) -> np.ndarray:
    return to_numpy(unit_rows(x))


def _run(pool: Callable[..., Any], batch: Batch) -> np.ndarray:
    xp = array_module()
    case = f" for states of shape {batch.states.shape}"
    returned = result(pool, *(xp.asarray(array, copy=True) for array in batch), case=case)
    given = one_array(returned, "the vectors")
    _check_shape(given, batch)
    count, _, d = batch.states.shape
    return floats(given, (count, d), "a vector for each text")


@reads_attempts
def _check_shape(returned: Any, batch: Batch) -> None:
    """Say what an output of another shape may be; whatever is no array is left to others."""
    if not is_array(returned):
        return
    count, n, d = batch.states.shape
    for shape, said in (
        ((d,), "one vector for all texts together. Each has its own."),
        ((count, n, d), "a row for each token. Which axis is averaged away?"),
        ((count, n), "a number for each token: you average the columns of a row, not the rows."),
        ((n, d), "an average over the texts. Which axis are the tokens on?"),
        ((count, 1, d), "with an axis of 1 where the tokens were."),
    ):
        if returned.shape == shape:
            raise Feedback(f"You return {returned.shape}, {said}")


def _mistakes(batch: Batch) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what to say of each mistake, and the vectors that it makes."""
    states, token_mask = batch
    mask = token_mask[..., None]
    counts = mask.sum(axis=1)  # (B, 1)
    total = np.where(mask, states, 0).sum(axis=1)  # (B, d)
    yield from _other_rows(batch)
    yield (
        "The means are right. Each is still to be divided by its length.",
        total / counts,
    )
    yield (
        "Those are the sums of the tokens' rows. A vector of length 1 is asked for.",
        total,
    )
    yield (
        "You divide by N, and a text has fewer tokens; and the length of the vectors is not 1.",
        total / states.shape[1],
    )
    yield "You average over all rows, padding with them, and to no length.", states.mean(axis=1)
    yield from _other_lengths(total / counts)
    lengths = np.linalg.norm(states, axis=-1, keepdims=True)
    directions = np.where(mask, states / lengths, 0).sum(axis=1)
    said = "You bring each token's row to length 1 before the mean. Average first, the rows as "
    yield f"{said}they are.", directions / counts
    yield f"{said}they are.", _unit(directions)


def _other_rows(batch: Batch) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the mistakes in which other rows are pooled, or in another way."""
    states, token_mask = batch
    mask, each = token_mask[..., None], np.arange(len(states))
    yield (
        "Padding counts in your mean: its rows are in there with the tokens'.",
        _unit(states.mean(axis=1)),
    )
    yield (
        "Your mask is inside out: you average the padding. True means that there is a token.",
        _unit(np.where(mask, 0, states).sum(axis=1)),
    )
    yield (
        "You take the row of [CLS] alone. That is a pooling, too, and not this model's.",
        _unit(states[:, 0]),
    )
    last = token_mask.sum(axis=1) - 1
    yield "You take the last token's row alone.", _unit(states[each, last])
    yield "You take the last row alone, and it may be padding.", _unit(states[:, -1])
    yield (
        "You take the largest entry of each column. The mean is asked for.",
        _unit(np.where(mask, states, -np.inf).max(axis=1)),
    )
    place = np.arange(states.shape[1])
    inner = ((place > 0) & (place < last[:, None]))[..., None]
    yield (
        "You leave out the first and the last token. This model averages over all of them.",
        _unit(np.where(inner, states, 0).sum(axis=1)),
    )


def _other_lengths(mean: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the mistakes in which the right mean is divided by something else."""
    for said, size in (
        (
            "All texts are divided by one length, that of the whole array: each has its own.",
            np.linalg.norm(mean),
        ),
        (
            "You divide by a length down the columns, over the texts: each text has its own.",
            np.linalg.norm(mean, axis=0),
        ),
        (
            "You divide by the square of the length.",
            (mean**2).sum(axis=-1, keepdims=True),
        ),
        (
            "You divide by the sum of the sizes. A length is the root of the sum of the squares.",
            np.abs(mean).sum(axis=-1, keepdims=True),
        ),
        (
            "You divide by the sum of the entries. A length is the root of the sum of the squares.",
            mean.sum(axis=-1, keepdims=True),
        ),
        (
            "You divide by the largest entry. A length is the root of the sum of the squares.",
            np.abs(mean).max(axis=-1, keepdims=True),
        ),
    ):
        yield said, mean / size


def _what_is_seen(found: np.ndarray, right: np.ndarray) -> str:
    """Say what can be seen of a mistake that has no name here."""
    broken = np.flatnonzero(~np.isfinite(found).all(axis=-1))
    if len(broken):
        return f"The vector of text {broken[0] + 1} is not finite. What do you divide by?"
    lengths = np.linalg.norm(found, axis=-1)
    wrong = np.flatnonzero(np.abs(lengths - 1) > 1e-3)
    if len(wrong):
        return f"The vector of text {wrong[0] + 1} has length {lengths[wrong[0]]:.4g}, and not 1."
    apart = np.flatnonzero([not agrees(*pair) for pair in zip(found, right, strict=True)])
    return (
        f"All lengths are 1, but the vector of text {apart[0] + 1} points in another direction "
        "than the mean of its tokens' rows."
    )
