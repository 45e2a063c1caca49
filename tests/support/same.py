"""Whether two functions return the same, whatever they return: arrays, numbers, words, nested."""

from dataclasses import is_dataclass
from typing import Any

import numpy as np

from companion import to_numpy

EXACT_TO = {"float64": 1e-12, "float32": 1e-6}


def assert_same(got: Any, expected: Any) -> None:
    """Hold what was got against what is expected: kinds, shapes, dtypes and values.

    Numbers may differ by 1e-12, or 1e-6 in float32, times the largest of them, if that is above 1.
    """
    if is_dataclass(expected):
        assert type(got) is type(expected)
        assert_same(vars(got), vars(expected))
    elif isinstance(expected, dict):
        assert isinstance(got, dict)
        assert list(got) == list(expected)
        for name in expected:
            assert_same(got[name], expected[name])
    elif isinstance(expected, list | tuple):
        assert isinstance(got, list | tuple)
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, str | int | None):
        assert type(got) is type(expected)
        assert got == expected
    else:
        _assert_same_numbers(_on_the_host(got), _on_the_host(expected))


def _on_the_host(x: Any) -> np.ndarray:
    return np.asarray(x) if np.isscalar(x) else to_numpy(x)


def _assert_same_numbers(got: np.ndarray, expected: np.ndarray) -> None:
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    exact_to = EXACT_TO.get(str(expected.dtype), 0)
    largest = np.max(np.abs(expected[np.isfinite(expected)]), initial=1)
    np.testing.assert_allclose(got, expected, rtol=0, atol=exact_to * largest)
