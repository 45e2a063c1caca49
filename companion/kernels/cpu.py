"""The tiled form's inner loops on NumPy: two products and an exponential."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import array_api_compat.numpy as xp
import numpy as np

from companion.arrays import computing_dtype
from companion.kernels.reach import Reach, as_slice
from companion.kernels.textbook import textbook_attention

ROWS = 128
"""Queries of a tile."""
KEYS = 4096
"""Keys of a tile, in one head or together in several short ones: two megabytes of scores. Smaller
tiles would fit a nearer cache, but then the threads would wait for the interpreter more often."""
LEAST_TOTAL = 2.0**-60
"""The least sum of a row's exponentials below its bound. Where it is smaller, the scores lie so
far below the bound that exponentials which count may have rounded to 0."""
LEAST_MIXED = 2.0**-100
"""The least largest number of a row's sum of exponentials times values, below its bound. Where it
is smaller, such products may have rounded to 0."""


class Job(NamedTuple):
    """Some rows of the queries of n heads, which share one key head or have one each."""

    query: Any  # (n, T, d_k)
    key: Any  # (n or 1, S, d_k)
    value: Any  # (n or 1, S, d_v)
    mask: Any  # (n, T, S) or None
    reach: Reach
    scale: float
    softcap: float | None
    rows: range
    output: Any  # (n, T, d_v)


class Worker:
    """The loops of one thread, and the arrays that they fill again and again."""

    def __init__(self, job: Job, heads: int, rows: int) -> None:
        self.dtype = computing_dtype(np, job.query.dtype)
        width = job.query.shape[-1] + 1
        # What a query has in its last column is added to all its scores.
        self.keys = np.ones((heads, job.key.shape[-2], width), self.dtype)
        self.query = np.empty((heads, rows, width), self.dtype)
        self.mixed = np.empty((heads, rows, job.value.shape[-1]), self.dtype)
        self.total = np.empty((heads, rows, 1), self.dtype)
        self.scores = np.empty(heads * ROWS * min(KEYS, job.key.shape[-2]), self.dtype)
        self.ones = np.ones((KEYS, 1), self.dtype)
        self.earlier = np.tri(ROWS, k=-1, dtype=bool)  # column < row
        self.later = ~self.earlier
        self.lowest = np.finfo(self.dtype).min

    def fill(self, job: Job) -> None:
        """Compute the job's rows of the output, each in the fastest way that is safe for it.

        Which way that is depends on the row, on the keys it sees, and on whether all values are
        finite. A way computes whole tiles, so that a row's bits do not depend on what its
        neighbours need.
        """
        self.job = job
        self.heads, self.length = len(job.query), job.key.shape[-2]
        self.value = np.ascontiguousarray(job.value, self.dtype)
        # A value that is not finite reaches every query of its head, so no key can be left out.
        self.finite = bool(np.isfinite(self.value).all())
        seen = as_slice(job.reach.keys(job.rows, self.length))
        keys = self.keys[: len(job.key), seen]
        keys[..., :-1] = job.key[:, seen]
        plain = job.mask is None and job.softcap is None and job.reach.left < 0
        done = np.zeros((self.heads, len(job.rows), 1), bool)
        with np.errstate(all="ignore"):  # a row that overflows on one way goes another
            if self.finite and plain and keys.shape[-2] > 0:
                self._load_queries(np.maximum.accumulate(_norms(keys[..., :-1]), axis=-1))
                self._attend(done, online=False)
            if self.finite and not done.all():
                self._load_queries(None)
                self._attend(done, online=True)
            self._follow_equation(done)

    def _load_queries(self, longest: Any) -> None:
        """Scale the queries, and put minus the bounds of their scores into the last column."""
        job = self.job
        query = self.query[: self.heads, : len(job.rows)]
        given = job.query[:, as_slice(job.rows)]
        np.multiply(given, job.scale, out=query[..., :-1], dtype=self.dtype)
        if longest is None:
            query[..., -1] = 0
        elif job.reach.right < 0:
            np.multiply(_norms(query[..., :-1]), -longest[:, -1:], out=query[..., -1])
        else:
            first = job.reach.offset + job.reach.right
            last = np.arange(job.rows.start, job.rows.stop) + first
            last = np.clip(last, 0, longest.shape[-1] - 1)
            np.multiply(_norms(query[..., :-1]), -longest[:, last], out=query[..., -1])

    def _tiles(self, done: Any) -> Iterator[tuple[range, slice]]:
        """Go through the tiles with a row to do: its rows, and their places in the arrays."""
        for start in self.job.rows[::ROWS]:
            rows = range(start, min(start + ROWS, self.job.rows.stop))
            here = slice(start - self.job.rows.start, rows.stop - self.job.rows.start)
            if not done[:, here].all():
                yield rows, here

    def _attend(self, done: Any, *, online: bool) -> None:
        """Mix the values with the exponentials of the scores, and keep the rows that come out."""
        rows = slice(len(self.job.rows))
        query, mixed, total = (
            array[: self.heads, rows] for array in (self.query, self.mixed, self.total)
        )
        for tile, here in self._tiles(done):
            self._mix(tile, query[:, here], mixed[:, here], total[:, here], online)
        kept = total >= LEAST_TOTAL
        if online:
            kept |= total == 0  # every key is hidden, and the mixture is 0
            total[total == 0] = 1
        else:
            kept &= np.abs(mixed).max(axis=-1, keepdims=True) >= LEAST_MIXED
        output = self.job.output[:, as_slice(self.job.rows)]
        fresh = not done.any()  # then rows that are not kept are written over later
        mixed = np.divide(mixed, total, out=output if fresh else mixed, casting="same_kind")
        kept &= np.isfinite(mixed).all(axis=-1, keepdims=True)
        if not fresh:
            np.copyto(output, mixed, where=kept & ~done, casting="same_kind")
        done |= kept

    def _mix(self, rows: range, query: Any, mixed: Any, total: Any, online: bool) -> None:
        """Sum exp(score) · value and exp(score) over the keys that the rows see.

        With its bound in the query every score is at most 0 as it comes. Without, `online`
        subtracts the largest score so far, and shrinks the sums when that grows.
        """
        keys = self.job.reach.keys(rows, self.length)
        largest = self.lowest
        if len(keys) == 0:
            mixed[:], total[:] = 0, 0
        for first in keys[::KEYS]:
            some = range(first, min(first + KEYS, keys.stop))
            shape = (self.heads, len(rows), len(some))
            scores = self.scores[: math.prod(shape)].reshape(shape)
            np.matmul(query, self.keys[: len(self.value), as_slice(some)].mT, out=scores)
            self._hide(rows, some, scores)
            if online:
                top = np.maximum(scores.max(axis=-1, keepdims=True), self.lowest)
                if first > keys.start:
                    top = np.maximum(top, largest)
                    shrink = np.exp(largest - top)
                    mixed *= shrink
                    total *= shrink
                largest = top
                scores -= largest
            np.exp(scores, out=scores)
            value = self.value[:, as_slice(some)]
            if first == keys.start:
                np.matmul(scores, value, out=mixed)
                np.matmul(scores, self.ones[: len(some)], out=total)
            else:
                mixed += scores @ value
                total += scores @ self.ones[: len(some)]

    def _hide(self, rows: range, keys: range, scores: Any) -> None:
        """Cap the scores, add a float mask, and put −∞ wherever a row must not look."""
        job = self.job
        if job.softcap is not None:
            scores /= job.softcap
            np.tanh(scores, out=scores)
            scores *= job.softcap
        if job.mask is not None:
            mask = job.mask[:, as_slice(rows), as_slice(keys)]
            if mask.dtype == bool:
                np.copyto(scores, -np.inf, where=~mask)
            else:
                scores += mask.astype(self.dtype, copy=False)
                np.copyto(scores, -np.inf, where=mask == -np.inf)
        offset, left, right = job.reach
        if right >= 0:  # row r of the tile sees what comes before column r of this square
            begin = rows.start + offset + right + 1
            self._hide_square(scores, keys, range(begin, keys.stop), self.later)
        if left >= 0:  # and from column r of this one on
            begin = rows.start + offset - left
            end = min(begin + len(rows), keys.stop)
            self._hide_square(scores, keys, range(begin, end), self.earlier)

    def _hide_square(self, scores: Any, keys: range, square: range, hidden: Any) -> None:
        """Put −∞ where a square of rows and keys is hidden, as far as it lies in the tile."""
        some = range(max(square.start, keys.start), square.stop)
        if len(some) > 0:
            part = scores[..., some.start - keys.start : some.stop - keys.start]
            columns = slice(some.start - square.start, some.stop - square.start)
            np.copyto(part, -np.inf, where=hidden[: scores.shape[-2], columns])

    def _follow_equation(self, done: Any) -> None:
        """Compute the rows that are left as the textbook form does."""
        job = self.job
        for rows, here in self._tiles(done):
            keys = job.reach.keys(rows, self.length) if self.finite else range(self.length)
            masks = job.reach.masks(xp, None, rows, keys)
            if job.mask is not None:
                masks.append(job.mask[:, as_slice(rows), as_slice(keys)])
            query = job.query[:, as_slice(rows)]
            parts = (query, job.key[:, as_slice(keys)], job.value[:, as_slice(keys)])
            mixed, _ = textbook_attention(xp, *parts, masks, job.scale, job.softcap)
            np.copyto(job.output[:, as_slice(rows)], mixed, where=~done[:, here])


def _norms(rows: Any) -> Any:
    return np.sqrt(np.vecdot(rows, rows))
