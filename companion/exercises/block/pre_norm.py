"""A checker for a pre-norm block that the reader writes: it knows what people get wrong in one.

Each mistake is a block of its own here. A reader's block is run on the same numbers, and the
mistake that gives what it gives is named.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from companion.arrays import array_module, to_numpy
from companion.exercises.feedback import (
    Feedback,
    agrees,
    floats,
    function,
    is_array,
    result,
    say,
)
from companion.exercises.mistakes import check_named, check_nearly, one_array
from companion.feed_forward import FeedForwardParameters, feed_forward
from companion.heads import AttentionParameters, multi_head_attention
from companion.parameters import move_parameters

__all__ = ["check_pre_norm_block"]

EPS = 1e-5
ROUNDINGS = 2**12  # of what two norms and two parts make of each other's rounding
Part = Callable[[Any], Any]
Norm = tuple[np.ndarray, np.ndarray]  # weight and bias, (d,) each


class Block(NamedTuple):
    """What a reader's function is handed, on the host."""

    x: np.ndarray  # (..., N, d)
    attend: Part
    feed: Part
    norm_1: Norm
    norm_2: Norm


def check_pre_norm_block(attempt: Any) -> None:
    """Check a function (x, attend, feed, norm_1, norm_2) → rows of the shape of x, pre-norm."""
    say(_pre_norm_block, attempt)


def _pre_norm_block(attempt: Any) -> str:
    block = function(attempt, "write pre_norm_block(x, attend, feed, norm_1, norm_2)")
    rng = np.random.default_rng(17)
    run = functools.partial(_run, block)
    draws = [_drawn(rng, *size) for size in (((5, 6), 1.0), ((4, 9), 30.0), ((1, 7), 1.0))]
    for drawn in draws:
        found, right = run(drawn), _standing(drawn)
        if agrees(found, right, roundings=ROUNDINGS):
            continue
        check_named(drawn, draws, run, _mistakes, roundings=ROUNDINGS)
        check_nearly(found, right)
        raise Feedback(_what_is_seen(run, found, drawn))
    _check_edges(block, rng)
    return "Right: two parts read normed rows, and add to a stream that nobody norms."


def _check_edges(block: Callable[..., Any], rng: np.random.Generator) -> None:
    """Try quiet rows, rows without any spread, and a batch."""
    for drawn, said in (
        (
            _drawn(rng, (5, 6), 1e-3),
            "Ordinary rows come out right, very quiet ones do not: ε = 10⁻⁵ stands under the root, "
            "beside the variance.",
        ),
        (
            _drawn(rng, (5, 6), 0.0),
            "A row of equal numbers has no spread: what keeps your norm from dividing 0 by 0?",
        ),
        (
            _drawn(rng, (2, 5, 6), 1.0),
            "One sentence comes out right, a batch of them does not: which axis is the mean over?",
        ),
    ):
        if not agrees(_run(block, drawn), _standing(drawn), roundings=ROUNDINGS):
            raise Feedback(said)


def _drawn(rng: np.random.Generator, shape: tuple[int, ...], spread: float) -> Block:
    """Draw rows, two parts that are no symmetric functions, and norms that are not neutral."""
    width = shape[-1]
    made: dict[str, Any] = {"width": width, "xp": np, "dtype": np.float64}
    heads = AttentionParameters.random(rng, heads=2, d_k=3, d_v=2, bias=False, **made)
    network = FeedForwardParameters.random(rng, hidden=2 * width, **made)
    norms = [(1 + 0.5 * rng.standard_normal(width), rng.standard_normal(width)) for _ in range(2)]
    x = 0.7 + spread * rng.standard_normal(shape)
    return Block(x, _part(multi_head_attention, heads), _part(feed_forward, network), *norms)


def _part(compute: Callable[..., Any], parameters: Any) -> Part:
    """Return a function of the rows alone, which computes where and how finely they are."""

    def part(rows: Any) -> Any:
        if not is_array(rows):
            raise TypeError(f"rows must be an array, got {type(rows).__name__}")
        xp = array_module() if not isinstance(rows, np.ndarray) else np
        return compute(rows, move_parameters(parameters, xp=xp, dtype=rows.dtype))

    return part


