"""Executing notebooks in place: the same bytes, alt texts from the figures, nothing half done."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

EXECUTE = Path(__file__).parent.parent / "notebooks" / "execute.py"


def execute(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXECUTE), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    figure = (
        "class Dot:\n"
        "    def _repr_mimebundle_(self, include=None, exclude=None):\n"
        "        return {'image/svg+xml': '<svg></svg>', 'text/plain': 'a dot'}\n\n"
        "Dot()"
    )
    sources = ["print('one')\nprint('two', flush=True)\nprint('three')", figure]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[1].metadata["mystnb"] = {"image": {"alt": "an older dot", "classes": "figure-svg"}}
    path = tmp_path_factory.mktemp("notebooks") / "drawing.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    assert execute(path).stdout.split()[-1] == "rewritten"
    return path


def test_executing_again_gives_the_same_bytes(executed: Path) -> None:
    before = executed.read_bytes()
    assert execute(executed).stdout.split()[-1] == "unchanged"
    assert executed.read_bytes() == before


def test_executing_takes_the_alt_text_from_the_figure(executed: Path) -> None:
    cell = nbformat.read(executed, as_version=4).cells[1]
    assert cell.metadata.mystnb.image == {"alt": "a dot", "classes": "figure-svg"}


def test_executing_stores_neither_times_nor_versions(executed: Path) -> None:
    notebook = nbformat.read(executed, as_version=4)
    assert "version" not in notebook.metadata.language_info
    assert all("execution" not in cell.metadata for cell in notebook.cells)


def test_a_notebook_that_fails_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "failing.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")]), path)
    before = path.read_bytes()
    result = execute(path)
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr
    assert path.read_bytes() == before
