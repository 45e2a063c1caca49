"""Checkers for the exercises of the chapter on scaled scores."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from companion.arrays import array_module, to_numpy
from companion.exercises.feedback import (
    Feedback,
    agrees,
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
        raise Feedback("One of them is of the unscaled score: dividing it by √d_k comes next.")
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


def check_scores_function(attempt: Any, *, xp: Any = None) -> None:
    """Check a function (query, key) → scaled scores (..., T, S) of arrays of the module xp."""
    say(_scores_function, attempt, xp or array_module())


def _scores_function(attempt: Any, xp: Any) -> str:
    scores = function(attempt, "write a function of query and key")
    for lead, sizes, dtype, level in (
        ((), (4, 5, 3), "float32", 1.0),
        ((), (6, 2, 7), "float64", 1e3),
        ((2, 3), (5, 6, 10), "float32", 1e-2),
    ):
        _check_scores(scores, xp, lead, sizes, dtype, level)
    return "Right: any number of leading axes, T ≠ S, and the dtype that came goes out again."


def _check_scores(
    scores: Callable[..., Any],
    xp: Any,
    lead: tuple[int, ...],
    sizes: tuple[int, int, int],
    dtype: str,
    level: float,
) -> None:
    rng = np.random.default_rng(0)
    t, s, d_k = sizes
    query, key = (
        xp.asarray(level * (1 + rng.standard_normal((*lead, n, d_k))), dtype=getattr(xp, dtype))
        for n in (t, s)
    )
    case = f" for query {tuple(query.shape)} and key {tuple(key.shape)}"
    meaning = f"a row a query and a column a key{case}"
    got = floats(result(scores, query, key, case=case), (*lead, t, s), meaning)
    right = to_numpy(scaled_scores(query, key))
    if not agrees(got, right, size=_sizes(query, key), roundings=8):
        factor = np.sum(got * right) / np.sum(right * right)
        if abs(factor) > 0 and np.allclose(got, factor * right, rtol=1e-3, atol=1e-3 * level**2):
            scaled = agrees(got / factor, right, size=_sizes(query, key))
            if abs(factor - 1) < 1e-3 and not scaled:
                raise Feedback(
                    f"Your scores are right to a few digits only{case}: what rounds them?"
                )
            raise Feedback(f"Your scores are the right ones times one factor{case}: see the scale.")
        raise Feedback(f"Entry (i, j) is not the product of query i and key j, scaled,{case}.")
    if got.dtype != right.dtype:
        raise Feedback(f"The scores are right, but {dtype} came in and {got.dtype} went out.")


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
