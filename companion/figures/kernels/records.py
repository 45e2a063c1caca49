"""The benchmark's records: time and memory of each implementation against the length."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from companion.figures.kit.figure import Figure
from companion.figures.kit.plots import curves

__all__ = ["memory_by_length", "times_by_length"]

# What a record calls an implementation, and how a reader does, in the order of drawing.
NAMES = {
    "companion": "companion",
    "textbook": "textbook",
    "onnxruntime": "ONNX Runtime",
    "jax": "JAX",
    "torch": "PyTorch",
    "floor": "floor",  # no implementation: what none can be faster than
}

Records = Sequence[Mapping[str, Any]]


def times_by_length(records: Records, *, causal: bool = True, over: str = "torch") -> Figure:
    """Draw each implementation's time over that of one of them against the length.

    Parameters
    ----------
    records : sequence of mapping
        ``lengths`` of a processor's ``attention.json``: implementation, causal, length and
        the median of the seconds.
    causal : bool
        Draw the causal or the full attention.
    over : str
        The implementation whose time is 1.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If `over` was not measured at some length, or nothing was with this mask.
    """
    chosen = [record for record in records if record["causal"] == causal]
    lengths, seconds = _by_length(chosen, "seconds")
    if over not in seconds or not np.all(np.isfinite(seconds[over])):
        raise ValueError(f"records must hold {over!r} at every length, got {sorted(seconds)}")
    return curves(
        lengths,
        {NAMES[name]: values / seconds[over] for name, values in seconds.items()},
        references=[NAMES["floor"]] if "floor" in seconds else [],
        x_title="length N",
        y_title=f"time over {NAMES[over]}’s",
        x_log=True,
        y_log=True,
        y_ticks=[0.25, 0.5, 1, 2, 4, 8, 16],
        height=240.0,
    )


def memory_by_length(records: Records) -> Figure:
    """Draw the peak memory of one call against the length, beyond its inputs and output.

    Parameters
    ----------
    records : sequence of mapping
        ``memory`` of a processor's ``attention.json``: implementation, length, and mib.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are no records.
    """
    lengths, mib = _by_length(records, "mib")
    return curves(
        lengths,
        {NAMES[name]: values for name, values in mib.items()},
        x_title="length N",
        y_title="peak memory in MiB",
        x_log=True,
        y_log=True,
        x_ticks=lengths[::2].tolist(),
        height=240.0,
    )


def _by_length(records: Records, entry: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the lengths, and for each implementation its numbers, NaN where there are none."""
    if not records:
        raise ValueError("records must hold at least one measurement, got none")
    lengths = sorted({record["length"] for record in records})
    found = {
        name: np.full(len(lengths), np.nan)
        for name in NAMES
        if any(record["implementation"] == name for record in records)
    }
    for record in records:
        if record["implementation"] in found:
            found[record["implementation"]][lengths.index(record["length"])] = record[entry]
    return np.asarray(lengths, dtype=np.float64), found
