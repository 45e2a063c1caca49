"""Scaled dot-product attention: every earlier module in one call."""

import math
from typing import Any, Literal, NamedTuple, TypeAlias, get_args, overload

import array_api_compat

from companion.arrays import (
    Array,
    Namespace,
    array_namespace,
    broadcast_shape,
    require_floating,
    require_same_dtype,
)
from companion.kernels.decoding import FEW
from companion.kernels.on_dask import check_dask_call, check_known_sizes, dask_attention
from companion.kernels.reach import Reach
from companion.kernels.textbook import textbook_attention
from companion.kernels.threads import thread_count
from companion.kernels.tiled import SCORES, tiled_attention
from companion.masks import check_mask, check_offset, check_window, is_offset_array
from companion.scores import check_scale, check_softcap

__all__ = ["scaled_dot_product_attention"]

Implementation: TypeAlias = Literal["textbook", "tiled"]
IMPLEMENTATIONS = get_args(Implementation)
LARGE = 2**18
"""Scores of all heads together from which on the tiled form is the faster one on NumPy."""
LARGE_FEW = 2**15
"""The same where queries are few."""


@overload
def scaled_dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    *,
    is_causal: bool = False,
    query_offset: int | Array = 0,
    window: tuple[int, int] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    return_weights: Literal[False] = False,
    implementation: Implementation | None = None,
    threads: int | None = None,
) -> Array: ...
@overload
def scaled_dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    *,
    is_causal: bool = False,
    query_offset: int | Array = 0,
    window: tuple[int, int] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    return_weights: Literal[True],
    implementation: Implementation | None = None,
    threads: int | None = None,
) -> tuple[Array, Array]: ...
def scaled_dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    *,
    is_causal: bool = False,
    query_offset: int | Array = 0,
    window: tuple[int, int] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    return_weights: bool = False,
    implementation: Implementation | None = None,
    threads: int | None = None,
) -> Array | tuple[Array, Array]:
    """Mix the values by how well each query fits each key (:eq:`eq-attention`).

    The scores are scaled, soft-capped, shifted by a float mask, then hidden by the boolean,
    causal and window masks, and turned into weights by the softmax.

    Parameters
    ----------
    query : array, shape (T, d_k) or (..., H, T, d_k)
    key : array, shape (S, d_k) or (..., H_kv, S, d_k)
    value : array, shape (S, d_v) or (..., H_kv, S, d_v)
        H must be a multiple of H_kv: key head j serves query heads j·g … (j + 1)·g − 1 with
        g = H / H_kv. The axes before the heads broadcast.
    attn_mask : boolean or float array that broadcasts to (..., H, T, S), optional
        Boolean: True where a query may attend. Float: added to the scores, and −∞ hides.
    is_causal : bool
        Hide key j from query i where j > i + query_offset (:eq:`eq-causal-mask`).
    query_offset : int or integer array of the batch shape
        Position of the first query among the keys, such as the cached length; it moves the causal
        mask and the window. Negative is allowed.
    window : (left, right), optional
        Hide key j unless i + query_offset − left ≤ j ≤ i + query_offset + right; −1 is unbounded.
    scale : float, optional
        Factor of the products, 1/√d_k where it is left out.
    softcap : float, optional
        Scores become ``softcap * tanh(scores / softcap)``; None and 0 leave them as they are.
    return_weights : bool
        Return the weights beside the output.
    implementation : {"textbook", "tiled"}, optional
        ``"textbook"`` forms all weights; ``"tiled"`` never holds more than a tile of them, and
        its memory grows with T and S but not with T·S, and it looks at values, so it is not for
        ``jax.jit``. None takes the tiled form on NumPy from a number of scores on where it is the
        faster one, and on CuPy where the scores would not fit a block of it, unless the weights
        are asked for.
    threads : int, optional
        How many threads the tiled form may use on NumPy; see :func:`companion.thread_count`.

    Returns
    -------
    output : array, shape (T, d_v) or (..., H, T, d_v)
        In the arguments' dtype; float16 is computed in float32 and rounded once. A query with
        nothing to attend to gets weights 0 and output 0. What a mask hides in the scores, NaN
        included, never reaches the output; a value row that is not finite reaches every query
        that attends to anything, because 0 · ∞ is NaN.
    weights : array, shape (T, S) or (..., H, T, S)
        Only with ``return_weights=True``.

    Raises
    ------
    TypeError
        If arrays come from different libraries, dtypes are not floating or differ, the mask is
        neither boolean nor floating, or an option is of the wrong kind.
    ValueError
        If shapes do not match or an option is out of range.

    Notes
    -----
    Of Dask arrays it returns one, lazily, and a NumPy mask may stand beside them. Every chunk of
    keys is summed up where it is, in float32 for 16 bits, and a tree that their number fixes merges
    what they say (:eq:`eq-packed-merge`): the same chunks give the same bits on any number of
    workers. Chunks that causality, a window or a mask in memory hides are never computed, and a
    value there that is not finite reaches nobody. Weights, the textbook form and `threads` are
    refused there.

    References
    ----------
    Vaswani et al., *Attention is all you need*, 2017, equation 1. Grouped heads: Ainslie et al.,
    *GQA*, 2023.
    """
    options = (window, scale, softcap, return_weights, implementation, threads)
    xp, call = check_attention(query, key, value, attn_mask, is_causal, query_offset, *options)
    return unchecked_scaled_dot_product_attention(xp, query, key, value, call)


