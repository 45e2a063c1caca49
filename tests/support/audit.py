"""What the source notes start from, and the search for the smallest counterexample."""

from pathlib import Path

import hypothesis
import numpy as np
import yaml
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

import companion

DATA = Path(__file__).parents[2] / "book/source_audit.yml"
ROWS = {row["id"]: row for row in yaml.safe_load(DATA.read_text(encoding="utf-8"))["rows"]}
ONE = np.asarray([[1.0]])
SMALL = st.integers(-9, 9)


def inputs(identifier):
    """Return what the note starts from: its arrays, and what its seed draws."""
    given = ROWS[identifier]["inputs"]
    random = np.random.RandomState(given["seed"]) if "seed" in given else None
    drawn = {name: random.rand(*shape) for name, *shape in given.get("draws", [])}
    lists = {n: v for n, v in given.items() if isinstance(v, list) and n != "draws"}
    return {name: np.asarray(values, dtype=np.float64) for name, values in lists.items()} | drawn


def qkv(given):
    return companion.project_qkv(*(given[name] for name in ("X", "W_Q", "W_K", "W_V")))


def find(strategy, refutes):
    """Return the smallest counterexample that a property-based search comes back with."""
    settings = hypothesis.settings(derandomize=True, database=None, max_examples=500)
    return hypothesis.find(strategy, refutes, settings=settings)


def matrices(*shape):
    """Draw matrices of small whole numbers."""
    return st_numpy.arrays(np.float64, shape, elements=SMALL.map(float))
