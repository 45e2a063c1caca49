"""The exercises of the chapter on causal masks: what their checkers take for right."""

from decimal import Decimal

import numpy as np

import companion
from companion import to_numpy
from companion.exercises import masks as exercises
from tests.support.attempts import Attempts, tried_on
from tests.support.homes import NUMPY

WINDOW = to_numpy(companion.window_mask(8, window=(2, 0), xp=NUMPY.xp))
CAUSAL = np.tri(8, dtype=bool)
FIRST = np.arange(8) == 0
STREAM = WINDOW | FIRST
EXAMPLE = companion.running_example(NUMPY.xp)
_, KEY, VALUE = companion.project_qkv(EXAMPLE.x, EXAMPLE.w_q[0], EXAMPLE.w_k[0], EXAMPLE.w_v[0])
LAST = np.arange(5)[:, None] == 4


def head(attend):
    """Make a masked head of what attends with a query, a key and a value."""
    return lambda x, w_q, w_k, w_v: attend(x @ w_q, x @ w_k, x @ w_v)


def scores_of(query, key):
    return query @ key.mT / query.shape[-1] ** 0.5


def softmax(scores, axis=-1):
    powers = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def past_of(scores, offset=0):
    return np.tri(*scores.shape[-2:], offset, dtype=bool)


def masked(scores, offset=0, fill=-np.inf):
    return np.where(past_of(scores, offset), scores, fill)


def right(query, key, value):
    return softmax(masked(scores_of(query, key))) @ value


def masks_late(query, key, value):
    weights = softmax(scores_of(query, key))
    return np.where(past_of(weights), weights, 0) @ value


def masks_late_and_shares_out(query, key, value):
    weights = softmax(scores_of(query, key))
    weights = np.where(past_of(weights), weights, 0)
    return weights / weights.sum(axis=-1, keepdims=True) @ value


def forgets_the_shift(query, key, value):
    powers = np.exp(masked(scores_of(query, key)))
    return powers / powers.sum(axis=-1, keepdims=True) @ value


def takes_one_maximum(query, key, value):
    scores = masked(scores_of(query, key))
    powers = np.exp(scores - scores.max())
    return powers / powers.sum(axis=-1, keepdims=True) @ value


def adds_infinity(query, key, value):
    scores = scores_of(query, key)
    return softmax(scores + np.triu(np.full(scores.shape, -np.inf), 1)) @ value


def multiplies_infinity(query, key, value):
    scores = scores_of(query, key)
    return softmax(scores + (1 - past_of(scores)) * -np.inf) @ value


def hides_the_diagonal(query, key, value):
    return softmax(masked(scores_of(query, key), -1)) @ value


def is_inside_out(query, key, value):
    scores = scores_of(query, key)
    return softmax(np.where(past_of(scores), -np.inf, scores)) @ value


def sees_the_later(query, key, value):
    scores = scores_of(query, key)
    return softmax(np.where(past_of(scores, -1), -np.inf, scores)) @ value


def scaled_by(factor):
    return head(lambda q, k, v: softmax(masked(q @ k.mT * factor(q=q, v=v))) @ v)


def over_everything(query, key, value):
    powers = np.exp(masked(scores_of(query, key)))
    return powers / powers.sum() @ value


def token_by_token(query, key, value):
    if query.ndim == 3:
        return [token_by_token(*one) for one in zip(query, key, value, strict=True)]
    rows = []
    for i in range(len(query)):
        scores = [query[i] @ key[j] / len(key[j]) ** 0.5 for j in range(i + 1)]
        powers = [np.exp(score - max(scores)) for score in scores]
        rows.append(sum(powers[j] * value[j] for j in range(i + 1)) / sum(powers))
    return np.stack(rows)


def in_place(x, w_q, w_k, w_v):
    value, scores = x @ w_v, x @ w_q @ (x @ w_k).mT
    x[...] = np.nan
    scores /= w_q.shape[1] ** 0.5
    scores[..., np.triu(np.ones(scores.shape[-2:]), 1) == 1] = -np.inf
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    return np.einsum("...ij,...jv->...iv", scores, value) / scores.sum(axis=-1)[..., None]


