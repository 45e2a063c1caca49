"""Record what a GPU computes and how fast: ``python -m benchmarks.gpu``, on a machine with one.

Writes ``benchmarks/results/gpu.json``, of which the book's chapter on CuPy tells. Needs one of
the extras ``cuda12`` and ``cuda13``; nothing else should use the GPU meanwhile. A few minutes.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import array_api_compat.numpy
import numpy as np

import companion
from benchmarks import agreement, measure
from benchmarks.gpu_record import source_digests, summary

RESULT = Path(__file__).parent / "results" / "gpu.json"
HEADS, WIDTH = 12, 64
LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
MEBIBYTES = (1, 4, 16, 64, 256)
PRODUCT = 4096
REPEATS = 15
# Computed in a fresh process, because CuPy reads its switch for TF32 only once.
TF32_PROGRAM = """
from benchmarks import gpu
print(gpu.product_error("float32"))
"""

Call = Callable[[], Any]


def main() -> int:
    """Measure, write the record, and return 0 if every function agrees."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    cupy = companion.array_module("cupy")
    comparisons = [
        row
        for dtype in ("float32", "float64")
        for row in agreement.compare(array_api_compat.numpy, cupy, dtype)
    ]
    rows = [row for length in LENGTHS for row in time_attention(length)]
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "device": describe_device(),
        "versions": versions(),
        "host": measure.machine(("array-api-compat",)),
        "sources": source_digests(),
        "setting": {"heads": HEADS, "width": WIDTH, "dtype": "float32", "repeats": REPEATS},
        "agreement": comparisons,
        "attention": rows,
        "break_even_length": break_even(rows),
        "transfers": [time_transfers(size * 2**20) for size in MEBIBYTES],
        "precision": record_precision(),
    }
    record["summary"] = summary(record)
    write(record, RESULT)
    apart = [row for row in comparisons if not row["agrees"]]
    for row in apart:
        print(f"beyond its tolerance: {row}", file=sys.stderr)
    print(f"wrote {RESULT}; {len(comparisons) - len(apart)} of {len(comparisons)} agree")
    return 1 if apart else 0


