"""Backwards through a decoder: from the loss to every weight."""

import math
from typing import Any

from companion.arrays import (
    Array,
    Namespace,
    array_namespace,
    cast,
    computing_dtype,
    require_same_dtype,
    widen,
)
from companion.gradients.decoder_layer import layer_backward, layer_forward, passage
from companion.gradients.norms import unchecked_rms_norm_backward
from companion.gradients.projections import unchecked_embed_backward
from companion.gradients.sums import check_gradient
from companion.language_model.decoder import check_decoder, check_states, unchecked_state_logits
from companion.language_model.loss import check_loss, check_targets
from companion.language_model.parameters import LanguageModelParameters
from companion.libraries import take_from
from companion.norms import unchecked_rms_norm
from companion.packing import unchecked_embed
from companion.positions.rotary import Pairing, check_rotation, rotate_back
from companion.softmax import exponentials

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
    return surprise_and_slopes(xp, logits, targets, d_loss / xp.sum(counted))[1]


def surprise_and_slopes(
    xp: Namespace, logits: Array, targets: Array, share: Any
) -> tuple[Array, Array]:
    """Return the sum of all surprises, and the gradient of `share` times it, of one exponential."""
    size, counted = logits.shape[-1], xp.reshape(targets, (-1,)) >= 0
    rows = xp.reshape(widen(xp, logits), (counted.shape[0], size))
    places = xp.where(counted, xp.reshape(targets, (-1,)), 0)
    own = xp.take_along_axis(rows, places[:, None], axis=-1)
    powers, total, top = exponentials(xp, rows, -1)
    # Both from the top of the row: the log-sum-exp itself would round the small part away.
    surprise = xp.where(counted[:, None], xp.log(total) + (top - own), 0.0)
    shares = cast(xp, cast(xp, counted, powers.dtype)[:, None] * share, powers.dtype)
    powers *= shares / xp.maximum(total, 0.5)
    slopes = take_from(xp, powers, places, shares[:, 0])
    return xp.sum(surprise), cast(xp, xp.reshape(slopes, logits.shape), logits.dtype)


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
    wide = computing_dtype(xp, p.embedding.dtype)
    through = passage(xp, token_ids, c, attn_mask, wide)
    x = unchecked_embed(xp, token_ids, p.embedding)
    records = []
    for layer in p.layers:
        x, record = layer_forward(xp, x, layer, through)
        records.append(record)
    logits = unchecked_state_logits(xp, x, p)
    total, d_logits = surprise_and_slopes(xp, logits, targets, share)
    d_x, d_norm, d_unembedding = unchecked_state_logits_backward(xp, d_logits, x, p)
    d_layers = []
    for layer, record in zip(reversed(p.layers), reversed(records), strict=True):
        d_x, d_layer = layer_backward(xp, d_x, layer, through, record)
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
