"""Train the small writer on six novels, and write it in 8 bits.

The texts come from Debian's package `r-cran-janeaustenr`; `read_austen.py`, beside this file, says
how to get them. With this project and its extra `language-model` installed::

    python make_small_writer.py texts --work work

It may be stopped at any time: started again, it goes on from the folder `work` to the same bits.
At the end it writes the model into `companion/examples/small_writer`, and what was seen on the way
into `small_writer_training.json`. ``--runs`` trains the five smaller models of the table in that
file, and notes their losses there.
"""

import argparse
import hashlib
import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

import companion
from companion.language_model.small_writer import store_small_writer
from companion.training.state import advance

RECORD = Path(__file__).with_name("small_writer_training.json")
WRITER = Path(companion.__file__).parent / "examples" / "small_writer"
NOVELS = {
    "emma": "7c67b5985c6d0de1",
    "mansfieldpark": "98bc90519cdf4ef6",
    "northangerabbey": "51f91bbe0517db8e",
    "persuasion": "8061549557aebd2f",
    "prideprejudice": "dfc684d4f857fa93",
    "sensesensibility": "105e1651fe93bed7",
}
VOCABULARY = 1024
PLAN = companion.TrainingPlan(
    steps=6000,
    context=256,
    batch_size=8,
    learning_rate=3e-3,
    final_share=0.1,
    warmup=100,
    evaluate_every=250,
    save_every=50,
    seed=14,
)
TRIAL = {"steps": 300, "context": 128, "batch_size": 8, "warmup": 30}
TRIALS = (  # what is larger or smaller, the width, how many times the steps, the share of the text
    ("as it is", 128, 1, 1.0),
    ("half the width", 64, 1, 1.0),
    ("three times the steps", 128, 3, 1.0),
    ("half the width, three times the steps", 64, 3, 1.0),
    ("a twentieth of the text, three times the steps", 128, 3, 0.05),
)
SAMPLED = (0, 100, 400, 1500)  # and the best
PROMPTS = ("Emma", "She was")
SHARE = 9 / 10  # of each novel that is learnt from; the end of each is what it is judged by


def paragraphs(text: str) -> list[str]:
    """A novel's paragraphs, each on one line."""
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def read_novels(folder: Path) -> tuple[list[str], list[str]]:
    """What is learnt from and what is judged by: the parts of each novel, in whole paragraphs."""
    learnt, judged = [], []
    for name, expected in NOVELS.items():
        content = (folder / f"{name}.txt").read_bytes()
        if (found := hashlib.sha256(content).hexdigest()[: len(expected)]) != expected:
            raise SystemExit(f"{name}.txt must have SHA-256 {expected}…, got {found}…")
        lines = paragraphs(content.decode("utf-8"))
        reached = np.cumsum([len(line) for line in lines])
        cut = int(np.searchsorted(reached, SHARE * reached[-1]))
        learnt.append("\n".join(lines[:cut]) + "\n")
        judged.append("\n".join(lines[cut:]) + "\n")
    return learnt, judged


def packed(tokenizer: companion.TextTokenizer, texts: list[str]) -> companion.TrainingText:
    return companion.pack_documents([tokenizer.encode(text) for text in texts])


def sizes(width: int = 128) -> companion.LanguageModelConfig:
    return companion.LanguageModelConfig(
        vocabulary_size=VOCABULARY,
        layer_count=4,
        width=width,
        head_count=4,
        key_value_head_count=4,
        head_dim=width // 4,
        hidden_width=8 * round(width / 3),
        context_length=PLAN.context,
        rotary_base=10_000.0,
        eps=1e-5,
        tied=True,
    )


def begin(plan: companion.TrainingPlan, width: int = 128) -> companion.TrainingState:
    rng = np.random.default_rng(plan.seed)
    weights = companion.initial_language_model(sizes(width), rng, xp=np)
    return companion.begin_training(weights, plan)


