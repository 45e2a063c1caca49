"""Backwards through the transformer block and the stack."""

from collections.abc import Sequence
from typing import Any, get_args

from companion.arrays import Array, Namespace, array_namespace, require_same_dtype
from companion.attention import Call
from companion.block import (
    BlockParameters,
    Norm,
    check_final_norm,
    feed_rows,
    transformer_block,
)
from companion.feed_forward import (
    FeedForwardParameters,
    GatedFeedForwardParameters,
    gelu,
    silu,
)
from companion.gradients.feed_forward import (
    Activation,
    check_derived,
    unchecked_feed_forward_backward,
    unchecked_gated_feed_forward_backward,
)
from companion.gradients.heads import (
    attend_and_keep,
    check_backward,
    unchecked_multi_head_attention_backward,
)
from companion.gradients.norms import layer_norm_backward, unchecked_layer_norm_backward
from companion.gradients.sums import check_gradient
from companion.norms import NormParameters, check_norm, unchecked_layer_norm

__all__ = ["transformer_block_backward", "transformer_stack_backward"]


def transformer_block_backward(
    d_output: Array,
    x: Array,
    parameters: BlockParameters,
    *,
    norm: Norm = "post",
    activation: Activation | None = None,
    eps: float = 1e-5,
    **options: Any,
) -> tuple[Array, BlockParameters] | tuple[Array, BlockParameters, Array]:
    """Go back through :func:`companion.transformer_block`.

    By :prf:ref:`prop-use-sums`.

    A sum hands its gradient on to both of its terms: beside the way through each part there is the
    residual's, on which nothing happens to the gradient.

    Parameters
    ----------
    d_output : array, shape (..., N, d)
    x : array, shape (..., N, d)
    parameters : BlockParameters
    norm : {"post", "pre"}
    activation : callable, optional
        :func:`companion.gelu`, :func:`companion.relu` or :func:`companion.silu`.
    eps : float
    **options
        As in :func:`multi_head_attention_backward`.

    Returns
    -------
    d_x : array, shaped like x
    d_parameters : BlockParameters
        A gradient in the place of each weight.
    d_context : array, shaped like `context`, where one is given

    Raises
    ------
    TypeError, ValueError
        As the forward says, and if `d_output` does not fit it.
    """
    p = parameters
    if norm not in get_args(Norm):
        raise ValueError(f"norm must be 'post' or 'pre', got {norm!r}")
    if activation is None:
        activation = silu if isinstance(p.feed_forward, GatedFeedForwardParameters) else gelu
    context = options.pop("context", None)
    xp = array_namespace(d_output=d_output, x=x, context=context, w_q=p.attention.w_q)
    check_norm(xp, x, p.norm_1.weight, p.norm_1.bias, eps)
    call = check_backward(xp, d_output, x, p.attention, context, options)
    check_derived(x, activation)
    d_x, d_parameters, d_context = unchecked_transformer_block_backward(
        xp, d_output, x, p, norm, activation, eps, context, call
    )
    return (d_x, d_parameters) if d_context is None else (d_x, d_parameters, d_context)


