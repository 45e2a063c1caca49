"""The exercises of the chapter on what attention costs: what their checkers take for right."""

from decimal import Decimal

import numpy as np
import pytest

from companion.exercises import cost as exercises
from companion.exercises.cost import layer as counts
from tests.support.attempts import Attempts, tried_on


def pairs(n, left):
    width = min(left + 1, n)
    return width * n - width * (width - 1) // 2


class Pairs(int):
    """A whole number that a class makes of a length and a bound."""

    def __new__(cls, tokens, back):
        return super().__new__(cls, pairs(tokens, back))


def layer(n, width, heads, d_k, d_v):
    """Give the shapes (rows, inner, columns) of six products, and how many there are of each."""
    return {
        "queries": (n, width, heads * d_k, 1),
        "keys": (n, width, heads * d_k, 1),
        "values": (n, width, heads * d_v, 1),
        "scores": (n, d_k, n, heads),
        "weighted values": (n, n, d_v, heads),
        "output": (n, heads * d_v, width, 1),
    }


def count(m, n, p, times):
    return 2 * times * m * n * p, 4 * times * (m * n + n * p + m * p)


def ledger(*sizes):
    return {step: count(*shape) for step, shape in layer(*sizes).items()}


def with_step(step, wrong):
    """Make a ledger in which one step is counted by a function of its shape and all sizes."""

    def counted(*sizes):
        return ledger(*sizes) | {step: wrong(*layer(*sizes)[step], sizes)}

    return counted


def with_all(wrong):
    """Make a ledger in which every step is counted otherwise."""
    return lambda *sizes: {step: wrong(*shape) for step, shape in layer(*sizes).items()}


def bytes_of(step, wrong):
    """Make a ledger in which one step's bytes are counted otherwise."""
    return with_step(step, lambda m, n, p, t, _: (2 * t * m * n * p, wrong(m, n, p, t)))


class Ledger(dict):
    """A dict by another name, which counts when it is made."""

    def __init__(self, *sizes):
        super().__init__({step: np.asarray(pair) for step, pair in ledger(*sizes).items()})


