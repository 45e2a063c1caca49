"""The record of a GPU: how it is made and read, and what the page says of it."""

import copy
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import array_api_compat.numpy
import pytest

import companion
from benchmarks import agreement, gpu, gpu_record
from tests.support.gpu_records import RECORD, attention_row

ROOT = Path(__file__).parent.parent


def test_the_recorded_break_even_is_where_the_device_stays_faster():
    rows = [attention_row(n, host, 0.0, moved) for n, host, moved in [(1, 5, 4), (2, 5, 6)]]
    assert gpu.break_even(rows) is None
    rows += [attention_row(4, 9, 0.0, 8), attention_row(8, 20, 0.0, 9)]
    assert gpu.break_even(rows) == 4
    better_host = attention_row(8, 7, 0.0, 30) | {"implementation": "tiled"}
    assert gpu.break_even([*rows, better_host]) is None
    assert gpu.break_even([]) is None


def test_the_hosts_clock_times_what_it_is_told():
    calls = []
    result = gpu.host_seconds(
        lambda: calls.append("call"),
        wait=lambda: calls.append("wait"),
        between=lambda: calls.append("between"),
    )
    assert calls[:4] == ["between", "call", "wait", "between"]
    assert calls.count("call") == gpu.REPEATS + 2
    assert 0 <= result["low"] <= result["seconds"] <= result["high"] < 1


def test_a_record_is_strict_json_and_comes_back(tmp_path):
    path = tmp_path / "results" / "gpu.json"
    record = RECORD | {"agreement": [{"difference": float("inf"), "agrees": False}]}
    gpu.write(record, path)
    back = gpu_record.read_gpu_record(path)
    assert back["agreement"] == [{"difference": None, "agrees": False}]
    assert back["attention"] == RECORD["attention"]


def test_a_format_that_is_not_there_leaves_its_reason():
    def fails():
        raise TypeError("no such dtype")

    assert gpu._outcome(fails) == {"error": None, "reason": "TypeError: no such dtype"}
    assert gpu._outcome(lambda: 0.5) == {"error": 0.5}


def test_the_page_draws_a_record_or_says_that_there_is_none():
    page = (ROOT / "notebooks" / "11_cupy.ipynb").read_text(encoding="utf-8")
    recorded = gpu.RESULT.exists()
    assert ("figures.recorded_times(" in page) == recorded
    assert ("no run on a GPU is recorded in this edition" in page) == (not recorded)


def test_no_record_is_none(tmp_path):
    assert gpu_record.read_gpu_record(tmp_path / "gpu.json") is None


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "gpu.json must be JSON"),
        ("[]", "must hold an object, got list"),
        (json.dumps(RECORD | {"attention": {}}), "must hold 'attention' of the right kind"),
        (json.dumps({k: v for k, v in RECORD.items() if k != "sources"}), "'sources'.*NoneType"),
    ],
)
def test_a_damaged_record_is_refused(text, part, tmp_path):
    path = tmp_path / "gpu.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=part):
        gpu_record.read_gpu_record(path)


def test_the_committed_record_is_sound_and_of_this_code():
    record = gpu_record.read_gpu_record(gpu.RESULT)
    if record is None:
        pytest.skip("no run on a GPU is recorded: python -m benchmarks.gpu makes a record")
    assert record["summary"] == gpu_record.summary(record)
    if changed := gpu_record.changed_sources(record):
        pytest.skip(f"the record of a GPU is older than the code: {', '.join(changed)}")


def test_a_record_says_what_was_measured():
    said = "\n".join(gpu_record.summary(RECORD))
    assert "Made-up card, 1 February 2020; cupy 0.0, numpy 0.0" in said
    assert "1 of 2 comparisons are within their tolerance; not: gelu (float64)" in said
    assert "faster one from 256 tokens on" in said
    assert "\n4 MiB over the bus: 5.0 GB/s to the device, 4.0 GB/s back\n" in said
    assert "\nrelative error of a product: tf32 3.0e-04\n" in said
    assert said.endswith("\nno product in bfloat16 (TypeError: no)")
    nothing = {"break_even_length": None, "transfers": [], "precision": []}
    said = "\n".join(gpu_record.summary(RECORD | nothing))
    assert "not faster at any recorded length" in said
    assert "bus:" not in said
    assert "product" not in said


