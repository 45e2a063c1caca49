"""Checkers for the exercises of the chapter on softmax and weighted values."""

from typing import Any

import numpy as np

from companion.arrays import array_module, to_numpy
from companion.examples.running_example import running_example
from companion.exercises.feedback import (
    Feedback,
    attempted,
    floats,
    function,
    mismatch,
    number,
    result,
    say,
)
from companion.projections import project_qkv
from companion.scores import scaled_scores
from companion.softmax import softmax

__all__ = [
    "check_jacobian_product",
    "check_needed_lead",
    "check_quiet_softmax",
    "check_rising_tokens",
]

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def check_rising_tokens(attempt: Any) -> None:
    """Check which of the five tokens get more weight from *cat* when all its scores double."""
    say(_rising_tokens, attempt)


def _rising_tokens(attempt: Any) -> str:
    attempted(attempt, "name tokens, such as {'the', 'ran'}")
    example = running_example(xp=array_module())
    if not isinstance(attempt, set | frozenset | list | tuple):
        raise mismatch("A set of tokens", attempt)
    strangers = [token for token in attempt if token not in example.tokens]
    if strangers:
        raise Feedback(f"{strangers[0]!r} is none of the tokens {', '.join(example.tokens)}.")
    matrices = (weight[0, ...] for weight in (example.w_q, example.w_k, example.w_v))
    query, key, _ = project_qkv(example.x, *matrices)
    scores = scaled_scores(query, key)[2, :]
    rises = to_numpy(softmax(2 * scores) > softmax(scores))
    rising = {token for token, more in zip(example.tokens, rises, strict=True) if more}
    falling = set(attempt) - rising
    if falling:
        raise Feedback(
            f"Tokens you name that get less weight: {len(falling)}. Doubling favours a score only "
            "if it lies above the average score, taken with the weights."
        )
    if set(attempt) != rising:
        raise Feedback("A token that gains is missing: the weights still sum to one.")
    return "Right: no other score lies above the mean that the weights make."


def check_jacobian_product(attempt: Any) -> None:
    """Check a function (weights, gradient by them) → gradient by the scores, all (..., n)."""
    say(_jacobian_product, attempt)


def _jacobian_product(attempt: Any) -> str:
    back = function(attempt)
    scores = _numbers((3, 7), seed=1)
    gradient = _numbers((3, 7), seed=2)
    weights = softmax(scores)
    got = floats(result(back, weights, gradient), (3, 7), "3 rows, each with 7 scores")
    w, g = to_numpy(weights), to_numpy(gradient)
    sums = np.abs(got.sum(axis=-1))
    if np.max(sums) > 1e-9:
        raise Feedback(
            f"Row {int(np.argmax(sums))} does not sum to zero, but adding one number to all scores "
            "of a row changes no weight."
        )
    right = w * (g - (w * g).sum(axis=-1, keepdims=True))
    if not np.allclose(got, right, **CLOSE):
        row = int(np.argmax(np.abs(got - right).max(axis=-1)))
        raise Feedback(f"Row {row} sums to zero, but is not the Jacobian times its gradient.")
    return "Right. If you formed J on the way, ask what it costs for n = 100,000."


def check_quiet_softmax(attempt: Any) -> None:
    """Check a softmax whose row may also say nothing: exp(s_j) / (1 + the sum of exp(s_l))."""
    say(_quiet_softmax, attempt)


def _quiet_softmax(attempt: Any) -> str:
    quiet = function(attempt)
    scores = _numbers((3, 4), seed=3)
    shape = ((3, 4), "3 rows, each with 4 scores")
    got = floats(result(quiet, scores), *shape)
    if np.allclose(got.sum(axis=-1), 1.0):
        raise Feedback("Every row sums to one: nothing is left for saying nothing.")
    powers = np.exp(to_numpy(scores))
    if not np.allclose(got, powers / (1 + powers.sum(axis=-1, keepdims=True)), **CLOSE):
        raise Feedback("For small scores the weights are not exp(s_j) / (1 + Σ exp(s_l)).")
    loud = floats(result(quiet, scores + 1000.0), *shape)
    if not np.allclose(loud, to_numpy(softmax(scores)), **CLOSE):
        raise Feedback("Right for small scores; with 1000 added to each, something overflows.")
    silent = floats(result(quiet, scores - 1000.0), *shape)
    if not np.allclose(silent, 0.0, **CLOSE):
        raise Feedback(
            "Right for small and for large scores; with 1000 taken from each, the weights should "
            f"all but vanish, and row 0 sums to {silent[0].sum():.2f}."
        )
    return "Right: it is the softmax with one more key, of score 0 and value 0."


def check_needed_lead(attempt: Any) -> None:
    """Check a function (n, p) → lead of one score over n − 1 equal ones that makes its weight p."""
    say(_needed_lead, attempt)


def _needed_lead(attempt: Any) -> str:
    needed_lead = function(attempt)
    xp = array_module()
    for n, p in ((2, 0.5), (2, 0.9), (10, 0.5), (1000, 0.25), (100_000, 0.99)):
        case = f" for n = {n} and p = {p}"
        lead = number(result(needed_lead, n, p, case=case), "return the lead")
        row = xp.zeros(n, dtype=xp.float64)
        weight = float(softmax(xp.where(xp.arange(n) == 0, row + lead, row))[0])
        if abs(weight - p) > 1e-9:
            raise Feedback(f"Your lead{case} gives the one token the weight {weight:.4f}.")
    return "Right: the needed lead grows like the logarithm of the length."


def _numbers(shape: tuple[int, ...], *, seed: int) -> Any:
    xp = array_module()
    return xp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype=xp.float64)
