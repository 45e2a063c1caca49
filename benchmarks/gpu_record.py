"""The record of a run on a GPU: read, checked, and compared with the code it describes."""

import hashlib
import json
from datetime import date
from os import PathLike
from pathlib import Path
from typing import Any

import companion

__all__ = ["changed_sources", "read_gpu_record", "source_digests", "summary"]

NOT_RECORDED = ("exercises", "figures", "pitfalls")
# What a record must hold, so that a damaged one is noticed here and not on the page.
FIELDS = {
    "date": str,
    "device": dict,
    "versions": dict,
    "sources": dict,
    "agreement": list,
    "attention": list,
    "transfers": list,
    "precision": list,
    "break_even_length": (int, type(None)),
    "summary": list,
}


def source_digests() -> dict[str, str]:
    """Return the SHA-256 of every module of the library by its path in the package.

    Drawings, exercises and pitfalls are left out: no record covers them. Line ends do not count.
    """
    package = Path(companion.__file__).parent
    names = {file.relative_to(package).as_posix(): file for file in sorted(package.rglob("*.py"))}
    texts = {
        name: file.read_text(encoding="utf-8")
        for name, file in names.items()
        if name.split("/")[0] not in NOT_RECORDED
    }
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}


def changed_sources(record: dict[str, Any]) -> list[str]:
    """Name the modules that are not as they were when the record was made, in order."""
    then, now = record["sources"], source_digests()
    return sorted(name for name in then | now if then.get(name) != now.get(name))


def read_gpu_record(path: str | PathLike[str]) -> dict[str, Any] | None:
    """Read the record that ``benchmarks/gpu.py`` writes.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    dict or None
        None where there is no such file: no run was recorded.

    Raises
    ------
    ValueError
        If the file is no such record.
    """
    path = Path(path)
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} must be JSON: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path.name} must hold an object, got {type(record).__name__}")
    for field, kind in FIELDS.items():
        if field not in record or not isinstance(record[field], kind):
            raise ValueError(
                f"{path.name} must hold {field!r} of the right kind, "
                f"got {type(record.get(field)).__name__}"
            )
    return record


def summary(record: dict[str, Any]) -> list[str]:
    """Say in a few lines what was recorded: the page prints them as they are."""
    day = date.fromisoformat(record["date"])
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    rows = record["agreement"]
    apart = [f"{row['function']} ({row['dtype']})" for row in rows if not row["agrees"]]
    length = record["break_even_length"]
    return [
        f"{record['device']['name']}, {day.day} {day:%B %Y}; {versions}",
        f"{len(rows) - len(apart)} of {len(rows)} comparisons are within their tolerance"
        + (f"; not: {', '.join(apart)}" if apart else ""),
        "the bus included, the GPU is not faster at any recorded length"
        if length is None
        else f"the bus included, the GPU is the faster one from {length} tokens on",
        *_transfers(record["transfers"]),
        *_precision(record["precision"]),
    ]


def _transfers(rows: list[dict[str, Any]]) -> list[str]:
    """Say what the bus carried, for the largest of the transfers."""
    if not rows:
        return []
    row = max(rows, key=lambda row: row["bytes"])
    there, back = (row[f"{way}_bytes_per_second"] / 1e9 for way in ("to_device", "to_host"))
    size = row["bytes"] / 2**20
    return [f"{size:g} MiB over the bus: {there:.1f} GB/s to the device, {back:.1f} GB/s back"]


def _precision(rows: list[dict[str, Any]]) -> list[str]:
    """Say how far a product was off in each format, or why that is not known."""
    known = [f"{row['format']} {row['error']:.1e}" for row in rows if row["error"] is not None]
    unknown = [f"{row['format']} ({row['reason']})" for row in rows if row["error"] is None]
    return [f"relative error of a product: {', '.join(known)}"] * bool(known) + [
        f"no product in {', '.join(unknown)}"
    ] * bool(unknown)
