"""A notebook that is handed out says what it needs, and is otherwise the notebook of the page."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest

import companion
from book._extensions import downloads

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELLS = [("markdown", 'See "data/prose.npz".'), ("code", 'read("data/x.npz", "../book/y.md")')]


@pytest.fixture
def chapters(tmp_path: Path) -> Path:
    """Make a book of one chapter, whose data is there and whose record is not."""
    folder = tmp_path / "notebooks"
    (folder / "data").mkdir(parents=True)
    for name in ("prose", "x"):
        (folder / "data" / f"{name}.npz").touch()
    (folder / "01_sums.ipynb").write_text(json.dumps(notebook()), encoding="utf-8")
    return folder


def notebook() -> dict[str, Any]:
    cells = [{"cell_type": kind, "source": [text], "id": kind} for kind, text in CELLS]
    return {"cells": cells, "nbformat": 4}


def notice(folder: Path) -> str:
    return "".join(downloads.with_notice(notebook(), folder)["cells"][1]["source"])


def test_the_files_are_those_that_cells_read_and_that_are_there(chapters: Path) -> None:
    assert downloads.files_read(notebook(), chapters) == ["data/x.npz"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notice_is_the_first_code_and_changes_nothing_else(
    path: Path,
) -> None:
    stored = json.loads(path.read_text(encoding="utf-8"))
    given = downloads.with_notice(stored, path.parent)
    nbformat.validate(given)
    added = next(cell for cell in given["cells"] if cell["cell_type"] == "code")
    assert added["id"] == "what-is-missing"
    assert {**given, "cells": [cell for cell in given["cells"] if cell is not added]} == stored
    assert stored == json.loads(path.read_text(encoding="utf-8"))


def test_without_the_library_the_notice_says_what_to_install(
    chapters: Path, tmp_path: Path
) -> None:
    # Isolated, so that no package is found; of which Python's own report would speak, too.
    report = (
        f"try:\n    exec({notice(chapters)!r})\n"
        "except ModuleNotFoundError as error:\n    print(error)"
    )
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", report],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    ).stdout
    assert said.rstrip("\n") == (
        "companion is not installed: "
        f"unpack attention-companion-{companion.__version__}.zip and, in its folder, run "
        f'pip install "attention_companion-{companion.__version__}-py3-none-any.whl'
        '[encoder,figures]"'
    )


def test_far_from_its_data_the_notice_says_where_it_is(
    chapters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = notice(chapters)
    monkeypatch.chdir(chapters)
    exec(source, {})
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^data/x\.npz is not here: unpack attention-comp"):
        exec(source, {})


def test_the_build_hands_out_notebooks_alone(chapters: Path) -> None:
    app = SimpleNamespace(
        srcdir=str(chapters.parent),
        outdir=str(chapters.parent / "html"),
        builder=SimpleNamespace(format="html"),
    )
    sources = Path(app.outdir) / "_sources"
    copies = [
        sources / name for name in ("notebooks/01_sums.ipynb", "notebooks/gone.ipynb", "a.md")
    ]
    for copy in copies:
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text("as Sphinx left it", encoding="utf-8")
    downloads._write(app, ValueError("the build failed"))
    assert {copy.read_text(encoding="utf-8") for copy in copies} == {"as Sphinx left it"}
    for _ in range(2):  # a build may find what the last one left
        downloads._write(app, None)
        assert [copy.exists() for copy in copies] == [True, False, False]
        given = json.loads(copies[0].read_text(encoding="utf-8"))
        assert given == downloads.with_notice(notebook(), chapters)


def test_the_menu_offers_no_markup() -> None:
    kept = {"text": ".ipynb"}, {"text": ".pdf"}
    menu = {"label": "download-buttons", "buttons": [kept[0], {"text": ".md"}, kept[1]]}
    context = {"header_buttons": [{"label": "fullscreen-button"}, menu]}
    downloads._offer(None, "a", "page.html", context, None)
    assert menu["buttons"] == list(kept)
    downloads._offer(None, "search", "search.html", {}, None)
