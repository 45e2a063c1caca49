"""The exercises of the chapter on scaled scores: what their checkers take for right."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np

from companion import pitfalls, scaled_scores, softmax
from companion.exercises import scores as exercises
from tests.support.attempts import Attempts, tried_on
from tests.support.homes import NUMPY

STILL = [[1, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 1, -1], [0, 0, -1, 1]]


def one_head_only(query, key):
    if query.ndim > 2:
        raise RuntimeError("one head only")
    return scaled_scores(query, key)


def one_sentence_only(query, key):
    if query.ndim > 3:
        raise RuntimeError("one sentence only")
    return scaled_scores(query, key)


def right_for_none_and_two(query, key):
    turned = key.transpose(0, 1, 3, 2) if key.ndim == 4 else key.T
    return query @ turned / math.sqrt(query.shape[-1])


def by_reshape_of_three_axes(query, key):
    if key.ndim != 3:
        return scaled_scores(query, key)
    return query @ key.reshape(len(key), key.shape[2], -1) / math.sqrt(key.shape[-1])


def cosines(query, key):
    return (query / np.linalg.norm(query, axis=-1, keepdims=True)) @ (
        key / np.linalg.norm(key, axis=-1, keepdims=True)
    ).mT


def in_half_precision(query, key):
    if query.dtype == np.float64:
        return scaled_scores(query, key)
    return scaled_scores(query.astype(np.float16), key.astype(np.float16)).astype(query.dtype)


def scores_in_place(query, key):
    query /= math.sqrt(query.shape[-1])
    return query @ key.mT


def row_by_row(a, b):
    rows = (a[..., [i], :] @ b.mT / a.shape[-1] ** 0.5 for i in range(a.shape[-2]))
    return np.concatenate(list(rows), axis=-2)


ATTEMPTS = {
    exercises.check_variances: Attempts(
        wrong=[
            ((2560, 256), "divides its variance by d_k."),
            ((40, 40), "The first is right"),
            ((4, 4), "The first is too small"),
            ((4, 40), "in the other order"),
            ((6, 4), "The second is right"),
            ((13, 4), "squared, times what?"),
            ((40.02, 4), "The second is right"),
            ((math.sqrt(40), 2), "Neither yet"),
        ],
        odd=[iter([40, 4]), np.asarray([40, 4], np.float32), (Decimal(40), np.asarray(4.0))],
        other=[
            (None, "Not attempted yet"),
            (..., "Not attempted yet"),
            ((40, 4), "Right"),
            ([40.0, 4.0], "Right"),
            ((1, 2), "Neither yet"),
            ((math.nan, 1), "A finite number is asked for, got nan"),
            ((40,), "tuple of length 1: write down two numbers"),
            ((40, "4"), "A number is asked for, and this is str"),
            ((True, 4), "A number is asked for, and this is bool"),
            (40, "this is int: write down two numbers"),
        ],
    ),
    exercises.check_spread_factors: Attempts(
        wrong=[
            ((4, 1, 0.25), "factors of the variances"),
            ((0.5, 1, 2), "in the other order"),
            ((8, 1, 0.125), "the spreads at d_k = 64"),
            ((2, 1, 1), "look at the third."),
            ((4, 2, 1), "look at the first and the second and the third"),
            ((2, 0.5, 0.5), "look at the second."),
            ((2.001, 1, 0.5), "look at the first."),
        ],
        odd=[
            iter([2, 1, 0.5]),
            np.asarray([2, 1, 0.5], np.float32),
            (Fraction(2), 1, Decimal("0.5")),
        ],
        other=[
            (None, "Not attempted yet"),
            ((2, 1, 0.5), "Right"),
            ((2, 1), "tuple of length 2: write down three factors"),
            ((2, 1, math.nan), "A finite number"),
            ((2, 1, "half"), "A number is asked for, and this is str"),
        ],
    ),
    exercises.check_scores_function: Attempts(
        wrong=[
            (lambda q, k: q @ k.mT, "divide them by nothing"),
            (lambda q, k: q @ k.mT / q.shape[-1], "by the number of columns itself"),
            (lambda q, k: q @ k.mT * math.sqrt(q.shape[-1]), "one over the root"),
            (lambda q, k: q @ k.mT / math.sqrt(q.shape[-2]), "the root of the number of queries"),
            (lambda q, k: q @ k.mT / math.sqrt(k.shape[-2]), "the root of the number of keys"),
            (lambda q, k: q @ k.mT / k.shape[-2], "by the number of keys"),
            (lambda q, k: pitfalls.scores_scaled_by_model_width(q, k, 6), "you divide by 2.449."),
            (
                lambda q, k: q @ k.mT / math.sqrt(math.prod(q.shape[-3:-2]) * q.shape[-1]),
                "all heads together",
            ),
            (lambda q, k: q @ k.mT / math.sqrt(q.shape[1]), "axis counted from the front"),
            (lambda q, k: q @ k.mT / math.sqrt(3), "factor for query (6, 7) and key (2, 7)"),
            (lambda q, k: q @ k.mT / math.sqrt(q.shape[-2] - 1), "times one factor"),
            (lambda q, k: q @ k.mT / math.sqrt(k.shape[-2] - 2), "key (2, 7)"),
            (lambda q, k: q @ k / math.sqrt(q.shape[-1]), "with key as it stands"),
            (lambda q, k: scaled_scores(q, k.T), "with key as it stands"),
            (
                lambda q, k: q @ k.T / math.sqrt(q.shape[-1]),
                "with a leading axis it does not. Your function stops for query (2, 5, 7)",
            ),
            (lambda q, k: q @ k.T / math.sqrt(q.shape[-1]), "gufunc … Which axes does your trans"),
            (right_for_none_and_two, "key (2, 3, 7) with"),
            (by_reshape_of_three_axes, "poured into another shape"),
            (
                lambda q, k: q @ k.mT / math.sqrt(q.shape[1] if q.ndim == 4 else q.shape[-1]),
                "an axis counted from the front",
            ),
            (
                one_sentence_only,
                "With one leading axis all comes out right; with more it does not.",
            ),
            (lambda q, k: q @ k.mT / round(math.sqrt(q.shape[-1]), 3), "is the root rounded, or"),
            (pitfalls.scores_by_reshape, "poured into another shape"),
            (lambda q, k: softmax(scaled_scores(q, k)), "a softmax already"),
            (cosines, "Those are cosines"),
            (lambda q, k: scaled_scores(q, k[..., ::-1, :]), "not the product of query i and"),
            (lambda q, k: q @ k.mT / np.sqrt(q.shape[-1]), "float32 came in and float64 went out"),
            (lambda q, k: scaled_scores(q, k).astype(np.float32), "float64 came in and float32"),
            (lambda q, k: np.round(scaled_scores(q, k), 4), "right to a few digits only"),
            (lambda q, k: q @ k.mT / (math.sqrt(q.shape[-1]) + 1e-9), "something added to it?"),
            (in_half_precision, "right to a few digits only"),
            (
                one_head_only,
                "RuntimeError: one head only.\n",
            ),
        ],
        odd=[scores_in_place, row_by_row, lambda a, b: scaled_scores(b, a).swapaxes(-1, -2)],
        other=[
            (None, "Not attempted yet"),
            (scaled_scores, "Right"),
            (lambda q, k: (q / math.sqrt(q.shape[-1])) @ k.mT, "Right"),
            (lambda q, k: scaled_scores(k, q), "a row a query and a column a key"),
            (lambda q, k: scaled_scores(q, k)[..., 0], "should be (4, 5)"),
            (lambda q, k: q @ (k + "1"), "key (5, 3) with"),
            (lambda *_: ..., "Not attempted"),
            (lambda *_: [[0.0]], "An array is asked for, and this is list"),
            (lambda *_: np.full((4, 5), np.nan), "not the product"),
            (lambda *_: np.full((4, 5), 1e308), "not the product"),
            (0.5, "A function is asked for, and this is float"),
        ],
        needs={"xp": NUMPY.xp},
    ),
    exercises.check_covariance: Attempts(
        wrong=[
            (np.eye(4), "variance 4, not 0"),
            (np.ones((4, 4)), "variance 16, not 0"),
            (np.round((4 * np.eye(4) - 1) / 3, 3), "variance 0.004, not 0"),
            (np.eye(4) + np.eye(4, k=1), "symmetric"),
            (2 * np.eye(4), "diagonal"),
            (np.zeros((4, 4)), "diagonal"),
            (2 * np.eye(4) - 1, "No random vector"),
        ],
        odd=[
            ((4 * np.eye(4) - 1) / 3).astype(np.float32),
            iter(STILL),
            [[Fraction(4 * (i == j) - 1, 3) for j in range(4)] for i in range(4)],
            [np.asarray(row) for row in STILL],
        ],
        other=[
            (..., "Not attempted yet"),
            (STILL, "Right"),
            (np.eye(3), "A list of 4 is asked for, and this is ndarray of shape (3, 3)"),
            (np.full((4, 4), np.nan), "Finite"),
            ("a matrix", "this is str: write down a 4 × 4 matrix"),
            ([[1, 2], [3]], "A list of 4"),
            ([[1], [2], [3], [4]], "The shape should be (4,), a row of the matrix; yours is (1,)"),
            ([1, 2, 3, 4], "An array is asked for, and this is int"),
        ],
    ),
    exercises.check_cosine_scale: Attempts(
        wrong=[
            (math.log(99), "weight 0.0902"),
            (math.log(999), "weight 0.5000"),
            (math.log10(99 * 999), "weight 0.1288"),
            (99 * 999, "a smaller scale is too"),
            (11.35, "weight 0.9884, which is not enough"),
            (11.65, "a smaller scale is too"),
        ],
        odd=[11.4, 11.5, 11.6, Decimal("11.5"), np.float32(11.502)],
        other=[
            (None, "Not attempted yet"),
            (math.log(99 * 999), "Right"),
            (11.5026, "Right"),
            (0.125, "weight 0.0011"),
            (-1e9, "weight 0.0000"),
            (20, "a smaller scale is too"),
            (math.inf, "A finite number"),
            ("12", "A number is asked for, and this is str"),
            (True, "A number is asked for, and this is bool"),
        ],
    ),
}

test_attempts = tried_on(ATTEMPTS)
