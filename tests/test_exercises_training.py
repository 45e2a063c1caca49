"""The exercises of the chapter on training: what their checkers take for right, and what not."""

import math
from fractions import Fraction

import numpy as np

from companion.exercises import training as exercises
from tests.support.attempts import Attempts, tried_on


def soft(scores):
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def back(d_weights, scores):
    weights = soft(scores)
    return weights * (d_weights - (weights * d_weights).sum(axis=-1, keepdims=True))


def back_in_place(gradient, scores):
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    gradient -= np.einsum("...i,...i->...", scores, gradient)[..., None]
    scores *= gradient
    return scores


def back_by_jacobian(d_weights, scores):
    w = soft(scores)
    jacobian = w[..., :, None] * (np.eye(w.shape[-1]) - w[..., None, :])
    return (d_weights[..., None, :] @ jacobian)[..., 0, :]


def back_unshifted(d_weights, scores):
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    return weights * (d_weights - (weights * d_weights).sum(axis=-1, keepdims=True))


def attention(d_output, query, key, value):
    scale = 1 / math.sqrt(query.shape[-1])
    scores = scale * query @ key.mT
    d_scores = scale * back(d_output @ value.mT, scores)
    return d_scores @ key, d_scores.mT @ query, soft(scores).mT @ d_output


def attention_by_row_products(d_output, query, key, value):
    """Take each row's mean from the output, as the tiles do, and hand out an iterator."""
    scale = 1 / math.sqrt(query.shape[-1])
    weights = soft(scale * query @ key.mT)
    mean = ((weights @ value) * d_output).sum(axis=-1, keepdims=True)
    d_scores = weights * (d_output @ value.mT - mean)
    parts = scale * d_scores @ key, scale * d_scores.mT @ query, weights.mT @ d_output
    return iter(parts)


def attention_in_float32(*given):
    return attention(*(array.astype(np.float32) for array in given))


def attention_without(*, scale=True, softmax=True, share=True):
    """Leave something out of the way back to queries and keys."""

    def attempt(d_output, query, key, value):
        c = 1 / math.sqrt(query.shape[-1])
        weights = soft(c * query @ key.mT)
        d_scores = d_output @ value.mT
        if softmax:
            d_scores = back(d_scores, c * query @ key.mT) if share else weights * d_scores
        d_scores = d_scores * c if scale else d_scores
        return d_scores @ key, d_scores.mT @ query, weights.mT @ d_output

    return attempt


def attention_with_rows_of_weights(d_output, query, key, value):
    d_query, d_key, _ = attention(d_output, query, key, value)
    weights = soft(query @ key.mT / math.sqrt(query.shape[-1]))
    return d_query, d_key, weights @ d_output


def adamw(weight, gradient, mean, square, step):
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.95 * square + 0.05 * gradient**2
    towards = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.95**step)) + 1e-8)
    return weight - 0.01 * (towards + 0.1 * weight), mean, square


def adamw_in_place(weight, gradient, mean, square, step):
    mean += 0.1 * (gradient - mean)
    square += 0.05 * (gradient * gradient - square)
    weight *= 1 - 0.001
    weight -= 0.01 / (1 - 0.9**step) * mean / (np.sqrt(square / (1 - 0.95**step)) + 1e-8)
    return [weight, mean, square]


def adamw_handed_out(*given):
    return (part for part in adamw(*given))


def adam_with_decay_in_the_gradient(weight, gradient, mean, square, step):
    gradient = gradient + 0.1 * weight
    moved, mean, square = adamw(weight, gradient, mean, square, step)
    return moved + 0.001 * weight, mean, square


def adamw_uncorrected(weight, gradient, mean, square, step):
    _, mean, square = adamw(weight, gradient, mean, square, step)
    return weight - 0.01 * (mean / (np.sqrt(square) + 1e-8) + 0.1 * weight), mean, square


def adamw_without_root(weight, gradient, mean, square, step):
    _, mean, square = adamw(weight, gradient, mean, square, step)
    size = square / (1 - 0.95**step) + 1e-8
    return weight - 0.01 * (mean / (1 - 0.9**step) / size + 0.1 * weight), mean, square


def adamw_uphill(weight, gradient, mean, square, step):
    moved, mean, square = adamw(weight, gradient, mean, square, step)
    return 2 * weight - moved, mean, square


def adam(weight, gradient, mean, square, step):
    moved, mean, square = adamw(weight, gradient, mean, square, step)
    return moved + 0.001 * weight, mean, square


ATTEMPTS = {
    exercises.check_still_rows: Attempts(
        wrong=[
            ({3, 4, 5}, "may look at itself"),
            ({1, 2, 4, 5}, "which keys does that query meet"),
            (set(), "the weight 0"),
            ({1}, "a row that it sees has a weight"),
        ],
        odd=[[5, 4], np.asarray([4.0, 5.0])],
        other=[(None, "Not attempted yet"), ({4, 6}, "rows 1 to 5")],
    ),
    exercises.check_first_loss: Attempts(
        wrong=[
            (math.log2(50_257), "in bits"),
            (math.log10(50_257), "base ten"),
            (math.log(1024), "1,024 tokens"),
            (50_257, "−log of that"),
        ],
        odd=[Fraction(1082, 100), np.float32(10.82)],
        other=[(None, "Not attempted yet")],
    ),
    exercises.check_softmax_backward: Attempts(
        wrong=[
            (lambda d, s: soft(s) * d, "moves the other weights"),
            (lambda d, s: soft(s) * (1 - soft(s)) * d, "by its own score"),
            (lambda d, s: soft(s) * (d - d.mean(-1, keepdims=True)), "each weight counts alike"),
            (lambda d, s: soft(s) * (d - (soft(s) * d).sum()), "one number for all rows"),
            (lambda d, s: d - (soft(s) * d).sum(-1, keepdims=True), "A last factor"),
            (lambda d, s: -back(d, s), "The sign"),
            (
                lambda d, s: soft(s) * (d - (soft(s) * d).sum(-2, keepdims=True)),
                "summed over the queries",
            ),
            (back_unshifted, "whose maximum"),
        ],
        odd=[back_in_place, back_by_jacobian],
        other=[(None, "Not attempted yet"), (lambda *_: None, "returns nothing")],
    ),
    exercises.check_attention_backward: Attempts(
        wrong=[
            (attention_without(scale=False), "√d_k divided the scores"),
            (attention_without(softmax=False), "nothing went back through the softmax"),
            (attention_without(share=False), "the row's own sum"),
            (attention_with_rows_of_weights, "a column of them meets a value"),
        ],
        odd=[attention_by_row_products, attention_in_float32],
        other=[(None, "Not attempted yet"), (lambda *given: given[1:3], "three arrays")],
    ),
    exercises.check_adamw: Attempts(
        wrong=[
            (adam_with_decay_in_the_gradient, "stands outside"),
            (adamw_uncorrected, "begin at 0"),
            (adamw_without_root, "not by its root"),
            (adamw_uphill, "up the slope"),
            (adam, "nothing decays"),
        ],
        odd=[adamw_in_place, adamw_handed_out],
        other=[(None, "Not attempted yet"), (lambda *given: given[0], "The shape should be")],
    ),
}
test_attempts = tried_on(ATTEMPTS)
