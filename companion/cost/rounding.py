"""What rounding can do to a number: the unit roundoff, and bounds that follow from it alone.

Every bound holds for any order of summation, so it holds on every device. The bounds are computed
in float64; their own rounding is far below what they bound.
"""

import math
from typing import Any

from companion.arrays import Array, DType, array_namespace, require_floating
from companion.attention import scaled_dot_product_attention
from companion.scores import check_scale

__all__ = ["attention_error_bound", "gamma", "round_significand", "unit_roundoff"]

STORED_BITS = {"float64": 52, "float32": 23, "tf32": 10, "float16": 10, "bfloat16": 7}
# NumPy's and CUDA's exponentials are wrong by less than three units in the last place.
EXPONENTIAL = 7


def unit_roundoff(kind: DType) -> float:
    """Return u: rounding to nearest changes a number by at most u times its size.

    Parameters
    ----------
    kind : dtype or str
        A floating dtype of any array module, or the name of a format: float64, float32, tf32,
        float16 or bfloat16 (:eq:`eq-rounding-model`).

    Raises
    ------
    ValueError
        If the format is none of these.
    """
    name = getattr(kind, "__name__", str(kind)).rpartition(".")[2]
    if name not in STORED_BITS:
        raise ValueError(f"kind must be one of {', '.join(STORED_BITS)}, got {name!r}")
    return 2.0 ** -(STORED_BITS[name] + 1)


def gamma(n: int, u: float) -> float:
    r"""Return what bounds n roundings, :math:`\gamma_n = n u / (1 - n u)`.

    See :prf:ref:`lem-rounding-product`.

    Parameters
    ----------
    n : int
        How many roundings.
    u : float
        The unit roundoff.

    Raises
    ------
    ValueError
        If `n` or `u` is negative, or n u is not below 1: then no such bound is known.

    References
    ----------
    Higham, *Accuracy and stability of numerical algorithms*, 2002, section 3.1.
    """
    if n < 0 or u < 0:
        raise ValueError(f"n and u must not be negative, got {n} and {u}")
    if n * u >= 1:
        raise ValueError(f"n u must be below 1, got {n} · {u:g}")
    return n * u / (1 - n * u)


def round_significand(x: Array, bits: int) -> Array:
    """Round every entry to the nearest number whose significand has `bits` stored bits.

    With 10 bits that is TF32, with 7 it is bfloat16. The range of exponents stays that of the dtype
    of `x`, and a tie may go either way.

    Parameters
    ----------
    x : array
        Any shape, floating.
    bits : int
        From 1 to the number of stored bits of `x`; the leading one is not stored.

    Returns
    -------
    array, shape of `x`
        In the dtype of `x`. What is not finite stays as it is.

    Raises
    ------
    TypeError
        If `x` is not floating.
    ValueError
        If `bits` is out of range.

    References
    ----------
    Dekker, *A floating-point technique for extending the available precision*, 1971.
    """
    xp = array_namespace(x=x)
    require_floating(xp, x=x)
    stored = round(-math.log2(float(xp.finfo(x.dtype).eps)))
    if not 1 <= bits <= stored:
        raise ValueError(f"bits must be in 1 … {stored} for {x.dtype}, got {bits}")
    finite = xp.isfinite(x)
    known = xp.where(finite, x, xp.zeros_like(x))
    # Large numbers are made small by a power of two first, or the product would overflow.
    large = 2.0 ** (stored + 1)
    small = xp.where(xp.abs(known) > 1, known / large, known)
    product = small * (2.0 ** (stored - bits) + 1)
    rounded = product - (product - small)
    return xp.where(finite, xp.where(xp.abs(known) > 1, rounded * large, rounded), x)


def attention_error_bound(
    query: Array,
    key: Array,
    value: Array,
    *,
    unit: float,
    is_causal: bool = False,
    scale: float | None = None,
) -> Array:
    """Bound how far attention computed with unit roundoff `unit` is from exact attention.

    This is :prf:ref:`thm-attention-error`, and it holds under its hypotheses: the scores are
    scaled in the query, the maximum is subtracted before the exponential (to base e, good to a few
    units in the last place), the weights are divided before they meet the values, and nothing
    under- or overflows. That is the form ``implementation="textbook"``. The tiled form shifts
    otherwise and divides last, and may be off by a few times the bound where that is very small,
    as with two keys and thousands of queries. Two devices may differ by twice as much.

    Parameters
    ----------
    query : array, shape (T, d_k) or (..., H, T, d_k)
    key : array, shape (S, d_k) or (..., H, S, d_k)
    value : array, shape (S, d_v) or (..., H, S, d_v)
        All three are widened to float64, so that the bound is not rounded to nothing. There must
        be as many key heads as query heads.
    unit : float
        The unit roundoff of the arithmetic in question, as :func:`unit_roundoff` gives it.
    is_causal : bool
    scale : float, optional
        Both as in :func:`companion.scaled_dot_product_attention`.

    Returns
    -------
    array, shape (T, d_v) or (..., H, T, d_v)
        float64. One bound for every entry of the output.

    Raises
    ------
    TypeError, ValueError
        As :func:`companion.scaled_dot_product_attention` and :func:`gamma` say.
    """
    xp = array_namespace(query=query, key=key, value=value)
    require_floating(xp, query=query, key=key, value=value)
    query, key, value = (xp.astype(a, xp.float64, copy=False) for a in (query, key, value))
    options: dict[str, Any] = {"is_causal": is_causal, "scale": scale, "implementation": "textbook"}
    typical: Array = scaled_dot_product_attention(query, key, xp.abs(value), **options)
    width, length = query.shape[-1], key.shape[-2]
    sizes = abs(check_scale(scale, width)) * (xp.abs(query) @ xp.abs(key).mT)  # (..., T, S)
    largest = xp.max(sizes, axis=-1, keepdims=True)  # (..., T, 1)
    exponents = xp.exp(2 * gamma(width + 4, unit) * largest)
    return (exponents * (1 + gamma(2 * length + 2 * EXPONENTIAL, unit)) - 1) * typical
