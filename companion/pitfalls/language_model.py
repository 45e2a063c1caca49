"""Broken variants of the part on a causal language model: a cached step, a rotation, the logits.

The cached steps take new queries (H, T, d_k), keys (H_kv, T, d_k) and values (H_kv, T, d_v), none
of them turned, and the keys and values of the tokens before, or None. They return the output
(H, T, d_v) and what is to be kept. Right: what a block of :func:`companion.decoder_states` does
with a :class:`companion.KeyValueCache`.
"""

from typing import TypeAlias

from companion.arrays import Array, array_namespace, cast
from companion.attention import scaled_dot_product_attention
from companion.language_model.parameters import LanguageModelParameters
from companion.positions.rotary import rotate, rotation
from companion.projections import project

__all__ = [
    "cached_attention_from_zero",
    "cached_attention_of_unturned_keys",
    "cached_attention_without_offset",
    "rotate_with_mixed_pairs",
    "state_logits_without_norm",
]

Past: TypeAlias = tuple[Array, Array] | None


def cached_attention_from_zero(
    query: Array, key: Array, value: Array, past: Past = None, base: float = 10_000.0
) -> tuple[Array, tuple[Array, Array]]:
    """Count the positions from zero in every call, as if nothing had been read before."""
    xp = array_namespace(query=query, key=key, value=value)
    places = xp.arange(query.shape[-2])
    query, key = rotate(query, places, base=base), rotate(key, places, base=base)
    return _attend(query, *_behind(past, key, value), offset=_length(past))


def cached_attention_of_unturned_keys(
    query: Array, key: Array, value: Array, past: Past = None, base: float = 10_000.0
) -> tuple[Array, tuple[Array, Array]]:
    """Keep the keys as they were before they are turned, and turn only the new ones."""
    xp = array_namespace(query=query, key=key, value=value)
    places = _length(past) + xp.arange(query.shape[-2])
    query, turned = rotate(query, places, base=base), rotate(key, places, base=base)
    output, _ = _attend(query, *_behind(past, turned, value), offset=_length(past))
    return output, _behind(past, key, value)


def cached_attention_without_offset(
    query: Array, key: Array, value: Array, past: Past = None, base: float = 10_000.0
) -> tuple[Array, tuple[Array, Array]]:
    """Lay the causal mask as if the first new query were the first token of the text."""
    xp = array_namespace(query=query, key=key, value=value)
    places = _length(past) + xp.arange(query.shape[-2])
    query, key = rotate(query, places, base=base), rotate(key, places, base=base)
    return _attend(query, *_behind(past, key, value), offset=0)


def _length(past: Past) -> int:
    return 0 if past is None else past[0].shape[-2]


def _behind(past: Past, key: Array, value: Array) -> tuple[Array, Array]:
    if past is None:
        return key, value
    xp = array_namespace(key=key, value=value)
    return xp.concat([past[0], key], axis=-2), xp.concat([past[1], value], axis=-2)


def _attend(
    query: Array, key: Array, value: Array, *, offset: int
) -> tuple[Array, tuple[Array, Array]]:
    output = scaled_dot_product_attention(query, key, value, is_causal=True, query_offset=offset)
    return output, (key, value)


def rotate_with_mixed_pairs(x: Array, positions: Array, *, base: float = 10_000.0) -> Array:
    """Turn the pairs (2m, 2m + 1) by angles that lie as the pairs (m, m + d_k/2) want them.

    Right: :func:`companion.rotate`, with either pairing.
    """
    xp = array_namespace(x=x, positions=positions)
    angles = rotation(xp, positions, x.shape[-1], base)
    cosine, sine = (cast(xp, xp.concat([half, half], axis=-1), x.dtype) for half in angles)
    partner = xp.stack([-x[..., 1::2], x[..., 0::2]], axis=-1)
    return x * cosine + xp.reshape(partner, x.shape) * sine


def state_logits_without_norm(states: Array, parameters: LanguageModelParameters) -> Array:
    """Multiply the last rows with the embedding, and forget the norm between.

    Right: :func:`companion.state_logits`.
    """
    return project(states, parameters.unembedding.mT)
