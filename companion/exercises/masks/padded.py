"""Checker for a masked head that also takes a token mask, and may meet rows that see nothing."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from companion.arrays import to_numpy
from companion.attention import scaled_dot_product_attention
from companion.exercises.feedback import Feedback, agrees, floats, function, say
from companion.exercises.masks.head import check_extremes, check_shape, made_by, projecting_to
from companion.exercises.masks.mistakes import FIRST, SECOND, Sizes, mistakes
from companion.exercises.mistakes import check_nearly
from companion.softmax import softmax

__all__ = ["check_padded_head"]


class Draw(NamedTuple):
    """Sentences to try, 1 for a token and 0 for padding, and how wide rows, keys and values are."""

    case: str
    sentences: tuple[str, ...]
    d: int
    d_k: int
    d_v: int


DRAWS = [
    Draw("one sentence without padding", ("11111",), 6, FIRST, 4),
    Draw("two sentences without padding", ("1111", "1111"), 7, SECOND, 2),
    Draw("padding on the left", ("0011", "1111", "0001"), 6, FIRST, 2),
    Draw("padding on the right", ("11111", "11100", "10000"), 7, 4, 3),
    Draw("padding in between", ("110101", "010010", "000000", "111111"), 5, SECOND, 3),
]


def check_padded_head(attempt: Any) -> None:
    """Check a function (x, token_mask, w_q, w_k, w_v) → causal output that no padding enters."""
    say(_padded_head, attempt)


def _padded_head(attempt: Any) -> str:
    head = function(attempt, "write padded_head(x, token_mask, w_q, w_k, w_v)")
    rng = np.random.default_rng(11)
    for draw in DRAWS:
        tokens = np.array([[c == "1" for c in sentence] for sentence in draw.sentences])
        x = 0.3 + rng.standard_normal((*tokens.shape, draw.d))
        widths = draw.d_k, draw.d_k, draw.d_v
        _check_draw(head, draw, tokens, [x, *(rng.standard_normal((draw.d, w)) for w in widths)])

    def of_one(*parts: np.ndarray) -> np.ndarray:
        """Attend in one sentence without padding, of just these queries, keys and values."""
        x, *matrices = projecting_to(*parts)
        tokens = np.ones((1, len(x)), dtype=bool)
        found = made_by(head, x[None], tokens, *matrices)
        one: np.ndarray = floats(found, (*tokens.shape, parts[-1].shape[-1]))[0]
        return one

    check_extremes(of_one)
    return "Right: padding asks, and answers nobody, wherever it stands."


def _check_draw(
    head: Callable[..., Any], draw: Draw, tokens: np.ndarray, given: list[np.ndarray]
) -> None:
    x, *matrices = given
    query, key, value = (x @ matrix for matrix in matrices)
    right = to_numpy(
        scaled_dot_product_attention(query, key, value, tokens[:, None, :], is_causal=True)
    )
    case = f" for {draw.case}"
    returned = made_by(head, x, tokens, *matrices, case=f"{case}, x of shape {x.shape},")
    check_shape(returned, right.shape, x)
    found = floats(returned, right.shape, "a row for each token, as wide as a value")
    empty = ~np.logical_or.accumulate(tokens, axis=-1)  # rows that see nothing
    read = tokens | empty
    if agrees(found[read], right[read]):
        return
    if agrees(found[tokens], right[tokens]):
        raise Feedback(_of_nothing(found[empty]))
    check_nearly(found[read], right[read])
    if np.isnan(found).all():
        raise Feedback(
            "Every row is NaN. Do you hide the tokens in place of the padding (the mask is True at "
            "tokens), or multiply by −∞?"
        )
    sizes = Sizes((), tokens.shape[-1], *draw[2:])
    if tokens.all():
        known = _without_padding(query, key, value, sizes)
    else:
        known = _wrong_paddings(query, key, value, tokens, sizes)
    for said, mistaken in known:
        if agrees(np.nan_to_num(found[read]), mistaken[read]):
            raise Feedback(said)
    wrong = [agrees(*rows) for rows in zip(found[read], right[read], strict=True)]
    sentence, row = np.argwhere(read)[wrong.index(False)] + 1
    raise Feedback(f"Not yet{case}: row {row} of sentence {sentence}. Which keys may it see?")


def _of_nothing(rows: np.ndarray) -> str:
    """Say what is wrong with rows that see nothing, where all tokens come out right."""
    if np.isnan(rows).any():
        return (
            "Tokens come out right, and a row that sees nothing is NaN. What do you take away from "
            "a row of nothing but −∞, and what do you divide it by?"
        )
    return (
        "Tokens come out right, and a row that sees nothing is not 0: something hidden is mixed in "
        "it. Do you hide by a large negative number? It is a number, and not −∞."
    )


def _without_padding(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, sizes: Sizes
) -> Iterator[tuple[str, np.ndarray]]:
    yield "Every row sees nothing: the mask is True at tokens, and you hide them.", 0 * value
    yield from mistakes(query, key, value, sizes)


def _wrong_paddings(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, tokens: np.ndarray, sizes: Sizes
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what to say of each wrong use of a token mask, and the output that it makes."""
    past = np.tri(sizes.n, dtype=bool)
    keys, queries = tokens[:, None, :], tokens[:, :, None]
    scores = query @ key.mT / math.sqrt(sizes.d_k)

    def shares(visible: np.ndarray, scores: np.ndarray = scores) -> np.ndarray:
        weights: np.ndarray = to_numpy(softmax(np.where(visible, scores, -np.inf)))
        return weights

    yield (
        "You hide what padding asks, and not what it answers: its rows are hidden, its columns "
        "are seen.",
        shares(past & queries) @ value,
    )
    yield "Padding is seen: your token mask hides no key.", shares(past) @ value
    yield (
        "A key is seen that only one of your two masks shows: both have to let it.",
        shares(past | keys) @ value,
    )
    yield "The future is seen: only padding is hidden.", shares(keys) @ value
    yield (
        "Every sentence has a token mask of its own, and you use the first for all.",
        shares(past & keys[:1]) @ value,
    )
    yield (
        "Scores with padding are 0 in your head. Zero is an ordinary score, and gets weight e⁰.",
        shares(past, np.where(keys, scores, 0.0)) @ value,
    )
    yield (
        "You make padding 0, and it is still attended to: a row of zeros has scores, and they get "
        "weight e⁰.",
        shares(past, np.where(keys, scores, 0.0)) @ np.where(queries, value, 0.0),
    )
    yield (
        "You hide padding after the softmax: it is gone from the mixture, and still in the sum "
        "that the weights were divided by.",
        np.where(keys, shares(past), 0.0) @ value,
    )
