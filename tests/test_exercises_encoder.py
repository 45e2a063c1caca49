"""The exercises of the chapter on a trained encoder: what their checkers take for right."""

from collections import OrderedDict, UserDict
from decimal import Decimal
from fractions import Fraction

import numpy as np

import companion
from companion.exercises import encoder as exercises
from tests.support.attempts import Attempts, tried_on

NAMES = {
    "blocks[3].attention.w_o": "encoder.layer.3.attention.output.dense.weight",
    "blocks[0].feed_forward.w_1": "encoder.layer.0.intermediate.dense.weight",
    "blocks[5].norm_2.bias": "encoder.layer.5.output.LayerNorm.bias",
}
W_O, W_1, BIAS = NAMES


def by(measure):
    return lambda query, vectors, k: np.argsort(measure(query, vectors))[:k]


def cosine(query, vectors):
    return vectors @ query / np.linalg.norm(vectors, axis=1)


def nearest(query, vectors, k):
    return by(lambda q, v: -cosine(q, v))(query, vectors, k)


def nearest_in_place(q, v, k):
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    q /= -np.linalg.norm(q)
    return np.argsort(v @ q)[:k]


def nearest_by_distance(query, vectors, k):
    """Rank unit rows by their distance: the same order."""
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.argsort(((rows - query / np.linalg.norm(query)) ** 2).sum(axis=1))[:k]


def columns_of_length_one(query, vectors, k):
    return np.argsort(-(vectors / np.linalg.norm(vectors, axis=0)) @ query)[:k]


def partitioned(query, vectors, k):
    return np.sort(nearest(query, vectors, k))


def unit(x, axis=-1):
    return x / np.linalg.norm(x, axis=axis, keepdims=True)


def length(x):
    return np.linalg.norm(x, axis=-1, keepdims=True)


def mean(states, token_mask):
    kept = np.where(token_mask[..., None], states, 0.0)
    return kept.sum(axis=1) / token_mask.sum(axis=1, keepdims=True)


def pooled(states, token_mask):
    return unit(mean(states, token_mask))


def pooled_one_by_one(states, token_mask):
    """Return a list, from tokens that are looked for."""
    return [
        list(unit(rows[held].mean(axis=0))) for rows, held in zip(states, token_mask, strict=True)
    ]


def pooled_in_place(states, token_mask):
    states[~token_mask] = 0
    token_mask[...] = False
    rows = states.astype(np.float32).sum(axis=1)  # how many tokens there are is lost in the length
    rows /= np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return rows


def pooled_by_a_product(states, token_mask):
    shares = token_mask / token_mask.sum(axis=1, keepdims=True)
    selected = np.where(token_mask[..., None], states, 0)
    return unit((shares[:, None, :] @ selected)[:, 0, :])


def of_rows(choose):
    """Pool the rows that are chosen of a text's rows and their mask."""
    return lambda states, mask: unit(
        np.stack([choose(x, m) for x, m in zip(states, mask, strict=True)])
    )


