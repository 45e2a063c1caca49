"""Checkers for the exercises of the chapter on tiles and the online softmax."""

import math
from typing import Any

import numpy as np

from companion.exercises.feedback import (
    Feedback,
    entries,
    floats,
    function,
    number,
    numbers,
    result,
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
        if np.allclose(got, wrong, atol=0.01):
            raise Feedback(f"Close: {why}")
    if not np.allclose(got, (1 / 3, 8 / 3), atol=0.01):
        raise Feedback("The larger maximum stays. By which factor does the other state shrink?")
    return "Right: the first state counts a quarter of what it did, and both sums know it."


def check_merge_logs(attempt: Any) -> None:
    """Check a function (log_1, output_1, log_2, output_2) → (log, output), (T, 1) and (T, d_v)."""
    say(_merge_logs, attempt)


def _merge_logs(attempt: Any) -> str:
    merge = function(attempt)
    rng = np.random.default_rng(12)
    for level, nothing in ((0.0, False), (2000.0, False), (-2000.0, False), (0.0, True)):
        scores, value = rng.standard_normal((3, 9)) + level, rng.standard_normal((9, 2))
        first, second = (_log_state(scores[:, s], value[s]) for s in (slice(4), slice(4, 9)))
        expected = _log_state(scores, value)
        case = f"for scores around {level:g}"
        if nothing:
            first = (np.full((3, 1), -np.inf), np.zeros((3, 2)))
            expected, case = second, "where the first has seen no key, so that its logarithm is −∞"
        with np.errstate(all="ignore"):
            got = entries(result(merge, *first, *second), 2, "return the logarithm and the output")
        for name, part, right in zip(("logarithm", "output"), got, expected, strict=True):
            host = floats(part, right.shape, f"a row a query of the {name}")
            if not np.isfinite(host).all():
                raise Feedback(f"The {name} is not finite {case}. Which number can you subtract?")
            if not np.allclose(host, right, rtol=1e-9, atol=1e-9):
                raise Feedback(f"The {name} is wrong {case}. How much weight has each side?")
    return "Right: two arrays are enough, and no exponential is larger than 1."


def _log_state(scores: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    largest = scores.max(axis=-1, keepdims=True)
    powers = np.exp(scores - largest)
    total = powers.sum(axis=-1, keepdims=True)
    return largest + np.log(total), powers @ value / total


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
        raise Feedback(f"Too {side}. How many blocks does a tile need that ends at row r?")
    return "Right: a little more than half of all, because a tile on the diagonal counts whole."


def check_bound_with_mask(attempt: Any) -> None:
    """Check a function (scaled query, key, float mask) → T bounds of the rows' scores."""
    say(_bound_with_mask, attempt)


def _bound_with_mask(attempt: Any) -> str:
    find_bound = function(attempt)
    rng = np.random.default_rng(13)
    query, key = rng.standard_normal((6, 4)), rng.standard_normal((9, 4))
    key[7] *= 5
    mask = 4 * rng.standard_normal((6, 9))
    mask[rng.random((6, 9)) < 0.4] = -np.inf
    mask[:, 0], mask[:3, 7] = -6.0, -np.inf
    mask[4] = np.where(mask[4] > -np.inf, -30.0, -np.inf)  # a bound that forgets the mask is loose
    shape = ((6,), "one bound a query")
    bound = floats(result(find_bound, query, key, mask), *shape)
    if not np.isfinite(bound).all():
        raise Feedback("A bound is not finite, although every row sees a key.")
    low = np.flatnonzero(bound < (query @ key.T + mask).max(axis=-1) - 1e-12)
    if low.size:
        raise Feedback(f"Row {low[0] + 1} has a score above its bound.")
    if np.allclose(bound, (query @ key.T + mask).max(axis=-1)):
        raise Feedback("Those are the maxima themselves. Bound them before there are any scores.")
    longer = key.copy()
    longer[7] *= 100
    moved = floats(result(find_bound, query, longer, mask), *shape)
    if np.any(moved[:3] != bound[:3]):
        raise Feedback("A key changed that row 1 does not see, and its bound changed with it.")
    norms = np.linalg.norm(query, axis=1), np.linalg.norm(key, axis=1)
    seen = np.where(mask > -np.inf, norms[1], 0).max(axis=1)
    loose = np.flatnonzero(bound > norms[0] * seen + mask.max(axis=-1) + 1e-9)
    if loose.size:
        raise Feedback(f"Safe, but looser than need be in row {loose[0] + 1}. What lowers it?")
    return "Right: from visible keys alone, known before any score, and never below one."
