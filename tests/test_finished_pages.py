"""What is mended in every page when the book is built, on small pages."""

import re
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("pydata_sphinx_theme")

from book._extensions import finished_pages, page_files, page_icons, page_styles


def mended(page: str) -> str:
    return finished_pages.mended(page, Counter())


def test_the_theme_is_chosen_in_the_head() -> None:
    page = mended('<script data-cfasync="false">a.dataset.theme = x</script>')
    assert page == finished_pages.THEME


def test_a_long_name_may_break_and_a_short_one_not() -> None:
    code = '<code class="x"><span class="pre">{}</span></code>'
    assert '"pre whole">d_model<' in mended(code.format("d_model"))
    long = mended(code.format("companion.kernels.scaled_dot_product"))
    assert "companion.<wbr>kernels.<wbr>scaled_<wbr>dot_<wbr>product" in long


def test_the_comma_stays_with_its_formula() -> None:
    formula = '<span class="math notranslate nohighlight"><math><mi>x</mi></math></span>'
    assert mended(f"{formula}, so") == f'<span class="whole">{formula},</span> so'
    assert mended(f"{formula} so") == f"{formula} so"


def test_a_printed_sentence_wraps_and_columns_do_not() -> None:
    output = '<div class="output x"><div class="highlight"><pre><span></span>{}\n</pre>'
    page = mended(output.format("rows that keep every bit: 3\n[1.0  2.0]\na  b"))
    assert re.findall(r'<span class="wraps">(.*?)</span>', page) == ["rows that keep every bit: 3"]
    coloured = output.format('<span class="ansi">an error</span>')
    assert mended(coloured) == coloured


def test_the_lines_of_a_signature_are_no_definitions() -> None:
    page = mended(
        '<dt class="sig x"><dl>\n<dd>a,</dd>\n</dl><a class="headerlink" href="#a">#</a></dt>'
    )
    assert "<dd>" not in page
    assert "<dl>" not in page
    assert 'class="headerlink" tabindex="-1"' in page


def test_the_menu_of_downloads_needs_no_script() -> None:
    page = mended(
        '<div class="dropdown dropdown-download-buttons"><button data-bs-toggle="dropdown">'
        '<i class="fas fa-download"></i></button><ul class="dropdown-menu"><li>'
        '<a href="../_sources/x.ipynb" target="_blank"\nclass="btn btn-download-source-button">'
        ".ipynb</a></li></ul>\n</div>"
    )
    assert page.startswith('<details class="page-downloads">')
    assert '<a href="../_sources/x.ipynb" download>Notebook (.ipynb)</a>' in page


def test_a_title_says_the_book_s_name_once() -> None:
    assert mended("<title>A &#8212; A</title>") == "<title>A</title>"
    assert mended("<title>B &#8212; A</title>") == "<title>B &#8212; A</title>"


def test_an_image_has_the_size_of_its_drawing(tmp_path: Path) -> None:
    (tmp_path / "points.svg").write_text('<svg width="300pt" viewBox="0 0 300 150">', "utf-8")
    (tmp_path / "pixels.svg").write_text('<svg width="300" viewBox="0 0 300 150">', "utf-8")
    page = '<img alt="a" src="points.svg" /><img src="pixels.svg" />'
    assert finished_pages.sized(page, tmp_path) == (
        '<img alt="a" width="400" height="200" src="points.svg" />'
        '<img width="300" height="150" src="pixels.svg" />'
    )


def test_an_edit_that_no_page_needs_is_told(tmp_path: Path) -> None:
    (tmp_path / "_static").mkdir()
    for name in ("a.css", "a.js"):
        (tmp_path / "_static" / name).write_text("", encoding="utf-8")
    (tmp_path / "page.html").write_text(
        '<link rel="stylesheet" href="_static/a.css"><script src="_static/a.js"></script>'
        "<title>A &#8212; A</title>",
        encoding="utf-8",
    )
    told = finished_pages.finish(tmp_path)
    assert len(told) == len(finished_pages.EDITS) - 1


