"""Fair comparisons on one machine: candidates in turn, medians with quartiles, peak memory."""

import datetime
import gc
import json
import math
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import companion
from companion.kernels import exponential

MIB = 2**20
FEWEST_ROUNDS = 5
PAUSE = 0.03
"""Seconds that a turn waits at least: some pools' threads look idle before they sleep."""
BUSY = 0.7
"""Load of the last minute from which on a warning is given."""
# Those that decide how many numbers one instruction takes.
INSTRUCTION_SETS = (
    *("avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_tile"),
    *("asimd", "sve", "sve2", "sme"),
)

# Those that change how many threads someone uses, or how they wait.
VARIABLES = (
    *("COMPANION_THREADS", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"),
    *("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    # And those that keep a library from some of the processor's instructions.
    *("OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES", "ATEN_CPU_CAPABILITY"),
    "MKL_ENABLE_INSTRUCTIONS",
)


def machine(peers: tuple[str, ...] = ()) -> dict[str, Any]:
    """Describe what a result depends on; `peers` are distributions whose versions belong to it."""
    cpuinfo = _cpuinfo()
    return {
        "cpu": _cpu_name(cpuinfo),
        "instruction_sets": [s for s in INSTRUCTION_SETS if s in cpuinfo.get("flags", "").split()],
        "cores": usable_cores(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {"companion": companion.__version__, **versions("numpy", *peers)},
        "blas": _blas(),
        "exponential": exponential.choose(np.dtype(np.float32)).power.__name__,
        "date": datetime.date.today().isoformat(),
        "load": _load(),
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def folder(results: Path) -> Path:
    """Return where the records of this processor belong, made if need be."""
    described = machine()
    widest = [s for s in described["instruction_sets"] if s in ("avx2", "avx512f", "asimd", "sve")]
    words = f"{described['cpu']} {widest[-1] if widest else ''}".lower()
    place = results / "-".join(
        re.findall(r"[a-z0-9]+", re.sub(r"\(.*?\)|\bcpu\b|@.*ghz", "", words))
    )
    place.mkdir(parents=True, exist_ok=True)
    return place


def warn_if_busy() -> None:
    """Say so where others use the processor: what is measured then says little."""
    load = _load()
    if load is not None and load > BUSY:
        print(f"The machine is busy: {load} processes ran in the last minute. Measure again later.")


def _load() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def versions(*distributions: str) -> dict[str, str]:
    """Return the versions of those that are installed."""
    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def usable_cores() -> int:
    """Count the cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_turns(
    candidates: Mapping[str, Callable[[], Any]],
    *,
    repeats: int,
    warm_up: int = 1,
    seconds: float = math.inf,
) -> dict[str, dict[str, float]]:
    """Time the candidates in turn, in an order drawn anew for every round.

    A turn waits until the threads of the one before have stopped spinning, makes one untimed call,
    which wakes the candidate's own threads and fills the caches, and then the timed call. After
    `seconds`, no round begins but the first five.

    Returns for each name the median of the seconds, the quartiles `low` and `high`, and `rounds`.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    for call in candidates.values():
        for _ in range(warm_up):
            call()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    rng = np.random.default_rng(0)
    gc.collect()
    began = time.perf_counter()
    for done in range(repeats):
        if done >= FEWEST_ROUNDS and time.perf_counter() - began > seconds:
            break
        for name in rng.permutation(list(candidates)):
            call = candidates[name]
            wait_until_idle()
            call()
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: {**spread(values), "rounds": len(values)} for name, values in times.items()}


def wait_until_idle(*, step: float = 0.01, at_most: float = 1.0) -> None:
    """Sleep until this process uses no more processor time.

    It sleeps a moment in any case. A pool's threads stay awake for up to a tenth of a second after
    a call, on cores that the next candidate needs.
    """
    time.sleep(PAUSE)
    for _ in range(round(at_most / step)):
        before = time.process_time()
        time.sleep(step)
        if time.process_time() - before < step / 5:
            return


def spread(values: Any) -> dict[str, float]:
    """Return the median and the quartiles, to four digits."""
    low, median, high = (float(f"{q:.4g}") for q in np.quantile(values, (0.25, 0.5, 0.75)))
    return {"seconds": median, "low": low, "high": high}


def peak_memory(prepare: Callable[..., Callable[[], Any]], *arguments: Any) -> int:
    """Return the bytes that one call holds at its peak, beyond what there was before it.

    ``prepare(*arguments)`` makes the call in a fresh process, so its imports and inputs are in the
    baseline, and the call's output is taken off the peak.

    Raises
    ------
    NotImplementedError
        Where the kernel is not Linux: only there can the peak be set back before the call.
    """
    if platform.system() != "Linux":
        raise NotImplementedError("peak memory of one call is measured on Linux only")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(_peak_of_one_call, prepare, arguments).result()


def _peak_of_one_call(prepare: Callable[..., Callable[[], Any]], arguments: tuple) -> int:
    call = prepare(*arguments)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _memory_of_this_process("VmRSS")
    output = call()
    return _memory_of_this_process("VmHWM") - before - output.nbytes


def _memory_of_this_process(entry: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(f"{entry}:"))
    return 1024 * int(line.split()[1])


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Write JSON with one record a line, so that a new run is a readable difference."""
    parts = []
    for name, entry in result.items():
        if isinstance(entry, list) and entry:
            records = ",\n".join(f"    {json.dumps(record)}" for record in entry)
            parts.append(f'  "{name}": [\n{records}\n  ]')
        else:
            text = json.dumps(entry, indent=2).replace("\n", "\n  ")
            parts.append(f'  "{name}": {text}')
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf"):  # Windows
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)


def _blas() -> list[dict[str, Any]]:
    """Return the linear algebra that NumPy calls."""
    from threadpoolctl import threadpool_info

    return [
        {key: library[key] for key in ("internal_api", "version", "architecture", "num_threads")}
        for library in threadpool_info()
        if library["user_api"] == "blas"
    ]


def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    pairs = (line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    entries = {key.strip(): value.strip() for key, value in pairs}
    return {"flags": entries.get("flags", entries.get("Features", "")), **entries}


def _cpu_name(cpuinfo: Mapping[str, str]) -> str:
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return cpuinfo.get("model name") or platform.processor() or platform.machine()
