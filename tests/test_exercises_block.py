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


ATTEMPTS = {
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
        ],
        odd=[parallel_in_place, Block(), lambda a, b: np.asfortranarray(parallel(a[None], b)[0])],
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
