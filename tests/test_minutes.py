"""The minutes of a chapter follow the rule that CONTRIBUTING gives, and hold its core to 25."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from book import minutes

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted(ROOT.glob("notebooks/[0-9]*.ipynb"))
TOUR = ROOT / "notebooks" / "tour.ipynb"
WORDS = "word " * 180  # a minute of prose
PICTURE = [{"output_type": "display_data", "data": {"image/svg+xml": "<svg/>"}}]


def text(*lines: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": "\n".join(lines)}


def code(source: str, *tags: str, outputs: Any = (), **metadata: Any) -> dict[str, Any]:
    cell = {"cell_type": "code", "source": source, "outputs": list(outputs)}
    return cell | {"metadata": {"tags": list(tags), **metadata}}


@pytest.fixture
def seconds(tmp_path: Path):
    """Return a function that adds up what cells take."""

    def added(*cells: dict[str, Any]) -> Counter[str]:
        path = tmp_path / "chapter.ipynb"
        path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
        return minutes.seconds_by_part(list(minutes.pieces(path)))

    return added


@pytest.mark.parametrize(
    ("cell", "core", "whole"),
    [
        # prose
        (text(WORDS), 60, 60),
        (
            text("# A heading of exactly six words", "", "- a *list*,", "- — and **more**"),
            10 / 3,
            10 / 3,
        ),
        (text("> it says [four words](https://there)"), 4 / 3, 4 / 3),
        (text("(ch-nothing)=", "", "% a comment", "", "<!-- a > b -->"), 0, 0),
        (text("| a | b |", "|---|---|", "| c | d |"), 4 / 3, 4 / 3),
        (text("a term", ": and what it is"), 2, 2),
        (text("see {ref}`ch-one` and {ref}`the block <ch-block>`"), 5 / 3, 5 / 3),
        (text("{cite:p}`first2001,second2002` say"), 1, 1),
        (text("```{margin} Beside it", "it stands", "```"), 4 / 3, 4 / 3),
        (text(":::{note}", "it stands", ":::"), 2 / 3, 2 / 3),
        (text("```{prf:theorem} It is so", ":label: thm-so", "", "true", "```"), 4 / 3, 4 / 3),
        (text('<div class="x y">two <b>words</b></div>'), 2 / 3, 2 / 3),
        # mathematics
        (text("a $d$-dimensional row"), 1, 1),
        (text(r"so $q \cdot k = \left(a + b\right)$"), 5 / 3, 5 / 3),
        (text("$$", "a = b", "$$ (eq-a)"), 10, 10),
        (text("so", "$$ a = b $$", "holds"), 10 + 2 / 3, 10 + 2 / 3),
        (text("```{math}", ":label: eq-a", "a = b", "```"), 10, 10),
        (text(r"\begin{align}", "a &= b", r"\end{align}"), 10, 10),
        (text("```{prf:theorem}", ":label: thm-a", "", "$$", "a", "$$", "```"), 10, 10),
        # code
        (code("import math\n\n\nx = f(\n    1,\n)"), 24, 24),
        (code("# three words here\nx = 1  # and not these"), 9, 9),
        (text("```python", "x = 1", "```"), 8, 8),
        (text("```{code-block} python", ":linenos:", "x = 1", "```"), 8, 8),
        (code("x", outputs=[{"output_type": "stream", "text": "1\n" * 99}]), 8, 8),
        # figures
        (code("draw()", outputs=PICTURE), 53, 53),
        (code("draw()", mystnb={"figure": {"caption": "its words are in the 45"}}), 53, 53),
        (text("![its words](there.svg)"), 45, 45),
        (text("```{figure} there.svg", ":name: fig-a", "its words", "```"), 45, 45),
        (text(":::{figure-md} fig-a", "![its words](there.svg)", "", "a caption", ":::"), 45, 45),
        # what is folded
        (text("```{prf:proof}", "word " * 50, "```"), 0, 60),
        (text("```{prf:proof}", "$$", "a", "$$", "- word", "```"), 0, 11.2),
        (text("````{dropdown} In PyTorch", "```python", "x = 1", "```", "````"), 0, 26 / 3),
        (text("```{admonition} Two words", ":class: tip dropdown", "more", "```"), 0, 1),
        (text("<details>", "", WORDS, "", "</details>", "", "two words"), 2 / 3, 60 + 2 / 3),
        (code("draw()", "hide-input", outputs=PICTURE), 45, 53),
        (code("draw()", "hide-cell", outputs=PICTURE), 0, 53),
        (code("draw()", "hide-output", outputs=PICTURE), 8, 53),
        (code("draw()", "remove-input", outputs=PICTURE), 45, 45),
        (code("draw()", "remove-output", outputs=PICTURE), 8, 8),
        (code("draw()", "remove-cell", outputs=PICTURE), 0, 0),
    ],
)
def test_a_piece_takes_its_time(cell: dict[str, Any], core: float, whole: float, seconds) -> None:
    took = seconds(cell)
    assert (took["core"], took["whole"]) == (pytest.approx(core), pytest.approx(whole))
    assert not took["exercises"]
    took = seconds(text("## Going deeper"), cell)
    assert took["core"] == 0
    assert took["whole"] == pytest.approx(whole + 2 / 3)


def test_included_lines_are_read_from_their_file(seconds, tmp_path: Path) -> None:
    (tmp_path / "softmax.py").write_text("import torch\n\ny = torch.softmax(x, -1)\n# ours\n")
    cell = text("```{literalinclude} softmax.py", ":language: python", "```")
    assert seconds(cell)["core"] == pytest.approx(16 + 1 / 3)
    with pytest.raises(ValueError, match="the page shows the lines of softmin"):
        seconds(text("```{literalinclude} softmin.py", "```"))


def test_the_core_ends_where_the_chapter_goes_deeper(seconds) -> None:
    deeper = text("# One", "", WORDS, "", "## Going deeper", "", WORDS)
    took = seconds(deeper, text(WORDS))
    assert took == {"core": 60 + 1 / 3, "whole": 181}
    for no_line in ("### Going deeper", "Going deeper", "## Going deeper still"):
        assert seconds(text(no_line), text(WORDS))["core"] > 60


def test_an_exercise_is_counted_apart(seconds) -> None:
    """Three minutes of thought, then reading, and a minute a line of the solution's code."""
    exercise = [
        text("before", "", "```{exercise} Build it", ":label: ex-it", "", WORDS, "```"),
        code("def it(x):\n    ...\n"),
        text("````{solution-start} ex-it", ":class: dropdown", "````", "", "$$", "a", "$$"),
        code("def it(x):\n    return x\n", outputs=PICTURE),
        text("````{solution-end}", "````", "", "after"),
    ]
    took = seconds(*exercise)
    assert took["core"] == took["whole"] == pytest.approx(2 / 3)
    read = 60 + 2 / 3 + 8 + 10 + 45
    assert took["exercises"] == pytest.approx(180 + read + 120)
    assert seconds(*exercise, text("## Going deeper"), *exercise)["exercises"] == pytest.approx(
        2 * took["exercises"]
    )
    with pytest.raises(ValueError, match="an exercise ends with its solution"):
        seconds(*exercise[:-1])
    whole = text("```{solution} ex-it", WORDS, "```", "", "after")
    assert seconds(exercise[0], whole)["core"] == pytest.approx(2 / 3)


