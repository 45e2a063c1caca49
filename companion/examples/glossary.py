"""The book's glossary as texts, for a search to find something in."""

import re
from os import PathLike
from pathlib import Path

__all__ = ["glossary_entries"]

ENTRY = re.compile(r"^((?:\w.*\n)+)((?:  .*\n)+)", re.MULTILINE)
WHERE = re.compile(r" See \{.*?\.$|: \{.*")  # what an entry leads to, at its end
ASIDE = re.compile(r" \(\{(?:prf:)?\w*(?:ref|eq)\}`[^`]*`\)")  # no more than a link, in brackets
LINK = re.compile(r"\{[\w:]+\}`([^`<]*?)(?: <[^`]*)?`")


def glossary_entries(path: str | PathLike[str]) -> list[str]:
    """List the entries of a glossary.

    Parameters
    ----------
    path : str or path
        Of a page in MyST Markdown.

    Returns
    -------
    list of str
        ``"term: what it means"`` for each name that an entry has, without links.

    Raises
    ------
    FileNotFoundError
        If there is no such page.
    ValueError
        If it has no glossary.
    """
    _, found, entries = Path(path).read_text(encoding="utf-8").partition("{glossary}\n")
    if not found:
        raise ValueError(f"path must lead to a page with a glossary, got {str(path)!r}")
    return [
        f"{name}: {_plain(meaning)}"
        for names, meaning in ENTRY.findall(entries)
        for name in names.splitlines()
    ]


def _plain(meaning: str) -> str:
    without = ASIDE.sub("", WHERE.sub("", " ".join(meaning.split())))
    return LINK.sub(r"\1", without)
