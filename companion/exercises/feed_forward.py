"""Checkers for the exercises of the chapter on the feed-forward network."""

from dataclasses import replace
from typing import Any

import numpy as np

from companion.arrays import array_namespace, random_normal, to_numpy
from companion.exercises.feedback import (
    Feedback,
    attempted,
    entries,
    function,
    mismatch,
    result,
    rows,
    say,
    whole_number,
)
from companion.feed_forward import FeedForwardParameters, feed_forward, relu
from companion.parameters import map_parameters

__all__ = ["check_changed_rows", "check_gated_width", "check_maximum", "check_prune"]

TOKENS, CHANGED = 5, 4
WIDTH, STEP = 4096, 256


def check_changed_rows(attempt: Any) -> None:
    """Check the pair of sets of rows that change behind networks alone, and behind attention."""
    say(_changed_rows, attempt)


def _changed_rows(attempt: Any) -> str:
    what_to_do = "give a pair of sets of row numbers, such as ({1, 2}, {3})"
    alone, mixed = (rows(part, TOKENS, what_to_do) for part in entries(attempt, 2, what_to_do))
    if alone != {CHANGED}:
        raise Feedback("Three networks: what does row i of a network's output depend on?")
    if len(mixed) < TOKENS:
        raise Feedback("With attention between: how small can a softmax weight be without a mask?")
    return "Right: networks keep tokens apart, and only attention brings them together."


def check_maximum(attempt: Any) -> None:
    """Check the parameters of a ReLU network that returns the larger of two numbers."""
    say(_maximum, attempt)


def _maximum(attempt: Any) -> str:
    attempted(attempt, "give FeedForwardParameters with w_1 of (2, m), w_2 of (m, 1)")
    if not isinstance(attempt, FeedForwardParameters):
        raise mismatch("FeedForwardParameters", attempt)
    takes, gives = attempt.w_1.shape[0], attempt.w_2.shape[1]
    if (takes, gives) != (2, 1):
        raise Feedback(
            f"Two numbers go in and one comes out; yours takes {takes} and gives {gives}."
        )
    xp = array_namespace(w_1=attempt.w_1)
    drawn = random_normal((200, 2), np.random.default_rng(0), xp=xp, dtype=attempt.w_1.dtype)
    got = to_numpy(feed_forward(drawn, attempt, activation=relu))[:, 0]
    pairs = to_numpy(drawn)
    wrong = np.abs(got - pairs.max(axis=1)) > 1e-4
    if not wrong.any():
        return f"Right, for 200 random pairs, with {attempt.w_1.shape[1]} hidden units."
    for where, feedback in (
        (pairs.min(axis=1) > 0, "both numbers are positive. What does ReLU do to a negative one?"),
        (pairs[:, 0] > pairs[:, 1], "the first number is the larger one, and wrong elsewhere."),
        (pairs[:, 0] < pairs[:, 1], "the second number is the larger one, and wrong elsewhere."),
    ):
        if not wrong[where].any():
            raise Feedback(f"It is right where {feedback}")
    raise Feedback("Not the larger one yet. It is t, plus s − t where that is positive.")


def check_prune(attempt: Any) -> None:
    """Check a function (parameters, m) → parameters that takes hidden unit m out, nothing else."""
    say(_prune, attempt)


def _prune(attempt: Any) -> str:
    prune = function(attempt, "write a function (parameters, m) → parameters")
    rng = np.random.default_rng(5)
    for bias in (True, False):
        drawn = FeedForwardParameters.random(rng, width=3, hidden=5, bias=bias)
        network = map_parameters(lambda array: array + random_normal(array.shape, rng), drawn)
        for m in (0, 2, 4):
            case, unfinished = f" for bias={bias}, m={m}", "your function returns nothing"
            pruned = result(prune, network, m, case=case, unfinished=unfinished)
            _check_pruned(pruned, network, m)
    return "Right: a column, an entry of the first bias and a row belong to each unit."


def _check_pruned(pruned: Any, network: FeedForwardParameters, m: int) -> None:
    """Say what is wrong with a network of 5 units that should have lost unit m."""
    if not isinstance(pruned, FeedForwardParameters):
        raise mismatch("FeedForwardParameters", pruned)
    if pruned.w_1.shape != (3, 4) or pruned.w_2.shape != (4, 3):
        raise Feedback(
            f"Of 5 hidden units 4 must be left: w_1 (3, 4) and w_2 (4, 3); "
            f"yours are {pruned.w_1.shape} and {pruned.w_2.shape}."
        )
    xp = array_namespace(w_1=network.w_1)
    keep = xp.asarray([[float(unit != m)] for unit in range(5)], dtype=network.w_2.dtype)
    silent = replace(network, w_2=network.w_2 * keep)
    x = random_normal((4, 3), np.random.default_rng(6), xp=xp, dtype=network.w_1.dtype)
    gap = feed_forward(x, pruned) - feed_forward(x, silent)
    if float(xp.max(xp.abs(gap))) > 1e-9:
        raise Feedback(f"The shapes fit, but more than unit {m} of 5 is missing, or another one.")


def check_gated_width(attempt: Any) -> None:
    """Check the smallest fitting width of the gated network."""
    say(_gated_width, attempt)


def _gated_width(attempt: Any) -> str:
    width = whole_number(attempt, "give a whole number")
    wanted = 2 * WIDTH * 4 * WIDTH
    if 3 * WIDTH * width < wanted:
        raise Feedback(
            "Too narrow: count the weights of all three matrices, and those of the plain two."
        )
    if width % STEP != 0:
        raise Feedback(f"Enough weights, but no multiple of {STEP}.")
    if 3 * WIDTH * (width - STEP) >= wanted:
        raise Feedback(f"Enough weights, but {STEP} fewer columns would do as well.")
    return "Right: 8/3 of d, rounded up to a multiple of 256."
