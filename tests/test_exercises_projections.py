"""The exercises of the chapter on queries, keys and values: what their checkers take for right."""

from fractions import Fraction

import numpy as np

import companion
from companion.exercises import projections as exercises
from tests.support.attempts import Attempts, tried_on
from tests.support.homes import NUMPY, STRICT

EXAMPLE = companion.running_example(xp=NUMPY.xp)
W_Q = EXAMPLE.w_q[0]
FORM = companion.bilinear_form(W_Q, EXAMPLE.w_k[0] + EXAMPLE.w_k[1])
LEFT, SIZES, RIGHT = np.linalg.svd(FORM)
SYMMETRIC = np.asarray([[1.0, 2, 0], [2, 0, 0], [0, 0, -1]])
WIDE = (np.concatenate([W_Q, W_Q], axis=1), np.concatenate(list(EXAMPLE.w_k), axis=1))
NARROW = (W_Q, EXAMPLE.w_k[0] + EXAMPLE.w_k[1])
NOISE = np.random.default_rng(2).standard_normal(W_Q.shape)

ATTEMPTS = {
    exercises.check_lost_direction: Attempts(
        wrong=[
            (np.asarray([0.0, 0, 1, 0, 0, 0]), "entry 3 of every query"),
            (np.asarray([1.0, 1, -1, 0, 0, 0]), "of every query by"),
            (np.asarray([1.0, -1, 1, 0, 0, 1e-6]), "of every query by"),
            (np.asarray([1e-200, 0, 0, 0, 0, 0]), "entry 1 of every query"),
            (np.zeros(6), "n is zero"),
        ],
        odd=[
            [1, -1, 1, 0, 0, 0],
            np.asarray([0.1, -0.1, 0.1, 0, 0, 0], np.float32),
            np.asarray([1, -1, 1, 0, 0, 0]),
            STRICT.asarray(np.asarray([1.0, 0, 0, 0, -2, 0])),
            np.asarray([1e-200, 0, 0, 0, -2e-200, 0]),
        ],
        other=[
            (None, "Not attempted yet"),
            (..., "Not attempted yet"),
            ([0, 1], "one number for each feature; yours is (2,)"),
            ([[0, 1], [2]], "cannot be read: ValueError"),
            (3.0, "An array is asked for, and this is float"),
            (np.asarray(["a"] * 6), "Real numbers are asked for"),
            (np.full(6, np.nan), "Finite numbers are asked for"),
            (np.full(6, 1e308), "of ordinary size"),
            (np.ones(6, np.float16), "float16 is too coarse"),
            (np.ones(3), "one number for each feature; yours is (3,)"),
        ],
    ),
    exercises.check_symmetric_partner: Attempts(
        wrong=[
            (EXAMPLE.w_k[0], "Not symmetric: entry ("),
            (W_Q @ np.asarray([[1.0, 2, 0], [0, 1, 0], [0, 0, 1]]), "Not symmetric: entry ("),
            (-2 * W_Q, "a multiple of W^Q: find another"),
            (2 * W_Q + 1e-15 * NOISE, "a multiple of W^Q: find another"),
            ((2 * W_Q + 1e-8 * NOISE).astype(np.float32), "a multiple of W^Q: find another"),
            (W_Q @ SYMMETRIC + 1e-9 * NOISE, "Not symmetric: entry ("),
            (np.round(W_Q @ SYMMETRIC / 3, 7), "they differ by"),
            (0 * W_Q, "a multiple of W^Q: find another"),
        ],
        odd=[
            (W_Q @ SYMMETRIC).tolist(),
            (W_Q @ SYMMETRIC / 3).astype(np.float32),
            1e-30 * W_Q @ SYMMETRIC,
            STRICT.asarray(W_Q @ SYMMETRIC),
        ],
        other=[
            (None, "Not attempted yet"),
            ("W", "An array is asked for, and this is str"),
            (W_Q.T, "(6, 3), that of W^Q; yours is (3, 6)"),
            (np.full((6, 3), np.inf), "Finite numbers"),
            (W_Q @ SYMMETRIC, "Right"),
        ],
    ),
    exercises.check_crossover: Attempts(
        wrong=[
            (512, "the projections still cost more than the pairs"),
            (1024, "the pairs still cost more than the projections"),
            (767, "the projections still cost more than the pairs"),
            (64, "the projections still cost more than the pairs"),
        ],
        odd=[768.0, np.asarray(768), Fraction(1536, 2), np.float32(768)],
        other=[
            (None, "Not attempted yet: set crossover to a whole number"),
            (3.5, "A whole number is asked for, got 3.5."),
            (True, "A whole number is asked for, and this is bool"),
            (1e308, "ordinary size"),
            (10**5000, "ordinary size"),
            (0, "at least 1, got 0"),
            (768, "Right"),
        ],
    ),
    exercises.check_narrow_head: Attempts(
        wrong=[
            ((W_Q, EXAMPLE.w_k[0]), "Another head: an entry"),
            ((LEFT[:, :2] * SIZES[:2], RIGHT[:2].T), "Another head: an entry"),
            (NARROW[::-1], "queries and keys have changed places"),
            ((LEFT[:, :3] * SIZES[:3], RIGHT[:3].T * SIZES[:3]), "Another head: an entry"),
            ((W_Q, NARROW[1] + 1e-9), "Another head: an entry"),
            (WIDE, "The scores are the same, in 6 columns: fewer are enough"),
        ],
        odd=[
            np.stack(NARROW),
            (part.astype(np.float32) for part in NARROW),
            [part.tolist() for part in NARROW],
            (1e-6 * NARROW[0], 1e6 * NARROW[1]),
            (LEFT[:, :3] * SIZES[:3], RIGHT[:3].T),
        ],
        other=[
            (None, "Not attempted yet"),
            (W_Q, "list of length 6: set narrow to a pair of arrays (w_q, w_k)"),
            ((W_Q, None), "Not attempted yet: set narrow to a pair of arrays"),
            ((W_Q, [1.0]), "Got (6, 3) and (1,)"),
            ((W_Q, 1.0), "An array is asked for, and this is float"),
            ((W_Q, W_Q.T), "Got (6, 3) and (3, 6)"),
            ((W_Q[:3], W_Q[:3]), "a row for each feature"),
            ((W_Q, np.full((6, 3), np.nan)), "Finite numbers"),
            (NARROW, "Right"),
        ],
        needs={"form": FORM},
    ),
}

test_attempts = tried_on(ATTEMPTS)
