"""A chapter of two layers keeps to the frame: a core that begins with a picture, then the rest."""

import copy
import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from book._extensions import contents_page

ROOT = Path(__file__).parent.parent
PATHS = sorted(ROOT.glob("notebooks/[0-9]*.ipynb"))

DEEPER = "## Going deeper"
STEPS = {"Idea", "Loop", "Matrix", "Same numbers"}  # headings say what is found instead
HEADING = re.compile(r"#{1,6} ")
NO_PROSE = re.compile(r"#{1,6} |[`:]{3,}|\$\$|\\begin|\(|[-*] |\||!\[|<|%")
ONLY_TRUE = re.compile(r"(?:.*[\s:=])?True\.?")

Cells = list[dict[str, Any]]


def lines(cells: Cells) -> list[str]:
    """List the lines of all cells, with a sign where code stands."""
    found = []
    for cell in cells:
        markdown = cell["cell_type"] == "markdown"
        found += "".join(cell["source"]).splitlines() if markdown else ["<code>"]
        found.append("")
    return found


def headings(text: list[str]) -> list[str]:
    """List the headings outside of blocks of code and directives."""
    found, fence = [], ""
    for line in text:
        opened = re.match(r"`{3,}|:{3,}", line)
        if opened and not fence:
            fence = opened[0]
        elif fence and line.rstrip() == fence:
            fence = ""
        elif not fence and HEADING.match(line):
            found.append(line.rstrip())
    return found


def is_layered(cells: Cells) -> bool:
    return DEEPER in headings(lines(cells))


def problems(cells: Cells) -> list[str]:
    """Say where a chapter leaves the frame."""
    text = lines(cells)
    place = text.index(DEEPER)
    core, rest = text[:place], text[place:]
    found = beginning(cells) + true_outputs(cells)
    try:
        contents_page.opening("".join(cells[0]["source"]))
    except ValueError as error:
        found.append(str(error))
    sections = [heading for heading in headings(text) if heading.startswith("## ")]
    if sections.count(DEEPER) != 1 or sections[-1] != DEEPER:
        found.append("what goes deeper does not come last, and once")
    if sections[sections.index(DEEPER) - 1] != "## Summary":
        found.append("what goes deeper does not follow the summary")
    steps = STEPS & {heading.lstrip("# ") for heading in headings(core)}
    found += [f"a heading of the core says no more than {step}" for step in sorted(steps)]
    if not any(re.match(r":label: ex-build-", line) for line in core):
        found.append("no exercise of the core builds it")
    if not any(re.match(r"`{3,}\{dropdown\} In PyTorch$", line) for line in core):
        found.append("the core does not show it in PyTorch")
    filled = [line for line in rest if line.strip()]
    found += [
        f"{heading} does not begin with a paragraph"
        for heading, line in pairwise(filled)
        if heading.startswith("### ") and NO_PROSE.match(line)
    ]
    return found


def beginning(cells: Cells) -> list[str]:
    """Say what stands before the picture that should not, or whether it is missing."""
    first = next(i for i, cell in enumerate(cells) if cell["cell_type"] == "code")
    found = []
    if "hide-input" not in cells[first]["metadata"].get("tags", ()):
        found.append("the first code is not folded")
    drawn = any("image/svg+xml" in output.get("data", ()) for output in cells[first]["outputs"])
    if not drawn or "figure" not in cells[first]["metadata"].get("mystnb", {}):
        found.append("the first code draws no figure")
    if any(line.startswith(("```", "## ")) for line in lines(cells[:first])):
        found.append("something stands before the picture")
    return found


def true_outputs(cells: Cells) -> list[str]:
    """Name the cells that print nothing but that something is true; they should assert it."""
    found = []
    for cell in cells:
        outputs = cell.get("outputs", ())
        texts = [
            output.get("text") or output.get("data", {}).get("text/plain") for output in outputs
        ]
        printed = "".join("".join(text or "<drawing>") for text in texts).splitlines()
        if printed and all(ONLY_TRUE.fullmatch(line.strip()) for line in printed):
            found.append(f"{cell['id']} only prints True")
    return found


