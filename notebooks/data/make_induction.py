"""Train the two-layer model that learns to copy, watch it, and write induction.json.

    python make_induction.py

takes a minute on one core. The chapter on training trains the same model before the reader's
eyes; what it shows along the way comes from this file, since floats that were trained differ in
their last digits between machines, and with training in more than those.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

import companion
from companion.examples import repeated_tokens as task

RECORD = Path(__file__).with_name("induction.json")
SEED, BATCH, RATE, EVERY = 0, 32, 0.01, 10
SHOWN, PERIOD, LENGTH = (0, 100, 300), 6, 16  # the steps of the maps, and the text that they show


def maps(model: companion.LanguageModelParameters) -> list[list[list[float]]]:
    """What each layer's head looks at in one text."""
    ids, _ = task.repeated_tokens(np.random.default_rng(7), 1, length=LENGTH, period=PERIOD)
    _, seen = task.look_inside(ids, model)
    return [w[0].round(3).tolist() for w in seen]


def trained(
    layers: int,
    steps: int = 300,
    *,
    period: int | None = None,
    sizes: tuple[float, float] = (1.0, 1.0),
    shown: tuple[int, ...] = (),
) -> tuple[list[float], dict[int, Any], companion.LanguageModelParameters]:
    """The mean loss of every ten steps, the maps at some steps, and the model."""
    rng = np.random.default_rng(SEED)
    model, state = task.attention_only_model(rng, layers, sizes=sizes, xp=np), None
    losses, seen = [], {0: maps(model)} if 0 in shown else {}
    for step in range(1, steps + 1):
        ids, targets = task.repeated_tokens(rng, BATCH, period=period)
        loss, gradients = companion.loss_and_gradients(ids, targets, model)
        model, state = companion.adamw(model, gradients, state, learning_rate=RATE)
        losses.append(float(loss))
        if step in shown:
            seen[step] = maps(model)
    return np.reshape(losses, (-1, EVERY)).mean(axis=1).round(3).tolist(), seen, model


def main() -> None:
    two, seen, model = trained(2, shown=SHOWN)
    record = {
        "every": EVERY,
        "two layers": two,
        "one layer": trained(1)[0],
        "one layer, fixed period": trained(1, period=12)[0],
        "small embeddings": trained(2, 600, sizes=(0.18, 1.0))[0],
        "large matrices": trained(2, 600, sizes=(1.0, 2.0))[0],
        "maps": {"period": PERIOD, "steps": list(seen), "layers": list(seen.values())},
        "heads": task.head_scores(np.random.default_rng(1), model),
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in record.items()]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