def attends_to_all(query, key, value):
    return softmax(scores_of(query, key)) @ value


def adds_a_number_in_float64(query, key, value):
    scores = scores_of(query.astype(np.float64), key.astype(np.float64))
    return softmax(scores - 1e30 * ~past_of(scores)) @ value


def in_float32(attend):
    """Compute in float32, and return float64 as if nothing had happened."""

    def rounded(*given):
        return attend(*(part.astype(np.float32) for part in given)).astype(np.float64)

    return rounded


def random(attend):
    """Drop some of the values, others at each call."""
    rng = np.random.default_rng(3)
    return lambda q, k, v: attend(q, k, v * (rng.random(v.shape) < 0.5))


class Head:
    """A head that is an object, and hides with the least number that there is."""

    def __call__(self, x, w_q, w_k, w_v):
        scores = scores_of(x @ w_q, x @ w_k)
        return softmax(masked(scores, fill=np.finfo(scores.dtype).min)) @ (x @ w_v)


def one_sentence_only(query, key, value):
    if query.ndim > 2:
        raise RuntimeError("one sentence only")
    return right(query, key, value)


def padded(attend, fill=-np.inf, cure=True):
    """Make a head of what says which pairs of a query and a key are seen."""

    def head(x, token_mask, w_q, w_k, w_v):
        scores = scores_of(x @ w_q, x @ w_k)
        seen = attend(np.tri(x.shape[-2], dtype=bool), token_mask)
        scores = np.where(seen, scores, fill)
        return (cured if cure else softmax)(scores) @ (x @ w_v)

    return head


def cured(scores):
    top = scores.max(axis=-1, keepdims=True)
    powers = np.exp(scores - np.where(top == -np.inf, 0, top))
    total = powers.sum(axis=-1, keepdims=True)
    return powers / np.where(total == 0, 1, total)


def both(past, tokens):
    return past & tokens[:, None, :]


def selects_zero(x, token_mask, w_q, w_k, w_v):
    """Let the rows that see nothing become NaN, and put 0 in their place."""
    output = padded(both, cure=False)(x, token_mask, w_q, w_k, w_v)
    return np.where(token_mask.cumsum(axis=-1)[..., None] > 0, output, 0)


def without_the_padding(x, token_mask, w_q, w_k, w_v):
    """Take the tokens out, attend to the past among them, and put them back."""
    output = np.zeros((*x.shape[:-1], w_v.shape[-1]))
    for rows, tokens, out in zip(x, token_mask, output, strict=True):
        if tokens.any():
            out[tokens] = head(right)(rows[tokens], w_q, w_k, w_v)
    return output


def zeroes_padding(x, token_mask, *matrices):
    return head(right)(x * token_mask[..., None], *matrices)


def scores_padding_zero(x, token_mask, w_q, w_k, w_v):
    scores = np.where(token_mask[:, None, :], scores_of(x @ w_q, x @ w_k), 0)
    return softmax(masked(scores)) @ (x @ w_v)


def hides_padding_late(x, token_mask, w_q, w_k, w_v):
    weights = softmax(masked(scores_of(x @ w_q, x @ w_k))) * token_mask[:, None, :]
    return weights @ (x @ w_v)


def last(query, key, value):
    return softmax(masked(scores_of(query, key), len(key) - len(query))) @ value


def last_of_a_square(query, key, value):
    padded = np.concatenate([np.zeros((len(key) - len(query), query.shape[1])), query])
    return right(padded, key, value)[len(key) - len(query) :]


def plus(array, row):
    return array + (np.arange(5)[:, None] == row)


