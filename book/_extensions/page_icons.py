"""The theme's icons as drawings in the page, a dozen of them, in place of fonts of hundreds.

The outlines are those of Font Awesome Free (https://fontawesome.com, CC BY 4.0), from the theme's
own script.
"""

import re
from functools import cache
from pathlib import Path

import pydata_sphinx_theme

SCRIPT = "theme/pydata_sphinx_theme/static/scripts/fontawesome.js"
ICON = re.compile(r'<(i|span) class="([^"]*\bfa-[^"]*)"([^>]*)></\1>')
SIZES = {"fa-solid", "fa-regular", "fa-brands", "fa-lg"}


@cache
def _icons() -> str:
    return (Path(pydata_sphinx_theme.__file__).parent / SCRIPT).read_text(encoding="utf-8")


@cache
def path(name: str) -> tuple[int, int, str]:
    """Return width, height and outline of an icon.

    Raises
    ------
    LookupError
        If there is none of that name.
    """
    found = re.search(rf'(?:[{{,]|"){name}"?:\[(\d+),(\d+),\[[^\]]*\],"\w+","([^"]+)"\]', _icons())
    if not found:
        raise LookupError(f"there is no icon {name!r}")
    return int(found[1]), int(found[2]), found[3]


def drawn(page: str) -> str:
    """Draw the icons that a page names."""

    def draw(icon: re.Match[str]) -> str:
        classes = icon[2].split()
        (name,) = (c for c in classes if c.startswith("fa-") and c not in SIZES)
        kept = [c for c in classes if not c.startswith("fa")]
        mode = re.search(r' data-mode="\w+"', icon[3])
        width, height, outline = path(name.removeprefix("fa-"))
        return (
            f'<svg class="{" ".join(["page-icon", *kept])}"{mode[0] if mode else ""} aria-hidden="true"'
            f' viewBox="0 0 {width} {height}"><path d="{outline}"/></svg>'
        )

    return ICON.sub(draw, page)
