"""The exercises of the chapter on the feed-forward network: what their checkers take for right."""

import functools
import math
from dataclasses import replace

import numpy as np

from companion import FeedForwardParameters, gelu, map_parameters, move_parameters, relu, silu
from companion.exercises import feed_forward as exercises
from tests.support.attempts import Attempts, tried_on
from tests.support.homes import NUMPY, STRICT

EVERY = {1, 2, 3, 4, 5}


def network(w_1, w_2, b_1=None, b_2=None):
    """Make a network from lists."""
    arrays = (None if part is None else np.asarray(part, float) for part in (w_1, b_1, w_2, b_2))
    return FeedForwardParameters(*arrays)


LARGER = network([[1, 0, 0], [-1, 1, -1]], [[1], [1], [-1]])
# (s + t) / 2 + |s − t| / 2, with one unit more.
HALVES = network([[1, -1, 1, -1], [1, -1, -1, 1]], [[0.5], [-0.5], [0.5], [0.5]])
# t itself by way of a constant that is large beside some pairs, in two units.
TWO_UNITS = [
    network([[1, 0], [-1, 1]], [[1], [1]], b_1=[0, constant], b_2=[-constant])
    for constant in (100.0, 2.0**34, 2.0**45)
]


class Named(FeedForwardParameters):
    """The same thing by another name."""


def prune(p, m):
    """Take one hidden unit out, the right way."""
    b_1 = None if p.b_1 is None else np.delete(p.b_1, m)
    return FeedForwardParameters(np.delete(p.w_1, m, 1), b_1, np.delete(p.w_2, m, 0), p.b_2)


def prune_and_reorder(p, m):
    """Take one hidden unit out, and turn the order of the others round, in place."""
    pruned = prune(p, m)
    p.w_1[...] = 0
    b_1 = np.zeros(pruned.w_1.shape[1]) if pruned.b_1 is None else pruned.b_1[::-1]
    return replace(pruned, w_1=pruned.w_1[:, ::-1], b_1=b_1, w_2=pruned.w_2[::-1])


def prune_to_zeros(p, m):
    """Make all weights zero, also in the network that came."""
    for array in (p.w_1, p.w_2):
        array[...] = 0
    return prune(map_parameters(np.zeros_like, p), m)


def prune_bias_too(p, m):
    pruned = prune(p, m)
    return pruned if p.b_2 is None else replace(pruned, b_2=p.b_2 * 0)


def prune_wrong_row(p, m):
    b_1 = None if p.b_1 is None else np.delete(p.b_1, m)
    return FeedForwardParameters(np.delete(p.w_1, m, 1), b_1, np.delete(p.w_2, -1, 0), p.b_2)


def prune_bias_cut_short(p, m):
    pruned = prune(p, m)
    return pruned if p.b_1 is None else replace(pruned, b_1=p.b_1[:-1])


def feed(x, w_1, b_1, w_2, b_2, bend=gelu):
    """Do what is asked for, or bend otherwise."""
    return bend(x @ w_1 + b_1) @ w_2 + b_2


def bent_by(entry):
    """Make a network that bends each number by a function of one."""
    return functools.partial(feed, bend=np.vectorize(entry))


def by_the_book(x, w_1, b_1, w_2, b_2):
    """Go token by token, and through 1 + erf, in place."""
    for row in x.reshape(-1, x.shape[-1]):
        hidden = [sum(row * column) for column in w_1.T] + b_1
        hidden = [h * (1 + math.erf(h / math.sqrt(2))) / 2 for h in hidden]
        row[:] = [sum(hidden * column) for column in w_2.T] + b_2
    return x


def in_single(*arrays):
    return feed(*(array.astype(np.float32) for array in arrays))


def in_single_and_back(*arrays):
    return in_single(*arrays).astype(np.float64)


def as_lists(*arrays):
    return feed(*arrays).tolist()


def overflows(x, w_1, b_1, w_2, b_2):
    """Use the tanh form where nobody notices, and its cube where it overflows."""
    h = x @ w_1 + b_1
    return np.where(np.abs(h) > 300, np.exp(np.abs(h)), gelu(h)) @ w_2 + b_2


def first_of_a_batch(x, *weights):
    return feed(x, *weights) if x.ndim == 2 else feed(np.broadcast_to(x[:1], x.shape), *weights)


def logistic(h):
    return 1 / (1 + math.exp(-h))


def phi(h):
    return math.erfc(-h / math.sqrt(2)) / 2


