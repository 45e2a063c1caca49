"""Backwards through a decoder: from the loss to every weight."""

import math
from typing import Any, NamedTuple

import array_api_compat

from companion.arrays import (
    Array,
    Namespace,
    array_namespace,
    cast,
    computing_dtype,
    require_same_dtype,
    widen,
)
from companion.attention import Call, is_tiled
from companion.attention import unchecked_scaled_dot_product_attention as attend
from companion.feed_forward import unchecked_silu
from companion.gradients.attention import (
    AttentionRecord,
    unchecked_attention_backward,
    unchecked_attention_record,
)
from companion.gradients.feed_forward import silu_and_slope
from companion.gradients.norms import unchecked_rms_norm_backward
from companion.gradients.projections import unchecked_embed_backward, unchecked_project_backward
from companion.gradients.sums import check_gradient
from companion.heads import unchecked_merge_heads, unchecked_split_heads
from companion.kernels.reach import Reach
from companion.language_model.config import LanguageModelConfig
from companion.language_model.decoder import check_decoder, check_states, unchecked_state_logits
from companion.language_model.loss import check_loss, check_targets, surprises
from companion.language_model.parameters import DecoderLayerParameters, LanguageModelParameters
from companion.norms import unchecked_rms_norm
from companion.packing import unchecked_embed
from companion.positions.rotary import Pairing, check_rotation, rotate_back, rotation, turn
from companion.projections import unchecked_project
from companion.softmax import unchecked_softmax

__all__ = [
    "cross_entropy_backward",
    "loss_and_gradients",
    "rotate_backward",
    "state_logits_backward",
]


def rotate_backward(
    d_output: Array,
    x: Array,
    positions: Array,
    *,
    base: float = 10_000.0,
    pairing: Pairing = "half",
) -> Array:
    """Go back through :func:`companion.rotate`: turn the gradient the other way.

    By :prf:ref:`prop-rotation-backward`.

    A rotation's transpose is its inverse. Positions get no gradient.

    Parameters
    ----------
    d_output : array, shaped like x
    x, positions, base, pairing
        As in the forward.

    Returns
    -------
    array, shaped like x

    Raises
    ------
    TypeError, ValueError
        As the forward says, and if `d_output` does not fit it.
    """
    xp = array_namespace(d_output=d_output, x=x, positions=positions)
    check_rotation(xp, x, positions, base, pairing)
    require_same_dtype(x=x, d_output=d_output)
    check_gradient(d_output, x.shape)
    return rotate_back(d_output, positions, base=base, pairing=pairing)


def cross_entropy_backward(d_loss: Array | float, logits: Array, targets: Array) -> Array:
    r"""Go back through :func:`companion.cross_entropy`: the weights less what was right.

    By :prf:ref:`prop-cross-entropy-backward`.

    With weights p, n counted targets and the row's target t:
    :math:`d\ell_j = (p_j - [j = t]) / n`. Each row sums to 0, and a row that is left out gets 0.

    Parameters
    ----------
    d_loss : float, or array of shape ()
        1 where the loss itself is what falls.
    logits : array, shape (..., V)
    targets : integer array, shape (...)

    Returns
    -------
    array, shaped like logits

    Raises
    ------
    TypeError, ValueError
        As the forward says, and if `d_loss` is no single number.
    """
    xp = array_namespace(logits=logits, targets=targets)
    check_loss(xp, logits, targets)
    if getattr(d_loss, "shape", ()) != ():
        raise ValueError(f"d_loss must be a single number, got shape {d_loss.shape}")  # type: ignore[union-attr]
    counted = xp.astype(targets >= 0, widen(xp, logits).dtype)
    return unchecked_cross_entropy_backward(xp, d_loss / xp.sum(counted), logits, targets)


def unchecked_cross_entropy_backward(
    xp: Namespace, share: Any, logits: Array, targets: Array
) -> Array:
    """Do what :func:`cross_entropy_backward` does, with d_loss / n, without its checks."""
    weights = unchecked_softmax(xp, widen(xp, logits), -1)
    numbers = xp.arange(
        logits.shape[-1], dtype=targets.dtype, device=array_api_compat.device(targets)
    )
    right = cast(xp, targets[..., None] == numbers, weights.dtype)
    counted = cast(xp, targets >= 0, weights.dtype)[..., None]
    return cast(xp, (weights - right) * (counted * share), logits.dtype)


def state_logits_backward(
    d_logits: Array, states: Array, parameters: LanguageModelParameters
) -> tuple[Array, Array, Array]:
    """Go back through :func:`companion.state_logits`.

    By :prf:ref:`thm-product-backward` and :prf:ref:`prop-norm-backward`.

    Parameters
    ----------
    d_logits : array, shape (..., V)
    states : array, shape (..., d)
    parameters : LanguageModelParameters

    Returns
    -------
    d_states : array, shaped like states
    d_norm : array, shape (d,)
    d_unembedding : array, shape (V, d)
        Where the output is tied it is one of the embedding's two gradients; the other comes from
        the rows that were looked up, and they add.

    Raises
    ------
    TypeError, ValueError
        As the forward says, and if `d_logits` does not fit it.
    """
    p = parameters
    xp = array_namespace(d_logits=d_logits, states=states, embedding=p.embedding)
    check_states(xp, states, p)
    require_same_dtype(states=states, d_logits=d_logits)
    check_gradient(d_logits, (*states.shape[:-1], p.config.vocabulary_size), "d_logits")
    return unchecked_state_logits_backward(xp, d_logits, states, p)


