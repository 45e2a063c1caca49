"""What the book claims and which tests hold it up: read from the text, nothing is run or imported.

A claim is a numbered equation or a theorem, lemma, proposition or corollary. A page defines it with
a label, tests marked ``@pytest.mark.claim("that-label")`` hold it up, pages and docstrings cite it.
"""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PREFIXES = {
    "equation": "eq",
    "theorem": "thm",
    "lemma": "lem",
    "proposition": "prop",
    "corollary": "cor",
    "definition": "def",
    "figure": "fig",
    "exercise": "ex",
}
CLAIMS = ("equation", "theorem", "lemma", "proposition", "corollary")

EQUATION = re.compile(r"\$\$((?:(?!\$\$).)*)\$\$[ \t]*\(([\w-]+)\)", re.DOTALL)
TARGET = re.compile(r"^\(([\w-]+)\)=[ \t]*$", re.MULTILINE)
DIRECTIVE = re.compile(
    r"^[ \t]*(?:`{3,}|:{3,})\{(prf:\w+|exercise)\}[ \t]*(.*)\n((?:[ \t]*:[\w-]+:.*\n)*)",
    re.MULTILINE,
)
LABEL = re.compile(r":label:[ \t]*([\w-]+)")
PAGE_ROLE = re.compile(r"\{(?:eq|prf:ref|numref|ref)\}`(?:[^`<]*<)?([\w-]+)>?`")
DOCSTRING_ROLE = re.compile(r":(?:eq|prf:ref|numref|ref):`(?:[^`<]*<)?([\w-]+)>?`")


class Label(NamedTuple):
    """A label, and the page, docstring or test in which it stands."""

    name: str
    where: str


class Definition(NamedTuple):
    """What a page defines under a label, which is empty where it is missing.

    The text is an equation's formula or a statement's title, and empty for the rest.
    """

    name: str
    where: str
    kind: str
    text: str = ""


def pages(root: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the path and the text of every page, and the labels of the figures it draws."""
    for path in sorted(root.glob("notebooks/*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
        metadata = [cell["metadata"].get("mystnb", {}) for cell in cells]
        figures = [page["figure"] for page in metadata if "figure" in page]
        texts += [figure["caption"] for figure in figures]
        yield _name(path, root), "\n\n".join(texts) + "\n", [figure["name"] for figure in figures]
    for path in sorted(root.glob("book/**/*.md")):
        yield _name(path, root), path.read_text(encoding="utf-8"), []


def definitions(root: Path) -> list[Definition]:
    """List what the pages define."""
    found = []
    for where, text, figures in pages(root):
        for formula, name in EQUATION.findall(text):
            found.append(Definition(name, where, "equation", formula.strip()))
        found += [Definition(name, where, "target") for name in TARGET.findall(text)]
        found += [Definition(name, where, "figure") for name in figures]
        for directive, title, options in DIRECTIVE.findall(text):
            kind = directive.removeprefix("prf:")
            label = LABEL.search(options)
            if label or kind in PREFIXES:  # a remark may go without
                found.append(Definition(label[1] if label else "", where, kind, title))
    return found


def citations(root: Path) -> list[Label]:
    """List the labels that pages and the library's docstrings refer to."""
    found = [
        Label(name, where) for where, text, _ in pages(root) for name in PAGE_ROLE.findall(text)
    ]
    for path in sorted(root.glob("companion/**/*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for where, node in _documented(_name(path, root), tree):
            docstring = ast.get_docstring(node) or ""
            found += [Label(name, where) for name in DOCSTRING_ROLE.findall(docstring)]
    return found


def _documented(where: str, node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield a module, its classes and functions, and theirs, each with `path::Class.function`."""
    yield where, node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            yield from _documented(f"{where}{'.' if '::' in where else '::'}{child.name}", child)


def marked_tests(root: Path) -> list[Label]:
    """List the labels in the claim markers, each with the test it stands over.

    Raises
    ------
    ValueError
        If a marker stands elsewhere than over a test function, or holds anything but plain strings.
    """
    found = []
    for path in sorted(root.glob("tests/test_*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        tests = {
            id(decorator): f"{_name(path, root)}::{node.name}"
            for node in nodes
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
            for decorator in node.decorator_list
        }
        for node in nodes:
            if isinstance(node, ast.Call) and _is_claim(node.func):
                names = [getattr(argument, "value", None) for argument in node.args]
                if id(node) not in tests or not names or not all(type(n) is str for n in names):
                    raise ValueError(
                        f"{_name(path, root)}:{node.lineno}: a claim marker must stand over a test "
                        f"function and hold labels as plain strings, got {ast.unparse(node)}"
                    )
                found += [Label(name, tests[id(node)]) for name in names]
    return found


def _is_claim(node: ast.expr) -> bool:
    """Compare what is called; the last word first, as writing out every call takes long."""
    last = isinstance(node, ast.Attribute) and node.attr == "claim"
    return last and ast.unparse(node) == "pytest.mark.claim"


def mutations(root: Path) -> list[dict[str, Any]]:
    """Read the one-line breaks; `claims` are the labels whose own tests each notice the break."""
    text = (root / "tests" / "mutations.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["mutation"]


def problems(root: Path) -> list[str]:
    """Say what does not fit together, one line each: nothing, in a sound book."""
    defined, tests, breaks = definitions(root), marked_tests(root), mutations(root)
    names = [definition.name for definition in defined]
    tested = {test.name for test in tests}
    broken = [
        Label(name, f"{m['file']}: {m['why']}") for m in breaks for name in m.get("claims", ())
    ]
    found = []
    for i, (name, where, kind, _) in enumerate(defined):
        prefix = f"{PREFIXES.get(kind, '')}-"
        if not name:
            found.append(f"{where}: a {kind} has no label")
        elif kind in PREFIXES and not name.startswith(prefix):
            found.append(f"{where}: the label of the {kind} {name} must begin with {prefix}")
        if name and name in names[:i]:
            found.append(f"{where}: {name} is defined again")
        if name and kind in CLAIMS and name not in tested:
            found.append(f"{where}: no test holds up {name}")
        if name and kind in CLAIMS and name not in {label.name for label in broken}:
            found.append(f"{where}: no mutation breaks {name}")
    found += [
        f"{use.where}: no page defines {use.name}"
        for use in [*tests, *broken, *citations(root)]
        if use.name not in names
    ]
    return found


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
