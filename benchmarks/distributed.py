"""Attention over keys that no process holds whole, beside the tiled form in a process of its own.

    python -m benchmarks.distributed --output benchmarks/results

256 queries meet 262,144 keys of 8 heads, d_k = d_v = 64, in float32. Two workers draw the chunks of
keys and values from a seed where they are needed. What is kept: how far the two results are apart,
the most memory that each process had, the bytes that travelled beside those predicted, and the
seconds that one worker and two take, drawing included, for the same keys and for half of them.
"""

import argparse
import json
import multiprocessing
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import machine, write
from companion import cost, distributed
from companion import scaled_dot_product_attention as attend

HEADS, QUERIES, KEYS, WIDTH, SHARDS, WORKERS = 8, 256, 2**18, 64, 32, 2
RUNS = ((1, KEYS), (2, KEYS), (1, KEYS // 2))  # workers and keys


def drawn(seed: int, rows: int, shards: int) -> Any:
    """Return (8, rows, 64) in chunks of rows, each drawn by whoever needs it."""
    import dask.array as da

    shape, chunks = (HEADS, rows, WIDTH), (HEADS, rows // shards, WIDTH)
    return da.random.default_rng(seed).standard_normal(shape, chunks=chunks, dtype=np.float32)


def arrays(keys: int = KEYS) -> tuple[Any, Any, Any]:
    shards = SHARDS * keys // KEYS
    return drawn(0, QUERIES, 1), drawn(1, keys, shards), drawn(2, keys, shards)


def peak_mib() -> float:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def whole(path: str) -> None:
    """Compute it from whole arrays in the tiled form, in a process of its own."""
    query, key, value = (lazy.compute(scheduler="sync") for lazy in arrays())
    output = attend(query, key, value, implementation="tiled")
    np.savez(path, output=output, peak=peak_mib())


def shared() -> tuple[np.ndarray, dict[str, Any]]:
    """Compute it on two workers, and say what each of them had and fetched."""
    with distributed.local_workers(WORKERS, memory_limit="1GiB") as client:
        before = client.run(peak_mib)
        output = distributed.compute(attend(*arrays()), client)
        peaks = client.run(peak_mib)
        logs = client.run(lambda dask_worker: list(dask_worker.transfer_incoming_log))
    moved = sum(entry["total"] for log in logs.values() for entry in log)
    return output, {
        "worker_mib_before": [round(mib) for mib in before.values()],
        "worker_mib": [round(mib) for mib in peaks.values()],
        "bytes_moved": moved,
    }


def seconds(workers: int, keys: int, repeats: int = 5) -> list[float]:
    """Time it on so many workers, once they have begun."""
    taken = []
    with distributed.local_workers(workers, memory_limit="1GiB") as client:
        for _ in range(repeats + 1):
            start = time.perf_counter()
            distributed.compute(attend(*arrays(keys)), client)
            taken.append(round(time.perf_counter() - start, 3))
    return sorted(taken[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="folder for distributed.json")
    output = parser.parse_args().output
    got, record = shared()
    client_mib = peak_mib()
    path = Path(f".distributed-{multiprocessing.current_process().pid}.npz")
    process = multiprocessing.get_context("spawn").Process(target=whole, args=(str(path),))
    process.start()
    process.join()
    held = np.load(path)
    path.unlink()
    sizes = cost.Sizes(width=HEADS * WIDTH, heads=HEADS)
    account = distributed.tree_account(QUERIES, KEYS, sizes, shards=SHARDS, workers=WORKERS)
    record |= {
        "bytes_predicted": account.moved,
        "bytes_of_keys_and_values": 2 * HEADS * KEYS * WIDTH * 4,
        "client_mib": round(client_mib),
        "tiled_mib": round(float(held["peak"])),
        "largest_difference": float(np.max(np.abs(got - held["output"]))),
        "largest_output": float(np.max(np.abs(held["output"]))),
    }
    record["scaling"] = [
        {"workers": workers, "keys": keys, "seconds": seconds(workers, keys)}
        for workers, keys in RUNS
    ]
    result = {"machine": machine(("dask", "distributed")), **record}
    print(json.dumps(record, indent=1))
    if output:
        write(output / "distributed.json", result)


if __name__ == "__main__":
    main()
