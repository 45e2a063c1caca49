"""Checkers of the answers that are numbers, and of a block that is made of the library's parts."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from companion.arrays import array_module, random_normal, to_numpy
from companion.block import BlockParameters, transformer_block
from companion.exercises.feedback import (
    Feedback,
    agrees,
    floats,
    function,
    number,
    numbers,
    result,
    say,
    whole_number,
)
from companion.exercises.mistakes import check_named, check_nearly, one_array
from companion.feed_forward import feed_forward
from companion.heads import multi_head_attention
from companion.norms import layer_norm
from companion.parameters import map_parameters

__all__ = [
    "check_branch_scale",
    "check_break_even_length",
    "check_normed_row",
    "check_parallel_block",
]

ROW = (2.0, 4.0, 4.0, 6.0)
ROUNDINGS = 512
Draw = tuple[Any, BlockParameters]  # rows, and the parameters of a block
# Blocks of two shapes: how many tokens, of which size, and the sizes of the parameters.
DRAWN: tuple[tuple[int, float, dict[str, Any]], ...] = (
    (5, 1.0, {"width": 6, "heads": 2, "hidden": 10, "d_k": 4, "d_v": 7}),
    (3, 10.0, {"width": 8, "heads": 1, "hidden": 5, "d_k": 2, "d_v": 6}),
)


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
    if not np.allclose(row, given / math.sqrt((given**2).mean()), rtol=0, atol=1e-3):
        raise Feedback(
            "Mean and mean square are right, but this is no positive multiple of the centred row."
        )
    return "Right: mean 0, mean square 1, and a positive multiple of the centred row."


def check_parallel_block(attempt: Any) -> None:
    """Check a block (x (N, d), parameters) → (N, d) whose two parts both read the first norm."""
    say(_parallel_block, attempt)


def _parallel_block(attempt: Any) -> str:
    block = function(attempt)
    xp = array_module()
    rng = np.random.default_rng(6)
    draws = []
    for tokens, scale, sizes in DRAWN:
        drawn = BlockParameters.random(rng, **sizes, xp=xp, dtype=xp.float64)
        # As drawn, norms and biases are neutral, and it would not show whether they were used.
        p = map_parameters(lambda w: w + 0.5 * random_normal(w.shape, rng, xp=xp), drawn)
        draws.append((xp.asarray(scale * (1 + rng.standard_normal((tokens, sizes["width"])))), p))

    def run(draw: Draw) -> np.ndarray:
        given = one_array(result(block, *draw), "the rows")
        return floats(given, tuple(draw[0].shape), "tokens by width")

    for draw in draws:
        found, right = run(draw), _parallel(*draw)
        if not agrees(found, right, size=np.abs(right).max(), roundings=ROUNDINGS):
            check_named(draw, draws, run, _mistaken_blocks, roundings=ROUNDINGS)
            check_nearly(found, right)
            raise Feedback("The shape is right, but result − x is not the sum of both parts.")
    return "Right: one norm, two readers, one sum. Neither part waits for the other."


def _parallel(x: Any, p: BlockParameters) -> np.ndarray:
    network: Any = p.feed_forward  # one without a gate
    normed = layer_norm(x, p.norm_1.weight, p.norm_1.bias)
    parallel: np.ndarray = to_numpy(
        x + multi_head_attention(normed, p.attention) + feed_forward(normed, network)
    )
    return parallel


def _mistaken_blocks(draw: Draw) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what to say of each mistake, and the output that it makes."""
    x, p = draw
    network: Any = p.feed_forward
    normed, other = (layer_norm(x, norm.weight, norm.bias) for norm in (p.norm_1, p.norm_2))
    attended = multi_head_attention(normed, p.attention)
    brought = attended + feed_forward(normed, network)
    raw = multi_head_attention(x, p.attention) + feed_forward(x, network)
    for wrong, feedback in (
        (transformer_block(x, p, norm="pre"), "the network still waits for the attention."),
        (brought, "what the parts bring is there, but the residual is missing."),
        (normed + brought, "the residual must start at x, not after the norm."),
        (x + raw, "the parts read x itself; they should read the normed rows."),
        (
            x + attended + feed_forward(other, network),
            "the network reads the second norm, which goes unused here.",
        ),
    ):
        yield f"The shape is right, but {feedback}", to_numpy(wrong)


def check_break_even_length(attempt: Any) -> None:
    """Check the number of tokens whose attention costs as much as all else, for d = 768."""
    say(_break_even_length, attempt)


def _break_even_length(attempt: Any) -> str:
    length = whole_number(attempt, "give a number of tokens")
    if length < 1:
        raise Feedback(f"A number of tokens is at least 1, got {length}.")
    per_token, weights = 2 * length * 768, 12 * 768**2
    if per_token != weights:
        side = "less" if per_token < weights else "more"
        raise Feedback(
            f"With {length:,} tokens, scores and mixtures take {per_token / weights:.4g} times "
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
    if not abs(scale - 48**-0.5) < 0.0005:  # three decimals
        variance = 1 + 48 * scale**2
        raise Feedback(f"With {scale:.4g} the variance goes from 1 to {variance:.4g}, not to 2.")
    return "Right: the factor falls with the root of the number of contributions."
