"""The exercises of the chapter on tiles: what their checkers take for right, and what not."""

import math
from fractions import Fraction

import numpy as np

from companion.exercises import kernels as exercises
from tests.support.attempts import Attempts, tried_on


def merged_logs(log_1, output_1, log_2, output_2):
    log = np.logaddexp(log_1, log_2)
    return log, np.exp(log_1 - log) * output_1 + np.exp(log_2 - log) * output_2


def merged_in_place(a, x, b, y):
    """Work in the arrays that came, and hand over an iterator."""
    top = np.maximum(a, b)
    a -= top
    b -= top
    np.exp(a, out=a)
    np.exp(b, out=b)
    x *= a
    y *= b
    x += y
    x /= a + b
    return iter([top + np.log(a + b), x])


def naive_logs(log_1, output_1, log_2, output_2):
    total = np.exp(log_1) + np.exp(log_2)
    return np.log(total), (np.exp(log_1) * output_1 + np.exp(log_2) * output_2) / total


def averaged_logs(log_1, output_1, log_2, output_2):
    return np.logaddexp(log_1, log_2), (output_1 + output_2) / 2


def logs_below_one_maximum(log_1, output_1, log_2, output_2):
    top = max(log_1.max(), log_2.max())
    log, output = naive_logs(log_1 - top, output_1, log_2 - top, output_2)
    return log + top, output


def logs_below_the_first(log_1, output_1, log_2, output_2):
    log, output = naive_logs(0 * log_1, output_1, log_2 - log_1, output_2)
    return log + log_1, output


def logs_but_for_all_empty(log_1, output_1, log_2, output_2):
    if np.isinf(log_1).all():
        return log_2, output_2
    log = log_1 + np.log1p(np.exp(log_2 - log_1))
    log = np.where(log_2 > log_1, log_2 + np.log1p(np.exp(log_1 - log_2)), log)
    return log, output_1 * np.exp(log_1 - log) + output_2 * (1 - np.exp(log_1 - log)) + 0 * log_1


def largest_norm(key, mask):
    return np.where(mask > -np.inf, np.linalg.norm(key, axis=1), 0).max(axis=1)


def bound_with_mask(query, key, mask):
    return np.linalg.norm(query, axis=1) * largest_norm(key, mask) + mask.max(axis=1)


def bound_of_sums(query, key, mask):
    of_queries, of_keys = (np.linalg.norm(rows, axis=1) for rows in (query, key))
    return np.max(of_queries[:, None] * of_keys + mask, axis=1)


def bound_in_place(a, b, c):
    a **= 2
    b **= 2
    c += np.sqrt(a.sum(axis=1))[:, None] * np.sqrt(b.sum(axis=1))
    return c.max(axis=1).astype(np.float32)


def bound_by_all_keys(query, key, mask):
    norms = np.linalg.norm(query, axis=1), np.linalg.norm(key, axis=1)
    return norms[0] * norms[1].max() + mask.max(axis=1)


def bound_without_mask(query, key, mask):
    return np.linalg.norm(query, axis=1) * largest_norm(key, mask)


def bound_by_one_mask(query, key, mask):
    return np.linalg.norm(query, axis=1) * largest_norm(key, mask) + mask.max()


def maxima(query, key, mask):
    return (query @ key.T + mask).max(axis=1)


ATTEMPTS = {
    exercises.check_merged_output: Attempts(
        wrong=[
            ((2 / 3, 4 / 3), "different maxima"),
            ((0.5, 4), "divided"),
            ((8 / 9, 4 / 9), "shrinks the state"),
            ((0.5, 2), "averages"),
            ((8 / 3, 1 / 3), "which factor"),
            ((0.34, 2.66), "which factor"),
        ],
        odd=[
            iter([0.33, 2.67]),
            np.asarray([1 / 3, 8 / 3], np.float32),
            (Fraction(1, 3), Fraction(8, 3)),
        ],
        other=[
            (None, "Not attempted"),
            (..., "Not attempted"),
            ((1 / 3, 8 / 3), "Right"),
            ((7, 7), "which factor"),
            (3, "this is int: give the two numbers"),
            ("no", "A pair is asked for, and this is str"),
            ((math.nan, 1), "A finite number"),
        ],
    ),
    exercises.check_merge_logs: Attempts(
        wrong=[
            (naive_logs, "not finite for scores around 2000"),
            (averaged_logs, "output is wrong for scores around 0"),
            (lambda *a: (a[0], a[1]), "logarithm is wrong"),
            (lambda *a: (np.maximum(a[0], a[2]), merged_logs(*a)[1]), "logarithm is wrong"),
            (logs_below_one_maximum, "not finite where every row has scores of another size"),
            (logs_below_the_first, "not finite where the second has much larger scores"),
            (logs_but_for_all_empty, "not finite where one row of the first has seen no key"),
        ],
        odd=[
            merged_in_place,
            lambda *a: [part.astype(np.float32) for part in merged_logs(*a)],
            lambda p, q, r, s: merged_logs(r, s, p, q),
        ],
        other=[
            (None, "Not attempted"),
            (merged_logs, "Right"),
            (lambda *a: a[0], "return the logarithm and the output"),
            (lambda *_: (1.0, 2.0), "An array is asked for"),
            (lambda *a: (a[1], a[0]), "should be (3, 1)"),
            (lambda *a: (np.ones((3, 1), str), a[1]), "Real numbers"),
            (lambda *_: None, "returns nothing"),
            (lambda: None, "with TypeError"),
            (3, "A function is asked for"),
        ],
    ),
    exercises.check_causal_tiles: Attempts(
        wrong=[
            (512, "all tiles"),
            (256, "diagonal"),
            (264, "Too few"),
            (287, "Too few"),
            (64 * 65 // 2, "Too many"),
        ],
        odd=[288.0, np.asarray(288), np.float32(288)],
        other=[
            (None, "Not attempted"),
            (288, "Right"),
            (100, "Too few"),
            (300, "Too many"),
            (True, "number is asked for, and this is bool"),
        ],
    ),
    exercises.check_bound_with_mask: Attempts(
        wrong=[
            (bound_by_all_keys, "row 1 does not see"),
            (
                lambda q, k, c: bound_of_sums(q, k, np.maximum(c, -1e9)),
                "row 1 does not see",
            ),
            (bound_without_mask, "above its bound"),
            (bound_by_one_mask, "looser than need be"),
            (maxima, "maxima"),
            (lambda *a: maxima(*a) + 0.1, "Lengths are enough"),
            (lambda q, k, c: (np.abs(q @ k.T) + c).max(axis=1), "Lengths are enough"),
            (lambda *a: bound_with_mask(*a) / 2, "above its bound"),
            (lambda q, k, c: bound_with_mask(0.999 * q, k, c), "Row 6 has a score above its"),
            (lambda *a: bound_with_mask(*a) + 1, "looser than need be"),
        ],
        odd=[bound_of_sums, bound_in_place, lambda a, b, c: bound_of_sums(-a, b, c)],
        other=[
            (None, "Not attempted"),
            (bound_with_mask, "Right"),
            (lambda q, *_: q[:, 0] * np.inf, "not finite"),
            (lambda q, *_: q, "should be (6,)"),
        ],
    ),
}

test_attempts = tried_on(ATTEMPTS)
