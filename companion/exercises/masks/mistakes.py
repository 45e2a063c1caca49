"""What people get wrong in a masked head, each mistake as a head of its own.

A reader's head is run on the same numbers, and the mistake that gives what it gives is named.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from companion.arrays import to_numpy
from companion.softmax import softmax

FIRST, SECOND = 3, 5  # widths of a key that are tried: a scale of √3 fits the first alone


class Sizes(NamedTuple):
    """How large the arrays of one draw are: no two sizes alike, so that none passes for another."""

    batch: tuple[int, ...]
    n: int
    d: int
    d_k: int
    d_v: int


def mistakes(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, sizes: Sizes, offset: int = 0
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what to say of each mistake, and the output that it makes."""
    t, s = query.shape[-2], key.shape[-2]
    past = np.tri(t, s, offset, dtype=bool)
    products = query @ key.mT
    scores = products / math.sqrt(sizes.d_k)

    def masked(scores: np.ndarray, visible: np.ndarray = past) -> np.ndarray:
        hidden: np.ndarray = np.where(visible, scores, -np.inf)
        return hidden

    def mix(scores: np.ndarray) -> np.ndarray:
        mixed: np.ndarray = to_numpy(softmax(scores)) @ value
        return mixed

    yield "Every token attends to every token: nothing is masked.", mix(scores)
    yield from _wrong_masks(t, s, offset, lambda visible: mix(masked(scores, visible)))
    yield (
        "Hidden scores are 0 in your head. Zero is an ordinary score, and gets weight e⁰.",
        mix(np.where(past, scores, 0.0)),
    )
    late = np.where(past, to_numpy(softmax(scores)), 0.0)
    yield (
        "You mask after the softmax: the future is gone from the mixture, and still in the sum "
        "that the weights were divided by.",
        late @ value,
    )
    yield from _wrong_scales(products, sizes, lambda scores: mix(masked(scores)))
    if t == s:
        yield (
            "Queries and keys have changed places: row i holds what token i asks of each key.",
            mix(masked(scores.mT)),
        )
    yield from _wrong_softmaxes(masked(scores), value)


def _wrong_softmaxes(masked: np.ndarray, value: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield (
        "Your softmax runs along the wrong axis: the weights of one key sum to one, not those of "
        "one query.",
        to_numpy(softmax(masked, axis=-2)) @ value,
    )
    everything = np.exp(masked)
    yield (
        "You divide all weights by one sum over the whole matrix: each row has its own.",
        everything / everything.sum() @ value,
    )
    yield "Your weights are not divided by their sum.", everything @ value


def _wrong_masks(
    t: int, s: int, offset: int, attend: Callable[[np.ndarray], np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    def past(shift: int) -> np.ndarray:
        return np.tri(t, s, offset + shift, dtype=bool)

    yield (
        "Your mask hides the diagonal: no token attends to itself"
        f"{'' if offset else ', and the first to nobody'}.",
        attend(past(-1)),
    )
    yield "Every token sees the next one: your mask begins one place too late.", attend(past(1))
    yield (
        "Your triangle is the other one: each token sees itself and what comes after it.",
        attend(~past(-1)),
    )
    yield (
        "Your mask is inside out: −∞ stands where a token may attend, and the future is seen.",
        attend(~past(0)),
    )
    if offset:
        yield (
            "Your triangle begins in the upper left corner: it takes your queries for the first "
            "tokens, and they are the last.",
            attend(np.tri(t, s, dtype=bool)),
        )


def _wrong_scales(
    products: np.ndarray, sizes: Sizes, attend: Callable[[np.ndarray], np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    _, d, d_k, d_v = sizes[1:]
    t, s = products.shape[-2:]
    for said, scale in (
        ("Your scores are not scaled: how many terms has each product?", 1.0),
        ("You divide by d_k, and not by its root.", 1 / d_k),
        ("You multiply by √d_k where you should divide.", math.sqrt(d_k)),
        (
            "You divide by √d, with the width of x: how many terms has a product of q and k?",
            d**-0.5,
        ),
        (
            f"You divide by √{'N' if t == s else 'S'}: what counts is how wide a key is, not how "
            "many there are.",
            s**-0.5,
        ),
        ("You divide by √T: what counts is how wide a query is, not how many there are.", t**-0.5),
        ("You divide by √d_v: it is queries and keys that are multiplied, not values.", d_v**-0.5),
        (
            f"You divide by √{FIRST}, which was right until d_k was {d_k}: ask the keys.",
            FIRST**-0.5,
        ),
    ):
        yield said, attend(products * scale)
