"""Checkers for the exercises of the chapter on tiles and the online softmax."""

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

import array_api_compat
import numpy as np

from companion.arrays import to_numpy
from companion.exercises.feedback import Feedback, attempted, say

__all__ = [
    "check_bound_with_mask",
    "check_causal_tiles",
    "check_merge_logs",
    "check_merged_output",
]


def check_merged_output(attempt: Any) -> None:
    """Check the output after (0, 2, (2, 0)) and (ln 4, 1, (0, 4)) were merged.

    Parameters
    ----------
    attempt : two numbers, or None
        The merged weighted values over the merged total.
    """
    say(_merged_output, attempt)


def _merged_output(attempt: Any) -> str:
    got = _numbers(attempt, 2, "give the two numbers of the output")
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
    """Check a function that merges outputs with the logarithms of their totals.

    Parameters
    ----------
    attempt : function, or None
        Takes NumPy's (log_1, output_1, log_2, output_2), shapes (T, 1) and (T, d_v) twice,
        and returns the merged (log, output).
    """
    say(_merge_logs, attempt)


def _merge_logs(attempt: Any) -> str:
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
            got = _called(attempt, *first, *second)
        if not isinstance(got, Iterable) or len(got := tuple(got)) != 2:
            raise Feedback("Your function must return two arrays: the logarithm, the output.")
        for name, array, right in zip(("logarithm", "output"), got, expected, strict=True):
            array = _array(array, right.shape, f"the {name}")
            if not np.all(np.isfinite(array)):
                raise Feedback(f"The {name} is not finite {case}. Which number can you subtract?")
            if not np.allclose(array, right, rtol=1e-9, atol=1e-9):
                raise Feedback(f"The {name} is wrong {case}. How much weight has each side?")
    return "Right: two arrays are enough, and no exponential is larger than 1."


def _log_state(scores: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    largest = scores.max(axis=-1, keepdims=True)
    powers = np.exp(scores - largest)
    total = powers.sum(axis=-1, keepdims=True)
    return largest + np.log(total), powers @ value / total


def check_causal_tiles(attempt: Any) -> None:
    """Check how many tiles causal attention computes for N = 8192 and tiles of 128 × 1024.

    Parameters
    ----------
    attempt : int, or None
        The tiles with at least one visible score.
    """
    say(_causal_tiles, attempt)


def _causal_tiles(attempt: Any) -> str:
    tiles = float(_numbers(attempt, 1, "give a number of tiles")[0])
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
    """Check a function that bounds each row's scores, with a float mask, before they are known.

    Parameters
    ----------
    attempt : function, or None
        Takes NumPy's query (T, d_k), already scaled, key (S, d_k) and a float mask (T, S), where −∞
        hides, and returns T numbers. Every row sees a key.
    """
    say(_bound_with_mask, attempt)


def _bound_with_mask(attempt: Any) -> str:
    rng = np.random.default_rng(13)
    query, key = rng.standard_normal((6, 4)), rng.standard_normal((9, 4))
    key[7] *= 5
    mask = 4 * rng.standard_normal((6, 9))
    mask[rng.random((6, 9)) < 0.4] = -np.inf
    mask[:, 0], mask[:3, 7] = -6.0, -np.inf
    mask[4] = np.where(mask[4] > -np.inf, -30.0, -np.inf)  # a bound that forgets the mask is loose
    bound = _array(_called(attempt, query, key, mask), (6,), "the bounds")
    if not np.all(np.isfinite(bound)):
        raise Feedback("A bound is not finite, although every row sees a key.")
    low = np.flatnonzero(bound < (query @ key.T + mask).max(axis=-1) - 1e-12)
    if low.size:
        raise Feedback(f"Row {low[0] + 1} has a score above its bound.")
    if np.allclose(bound, (query @ key.T + mask).max(axis=-1)):
        raise Feedback("Those are the maxima themselves. Bound them before there are any scores.")
    longer = key.copy()
    longer[7] *= 100
    moved = _array(_called(attempt, query, longer, mask), (6,), "the bounds")
    if np.any(moved[:3] != bound[:3]):
        raise Feedback("A key changed that row 1 does not see, and its bound changed with it.")
    norms = np.linalg.norm(query, axis=1), np.linalg.norm(key, axis=1)
    seen = np.where(mask > -np.inf, norms[1], 0).max(axis=1)
    loose = np.flatnonzero(bound > norms[0] * seen + mask.max(axis=-1) + 1e-9)
    if loose.size:
        raise Feedback(f"Safe, but looser than need be in row {loose[0] + 1}. What lowers it?")
    return "Right: from visible keys alone, known before any score, and never below one."


def _numbers(attempt: Any, count: int, what_to_do: str) -> np.ndarray:
    attempted(attempt, what_to_do)
    if array_api_compat.is_array_api_obj(attempt):
        attempt = to_numpy(attempt)
    given = list(attempt) if isinstance(attempt, Iterable) else [attempt]
    if any(isinstance(a, bool | np.bool_) or not isinstance(a, Real) for a in given):
        raise Feedback(f"Numbers are asked for, and this is {type(attempt).__name__}.")
    if len(given) != count:
        raise Feedback(f"{count} number{'s' * (count > 1)} asked for, got {len(given)}.")
    if not all(math.isfinite(a) for a in given):
        raise Feedback("Finite numbers are asked for.")
    return np.asarray(given, dtype=np.float64)


def _called(attempt: Any, *arrays: np.ndarray) -> Any:
    attempted(attempt, "hand over your function")
    if not callable(attempt):
        raise Feedback(f"A function is asked for, and this is {type(attempt).__name__}.")
    try:
        got = attempt(*arrays)
    except Exception as error:
        raise Feedback(
            f"Your function stops with {type(error).__name__}: {str(error)[:80]}"
        ) from None
    attempted(got, "your function returns nothing so far")
    return got


def _array(attempt: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    if not array_api_compat.is_array_api_obj(attempt):
        raise Feedback(f"An array is asked for, and {name} is {type(attempt).__name__}.")
    got = to_numpy(attempt)
    if got.dtype.kind != "f":
        raise Feedback(f"Floating numbers are asked for, and {name} holds {got.dtype}.")
    if got.shape != shape:
        raise Feedback(f"Expected shape {shape} of {name}, a row a query, got {got.shape}.")
    return got.astype(np.float64)
