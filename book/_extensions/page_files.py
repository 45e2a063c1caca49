"""One style sheet and one script for all pages, of what some page uses, in place of many of all.

A script is run once the page is there, in the old order; none holds up what is to be seen. What
only some pages load stays apart, and becomes one of each kind too. The font of the formulas is in
the style sheet: so nothing moves when it comes, and it comes from a folder too, where some browsers
let no page load a font from the folder beside its own.
"""

import json
import re
from base64 import b64encode
from collections import Counter
from pathlib import Path
from posixpath import join, normpath

from book._extensions import page_styles

STYLE = re.compile(r'<link(?=[^>]* rel="stylesheet")(?![^>]*media=)[^>]* href="([^"]*)"[^>]*>\n?')
SCRIPT = re.compile(r"<script\b(?![^>]*json)([^>]*)>(.*?)</script>\n?", re.DOTALL)
DATA = re.compile(r'<script type="application/json" id="([\w-]+)">(.*?)</script>', re.DOTALL)
MUCH = 50_000  # characters
PRELOAD = re.compile(r'<link rel="preload" as="script"[^>]*>\n?')
THEME = "documentElement.dataset"  # the one script before the first paint
# What nothing calls: the theme's drop-downs and hints, which are folds and titles here, its icons,
# its buttons, whose script measures every box of a page (`navigation.js` has them), and Sphinx's
# own search.
UNUSED = re.compile(
    r"bootstrap\.js|fontawesome\.js|-theme\.js|doctools|sphinx_highlight"
    r"|searchtools|language_data|searchindex|documentation_options|DOCUMENTATION_OPTIONS\."
)
# Scripts of an extension for what only some books have.
NEEDED_BY = {"design-tabs": "sd-tab-set"}
STYLES, SCRIPTS = "_static/book.css", "_static/book.js"


def bundled(pages: dict[Path, str], site: Path) -> dict[Path, str]:
    """Write the two files; return the pages with them."""
    styles, found = _shared(pages, STYLE), _shared(pages, SCRIPT)
    scripts = [key for key in found if _is_needed(key, pages)]
    script = ";\n".join(_script(attributes, body, site) for attributes, body in scripts)
    (site / SCRIPTS).write_text(script, encoding="utf-8", newline="\n")
    sheet = "\n".join(_sheet(site / _local(name)) for name in styles)
    used = page_styles.used([*pages.values(), script, *_apart(site)])
    (site / STYLES).write_text(page_styles.kept(sheet, used), encoding="utf-8", newline="\n")
    apart = {path: _data_apart(text, site) for path, text in pages.items()}
    both = {path: _with_both(text, data, styles, found) for path, (text, data) in apart.items()}
    return {path: _joined(_joined(text, STYLE, site), SCRIPT, site) for path, text in both.items()}


def _shared(pages: dict[Path, str], tag: re.Pattern[str]) -> list[object]:
    """List what most pages load, in their order."""
    found = {
        path: list(dict.fromkeys(_key(m) for m in tag.findall(t))) for path, t in pages.items()
    }
    counts = Counter(key for keys in found.values() for key in keys)
    longest = max(found.values(), key=len)
    return [key for key in longest if counts[key] > len(pages) / 2 and not _is_apart(key)]


def _key(match: object) -> object:
    """Name a file in the same way on all pages, whatever leads there."""
    if isinstance(match, str):
        return _local(match)
    attributes, body = match
    source = re.search(r'src="([^"]*)"', attributes)
    return (_local(source[1]) if source else "", body.strip())


def _local(name: str) -> str:
    return re.sub(r"^(?:\.\./|/)*|\?.*", "", name)


def _is_apart(key: object) -> bool:
    text = key if isinstance(key, str) else "".join(key)
    return THEME in text or bool(UNUSED.search(text))


def _is_needed(key: object, pages: dict[Path, str]) -> bool:
    asked = [name for part, name in NEEDED_BY.items() if part in "".join(key)]
    return not asked or any(re.search(rf'class="[^"]*\b{asked[0]}\b', t) for t in pages.values())


def _script(name: str, body: str, site: Path) -> str:
    text = (site / name).read_text(encoding="utf-8") if name else body
    return re.sub(r"^//# sourceMappingURL.*$", "", text, flags=re.MULTILINE).strip()


