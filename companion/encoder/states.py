"""An encoder's whole way from token ids to what leaves its last block."""

from typing import Any, Literal, overload

from companion.arrays import Array
from companion.block import transformer_stack
from companion.encoder.checkpoint import EncoderParameters
from companion.encoder.embedding import embed_tokens
from companion.masks import padding_mask

__all__ = ["token_states"]


@overload
def token_states(
    ids: Array,
    parameters: EncoderParameters,
    *,
    token_mask: Array | None = None,
    return_all: Literal[False] = False,
    **options: Any,
) -> Array: ...
@overload
def token_states(
    ids: Array,
    parameters: EncoderParameters,
    *,
    token_mask: Array | None = None,
    return_all: Literal[True],
    **options: Any,
) -> list[Array]: ...
def token_states(
    ids: Array,
    parameters: EncoderParameters,
    *,
    token_mask: Array | None = None,
    return_all: bool = False,
    **options: Any,
) -> Array | list[Array]:
    """Send token ids through the embedding and every block.

    Parameters
    ----------
    ids : integer array, shape (..., N)
    parameters : EncoderParameters
    token_mask : boolean array, shape (..., N), optional
        True where there is a token; no token attends to padding.
    return_all : bool
        Return the list of the embeddings and every block's output instead of the last alone.
    **options
        `activation` and the like, as in :func:`companion.transformer_stack`.

    Returns
    -------
    array, shape (..., N, d), or the list of layers + 1 such arrays

    Raises
    ------
    TypeError, ValueError
        As the parts say.
    """
    eps = parameters.config.eps
    x = embed_tokens(ids, parameters.embedding, eps=eps)
    mask = None if token_mask is None else padding_mask(token_mask)
    return transformer_stack(
        x, parameters.blocks, eps=eps, return_all=return_all, attn_mask=mask, **options
    )
