"""Train the two-layer model that learns to copy, watch it, and write induction.json.

    python make_induction.py

takes two minutes on one core. The chapter on training trains the same model before the reader's
eyes; what it shows along the way comes from this file, since floats that were trained differ in
their last digits between machines, and with training in more than those.
"""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import companion
from companion.examples import repeated_tokens as task

RECORD = Path(__file__).with_name("induction.json")
SEED, BATCH, RATE, EVERY = 0, 32, 0.01, 10
SHOWN, PERIOD, LENGTH = (0, 100, 300), 6, 16  # the steps of the maps, and the text that they show
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0)
Model = companion.LanguageModelParameters


def maps(model: Model) -> list[list[list[float]]]:
    """What each layer's head looks at in one text."""
    ids, _ = task.repeated_tokens(np.random.default_rng(7), 1, length=LENGTH, period=PERIOD)
    _, seen = task.look_inside(ids, model)
    return [w[0].round(3).tolist() for w in seen]


def without_scale(model: Model) -> Model:
    """Multiply the queries' matrices by √d_k, so that the division by it is undone."""

    def undone(w_qkv: np.ndarray) -> np.ndarray:
        d_k = model.config.head_dim
        return np.concatenate([w_qkv[:, :d_k] * math.sqrt(d_k), w_qkv[:, d_k:]], axis=1)

    layers = [replace(layer, w_qkv=undone(layer.w_qkv)) for layer in model.layers]
    return replace(model, layers=tuple(layers))


def without_norms(model: Model) -> Model:
    """Make each norm the identity: ε outweighs every row, and the weights make up for it."""
    root = 1e4
    layers = [
        replace(layer, norm_1=root * layer.norm_1, norm_2=root * layer.norm_2)
        for layer in model.layers
    ]
    config = replace(model.config, eps=root**2)
    return replace(model, config=config, layers=tuple(layers), norm=root * model.norm)


def trained(
    layers: int,
    steps: int = 300,
    *,
    period: int | None = None,
    sizes: tuple[float, float] = (1.0, 1.0),
    change: Callable[[Model], Model] = lambda model: model,
    rate: float = RATE,
    shown: tuple[int, ...] = (),
) -> tuple[list[float], dict[int, Any], Model]:
    """The mean loss of every ten steps, the maps at some steps, and the model."""
    rng = np.random.default_rng(SEED)
    model, state = change(task.attention_only_model(rng, layers, sizes=sizes, xp=np)), None
    losses, seen = [], {0: maps(model)} if 0 in shown else {}
    for step in range(1, steps + 1):
        ids, targets = task.repeated_tokens(rng, BATCH, period=period)
        loss, gradients = companion.loss_and_gradients(ids, targets, model)
        model, state = companion.adamw(model, gradients, state, learning_rate=rate)
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
        "scores not divided": trained(2, 600, change=without_scale)[0],
        "no norms": trained(2, 600, change=without_norms)[0],
        "rates": {f"{rate:g}": trained(2, 600, rate=rate)[0] for rate in RATES},
        "maps": {"period": PERIOD, "steps": list(seen), "layers": list(seen.values())},
        "heads": task.head_scores(np.random.default_rng(1), model),
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in record.items()]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