def _apart(site: Path) -> list[str]:
    """Read the scripts that only some page loads: they may name classes too."""
    return [path.read_text(encoding="utf-8") for path in (site / "_static").glob("*.js")]


def _sheet(path: Path) -> str:
    """Read a style sheet with what it imports, and with addresses that hold beside `STYLES`."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r'@charset "[^"]*";', "", text)
    static = path
    while static.name != "_static":
        static = static.parent
    folder = path.parent.relative_to(static).as_posix()

    def moved(address: re.Match[str]) -> str:
        file = path.parent / address[1]
        if file.suffix == ".css":
            return address[0]
        if file.suffix == ".woff2" and file.is_file() and "fontawesome" not in address[1]:
            data = b64encode(file.read_bytes()).decode("ascii")
            return f"url(data:font/woff2;base64,{data})"
        return f"url({normpath(join(folder, address[1]))})"

    text = re.sub(r"""url\(["']?(?!data:|#)([\w./-]+)["']?\)""", moved, text)
    return re.sub(
        r'@import (?:url\()?["\']?([\w./-]+)["\']?\)?;', lambda m: _sheet(path.parent / m[1]), text
    )


def _data_apart(page: str, site: Path) -> tuple[str, list[str]]:
    """Move much data out of a page, which so is there before it, into a script that fills it in."""
    names = []

    def moved(data: re.Match[str]) -> str:
        if len(data[2]) < MUCH:
            return data[0]
        names.append(f"_static/{data[1]}.js")
        filling = f'document.getElementById("{data[1]}").textContent = {json.dumps(data[2])};\n'
        (site / names[-1]).write_text(filling, encoding="utf-8", newline="\n")
        return f'<script type="application/json" id="{data[1]}"></script>'

    return DATA.sub(moved, page), names


def _joined(page: str, tag: re.Pattern[str], site: Path) -> str:
    """Let a page load what is its own alone as one file, named after the last of them."""
    tags = {m[0]: _source(m) for m in tag.finditer(page) if _is_own(_source(m), page)}
    if len(tags) < 2:
        return page
    names = list(tags.values())
    *_, last = tags
    kind = Path(names[-1]).suffix
    joined = f"_static/{Path(names[-1]).stem}-all{kind}"
    parts = [_sheet(site / n) if kind == ".css" else _script(n, "", site) for n in names]
    text = (";\n" if kind == ".js" else "\n").join(parts)
    (site / joined).write_text(text + "\n", encoding="utf-8", newline="\n")
    for old in tags:
        new = re.sub(r"\?v=\w+", "", old).replace(names[-1], joined) if old == last else ""
        page = page.replace(old, new)
    return page


def _source(match: re.Match[str]) -> str:
    return _local(match[1]) if match.re is STYLE else _key(match.groups())[0]


def _is_own(name: str, page: str) -> bool:
    """Say whether a page's file is neither all pages' nor data."""
    return name not in ("", STYLES, SCRIPTS) and f'id="{Path(name).stem}"' not in page


def _with_both(page: str, data: list[str], styles: list[object], scripts: list[object]) -> str:
    """Let a page load the two, and what is its own alone once it is there."""
    root = STYLE.search(page)[1].partition("_static/")[0]
    links = (
        f'<link rel="stylesheet" href="{root}{STYLES}" />\n'
        f'<script defer src="{root}{SCRIPTS}"></script>\n'
    )
    links += "".join(f'<script defer src="{root}{name}"></script>\n' for name in data)

    def script(tag: re.Match[str]) -> str:
        key = _key(tag.groups())
        if THEME in key[1]:
            return tag[0]
        if key in scripts or UNUSED.search("".join(key)):
            return ""
        return (
            tag[0]
            if "defer" in tag[1] or not key[0]
            else tag[0].replace("<script", "<script defer")
        )

    page = SCRIPT.sub(script, PRELOAD.sub("", page))
    first = STYLE.search(page).start()
    rest = STYLE.sub(lambda m: "" if _key(m[1]) in styles else m[0], page[first:])
    return page[:first] + links + rest
