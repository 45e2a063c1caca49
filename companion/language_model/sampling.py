"""From the logits of the next token to the token: what is left to chance, and by how much.

Everything here happens on the host in float64, wherever the logits come from, and one uniform
number decides one token. So two devices choose differently only where rounding moves the boundary
between two tokens across that number.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from companion.arrays import Array, array_namespace, require_floating
from companion.libraries import host_copy

__all__ = ["Sampling", "next_token_probabilities", "sample_tokens"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; left as they are, the likeliest is taken: greedily.

    They are applied in the order in which Hugging Face's `transformers` does, which is this one.
    (llama.cpp scales by the temperature last, so that its other steps see the model's own
    probabilities.) Where tokens are equally likely, the smaller id comes first.

    Attributes
    ----------
    repetition_penalty : float
        Positive logits of tokens that stand in the text already are divided by it, negative ones
        multiplied; 1 changes nothing.
    temperature : float
        The logits are divided by it; 0 takes the likeliest token.
    top_k : int or None
        Only the k likeliest tokens are left.
    top_p : float or None
        Of what is left, only the likeliest tokens that together reach this probability: the fewest.
    min_p : float or None
        Of what is left, only tokens at least so many times as likely as the likeliest.

    Raises
    ------
    TypeError
        If one is no number of its kind.
    ValueError
        If one is out of range.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        _check_number("temperature", self.temperature, 0, math.inf)
        _check_number("repetition_penalty", self.repetition_penalty, 0, math.inf, beyond=True)
        if self.top_p is not None:
            _check_number("top_p", self.top_p, 0, 1, beyond=True)
        if self.min_p is not None:
            _check_number("min_p", self.min_p, 0, 1)
        if self.top_k is not None:
            if isinstance(self.top_k, bool) or not isinstance(self.top_k, Integral):
                raise TypeError(f"top_k must be an integer, got {self.top_k!r}")
            if self.top_k < 1:
                raise ValueError(f"top_k must be at least 1, got {self.top_k}")


def _check_number(name: str, value: Any, low: float, high: float, *, beyond: bool = False) -> None:
    """Raise unless the number lies between the ends; it is greater than `low` where `beyond`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    number = float(value)
    above = number > low if beyond else number >= low
    if not (above and number <= high and math.isfinite(number)):
        limits = f"{'above' if beyond else 'at least'} {low} and "
        limits += "finite" if math.isinf(high) else f"at most {high}"
        raise ValueError(f"{name} must be {limits}, got {value}")


GREEDY = Sampling()


def next_token_probabilities(
    logits: Array, sampling: Sampling = GREEDY, *, previous: Iterable[int] = ()
) -> np.ndarray:
    """Return with which probability each token is chosen.

    Parameters
    ----------
    logits : array, shape (V,)
        −∞ is a token that cannot come.
    sampling : Sampling
        Left out, the likeliest token has probability 1.
    previous : iterable of int
        The ids that stand in the text already, which the repetition penalty is for.

    Returns
    -------
    NumPy array of float64, shape (V,)

    Raises
    ------
    TypeError
        If the logits are not floating or an id is no integer.
    ValueError
        If the logits are no vector, one of them is NaN or +∞, all are −∞, or an id is out of range.
    """
    xp = array_namespace(logits=logits)
    require_floating(xp, logits=logits)
    if logits.ndim != 1 or logits.shape[0] == 0:
        raise ValueError(f"logits must be (V,), got shape {logits.shape}")
    seen = _checked_ids(previous, logits.shape[0])
    return host_probabilities(host_copy(logits), sampling, seen)


def _checked_ids(ids: Iterable[int], size: int) -> np.ndarray:
    given = list(ids)
    for i in given:
        if isinstance(i, bool) or not isinstance(i, Integral):
            raise TypeError(f"previous must be integers, got {i!r}")
        if not 0 <= i < size:
            raise ValueError(f"previous must be in 0 … {size - 1}, got {i}")
    return np.asarray(given, dtype=np.int64)


