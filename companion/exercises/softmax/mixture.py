"""A checker for a softmax and its mixture that the reader writes: it knows what goes wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np

from companion.arrays import to_numpy
from companion.exercises.feedback import (
    Feedback,
    agrees,
    entries,
    floats,
    function,
    result,
    say,
)
from companion.exercises.mistakes import check_nearly
from companion.exercises.softmax.rows import moved, place
from companion.softmax import softmax

__all__ = ["check_mixture"]


def check_mixture(attempt: Any) -> None:
    """Check a function (scores, value) → (weights, output): a stable softmax and its mixture."""
    say(_mixture, attempt)


def _mixture(attempt: Any) -> str:
    mixture = function(attempt, "write a function of scores and value")
    rng = np.random.default_rng(0)
    for lead, t, s, d_v in (((), 4, 5, 3), ((), 1, 6, 2), ((), 5, 1, 4), ((2, 3), 4, 7, 5)):
        scores = 2 * rng.standard_normal((*lead, t, s))
        value = 1 + rng.standard_normal((*lead, s, d_v))
        _check_small(mixture, scores, value)
        _check_levels(mixture, scores, value)
        _check_silence(mixture, scores, value)
    return "Right: any number of leading axes, any level of the scores, and a row may say nothing."


def _mixed(mixture: Callable[..., Any], scores: np.ndarray, value: np.ndarray) -> list[np.ndarray]:
    case = f" for scores {scores.shape} and value {value.shape}"
    pair = result(mixture, *moved(scores, value), case=case)
    weights, output = entries(pair, 2, "return two arrays, (weights, output)")
    shape = (*scores.shape[:-1], value.shape[-1])
    return [
        floats(weights, scores.shape, f"the weights, one for each score{case}"),
        floats(output, shape, f"the output, a mixture for each query{case}"),
    ]


def _are_weights(found: np.ndarray, scores: np.ndarray) -> bool:
    size = 8 + np.abs(scores, where=np.isfinite(scores), out=np.zeros_like(scores)).max()
    return agrees(found, to_numpy(softmax(scores)), size=size, roundings=8)


def _check_small(mixture: Callable[..., Any], scores: np.ndarray, value: np.ndarray) -> None:
    try:
        weights, output = _mixed(mixture, scores, value)
    except Feedback as trouble:
        raise _why_it_stops(mixture, trouble, batch=scores.ndim > 2) from None
    case = f" for scores {scores.shape}"
    right = to_numpy(softmax(scores))
    if not _are_weights(weights, scores):
        check_nearly(weights, right)
        raise Feedback(_other_weights(weights, scores, case))
    if agrees(output, right @ value, size=np.abs(value).max()):
        return
    best = np.take_along_axis(value, scores.argmax(axis=-1)[..., None], axis=-2)
    for other, words in (
        (np.exp(scores) @ value, "the exponentials, which do not sum to one"),
        (scores @ value, "the scores"),
        (np.broadcast_to(value.mean(axis=-2, keepdims=True), output.shape), "equal weights"),
        (best, "the best key alone"),
    ):
        if np.allclose(output, other, rtol=1e-5):
            raise Feedback(f"The weights are right{case}; the values are mixed with {words}.")
    raise Feedback(f"The weights are right{case}, but output i is not Σ_j w_ij v_j.")


def _other_weights(found: np.ndarray, scores: np.ndarray, case: str) -> str:
    """Say what the weights are, where they are not the softmax of each row."""
    powers, columns = np.exp(scores), scores.max(axis=-2, keepdims=True)
    for other, words in (
        (softmax(scores, axis=-2), "Your columns sum to one, not your rows"),
        (softmax(scores, axis=1 - scores.ndim), "You count the axis of the sum from the front"),
        (powers / powers.sum(), "All weights together sum to one, and each row should"),
        (powers, "Those are exponentials that nobody has shared out"),
        (scores / scores.sum(axis=-1, keepdims=True), "You share out the scores themselves"),
        (softmax(scores - columns), "What you subtract differs within a row, so ratios change"),
    ):
        if np.allclose(found, to_numpy(other), rtol=1e-5):
            return f"{words}{case}."
    total = found.sum(axis=-1, keepdims=True)
    wrong = ~(np.abs(total - 1) <= 1e-6)
    if wrong.any():
        return f"Row {place(wrong)} of your weights sums to {total[wrong][0]:.6g}{case}."
    logs, spread = (a - a.mean(axis=-1, keepdims=True) for a in (np.log(found), scores))
    factor = np.sum(logs * spread) / np.sum(spread * spread)
    if np.allclose(logs, factor * spread, atol=1e-6):
        return f"Those are the weights of scores {factor:.4g} times as large{case}."
    return f"Your rows sum to one, but w_ij / w_il is not exp(s_ij − s_il){case}."


def _levels(scores: np.ndarray) -> np.ndarray:
    """Return a level for each row, far from those of its neighbours."""
    return np.resize([0.0, -1000.0, 1000.0, 5.0], scores.shape[:-1])[..., None]


def _check_levels(mixture: Callable[..., Any], scores: np.ndarray, value: np.ndarray) -> None:
    far = np.resize([1000.0, -1000.0, 0.0], scores.shape[-1])
    for moves, words in (
        (
            1000.0,
            "Small scores come out right; with 1000 added to each, something overflows or is "
            "cut off.",
        ),
        (
            _levels(scores),
            "Small scores come out right; with rows around −1000, 0 and 1000 they do "
            "not: whose maximum do you subtract?",
        ),
        (
            -1e5,
            "Small and large scores come out right; with 100,000 taken from each, something is "
            "cut off.",
        ),
        (
            far,
            "Rows whose own scores lie far apart do not come out right: is it the largest that "
            "you take away?",
        ),
    ):
        if not _are_weights(_mixed(mixture, scores + moves, value)[0], scores + moves):
            raise Feedback(words)


def _check_silence(mixture: Callable[..., Any], scores: np.ndarray, value: np.ndarray) -> None:
    hidden = scores.copy()
    hidden[..., 0, :] = -np.inf  # a row with nothing to attend to
    hidden[..., 1:, : scores.shape[-1] // 2] = -np.inf
    weights, output = _mixed(mixture, hidden, value)
    nothing = weights[..., 0, :]
    if np.isnan(nothing).any():
        raise Feedback("A row of nothing but −∞ becomes NaN: what is −∞ − (−∞)?")
    if nothing.any():
        weight = nothing[nothing != 0][0]
        raise Feedback(
            f"A row of nothing but −∞ attends to nothing; yours has a weight {weight:.4g}."
        )
    right = to_numpy(softmax(hidden)) @ value
    if not (_are_weights(weights, hidden) and agrees(output, right, size=np.abs(value).max())):
        raise Feedback("With scores of −∞ in its rows, the weights or the output are not right.")
    hidden += _levels(scores)
    if not _are_weights(_mixed(mixture, hidden, value)[0], hidden):
        raise Feedback(
            "With scores of −∞ in its rows, the weights are right around 0, and not around −1000 "
            "or 1000: is the largest of each row still taken away?"
        )


def _why_it_stops(mixture: Callable[..., Any], trouble: Feedback, *, batch: bool) -> Feedback:
    """Say more of a function that stops: where all is square, a wrong transpose runs."""
    if batch:
        return Feedback(f"One head comes out right; with leading axes it does not. {trouble}")
    scores, value = np.random.default_rng(1).standard_normal((2, 3, 3))
    try:
        output = _mixed(mixture, scores, value)[1]
    except Feedback:
        return trouble
    weights = to_numpy(softmax(scores))
    for other, words in (
        (weights.mT @ value, "a column of the weights"),
        (weights @ value.mT, "the columns of value"),
    ):
        if np.allclose(output, other, rtol=1e-5):
            return Feedback(f"Your mixture takes {words}: that runs only where all is square.")
    return trouble
