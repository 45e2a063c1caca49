"""The tiled form's inner loops on NumPy: two products and an exponential."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import array_api_compat.numpy
import numpy as np

from companion.arrays import Namespace, computing_dtype
from companion.kernels import exponential
from companion.kernels.bounds import SAFE, Bounds, norms
from companion.kernels.reach import Reach, as_slice
from companion.kernels.textbook import textbook_attention

xp = cast(Namespace, array_api_compat.numpy)

ROWS = 512
"""Queries of a tile."""
KEYS = 256
"""Keys of a tile: half a megabyte of scores, which leaves room in the second cache of a core."""
STRIP = 128
"""Keys of a tile on the edge of what its rows see."""
TURNED = 1024
"""Queries from which on it pays to lay out the keys anew, one column a key."""
KEPT = 2**19
"""Numbers of an array that a worker keeps for the next call."""
EQUATION = 2**18
"""Scores at once where a row is computed as the equation reads."""


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
    sums: Any = None  # (2, n, T, 1), for those who want a row's top and total too


class Piece(NamedTuple):
    """Some rows of a tile and keys that each of them sees, but for a triangle at either end."""

    rows: range
    keys: range
    behind: int | None = None  # the row that sees the first of these keys, and no later one
    before: int | None = None  # the row that sees all from the first of these keys on


class Worker:
    """The loops of one thread, and the arrays that they fill again and again."""

    # Of the job that is filled, and None between two of them.
    job: Any
    key: Any
    value: Any
    bounds: Any

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(computing_dtype(np, dtype))
        self.rooms: dict[str, Any] = {}
        self.ones = np.ones((max(KEYS, STRIP), 1), self.dtype)
        self.info = np.finfo(self.dtype)
        self.behind = exponential.as_bits(np.tri(STRIP, dtype=bool), self.dtype)  # column ≤ row
        self.before = np.ascontiguousarray(self.behind.T)  # column ≥ row

    def room(self, name: str, *shape: int, dtype: Any = None) -> Any:
        """Return an array to be filled, in the memory of the last one of that name."""
        size, room = math.prod(shape), self.rooms.get(name)
        if room is None or room.size < size:
            room = self.rooms[name] = np.empty(size, dtype or self.dtype)
        return room[:size].reshape(shape)

    def forget(self) -> None:
        """Let go of the last job's arrays, and of memory that a short call would not need."""
        self.job = self.key = self.value = self.bounds = None
        self.rooms = {name: room for name, room in self.rooms.items() if room.size <= KEPT}

    def fill(self, job: Job) -> None:
        """Compute the job's rows of the output, each in the fastest way that is safe for it.

        Which way that is depends on the row, on the keys it sees and their values, and on whether
        all values are finite. All rows of a tile go through the same products, so that no row's
        bits depend on what its neighbours need.
        """
        self.job, self.base = job, exponential.choose(self.dtype, job.mask)
        self.heads, self.length = len(job.query), job.key.shape[-2]
        seen = job.reach.keys(job.rows, self.length)
        self.first = seen.start
        key = np.asarray(job.key[:, as_slice(seen)], self.dtype)
        self.key = key.mT
        if len(job.rows) >= TURNED and self.key.strides[-1] != self.key.itemsize:
            self.key = self.room("key", *self.key.shape)
            np.copyto(self.key, key.mT)
        self.value = np.ascontiguousarray(job.value[:, as_slice(seen)], self.dtype)
        with np.errstate(all="ignore"):  # a row that overflows on one way goes another
            self.bounds = Bounds(key, self.value, self.length)
            # A value that is not finite reaches every query of its head, seen or not.
            finite = self.bounds.finite and (
                len(seen) == self.length or bool(np.isfinite(job.value).all())
            )
            for start in job.rows[::ROWS]:
                rows = range(start, min(start + ROWS, job.rows.stop))
                done = self._tile(rows) if finite else np.zeros((self.heads, len(rows), 1), bool)
                if not done.all():
                    if job.sums is not None:
                        np.copyto(job.sums[:, :, as_slice(rows)], np.nan, where=~done)
                    self._follow_equation(rows, done, finite)

    def _tile(self, rows: range) -> Any:
        """Compute the rows of one tile, and say which of them came out."""
        job = self.job
        query = self.room("query", self.heads, len(rows), job.query.shape[-1])
        factor = job.scale * (self.base.factor if job.softcap is None else 1 / job.softcap)
        np.multiply(job.query[:, as_slice(rows)], factor, out=query, dtype=self.dtype)
        loose, safe = self._ways(rows, query)
        self.unit: Any = self.dtype.type(1)
        if loose is not None and job.softcap is None and self.base.factor != 1:
            # Long scores would lose digits by another factor: their distances get it later.
            self.unit, factors = self.dtype.type(self.base.factor), job.scale
            if loose.any():
                self.unit = np.where(loose, 1, self.base.factor).astype(self.dtype)
                factors = np.where(loose, factor, job.scale).astype(self.dtype)
            np.multiply(job.query[:, as_slice(rows)], factors, out=query, dtype=self.dtype)
        mixed = self.room("mixed", self.heads, len(rows), self.value.shape[-1])
        total = self.room("total", self.heads, len(rows), 1)
        largest = None if loose is None else np.where(loose, 0, self.info.min).astype(self.dtype)
        begun = False
        for piece in self._pieces(rows):
            here = slice(piece.rows.start - rows.start, piece.rows.stop - rows.start)
            if not begun and len(piece.rows) < len(rows):
                begun, mixed[:], total[:] = True, 0, 0
            scores = self._scores(piece, query[:, here])
            if largest is None:
                self.base.power(scores, out=scores)
                self._hide(piece, scores, exponential.remove)
            else:
                unit = self.unit if self.unit.ndim == 0 else self.unit[:, here]
                shrink = self._shift(piece, scores, largest[:, here], loose[:, here], unit)
                if begun:
                    mixed[:, here] *= shrink
                    total[:, here] *= shrink
            self._mix(piece, scores, mixed[:, here], total[:, here], begun)
            begun = True
        if not begun:
            mixed[:], total[:] = 0, 0
        if job.sums is not None:
            self._keep_sums(rows, largest, total)
        hidden = total == 0
        if hidden.any():
            total[hidden] = 1
        output = job.output[:, as_slice(rows)]
        if largest is None:
            np.divide(mixed, total, out=output, casting="same_kind")
            return np.True_
        done = safe & (loose | hidden | (np.abs(largest) < SAFE))
        np.divide(mixed, total, out=mixed)
        np.copyto(output, mixed, casting="same_kind")
        return done & np.isfinite(mixed).all(axis=-1, keepdims=True)

    def _keep_sums(self, rows: range, largest: Any, total: Any) -> None:
        """Write down each row's top and the sum of exp(score − top), whatever they were made of."""
        tops, totals = self.job.sums[:, :, as_slice(rows)]
        if largest is None:
            tops[:], totals[:] = 0, total
        else:
            unit = 1 if self.job.softcap is None else self.base.factor
            np.multiply(total, 2, out=totals)  # the powers were halved
            tops[:] = np.where(total == 0, 0, largest / unit)

    def _ways(self, rows: range, query: Any) -> tuple[Any, Any]:
        """Say which rows need no shift, and which cannot overflow; None means all of them."""
        job = self.job
        lengths = norms(query)  # below a cap they are those of the scores over the cap
        cap, unit = math.inf, self.base.bits
        if job.softcap is not None:
            lengths, cap, unit = lengths * job.softcap, job.softcap, math.log2(math.e)
        adds = job.mask is not None and job.mask.dtype != bool
        self.tame = self.bounds.all_safe(lengths)
        if adds and self.tame:
            return np.zeros((*lengths.shape, 1), bool), np.True_
        sees_first = job.mask is None and job.reach.left < 0
        if not adds and self.bounds.all_loose(lengths, cap, unit, sees_first):
            return None, np.True_
        visible = None
        if job.mask is not None:
            keys = range(self.first, self.first + self.key.shape[-1])
            mask = job.mask[:, as_slice(rows), as_slice(keys)]
            visible = mask > -np.inf if adds else mask
            for placed in job.reach.masks(xp, None, rows, keys):
                visible = visible & placed
        reach = job.reach._replace(offset=job.reach.offset - self.first)
        loose, safe = self.bounds.rows(lengths, reach, rows.start, visible, cap, unit)
        return (np.zeros_like(loose) if adds else loose), safe

    def _pieces(self, rows: range) -> Iterator[Piece]:
        """Cut what the rows see: first what all of them see, then strips along the edges."""
        offset, left, right = self.job.reach
        seen = self.job.reach.keys(rows, self.length)
        begin, end = seen.start, seen.stop
        if left >= 0:
            begin = max(begin, rows.stop - 1 + offset - left)
        if right >= 0:
            end = min(end, rows.start + offset + right)
        if begin >= end:
            begin = end = seen.start
        for start in range(begin, end, KEYS):
            yield Piece(rows, range(start, min(start + KEYS, end)))
        for edge in (range(seen.start, begin), range(end, seen.stop)):
            for start in edge[::STRIP]:
                keys = range(start, min(start + STRIP, edge.stop))
                behind = before = None
                first, last = rows.start, rows.stop
                if right >= 0:
                    behind = start - offset - right
                    first = max(first, behind)
                if left >= 0:
                    before = start + left - offset
                    last = min(last, before + len(keys))
                if first < last:
                    yield Piece(range(first, last), keys, behind, before)

    def _scores(self, piece: Piece, query: Any) -> Any:
        """Multiply, cap, and add a float mask."""
        job, keys = self.job, self._keys(piece)
        scores = self.room("scores", self.heads, len(piece.rows), len(piece.keys))
        np.matmul(query, self.key[..., keys], out=scores)
        if job.softcap is not None:
            np.tanh(scores, out=scores)
            scores *= job.softcap * self.base.factor
        if job.mask is not None and job.mask.dtype != bool:
            scores += self._mask(piece).astype(self.dtype, copy=False)
        return scores

    def _keys(self, piece: Piece) -> slice:
        return slice(piece.keys.start - self.first, piece.keys.stop - self.first)

    def _mask(self, piece: Piece) -> Any:
        """Cut out the mask of a piece, once where it is the same for several heads or rows."""
        mask = self.job.mask[:, as_slice(piece.rows), as_slice(piece.keys)]
        heads, rows = (slice(1) if step == 0 else slice(None) for step in mask.strides[:2])
        return mask[heads, rows]

    def _hide(self, piece: Piece, scores: Any, hide: Any) -> None:
        """Do with every score that a row must not see what `hide` does, given the visible bits."""
        mask = None if self.job.mask is None else self._mask(piece)
        if mask is not None and mask.dtype != bool:
            # What was added hides already, unless a score that is not finite does not mind.
            mask = None if self.tame else mask > -np.inf
        if mask is not None:
            hide(scores, exponential.as_bits(mask, self.dtype))
        for row, visible in ((piece.behind, self.behind), (piece.before, self.before)):
            if row is not None:
                first = max(row, piece.rows.start)
                last = min(row + len(piece.keys), piece.rows.stop)
                if first < last:
                    part = scores[:, first - piece.rows.start : last - piece.rows.start]
                    hide(part, visible[first - row : last - row, : len(piece.keys)])

    def _shift(self, piece: Piece, scores: Any, largest: Any, loose: Any, unit: Any) -> Any:
        """Exponentiate below the largest score so far, but for rows that need no shift.

        Returns what the sums so far are to be multiplied by.
        """
        self._hide(piece, scores, exponential.cover)
        # In rows this short NumPy finds where the largest is twice as fast as what it is.
        flat = scores.reshape(-1, scores.shape[-1])
        top = flat[np.arange(len(flat)), flat.argmax(axis=-1)].reshape(largest.shape)
        np.maximum(top, largest, out=top)
        np.copyto(top, 0, where=loose)
        shrink = self.base.power((largest - top) * unit)
        largest[:] = top
        exponential.below_largest(self.base, scores, top, unit)
        return shrink

    def _mix(self, piece: Piece, powers: Any, mixed: Any, total: Any, begun: bool) -> None:
        """Add the powers times the values, and the powers."""
        value, ones = self.value[:, self._keys(piece)], self.ones[: len(piece.keys)]
        if begun:
            mixed += np.matmul(powers, value, out=self.room("part", *mixed.shape))
            total += powers @ ones
        else:
            np.matmul(powers, value, out=mixed)
            np.matmul(powers, ones, out=total)

    def _follow_equation(self, rows: range, done: Any, finite: bool) -> None:
        """Compute the rows of a tile that are left as the textbook form does."""
        job = self.job
        step = max(1, EQUATION // (self.heads * self.length))
        for start in rows[::step]:
            some = range(start, min(start + step, rows.stop))
            here = slice(some.start - rows.start, some.stop - rows.start)
            if done[:, here].all():
                continue
            keys = job.reach.keys(some, self.length) if finite else range(self.length)
            masks = job.reach.masks(xp, None, some, keys)
            if job.mask is not None:
                masks.append(job.mask[:, as_slice(some), as_slice(keys)])
            query, seen = job.query[:, as_slice(some)], as_slice(keys)
            key, value = job.key[:, seen], job.value[:, seen]
            given = (query, key, value, masks, job.scale, job.softcap)
            mixed: Any = textbook_attention(xp, *given)[0]
            np.copyto(job.output[:, as_slice(some)], mixed, where=~done[:, here])
