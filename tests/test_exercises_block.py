"""The exercises of the chapter on the transformer block: what their checkers take for right."""

import numpy as np

import companion
from companion.exercises import block as exercises
from tests.support.attempts import Attempts, tried_on

ROOT = 2**0.5


def parallel(x, p):
    rows = companion.layer_norm(x, p.norm_1.weight, p.norm_1.bias)
    attended = companion.multi_head_attention(rows, p.attention)
    return x + attended + companion.feed_forward(rows, p.feed_forward)


def parallel_in_place(rows, parameters):
    normed = companion.layer_norm(rows, parameters.norm_1.weight, parameters.norm_1.bias)
    rows += companion.feed_forward(normed, parameters.feed_forward)
    rows += companion.multi_head_attention(normed, parameters.attention)
    parameters.norm_2.weight[...] = np.nan  # it goes unused
    return rows


def normed_first(x, p):
    rows = companion.layer_norm(x, p.norm_1.weight, p.norm_1.bias)
    return rows + parallel(x, p) - x


def reading_x(x, p):
    attended = companion.multi_head_attention(x, p.attention)
    return x + attended + companion.feed_forward(x, p.feed_forward)


def with_second_norm(x, p):
    rows, others = (
        companion.layer_norm(x, norm.weight, norm.bias) for norm in (p.norm_1, p.norm_2)
    )
    attended = companion.multi_head_attention(rows, p.attention)
    return x + attended + companion.feed_forward(others, p.feed_forward)


def with_neutral_norm(x, p):
    rows = companion.layer_norm(x, np.ones(x.shape[-1]))
    attended = companion.multi_head_attention(rows, p.attention)
    return x + attended + companion.feed_forward(rows, p.feed_forward)


def without_the_norms_bias(x, p):
    rows = companion.layer_norm(x, p.norm_1.weight)
    attended = companion.multi_head_attention(rows, p.attention)
    return x + attended + companion.feed_forward(rows, p.feed_forward)


def without_biases(x, p):
    rows = companion.layer_norm(x, p.norm_1.weight, p.norm_1.bias)
    network = p.feed_forward
    hidden = companion.gelu(rows @ network.w_1)
    return x + companion.multi_head_attention(rows, p.attention) + hidden @ network.w_2


def causal(x, p):
    rows = companion.layer_norm(x, p.norm_1.weight, p.norm_1.bias)
    attended = companion.multi_head_attention(rows, p.attention, is_causal=True)
    return x + attended + companion.feed_forward(rows, p.feed_forward)


class Block:
    """A class that works when it is called."""

    def __call__(self, x, p):
        return parallel(x, p).astype(np.float32)


def norm(rows, pair, axis=-1, ddof=0, eps=1e-5):
    weight, bias = pair
    spread = np.sqrt(rows.var(axis=axis, ddof=ddof, keepdims=True) + eps)
    return (rows - rows.mean(axis=axis, keepdims=True)) / spread * weight + bias


def pre(norm=norm):
    """Make a pre-norm block of a norm."""

    def block(x, attend, feed, norm_1, norm_2):
        y = x + attend(norm(x, norm_1))
        return y + feed(norm(y, norm_2))

    return block


def post(x, attend, feed, norm_1, norm_2):
    y = norm(x + attend(x), norm_1)
    return norm(y + feed(y), norm_2)


def chained(x, attend, feed, norm_1, norm_2):
    return feed(norm(attend(norm(x, norm_1)), norm_2))


def from_the_normed(x, attend, feed, norm_1, norm_2):
    x = norm(x, norm_1)
    y = norm(x + attend(x), norm_2)
    return y + feed(y)


def first_from_the_normed(x, attend, feed, norm_1, norm_2):
    x = norm(x, norm_1)
    y = x + attend(x)
    return y + feed(norm(y, norm_2))


def second_adds_x(x, attend, feed, norm_1, norm_2):
    y = x + attend(norm(x, norm_1))
    return x + feed(norm(y, norm_2))


def second_adds_nothing(x, attend, feed, norm_1, norm_2):
    return feed(norm(x + attend(norm(x, norm_1)), norm_2))


