"""A decoder's layer, forward with what the way back needs, and the way back.

Training goes through it again and again, so an array that nobody else needs is changed in its
place: fresh memory costs about as much as what is computed into it.
"""

import math
from typing import NamedTuple

import array_api_compat

from companion.arrays import Array, DType, Namespace, broadcast_shape, cast, widen
from companion.attention import Call, is_tiled
from companion.gradients.attention import (
    AttentionRecord,
    unchecked_attention_backward,
    unchecked_attention_record,
)
from companion.gradients.norms import unchecked_rms_norm_backward
from companion.gradients.projections import unchecked_project_backward
from companion.heads import unchecked_merge_heads, unchecked_split_heads
from companion.kernels.reach import Reach
from companion.kernels.textbook import group, ungroup
from companion.language_model.config import LanguageModelConfig
from companion.language_model.parameters import DecoderLayerParameters
from companion.libraries import exp_in_place, largest_float
from companion.masks import unchecked_mask_scores
from companion.norms import unchecked_rms_norm
from companion.positions.rotary import rotation, turn
from companion.projections import unchecked_project

SHORT = 256
"""Tokens up to which all weights are kept, however many texts there are: tiles save memory that
grows with the square of the length, and have to be made again."""


class Passage(NamedTuple):
    """What all layers share on a way through some texts."""

    config: LanguageModelConfig
    turns: tuple[Array, Array]  # cosines and sines of the pairs' angles, (N, d_k/2)
    call: Call  # of a long text
    mask: Array | None  # of a short one: what is added to its scores, −∞ where a row sees no key


class LayerRecord(NamedTuple):
    """What a layer keeps for the way back, all of it (..., N, ·) or (..., heads, N, ·)."""

    x: Array
    rows: Array  # normed, as they enter the projections
    query: Array
    key: Array
    value: Array
    weights: Array | None  # of a short text; sums of a long one
    attention: AttentionRecord
    middle: Array
    rows_2: Array  # normed, as they enter the network
    gate_up: Array  # wide, as is its share
    share: Array  # the sigmoid of the gate


def passage(
    xp: Namespace,
    token_ids: Array,
    config: LanguageModelConfig,
    attn_mask: Array | None,
    dtype: DType,
) -> Passage:
    """Make, once for all layers, what does not depend on their rows; `dtype` is a wide one."""
    device, length = array_api_compat.device(token_ids), token_ids.shape[-1]
    positions = xp.arange(length, device=device)
    turns = rotation(xp, positions, config.head_dim, config.rotary_base)
    shape = (*token_ids.shape[:-1], config.head_count, length, length)
    scale, reach = 1 / math.sqrt(config.head_dim), Reach(0, -1, 0)
    call = Call(shape, attn_mask, reach, scale, None, False, None, None)
    if length > SHORT and is_tiled(xp, call):
        return Passage(config, turns, call, None)
    mask = xp.zeros((length, length), dtype=dtype, device=device)
    for part in (attn_mask, *reach.masks(xp, device, range(length), range(length))):
        if part is not None:
            whole = xp.broadcast_to(mask, broadcast_shape(mask.shape, part.shape))
            mask = unchecked_mask_scores(xp, whole, part)
    return Passage(config, turns, call, mask)


def layer_forward(
    xp: Namespace, x: Array, layer: DecoderLayerParameters, through: Passage
) -> tuple[Array, LayerRecord]:
    """Send rows through a layer as :func:`companion.decoder_states` does, and keep what counts."""
    config = through.config
    heads, shared, eps = config.head_count, config.key_value_head_count, config.eps
    rows = unchecked_rms_norm(xp, x, layer.norm_1, eps)
    bundle = unchecked_split_heads(
        xp, unchecked_project(xp, rows, layer.w_qkv, None), heads + 2 * shared
    )
    turned = turn(xp, bundle[..., : heads + shared, :, :], *through.turns, "half")
    query, key = turned[..., :heads, :, :], turned[..., heads:, :, :]
    value = bundle[..., heads + shared :, :, :]
    if through.mask is None:
        record, weights = unchecked_attention_record(xp, query, key, value, through.call), None
    else:
        output, weights = _attend(xp, query, key, value, through)
        record = AttentionRecord(output, output, output)  # the weights stand for the sums
    mixed = unchecked_merge_heads(xp, record.output)
    middle = x + unchecked_project(xp, mixed, layer.w_o, None)
    rows_2 = unchecked_rms_norm(xp, middle, layer.norm_2, eps)
    gate_up = widen(xp, unchecked_project(xp, rows_2, layer.w_gate_up, None))
    gate, up = gate_up[..., : config.hidden_width], gate_up[..., config.hidden_width :]
    share = _sigmoid(xp, gate)
    opened = cast(xp, gate * share * up, x.dtype)
    out = middle + unchecked_project(xp, opened, layer.w_down, None)
    kept = (x, rows, query, key, value, weights, record, middle, rows_2, gate_up, share)
    return out, LayerRecord(*kept)


