"""The published language model, for the tests that need it."""

from pathlib import Path

import pytest

import companion


def published_model() -> Path:
    """Return the path of its file, or skip the test."""
    try:
        return companion.published_model_path()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