def host_probabilities(logits: np.ndarray, sampling: Sampling, previous: np.ndarray) -> np.ndarray:
    """Do what :func:`next_token_probabilities` does, on the host, without its checks of kinds."""
    s = sampling
    scores = logits.astype(np.float64)
    if s.repetition_penalty != 1 and len(previous):
        seen = np.unique(previous)
        own = scores[seen]
        scores[seen] = np.where(own > 0, own / s.repetition_penalty, own * s.repetition_penalty)
    top = scores.max()
    if not math.isfinite(top):
        raise ValueError(f"logits must be finite or −∞, and not all −∞, got {top}")
    if s.temperature == 0:
        chosen = np.zeros_like(scores)
        chosen[scores.argmax()] = 1.0  # the first of several
        return chosen
    with np.errstate(over="ignore"):  # a temperature of almost nothing
        weights: np.ndarray = np.exp((scores - top) / s.temperature)
    if s.top_k is not None and s.top_k < len(weights):
        least = np.partition(weights, -s.top_k)[-s.top_k]
        weights = _keep(weights, _likeliest(weights, least)[: s.top_k])
    weights /= weights.sum()
    if s.top_p is not None and s.top_p < 1:
        # All tokens that are less likely than this do not reach 1 − top_p together.
        order = _likeliest(weights, (1 - s.top_p) / len(weights))
        reached = np.cumsum(weights[order])
        weights = _keep(weights, order[: np.searchsorted(reached, s.top_p) + 1])
    if s.min_p is not None:
        weights[weights < s.min_p * weights.max()] = 0
    weights /= weights.sum()
    return weights


def _likeliest(weights: np.ndarray, least: float) -> np.ndarray:
    """Return the ids of these weights or more, the largest first, and of equals the smaller id."""
    ids = np.flatnonzero(weights >= least)
    ordered: np.ndarray = ids[np.argsort(-weights[ids], kind="stable")]
    return ordered


def _keep(weights: np.ndarray, ids: np.ndarray) -> np.ndarray:
    kept = np.zeros_like(weights)
    kept[ids] = weights[ids]
    return kept


def sample_tokens(
    logits: Array,
    sampling: Sampling = GREEDY,
    *,
    rng: np.random.Generator | None = None,
    previous: Iterable[Iterable[int]] | None = None,
) -> np.ndarray:
    """Choose the next token of each text.

    Parameters
    ----------
    logits : array, shape (B, V)
    sampling : Sampling
        Left out, the likeliest token is taken.
    rng : numpy.random.Generator, optional
        Gives one number a text, in their order; needed where something is left to chance.
    previous : iterable of B iterables of int, optional
        The ids that stand in each text already, which the repetition penalty is for.

    Returns
    -------
    NumPy array of int64, shape (B,)

    Raises
    ------
    TypeError
        If `rng` is no NumPy generator, and as :func:`next_token_probabilities` does.
    ValueError
        If the shapes do not match, and as :func:`next_token_probabilities` does.
    """
    xp = array_namespace(logits=logits)
    require_floating(xp, logits=logits)
    if logits.ndim != 2:
        raise ValueError(f"logits must be (B, V), got shape {logits.shape}")
    texts: list[Any] = [()] * logits.shape[0] if previous is None else list(previous)
    if len(texts) != logits.shape[0]:
        raise ValueError(
            f"previous must be one for each of {logits.shape[0]} texts, got {len(texts)}"
        )
    if sampling.temperature > 0:
        check_generator(rng)
    seen = [_checked_ids(ids, logits.shape[1]) for ids in texts]
    rows = host_copy(logits)
    chosen = [choose_token(row, sampling, rng, ids) for row, ids in zip(rows, seen, strict=True)]
    return np.asarray(chosen, dtype=np.int64)


def check_generator(rng: object) -> None:
    """Raise unless it is a generator of NumPy's."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, got {type(rng).__name__}")


def choose_token(
    logits: np.ndarray, sampling: Sampling, rng: np.random.Generator | None, previous: np.ndarray
) -> int:
    """Choose the next token of one text, on the host."""
    if sampling.temperature == 0 and sampling.repetition_penalty == 1:
        token = int(logits.argmax())
        if not math.isfinite(logits[token]):
            raise ValueError(f"logits must be finite or −∞, and not all −∞, got {logits[token]}")
        return token
    probabilities = host_probabilities(logits, sampling, previous)
    if sampling.temperature == 0 or rng is None:
        return int(probabilities.argmax())
    # In the order of the ids: two devices may order tokens that are nearly equal differently.
    reached = np.cumsum(probabilities)
    token = int(np.searchsorted(reached, rng.random() * reached[-1], side="right"))
    return min(token, int(np.flatnonzero(probabilities)[-1]))
