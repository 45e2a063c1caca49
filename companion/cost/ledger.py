"""What attention costs, from its shapes alone: FLOPs, bytes moved and peak memory.

A ledger is a dict of steps in the order in which they run; :func:`total` adds it up. One
multiply-add is two FLOPs, an exponential or another entrywise operation is one. Bytes are moved
between memory and the arithmetic: every array operation reads its arguments once and writes its
result once. Left out is what is small beside them: biases, norms, residual sums, the scale.

In every function `queries` is T, the tokens that are computed, and `keys` is S, the tokens they
attend to; both are at least 1, or a ValueError is raised.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from typing import Any

__all__ = [
    "Cost",
    "Sizes",
    "attention",
    "block",
    "feed_forward",
    "least_time",
    "product",
    "projections",
    "recurrence",
    "scores",
    "softmax",
    "tiled_attention",
    "total",
    "weighted_values",
    "windowed_attention",
]

# Array operations of companion.softmax: maximum, clamp, difference, exponential, sum, quotient.
SOFTMAX_FLOPS, SOFTMAX_CROSSINGS = 6, 10  # the maximum and the sum write next to nothing
# And of companion.gelu: two scalings, the error function, a product of two arrays.
GELU_FLOPS, GELU_CROSSINGS, GELU_ARRAYS = 4, 9, 4

LEFT_OUT: Any = None  # until a size is made: whoever reads it finds a number


@dataclass(frozen=True)
class Cost:
    """What a step takes.

    Attributes
    ----------
    flops : int
        Floating-point operations.
    moved : int
        Bytes read from memory and written to it.
    peak : int
        The most bytes that exist at once beside the arguments, the result included.
    """

    flops: int
    moved: int
    peak: int

    @property
    def intensity(self) -> float:
        """FLOPs for each byte that is moved."""
        return self.flops / self.moved


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of a model that its costs depend on.

    Attributes
    ----------
    width, heads : int
        d and H.
    kv_heads, d_k, d_v, hidden : int
        H_kv, d_k, d_v and d_ff; left out, they are H, d / H, d_k and 4·d.
    batch : int
        Sequences side by side. Weights are read once for all of them, keys and values are not.
    itemsize : int
        Bytes of a number: 4 for float32, 2 for float16.

    Raises
    ------
    TypeError
        If a size is no integer.
    ValueError
        If a size is not positive, or H_kv does not divide H.
    """

    width: int
    heads: int = 1
    kv_heads: int = LEFT_OUT
    d_k: int = LEFT_OUT
    d_v: int = LEFT_OUT
    hidden: int = LEFT_OUT
    batch: int = 1
    itemsize: int = 4

    def __post_init__(self) -> None:
        width, heads = _checked(width=self.width, heads=self.heads)
        d_k = width // heads if self.d_k is None else self.d_k
        defaults = {"kv_heads": heads, "d_k": d_k, "d_v": d_k, "hidden": 4 * width}
        for name, size in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, size)
        names = [field.name for field in fields(self)]
        for name, size in zip(names, _checked(**{n: getattr(self, n) for n in names}), strict=True):
            object.__setattr__(self, name, size)
        if self.heads % self.kv_heads != 0:
            raise ValueError(f"kv_heads must divide heads={self.heads}, got {self.kv_heads}")


def total(steps: Mapping[str, Cost]) -> Cost:
    """Add up a ledger: operations and bytes are summed, of the peaks the highest counts."""
    if not steps:
        raise ValueError("steps must hold at least one step, got none")
    flops, moved, peaks = zip(*((c.flops, c.moved, c.peak) for c in steps.values()), strict=True)
    return Cost(sum(flops), sum(moved), max(peaks))


def least_time(cost: Cost, *, flop_rate: float, bandwidth: float) -> float:
    """Return the seconds below which no machine with these two limits gets.

    This is :eq:`eq-roofline`, after Williams, Waterman and Patterson, *Roofline*, 2009.

    Parameters
    ----------
    cost : Cost
    flop_rate, bandwidth : float
        FLOPs and bytes a second at most; ValueError if one is not positive.
    """
    for name, rate in (("flop_rate", flop_rate), ("bandwidth", bandwidth)):
        if not rate > 0:
            raise ValueError(f"{name} must be positive, got {rate}")
    return max(cost.flops / flop_rate, cost.moved / bandwidth)