def test_the_root_leads_on() -> None:
    page = finished_pages.root('<meta http-equiv="Refresh" content="0; url=a/b.html" />', "Book")
    assert "<title>Book</title>" in page
    assert '<a href="a/b.html">' in page
    assert 'content="0; url=a/b.html"' in page


def test_an_icon_is_drawn() -> None:
    page = page_icons.drawn('<i class="theme-switch fa-solid fa-moon fa-lg" data-mode="dark"></i>')
    assert page.startswith(
        '<svg class="page-icon theme-switch" data-mode="dark" aria-hidden="true"'
    )
    assert page_icons.path("list") != page_icons.path("rectangle-list")
    with pytest.raises(LookupError, match="no icon 'no-such-icon'"):
        page_icons.path("no-such-icon")


SHEET = """@charset "utf-8";/*! kept */ /* not */
.used, .gone { a: b }
.gone > p { a: b }
p:not(.gone), a:is(.gone, .other) { a: b }
#gone { a: url("data:;{}") }
.w\\:x { a: b }
@media print { .gone { a: b } }
@media (width > 3px) { .used { a: "}" } }
@font-face { src: url(../vendor/fontawesome/x.woff2) }
@keyframes turn { from { a: b } }
"""


def test_a_rule_for_what_no_page_has_goes() -> None:
    kept = page_styles.kept(SHEET, page_styles.used(['<p class="used w:x">']) | {"w:x"})
    assert kept.splitlines() == [
        "/*! kept */",
        '@charset "utf-8";',
        ".used{ a: b }",
        "p:not(.gone),a:is(.gone, .other){ a: b }",
        ".w\\:x{ a: b }",
        '@media (width > 3px){.used{ a: "}" }}',
        "@keyframes turn{ from { a: b } }",
    ]


def test_many_files_become_two_and_much_data_waits(tmp_path: Path) -> None:
    files = {
        "a.css": '@import url("sub/b.css"); .x { background: url(pic.png) }',
        "sub/b.css": ".y { background: url(pic.png); src: url(../f.woff2) }",
        "f.woff2": "font",
        "a.js": "let a = 1",
        "own.js": "own()",
        "next.js": "next()",
        "own.css": ".x { a: b }",
        "next.css": ".x { c: url(pic.png) }",
        "doctools.js": "unused()",
    }
    for name, text in files.items():
        path = tmp_path / "_static" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    head = (
        '<link rel="stylesheet" href="../_static/a.css?v=1"><script src="../_static/a.js"></script>'
        '<script src="../_static/doctools.js"></script><script>var b = 2;</script>'
    )
    data = f'<script type="application/json" id="rows">{"1" * 60_000}</script>'
    own = "".join(
        f'<link rel="stylesheet" href="../_static/{name}.css?v=2" />'
        f'<script defer src="../_static/{name}.js?v=2"></script>'
        for name in ("own", "next")
    )
    pages = {
        tmp_path / "x" / f"{i}.html": f'{head}<p class="x y">{extra}'
        for i, extra in enumerate(("", "", f"{own}{data}"))
    }
    first, _, last = page_files.bundled(pages, tmp_path).values()
    assert first.count("<script") == 1
    assert '<link rel="stylesheet" href="../_static/book.css" />' in first
    assert re.findall(r'<script defer src="../_static/([\w.-]+)"', last) == [
        "book.js",
        "rows.js",
        "next-all.js",
    ]
    assert re.findall(r'href="../_static/([\w.-]+\.css)"', last) == ["book.css", "next-all.css"]
    assert '<script type="application/json" id="rows"></script>' in last
    written = {p.name: p.read_text(encoding="utf-8") for p in (tmp_path / "_static").glob("*.*")}
    assert written["rows.js"].startswith('document.getElementById("rows").textContent = "111')
    assert written["next-all.js"] == "own();\nnext()\n"
    assert written["next-all.css"] == ".x { a: b }\n.x { c: url(pic.png) }\n"
    assert "let a = 1" in written["book.js"]
    assert "var b = 2" in written["book.js"]
    assert "unused" not in written["book.js"]
    assert "url(sub/pic.png)" in written["book.css"]
    assert "url(pic.png)" in written["book.css"]
    assert "url(data:font/woff2;base64,Zm9udA==)" in written["book.css"]
