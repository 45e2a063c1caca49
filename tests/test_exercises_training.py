"""The exercises of the chapter on training: what their checkers take for right, and what not."""

import math
from fractions import Fraction
from functools import partial

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


def back_from(maximum):
    """Take away what this makes of the scores, in place of each row's own maximum."""

    def attempt(d_weights, scores):
        powers = np.exp(scores - maximum(scores))
        weights = powers / powers.sum(axis=-1, keepdims=True)
        return weights * (d_weights - (weights * d_weights).sum(axis=-1, keepdims=True))

    return attempt


def back_by_log_sum_exp(d_weights, scores):
    top = scores.max(axis=-1, keepdims=True)
    total = top + np.log(np.exp(scores - top).sum(axis=-1, keepdims=True))
    weights = np.exp(scores - total)
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


def attention_with_weights_of_products(d_output, query, key, value, *, back_scaled=True):
    products = query @ key.mT
    scale = 1 / math.sqrt(query.shape[-1]) if back_scaled else 1
    d_scores = scale * back(d_output @ value.mT, products)
    return d_scores @ key, d_scores.mT @ query, soft(products).mT @ d_output


def attention_each_weight_alone(d_output, query, key, value):
    scale = 1 / math.sqrt(query.shape[-1])
    weights = soft(scale * query @ key.mT)
    d_scores = scale * weights * (1 - weights) * (d_output @ value.mT)
    return d_scores @ key, d_scores.mT @ query, weights.mT @ d_output


def attention_by_differences(d_output, *given):
    """Nudge one number after the other."""

    def loss(query, key, value):
        return (d_output * (soft(query @ key.mT / math.sqrt(query.shape[-1])) @ value)).sum()

    found = [np.zeros_like(array) for array in given]
    for i, array in enumerate(given):
        for place in np.ndindex(array.shape):
            ends = []
            for nudge in (1e-5, -1e-5):
                moved = [np.array(other) for other in given]
                moved[i][place] += nudge
                ends.append(loss(*moved))
            found[i][place] = (ends[0] - ends[1]) / 2e-5
    return found


def attention_with_values_by(mix):
    """Hand values out by something other than the weights."""

    def attempt(d_output, query, key, value):
        d_query, d_key, _ = attention(d_output, query, key, value)
        return d_query, d_key, mix(query @ key.mT).mT @ d_output

    return attempt


def attention_in_order(*order, sign=1):
    def attempt(*given):
        return [sign * attention(*given)[i] for i in order]

    return attempt


def attention_with_rows_of_weights(d_output, query, key, value):
    d_query, d_key, _ = attention(d_output, query, key, value)
    weights = soft(query @ key.mT / math.sqrt(query.shape[-1]))
    return d_query, d_key, weights @ d_output


def adamw(parameter, gradient, mean, square, step, *, eps=1e-8, decay=0.1):
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.95 * square + 0.05 * gradient**2
    towards = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.95**step)) + eps)
    return parameter - 0.01 * (towards + decay * parameter), mean, square


def adamw_in_place(parameter, gradient, mean, square, step):
    mean += 0.1 * (gradient - mean)
    square += 0.05 * (gradient * gradient - square)
    parameter *= 1 - 0.001
    parameter -= 0.01 / (1 - 0.9**step) * mean / (np.sqrt(square / (1 - 0.95**step)) + 1e-8)
    return [parameter, mean, square]


def adamw_handed_out(*given):
    return (part for part in adamw(*given))


def adamw_keeping(mean=None, square=None, *, corrected=False):
    """Keep something else as one of the means, and step by what is right."""

    def attempt(parameter, gradient, m, v, step):
        moved, *kept = adamw(parameter, gradient, m, v, step)
        for place, (other, before, beta) in enumerate(((mean, m, 0.9), (square, v, 0.95))):
            if other is not None:
                kept[place] = other(before, gradient) / (1 - beta**step if corrected else 1)
        return moved, *kept

    return attempt


def in_float32(attempt):
    """Compute as another attempt does, in float32."""

    def coarse(*given):
        *arrays, step = given
        return attempt(*(array.astype(np.float32) for array in arrays), step)

    return coarse


def adam_with_decay_in_the_gradient(parameter, gradient, mean, square, step):
    return adamw(parameter, gradient + 0.1 * parameter, mean, square, step, decay=0.0)


def adamw_uncorrected(parameter, gradient, mean, square, step):
    _, mean, square = adamw(parameter, gradient, mean, square, step)
    return parameter - 0.01 * (mean / (np.sqrt(square) + 1e-8) + 0.1 * parameter), mean, square


def adamw_without_root(parameter, gradient, mean, square, step):
    _, mean, square = adamw(parameter, gradient, mean, square, step)
    size = square / (1 - 0.95**step) + 1e-8
    return parameter - 0.01 * (mean / (1 - 0.9**step) / size + 0.1 * parameter), mean, square


def adamw_uphill(parameter, *given):
    moved, mean, square = adamw(parameter, *given, decay=0.0)
    return 2 * parameter - moved - 0.001 * parameter, mean, square


def adamw_all_uphill(parameter, *given):
    moved, mean, square = adamw(parameter, *given)
    return 2 * parameter - moved, mean, square


def adamw_decaying_tenfold(parameter, *given):
    moved, mean, square = adamw(parameter, *given, decay=0.0)
    return moved - 0.1 * parameter, mean, square


