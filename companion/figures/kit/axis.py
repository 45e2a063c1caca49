"""The scales of a plot: where a value lies along an axis, and which values are marked there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Axis", "choose_axis", "power_of_ten", "tick_texts"]

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MOST_TICKS = 7


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`, linear or logarithmic, with its marked values."""

    low: float
    high: float
    logarithmic: bool
    ticks: tuple[float, ...]

    def fraction(self, value: float) -> float:
        """Return where a value lies, 0 at the low end and 1 at the high end."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def choose_axis(
    values: np.ndarray,
    *,
    logarithmic: bool,
    limits: tuple[float, float] | None = None,
    ticks: Sequence[float] | None = None,
) -> Axis:
    """Choose limits that hold all values, and the values marked between them, if not given."""
    low, high = (float(values.min()), float(values.max())) if limits is None else limits
    if low == high:
        low, high = (low / 2, high * 2) if logarithmic else (low - 0.5, high + 0.5)
    if ticks is None:
        ticks = _log_ticks(values, low, high) if logarithmic else _linear_ticks(low, high)
    if limits is None:
        low, high = _widened(low, high, ticks, logarithmic)
    axis = Axis(low, high, logarithmic, ())
    kept = tuple(float(tick) for tick in ticks if -1e-9 <= axis.fraction(tick) <= 1 + 1e-9)
    return Axis(low, high, logarithmic, kept)


def _widened(
    low: float, high: float, ticks: Sequence[float], logarithmic: bool
) -> tuple[float, float]:
    """Move the ends to the next marked values, or on a logarithmic axis to those that are near."""
    if not logarithmic:
        return min(low, *ticks), max(high, *ticks)
    room = (high / low) ** 0.04
    ends = [low / room, high * room] + [tick for tick in ticks if low / 3 <= tick <= high * 3]
    return min(ends), max(ends)


def tick_texts(axis: Axis) -> list[str]:
    """Write the marked values: plainly, or as powers of ten where some are very large or small."""
    powers = any(tick != 0 and not 1e-3 <= abs(tick) < 1e5 for tick in axis.ticks)
    return [_tick_text(tick, powers) for tick in axis.ticks]


def _tick_text(value: float, powers: bool) -> str:
    if powers and value not in (0.0, 1.0):
        exponent = math.floor(math.log10(abs(value)) + 1e-9)
        factor = f"{value / 10.0**exponent:.3g}".replace("-", "−")
        power = power_of_ten(exponent)
        return power if factor == "1" else f"{factor}·{power}"
    return f"{value:.10g}".replace("-", "−")


def power_of_ten(exponent: int) -> str:
    """Write a power of ten with its exponent raised."""
    return f"10{str(exponent).translate(_SUPERSCRIPTS)}"


def _linear_ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0)), key=lambda s: abs(s - rough))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _log_ticks(values: np.ndarray, low: float, high: float) -> list[float]:
    """Mark the values themselves where they are powers of two, and powers of ten otherwise."""
    exponents = np.log2(values)
    base = 2.0 if np.array_equal(exponents, np.round(exponents)) and high / low < 1e4 else 10.0
    first = math.floor(math.log(low, base) + 1e-9)
    last = math.ceil(math.log(high, base) - 1e-9)
    step = math.ceil((last - first + 1) / MOST_TICKS)
    return [base**i for i in range(first, last + 1, step)]