def counted(ids: np.ndarray, length: int) -> dict[tuple[int, ...], int]:
    """How often each run of so many tokens stands in a text."""
    rows = np.stack([ids[i : len(ids) - length + 1 + i] for i in range(length)], axis=1)
    found, counts = np.unique(rows, axis=0, return_counts=True)
    return dict(zip(map(tuple, found.tolist()), counts.tolist(), strict=True))


def counting_losses(learnt: np.ndarray, judged: np.ndarray) -> dict[str, float]:
    """The loss of models that only count: of one token, of pairs and of triples.

    Each falls back on the one before: p(c | ab) = (n(abc) + m p(c | b)) / (n(ab) + m), with the m
    of 1, 2, 4 … that does best on what is judged, which is in their favour.
    """
    share = (np.bincount(learnt, minlength=VOCABULARY) + 1) / (len(learnt) + VOCABULARY)
    before = share[judged]
    losses = {"uniform": math.log(VOCABULARY), "unigram": float(-np.log(before).mean())}
    for name, length in (("bigram", 2), ("trigram", 3)):
        whole, context = counted(learnt, length), counted(learnt[:-1], length - 1)
        runs = np.stack(
            [judged[i : len(judged) - length + 1 + i] for i in range(length)], axis=1
        ).tolist()
        n = np.array([whole.get(tuple(run), 0) for run in runs])
        total = np.array([context.get(tuple(run[:-1]), 0) for run in runs])
        tail = before[-len(runs) :]
        tried = [(n + m * tail) / (total + m) for m in 2.0 ** np.arange(8)]
        before = min(tried, key=lambda p: -np.log(p).mean())
        losses[name] = float(-np.log(before).mean())
    return losses


def samples(
    parameters: companion.LanguageModelParameters, tokenizer: companion.TextTokenizer
) -> list[str]:
    """What the weights write behind each prompt."""
    model = companion.CausalLanguageModel(parameters, tokenizer)
    rng = np.random.default_rng(0)
    options = {"max_new_tokens": 60, "temperature": 0.8, "rng": rng}
    return [prompt + "".join(model.generate(prompt, **options)) for prompt in PROMPTS]


def trained(
    work: Path, learnt: companion.TrainingText, judged: companion.TrainingText, threads: int
) -> Iterator[companion.TrainingState]:
    """Go on from what is kept in a folder, and hand out the state at each look and sample."""
    kept = (work / "training.safetensors").exists()
    state = companion.load_training(work, xp=np) if kept else begin(PLAN)
    if not kept:
        state = looked(state, judged, threads)
        yield state
    while state.step < state.plan.steps:
        state = advance(state, learnt, threads)
        plan, last = state.plan, state.step == state.plan.steps
        if last or state.step in SAMPLED or state.step % plan.evaluate_every == 0:
            state = looked(state, judged, threads)
            yield state
        if last or state.step % plan.save_every == 0:
            companion.save_training(work, state)


def looked(
    state: companion.TrainingState, judged: companion.TrainingText, threads: int
) -> companion.TrainingState:
    """Note the validation loss."""
    options = {"context": state.plan.context, "threads": threads}
    return state.seen(companion.text_loss(state.parameters, judged, **options))


def note(work: Path, state: companion.TrainingState, seconds: float, wrote: list[str]) -> None:
    """Keep what was written at a step, and the time so far, in a file of the folder."""
    path = work / "seen.json"
    seen = json.loads(path.read_text()) if path.exists() else {"seconds": 0.0, "samples": {}}
    seen["seconds"] += seconds
    seen["samples"][str(state.step)] = wrote
    path.write_text(json.dumps(seen))


def train(
    work: Path,
    learnt: companion.TrainingText,
    judged: companion.TrainingText,
    tokenizer: companion.TextTokenizer,
    threads: int,
) -> companion.TrainingState:
    """Train to the end, and keep the best weights and all samples in the folder."""
    start = time.perf_counter()
    for state in trained(work, learnt, judged, threads):
        loss = state.curve[-1].validation_loss
        print(f"step {state.step}: validation loss {loss:.3f}", flush=True)
        if loss == state.best:
            companion.save_language_model(work / "best", state.parameters, tokenizer)
        now = time.perf_counter()
        note(work, state, now - start, samples(state.parameters, tokenizer))
        start = now
    return companion.load_training(work, xp=np)