ATTEMPTS = {
    exercises.check_masked_head: Attempts(
        wrong=[
            (head(attends_to_all), "nothing is masked"),
            (
                head(lambda q, k, v: softmax(masked(scores_of(q, k), fill=0)) @ v),
                "Zero is an ordinary score",
            ),
            (
                head(lambda q, k, v: softmax(scores_of(q, k) * past_of(q @ k.mT)) @ v),
                "Zero is an ordinary score",
            ),
            (
                head(lambda q, k, v: (attends_to_all if len(q) == 5 else right)(q, k, v)),
                "The future leaks",
            ),
            (head(lambda q, k, v: (right(q, k, v),)), "is there a comma at the end"),
            (head(masks_late), "You mask after the softmax"),
            (head(masks_late_and_shares_out), "in the thousands"),
            (head(forgets_the_shift), "in the thousands"),
            (head(takes_one_maximum), "in the thousands"),
            (
                head(lambda q, k, v: softmax(masked(scores_of(q, k), fill=-1e9)) @ v),
                "a large negative number is a number",
            ),
            (head(adds_infinity), "add −∞ to it, or put −∞ in its place"),
            (head(adds_a_number_in_float64), "the number you add does not hide it"),
            (head(in_float32(right)), "Nearly: off by more than rounding"),
            (head(lambda q, k, v: right(q, k, v) / (1 + 1e-9)), "Do you add something to the sum"),
            (head(random(right)), "something in your head is random"),
            (head(multiplies_infinity), "Every row is NaN"),
            (head(hides_the_diagonal), "attends to itself, and the first to nobody."),
            (
                head(lambda q, k, v: softmax(masked(scores_of(q, k), 1)) @ v),
                "sees the next one",
            ),
            (head(sees_the_later), "the other one"),
            (head(is_inside_out), "inside out"),
            (scaled_by(lambda **_: 1), "not scaled"),
            (scaled_by(lambda q, **_: 1 / q.shape[-1]), "divide by d_k, and not by its root"),
            (scaled_by(lambda q, **_: q.shape[-1] ** 0.5), "multiply by √d_k"),
            (scaled_by(lambda q, **_: q.shape[-2] ** -0.5), "divide by √N"),
            (scaled_by(lambda v, **_: v.shape[-1] ** -0.5), "divide by √d_v"),
            (scaled_by(lambda **_: 3**-0.5), "until d_k was 5"),
            (
                lambda x, q, k, v: softmax(masked(x @ q @ (x @ k).mT / len(q) ** 0.5)) @ (x @ v),
                "with the width of x",
            ),
            (
                head(lambda q, k, v: softmax(masked(scores_of(q, k)), axis=-2) @ v),
                "along the wrong axis",
            ),
            (head(over_everything), "one sum over the whole matrix"),
            (head(lambda q, k, v: np.exp(masked(scores_of(q, k))) @ v), "not divided by their sum"),
            (lambda x, q, k, v: right(x @ k, x @ q, x @ v), "have changed places"),
            (lambda x, q, k, _: softmax(masked(scores_of(x @ q, x @ k))), "scores or weights"),
            (lambda x, q, k, _: right(x @ q, x @ k, x), "is it x that you mix"),
            (head(lambda q, k, _: right(q, k, k)), "as wide as a value; yours is (5, 3)"),
            (head(lambda q, k, v: right(q, k, v.reshape(k.shape))), "stops for x of shape (5, 6)"),
            (head(lambda q, k, v: (right(q, k, v), None)), "returns several things"),
            (
                head(lambda q, k, v: softmax(masked(q @ k.T / k.shape[1] ** 0.5)) @ v),
                "for a batch, x of shape (2, 5, 7) (one sentence comes out right), with ValueError",
            ),
            (
                head(lambda q, k, v: softmax(masked(q @ k.T / k.shape[1] ** 0.5)) @ v),
                "with gufunc … Does your transpose swap the last two axes?",
            ),
            (head(one_sentence_only), "RuntimeError: one sentence only\n"),
            (
                head(lambda q, k, v: right(q, k, v) / (1 + 1e-3 * (q.ndim > 2))),
                "a batch of them does not",
            ),
            (head(lambda q, k, v: 2 * right(q, k, v)), "Row 1 sees itself alone"),
            (head(lambda q, k, v: right(2 * q, k, v)), "otherwise than the softmax"),
            (head(lambda q, k, v: right(q, k, v) + 0.1 * v.sum(0)), "The future leaks"),
            (head(lambda *projected: projected[2]), "otherwise than the softmax"),
            (
                head(
                    lambda q, k, v: (
                        right(q, k, v) * np.where(np.arange(len(q)) == 2, np.nan, 1)[:, None]
                    )
                ),
                "Row 3 is NaN",
            ),
        ],
        odd=[
            in_place,
            Head(),
            Head().__call__,
            head(token_by_token),
            lambda *given: head(right)(*(part.astype(np.float32) for part in given)),
            head(lambda q, k, v: companion.scaled_dot_product_attention(q, k, v, is_causal=True)),
        ],
        other=[
            (None, "Not attempted yet: write masked_head"),
            (lambda *_: ..., "Not attempted yet: your function returns nothing"),
            (head(right), "Right"),
            (lambda x: x, "stops for x of shape (5, 6) with TypeError"),
        ],
    ),
    exercises.check_padded_head: Attempts(
        wrong=[
            (padded(lambda past, _: past), "Padding is seen"),
            (padded(lambda _, tokens: tokens[:, None, :]), "nothing is masked"),
            (
                padded(lambda past, tokens: tokens[:, None, :] & (past | ~tokens.all())),
                "The future is seen",
            ),
            (
                padded(lambda past, tokens: past & tokens[:, :, None]),
                "what padding asks, and not what it answers",
            ),
            (
                padded(lambda past, tokens: past | (tokens[:, None, :] & ~tokens.all())),
                "only one of your two masks",
            ),
            (padded(lambda past, tokens: past | tokens[:, None, :]), "nothing is masked"),
            (padded(lambda past, tokens: past & ~tokens[:, None, :]), "you hide them"),
            (padded(lambda past, tokens: past & ~tokens[:, None, :], cure=False), "Every row is"),
            (padded(lambda past, tokens: past & tokens[:1, None, :]), "use the first for all"),
            (padded(both, cure=False), "a row that sees nothing is NaN"),
            (padded(both, fill=-1e9, cure=False), "not 0: something hidden is mixed in it"),
            (zeroes_padding, "You make padding 0, and it is still attended to"),
            (scores_padding_zero, "Scores with padding are 0"),
            (hides_padding_late, "You hide padding after the softmax"),
            (lambda x, _, *w: head(masks_late)(x, *w), "You mask after the softmax"),
            (lambda x, _, *w: head(hides_the_diagonal)(x, *w), "hides the diagonal"),
            (
                lambda x, tokens, *w: head(forgets_the_shift)(x, *w) * (tokens.all() or np.nan),
                "Every row is NaN",
            ),
            (
                lambda *given: padded(both)(*given) * (1 + 1e-3 * (np.arange(5) == 2)[:, None]),
                "Not yet for one sentence without padding: row 3 of sentence 1",
            ),
            (
                lambda x, tokens, *w: padded(both)(x, tokens, *w) / (1 + 1e-9),
                "Do you add something to the sum",
            ),
            (lambda x, tokens, *w: padded(both)(x, tokens[0], *w), "stops for one sentence"),
            (lambda x, tokens, *w: (padded(both)(x, tokens, *w), None), "returns several things"),
        ],
        odd=[
            selects_zero,
            without_the_padding,
            lambda x, tokens, *w: padded(both)(
                x.astype(np.float32), tokens, *(matrix.astype(np.float32) for matrix in w)
            ),
            lambda x, tokens, *w: companion.scaled_dot_product_attention(
                *(x @ matrix for matrix in w), tokens[:, None, :], is_causal=True
            ),
        ],
        other=[
            (None, "Not attempted yet: write padded_head"),
            (lambda *_: ..., "Not attempted yet: your function returns nothing"),
            (padded(both), "Right"),
        ],
    ),
    exercises.check_last_rows: Attempts(
        wrong=[
            (right, "begins in the upper left corner"),
            (lambda q, k, v: softmax(scores_of(q, k)) @ v, "nothing is masked"),
            (
                lambda q, k, v: softmax(masked(scores_of(q, k), len(k) - len(q) + 1)) @ v,
                "sees the next one",
            ),
            (
                lambda q, k, v: softmax(masked(scores_of(q, k), len(k) - len(q) - 1)) @ v,
                "hides the diagonal: no token attends to itself.",
            ),
            (
                lambda q, k, v: softmax(masked(scores_of(q, k), len(k) - len(q), 0)) @ v,
                "Zero is an ordinary score",
            ),
            (
                lambda q, k, v: softmax(masked(scores_of(q, k), len(k) - len(q), -1e9)) @ v,
                "a large negative number is a number",
            ),
            (lambda q, k, v: right(q, k[: len(q)], v[: len(q)]), "upper left corner"),
            (lambda q, k, v: right(q, k[-len(q) :], v[-len(q) :]), "Not yet for 5 queries and 8"),
            (in_float32(last), "Nearly: off by more than rounding"),
            (lambda q, k, v: last(q * (k.shape[1] / 3) ** 0.5, k, v), "until d_k was 5"),
            (lambda q, k, v: last(q * (k.shape[1] / len(k)) ** 0.5, k, v), "divide by √S"),
            (lambda q, k, v: last(q * (k.shape[1] / len(q)) ** 0.5, k, v), "divide by √T"),
            (lambda q, k, v: last(q * (k.shape[1] / v.shape[1]) ** 0.5, k, v), "divide by √d_v"),
        ],
        odd=[
            last_of_a_square,
            lambda *given: last(*(part.astype(np.float32) for part in given)),
            lambda q, k, v: companion.scaled_dot_product_attention(
                q, k, v, is_causal=True, query_offset=len(k) - len(q)
            ),
        ],
        other=[
            (None, "Not attempted yet: write last_rows"),
            (last, "Right"),
        ],
    ),
    exercises.check_received_weight: Attempts(
        wrong=[
            ((0.2, 137 / 60), "which of them does everybody see"),
            ((1, 1), "That is so without a mask"),
            ((5, 1), "What does each of them give"),
            ((1, 0.2), "Which other rows see the first token"),
            ((0.2, 0.2), "Add up what all five rows give"),
            ((137 / 60, 1), "for the last token"),
            ((2.0, 0.2), "for the first token"),
        ],
        odd=[
            [2.28, 0.2],
            np.asarray([2.2833, 0.2], np.float32),
            (Decimal("2.283"), Decimal("0.2")),
        ],
        other=[
            (None, "Not attempted"),
            (2.28, "A pair is asked for"),
            ((137 / 60, 0.2), "Right"),
        ],
    ),
    exercises.check_changed_rows: Attempts(
        wrong=[
            ({1, 2, 3}, "before black"),
            ({1, 2}, "counted from one"),
            ({2, 3, 4, 5}, "does not reach back"),
            ({2, 3, 4}, "does not reach back"),
            ({2}, "missing"),
            ({3}, "missing"),
        ],
        odd=[
            [3, 2],
            np.asarray([2.0, 3.0]),
            iter((2, 3, 3)),
            range(2, 4),
            {2: "black", 3: 0}.keys(),
        ],
        other=[
            (None, "Not attempted"),
            (..., "Not attempted"),
            (3, "A set of row numbers is asked for, and this is int"),
            ({2: True, 3: True}, "A set of row numbers is asked for, and this is dict"),
            ({"cat"}, "A whole number is asked for, and this is str"),
            ({0, 1}, "rows 1 to 5"),
            (set(), "missing"),
            ({2, 3}, "Right"),
        ],
    ),
    exercises.check_streaming_mask: Attempts(
        wrong=[
            (WINDOW, "lost sight of the first"),
            (CAUSAL, "neither in its window nor the first"),
            (np.ones((8, 8), bool), "later token"),
            (np.eye(8, dtype=bool) | FIRST, "does not see itself and the 2 tokens"),
            (STREAM.T, "later token"),
            (~STREAM, "later token"),
            (STREAM | np.eye(8, k=-3, dtype=bool), "neither in its window nor the first"),
            (WINDOW | FIRST[:, None] & CAUSAL, "lost sight of the first"),
        ],
        odd=[STREAM.tolist(), np.asfortranarray(STREAM), [np.asarray(row) for row in STREAM]],
        other=[
            (None, "Not attempted"),
            (STREAM, "Right"),
            (CAUSAL[:5], "yours is (5, 8)"),
            (STREAM.astype(np.float64), "boolean; got"),
            (STREAM.astype(int).tolist(), "boolean; got"),
            ([[True]], "yours is (1, 1)"),
            ([[True], [True, False]], "cannot be read: ValueError"),
            ("mask", "An array is asked for, and this is str"),
        ],
    ),
    exercises.check_exposing_change: Attempts(
        wrong=[
            ((KEY, plus(VALUE, 4)), "keep every bit"),
            ((KEY, VALUE), "keep every bit"),
            ((plus(KEY, 0), VALUE), "Only the last row may change: changed_key"),
            ((KEY + 1, VALUE), "Only the last row may change: changed_key"),
            ((KEY, plus(VALUE, 2)), "Only the last row may change: changed_value"),
            ((np.where(LAST, np.nan, KEY), VALUE), "must be finite"),
            ((np.where(LAST, 1e308, KEY), VALUE), "of ordinary size"),
        ],
        odd=[
            [plus(KEY, 4).tolist(), VALUE],
            (part.astype(np.float32) for part in (plus(KEY, 4), VALUE)),
            (np.where(LAST, 1e15, KEY), np.where(LAST, -1e15, VALUE)),
        ],
        other=[
            (None, "Not attempted"),
            (3, "give a pair (changed_key"),
            ((KEY, 3), "An array is asked for"),
            ((KEY, VALUE.T), "should be (5, 4), that of value"),
            ((plus(KEY, 4), VALUE), "Right"),
            ((plus(KEY, 4), plus(VALUE, 4)), "Right"),
        ],
    ),
    exercises.check_smallest_left: Attempts(
        wrong=[
            (127, "Too small"),
            (129, "a smaller one does too"),
            (4095, "a smaller one does too"),
            (32, "Too small"),
            (4095 / 32, "A whole number is asked for, got 127.96875"),
        ],
        odd=[128.0, np.asarray(128), np.uint8(128), Decimal(128)],
        other=[
            (None, "Not attempted"),
            (127.5, "A whole number is asked for, got 127.5"),
            (-5, "Too small"),
            (128, "Right"),
        ],
    ),
    exercises.check_visible_pairs: Attempts(
        wrong=[
            (4096 * 129, "the first rows"),
            (4096 * 128, "count the token itself"),
            (4096 * 4097 // 2, "Not yet"),
            (4096**2, "more than a causal mask"),
            (sum(min(i, 128) for i in range(1, 4097)), "Not yet"),
        ],
        odd=[520128.0, np.float32(520128), np.asarray(520128)],
        other=[
            (None, "Not attempted"),
            ("many", "A whole number is asked for, and this is str"),
            (17, "Not yet"),
            (-1e15, "Not yet"),
            (520128, "Right: 6.2%"),
        ],
        needs={"left": 128},
    ),
}

test_attempts = tried_on(ATTEMPTS)


def test_masks_and_changes_may_be_on_any_device(capsys, home):
    exercises.check_streaming_mask(home.asarray(STREAM))
    exercises.check_exposing_change(tuple(home.asarray(part) for part in (plus(KEY, 4), VALUE)))
    assert capsys.readouterr().out.count("Right") == 2


def test_the_changed_rows_are_those_that_change():
    example = companion.running_example()
    weights = [w[0] for w in (example.w_q, example.w_k, example.w_v)]
    other = example.x.copy()
    other[1] = example.embedding[0]
    before, after = (
        companion.scaled_dot_product_attention(
            *companion.project_qkv(x, *weights), is_causal=True, window=(1, 0)
        )
        for x in (example.x, other)
    )
    np.testing.assert_array_equal(np.flatnonzero((before != after).any(axis=-1)) + 1, [2, 3])


def test_the_visible_pairs_are_those_of_the_window_that_the_check_before_takes(capsys):
    for left, said in (
        (None, "left bound first"),
        (127, "127 is not the left bound that is asked for"),
        (129, "129 is not the left bound that is asked for"),
        (128.0, "Right"),
    ):
        pairs = 520128 if left is None else sum(min(i, int(left) + 1) for i in range(1, 4097))
        exercises.check_visible_pairs(pairs, left=left)
        assert said in capsys.readouterr().out


def test_the_visible_pairs_are_those_of_the_mask():
    blocks = (
        companion.window_mask(256, 4096, window=(128, 0), query_offset=first)
        for first in range(0, 4096, 256)
    )
    assert sum(int(block.sum()) for block in blocks) == 520128
