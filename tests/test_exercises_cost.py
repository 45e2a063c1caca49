"""The exercises of the chapter on what attention costs: what their checkers take for right."""

from decimal import Decimal

import numpy as np

from companion.exercises import cost as exercises
from tests.support.attempts import Attempts, tried_on


def pairs(n, left):
    width = min(left + 1, n)
    return width * n - width * (width - 1) // 2


class Pairs(int):
    """A whole number that a class makes of a length and a bound."""

    def __new__(cls, tokens, back):
        return super().__new__(cls, pairs(tokens, back))


ATTEMPTS = {
    exercises.check_weights_bytes: Attempts(
        wrong=[
            (2, "one head"),
            (32, "float16 takes two"),
            (128, "float32"),
            (2**36, "divide by"),
            (2**36 / 1e9, "gigabytes"),
            (63.5, "a square for every head"),
        ],
        odd=[64.0, np.asarray(64), np.float32(64), Decimal(64)],
        other=[
            (None, "Not attempted"),
            ("64", "A number is asked for"),
            (5, "a square for every head"),
            (float("nan"), "finite"),
            (10**400, "ordinary size"),
            (np.asarray("many"), "A number is asked for"),
            (64, "Right"),
        ],
    ),
    exercises.check_window_pairs: Attempts(
        wrong=[
            (lambda n, left: n * left, "Too few pairs for N = 1 and 0"),
            (lambda n, left: n * (left + 1), "Too many pairs for N = 9 and 3"),
            (lambda n, _: n * (n + 1) // 2, "Too many pairs for N = 9 and 0"),
            (
                lambda n, left: n * (left + 1) - left * (left + 1) // 2,
                "Too few pairs for N = 3 and 9 tokens back. How far back can the last token see?",
            ),
            (lambda n, left: pairs(n, left - 1) + (left == 0) * n, "Too few pairs for N = 9 and 3"),
            (lambda n, left: pairs(n, left) + (left == n), "Too many pairs for N = 6 and 6"),
        ],
        odd=[
            Pairs,
            lambda a, b: float(np.tril(np.triu(np.ones((a, a)), -b)).sum()),
            lambda n, left: np.asarray(sum(min(i, left) + 1 for i in range(n))),
        ],
        other=[
            (..., "Not attempted"),
            (3, "A function is asked for"),
            (lambda: 3, "0 tokens back with TypeError"),
            (lambda *_: None, "returns nothing"),
            (lambda *_: "1", "A number is asked for"),
            (pairs, "Right"),
        ],
    ),
    exercises.check_decoding_batch: Attempts(
        wrong=[
            (150, "too few"),
            (600, "more than it takes"),
            (298, "takes part in 596 FLOPs: too few"),
            (301, "more than it takes"),
            (299.5, "A whole number is asked for"),
        ],
        odd=[300.0, np.asarray(300), np.float32(300)],
        other=[
            (None, "Not attempted"),
            (True, "number is asked for, and this is bool"),
            (0, "positive"),
            (1, "too few"),
            (1e308, "ordinary size"),
            (300, "Right"),
        ],
    ),
    exercises.check_cache_heads: Attempts(
        wrong=[
            (32, "16 GiB"),
            (4, "room for more"),
            (7, "room for more"),
            (16, "take 8 GiB"),
            (7.5, "A whole number is asked for, got 7.5"),
        ],
        odd=[8.0, np.asarray(8), np.float32(8)],
        other=[
            (None, "Not attempted"),
            (1.5, "whole number"),
            (-8, "at least 1"),
            (8, "Right"),
        ],
    ),
}

test_attempts = tried_on(ATTEMPTS)
