"""Going back beside PyTorch: ``python -m benchmarks.training --help``.

Two parts, both in float32. ``attention`` is the way back through causal attention, 12 heads of 64:
given what the forward kept (``companion``), and with that made again (``companion, again``), beside
PyTorch's from its own forward's graph. ``step`` is the loss of the book's small model on one batch
and all its gradients, forward and backward, beside the same model in PyTorch, eager.
"""

import argparse
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import companion
from benchmarks import measure
from companion.train_command import BATCH, CONTEXT, VOCABULARY, small_config

HEADS, WIDTH = 12, 64
LENGTHS = (1024, 2048, 4096, 8192)
SECONDS = 120.0  # for the rounds of one problem; five rounds may take longer
AGREEMENT = 1e-4  # of gradients of size one: largest difference over largest entry
DISTRIBUTIONS = ("torch",)
PEER = "torch"

Call = Callable[[], Any]
Arrays = list[np.ndarray]


def difference(one: Arrays, other: Arrays) -> float:
    """Return the largest difference of two lists of gradients, as a share of the largest entry."""
    shares = [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(one, other, strict=True)]
    return max(shares)


def attention_calls(length: int, *, peer: bool) -> dict[str, Call]:
    """Return the ways back through one problem, by who goes them."""
    rng = np.random.default_rng(0)
    shape = (1, HEADS, length, WIDTH)
    query, key, value, d_output = (rng.standard_normal(shape, dtype=np.float32) for _ in range(4))
    saved = companion.attention_record(query, key, value, is_causal=True)
    back = partial(companion.attention_backward, d_output, query, key, value, is_causal=True)
    calls: dict[str, Call] = {"companion": partial(back, saved=saved), "companion, again": back}
    if peer:
        import torch

        given = [torch.from_numpy(array).requires_grad_() for array in (query, key, value)]
        attend = torch.nn.functional.scaled_dot_product_attention
        output, slope = attend(*given, is_causal=True), torch.from_numpy(d_output)
        calls[PEER] = partial(torch.autograd.grad, output, given, slope, retain_graph=True)
    return calls


def step_calls(*, peer: bool) -> dict[str, Call]:
    """Return a step's loss and gradients of the small model on one batch, by who computes them."""
    rng = np.random.default_rng(0)
    model = companion.initial_language_model(small_config(VOCABULARY), rng, xp=np)
    ids, targets = (rng.integers(0, VOCABULARY, (BATCH, CONTEXT)) for _ in range(2))
    batch = companion.TextBatch(ids, targets, None)

    def ours() -> Arrays:
        loss, gradients = companion.accumulated_gradients([batch], model)
        return [np.asarray(loss), *companion.named_parameters(gradients).values()]

    calls: dict[str, Call] = {"companion": ours}
    if peer:
        calls[PEER] = peer_step(model, ids, targets)
    return calls


def peer_step(model: Any, ids: np.ndarray, targets: np.ndarray) -> Call:
    """Return the same step in PyTorch, written as its users write it."""
    import torch
    from torch.nn import functional

    named = companion.named_parameters(model)
    weights = {name: torch.from_numpy(np.array(w)).requires_grad_() for name, w in named.items()}
    config, inputs = model.config, torch.from_numpy(ids)
    wanted = torch.from_numpy(targets).reshape(-1)
    heads, width = config.head_count, config.head_dim
    steps = config.rotary_base ** (-2 * np.arange(width // 2) / width)
    angles = torch.from_numpy((np.arange(ids.shape[1])[:, None] * steps).astype(np.float32))
    cosine, sine = torch.cos(angles), torch.sin(angles)

    def turned(x: Any) -> Any:
        a, b = x.chunk(2, -1)
        return torch.cat([a * cosine - b * sine, b * cosine + a * sine], -1)

    def norm(x: Any, name: str) -> Any:
        return functional.rms_norm(x, (config.width,), weights[name], config.eps)

    def layer(x: Any, at: str) -> Any:
        bundle = norm(x, f"{at}.norm_1") @ weights[f"{at}.w_qkv"]
        query, key, value = bundle.unflatten(-1, (3, heads, width)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(
            turned(query), turned(key), value, is_causal=True
        )
        x = x + mixed.transpose(1, 2).flatten(-2) @ weights[f"{at}.w_o"]
        gate, up = (norm(x, f"{at}.norm_2") @ weights[f"{at}.w_gate_up"]).chunk(2, -1)
        return x + (functional.silu(gate) * up) @ weights[f"{at}.w_down"]

    def step() -> list[Any]:
        x = weights["embedding"][inputs]
        for i in range(config.layer_count):
            x = layer(x, f"layers.{i}")
        logits = norm(x, "norm") @ weights["embedding"].T
        loss = functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), wanted)
        return [loss.detach(), *torch.autograd.grad(loss, list(weights.values()))]

    return step


def compare(calls: dict[str, Call], repeats: int) -> dict[str, Any]:
    """Check that all find the same gradients, then time them in turns."""
    found = {name: [np.asarray(part) for part in call()] for name, call in calls.items()}
    apart = max(difference(arrays, found["companion"]) for arrays in found.values())
    if not apart <= AGREEMENT:
        raise RuntimeError(f"the gradients differ by {apart:.2g} of the largest")
    del found
    times = measure.in_turns(calls, repeats=repeats, seconds=SECONDS)
    return {
        "largest_difference": float(f"{apart:.3g}"),
        "times": [{"implementation": name, **taken} for name, taken in times.items()],
    }


def run(repeats: int, lengths: tuple[int, ...] = LENGTHS) -> dict[str, Any]:
    """Measure attention's way back at each length, and a step of the small model."""
    peer = find_spec(PEER) is not None
    if not peer:
        print(f"{PEER} is left out: it is not installed")
    result: dict[str, Any] = {
        "machine": measure.machine(DISTRIBUTIONS),
        "threads": "as many as each implementation chooses by itself",
        "heads": HEADS,
        "attention": [],
    }
    for length in lengths:
        found = compare(attention_calls(length, peer=peer), repeats)
        report(f"attention {length}", found)
        result["attention"] += [
            {"length": length, "largest_difference": found["largest_difference"], **record}
            for record in found["times"]
        ]
    result["step"] = {
        "batch": BATCH,
        "context": CONTEXT,
        **compare(step_calls(peer=peer), repeats),
    }
    report("step", result["step"])
    return result


def report(name: str, found: dict[str, Any]) -> None:
    print(f"{name}: gradients differ by at most {found['largest_difference']} of the largest")
    last = found["times"][-1]["seconds"]
    for record in found["times"]:
        low, median, high = (1e3 * record[key] for key in ("low", "seconds", "high"))
        line = f"  {record['implementation']:18s}{median:8.1f} ms ({low:.1f} to {high:.1f})"
        print(f"{line} {record['seconds'] / last:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="*", default=LENGTHS, help="of attention")
    parser.add_argument("--repeats", type=int, default=15, help="timed calls of each")
    parser.add_argument("--output", type=Path, help="write the result there as JSON")
    options = parser.parse_args()
    measure.warn_if_busy()
    result = run(options.repeats, tuple(options.lengths))
    if options.output:
        if options.output.is_dir():
            options.output = measure.folder(options.output) / "training.json"
        measure.write(options.output, result)


if __name__ == "__main__":
    main()
