"""How many minutes a chapter takes, computed from its notebook: nothing is run or imported.

Prose is read at 180 words a minute and a proof at 50; a line of code takes 8 seconds, a displayed
equation 10, a figure with its caption 45, and an output no time. The core ends where a chapter goes
deeper. What is folded counts in the whole chapter only, and exercises are counted apart: each takes
three minutes of thought, the reading of its text and its solution, and a minute for every line of
the solution's code, which the reader writes.

    python -m book.minutes                             every chapter
    python -m book.minutes notebooks/04_softmax.ipynb  this one
"""

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.myst_blocks import myst_block_plugin
from mdit_py_plugins.myst_role import myst_role_plugin

ROOT = Path(__file__).resolve().parent.parent
LINE_BETWEEN = "Going deeper"

SECONDS = {"words": 60 / 180, "proof": 60 / 50, "lines": 8, "equations": 10, "figures": 45}
THOUGHT = 180  # seconds before the first line of an exercise's solution
WRITTEN = 60  # seconds that a line of it takes
CORE, TOUR = 25, 15  # the most minutes that a chapter's core and the tour may take

CODE = ("code", "code-block", "code-cell", "sourcecode", "literalinclude")
NO_TITLE = ("raw", "include", "solution", "solution-start", "solution-end")
DIRECTIVE = re.compile(r"\{([\w:-]+)\}[ \t]*(.*)")
OPTIONS = re.compile(r"---\n(?s:.*?)\n---\n|(?:[ \t]*:[\w-]+:.*(?:\n|$))*")
FOLDED = re.compile(r"^[ \t]*:?class:.*\b(?:dropdown|toggle)\b", re.MULTILINE)
BETWEEN_TERMS = re.compile(
    r"[=<>+\-/,:|]|\\(?:leq?|geq?|neq?|ll|gg|approx|sim|equiv|to|mapsto|in|notin|subset|cdot|times|pm"
    r"|q?quad|mid|iff|implies)(?![A-Za-z])"
)


class Piece(NamedTuple):
    """Something to read, by the keys of `SECONDS`, or a mark: where another part begins."""

    kind: str
    amount: int = 1
    folded: bool = False


class Minutes(NamedTuple):
    """What a notebook takes; the core is all that stands unfolded before the line, if there is one.

    `layered` says whether there is one.
    """

    core: int
    whole: int
    exercises: int
    layered: bool

    def sentence(self) -> str:
        """Say them in a line of Markdown; a core is named where something follows it."""
        if not self.exercises:
            return f"*Time* {self.core} minutes"
        rest = f"· *exercises* {self.exercises}"
        if not self.layered:
            return f"*Whole chapter* {self.whole} minutes {rest}"
        return f"*Core* {self.core} minutes · *whole chapter* {self.whole} {rest}"


def minutes(path: Path) -> Minutes:
    """Compute the minutes of a notebook, each rounded up.

    Raises
    ------
    ValueError
        If an exercise has no end, or a file whose lines the page shows is missing.
    """
    read = list(pieces(path))
    seconds = seconds_by_part(read)
    return Minutes(
        *(math.ceil(seconds[part] / 60) for part in ("core", "whole", "exercises")),
        layered=Piece("deeper") in read,
    )


def spoken(minutes: int) -> str:
    """Say minutes as one does: from two hours on to the half hour."""
    if minutes < 120:
        return f"{minutes} minutes"
    hours, half = divmod(round(minutes / 30), 2)
    return f"about {hours}{'½' * half} hours"


def seconds_by_part(read: list[Piece]) -> Counter[str]:
    """Add up what the pieces take in the core, in the whole chapter, and in its exercises."""
    total, before, inside = Counter(), True, ""
    for kind, amount, folded in read:
        if kind == "deeper":
            before = False
        elif kind in ("exercise", "solution", "solved"):
            inside = kind.removesuffix("solved")
            total["exercises"] += THOUGHT * (kind == "exercise")
        elif inside:
            written = inside == "solution" and kind == "lines"
            total["exercises"] += amount * (WRITTEN if written else SECONDS[kind])
        else:
            total["whole"] += amount * SECONDS[kind]
            total["core"] += amount * SECONDS[kind] * (before and not folded)
    if inside:
        raise ValueError("an exercise ends with its solution, and the last one has none")
    return total


