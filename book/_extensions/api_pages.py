"""The pages of the library, made by walking it, so that nothing public is missing.

::

    ```{api} companion.scores companion.kernels
    ```

in a page of `book/api` becomes all that these modules and those in them offer, in the order of
their source, except for what another page names more closely. In `book/api.md` the directive
`api-index` becomes the list of all pages and names. A module on no page is a warning, and so an
error of the build.
"""

import ast
import functools
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType
from typing import Any, NamedTuple

from docutils.nodes import Element
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

import companion

ROOT = Path(__file__).resolve().parents[2]
INDEX = "book/api"
ROOMS = re.compile(r"^```\{api\} (.+)\n```$", re.MULTILINE)
LIST = re.compile(r"^```\{api-index\}\n```$", re.MULTILINE)


class Entry(NamedTuple):
    """Something public: where it is defined, what it is called there, and what readers call it."""

    module: str
    name: str
    shown: str
    value: Any


@functools.cache
def modules() -> dict[str, ModuleType]:
    """Return the modules of the library by their names, each package before what is in it."""
    found = walk_packages(companion.__path__, "companion.")
    names = ["companion", *(f.name for f in found if not f.name.endswith("__main__"))]
    return {name: import_module(name) for name in names}


@functools.cache
def entries() -> dict[str, list[Entry]]:
    """Return what each module defines and offers, in the order of its source."""
    paths: dict[tuple[str, str], list[str]] = {}
    for name, module in modules().items():
        for public in getattr(module, "__all__", ()):
            value = getattr(module, public)
            if not inspect.ismodule(value):
                paths.setdefault((_home(public, value), public), []).append(name)
    found: dict[str, list[Entry]] = {name: [] for name in modules()}
    for (home, public), offered in paths.items():
        shortest = min(offered, key=lambda name: (name.count("."), name != home))
        value = getattr(modules()[home], public)
        found[home].append(Entry(home, public, f"{shortest}.{public}", value))
    for name, listed in found.items():
        listed.sort(key=lambda entry: _lines(name)[entry.name])
    return found


def _home(public: str, value: Any) -> str:
    """Find the module that defines what others may offer too."""
    nearest = [getattr(value, "__module__", ""), *modules()]
    defining = (name for name in nearest if name in modules() and public in _lines(name))
    return next(name for name in defining if getattr(modules()[name], public) is value)


@functools.cache
def _lines(module: str) -> dict[str, int]:
    """Map the names that a module defines to the lines where it does."""
    lines = {}
    for node in ast.parse(inspect.getsource(modules()[module])).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            lines[node.name] = node.lineno
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            lines |= {n.id: node.lineno for n in ast.walk(node) if _is_set(n)}
    return lines


