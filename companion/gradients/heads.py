"""Backwards through many heads."""

from typing import Any, NamedTuple

from companion.arrays import Array, Namespace, array_namespace, cast, require_same_dtype, widen
from companion.attention import Call
from companion.gradients.attention import (
    AttentionRecord,
    unchecked_attention_backward,
    unchecked_attention_record,
)
from companion.gradients.projections import unchecked_project_backward
from companion.gradients.sums import check_gradient, summed_to
from companion.heads import (
    AttentionParameters,
    check_options,
    check_rows,
    unchecked_merge_heads,
    unchecked_project_heads,
    unchecked_split_heads,
)
from companion.projections import unchecked_project

__all__ = ["multi_head_attention_backward"]


class HeadsRecord(NamedTuple):
    """What many heads keep for the way back."""

    query: Array  # (..., H, T, d_k)
    key: Array  # (..., H_kv, S, d_k)
    value: Array  # (..., H_kv, S, d_v)
    attention: AttentionRecord


def multi_head_attention_backward(
    d_output: Array,
    x: Array,
    parameters: AttentionParameters,
    *,
    context: Array | None = None,
    **options: Any,
) -> tuple[Array, AttentionParameters] | tuple[Array, AttentionParameters, Array]:
    """Go back through :func:`companion.multi_head_attention`.

    What is used several times, as rows by three products and keys by a group of queries, gets a
    sum: :prf:ref:`prop-use-sums`.

    Parameters
    ----------
    d_output : array, shape (..., T, d_out)
    x : array, shape (..., T, d)
    parameters : AttentionParameters
    context : array, shape (..., S, d_context), optional
    **options
        Those of the forward that go to :func:`companion.scaled_dot_product_attention`. There is no
        way back through a `state` of yours.

    Returns
    -------
    d_x : array, shaped like x
    d_parameters : AttentionParameters
        A gradient in the place of each weight and bias.
    d_context : array, shaped like context
        Only where there is one. Without it, x makes the keys and values too, and d_x is the sum of
        all three ways.

    Raises
    ------
    TypeError, ValueError
        As the forward says, and if `d_output` does not fit it.
    """
    xp = array_namespace(d_output=d_output, x=x, context=context, w_q=parameters.w_q)
    call = check_backward(xp, d_output, x, parameters, context, options)
    _, record = attend_and_keep(xp, x, parameters, context, call)
    d_x, d_parameters, d_context = unchecked_multi_head_attention_backward(
        xp, d_output, x, parameters, context, call, record
    )
    return (d_x, d_parameters) if d_context is None else (d_x, d_parameters, d_context)


def check_backward(
    xp: Namespace,
    d_output: Array,
    x: Array,
    parameters: AttentionParameters,
    context: Array | None,
    options: dict[str, Any],
) -> Call:
    """Check a way back through many heads; return the call that they make."""
    for name in ("state", "return_weights"):
        if options.get(name):
            raise ValueError(f"{name} must be left out: there is no way back through it")
    check_rows(xp, x, parameters, context)
    source = x if context is None else context
    call = check_options(xp, x.shape, source.shape, parameters, options)
    require_same_dtype(x=x, d_output=d_output)
    check_gradient(d_output, (*call.shape[:-3], x.shape[-2], parameters.w_o.shape[-1]))
    return call


def attend_and_keep(
    xp: Namespace, x: Array, parameters: AttentionParameters, context: Array | None, call: Call
) -> tuple[Array, HeadsRecord]:
    """Let the heads attend; return their output, and what the way back needs."""
    heads = unchecked_project_heads(xp, x, parameters, context)
    record = unchecked_attention_record(xp, *heads, call)
    merged = unchecked_merge_heads(xp, record.output)
    output = unchecked_project(xp, merged, parameters.w_o, parameters.b_o)
    return output, HeadsRecord(*heads, record)


def unchecked_multi_head_attention_backward(
    xp: Namespace,
    d_output: Array,
    x: Array,
    parameters: AttentionParameters,
    context: Array | None,
    call: Call,
    record: HeadsRecord,
) -> tuple[Array, AttentionParameters, Array | None]:
    """Do what :func:`multi_head_attention_backward` does, without its checks."""
    p, source = parameters, x if context is None else context
    merged = unchecked_merge_heads(xp, record.attention.output)
    d_merged, d_w_o, d_b_o = unchecked_project_backward(xp, d_output, merged, p.w_o, p.b_o)
    d_mixed = unchecked_split_heads(xp, d_merged, p.heads)
    kept = record.query, record.key, record.value
    d_heads = unchecked_attention_backward(xp, d_mixed, *kept, call, record.attention)
    d_rows: list[Array] = []
    d_weights: dict[str, Any] = {"w_o": d_w_o, "b_o": d_b_o}
    weights = (("q", x, p.w_q, p.b_q), ("k", source, p.w_k, p.b_k), ("v", source, p.w_v, p.b_v))
    for d_head, (name, rows, weight, bias) in zip(d_heads, weights, strict=True):
        found = unchecked_project_backward(xp, d_head, rows[..., None, :, :], weight, bias)
        d_rows.append(summed_to(xp, widen(xp, found[0])[..., 0, :, :], rows.shape))
        d_weights |= {f"w_{name}": found[1], f"b_{name}": found[2]}
    d_parameters = AttentionParameters(**d_weights)
    if context is None:
        return cast(xp, d_rows[0] + d_rows[1] + d_rows[2], x.dtype), d_parameters, None
    d_context = cast(xp, d_rows[1] + d_rows[2], context.dtype)
    return cast(xp, d_rows[0], x.dtype), d_parameters, d_context