class Call(NamedTuple):
    """What a call of attention asks for, checked against the shapes of its arrays."""

    shape: tuple[int, ...]  # of the scores: (T, S) or (..., H, T, S)
    attn_mask: Array | None
    reach: Reach
    scale: float
    softcap: float | None
    return_weights: bool
    implementation: Implementation | None
    threads: int | None


def check_attention(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    is_causal: bool = False,
    query_offset: int | Array = 0,
    *others: Any,
    **options: Any,
) -> tuple[Namespace, Call]:
    """Be the door of :func:`scaled_dot_product_attention`: the namespace and the checked call."""
    offsets = query_offset if is_offset_array(query_offset) else None
    held = array_api_compat.is_dask_array(query) and array_api_compat.is_numpy_array(attn_mask)
    beside = None if held else attn_mask  # the one mixture that is allowed
    xp = array_namespace(query=query, key=key, value=value, attn_mask=beside, query_offset=offsets)
    require_floating(xp, query=query, key=key, value=value)
    require_same_dtype(query=query, key=key, value=value)
    lazy = array_api_compat.is_dask_namespace(xp)
    if lazy:
        check_known_sizes(
            query=query, key=key, value=value, attn_mask=attn_mask, query_offset=offsets
        )
    shapes = (query.shape, key.shape, value.shape)
    call = check_call(xp, shapes, attn_mask, is_causal, query_offset, *others, **options)
    if lazy:
        check_dask_call(call)
    return xp, call


def check_call(
    xp: Namespace,
    shapes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
    attn_mask: Array | None = None,
    is_causal: bool = False,
    query_offset: int | Array = 0,
    window: tuple[int, int] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    return_weights: bool = False,
    implementation: Implementation | None = None,
    threads: int | None = None,
) -> Call:
    """Check the options of :func:`scaled_dot_product_attention` for arrays of these shapes."""
    shape = _scores_shape(*shapes)
    scale = check_scale(scale, shapes[0][-1])
    softcap = check_softcap(softcap)
    left, right = (-1, -1) if window is None else check_window(window)
    _check_choices(is_causal, return_weights, implementation)
    if threads is not None:
        thread_count(threads)
    if attn_mask is not None:
        check_mask(xp, attn_mask, shape, "attn_mask")
    query_offset = check_offset(xp, query_offset)
    if not isinstance(query_offset, int):
        _check_offsets(query_offset, shape[:-3])
    # A causal window ends at the query itself, however far ahead the window would reach.
    reach = Reach(query_offset, left, 0 if is_causal else right)
    return Call(shape, attn_mask, reach, scale, softcap, return_weights, implementation, threads)


