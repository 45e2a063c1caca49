"""The exercises of the chapter on queries, keys and values: what their checkers take for right."""

import itertools
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


def projected(*makes):
    """Make a function of the exercise from what makes query, key and value of (x, W, b)."""

    def project_qkv(x, w_q, w_k, w_v, b_q, b_k, b_v):
        parts = ((w_q, b_q), (w_k, b_k), (w_v, b_v))
        return tuple(make(x, w, b) for make, (w, b) in zip(makes, parts, strict=True))

    return project_qkv


def right(x, w, b):
    return x @ w + b


def chosen(weights, biases):
    """Make a function of the exercise that uses these of the three weights and biases."""

    def project_qkv(x, *parts):
        return [x @ parts[w] + parts[3 + b] for w, b in zip(weights, biases, strict=True)]

    return project_qkv


def project_in_one_product(x, *parts, cuts=lambda d_k, d_v: [0, d_k, 2 * d_k, 2 * d_k + d_v]):
    """Make all three with one product, as systems do, and cut it apart."""
    weights, biases = (np.concatenate(p, axis=-1) for p in (parts[:3], parts[3:]))
    made = x @ weights + biases
    ends = cuts(parts[0].shape[1], parts[2].shape[1])
    return [made[..., i:j] for i, j in itertools.pairwise(ends)]


def project_in_three_equal_parts(*given):
    return project_in_one_product(*given, cuts=lambda d_k, d_v: (2 * d_k + d_v) * np.arange(4) // 3)


def project_in_narrow_slices(*given):
    return project_in_one_product(*given, cuts=lambda d_k, _: d_k * np.arange(4))


def project_with_the_values_second(*given):
    query, value, key = project_in_one_product(
        *given, cuts=lambda d_k, d_v: [0, d_k, d_k + d_v, 2 * d_k + d_v]
    )
    return query, key, value


def project_in_place(x, w_q, w_k, w_v, b_q, b_k, b_v):
    """Use what is given for scratch, and hand over float32 and a generator."""
    w_q = np.vstack([w_q, b_q])
    x_and_one = np.concatenate([x, np.ones_like(x[..., :1])], axis=-1)
    x *= 0
    weights = (w_q, np.vstack([w_k, b_k]), np.vstack([w_v, b_v]))
    return ((x_and_one @ w).astype(np.float32) for w in weights)


def project_by_hand(x, *parts):
    made = []
    for weight, bias in zip(parts[:3], parts[3:], strict=True):
        out = np.zeros((*x.shape[:-1], weight.shape[1]))
        for place in np.ndindex(out.shape):
            out[place] = sum(x[place[:-1]] * weight[:, place[-1]]) + bias[place[-1]]
        made.append(out)
    return made


ATTEMPTS = {
    exercises.check_project_qkv: Attempts(
        wrong=[
            (
                projected(*3 * [lambda x, w, b: x @ w.T + b]),
                "In your query the weight is transposed.",
            ),
            (projected(*3 * [lambda x, w, _: x @ w.T]), "transposed, and no bias is added"),
            (projected(*3 * [lambda x, w, _: x @ w]), "In your query no bias is added"),
            (projected(right, right, lambda x, w, _: x @ w), "In your value no bias is added"),
            (projected(right, right, lambda x, w, b: x @ w - b), "the bias is taken away"),
            (projected(*3 * [lambda x, w, b: (x + b) @ w]), "added before the product"),
            (projected(*3 * [lambda x, w, b: x @ w + b[:, None]]), "each token has a bias"),
            (projected(*3 * [lambda x, w, b: w @ x + b]), "the weight stands on the left"),
            (projected(*3 * [lambda x, w, b: w.T @ x + b]), "the transposed weight stands"),
            (projected(*3 * [lambda x, w, b: x.swapaxes(-1, -2) @ w + b]), "x is transposed"),
            (projected(*3 * [lambda x, w, b: (x @ w + b).T]), "tokens are columns"),
            (projected(*3 * [lambda x, w, b: np.tanh(x @ w + b)]), "something else is made"),
            (chosen((0, 0, 0), (0, 1, 2)), "In your key you have the weight of the query."),
            (chosen((0, 0, 0), (0, 0, 0)), "In your key you have what the query should be."),
            (chosen((0, 1, 2), (0, 0, 0)), "In your key you have the bias of the query."),
            (chosen((1, 0, 2), (1, 0, 2)), "In your query you have what the key should be."),
            (chosen((0, 1, 1), (0, 1, 2)), "In your value you have the weight of the key."),
            (chosen((0, 2, 1), (0, 2, 1)), "In your key you have what the value should be."),
            (projected(right, right, lambda *_: np.zeros((4, 4))), "something else is made"),
            (lambda *given: projected(*3 * [right])(*given)[::-1], "what the value should be"),
            (project_with_the_values_second, "In your key you have what the value should be."),
            (project_in_three_equal_parts, "it is (1, 3). Together your three are as wide"),
            (project_in_narrow_slices, "All three of yours are equally wide"),
            (projected(*3 * [lambda *given: right(*given).sum()]), "it is (). 2 axes are missing."),
            (projected(right, right, lambda *given: right(*given).sum()), "2 axes are missing."),
            (projected(*3 * [lambda *given: right(*given).ravel()]), "An axis is missing."),
            (projected(*3 * [lambda *given: right(*given)[None]]), "An axis is too many."),
            (
                projected(*3 * [lambda *given: np.hstack([right(*given)] * 3)]),
                "it is (4, 12).\n",
            ),
            (projected(*3 * [lambda *given: right(*given)[:-1]]), "it is (3, 4).\n"),
            (
                projected(right, lambda *given: right(*given)[..., :2], lambda x, *_: x[:2]),
                "it is (4, 2).\n",
            ),
            (
                projected(
                    *3 * [lambda x, *given: right(x, *given).swapaxes(0, x.ndim - 2)],
                ),
                "it is (3, 2, 4). Your axes are in another order.",
            ),
            (lambda *given: project_in_one_product(*given)[::2] * 2, "of length 4"),
            (
                lambda *given: projected(*3 * [right])(*given)[:2],
                "tuple of length 2: return (query",
            ),
        ],
        odd=[
            project_in_one_product,
            project_in_place,
            project_by_hand,
            projected(*3 * [lambda x, w, b: np.einsum("...nd,dm->...nm", x, w) + b]),
        ],
        other=[
            (None, "Not attempted yet: write a function of x, three weights and three biases"),
            (W_Q, "this is ndarray"),
            (lambda *_: None, "Not attempted yet"),
            (lambda x: x, "stops for x (4, 4) and W^V (4, 4) with TypeError"),
            (projected(*3 * [lambda x, w, b: (w.T @ x.T).T + b]), "stops for x (2, 3, 5)"),
            (projected(*3 * [right]), "Right"),
        ],
        needs={"xp": NUMPY.xp},
    ),
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
            (1024, "the pairs already cost more than the projections"),
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
            (W_Q, "ndarray of shape (6, 3): set narrow to a pair of arrays (w_q, w_k)"),
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