def unchecked_transformer_block_backward(
    xp: Namespace,
    d_output: Array,
    x: Array,
    parameters: BlockParameters,
    norm: Norm,
    activation: Activation,
    eps: float,
    context: Array | None,
    call: Call,
) -> tuple[Array, BlockParameters, Array | None]:
    """Do what :func:`transformer_block_backward` does, without its checks."""
    p = parameters

    def normed(rows: Array, n: NormParameters) -> Array:
        return unchecked_layer_norm(xp, rows, n.weight, n.bias, eps)

    def norm_back(d_rows: Array, rows: Array, n: NormParameters) -> tuple[Array, NormParameters]:
        d_rows, d_weight, d_bias = unchecked_layer_norm_backward(
            xp, d_rows, rows, n.weight, n.bias, eps
        )
        return d_rows, NormParameters(d_weight, d_bias)

    if norm == "pre":
        entering = normed(x, p.norm_1)
        attended, record = attend_and_keep(xp, entering, p.attention, context, call)
        middle = x + attended
        fed = normed(middle, p.norm_2)
        d_fed, d_network = _feed_backward(xp, d_output, fed, p.feed_forward, activation)
        d_rows, d_norm_2 = norm_back(d_fed, middle, p.norm_2)
        d_middle = d_output + d_rows
    else:
        entering = x
        attended, record = attend_and_keep(xp, entering, p.attention, context, call)
        middle = x + attended
        fed = normed(middle, p.norm_1)
        left = fed + feed_rows(xp, fed, p.feed_forward, activation)
        d_left, d_norm_2 = norm_back(d_output, left, p.norm_2)
        d_fed, d_network = _feed_backward(xp, d_left, fed, p.feed_forward, activation)
        d_middle, d_norm_1 = norm_back(d_left + d_fed, middle, p.norm_1)
    d_entering, d_attention, d_context = unchecked_multi_head_attention_backward(
        xp, d_middle, entering, p.attention, context, call, record
    )
    if norm == "pre":
        d_entering, d_norm_1 = norm_back(d_entering, x, p.norm_1)
    d_parameters = BlockParameters(d_attention, d_norm_1, d_network, d_norm_2)
    return d_middle + d_entering, d_parameters, d_context


def _feed_backward(
    xp: Namespace,
    d_output: Array,
    x: Array,
    network: FeedForwardParameters | GatedFeedForwardParameters,
    activation: Activation,
) -> tuple[Array, FeedForwardParameters | GatedFeedForwardParameters]:
    if isinstance(network, GatedFeedForwardParameters):
        return unchecked_gated_feed_forward_backward(xp, d_output, x, network, activation)
    return unchecked_feed_forward_backward(xp, d_output, x, network, activation)


def transformer_stack_backward(
    d_output: Array,
    x: Array,
    blocks: Sequence[BlockParameters],
    *,
    norm: Norm = "post",
    final_norm: NormParameters | None = None,
    eps: float = 1e-5,
    **options: Any,
) -> tuple[Array, tuple[BlockParameters, ...], NormParameters | None]:
    """Go back through :func:`companion.transformer_stack`.

    By :prf:ref:`prop-use-sums`.

    Of the way there only what enters each block is kept; a block's inside is made again on the way
    back, for one more forward in time and a fraction of the memory.

    Parameters
    ----------
    d_output : array, shape (..., N, d)
        Gradient with respect to the last output.
    x : array, shape (..., N, d)
    blocks : sequence of BlockParameters
    norm, final_norm, eps
        As in the forward.
    **options
        `activation`, masks and the like, as in :func:`transformer_block_backward`, without a
        context.

    Returns
    -------
    d_x : array, shaped like x
    d_blocks : tuple of BlockParameters
    d_final_norm : NormParameters, or None where there is none

    Raises
    ------
    TypeError, ValueError
        As the forward says, and if `d_output` does not fit it.
    """
    check_final_norm(norm, final_norm)
    for name in ("states", "return_all", "context"):
        if options.get(name) is not None and options[name] is not False:
            raise ValueError(f"{name} must be left out: there is no way back through it")
    array_namespace(d_output=d_output, x=x)
    require_same_dtype(x=x, d_output=d_output)
    check_gradient(d_output, x.shape)
    entering = [x]
    for p in blocks:
        entering.append(transformer_block(entering[-1], p, norm=norm, eps=eps, **options))
    d_final_norm = None
    if final_norm is not None:
        d_output, d_weight, d_bias = layer_norm_backward(
            d_output, entering[-1], final_norm.weight, final_norm.bias, eps=eps
        )
        d_final_norm = NormParameters(d_weight, d_bias)
    d_blocks: list[BlockParameters] = []
    for p, rows in zip(reversed(blocks), reversed(entering[:-1]), strict=True):
        d_output, d_block, *_ = transformer_block_backward(
            d_output, rows, p, norm=norm, eps=eps, **options
        )
        d_blocks.insert(0, d_block)
    return d_output, tuple(d_blocks), d_final_norm