ATTEMPTS = {
    exercises.check_layer_ledger: Attempts(
        wrong=[
            (with_all(lambda m, n, p, t: (t * m * n * p, count(m, n, p, t)[1])), "is two of them"),
            (with_all(lambda *shape: count(*shape)[::-1]), "the bytes' place"),
            (
                with_all(lambda m, n, p, t: (t * m * p * (2 * n - 1), count(m, n, p, t)[1])),
                "an entry takes 52, not 51",
            ),
            (with_step("scores", lambda m, n, p, _, __: count(m, n, p, 1)), "that is one head"),
            (
                with_step("weighted values", lambda m, n, _, t, s: count(m, n, s[3], t)),
                "FLOPs of the weighted values: which width",
            ),
            (with_step("scores", lambda m, _, p, t, s: count(m, s[1], p, t)), "columns of its own"),
            (
                with_step("scores", lambda m, n, p, t, _: (t * m * (m + 1) * n, 4 * t * p)),
                "a mask hides scores that were computed",
            ),
            (with_step("scores", lambda m, n, _, t, __: count(m, n, 1, t)), "n stands in it twice"),
            (
                with_step("scores", lambda m, n, p, t, _: (2 * t * m * n * p * m, 0)),
                "that is a square too many",
            ),
            (
                with_step("output", lambda m, _, p, t, s: count(m, s[4], p, t)),
                "hold all heads, side by side",
            ),
            (
                with_step("output", lambda m, _, p, t, s: count(m, s[2] * s[3], p, t)),
                "with their values",
            ),
            (with_step("output", lambda m, _, p, t, __: count(m, p, p, t)), "on both sides"),
            (
                with_step("scores", lambda m, n, p, t, _: (2 * t * m * n * p + 6 * t * m * p, 0)),
                "the softmax is no product",
            ),
            (
                with_step(
                    "weighted values", lambda m, n, p, t, _: (2 * t * m * n * p + 5 * t * m * m, 0)
                ),
                "the softmax is no product",
            ),
            (
                lambda n, width, heads, _, d_v: ledger(n, width, heads, width // heads, d_v),
                "FLOPs of the queries: the width of a head is given",
            ),
            (
                lambda n, width, heads, d_k, _: ledger(n, width, heads, d_k, width // heads),
                "FLOPs of the values: the width of a head is given",
            ),
            (
                with_step("scores", lambda m, _, p, t, s: count(m, s[1] // s[2], p, t)),
                "FLOPs of the scores: the width of a head is given",
            ),
            (
                with_step("output", lambda m, _, p, t, s: count(m, s[2] * (s[1] // s[2]), p, t)),
                "FLOPs of the output: the width of a head is given",
            ),
            (
                with_step("queries", lambda m, n, _, t, s: count(m, n, s[3], t)),
                "FLOPs of the queries: that is one head",
            ),
            (
                with_step("values", lambda m, n, _, t, s: count(m, n, s[2] * s[3], t)),
                "FLOPs of the values: which width",
            ),
            (with_step("keys", lambda m, n, _, t, __: count(m, n, n, t)), "as wide as X"),
            (with_step("keys", lambda m, n, p, _, s: count(m, n, p, s[2])), "once more"),
            (with_step("keys", lambda *_: (7, 7)), "The FLOPs of the keys are not right yet"),
            (bytes_of("queries", lambda m, n, p, _: m * n + n * p + m * p), "those are numbers"),
            (bytes_of("keys", lambda *shape: 2 * count(*shape)[1]), "not eight"),
            (bytes_of("keys", lambda *shape: count(*shape)[1] // 2), "not two"),
            (
                bytes_of("values", lambda m, n, p, _: 4 * (m * n + n * p)),
                "the result is written, too",
            ),
            (bytes_of("values", lambda m, _, p, __: 4 * m * p), "two matrices are read for it"),
            (
                bytes_of("weighted values", lambda m, n, p, t: 4 * t * (m * n + m * p)),
                "bytes of the weighted values: one of three matrices is missing",
            ),
            (
                bytes_of("weighted values", lambda m, n, p, t: 4 * t * (n * p + m * p)),
                "bytes of the weighted values: one of the two matrices that are read",
            ),
            (bytes_of("output", lambda m, n, p, _: 4 * (m * n + m * p)), "is missing"),
            (bytes_of("output", lambda m, n, p, _: 4 * (n * p + m * p)), "is missing"),
            (bytes_of("keys", lambda *shape: count(*shape)[0]), "those are FLOPs"),
            (bytes_of("keys", lambda *shape: 4 * count(*shape)[0]), "each FLOP does not move"),
            (
                bytes_of("scores", lambda m, n, p, _: count(m, n, p, 1)[1]),
                "bytes of the scores: that",
            ),
            (
                bytes_of("scores", lambda m, n, p, t: 4 * (m * n + n * p + t * m * p)),
                "each head reads matrices of its own",
            ),
            (
                with_step(
                    "queries",
                    lambda m, n, p, _, s: (2 * m * n * p, 4 * (s[2] * m * n + (m + n) * p)),
                ),
                "X is read once for all heads",
            ),
            (
                with_step(
                    "output",
                    lambda m, n, p, _, s: (2 * m * n * p, 4 * ((m + p) * n + s[2] * m * p)),
                ),
                "whose result is written once",
            ),
            (bytes_of("output", lambda *_: 7), "The FLOPs of the output are right, their bytes"),
        ],
        odd=[
            Ledger,
            with_all(lambda *shape: [float(part) for part in count(*shape)]),
            lambda n, width, heads, d_k, d_v: ledger(n, width, heads, d_k, d_v) | {"softmax": None},
        ],
        other=[
            (None, "Not attempted"),
            (lambda *_: None, "returns nothing"),
            (ledger(1, 2, 3, 4, 5), "A function is asked for"),
            (lambda *sizes: list(ledger(*sizes).values()), "A dict is asked for, and this is list"),
            (lambda *sizes: {"queries": ledger(*sizes)["queries"]}, 'the key "keys"'),
            (with_step("keys", lambda m, n, p, *_: 2 * m * n * p), "A pair is asked for"),
            (lambda n: n, "stops for n=5, width=26, heads=3, d_k=11, d_v=4 with TypeError"),
            (ledger, "Right"),
        ],
    ),
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
            (16, "16 heads take 8 GiB"),
            (1, "1 head takes 0.5 GiB"),
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


@pytest.mark.parametrize("step", [*layer(1, 2, 3, 4, 5)])
def test_no_two_mistakes_in_the_first_ledger_make_one_number(step):
    first = counts.DRAWN[0]
    right = ledger(*first)[step]
    for number, mistakes in ((0, counts._wrong_flops), (1, counts._wrong_bytes)):
        said = {}
        for words, wrong in mistakes(step, first):
            assert wrong != right[number]
            assert said.setdefault(wrong, words) == words
