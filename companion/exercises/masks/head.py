"""Checkers for a masked head that the reader writes: they know what people get wrong in one."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from companion.arrays import array_module, to_numpy
from companion.attention import scaled_dot_product_attention
from companion.exercises.feedback import (
    Feedback,
    agrees,
    ended,
    floats,
    function,
    is_array,
    reads_attempts,
    result,
    say,
)
from companion.exercises.masks.mistakes import FIRST, SECOND, Sizes, mistakes
from companion.exercises.mistakes import check_named, check_nearly, one_array

__all__ = [
    "check_extremes",
    "check_last_rows",
    "check_masked_head",
    "check_shape",
    "made_by",
    "projecting_to",
]

Draw = tuple[list[np.ndarray], Sizes]  # x and three matrices, and how large they are
DRAWS = [
    Sizes((), 5, 6, FIRST, 4),
    Sizes((), 4, 7, SECOND, 2),
    Sizes((), 1, 3, 4, 2),
    Sizes((2,), 5, 7, 4, 3),
]


def check_masked_head(attempt: Any) -> None:
    """Check a function (x, w_q, w_k, w_v) → causal output: (..., N, d) → (..., N, d_v)."""
    say(_masked_head, attempt)


def _masked_head(attempt: Any) -> str:
    head = function(attempt, "write masked_head(x, w_q, w_k, w_v)")
    rng = np.random.default_rng(5)
    draws = [(_drawn(rng, sizes), sizes) for sizes in DRAWS]
    for draw in draws:
        _check_draw(head, draw, [other for other in draws if not other[1].batch])
    check_extremes(lambda *parts: made_by(head, *projecting_to(*parts)))
    return "Right: whatever comes later, no row of yours will ever know."


def _drawn(rng: np.random.Generator, sizes: Sizes) -> list[np.ndarray]:
    x = 0.3 + rng.standard_normal((*sizes.batch, sizes.n, sizes.d))
    widths = sizes.d_k, sizes.d_k, sizes.d_v
    return [x, *(rng.standard_normal((sizes.d, width)) for width in widths)]


def _mistakes(draw: Draw) -> Iterator[tuple[str, np.ndarray]]:
    (x, w_q, w_k, w_v), sizes = draw
    yield from mistakes(x @ w_q, x @ w_k, x @ w_v, sizes)


def projecting_to(*parts: np.ndarray) -> list[np.ndarray]:
    """Return an x, and three matrices that project it to just these queries, keys and values."""
    widths = np.cumsum([0, *(part.shape[-1] for part in parts)])
    columns = np.eye(widths[-1], dtype=parts[0].dtype)
    between = itertools.pairwise(widths)
    return [np.hstack(parts), *(columns[:, first:last] for first, last in between)]


def _check_draw(head: Callable[..., Any], draw: Draw, alone: list[Draw]) -> None:
    given, sizes = draw
    x, w_q, w_k, w_v = given
    query, key, value = x @ w_q, x @ w_k, x @ w_v
    right = _attend(query, key, value)
    case = f" for x of shape {x.shape}"
    if sizes.batch:
        case = f" for a batch, x of shape {x.shape} (one sentence comes out right),"
    try:
        returned = made_by(head, *given, case=case)
    except Feedback as trouble:
        if not sizes.batch or not _runs_wrong(head):
            raise
        asked = "Does your transpose swap the last two axes?"
        raise Feedback(f"{ended(str(trouble))} {asked}") from None
    check_shape(returned, right.shape, x)
    found = floats(returned, right.shape, "a row for each token, as wide as a value")
    if agrees(found, right):
        return
    check_nearly(found, right)
    if sizes.batch:
        raise Feedback(
            "One sentence comes out right, a batch of them does not: which axes do you transpose, "
            "take the maximum over, and sum over?"
        )
    check_named(draw, alone, lambda other: floats(made_by(head, *other[0])), _mistakes)
    raise Feedback(_what_is_seen(head, given, found, right))


def _runs_wrong(head: Callable[..., Any]) -> bool:
    """Say whether a head runs, and goes wrong, where all axes are equal: by its transpose."""
    x, *weights = np.random.default_rng(6).standard_normal((4, 3, 3, 3))
    weights = [weight[0] for weight in weights]
    right = _attend(*(x @ weight for weight in weights))
    try:
        found = floats(made_by(head, x, *weights), right.shape)
    except Feedback:
        return False
    return not agrees(found, right)


@reads_attempts
def check_shape(returned: Any, wanted: tuple[int, ...], x: np.ndarray) -> None:
    """Say what an output of another shape may be; whatever is no array is left to others."""
    if not is_array(returned) or returned.shape == wanted:
        return
    if returned.shape == (*x.shape[:-1], x.shape[-2]):
        raise Feedback(
            f"You return {returned.shape}, a number for each pair of tokens: those are scores or "
            "weights. What is mixed with them?"
        )
    if returned.shape == x.shape:
        raise Feedback(f"You return {returned.shape}, as wide as x: is it x that you mix?")


def _what_is_seen(
    head: Callable[..., Any], given: list[np.ndarray], found: np.ndarray, right: np.ndarray
) -> str:
    """Say what can be seen of a mistake that has no name here."""
    broken = np.flatnonzero(~np.isfinite(found).all(axis=-1))
    if len(broken) == len(found):
        return "Every row is NaN. What do you multiply by −∞? 0 · (−∞) is NaN."
    if len(broken):
        return (
            f"Row {broken[0] + 1} is NaN: it divides 0 by 0, or takes −∞ from −∞. What may it see?"
        )
    if not agrees(floats(made_by(head, *given), found.shape, "as before"), found):
        return "Twice the same x, and two outputs: something in your head is random."
    if len(found) > 1:
        x, *weights = given
        other = np.concatenate([x[:-1], x[-1:] + 1.0])
        after = floats(made_by(head, other, *weights), found.shape, "as before")
        if not np.array_equal(after[:-1], found[:-1]):
            return "The future leaks: with another last token, earlier rows change."
    if not agrees(found[:1], right[:1]):
        return "Row 1 sees itself alone, so its output is its own value row. Yours is not."
    return (
        "No future leaks and row 1 is right; the later rows share out their weights otherwise than "
        "the softmax of q·k / √d_k does."
    )


def check_last_rows(attempt: Any) -> None:
    """Check a function (query, key, value) → causal output, for the last T of S tokens."""
    say(_last_rows, attempt)


def _last_rows(attempt: Any) -> str:
    rows = function(attempt, "write last_rows(query, key, value)")
    rng = np.random.default_rng(7)
    draws = []
    for t, s, d_k, d_v in ((5, 8, FIRST, 4), (4, 7, SECOND, 2), (1, 4, 3, 2), (4, 4, 2, 3)):
        draws.append([rng.standard_normal(shape) for shape in ((t, d_k), (s, d_k), (s, d_v))])
    for draw in draws:
        query, key, value = draw
        t, s = len(query), len(key)
        right = _attend(query, key, value, offset=s - t)
        case = f" for {t} queries and {s} keys"
        returned = made_by(rows, query, key, value, case=case)
        found = floats(returned, right.shape, "a row for each query, as wide as a value")
        if agrees(found, right):
            continue
        check_nearly(found, right)
        alike = [other for other in draws if (len(other[0]) < len(other[1])) == (t < s)]
        check_named(draw, alike, lambda other: floats(made_by(rows, *other)), _mistaken_rows)
        raise Feedback(f"Not yet{case}: which position has query 1 among the keys?")
    check_extremes(lambda *parts: made_by(rows, *parts))
    return "Right: query i stands S − T places further on than its row number says."


def _mistaken_rows(draw: list[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    query, key, value = draw
    (t, d_k), (s, d_v) = query.shape, value.shape
    yield from mistakes(query, key, value, Sizes((), s, d_k, d_k, d_v), offset=s - t)


def check_extremes(attend: Callable[..., Any]) -> None:
    """Try scores that are large, very negative and infinite, where ordinary ones come out right."""
    for said, *given in _extremes():
        query, key, value = (part.astype(np.float64) for part in given)
        right = _attend(query, key, value)
        found = floats(attend(*given), right.shape, "as before")
        if given[0].dtype == np.float32:
            found = found.astype(np.float32)  # however it was computed from what was rounded
        if not agrees(found, right, roundings=2**14):  # large scores round by much
            if given[0].dtype == np.float32 and np.isfinite(found).all():
                said = (
                    "A hidden score is so large that the number you add does not hide it: put −∞ "
                    "in its place."
                )
            raise Feedback(said)


def _extremes() -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield what to say of a head that fails, and a query, key and value that it fails on."""
    rng = np.random.default_rng(9)
    query, key, value = rng.standard_normal((3, 6, 2))
    yield (
        "Ordinary scores come out right, scores in the thousands do not: is the largest score that "
        "a row may see taken away before exp, in each row its own?",
        60 * query,
        60 * key,
        value,
    )
    below = -1e18 * np.arange(1, 7)[:, None]
    yield (
        "Where the scores of a row are all very negative, a hidden one wins: a large negative "
        "number is a number, and not −∞.",
        np.full((6, 2), 1e18),
        np.hstack([below, below]),
        value,
    )
    query[:-1, 0], query[-1, 0] = 1e20, 0
    key[:-1, 0], key[-1, 0] = 1e-20, 1e20  # what it is to the others is too large for float32
    yield (
        "A hidden score that has overflowed to ∞ makes earlier rows NaN, for ∞ − ∞ is NaN: do you "
        "add −∞ to it, or put −∞ in its place?",
        *(part.astype(np.float32) for part in (query, key, value)),
    )


def _attend(query: np.ndarray, key: np.ndarray, value: np.ndarray, offset: int = 0) -> np.ndarray:
    attended = scaled_dot_product_attention(query, key, value, is_causal=True, query_offset=offset)
    return to_numpy(attended)


def made_by(attempt: Callable[..., Any], *arrays: np.ndarray, case: str = "") -> Any:
    """Return what the reader's function makes of the arrays, which may be lists of rows."""
    xp = array_module()
    returned = result(attempt, *(xp.asarray(array) for array in arrays), case=case)
    return one_array(returned, "the output's rows")