def test_minutes_are_rounded_up_and_said(tmp_path: Path) -> None:
    path = tmp_path / "chapter.ipynb"
    cells = [text(WORDS, "", "more")]
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert minutes.minutes(path) == minutes.Minutes(2, 2, 0, layered=False)
    assert minutes.minutes(path).sentence() == "*Time* 2 minutes"
    cells.append(text("## Going deeper", "", WORDS))
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    took = minutes.minutes(path)
    assert took == minutes.Minutes(2, 3, 0, layered=True)
    took = took._replace(exercises=4)
    assert took.sentence() == "*Core* 2 minutes · *whole chapter* 3 · *exercises* 4"
    unlayered = took._replace(layered=False)
    assert unlayered.sentence() == "*Whole chapter* 3 minutes · *exercises* 4"
    _, row = minutes.table([path]).splitlines()
    assert row.split() == ["chapter", "2", "3", "0", "1.0", "0.0", "0.0", "0.0"]


def test_minutes_are_spoken_to_the_half_hour() -> None:
    said = {14: "14 minutes", 119: "119 minutes", 120: "about 2 hours", 136: "about 2½ hours"}
    assert {m: minutes.spoken(m) for m in said} == said


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_core_takes_no_longer_than_it_may(path: Path) -> None:
    took = minutes.minutes(path)
    assert 0 < took.core <= took.whole
    assert took.exercises > 0
    assert not took.layered or took.core <= minutes.CORE, minutes.table([path])


def test_the_tour_takes_no_longer_than_it_may() -> None:
    if TOUR.exists():
        assert minutes.minutes(TOUR).core <= minutes.TOUR, minutes.table([TOUR])
