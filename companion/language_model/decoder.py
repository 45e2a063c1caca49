"""A decoder: token ids in, the rows that leave each block out, and logits for the next token."""

import math
from typing import Any, Literal, overload

import array_api_compat

from companion.arrays import (
    Array,
    Namespace,
    array_namespace,
    broadcast_shape,
    require_floating,
    require_same_dtype,
)
from companion.attention import Call, unchecked_scaled_dot_product_attention
from companion.feed_forward import unchecked_silu
from companion.heads import unchecked_merge_heads, unchecked_split_heads
from companion.kernels.reach import Reach
from companion.language_model.cache import KeyValueCache
from companion.language_model.config import LanguageModelConfig
from companion.language_model.fast_decoder import fast_states
from companion.language_model.parameters import DecoderLayerParameters, LanguageModelParameters
from companion.libraries import dtype_named, is_traced
from companion.masks import check_mask
from companion.norms import unchecked_rms_norm
from companion.packing import check_ids, unchecked_embed
from companion.positions.rotary import rotation, turn
from companion.projections import unchecked_project

__all__ = ["decoder_states", "state_logits"]


@overload
def decoder_states(
    token_ids: Array,
    parameters: LanguageModelParameters,
    cache: KeyValueCache | None = None,
    *,
    token_mask: Array | None = None,
    attn_mask: Array | None = None,
    return_all: Literal[False] = False,
) -> Array: ...
@overload
def decoder_states(
    token_ids: Array,
    parameters: LanguageModelParameters,
    cache: KeyValueCache | None = None,
    *,
    token_mask: Array | None = None,
    attn_mask: Array | None = None,
    return_all: Literal[True],
) -> list[Array]: ...
def decoder_states(
    token_ids: Array,
    parameters: LanguageModelParameters,
    cache: KeyValueCache | None = None,
    *,
    token_mask: Array | None = None,
    attn_mask: Array | None = None,
    return_all: bool = False,
) -> Array | list[Array]:
    """Send token ids through every block of a decoder.

    A block norms its rows by :func:`companion.rms_norm`, turns its queries and keys by
    :func:`companion.rotate`, lets each token attend to itself and to those before it, and adds what
    that brings; then the same for a gated network. With a cache the rows are the same however the
    text is cut (:prf:ref:`thm-cached-rows`).

    Parameters
    ----------
    token_ids : integer array, shape (..., N)
    parameters : LanguageModelParameters
    cache : KeyValueCache, optional
        What was read before them, which they attend to as well; they are added to it. Its batch
        shape is theirs.
    token_mask : boolean array, shape (..., N), optional
        True where there is a token; no token attends to padding, and padding takes up no position.
    attn_mask : boolean or float array that broadcasts to (..., H, N, S), optional
        As in :func:`companion.scaled_dot_product_attention`, beside the causal mask; S counts what
        the cache holds too.
    return_all : bool
        Return the list of the embeddings and every block's output instead of the last alone.

    Returns
    -------
    array, shape (..., N, d), or the list of layers + 1 such arrays
        :func:`state_logits` makes logits of any of them.

    Raises
    ------
    TypeError
        If the ids are no integers, or arrays come from different libraries.
    ValueError
        If an id is not in the vocabulary, shapes do not match, the text is longer than the model's
        context, or the cache is another model's.

    References
    ----------
    Touvron et al., *LLaMA*, 2023. Grouped heads: Ainslie et al., *GQA*, 2023.
    """
    p = parameters
    xp = array_namespace(
        token_ids=token_ids, embedding=p.embedding, token_mask=token_mask, attn_mask=attn_mask
    )
    check_decoder(xp, token_ids, p, cache, token_mask, attn_mask)
    return unchecked_decoder_states(xp, token_ids, p, cache, token_mask, attn_mask, return_all)