def adam(*given):
    return adamw(*given, decay=0.0)


def descent(parameter, gradient, *given):
    return parameter - 0.01 * gradient, *adamw(parameter, gradient, *given)[1:]


ATTEMPTS = {
    exercises.check_still_rows: Attempts(
        wrong=[
            ({3, 4, 5}, "may look at itself"),
            ({1, 2, 4, 5}, "which keys does that query meet"),
            (set(), "the weight 0"),
            ({1}, "a row that it sees has a weight"),
            ({4}, "Which other"),
            ({5}, "Which other"),
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
            (back_from(lambda s: s.max()), "whose maximum"),
            (back_from(lambda s: s.max((-2, -1), keepdims=True)), "whose maximum"),
            (back_from(lambda s: s[..., :1]), "whose maximum"),
            (back_from(lambda s: s.max(-1, keepdims=True, initial=0)), "whose maximum"),
            (back_from(lambda s: 1000.0 if s.max() > 500 else 0.0), "whose maximum"),
            (lambda d, s: back(d, s) + 0 * s, "0 times −∞"),
            (lambda d, s: (back(d, s),), "a comma"),
            (lambda d, s: (back(d, s), soft(s)), "alone are asked for"),
        ],
        odd=[back_in_place, back_by_jacobian, back_by_log_sum_exp],
        other=[(None, "Not attempted yet"), (lambda *_: None, "returns nothing")],
    ),
    exercises.check_attention_backward: Attempts(
        wrong=[
            (attention_without(scale=False), "√d_k divided the scores"),
            (attention_without(softmax=False), "nothing went back through the softmax"),
            (attention_without(share=False), "the row's own sum"),
            (attention_with_rows_of_weights, "a column of them meets a value"),
            (attention_with_weights_of_products, "weights are those of unscaled scores"),
            (
                partial(attention_with_weights_of_products, back_scaled=False),
                "missing, there and back",
            ),
            (attention_each_weight_alone, "moves the other weights"),
            (attention_with_values_by(lambda products: products), "mixed with the scores"),
            (attention_with_values_by(soft), "weights are those of unscaled scores"),
            (
                attention_in_order(1, 0, 2),
                "d_query is not right for query (4, 3) and key (4, 3): that is d_key",
            ),
            (attention_in_order(2, 0, 1), "that is d_value"),
            (attention_in_order(0, 1, 2, sign=-1), "the sign"),
            (attention_by_differences, "come near"),
            (
                lambda *given: [np.float64(part) for part in attention_in_float32(*given)],
                "come near",
            ),
        ],
        odd=[attention_by_row_products, attention_in_float32],
        other=[(None, "Not attempted yet"), (lambda *given: given[1:3], "three arrays")],
    ),
    exercises.check_adamw: Attempts(
        wrong=[
            (adam_with_decay_in_the_gradient, "stands outside"),
            (in_float32(adam_with_decay_in_the_gradient), "stands outside"),
            (adamw_keeping(mean=lambda m, g: 0.9 * m + g), "should be by a tenth"),
            (
                adamw_keeping(mean=lambda m, g: 0.9 * m + 0.1 * g, corrected=True),
                "corrected already",
            ),
            (adamw_keeping(mean=lambda m, g: 0.1 * m + 0.9 * g), "keeps a tenth"),
            (adamw_keeping(mean=lambda m, g: 0.9 * m - 0.1 * g), "gradient's sign"),
            (adamw_keeping(mean=lambda m, g: m + 0 * g), "The mean is not the running mean"),
            (adamw_keeping(square=lambda v, g: 0.95 * v + g**2), "by a twentieth"),
            (
                adamw_keeping(square=lambda v, g: 0.95 * v + 0.05 * g**2, corrected=True),
                "corrected already",
            ),
            (adamw_keeping(square=lambda v, g: 0.95 * v + 0.05 * g), "nothing is squared"),
            (adamw_keeping(square=lambda v, g: 0.9 * v + 0.1 * g**2), "should keep 0.95"),
            (
                lambda w, g, m, v, n: (
                    *adamw(w, g, m, v, n)[:2],
                    0.95 * v + 0.05 * (0.9 * m + 0.1 * g) ** 2,
                ),
                "the mean that is squared",
            ),
            (lambda *given: [adamw(*given)[i] for i in (1, 0, 2)], "The mean is not"),
            (lambda w, *_: (0 * w, 0 * w, 0 * w), "The mean is not"),
            (adamw_uncorrected, "begin at 0"),
            (adamw_without_root, "not by its root"),
            (adamw_uphill, "up the slope."),
            (adamw_all_uphill, "grows where it should decay"),
            (adam, "nothing decays"),
            (in_float32(adam), "nothing decays"),
            (descent, "plain gradient descent"),
            (adamw_decaying_tenfold, "not times the rate"),
            (lambda *given: (given[0] * 2, *adamw(*given)[1:]), "The means are right, and"),
            (partial(adamw, eps=0.0), "Is it 10⁻⁸"),
            (partial(adamw, eps=1e-6), "Is it 10⁻⁸"),
            (
                lambda *given: [np.float64(part) for part in in_float32(adamw)(*given)],
                "Or is it float32",
            ),
        ],
        odd=[adamw_in_place, adamw_handed_out, in_float32(adamw)],
        other=[(None, "Not attempted yet"), (lambda *given: given[0], "The shape should be")],
    ),
}
test_attempts = tried_on(ATTEMPTS)