def _attend(
    xp: Namespace, query: Array, key: Array, value: Array, through: Passage
) -> tuple[Array, Array]:
    """Attend with all weights in memory, and return them in wide floats beside the output."""
    heads_and_rows, dtype = query.shape[-3:-1], query.dtype
    query, key, value = widen(xp, query), widen(xp, key), widen(xp, value)
    products = group(xp, query * through.call.scale, key) @ key.mT
    weights = ungroup(xp, products, heads_and_rows)  # (..., H, N, N)
    weights += through.mask
    top = xp.max(weights, axis=-1, keepdims=True)
    weights -= xp.maximum(top, -largest_float(xp, weights.dtype))  # of a row that sees nothing
    weights = exp_in_place(xp, weights)
    weights /= xp.maximum(xp.sum(weights, axis=-1, keepdims=True), 0.5)
    output = ungroup(xp, group(xp, weights, value) @ value, heads_and_rows)
    return cast(xp, output, dtype), weights


def _sigmoid(xp: Namespace, x: Array) -> Array:
    """Return 1 / (1 + exp(−x)) for wide floats."""
    share: Array = exp_in_place(xp, xp.minimum(x, 80.0))  # from there on it is 1
    share /= 1 + share
    return share


def layer_backward(
    xp: Namespace,
    d_output: Array,
    layer: DecoderLayerParameters,
    through: Passage,
    kept: LayerRecord,
) -> tuple[Array, DecoderLayerParameters]:
    """Go back through a layer: the network, then the attention, each beside its residual."""
    heads, eps = through.config.head_count, through.config.eps
    d_rows, d_w_gate_up, d_down = _network_backward(xp, d_output, layer, kept)
    d_middle, d_norm_2 = unchecked_rms_norm_backward(xp, d_rows, kept.middle, layer.norm_2, eps)
    d_middle += d_output
    mixed = unchecked_merge_heads(xp, kept.attention.output)
    d_mixed, d_w_o, _ = unchecked_project_backward(xp, d_middle, mixed, layer.w_o, None)
    d_heads = unchecked_split_heads(xp, d_mixed, heads)
    if kept.weights is None:
        d_query, d_key, d_value = unchecked_attention_backward(
            xp, d_heads, kept.query, kept.key, kept.value, through.call, kept.attention
        )
    else:
        d_query, d_key, d_value = _attend_backward(xp, d_heads, kept, kept.weights, through)
    cosine, sine = through.turns
    d_turned = turn(xp, xp.concat([d_query, d_key], axis=-3), cosine, -sine, "half")
    d_bundle = unchecked_merge_heads(xp, xp.concat([d_turned, d_value], axis=-3))
    d_rows, d_w_qkv, _ = unchecked_project_backward(xp, d_bundle, kept.rows, layer.w_qkv, None)
    d_x, d_norm_1 = unchecked_rms_norm_backward(xp, d_rows, kept.x, layer.norm_1, eps)
    d_x += d_middle
    return d_x, DecoderLayerParameters(d_norm_1, d_w_qkv, d_w_o, d_norm_2, d_w_gate_up, d_down)


def _network_backward(
    xp: Namespace, d_output: Array, layer: DecoderLayerParameters, kept: LayerRecord
) -> tuple[Array, Array, Array]:
    """Go back through the gated network: rows, the wide weight and the narrow one."""
    dtype, hidden = d_output.dtype, layer.w_down.shape[-2]
    gate, up = kept.gate_up[..., :hidden], kept.gate_up[..., hidden:]
    bent = gate * kept.share
    opened = cast(xp, bent * up, dtype)
    d_narrow, d_down, _ = unchecked_project_backward(xp, d_output, opened, layer.w_down, None)
    d_opened = widen(xp, d_narrow)
    # The slope of x·σ(x) is σ(x) + x·σ(x)·(1 − σ(x)).
    d_gate = 1 - kept.share
    d_gate *= bent
    d_gate += kept.share
    d_gate *= d_opened
    d_gate *= up
    bent *= d_opened
    d_gate_up = cast(xp, xp.concat([d_gate, bent], axis=-1), dtype)
    d_rows, d_w_gate_up, _ = unchecked_project_backward(
        xp, d_gate_up, kept.rows_2, layer.w_gate_up, None
    )
    return d_rows, d_w_gate_up, d_down


def _attend_backward(
    xp: Namespace, d_output: Array, kept: LayerRecord, weights: Array, through: Passage
) -> tuple[Array, Array, Array]:
    """Go back through attention whose weights were kept (:eq:`eq-attention-backward`)."""
    dtype, heads_and_rows = kept.query.dtype, kept.query.shape[-3:-1]
    query, key, value = (widen(xp, part) for part in (kept.query, kept.key, kept.value))
    d_wide, output = widen(xp, d_output), widen(xp, kept.attention.output)
    d_rows = group(xp, d_wide, value)  # (..., H_kv, H/H_kv · N, d_k)
    d_value = group(xp, weights, value).mT @ d_rows
    d_scores = ungroup(xp, d_rows @ value.mT, heads_and_rows)  # (..., H, N, N)
    d_scores -= xp.sum(d_wide * output, axis=-1, keepdims=True)  # what a row has in common
    d_scores *= weights
    d_products = group(xp, d_scores, key)
    d_query = ungroup(xp, d_products @ key, heads_and_rows)
    d_query *= through.call.scale
    d_key = d_products.mT @ group(xp, query, key)
    d_key *= through.call.scale
    return cast(xp, d_query, dtype), cast(xp, d_key, dtype), cast(xp, d_value, dtype)
