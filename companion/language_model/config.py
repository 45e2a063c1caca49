"""The sizes of a causal language model, and the ids at which its text begins and ends."""

import math
from dataclasses import dataclass, fields

__all__ = ["LanguageModelConfig"]


@dataclass(frozen=True)
class LanguageModelConfig:
    """The sizes of a decoder of the llama family.

    Attributes
    ----------
    vocabulary_size : int
        V, rows of the embedding.
    layer_count : int
        Number of blocks.
    width : int
        d, of the rows between the blocks.
    head_count, key_value_head_count : int
        H query heads in each block, and the H_kv key and value heads that they share in groups.
    head_dim : int
        d_k, of a query, a key and a value; even, since rotation takes its numbers in pairs.
    hidden_width : int
        d_ff, of the gated networks.
    context_length : int
        Tokens that the model was made for: a text is no longer than that.
    rotary_base : float
        Of :func:`companion.rotate`.
    eps : float
        Of every RMS norm.
    tied : bool
        Whether the embedding makes the logits too.
    bos_id : int or None
        The token that the model's texts begin with, where it names one; its tokenizer puts it there
        if that is meant.
    stop_ids : tuple of int
        Any of these ends a text.

    Raises
    ------
    TypeError
        If a size or an id is no integer.
    ValueError
        If a size is not positive, the sizes do not fit together, or an id is not in the vocabulary.
    """

    vocabulary_size: int
    layer_count: int
    width: int
    head_count: int
    key_value_head_count: int
    head_dim: int
    hidden_width: int
    context_length: int
    rotary_base: float
    eps: float
    tied: bool
    bos_id: int | None = None
    stop_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int:
                _check_integer(field.name, value)
                if value < 1:
                    raise ValueError(f"{field.name} must be at least 1, got {value}")
        if self.head_count % self.key_value_head_count != 0:
            raise ValueError(
                f"key_value_head_count must divide head_count={self.head_count}, "
                f"got {self.key_value_head_count}"
            )
        if self.head_dim % 2 != 0:
            raise ValueError(f"head_dim must be even, to be rotated in pairs, got {self.head_dim}")
        for name in ("rotary_base", "eps"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)!r}")
        ids = {f"stop_ids[{i}]": number for i, number in enumerate(self.stop_ids)}
        if self.bos_id is not None:
            ids["bos_id"] = self.bos_id
        for name, number in ids.items():
            _check_integer(name, number)
            if not 0 <= number < self.vocabulary_size:
                raise ValueError(
                    f"{name} must be below vocabulary_size={self.vocabulary_size}, got {number}"
                )


def _check_integer(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
