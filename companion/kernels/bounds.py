"""Which rows need no shift before the exponential, known before there is a score."""

import math
from typing import Any

import numpy as np

from companion.kernels.reach import Reach

LOOSE = 60.0
"""The largest score, to base 2, that is exponentiated as it is (:prf:ref:`prop-softmax-bound`)."""
SAFE = 2.0**100
"""Scores whose bound is below this cannot overflow, nor can any sum on the way to them."""


class Bounds:
    """What bounds the scores and the mixtures of the rows of some heads.

    A row's bound takes the longest of the keys that it sees, the longest of their values, and the
    smallest entry of these. Where even all keys together say that no row needs a shift, the rows
    are not looked at one by one: each would say the same.
    """

    def __init__(self, key: Any, value: Any, length: int) -> None:
        self.value = value
        self.norms, self.sizes = norms(key), norms(value)  # (heads, S)
        self.longest, self.largest = (float(n.max(initial=0)) for n in (self.norms, self.sizes))
        self.finite = math.isfinite(self.largest) or bool(np.isfinite(value).all())
        # One key whose value has no small entry is enough for all rows that see it.
        self.first = float(np.abs(value[:, :1]).min(initial=np.inf))
        info = np.finfo(value.dtype)
        spare = math.log2(max(length, 1)) + 1
        self.most, self.least = info.maxexp - spare, -info.minexp - spare
        self.least_entries: Any = None
        self.tables: dict[str, list[Any]] = {}

    def limit(self, largest: Any, smallest: Any) -> Any:
        """Return the largest bound that needs no shift, for values of these sizes.

        Neither the sum of powers times values overflows, nor is a product so small that its
        rounding could be seen in the sum, however small the other entries of its column are.
        """
        high = np.minimum(LOOSE, self.most - np.log2(largest))
        return np.minimum(high, self.least + np.log2(smallest))

    def all_safe(self, lengths: Any) -> bool:
        """Say that no score of a query of these lengths can overflow, whatever it sees."""
        return float(lengths.max(initial=0)) * self.longest < SAFE

    def all_loose(self, lengths: Any, cap: float, bits: float, sees_first: bool) -> bool:
        """Say that no row with a query of these lengths needs a shift, whatever it sees.

        `sees_first` says that each row sees the first key, if it sees any.
        """
        bound = min(float(lengths.max(initial=0)) * self.longest, cap)
        if not self.all_safe(lengths) or not bits * bound <= self.limit(self.largest, math.inf):
            return False
        if sees_first and bits * bound <= self.limit(self.largest, self.first):
            return True
        return bool(bits * bound <= self.limit(self.largest, self.smallest().min(initial=np.inf)))

    def rows(
        self, lengths: Any, reach: Reach, first: int, visible: Any, cap: float, bits: float
    ) -> tuple[Any, Any]:
        """Say of each row whether it needs no shift, and whether no score can overflow: (n, T, 1).

        `visible` are the keys that a mask leaves to each row, or None; `first` is the number of
        the first row.
        """
        if visible is None:
            spans = reach.spans(range(first, first + lengths.shape[-1]), self.norms.shape[-1])
            longest = np.maximum(self._extreme("norms", *spans), 0)
        else:
            longest = np.where(visible, self.norms[:, None, :], 0).max(axis=-1, initial=0)
        limit: Any = LOOSE
        if visible is None and reach.left < 0:
            if self.limit(self.largest, self.first) < LOOSE:
                smallest = -self._extreme("smallest", *spans)
                smallest = np.maximum(smallest, np.where(spans[1] > 0, self.first, 0))
                limit = self.limit(self._extreme("largest", *spans), smallest)
        elif self.limit(self.largest, self.smallest().min(initial=np.inf)) < LOOSE:
            if visible is None:
                largest, smallest = (
                    self._extreme("largest", *spans),
                    self._extreme("smallest", *spans),
                )
                limit = self.limit(largest, -smallest)
            else:
                largest = np.where(visible, self.sizes[:, None, :], 0).max(axis=-1, initial=0)
                smallest = np.where(visible, self.smallest()[:, None, :], np.inf)
                limit = self.limit(largest, smallest.min(axis=-1, initial=np.inf))
        bound = lengths * longest
        loose = bits * np.minimum(bound, cap) <= limit
        safe = bound < SAFE
        return (loose & safe)[..., None], safe[..., None]

    def smallest(self) -> Any:
        """Return the smallest entry, 0 left out, of each value row."""
        if self.least_entries is None:
            size = np.abs(self.value)
            unsigned = np.dtype(f"u{size.itemsize}")
            least = np.subtract(size.view(unsigned), 1).min(axis=-1)  # 0 has become the largest
            found = (least + 1).view(size.dtype)
            self.least_entries = np.where(found == 0, np.inf, found)
        return self.least_entries

    def _extreme(self, name: str, low: Any, high: Any) -> Any:
        """Return the largest over the keys from low[i] to high[i] of every row i."""
        values = {"norms": self.norms, "largest": self.sizes}.get(name)
        values = -self.smallest() if values is None else values
        if (low == 0).all() and (high > 0).all():
            return np.maximum.accumulate(values, axis=-1)[..., high - 1]
        if name not in self.tables:
            self.tables[name] = table(values)
        return range_maximum(self.tables[name], low, high)


def table(values: Any) -> list[Any]:
    """Return the maxima over every 1, 2, 4, 8, … neighbours."""
    levels = [values]
    while 2 ** len(levels) <= values.shape[-1]:
        half = 2 ** (len(levels) - 1)
        levels.append(np.maximum(levels[-1][..., :-half], levels[-1][..., half:]))
    return levels


def range_maximum(levels: list[Any], low: Any, high: Any) -> Any:
    """Return the maximum over values[low[i]:high[i]] for every i, −∞ where that is empty."""
    width = high - low
    found = np.full((*levels[0].shape[:-1], len(low)), -np.inf, levels[0].dtype)
    for level, maxima in enumerate(levels):
        some = (width >= 2**level) & (width < 2 ** (level + 1))
        first, last = low[some], high[some] - 2**level
        found[..., some] = np.maximum(maxima[..., first], maxima[..., last])
    return found


def norms(rows: Any) -> Any:
    """Return the length of every row."""
    return np.sqrt(np.vecdot(rows, rows))
