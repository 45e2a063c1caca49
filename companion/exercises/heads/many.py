"""A checker for many heads that the reader writes: it knows how people split and merge them wrong.

Each mistake is a layer of its own here. A reader's layer is run on the same numbers, and the
mistake that gives what it gives is named.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from companion.arrays import array_module, to_numpy
from companion.exercises.feedback import (
    Feedback,
    agrees,
    floats,
    function,
    is_array,
    reads_attempts,
    result,
    say,
)
from companion.exercises.mistakes import check_named, check_nearly, one_array
from companion.heads import merge_heads, split_heads
from companion.softmax import softmax

__all__ = ["check_multi_head"]

Split = Callable[[np.ndarray, int], np.ndarray]
Merge = Callable[[np.ndarray], np.ndarray]


class Layer(NamedTuple):
    """What a reader's function is handed: a sentence, or several, and the matrices of all heads."""

    x: np.ndarray  # (N, d) or (B, N, d)
    w_q: np.ndarray  # (d, H·d_k)
    w_k: np.ndarray  # (d, H·d_k)
    w_v: np.ndarray  # (d, H·d_v)
    w_o: np.ndarray  # (H·d_v, d_out)
    heads: int


def check_multi_head(attempt: Any) -> None:
    """Check a function (x, w_q, w_k, w_v, w_o, heads) → (..., N, d_out), heads side by side."""
    say(_multi_head, attempt)


def _multi_head(attempt: Any) -> str:
    many = function(attempt, "write multi_head(x, w_q, w_k, w_v, w_o, heads)")
    rng = np.random.default_rng(13)
    sizes = (2, 5, 7, 3, 4, 9), (3, 4, 8, 2, 5, 7), (1, 4, 5, 3, 2, 6)
    draws = [_drawn(rng, (), *size) for size in sizes]
    for layer in draws:
        _check(many, layer, draws)
    _check(many, _drawn(rng, (), 2, 1, 4, 3, 5, 6), trouble="With one token alone it is not right.")
    _check(
        many,
        _drawn(rng, (2,), 3, 5, 7, 2, 4, 8),
        trouble="One sentence comes out right, a batch of them does not: which axes do you cut, "
        "move and sum over?",
    )
    large = _drawn(rng, (), 2, 6, 5, 3, 4, 7)
    _check(
        many,
        large._replace(x=40 * large.x),
        trouble="Ordinary scores come out right, scores in the thousands do not: before exp the "
        "largest of each row is taken away, and nothing else is done.",
        roundings=2**14,
    )
    return "Right: the heads lie side by side, and never share a row of weights."


def _drawn(
    rng: np.random.Generator,
    batch: tuple[int, ...],
    heads: int,
    n: int,
    d: int,
    d_k: int,
    d_v: int,
    d_out: int,
) -> Layer:
    """Draw a layer of which no two sizes are alike."""
    keys, values = heads * d_k, heads * d_v
    shapes = (*batch, n, d), (d, keys), (d, keys), (d, values), (values, d_out)
    x, w_q, w_k, w_v, w_o = (rng.standard_normal(shape) for shape in shapes)
    return Layer(0.3 + x, w_q, w_k, w_v, w_o, heads)


def _check(
    many: Callable[..., Any],
    layer: Layer,
    draws: Sequence[Layer] = (),
    *,
    trouble: str = "",
    roundings: float = 256,
) -> None:
    run, right = functools.partial(_run, many), _attend(layer)
    found = run(layer)
    if agrees(found, right, roundings=roundings):
        return
    check_nearly(found, right)
    if draws:
        check_named(layer, draws, run, _mistakes)
    again = run(layer)
    if np.isfinite(found).all() and not agrees(again, found):
        raise Feedback("Twice the same x, and two outputs: something in your layer is random.")
    raise Feedback(trouble or _what_is_seen(many, layer))


def _run(many: Callable[..., Any], layer: Layer) -> np.ndarray:
    xp = array_module()
    arrays = [xp.asarray(array) for array in layer[:-1]]
    case = f" for {layer.heads} heads and x of shape {layer.x.shape}"
    given = one_array(result(many, *arrays, layer.heads, case=case), "the output's rows")
    shape = (*layer.x.shape[:-1], layer.w_o.shape[1])
    _check_shape(given, shape, layer)
    return floats(given, shape, "a row for each token, as wide as w_o")


@reads_attempts
def _check_shape(returned: Any, wanted: tuple[int, ...], layer: Layer) -> None:
    """Say what an output of another shape may be; whatever is no array is left to others."""
    if not is_array(returned) or returned.shape == wanted:
        return
    if returned.shape == (*wanted[:-1], layer.w_o.shape[0]):
        raise Feedback(
            f"You return {returned.shape}: the heads lie side by side. What does w_o make of them?"
        )
    if len(returned.shape) > len(wanted):
        raise Feedback(f"You return {returned.shape}: an axis is left that should be merged away.")