def unchecked_state_logits_backward(
    xp: Namespace, d_logits: Array, states: Array, parameters: LanguageModelParameters
) -> tuple[Array, Array, Array]:
    """Do what :func:`state_logits_backward` does, without its checks."""
    p = parameters
    flat = xp.reshape(states, (math.prod(states.shape[:-1]), states.shape[-1]))
    d_flat = xp.reshape(d_logits, (flat.shape[0], d_logits.shape[-1]))
    rows = unchecked_rms_norm(xp, flat, p.norm, p.config.eps)
    d_wide = widen(xp, d_flat)
    d_unembedding = cast(xp, d_wide.mT @ widen(xp, rows), p.unembedding.dtype)
    d_normed = cast(xp, d_wide @ widen(xp, p.unembedding), flat.dtype)
    d_rows, d_norm = unchecked_rms_norm_backward(xp, d_normed, flat, p.norm, p.config.eps)
    return xp.reshape(d_rows, states.shape), d_norm, d_unembedding


SHORT = 256
"""Tokens up to which all weights are kept, however many texts there are: tiles save memory that
grows with the square of the length, and have to be made again."""


class LayerRecord(NamedTuple):
    """What a layer keeps for the way back, all of it (..., N, ·) or (..., heads, N, ·)."""

    x: Array
    rows: Array  # normed, as they enter the projections
    query: Array
    key: Array
    value: Array
    weights: Array | None  # of a small call; a record of a long one
    record: AttentionRecord
    middle: Array
    rows_2: Array  # normed, as they enter the network
    gate_up: Array


def loss_and_gradients(
    token_ids: Array,
    targets: Array,
    parameters: LanguageModelParameters,
    *,
    attn_mask: Array | None = None,
) -> tuple[Array, LanguageModelParameters]:
    """Compute a decoder's loss on some texts, and its gradient with respect to every weight.

    It begins with :prf:ref:`prop-cross-entropy-backward`; what is used twice, such as a row beside
    its residual and a tied embedding, gets a sum: :prf:ref:`prop-use-sums`.

    Parameters
    ----------
    token_ids : integer array, shape (..., N)
    targets : integer array, shape (..., N)
        The token after each; −1 leaves one out.
    parameters : LanguageModelParameters
    attn_mask : boolean or float array that broadcasts to (..., H, N, N), optional
        Beside the causal mask: what keeps apart documents that are packed into one text.

    Returns
    -------
    loss : array, shape ()
        The sum over the counted targets divided by their number: :func:`companion.cross_entropy`.
    gradients : LanguageModelParameters
        A gradient in the place of each weight.

    Raises
    ------
    TypeError, ValueError
        As :func:`companion.decoder_states` and :func:`companion.cross_entropy` say.
    """
    p = parameters
    xp = array_namespace(
        token_ids=token_ids, targets=targets, embedding=p.embedding, attn_mask=attn_mask
    )
    check_decoder(xp, token_ids, p, None, None, attn_mask)
    check_targets(xp, targets, token_ids.shape, p.config.vocabulary_size)
    # 16 bits would not count far: the next whole number after 256 is 258 in bfloat16.
    count = xp.sum(xp.astype(targets >= 0, computing_dtype(xp, p.embedding.dtype)))
    total, gradients = unchecked_loss_and_gradients(xp, token_ids, targets, p, attn_mask, 1 / count)
    return total / count, gradients


def unchecked_loss_and_gradients(
    xp: Namespace,
    token_ids: Array,
    targets: Array,
    parameters: LanguageModelParameters,
    attn_mask: Array | None,
    share: Any,
) -> tuple[Array, LanguageModelParameters]:
    """Do what :func:`loss_and_gradients` does, without its checks.

    The loss is the sum over the targets; the gradients are that of the sum times `share`, so that
    those of the shards of a batch add up.
    """
    p, c = parameters, parameters.config
    positions = xp.arange(token_ids.shape[-1], device=array_api_compat.device(token_ids))
    turns = rotation(xp, positions, c.head_dim, c.rotary_base)
    x = unchecked_embed(xp, token_ids, p.embedding)
    records = []
    for layer in p.layers:
        x, record = _layer(xp, x, layer, c, turns, attn_mask)
        records.append(record)
    logits = unchecked_state_logits(xp, x, p)
    total = xp.sum(surprises(xp, logits, targets))
    d_logits = unchecked_cross_entropy_backward(xp, share, logits, targets)
    d_x, d_norm, d_unembedding = unchecked_state_logits_backward(xp, d_logits, x, p)
    d_layers = []
    for layer, record in zip(reversed(p.layers), reversed(records), strict=True):
        d_x, d_layer = _layer_backward(xp, d_x, layer, c, turns, attn_mask, record)
        d_layers.append(d_layer)
    d_embedding = unchecked_embed_backward(xp, d_x, token_ids, p.embedding)
    tied = p.output is None
    gradients = LanguageModelParameters(
        c,
        d_embedding + d_unembedding if tied else d_embedding,
        tuple(reversed(d_layers)),
        d_norm,
        None if tied else d_unembedding,
    )
    return total, gradients


