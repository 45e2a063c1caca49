"""The keys and values of the tokens that a model has read, so that none is computed again."""

import math
from typing import Any

from companion.arrays import Array, DType, Namespace, array_module, array_namespace
from companion.language_model.config import LanguageModelConfig
from companion.libraries import dtype_named, put

__all__ = ["KeyValueCache"]

ROOM = 64
"""Tokens for which there is room at first; the room doubles when it is full."""


class KeyValueCache:
    """Each layer's keys, rotated, and values of the tokens that a model has read.

    :func:`companion.decoder_states` writes into it and attends to what is in it. It can be kept for
    the next turn of a chat.

    Parameters
    ----------
    config : LanguageModelConfig
        Of the model whose keys and values these are.
    batch : tuple of int
        Batch shape of the token ids; () for one text.
    window : int, optional
        How many earlier tokens a row attends to beside itself; all where it is left out. What no
        later row can see is dropped.
    xp, dtype, device : optional
        Array module, floating dtype and device of the model's weights; where they are left out,
        :func:`companion.array_module` chooses, float32, and the module's own.

    Attributes
    ----------
    length : int
        Tokens that it holds: the offset of the next row in the causal mask.
    seen : int
        Tokens that it was given; it holds fewer once a window has dropped some.

    Raises
    ------
    ValueError
        If `window` is negative.
    """

    def __init__(
        self,
        config: LanguageModelConfig,
        batch: tuple[int, ...] = (),
        *,
        window: int | None = None,
        xp: Namespace | None = None,
        dtype: DType = None,
        device: Any = None,
    ) -> None:
        if window is not None and window < 0:
            raise ValueError(f"window must not be negative, got {window}")
        self.xp = array_namespace((array_module() if xp is None else xp).zeros((0,)))
        self.dtype = self.xp.float32 if dtype is None else dtype
        self.device = device
        self.config, self.batch, self.window = config, tuple(batch), window
        self.length = self.seen = 0
        self._first = 0  # where in the room the held tokens begin
        self._room = 0
        self._keys: list[Any] = [None] * config.layer_count  # (*batch, H_kv, room, d_k)
        self._values: list[Any] = [None] * config.layer_count
        self._ids: list[Any] = []  # (*batch, N) each
        self._held: Any = None  # (*batch, seen): False is padding. None: nothing is

    @property
    def position(self) -> int | Array:
        """Place of the next token, an integer, or one a text where some were padded."""
        if self._held is None:
            return self.seen
        wide = dtype_named(self.xp, "int64")
        positions: Array = self.xp.sum(self.xp.astype(self._held, wide), axis=-1)
        return positions

    @property
    def token_ids(self) -> Array:
        """All ids that were read, (..., seen), with any number where there was padding."""
        if not self._ids:
            kind = dtype_named(self.xp, "int64")
            return self.xp.zeros((*self.batch, 0), dtype=kind, device=self.device)
        if len(self._ids) > 1:
            self._ids = [self.xp.concat(self._ids, axis=-1)]
        ids: Array = self._ids[0]
        return ids

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values that it holds, without the room kept for more."""
        c = self.config
        numbers = 2 * c.layer_count * c.key_value_head_count * c.head_dim * self.length
        size: int = self.xp.finfo(self.dtype).bits // 8
        return numbers * math.prod(self.batch) * size

    def cut(self, seen: int) -> None:
        """Forget all tokens but the first, as when a chat's last turn is written anew.

        Parameters
        ----------
        seen : int
            Tokens to keep, of those that it was given.

        Raises
        ------
        ValueError
            If it was given fewer, or a window has dropped what the next row would see.
        """
        if not 0 <= seen <= self.seen:
            raise ValueError(f"seen must be 0 to {self.seen}, as many as were read, got {seen}")
        dropped = self.seen - self.length if seen else 0
        if dropped and seen < self.seen:  # a full window holds just what the next row sees
            raise ValueError(
                f"seen must be 0 or {self.seen}, since the window has dropped {dropped} tokens, "
                f"got {seen}"
            )
        ids = self.token_ids
        self._ids = [ids[..., :seen]] if seen else []
        self._held = None if self._held is None else self._held[..., :seen]
        self.length, self.seen = seen - dropped, seen

    def reserve(self, count: int) -> None:
        """Make room for so many more tokens; what is held is copied at most once in a doubling."""
        needed = self.length + count
        if self._first + needed <= self._room:
            return
        room = self._room if 2 * needed <= self._room else max(ROOM, needed, 2 * self._room)
        c, held = self.config, slice(self._first, self._first + self.length)
        shape = (*self.batch, c.key_value_head_count, room, c.head_dim)
        for arrays in (self._keys, self._values):
            for layer, old in enumerate(arrays):
                if old is not None and room == self._room:  # half of it was dropped
                    arrays[layer] = put(old, slice(0, self.length), old[..., held, :])
                    continue
                arrays[layer] = self.xp.zeros(shape, dtype=self.dtype, device=self.device)
                if self.length:
                    arrays[layer] = put(arrays[layer], slice(0, self.length), old[..., held, :])
        self._first, self._room = 0, room

    def rows(self, layer: int, count: int) -> tuple[Any, Any]:
        """Return what a layer holds and the room for new rows behind it: (..., H_kv, S, d_k)."""
        held = slice(self._first, self._first + self.length + count)
        return self._keys[layer][..., held, :], self._values[layer][..., held, :]

    def extend(self, layer: int, key: Array, value: Array) -> tuple[Array, Array]:
        """Put the rows of new tokens behind those of a layer, and return all: (..., H_kv, S, d_k).

        They count once :meth:`advance` says that every layer has its own.
        """
        start, count = self._first + self.length, key.shape[-2]
        for arrays, new in ((self._keys, key), (self._values, value)):
            arrays[layer] = put(arrays[layer], slice(start, start + count), new)
        return self.rows(layer, count)

    def visible(self, token_mask: Array | None, count: int) -> Array | None:
        """Say which of the held and the new tokens are no padding, (..., S); None: all are."""
        if self._held is None and token_mask is None:
            return None
        held: Array = self._with(token_mask, count)[..., self.seen - self.length :]
        return held

    def advance(self, token_ids: Array, token_mask: Array | None) -> None:
        """Count the new tokens, and drop what no later row will see."""
        count = token_ids.shape[-1]
        if self._held is not None or token_mask is not None:
            self._held = self._with(token_mask, count)
        self._ids.append(token_ids)
        self.seen += count
        self.length += count
        if self.window is not None and self.length > self.window:
            self._first += self.length - self.window
            self.length = self.window

    def _with(self, token_mask: Array | None, count: int) -> Any:
        """Put the new tokens behind those that were read: which of all are no padding."""
        masks = [(self._held, self.seen), (token_mask, count)]
        xp = self.xp
        parts = [
            xp.ones((*self.batch, width), dtype=xp.bool, device=self.device)
            if mask is None
            else mask
            for mask, width in masks
        ]
        return xp.concat(parts, axis=-1)
