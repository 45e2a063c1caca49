"""The loss of a batch and its gradients, in a fixed number of parts that are added in order."""

from collections.abc import Sequence
from functools import partial, reduce
from operator import add

import array_api_compat

from companion.arrays import Array, Namespace, array_namespace
from companion.gradients.language_model import unchecked_loss_and_gradients
from companion.kernels.threads import parallel_map
from companion.language_model.decoder import (
    check_decoder,
    unchecked_decoder_states,
    unchecked_state_logits,
)
from companion.language_model.loss import check_targets, surprises
from companion.language_model.parameters import LanguageModelParameters
from companion.parameters import map_parameters
from companion.training.text import TextBatch, TrainingText, cut, whole_text

__all__ = ["accumulated_gradients", "text_loss"]


def accumulated_gradients(
    batches: Sequence[TextBatch],
    parameters: LanguageModelParameters,
    *,
    shards: int = 4,
    threads: int | None = None,
) -> tuple[Array, LanguageModelParameters]:
    """Compute the loss of several batches as if they were one, and its gradients.

    Each target counts alike: the sum over all of them is divided by how many there are. A mean of
    the batches' means would count those of a batch with few targets for more.

    Parameters
    ----------
    batches : sequence of TextBatch
        They are computed one after the other, and only their gradients are kept.
    parameters : LanguageModelParameters
    shards : int
        Parts of a batch that are computed at once, each on a thread. Their sums are added in order,
        so that not the number of threads but this one decides the bits.
    threads : int, optional
        As in :func:`companion.parallel_map`; one does it all where the arrays are not NumPy's.

    Returns
    -------
    loss : array, shape ()
    gradients : LanguageModelParameters

    Raises
    ------
    TypeError, ValueError
        As :func:`companion.loss_and_gradients` says; if there is no batch, or no part of one.
    """
    if shards < 1:
        raise ValueError(f"shards must be at least 1, got {shards}")
    if not batches:
        raise ValueError("batches must be at least one, got none")
    xp = array_namespace(embedding=parameters.embedding)
    for batch in batches:  # before they are placed: a mask of NumPy's would be lost on the way
        array_namespace(**batch._asdict())
    placed = [_placed(xp, batch, parameters) for batch in batches]
    for batch in placed:
        check_decoder(xp, batch.token_ids, parameters, None, None, batch.attn_mask)
    targets = [xp.reshape(batch.targets, (-1,)) for batch in placed]
    together = xp.concat(targets)
    check_targets(xp, together, together.shape, parameters.config.vocabulary_size)
    count = int(xp.sum(xp.astype(together >= 0, together.dtype)))
    total, gradients = None, None
    for batch in placed:
        parts = parallel_map(
            lambda part: unchecked_loss_and_gradients(
                xp, part.token_ids, part.targets, parameters, part.attn_mask, 1 / count
            ),
            cut(batch, shards),
            threads=_threads(xp, threads),
        )
        for loss, part in parts:
            total = loss if total is None else total + loss
            gradients = part if gradients is None else map_parameters(add, gradients, part)
    assert total is not None
    assert gradients is not None
    return total / count, gradients


def text_loss(
    parameters: LanguageModelParameters,
    text: TrainingText,
    *,
    context: int,
    batch_size: int = 16,
    threads: int | None = None,
) -> float:
    """Return the mean loss over a text: each token but a document's first is foretold once.

    Parameters
    ----------
    parameters : LanguageModelParameters
    text : TrainingText
    context : int
        Tokens of a window; its first rows see little, so a shorter one makes a higher loss.
    batch_size : int
        Windows that are computed together.
    threads : int, optional
        As in :func:`accumulated_gradients`.

    Returns
    -------
    float
        In nats, as :func:`companion.cross_entropy`.

    Raises
    ------
    ValueError
        If the text has no two tokens of one document, a token is not in the vocabulary, the context
        is less than 1 or longer than the model's, or the batch size less than 1.
    """
    check_text(text, 2, context, parameters)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    xp = array_namespace(embedding=parameters.embedding)

    def losses(batch: TextBatch) -> tuple[float, int]:
        moved = _placed(xp, batch, parameters)
        args = (moved.token_ids, parameters, None, None, moved.attn_mask, False)
        states = unchecked_decoder_states(xp, *args)
        assert not isinstance(states, list)
        logits = unchecked_state_logits(xp, states, parameters)
        total = float(xp.sum(surprises(xp, logits, moved.targets)))
        return total, int(xp.sum(xp.astype(moved.targets >= 0, moved.targets.dtype)))

    parts = parallel_map(
        losses, whole_text(text, context, batch_size), threads=_threads(xp, threads)
    )
    total, count = reduce(lambda a, b: (a[0] + b[0], a[1] + b[1]), parts)
    if count == 0:
        raise ValueError("text must hold two tokens of one document, got none")
    return total / count


def check_text(
    text: TrainingText, least: int, context: int, parameters: LanguageModelParameters
) -> None:
    """Raise unless a model can be trained on a text, or judged by it."""
    config = parameters.config
    if context < 1:
        raise ValueError(f"context must be at least 1, got {context}")
    if context > config.context_length:
        raise ValueError(
            f"context must be at most the model's of {config.context_length} tokens, got {context}"
        )
    if len(text) < least:
        raise ValueError(f"text must have at least {least} tokens, got {len(text)}")
    if (highest := int(text.token_ids.max())) >= config.vocabulary_size:
        raise ValueError(
            f"text must hold ids of the model's vocabulary, below {config.vocabulary_size}, "
            f"got {highest}"
        )


def _placed(xp: Namespace, batch: TextBatch, parameters: LanguageModelParameters) -> TextBatch:
    """Bring a batch to where the weights are."""
    place = partial(xp.asarray, device=parameters.device)
    mask = None if batch.attn_mask is None else place(batch.attn_mask)
    return TextBatch(place(batch.token_ids), place(batch.targets), mask)


def _threads(xp: Namespace, threads: int | None) -> int | None:
    return threads if array_api_compat.is_numpy_namespace(xp) else 1
