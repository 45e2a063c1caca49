"""Checkers of the answers that are tokens, a number, or a function of rows of scores."""

from collections.abc import Callable
from typing import Any

import numpy as np

from companion.arrays import to_numpy
from companion.examples.running_example import running_example
from companion.exercises.feedback import (
    Feedback,
    agrees,
    floats,
    function,
    members,
    number,
    result,
    rounding,
    say,
)
from companion.exercises.softmax.rows import moved, place
from companion.projections import project_qkv
from companion.scores import scaled_scores
from companion.softmax import softmax

__all__ = [
    "check_jacobian_product",
    "check_needed_lead",
    "check_quiet_softmax",
    "check_rising_tokens",
]

#: A lead may be off by the rounding of a few steps, also in float32.
ROUNDED = 1e-5


def check_rising_tokens(attempt: Any) -> None:
    """Check which of the five tokens get more weight from *cat* when all its scores double."""
    say(_rising_tokens, attempt)


def _rising_tokens(attempt: Any) -> str:
    named = members(attempt, "A set of tokens", "name tokens, such as {'the', 'ran'}")
    example = running_example(np)
    strangers = [t for t in named if not (isinstance(t, str) and t in example.tokens)]
    if strangers:
        raise Feedback(f"{strangers[0]!r:.40} is none of the tokens {', '.join(example.tokens)}.")
    query, key, _ = project_qkv(example.x, example.w_q[0], example.w_k[0], example.w_v[0])
    scores = scaled_scores(query, key)[2]
    rises = to_numpy(softmax(2 * scores) > softmax(scores))
    rising = {token for token, more in zip(example.tokens, rises, strict=True) if more}
    falling = set(named) - rising
    if falling:
        raise Feedback(
            f"Tokens you name that get less weight: {len(falling)}. Doubling favours a score only "
            "if it lies above the average score, taken with the weights."
        )
    if set(named) != rising:
        raise Feedback("A token that gains is missing: the weights still sum to one.")
    return "Right: no other score lies above the mean that the weights make."


def check_jacobian_product(attempt: Any) -> None:
    """Check a function (weights, gradient by them) → gradient by the scores, all (..., n)."""
    say(_jacobian_product, attempt)


def _jacobian_product(attempt: Any) -> str:
    back = function(attempt)
    rng = np.random.default_rng(1)
    for shape, spread, size in (((3, 7), 1, 1), ((4,), 3, 1e3), ((2, 3, 5), 0.3, 1e-3)):
        w = to_numpy(softmax(spread * rng.standard_normal(shape)))
        g = size * (1 + rng.standard_normal(shape))
        case = f" for arrays of shape {shape}"
        returned = result(back, *moved(w, g), case=case)
        got = floats(returned, shape, f"{_rows_of(shape)}, as they came")
        right = w * (g - (w * g).sum(axis=-1, keepdims=True))
        _check_gradient(got, right, size=(w * np.abs(g)).sum(axis=-1, keepdims=True))
    return "Right. If you formed J on the way, ask what it costs for n = 100,000."


def _check_gradient(got: np.ndarray, right: np.ndarray, size: np.ndarray) -> None:
    wrong = ~(np.abs(got.sum(axis=-1, keepdims=True)) <= rounding(got) * size)
    if wrong.any():
        raise Feedback(
            f"Row {place(wrong)} does not sum to zero, but adding one number to all scores "
            "of a row changes no weight."
        )
    wrong = ~(np.abs(got - right) <= rounding(got) * size)
    if wrong.any():
        raise Feedback(
            f"Row {place(wrong)} sums to zero, but is not the Jacobian times its gradient."
        )


def _rows_of(shape: tuple[int, ...]) -> str:
    return f"{' × '.join(str(n) for n in shape[:-1])} rows, each with {shape[-1]} scores".lstrip()


def check_quiet_softmax(attempt: Any) -> None:
    """Check a softmax whose row may also say nothing: exp(s_j) / (1 + the sum of exp(s_l))."""
    say(_quiet_softmax, attempt)


def _quiet_softmax(attempt: Any) -> str:
    quiet = function(attempt)
    rng = np.random.default_rng(3)
    for shape in ((3, 4), (6,), (2, 3, 5)):
        scores = rng.standard_normal(shape)
        _check_quiet(quiet, scores)
        if len(shape) > 1:
            # Rows so far apart that one maximum for all of them would not do.
            levels = np.resize([-1000.0, 0.0, 1000.0, 5.0], shape[:-1])
            if not _is_quiet(quiet, scores + levels[..., None]):
                raise Feedback(
                    f"Where all rows of {shape} are alike it is right; with rows around −1000, 0 "
                    "and 1000 in one array some row is wrong. Whose maximum is taken away from it?"
                )
    return "Right: it is the softmax with one more key, of score 0 and value 0."


def _check_quiet(quiet: Callable[..., Any], scores: np.ndarray) -> None:
    if agrees(_quiet_weights(quiet, scores).sum(axis=-1), np.ones(scores.shape[:-1])):
        raise Feedback("Every row sums to one: nothing is left for saying nothing.")
    if not _is_quiet(quiet, scores) or not _is_quiet(quiet, 3 * scores - 4):
        raise Feedback("For small scores the weights are not exp(s_j) / (1 + Σ exp(s_l)).")
    if not _is_quiet(quiet, scores + 1000.0):
        raise Feedback(
            "Small scores come out right; with 1000 added to each, something "
            "overflows or is cut off."
        )
    if not _is_quiet(quiet, scores - 1000.0):
        total = _quiet_weights(quiet, scores - 1000.0).sum(axis=-1).flat[0]
        raise Feedback(
            "Small and large scores come out right; with 1000 taken from each, the weights "
            f"should all but vanish, and row 0 sums to {total:.2g}."
        )


def _is_quiet(quiet: Callable[..., Any], scores: np.ndarray) -> bool:
    top = np.maximum(scores.max(axis=-1, keepdims=True), 0.0)
    powers = np.exp(scores - top)
    right = powers / (np.exp(-top) + powers.sum(axis=-1, keepdims=True))
    size = 8 + np.abs(scores).max()  # what rounds a score of this size changes its power as much
    return agrees(_quiet_weights(quiet, scores), right, size=size, roundings=8)


def _quiet_weights(quiet: Callable[..., Any], scores: np.ndarray) -> np.ndarray:
    returned = result(quiet, *moved(scores), case=f" for scores of shape {scores.shape}")
    return floats(returned, scores.shape, _rows_of(scores.shape))


def check_needed_lead(attempt: Any) -> None:
    """Check a function (n, p) → lead of one score over n − 1 equal ones that makes its weight p."""
    say(_needed_lead, attempt)


def _needed_lead(attempt: Any) -> str:
    needed_lead = function(attempt)
    for n, p in ((2, 0.5), (2, 0.9), (3, 0.1), (10, 0.5), (1000, 0.25), (100_000, 0.99)):
        case = f" for n = {n} and p = {p}"
        lead = number(result(needed_lead, n, p, case=case), "return the lead")
        weight = float(softmax(np.where(np.arange(n) == 0, lead, 0.0))[0])
        if not abs(weight - p) <= ROUNDED * p * (1 - p):
            raise Feedback(f"Your lead{case} gives the one token the weight {weight:.8g}.")
    return "Right: the needed lead grows like the logarithm of the length."
