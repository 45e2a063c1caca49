"""Checkers of the answers that are numbers, a merge of logarithms, or a bound."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from companion.exercises.feedback import (
    Feedback,
    agrees,
    entries,
    floats,
    function,
    number,
    numbers,
    result,
    rounding,
    say,
)

__all__ = [
    "check_bound_with_mask",
    "check_causal_tiles",
    "check_merge_logs",
    "check_merged_output",
]


def check_merged_output(attempt: Any) -> None:
    """Check the output after (0, 2, (2, 0)) and (ln 4, 1, (0, 4)) were merged."""
    say(_merged_output, attempt)


def _merged_output(attempt: Any) -> str:
    got = numbers(attempt, 2, "give the two numbers of the output")
    for wrong, why in (
        ((2 / 3, 4 / 3), "that adds up sums below different maxima; rescale one of them first."),
        ((0.5, 4), "those are the weighted values; what are they divided by?"),
        ((8 / 9, 4 / 9), "that shrinks the state with the larger maximum."),
        ((0.5, 2), "that averages two outputs, as if both states had the same weight."),
    ):
        if np.allclose(got, wrong, rtol=0, atol=0.01):
            raise Feedback(f"Close: {why}")
    if not np.allclose(got, (1 / 3, 8 / 3), rtol=0, atol=0.005):
        raise Feedback("The larger maximum stays. By which factor does the other state shrink?")
    return "Right: the first state counts a quarter of what it did, and both sums know it."


def check_merge_logs(attempt: Any) -> None:
    """Check a function (log_1, output_1, log_2, output_2) → (log, output), (T, 1) and (T, d_v)."""
    say(_merge_logs, attempt)


def _merge_logs(attempt: Any) -> str:
    merge = function(attempt)
    rng = np.random.default_rng(12)
    rows = np.asarray([[-900.0], [0.0], [900.0]])
    for first_level, second_level, case in (
        (0.0, 0.0, "for scores around 0"),
        (2000.0, 2000.0, "for scores around 2000"),
        (-2000.0, -2000.0, "for scores around -2000"),
        (2.0, -3.0, "where the first has larger scores"),
        (-1500.0, 1500.0, "where the second has much larger scores"),
        (rows, -rows, "where every row has scores of another size"),
        (-math.inf, 0.0, "where the first has seen no key, so that its logarithm is −∞"),
        (np.where(rows == 0, -math.inf, 1.0), 2.0, "where one row of the first has seen no key"),
    ):
        scores = rng.standard_normal((3, 9)), rng.standard_normal((3, 5))
        scores = scores[0] + first_level, scores[1] + second_level
        value = 10 * rng.standard_normal((14, 2))
        _check_merged(merge, scores, value, case)
    return "Right: two arrays are enough, and no exponential is larger than 1."


def _check_merged(
    merge: Callable[..., Any], scores: tuple[np.ndarray, ...], value: np.ndarray, case: str
) -> None:
    cut = scores[0].shape[1]
    sides = *_log_state(scores[0], value[:cut]), *_log_state(scores[1], value[cut:])
    expected = _log_state(np.concatenate(scores, axis=1), value)
    returned = result(merge, *sides, case=f" {case}")
    got = entries(returned, 2, "return the logarithm and the output")
    # The logarithms are as exact as they are large, and an error of theirs reaches the output.
    largest = max(1.0, *(np.abs(log[np.isfinite(log)]).max(initial=0) for log in sides[::2]))
    for name, part, right in zip(("logarithm", "output"), got, expected, strict=True):
        host = floats(part, right.shape, f"a row a query of the {name}")
        if not np.isfinite(host).all():
            raise Feedback(f"The {name} is not finite {case}. Which number can you subtract?")
        size = largest * (1.0 if name == "logarithm" else np.abs(value).max())
        if not agrees(host, right, size=size, roundings=8):
            raise Feedback(f"The {name} is wrong {case}. How much weight has each side?")


def _log_state(scores: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    largest = scores.max(axis=-1, keepdims=True)
    powers = np.exp(scores - np.maximum(largest, -1e6))  # a row without keys has only −∞
    total = powers.sum(axis=-1, keepdims=True)
    return largest + np.log(np.maximum(total, 1e-300)), powers @ value / np.maximum(total, 1e-300)


def check_causal_tiles(attempt: Any) -> None:
    """Check how many tiles causal attention computes for N = 8192 and tiles of 128 × 1024."""
    say(_causal_tiles, attempt)


def _causal_tiles(attempt: Any) -> str:
    tiles = number(attempt, "give a number of tiles")
    if tiles == 512:
        raise Feedback("Close: those are all tiles. Which of them does the mask hide whole?")
    if tiles == 256:
        raise Feedback("Close: half of them, but a tile on the diagonal has visible scores too.")
    right = sum(math.ceil((start + 128) / 1024) for start in range(0, 8192, 128))
    if tiles != right:
        side = "few" if tiles < right else "many"
        raise Feedback(f"Too {side}. How many tiles do the 128 queries need that end at row r?")
    return "Right: a little more than half of all, because a tile on the diagonal counts whole."


def check_bound_with_mask(attempt: Any) -> None:
    """Check a function (scaled query, key, float mask) → T bounds of the rows' scores."""
    say(_bound_with_mask, attempt)


