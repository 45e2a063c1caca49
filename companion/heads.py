"""Many heads: split, attend side by side, merge."""

import inspect
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, overload

import numpy as np

from companion.arrays import (
    Array,
    DType,
    Namespace,
    array_module,
    array_namespace,
    cast,
    require_floating,
    require_library,
    widen,
)
from companion.attention import (
    Call,
    check_attention,
    check_call,
    scaled_dot_product_attention,
    unchecked_scaled_dot_product_attention,
)
from companion.masks import is_offset_array
from companion.parameters import Parameters, check_parameters, draw_weight
from companion.projections import check_projection, unchecked_project

__all__ = [
    "AttentionParameters",
    "attend_heads",
    "head_contributions",
    "merge_heads",
    "multi_head_attention",
    "project_heads",
    "split_heads",
    "split_packed_projection",
]

State: TypeAlias = Callable[[Array, Array, Array], tuple[Array, Array, Array]]
"""What goes between the two halves: of a query, key and value, those that attend."""
OPTIONS = {*inspect.signature(scaled_dot_product_attention).parameters} - {"query", "key", "value"}


@dataclass(frozen=True, eq=False)
class AttentionParameters(Parameters):
    """The weights of one multi-head attention layer, heads on the first axis.

    Attributes
    ----------
    w_q : array, shape (H, d, d_k)
    w_k : array, shape (H_kv, d_context, d_k)
        H_kv divides H; with fewer key/value heads than query heads they are shared in groups.
    w_v : array, shape (H_kv, d_context, d_v)
    w_o : array, shape (H·d_v, d_out)
        Rows h·d_v … (h + 1)·d_v − 1 belong to head h.
    b_q : array, shape (H, d_k), or None
    b_k : array, shape (H_kv, d_k), or None
    b_v : array, shape (H_kv, d_v), or None
    b_o : array, shape (d_out,), or None

    Raises
    ------
    TypeError
        If the arrays come from different libraries or differ in dtype.
    ValueError
        If the shapes do not fit together.
    """

    w_q: Array
    w_k: Array
    w_v: Array
    w_o: Array
    b_q: Array | None = None
    b_k: Array | None = None
    b_v: Array | None = None
    b_o: Array | None = None

    def __post_init__(self) -> None:
        sizes = check_parameters(
            "AttentionParameters",
            w_q=(self.w_q, ("H", "d", "d_k")),
            w_k=(self.w_k, ("H_kv", "d_context", "d_k")),
            w_v=(self.w_v, ("H_kv", "d_context", "d_v")),
            w_o=(self.w_o, ("H·d_v", "d_out")),
            b_q=(self.b_q, ("H", "d_k")),
            b_k=(self.b_k, ("H_kv", "d_k")),
            b_v=(self.b_v, ("H_kv", "d_v")),
            b_o=(self.b_o, ("d_out",)),
        )
        heads, kv_heads = sizes["H"], sizes["H_kv"]
        if kv_heads == 0 or heads % kv_heads != 0:
            raise ValueError(
                f"w_k of AttentionParameters must have a number of heads H_kv that divides "
                f"H={heads}, got {self.w_k.shape}"
            )
        if sizes["H·d_v"] != heads * sizes["d_v"]:
            raise ValueError(
                f"w_o of AttentionParameters must have H·d_v={heads * sizes['d_v']} rows, "
                f"got {self.w_o.shape}"
            )

    @property
    def heads(self) -> int:
        """Number of query heads H."""
        return self.w_q.shape[0]

    @classmethod
    def random(
        cls,
        rng: np.random.Generator,
        *,
        width: int,
        heads: int,
        kv_heads: int | None = None,
        d_k: int | None = None,
        d_v: int | None = None,
        bias: bool = True,
        xp: Namespace | None = None,
        dtype: DType = None,
    ) -> "AttentionParameters":
        """Draw weights of variance 1 / (number of inputs); biases are 0.

        Parameters
        ----------
        rng : numpy.random.Generator
            NumPy draws, and the numbers are moved, so every device sees the same ones.
        width : int
            d, of the input and the output.
        heads, kv_heads : int
            H and H_kv; H_kv = H where it is left out.
        d_k, d_v : int, optional
            d / H and d_k where they are left out.
        bias : bool
            Whether there are biases.
        xp, dtype : optional
            Array module and floating dtype, as in :func:`companion.random_normal`.
        """
        xp = array_module() if xp is None else xp
        width, heads = operator.index(width), operator.index(heads)
        if d_k is None and width % heads != 0:
            raise ValueError(f"heads must divide width={width} where d_k is left out, got {heads}")
        kv_heads = heads if kv_heads is None else operator.index(kv_heads)
        d_k = width // heads if d_k is None else operator.index(d_k)
        d_v = d_k if d_v is None else operator.index(d_v)
        shapes = {
            "w_q": (heads, width, d_k),
            "w_k": (kv_heads, width, d_k),
            "w_v": (kv_heads, width, d_v),
            "w_o": (heads * d_v, width),
        }
        weights = {name: draw_weight(rng, shape, xp, dtype) for name, shape in shapes.items()}
        if not bias:
            return cls(**weights)
        kind = weights["w_q"].dtype
        biases: dict[str, tuple[int, ...]] = {
            "b_q": (heads, d_k),
            "b_k": (kv_heads, d_k),
            "b_v": (kv_heads, d_v),
        }
        biases |= {"b_o": (width,)}
        zeros = {name: xp.zeros(shape, dtype=kind) for name, shape in biases.items()}
        return cls(**weights, **zeros)


