"""Set the mathematics when the book is built: LaTeX becomes MathML, which browsers draw themselves.

So no page loads a script for it, a screen reader reads the formulas as such, and paper gets
letters. The font is the site's own, since only some systems have one for mathematics.
"""

import re
from html import escape, unescape
from typing import Any

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

from book.mathematics_font import SIGNS

INVISIBLE = "\N{FUNCTION APPLICATION}\N{INVISIBLE SEPARATOR}\N{VARIATION SELECTOR-1}"
INNER = re.compile(r"\\begin\{(\w+\*?)\}.*?\\end\{\1\}", re.DOTALL)
CONVERTER = LatexToMathML(fancy_error=False)

# What the converter leaves to the browsers, and they do each in their own way: on which side of
# things a bracket stands, and that a sign which begins a line goes on with a sum.
SPACING = (
    (re.compile(r"<mo((?: [^>]*)?)>([(\[{])</mo>"), r'<mo\1 form="prefix">\2</mo>'),
    (re.compile(r"<mo((?: [^>]*)?)>([)\]}])</mo>"), r'<mo\1 form="postfix">\2</mo>'),
    (re.compile(r'(padding-left: 0;"><mo)>([+−±])'), r'\1 form="infix">\2'),
)


def mathml(tex: str, *, display: bool = False) -> str:
    r"""Set a formula of LaTeX.

    What the converter does not know is written for it as what it does: the gap in ``\\[4pt]`` is
    left to the browser, and a ``smallmatrix`` is a matrix in the size of an index.

    Raises
    ------
    ValueError
        If the formula is none, or has a sign that the site's font has not.
    """
    known = re.sub(r"(\\\\)\s*\[[\d.]+\s*(?:pt|ex|em)\]", r"\1", tex).replace(
        "{split}", "{aligned}"
    )
    known = known.replace("{smallmatrix}", "{matrix}")
    try:
        markup = CONVERTER.convert_with_local_state(known, displaystyle=display)
    except LatexError as error:
        raise ValueError(f"{tex!r} cannot be set: {error}") from error
    if "{smallmatrix}" in tex:
        markup = re.sub(r'(<mtable [^>]*scriptlevel=)"0"', r'\1"1"', markup)
    if missing := set(unescape(re.sub(r"<[^>]*>", "", markup))) - SIGNS - set(INVISIBLE):
        raise ValueError(f"{tex!r} has {sorted(missing)}, which book/mathematics_font.py has not")
    for pattern, spaced in SPACING:
        markup = pattern.sub(lambda m, s=spaced: m[0] if "form=" in m[1] else m.expand(s), markup)
    return markup


def lines(tex: str) -> str:
    r"""Join the paragraphs of a display as lines, and align those that only ``\\`` parts."""
    parts = [part.strip() for part in tex.split("\n\n") if part.strip()]
    joined = r" \\ ".join(parts)
    outside = INNER.sub("", joined)
    return rf"\begin{{aligned}}{joined}\end{{aligned}}" if r"\\" in outside else joined


def _set(node: nodes.Element, tex: str, *, display: bool) -> str:
    try:
        return mathml(tex, display=display)
    except ValueError as error:
        logging.getLogger(__name__).warning(str(error), location=node, type="mathematics")
        return f"<merror><mtext>{escape(tex)}</mtext></merror>"


def visit_inline(translator: Any, node: nodes.math) -> None:
    """Write a formula in a line of text."""
    tag = translator.starttag(node, "span", "", CLASS="math notranslate nohighlight")
    translator.body.append(f"{tag}{_set(node, node.astext(), display=False)}</span>")
    raise nodes.SkipNode


def visit_display(translator: Any, node: nodes.math_block) -> None:
    """Write a formula on a line of its own, with its number where it has one."""
    translator.body.append(translator.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        translator.body.append(f'<span class="eqno">({get_node_equation_number(translator, node)})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    formula = _set(node, lines(node.astext()), display=True)
    translator.body.append(f'<div class="formula">{formula}</div></div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx who sets mathematics."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