def unchecked_scaled_dot_product_attention(
    xp: Namespace, query: Array, key: Array, value: Array, call: Call
) -> Array | tuple[Array, Array]:
    """Do what :func:`scaled_dot_product_attention` does, without its checks."""
    if array_api_compat.is_dask_namespace(xp):
        lazy: Array = dask_attention(query, key, value, call)
        return lazy
    shape, mask, reach, scale, softcap, return_weights, _, threads = call
    if is_tiled(xp, call):
        return tiled_attention(xp, query, key, value, mask, reach, scale, softcap, threads)
    masks = [] if mask is None else [mask]
    if reach.is_bounded:
        masks += reach.masks(xp, array_api_compat.device(query), *map(range, shape[-2:]))
    output, weights = textbook_attention(xp, query, key, value, masks, scale, softcap)
    if return_weights and weights.shape != shape:  # one of value's batch axes is not in the scores
        weights = xp.broadcast_to(weights, shape) * 1  # one's own memory, and gradients go through
    return (output, weights) if return_weights else output


def is_tiled(xp: Namespace, call: Call) -> bool:
    """Say whether a call takes the tiled form."""
    shape, implementation = call.shape, call.implementation
    if implementation is not None:
        return implementation == "tiled"
    if call.return_weights:
        return False
    scores = math.prod(shape)
    # Few rows share little of what a tile saves; on a GPU tiles pay once scores outgrow a block.
    if array_api_compat.is_numpy_namespace(xp):
        return scores >= (LARGE if shape[-2] >= FEW else LARGE_FEW)
    return array_api_compat.is_cupy_namespace(xp) and scores > SCORES


def _scores_shape(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the shape of the scores, (T, S) or (..., H, T, S), from the arrays' shapes."""
    one_head = len(query) == 2
    head = "" if one_head else "..., H_kv, "
    if len(query) < 2:
        raise ValueError(f"query must be (T, d_k) or (..., H, T, d_k), got {query}")
    d_k = query[-1]
    if (len(key) == 2) != one_head or len(key) < 2 or key[-1] != d_k:
        raise ValueError(f"key must be ({head}S, d_k={d_k}) to match query {query}, got {key}")
    keys = key[-2]
    if (len(value) == 2) != one_head or len(value) < 2 or value[-2] != keys:
        raise ValueError(f"value must be ({head}S={keys}, d_v) to match key {key}, got {value}")
    if one_head:
        return (query[-2], keys)
    heads, kv_heads = query[-3], key[-3]
    if value[-3] != kv_heads:
        raise ValueError(
            f"value must have as many heads as key {key}, H_kv={kv_heads}, got {value}"
        )
    if heads != kv_heads and (kv_heads == 0 or heads % kv_heads != 0):
        raise ValueError(
            f"key must have a number of heads H_kv that divides H={heads} of query {query}, "
            f"got {key}"
        )
    batches = [shape[:-3] for shape in (query, key, value)]
    try:
        batch = broadcast_shape(*batches)
    except ValueError:
        raise ValueError(
            f"query, key and value must have batch shapes that broadcast, got {batches}"
        ) from None
    return (*batch, heads, query[-2], keys)


def _check_offsets(offsets: Array, batch: tuple[int, ...]) -> None:
    try:
        fits = broadcast_shape(offsets.shape, batch) == batch
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"query_offset must be an integer or an integer array of the batch shape {batch}, "
            f"got shape {offsets.shape}"
        )


def _check_choices(is_causal: bool, return_weights: bool, implementation: str | None) -> None:
    if is_causal not in (True, False):
        raise TypeError(f"is_causal must be True or False, got {is_causal!r}")
    if return_weights not in (True, False):
        raise TypeError(f"return_weights must be True or False, got {return_weights!r}")
    if implementation is not None and implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f"implementation must be one of {IMPLEMENTATIONS} or None, got {implementation!r}"
        )
    if implementation == "tiled" and return_weights:
        raise ValueError(
            "return_weights must be False with implementation='tiled', which never holds all "
            "weights, got True"
        )
