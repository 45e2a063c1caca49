"""Checkers for the exercises of the chapter on scaled scores."""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import array_api_compat
import numpy as np

from companion.arrays import array_module, to_numpy
from companion.scores import scaled_scores, score_variance

__all__ = [
    "check_cosine_scale",
    "check_covariance",
    "check_scores_function",
    "check_variances",
]


def check_variances(attempt: Any) -> None:
    """Check the pair (variance of the scaled score, its part between the keys of one query)."""
    print(_variances(attempt))


def _variances(attempt: Any) -> str:
    if _missing(attempt):
        return "Not attempted yet: write down two numbers, (all, between keys)."
    if not isinstance(attempt, tuple | list) or len(attempt) != 2 or not all(map(_real, attempt)):
        return "Two numbers are wanted, (all, between keys)."
    moments = {"query_variance": 4.0, "key_variance": 1.0}
    everything = score_variance(64, **moments, key_mean=3.0) / 64
    between = score_variance(64, **moments) / 64
    right = [_close(a, b) for a, b in zip(attempt, (everything, between), strict=True)]
    if all(right):
        return "Right: most of the variance is a constant a query, and the softmax cancels it."
    if any(_close(a, 64 * b) for a, b in zip(attempt, (everything, between), strict=True)):
        return "One of them is the variance of the unscaled score: dividing it by √d_k comes next."
    if _close(attempt[0], between):
        return "The first is too small: move the query, and the mean of the keys moves the score."
    if right[0]:
        return "The first is right. For the second hold the query still: what is left to vary?"
    if right[1]:
        return "The second is right. The first has one more term, from the mean of the keys."
    return "Neither yet: which terms of the theorem are not zero here, and what does √d_k do?"


def check_scores_function(attempt: Callable[..., Any] | None, *, xp: Any = None) -> None:
    """Say whether ``attempt(query, key)`` returns all scaled scores.

    Parameters
    ----------
    attempt : callable or None
    xp : module, optional
        The array module of the arrays it is called with.
    """
    print(_scores_function(attempt, array_module() if xp is None else xp))


def _scores_function(attempt: Any, xp: Any) -> str:
    if _missing(attempt):
        return "Not attempted yet: write a function of query and key."
    if not callable(attempt):
        return f"A function is wanted, this is {type(attempt).__name__}."
    for lead in ((), (2, 3)):
        complaint = _scores_complaint(attempt, xp, lead)
        if complaint:
            return complaint
    return "Right: any number of leading axes, T ≠ S, and the dtype that came goes out again."


def _scores_complaint(attempt: Callable[..., Any], xp: Any, lead: tuple[int, ...]) -> str:
    rng = np.random.default_rng(0)
    shapes = ((*lead, 4, 3), (*lead, 5, 3))
    query, key = (xp.asarray(rng.standard_normal(s), dtype=xp.float32) for s in shapes)
    called = f"With query {shapes[0]} and key {shapes[1]}"
    try:
        found = attempt(query, key)
    except Exception as error:  # the reader's own code may fail in any way
        return f"{called} your function stopped with {type(error).__name__}: {error}"
    if found is None or found is ...:
        return "Not attempted yet: return the scores."
    if not array_api_compat.is_array_api_obj(found):
        return f"An array is wanted; yours returned {type(found).__name__}."
    if tuple(found.shape) != (*lead, 4, 5):
        return (
            f"{called} the scores should have shape {(*lead, 4, 5)}, a row a query and a column a "
            f"key; yours have {tuple(found.shape)}."
        )
    right, got = to_numpy(scaled_scores(query, key)), to_numpy(found)
    ratios = got / right
    if not np.allclose(got, right, rtol=1e-4, atol=1e-5):
        if np.allclose(ratios, ratios.flat[0], rtol=1e-3):
            return "Your scores are the right ones times one factor: look at the scale."
        return f"{called} entry (i, j) of yours is not the product of query i and key j, scaled."
    if found.dtype != query.dtype:
        return f"The scores are right, but float32 came in and {found.dtype} went out."
    return ""


def check_covariance(attempt: Any) -> None:
    """Check the covariance matrix (4, 4) of a query that four equal key entries cannot move."""
    print(_covariance(attempt))


def _covariance(attempt: Any) -> str:
    if _missing(attempt):
        return "Not attempted yet: write down a 4 × 4 matrix."
    matrix = _numbers(attempt)
    if matrix is None:
        return "A matrix of numbers is wanted; this is something else."
    if matrix.shape != (4, 4):
        return f"Four entries have a 4 × 4 covariance matrix; yours has shape {matrix.shape}."
    if not np.isfinite(matrix).all():
        return "Covariances are finite; not all of yours are."
    if not np.allclose(matrix, matrix.T, rtol=0, atol=1e-9):
        return "A covariance matrix is symmetric, and yours is not."
    if not np.allclose(np.diag(matrix), 1, rtol=0, atol=1e-9):
        return "Every entry of q has variance 1: look at the diagonal."
    if np.linalg.eigvalsh(matrix)[0] < -1e-9:
        return "No random vector has this matrix: some combination of entries has variance < 0."
    variance = float(np.sum(matrix))
    if variance > 1e-9:
        return f"It is a covariance matrix, and with it q·k has variance {variance:.4f}: not yet 0."
    return "Right: every entry varies, their sum does not, and k only sees their sum."


def check_cosine_scale(attempt: Any) -> None:
    """Check the smallest scale with which one match among 1000 keys gets weight 0.99."""
    print(_cosine_scale(attempt))


def _cosine_scale(attempt: Any) -> str:
    if _missing(attempt):
        return "Not attempted yet: write down a number."
    if not _real(attempt) or not math.isfinite(attempt):
        return "A scale is one finite number; this is something else."
    odds = math.log(999 * 0.99 / 0.01)
    if attempt < odds - 1e-3:
        weight = 1 / (1 + 999 * math.exp(-max(attempt, -700.0)))
        return f"With that scale the match gets weight {weight:.4f}, which is not enough."
    if attempt > 1.01 * odds:
        return "That is enough, but a smaller scale is too."
    return "Right: a cosine is at most 1, so the sharpness has to come from the scale."


def _missing(attempt: Any) -> bool:
    return attempt is None or attempt is ...


def _real(attempt: Any) -> bool:
    return isinstance(attempt, Real) and not isinstance(attempt, bool)


def _close(attempt: float, right: float) -> bool:
    return math.isclose(attempt, right, rel_tol=1e-3)


def _numbers(attempt: Any) -> np.ndarray | None:
    """Return the numbers in an array of any module or in a list, or None where there are none."""
    if array_api_compat.is_array_api_obj(attempt):
        attempt = to_numpy(attempt)
    try:
        return np.asarray(attempt, dtype=np.float64)
    except (TypeError, ValueError):
        return None
