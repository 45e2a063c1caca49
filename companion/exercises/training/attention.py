"""A checker for the way back through attention that the reader writes."""

import math
from typing import Any

import numpy as np

from companion.arrays import to_numpy
from companion.exercises.feedback import (
    Feedback,
    agrees,
    entries,
    floats,
    function,
    result,
    say,
)
from companion.exercises.mistakes import check_nearly
from companion.exercises.training.rows import back_through_softmax
from companion.softmax import softmax

__all__ = ["check_attention_backward"]

NAMES = ("d_query", "d_key", "d_value")
UNSCALED = "the weights are those of unscaled scores"


def check_attention_backward(attempt: Any) -> None:
    """Check a function (d_output, query, key, value) → (d_query, d_key, d_value)."""
    say(_attention_backward, attempt)


def _attention_backward(attempt: Any) -> str:
    back = function(attempt, "write a function of d_output, query, key and value")
    rng = np.random.default_rng(0)
    for lead, t, s, d_k, d_v in (
        ((), 4, 4, 3, 3),
        ((), 4, 6, 3, 5),
        ((), 1, 5, 2, 4),
        ((), 5, 1, 3, 2),
        ((2, 3), 4, 6, 5, 3),
    ):
        shapes = (t, d_v), (t, d_k), (s, d_k), (s, d_v)
        given = [rng.standard_normal((*lead, *shape)) for shape in shapes]
        case = f" for query {given[1].shape} and key {given[2].shape}"
        returned = result(back, *given, case=case)
        parts = entries(returned, 3, "return three arrays, (d_query, d_key, d_value)")
        for part, name, wanted, like in zip(parts, NAMES, _right(*given), given[1:], strict=True):
            found = floats(part, like.shape, f"that of what {name} belongs to{case}")
            if not agrees(found, wanted, size=np.abs(wanted).max() + 1):
                raise Feedback(_what_it_is(name, found, given, case))
    return "Right: four products that mirror the forward's two, and the softmax between them."


def _right(
    d_output: np.ndarray, query: np.ndarray, key: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scale = 1 / math.sqrt(query.shape[-1])
    scores = scale * query @ key.mT
    d_scores = scale * back_through_softmax(d_output @ value.mT, scores)
    return d_scores @ key, d_scores.mT @ query, to_numpy(softmax(scores)).mT @ d_output


def _what_it_is(name: str, found: np.ndarray, given: list[np.ndarray], case: str) -> str:
    right = dict(zip(NAMES, _right(*given), strict=True))
    tried = _other_values(given) if name == "d_value" else _other_rows(name, given)
    tried += [(-right[name], "the sign is the other one")]
    tried += [(right[other], f"that is {other}") for other in NAMES if other != name]
    for wrong, words in tried:
        if wrong.shape == found.shape and np.allclose(found, wrong):
            return f"{name} is not right{case}: {words}."
    check_nearly(
        found, right[name], why="Differences of a loss, or float32, come near and no nearer."
    )
    return f"{name} has the right shape, but is not what small changes do{case}."


def _other_values(given: list[np.ndarray]) -> list[tuple[np.ndarray, str]]:
    """List what is written in place of the values' gradient."""
    d_output, query, key, _ = given
    products = query @ key.mT
    scores = products / math.sqrt(query.shape[-1])
    mixed = "it is mixed with the scores, and not with the weights"
    tried = [
        (scores.mT @ d_output, mixed),
        (products.mT @ d_output, mixed),
        (to_numpy(softmax(products)).mT @ d_output, UNSCALED),
    ]
    if scores.shape[-1] == scores.shape[-2]:
        wrong = to_numpy(softmax(scores)) @ d_output
        tried.append((wrong, "it takes a row of the weights where a column of them meets a value"))
    return tried


def _other_rows(name: str, given: list[np.ndarray]) -> list[tuple[np.ndarray, str]]:
    """List what is written in place of the gradient of the queries, or of the keys."""
    d_output, query, key, value = given
    scale = 1 / math.sqrt(query.shape[-1])
    scores, d_weights = scale * query @ key.mT, d_output @ value.mT
    d_scores = back_through_softmax(d_weights, scores)
    unscaled = back_through_softmax(d_weights, scores / scale)
    weights = to_numpy(softmax(scores))
    tried = [
        (d_scores, "√d_k divided the scores on the way there"),
        (d_scores * scale**2, "√d_k divides twice"),
        (d_weights * scale, "nothing went back through the softmax"),
        (weights * d_weights * scale, "in the softmax the row's own sum is missing"),
        (
            weights * (1 - weights) * d_weights * scale,
            "in the softmax a score moves the other weights of its row too",
        ),
        (unscaled * scale, UNSCALED),
        (unscaled, "√d_k is missing, there and back"),
    ]
    if name == "d_query":
        return [(wrong @ key, words) for wrong, words in tried]
    return [(wrong.mT @ query, words) for wrong, words in tried]