def write(record: dict[str, Any]) -> None:
    """Write the record, a line for each thing that it says."""
    lines = [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in record.items()]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def finish(
    work: Path,
    state: companion.TrainingState,
    learnt: companion.TrainingText,
    judged: companion.TrainingText,
    tokenizer: companion.TextTokenizer,
) -> None:
    """Write the best weights in 8 bits, and the record, with the loss of just those bytes."""
    tensors = load_file(work / "best" / "model.safetensors")
    store_small_writer(WRITER, state.parameters.config, tensors, tokenizer.tokenizer)
    writer = companion.small_writer(xp=np)
    loss = companion.text_loss(writer.parameters, judged, context=PLAN.context)
    seen = json.loads((work / "seen.json").read_text())
    losses = [point.loss for point in state.curve if point.loss is not None]
    looks = [point for point in state.curve if point.validation_loss is not None]
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    record |= {
        "weights": companion.count_parameters(writer.parameters),
        "sha256": hashlib.sha256((WRITER / "model.safetensors").read_bytes()).hexdigest(),
        "tokens": {"learnt": len(learnt), "judged": len(judged)},
        "plan": {name: getattr(PLAN, name) for name in ("steps", "context", "batch_size")},
        "minutes": round(seen["seconds"] / 60),
        "loss_of_bytes": round(loss, 4),
        "counting": counting_losses(learnt.token_ids, judged.token_ids),
        "steps": list(range(25, len(losses) + 1, 25)),
        "loss": np.reshape(losses[: len(losses) // 25 * 25], (-1, 25))
        .mean(axis=1)
        .round(4)
        .tolist(),
        "looked": [point.step for point in looks],
        "validation_loss": [round(point.validation_loss, 4) for point in looks],
        "samples": seen["samples"],
    }
    write(record)
    print(f"{WRITER}: {record['loss_of_bytes']} nats, SHA-256 {record['sha256']}")


def run_trials(
    learnt: companion.TrainingText, judged: companion.TrainingText, threads: int
) -> None:
    """Train the smaller models of the table, and note their losses in the record."""
    record, rows = json.loads(RECORD.read_text()) if RECORD.exists() else {}, []
    for name, width, times, share in TRIALS:
        options = TRIAL | {"steps": TRIAL["steps"] * times, "seed": PLAN.seed}
        plan = companion.TrainingPlan(**options)
        part, _ = companion.split_text(learnt, int(share * (len(learnt) - 1)))
        state = begin(plan, width)
        while state.step < plan.steps:
            state = advance(state, part, threads)
        last = float(np.mean([point.loss for point in state.curve[-25:]]))
        loss = companion.text_loss(state.parameters, judged, context=plan.context, threads=threads)
        size = companion.count_parameters(state.parameters)
        seen = plan.steps * plan.context * plan.batch_size
        rows.append(
            {"name": name, "weights": size, "text": len(part), "seen": seen}
            | {"loss": round(last, 3), "validation_loss": round(loss, 3)}
        )
        print(rows[-1], flush=True)
        record["trials"] = rows
        write(record)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path, help="folder that holds the six novels")
    parser.add_argument("--work", type=Path, default=Path("work"), help="folder of the training")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", action="store_true", help="train the table's smaller models")
    arguments = parser.parse_args()
    novels = read_novels(arguments.texts)
    tokenizer = companion.train_tokenizer(novels[0], VOCABULARY)
    learnt, judged = (packed(tokenizer, texts) for texts in novels)
    print(f"{len(learnt)} tokens to learn from, {len(judged)} to be judged by", flush=True)
    if arguments.runs:
        run_trials(learnt, judged, arguments.threads)
        return
    state = train(arguments.work, learnt, judged, tokenizer, arguments.threads)
    finish(arguments.work, state, learnt, judged, tokenizer)


if __name__ == "__main__":
    main()
