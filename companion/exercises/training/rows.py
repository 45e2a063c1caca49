"""A checker for the way back through a softmax that the reader writes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from companion.arrays import to_numpy
from companion.exercises.feedback import Feedback, agrees, floats, function, result, say
from companion.exercises.mistakes import check_nearly, one_array
from companion.softmax import softmax

__all__ = ["back_through_softmax", "check_softmax_backward"]


def back_through_softmax(d_weights: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the gradient of the scores, on the host."""
    weights = to_numpy(softmax(scores))
    back: np.ndarray = weights * (d_weights - np.sum(weights * d_weights, axis=-1, keepdims=True))
    return back


def check_softmax_backward(attempt: Any) -> None:
    """Check a function (d_weights, scores) → d_scores, for any number of leading axes."""
    say(_softmax_backward, attempt)


def _softmax_backward(attempt: Any) -> str:
    back = function(attempt, "write a function of d_weights and scores")
    rng = np.random.default_rng(0)
    for shape in ((4, 5), (1, 6), (5, 1), (2, 3, 4, 7)):
        scores = 2 * rng.standard_normal(shape)
        _check(back, 1 + rng.standard_normal(shape), scores, f" for scores {shape}")
        draws = rng.random(shape)
        hidden = (draws < 0.4) & (draws < draws.max(axis=-1, keepdims=True))  # never a whole row
        scores[hidden] = -np.inf
        _check(back, rng.standard_normal(shape), scores, " where some scores are −∞")
        moved = scores + 1000.0 * (np.arange(shape[-2])[:, None] % 3 - 1)  # −1000, 0, 1000, …
        _check(back, rng.standard_normal(shape), moved, " where rows are moved by 1000 or −1000")
    return "Right: each row sums to 0, and no Jacobian is needed."


def _check(back: Callable[..., Any], d_weights: np.ndarray, scores: np.ndarray, case: str) -> None:
    returned = one_array(result(back, d_weights, scores, case=case), "the scores' gradients")
    found = floats(returned, scores.shape, f"that of the scores{case}")
    largest = np.abs(scores[np.isfinite(scores)]).max()
    right, size = back_through_softmax(d_weights, scores), np.abs(d_weights).max()
    if agrees(found, right, size=size * max(1, largest / 32)):  # large scores are rounded coarsely
        return
    if np.isnan(found).any():
        raise Feedback(
            f"NaN comes out{case}: whose maximum do you take away before exp, and is 0 times −∞ "
            "anywhere?"
        )
    raise Feedback(_what_it_is(found, right, d_weights, scores, case))


def _what_it_is(
    found: np.ndarray, right: np.ndarray, d_weights: np.ndarray, scores: np.ndarray, case: str
) -> str:
    weights = to_numpy(softmax(scores))
    mean = np.mean(d_weights, axis=-1, keepdims=True)
    total = np.sum(weights * d_weights)
    columns = np.sum(weights * d_weights, axis=-2, keepdims=True)
    for other, words in (
        (weights * d_weights, "Each score moves the other weights of its row too"),
        (weights * (1 - weights) * d_weights, "That is the slope of each weight by its own score"),
        (
            weights * (d_weights - mean),
            "What is taken away is a mean, but each weight counts alike",
        ),
        (
            d_weights - np.sum(weights * d_weights, axis=-1, keepdims=True),
            "A last factor is missing",
        ),
        (weights * (d_weights - total), "What is taken away is one number for all rows"),
        (weights * (d_weights - columns), "What is taken away is summed over the queries"),
        (-right, "The sign is the other one"),
    ):
        if np.allclose(found, other, rtol=1e-6, atol=1e-9):
            return f"{words}{case}."
    check_nearly(found, right)
    sums = np.abs(found.sum(axis=-1)).max()
    if sums > 1e-6:
        return f"A row of yours sums to {sums:.3g}{case}: moving all its scores changes no weight."
    return f"Your rows sum to 0, but it is not what small changes of the scores do{case}."
