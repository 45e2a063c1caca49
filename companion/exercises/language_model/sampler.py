"""A checker for the sampler that the reader writes, by how often it chooses each token.

A sampler turns one number between 0 and 1 into a token. So all numbers of a fine grid are tried,
and the shares of the tokens are the probabilities, in whatever order the sampler lines them up.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from companion.arrays import array_module
from companion.exercises.feedback import (
    Feedback,
    function,
    result,
    say,
    whole_number,
)
from companion.language_model import Sampling, next_token_probabilities

__all__ = ["check_sampler"]

GRID = 500  # numbers that are tried; a share is exact to within 2 of it


_END = {0.0: "smallest", 1 - 2**-53: "largest"}  # of the numbers u


class Choice(NamedTuple):
    """What a reader's function is handed beside the number."""

    logits: np.ndarray  # (V,)
    temperature: float
    top_p: float


def check_sampler(attempt: Any) -> None:
    """Check a function (logits, temperature, top_p, u) → token: (V,) and three numbers → int."""
    say(_sampler, attempt)


def _sampler(attempt: Any) -> str:
    choose = function(attempt, "write choose(logits, temperature, top_p, u)")
    spread = np.log([0.02, 0.4, 0.08, 0.3, 0.15, 0.05])
    for choice in (
        Choice(spread[::-1], 2.0, 0.84),
        Choice(spread, 1.0, 1.0),
        Choice(spread, 0.5, 1.0),
        Choice(spread, 1.0, 0.6),
        Choice(spread + 900, 1.0, 0.9),
    ):
        found = _shares(choose, choice)
        if _same(found, _right(choice)):
            continue
        raise Feedback(_what_is_wrong(found, choice))
    _check_ends(choose)
    _check_ties(choose)
    return "Right: one number, one token, and each as often as it should be."


def _check_ends(choose: Callable[..., Any]) -> None:
    """Try the ends of the numbers, where a token that cannot come stands first and last."""
    logits = np.asarray([-np.inf, 0.3, 0.1, -np.inf])
    for u in _END:
        if _run(choose, Choice(logits, 1.0, 1.0), u) not in (1, 2):
            raise Feedback(f"For the {_END[u]} u it takes a token whose logit is −∞.")
    for drawn in np.random.default_rng(41).standard_normal((40, 6)):  # some sum up to less than 1
        try:
            _run(choose, Choice(drawn, 1.0, 1.0), max(_END))
        except Feedback:
            raise Feedback(
                "For the largest u below 1 it runs off the end: rounding may leave the sum of the "
                "probabilities no larger than u."
            ) from None


def _check_ties(choose: Callable[..., Any]) -> None:
    """Try tokens that are equally likely, of which some reach top_p exactly."""
    found = np.sort(_shares(choose, Choice(np.zeros(4), 1.0, 0.5)))
    if not _same(found, np.asarray([0, 0, 0.5, 0.5])):
        raise Feedback("Of four equally likely tokens any two reach top_p = 0.5, and no more stay.")


def _shares(choose: Callable[..., Any], choice: Choice) -> np.ndarray:
    """Return how often each token is chosen."""
    size = len(choice.logits)
    tokens = [_run(choose, choice, (k + 0.5) / GRID) for k in range(GRID)]
    return np.bincount(tokens, minlength=size) / GRID


def _run(choose: Callable[..., Any], choice: Choice, u: float) -> int:
    xp = array_module()
    logits = xp.asarray(choice.logits, copy=True)
    token = whole_number(
        result(choose, logits, choice.temperature, choice.top_p, u), "return a token's number"
    )
    if not 0 <= token < len(choice.logits):
        raise Feedback(f"There are tokens 0 to {len(choice.logits) - 1}, and you return {token}.")
    return token


def _same(found: np.ndarray, probabilities: np.ndarray) -> bool:
    gap = np.abs(found - probabilities).max()
    never = found[probabilities == 0]
    return bool(gap <= 2 / GRID and not never.any())


def _right(choice: Choice) -> np.ndarray:
    sampling = Sampling(temperature=choice.temperature, top_p=choice.top_p)
    return next_token_probabilities(choice.logits, sampling)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    shares: np.ndarray = powers / powers.sum()
    return shares


def _what_is_wrong(found: np.ndarray, choice: Choice) -> str:
    for said, mistaken in _mistakes(choice):
        if _same(found, mistaken):
            return said
    allowed = _right(choice) > 0
    case = f"with temperature {choice.temperature:g} and top_p {choice.top_p:g}"
    if found[~allowed].any():
        return f"Not yet: {case} it takes tokens that should be cut off."
    if not found[allowed].all():
        return f"Not yet: {case} some token never comes that should."
    return f"Not yet: {case} the right tokens come, but not as often as they should."


def _mistakes(choice: Choice) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what to say of each mistake, and the shares that it makes."""
    logits, temperature, top_p = choice
    plain, warm = _softmax(logits), _softmax(logits / temperature)
    yield (
        "You multiply the logits by the temperature: a high one should level them.",
        _cut(_softmax(logits * temperature), top_p),
    )
    yield "The temperature changes nothing.", _cut(plain, top_p)
    yield "top_p cuts nothing off.", warm
    yield (
        "You cut before the temperature has acted. Here the temperature comes first.",
        _restricted(warm, _cut(plain, top_p) > 0),
    )
    order = np.argsort(-warm)
    reached = np.cumsum(warm[order])
    inside = np.zeros(len(warm), dtype=bool)
    inside[order[reached <= top_p]] = True
    if inside.any():
        yield (
            "You leave out the token with which top_p is reached. The fewest that reach it stay.",
            _restricted(warm, inside),
        )
    kept = _cut(warm, top_p) > 0
    for last in (order[kept.sum() - 1], np.flatnonzero(kept)[-1], len(warm) - 1):
        rest = np.where(kept, warm, 0)
        rest[last] += 1 - rest.sum()
        yield "What is left is not brought back to a sum of 1: one token gets all the rest.", rest
    yield (
        "That keeps tokens of at least a certain probability. top_p is about their sum.",
        _restricted(warm, warm >= top_p * warm.max()),
    )
    yield (
        "You add up the tokens in the order of their numbers. The likeliest come first.",
        _restricted(warm, np.cumsum(warm) - warm < top_p),
    )
    most = np.zeros_like(plain)
    most[logits.argmax()] = 1
    yield "It takes the likeliest token whatever u is.", most


def _cut(weights: np.ndarray, top_p: float) -> np.ndarray:
    order = np.argsort(-weights)
    before = np.cumsum(weights[order]) - weights[order]
    kept = np.zeros(len(weights), dtype=bool)
    kept[order[before < top_p]] = True
    return _restricted(weights, kept)


def _restricted(weights: np.ndarray, kept: np.ndarray) -> np.ndarray:
    left = np.where(kept, weights, 0)
    shares: np.ndarray = left / left.sum()
    return shares
