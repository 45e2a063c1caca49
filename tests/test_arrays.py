"""The array module: one switch for creation, errors that name names, one way to the host."""

import subprocess
import sys

import array_api_compat.numpy
import numpy as np
import pytest

import companion
from companion import pitfalls, rounding
from companion.arrays import computing_dtype, require_floating, require_integer
from tests.support.homes import NUMPY, STRICT


def test_importing_the_library_loads_neither_cupy_nor_matplotlib():
    code = "import sys, companion; print({'cupy', 'matplotlib', 'scipy'} & set(sys.modules))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "set()"


def test_numpy_by_name_and_by_environment(monkeypatch):
    assert companion.array_module("numpy") is array_api_compat.numpy
    monkeypatch.setenv("COMPANION_ARRAY_MODULE", "numpy")
    assert companion.array_module() is array_api_compat.numpy


def test_auto_takes_numpy_where_cupy_is_not_installed(monkeypatch):
    without_cupy(monkeypatch)
    assert companion.array_module("auto") is array_api_compat.numpy
    monkeypatch.delenv("COMPANION_ARRAY_MODULE", raising=False)
    assert companion.array_module() is array_api_compat.numpy


def test_asking_for_cupy_where_there_is_none_says_what_to_install(monkeypatch):
    without_cupy(monkeypatch)
    with pytest.raises(ModuleNotFoundError, match=r"install attention-companion\[cuda12\]"):
        companion.array_module("cupy")


def without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)


def test_an_unknown_module_names_where_the_name_came_from(monkeypatch):
    with pytest.raises(
        ValueError, match="name must be one of auto, numpy, cupy, torch, jax, got 'pandas'"
    ):
        companion.array_module("pandas")
    monkeypatch.setenv("COMPANION_ARRAY_MODULE", "gpu")
    with pytest.raises(ValueError, match="environment variable COMPANION_ARRAY_MODULE must be"):
        companion.array_module()


def test_functions_follow_their_arrays(home):
    x = home.asarray(np.ones((2, 2)))
    assert companion.array_namespace(x, None, x) is home.xp
    assert companion.array_namespace(query=None, key=x) is home.xp


def test_namespace_errors_name_the_argument_and_both_libraries():
    ours, theirs = NUMPY.asarray(np.ones(2)), STRICT.asarray(np.ones(2))
    with pytest.raises(TypeError, match="key must come from the array library of query, numpy"):
        companion.array_namespace(query=ours, key=theirs)
    with pytest.raises(TypeError, match=r"argument 2 must be an array .* got list"):
        companion.array_namespace(ours, [1.0])
    with pytest.raises(TypeError, match="at least one array"):
        companion.array_namespace(None)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_to_numpy_keeps_shape_values_and_dtype(home, dtype):
    x = np.asarray([[0, 1], [1, 0]], dtype=dtype)
    host = companion.to_numpy(home.asarray(x) if dtype is not np.bool_ else home.asarray(x == 1))
    assert type(host) is np.ndarray
    assert host.dtype == dtype
    np.testing.assert_array_equal(host, x)
    with pytest.raises(TypeError, match="x must be an array"):
        companion.to_numpy([1.0])


def test_show_prints_the_same_everywhere(home, capsys):
    companion.show(home.asarray(np.asarray([[1 / 3, -1e-9], [-np.inf, 1234.5]])), "S")
    assert capsys.readouterr().out == (
        "S  (2, 2)\n[[   0.3333    0.0000]\n [     -inf 1234.5000]]\n"
    )
    companion.show(home.asarray(np.asarray([True, False])))
    companion.show(home.asarray(np.asarray([3, -4])), "ids")
    assert capsys.readouterr().out == "[1 0]\nids  (2,)\n[ 3 -4]\n"


