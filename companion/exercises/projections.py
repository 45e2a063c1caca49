"""Checkers for the exercises of the chapter on queries, keys and values."""

from numbers import Integral
from typing import Any

import array_api_compat
import numpy as np

from companion.arrays import to_numpy
from companion.projections import bilinear_form
from companion.running_example import running_example

__all__ = [
    "check_crossover",
    "check_lost_direction",
    "check_narrow_head",
    "check_symmetric_partner",
]

#: Relative size below which a number of this chapter's small products is rounding.
ROUNDING = 1e-9
WIDTH, HEAD_WIDTH = 512, 64


def check_lost_direction(attempt: Any) -> None:
    """Say whether adding these six numbers to a row leaves the query of head 2 as it is."""
    print(_lost_direction(attempt))


def _lost_direction(attempt: Any) -> str:
    if _missing(attempt):
        return "Not attempted yet: set n to an array of six numbers, one for each feature."
    n = _floats(attempt)
    if n is None:
        return f"n must be an array of finite numbers, made with xp.asarray, got {_kind(attempt)}."
    example = running_example(np)
    if n.shape != (6,):
        return f"n must have shape (6,), one number for each feature, got {n.shape}."
    if not np.any(n):
        return "n is zero: adding nothing changes nothing. Some entry must differ from 0."
    change = n @ example.w_q[1]
    if np.max(np.abs(change)) > ROUNDING * np.max(np.abs(n)):
        entry = int(np.argmax(np.abs(change)))
        return (
            f"Adding n moves entry {entry + 1} of every query by {change[entry]:g}: the rows of "
            "W^Q, each taken as often as n says, must add up to zero in every column."
        )
    return "Right: n W^Q = 0, so x and x + n ask the same question, whatever x is."


def check_symmetric_partner(attempt: Any) -> None:
    """Say whether this W^K makes all scores of head 1 symmetric, being no multiple of its W^Q."""
    print(_symmetric_partner(attempt))


def _symmetric_partner(attempt: Any) -> str:
    if _missing(attempt):
        return "Not attempted yet: set partner to an array of shape (6, 3)."
    partner = _floats(attempt)
    if partner is None:
        return f"partner must be an array of finite numbers, got {_kind(attempt)}."
    if partner.shape != (6, 3):
        return f"partner must be (d=6, d_k=3), as W^Q is, got shape {partner.shape}."
    w_q = running_example(np).w_q[0]
    form = bilinear_form(w_q, partner)
    i, j = np.unravel_index(np.argmax(np.abs(form - form.T)), form.shape)
    if abs(form[i, j] - form[j, i]) > ROUNDING * np.max(np.abs(form)):
        return (
            f"Not symmetric: entry ({i + 1}, {j + 1}) of W^Q (W^K)ᵀ is {form[i, j]:g}, entry "
            f"({j + 1}, {i + 1}) is {form[j, i]:g}. Which factor M makes W^Q M (W^Q)ᵀ symmetric?"
        )
    if np.linalg.matrix_rank(np.stack([w_q.ravel(), partner.ravel()])) < 2:
        return "The scores are symmetric, but this is a multiple of W^Q: look for one that is not."
    return "Right: W^Q (W^K)ᵀ is symmetric, and W^K is no multiple of W^Q."


def check_crossover(attempt: Any) -> None:
    """Say whether at this N one head of the 2017 sizes spends as much on pairs as on projecting."""
    print(_crossover(attempt))


def _crossover(attempt: Any) -> str:
    if _missing(attempt):
        return "Not attempted yet: set N to a whole number of tokens."
    if not isinstance(attempt, Integral) or isinstance(attempt, bool) or attempt < 1:
        return f"N must be a whole number of tokens, at least 1, got {attempt!r}."
    length = int(attempt)
    projecting = 3 * length * WIDTH * HEAD_WIDTH
    pairing = 2 * length**2 * HEAD_WIDTH
    if projecting == pairing:
        return "Right: below this N the projections are the larger part, above it the pairs are."
    more, less = ("projections", "pairs") if projecting > pairing else ("pairs", "projections")
    return (
        f"At N = {length:,} the {more} still cost more than the {less}: {projecting:,} "
        f"multiply-adds for the projections, {pairing:,} for the pairs."
    )


def check_narrow_head(attempt: Any, form: Any) -> None:
    """Say whether the pair (W^Q, W^K) has this bilinear form in as few columns as possible.

    Parameters
    ----------
    attempt : (array, array) or None
        W^Q and W^K, both (d, m).
    form : array, shape (d, d)
        What W^Q (W^K)ᵀ must be.
    """
    print(_narrow_head(attempt, _floats(form)))


def _narrow_head(attempt: Any, form: np.ndarray) -> str:
    if _missing(attempt):
        return "Not attempted yet: set narrow to a pair of arrays (w_q, w_k), both (6, m)."
    if not isinstance(attempt, (tuple, list)) or len(attempt) != 2:
        return f"narrow must be a pair (w_q, w_k), got {_kind(attempt)}."
    if _missing(attempt[0]) or _missing(attempt[1]):
        return "One of the two is still missing: narrow must be a pair of arrays (w_q, w_k)."
    w_q, w_k = (_floats(part) for part in attempt)
    if w_q is None or w_k is None:
        return "narrow must hold two arrays of finite numbers."
    width = len(form)
    if w_q.ndim != 2 or w_q.shape != w_k.shape or len(w_q) != width:
        return (
            f"Both must be (d={width}, m) with the same m: a row for each feature and a column for "
            f"each entry of a query or key. Got {w_q.shape} and {w_k.shape}."
        )
    difference = np.max(np.abs(bilinear_form(w_q, w_k) - form))
    if difference > ROUNDING * np.max(np.abs(form)):
        return (
            f"Another head: an entry of W^Q (W^K)ᵀ differs by {difference:g}, so the score of "
            "some pair of tokens does too."
        )
    if w_q.shape[1] > np.linalg.matrix_rank(form):
        return (
            f"The scores are the same, in {w_q.shape[1]} columns: fewer are enough. What bounds "
            "their number from below?"
        )
    return "Right: the same scores, in as many columns as the form has rank. Fewer cannot do it."


def _missing(attempt: Any) -> bool:
    return attempt is None or attempt is ...


def _kind(attempt: Any) -> str:
    return type(attempt).__name__


def _floats(attempt: Any) -> np.ndarray | None:
    """Return an array of any module as float64 on the host; None if it is not finite numbers."""
    if not array_api_compat.is_array_api_obj(attempt):
        return None
    host = to_numpy(attempt)
    if host.dtype.kind not in "iuf" or not np.all(np.isfinite(host)):
        return None
    return host.astype(np.float64)
