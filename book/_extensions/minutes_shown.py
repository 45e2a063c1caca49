"""Show the computed minutes: under each chapter's opening, and wherever a text asks for them.

A text asks by the role `minutes-of`, with names joined by `+`: the tour or a chapter by its file,
`cores`, `whole` or `exercises` of all chapters, and plain numbers. So `tour + 30` is the tour and
half an hour, and `tour + whole + exercises` is everything.
"""

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole

from book._extensions import contents_page
from book.minutes import spoken

TOGETHER = {"cores": "core", "whole": "whole", "exercises": "exercises"}


def minutes_of(root: Path, names: str) -> int:
    """Add up the minutes of what is named; of one chapter, those of its core.

    Raises
    ------
    ValueError
        If a name is none of a chapter, of the tour, of all chapters' parts, or a number.
    """
    pages = [name for _, pages in contents_page.parts(root) for name in pages]
    chapters = [name for name in pages if contents_page.is_chapter(name)]
    total = 0
    for name in (name.strip() for name in names.split("+")):
        if name in TOGETHER:
            took = (contents_page.minutes_of(root, chapter) for chapter in chapters)
            total += sum(getattr(t, TOGETHER[name]) for t in took)
        elif name.isdigit():
            total += int(name)
        elif f"notebooks/{name}" in pages:
            total += contents_page.minutes_of(root, f"notebooks/{name}").core
        else:
            raise ValueError(
                f"minutes are of the tour or a chapter, of {', '.join(TOGETHER)}, or a number, "
                f"got {name!r}"
            )
    return total


class MinutesOf(SphinxRole):
    """The minutes of what is named, as one says them."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Compute them, or say what is wrong with the names."""
        try:
            return [nodes.Text(spoken(minutes_of(contents_page.ROOT, self.text)))], []
        except ValueError as error:
            return [], [self.inliner.reporter.error(str(error), line=self.lineno)]


def _tell(app: Sphinx, document: nodes.document) -> None:
    """Say under an opening how long the page takes."""
    name = app.env.docname
    if contents_page.has_opening(name):
        opening = next(document.findall(nodes.paragraph))
        line = nodes.paragraph(classes=["minutes"])
        sentence = contents_page.minutes_of(contents_page.ROOT, name).sentence()
        for i, words in enumerate(sentence.split("*")):
            line += nodes.emphasis(text=words) if i % 2 else nodes.Text(words)
        opening.parent.insert(opening.parent.index(opening) + 1, line)


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx when to call the above."""
    app.add_role("minutes-of", MinutesOf())
    app.connect("doctree-read", _tell, priority=600)  # above the line that term_links inserts
    return {"parallel_read_safe": True, "parallel_write_safe": True}
