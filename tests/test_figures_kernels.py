"""The drawings of the chapter on tiles: tiles, cores, and made-up records of the benchmark."""

import re
from functools import partial

import numpy as np
import pytest

import companion
from companion.figures.kernels import (
    core_schedule,
    memory_by_length,
    tile_sweep,
    times_by_length,
)

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


def test_a_tile_sweep_says_who_meets_whom():
    tokens = companion.running_example(np).tokens
    drawn = tile_sweep(tokens, rows=2, keys=2, row=2, block=1)
    assert "Queries 3 to 4, row 3 (cat) among them, meet keys 3 to 4" in drawn.alt
    assert "3 by 3 tiles" in drawn.alt
    drawn = tile_sweep(tokens, rows=2, keys=2, row=4, block=2)
    assert "Queries 5 to 5, row 5 (quickly) among them, meet keys 5 to 5" in drawn.alt


@pytest.mark.parametrize(("count", "rows", "keys"), [(12, 2, 4), (7, 3, 2), (5, 1, 1)])
def test_a_causal_tile_sweep_hatches_what_no_row_of_a_tile_sees(count, rows, keys):
    drawn = tile_sweep(
        [str(i) for i in range(count)], rows=rows, keys=keys, row=0, block=0, is_causal=True
    )
    visible = np.tri(count, dtype=bool)
    starts = [(i, j) for i in range(0, count, rows) for j in range(0, count, keys)]
    hidden = sum(not visible[i : i + rows, j : j + keys].any() for i, j in starts)
    assert f"{hidden} tiles behind it are hatched" in drawn.alt


@pytest.mark.parametrize(("row", "block", "is_causal"), [(2, 2, False), (3, 1, True), (0, 0, True)])
def test_an_output_is_filled_when_its_last_block_is_met(row, block, is_causal):
    drawn = partial(tile_sweep, list("abcde"), rows=2, keys=2, row=row, is_causal=is_causal)
    assert "V and the output" in drawn(block=block).alt
    if block:
        assert "part of the output is outlined" in drawn(block=block - 1).alt


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"tokens": []}, "tokens"),
        ({"tokens": ["a"] * 25}, "tokens"),
        ({"rows": 0}, "rows"),
        ({"keys": 6}, "keys"),
        ({"row": 5}, "row"),
        ({"block": 3}, "block"),
    ],
)
def test_a_tile_sweep_says_what_does_not_fit(change, names):
    options = {"tokens": list("abcde"), "rows": 2, "keys": 2, "row": 2, "block": 1} | change
    with pytest.raises(ValueError, match=names):
        tile_sweep(options.pop("tokens"), **options)


@pytest.mark.parametrize(
    ("product", "elementwise", "heads", "cores", "shared", "own"),
    [(2, 2, 4, 2, 16, 12), (2, 2, 3, 2, 12, 12), (3, 1, 3, 3, 9, 7), (1, 4, 1, 2, 5, 6)],
)
def test_the_two_time_tables_end_when_they_should(product, elementwise, heads, cores, shared, own):
    drawn = core_schedule(product=product, elementwise=elementwise, heads=heads, cores=cores)
    assert f"on one core, all is done after {shared}." in drawn.alt
    assert f"own head, all is done after {own}." in drawn.alt


def test_time_tables_need_times():
    with pytest.raises(ValueError, match="product=0"):
        core_schedule(product=0, elementwise=1, heads=1)
