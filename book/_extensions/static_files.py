"""Leave among the site's static files only those that a page, or a file that it loads, names.

Themes and extensions bring translations, source maps, fonts in old formats and what the pages have
in one file already, megabytes that no browser ever asks for. A licence stays with what it licenses.
"""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ON_A_PAGE = re.compile(r"_static/([\w./-]+)")
IN_A_FILE = re.compile(r"""["'`(]([\w./-]+\.\w+)["'`)?#]""")


def needed(site: Path) -> set[Path]:
    """Follow the names from the pages to the static files, and from those to others."""
    static = site / "_static"
    names = {name for page in _pages(site) for name in ON_A_PAGE.findall(_text(page))}
    found, new = set(), {static / name for name in names}
    while new := {path for path in new - found if path.is_file() and not _old_font(path)}:
        found |= new
        new = {
            Path(folder, name).resolve()
            for path in new
            if path.suffix in (".css", ".js")
            for name in IN_A_FILE.findall(_text(path))
            for folder in (path.parent, static)
        }
    return found | {licence for path in found for licence in _licences(path)}


def _pages(site: Path) -> list[Path]:
    return [page for page in site.rglob("*.html") if site / "_static" not in page.parents]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _old_font(path: Path) -> bool:
    """Say whether the same font is there in the format that every browser takes."""
    return path.suffix == ".ttf" and path.with_suffix(".woff2").exists()


def _licences(path: Path) -> list[Path]:
    beside = (path.with_name("LICENSE"), path.with_name(f"{path.name}.LICENSE.txt"))
    return [licence for licence in beside if licence.exists()]


def prune(site: Path) -> None:
    """Remove the other files, and the folders that they leave empty."""
    site = site.resolve()
    kept = needed(site)
    for path in sorted((site / "_static").rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in kept:
            path.unlink()


def _finish(app: Sphinx, error: Exception | None) -> None:
    if not error and app.builder.format == "html":
        prune(Path(app.outdir))


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx when to call the above: after all who still write files."""
    app.connect("build-finished", _finish, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
