"""What the notebooks store is whole and portable; nbval alone would pass a stripped one."""

import copy
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

ONE_MACHINES_OWN = {
    "a path": r"(?<![\w.])/(home|root|tmp|Users|usr|opt|var|mnt)/|\b[A-Z]:\\",
    "an address in memory": r"\b0x[0-9a-f]{6,}",
    "a clock's time": r"\b\d\d:\d\d:\d\d\b",
    "a date": r"\b20\d\d-\d\d-\d\d\b",
    "a duration": r"(?<![\w.])\d+(\.\d+)? ?(ns|µs|us|ms|seconds)\b",
    "a device": r"(?i)<cuda device|\bcuda:\d|\bnvidia\b|\bgeforce\b",
}


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def runs_in_order(notebook: NotebookNode) -> bool:
    counts = [cell.execution_count for cell in code_cells(notebook)]
    return counts == list(range(1, len(counts) + 1))


def stored_texts(cell: NotebookNode) -> list[str]:
    """Return what the cell printed or showed, the drawings aside."""
    data = [
        text
        for output in cell.outputs
        for kind, text in output.get("data", {}).items()
        if kind.startswith("text/")
    ]
    return data + [output.text for output in cell.outputs if output.output_type == "stream"]


def figures(notebook: NotebookNode) -> list[tuple[NotebookNode, NotebookNode]]:
    """Return the cells that draw, each with what it drew."""
    return [
        (cell, output.data)
        for cell in code_cells(notebook)
        for output in cell.outputs
        if any(kind.startswith("image/") for kind in output.get("data", {}))
    ]


def test_the_table_of_contents_lists_every_notebook() -> None:
    listed = re.findall(r"notebooks/(\w+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))
    assert listed
    assert sorted(listed) == [path.stem for path in NOTEBOOKS]


@each_notebook
def test_a_notebook_is_valid_and_no_editor_left_traces(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert "version" not in notebook.metadata.language_info
    assert {key for cell in notebook.cells for key in cell.metadata} <= {"mystnb", "tags"}


@each_notebook
def test_every_code_cell_ran_once_from_top_to_bottom(path: Path) -> None:
    assert runs_in_order(read(path))


@each_notebook
def test_no_cell_warns_or_fails(path: Path) -> None:
    for cell in code_cells(read(path)):
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", cell.source


@each_notebook
def test_no_cell_escapes_the_comparison(path: Path) -> None:
    for cell in code_cells(read(path)):
        tags = " ".join(cell.metadata.get("tags", []))
        assert not re.search(r"(?i)nbval[-_]|PYTEST_VALIDATE|raises-exception", cell.source + tags)


@each_notebook
def test_a_figure_is_described_captioned_and_named(path: Path) -> None:
    for cell, data in figures(read(path)):
        page = cell.metadata["mystnb"]
        assert page["image"]["alt"] == data["text/plain"]
        assert page["image"]["classes"] == "figure-svg"
        assert page["figure"]["caption"].strip()
        assert page["figure"]["name"].startswith("fig-")


@each_notebook
@pytest.mark.parametrize("trace", ONE_MACHINES_OWN)
def test_no_output_is_one_machines_own(path: Path, trace: str) -> None:
    for cell in code_cells(read(path)):
        for text in stored_texts(cell):
            assert not re.search(ONE_MACHINES_OWN[trace], text), cell.source


@pytest.mark.parametrize(
    ("trace", "text"),
    [
        ("a path", "saved to /home/reader/x.npz"),
        ("a path", r"C:\Users\reader"),
        ("an address in memory", "<object at 0x7f3a5c0d1e50>"),
        ("a clock's time", "done at 12:30:01"),
        ("a date", "on 2026-01-31"),
        ("a duration", "took 3.2 ms"),
        ("a duration", "1.25 µs per loop"),
        ("a device", "<CUDA Device 0>"),
    ],
)
def test_the_traces_of_one_machine_are_recognised(trace: str, text: str) -> None:
    assert re.search(ONE_MACHINES_OWN[trace], text)


def test_a_stripped_notebook_is_noticed() -> None:
    notebook = read(NOTEBOOKS[0])
    last = code_cells(notebook)[-1]
    last.outputs, last.execution_count = [], None
    assert not runs_in_order(notebook)


def up_to_the_first_number(notebook: NotebookNode) -> NotebookNode:
    """Cut a notebook off after the first cell that stores a digit in a text."""
    for position, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and any(re.search(r"\d", text) for text in stored_texts(cell)):
            return nbformat.from_dict({**notebook, "cells": notebook.cells[: position + 1]})
    raise AssertionError("no cell stores a number")


def with_one_digit_changed(notebook: NotebookNode) -> NotebookNode:
    altered = copy.deepcopy(notebook)
    for output in altered.cells[-1].outputs:
        texts, key = (output, "text") if "text" in output else (output["data"], "text/plain")
        texts[key], changes = re.subn(
            r"\d", lambda digit: str((int(digit[0]) + 1) % 10), texts[key], count=1
        )
        if changes:
            return altered
    raise AssertionError("the last cell stores no number")


def test_a_wrong_stored_number_fails(tmp_path: Path) -> None:
    notebook = up_to_the_first_number(read(NOTEBOOKS[0]))
    nbformat.write(notebook, tmp_path / "right.ipynb")
    nbformat.write(with_one_digit_changed(notebook), tmp_path / "wrong.ipynb")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-rf"]
    run = subprocess.run(  # by the project's own settings, outside of this test run
        [*command, f"--config-file={ROOT / 'pyproject.toml'}", f"--rootdir={ROOT}", str(tmp_path)],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout
    assert "Cell outputs differ" in run.stdout
    last_cell = len(code_cells(notebook)) - 1
    assert re.findall(r"FAILED \S*?(\w+\.ipynb::Cell \d+)", run.stdout) == [
        f"wrong.ipynb::Cell {last_cell}"
    ]
    assert f"1 failed, {2 * last_cell + 1} passed" in run.stdout
