"""The tiled form's pass over the scores on CuPy: cap, masks, exponential and quotient in one."""

import functools
from typing import Any

from companion.arrays import Array, array_namespace
from companion.masks import combine_masks

SCORES = "T score, T cap, bool shown, T shift"
PREAMBLE = """
template <typename T>
__device__ T masked(T score, T cap, bool shown, T shift) {
    const T hidden = T(-1.0 / 0.0);
    if (!shown || shift == hidden) return hidden;
    if (cap > T(0)) score = cap * tanh(score / cap);
    return score + shift;
}

template <typename T>
__device__ T power(T score, T largest) {
    return score == T(-1.0 / 0.0) ? T(0) : exp(score - largest);
}
"""
# What CuPy makes kernels of. A reduction reads the scores and writes one number a row, and the last
# kernel alone writes an array of their size.
LARGEST = {
    "in_params": SCORES,
    "out_params": "T largest",
    "map_expr": "masked(score, cap, shown, shift)",
    "reduce_expr": "max(a, b)",
    "post_map_expr": "largest = a",
    "identity": "-1.0 / 0.0",
    "name": "companion_largest_score",
    "preamble": PREAMBLE,
}
TOTAL = {
    "in_params": f"{SCORES}, T largest",
    "out_params": "T total",
    "map_expr": "power(masked(score, cap, shown, shift), largest)",
    "reduce_expr": "a + b",
    "post_map_expr": "total = a",
    "identity": "0",
    "name": "companion_total",
    "preamble": PREAMBLE,
}
WEIGHTS = {
    "in_params": f"{SCORES}, T largest, T total",
    "out_params": "T weight",
    "operation": """
        const T counted = power(masked(score, cap, shown, shift), largest);
        weight = total == T(0) ? T(0) : counted / total;
    """,
    "name": "companion_weights",
    "preamble": PREAMBLE,
}


def fused_softmax(scores: Array, masks: list[Array], softcap: float | None) -> Array:
    """Do what :func:`masked_softmax` of the textbook form does, on CuPy and in the scores' place.

    Two reductions find the largest masked score of a row and the sum of the exponentials below it;
    a third kernel turns each score into its weight. Nothing else of the scores' size is made or
    read, and no score is ever above the largest, so nothing overflows.
    """
    xp = array_namespace(scores=scores)
    if 0 in scores.shape:
        return scores
    shown = combine_masks(*(mask for mask in masks if mask.dtype == xp.bool))
    shifts = [xp.astype(m, scores.dtype, copy=False) for m in masks if m.dtype != xp.bool]
    shift = shifts[0] if shifts else 0.0  # a call has at most one float mask
    given = (scores, softcap or 0.0, True if shown is None else shown, shift)
    find_largest, sum_up, weigh = _kernels()
    largest = find_largest(*given, axis=-1, keepdims=True)
    total = sum_up(*given, largest, axis=-1, keepdims=True)
    weights: Array = weigh(*given, largest, total, scores)
    return weights


@functools.cache
def _kernels() -> tuple[Any, Any, Any]:
    import cupy  # pragma: gpu

    return (  # pragma: gpu
        cupy.ReductionKernel(**LARGEST),
        cupy.ReductionKernel(**TOTAL),
        cupy.ElementwiseKernel(**WEIGHTS),
    )
