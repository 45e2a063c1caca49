"""The exercises of the chapter on softmax: what their checkers take for right, and what not."""

import functools
import math

import numpy as np

import companion
from companion.exercises import softmax as exercises
from tests.support.attempts import Attempts, tried_on


def back(weights, gradient):
    return weights * (gradient - (weights * gradient).sum(axis=-1, keepdims=True))


def back_in_place(weights, gradient):
    gradient -= (weights * gradient).sum(axis=-1, keepdims=True)
    weights *= gradient
    return weights


def zeros_in_place(weights, gradient):
    weights[...] = 0
    gradient[...] = 0
    return weights


def back_along_axis_1(weights, gradient):
    axis = min(1, weights.ndim - 1)
    return weights * (gradient - (weights * gradient).sum(axis=axis, keepdims=True))


def through_the_whole_jacobian(weights, gradient):
    return (gradient[..., None, :] @ companion.softmax_jacobian(weights))[..., 0, :]


def quiet(scores):
    silence = np.zeros((*scores.shape[:-1], 1))
    return companion.softmax(np.concatenate([scores, silence], axis=-1))[..., :-1]


def quiet_in_place(s):
    top = np.maximum(s.max(axis=-1, keepdims=True), 0)
    s -= top
    np.exp(s, out=s)
    s /= np.exp(-top) + s.sum(axis=-1, keepdims=True)
    return s


