"""What every notebook's test stands on, from whatever folder pytest is started."""

import importlib
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # Now, and not in a kernel: where the list of fonts is new, or has no place to stay, it is made
    # and reported once, here, and every kernel is told where it is.
    importlib.import_module("matplotlib.font_manager")
    if config.option.nbval_sanitize_with is None:
        config.option.nbval_sanitize_with = str(Path(__file__).with_name("nbval_sanitize.cfg"))
