"""The page of claims, made from labels, markers and mutations, and each chapter's link to it.

`book/claims.py` reads them from the text. Here they become the end of the page `book/claims.md`;
what does not fit together becomes a warning, and a warning is an error of the build.
"""

import functools
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging

from book import claims
from book._extensions import api_pages

ROOT = Path(__file__).resolve().parents[2]
PAGE = "book/claims"
ROW = re.compile(r"\b(\d{3}) s(\d+)")  # of the audit, in a test's name; its hyphen does not break


def rendered(root: Path) -> str:
    """Write the sections of the page, one for each page of the book that claims something."""
    facts = _facts(root)
    texts = {where: text for where, text, _ in claims.pages(root)}
    sections = []
    for where, claimed in claimed_on(root).items():
        title = re.search(r"^# (.+)$", texts[where], re.MULTILINE)[1]
        sections.append(f"({_anchor(where)})=\n## {title}\n")
        sections += [_entry(claim, facts, root) for claim in claimed]
    return "\n".join(sections)


def claimed_on(root: Path) -> dict[str, list[claims.Definition]]:
    """Group what the book claims by the page that claims it, in the order of the pages."""
    found = defaultdict(list)
    for definition in claims.definitions(root):
        if definition.kind in claims.CLAIMS:
            found[definition.where].append(definition)
    return dict(found)


@functools.cache
def _claiming() -> frozenset[str]:
    """Remember, from chapter to chapter, which pages claim something."""
    return frozenset(claimed_on(ROOT))


def _facts(root: Path) -> dict[str, dict[str, list[Any]]]:
    """Collect what is known of each label: the code that cites it, its tests, its breaks."""
    facts = defaultdict(lambda: {"code": [], "tests": [], "breaks": []})
    shown = api_pages.shown_names()
    for name, where in claims.citations(root):
        code = _code(where, shown)
        if where.startswith("companion/") and code not in facts[name]["code"]:
            facts[name]["code"].append(code)
    for name, where in claims.marked_tests(root):
        facts[name]["tests"].append(where)
    for mutation in claims.mutations(root):
        for name in mutation.get("claims", ()):
            facts[name]["breaks"].append(mutation)
    return facts


def _entry(claim: claims.Definition, facts: dict[str, dict[str, list[Any]]], root: Path) -> str:
    """Write one claim as a definition list."""
    known = facts[claim.name]
    role = "eq" if claim.kind == "equation" else "prf:ref"
    lines = [f"{{{role}}}`{claim.name}`"]
    if claim.kind == "equation":
        lines.append("$$\n" + claim.text + "\n$$")
    else:
        lines[0] += f" {claim.text}"
    if known["code"]:
        lines.append("In the library: " + ", ".join(known["code"]))
    by_file = defaultdict(list)
    for file, name in (test.split("::") for test in known["tests"]):
        words = name.removeprefix("test_").replace("_", " ")
        by_file[file].append(ROW.sub(r"{ref}`\1‑S\2 <audit-\1-s\2>`", words))
    lines += [f"`{file}`: {'; '.join(names)}" for file, names in by_file.items()]
    lines += [_break(mutation, root) for mutation in known["breaks"]]
    definitions = ["\n  ".join(line.splitlines()) for line in lines[1:]]
    return lines[0] + "".join(f"\n: {definition}\n" for definition in definitions)


def _break(mutation: dict[str, Any], root: Path) -> str:
    """Say when the tests fail, and fold below it the line of code and what it becomes."""
    path = f"companion/{mutation['file']}"
    lines = (root / path).read_text(encoding="utf-8").splitlines()
    line = next((line for line in lines if mutation["old"] in line), mutation["old"])
    before, after = line.strip(), line.replace(mutation["old"], mutation["new"]).strip()
    # Between blank lines, so that what stands there is read as Markdown.
    parts = [
        '<details class="break"><summary>',
        f"Seen to fail when {mutation['why']}",
        "</summary>",
        f"In `{path}`:",
        f"```diff\n- {before}\n+ {after}\n```",
        "</details>",
    ]
    return "\n\n".join(parts)


def _code(where: str, shown: dict[str, str]) -> str:
    """Name what stands at `companion/softmax.py::softmax`, with a link if it is on an API page."""
    full = where.replace(".py::", ".").removesuffix(".py").replace("/", ".")
    return f"{{py:obj}}`{shown[full]}`" if full in shown else f"`{full}`"


def _anchor(where: str) -> str:
    return "claims-" + re.sub(r"^\d+_", "", Path(where).stem).replace("_", "-")


def _warn(_app: Sphinx) -> None:
    for problem in claims.problems(ROOT):
        logging.getLogger(__name__).warning(problem, type="claims")


def _fill(_app: Sphinx, docname: str, source: list[str]) -> None:
    if docname == PAGE:
        source[0] += "\n" + rendered(ROOT)


def _link(app: Sphinx, doctree: nodes.document) -> None:
    """End a chapter with a link to its claims."""
    where = Path(app.env.doc2path(app.env.docname)).resolve().relative_to(ROOT).as_posix()
    if where not in _claiming():
        return
    words = "the tests behind this chapter’s claims, and the faults that each was seen to catch"
    link = addnodes.pending_xref(
        refdomain="std", reftype="ref", reftarget=_anchor(where), refexplicit=True, refwarn=True
    )
    link += nodes.inline(text=words)
    doctree.children[-1] += nodes.paragraph("", "See ", link, nodes.Text("."))


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx when to call the above."""
    app.connect("builder-inited", _warn)
    app.connect("source-read", _fill)
    app.connect("doctree-read", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
