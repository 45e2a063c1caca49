"""The transformer block: attention and feed-forward, each with a residual and a norm."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args, overload

import numpy as np

from companion.arrays import (
    Array,
    DType,
    Namespace,
    array_module,
    array_namespace,
    require_same_dtype,
)
from companion.feed_forward import (
    FeedForwardParameters,
    GatedFeedForwardParameters,
    check_activation,
    gelu,
    silu,
    unchecked_feed_forward,
    unchecked_gated_feed_forward,
)
from companion.heads import AttentionParameters, State, check_multi_head_attention
from companion.norms import NormParameters, check_norm, layer_norm, unchecked_layer_norm
from companion.parameters import Parameters

__all__ = ["BlockParameters", "transformer_block", "transformer_stack"]

Norm: TypeAlias = Literal["post", "pre"]


@dataclass(frozen=True, eq=False)
class BlockParameters(Parameters):
    """The weights of one transformer block.

    Attributes
    ----------
    attention : AttentionParameters
    norm_1 : NormParameters
        Of the attention: after it in post-norm, before it in pre-norm.
    feed_forward : FeedForwardParameters or GatedFeedForwardParameters
    norm_2 : NormParameters
        Of the feed-forward network.

    Raises
    ------
    TypeError
        If the parts come from different libraries or differ in dtype.
    ValueError
        If they are not all of one width d.
    """

    attention: AttentionParameters
    norm_1: NormParameters
    feed_forward: FeedForwardParameters | GatedFeedForwardParameters
    norm_2: NormParameters

    def __post_init__(self) -> None:
        network = self.feed_forward
        gated = isinstance(network, GatedFeedForwardParameters)
        enter, leave = ("w_gate", "w_down") if gated else ("w_1", "w_2")
        arrays = {
            "attention.w_q": self.attention.w_q,
            "norm_1.weight": self.norm_1.weight,
            f"feed_forward.{enter}": getattr(network, enter),
            "norm_2.weight": self.norm_2.weight,
        }
        array_namespace(**arrays)
        require_same_dtype(**arrays)
        width = self.attention.w_q.shape[1]
        widths = {
            "attention.w_o": self.attention.w_o.shape[1],
            "norm_1.weight": self.norm_1.weight.shape[0],
            f"feed_forward.{enter}": getattr(network, enter).shape[0],
            f"feed_forward.{leave}": getattr(network, leave).shape[1],
            "norm_2.weight": self.norm_2.weight.shape[0],
        }
        for name, got in widths.items():
            if got != width:
                raise ValueError(
                    f"{name} of BlockParameters must have the width of attention.w_q, d={width}, "
                    f"got {got}"
                )

    @classmethod
    def random(
        cls,
        rng: np.random.Generator,
        *,
        width: int,
        heads: int,
        hidden: int,
        bias: bool = True,
        gated: bool = False,
        xp: Namespace | None = None,
        dtype: DType = None,
        **sizes: Any,
    ) -> "BlockParameters":
        """Draw weights of variance 1 / (number of inputs); biases are 0 and norms neutral.

        Parameters
        ----------
        rng : numpy.random.Generator
        width, heads, hidden : int
            d, H and d_ff.
        bias : bool
            Whether there are biases, in the norms too.
        gated : bool
            Whether the feed-forward network is a gated one.
        xp, dtype : optional
            Array module and floating dtype, as in :func:`companion.random_normal`.
        **sizes
            `kv_heads`, `d_k` and `d_v` of :meth:`AttentionParameters.random`.
        """
        made: dict[str, Any] = {"xp": array_module() if xp is None else xp, "dtype": dtype}
        attention = AttentionParameters.random(
            rng, width=width, heads=heads, bias=bias, **sizes, **made
        )
        network: FeedForwardParameters | GatedFeedForwardParameters = (
            GatedFeedForwardParameters.random(rng, width=width, hidden=hidden, **made)
            if gated
            else FeedForwardParameters.random(rng, width=width, hidden=hidden, bias=bias, **made)
        )
        norms = [NormParameters.neutral(width, bias=bias, **made) for _ in range(2)]
        return cls(attention, norms[0], network, norms[1])


def transformer_block(
    x: Array,
    parameters: BlockParameters,
    *,
    norm: Norm = "post",
    activation: Callable[[Array], Array] | None = None,
    eps: float = 1e-5,
    **options: Any,
) -> Array:
    """Add what attention brings, then what the feed-forward network brings.

    Parameters
    ----------
    x : array, shape (..., N, d)
    parameters : BlockParameters
    norm : {"post", "pre"}
        ``"post"`` norms each sum (:eq:`eq-post-norm`: the 2017 transformer, BERT); ``"pre"`` norms
        what enters each part and leaves the sum alone (:eq:`eq-pre-norm`: GPT-2).
    activation : callable, optional
        Of the feed-forward network; left out, GELU, and SiLU in a gated one.
    eps : float
        Of the layer norms.
    **options
        `state`, masks and the like, as in :func:`companion.multi_head_attention`.

    Returns
    -------
    array, shape (..., N, d)

    Raises
    ------
    TypeError, ValueError
        If `norm` is none of the two, and as the parts say.
    """
    p = parameters
    if norm not in get_args(Norm):
        raise ValueError(f"norm must be 'post' or 'pre', got {norm!r}")
    if activation is None:
        activation = silu if isinstance(p.feed_forward, GatedFeedForwardParameters) else gelu
    xp = array_namespace(x=x, context=options.get("context"), w_q=p.attention.w_q)
    if norm == "pre":
        check_norm(xp, x, p.norm_1.weight, p.norm_1.bias, eps)
    attend: Callable[[Array], Any] = check_multi_head_attention(xp, x, p.attention, **options)
    if norm == "post":
        check_norm(xp, x, p.norm_1.weight, p.norm_1.bias, eps)
    # The parts are of one width and dtype, so what fits the first fits the others.
    check_activation(x, activation)
    return unchecked_transformer_block(xp, x, p, norm, activation, eps, attend)


def unchecked_transformer_block(
    xp: Namespace,
    x: Array,
    parameters: BlockParameters,
    norm: Norm,
    activation: Callable[[Array], Array],
    eps: float,
    attend: Callable[[Array], Array],
) -> Array:
    """Do what :func:`transformer_block` does, without its checks."""
    p = parameters

    def feed(rows: Array) -> Array:
        return feed_rows(xp, rows, p.feed_forward, activation)

    def normed(rows: Array, n: NormParameters) -> Array:
        return unchecked_layer_norm(xp, rows, n.weight, n.bias, eps)

    if norm == "post":
        x = normed(x + attend(x), p.norm_1)
        return normed(x + feed(x), p.norm_2)
    x = x + attend(normed(x, p.norm_1))
    return x + feed(normed(x, p.norm_2))


def feed_rows(
    xp: Namespace,
    rows: Array,
    network: FeedForwardParameters | GatedFeedForwardParameters,
    activation: Callable[[Array], Array],
) -> Array:
    """Send rows through a feed-forward network of either kind."""
    if isinstance(network, GatedFeedForwardParameters):
        return unchecked_gated_feed_forward(xp, rows, network, activation)
    return unchecked_feed_forward(xp, rows, network, activation)


@overload
def transformer_stack(
    x: Array,
    blocks: Sequence[BlockParameters],
    *,
    norm: Norm = "post",
    final_norm: NormParameters | None = None,
    states: Sequence[State] | None = None,
    eps: float = 1e-5,
    return_all: Literal[False] = False,
    **options: Any,
) -> Array: ...
@overload
def transformer_stack(
    x: Array,
    blocks: Sequence[BlockParameters],
    *,
    norm: Norm = "post",
    final_norm: NormParameters | None = None,
    states: Sequence[State] | None = None,
    eps: float = 1e-5,
    return_all: Literal[True],
    **options: Any,
) -> list[Array]: ...
@overload
def transformer_stack(
    x: Array,
    blocks: Sequence[BlockParameters],
    *,
    norm: Norm = "post",
    final_norm: NormParameters | None = None,
    states: Sequence[State] | None = None,
    eps: float = 1e-5,
    return_all: bool,
    **options: Any,
) -> Array | list[Array]: ...
def transformer_stack(
    x: Array,
    blocks: Sequence[BlockParameters],
    *,
    norm: Norm = "post",
    final_norm: NormParameters | None = None,
    states: Sequence[State] | None = None,
    eps: float = 1e-5,
    return_all: bool = False,
    **options: Any,
) -> Array | list[Array]:
    """Send x through blocks one after the other, each with weights of its own.

    Parameters
    ----------
    x : array, shape (..., N, d)
    blocks : sequence of BlockParameters
    norm : {"post", "pre"}
        Where the blocks norm.
    final_norm : NormParameters, optional
        A last layer norm after the last block. A pre-norm stack needs it, because its sums are
        never normed; a post-norm stack has none.
    states : sequence of callables, one a block, optional
        What each layer does to, or keeps of, its queries, keys and values: `state` of
        :func:`companion.multi_head_attention`.
    eps : float
        Of the layer norms.
    return_all : bool
        Return the list of x and every block's output instead of the last one alone; a final norm
        is applied to the last.
    **options
        `activation`, masks and the like, as in :func:`transformer_block`.

    Returns
    -------
    array, shape (..., N, d), or the list of len(blocks) + 1 such arrays

    Raises
    ------
    TypeError, ValueError
        If `norm` is neither, if `final_norm` is missing in pre-norm or given in post-norm, if there
        are more or fewer states than blocks, and as the blocks say.
    """
    check_final_norm(norm, final_norm)
    if states is not None and len(states) != len(blocks):
        raise ValueError(f"states must be one for each of {len(blocks)} blocks, got {len(states)}")
    rows = [x]
    for layer, parameters in enumerate(blocks):
        state = None if states is None else states[layer]
        rows.append(
            transformer_block(rows[-1], parameters, norm=norm, eps=eps, state=state, **options)
        )
    if final_norm is not None:
        rows[-1] = layer_norm(rows[-1], final_norm.weight, final_norm.bias, eps=eps)
    return rows if return_all else rows[-1]


def check_final_norm(norm: Norm, final_norm: NormParameters | None) -> None:
    """Raise unless a pre-norm stack has a last norm, and a post-norm stack has none."""
    if norm not in get_args(Norm):
        raise ValueError(f"norm must be 'post' or 'pre', got {norm!r}")
    if (final_norm is None) == (norm == "pre"):
        raise ValueError(
            f"final_norm must be {'given' if norm == 'pre' else 'left out'} for norm={norm!r}, "
            f"got {type(final_norm).__name__}"
        )
