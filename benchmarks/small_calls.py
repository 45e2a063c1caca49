"""What a small call costs beside its arithmetic: ``python -m benchmarks.small_calls --help``.

Two calls so small that their checks could outweigh their numbers, each in pairs with the same
arithmetic written out in NumPy: attention of two heads of five tokens, and the block of the book's
running example.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import erfc

import companion
from benchmarks import measure

CALLS = 1000  # one alone takes some microseconds


def attention(query: Any, key: Any, value: Any) -> Any:
    scores = (query @ key.mT) * query.shape[-1] ** -0.5
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True) @ value


def norm(x: Any, weight: Any, bias: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + 1e-5) * weight + bias


def block(x: Any, p: companion.BlockParameters) -> Any:
    """Compute a post-norm block with neither attention biases nor masks."""
    a, n = p.attention, p.feed_forward
    heads = attention(x @ a.w_q, x @ a.w_k, x @ a.w_v)
    x = norm(
        x + heads.transpose(1, 0, 2).reshape(len(x), -1) @ a.w_o, p.norm_1.weight, p.norm_1.bias
    )
    hidden = x @ n.w_1 + n.b_1
    hidden = 0.5 * hidden * erfc(hidden * -(0.5**0.5))
    return norm(x + (hidden @ n.w_2 + n.b_2), p.norm_2.weight, p.norm_2.bias)


def pairs() -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Return of each problem the library's call and the arithmetic alone."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((2, 5, 8)) for _ in range(3)]
    example = companion.running_example(companion.array_module("numpy"))
    return {
        "attention": (
            lambda: companion.scaled_dot_product_attention(*arrays),
            lambda: attention(*arrays),
        ),
        "block": (
            lambda: companion.transformer_block(example.x, example.block),
            lambda: block(example.x, example.block),
        ),
    }


def run(repeats: int, calls: int = CALLS) -> dict[str, Any]:
    """Time both of each pair in turns; seconds are those of one call."""
    problems = []
    for name, (ours, plain) in pairs().items():
        np.testing.assert_allclose(ours(), plain(), rtol=1e-12, atol=1e-12)
        candidates = {
            who: lambda call=call: [call() for _ in range(calls)]
            for who, call in (("companion", ours), ("arithmetic", plain))
        }
        times = measure.in_turns(candidates, repeats=repeats)
        ratio = times["companion"]["seconds"] / times["arithmetic"]["seconds"]
        each = {
            who: {key: float(f"{found[key] / calls:.4g}") for key in ("seconds", "low", "high")}
            for who, found in times.items()
        }
        problems.append({"problem": name, "ratio": round(ratio, 2), **each})
    return {
        "machine": measure.machine(("scipy", "array-api-compat")),
        "calls": calls,
        "rounds": repeats,
        "problems": problems,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.small_calls", description=__doc__)
    parser.add_argument("--repeats", type=int, default=31, help="timed turns of each")
    parser.add_argument("--output", type=Path, help="write the result there as JSON")
    options = parser.parse_args()
    measure.warn_if_busy()
    result = run(options.repeats)
    for found in result["problems"]:
        ours, plain = (1e6 * found[who]["seconds"] for who in ("companion", "arithmetic"))
        print(f"{found['problem']:12s}{ours:8.1f} µs, {found['ratio']:.2f} times {plain:.1f} µs")
    if options.output:
        if options.output.is_dir():
            options.output = measure.folder(options.output) / "small_calls.json"
        measure.write(options.output, result)


if __name__ == "__main__":
    main()
