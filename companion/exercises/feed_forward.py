"""Checkers for the exercises of the chapter on the feed-forward network."""

import operator
from dataclasses import replace
from typing import Any

import numpy as np

from companion.arrays import array_namespace, random_normal, to_numpy
from companion.feed_forward import FeedForwardParameters, feed_forward, relu
from companion.parameters import map_parameters

__all__ = ["check_changed_rows", "check_gated_width", "check_maximum", "check_prune"]

TOKENS, CHANGED = 5, 4
WIDTH, STEP = 4096, 256


def check_changed_rows(attempt: Any) -> None:
    """Say whether these are the rows that change behind networks alone, and behind attention."""
    if attempt is None or attempt is ...:
        print("Not attempted yet: give a pair of sets of row numbers, such as ({1, 2}, {3}).")
        return
    if not isinstance(attempt, (tuple, list)) or len(attempt) != 2:
        print("Give a pair: the rows behind three networks, and the rows with attention between.")
        return
    if not all(isinstance(rows, (set, frozenset, list, tuple)) for rows in attempt):
        print("Each of the two is a set of row numbers, such as {1, 2}.")
        return
    alone, mixed = (set(rows) for rows in attempt)
    every = set(range(1, TOKENS + 1))
    if not alone | mixed <= every:
        print(f"There are rows 1 to {TOKENS}, counted from one.")
    elif alone != {CHANGED}:
        print("Three networks: what does row i of a network's output depend on?")
    elif mixed != every:
        print("With attention between: how small can a softmax weight be without a mask?")
    else:
        print("Right: networks keep tokens apart, and only attention brings them together.")


def check_maximum(attempt: Any) -> None:
    """Say whether a ReLU network returns the larger of two numbers."""
    if attempt is None or attempt is ...:
        print("Not attempted yet: give FeedForwardParameters with w_1 of (2, m), w_2 of (m, 1).")
        return
    if not isinstance(attempt, FeedForwardParameters):
        print(f"Give FeedForwardParameters; this is {type(attempt).__name__}.")
        return
    shape = attempt.w_1.shape[0], attempt.w_2.shape[1]
    if shape != (2, 1):
        print(f"Two numbers go in and one comes out; yours takes {shape[0]} and gives {shape[1]}.")
        return
    xp = array_namespace(w_1=attempt.w_1)
    numbers = random_normal((200, 2), np.random.default_rng(0), xp=xp, dtype=attempt.w_1.dtype)
    got = to_numpy(feed_forward(numbers, attempt, activation=relu))[:, 0]
    pairs = to_numpy(numbers)
    wrong = np.abs(got - pairs.max(axis=1)) > 1e-4
    if not wrong.any():
        print(f"Right, for 200 random pairs, with {attempt.w_1.shape[1]} hidden units.")
    elif not wrong[pairs.min(axis=1) > 0].any():
        print("It is right where both numbers are positive. What does ReLU do to a negative one?")
    elif not wrong[pairs[:, 0] > pairs[:, 1]].any():
        print("It is right where the first number is the larger one, and wrong elsewhere.")
    elif not wrong[pairs[:, 0] < pairs[:, 1]].any():
        print("It is right where the second number is the larger one, and wrong elsewhere.")
    else:
        print("Not the larger one yet. The larger one is t, plus s − t where that is positive.")


def check_prune(attempt: Any) -> None:
    """Say whether a function takes one hidden unit out of a network and nothing else."""
    if attempt is None or attempt is ...:
        print("Not attempted yet: write a function (parameters, m) → parameters.")
        return
    if not callable(attempt):
        print(f"A function is asked for, and this is {type(attempt).__name__}.")
        return
    rng = np.random.default_rng(5)
    for bias in (True, False):
        drawn = FeedForwardParameters.random(rng, width=3, hidden=5, bias=bias)
        network = map_parameters(lambda array: array + random_normal(array.shape, rng), drawn)
        for m in (0, 2, 4):
            try:
                pruned = attempt(network, m)
            except Exception as error:
                print(f"With bias={bias}, m={m} it stops with {type(error).__name__}: {error}.")
                return
            fault = _fault_of_pruned(pruned, network, m)
            if fault is not None:
                print(fault)
                return
    print("Right: a column, an entry of the first bias and a row belong to each unit.")


def _fault_of_pruned(pruned: Any, network: FeedForwardParameters, m: int) -> str | None:
    """Say what is wrong with a network of 5 units that should have lost unit m, or None."""
    if pruned is None:
        return "Not attempted yet: your function returns nothing."
    if not isinstance(pruned, FeedForwardParameters):
        return f"It must return FeedForwardParameters; this is {type(pruned).__name__}."
    if pruned.w_1.shape != (3, 4) or pruned.w_2.shape != (4, 3):
        return (
            f"Of 5 hidden units 4 must be left: w_1 (3, 4) and w_2 (4, 3); "
            f"yours are {pruned.w_1.shape} and {pruned.w_2.shape}."
        )
    xp = array_namespace(w_1=network.w_1)
    keep = xp.asarray([[float(unit != m)] for unit in range(5)], dtype=network.w_2.dtype)
    silent = replace(network, w_2=network.w_2 * keep)
    x = random_normal((4, 3), np.random.default_rng(6), xp=xp, dtype=network.w_1.dtype)
    gap = feed_forward(x, pruned) - feed_forward(x, silent)
    if float(xp.max(xp.abs(gap))) > 1e-9:
        return f"The shapes fit, but more than unit {m} of 5 is missing, or another one."
    return None


def check_gated_width(attempt: Any) -> None:
    """Say whether this is the smallest fitting width of the gated network."""
    if attempt is None or attempt is ...:
        print("Not attempted yet: give a whole number.")
        return
    try:
        width = operator.index(attempt)
    except TypeError:
        print(f"Give a whole number; got {attempt!r}.")
        return
    wanted = 2 * WIDTH * 4 * WIDTH
    if 3 * WIDTH * width < wanted:
        print("Too narrow: count the weights of all three matrices, and those of the plain two.")
    elif width % STEP != 0:
        print(f"Enough weights, but no multiple of {STEP}.")
    elif 3 * WIDTH * (width - STEP) >= wanted:
        print(f"Enough weights, but {STEP} fewer columns would do as well.")
    else:
        print("Right: 8/3 of d, rounded up to a multiple of 256.")
