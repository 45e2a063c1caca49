"""The commands of the README, in folders and from places that not everybody thinks of."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).parent.parent
LEFT_OUT = shutil.ignore_patterns(".*", "_build", "__pycache__", "site", "results", "mathematics")
CELLS = (
    "import companion\nfrom companion import figures",
    "w = companion.softmax(companion.array_module().zeros((2, 2)))",
    "companion.show(w)",
    'figures.heat_map(w, ["é", "ß"])',
)
SMALL_TEST = """\
from hypothesis import given, strategies as st

@given(st.integers())
def test_a_number_is_itself(number):
    assert number == number
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what the commands need to a path with a space and letters beyond ASCII."""
    folder = tmp_path_factory.mktemp("Jörg 注意") / "the book"
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    (folder / "tests" / "test_small.py").write_text(SMALL_TEST, encoding="utf-8")
    (folder / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    return folder


def run(*command: str | Path, at: Path, **env: str) -> subprocess.CompletedProcess:
    """Run a command at a folder, with a home that nobody can write to."""
    home = {"HOME": "/dev/null/home"}
    dropped = {"MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "SOURCE_DATE_EPOCH"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return subprocess.run(
        list(map(str, command)),
        cwd=at,
        env=kept | home | env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def notebook(checkout: Path) -> Path:
    """Store a small notebook's outputs by the command that stores them, and look at them."""
    path = checkout / "notebooks" / "small one.ipynb"
    cells = [new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(CELLS)]
    nbformat.write(new_notebook(cells=cells), path)
    done = run(sys.executable, "notebooks/execute.py", path, at=checkout)
    assert done.stdout == "small one.ipynb rewritten\n", done.stderr
    outputs = [cell["outputs"] for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    assert [len(of_cell) for of_cell in outputs] == [0, 0, 1, 1]
    assert "image/svg+xml" in outputs[3][0]["data"]
    return path


@pytest.mark.parametrize("place", ["notebooks", "companion/kernels"])
def test_a_notebook_is_compared_from_whatever_folder(
    checkout: Path, notebook: Path, place: str
) -> None:
    folder = checkout / place
    name = os.path.relpath(notebook, folder)
    done = run(sys.executable, "-m", "pytest", "-q", name, at=folder)
    assert "4 passed" in done.stdout, done.stdout


def test_the_library_checks_itself(checkout: Path) -> None:
    done = run(sys.executable, "-m", "companion", at=checkout)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_storing_the_outputs_of_no_notebook_is_one_line(checkout: Path) -> None:
    command = (sys.executable, "notebooks/execute.py", "notebooks/none.ipynb")
    done = run(*command, at=checkout, MPLCONFIGDIR=str(checkout / "fonts"))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "notebooks/none.ipynb: no outputs can be stored, it is missing or may not be written to"
    ]


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_the_bundle_says_what_git_said(checkout: Path) -> None:
    def said(**env: str) -> str:
        ceiling = {"GIT_CEILING_DIRECTORIES": str(checkout.parent)}
        command = (sys.executable, "book/bundle.py", "_build/html", "_build")
        return run(*command, at=checkout, **ceiling, **env).stderr

    assert "but git says 'fatal: not a git repository" in said()
    subprocess.run(["git", "init", "--quiet", str(checkout)], check=True)
    assert "does not have any commits yet" in said()
    refused = said(GIT_TEST_ASSUME_DIFFERENT_OWNER="1", GIT_CONFIG_SYSTEM=os.devnull)
    assert "detected dubious ownership" in refused
    assert refused.rstrip().endswith(": set SOURCE_DATE_EPOCH")
    shutil.rmtree(checkout / ".git")


@pytest.fixture
def sealed(checkout: Path) -> Iterator[Path]:
    """Take away the right to write into the checkout."""
    shutil.rmtree(checkout / ".pytest_cache", ignore_errors=True)
    below = (path for path in checkout.rglob("*") if path.is_dir() and not path.is_symlink())
    folders = [checkout, *below]
    for folder in folders:
        folder.chmod(0o555)
    try:
        if os.access(checkout, os.W_OK):
            pytest.skip("whoever runs this may write everywhere")
        yield checkout
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_tests_run_where_nothing_can_be_written(sealed: Path) -> None:
    command = (sys.executable, "-m", "pytest", "-q", "tests/test_small.py")
    done = run(*command, at=sealed, CI="")
    assert done.returncode == 0, done.stdout
    assert "could not create cache path" in done.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_says_in_one_line_that_nothing_can_be_written(sealed: Path) -> None:
    done = run("make", "-o", ".venv/ready-book", "book", at=sealed)
    assert done.returncode != 0
    assert done.stdout == (
        f"nothing can be written into '{sealed}': copy it to where you may write\n"
    )
