"""What a worker of Dask is told to do wrong, once or always: found by name in its process."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np


def chunk(seed: int, shape: tuple[int, ...], dtype: str, block_id: tuple[int, ...]) -> np.ndarray:
    """Draw a chunk of an array from its place alone."""
    return np.random.default_rng([seed, *block_id]).standard_normal(shape).astype(dtype)


def forbidden(block: Any, block_id: tuple[int, ...], allowed: tuple[int, ...], axis: int) -> Any:
    """Hand a chunk on, but for those that nobody may ask for."""
    if block_id[axis] not in allowed:
        raise AssertionError(f"chunk {block_id} was computed")
    return block


def raising(block: Any, block_id: tuple[int, ...]) -> Any:
    if block_id[-2] == 3:
        raise ValueError("chunk 3 is damaged")
    return block


def killing(block: Any, block_id: tuple[int, ...], marker: str) -> Any:
    """End the worker's process in the middle of its work, the first time."""
    if block_id[-2] == 2 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return block


def slow(block: Any, marker: str) -> Any:
    """Take half a minute, or until the mark is taken away that says that it began."""
    Path(marker).touch()
    end = time.monotonic() + 30
    while Path(marker).exists() and time.monotonic() < end:
        time.sleep(0.05)
    return block


def hungry(block: Any, counter: str) -> Any:
    """Take more memory than there is, every time, and leave a mark for each try."""
    (Path(counter) / f"try-{os.getpid()}").touch()
    held = []
    for _ in range(200):
        held.append(np.ones(2**22))  # 32 MiB
        time.sleep(0.05)
    return block + len(held)


def text(i: int, marker: str) -> tuple[str, str]:
    """Give a named text, and end the first process that asks for the fourth."""
    if i == 3 and marker and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return f"text {i}", "the black cat ran"[: 3 + i]