def product(rows: int, inner: int, columns: int, *, times: int = 1, itemsize: int = 4) -> Cost:
    """Count matrix products (rows, inner) · (inner, columns) (:eq:`eq-product-cost`).

    `times` is how many there are, with matrices of their own; each does
    2·rows·inner·columns FLOPs.
    """
    rows, inner, columns, times, itemsize = _checked(
        rows=rows, inner=inner, columns=columns, times=times, itemsize=itemsize
    )
    numbers = rows * inner + inner * columns + rows * columns
    return Cost(
        flops=2 * times * rows * inner * columns,
        moved=itemsize * times * numbers,
        peak=itemsize * times * rows * columns,
    )


def projections(queries: int, sizes: Sizes) -> dict[str, Cost]:
    """Count the three products of all heads with :math:`X`, each as one (:eq:`eq-projections`)."""
    s = sizes
    columns = {"queries": s.heads * s.d_k, "keys": s.kv_heads * s.d_k, "values": s.kv_heads * s.d_v}
    steps, kept = dict[str, Cost](), 0  # bytes that the earlier ones made
    for name, wide in columns.items():
        step = product(s.batch * queries, s.width, wide, itemsize=s.itemsize)
        steps[name] = _beside(step, kept)
        kept += step.peak
    return steps


def scores(queries: int, keys: int, sizes: Sizes) -> Cost:
    """Count Q Kᵀ (:eq:`eq-scaled-scores`): 2·H·T·S·d_k FLOPs; shared keys are read once."""
    s = sizes
    shared = s.heads // s.kv_heads * queries
    return product(shared, s.d_k, keys, times=s.batch * s.kv_heads, itemsize=s.itemsize)


def softmax(queries: int, keys: int, sizes: Sizes) -> Cost:
    """Count :func:`companion.softmax` of the scores (:eq:`eq-softmax`).

    Six array operations go over all H·T·S scores: they read six times and write four times. A fused
    softmax would read once and write once.
    """
    queries, keys = _checked(queries=queries, keys=keys)
    entries = sizes.batch * sizes.heads * queries * keys
    size = sizes.itemsize * entries
    return Cost(SOFTMAX_FLOPS * entries, SOFTMAX_CROSSINGS * size, 2 * size)


def weighted_values(queries: int, keys: int, sizes: Sizes) -> Cost:
    """Count W V (:eq:`eq-weighted-values`): 2·H·T·S·d_v FLOPs."""
    s = sizes
    shared = s.heads // s.kv_heads * queries
    return product(shared, keys, s.d_v, times=s.batch * s.kv_heads, itemsize=s.itemsize)


def attention(queries: int, keys: int, sizes: Sizes) -> dict[str, Cost]:
    """Count the textbook form, with all T×S weights in memory (:prf:ref:`prop-attention-cost`).

    The scores stay in memory to the end, so the peak is 3·H·T·S numbers where d_v is at most S. A
    mask saves nothing: it hides scores that were computed. Mask and masked scores, one more array
    of H·T·S numbers at the peak, are not counted.
    """
    compared = scores(queries, keys, sizes)
    return {
        "scores": compared,
        "softmax": _beside(softmax(queries, keys, sizes), compared.peak),
        "weighted values": _beside(weighted_values(queries, keys, sizes), 2 * compared.peak),
    }


