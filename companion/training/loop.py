"""The loop: step after step, with a look at the validation text and a checkpoint now and then."""

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from companion.extras import import_extra
from companion.language_model.tokenizer import TextTokenizer
from companion.training.checkpoint import check_kept, holds_another, save_training
from companion.training.model_folder import check_tokenizer, save_language_model
from companion.training.state import TrainingState, advance, text_digest
from companion.training.step import check_text, text_loss
from companion.training.text import TrainingText

__all__ = ["train"]


def train(
    state: TrainingState,
    text: TrainingText,
    *,
    validation: TrainingText | None = None,
    folder: str | PathLike[str] | None = None,
    tokenizer: TextTokenizer | None = None,
    threads: int | None = None,
) -> TrainingState:
    """Train to the end of the plan, with a progress bar in a terminal.

    The same state, texts and array library give the same bits, on any number of threads, and
    however often it was stopped and went on from its folder.

    Parameters
    ----------
    state : TrainingState
        Of :func:`begin_training`, or of :func:`load_training` to go on.
    text : TrainingText
        What is learnt from.
    validation : TrainingText, optional
        What is looked at every now and then, and never learnt from.
    folder : str or path, optional
        Where the training is kept, in ``training.safetensors``, and the model, as
        :func:`save_language_model` writes it: the one with the lowest validation loss so far, the
        last one without a validation text. Left out, nothing is kept but what is returned.
    tokenizer : TextTokenizer, optional
        Goes into the folder too, so that the model there can write.
    threads : int, optional
        As in :func:`companion.parallel_map`.

    Returns
    -------
    TrainingState
        Its curve has a point for each step.

    Raises
    ------
    KeyboardInterrupt
        If it is interrupted; the folder then holds the last whole step.
    FloatingPointError
        If the loss is no number, or rises far above where it began; the folder then holds the
        last checkpoint before.
    FileExistsError
        If a training begins in a folder that holds one, or goes on in one that holds another.
    TypeError
        If the weights are to be kept, and are neither float32 nor float64.
    ValueError
        If the text is too short or another than the training began with, a token is not in the
        vocabulary, or the tokenizer does not fit the weights. In the middle, if no window of a
        step's batch holds two tokens of one document; the folder is then as after a loss that is no
        number.
    """
    tqdm = import_extra("tqdm", "language-model", "training").tqdm
    kept = None if folder is None else Path(folder)
    state = _checked(state, text, validation, kept, tokenizer)
    run = _Run(text, validation, kept, tokenizer, threads, state.step)
    with tqdm(
        total=state.plan.steps, initial=state.step, desc="train", unit="step", disable=None
    ) as bar:
        try:
            if not state.curve:
                state = run.begin(state)
            while state.step < state.plan.steps:
                state = run.go_on(state)
                bar.set_postfix(loss=f"{state.curve[-1].loss:.3f}", refresh=False)
                bar.update()
        except KeyboardInterrupt:
            run.save(state)
            raise
    return state


def _checked(
    state: TrainingState,
    text: TrainingText,
    validation: TrainingText | None,
    folder: Path | None,
    tokenizer: TextTokenizer | None,
) -> TrainingState:
    """Return the state with its texts noted, or raise unless it can go on with them."""
    p, context = state.parameters, state.plan.context
    check_text(text, context + 1, context, p)
    if validation is not None:
        check_text(validation, 2, context, p)
    if tokenizer is not None:
        check_tokenizer(tokenizer, p.config)
    digest = text_digest(text, validation)
    if state.text and state.text != digest:
        raise ValueError("text and validation must be those that the training began with")
    if folder is not None:
        check_kept(p)
        if holds_another(folder, state):
            raise FileExistsError(
                f"{folder} holds a training already: go on with it, or take another"
            )
    return replace(state, text=digest)


@dataclass
class _Run:
    """What goes through the whole training beside its state."""

    text: TrainingText
    validation: TrainingText | None
    folder: Path | None
    tokenizer: TextTokenizer | None
    threads: int | None
    saved: int  # the step of the last checkpoint

    def begin(self, state: TrainingState) -> TrainingState:
        """Judge the weights before the first step, and make the folder whole."""
        state = self.judge(state)
        if self.validation is not None:
            self.save_model(state)
        self.save(state)
        return state

    def go_on(self, state: TrainingState) -> TrainingState:
        """Take a step, and do what is due after it."""
        plan, best = state.plan, state.best
        try:
            state = advance(state, self.text, self.threads)
        except FloatingPointError as error:
            raise FloatingPointError(f"{error}; {self.advice()}") from None
        last = state.step == plan.steps
        if last or state.step % plan.evaluate_every == 0:
            state = self.judge(state)
            if state.best < best:
                self.save_model(state)
        if last or state.step % plan.save_every == 0:
            self.save(state)
        return state

    def judge(self, state: TrainingState) -> TrainingState:
        """Look at the validation text."""
        if self.validation is None:
            return state
        plan = state.plan
        options = {"context": plan.context, "batch_size": plan.batch_size}
        loss = text_loss(state.parameters, self.validation, **options, threads=self.threads)
        return state.seen(loss)

    def save_model(self, state: TrainingState) -> None:
        """Write the weights for those who read them."""
        if self.folder is not None:
            save_language_model(self.folder, state.parameters, self.tokenizer)

    def save(self, state: TrainingState) -> None:
        """Write what it takes to go on, and the model where nothing says which is best."""
        if self.folder is not None:
            if self.validation is None:
                self.save_model(state)
            save_training(self.folder, state)
            self.saved = state.step

    def advice(self) -> str:
        """Say what is left where a training went wrong."""
        kept = "" if self.folder is None else f"{self.folder} keeps that of step {self.saved}; "
        return f"{kept}a lower learning rate, or a longer warm-up, may help"