def write(record: Mapping[str, Any], path: Path) -> None:
    """Write the record as strict JSON: what is not finite becomes null."""
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(_finite(record), indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def break_even(rows: Iterable[Mapping[str, Any]]) -> int | None:
    """Return the shortest length from which on the device, transfers included, stays faster.

    None if it is not the faster one at the longest length.
    """
    best: dict[int, tuple[float, float]] = {}
    for row in rows:
        host, moved = best.get(row["length"], (math.inf, math.inf))
        best[row["length"]] = (
            min(host, row["host"]["seconds"]),
            min(moved, row["device_and_transfers"]["seconds"]),
        )
    found = None
    for length in sorted(best, reverse=True):
        host, moved = best[length]
        if moved >= host:
            break
        found = length
    return found


def time_attention(length: int) -> list[dict[str, Any]]:
    """Time every implementation at one length: on the host, on the device, with transfers, wrong.

    `unsynchronised` is what a host's clock says if nobody waits for the device.
    """
    import cupy

    rng = np.random.default_rng(length)
    shape = (HEADS, length, WIDTH)
    host = [rng.standard_normal(shape).astype(np.float32) for _ in range(3)]
    device = [cupy.asarray(array) for array in host]
    rows = []
    for implementation in implementations():
        attend = partial(
            companion.scaled_dot_product_attention, is_causal=True, implementation=implementation
        )

        def there_and_back(attend: Callable[..., Any] = attend) -> Any:
            return companion.to_numpy(attend(*(cupy.asarray(array) for array in host)))

        rows.append(
            {
                "length": length,
                "implementation": implementation,
                "host": host_seconds(partial(attend, *host)),
                "device": event_seconds(partial(attend, *device)),
                "device_and_transfers": host_seconds(there_and_back, wait=synchronize),
                "unsynchronised": host_seconds(partial(attend, *device), between=synchronize),
            }
        )
    return rows


def implementations() -> tuple[str, ...]:
    """Return the names of the forms of attention that this version of the library has."""
    from companion import attention

    return attention.IMPLEMENTATIONS


def host_seconds(
    call: Call, *, wait: Call = lambda: None, between: Call = lambda: None
) -> dict[str, float]:
    """Time by the host's clock. `wait` ends what is timed; `between` keeps rounds apart."""
    seconds = []
    for round_number in range(REPEATS + 2):
        between()
        start = time.perf_counter()
        call()
        wait()
        if round_number >= 2:  # the first two warm up
            seconds.append(time.perf_counter() - start)
    between()
    return measure.spread(seconds)


def event_seconds(call: Call) -> dict[str, float]:
    """Time by the device's own clock, between two events in its queue."""
    import cupy

    seconds = []
    for round_number in range(REPEATS + 2):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        call()
        end.record()
        end.synchronize()
        if round_number >= 2:
            seconds.append(cupy.cuda.get_elapsed_time(start, end) / 1000)
    return measure.spread(seconds)


def synchronize() -> None:
    """Wait for the device."""
    import cupy

    cupy.cuda.get_current_stream().synchronize()


def time_transfers(size: int) -> dict[str, Any]:
    """Time `size` bytes over the bus, both ways, in ordinary (pageable) memory."""
    import cupy

    there = np.ones(size // 4, dtype=np.float32)
    back = cupy.asarray(there)
    to_device = host_seconds(lambda: cupy.asarray(there), wait=synchronize)
    to_host = host_seconds(lambda: companion.to_numpy(back))
    return {
        "bytes": size,
        "to_device": to_device,
        "to_host": to_host,
        "to_device_bytes_per_second": size / to_device["seconds"],
        "to_host_bytes_per_second": size / to_host["seconds"],
    }


def record_precision() -> list[dict[str, Any]]:
    """Measure the error of a square product in the formats that this device and CuPy offer."""
    found = []
    for kind in ("float64", "float32", "float16", "bfloat16"):
        found.append({"format": kind, **_outcome(partial(product_error, kind))})
    return [*found, {"format": "tf32", **_outcome(_tf32_error)}]


def _outcome(error: Callable[[], float]) -> dict[str, Any]:
    """Return the error, or why there is none: not every version can do every format."""
    try:
        return {"error": error()}
    except Exception as reason:
        return {"error": None, "reason": f"{type(reason).__name__}: {reason}"[:200]}


def product_error(kind: str) -> float:
    """Return the root-mean-square error of X W on the device over that of the exact entries.

    The exact product is of the unrounded numbers, so rounding the inputs is part of the error.
    """
    import cupy

    if kind == "bfloat16":
        import ml_dtypes

        dtype = ml_dtypes.bfloat16
    else:
        dtype = kind
    rng = np.random.default_rng(5)
    x, w = (cupy.asarray(rng.standard_normal((PRODUCT, PRODUCT))) for _ in range(2))
    exact = x @ w
    product = (x.astype(dtype) @ w.astype(dtype)).astype(cupy.float64)
    return float(cupy.sqrt(cupy.mean((product - exact) ** 2) / cupy.mean(exact**2)))


def _tf32_error() -> float:
    run = subprocess.run(
        [sys.executable, "-c", TF32_PROGRAM],
        env=os.environ | {"CUPY_TF32": "1"},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(run.stdout)


def describe_device() -> dict[str, Any]:
    """Name the GPU."""
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    return {
        "name": properties["name"].decode(),
        "compute_capability": f"{properties['major']}.{properties['minor']}",
        "memory_bytes": int(properties["totalGlobalMem"]),
    }


def versions() -> dict[str, str]:
    """Return the versions that a number on a GPU depends on; CUDA's as major.minor."""
    import cupy

    def cuda(number: int) -> str:
        return f"{number // 1000}.{number % 1000 // 10}"

    return {
        "cupy": cupy.__version__,
        "driver supports CUDA": cuda(cupy.cuda.runtime.driverGetVersion()),
        "CUDA runtime": cuda(cupy.cuda.runtime.runtimeGetVersion()),
        "numpy": np.__version__,
        "companion": companion.__version__,
    }


if __name__ == "__main__":
    sys.exit(main())