def _is_set(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


@functools.cache
def shown_names() -> dict[str, str]:
    """Map where each thing is defined, and each method, to its name on the pages.

    So `companion.softmax.logsumexp` is `companion.logsumexp`.
    """
    found = {}
    for entry in (entry for listed in entries().values() for entry in listed):
        for part in ["", *(f".{name}" for name in _members(entry.value))]:
            found[f"{entry.module}.{entry.name}{part}"] = entry.shown + part
    return found


def _members(value: Any) -> list[str]:
    """List the documented methods and properties that a class has itself, as it defines them."""
    kinds = (property, functools.cached_property, classmethod, staticmethod)
    own = vars(value).items() if inspect.isclass(value) else ()
    return [
        name
        for name, member in own
        if not name.startswith("_")
        and (inspect.isfunction(member) or isinstance(member, kinds))
        and member.__doc__
    ]


def pages(root: Path) -> dict[str, list[str]]:
    """Map each page, in the order of the book, to its modules and the packages around them."""
    contents = (root / "_toc.yml").read_text(encoding="utf-8")
    named = {}
    for page in re.findall(rf"file: ({INDEX}/\w+)", contents):
        rooms = ROOMS.search((root / f"{page}.md").read_text(encoding="utf-8"))
        named |= dict.fromkeys(rooms[1].split() if rooms else (), page)
    found: dict[str, list[str]] = {page: [] for page in named.values()}
    for room, page in named.items():
        for module in modules():
            if _closest(module, named) == room:
                found[page].append(module)
    return found


def _closest(module: str, rooms: dict[str, str]) -> str | None:
    around = [room for room in rooms if f"{module}.".startswith(f"{room}.")]
    return max(around, key=len, default=None)


def missing(root: Path) -> list[str]:
    """List the modules that offer something and are on no page."""
    there = {module for listed in pages(root).values() for module in listed}
    return [name for name, listed in entries().items() if listed and name not in there]


def rendered(names: list[str]) -> str:
    """Write the modules of a page."""
    offering = [name for name in names if entries()[name]]
    parts = []
    for name in names:
        package = hasattr(modules()[name], "__path__") and any(
            other.startswith(f"{name}.") for other in offering
        )
        if name in offering and len(offering) > 1:
            parts.append(f"## {_heading(name)}")
        if name in offering or package:
            parts.append(_rst(f".. automodule:: {name}\n   :no-members:\n   :no-index:"))
        if name in offering:
            parts += [_rst(_table(name)), _rst("\n".join(map(_directive, entries()[name])))]
    return "\n\n".join(parts)


def _heading(module: str) -> str:
    return module.rpartition(".")[2].replace("_", " ").capitalize()


def _rst(text: str) -> str:
    return f"```{{eval-rst}}\n{text}\n```"


def _table(module: str) -> str:
    """Write a table of what a module offers: the first line of a docstring, or a value."""
    rows = [".. list-table::", "   :class: api-names", ""]
    for entry in entries()[module]:
        if inspect.isclass(entry.value) or _is_function(entry.value):
            first = (inspect.getdoc(entry.value) or "").partition("\n")[0]
        else:
            first = f"``{_shown_value(entry)}``"
        rows += [f"   * - :py:obj:`{entry.name} <{entry.shown}>`", f"     - {first}"]
    return "\n".join(rows)


def _directive(entry: Entry) -> str:
    if inspect.isclass(entry.value):
        members = ", ".join(_members(entry.value))
        return f".. autoclass:: {entry.shown}\n" + (f"   :members: {members}\n" if members else "")
    if _is_function(entry.value):
        return f".. autofunction:: {entry.shown}\n"
    module, _, name = entry.shown.rpartition(".")
    return f".. py:data:: {name}\n   :module: {module}\n   :value: {_shown_value(entry)}\n"


def _shown_value(entry: Entry) -> str:
    """Write a constant, and the types in it without the modules they are from."""
    return re.sub(r"\b[\w.]+\.(?=[A-Z])", "", repr(entry.value))


def _is_function(value: Any) -> bool:
    return inspect.isfunction(inspect.unwrap(value)) if callable(value) else False


def index(root: Path) -> Iterator[str]:
    """Yield a definition for each page: what it is called, and the names on it."""
    for page, names in pages(root).items():
        listed = (entry for name in names for entry in entries()[name])
        links = [f"{{py:obj}}`{entry.name} <{entry.shown}>`" for entry in listed]
        yield f"{{doc}}`/{page}`\n: {', '.join(links)}"


def _warn(_app: Sphinx) -> None:
    for name in missing(ROOT):
        logging.getLogger(__name__).warning(f"{name} is on no page of {INDEX}", type="api")


def _fill(_app: Sphinx, docname: str, source: list[str]) -> None:
    if docname == INDEX:
        source[0] = LIST.sub(lambda _: "\n\n".join(index(ROOT)), source[0])
    elif docname.startswith(f"{INDEX}/"):
        source[0] = ROOMS.sub(lambda _: rendered(pages(ROOT)[docname]), source[0])


def _source(_app: Sphinx, module: str, name: str) -> str | None:
    """Tell where the code is of what is offered elsewhere, too; a constant has no link to it."""
    shown = f"{module}.{name}"
    return next((full[: -len(name) - 1] for full, s in shown_names().items() if s == shown), None)


def _lead_back(
    _app: Sphinx, page: str, _template: str, context: dict[str, Any], _doctree: object
) -> None:
    """Let a page of source lead to its entries, whose names need not all be of one module."""
    if not page.startswith("_modules/companion/"):
        return
    module = page.removeprefix("_modules/").replace("/", ".")

    def anchor(link: re.Match[str]) -> str:
        parts = link[1].split(".")
        ends = (f"{module}.{'.'.join(parts[i:])}" for i in range(len(parts)))
        return "#" + next((shown_names()[end] for end in ends if end in shown_names()), link[1])

    context["body"] = re.sub(r'#([\w.]+)(?=">\[docs\])', anchor, context["body"])


def _resolve(app: Sphinx, env: BuildEnvironment, node: Element, text: Element) -> Element | None:
    """Let a docstring name something as its own module does, wherever else it is offered."""
    if node.get("refdomain") != "py":
        return None
    ends = f".{node['reftarget']}"
    found = {shown for full, shown in shown_names().items() if full.endswith(ends)}
    if len(found) != 1:
        return None
    python = env.get_domain("py")
    return python.resolve_xref(env, node["refdoc"], app.builder, "obj", *found, node, text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx when to call the above."""
    app.setup_extension("sphinx.ext.viewcode")
    app.connect("builder-inited", _warn)
    app.connect("source-read", _fill)
    app.connect("missing-reference", _resolve)
    app.connect("viewcode-follow-imported", _source)
    app.connect("html-page-context", _lead_back)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
