"""The exercises of the chapter on many heads: what their checkers take for right, and what not."""

from dataclasses import replace
from decimal import Decimal

import numpy as np

import companion
from companion import AttentionParameters, move_parameters, pitfalls
from companion.exercises import heads as exercises
from tests.support.attempts import Attempts, tried_on
from tests.support.homes import NUMPY, STRICT

EXAMPLE = companion.running_example(NUMPY.xp)
W_Q, W_K = (np.stack([w[0]] * 2) for w in (EXAMPLE.w_q, EXAMPLE.w_k))
TWINS = AttentionParameters(W_Q, W_K, EXAMPLE.w_v, EXAMPLE.block.attention.w_o)
WIDE = np.concatenate(list(EXAMPLE.w_v), axis=1)[None]
SINGLE = AttentionParameters(W_Q[:1], W_K[:1], WIDE, TWINS.w_o)
TURN = np.asarray([[0.0, 2, 0], [1, 0, 0], [0, 0, 5]])
GROUPED = AttentionParameters.random(
    np.random.default_rng(7), width=8, heads=4, kv_heads=2, bias=False, dtype=np.float64
)
EACH = replace(GROUPED, w_k=GROUPED.w_k.repeat(2, axis=0), w_v=GROUPED.w_v.repeat(2, axis=0))
ORDER = np.asarray([2, 3, 0, 1])


class Named(AttentionParameters):
    """The same thing by another name."""


def like(parameters, kind):
    return kind(parameters.w_q, parameters.w_k, parameters.w_v, parameters.w_o)


def softmax(scores, axis=-1):
    powers = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def split(x, heads):
    return x.reshape(*x.shape[:-1], heads, -1).swapaxes(-2, -3)


def merge(x):
    return x.swapaxes(-2, -3).reshape(*x.shape[:-3], x.shape[-2], -1)


def dealt(x, heads):
    return x.reshape(*x.shape[:-2], heads, x.shape[-2], -1)


def laid(x):
    return x.reshape(*x.shape[:-3], x.shape[-2], -1)


def mix(query, key, value, scale=None, axis=-1):
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return softmax(query @ key.mT * scale, axis) @ value


def layer(split=split, merge=merge, mix=mix, keep=lambda x, w_o: x @ w_o):
    """Make a layer of heads of what splits, mixes and merges them."""

    def many(x, w_q, w_k, w_v, w_o, heads):
        return keep(merge(mix(*(split(x @ w, heads) for w in (w_q, w_k, w_v)))), w_o)

    return many


def scaled_by(factor):
    def many(x, w_q, w_k, w_v, w_o, heads):
        scale = factor(x, w_q, heads)
        return layer(mix=lambda *given: mix(*given, scale=scale))(x, w_q, w_k, w_v, w_o, heads)

    return many