def _layer(
    xp: Namespace,
    x: Array,
    layer: DecoderLayerParameters,
    config: LanguageModelConfig,
    turns: tuple[Array, Array],
    attn_mask: Array | None,
) -> tuple[Array, LayerRecord]:
    """Send rows through a layer as :func:`companion.decoder_states` does, and keep what counts."""
    heads, shared, eps = config.head_count, config.key_value_head_count, config.eps
    rows = unchecked_rms_norm(xp, x, layer.norm_1, eps)
    bundle = unchecked_split_heads(
        xp, unchecked_project(xp, rows, layer.w_qkv, None), heads + 2 * shared
    )
    turned = turn(xp, bundle[..., : heads + shared, :, :], *turns, "half")
    query, key = turned[..., :heads, :, :], turned[..., heads:, :, :]
    value = bundle[..., heads + shared :, :, :]
    call = _call(query, key, attn_mask)
    if is_tiled(xp, call) and call.shape[-2] > SHORT:
        record, weights = unchecked_attention_record(xp, query, key, value, call), None
    else:
        attended: Any = attend(xp, query, key, value, call._replace(return_weights=True))
        output, weights = attended
        record = AttentionRecord(output, output, output)  # the weights stand for the sums
    mixed = unchecked_merge_heads(xp, record.output)
    middle = x + unchecked_project(xp, mixed, layer.w_o, None)
    rows_2 = unchecked_rms_norm(xp, middle, layer.norm_2, eps)
    gate_up = unchecked_project(xp, rows_2, layer.w_gate_up, None)
    hidden = config.hidden_width
    opened = unchecked_silu(xp, gate_up[..., :hidden]) * gate_up[..., hidden:]
    out = middle + unchecked_project(xp, opened, layer.w_down, None)
    kept = (x, rows, query, key, value, weights, record, middle, rows_2, gate_up)
    return out, LayerRecord(*kept)


def _call(query: Array, key: Array, attn_mask: Array | None) -> Call:
    shape = (*query.shape[:-1], key.shape[-2])
    scale = 1 / math.sqrt(query.shape[-1])
    return Call(shape, attn_mask, Reach(0, -1, 0), scale, None, False, None, None)


def _layer_backward(
    xp: Namespace,
    d_output: Array,
    layer: DecoderLayerParameters,
    config: LanguageModelConfig,
    turns: tuple[Array, Array],
    attn_mask: Array | None,
    kept: LayerRecord,
) -> tuple[Array, DecoderLayerParameters]:
    """Go back through a layer: the network, then the attention, each beside its residual."""
    heads, hidden = config.head_count, config.hidden_width
    gate, up = kept.gate_up[..., :hidden], kept.gate_up[..., hidden:]
    bent, slope = silu_and_slope(xp, gate)
    d_opened, d_down, _ = unchecked_project_backward(xp, d_output, bent * up, layer.w_down, None)
    d_gate = cast(xp, widen(xp, d_opened * up) * slope, gate.dtype)
    d_gate_up = xp.concat([d_gate, d_opened * bent], axis=-1)
    d_rows, d_w_gate_up, _ = unchecked_project_backward(
        xp, d_gate_up, kept.rows_2, layer.w_gate_up, None
    )
    d_middle, d_norm_2 = unchecked_rms_norm_backward(
        xp, d_rows, kept.middle, layer.norm_2, config.eps
    )
    d_middle = d_middle + d_output
    mixed = unchecked_merge_heads(xp, kept.record.output)
    d_mixed, d_w_o, _ = unchecked_project_backward(xp, d_middle, mixed, layer.w_o, None)
    qkv = (kept.query, kept.key, kept.value)
    whole = kept.weights is not None  # so the way back forms no tiles either
    d_query, d_key, d_value = unchecked_attention_backward(
        xp,
        unchecked_split_heads(xp, d_mixed, heads),
        *qkv,
        _call(kept.query, kept.key, attn_mask)._replace(return_weights=whole),
        None if whole else kept.record,
        kept.weights,
    )
    cosine, sine = turns
    d_turned = turn(xp, xp.concat([d_query, d_key], axis=-3), cosine, -sine, "half")
    d_bundle = unchecked_merge_heads(xp, xp.concat([d_turned, d_value], axis=-3))
    d_rows, d_w_qkv, _ = unchecked_project_backward(xp, d_bundle, kept.rows, layer.w_qkv, None)
    d_x, d_norm_1 = unchecked_rms_norm_backward(xp, d_rows, kept.x, layer.norm_1, config.eps)
    return d_x + d_middle, DecoderLayerParameters(
        d_norm_1, d_w_qkv, d_w_o, d_norm_2, d_w_gate_up, d_down
    )
