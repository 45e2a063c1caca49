"""What all tests share: the array modules they run on, and how hypothesis searches."""

import os
from typing import Any

import hypothesis
import pytest

from tests.support.homes import ArrayHome, array_homes

pytest.register_assert_rewrite(
    "tests.support.attempts", "tests.support.exactness", "tests.support.tolerance"
)

# Counterexamples are kept in the folder that the tests run in, where it can be written to.
KEPT: dict[str, Any] = {} if os.access(".", os.W_OK) else {"database": None}
hypothesis.settings.register_profile("local", deadline=None, **KEPT)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(params=array_homes(), ids=lambda home: home.name)
def home(request: pytest.FixtureRequest) -> ArrayHome:
    """Run the test once on each array module."""
    return request.param