def one_wide(x, w_q, w_k, w_v, w_o, heads):
    return mix(x @ w_q, x @ w_k, x @ w_v, (w_q.shape[1] // heads) ** -0.5) @ w_o


def without_a_shift(query, key, value):
    powers = np.exp(query @ key.mT / query.shape[-1] ** 0.5)
    return powers / powers.sum(axis=-1, keepdims=True) @ value


def causal(query, key, value):
    scores = query @ key.mT / query.shape[-1] ** 0.5
    return softmax(np.where(np.tri(scores.shape[-1], dtype=bool), scores, -np.inf)) @ value


def for_a_sentence(x, w_q, w_k, w_v, w_o, heads):
    d_k, d_v = w_q.shape[1] // heads, w_v.shape[1] // heads
    cut = [(x @ w_q, d_k), (x @ w_k, d_k), (x @ w_v, d_v)]
    query, key, value = (a.reshape(len(x), heads, width).transpose(1, 0, 2) for a, width in cut)
    weights = softmax(query @ key.transpose(0, 2, 1) / d_k**0.5)
    return (weights @ value).transpose(1, 0, 2).reshape(len(x), heads * d_v) @ w_o


def head_by_head(x, w_q, w_k, w_v, w_o, heads):
    if x.ndim == 3:
        return [head_by_head(one, w_q, w_k, w_v, w_o, heads) for one in x]
    d_k, d_v = w_q.shape[1] // heads, w_v.shape[1] // heads
    total = 0
    for h in range(heads):
        keys, values = slice(h * d_k, (h + 1) * d_k), slice(h * d_v, (h + 1) * d_v)
        total = total + mix(x @ w_q[:, keys], x @ w_k[:, keys], x @ w_v[:, values]) @ w_o[values]
    return total


def in_place(x, w_q, w_k, w_v, w_o, heads):
    query, key, value = (split(x @ w, heads) for w in (w_q, w_k, w_v))
    x[...] = w_q[...] = np.nan
    query /= query.shape[-1] ** 0.5
    scores = np.einsum("...hik,...hjk->...hij", query, key)
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return np.einsum(
        "...hij,...hjv,hvo->...io", scores, value, w_o.reshape(heads, -1, w_o.shape[1])
    )


def in_float32(*given):
    """Compute in float32, and return float64 as if nothing had happened."""
    arrays = (part.astype(np.float32) for part in given[:-1])
    return layer()(*arrays, given[-1]).astype(np.float64)


def dropping():
    """Drop some of what is merged, others at each call."""
    rng = np.random.default_rng(3)
    return layer(keep=lambda x, w: x * (rng.random(x.shape) < 0.5) @ w)


def packed(w_q, w_k, w_v, w_o, heads):
    """Make the library's parameters of matrices that lie side by side."""
    return AttentionParameters(*(split(w, heads) for w in (w_q, w_k, w_v)), w_o)


ATTEMPTS = {
    exercises.check_multi_head: Attempts(
        wrong=[
            (layer(split=dealt), "You split by a reshape alone"),
            (layer(merge=laid), "You merge by a reshape alone"),
            (layer(split=dealt, merge=laid), "You split and merge by a reshape alone"),
            (
                layer(split=lambda x, h: np.moveaxis(x.reshape(*x.shape[:-1], -1, h), -1, -3)),
                "one column in 2",
            ),
            (
                layer(
                    lambda x, h: x.reshape(*x.shape[:-1], h, -1),
                    lambda x: x.reshape(*x.shape[:-2], -1),
                ),
                "each token attends to its own heads",
            ),
            (one_wide, "one row of weights for all columns"),
            (
                layer(split=lambda x, _: x[..., None, :, :]),
                "your columns are not cut",
            ),
            (layer(merge=lambda x: merge(x[..., ::-1, :, :])), "in another order"),
            (scaled_by(lambda *_: 1), "not scaled"),
            (scaled_by(lambda _, w, heads: (w.shape[1] / heads) ** -1), "not by its root"),
            (scaled_by(lambda _, w, heads: w.shape[1] ** -0.5 * heads**0), "all heads together"),
            (scaled_by(lambda x, *_: x.shape[-1] ** -0.5), "with the width of x"),
            (layer(mix=lambda *given: mix(*given, axis=-2)), "along the wrong axis"),
            (layer(mix=lambda *given: mix(*given, axis=-3)), "over the heads"),
            (layer(mix=lambda q, k, v: mix(k, q, v)), "have changed places"),
            (layer(mix=causal), "no mask was asked for"),
            (layer(mix=without_a_shift), "in the thousands"),
            (
                layer(
                    mix=lambda q, k, v: softmax(np.clip(q @ k.mT / k.shape[-1] ** 0.5, -50, 50)) @ v
                ),
                "the largest of each row is taken away, and nothing else is done",
            ),
            (
                lambda *given: layer(split=dealt if given[-1] == 2 else split)(*given),
                "With one head it is right, with 2 it is not",
            ),
            (lambda *given: (layer()(*given),), "is there a comma at the end"),
            (layer(keep=lambda x, w: x @ w / (1 + 1e-9)), "Do you add something to the sum"),
            (in_float32, "Nearly: off by more than rounding"),
            (dropping(), "something in your layer is random"),
            (layer(keep=lambda x, _: x), "What does w_o make of them"),
            (layer(merge=lambda x: x, keep=lambda x, w: x @ w[: x.shape[-1]]), "an axis is left"),
            (layer(keep=lambda x, w: (x @ w, None)), "returns several things"),
            (layer(keep=lambda x, w: x @ w.T), "stops for 2 heads and x of shape (5, 7)"),
            (layer(split=lambda x, h: np.roll(split(x, h), h - 1, axis=-1)), "how are the columns"),
            (layer(keep=lambda x, w: 2 * x @ w), "Not even one head"),
            (
                lambda x, w_q, w_k, w_v, w_o, _: layer()(x, w_q, w_k, w_v, w_o, 2),
                "for 3 heads",
            ),
            (
                lambda *given: layer()(*given) * (1 + 1e-3 * (len(given[0]) == 1)),
                "With one token alone",
            ),
            (
                lambda x, *given: layer()(x, *given) * (1 + 1e-3 * (x.ndim > 2)),
                "a batch of them does not",
            ),
            (for_a_sentence, "for 3 heads and x of shape (2, 5, 7) with ValueError"),
        ],
        odd=[
            head_by_head,
            in_place,
            lambda *given: layer()(*(np.asarray(a, np.float32) for a in given[:-1]), given[-1]),
            lambda *given: companion.multi_head_attention(given[0], packed(*given[1:])),
        ],
        other=[
            (None, "Not attempted yet: write multi_head"),
            (lambda *_: ..., "Not attempted yet: your function returns nothing"),
            (layer(), "Right: the heads lie side by side"),
        ],
    ),
    exercises.check_split_entry: Attempts(
        wrong=[
            ((4, 4), "a reshape alone"),
            ((3, 1), "another column"),
            ((3, 3), "another column"),
            ((2, 3), "counted from one"),
            ((2, 4), "Another token's row"),
        ],
        odd=[(3.0, 4), np.asarray([3, 4]), iter([3, 4])],
        other=[
            (None, "Not attempted"),
            (..., "Not attempted"),
            (3, "this is int: give a pair (row, column)"),
            ((3, 4, 5), "this is tuple of length 3"),
            ((0, 4), "rows 1 to 5 and columns 1 to 6"),
            ((3, 4), "Right"),
        ],
    ),
    exercises.check_single_head: Attempts(
        wrong=[
            (replace(SINGLE, w_v=WIDE[..., ::-1].copy()), "the output differs"),
            (replace(SINGLE, w_v=WIDE / 2), "the output differs"),
            (replace(SINGLE, w_q=2 * SINGLE.w_q), "the output differs"),
            (replace(SINGLE, w_q=SINGLE.w_k, w_k=SINGLE.w_q), "the output differs"),
            (replace(SINGLE, w_o=TWINS.w_o + 1e-9), "the output differs"),
            (replace(SINGLE, w_v=WIDE * np.nan), "the output differs"),
            (replace(SINGLE, w_q=SINGLE.w_q * 1e200), "the output differs"),
            (TWINS, "must hold one head"),
            (
                AttentionParameters(W_Q[:1], W_K[:1], WIDE[..., :4] + WIDE[..., 4:], TWINS.w_o[:4]),
                "How wide are your values",
            ),
        ],
        odd=[
            replace(SINGLE, w_q=W_Q[:1] @ TURN, w_k=W_K[:1] @ np.linalg.inv(TURN).T),
            move_parameters(SINGLE, NUMPY.xp, dtype=np.float32),
            move_parameters(SINGLE, STRICT.xp),
            like(SINGLE, Named),
        ],
        other=[
            (None, "Not attempted"),
            (3, "An AttentionParameters is asked for, and this is int"),
            (AttentionParameters, "and this is the class AttentionParameters"),
            ((W_Q, W_K), "An AttentionParameters is asked for, and this is tuple"),
            (move_parameters(SINGLE, NUMPY.xp, dtype=np.float16), "float16 is too coarse"),
            (replace(SINGLE, w_o=TWINS.w_o[:, :5]), "should be (7, 6)"),
            (
                AttentionParameters(W_Q[:1, :5], W_K[:1, :5], WIDE[:, :5], TWINS.w_o),
                "does not take the same input",
            ),
            (SINGLE, "Right"),
        ],
        needs={"twins": TWINS},
    ),
    exercises.check_unrolled: Attempts(
        wrong=[
            (replace(EACH, w_k=np.tile(GROUPED.w_k, (2, 1, 1))), "Which key head did each query"),
            (
                replace(
                    EACH,
                    w_k=np.tile(GROUPED.w_k, (2, 1, 1)),
                    w_v=np.tile(GROUPED.w_v, (2, 1, 1)),
                ),
                "Which key head did each query head share",
            ),
            (replace(EACH, w_v=EACH.w_v[::-1].copy()), "Which key head did each query head share"),
            (replace(EACH, w_v=0 * EACH.w_v), "the output differs"),
            (GROUPED, "a key head for each of 4 query heads"),
            (
                AttentionParameters(
                    GROUPED.w_q[:2], GROUPED.w_k, GROUPED.w_v, GROUPED.w_o[: len(GROUPED.w_o) // 2]
                ),
                "must stay 4; got 2",
            ),
        ],
        odd=[
            # The heads in another order, and the rows of W^O with them.
            AttentionParameters(
                EACH.w_q[ORDER],
                EACH.w_k[ORDER],
                EACH.w_v[ORDER],
                EACH.w_o.reshape(4, -1, 8)[ORDER].reshape(-1, 8),
            ),
            move_parameters(EACH, NUMPY.xp, dtype=np.float32),
            like(EACH, Named),
        ],
        other=[(..., "Not attempted"), (3, "and this is int"), (EACH, "Right")],
        needs={"grouped": GROUPED},
    ),
    exercises.check_cache_bytes: Attempts(
        wrong=[
            (2**30 // 32, "one layer"),
            (2**29, "keys and values, and two bytes"),
            (2**28, "A quarter"),
            (2**32, "for every query head"),
            (10**9, "Not yet"),
        ],
        odd=[float(2**30), np.float32(2**30), np.asarray(2**30), Decimal(2**30)],
        other=[
            (None, "Not attempted"),
            ("1 GiB", "A whole number is asked for, and this is str"),
            (1000, "Not yet"),
            (2**30, "Right"),
        ],
    ),
}

test_attempts = tried_on(ATTEMPTS)


def on(home, parameters):
    return (
        move_parameters(parameters, home.xp)
        if home is NUMPY
        else companion.map_parameters(home.asarray, parameters)
    )


def test_parameters_may_be_on_any_device(capsys, home):
    exercises.check_single_head(on(home, SINGLE), on(home, TWINS))
    exercises.check_unrolled(on(home, EACH), on(home, GROUPED))
    exercises.check_unrolled(on(home, replace(EACH, w_v=0 * EACH.w_v)), on(home, GROUPED))
    assert capsys.readouterr().out.count("Right") == 2


def test_the_split_entries_are_where_the_splits_take_them_from():
    names = np.asarray([[10 * i + c for c in range(1, 7)] for i in range(1, 6)])
    assert companion.split_heads(names, 2)[1, 2, 0] == 34
    assert pitfalls.split_heads_by_reshape(names, 2)[1, 2, 0] == 44
