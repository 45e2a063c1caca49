"""How two array modules are compared: every public function, with tolerances that notice faults."""

from dataclasses import replace

import array_api_compat.numpy
import jax
import jax.numpy
import numpy as np
import pytest

import companion
from benchmarks import agreement
from tests.support.homes import STRICT

jax.config.update("jax_enable_x64", True)

NUMPY = array_api_compat.numpy
# SciPy's error function takes NumPy's and CuPy's arrays alone.
WITH_ERFC = {"gelu", "feed_forward", "token_states", "transformer_block", "transformer_stack"}
ELSEWHERE = {
    name: case
    for name, case in agreement.CASES.items()
    if name.removesuffix("_backward") not in WITH_ERFC
}


def test_every_public_function_is_compared_or_listed_as_computing_no_array():
    functions = {
        name
        for name in companion.__all__
        if callable(getattr(companion, name)) and not isinstance(getattr(companion, name), type)
    }
    compared = {name.split()[0] for name in agreement.CASES}  # a form of it may stand behind
    assert functions == compared | agreement.NOT_COMPARED
    assert not compared & agreement.NOT_COMPARED


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_function_agrees_with_itself_on_the_strict_second_device(dtype):
    rows = list(agreement.compare(NUMPY, STRICT.xp, dtype, device=STRICT.device, cases=ELSEWHERE))
    assert [row["function"] for row in rows] == list(ELSEWHERE)
    assert all(row["agrees"] for row in rows)


def test_other_kernels_differ_and_stay_within_the_tolerance():
    names = ("project", "softmax", "weighted_values")
    cases = {name: agreement.CASES[name] for name in names}
    rows = list(agreement.compare(NUMPY, jax.numpy, "float32", cases=cases))
    assert all(row["agrees"] for row in rows)
    assert any(row["difference"] > 0 for row in rows)


def test_all_functions_run_in_both_precisions_and_tolerances_follow_them():
    single, double = (list(agreement.compare(NUMPY, NUMPY, d)) for d in ("float32", "float64"))
    assert len(single) == len(agreement.CASES)
    for low, high in zip(single, double, strict=True):
        assert low["difference"] == high["difference"] == 0
        if low["reason"] == "exact":
            assert low["tolerance"] == 0
        else:
            assert 1e-10 < high["tolerance"] / low["tolerance"] < 1e-8
            assert low["tolerance"] < 0.02


def test_a_small_fault_is_noticed():
    def wrong(name, change):
        case, calls = agreement.CASES[name], []

        def call(inputs):
            calls.append(name)
            result = case.call(inputs)
            return change(result) if len(calls) == 2 else result  # the second module's

        (row,) = agreement.compare(
            NUMPY, NUMPY, "float32", cases={name: replace(case, call=call, proved=False)}
        )
        return row

    assert wrong("softmax", lambda x: x)["agrees"]
    tf32 = wrong("softmax", lambda x: companion.cost.rounding.round_significand(x, 10))
    assert not tf32["agrees"]
    assert not wrong("relu", lambda x: np.nextafter(x, np.float32(9)))["agrees"]
    assert wrong("softmax", lambda x: x.astype(np.float64))["difference"] == np.inf
    assert wrong("softmax", lambda x: x[:-1])["difference"] == np.inf
    assert wrong("softmax", lambda x: x * np.nan)["difference"] == np.inf
    assert wrong("mask_scores", lambda x: np.maximum(x, -9))["difference"] == np.inf
