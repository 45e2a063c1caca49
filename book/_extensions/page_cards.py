"""What a page says of itself to search engines and to those who share a link to it.

A chapter's own first sentence, or a page's first paragraphs, cut to length. sphinxext.opengraph
writes the rest of the card.
"""

import re
from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from book._extensions import contents_page

SHORTEST, LONGEST = 80, 200

# The cover's drawing, made by `book/share.py`.
PICTURE = "_static/share.png"
PICTURE_TAGS = """<meta property="og:image" content="{image}" />
<meta property="og:image:width" content="1200" />
<meta property="og:image:height" content="630" />
<meta property="og:image:alt" content="How each token of a sentence attends to each" />
<meta name="twitter:card" content="summary_large_image" />
"""

# The few signs that first sentences need.
SIGNS = {r"\sqrt{d_k}": "√d_k"}


def plain(markdown: str) -> str:
    """Write a sentence without its markup.

    Raises
    ------
    ValueError
        If something is left that only a formula or a role could show.
    """
    for formula, sign in SIGNS.items():
        markdown = markdown.replace(formula, sign)
    text = re.sub(r"\{\w+\}`([^`<]+?)(?: <[^>]*>)?`", r"\1", markdown)
    text = re.sub(r"[*$`]", "", text)
    if re.search(r"[\\{}]", text):
        raise ValueError(f"a card cannot show: {text}")
    return text


def shortened(text: str) -> str:
    """Keep as many whole sentences as fit, or else as many words."""
    if len(text) > LONGEST:
        sentences = re.match(rf"(.{{{SHORTEST},{LONGEST}}})(?<=[.!?])\s", text)
        text = sentences[1] if sentences else text[: LONGEST - 1].rpartition(" ")[0] + " …"
    return re.sub(r":$", ".", text)


def description(root: nodes.document, name: str) -> str:
    """Say in plain text what a page is about; nothing, where there is no text."""
    if contents_page.has_opening(name):
        return shortened(plain(f"You will {contents_page.chapter(contents_page.ROOT, name).gives}"))
    text = ""
    for paragraph in root.findall(nodes.paragraph):
        if len(text) >= SHORTEST:
            break
        if isinstance(paragraph.parent, nodes.section):
            text = f"{text} {_words(paragraph)}".strip()
    return shortened(text)


def _words(paragraph: nodes.paragraph) -> str:
    """Join the words of a paragraph, references to the literature left out."""
    return re.sub(r" \[[^\]]*\d{4}\]", "", " ".join(paragraph.astext().split()))


def _describe(
    app: Sphinx, name: str, _template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Hand the description over, before opengraph would take one from the page's raw text."""
    if not doctree:
        return
    try:
        text = description(doctree, name) or app.config.html_context["description"]
    except ValueError as error:
        logging.getLogger(__name__).warning(f"{name}: {error}", type="cards")
        return
    place = app.config.ogp_site_url
    image = f"{place}{PICTURE}" if place else context["pathto"](PICTURE, 1)
    text = escape(text, quote=False)
    context["metatags"] += PICTURE_TAGS.format(image=image)
    context["meta"] = {**(context["meta"] or {}), "og:description": text}
    context["metatags"] += f'<meta name="description" content="{escape(text)}" />\n'


def _unplace(
    app: Sphinx, _name: str, _template: str, context: dict[str, Any], _doctree: Any
) -> None:
    """Claim no address while `ogp_site_url` names none: a relative one is none."""
    if "metatags" in context and not app.config.ogp_site_url:
        context["metatags"] = re.sub(r'<meta property="og:url" .*?>\n', "", context["metatags"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx when to call the above, around opengraph."""
    app.connect("html-page-context", _describe, priority=400)
    app.connect("html-page-context", _unplace, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
