"""A training at one of its steps: nothing else is needed to go on, but the text."""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from companion.arrays import array_namespace
from companion.language_model.parameters import LanguageModelParameters
from companion.parameters import named_parameters
from companion.training.adamw import AdamWState, adamw, clip_gradients
from companion.training.plan import TrainingPlan
from companion.training.schedule import warmup_cosine
from companion.training.step import accumulated_gradients
from companion.training.text import TrainingText, cut, drawn_starts, text_batch

__all__ = ["CurvePoint", "TrainingState", "begin_training"]

DIVERGED = 1.5
"""A loss so many times that of guessing, or the first if that was higher, comes back from nowhere
good."""


class CurvePoint(NamedTuple):
    """What was seen at a step.

    Attributes
    ----------
    step : int
        Steps that were taken.
    loss : float or None
        Of the batch that the last of them learnt from, before it; None before the first.
    validation_loss : float or None
        After it, where the validation text was looked at.
    """

    step: int
    loss: float | None
    validation_loss: float | None = None


@dataclass(frozen=True, eq=False)
class TrainingState:
    """A training at one of its steps; a step makes a new one, so each is whole.

    :func:`begin_training` makes the first, :func:`load_training` reads one.

    Attributes
    ----------
    plan : TrainingPlan
    parameters : LanguageModelParameters
    optimiser : AdamWState
    curve : tuple of CurvePoint
        One for each step, and one before the first where there is a validation text.
    text : str
        A digest of what is learnt from and judged by; empty before that is known.
    """

    plan: TrainingPlan
    parameters: LanguageModelParameters
    optimiser: AdamWState[LanguageModelParameters]
    curve: tuple[CurvePoint, ...] = ()
    text: str = ""

    @property
    def step(self) -> int:
        """Steps that were taken; where the text is read on, and what orders it, follow from it."""
        return self.optimiser.step

    @property
    def best(self) -> float:
        """The lowest validation loss so far, infinite before there is one."""
        seen = (point.validation_loss for point in self.curve)
        return min((loss for loss in seen if loss is not None), default=math.inf)

    def seen(self, validation_loss: float) -> "TrainingState":
        """Note a validation loss at the step where it is."""
        last = self.curve[-1] if self.curve else CurvePoint(self.step, None)
        point = last._replace(validation_loss=validation_loss)
        return replace(self, curve=(*self.curve[:-1], point))


def begin_training(parameters: LanguageModelParameters, plan: TrainingPlan) -> TrainingState:
    """Make the state before the first step.

    Parameters
    ----------
    parameters : LanguageModelParameters
        Drawn by :func:`initial_language_model`, or read from a published model's files.
    plan : TrainingPlan

    Returns
    -------
    TrainingState

    Raises
    ------
    ValueError
        If a window of the plan is longer than the model's context.
    """
    longest = parameters.config.context_length
    if plan.context > longest:
        raise ValueError(
            f"context of the plan must be at most the model's of {longest} tokens, "
            f"got {plan.context}"
        )
    return TrainingState(plan, parameters, AdamWState.zero(parameters))


def advance(state: TrainingState, text: TrainingText, threads: int | None) -> TrainingState:
    """Take one step, or raise FloatingPointError where it leads nowhere."""
    plan, step = state.plan, state.step
    starts = drawn_starts(len(text), plan.context, plan.batch_size, step, plan.seed)
    batch = text_batch(text, starts, plan.context)
    if np.max(np.asarray(batch.targets)) < 0:
        raise ValueError(
            f"text must hold two tokens of one document in each batch, got none in that of step "
            f"{step + 1}: take a larger batch_size"
        )
    batches = cut(batch, plan.accumulation)
    with np.errstate(all="ignore"):  # what becomes of it is looked at below, and said
        found, gradients = accumulated_gradients(
            batches, state.parameters, shards=plan.shards, threads=threads
        )
        gradients, length = clip_gradients(gradients, plan.clip)
        loss = float(found)
        _check_course(state, loss, float(length))
        parameters, optimiser = adamw(
            state.parameters,
            gradients,
            state.optimiser,
            learning_rate=_rate(plan, step),
            betas=plan.betas,
            eps=plan.eps,
            weight_decay=plan.weight_decay,
        )
    _check_weights(parameters, step)
    point = CurvePoint(step + 1, loss)
    return replace(state, parameters=parameters, optimiser=optimiser, curve=(*state.curve, point))


def _rate(plan: TrainingPlan, step: int) -> float:
    peak, final = plan.learning_rate, plan.learning_rate * plan.final_share
    return warmup_cosine(step, steps=plan.steps, peak=peak, warmup=plan.warmup, final=final)


def _check_course(state: TrainingState, loss: float, length: float) -> None:
    """Raise where a loss or a gradient is no number, or the loss is far above where it began."""
    at = f"step {state.step + 1}"
    if not math.isfinite(loss) or not math.isfinite(length):
        raise FloatingPointError(f"{at}: the loss is {loss}, and the gradient's length {length}")
    first = next((point.loss for point in state.curve if point.loss is not None), loss)
    guess = math.log(state.parameters.config.vocabulary_size)
    if loss > DIVERGED * max(first, guess):
        raise FloatingPointError(
            f"{at}: the training diverges: the loss is {loss:.2f}, that of guessing {guess:.2f}, "
            f"and it began at {first:.2f}"
        )


def _check_weights(parameters: LanguageModelParameters, step: int) -> None:
    xp = array_namespace(embedding=parameters.embedding)
    for name, array in named_parameters(parameters).items():
        if not bool(xp.all(xp.isfinite(array))):
            raise FloatingPointError(f"step {step + 1}: {name} is no longer finite")


def text_digest(text: TrainingText, validation: TrainingText | None) -> str:
    """Return what tells one pair of texts from another."""
    digest = hashlib.sha256()
    for part in (text, validation):
        for array in () if part is None else (part.token_ids, part.documents):
            numbers = np.zeros(0) if array is None else array.astype("<i8")
            digest.update(len(numbers).to_bytes(8, "little") + numbers.tobytes())
    return digest.hexdigest()