def _bound_with_mask(attempt: Any) -> str:
    find_bound = function(attempt)
    rng = np.random.default_rng(13)
    for sizes, scale in (((6, 9, 4), 1.0), ((5, 7, 3), 10.0), ((8, 10, 2), 0.1)):
        _check_bound(find_bound, *_masked_scores(rng, sizes, scale))
    return "Right: from visible keys alone, known before any score, and never below one."


def _masked_scores(
    rng: np.random.Generator, sizes: tuple[int, int, int], scale: float
) -> tuple[np.ndarray, ...]:
    """Draw queries, keys and a mask: key 7 is long, and rows 1 to 3 do not see it, but all key 1.

    The last query lies along key 7 and has its largest mask there: no lower bound is one.
    """
    t, s, d = sizes
    query, key = scale * rng.standard_normal((t, d)), scale * rng.standard_normal((s, d))
    key[6] *= 5
    query[-1] = key[6] / 2
    mask = 4 * rng.standard_normal((t, s))
    mask[rng.random((t, s)) < 0.4] = -np.inf
    mask[:, 0], mask[:3, 6], mask[3, 6] = -6.0, -np.inf, 1.0
    mask[3] = np.where(mask[3] > -np.inf, -30.0, -np.inf)  # a bound that forgets the mask is loose
    mask[-1, 6] = 1 + mask[-1].max()
    return query, key, mask


def _check_bound(
    find_bound: Callable[..., Any], query: np.ndarray, key: np.ndarray, mask: np.ndarray
) -> None:
    def bound_of(query: np.ndarray, key: np.ndarray) -> np.ndarray:
        found = floats(result(find_bound, query, key, mask), (len(query),), "one bound a query")
        if not np.isfinite(found).all():
            raise Feedback("A bound is not finite, although every row sees a key.")
        return found

    bound = bound_of(query, key)
    norms = np.linalg.norm(query, axis=1), np.linalg.norm(key, axis=1)
    shown = np.where(mask > -np.inf, mask, 0.0)
    slack = rounding(bound) * (norms[0] * norms[1].max() + np.abs(shown).max(axis=1))
    low = np.flatnonzero(bound < (query @ key.T + mask).max(axis=-1) - slack)
    if low.size:
        raise Feedback(f"Row {low[0] + 1} has a score above its bound.")
    if np.allclose(bound, (query @ key.T + mask).max(axis=-1)):
        raise Feedback("Those are the maxima themselves. Bound them before there are any scores.")
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal(2 * query.shape[1:]))
    if np.any(np.abs(bound_of(query @ turn, key) - bound) > slack):
        raise Feedback(
            "Turn all queries round: no length changes, but your bound does. Lengths are enough."
        )
    # So much longer that even −1e9 in place of −∞ does not hide it.
    longer = key * np.where(np.arange(len(key)) == 6, 1e12, 1.0)[:, None]
    if np.any(bound_of(query, longer)[:3] != bound[:3]):
        raise Feedback("A key changed that row 1 does not see, and its bound changed with it.")
    seen = np.where(mask > -np.inf, norms[1], 0).max(axis=1)
    loose = np.flatnonzero(bound > norms[0] * seen + mask.max(axis=-1) + slack)
    if loose.size:
        raise Feedback(f"Safe, but looser than need be in row {loose[0] + 1}. What lowers it?")