def side_by_side(x, attend, feed, norm_1, _):
    rows = norm(x, norm_1)
    return x + attend(rows) + feed(rows)


def unnormed(x, attend, feed, *_):
    y = x + attend(x)
    return y + feed(y)


def first_half(x, attend, _, norm_1, __):
    return x + attend(norm(x, norm_1))


def network_unnormed(x, attend, feed, norm_1, _):
    y = x + attend(norm(x, norm_1))
    return y + feed(y)


def attention_unnormed(x, attend, feed, _, norm_2):
    y = x + attend(x)
    return y + feed(norm(y, norm_2))


def network_first(x, attend, feed, norm_1, norm_2):
    return pre()(x, feed, attend, norm_1, norm_2)


def normed_once_more(x, attend, feed, norm_1, norm_2):
    return norm(pre()(x, attend, feed, norm_1, norm_2), norm_2)


def normed_once_more_by_the_first(x, attend, feed, norm_1, norm_2):
    return norm(pre()(x, attend, feed, norm_1, norm_2), norm_1)


def second_from_the_normed(x, attend, feed, norm_1, norm_2):
    y = norm(x + attend(norm(x, norm_1)), norm_2)
    return y + feed(y)


def network_reads_x_normed(x, attend, feed, norm_1, norm_2):
    return x + attend(norm(x, norm_1)) + feed(norm(x, norm_2))


def pre_then_post(x, attend, feed, norm_1, norm_2):
    y = x + attend(norm(x, norm_1))
    return norm(y + feed(y), norm_2)


def post_then_pre(x, attend, feed, norm_1, norm_2):
    y = norm(x + attend(x), norm_1)
    return y + feed(norm(y, norm_2))


def post_for_five_rows(x, *rest):
    return (post if len(x) == 5 else pre())(x, *rest)


def rms(rows, pair):
    return rows / np.sqrt((rows**2).mean(axis=-1, keepdims=True) + 1e-5) * pair[0] + pair[1]


def divided(rows):
    return 1 / np.sqrt(rows.var(axis=-1, keepdims=True) + 1e-5)


def outside(rows, pair):
    away = rows - rows.mean(axis=-1, keepdims=True)
    return away / (rows.std(axis=-1, keepdims=True) + 1e-5) * pair[0] + pair[1]


def row_by_row(x, attend, feed, norm_1, norm_2):
    if x.ndim == 3:
        return [row_by_row(rows, attend, feed, norm_1, norm_2) for rows in x]

    def normed(rows, pair):
        return np.stack([norm(row, pair) for row in rows])

    y = x + attend(normed(x, norm_1))
    return y + feed(normed(y, norm_2))


def pre_in_place(x, attend, feed, norm_1, norm_2):
    x += attend(norm(x, norm_1))
    norm_1[0][...] = np.nan
    x += feed(norm(x, norm_2))
    return x


def in_float32(x, attend, feed, *norms, block=None):
    narrow = [tuple(array.astype(np.float32) for array in pair) for pair in norms]
    return (block or pre())(x.astype(np.float32), attend, feed, *narrow)


