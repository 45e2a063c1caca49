"""The exercises of the chapter on softmax: what their checkers take for right, and what not."""

import functools
import math

import numpy as np

import companion
from companion.exercises import softmax as exercises
from tests.support.attempts import Attempts, tried_on


def mixture(scores, value):
    top = scores.max(axis=-1, keepdims=True)
    powers = np.exp(scores - np.where(top == -np.inf, 0.0, top))
    total = powers.sum(axis=-1, keepdims=True)
    weights = powers / np.where(total == 0, 1.0, total)
    return weights, weights @ value


def mixture_in_place(scores, value):
    scores -= np.maximum(scores.max(axis=-1, keepdims=True), -1e300)
    np.exp(scores, out=scores)
    scores /= np.maximum(scores.sum(axis=-1, keepdims=True), 1e-300)
    return iter([scores, np.einsum("...ts,...sv->...tv", scores, value)])


def with_weights(weigh):
    """Mix with the weights that `weigh` makes of the scores."""
    return lambda scores, value: (weigh(scores), weigh(scores) @ value)


def top_of(scores):
    return scores.max(axis=-1, keepdims=True)


def raw(scores):
    """Share out the powers of the scores as they are, where a row says anything at all."""
    powers = np.exp(scores)
    total = powers.sum(axis=-1, keepdims=True)
    return powers / np.where(total == 0, 1.0, total)


def shifted_from(start):
    """Take from each row what `start` says, and share out what there is."""
    return lambda scores: raw(scores - start(scores))


def for_one_head(scores, value):
    rows, _ = scores.shape
    return mixture(scores, value) if rows else None


def shared_out(powers):
    return powers / powers.sum(axis=-1, keepdims=True)


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
    exercises.check_mixture: Attempts(
        wrong=[
            (with_weights(lambda s: companion.softmax(s, axis=-2)), "Your columns sum to one"),
            (
                with_weights(lambda s: companion.softmax(s, axis=min(1, s.ndim - 1))),
                "from the front",
            ),
            (with_weights(lambda s: np.exp(s) / np.exp(s).sum()), "All weights together"),
            (with_weights(np.exp), "nobody has shared out"),
            (with_weights(shared_out), "You share out the scores themselves"),
            (
                with_weights(lambda s: companion.softmax(s - s.max(-2, keepdims=True))),
                "within a row",
            ),
            (
                with_weights(lambda s: np.exp2(s) / np.exp2(s).sum(-1, keepdims=True)),
                "0.6931 times",
            ),
            (with_weights(lambda s: companion.softmax(s / math.sqrt(s.shape[-1]))), "0.4472 times"),
            (with_weights(lambda s: companion.softmax(s) / 2), "Row 0 of your weights sums to 0.5"),
            (with_weights(lambda s: companion.softmax(s**3)), "is not exp(s_ij − s_il)"),
            (with_weights(companion.pitfalls.softmax_without_shift), "with 1000 added to each"),
            (with_weights(lambda s: shared_out(np.exp(np.clip(s, -700, 700)))), "or is cut off"),
            (with_weights(lambda s: shared_out(np.exp(s - s.max()))), "whose maximum"),
            (
                with_weights(lambda s: shared_out(np.exp(s - s.max(-1, keepdims=True)))),
                "becomes NaN",
            ),
            (
                with_weights(lambda s: companion.softmax(np.maximum(s, -1e9))),
                "yours has a weight 0.2.",
            ),
            (with_weights(lambda s: mixture(np.maximum(s, -2000), s.mT)[0]), "with 100,000 taken"),
            (with_weights(shifted_from(lambda s: np.maximum(top_of(s), -2000))), "is cut off"),
            (with_weights(shifted_from(lambda s: s.min(-1, keepdims=True))), "is it the largest"),
            (with_weights(shifted_from(lambda s: s.mean(-1, keepdims=True))), "is it the largest"),
            (
                with_weights(lambda s: mixture(s, s.mT)[0] if (s > -np.inf).all() else raw(s)),
                "and not around −1000 or 1000",
            ),
            (with_weights(lambda s: companion.softmax(s) / (1 + 1e-9)), "Nearly: off by more"),
            (
                with_weights(lambda s: companion.softmax(s.astype(np.float32)).astype(np.float64)),
                "compute in float32",
            ),
            (lambda s, v: (mixture(s, v)[0], mixture(s, v)[0].mT @ v), "a column of the weights"),
            (lambda s, v: (mixture(s, v)[0], mixture(s, v)[0] @ v.mT), "the columns of value"),
            (lambda s, v: (mixture(s, v)[0], s @ v), "are mixed with the scores"),
            (lambda s, v: (mixture(s, v)[0], np.exp(s) @ v), "with the exponentials"),
            (
                lambda s, v: (mixture(s, v)[0], 0 * s @ v + v.mean(-2, keepdims=True)),
                "equal weights",
            ),
            (lambda s, v: (mixture(s, v)[0], companion.hardmax(s) @ v), "the best key alone"),
            (lambda s, v: (mixture(s, v)[0], mixture(s, v)[0] @ v[..., ::-1, :]), "is not Σ_j"),
            (
                lambda s, v: (
                    mixture(s, v)[0],
                    np.nan_to_num(mixture(s, v)[1]) + (s == -np.inf).all(-1)[..., None],
                ),
                "or the output are not",
            ),
            (
                for_one_head,
                "One head comes out right; with leading axes it does not. Your function",
            ),
        ],
        odd=[
            mixture_in_place,
            lambda s, v: [part.astype(np.float32) for part in mixture(s, v)],
            lambda s, v: (companion.softmax(s), companion.weighted_values(companion.softmax(s), v)),
        ],
        other=[
            (None, "Not attempted yet"),
            (lambda *_: None, "returns nothing"),
            (lambda s, v: mixture(s, v)[1], "return two arrays, (weights, output)"),
            (lambda s, v: mixture(s, v)[::-1], "the weights, one for each score"),
            (lambda s, v: (mixture(s, v)[0], mixture(s, v)[1][..., 0]), "a mixture for each query"),
            (fails, "out of ideas"),
            (mixture, "Right"),
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
