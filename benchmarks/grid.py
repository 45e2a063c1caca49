"""How well ``implementation=None`` chooses: ``python -m benchmarks.grid --help``.

Every pair of two settings occurs in some problem. Each problem is computed by the two forms and by
the one that is chosen, in turns, and the time of the choice over that of the faster form is what
counts. Sharp scores are held against soft ones of the same shape, and one query against many keys
against PyTorch, where it is installed.
"""

import argparse
import itertools
import math
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import companion
from benchmarks import measure
from benchmarks.implementations import WIDTH, Call

SETTINGS: dict[str, tuple[Any, ...]] = {
    "factor": (1 / 16, 1.0, 8.0),  # of the usual scale
    "mask": (None, 0.0, -95.0, -1e4),  # float, of this size where it is not 0
    "heads": (1, 3, 12, 64),
    "length": (16, 256, 1024, 4096, 8192),
    "causal": (True, False),
    "window": (None, 100),
    "softcap": (None, 30.0),
    "group": (1, 3),  # query heads to a key head
    "queries": ("all", "one"),
}
LIMIT = 2 * 2**30  # bytes of all scores: the textbook form holds several such arrays
DECODED = (1024, 4096, 16384, 65536)
SHARP = 10.0  # standard deviation of the scores


def pairwise(settings: Mapping[str, tuple[Any, ...]], seed: int = 0) -> list[dict[str, Any]]:
    """Draw problems until every pair of settings has occurred in one that fits the memory."""
    rng, names = np.random.default_rng(seed), list(settings)
    wanted = {
        ((a, x), (b, y))
        for a, b in itertools.combinations(names, 2)
        for x in range(len(settings[a]))
        for y in range(len(settings[b]))
    }
    chosen = []
    for _ in range(400):
        drawn = [{n: int(rng.integers(len(settings[n]))) for n in names} for _ in range(50)]
        pairs = [set(itertools.combinations(problem.items(), 2)) & wanted for problem in drawn]
        fits = [score_bytes({n: settings[n][i] for n, i in p.items()}) <= LIMIT for p in drawn]
        best = max(range(50), key=lambda i: len(pairs[i]) * fits[i])
        if not fits[best] or not pairs[best]:
            continue
        wanted -= pairs[best]
        chosen.append({n: settings[n][i] for n, i in drawn[best].items()})
    return chosen


def score_bytes(problem: Mapping[str, Any]) -> int:
    """Return the size of all scores in float32."""
    queries = 1 if problem["queries"] == "one" else problem["length"]
    return 4 * problem["heads"] * problem["group"] * queries * problem["length"]


def calls(problem: Mapping[str, Any]) -> dict[str, Call]:
    """Prepare the calls of one problem."""
    rng = np.random.default_rng(0)
    length, shared = problem["length"], problem["heads"]
    queries = 1 if problem["queries"] == "one" else length
    heads = shared * problem["group"]
    shapes = (heads, queries, WIDTH), (shared, length, WIDTH), (shared, length, WIDTH)
    arrays = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
    options = {
        "is_causal": problem["causal"],
        "query_offset": length - queries,
        "scale": problem["factor"] / math.sqrt(WIDTH),
        "softcap": problem["softcap"],
        "window": problem["window"] and (problem["window"], -1),
    }
    if problem["mask"] is not None:
        some = rng.random((queries, length), dtype=np.float32) < 0.3
        options["attn_mask"] = np.where(some, np.float32(problem["mask"]), np.float32(0))
    attend = partial(companion.scaled_dot_product_attention, *arrays, **options)
    forms = {"chosen": None, "textbook": "textbook", "tiled": "tiled"}
    return {name: partial(attend, implementation=form) for name, form in forms.items()}


def choice(problem: Mapping[str, Any], repeats: int) -> dict[str, Any]:
    """Time the choice and the two forms."""
    times = measure.in_turns(calls(problem), repeats=repeats, seconds=4.0)
    seconds = {name: found["seconds"] for name, found in times.items()}
    ratio = seconds["chosen"] / min(seconds["textbook"], seconds["tiled"])
    return {**problem, **seconds, "ratio": round(ratio, 3)}


def sharpness(repeats: int) -> list[dict[str, Any]]:
    """Time sharp scores over soft ones."""
    found = []
    for heads, length, causal in ((2, 2048, False), (12, 2048, True), (12, 512, True)):
        rng = np.random.default_rng(1)
        arrays = [rng.standard_normal((heads, length, WIDTH), dtype=np.float32) for _ in range(3)]
        attend = partial(companion.scaled_dot_product_attention, *arrays, is_causal=causal)
        both = {"soft": 1 / math.sqrt(WIDTH), "sharp": SHARP / math.sqrt(WIDTH)}
        prepared = {name: partial(attend, scale=scale) for name, scale in both.items()}
        times = measure.in_turns(prepared, repeats=repeats, seconds=5.0)
        seconds = {name: entry["seconds"] for name, entry in times.items()}
        ratio = round(seconds["sharp"] / seconds["soft"], 3)
        found.append(
            {"heads": heads, "length": length, "causal": causal, **seconds, "ratio": ratio}
        )
    return found


def decoding(repeats: int) -> list[dict[str, Any]]:
    """Time one query of 9 heads against many keys of 3."""
    found = []
    for length in DECODED:
        rng = np.random.default_rng(2)
        shapes = (1, 9, 1, WIDTH), (1, 3, length, WIDTH), (1, 3, length, WIDTH)
        arrays = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
        prepared: dict[str, Call] = {
            "companion": partial(companion.scaled_dot_product_attention, *arrays)
        }
        if find_spec("torch") is not None:
            prepared["torch"] = _torch(arrays)
        times = measure.in_turns(prepared, repeats=repeats, seconds=5.0)
        found += [{"implementation": name, "keys": length, **t} for name, t in times.items()]
    return found


def _torch(arrays: list[np.ndarray]) -> Call:
    import torch

    tensors = [torch.from_numpy(array) for array in arrays]

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return torch.nn.functional.scaled_dot_product_attention(*tensors, enable_gqa=True)

    return call


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grid")
    parser.add_argument("--repeats", type=int, default=7, help="timed calls of each")
    parser.add_argument("--output", type=Path, help="write the result there as JSON")
    options = parser.parse_args()
    measure.warn_if_busy()
    problems = pairwise(SETTINGS)
    records = [choice(problem, options.repeats) for problem in problems]
    records.sort(key=lambda record: -record["ratio"])
    for record in records[:5]:
        print(record)
    result = {
        "machine": measure.machine(("torch",)),
        "choices": records,
        "sharpness": sharpness(options.repeats),
        "decoding": decoding(3 * options.repeats),
    }
    for record in result["sharpness"] + result["decoding"]:
        print(record)
    if options.output:
        if options.output.is_dir():
            options.output = measure.folder(options.output) / "grid.json"
        measure.write(options.output, result)


if __name__ == "__main__":
    main()
