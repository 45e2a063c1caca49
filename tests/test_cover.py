"""The cover shows the library's numbers, the tour's six lines, and what the citation file says."""

import ast
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import companion
from book import drawings
from book._extensions import cover

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def six_lines(name: str) -> str:
    notebook = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    (text,) = (
        ast.get_source_segment(source, node)
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
        for source in ["".join(cell["source"])]
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == "attention"
    )
    return text


def test_the_row_is_the_librarys() -> None:
    data = json.loads(json.dumps(cover.row_data()))
    trained = companion.load_trained_heads(drawings.HEADS, xp=np)
    sentence = trained.sentence("The girl lost her ring but she found it again.")
    layer, x = trained.layer(2), sentence.inputs[2]
    _, weights = companion.scaled_dot_product_attention(
        companion.project(x, layer.w_q[4], layer.b_q[4]),
        companion.project(x, layer.w_k[4], layer.b_k[4]),
        companion.project(x, layer.w_v[4], layer.b_v[4]),
        return_weights=True,
    )
    assert tuple(data["tokens"]) == sentence.tokens
    assert np.abs(np.asarray(data["weights"]) - weights).max() <= 0.6e-6  # six decimals
    row = data["weights"][data["token"]]
    words = sentence.tokens[data["token"]], sentence.tokens[int(np.argmax(row))]
    assert words == ("she", "girl")
    assert f"{row[np.argmax(row)]:.0%}" == "65%"


def test_the_six_lines_are_the_tours() -> None:
    assert six_lines("cover") == six_lines("tour")


def test_the_readme_shows_the_covers_drawing_in_its_words() -> None:
    alt, address = re.search(r"!\[(.+?)\]\((\S+)\)", README, re.DOTALL).groups()
    assert ROOT / address == drawings.COVER
    assert " ".join(alt.split()) == drawings.cover().alt


def test_the_citation_is_read() -> None:
    told = cover.citation()
    assert told["version"] == companion.__version__
    assert told["author"] == "The attention-companion authors"
    assert told["licences"] == ["BSD 3-Clause", "CC BY 4.0"]


def test_a_licence_that_is_not_known_is_an_error(tmp_path: Path) -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    (tmp_path / "CITATION.cff").write_text(text.replace("CC-BY-4.0", "XYZ"), encoding="utf-8")
    with pytest.raises(KeyError, match="XYZ"):
        cover.citation(tmp_path)


def test_only_the_cover_loads_its_script() -> None:
    loaded = []
    app = SimpleNamespace(
        add_css_file=loaded.append, add_js_file=lambda name, **_: loaded.append(name)
    )
    context: dict = {"meta": None}
    cover._load(app, "book/run", "", context, None)
    assert (loaded, context["meta"]) == ([], None)
    cover._load(app, "notebooks/cover", "", context, None)
    assert loaded == ["attention-row.css", "cover.css", "attention-row.js", "cover.js"]
    assert "html_theme.sidebar_secondary.remove" in context["meta"]
    assert all((ROOT / "book" / "_static" / name).is_file() for name in loaded)
