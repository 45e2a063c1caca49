"""What enters the first block: a row for each token and its place, summed and normed."""

from dataclasses import dataclass

from companion.arrays import Array
from companion.norms import NormParameters, layer_norm
from companion.packing import embed
from companion.parameters import Parameters, check_parameters
from companion.positions import add_positions

__all__ = ["EmbeddingParameters", "embed_tokens"]


@dataclass(frozen=True, eq=False)
class EmbeddingParameters(Parameters):
    """What packs token ids into the X of the first block.

    Attributes
    ----------
    word : array, shape (V, d)
    position : array, shape (M, d)
    token_type : array, shape (P, d)
        Row 0 is added to every token of a single text; row 1 is for the second text of a pair.
    norm : NormParameters
        Of the layer norm behind the sum of the three.
    """

    word: Array
    position: Array
    token_type: Array
    norm: NormParameters

    def __post_init__(self) -> None:
        check_parameters(
            "EmbeddingParameters",
            word=(self.word, ("V", "d")),
            position=(self.position, ("M", "d")),
            token_type=(self.token_type, ("P", "d")),
            **{"norm.weight": (self.norm.weight, ("d",))},
        )


def embed_tokens(
    ids: Array,
    parameters: EmbeddingParameters,
    *,
    positions: Array | None = None,
    eps: float = 1e-12,
) -> Array:
    """Pack token ids into X: word, position and token-type rows, summed and normed.

    Parameters
    ----------
    ids : integer array, shape (..., N)
    parameters : EmbeddingParameters
    positions : integer array, shaped like ids, optional
        The place of each token, where several texts lie one behind the other; 0 … N − 1 where they
        are left out.
    eps : float
        Of the layer norm.

    Returns
    -------
    array, shape (..., N, d)

    Raises
    ------
    TypeError, ValueError
        As :func:`companion.embed` and :func:`companion.add_positions` say; if `positions` has
        another shape than `ids`.

    References
    ----------
    Devlin et al., *BERT*, 2019, section 3.
    """
    p = parameters
    if positions is not None and positions.shape != ids.shape:
        raise ValueError(f"positions must be {ids.shape} like ids, got {positions.shape}")
    x = embed(ids, p.word)
    x = add_positions(x, p.position) if positions is None else x + embed(positions, p.position)
    x = x + p.token_type[0, :]
    return layer_norm(x, p.norm.weight, p.norm.bias, eps=eps)
