"""``python -m companion train``: a small language model learns from a text of one's own."""

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np

from companion.files import read_text
from companion.language_model import LanguageModelConfig, LanguageModelParameters, TextTokenizer
from companion.language_model.llama_tokenizer import read_llama_tokenizer
from companion.training import (
    TrainingPlan,
    TrainingState,
    TrainingText,
    begin_training,
    initial_language_model,
    load_training,
    pack_documents,
    split_text,
    text_loss,
    train,
    train_tokenizer,
)
from companion.training.checkpoint import FILE
from companion.training.state import advance

DESCRIPTION = (
    "Train a small language model on a text, on this machine; "
    "'python -m companion generate --model FOLDER' then writes with it."
)
VOCABULARY, CONTEXT, BATCH = 1024, 128, 16
VALIDATION = 64 * CONTEXT + 1  # tokens at most: a look at them takes as long as two or three steps
LOOKS = 20
PROBES = 3  # steps that are timed; the first of all is slower, and is not


def add_train(parser: argparse.ArgumentParser) -> None:
    """Tell a parser the command's arguments."""
    parser.description = DESCRIPTION
    parser.add_argument(
        "--text",
        required=True,
        nargs="+",
        metavar="FILE",
        help="a text in UTF-8; of several each is a document that ends where it ends",
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="where the model is kept; the first text's name with -model behind where left out",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--minutes", type=float, metavar="M", help="about how long it may take, 5 where left out"
    )
    length.add_argument("--steps", type=int, metavar="N", help="how many steps instead")
    length.add_argument("--resume", action="store_true", help="go on where it stopped")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="0 where left out")


def run_train(options: argparse.Namespace) -> int:
    """Train as the arguments ask; return the exit status."""
    folder = Path(options.output or f"{Path(options.text[0]).stem}-model")
    try:
        texts = [read_text(Path(name)) for name in options.text]
        start = _resumed(folder, texts) if options.resume else _begun(options, folder, texts)
        state, tokenizer, (text, validation) = start
        state = train(state, text, validation=validation, folder=folder, tokenizer=tokenizer)
    except KeyboardInterrupt:
        begun = (folder / FILE).exists()
        kept = f"--resume goes on from {folder}" if begun else "nothing has begun yet"
        print(f"\nStopped; {kept}.", file=sys.stderr)
        return 130
    except (OSError, ImportError, ValueError, FloatingPointError) as error:
        print(f"python -m companion train: {error}", file=sys.stderr)
        return 1
    print(f"Validation loss {state.best:.3f} at best: the model is in {folder}.")
    print(f'python -m companion generate --model {folder} --temperature 0.8 "Once"')
    return 0


Begun = tuple[TrainingState, TextTokenizer, tuple[TrainingText, TrainingText]]


def _resumed(folder: Path, texts: list[str]) -> Begun:
    state = load_training(folder)
    tokenizer = read_llama_tokenizer(folder, state.parameters.config.vocabulary_size)
    print(f"Going on after step {state.step} of {state.plan.steps}.", flush=True)
    return state, tokenizer, _parts(tokenizer, texts)


def _begun(options: argparse.Namespace, folder: Path, texts: list[str]) -> Begun:
    if not any(texts):
        raise ValueError("text must hold something to learn from, and is empty")
    minutes = 5.0 if options.minutes is None else options.minutes
    if not 0 < minutes < math.inf:
        raise ValueError(f"--minutes must be a positive number, got {minutes}")
    if (folder / FILE).exists():
        raise FileExistsError(f"{folder} holds a training already: --resume goes on with it")
    tokenizer = train_tokenizer(texts, VOCABULARY)
    parts = _parts(tokenizer, texts)
    config = small_config(tokenizer.tokenizer.get_vocab_size())
    parameters = initial_language_model(config, np.random.default_rng(options.seed))
    plan = _plan(options, parameters, parts, minutes)
    return begin_training(parameters, plan), tokenizer, parts


def small_config(vocabulary_size: int) -> LanguageModelConfig:
    """Return the sizes of the book's small model."""
    return LanguageModelConfig(
        vocabulary_size=vocabulary_size,
        layer_count=4,
        width=128,
        head_count=4,
        key_value_head_count=4,
        head_dim=32,
        hidden_width=344,
        context_length=CONTEXT,
        rotary_base=10_000.0,
        eps=1e-5,
        tied=True,
        stop_ids=(0,),
    )


def _parts(tokenizer: TextTokenizer, texts: list[str]) -> tuple[TrainingText, TrainingText]:
    """Make tokens of the texts, and put their end aside to be judged by."""
    end = list(tokenizer.special_tokens().values())[:1]
    whole = pack_documents([tokenizer.encode(text, start=False) + end for text in texts])
    held = min(max(2, len(whole) // 10), VALIDATION)
    if len(whole) - held <= CONTEXT:
        raise ValueError(
            f"text must make more than {CONTEXT + held} tokens, to be cut into windows of "
            f"{CONTEXT}, got {len(whole)}: take a longer one"
        )
    return split_text(whole, len(whole) - held)


def _plan(
    options: argparse.Namespace,
    parameters: LanguageModelParameters,
    parts: tuple[TrainingText, TrainingText],
    minutes: float,
) -> TrainingPlan:
    """Time a step and a look, decide how many steps there are, and say so."""
    seconds, look = _seconds(begin_training(parameters, _plan_of(1, options.seed)), parts)
    steps = options.steps
    if steps is None:
        steps = max(1, int((60 * minutes - LOOKS * look) / seconds))
    plan = _plan_of(steps, options.seed)
    passes = steps * BATCH * CONTEXT / len(parts[0])
    looks = 1 + -(-steps // plan.evaluate_every)
    print(
        f"{steps:,} steps of {BATCH * CONTEXT:,} tokens, {passes:.1f} times through the text of "
        f"{len(parts[0]):,}: about {(steps * seconds + looks * look) / 60:.1f} minutes.",
        flush=True,
    )
    return plan


def _plan_of(steps: int, seed: int) -> TrainingPlan:
    every = max(1, steps // LOOKS)
    return TrainingPlan(
        steps,
        CONTEXT,
        BATCH,
        warmup=min(steps, max(1, steps // 20)),
        evaluate_every=every,
        save_every=every,
        seed=seed,
    )


def _seconds(state: TrainingState, parts: tuple[TrainingText, TrainingText]) -> tuple[float, float]:
    """Return what a step takes, and a look; nothing of them is kept."""
    text, validation = parts
    taken = []
    for _ in range(1 + PROBES):
        start = time.perf_counter()
        advance(state, text, None)
        taken.append(time.perf_counter() - start)
    start = time.perf_counter()
    text_loss(state.parameters, validation, context=CONTEXT)
    return float(np.median(taken[1:])), time.perf_counter() - start
