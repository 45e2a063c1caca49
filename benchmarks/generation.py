"""A model that writes beside the published code: ``python -m benchmarks.generation --help``.

Both read the same file, in float32. Prefill is a prompt's pass up to the logits of its last row,
decoding the step of one more token behind a cache. The floors are what neither can leave out: the
products with all weights, and reading every weight once.
"""

import argparse
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import companion
from benchmarks import measure
from companion.language_model.decoder import decoder_states, state_logits
from companion.language_model.pretrained import published_model_path

CONTEXTS = (256, 1024)
AGREEMENT = {256: 3e-4, 1024: 1e-3}  # of logits of size 40
SECONDS = 120.0  # for the rounds of one part; five rounds may take longer
PUBLISHED = "transformers"
DISTRIBUTIONS = ("torch", PUBLISHED, "gguf")

Call = Callable[[], Any]


class Ours:
    """The model as `companion` runs it, behind a context."""

    def __init__(self, model: companion.CausalLanguageModel) -> None:
        self.model = model

    def prefill(self, ids: np.ndarray) -> Call:
        p = self.model.parameters
        return lambda: state_logits(decoder_states(ids, p, self.model.new_cache())[-1, :], p)

    def decode(self, ids: np.ndarray) -> Call:
        p, cache = self.model.parameters, self.model.new_cache()
        decoder_states(ids[:-1], p, cache)
        cache.reserve(len(ids))

        def step() -> Any:
            logits = state_logits(decoder_states(ids[-1:], p, cache)[-1, :], p)
            cache.cut(len(ids) - 1)
            return logits

        return step


class Published:
    """The model as `transformers` runs it on PyTorch, behind a context."""

    def __init__(self, path: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self.torch = torch
        self.model = AutoModelForCausalLM.from_pretrained(
            str(path.parent), gguf_file=path.name, dtype=torch.float32
        ).eval()

    def _run(self, ids: Any, cache: Any = None) -> Any:
        with self.torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the name of the option is about to change
            return self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)

    def prefill(self, ids: np.ndarray) -> Call:
        given = self.torch.from_numpy(ids)[None]
        return lambda: self._run(given).logits[0, -1].numpy()

    def decode(self, ids: np.ndarray) -> Call:
        given = self.torch.from_numpy(ids)[None]
        cache = self._run(given[:, :-1]).past_key_values

        def step() -> Any:
            logits = self._run(given[:, -1:], cache).logits[0, -1].numpy()
            cache.crop(-1)
            return logits

        return step


def floors(parameters: Any, rows: int) -> dict[str, Call]:
    """Return what is left of a pass where nothing but its products is computed, or read."""
    weights = [
        weight
        for layer in parameters.layers
        for weight in (layer.w_qkv, layer.w_o, layer.w_gate_up, layer.w_down)
    ]
    inputs = {n: np.ones((rows, n), np.float32) for n in {len(weight) for weight in weights}}
    last, output = np.ones((1, parameters.config.width), np.float32), parameters.unembedding.T

    def products() -> None:
        for weight in weights:
            np.matmul(inputs[len(weight)], weight)
        np.matmul(last, output)

    def reading() -> None:
        for array in (*weights, parameters.unembedding):
            array.sum()  # on one core

    return {"products": products, "reading": reading} if rows == 1 else {"products": products}


def compare(models: dict[str, Any], part: str, ids: np.ndarray, repeats: int) -> dict[str, Any]:
    """Check that all give the same logits, then time them and the floors in turns."""
    calls = {name: getattr(model, part)(ids) for name, model in models.items()}
    logits = {name: call() for name, call in calls.items()}
    difference = max(float(np.abs(x - logits["companion"]).max()) for x in logits.values())
    if not difference <= AGREEMENT[len(ids)]:
        raise RuntimeError(f"the logits differ by {difference:.2g}")
    calls |= floors(models["companion"].model.parameters, len(ids) if part == "prefill" else 1)
    times = measure.in_turns(calls, repeats=repeats, seconds=SECONDS)
    return {
        "context": len(ids),
        "largest_difference": float(f"{difference:.3g}"),
        "times": [{"implementation": name, **found} for name, found in times.items()],
    }


def run(path: Path, text: str, repeats: int) -> dict[str, Any]:
    """Measure prompts of both lengths, and one more token behind each."""
    model = companion.CausalLanguageModel.from_pretrained(path, xp=np)
    models: dict[str, Any] = {"companion": Ours(model)}
    if find_spec(PUBLISHED) is None:
        print(f"{PUBLISHED} is left out: it is not installed")
    else:
        models[PUBLISHED] = Published(path)
    ids = np.asarray(model.tokenizer.encode(text), dtype=np.int64)
    result: dict[str, Any] = {
        "machine": measure.machine(DISTRIBUTIONS),
        "threads": "as many as each implementation chooses by itself",
        "weight_bytes": 4 * companion.count_parameters(model.parameters),
    }
    for part in ("prefill", "decode"):
        for context in CONTEXTS:
            found = compare(models, part, np.resize(ids, context), repeats)
            result[f"{part}_{context}"] = found
            report(f"{part} {context}", found)
    return result


def report(name: str, found: dict[str, Any]) -> None:
    print(f"{name}: logits differ by at most {found['largest_difference']}")
    ours = found["times"][0]["seconds"]
    for record in found["times"]:
        low, median, high = (1e3 * record[key] for key in ("low", "seconds", "high"))
        line = f"  {record['implementation']:14s}{median:8.1f} ms ({low:.1f} to {high:.1f})"
        print(f"{line} companion takes {ours / record['seconds']:.3f} of it")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation", description=__doc__)
    parser.add_argument("--model", type=Path, help="the .gguf file, if it is not installed")
    parser.add_argument("--repeats", type=int, default=15, help="timed calls of each")
    parser.add_argument("--output", type=Path, help="write the result there as JSON")
    options = parser.parse_args()
    measure.warn_if_busy()
    text = (Path(__file__).parent / "sentences.txt").read_text(encoding="utf-8")
    result = run(options.model or published_model_path(), text, options.repeats)
    if options.output:
        if options.output.is_dir():
            options.output = measure.folder(options.output) / "generation.json"
        measure.write(options.output, result)


if __name__ == "__main__":
    main()
