"""An encoder with one of its ingredients left out, to see how much it relies on it."""

from dataclasses import replace
from typing import Literal, cast, get_args

from companion.arrays import Array, array_namespace
from companion.encoder.checkpoint import EncoderParameters
from companion.encoder.embedding import EmbeddingParameters
from companion.feed_forward import FeedForwardParameters, feed_forward
from companion.heads import AttentionParameters, multi_head_attention
from companion.norms import NormParameters, layer_norm
from companion.packing import embed
from companion.positions import add_positions

Ingredient = Literal["scale", "positions", "residuals", "norms", "biases", "w_o"]


def check_ingredient(ingredient: str) -> None:
    """Raise ValueError for something that cannot be left out."""
    if ingredient not in get_args(Ingredient):
        known = ", ".join(get_args(Ingredient))
        raise ValueError(f"ingredient must be one of {known}, got {ingredient!r}")


def states_without(ingredient: Ingredient, ids: Array, parameters: EncoderParameters) -> Array:
    """Send a text through embedding and blocks, one ingredient left out.

    Parameters
    ----------
    ingredient : {"scale", "positions", "residuals", "norms", "biases", "w_o"}
        As :meth:`companion.SentenceEncoder.encode_without` says.
    ids : integer array, shape (N,)
    parameters : EncoderParameters

    Returns
    -------
    array, shape (N, d)
    """
    eps = parameters.config.eps

    def normed(rows: Array, norm: NormParameters) -> Array:
        if ingredient == "norms":
            return rows * norm.weight + norm.bias
        return layer_norm(rows, norm.weight, norm.bias, eps=eps)

    x = normed(_summed(ingredient, ids, parameters.embedding), parameters.embedding.norm)
    kept = 0.0 if ingredient == "residuals" else 1.0
    scale = 1.0 if ingredient == "scale" else None
    for block in parameters.blocks:
        attention = _changed(ingredient, block.attention)
        attended = multi_head_attention(x, attention, scale=scale)
        x = normed(kept * x + attended, block.norm_1)
        network = cast("FeedForwardParameters", block.feed_forward)  # a checkpoint has no gates
        x = normed(kept * x + feed_forward(x, network), block.norm_2)
    return x


def _summed(ingredient: Ingredient, ids: Array, embedding: EmbeddingParameters) -> Array:
    rows = embed(ids, embedding.word)
    if ingredient != "positions":
        rows = add_positions(rows, embedding.position)
    return rows + embedding.token_type[0, :]


def _changed(ingredient: Ingredient, attention: AttentionParameters) -> AttentionParameters:
    if ingredient == "biases":
        return replace(attention, b_q=None, b_k=None, b_v=None, b_o=None)
    if ingredient == "w_o":
        w_o = attention.w_o
        xp = array_namespace(w_o=w_o)
        return replace(attention, w_o=xp.eye(*w_o.shape, dtype=w_o.dtype))
    return attention