def split_heads(x: Array, heads: int) -> Array:
    """Cut the columns into heads and put the heads before the tokens (:eq:`eq-split-heads`).

    Parameters
    ----------
    x : array, shape (..., N, H·d_k)
    heads : int
        Number of heads H.

    Returns
    -------
    array, shape (..., H, N, d_k)
        Head h holds columns h·d_k … (h + 1)·d_k − 1. A reshape cuts, and a transpose moves the
        heads: a reshape alone would mix tokens.

    Raises
    ------
    ValueError
        If `x` has fewer than two axes or H does not divide its columns.
    """
    xp, heads = array_namespace(x=x), operator.index(heads)
    if x.ndim < 2 or heads < 1 or x.shape[-1] % heads != 0:
        raise ValueError(f"x must be (..., N, H·d_k) with H={heads} heads, got shape {x.shape}")
    return unchecked_split_heads(xp, x, heads)


def unchecked_split_heads(xp: Namespace, x: Array, heads: int) -> Array:
    """Do what :func:`split_heads` does, without its checks."""
    *batch, length, columns = x.shape
    return _swap(xp, xp.reshape(x, (*batch, length, heads, columns // heads)))


def _swap(xp: Namespace, x: Array) -> Array:
    """Let heads and tokens change places: (..., N, H, n) and (..., H, N, n)."""
    axes = range(x.ndim)
    return xp.permute_dims(x, (*axes[:-3], axes[-2], axes[-3], axes[-1]))


def merge_heads(x: Array) -> Array:
    """Undo :func:`split_heads`: lay the heads of each token side by side.

    Parameters
    ----------
    x : array, shape (..., H, N, d_v)

    Returns
    -------
    array, shape (..., N, H·d_v)

    Raises
    ------
    ValueError
        If `x` has fewer than three axes.
    """
    xp = array_namespace(x=x)
    if x.ndim < 3:
        raise ValueError(f"x must be (..., H, N, d_v), got shape {x.shape}")
    return unchecked_merge_heads(xp, x)


def unchecked_merge_heads(xp: Namespace, x: Array) -> Array:
    """Do what :func:`merge_heads` does, without its checks."""
    *batch, heads, length, columns = x.shape
    return xp.reshape(_swap(xp, x), (*batch, length, heads * columns))


def split_packed_projection(
    packed: Array, *, heads: int, kv_heads: int | None = None, d_k: int, d_v: int | None = None
) -> tuple[Array, Array, Array]:
    """Cut one packed Q/K/V weight, or its bias, into the three stacks of heads.

    Parameters
    ----------
    packed : array, shape (d, H·d_k + H_kv·d_k + H_kv·d_v), or the same without d for a bias
        Columns: all queries' heads, then all keys', then all values'.
    heads, kv_heads : int
        H and H_kv; H_kv = H where it is left out.
    d_k, d_v : int
        Width of a key and of a value; d_v = d_k where it is left out.

    Returns
    -------
    w_q, w_k, w_v : arrays, shapes (H, d, d_k), (H_kv, d, d_k), (H_kv, d, d_v)
        Or (H, d_k), (H_kv, d_k), (H_kv, d_v) for a bias.

    Raises
    ------
    ValueError
        If the number of columns is another one.
    """
    xp = array_namespace(packed=packed)
    heads, d_k = operator.index(heads), operator.index(d_k)
    kv_heads = heads if kv_heads is None else operator.index(kv_heads)
    d_v = d_k if d_v is None else operator.index(d_v)
    ends = [heads * d_k, (heads + kv_heads) * d_k, (heads + kv_heads) * d_k + kv_heads * d_v]
    if packed.ndim not in (1, 2) or packed.shape[-1] != ends[-1]:
        raise ValueError(
            f"packed must have H·d_k + H_kv·d_k + H_kv·d_v = {ends[-1]} columns, "
            f"got shape {packed.shape}"
        )
    rows = packed if packed.ndim == 2 else packed[None, :]
    w_q, w_k, w_v = (
        unchecked_split_heads(xp, rows[:, : ends[0]], heads),
        unchecked_split_heads(xp, rows[:, ends[0] : ends[1]], kv_heads),
        unchecked_split_heads(xp, rows[:, ends[1] :], kv_heads),
    )
    if packed.ndim == 1:
        w_q, w_k, w_v = (xp.squeeze(part, axis=-2) for part in (w_q, w_k, w_v))
    return w_q, w_k, w_v


def project_heads(
    x: Array, parameters: AttentionParameters, *, context: Array | None = None
) -> tuple[Array, Array, Array]:
    """Make every head's queries, keys and values: the first half of :func:`multi_head_attention`.

    What a model does between the two halves, such as rotating the queries and keys or keeping the
    keys and values of earlier tokens, goes between this and :func:`attend_heads`.

    Parameters
    ----------
    x : array, shape (..., T, d)
        Makes the queries, and the keys and values too unless there is a context.
    parameters : AttentionParameters
    context : array, shape (..., S, d_context), optional
        Makes the keys and values: cross-attention.

    Returns
    -------
    query : array, shape (..., H, T, d_k)
    key : array, shape (..., H_kv, S, d_k)
    value : array, shape (..., H_kv, S, d_v)

    Raises
    ------
    TypeError
        If `x` or `context` is not floating, or an array's library or dtype is not the weights'.
    ValueError
        If the shapes do not match.
    """
    xp = array_namespace(x=x, context=context, w_q=parameters.w_q)
    check_rows(xp, x, parameters, context)
    return unchecked_project_heads(xp, x, parameters, context)


def check_rows(
    xp: Namespace, x: Array, parameters: AttentionParameters, context: Array | None
) -> None:
    """Raise unless :func:`project_heads` can make queries of `x`, and keys of the context."""
    p = parameters
    require_floating(xp, x=x, context=context)
    source = x if context is None else context
    for name, rows in (("x", x), ("context", source)):
        if rows.ndim < 2:
            raise ValueError(f"{name} must be (..., N, d), got shape {rows.shape}")
    check_projection(xp, x[..., None, :, :], p.w_q, p.b_q, "w_q")
    check_projection(xp, source[..., None, :, :], p.w_k, p.b_k, "w_k")


def unchecked_project_heads(
    xp: Namespace, x: Array, parameters: AttentionParameters, context: Array | None
) -> tuple[Array, Array, Array]:
    """Do what :func:`project_heads` does, without its checks."""
    p = parameters
    context = x if context is None else context
    query = unchecked_project(xp, x[..., None, :, :], p.w_q, p.b_q)
    key = unchecked_project(xp, context[..., None, :, :], p.w_k, p.b_k)
    value = unchecked_project(xp, context[..., None, :, :], p.w_v, p.b_v)
    return query, key, value


@overload
def attend_heads(
    query: Array,
    key: Array,
    value: Array,
    parameters: AttentionParameters,
    *,
    return_weights: Literal[False] = False,
    **options: Any,
) -> Array: ...
@overload
def attend_heads(
    query: Array,
    key: Array,
    value: Array,
    parameters: AttentionParameters,
    *,
    return_weights: Literal[True],
    **options: Any,
) -> tuple[Array, Array]: ...
def attend_heads(
    query: Array,
    key: Array,
    value: Array,
    parameters: AttentionParameters,
    *,
    return_weights: bool = False,
    **options: Any,
) -> Array | tuple[Array, Array]:
    """Attend and mix what the heads bring: the second half of :func:`multi_head_attention`.

    Parameters
    ----------
    query : array, shape (..., H, T, d_k)
    key : array, shape (..., H_kv, S, d_k)
    value : array, shape (..., H_kv, S, d_v)
        As :func:`project_heads` makes them.
    parameters : AttentionParameters
        Of which w_o and b_o are used.
    return_weights : bool
        Return the weights beside the output.
    **options
        As in :func:`multi_head_attention`.

    Returns
    -------
    output : array, shape (..., T, d_out)
    weights : array, shape (..., H, T, S)
        Only with ``return_weights=True``.

    Raises
    ------
    TypeError, ValueError
        As :func:`companion.scaled_dot_product_attention` and :func:`companion.project` say.
    """
    p = parameters
    xp, call = check_attention(query, key, value, return_weights=return_weights, **options)
    mixed, weights = _mix(xp, query, key, value, call)
    if mixed.ndim < 3:
        raise ValueError(f"x must be (..., H, N, d_v), got shape {mixed.shape}")
    merged = unchecked_merge_heads(xp, mixed)
    require_library(xp, "x", w_o=p.w_o)
    check_projection(xp, merged, p.w_o, p.b_o, "w_o")
    output = unchecked_project(xp, merged, p.w_o, p.b_o)
    return output if weights is None else (output, weights)


def unchecked_attend_heads(
    xp: Namespace,
    query: Array,
    key: Array,
    value: Array,
    parameters: AttentionParameters,
    call: Call,
) -> Array | tuple[Array, Array]:
    """Do what :func:`attend_heads` does, without its checks."""
    mixed, weights = _mix(xp, query, key, value, call)
    merged = unchecked_merge_heads(xp, mixed)
    output = unchecked_project(xp, merged, parameters.w_o, parameters.b_o)
    return output if weights is None else (output, weights)


def _mix(
    xp: Namespace, query: Array, key: Array, value: Array, call: Call
) -> tuple[Array, Array | None]:
    """Return the heads' mixtures, and the weights or None."""
    attended = unchecked_scaled_dot_product_attention(xp, query, key, value, call)
    return attended if isinstance(attended, tuple) else (attended, None)


@overload
def multi_head_attention(
    x: Array,
    parameters: AttentionParameters,
    *,
    context: Array | None = None,
    state: State | None = None,
    return_weights: Literal[False] = False,
    **options: Any,
) -> Array: ...
@overload
def multi_head_attention(
    x: Array,
    parameters: AttentionParameters,
    *,
    context: Array | None = None,
    state: State | None = None,
    return_weights: Literal[True],
    **options: Any,
) -> tuple[Array, Array]: ...
def multi_head_attention(
    x: Array,
    parameters: AttentionParameters,
    *,
    context: Array | None = None,
    state: State | None = None,
    return_weights: bool = False,
    **options: Any,
) -> Array | tuple[Array, Array]:
    """Let H heads attend side by side and mix what they bring (:eq:`eq-multi-head`).

    Parameters
    ----------
    x : array, shape (..., T, d)
        Makes the queries, and the keys and values too unless there is a context.
    parameters : AttentionParameters
    context : array, shape (..., S, d_context), optional
        Makes the keys and values: cross-attention.
    state : callable, optional
        Takes the query, key and value that :func:`project_heads` makes and returns those that
        attend: where a layer rotates them, or adds the keys and values that it keeps.
    return_weights : bool
        Return the weights beside the output.
    **options
        `attn_mask`, `is_causal`, `query_offset`, `window`, `scale`, `softcap`, `implementation`
        and `threads` of :func:`companion.scaled_dot_product_attention`; a mask broadcasts to
        (..., H, T, S).

    Returns
    -------
    output : array, shape (..., T, d_out)
    weights : array, shape (..., H, T, S)
        Only with ``return_weights=True``.

    Raises
    ------
    TypeError, ValueError
        As the projections and the attention say.

    References
    ----------
    Vaswani et al., *Attention is all you need*, 2017, section 3.2.2.
    """
    xp = array_namespace(x=x, context=context, w_q=parameters.w_q)
    options |= {"return_weights": return_weights}
    attend = check_multi_head_attention(xp, x, parameters, context=context, state=state, **options)
    return attend(x)


def check_multi_head_attention(
    xp: Namespace,
    x: Array,
    parameters: AttentionParameters,
    *,
    context: Array | None = None,
    state: State | None = None,
    **options: Any,
) -> Callable[[Array], Array | tuple[Array, Array]]:
    """Check a call of :func:`multi_head_attention`; return what attends rows that are like `x`."""
    p = parameters
    check_rows(xp, x, p, context)
    if state is not None:
        # What a function of yours returns comes in through the door.
        return lambda rows: attend_heads(
            *state(*unchecked_project_heads(xp, rows, p, context)), p, **options
        )
    call = check_options(xp, x.shape, (x if context is None else context).shape, p, options)
    return lambda rows: unchecked_attend_heads(
        xp, *unchecked_project_heads(xp, rows, p, context), p, call
    )


def check_options(
    xp: Namespace,
    x: tuple[int, ...],
    context: tuple[int, ...],
    parameters: AttentionParameters,
    options: dict[str, Any],
) -> Call:
    """Check the options of attention for the shapes that the projections will have."""
    if unknown := options.keys() - OPTIONS:
        raise TypeError(
            f"scaled_dot_product_attention() got an unexpected keyword argument {min(unknown)!r}"
        )
    offset = options.get("query_offset", 0)
    require_library(
        xp,
        "query",
        attn_mask=options.get("attn_mask"),
        query_offset=offset if is_offset_array(offset) else None,
    )
    (heads, _, d_k), (kv_heads, _, d_v) = parameters.w_q.shape, parameters.w_v.shape
    shapes = (
        (*x[:-2], heads, x[-2], d_k),
        (*context[:-2], kv_heads, context[-2], d_k),
        (*context[:-2], kv_heads, context[-2], d_v),
    )
    return check_call(xp, shapes, **options)


def head_contributions(
    x: Array, parameters: AttentionParameters, *, context: Array | None = None, **options: Any
) -> Array:
    """Send each head through its own rows of :math:`W^O`: what it adds to the output.

    The sum over the heads, plus b_o, is :func:`multi_head_attention`
    (:prf:ref:`prop-sum-of-heads`). A head that is left out of the sum is knocked out.

    Parameters
    ----------
    x, parameters, context, **options
        As in :func:`multi_head_attention`.

    Returns
    -------
    array, shape (..., H, T, d_out)
    """
    heads = project_heads(x, parameters, context=context)
    mixed: Array = scaled_dot_product_attention(*heads, **options)
    xp = array_namespace(mixed=mixed)
    rows, d_out = parameters.w_o.shape
    slices = xp.reshape(parameters.w_o, (parameters.heads, rows // parameters.heads, d_out))
    added = widen(xp, mixed) @ widen(xp, slices)  # (..., H, T, d_v) @ (H, d_v, d_out)
    return cast(xp, added, mixed.dtype)
