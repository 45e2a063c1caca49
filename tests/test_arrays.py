"""The array module: one switch for creation, errors that name names, one way to the host."""

import builtins
import subprocess
import sys

import array_api_compat.numpy
import numpy as np
import pytest
from conftest import NUMPY, STRICT

import companion
from companion.arrays import computing_dtype, require_floating, require_integer


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
    real_import = builtins.__import__

    def no_cupy(name, *args, **kwargs):
        if name == "cupy":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_cupy)


def test_an_unknown_module_names_where_the_name_came_from(monkeypatch):
    with pytest.raises(ValueError, match="name must be one of auto, numpy, cupy, got 'torch'"):
        companion.array_module("torch")
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
    assert len(lines) == 10
    assert all(line.split()[0] == "ok" for line in lines)
    monkeypatch.setattr(report.loops, "attention_loop", lambda *arrays: arrays[-1])
    assert report.main() == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if "FAILED" in line]
    assert len(failed) == 1
    assert "loop against matrix" in failed[0]