def pieces(path: Path) -> Iterator[Piece]:
    """Yield what there is to read in a notebook, in its order."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield from _markdown(source, path.parent)
        elif cell["cell_type"] == "code":
            yield from _code_cell(source, cell)


def _code_cell(source: str, cell: dict[str, Any]) -> Iterator[Piece]:
    tags = {*cell["metadata"].get("tags", ())}
    pictures = [o for o in cell["outputs"] if any("image/" in key for key in o.get("data", ()))]
    figure = pictures or "figure" in cell["metadata"].get("mystnb", {})
    if not tags & {"remove-cell", "remove-input"}:
        yield from _code(source, folded=bool(tags & {"hide-cell", "hide-input"}))
    if figure and not tags & {"remove-cell", "remove-output"}:
        yield Piece("figures", folded=bool(tags & {"hide-cell", "hide-output"}))


def _code(text: str, folded: bool) -> Iterator[Piece]:
    """Count lines with something to read on them; a line that is all comment is prose."""
    lines = [line.strip() for line in text.splitlines() if re.search(r"\w", line)]
    comments = [line for line in lines if line.startswith("#")]
    yield Piece("lines", len(lines) - len(comments), folded)
    yield Piece("words", _words(" ".join(comments)), folded)


def _parser() -> MarkdownIt:
    plain = MarkdownIt("commonmark").enable("table")
    plugins = (amsmath_plugin, colon_fence_plugin, deflist_plugin, myst_block_plugin)
    for plugin in (*plugins, myst_role_plugin):
        plain.use(plugin)
    return plain.use(dollarmath_plugin, double_inline=True)


PARSER = _parser()


def _markdown(
    text: str, folder: Path, folded: bool = False, proof: bool = False
) -> Iterator[Piece]:
    """Yield the pieces of a text; the files it includes are found from `folder`."""
    words = "proof" if proof else "words"
    tokens, open_folds = PARSER.parse(text), 0
    for i, token in enumerate(tokens):
        hidden = folded or open_folds > 0
        if token.type == "inline":
            if tokens[i - 1].tag == "h2" and token.content == LINE_BETWEEN:
                yield Piece("deeper")
            for kind, amount in _inline(token.children).items():
                yield Piece(words if kind == "words" else kind, amount, hidden)
        elif token.type in ("fence", "colon_fence"):
            yield from _fence(token, folder, hidden, proof)
        elif token.type == "code_block":
            yield from _code(token.content, hidden)
        elif token.type.startswith(("math_block", "amsmath")):
            yield Piece("equations", 1, hidden)
        elif token.type == "html_block":
            yield Piece(words, _html_words(token.content), hidden)
            open_folds += token.content.count("<details") - token.content.count("</details>")


def _fence(token: Any, folder: Path, folded: bool, proof: bool) -> Iterator[Piece]:
    """Yield the pieces of a block of code, or of a directive."""
    directive = DIRECTIVE.fullmatch(token.info.strip())
    if not directive:
        yield from _code(token.content, folded)
        return
    name, title = directive.groups()
    options = OPTIONS.match(token.content)[0]
    content = token.content.removeprefix(options)
    proof = proof or name == "prf:proof"
    folded = folded or name in ("prf:proof", "dropdown", "toggle") or bool(FOLDED.search(options))
    marks = {"exercise": "exercise", "solution": "solution", "solution-start": "solution"}
    if name in marks:
        yield Piece(marks[name])
    if name in CODE:
        yield from _code(_included(title, folder) if name == "literalinclude" else content, folded)
    elif name == "math":
        yield Piece("equations", 1, folded)
    elif name in ("figure", "figure-md", "image", "matrix-sheet"):
        yield Piece("figures", 1, folded)
    else:
        title = "" if name in NO_TITLE else title
        yield from _markdown(f"{title}\n\n{content}", folder, folded, proof)
    if name in ("solution", "solution-end"):
        yield Piece("solved")


def _included(name: str, folder: Path) -> str:
    path = folder / name
    if not path.is_file():
        raise ValueError(f"the page shows the lines of {name}, and there is no such file")
    return path.read_text(encoding="utf-8")


def _inline(tokens: list[Any]) -> Counter[str]:
    """Count the words, and the pictures and displayed equations, in a paragraph."""
    text, found = "", Counter()
    for token in tokens:
        if token.type == "math_inline":
            text += " ".join(["x"] * _terms(token.content))
        elif token.type == "myst_role":
            text += _role(token.content)
        elif token.type in ("text", "code_inline"):
            text += token.content
        elif token.type in ("softbreak", "hardbreak"):
            text += " "
        found["figures"] += token.type == "image"
        found["equations"] += token.type == "math_inline_double"
    found["words"] = _words(text)
    return found


def _terms(formula: str) -> int:
    """Count what stands between the signs of a formula; each is read like a word."""
    return max(1, sum(bool(re.search(r"\w", term)) for term in BETWEEN_TERMS.split(formula)))


def _role(content: str) -> str:
    """Give the words of a role: its text, or the labels it names."""
    text, explicit, _ = content.partition("<")
    return text if explicit else content.replace(",", " ")


def _html_words(html: str) -> int:
    html = re.sub(r"<!--.*?-->|<(style|script)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return _words(re.sub(r"<[^>]*>", " ", html))


def _words(text: str) -> int:
    return sum(bool(re.search(r"\w", word)) for word in text.split())


def table(paths: list[Path]) -> str:
    """Write the minutes of notebooks, and what makes up the core of each, a line for each."""
    kinds = [kind for kind in SECONDS if kind != "proof"]
    heads = ["core", "whole", "exercises", *(f"of it {kinds[0]}", *kinds[1:])]
    rows = [f"{'minutes':20}" + "".join(f"{head:>13}" for head in heads)]
    for path in paths:
        took = minutes(path)
        parts = [str(took.core) if took.layered else f"({took.core})", took.whole, took.exercises]
        core = _core_by_kind(list(pieces(path)))
        parts += [f"{core[kind] * SECONDS[kind] / 60:.1f}" for kind in kinds]
        rows.append(f"{path.stem:20}" + "".join(f"{part:>13}" for part in parts))
    return "\n".join(rows)


def _core_by_kind(read: list[Piece]) -> Counter[str]:
    found, inside = Counter(), False
    for kind, amount, folded in read:
        if kind == "deeper":
            break
        inside = kind != "solved" if kind in ("exercise", "solution", "solved") else inside
        found[kind] += amount * (not inside and not folded)
    return found


if __name__ == "__main__":
    named = [Path(name) for name in sys.argv[1:]]
    every = [path for path in sorted(ROOT.glob("notebooks/*.ipynb")) if path.stem != "cover"]
    print(table(named or every))
