"""The tour's six lines are attention, and its stored drawing is what the library draws."""

import ast
import json
import platform
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import companion
from book import drawings, minutes
from companion.figures import tour

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "tour.ipynb"
REFERENCE = platform.system() == "Linux" and platform.machine() == "x86_64"


def cells(path: Path, kind: str) -> list[str]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == kind]


def function(path: Path, name: str) -> str:
    """Return the text of a function that a notebook defines."""
    (text,) = (
        ast.get_source_segment(cell, node)
        for cell in cells(path, "code")
        for node in ast.parse(cell).body
        if isinstance(node, ast.FunctionDef) and node.name == name
    )
    return text


@pytest.fixture(scope="module")
def attention() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Return the function as the page defines it, from nothing but NumPy."""
    names = {"np": np}
    exec(function(NOTEBOOK, "attention"), names)
    return names["attention"]


def test_six_lines_are_six_lines() -> None:
    assert len(function(NOTEBOOK, "attention").splitlines()) == 6


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("batch", "queries", "keys", "width", "value_width"),
    [((), 5, 5, 3, 4), ((), 1, 7, 16, 2), ((2, 3), 9, 4, 8, 5), ((4,), 1, 1, 1, 1)],
)
def test_six_lines_are_the_librarys_attention(
    attention: Callable[..., tuple[np.ndarray, np.ndarray]],
    batch: tuple[int, ...],
    queries: int,
    keys: int,
    width: int,
    value_width: int,
    dtype: str,
) -> None:
    rng = np.random.default_rng(0)
    query, key, value = (
        (3 * rng.standard_normal((*batch, *shape))).astype(dtype)
        for shape in ((queries, width), (keys, width), (keys, value_width))
    )
    mask = rng.random((*batch, queries, keys)) < 0.6
    mask[..., 0] = True  # a row that sees nothing is beyond six lines
    bound = 40 * np.finfo(dtype).eps * np.abs(value).max()
    for hidden in ({}, {"attn_mask": mask}):
        expected = companion.scaled_dot_product_attention(
            query, key, value, return_weights=True, **hidden
        )
        found = attention(query, key, value, *hidden.values())
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.dtype == theirs.dtype
            assert ours.shape == theirs.shape
            assert np.abs(ours - theirs).max() <= bound


def test_each_row_has_a_largest_score_of_its_own(
    attention: Callable[..., tuple[np.ndarray, np.ndarray]],
) -> None:
    query, key = np.array([[1.0], [1e4]]), np.array([[1.0], [0.0]])
    _, weights = attention(query, key, key)
    assert np.allclose(weights, [companion.softmax(np.array([1.0, 0.0])), [1.0, 0.0]])


def test_the_page_follows_the_running_example() -> None:
    """Its literal arrays are the book's, and its numbers those of every chapter."""
    names: dict[str, object] = {}
    with np.printoptions():  # the cell sets its own
        exec(cells(NOTEBOOK, "code")[0], names)
    example = companion.running_example(np)
    assert tuple(names["words"]) == example.tokens
    for name in ("x", "w_q", "w_k", "w_v"):
        ours, theirs = names[name], getattr(example, name)
        assert np.array_equal(ours, theirs if name == "x" else theirs[0]), name


def test_only_the_last_cell_knows_the_library() -> None:
    imported = [
        alias.name
        for cell in cells(NOTEBOOK, "code")[:-1]
        for node in ast.walk(ast.parse(cell))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    assert imported == ["numpy"]
    assert "import companion" in cells(NOTEBOOK, "code")[-1]


def test_it_takes_fifteen_minutes_at_most_and_names_every_chapter() -> None:
    assert minutes.minutes(NOTEBOOK).core <= minutes.TOUR
    last = cells(NOTEBOOK, "markdown")[-1]
    chapters = [
        re.match(r"\((ch-[\w-]+)\)=", cells(path, "markdown")[0])[1]
        for path in sorted(ROOT.glob("notebooks/[0-9]*.ipynb"))
    ]
    assert re.findall(r"\{ref\}`(ch-[\w-]+)`", last) == chapters


# The stored drawings


def test_the_stored_drawings_are_those_that_are_drawn() -> None:
    """Elsewhere a font may have other shapes; `python book/drawings.py` makes them again."""
    locked = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for path, drawing in drawings.stored().items():
        stored = path.read_text(encoding="utf-8")
        if REFERENCE and f"\nmatplotlib=={version('matplotlib')} " in locked:
            assert stored == drawing, path.name
        else:
            assert re.sub(r"[\d.]+", "", stored[:200]) == re.sub(r"[\d.]+", "", drawing[:200])


def test_the_picture_is_described_by_what_it_shows() -> None:
    (shown,) = (cell for cell in cells(NOTEBOOK, "markdown") if "(tour.svg)" in cell)
    assert f"![{drawings.tour().alt}](tour.svg){{.figure-svg}}" in shown


def test_one_word_asks() -> None:
    alt = drawings.tour().alt
    assert alt.startswith("cat asks with its query (2.25, 1.5, −0.5), which meets ")
    assert "black: key (1.5, 1, 0), score 2.81, weight 55 %, value (1, 1, 0, 0.5)" in alt
    assert alt.endswith("into its new row: (0.65, 1.03, 0.16, 0.14).")
    six = np.ones((6, 3))
    with pytest.raises(ValueError, match="tokens must be at most 5, got 6"):
        tour.one_word_asks(six, six, six, tokens=list("abcdef"), row=0)


def test_a_row_of_weights() -> None:
    alt = drawings.cover().alt
    assert alt.startswith("The sentence [CLS] the girl lost her ring ")
    assert "she, outlined, gives 65 % to girl, 15 % to [CLS], 12 % to the of its weight" in alt
    with pytest.raises(ValueError, match=r"weights must be \(2,\) for the tokens, got \(3,\)"):
        tour.row_of_weights(np.ones(3) / 3, ["a", "b"], row=0)