def _what_is_seen(many: Callable[..., Any], layer: Layer) -> str:
    """Say whether the heads are the trouble, or what happens inside of each."""
    alone = layer._replace(heads=1)
    if layer.heads > 1 and agrees(_run(many, alone), _attend(alone), roundings=256):
        return (
            f"With one head it is right, with {layer.heads} it is not: how are the columns cut, "
            "and how do they come together again?"
        )
    return "Not even one head alone comes out right: look at scores, scale, softmax and w_o."


def _split(x: np.ndarray, heads: int) -> np.ndarray:
    return to_numpy(split_heads(x, heads))


def _merge(x: np.ndarray) -> np.ndarray:
    return to_numpy(merge_heads(x))


def _attend(
    layer: Layer,
    *,
    split: Split = _split,
    merge: Merge = _merge,
    scale: float | None = None,
    axis: int = -1,
    causal: bool = False,
) -> np.ndarray:
    """Return the output of the layer, or with another option than its own that of a mistake."""
    x, w_q, w_k, w_v, w_o, heads = layer
    query, key, value = (split(x @ w, heads) for w in (w_q, w_k, w_v))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        scores = np.where(np.tri(scores.shape[-1], dtype=bool), scores, -np.inf)
    output: np.ndarray = merge(to_numpy(softmax(scores, axis=axis)) @ value) @ w_o
    return output


def _mistakes(layer: Layer) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what to say of each mistake, and the output that it makes of a sentence."""
    n, heads, wide = len(layer.x), layer.heads, layer.w_q.shape[1]

    def dealt(x: np.ndarray, heads: int) -> np.ndarray:
        return x.reshape(heads, n, -1)

    def strided(x: np.ndarray, heads: int) -> np.ndarray:
        return np.moveaxis(x.reshape(n, -1, heads), -1, 0)

    def laid(x: np.ndarray) -> np.ndarray:
        return x.reshape(n, -1)

    yield (
        "You split by a reshape alone: it deals out the numbers row by row, and each head gets "
        "some of the tokens.",
        _attend(layer, split=dealt),
    )
    yield (
        "You merge by a reshape alone: row 1 of your output holds several tokens of head 1.",
        _attend(layer, merge=laid),
    )
    yield (
        "You split and merge by a reshape alone. One undoes the other, but attention stands "
        "between them: which tokens are in your head 1?",
        _attend(layer, split=dealt, merge=laid),
    )
    yield (
        f"Your head 1 takes one column in {heads}. A head's columns stand next to each other.",
        _attend(layer, split=strided),
    )
    yield (
        "Your tokens and heads have not changed places: each token attends to its own heads, and "
        "to no other token.",
        _attend(layer, split=lambda x, heads: x.reshape(n, heads, -1), merge=laid),
    )
    yield (
        "Your heads lie in another order than the rows of w_o that they meet.",
        _attend(layer, merge=lambda x: _merge(x[::-1])),
    )
    yield from _inside(layer, wide)


def _inside(layer: Layer, wide: int) -> Iterator[tuple[str, np.ndarray]]:
    d_k = wide // layer.heads
    yield (
        "One head attends, as wide as all of them: one row of weights for all columns.",
        _attend(layer._replace(heads=1), scale=d_k**-0.5),
    )
    yield (
        "One head attends, as wide as all of them: your columns are not cut.",
        _attend(layer._replace(heads=1)),
    )
    yield "Your scores are not scaled.", _attend(layer, scale=1.0)
    yield (
        "You divide by the root of the width of all heads together: how many terms has a product?",
        _attend(layer, scale=wide**-0.5),
    )
    yield "You divide by d_k, and not by its root.", _attend(layer, scale=1 / d_k)
    yield (
        "You divide by √d, with the width of x: how many terms has a product of q and k?",
        _attend(layer, scale=1 / math.sqrt(layer.x.shape[-1])),
    )
    yield (
        "Your softmax runs along the wrong axis: the weights of one key sum to one, not those of "
        "one query.",
        _attend(layer, axis=-2),
    )
    yield (
        "Your softmax runs over the heads: each has weights of its own, which sum to one.",
        _attend(layer, axis=-3),
    )
    yield (
        "Queries and keys have changed places.",
        _attend(layer._replace(w_q=layer.w_k, w_k=layer.w_q)),
    )
    yield "You hide the future, and no mask was asked for.", _attend(layer, causal=True)
