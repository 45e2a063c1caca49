"""The steps of a tile on one core, in NumPy and PyTorch: ``python -m benchmarks.steps --help``.

Attention in tiles is two products and an exponential. Who computes these faster, and what the
widest instructions of the processor have to do with it, decides most of the comparison with
PyTorch's kernel.
"""

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure
from benchmarks.implementations import WIDTH
from companion.kernels import exponential
from companion.kernels.cpu import KEYS, ROWS

CALLS = 20  # one alone takes less than a millisecond
PRODUCT, EXPONENTIAL, MIXTURE = "query @ key", "exp or exp2", "weights @ value"
OPERATIONS = {
    PRODUCT: 2 * ROWS * KEYS * WIDTH,
    EXPONENTIAL: ROWS * KEYS,
    MIXTURE: 2 * ROWS * KEYS * WIDTH,
}

Steps = dict[str, Callable[[], Any]]


def tile() -> tuple[np.ndarray, ...]:
    """Draw queries, keys, values and scores of one tile of a head; the scores are at most 0."""
    rng = np.random.default_rng(0)
    query, key, value = (
        rng.standard_normal((rows, WIDTH), dtype=np.float32) for rows in (ROWS, KEYS, KEYS)
    )
    key = np.ascontiguousarray(key.T)  # one column a key, as the kernel lays it out
    return query, key, value, -np.abs(4 * rng.standard_normal((ROWS, KEYS), dtype=np.float32))


def numpy_steps() -> Steps:
    query, key, value, scores = tile()
    square, mixed = np.empty_like(scores), np.empty_like(query)
    power = exponential.choose(scores.dtype).power
    return {
        PRODUCT: lambda: np.matmul(query, key, out=square),
        EXPONENTIAL: lambda: power(scores, out=square),
        MIXTURE: lambda: np.matmul(scores, value, out=mixed),
    }


def torch_steps() -> Steps:
    import torch

    torch.set_num_threads(1)
    query, key, value, scores = (torch.from_numpy(array) for array in tile())
    square, mixed = torch.empty_like(scores), torch.empty_like(query)
    return {
        PRODUCT: lambda: torch.mm(query, key, out=square),
        EXPONENTIAL: lambda: torch.exp(scores, out=square),
        MIXTURE: lambda: torch.mm(scores, value, out=mixed),
    }


LIBRARIES = {"numpy": numpy_steps, "torch": torch_steps}


def time_steps(names: list[str], repeats: int) -> list[dict[str, Any]]:
    """Time every step in every library in turns, each on one thread of this process."""
    from threadpoolctl import threadpool_limits

    calls = {
        f"{name}: {step}": lambda call=call: [call() for _ in range(CALLS)]
        for name in names
        for step, call in LIBRARIES[name]().items()
    }
    with threadpool_limits(1):
        times = measure.in_turns(calls, repeats=repeats)
    records = []
    for called, found in times.items():
        library, step = called.split(": ")
        rate = float(f"{OPERATIONS[step] * CALLS / found['seconds']:.4g}")
        records.append({"library": library, "step": step, "operations_per_second": rate, **found})
    return records


def narrow() -> dict[str, str]:
    """Return the variables that keep the libraries from instructions wider than 256 bits."""
    from numpy._core import _multiarray_umath as features

    wide = [
        name
        for name in features.__cpu_dispatch__
        if features.__cpu_features__[name] and (name == "X86_V4" or name.startswith("AVX512"))
    ]
    return {
        "NPY_DISABLE_CPU_FEATURES": " ".join(wide),
        "OPENBLAS_CORETYPE": "Haswell",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
    }


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def run(names: list[str], repeats: int) -> dict[str, Any]:
    """Measure in fresh processes: as the libraries come, and with 256 bits at most."""
    machine = measure.machine(tuple(name for name in names if name != "numpy"))
    widths: dict[str, dict[str, str]] = {"as they come": {}}
    if "avx512f" in machine["instruction_sets"]:
        widths["256 bits at most"] = narrow()
    result: dict[str, Any] = {
        "machine": machine,
        "tile": {"rows": ROWS, "keys": KEYS, "width": WIDTH, "calls": CALLS, "dtype": "float32"},
        "steps": [],
    }
    for vectors, variables in widths.items():
        context = get_context("spawn")
        with environment(variables), ProcessPoolExecutor(1, mp_context=context) as fresh:
            records = fresh.submit(time_steps, names, repeats).result()
        result["steps"] += [{"vectors": vectors, **record} for record in records]
    return result


def report(records: list[dict[str, Any]]) -> None:
    for record in records:
        rate = record["operations_per_second"] / 1e9
        print(f"{record['vectors']:18s}{record['library']:8s}{record['step']:18s}{rate:8.2f} G/s")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__)
    parser.add_argument("--repeats", type=int, default=31, help="timed turns of each")
    parser.add_argument("--output", type=Path, help="write the result there as JSON")
    options = parser.parse_args()
    measure.warn_if_busy()
    names = [name for name in LIBRARIES if find_spec(name) is not None]
    if "torch" not in names:
        print("torch is left out: torch not installed")
    result = run(names, options.repeats)
    report(result["steps"])
    if options.output:
        if options.output.is_dir():
            options.output = measure.folder(options.output) / "steps.json"
        measure.write(options.output, result)


if __name__ == "__main__":
    main()