def check_decoder(
    xp: Namespace,
    token_ids: Array,
    parameters: LanguageModelParameters,
    cache: KeyValueCache | None,
    token_mask: Array | None,
    attn_mask: Array | None,
) -> None:
    """Raise unless the ids can be sent through the decoder."""
    p = parameters
    check_ids(xp, token_ids, p.config.vocabulary_size, "token_ids")
    _check_shapes(xp, token_ids, p, cache, token_mask)
    if attn_mask is not None:
        *batch, length = token_ids.shape
        keys = length + (0 if cache is None else cache.length)
        check_mask(xp, attn_mask, (*batch, p.config.head_count, length, keys), "attn_mask")


def _check_shapes(
    xp: Namespace,
    token_ids: Array,
    parameters: LanguageModelParameters,
    cache: KeyValueCache | None,
    token_mask: Array | None,
) -> None:
    config = parameters.config
    if token_ids.ndim < 1 or token_ids.shape[-1] == 0:
        raise ValueError(f"token_ids must be (..., N) with N at least 1, got {token_ids.shape}")
    if token_mask is not None:
        if token_mask.dtype != xp.bool:
            raise TypeError(f"token_mask must be boolean, got {token_mask.dtype}")
        if token_mask.shape != token_ids.shape:
            raise ValueError(
                f"token_mask must be {token_ids.shape} like token_ids, got {token_mask.shape}"
            )
    if cache is not None:
        if cache.config != config or cache.xp is not xp:
            raise ValueError("cache must be made for this model, by its new_cache")
        if cache.batch != token_ids.shape[:-1]:
            raise ValueError(
                f"cache must be of the batch shape {token_ids.shape[:-1]} of token_ids "
                f"{token_ids.shape}, got {cache.batch}"
            )
    length = _length(xp, token_ids, cache, token_mask)
    if length > config.context_length:
        raise ValueError(
            f"token_ids must end within the model's context of {config.context_length} tokens, "
            f"got {length} with what the cache has seen"
        )


def _length(
    xp: Namespace, token_ids: Array, cache: KeyValueCache | None, token_mask: Array | None
) -> int:
    """Return how long the longest text will be; 0 where nothing is known of it yet."""
    start = 0 if cache is None else cache.position
    if token_mask is None and isinstance(start, int):
        return start + token_ids.shape[-1]
    ends = _positions(xp, token_ids, cache, token_mask)
    return 0 if 0 in ends.shape or is_traced(ends) else int(xp.max(ends)) + 1


def unchecked_decoder_states(
    xp: Namespace,
    token_ids: Array,
    parameters: LanguageModelParameters,
    cache: KeyValueCache | None,
    token_mask: Array | None,
    attn_mask: Array | None,
    return_all: bool,
) -> Array | list[Array]:
    """Do what :func:`decoder_states` does, without its checks."""
    p, c = parameters, parameters.config
    count = token_ids.shape[-1]
    x = unchecked_embed(xp, token_ids, p.embedding)
    positions = _positions(xp, token_ids, cache, token_mask)
    turns = rotation(xp, positions, c.head_dim, c.rotary_base)
    visible = token_mask
    if cache is not None:
        cache.reserve(count)
        visible = cache.visible(token_mask, count)
    if p.is_plain and attn_mask is None:
        states = fast_states(x, p, turns, cache, visible, return_all)
    else:
        masks = [] if attn_mask is None else [attn_mask]
        if visible is not None:
            masks.append(visible[..., None, None, :])
        states = [x]
        for i, layer in enumerate(p.layers):
            x = decoder_layer(xp, x, layer, i, c, turns, cache, masks)
            states = [*states, x] if return_all else [x]
    if cache is not None:
        cache.advance(token_ids, token_mask)
    return states if return_all else states[-1]


def _positions(
    xp: Namespace, token_ids: Array, cache: KeyValueCache | None, token_mask: Array | None
) -> Array:
    """Say where each token stands in its own text: (N,), or (..., N) where some are padding."""
    start: Any = 0 if cache is None else cache.position
    device = array_api_compat.device(token_ids)
    wide = dtype_named(xp, "int64")
    if token_mask is not None:
        steps = xp.cumulative_sum(xp.astype(token_mask, wide), axis=-1) - 1
    else:
        steps = xp.arange(token_ids.shape[-1], dtype=wide, device=device)
    return steps + (start if isinstance(start, int) else start[..., None])