def read(path: Path) -> Cells:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_chapter_of_two_layers_keeps_to_the_frame(path: Path) -> None:
    cells = read(path)
    assert not is_layered(cells) or problems(cells) == []


# The test, tested


def text(*source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": "t", "metadata": {}, "source": ["\n".join(source)]}


def code(source: str, *tags: str, printed: str = "") -> dict[str, Any]:
    outputs = [{"output_type": "stream", "text": [printed]}] if printed else []
    cell = {"cell_type": "code", "id": "c", "source": [source], "outputs": outputs}
    return cell | {"metadata": {"tags": list(tags)}}


def sound() -> Cells:
    """Make a chapter that keeps to the frame."""
    picture = code("import companion\nfigure()", "hide-input")
    picture["metadata"]["mystnb"] = {"figure": {"caption": "A sum.", "name": "fig-sum"}}
    picture["outputs"] = [{"output_type": "execute_result", "data": {"image/svg+xml": ["<svg/>"]}}]
    return [
        text("(ch-sums)=", "# Sums", "", "*You will* add. *You need* numbers.", "", "A sum:"),
        picture,
        text("## One sum adds them all", "", "So."),
        code("1 + 1", printed="2\n"),
        text("`````{dropdown} In PyTorch", "It adds.", "`````"),
        text("## Build it", "", "```{exercise} Add", ":label: ex-build-sum", "", "Add.", "```"),
        text("## Summary", "", "It adds."),
        text("## Going deeper", "", "### Large sums", "", "This gives large ones."),
        code("assert 1 + 1 == 2"),
        text("### Further exercises", "", "Add more."),
    ]


def test_a_sound_chapter_has_no_problems() -> None:
    assert is_layered(sound())
    assert problems(sound()) == []


def swap(i: int, old: str, new: str) -> Callable[[Cells], None]:
    def broken(cells: Cells) -> None:
        source = "".join(cells[i]["source"])
        assert old in source
        cells[i]["source"] = [source.replace(old, new)]

    return broken


BROKEN: list[tuple[Callable[[Cells], Any], str]] = [
    (lambda cells: cells[1]["metadata"]["tags"].clear(), "the first code is not folded"),
    (lambda cells: cells[1]["outputs"].clear(), "the first code draws no figure"),
    (lambda cells: cells[1]["metadata"].pop("mystnb"), "the first code draws no figure"),
    (lambda cells: cells.insert(1, code("x = 1")), "the first code is not folded"),
    (swap(0, "A sum:", "```python\nx\n```"), "something stands before the picture"),
    (swap(0, "numbers.", "numbers. *Time:* a day."), "a chapter begins: label"),
    (lambda cells: cells.append(text("## Going deeper")), "what goes deeper does not come last"),
    (lambda cells: cells.append(text("## Exercises")), "what goes deeper does not come last"),
    (swap(6, "## Summary", "## The end"), "what goes deeper does not follow the summary"),
    (lambda cells: cells.insert(6, cells.pop(7)), "what goes deeper does not follow the summary"),
    (swap(2, "One sum adds them all", "Loop"), "a heading of the core says no more than Loop"),
    (swap(5, "ex-build-sum", "ex-sum"), "no exercise of the core builds it"),
    (lambda cells: cells.append(cells.pop(5)), "no exercise of the core builds it"),
    (lambda cells: cells.append(cells.pop(4)), "the core does not show it in PyTorch"),
    (swap(7, "This gives large ones.", ""), "### Large sums does not begin with a paragraph"),
    (swap(9, "Add more.", "```{exercise}"), "### Further exercises does not begin with a para"),
    (lambda cells: cells.append(code("", printed="True\nsame: True\n")), "c only prints True"),
]


@pytest.mark.parametrize(("broken", "problem"), BROKEN)
def test_what_leaves_the_frame_is_named(broken: Callable[[Cells], Any], problem: str) -> None:
    cells = copy.deepcopy(sound())
    broken(cells)
    assert any(found.startswith(problem) for found in problems(cells))


def test_a_heading_in_a_block_of_code_is_none() -> None:
    assert headings(
        ["```python", "# no", "```", "# yes", "````{note}", "```", "## no", "````"]
    ) == ["# yes"]
