"""Checkers of the answers that are a number, sets of rows, parameters or a pruning."""

import functools
from dataclasses import replace
from typing import Any

import numpy as np

from companion.arrays import array_module, random_normal, to_numpy
from companion.exercises.feedback import (
    Feedback,
    entries,
    floats,
    function,
    instance,
    on_the_host,
    result,
    rounding,
    rows,
    run,
    say,
    whole_number,
)
from companion.feed_forward import FeedForwardParameters, feed_forward, relu

__all__ = ["check_changed_rows", "check_gated_width", "check_maximum", "check_prune"]

TOKENS, CHANGED = 5, 4
CLOSE = 1e-2  # a relative error that is smaller is close
STOPS = "The network stops with"
WIDTH, STEP = 4096, 256


def check_changed_rows(attempt: Any) -> None:
    """Check the pair of sets of rows that change behind networks alone, and behind attention."""
    say(_changed_rows, attempt)


def _changed_rows(attempt: Any) -> str:
    what_to_do = "give a pair of sets of row numbers, such as ({1, 2}, {3})"
    alone, mixed = (rows(part, TOKENS, what_to_do) for part in entries(attempt, 2, what_to_do))
    if alone == {CHANGED - 1}:
        raise Feedback("Three networks: another row. Are yours counted from one, as ran is row 4?")
    if alone != {CHANGED}:
        raise Feedback("Three networks: what does row i of a network's output depend on?")
    if len(mixed) < TOKENS:
        raise Feedback("With attention between: how small can a softmax weight be without a mask?")
    return "Right: networks keep tokens apart, and only attention brings them together."


def check_maximum(attempt: Any) -> None:
    """Check the parameters of a ReLU network that returns the larger of two numbers."""
    say(_maximum, attempt)


def _maximum(attempt: Any) -> str:
    what_to_do = "give FeedForwardParameters with w_1 of (2, m), w_2 of (m, 1)"
    instance(attempt, FeedForwardParameters, "FeedForwardParameters", what_to_do)
    takes, gives = attempt.w_1.shape[0], attempt.w_2.shape[1]
    if (takes, gives) != (2, 1):
        raise Feedback(
            f"Two numbers go in and one comes out; yours takes {takes} and gives {gives}."
        )
    rng = np.random.default_rng(0)
    # From tiny pairs to huge ones: no constant is small beside all of them, or large.
    pairs = rng.standard_normal((200, 2)) * 2.0 ** rng.uniform(-30, 30, (200, 1))
    network = on_the_host(attempt, trouble=STOPS)
    forward = functools.partial(feed_forward, activation=relu)
    got = run(forward, pairs, network, trouble=STOPS)[:, 0]
    largest = np.abs(pairs).max(axis=1)
    error = np.abs(got - pairs.max(axis=1))
    wrong = ~(error <= rounding(floats(attempt.w_1), roundings=8) * largest)
    if not wrong.any():
        return f"Right, for 200 random pairs, with {attempt.w_1.shape[1]} hidden units."
    for where, feedback in (
        (pairs.min(axis=1) > 0, "both numbers are positive. What does ReLU do to a negative one?"),
        (pairs[:, 0] > pairs[:, 1], "the first number is the larger one, and wrong elsewhere."),
        (pairs[:, 0] < pairs[:, 1], "the second number is the larger one, and wrong elsewhere."),
    ):
        if not wrong[where].any():
            raise Feedback(f"It is right where {feedback}")
    share = float(np.mean(error / largest < CLOSE))
    if share > 0.5:
        row = int(np.argmax(error / largest))
        s, t = pairs[row]
        off = got[row] - pairs[row].max()
        close = "Mostly close" if share > 0.9 else f"Close for {share:.0%} of the pairs"
        raise Feedback(f"{close}, but not exact: it is off by {off:.2g} for ({s:.3g}, {t:.3g}).")
    raise Feedback("Not the larger one yet. It is t, plus s − t where that is positive.")


def check_prune(attempt: Any) -> None:
    """Check a function (parameters, m) → parameters that takes hidden unit m out, nothing else."""
    say(_prune, attempt)


def _prune(attempt: Any) -> str:
    prune = function(attempt, "write a function (parameters, m) → parameters")
    rng = np.random.default_rng(5)
    for sizes, bias in (((3, 5, 2), True), ((3, 5, 2), False), ((2, 8, 7), True)):
        network = _drawn_network(rng, sizes, bias)
        for m in (0, 2, sizes[1] - 1):
            case, unfinished = f" for bias={bias}, m={m}", "your function returns nothing"
            pruned = result(prune, network, m, case=case, unfinished=unfinished)
            _check_pruned(pruned, network, m)
    return "Right: a column, an entry of the first bias and a row belong to each unit."


def _drawn_network(
    rng: np.random.Generator, sizes: tuple[int, int, int], bias: bool
) -> FeedForwardParameters:
    """Draw a network in which nothing is zero and no two sizes are equal."""
    width, hidden, gives = sizes
    shapes = ((width, hidden), (hidden,), (hidden, gives), (gives,))
    w_1, b_1, w_2, b_2 = (random_normal(shape, rng, xp=array_module()) for shape in shapes)
    return FeedForwardParameters(w_1, b_1 if bias else None, w_2, b_2 if bias else None)


def _check_pruned(pruned: Any, network: FeedForwardParameters, m: int) -> None:
    """Say what is wrong with a network that should have lost unit m and no other."""
    instance(pruned, FeedForwardParameters, "FeedForwardParameters", "return the parameters")
    (width, hidden), gives = network.w_1.shape, network.w_2.shape[1]
    fitting = (width, hidden - 1), (hidden - 1, gives)
    shapes = tuple(pruned.w_1.shape), tuple(pruned.w_2.shape)
    if shapes != fitting:
        raise Feedback(
            f"Of {hidden} hidden units {hidden - 1} must be left: w_1 {fitting[0]} and w_2 "
            f"{fitting[1]}; yours are {shapes[0]} and {shapes[1]}."
        )
    kept, whole = (on_the_host(p, trouble=STOPS) for p in (pruned, network))
    silent = replace(whole, w_2=np.where(np.arange(hidden)[:, None] == m, 0.0, whole.w_2))
    coarseness = rounding(floats(pruned.w_1))
    for scale in (0.1, 1.0, 10.0):
        x = scale * np.random.default_rng(6).standard_normal((9, width))
        right = to_numpy(feed_forward(x, silent))
        gap = np.abs(run(feed_forward, x, kept, trouble=STOPS) - right)
        if not (gap <= coarseness * np.abs(right).max()).all():
            raise Feedback(
                f"The shapes fit, but more than unit {m} of {hidden} is missing, or another one."
            )


def check_gated_width(attempt: Any) -> None:
    """Check the least multiple of 256 that gives a gated network the weights of a plain one."""
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
