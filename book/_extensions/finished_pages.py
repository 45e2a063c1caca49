"""The last hand on every page, so that no script has to mend it in the reader's browser.

The theme's markup for keyboards and screen readers, the ends of lines, the sizes of images, icons
as drawings; then one style sheet and one script in place of many. An edit that no page needs any
more, as after an update of the theme, is a warning.
"""

import re
from collections import Counter
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

from book._extensions import page_files, page_icons

# The colours are right in the first paint, whatever the system's choice or the reader's.
THEME = """<script>
    {
      let mode = "auto";
      try {
        mode = localStorage.getItem("mode") ?? mode;
      } catch {} // nothing may be kept here
      const system = matchMedia("(prefers-color-scheme: dark)").matches;
      const dark = mode === "auto" ? system : mode === "dark";
      Object.assign(document.documentElement.dataset, { mode, theme: dark ? "dark" : "light" });
    }
  </script>"""
ROOT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Refresh" content="0; url={cover}">
<title>{title}</title>
<link rel="icon" href="_static/favicon.svg">
<style>:root {{ color-scheme: light dark; font-family: sans-serif }}</style>
</head>
<body>
<h1><a href="{cover}">{title}</a></h1>
</body>
</html>
"""
DOWNLOADS = """<details class="page-downloads">
  <summary class="btn" aria-label="Download this page" title="Download this page">{icon}</summary>
  <ul>{entries}</ul>
</details>"""
FORMULA = r'<span class="math notranslate nohighlight"[^>]*><math>(?:(?!</math>).)*</math></span>'
# What a cell prints wraps where it is a sentence; numbers in columns scroll.
SENTENCE = re.compile(r"(?!.*  )(?:[^\W_]|−).*[^\W\d_]{2}.*|(?!.*  )[^\W\d_]{2}.*")


def _name(name: re.Match[str]) -> str:
    """Let a long name break after a dot or an underline, a short one nowhere."""
    if len(unescape(name[1])) < 24:
        return f'<span class="pre whole">{name[1]}</span>'
    return (
        f'<span class="pre">{re.sub(r"(?<=_)|(?<=[.])(?=[A-Za-z_]{3})", "<wbr>", name[1])}</span>'
    )


def _code(code: re.Match[str]) -> str:
    return re.sub(r'<span class="pre">([^<]*)</span>', _name, code[0])


def _signature(signature: re.Match[str]) -> str:
    """Write a signature's lines as what they are, and let it break at a module or bracket."""
    text = signature[0]
    for old, new in (
        ("<dl>", "<div>"),
        ("</dl>", "</div>"),
        ("<dd>", "<div>"),
        ("</dd>", "</div>"),
    ):
        text = text.replace(old, new)
    return re.sub(
        r'(<span class="sig-prename[^"]*"><span class="pre">[^<]*</span>'
        r'|<span class="sig-paren">[()])',
        r"\1<wbr>",
        text,
    )


def _printed(output: re.Match[str]) -> str:
    if "<" in output[2]:  # coloured, as an error is
        return output[0]
    lines = [
        f'<span class="wraps">{line}</span>' if SENTENCE.fullmatch(unescape(line)) else line
        for line in output[2].split("\n")
    ]
    return output[1] + "\n".join(lines)


def _fold(fold: re.Match[str]) -> str:
    """Let a fold of the side bar say what it folds."""
    return f'{fold[1]}<summary aria-label="Pages of {re.sub(r"<[^>]*>", "", fold[2])}">'


def _downloads(menu: re.Match[str]) -> str:
    """Write the menu of downloads in words, as a fold, which needs no script."""
    icon = re.search(r"<i [^>]*></i>", menu[0])[0]
    links = re.findall(r'href="([^"]*)"[^>]*btn-download-source', menu[0].replace("\n", " "))
    entries = [f'<li><a href="{link}" download>Notebook (.ipynb)</a></li>' for link in links]
    entries.append('<li><button onclick="print()">Print, or save as PDF</button></li>')
    return DOWNLOADS.format(icon=icon, entries="".join(entries))