def test_random_numbers_are_numpys_and_rounded_not_redrawn():
    seed = 0
    expected = np.random.default_rng(seed).standard_normal((3, 2))
    for xp in (NUMPY.xp, STRICT.xp):
        drawn = companion.random_normal((3, 2), np.random.default_rng(seed), xp=xp)
        np.testing.assert_array_equal(companion.to_numpy(drawn), expected)
    single = companion.random_normal((3, 2), np.random.default_rng(seed), dtype=np.float32)
    np.testing.assert_array_equal(single, expected.astype(np.float32))
    with pytest.raises(TypeError, match=r"rng must be a numpy\.random\.Generator, got int"):
        companion.random_normal((3,), 0)


def test_float16_is_computed_in_float32():
    assert computing_dtype(NUMPY.xp, np.dtype(np.float16)) == np.float32
    assert computing_dtype(NUMPY.xp, np.dtype(np.float64)) == np.float64


def test_kinds_are_checked_by_name(home):
    floats, whole = home.asarray(np.ones(2)), home.asarray(np.ones(2, dtype=np.int64))
    require_floating(home.xp, weight=floats, bias=None)
    require_integer(home.xp, ids=whole, offset=None)
    with pytest.raises(TypeError, match=r"bias must have a real floating dtype, got .*int64"):
        require_floating(home.xp, weight=floats, bias=whole)
    with pytest.raises(TypeError, match=r"ids must have an integer dtype, got .*float64"):
        require_integer(home.xp, ids=floats)


def test_the_self_check_gives_every_line_its_verdict(capsys, monkeypatch):
    from companion import __main__ as report

    assert report.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert all(line.split()[0] == "ok" for line in lines)
    monkeypatch.setattr(report.loops, "attention_loop", lambda *arrays: arrays[-1])
    assert report.main() == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if "FAILED" in line]
    assert len(failed) == 1
    assert "loop against matrix" in failed[0]


def test_numpys_root_makes_float64_of_float32():
    rows = np.asarray([[1, 2, 2], [0, 1, 0]], dtype=np.float32)
    right, broken = companion.scaled_scores(rows, rows), pitfalls.scores_scaled_by_numpy(rows, rows)
    assert right.dtype == np.float32
    assert broken.dtype == np.float64
    wide = rows.astype(np.float64)  # where nothing gives it away
    np.testing.assert_allclose(
        pitfalls.scores_scaled_by_numpy(wide, wide), companion.scaled_scores(wide, wide)
    )


def test_a_softmax_through_the_host_forgets_its_device():
    scores = np.asarray([[1.0, 2.0], [0.0, -1.0]])
    there = STRICT.asarray(scores)
    right, broken = companion.softmax(there), pitfalls.softmax_through_the_host(there)
    assert right.device == STRICT.device
    assert broken.device != STRICT.device
    with pytest.raises(ValueError, match="two different devices"):
        right + broken
    for weights in (right, broken):
        np.testing.assert_allclose(companion.to_numpy(weights), companion.softmax(scores))


def test_a_wrapped_id_is_another_tokens_row(home):
    table = home.asarray(np.arange(10.0).reshape(5, 2))
    good, wrong = (home.asarray(np.asarray(ids)) for ids in ([2, 4], [2, 7]))
    for embed in (companion.embed, pitfalls.embed_with_wrapped_ids):
        np.testing.assert_array_equal(companion.to_numpy(embed(good, table)), [[4, 5], [8, 9]])
    with pytest.raises(ValueError, match="got 7"):
        companion.embed(wrong, table)
    wrapped = companion.to_numpy(pitfalls.embed_with_wrapped_ids(wrong, table))
    np.testing.assert_array_equal(wrapped, [[4, 5], [4, 5]])


@pytest.mark.parametrize("call", [np.exp, np.asarray, lambda x: x + np.ones(2)])
def test_a_stray_numpy_call_fails_on_the_second_device(call):
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        call(STRICT.asarray(np.ones(2)))


def test_few_bits_change_no_small_whole_number():
    example = companion.running_example(NUMPY.xp)
    arrays = companion.project_qkv(
        example.x, example.w_q[0, ...], example.w_k[0, ...], example.w_v[0, ...]
    )
    for matrix in arrays:
        np.testing.assert_array_equal(rounding.round_significand(matrix, 7), matrix)
