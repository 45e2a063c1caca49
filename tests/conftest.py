"""What all tests share: the array modules they run on, and how hypothesis searches."""

import gc
import os
from typing import Any

import hypothesis
import pytest

from tests.support.homes import ArrayHome, array_homes

pytest.register_assert_rewrite(
    "tests.support.attempts", "tests.support.exactness", "tests.support.tolerance"
)

gc.disable()  # until all tests are collected

# Counterexamples are kept in the folder that the tests run in, where it can be written to.
KEPT: dict[str, Any] = {} if os.access(".", os.W_OK) else {"database": None}
hypothesis.settings.register_profile("local", deadline=None, **KEPT)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


LONG = ["test_site", "test_site_pdf", "test_site_writer"]
"""Files of the built pages that take minutes: a process that began one last would end alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the links, for which one process builds the book, and end with other pages.

    So no process waits for the book, and no browser is open beside tests that have an event loop.
    """

    def place(item: pytest.Item) -> int:
        if item.path.parent.name != "site":
            return 1
        name = item.path.stem
        return 0 if name == "test_links" else 2 if name in LONG else 3

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Let the collector of garbage pass over ten thousand tests, which stay to the end.

    Looking through them again and again took a seventh of the time.
    """
    gc.freeze()
    gc.enable()


@pytest.fixture(params=array_homes(), ids=lambda home: home.name)
def home(request: pytest.FixtureRequest) -> ArrayHome:
    """Run the test once on each array module."""
    return request.param