EDITS: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
    (r'<script data-cfasync="false">.*?</script>', THEME),
    (r'(?<=<html lang="en") (data-content_root="[^"]*") data-theme="auto"', r" \1"),
    (r'<meta name="viewport" content="width=device-width, initial-scale=1" ?/>\n?', ""),
    (r'<meta name="docsearch:\w+" content="[^"]*" ?/>\n?', ""),
    (r"<script>\s*// Activate the search field.*?</script>", ""),
    (r'<button type="button" class="btn rounded-pill" id="pst-back-to-top">.*?</button>', ""),
    (r'<div id="pst-scroll-pixel-helper"></div>', ""),
    # The contents once more, for a way of printing that this book does not use.
    (r'<div id="jb-print-docs-body".*?(?=<div id="searchbox">)', ""),
    # The cover's title is the book's.
    (r"(?<=<title>)([^<]*) &#8212; \1(?=</title>)", r"\1"),
    # A button's name holds the words that it shows.
    (r'(<button class="btn search-button-field[^>]*?) title="[^"]*" aria-label="[^"]*"', r"\1"),
    (r'(<details class="[^"]*\bhide\b[^"]*">\s*<summary) aria-label="[^"]*"', r"\1"),
    (r' data-bs-(?:toggle|placement|title)="[^"]*"', ""),
    (
        r'<div class="sidebar-primary-item">(?=\s*<a class="navbar-brand)',
        '<div class="sidebar-primary-item" role="navigation" aria-label="Title">',
    ),
    (r'<div role="list" class="citation-list">', '<div class="citation-list">'),
    (r' role="doc-biblioentry"', ""),
    (
        r'(<a class="[^"]*reference internal" href="[^"]*">([^<]*)</a><details[^>]*>)<summary>',
        _fold,
    ),
    (r'<div class="dropdown dropdown-download-buttons">.*?</ul>\s*</div>', _downloads),
    # The contents of the page lead to the sections; who uses the keyboard need not pass each sign.
    (r'<a class="headerlink"', '<a class="headerlink" tabindex="-1"'),
    (r'<dt class="sig .*?(?=<a class="headerlink|</dt>)', _signature),
    (r"<code class=.*?</code>", _code),
    (
        r'(<div class="output [^"]*"><div class="highlight"><pre><span></span>)(.*?)(?=</pre>)',
        _printed,
    ),
    # No line begins with the comma after a formula.
    (rf"({FORMULA}[.,;:!?)’”–…]+)", r'<span class="whole">\1</span>'),
]
PATTERNS = [(re.compile(pattern, re.DOTALL), new) for pattern, new in EDITS]


def mended(page: str, counts: Counter[str]) -> str:
    """Return a page after all the edits, and count how often each applies."""
    for pattern, new in PATTERNS:
        page, count = pattern.subn(new, page)
        counts[pattern.pattern] += count
    return page


def sized(page: str, folder: Path) -> str:
    """Give each image the size that its file has, so that nothing moves when it comes."""

    def with_size(tag: re.Match[str]) -> str:
        path = folder / tag[2]
        if path.suffix != ".svg" or " width=" in tag[0]:
            return tag[0]
        width, height = size(path)
        return f'{tag[1]} width="{width}" height="{height}" src="{tag[2]}"'

    return re.sub(r'(<img\b[^>]*?) src="([^":]+)"', with_size, page)


def size(drawing: Path) -> tuple[int, int]:
    """Read from an SVG file how large it is, in CSS pixels."""
    box = re.search(r'viewBox="[\d.]+ [\d.]+ ([\d.]+) ([\d.]+)"', drawing.read_text("utf-8")[:2000])
    points = re.search(r'<svg[^>]* width="[\d.]+pt"', drawing.read_text("utf-8")[:2000])
    scale = 4 / 3 if points else 1
    return round(float(box[1]) * scale), round(float(box[2]) * scale)


def root(page: str, title: str) -> str:
    """Write the page at the root, which leads on at once, or by its link where nothing leads on."""
    return ROOT.format(cover=re.search(r'url=([^"]+)"', page)[1], title=title)


def _is_page(path: Path) -> bool:
    """Say whether it is a page of the theme's: the root only leads to one."""
    return path.parts[0] != "_static" and path != Path("index.html")


def finish(site: Path) -> list[str]:
    """Mend all pages of a site; return the edits that none of them needed."""
    pages = [path for path in site.rglob("*.html") if _is_page(path.relative_to(site))]
    counts: Counter[str] = Counter()
    texts = {}
    for path in pages:
        text = mended(path.read_text(encoding="utf-8"), counts)
        texts[path] = page_icons.drawn(sized(text, path.parent))
    for path, text in page_files.bundled(texts, site).items():
        path.write_text(text, encoding="utf-8", newline="\n")
    return [pattern for pattern, count in counts.items() if not count]


def _finish(app: Sphinx, error: Exception | None) -> None:
    if error or app.builder.name != "html":
        return
    index = Path(app.outdir, "index.html")
    index.write_text(
        root(index.read_text(encoding="utf-8"), app.config.ogp_site_name), encoding="utf-8"
    )
    for pattern in finish(Path(app.outdir)):
        logging.getLogger(__name__).warning(f"no page has {pattern!r} any more", type="pages")


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx when to call the above: after all who write pages."""
    app.connect("build-finished", _finish, priority=850)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
