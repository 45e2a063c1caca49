"""Which exponential the tiled form takes here, and what it knows of the bits of a float."""

import functools
import math
from typing import Any, NamedTuple

import numpy as np


class Base(NamedTuple):
    """The exponential to a base, for scores that were multiplied by `factor` beforehand."""

    power: np.ufunc
    factor: float
    """The logarithm of e to the base."""
    bits: float
    """The logarithm of the base to base 2."""


NATURAL = Base(np.exp, 1.0, math.log2(math.e))
BINARY = Base(np.exp2, math.log2(math.e), 1.0)
BASES = (NATURAL, BINARY)


def choose(dtype: Any, mask: Any = None) -> Base:
    """Choose the exponential for scores of this dtype, to which such a mask is added.

    A float mask may be −10,000 in a whole row, and times a logarithm it would be rounded.
    """
    return NATURAL if mask is not None and mask.dtype != bool else fastest(dtype)


@functools.cache
def fastest(dtype: Any) -> Base:
    """Choose the faster exponential, once in a process, so that results repeat.

    Where NumPy has a vector loop for the exponential to base 2 it is twice as fast as the one to
    base e; elsewhere it takes one number after the other. Its loop must give the least normal
    number for the least exponent, exactly, because :meth:`companion.kernels.cpu.Worker` tells by
    that number what is too small to count.
    """
    info = np.finfo(dtype)
    exact = np.exp2(np.full(64, info.minexp, dtype)) == info.smallest_normal
    return BINARY if _has_vector_loop(dtype) and exact.all() else NATURAL


def _has_vector_loop(dtype: Any) -> bool:
    introspect = getattr(np.lib, "introspect", None)
    if introspect is None:  # NumPy before 2.1
        return False
    loops = introspect.opt_func_info(func_name="^exp2$").get("exp2", {})
    current = loops.get(2 * np.dtype(dtype).char, {}).get("current", "baseline")
    return any(name in current for name in ("AVX512", "X86_V4"))


class Bits(NamedTuple):
    """Floats of a dtype as integers of the same size."""

    kind: Any
    hidden: Any  # −∞
    sign: Any
    octave: Any  # subtracted from a positive number, it halves it; from the least normal one, 0


@functools.cache
def bits(dtype: Any) -> Bits:
    """Return the integers that stand for a few floats of this dtype."""
    kind = np.dtype(f"i{np.dtype(dtype).itemsize}")
    hidden, sign, octave = (
        np.asarray(number, dtype).view(kind)[()]
        for number in (-np.inf, -0.0, np.finfo(dtype).smallest_normal)
    )
    return Bits(kind, hidden, sign, octave)


def as_bits(visible: Any, dtype: Any) -> Any:
    """Return all ones where visible and zeros where not, in integers of this dtype's size."""
    return np.negative(visible.view(np.int8), dtype=bits(dtype).kind)


def remove(powers: Any, visible: Any) -> None:
    """Put 0 for the powers of what is hidden, whatever they are."""
    whole = powers.view(visible.dtype)
    np.bitwise_and(whole, visible, out=whole)


def cover(scores: Any, visible: Any) -> None:
    """Put −∞ for the scores of what is hidden, whatever they are."""
    known = bits(scores.dtype)
    limits = (visible & known.sign) ^ known.hidden  # +∞ where visible, −∞ where not
    np.fmin(scores, limits.view(scores.dtype), out=scores)


def below_largest(chosen: Base, scores: Any, top: Any, unit: Any) -> None:
    """Put half the powers of scores below `top` in the scores' place, and 0 for what is tiny.

    A score's distance to the top is multiplied by `unit`, and not the score: it is shorter, and
    less is lost. Tiny is what would be below the normal numbers: sums do not notice it, and
    computing with such numbers can be a hundred times slower. The half cancels in every quotient.
    """
    info, known = np.finfo(scores.dtype), bits(scores.dtype)
    scores -= top
    if chosen is BINARY:
        scores *= unit
    powers = scores.view(known.kind)
    if chosen is BINARY:  # its fast loop ends with the normal numbers
        np.clip(scores, info.minexp, info.maxexp - 2, out=scores)
        np.exp2(scores, out=scores)
    else:
        np.exp(scores, out=scores)
        np.maximum(powers, known.octave, out=powers)
    powers -= known.octave
