"""Causal and full attention side by side: ``python -m benchmarks.attention --help``."""

import argparse
import json
import math
import platform
from collections.abc import Iterable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure
from benchmarks.implementations import CANDIDATES, WIDTH, Call, Problem

HEADS, MEMORY_HEADS = 12, 4
LENGTHS = (128, 256, 512, 1024, 2048, 4096, 8192, 16384)
MEMORY_LENGTHS = (1024, 2048, 4096, 8192, 16384, 32768)
# The same number of scores each time, B·H·N²: from one long sequence to many short ones.
BATCHES_AND_HEADS = ((1, 1), (1, 4), (4, 4), (8, 8), (16, 16), (32, 32))
FIXED_WORK = tuple((b, h, 4096 // math.isqrt(b * h)) for b, h in BATCHES_AND_HEADS)
MASKS = {"causal": True, "full": False}
AGREEMENT = 1e-4  # the outputs are means of numbers of size one
SECONDS = 60.0  # for the rounds of one problem; five rounds may take longer


def exact(problem: Problem, inputs: list[np.ndarray], *, rows: int = 256) -> np.ndarray:
    """Compute the output in float64, a block of rows of one head at a time."""
    output = np.empty(inputs[0].shape)
    positions = np.arange(problem.length)
    for head in np.ndindex(output.shape[:2]):
        query, key, value = (array[head].astype(np.float64) for array in inputs)
        for start in range(0, problem.length, rows):
            block = positions[start : start + rows]
            scores = query[block] @ key.T / math.sqrt(WIDTH)
            if problem.causal:
                scores[block[:, None] < positions] = -np.inf
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            output[head][block] = weights @ value / weights.sum(axis=-1, keepdims=True)
    return output


def errors(name: str, output: Any, expected: np.ndarray, problem: Problem) -> dict[str, float]:
    """Return root-mean-square and largest error, or raise where it is no rounding error."""
    difference = CANDIDATES[name].heads_first(output, problem) - expected
    largest = float(np.abs(difference).max())
    if not largest <= AGREEMENT:
        raise RuntimeError(f"{name} is off by {largest:.2g} for {problem}")
    rms = math.sqrt(np.mean(np.square(difference)))
    return {"rms_error": float(f"{rms:.3g}"), "largest_error": float(f"{largest:.3g}")}


def fitting(problem: Problem, names: Iterable[str], limit_gib: float) -> list[str]:
    """Leave out what would hold all weights where they exceed the limit."""
    if problem.weights_bytes() <= limit_gib * 2**30:
        return list(names)
    return [name for name in names if problem.causal not in CANDIDATES[name].holds_weights]


def compare(problem: Problem, names: list[str], repeats: int) -> list[dict[str, Any]]:
    """Check that the candidates agree with float64, then time them in turns."""
    inputs = problem.inputs()
    calls = {name: CANDIDATES[name].prepare(problem, inputs) for name in names}
    compared = [name for name in names if name != "floor"]
    expected = exact(problem, inputs) if compared else None
    found = {name: errors(name, calls[name](), expected, problem) for name in compared}
    times = measure.in_turns(calls, repeats=repeats, seconds=SECONDS)
    return [
        {"implementation": name, **asdict(problem), **times[name], **found.get(name, {})}
        for name in names
    ]


def prepared(name: str, problem: Problem) -> Call:
    """Prepare a candidate's call in a fresh process."""
    return CANDIDATES[name].prepare(problem, problem.inputs())


def memory(problem: Problem, names: list[str]) -> list[dict[str, Any]]:
    """Measure each candidate's peak."""
    peaks = {name: measure.peak_memory(prepared, name, problem) for name in names}
    return [
        {"implementation": name, **asdict(problem), "mib": round(peak / measure.MIB, 1)}
        for name, peak in peaks.items()
    ]


def installed(names: Iterable[str]) -> list[str]:
    """Keep the candidates whose libraries are there, and say which are not."""
    kept = []
    for name in names:
        missing = [module for module in CANDIDATES[name].needs if find_spec(module) is None]
        if missing:
            print(f"{name} is left out: {' and '.join(missing)} not installed")
        else:
            kept.append(name)
    return kept


def report(records: list[dict[str, Any]]) -> None:
    """Print the records of one problem."""
    problem = Problem(*(records[0][field] for field in Problem.__dataclass_fields__))
    torch = next((r.get("seconds") for r in records if r["implementation"] == "torch"), None)
    print(problem, flush=True)
    for record in records:
        if "mib" in record:
            said = f"{record['mib']:10.1f} MiB"
        else:
            said = f"{1e3 * record['seconds']:10.2f} ms ({1e3 * record['low']:.2f} to "
            said += f"{1e3 * record['high']:.2f})"
            if torch:
                said += f"{record['seconds'] / torch:8.3f} of torch"
            if "largest_error" in record:
                said += f"{record['largest_error']:10.1e} largest error"
        print(f"  {record['implementation']:12s}{said}", flush=True)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every part that was asked for, and write what there is after each problem."""
    measure.warn_if_busy()
    names = installed(options.only)
    parts: dict[str, list[Problem]] = {
        "lengths": [
            Problem(1, HEADS, n, MASKS[mask]) for mask in options.masks for n in options.lengths
        ],
        "fixed_work": [Problem(*work, True) for work in FIXED_WORK],
        "memory": [Problem(1, MEMORY_HEADS, n, True) for n in options.memory_lengths],
    }
    result: dict[str, Any] = {
        "machine": measure.machine(tuple(d for name in names for d in CANDIDATES[name].needs)),
        "threads": "as many as each implementation chooses by itself",
    }
    if options.resume and options.output.exists():
        result = resumed(json.loads(options.output.read_text(encoding="utf-8")), result)
    for part in options.parts:
        if part == "memory" and platform.system() != "Linux":
            print("memory is left out: the peak of one call is measured on Linux only")
            continue
        result.setdefault(part, [])
        for problem in parts[part]:
            if any(asdict(problem).items() <= record.items() for record in result[part]):
                continue  # measured before the run was resumed
            kept = fitting(problem, names, options.limit_gib)
            if part == "memory":
                records = memory(problem, [name for name in kept if name != "floor"])
            else:
                records = compare(problem, kept, options.repeats)
            report(records)
            result[part] += records
            if options.output:
                measure.write(options.output, result)
        if part == "lengths":
            report_means(result[part])
    return result


def resumed(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Go on with a record that was broken off, if it is of the same machine, code and day."""
    same = [{**r["machine"], "load": None} for r in (before, now)]
    if same[0] != same[1]:
        raise SystemExit("the record is of another machine, version or day: measure it anew")
    return before


def report_means(records: list[dict[str, Any]]) -> None:
    """Print the geometric means of the time over each other implementation's."""
    times = {(r["implementation"], r["length"]): r["seconds"] for r in records if r["causal"]}
    for shortest, longest in ((512, 1024), (2048, 8192)):
        for other in ("torch", "onnxruntime", "jax"):
            ratios = [
                times["companion", length] / seconds
                for (name, length), seconds in times.items()
                if name == other
                and shortest <= length <= longest
                and ("companion", length) in times
            ]
            if ratios:
                mean = math.exp(np.mean(np.log(ratios)))
                print(f"companion over {other}, causal, N = {shortest} … {longest}: {mean:.3f}")


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parts = ["lengths", "fixed_work", "memory"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    parser.add_argument("--memory-lengths", nargs="+", type=int, default=MEMORY_LENGTHS)
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--masks", nargs="+", choices=MASKS, default=list(MASKS))
    parser.add_argument("--limit-gib", type=float, default=4.0, help="of all weights, if held")
    parser.add_argument("--output", type=Path, help="write the result there as JSON")
    parser.add_argument("--resume", action="store_true", help="keep what is there, add the rest")
    options = parser.parse_args(given)
    if options.output is not None and options.output.is_dir():
        options.output = measure.folder(options.output) / "attention.json"
    if options.resume and options.output is None:
        parser.error("--resume needs --output")
    return options


def main() -> None:
    options = arguments()
    run(options)


if __name__ == "__main__":
    main()
