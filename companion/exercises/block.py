"""Checkers for the exercises of the chapter on the transformer block."""

import math
from typing import Any

import numpy as np

from companion.arrays import array_module, to_numpy
from companion.block import BlockParameters, transformer_block
from companion.exercises.feedback import Feedback, floats, function, number, numbers, result, say
from companion.feed_forward import feed_forward
from companion.heads import multi_head_attention
from companion.norms import layer_norm

__all__ = [
    "check_branch_scale",
    "check_break_even_length",
    "check_normed_row",
    "check_parallel_block",
]

ROW = (2.0, 4.0, 4.0, 6.0)


def check_normed_row(attempt: Any) -> None:
    """Check the layer norm of the row (2, 4, 4, 6) with weight 1, bias 0 and eps 0."""
    say(_normed_row, attempt)


def _normed_row(attempt: Any) -> str:
    row = numbers(attempt, 4, "give the four numbers of the normed row")
    if not abs(row.mean()) < 1e-3:
        raise Feedback(f"The mean of your row should be 0, and it is {row.mean():.4f}.")
    square = float((row**2).mean())
    if abs(square - 0.75) < 1e-3:
        raise Feedback("Your row has mean square 3/4: you divided by d − 1, the unbiased way.")
    if not abs(square - 1) < 1e-3:
        raise Feedback(f"The mean square of your row should be 1, and it is {square:.4f}.")
    given = np.asarray(ROW) - np.mean(ROW)
    if not np.allclose(row, given / math.sqrt((given**2).mean()), atol=1e-3):
        raise Feedback("Mean and mean square are right, but the entries changed their shape.")
    return "Right: mean 0, mean square 1, and a positive multiple of the centred row."


def check_parallel_block(attempt: Any) -> None:
    """Check a block (x (N, d), parameters) → (N, d) whose two parts both read the first norm."""
    say(_parallel_block, attempt)


def _parallel_block(attempt: Any) -> str:
    block = function(attempt)
    xp = array_module()
    rng = np.random.default_rng(6)
    p = BlockParameters.random(rng, width=6, heads=2, hidden=10, xp=xp, dtype=xp.float64)
    x = xp.asarray(rng.standard_normal((5, 6)) + 1, dtype=xp.float64)
    got = floats(result(block, x, p), (5, 6), "tokens by width")
    normed = layer_norm(x, p.norm_1.weight, p.norm_1.bias)
    brought = multi_head_attention(normed, p.attention) + feed_forward(normed, p.feed_forward)
    raw = multi_head_attention(x, p.attention) + feed_forward(x, p.feed_forward)
    for wrong, feedback in (
        (transformer_block(x, p, norm="pre"), "the network still waits for the attention."),
        (brought, "what the parts bring is there, but the residual is missing."),
        (normed + brought, "the residual must start at x, not after the norm."),
        (x + raw, "the parts read x itself; they should read the normed rows."),
    ):
        if _close(got, wrong):
            raise Feedback(f"The shape is right, but {feedback}")
    if not _close(got, x + brought):
        raise Feedback("The shape is right, but result − x is not the sum of both parts.")
    return "Right: one norm, two readers, one sum. Neither part waits for the other."


def check_break_even_length(attempt: Any) -> None:
    """Check the number of tokens whose attention costs as much as all else, for d = 768."""
    say(_break_even_length, attempt)


def _break_even_length(attempt: Any) -> str:
    length = number(attempt, "give a number of tokens")
    per_token, weights = 2 * length * 768, 12 * 768**2
    if per_token != weights:
        side = "less" if per_token < weights else "more"
        raise Feedback(
            f"With {length:,.0f} tokens, scores and mixtures take {per_token / weights:.2f} times "
            f"what the weights take: {side} than as much."
        )
    return "Right: N = 6 d. Below it the weights dominate, above it the pairs."


def check_branch_scale(attempt: Any) -> None:
    """Check the factor before 48 contributions that lets 24 pre-norm blocks double the variance."""
    say(_branch_scale, attempt)


def _branch_scale(attempt: Any) -> str:
    scale = number(attempt, "give the factor")
    if not scale > 0:
        raise Feedback(f"A positive factor is asked for, got {scale:g}.")
    variance = 1 + 48 * scale**2
    if abs(variance - 2) > 0.01:
        raise Feedback(f"With {scale:.4f} the variance goes from 1 to {variance:.2f}, not to 2.")
    return "Right: the factor falls with the root of the number of contributions."


def _close(got: np.ndarray, wanted: Any) -> bool:
    return np.allclose(got, to_numpy(wanted), rtol=0, atol=1e-6)
