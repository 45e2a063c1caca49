"""The cover: a row of a trained head to be pointed at, and whose the book is.

::

    ```{cover-row}
    - {ref}`Start <ch-tour>` …
    - {ref}`Play <page-explorer>` …
    ```

The list becomes the ways into the book, below the row. The drawing of the row stands in for the
script, and on paper. `{imprint}` says who made the book, what it may be used for, and how to cite
it, from `CITATION.cff`.
"""

import json
from datetime import date
from os.path import relpath
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from book import drawings

ROOT = Path(__file__).resolve().parents[2]
PAGE = "notebooks/cover"
SHELL = """\
<div class="cover-row ex" hidden>
<fieldset class="ex-words" data-part="words">\
<legend>Choose a word: whom does it look at?</legend></fieldset>
<p class="ex-said" role="status" data-part="said"></p>
</div>
<script type="application/json" id="cover-data">{data}</script>"""
LICENCES = {"BSD-3-Clause": "BSD 3-Clause", "CC-BY-4.0": "CC BY 4.0"}
BIBTEX = """\
@misc{{attention_companion,
  author  = {{{{{author}}}}},
  title   = {{{title}}},
  year    = {{{year}}},
  version = {{{version}}}
}}"""


def row_data() -> dict[str, Any]:
    """Collect what the script shows: the tokens, all weights, and the first row's place."""
    tokens, weights = drawings.cover_weights()
    return {
        "tokens": tokens,
        "weights": [[round(float(w), 6) for w in row] for row in weights],
        "token": drawings.TOKEN,
    }


def citation(root: Path = ROOT) -> dict[str, Any]:
    """Read who made the book, what it is called, its version, date and licences."""
    cff = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    return {
        "author": " and ".join(author["name"] for author in cff["authors"]),
        "title": cff["title"],
        "version": str(cff["version"]),
        "released": date.fromisoformat(str(cff["date-released"])),
        "licences": [LICENCES[name] for name in cff["license"]],
    }


class CoverRow(Directive):
    """The drawing, then the markup and the data for the script, then the ways into the book."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Compute everything from the shipped heads."""
        environment = self.state.document.settings.env
        for source in (drawings.HEADS, Path(drawings.__file__), Path(__file__)):
            environment.note_dependency(str(source))
        drawn = drawings.cover()
        path = Path(environment.app.doctreedir) / "cover.svg"
        drawn.save(path)
        uri = Path(relpath(path, environment.app.srcdir)).as_posix()
        image = nodes.image(uri=f"/{uri}", alt=drawn.alt, classes=["figure-svg"])
        figure = nodes.figure("", image, classes=["cover-static"], ids=["fig-cover"])
        data = json.dumps(row_data(), ensure_ascii=False, separators=(",", ":"))
        ways = nodes.container(classes=["cover-ways"])
        self.state.nested_parse(StringList(self.content), self.content_offset, ways)
        return [figure, nodes.raw("", SHELL.format(data=data), format="html"), ways]


class Imprint(Directive):
    """Byline, version, date, licences, and how to cite."""

    def run(self) -> list[nodes.Node]:
        """Write what `CITATION.cff` says."""
        self.state.document.settings.env.note_dependency(str(ROOT / "CITATION.cff"))
        told = citation()
        author, year, version = told["author"], told["released"].year, told["version"]
        code, text = told["licences"]
        entry = BIBTEX.format(author=author, title=told["title"], year=year, version=version)
        cite = nodes.paragraph("", f"To cite it: {author} ({year}). ")
        cite += [nodes.emphasis("", told["title"]), nodes.Text(f". Version {version}.")]
        said = (
            f"By {author[0].lower()}{author[1:]}. Version {version}, {_day(told['released'])}. "
            f"Text and figures are under {text}, code under {code}."
        )
        return [
            nodes.paragraph("", said),
            cite,
            nodes.literal_block(entry, entry, language="bibtex"),
        ]


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _load(app: Any, pagename: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Give the cover, and no other page, its script and style, and no second list of contents."""
    if pagename != PAGE:
        return
    for style in ("attention-row.css", "cover.css"):
        app.add_css_file(style)
    for script in ("attention-row.js", "cover.js"):
        app.add_js_file(script, loading_method="defer")
    context["meta"] = {**(context["meta"] or {}), "html_theme.sidebar_secondary.remove": "true"}


def setup(app: Any) -> dict[str, Any]:
    """Register the directives with Sphinx."""
    app.add_directive("cover-row", CoverRow)
    app.add_directive("imprint", Imprint)
    app.connect("html-page-context", _load, priority=400)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