ATTEMPTS = {
    exercises.check_sentence_vectors: Attempts(
        wrong=[
            (lambda x, _: unit(x.mean(axis=1)), "Padding counts in your mean"),
            (lambda x, m: pooled(x, ~m), "Your mask is inside out"),
            (lambda x, _: unit(x[:, 0]), "the row of [CLS] alone"),
            (of_rows(lambda x, m: x[m][-1]), "the last token's row alone"),
            (lambda x, _: unit(x[:, -1]), "the last row alone, and it may be padding"),
            (of_rows(lambda x, m: x[m].max(axis=0)), "the largest entry of each column"),
            (of_rows(lambda x, m: x[m][1:-1].sum(axis=0)), "leave out the first and the last"),
            (mean, "The means are right"),
            (lambda x, m: np.where(m[..., None], x, 0).sum(axis=1), "the sums of the tokens' rows"),
            (lambda x, m: np.where(m[..., None], x, 0).mean(axis=1), "You divide by N"),
            (lambda x, _: x.mean(axis=1), "padding with them, and to no length"),
            (lambda *a: mean(*a) / np.linalg.norm(mean(*a)), "one length, that of the whole array"),
            (lambda *a: unit(mean(*a), axis=0), "down the columns"),
            (lambda *a: unit(mean(*a)) / np.linalg.norm(mean(*a), axis=1)[:, None], "the square"),
            (lambda *a: mean(*a) / np.abs(mean(*a)).sum(1, keepdims=True), "the sum of the sizes"),
            (lambda *a: mean(*a) / mean(*a).sum(1, keepdims=True), "the sum of the entries"),
            (lambda *a: mean(*a) / np.abs(mean(*a)).max(1, keepdims=True), "the largest entry. A"),
            (lambda x, m: mean(unit(x), m), "length 1 before the mean"),
            (lambda x, m: pooled(unit(x), m), "length 1 before the mean"),
            (of_rows(lambda x, m: x[: m.sum()].mean(axis=0)), "with padding in front of them"),
            (
                lambda x, m: unit((x * m[..., None]).sum(axis=1)),
                "Where padding holds NaN, your vectors are not right",
            ),
            (
                lambda x, m: unit((np.where(np.isnan(x), 0, x) * m[..., None]).sum(axis=1)),
                "Where padding holds ∞, your vectors are not right: 0 · ∞ is NaN",
            ),
            (
                lambda x, m: unit(
                    (
                        np.where(x == np.inf, 0, np.nan_to_num(x, nan=0.0, neginf=x.min()))
                        * m[..., None]
                    ).sum(axis=1)
                ),
                "Where padding holds −∞, your vectors are not right",
            ),
            (
                of_rows(lambda x, m: x[m.argmax() : m.argmax() + m.sum()].mean(axis=0)),
                "with padding between them it is not",
            ),
            (lambda x, m: mean(x, m) / (length(mean(x, m)) + 1e-9), "Nearly: off by more than"),
            (
                lambda x, m: pooled(x.astype(np.float32), m).astype(np.float64),
                "Nearly: off by more than rounding",
            ),
            (
                lambda x, m: unit(x[:, 0]) if len(x) == 3 else pooled(x, m),
                "All lengths are 1, but the vector of text 1 points in another direction",
            ),
            (lambda x, m: (pooled(x, m),), "is there a comma at the end"),
            (lambda x, m: unit(x[m].mean(axis=0)), "one vector for all texts together"),
            (lambda x, _: unit(x), "(3, 5, 4), a row for each token"),
            (lambda x, _: x.mean(axis=-1), "a number for each token"),
            (lambda x, _: unit(x.mean(axis=0)), "an average over the texts"),
            (lambda x, m: pooled(x, m)[:, None, :], "an axis of 1"),
            (lambda x, m: unit(np.where(m[..., None], x**2, 0).sum(axis=1)), "another direction"),
            (lambda x, m: 1.1 * pooled(x, m), "text 1 has length 1.1, and not 1"),
            (lambda x, m: pooled(x, m) / m[:, -1:], "text 2 is not finite"),
        ],
        odd=[pooled_one_by_one, pooled_in_place, pooled_by_a_product],
        other=[
            (None, "Not attempted yet: write sentence_vectors"),
            (lambda *_: ..., "Not attempted yet: your function returns nothing"),
            (lambda *_: "a vector", "An array is asked for, and this is str"),
            (lambda *a: (pooled(*a), None), "returns several things"),
            (lambda x, m: x[m, 7], "stops for states of shape (3, 5, 4) with IndexError"),
            (lambda x, m: pooled(x, m)[:, :2], "The shape should be (3, 4)"),
            (pooled, "Right"),
        ],
    ),
    exercises.check_tensor_names: Attempts(
        wrong=[
            (NAMES | {W_O: "encoder.layer.3.attention.self.output.weight"}, "named like w_2"),
            (NAMES | {W_O: "encoder.layer.3.attention.output.weight"}, "named like w_2"),
            (NAMES | {BIAS: "encoder.layer.5.LayerNorm.bias"}, "norm_1 has in the attention"),
            (NAMES | {BIAS: "encoder.layer.5.intermediate.LayerNorm.bias"}, "norm_1 has in the"),
            (
                NAMES | {W_O: "encoder.layer.4.attention.output.dense.weight"},
                "blocks[3].attention.w_o leads to another layer",
            ),
            (NAMES | {W_O: "encoder.layer.30.attention.output.dense.weight"}, "another layer"),
            (NAMES | {BIAS: "encoder.layer.5.output.LayerNorm.weight"}, "weight or bias"),
            (NAMES | {W_O: "encoder.layer.3.output.dense.weight"}, "a part of the attention"),
            (NAMES | {BIAS: "encoder.layer.5.attention.output.LayerNorm.bias"}, "a part of the"),
            (NAMES | {BIAS: "encoder.layer.5.output.dense.bias"}, "of a norm or of a dense layer"),
            (NAMES | {W_1: "encoder.layer.0.output.dense.weight"}, "which comes first"),
        ],
        odd=[
            OrderedDict(NAMES),
            UserDict(NAMES),
            {k: np.str_(v) for k, v in NAMES.items()},
            {k: f" {v} " for k, v in NAMES.items()},
        ],
        other=[
            (None, "Not attempted"),
            (..., "Not attempted"),
            ("encoder.layer", "A dict is asked for"),
            (dict, "A dict is asked for, and this is the class dict"),
            ({}, "Not attempted yet: the tensor of blocks[3]"),
            (NAMES | {BIAS: None}, "the tensor of blocks[5].norm_2.bias"),
            (NAMES | {W_O: np.ones(2)}, "should be a text, not ndarray"),
            (NAMES | {W_O: 3}, "should be a text, not int"),
            (NAMES | {W_O: "w_o"}, "begin as the three do"),
            (NAMES, "Right"),
        ],
    ),
    exercises.check_squared_distance: Attempts(
        wrong=[
            (0.8, "That is the distance"),
            (0.32, "Multiply out"),
            (1.36, "Does it?"),
            (0.6405, "Does it?"),
            (1 - 0.68**2, "Does it?"),
            (2 + 2 * 0.68, "Does it?"),
        ],
        odd=[Fraction(16, 25), Decimal("0.64"), np.float32(0.64), np.asarray(0.64)],
        other=[
            (None, "Not attempted"),
            ("0.64", "A number is asked for"),
            (True, "A number is asked for"),
            (float("nan"), "finite"),
            (-1, "at most 2 apart"),
            (0.64, "Right"),
            (2 - 2 * 0.68, "Right"),
        ],
    ),
    exercises.check_nearest: Attempts(
        wrong=[
            (by(cosine), "least like"),
            (by(lambda q, v: -(v @ q)), "by their length"),
            (by(lambda q, v: ((v - q) ** 2).sum(axis=1)), "nearest points"),
            (by(lambda q, v: -np.abs(cosine(q, v))), "points away from the query"),
            (lambda q, v, k: nearest(q, v, k)[::-1], "most alike should come first"),
            (partitioned, "most alike should come first"),
            (lambda q, v, k: nearest(q, v, k) + 1, "Row i of an array has place i, from 0"),
            (lambda q, v, k: nearest(q, v, k) - len(v), "lies in 0 … n − 1, here 0 … 19"),
            (columns_of_length_one, "The shape is right, but"),
            (lambda q, v, _: nearest(q, v, 4), "return k places, here 6"),
            (lambda *_: np.arange(4), "another row"),
        ],
        odd=[
            nearest_in_place,
            nearest_by_distance,
            lambda q, v, k: iter(nearest(q.astype(np.float32), v, k).tolist()),
            lambda a, b, c: nearest(a, b, c).astype(np.float32),
        ],
        other=[
            (None, "Not attempted"),
            (3, "A function is asked for"),
            (lambda *_: None, "returns nothing"),
            (lambda _, v, k: v[k, 7], "for 20 vectors and k = 4 with IndexError"),
            (lambda q, v, k: cosine(q, v)[:k], "A whole number is asked for, got"),
            (
                lambda q, v, k: nearest(q, v, k + 1),
                "A list of 4 is asked for, and this is ndarray of shape (5,)",
            ),
            (nearest, "Right"),
        ],
    ),
    exercises.check_index_bytes: Attempts(
        wrong=[
            (384_000_000, "several bytes"),
            (3_072_000_000, "float64"),
            (768_000_000, "less than"),
            (1.5e9, "less than"),
            (1_000_000 * 4, "less than"),
            (1_536_000_000 * 8, "more than"),
        ],
        odd=[1.536e9, np.float32(1.536e9), Decimal("1536e6")],
        other=[
            (None, "Not attempted"),
            ([1], "A number is asked for"),
            (1e12, "more than"),
            (1_536_000_000, "Right"),
        ],
    ),
    exercises.check_passes: Attempts(
        wrong=[
            ((10_000, 100_000_000), "each text with itself"),
            ((10_000, 99_990_000), "each pair twice"),
            ((10_000, 50_005_000), "how many pairs"),
            ((20_000, 49_995_000), "encoder's number"),
            ((49_995_000, 10_000), "encoder's number"),
        ],
        odd=[
            np.asarray([1e4, 49_995_000.0]),
            iter([10_000, 49_995_000]),
            [Decimal(10_000), np.float64(49_995_000)],
        ],
        other=[
            (None, "Not attempted"),
            (10_000, "this is int: give two numbers"),
            ((10_000,), "tuple of length 1: give two numbers"),
            ((10_000, None), "Not attempted"),
            ((10_000, 7), "how many pairs"),
            ((10_000, 49_995_000), "Right"),
        ],
    ),
}

test_attempts = tried_on(ATTEMPTS)


def test_the_checkers_names_are_the_tables():
    config = companion.EncoderConfig(
        layers=6,
        heads=12,
        width=384,
        hidden=1536,
        vocabulary=30522,
        positions=512,
        token_types=2,
        eps=1e-12,
        max_length=256,
    )
    table = companion.tensor_table(config)
    assert {parameter: table[parameter][0] for parameter in NAMES} == NAMES