def _run(block: Callable[..., Any], drawn: Block) -> np.ndarray:
    xp = array_module()
    x, attend, feed, *norms = drawn
    pairs = [tuple(xp.asarray(array, copy=True) for array in norm) for norm in norms]
    returned = result(block, xp.asarray(x), attend, feed, *pairs, case=f" for x of shape {x.shape}")
    given = one_array(returned, "the rows")
    return floats(given, x.shape, "a row for each row of x, as wide")


def _norm(rows: np.ndarray, norm: Norm, eps: float = EPS, outside: float = 0.0) -> np.ndarray:
    centred = rows - rows.mean(axis=-1, keepdims=True)
    weight, bias = norm
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps) + outside
    normed: np.ndarray = centred / spread * weight + bias
    return normed


def _standing(
    block: Block, *, norm: Callable[[np.ndarray, Norm], np.ndarray] = _norm
) -> np.ndarray:
    """Return the output of the pre-norm block, or of one with another norm."""
    x, attend, feed, norm_1, norm_2 = block
    y = x + attend(norm(x, norm_1))
    output: np.ndarray = y + feed(norm(y, norm_2))
    return output


def _mistakes(block: Block) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what to say of each mistake, and the output that it makes."""
    x, attend, feed, norm_1, norm_2 = block
    y, post = x + attend(_norm(x, norm_1)), _norm(x + attend(x), norm_1)
    yield (
        "That is post-norm: you norm the sums. In pre-norm the stream itself is never normed.",
        _norm(post + feed(post), norm_2),
    )
    yield (
        "The residuals are missing: each part adds to the stream.",
        feed(_norm(attend(_norm(x, norm_1)), norm_2)),
    )
    yield (
        "Your first half is pre-norm and your second is post-norm: there too, norm what the "
        "network reads and leave the sum alone.",
        _norm(y + feed(y), norm_2),
    )
    yield (
        "Your first half is post-norm and your second is pre-norm: in both, norm what the part "
        "reads and leave the sum alone.",
        post + feed(_norm(post, norm_2)),
    )
    yield from _wrong_residuals(block)
    yield from _wrong_readers(block, y)
    yield from _wrong_norms(block)
    yield from _wrong_constants(block)


def _wrong_residuals(block: Block) -> Iterator[tuple[str, np.ndarray]]:
    x, attend, feed, norm_1, norm_2 = block
    first = _norm(x, norm_1)
    y = x + attend(first)
    inner = _norm(y, norm_2)
    yield "The second residual is missing: what attention brought is lost.", feed(inner)
    normed = first + attend(first)
    again = _norm(normed, norm_2)
    yield (
        "Your residuals start from the normed rows. The stream goes on as it was.",
        again + feed(again),
    )
    yield (
        "Your first residual starts from the normed rows. The stream goes on as it was.",
        normed + feed(again),
    )
    yield (
        "Your second residual starts from the normed rows. The stream goes on as it was.",
        inner + feed(inner),
    )
    yield "Your second residual adds x: what attention brought is lost.", x + feed(inner)
    yield (
        "Both parts read the same normed rows: the network should hear of what attention brought.",
        y + feed(first),
    )
    yield (
        "Your network reads x, normed: it should hear of what attention brought.",
        y + feed(_norm(x, norm_2)),
    )


def _wrong_readers(block: Block, y: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    x, attend, feed, norm_1, norm_2 = block
    bare = x + attend(x)
    yield "Nothing is normed: both parts read the stream as it is.", bare + feed(bare)
    yield "The network reads the stream as it is: where is its norm?", y + feed(y)
    yield (
        "Attention reads the stream as it is: where is its norm?",
        bare + feed(_norm(bare, norm_2)),
    )
    for norm, other in ((norm_1, norm_2), (norm_2, norm_1)):
        fed = x + feed(_norm(x, norm))
        yield "The network comes first in your block.", fed + attend(_norm(fed, other))
    yield "Your norms have changed places.", _standing(block._replace(norm_1=norm_2, norm_2=norm_1))
    yield "You use the first norm twice.", _standing(block._replace(norm_2=norm_1))
    for norm in (norm_1, norm_2):
        yield (
            "You norm the output of the block once more: a stack does that, at its very end.",
            _norm(y + feed(_norm(y, norm_2)), norm),
        )


def _wrong_norms(block: Block) -> Iterator[tuple[str, np.ndarray]]:
    def spread(rows: np.ndarray, axis: int = -1, ddof: int = 0) -> Any:
        return np.sqrt(rows.var(axis=axis, ddof=ddof, keepdims=True) + EPS)

    def centred(rows: np.ndarray, axis: int = -1) -> Any:
        return rows - rows.mean(axis=axis, keepdims=True)

    def root(rows: np.ndarray) -> Any:
        return np.sqrt((rows**2).mean(axis=-1, keepdims=True) + EPS)

    wrong: dict[str, Callable[[np.ndarray, Norm], np.ndarray]] = {
        "Your norm runs over the tokens: each row has a mean and a spread of its own.": (
            lambda rows, n: centred(rows, -2) / spread(rows, -2) * n[0] + n[1]
        ),
        "Your variance is divided by d − 1: the mean of the squares is meant.": (
            lambda rows, n: centred(rows) / spread(rows, ddof=1) * n[0] + n[1]
        ),
        "You divide by the variance, and not by its root.": (
            lambda rows, n: centred(rows) / spread(rows) ** 2 * n[0] + n[1]
        ),
        "You divide by the size of the rows with their mean: that is a root-mean-square norm.": (
            lambda rows, n: rows / root(rows) * n[0] + n[1]
        ),
        "Your norm divides rows from which no mean has been taken.": (
            lambda rows, n: rows / spread(rows) * n[0] + n[1]
        ),
        "Your norm leaves out weight and bias.": lambda rows, _: centred(rows) / spread(rows),
        "Your norm leaves out the bias.": lambda rows, n: centred(rows) / spread(rows) * n[0],
        "Your norm leaves out the weight.": lambda rows, n: centred(rows) / spread(rows) + n[1],
        "Your norm has weight and bias exchanged.": (
            lambda rows, n: centred(rows) / spread(rows) * n[1] + n[0]
        ),
    }
    for said, norm in wrong.items():
        yield said, _standing(block, norm=norm)


def _wrong_constants(block: Block) -> Iterator[tuple[str, np.ndarray]]:
    (weight_1, _), (weight_2, _) = block.norm_1, block.norm_2
    yield (
        "Your first norm leaves out its bias.",
        _standing(block._replace(norm_1=(weight_1, 0 * weight_1))),
    )
    yield (
        "Your second norm leaves out its bias.",
        _standing(block._replace(norm_2=(weight_2, 0 * weight_2))),
    )
    for eps, outside in (*((10.0**-e, 0.0) for e in (3, 6, 7, 8, 12)), (0.0, 0.0), (0.0, EPS)):
        yield (
            "Mind ε: 10⁻⁵ is asked for, under the root, beside the variance.",
            _standing(block, norm=functools.partial(_norm, eps=eps, outside=outside)),
        )


def _nothing(rows: Any) -> Any:
    return 0 * rows


def _what_is_seen(run: Callable[[Block], np.ndarray], found: np.ndarray, block: Block) -> str:
    if not np.isfinite(found).all():
        return "Some of your numbers are not finite. What does your norm divide by?"
    if agrees(found, block.x):
        return "You return x as it came: nothing has been added to it."
    added = to_numpy(block.attend(_norm(block.x, block.norm_1)))
    if agrees(found, block.x + added, roundings=2**12):
        return "The first half is right. The second is missing: what does the network add?"
    for silent, said in (
        (block._replace(feed=_nothing), "The first half is right: a network that adds nothing"),
        (block._replace(attend=_nothing), "The second half is right: attention that adds nothing"),
    ):
        if agrees(run(silent), _standing(silent), roundings=ROUNDINGS):
            return f"{said} leaves no mistake. What does the other half read, and add to what?"
    return "Not yet. Compare the halves: x + attend(norm(x)) first, then what the network adds."