def test_a_record_tells_which_modules_have_changed_since():
    older = copy.deepcopy(RECORD)
    assert gpu_record.changed_sources(older) == []
    older["sources"]["softmax.py"] = "0"
    older["sources"]["gone.py"] = "1"
    del older["sources"]["heads.py"]
    assert gpu_record.changed_sources(older) == ["gone.py", "heads.py", "softmax.py"]


def test_a_digest_is_of_the_text_of_every_module(tmp_path, monkeypatch):
    package = tmp_path / "companion"
    package.mkdir()
    (package / "a.py").write_bytes(b"x = 1\r\n")
    monkeypatch.setattr(companion, "__file__", str(package / "__init__.py"))
    first = gpu_record.source_digests()
    (package / "a.py").write_bytes(b"x = 1\n")
    assert gpu_record.source_digests() == first
    (package / "a.py").write_bytes(b"x = 2\n")
    assert gpu_record.source_digests() != first
    assert set(first) == {"a.py"}


def stand_in_for_cupy():
    """Give NumPy the few names that the recorder uses of CuPy's own."""
    event = SimpleNamespace(record=lambda: None, synchronize=lambda: None)
    properties = {"name": b"Made-up card", "major": 9, "minor": 0, "totalGlobalMem": 2**30}
    runtime = SimpleNamespace(
        getDeviceProperties=lambda _number: properties,
        driverGetVersion=lambda: 12040,
        runtimeGetVersion=lambda: 12090,
    )
    cuda = SimpleNamespace(
        Event=lambda: event,
        get_elapsed_time=lambda _start, _end: 2.0,
        get_current_stream=lambda: event,
        Device=lambda: SimpleNamespace(id=0),
        runtime=runtime,
    )
    names = {
        name: getattr(array_api_compat.numpy, name)
        for name in ("asarray", "float64", "mean", "sqrt")
    }
    no_array = type("ndarray", (), {})  # of which NumPy's arrays, which are really used, are none
    return SimpleNamespace(**names, __version__="0.0", cuda=cuda, ndarray=no_array)


def test_the_recorder_writes_what_the_page_reads(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", stand_in_for_cupy())
    monkeypatch.setattr(companion, "array_module", lambda _name: array_api_compat.numpy)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    monkeypatch.setattr(gpu, "TF32_PROGRAM", "raise SystemExit('no device')")
    for name, small in {"LENGTHS": (8, 16), "MEBIBYTES": (1,), "PRODUCT": 64, "REPEATS": 3}.items():
        monkeypatch.setattr(gpu, name, small)
    monkeypatch.setattr(gpu, "RESULT", tmp_path / "gpu.json")
    assert gpu.main() == 0
    assert "agree" in capsys.readouterr().out
    record = gpu_record.read_gpu_record(tmp_path / "gpu.json")
    assert len(record["agreement"]) == 2 * len(agreement.CASES)
    assert {row["length"] for row in record["attention"]} == {8, 16}
    assert all(row["device"]["seconds"] == 0.002 for row in record["attention"])
    assert record["versions"]["CUDA runtime"] == "12.9"
    errors = {row["format"]: row["error"] for row in record["precision"]}
    assert errors["tf32"] is None
    assert errors["float64"] < 1e-14 < errors["float32"] < 1e-6 < errors["float16"] < 1e-3
    assert record["summary"] == gpu_record.summary(record)
    assert record["summary"][0].startswith("Made-up card")
    assert any(line.startswith("no product in") for line in record["summary"])
