"""Which rules of a style sheet some page uses: a theme brings those for all it might hold."""

import re
from collections.abc import Iterable, Iterator

COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
STRING = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
TOKEN = re.compile(rf"""{STRING}|url\((?:{STRING}|[^)"']*)\)|[{{}};]""")
NAME = re.compile(r"[.#](-?[A-Za-z_](?:[\w-]|\\.)*)")
INNER = re.compile(r"\((?:[^()]|\([^()]*\))*\)")


def used(texts: Iterable[str]) -> set[str]:
    """List every word of the pages and of the scripts: classes and names are among them."""
    return {word for text in texts for word in re.findall(r"[A-Za-z_][\w-]*", text)}


def kept(sheet: str, words: set[str]) -> str:
    """Leave the rules that could apply to something.

    A rule goes if each of its selectors asks for a class or a name that no page has. What stands in
    brackets, as in `:not(.x)`, asks for nothing.
    """
    licences = [note for note in COMMENT.findall(sheet) if note.startswith("/*!")]
    return "\n".join([*dict.fromkeys(licences), *_kept(COMMENT.sub("", sheet), words)])


def _kept(sheet: str, words: set[str]) -> Iterator[str]:
    for head, body in _rules(sheet):
        if body is None or head.startswith(("@font-face", "@page", "@keyframes", "@property")):
            if head.startswith("@font-face") and "fontawesome" in body:
                continue  # the icons are drawings
            yield f"{head}{{{body}}}" if body is not None else f"{head};"
        elif head.startswith("@"):
            inner = "\n".join(_kept(body, words))
            if inner:
                yield f"{head}{{{inner}}}"
        else:
            selectors = [s for s in _selectors(head) if _asks(s) <= words]
            if selectors and body.strip():
                yield f"{','.join(selectors)}{{{body}}}"


def _rules(sheet: str) -> Iterator[tuple[str, str | None]]:
    """Part a style sheet into what stands before a brace and what stands in it."""
    start = depth = opened = 0
    for token in TOKEN.finditer(sheet):
        sign, position = token[0], token.end()
        if sign == "{":
            depth += 1
            opened = position if depth == 1 else opened
        elif sign == "}":
            depth -= 1
            if depth == 0:
                yield sheet[start : opened - 1].strip(), sheet[opened : position - 1]
                start = position
        elif sign == ";" and depth == 0:
            yield sheet[start : position - 1].strip(), None
            start = position


def _selectors(head: str) -> list[str]:
    """Part a list of selectors at its commas, but for those in brackets."""
    plain = INNER.sub(lambda m: m[0].replace(",", "\0"), head)
    return [part.replace("\0", ",").strip() for part in plain.split(",")]


def _asks(selector: str) -> set[str]:
    """Return the classes and names without which a selector finds nothing."""
    plain = re.sub(r"\[[^\]]*\]", "", selector)
    while (shorter := INNER.sub("", plain)) != plain:
        plain = shorter
    return {re.sub(r"\\(.)", r"\1", name) for name in NAME.findall(plain)}
