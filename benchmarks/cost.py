"""Growth with the length, and a roofline: ``python -m benchmarks.cost --help``."""

import argparse
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import companion
from benchmarks import measure
from companion import cost, loops

RESULTS = Path(__file__).parent / "results"
GROWTH = cost.Sizes(width=128, heads=2)
LOOP_LENGTHS = (8, 16, 32, 64, 128)
HELD = ("textbook", "tiled", "recurrent")  # of these the memory is measured too
LENGTHS = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
TABLE_WIDTH, TABLE_LENGTHS, LOOK_UPS = 64, (256, 1024, 4096, 16384, 65536), 1000
CHAIN_WIDTH, CHAIN_LENGTHS = 512, (64, 256, 1024, 4096)
# Weights and caches larger than a CPU's last cache, so that they come from memory.
ROOFLINE = cost.Sizes(width=2048, heads=32)
PREFILL, CACHED = 1024, 16384
PRODUCT_SIDE, COPY_BYTES = 2048, 2**28

Call = Callable[[], Any]


def draw(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def recurrent(x: np.ndarray, w: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Walk along the tokens; each state waits for the one before it."""
    inputs = x @ w  # (N, d)
    states = np.empty_like(inputs)
    state = np.zeros_like(inputs[0])
    for i in range(len(inputs)):
        state = np.tanh(inputs[i] + state @ u)
        states[i] = state
    return states


def attend(x: np.ndarray, p: companion.AttentionParameters, implementation: str) -> np.ndarray:
    heads = companion.project_qkv(x, p.w_q, p.w_k, p.w_v)
    mixed = companion.scaled_dot_product_attention(*heads, implementation=implementation)
    return companion.project(companion.merge_heads(mixed), p.w_o)


def layers(length: int) -> dict[str, Call]:
    """Prepare one self-attention layer in every form, and a recurrent network of its width."""
    rng = np.random.default_rng(length)
    d = GROWTH.width
    x, w, u = draw(rng, length, d), draw(rng, d, d) / d**0.5, draw(rng, d, d) / d**0.5
    p = companion.AttentionParameters.random(
        rng, width=d, heads=GROWTH.heads, bias=False, dtype=np.float32
    )
    calls: dict[str, Call] = {"recurrent": partial(recurrent, x, w, u)}
    if length in LENGTHS:
        for implementation in ("textbook", "tiled"):
            calls[implementation] = partial(attend, x, p, implementation)
    if length in LOOP_LENGTHS:
        calls["loop"] = partial(loops.multi_head_attention_loop, x, p)
    return calls


def look_ups(length: int) -> dict[str, Call]:
    """Prepare one look-up among `length` keys: by hash, by scan, by attention."""
    rng = np.random.default_rng(length)
    key, value = draw(rng, length, TABLE_WIDTH), draw(rng, length, TABLE_WIDTH)
    table = {row.tobytes(): i for i, row in enumerate(key)}
    query = key[length // 2]

    def by_hash() -> None:  # many, because one is shorter than the clock can tell
        for _ in range(LOOK_UPS):
            value[table[query.tobytes()]]

    return {
        "hash": by_hash,
        "scan": lambda: value[np.argmax(key @ query)],
        "attention": partial(companion.scaled_dot_product_attention, query[None], key, value),
    }


def chains(length: int) -> dict[str, Call]:
    """Prepare the same products, all at once and each behind the one before it."""
    rng = np.random.default_rng(length)
    x = draw(rng, length, CHAIN_WIDTH)
    u = np.linalg.qr(draw(rng, CHAIN_WIDTH, CHAIN_WIDTH))[0]  # so that the states keep their size

    def one_after_the_other() -> np.ndarray:
        state = x[0]
        for _ in range(length):
            state = state @ u
        return state

    return {"at once": lambda: x @ u, "one after the other": one_after_the_other}


def peak_bytes(call: Call) -> int:
    """Return the bytes of arrays that a call holds at its peak, as NumPy reports them."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def compared(prepare: Callable[[int], dict[str, Call]], lengths: Any, repeats: int) -> Iterator:
    for length in lengths:
        calls = prepare(length)
        for name, times in measure.in_turns(calls, repeats=repeats).items():
            if name == "hash":
                for part in ("seconds", "low", "high"):
                    times[part] /= LOOK_UPS
            record = {"name": name, "length": length, **times}
            if name in HELD:
                record["peak"] = peak_bytes(calls[name])
            yield record


def prefill_steps(rng: np.random.Generator) -> dict[str, tuple[cost.Cost, Call]]:
    """Prepare the steps of a block over many tokens, each with what it should cost."""
    s, n = ROOFLINE, PREFILL
    x, hidden = draw(rng, n, s.width), draw(rng, n, s.hidden)
    w_q, w_1 = draw(rng, s.width, s.width), draw(rng, s.width, s.hidden)
    query, key, value = (draw(rng, s.heads, n, s.d_k) for _ in range(3))
    compared = companion.scaled_scores(query, key)
    weights = companion.softmax(compared)
    ledger = cost.block(n, n, s)
    calls = {
        "queries": lambda: x @ w_q,
        "scores": partial(companion.scaled_scores, query, key),
        "softmax": partial(companion.softmax, compared),
        "weighted values": partial(companion.weighted_values, weights, value),
        "widen": lambda: x @ w_1,
        "bend": partial(companion.gelu, hidden),
    }
    return {name: (ledger[name], call) for name, call in calls.items()}


def decoding_steps(rng: np.random.Generator) -> dict[str, tuple[cost.Cost, Call]]:
    """Prepare those of one new token that meets cached keys and values."""
    s, n = ROOFLINE, CACHED
    x, w_q, w_1 = draw(rng, 1, s.width), draw(rng, s.width, s.width), draw(rng, s.width, s.hidden)
    query, key, value = draw(rng, s.heads, 1, s.d_k), *(draw(rng, s.heads, n, s.d_k) for _ in "kv")
    weights = companion.softmax(companion.scaled_scores(query, key))
    ledger = cost.block(1, n, s)
    calls = {
        "queries": lambda: x @ w_q,
        "scores": partial(companion.scaled_scores, query, key),
        "weighted values": partial(companion.weighted_values, weights, value),
        "widen": lambda: x @ w_1,
    }
    return {name: (ledger[name], call) for name, call in calls.items()}


def limits(rng: np.random.Generator) -> dict[str, Call]:
    """Prepare what shows the limits of the machine: a large product and a large copy."""
    a, b = draw(rng, PRODUCT_SIDE, PRODUCT_SIDE), draw(rng, PRODUCT_SIDE, PRODUCT_SIDE)
    source = np.ones(COPY_BYTES // 4, np.float32)
    target = np.empty_like(source)
    return {"product": lambda: a @ b, "copy": lambda: np.copyto(target, source)}


def roofline(repeats: int) -> dict[str, Any]:
    """Measure the limits and the steps in the same turns."""
    rng = np.random.default_rng(1)
    phases = {"prefill": prefill_steps(rng), "decoding": decoding_steps(rng)}
    calls = limits(rng)
    for phase, steps in phases.items():
        calls |= {f"{phase} {name}": call for name, (_, call) in steps.items()}
    times = measure.in_turns(calls, repeats=repeats)
    return {
        # A limit is what the machine reaches in a good turn.
        "limits": {
            "flop_rate": round(2 * PRODUCT_SIDE**3 / times["product"]["low"]),
            "bandwidth": round(2 * COPY_BYTES / times["copy"]["low"]),
        },
        "steps": [
            {"phase": phase, "name": name, "flops": step.flops, "moved": step.moved}
            | times[f"{phase} {name}"]
            for phase, steps in phases.items()
            for name, (step, _) in steps.items()
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="timed turns of each candidate")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON files")
    options = parser.parse_args()
    lengths = sorted({*LOOP_LENGTHS, *LENGTHS})
    described, repeats = {"machine": measure.machine(), "repeats": options.repeats}, options.repeats
    sizes = {"width": ROOFLINE.width, "heads": ROOFLINE.heads, "prefill": PREFILL, "cached": CACHED}
    measure.write(
        options.output / "roofline.json",
        {**described, "sizes": sizes, **roofline(repeats)},
    )
    result = {
        **described,
        "sizes": {"width": GROWTH.width, "heads": GROWTH.heads},
        "layers": list(compared(layers, lengths, repeats)),
        "look_ups": list(compared(look_ups, TABLE_LENGTHS, repeats)),
        "chains": list(compared(chains, CHAIN_LENGTHS, repeats)),
    }
    measure.write(options.output / "cost.json", result)


if __name__ == "__main__":
    main()
