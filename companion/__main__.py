"""``python -m companion``: versions, device, and a self-check, each line with its verdict.

With ``generate`` a language model writes (:mod:`companion.generate_command`), and with ``train``
one learns from a text (:mod:`companion.train_command`).
"""

import argparse
import functools
import importlib.metadata
import platform
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np

import companion
from companion import loops
from companion.arrays import Array, Namespace
from companion.generate_command import add_generate, generate
from companion.train_command import add_train, run_train

PACKAGES = ("numpy", "array-api-compat", "scipy", "threadpoolctl")


def main(arguments: Sequence[str] = ()) -> int:
    """Do what the arguments ask, the report where there are none, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m companion", description="Print versions, device and a self-check."
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    add_generate(commands.add_parser("generate", help="let a published language model write"))
    add_train(commands.add_parser("train", help="train a small language model on a text"))
    options = parser.parse_args(arguments)
    if options.command is None:
        return report()
    return generate(options) if options.command == "generate" else run_train(options)


def report() -> int:
    """Print the report and return the exit status: 0 if every verdict is good."""
    failed = 0
    for name, check in _checks():
        try:
            verdict, text = "ok", check()
        except Exception as error:
            verdict, text = "FAILED", f"{type(error).__name__}: {error}"
            failed += 1
        print(f"{verdict:>6}  {name:<24} {text}")
    return 1 if failed else 0


def _checks() -> Iterator[tuple[str, Callable[[], str]]]:
    yield "attention-companion", lambda: companion.__version__
    yield "Python", platform.python_version
    for package in PACKAGES:
        yield package, functools.partial(importlib.metadata.version, package)
    yield "matplotlib", _matplotlib
    yield "array module", _array_module
    yield "loop against matrix", _loop_against_matrix
    yield "rows of weights", _rows_sum_to_one
    yield "tiles against textbook", _tiles_against_textbook
    yield "future hidden", _future_hidden


def _matplotlib() -> str:
    try:
        return importlib.metadata.version("matplotlib")
    except importlib.metadata.PackageNotFoundError:
        return "not installed: needed to draw, pip install 'attention-companion[figures]'"


def _array_module() -> str:
    xp = companion.array_module()
    if "cupy" not in xp.__name__:
        return "numpy, on the CPU"
    import cupy  # pragma: gpu

    properties = cupy.cuda.runtime.getDeviceProperties(0)  # pragma: gpu
    return f"cupy {cupy.__version__}, on {properties['name'].decode()}"  # pragma: gpu


def _example() -> tuple[Namespace, Array, Array, Array]:
    example = companion.running_example()
    weights = (weight[0, ...] for weight in (example.w_q, example.w_k, example.w_v))
    return companion.array_namespace(example.x), *companion.project_qkv(example.x, *weights)


def _loop_against_matrix() -> str:
    xp, query, key, value = _example()
    matrix = companion.scaled_dot_product_attention(query, key, value)
    difference = float(xp.max(xp.abs(matrix - loops.attention_loop(query, key, value))))
    return _verdict(difference < 1e-12, f"largest difference {difference:.0e}")


def _tiles_against_textbook() -> str:
    xp = companion.array_module()
    rng = np.random.default_rng(0)
    arrays = [companion.random_normal((2, 600, 8), rng, xp=xp) for _ in range(3)]
    tiled, textbook = (
        companion.scaled_dot_product_attention(*arrays, is_causal=True, implementation=name)
        for name in ("tiled", "textbook")
    )
    difference = float(xp.max(xp.abs(tiled - textbook)))
    return _verdict(difference < 1e-12, f"largest difference {difference:.0e}")


def _rows_sum_to_one() -> str:
    xp, query, key, value = _example()
    _, weights = companion.scaled_dot_product_attention(query, key, value, return_weights=True)
    difference = float(xp.max(xp.abs(xp.sum(weights, axis=-1) - 1)))
    return _verdict(difference < 1e-12, f"sums differ from one by {difference:.0e}")


def _future_hidden() -> str:
    xp, query, key, value = _example()
    before = companion.scaled_dot_product_attention(query, key, value, is_causal=True)
    last = xp.arange(key.shape[0])[:, None] == key.shape[0] - 1
    after = companion.scaled_dot_product_attention(
        query, xp.where(last, key + 1, key), xp.where(last, value + 1, value), is_causal=True
    )
    same = bool(xp.all(before[:-1, :] == after[:-1, :]))
    return _verdict(same, "earlier rows keep every bit when the last token changes")


def _verdict(good: bool, text: str) -> str:
    if not good:
        raise AssertionError(text)
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
