"""The numbers beside a drawing become folded tables on the page, outside of the search index."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pytest

from book._extensions import figure_tables
from companion.figures import heat_map
from companion.figures.kit.figure import TABLES

TABLE = {
    "title": "weights of <b>",
    "rows": "query",
    "columns": "key",
    "lines": ["\tthe\tcat", "the\t0.12345\t−∞", "cat\t\t0"],
}


class Cells(HTMLParser):
    """The cells of the tables of a page: the tag, its scope, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("th", "td"):
            self.found.append([tag, dict(attrs).get("scope") or "", ""])

    def handle_data(self, data: str) -> None:
        if self.found:
            self.found[-1][2] += data.strip()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a book of one page, with a figure that has a table and a figure that has none."""
    source = tmp_path_factory.mktemp("book")
    cells = [nbformat.v4.new_markdown_cell("# Page")]
    drawing = "<svg xmlns='http://www.w3.org/2000/svg'/>"
    for name, data in (("one", {TABLES: {"tables": [TABLE]}}), ("two", {})):
        output = {"image/svg+xml": drawing, "text/plain": f"alt {name}", **data}
        cell = nbformat.v4.new_code_cell(
            "draw()", outputs=[nbformat.v4.new_output("display_data", output)]
        )
        cell.metadata["mystnb"] = {
            "image": {"alt": f"alt {name}"},
            "figure": {"caption": f"Caption {name}. And more.", "name": f"fig-{name}"},
        }
        cells.append(cell)
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    nbformat.write(notebook, source / "index.ipynb")
    (source / "conf.py").write_text(
        "extensions = ['myst_nb', 'book._extensions.figure_tables']\nnb_execution_mode = 'off'\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(source)]
    run = subprocess.run(
        [*command, str(source / "built")], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return source / "built"


def test_the_extension_and_the_figures_use_one_name() -> None:
    assert figure_tables.TABLES == TABLES


def test_rows_and_columns_have_headers() -> None:
    page = figure_tables.render_table(TABLE)
    assert Cells(page).found == [
        *[
            ["td", "", "query\N{NO-BREAK SPACE}↓key\N{NO-BREAK SPACE}→"],
            ["th", "col", "the"],
            ["th", "col", "cat"],
        ],
        *[["th", "row", "the"], ["td", "", "0.12345"], ["td", "", "−∞"]],
        *[["th", "row", "cat"], ["td", "", ""], ["td", "", "0"]],
    ]
    assert "<caption>weights of &lt;b&gt;</caption>" in page
    assert "<caption>" not in figure_tables.render_table(TABLE | {"title": ""})
    assert "<td>query\N{NO-BREAK SPACE}↓</td>" in figure_tables.render_table(
        TABLE | {"columns": ""}
    )


def test_indices_of_letters_are_raised_and_lowered() -> None:
    assert figure_tables.typeset("K^T (d_k, N^2)") == "K<sup>T</sup> (d<sub>k</sub>, N<sup>2</sup>)"
    assert figure_tables.typeset("soft_cap of <b>") == "soft_cap of &lt;b&gt;"


def test_tables_are_folded_in_one_box_that_the_keyboard_reaches() -> None:
    page = figure_tables.render([TABLE, TABLE], 'The "sum" of a head. More of it.')
    assert page.startswith('<details class="figure-numbers"><summary>The numbers</summary>')
    box = '<div role="region" tabindex="0" aria-label="The numbers: The &quot;sum&quot; of a head">'
    assert page.count(box) == page.count("tabindex") == 1
    assert page.count("<table>") == 2


def test_every_number_of_a_figure_reaches_the_page() -> None:
    (table,) = heat_map(np.array([[0.25, 0.75], [1.0, 0.0]]), ["a", "b"], ["c", "d"]).tables
    cells = [text for _, _, text in Cells(figure_tables.render_table(table.as_json())).found]
    assert cells == [
        "query\N{NO-BREAK SPACE}↓key\N{NO-BREAK SPACE}→",
        "c",
        "d",
        "a",
        "0.25",
        "0.75",
        "b",
        "1.00",
        "0",
    ]


def test_the_tables_follow_their_figure(built: Path) -> None:
    page = (built / "index.html").read_text(encoding="utf-8")
    one, tables, two = (page.index(mark) for mark in ('id="fig-one"', "<details", 'id="fig-two"'))
    assert page.index("</figure>", one) < tables < two
    assert page.count('class="figure-numbers"') == 1
    assert page.count("<img ") == 2
    assert 'alt="alt one"' in page


def test_the_numbers_are_not_searched(built: Path) -> None:
    index = (built / "searchindex.js").read_text(encoding="utf-8")
    assert "caption" in index
    assert "12345" not in index
    assert "query" not in index


def test_a_page_that_only_names_the_tables_stays_as_it_is() -> None:
    source = [f"The kind of its tables is `{TABLES}`."]
    figure_tables.keep_tables(None, "book/api/kit", source)
    assert source == [f"The kind of its tables is `{TABLES}`."]
