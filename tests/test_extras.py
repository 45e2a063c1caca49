"""What comes with an extra is imported when it is first used, and what is missing says so."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from companion import __main__ as report
from companion.extras import import_extra
from companion.figures import heat_map

ROOT = Path(__file__).parent.parent

EVERYTHING_BUT_DRAWING = """
import sys

sys.modules["matplotlib"] = None  # importing it is now an error

import pkgutil
import runpy
import companion

modules = [module.name for module in pkgutil.walk_packages(companion.__path__, "companion.")]
for name in modules:
    if not name.endswith("__main__"):
        __import__(name)
assert "companion.figures.kit.canvas" in modules
runpy.run_module("companion", run_name="__main__")
"""

# What the pages are made of, where there is nothing but what the book's own lock names.
PAGES = """
import importlib
import pkgutil
import sys


class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv:
            raise ModuleNotFoundError(f"the book's lock does not name {name}")


sys.meta_path.insert(0, Lacking())
import book._extensions as extensions

for module in pkgutil.iter_modules(extensions.__path__):
    importlib.import_module(f"book._extensions.{module.name}")
from book._extensions import explorer

print(len(explorer.frame(0)))
"""


def test_the_book_is_made_with_what_its_lock_names():
    text = (ROOT / "requirements-book.lock").read_text(encoding="utf-8")
    named = {*re.findall(r"^([\w-]+)==", text, re.MULTILINE), "attention-companion"}
    modules = importlib.metadata.packages_distributions().items()
    lacking = [
        module
        for module, found in modules
        if not named & {re.sub(r"[-_.]+", "-", name).lower() for name in found}
    ]
    assert {"tokenizers", "jax", "pytest"} <= set(lacking)
    command = [sys.executable, "-c", PAGES, *lacking]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 10_000


def test_a_missing_library_is_named_with_its_purpose_and_its_extra():
    with pytest.raises(ModuleNotFoundError) as error:
        import_extra("no_such_library", "speed", "a fast run")
    assert str(error.value) == (
        "a fast run needs the library no_such_library, which is not installed: "
        "pip install 'attention-companion[speed]'"
    )


def test_without_matplotlib_everything_but_drawing_works():
    run = subprocess.run(
        [sys.executable, "-c", EVERYTHING_BUT_DRAWING], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "ok  tiles against textbook" in run.stdout


def test_without_matplotlib_a_figure_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"^a figure needs the library matplotlib, .*"):
        heat_map(np.eye(2))


def test_without_matplotlib_the_self_check_is_good(monkeypatch, capsys):
    version = importlib.metadata.version

    def without(package):
        if package == "matplotlib":
            raise importlib.metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(importlib.metadata, "version", without)
    assert report.main() == 0
    assert "'attention-companion[figures]'" in capsys.readouterr().out


def test_every_library_that_is_imported_late_is_in_the_extra_that_is_named():
    requirements = [
        line.replace("'", '"') for line in importlib.metadata.requires("attention-companion")
    ]
    named = {
        "distributed": "cryptography dask distributed",
        "figures": "matplotlib",
        "encoder": "safetensors tokenizers tqdm",
        "language-model": "gguf jinja2 ml-dtypes safetensors tokenizers tqdm",
    }
    for library in {name for libraries in named.values() for name in libraries.split()}:
        lines = [line for line in requirements if line.startswith(library)]
        asked = {re.search(r'extra == "([\w-]+)"', line)[1] for line in lines}
        asked -= {"book"}  # whose pages are made with one of them
        assert asked == {extra for extra in named if library in named[extra].split()}


def test_the_extra_that_the_library_names_is_one_of_its_own():
    package = Path(report.__file__).parent
    calls = [
        call
        for path in package.rglob("*.py")
        for call in re.findall(
            r'import_extra\(\s*"(\w+)", "([\w-]+)"', path.read_text(encoding="utf-8")
        )
    ]
    extras = importlib.metadata.metadata("attention-companion").get_all("Provides-Extra")
    assert {extra for _, extra in calls} <= set(extras)
    assert ("gguf", "language-model") in calls


def test_only_the_drawings_draw():
    package = Path(report.__file__).parent
    named = {
        path.relative_to(package).parts[0]
        for path in package.rglob("*.py")
        if "import matplotlib" in (text := path.read_text(encoding="utf-8"))
        or "from matplotlib" in text
    }
    assert named == {"figures"}