def tiled_attention(
    queries: int,
    keys: int,
    sizes: Sizes,
    *,
    tile: tuple[int, int] = (128, 1024),
    is_causal: bool = False,
) -> Cost:
    """Count attention in tiles, whose scores never leave the fast memory.

    `tile` is how many queries meet how many keys at once. For each tile of queries all keys and
    values it may see are read once more, and the weights are never written. The peak is the output
    and the scores of one tile. With `is_causal` the keys behind a tile's last query are left out.
    Each head reads keys and values for itself.
    """
    height, width = tile
    queries, keys, height, width = _checked(
        queries=queries, keys=keys, tile_queries=height, tile_keys=width
    )
    s = sizes
    rows = [min(height, queries - start) for start in range(0, queries, height)]
    seen = [min(end, keys) if is_causal else keys for end in accumulate(rows)]
    pairs = sum(row * visible for row, visible in zip(rows, seen, strict=True))
    times = s.batch * s.heads
    return Cost(
        flops=times * pairs * (2 * s.d_k + 2 * s.d_v + SOFTMAX_FLOPS),
        moved=s.itemsize * times * (queries + sum(seen)) * (s.d_k + s.d_v),
        peak=s.itemsize * (times * queries * s.d_v + rows[0] * min(width, keys)),
    )


def windowed_attention(length: int, sizes: Sizes, *, left: int) -> Cost:
    """Count causal attention that computes no score outside its window (:eq:`eq-window-pairs`).

    Token i sees itself and the `left` tokens before it, as far as there are any.
    """
    (length,) = _checked(length=length)
    if left < 0:
        raise ValueError(f"left must not be negative, got {left}")
    s = sizes
    widest = min(left + 1, length)
    times = s.batch * s.heads
    pairs = times * (widest * length - widest * (widest - 1) // 2)
    ends = times * length * (s.d_k + s.d_v)  # queries and output; as much again, keys and values
    return Cost(
        flops=pairs * (2 * s.d_k + 2 * s.d_v + SOFTMAX_FLOPS),
        moved=s.itemsize * ((2 + SOFTMAX_CROSSINGS) * pairs + 2 * ends),
        peak=s.itemsize * 3 * pairs,
    )


def feed_forward(queries: int, sizes: Sizes) -> dict[str, Cost]:
    """Count the feed-forward network with :func:`companion.gelu` (:eq:`eq-feed-forward`)."""
    s, rows = sizes, sizes.batch * queries
    widened = product(rows, s.width, s.hidden, itemsize=s.itemsize)
    hidden = widened.peak
    bent = Cost(GELU_FLOPS * hidden // s.itemsize, GELU_CROSSINGS * hidden, GELU_ARRAYS * hidden)
    narrowed = product(rows, s.hidden, s.width, itemsize=s.itemsize)
    return {"widen": widened, "bend": bent, "narrow": _beside(narrowed, hidden)}


def block(queries: int, keys: int, sizes: Sizes) -> dict[str, Cost]:
    """Count a transformer block: T new tokens that attend to S, themselves and cached ones.

    ``block(N, N, sizes)`` is a prefill, ``block(1, N, sizes)`` one decoding step with a cache.
    """
    s = sizes
    projected = projections(queries, s)
    kept = projected["values"].peak  # queries, keys and values
    attended = {name: _beside(step, kept) for name, step in attention(queries, keys, s).items()}
    output = product(s.batch * queries, s.heads * s.d_v, s.width, itemsize=s.itemsize)
    return projected | attended | {"output projection": output} | feed_forward(queries, s)


def recurrence(length: int, sizes: Sizes) -> dict[str, Cost]:
    """Count a recurrent network as wide as the model (:eq:`eq-recurrence`), with all its states.

    ``"inputs"`` is X W in one product; each of the N ``"steps"`` is a product that reads U anew.
    """
    s = sizes
    inputs = product(s.batch * length, s.width, s.width, itemsize=s.itemsize)
    step = product(s.batch, s.width, s.width, itemsize=s.itemsize)
    entrywise = 2 * inputs.peak // s.itemsize
    steps = Cost(length * step.flops + entrywise, length * step.moved, inputs.peak)
    return {"inputs": inputs, "steps": _beside(steps, inputs.peak)}


def _beside(cost: Cost, kept: int) -> Cost:
    """Add what stays in memory while a step runs."""
    return replace(cost, peak=cost.peak + kept)


def _checked(**sizes: Any) -> list[int]:
    """Return the sizes as Python's integers, whose products never overflow, or raise."""
    checked = []
    for name, size in sizes.items():
        try:
            number = operator.index(size)
        except TypeError:
            raise TypeError(f"{name} must be an integer, got {type(size).__name__}") from None
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
        checked.append(number)
    return checked
