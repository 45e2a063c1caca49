"""The pages of the library hold all that it offers, and a name leads to where it is explained."""

import importlib
from inspect import ismodule
from pathlib import Path
from types import SimpleNamespace

import pytest

import companion
from book._extensions import api_pages

ROOT = Path(__file__).parent.parent
PAGES = api_pages.pages(ROOT)
TEXT = "\n".join(api_pages.rendered(names) for names in PAGES.values())
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "companion").rglob("*.py")
)


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("__main__")])
def test_all_that_a_module_offers_has_one_entry(module: str) -> None:
    offering = importlib.import_module(module)
    for name in getattr(offering, "__all__", ()):
        value = getattr(offering, name)
        if not ismodule(value):
            found = [e for listed in api_pages.entries().values() for e in listed if e.name == name]
            (entry,) = [e for e in found if e.value is value]
            path, _, last = entry.shown.rpartition(".")
            assert getattr(importlib.import_module(path), last) is value
            written = f"auto{'class' if isinstance(value, type) else 'function'}:: {entry.shown}\n"
            data = f"py:data:: {name}\n   :module: {path}\n"
            assert TEXT.count(written) + TEXT.count(data) == 1


def test_a_public_name_of_the_library_is_shown_as_it_is_imported() -> None:
    names = api_pages.shown_names()
    shown = set(names.values())
    functions = [name for name in companion.__all__ if not ismodule(getattr(companion, name))]
    assert {f"companion.{name}" for name in functions} <= shown
    assert names["companion.cost.ledger.total"] == "companion.cost.total"
    random = "AttentionParameters.random"
    assert names[f"companion.heads.{random}"] == f"companion.{random}"


def test_every_module_is_on_one_page_and_every_page_in_the_contents() -> None:
    assert api_pages.missing(ROOT) == []
    listed = [module for names in PAGES.values() for module in names]
    assert len(set(listed)) == len(listed)
    files = (ROOT / "book" / "api").glob("*.md")
    assert {path.stem for path in files} == {Path(page).name for page in PAGES}


def test_a_module_on_no_page_is_named(tmp_path: Path) -> None:
    (tmp_path / "book" / "api").mkdir(parents=True)
    (tmp_path / "_toc.yml").write_text("- file: book/api/some\n", encoding="utf-8")
    some = tmp_path / "book" / "api" / "some.md"
    some.write_text("# Some\n\n```{api} companion.cost companion.loops\n```\n", encoding="utf-8")
    assert "companion.cost.ledger" in api_pages.pages(tmp_path)["book/api/some"]
    missing = api_pages.missing(tmp_path)
    assert "companion.softmax" in missing
    assert not {"companion.loops", "companion.cost.rounding"} & set(missing)


def test_entries_stand_in_the_order_of_the_source() -> None:
    names = [entry.name for entry in api_pages.entries()["companion.softmax"]]
    assert names == ["softmax", "logsumexp", "softmax_jacobian", "hardmax", "weighted_values"]


def test_a_table_gives_the_first_line_of_each_and_a_module_alone_needs_no_heading() -> None:
    page = api_pages.rendered(["companion.loops"])
    assert "## " not in page
    first = companion.loops.softmax_loop.__doc__.splitlines()[0]
    assert f"- :py:obj:`softmax_loop <companion.loops.softmax_loop>`\n     - {first}\n" in page
    both = api_pages.rendered(["companion.scores", "companion.kernels", "companion.masks"])
    assert "## Scores\n" in both
    assert "## Masks\n" in both
    assert "companion.kernels" not in both  # of which nothing is here


def test_a_name_in_a_docstring_finds_its_entry_if_there_is_one_such() -> None:
    asked = []
    domain = SimpleNamespace(resolve_xref=lambda *given: asked.append(given[4]) or "found")
    env = SimpleNamespace(get_domain=lambda _name: domain)
    app = SimpleNamespace(builder=None)

    def resolved(target: str, kind: str = "py") -> object:
        node = {"refdomain": kind, "reftarget": target, "refdoc": "book/api/kit"}
        return api_pages._resolve(app, env, node, None)

    assert resolved("equation") == "found"
    assert asked == ["companion.figures.equation"]
    assert resolved("check_changed_rows") is None  # two chapters have one
    assert resolved("gone") is None
    assert resolved("equation", "std") is None