def decoder_layer(
    xp: Namespace,
    x: Array,
    layer: DecoderLayerParameters,
    number: int,
    config: LanguageModelConfig,
    turns: tuple[Array, Array],
    cache: KeyValueCache | None,
    masks: list[Array],
) -> Array:
    """Add what attention brings, then what the gated network brings."""
    heads, shared, eps = config.head_count, config.key_value_head_count, config.eps
    rows = unchecked_rms_norm(xp, x, layer.norm_1, eps)
    projected = unchecked_project(xp, rows, layer.w_qkv, None)
    bundle = unchecked_split_heads(xp, projected, heads + 2 * shared)  # (..., H + 2 H_kv, N, d_k)
    query = turn(xp, bundle[..., :heads, :, :], *turns, "half")
    key = turn(xp, bundle[..., heads : heads + shared, :, :], *turns, "half")
    value = bundle[..., heads + shared :, :, :]
    offset, left = 0, -1
    if cache is not None:
        offset, left = cache.length, -1 if cache.window is None else cache.window
        key, value = cache.extend(number, key, value)
    call = _call(xp, query, key, masks, Reach(offset, left, 0))
    mixed: Any = unchecked_scaled_dot_product_attention(xp, query, key, value, call)
    x = x + unchecked_project(xp, unchecked_merge_heads(xp, mixed), layer.w_o, None)
    rows = unchecked_rms_norm(xp, x, layer.norm_2, eps)
    gate_up = unchecked_project(xp, rows, layer.w_gate_up, None)
    hidden = config.hidden_width
    opened = unchecked_silu(xp, gate_up[..., :hidden]) * gate_up[..., hidden:]
    return x + unchecked_project(xp, opened, layer.w_down, None)


def _call(xp: Namespace, query: Array, key: Array, masks: list[Array], reach: Reach) -> Call:
    shape = (*query.shape[:-1], key.shape[-2])
    mask = masks[0] if masks else None
    if len(masks) > 1:  # the caller's own, boolean or float, and that of the padding
        own, seen = (xp.broadcast_to(m, broadcast_shape(*(m.shape for m in masks))) for m in masks)
        mask = own & seen if own.dtype == xp.bool else xp.where(seen, own, -xp.inf)
    return Call(shape, mask, reach, 1 / math.sqrt(query.shape[-1]), None, False, None, None)


def state_logits(states: Array, parameters: LanguageModelParameters) -> Array:
    """Score every token as the next one, by a norm and a product (:eq:`eq-next-token`).

    Parameters
    ----------
    states : array, shape (..., d)
        Rows that leave the last block; of an earlier one, they show what the model would say there
        (the logit lens).
    parameters : LanguageModelParameters

    Returns
    -------
    array, shape (..., V)

    Raises
    ------
    TypeError
        If `states` are of another library or dtype than the weights.
    ValueError
        If their width is not d.
    """
    p = parameters
    xp = array_namespace(states=states, embedding=p.embedding)
    check_states(xp, states, p)
    return unchecked_state_logits(xp, states, p)


def check_states(xp: Namespace, states: Array, parameters: LanguageModelParameters) -> None:
    """Raise unless logits can be made of the states."""
    require_floating(xp, states=states)
    require_same_dtype(embedding=parameters.embedding, states=states)
    width = parameters.config.width
    if states.ndim < 1 or states.shape[-1] != width:
        raise ValueError(f"states must be (..., d={width}), got shape {states.shape}")


def unchecked_state_logits(
    xp: Namespace, states: Array, parameters: LanguageModelParameters
) -> Array:
    """Do what :func:`state_logits` does, without its checks."""
    p = parameters
    rows = unchecked_rms_norm(xp, states, p.norm, p.config.eps)
    if states.ndim == 1:
        return unchecked_project(xp, rows[None, :], p.unembedding.mT, None)[0, :]
    return unchecked_project(xp, rows, p.unembedding.mT, None)
