"""The drawings of the benchmark's records, on made-up ones."""

import re

import pytest

from companion.figures.kernels import memory_by_length, times_by_length

SECONDS = {
    "torch": {128: 1.0, 256: 2.0, 512: 4.0},
    "companion": {128: 2.0, 256: 2.0, 512: 2.0},
    "tiled": {128: 9.0, 256: 9.0, 512: 9.0},
    "textbook": {128: 4.0, 256: 16.0},
    "floor": {128: 0.5, 256: 1.0, 512: 1.0},
}
RECORDS = [
    {"implementation": name, "causal": True, "length": length, "seconds": seconds}
    for name, times in SECONDS.items()
    for length, seconds in times.items()
]
FULL = [{**record, "causal": False, "seconds": 1.0} for record in RECORDS]


def texts(figure):
    return re.findall(r"<!-- (.*?) -->", figure.svg)


def test_times_are_over_those_of_one_implementation():
    assert times_by_length(RECORDS + FULL).alt == (
        "Line plot of time over PyTorch’s against length N from 128 to 512, both axes "
        "logarithmic. companion: from 2 at 128 to 0.5 at 512. "
        "textbook: from 4 at 128 to 8 at 256. PyTorch: 1 throughout. "
        "floor (reference): from 0.5 at 128 to 0.25 at 512."
    )
    assert "PyTorch: 1 throughout" in times_by_length(RECORDS + FULL, causal=False).alt


def test_times_over_another():
    alt = times_by_length(RECORDS, over="companion").alt
    assert "time over companion’s" in alt
    assert "PyTorch: from 0.5 at 128 to 2 at 512" in alt


def test_names_are_written_as_a_reader_knows_them():
    written = texts(times_by_length(RECORDS))
    assert {"companion", "textbook", "PyTorch", "floor"} <= set(written)
    assert "torch" not in written


def test_times_over_what_was_not_measured_everywhere():
    with pytest.raises(ValueError, match="records must hold 'jax' at every length"):
        times_by_length(RECORDS, over="jax")
    with pytest.raises(ValueError, match="records must hold 'textbook' at every length"):
        times_by_length(RECORDS, over="textbook")
    with pytest.raises(ValueError, match="records must hold at least one measurement"):
        times_by_length(RECORDS, causal=False)


def test_memory():
    measured = {
        "companion": {1024: 4.0, 2048: 8.0},
        "textbook": {1024: 50.0},
        "torch": {1024: 4.5, 2048: 4.5},
    }
    records = [
        {"implementation": name, "length": length, "mib": mib}
        for name, peaks in measured.items()
        for length, mib in peaks.items()
    ]
    figure = memory_by_length(records)
    assert "companion: from 4 at 1024 to 8 at 2048" in figure.alt
    assert "textbook: 50" in figure.alt
    assert "1024" in texts(figure)
    with pytest.raises(ValueError, match="records must hold at least one measurement"):
        memory_by_length([])