def fails(*_):
    """Stop, as a reader's function may."""
    raise RuntimeError("out of ideas")


ATTEMPTS = {
    exercises.check_changed_rows: Attempts(
        wrong=[
            (({4}, {4}), "With attention between"),
            (({4}, {4, 5}), "With attention between"),
            ((EVERY, EVERY), "Three networks"),
            (({3}, EVERY), "counted from one"),
            (({4, 5}, EVERY), "Three networks"),
            ((EVERY, {4}), "Three networks"),
        ],
        odd=[([4], range(1, 6)), iter(({4.0}, np.arange(1, 6))), [(4, 4), iter([5, 4, 3, 2, 1])]],
        other=[
            (None, "Not attempted"),
            (..., "Not attempted"),
            ({4}, "this is set: give a pair of sets"),
            ((4, 5), "A set of row numbers"),
            (({0}, EVERY), "rows 1 to 5"),
            (({4}, EVERY), "Right"),
        ],
    ),
    exercises.check_maximum: Attempts(
        wrong=[
            (network([[1, 0], [-1, 1]], [[1], [1]]), "both numbers are positive"),
            (network([[1, -1], [0, 0]], [[1], [-1]]), "the first number is the larger one"),
            (network([[0, 0], [1, -1]], [[1], [-1]]), "the second number is the larger one"),
            (network([[1], [1]], [[1]]), "Not the larger one yet"),
            (TWO_UNITS[0], "Close for 82% of the pairs, but not exact"),
            (TWO_UNITS[1], "Close for 78% of the pairs, but not exact"),
            (TWO_UNITS[2], "Close for 60% of the pairs, but not exact"),
            (replace(LARGER, b_2=np.asarray([9e-5])), "of the pairs, but not exact"),
            (replace(LARGER, b_2=np.asarray([1e-10])), "Mostly close, but not exact"),
            (network(np.eye(2), [[1], [1]]), "of the pairs, but not exact"),
            (replace(LARGER, w_2=LARGER.w_2 * (1 + 1e-9)), "not exact: it is off by"),
            (replace(LARGER, w_2=LARGER.w_2 * np.nan), "Not the larger one yet"),
            (replace(LARGER, w_2=LARGER.w_2 * 0), "Not the larger one yet"),
        ],
        odd=[
            move_parameters(LARGER, NUMPY.xp, dtype=np.float32),
            move_parameters(LARGER, STRICT.xp),
            HALVES,
            Named(LARGER.w_1, np.zeros(3), LARGER.w_2, np.zeros(1)),
        ],
        other=[
            (None, "Not attempted"),
            (3, "this is int"),
            (FeedForwardParameters, "the class FeedForwardParameters"),
            (network(np.eye(3), np.eye(3)), "takes 3 and gives 3"),
            (move_parameters(LARGER, NUMPY.xp, dtype=np.float16), "float16 is too coarse"),
            (LARGER, "Right, for 200 random pairs, with 3 hidden units"),
        ],
    ),
    exercises.check_prune: Attempts(
        wrong=[
            (lambda p, _: p, "Of 5 hidden units 4 must be left: w_1 (3, 4) and w_2 (4, 2); yours"),
            (lambda p, m: prune(p, (m + 1) % len(p.w_2)), "or another one"),
            (lambda p, _: prune(p, 0), "more than unit 2"),
            (prune_bias_too, "more than unit 0 of 5"),
            (prune_wrong_row, "more than unit 0 of 5"),
            (prune_bias_cut_short, "more than unit 0 of 5"),
            (prune_to_zeros, "more than unit 0 of 5"),
            (lambda p, m: map_parameters(lambda a: a * np.nan, prune(p, m)), "more than unit 0"),
        ],
        odd=[
            prune_and_reorder,
            lambda net, unit: move_parameters(prune(net, unit), NUMPY.xp, dtype=np.float32),
            lambda p, m: Named(*vars(prune(p, m)).values()),
        ],
        other=[
            (None, "Not attempted"),
            (3, "A function is asked for, and this is int"),
            (fails, "stops for bias=True, m=0 with RuntimeError: out of ideas"),
            (lambda *_: None, "returns nothing"),
            (lambda p, _: p.w_1, "this is ndarray"),
            (lambda p, m: vars(prune(p, m)), "this is dict"),
            (prune, "Right"),
        ],
    ),
    exercises.check_two_layers: Attempts(
        wrong=[
            (functools.partial(feed, bend=lambda h: h), "Nothing is bent"),
            (functools.partial(feed, bend=relu), "That is ReLU"),
            (functools.partial(feed, bend=silu), "That is SiLU"),
            (
                functools.partial(feed, bend=functools.partial(gelu, approximate="tanh")),
                "tanh form",
            ),
            (bent_by(lambda h: h * logistic(1.702 * h)), "1.702 x in place of Φ"),
            (bent_by(lambda h: h * math.erfc(-h) / 2), "root of two"),
            (bent_by(lambda h: h * math.erfc(h / math.sqrt(2)) / 2), "Mind the sign"),
            (bent_by(lambda h: h * math.erfc(-h / math.sqrt(2))), "Twice too much"),
            (bent_by(phi), "the chances Φ"),
            (bent_by(lambda h: h * math.erf(h / math.sqrt(2))), "erf in place of Φ"),
            (bent_by(lambda h: h * math.erf(h / math.sqrt(2)) / 2), "erf in place of 1 + erf"),
            (functools.partial(feed, bend=np.tanh), "the hyperbolic tangent"),
            (bent_by(logistic), "the logistic function alone"),
            (lambda *all_of: gelu(feed(*all_of)), "what leaves the second layer too"),
            (lambda *all_of: gelu(feed(*all_of, bend=lambda h: h)), "only what leaves the second"),
            (lambda x, *rest: feed(gelu(x), *rest), "You bend the row that enters"),
            (lambda x, *rest: feed(gelu(x), *rest, bend=lambda h: h), "before the first product"),
            (lambda x, w_1, _, w_2, b_2: feed(x, w_1, 0, w_2, b_2), "The first bias is missing"),
            (lambda x, w_1, b_1, w_2, _: feed(x, w_1, b_1, w_2, 0), "The second bias is missing"),
            (lambda x, w_1, _, w_2, __: feed(x, w_1, 0, w_2, 0), "Both biases are missing"),
            (lambda x, w, b, v, c: (gelu(x @ w) + b) @ v + c, "comes after the bend"),
            (lambda x, *rest: x + feed(x, *rest), "that residual belongs to the block"),
            (lambda x, *_: x, "You return x as it came"),
            (lambda x, *rest: feed(x - x, *rest), "All your rows are alike"),
            (lambda *all_of: -feed(*all_of), "Not yet"),
            (lambda *all_of: feed(*all_of) * np.nan, "not finite"),
            (bent_by(lambda h: min(max(h, 0), 6)), "Not yet. Look at the hidden row"),
            (bent_by(lambda h: h * phi(h) if abs(h) < 5 else max(h, 0)), "some units away from it"),
            (lambda *all_of: np.round(feed(*all_of), 4), "Nearly: off by more than rounding"),
            (in_single_and_back, "Nearly: off by more than rounding"),
            (lambda *all_of: (feed(*all_of),), "is there a comma at the end"),
            (overflows, "very large ones do not"),
            (first_of_a_batch, "a batch of them does not"),
        ],
        odd=[
            by_the_book,
            in_single,
            as_lists,
            bent_by(lambda h: h * phi(h)),
            functools.partial(feed, bend=lambda h: h * np.frompyfunc(phi, 1, 1)(h)),
        ],
        other=[
            (None, "Not attempted"),
            (lambda *_: None, "returns nothing"),
            (3, "A function is asked for"),
            (fails, "stops for x of shape (5, 6) with RuntimeError: out of ideas"),
            (functools.partial(feed, bend=math.erfc), "stops for x of shape (5, 6) with TypeError"),
            (lambda x, w, b, v, c: feed(x, w.T, b, v.T, c), "stops for x of shape (5, 6) with"),
            (lambda x, w, b, *_: gelu(x @ w + b), "should be (5, 6)"),
            (lambda x, *rest: (feed(x, *rest), x), "returns several things"),
            (feed, "Right"),
        ],
    ),
    exercises.check_gated_width: Attempts(
        wrong=[
            (10752, "Too narrow"),
            (10923, "no multiple of 256"),
            (11264, "256 fewer"),
            (16384, "256 fewer"),
            (2 * 4 * 4096 / 3, "A whole number is asked for, got 10922.6"),
        ],
        odd=[11008.0, np.float64(11008), np.asarray(11008)],
        other=[(None, "Not attempted"), (-256, "Too narrow"), (11008, "Right")],
    ),
}

test_attempts = tried_on(ATTEMPTS)
