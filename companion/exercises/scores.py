"""Checkers for the exercises of the chapter on scaled scores."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from companion.arrays import array_module, to_numpy
from companion.exercises.feedback import (
    Feedback,
    agrees,
    array,
    ended,
    entries,
    finite,
    floats,
    function,
    number,
    numbers,
    result,
    rounding,
    say,
    written_out,
)
from companion.scores import scaled_scores, score_variance

__all__ = [
    "check_cosine_scale",
    "check_covariance",
    "check_scores_function",
    "check_spread_factors",
    "check_variances",
]

#: What is asked for exactly may be off by the rounding of a few steps, also in float32.
ROUNDED = 1e-6


def check_variances(attempt: Any) -> None:
    """Check the pair (variance of the scaled score, its part between the keys of one query)."""
    say(_variances, attempt)


def _variances(attempt: Any) -> str:
    given = numbers(attempt, 2, "write down two numbers, (all, between keys)")
    moments = {"query_variance": 4.0, "key_variance": 1.0}
    between = score_variance(64, **moments) / 64
    right = np.asarray([score_variance(64, **moments, key_mean=3.0) / 64, between])
    first_right, second_right = np.isclose(given, right, rtol=ROUNDED, atol=0)
    if first_right and second_right:
        return "Right: most of the variance is one constant a row, and the softmax cancels it."
    if np.allclose(given, right[::-1], rtol=ROUNDED, atol=0):
        raise Feedback("Those two it is, in the other order: (all, between keys).")
    if np.isclose(given, 64 * right, rtol=1e-3).any():
        raise Feedback(
            "One of them is of the unscaled score: dividing the score by √d_k divides its variance "
            "by d_k."
        )
    if math.isclose(given[0], between, rel_tol=1e-3):
        raise Feedback(
            "The first is too small: move the query, and the mean of the keys moves the score."
        )
    if first_right:
        raise Feedback(
            "The first is right. For the second hold the query still: what is left to vary?"
        )
    if second_right:
        raise Feedback(
            "The second is right. The first has one more term: the keys' mean squared, times what?"
        )
    raise Feedback("Neither yet: which of the theorem's terms are not zero, and what does √d_k do?")


def check_spread_factors(attempt: Any) -> None:
    """Check by what the spread of scores grows from d_k = 16 to 64: (q·k, q·k/√d_k, q·k/d_k)."""
    say(_spread_factors, attempt)


def _spread_factors(attempt: Any) -> str:
    given = numbers(attempt, 3, "write down three factors, (q·k, q·k/√d_k, q·k/d_k)")
    spreads = {width: math.sqrt(score_variance(width)) for width in (16, 64)}
    small, large = (np.asarray([s, s / math.sqrt(d), s / d]) for d, s in spreads.items())
    right = large / small
    near = np.isclose(given, right, rtol=ROUNDED, atol=0)
    if near.all():
        return "Right: variances add, so the spread grows like the root, and the root undoes it."
    if np.allclose(given, right**2, rtol=1e-3):
        raise Feedback("Those are the factors of the variances: the spread is their root.")
    if np.allclose(given, right[::-1], rtol=1e-3):
        raise Feedback("Those three it is, in the other order: (q·k, q·k/√d_k, q·k/d_k).")
    if np.allclose(given, large, rtol=1e-3):
        raise Feedback("Those are the spreads at d_k = 64. By what do they differ from d_k = 16?")
    if np.allclose(given, 1 / right, rtol=1e-3):
        raise Feedback("You went from 64 down to 16, it seems: the question goes up.")
    wrong = [n for n, fits in zip(("first", "second", "third"), near, strict=True) if not fits]
    raise Feedback(
        f"Not yet: look at the {' and the '.join(wrong)}. How does the spread of a sum of d_k "
        "independent terms grow, and by what does each divisor grow?"
    )


def check_scores_function(attempt: Any, *, xp: Any = None) -> None:
    """Check a function (query, key) → scaled scores (..., T, S) of arrays of the module xp."""
    say(_scores_function, attempt, xp or array_module())


def _scores_function(attempt: Any, xp: Any) -> str:
    scores = function(attempt, "write a function of query and key")
    for lead, sizes, dtype, level in (
        ((), (4, 5, 3), "float32", 1.0),
        ((), (6, 2, 7), "float64", 1e3),
        ((), (1, 3, 11), "float64", 1.0),
        ((2,), (5, 3, 7), "float64", 1.0),  # the heads of one sentence
        ((2, 3), (5, 6, 10), "float32", 1e-2),
    ):
        query, key = _rows(xp, lead, sizes, dtype, level)
        _check_scores(scores, xp, query, key)
    return "Right: any number of leading axes, T ≠ S, and the dtype that came goes out again."


def _rows(xp: Any, lead: tuple[int, ...], sizes: tuple[int, int, int], *like: Any) -> list[Any]:
    """Draw a query and a key whose entries have a mean, of this dtype and level."""
    rng, (dtype, level) = np.random.default_rng(0), like
    return [
        xp.asarray(
            level * (1 + rng.standard_normal((*lead, n, sizes[2]))), dtype=getattr(xp, dtype)
        )
        for n in sizes[:2]
    ]


def _check_scores(scores: Callable[..., Any], xp: Any, query: Any, key: Any) -> None:
    case = f" for query {tuple(query.shape)} and key {tuple(key.shape)}"
    try:
        returned = result(scores, query, key, case=case)
    except Feedback as trouble:
        raise _why_it_stops(scores, xp, trouble, leading=query.ndim - 2) from None
    right, bare = to_numpy(scaled_scores(query, key)), to_numpy(scaled_scores(query, key, scale=1))
    got = floats(array(returned), right.shape, f"a row a query and a column a key{case}")
    if not agrees(got, right, size=_sizes(query, key), roundings=8):
        if not _is_multiple(got, bare):
            raise Feedback(_other_product(got, to_numpy(query), to_numpy(key), case))
        divisor = float(np.sum(bare * bare) / np.sum(bare * got))
        exact = agrees(got * (divisor / math.sqrt(query.shape[-1])), right, size=_sizes(query, key))
        if abs(divisor / math.sqrt(query.shape[-1]) - 1) < 1e-3:
            cause = (
                "is the root rounded, or something added to it?" if exact else "what rounds them?"
            )
            raise Feedback(f"Your scores are right to a few digits only{case}: {cause}")
        raise Feedback(_other_divisor(divisor, query.shape, key.shape, case))
    if got.dtype != right.dtype:
        raise Feedback(f"The scores are right, but {right.dtype} came in and {got.dtype} went out.")


def _why_it_stops(attempt: Any, xp: Any, trouble: Feedback, *, leading: int) -> Feedback:
    """Say more of a function that stops: where key is square, one that transposes nothing runs."""
    if leading:
        but = "One head comes out right; with a leading axis it does not."
        if leading > 1:
            but = "With one leading axis all comes out right; with more it does not."
        asked = " Which axes does your transpose swap?" if _runs_wrong(attempt, xp, leading) else ""
        return Feedback(f"{but} {ended(str(trouble))}{asked}")
    query, key = _rows(xp, (), (4, 3, 3), "float64", 1.0)
    try:
        upright = to_numpy(result(attempt, query, key))
    except (Feedback, TypeError):
        return trouble
    if upright.shape == query.shape and _is_multiple(upright, to_numpy(query @ key)):
        return Feedback(
            "You multiply with key as it stands: for a square key that gives query i times "
            "column j of key, and for any other it stops. Which axis do both share?"
        )
    return trouble


def _runs_wrong(attempt: Any, xp: Any, leading: int) -> bool:
    """Say whether a function runs, and goes wrong, where all axes are equal: by its transpose."""
    query, key = _rows(xp, (3,) * leading, (3, 3, 3), "float64", 1.0)
    right = to_numpy(scaled_scores(query, key))
    try:
        found = floats(result(attempt, query, key), right.shape)
    except Feedback:
        return False
    return not agrees(found, right, size=_sizes(query, key))


def _is_multiple(got: np.ndarray, other: np.ndarray) -> bool:
    """Say whether two arrays differ by one factor, to three digits."""
    wide, other = got.astype(np.float64), other.astype(np.float64)
    factor = np.sum(wide * other) / np.sum(other * other)
    return bool(
        0 < abs(factor) < math.inf
        and (np.abs(wide - factor * other) <= 1e-3 * abs(factor) * np.abs(other).max()).all()
    )


def _other_divisor(divisor: float, query: tuple[int, ...], key: tuple[int, ...], case: str) -> str:
    """Say what the right products are divided by, where it is not what they should be."""
    (*lead, t, d_k), s = query, key[-2]
    # With leading axes only: one head would have shown the root of the number of queries or keys.
    front = (*lead, t, s) if lead else ()
    seen = {
        1.0: "nothing: these are the bare products",
        float(d_k): "the number of columns itself",
        1 / math.sqrt(d_k): "one over the root, which makes them larger",
        **{math.sqrt(n * d_k): "the root of the width of all heads together" for n in lead[-1:]},
        math.sqrt(t): "the root of the number of queries: a longer text has smaller scores",
        math.sqrt(s): "the root of the number of keys: a longer text has smaller scores",
        float(t): "the number of queries: a longer text has smaller scores",
        float(s): "the number of keys: a longer text has smaller scores",
        **{math.sqrt(n): "the root of an axis counted from the front" for n in front},
    }
    for value, words in seen.items():
        if math.isclose(divisor, value, rel_tol=1e-3):
            return f"The products are right{case}, and you divide them by {words}."
    return (
        f"Your scores are the right ones times one factor{case}: you divide by {divisor:.4g}. "
        "Where does that number come from, and does it change with the width of a key?"
    )


def _other_product(got: np.ndarray, query: np.ndarray, key: np.ndarray, case: str) -> str:
    """Say what the scores are, where they are not the products of queries and keys."""
    if (got > 0).all() and np.allclose(got.sum(axis=-1), 1, atol=1e-3):
        return f"Your rows sum to one{case}: that is a softmax already, and scores come before it."
    if _is_multiple(got, query @ key.reshape(*key.shape[:-2], key.shape[-1], key.shape[-2])):
        return (
            f"Your keys are poured into another shape, not laid on their side{case}: a column of "
            "a reshape mixes several keys."
        )
    lengths = [np.linalg.norm(rows, axis=-1) for rows in (query, key)]
    if _is_multiple(got, query @ key.mT / (lengths[0][..., :, None] * lengths[1][..., None, :])):
        return f"Those are cosines{case}: a score keeps the lengths of query and key."
    return f"Entry (i, j) is not the product of query i and key j, scaled,{case}."


def _sizes(query: Any, key: Any) -> np.ndarray:
    """Return the largest that each score could be, against which its rounding counts."""
    q, k = (np.linalg.norm(to_numpy(rows).astype(np.float64), axis=-1) for rows in (query, key))
    sizes: np.ndarray = q[..., :, None] * k[..., None, :]
    return sizes


def check_covariance(attempt: Any) -> None:
    """Check the covariance matrix (4, 4) of a query that four equal key entries cannot move."""
    say(_covariance, attempt)


def _covariance(attempt: Any) -> str:
    what_to_do = "write down a 4 × 4 matrix"
    rows = [written_out(row, what_to_do) for row in entries(attempt, 4, what_to_do)]
    lines = [finite(row, (4,), "a row of the matrix") for row in rows]
    matrix = np.stack(lines).astype(np.float64)
    tolerance = rounding(*lines) * np.max(np.abs(matrix))
    if not np.max(np.abs(matrix - matrix.T)) <= tolerance:
        raise Feedback("A covariance matrix is symmetric, and yours is not.")
    if not np.max(np.abs(np.diag(matrix) - 1)) <= tolerance:
        raise Feedback("Every entry of q has variance 1: look at the diagonal.")
    if not np.linalg.eigvalsh(matrix)[0] >= -tolerance:
        raise Feedback(
            "No random vector has this matrix: some combination of entries has variance < 0."
        )
    variance = float(np.sum(matrix))
    if not variance <= tolerance:
        raise Feedback(f"A covariance matrix, but with it q·k has variance {variance:.4g}, not 0.")
    return "Right: every entry varies, their sum does not, and k only sees their sum."


def check_cosine_scale(attempt: Any) -> None:
    """Check the least scale, to one percent, that gives one match of 1000 keys the weight 0.99."""
    say(_cosine_scale, attempt)


def _cosine_scale(attempt: Any) -> str:
    scale = number(attempt, "write down a number")
    odds = math.log(999 * 0.99 / 0.01)
    if scale < 0.99 * odds:
        weight = 1 / (1 + 999 * math.exp(-max(scale, -700.0)))
        raise Feedback(f"With that scale the match gets weight {weight:.4f}, which is not enough.")
    if scale > 1.01 * odds:
        raise Feedback("That is enough, but a smaller scale is too.")
    return "Right: a cosine is at most 1, so the sharpness has to come from the scale."