def shifted_alone(scores):
    """Shift the scores but not the one beside them: the mistake one would make."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / (1 + powers.sum(axis=-1, keepdims=True))


def never_shifted(scores):
    powers = np.exp(scores)
    return powers / (1 + powers.sum(axis=-1, keepdims=True))


def shifted_by_one_maximum(scores):
    top = max(scores.max(), 0)
    powers = np.exp(scores - top)
    return powers / (np.exp(-top) + powers.sum(axis=-1, keepdims=True))


def shifted_downwards_only(scores):
    """Never divide by a sum of tiny numbers: wrong where all scores are very negative."""
    top = scores.max(axis=-1, keepdims=True)
    powers = np.exp(scores - top)
    return powers / (np.exp(-np.maximum(top, -5.0)) + powers.sum(axis=-1, keepdims=True))


def quiet_in_two_axes(scores):
    return np.concatenate([quiet(scores[i : i + 1]) for i in range(scores.shape[0])], axis=0)


def quiet_along_axis_1(scores):
    silence = np.zeros((scores.shape[0], 1))
    return companion.softmax(np.concatenate([scores, silence], axis=1))[:, :-1]


def needed_lead(n, p):
    return math.log((n - 1) * p / (1 - p))


class Lead(float):
    """A number that a class makes of n and p."""

    def __new__(cls, length, share):
        return super().__new__(cls, needed_lead(length, share))


def fails(*_):
    raise RuntimeError("out of ideas")


ATTEMPTS = {
    exercises.check_rising_tokens: Attempts(
        wrong=[
            ({"black", "quickly"}, "get less weight: 1"),
            ({"the"}, "get less weight: 1"),
            ({"ran", "cat"}, "get less weight: 2"),
            (set(), "is missing"),
        ],
        odd=[["black"], np.asarray(["black"]), iter(["black", "black"]), {"black": 1}.keys()],
        other=[
            (None, "Not attempted"),
            (..., "Not attempted"),
            ("black", "A set of tokens is asked for, and this is str"),
            (3, "A set of tokens is asked for, and this is int"),
            ({"dog"}, "'dog' is none of the tokens"),
            ([["black"]], "['black'] is none of the tokens"),
            ([np.ones(2)], "is none of the tokens"),
            ({"black"}, "Right"),
        ],
    ),
    exercises.check_jacobian_product: Attempts(
        wrong=[
            (lambda w, g: w * g, "Row 0 does not sum to zero"),
            (lambda w, g: w * (1 - w) * g, "does not sum to zero"),
            (lambda w, g: w * (g - g.mean(axis=-1, keepdims=True)), "does not sum to zero"),
            (lambda w, g: back(w, g - g.mean()) * 2, "is not the Jacobian times"),
            (lambda _, g: g - g.mean(axis=-1, keepdims=True), "is not the Jacobian times"),
            (lambda _, g: 0 * g, "is not the Jacobian times"),
            (zeros_in_place, "is not the Jacobian times"),
            (back_along_axis_1, "Row (0, 0) does not sum to zero"),
        ],
        odd=[
            back_in_place,
            through_the_whole_jacobian,
            lambda a, b: back(a, b).astype(np.float32),
            np.vectorize(back, signature="(n),(n)->(n)"),
        ],
        other=[
            (None, "Not attempted"),
            (3, "A function is asked for, and this is int"),
            (lambda *_: None, "returns nothing"),
            (fails, "for arrays of shape (3, 7) with RuntimeError: out of ideas"),
            (lambda *_: 1.0, "this is float"),
            (lambda w, _: w[0], "yours is (7,)"),
            (lambda w, _: w * np.nan, "does not sum to zero"),
            (back, "Right"),
        ],
    ),
    exercises.check_quiet_softmax: Attempts(
        wrong=[
            (companion.softmax, "Every row sums to one"),
            (shifted_alone, "For small scores"),
            (lambda s: companion.softmax(s) / 2, "For small scores"),
            (never_shifted, "something overflows"),
            (lambda s: never_shifted(np.clip(s, -700, 700)), "overflows or is cut off"),
            (lambda s: quiet(np.maximum(s, -20)), "row 0 sums to 8.2e-09"),
            (shifted_downwards_only, "all but vanish"),
            (shifted_by_one_maximum, "Whose maximum is taken away from it?"),
            (quiet_along_axis_1, "for scores of shape (6,) with"),
            (lambda s: quiet(s.reshape(len(s), -1)).reshape(s.shape), "For small scores"),
        ],
        odd=[
            quiet_in_place,
            lambda s: np.exp(s - np.logaddexp(0, np.logaddexp.reduce(s, -1, keepdims=True))),
            lambda s: quiet(s).astype(np.float32),
            functools.partial(np.apply_along_axis, quiet, -1),
        ],
        other=[
            (None, "Not attempted"),
            (lambda s: quiet(s)[0], "3 rows, each with 4 scores"),
            (lambda s: quiet(s) * np.nan, "For small scores"),
            (np.float64, "For small scores"),
            (quiet, "Right"),
        ],
    ),
    exercises.check_needed_lead: Attempts(
        wrong=[
            (lambda n, _: math.log(n), "the weight 0.6666"),
            (lambda n, p: math.log(n * p / (1 - p)), "for n = 2 and p = 0.5"),
            (lambda n, _: math.log(n - 1), "for n = 2 and p = 0.9 gives the one token"),
            (lambda _, p: math.log(p / (1 - p)), "for n = 3 and p = 0.1"),
            (lambda n, p: math.log10((n - 1) * p / (1 - p)), "for n = 2 and p = 0.9"),
            (lambda n, p: round(needed_lead(n, p), 3), "the weight 0.8999797"),
        ],
        odd=[
            Lead,
            lambda n, p: np.float32(needed_lead(n, p)),
            lambda count, part: np.asarray(-np.log(1 / part - 1) + np.log(count - 1)),
        ],
        other=[
            (None, "Not attempted"),
            (lambda *_: None, "returns nothing"),
            (lambda *_: "far", "this is str"),
            (lambda *_: math.inf, "A finite number"),
            (lambda *_: 1e308, "ordinary size"),
            (lambda *_: np.ones(2), "A number is asked for, and this is ndarray"),
            (np.float64, "with TypeError"),
            (needed_lead, "Right"),
        ],
    ),
}

test_attempts = tried_on(ATTEMPTS)