ATTEMPTS = {
    exercises.check_pre_norm_block: Attempts(
        wrong=[
            (post, "That is post-norm"),
            (chained, "The residuals are missing"),
            (second_adds_nothing, "The second residual is missing"),
            (from_the_normed, "Your residuals start from the normed rows"),
            (first_from_the_normed, "Your first residual starts from the normed rows"),
            (second_adds_x, "Your second residual adds x"),
            (side_by_side, "Both parts read the same normed rows"),
            (unnormed, "Nothing is normed"),
            (network_unnormed, "The network reads the stream as it is"),
            (attention_unnormed, "Attention reads the stream as it is"),
            (network_first, "The network comes first"),
            (lambda x, a, f, n, m: pre()(x, f, a, m, n), "The network comes first"),
            (lambda x, a, f, n, m: pre()(x, a, f, m, n), "changed places"),
            (lambda x, a, f, n, _: pre()(x, a, f, n, n), "the first norm twice"),
            (normed_once_more, "once more"),
            (pre(lambda rows, pair: norm(rows, pair, axis=-2)), "over the tokens"),
            (pre(lambda rows, pair: norm(rows, pair, axis=0)), "over the tokens"),
            (pre(lambda rows, pair: norm(rows, pair, ddof=1)), "divided by d − 1"),
            (pre(rms), "a root-mean-square norm"),
            (
                pre(lambda r, n: norm(r, n) + r.mean(-1, keepdims=True) * divided(r) * n[0]),
                "from which no mean has been taken",
            ),
            (
                pre(lambda r, n: (r - r.mean(-1, keepdims=True)) * divided(r) ** 2 * n[0] + n[1]),
                "by the variance, and not by its root",
            ),
            (pre(lambda r, _: norm(r, (1, 0))), "leaves out weight and bias"),
            (pre(lambda r, n: norm(r, (n[0], 0))), "leaves out the bias"),
            (pre(lambda r, n: norm(r, (1, n[1]))), "leaves out the weight"),
            (pre(outside), "Mind ε"),
            (pre(lambda r, n: norm(r, n, eps=1e-6)), "Mind ε"),
            (pre(lambda r, n: norm(r, n, eps=1e-12)), "Mind ε"),
            (pre(lambda r, n: norm(r, n, eps=0)), "Mind ε"),
            (lambda *given: in_float32(*given, block=pre(outside)), "very quiet ones do not"),
            (
                pre(lambda r, n: norm(r, n, eps=1e-5 * (r.std() > 1e-6))),
                "what keeps your norm from dividing 0 by 0",
            ),
            (pre(lambda r, n: norm(r, n, axis=1)), "which axis is the mean over"),
            (pre(lambda r, n: norm(r.T, n).T), "stops for x of shape (5, 6) with ValueError"),
            (second_from_the_normed, "Your second residual starts from the normed rows"),
            (network_reads_x_normed, "Your network reads x, normed"),
            (pre_then_post, "your second is post-norm"),
            (post_then_pre, "your second is pre-norm"),
            (normed_once_more_by_the_first, "once more"),
            (lambda x, a, f, n, m: pre()(x, a, f, n, (m[0], 0)), "second norm leaves out its bias"),
            (lambda x, a, f, n, m: pre()(x, a, f, (n[0], 0), m), "first norm leaves out its bias"),
            (pre(lambda r, n: norm(r, n[::-1])), "weight and bias exchanged"),
            (pre(lambda r, n: norm(r, n, eps=1e-8)), "Mind ε"),
            (lambda x, a, f, n, m: pre()(x, a, f, n, (1, m[1])), "a network that adds nothing"),
            (lambda x, a, f, n, m: pre()(x, a, f, (1, n[1]), m), "attention that adds nothing"),
            (post_for_five_rows, "Not yet. Compare the halves"),
            (lambda *given: np.round(pre()(*given), 6), "Nearly: off by more than rounding"),
            (lambda *given: (pre()(*given),), "is there a comma at the end"),
            (first_half, "The first half is right"),
            (lambda x, *_: x, "nothing has been added"),
            (lambda x, *_: x / 0, "not finite"),
            (lambda *given: (pre()(*given), None), "returns several things"),
            (lambda *given: 2 * pre()(*given), "Not yet"),
        ],
        odd=[row_by_row, pre_in_place, in_float32],
        other=[
            (None, "Not attempted yet: write pre_norm_block"),
            (lambda *_: ..., "Not attempted yet: your function returns nothing"),
            (pre(), "Right"),
        ],
    ),
    exercises.check_normed_row: Attempts(
        wrong=[
            ([-2, 0, 0, 2], "mean square of your row should be 1, and it is 2.0000"),
            ([-(1.5**0.5), 0, 0, 1.5**0.5], "the unbiased way"),
            ([ROOT, 0, 0, -ROOT], "no positive multiple of the centred row"),
            ([0, -ROOT, 0, ROOT], "no positive multiple of the centred row"),
            ([-1, 0, 0, 1], "mean square of your row should be 1, and it is 0.5000"),
            ([2 / 18**0.5, 4 / 18**0.5, 4 / 18**0.5, 6 / 18**0.5], "mean of your row should be 0"),
            ([-1.41, 0, 0, 1.41], "mean square of your row should be 1"),
        ],
        odd=[
            np.asarray([-ROOT, 0, 0, ROOT], np.float32),
            (np.asarray(entry) for entry in (-ROOT, 0, 0, ROOT)),
            [-1.414, -0.0, 0, 1.414],
        ],
        other=[
            (None, "Not attempted"),
            (..., "Not attempted"),
            (3, "this is int: give the four numbers"),
            ("four", "A list of 4 is asked for, and this is str"),
            ([1, 2], "A list of 4 is asked for, and this is list of length 2"),
            ([2, 4, 4, 6], "mean of your row should be 0"),
            ([float("nan")] * 4, "A finite number"),
            ([1e308, -1e308, 0, 0], "ordinary size"),
            ([-1.4142, 0, 0, 1.4142], "Right"),
        ],
    ),
    exercises.check_parallel_block: Attempts(
        wrong=[
            (lambda x, p: companion.transformer_block(x, p, norm="pre"), "still waits"),
            (lambda x, p: parallel(x, p) - x, "the residual is missing"),
            (normed_first, "must start at x"),
            (reading_x, "read x itself"),
            (with_second_norm, "reads the second norm"),
            (with_neutral_norm, "not the sum of both parts"),
            (without_the_norms_bias, "not the sum of both parts"),
            (without_biases, "not the sum of both parts"),
            (causal, "not the sum of both parts"),
            (lambda x, _: x, "not the sum of both parts"),
            (
                lambda x, p: (
                    companion.transformer_block(x, p, norm="pre") if len(x) > 3 else parallel(x, p)
                ),
                "not the sum of both parts",
            ),
            (lambda x, p: np.round(parallel(x, p), 5), "Nearly: off by more than rounding"),
            (lambda x, p: (parallel(x, p),), "is there a comma at the end"),
        ],
        odd=[
            parallel_in_place,
            Block(),
            lambda x, p: parallel(x, p).tolist(),
            lambda x, p: parallel(x, p).astype(object),
            lambda a, b: np.asfortranarray(parallel(a[None], b)[0]),
        ],
        other=[
            (None, "Not attempted"),
            (3, "A function is asked for"),
            (Block, "with TypeError: Block() takes no arguments"),
            (lambda *_: None, "returns nothing"),
            (lambda *_: 3, "An array is asked for"),
            (lambda _, p: p.missing, "stops with AttributeError"),
            (lambda x, _: x[:, :3], "should be (5, 6)"),
            (lambda x, _: x * np.nan, "not the sum of both parts"),
            (parallel, "Right"),
        ],
    ),
    exercises.check_break_even_length: Attempts(
        wrong=[
            (768, "0.1667 times what the weights take: less than as much"),
            (9216, "more than"),
            (4607, "less than"),
            (4609, "more than"),
            (6, "less than"),
        ],
        odd=[4608.0, np.asarray(4608), np.float32(4608)],
        other=[
            (None, "Not attempted"),
            ("long", "number is asked for, and this is str"),
            (True, "number is asked for, and this is bool"),
            (float("inf"), "finite"),
            (1e308, "ordinary size"),
            (-4608, "at least 1"),
            (4608.5, "A whole number is asked for, got 4608.5"),
            (4608, "Right"),
        ],
    ),
    exercises.check_branch_scale: Attempts(
        wrong=[
            (1 / 48, "to 1.021, not to 2"),
            (24**-0.5, "to 3, not to 2"),
            (0.145, "to 2.009, not to 2"),
            (2**-0.5, "to 25, not to 2"),
            (-(48**-0.5), "positive"),
        ],
        odd=[0.144, np.float32(48**-0.5), np.asarray(0.1443)],
        other=[
            (None, "Not attempted"),
            (-1, "positive"),
            (1e308, "ordinary size"),
            (48**-0.5, "Right"),
        ],
    ),
}

test_attempts = tried_on(ATTEMPTS)
