"""Render the errata of the source notes, ``source_audit.yml``, as part of a page.

::

    ```{source-audit} summary      a table: how many of each verdict, and which
    ```{source-audit} 000          the rows of one note
"""

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

DATA = "source_audit.yml"  # beside the page

# A sign beside each word, so that no verdict is told by its colour.
VERDICTS = {
    "confirmed": ("✓", "Recomputed or proved: as the note says."),
    "corrected": ("≠", "The printed numbers or code are wrong; both are shown."),
    "computed": ("=", "The note prints no result; here it is."),
    "refined": ("±", "True only under a condition that the note leaves out."),
    "refuted": ("✗", "False as written; a counterexample, and what is true instead."),
    "drawn": ("✎", "The drawing is in the book."),
}


def number_format(values: Any) -> str:
    """Choose the format that keeps every digit of the numbers as they were printed."""
    texts = [repr(value) for value in _numbers(values) if abs(value) not in (0, float("inf"))]
    if any("e" in text for text in texts):
        return ".8e"
    return f".{max((len(text.partition('.')[2]) for text in texts), default=0)}f"


def number(value: float | None, form: str) -> str:
    """Write one number, −∞ where it is that, and a dot where there is none."""
    if value is None:
        return "·"
    if abs(value) == float("inf"):
        return "−∞"
    return f"{value + 0.0:{form}}".replace("-", "−")


def mark_differences(text: str, other: str) -> str:
    """Mark a number from the first digit in which it differs from another."""
    shape, others = ((t.find("."), t.partition("e")[2]) for t in (text, other))
    same = [a == b for a, b in zip(text, other, strict=False)].index(False)
    same = same if shape == others else 0
    return f"{text[:same]}<mark>{text[same:]}</mark>"


def compared(text: str, reference: str, sign: str) -> str:
    """Mark a number where it is not the reference, if there is one."""
    if text == reference or "·" in (text, reference):
        return text
    return f"{sign}{mark_differences(text, reference)}"


def differs(printed: Any, computed: Any) -> bool:
    """Say whether the computed numbers, rounded like the printed ones, are others."""
    form = number_format(printed)
    pairs = zip(_numbers(printed), _numbers(computed, like=printed), strict=True)
    return any(number(p, form) != number(c, form) for p, c in pairs)


def caption(name: str) -> str:
    """Write a name of two words as two words; `W_Q` stays as it is."""
    return escape(re.sub(r"(?<=\w\w)_(?=\w\w)", " ", name))


def numbers_table(name: str, values: Any, form: str, other: Any = None, sign: str = "") -> str:
    """Write numbers; where they differ from others, mark digits and set a sign."""
    texts = [
        [
            compared(number(value, form), number(reference, form), sign)
            for value, reference in zip(row, others, strict=True)
        ]
        for row, others in zip(_matrix(values), _matrix(other or values), strict=True)
    ]
    if texts and not isinstance(values[0], list):  # a long row of a table would not fit a phone
        return f'<p class="audit-vector">{caption(name)}: ({", ".join(texts[0])})</p>'
    rows = "".join(f"<tr>{''.join(f'<td>{text}</td>' for text in row)}</tr>" for row in texts)
    return f"<table><caption>{caption(name)}</caption><tbody>{rows}</tbody></table>"


def numbers_block(row: dict[str, Any]) -> str:
    """Set what a row prints beside what comes out."""
    printed, tables = row.get("printed") or {}, []
    for name, values in row["computed"].items():
        if name == "error":
            tables.append(f"<p>the note’s code: <code>{escape(values)}</code></p>")
        elif name in printed:
            claimed, form = printed[name], number_format(printed[name])
            left = numbers_table(f"{name}, printed", claimed, form, values)
            right = numbers_table(f"{name}, computed", values, form, claimed, sign="≠")
            tables.append(f'<div class="audit-pair">{left}{right}</div>')
        else:
            tables.append(numbers_table(f"{name}, computed", values, ".6f"))
    return f'<div class="audit-numbers">{"".join(tables)}</div>'


def inputs_block(inputs: dict[str, Any]) -> str:
    """Fold away what the numbers are made from."""
    parts = []
    for name, values in inputs.items():
        if isinstance(values, str):
            parts.append(f"<pre>{escape(values.rstrip())}</pre>".replace("\n", "&#10;"))
        elif name == "draws":
            times = "\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}"
            drawn = ", ".join(f"{n} ({times.join(map(str, shape))})" for n, *shape in values)
            parts.append(f"<p>drawn in this order: {drawn}</p>")
        elif isinstance(values, int):
            parts.append(f"<p>{escape(name)} {values}</p>")
        else:
            parts.append(numbers_table(name, values, number_format(values)))
    inside = f'<div class="audit-numbers">{"".join(parts)}</div>'
    return f"<details><summary>Inputs</summary>{inside}</details>"


def row_text(row: dict[str, Any]) -> Iterator[str]:
    """Write one row in MyST Markdown, paragraph by paragraph."""
    sign, _ = VERDICTS[row["verdict"]]
    is_open = row.get("status") == "open"
    state = f"{sign} {row['verdict']}{', one part open' if is_open else ''}"
    yield f'<p class="audit-title"><strong>{row["id"]}</strong> <span>{state}</span></p>'
    yield linked(row["statement"])
    if row.get("inputs"):
        yield inputs_block(row["inputs"])
    if row.get("computed"):
        yield numbers_block(row)
    if row.get("counterexample"):
        yield f"**Counterexample.** {linked(row['counterexample'])}"
    yield f"**Why.** {linked(row['why'])}"
    if row.get("figure"):
        yield f"**Drawing:** {{numref}}`{row['figure']}`"
    chapter = f"to come: {row['chapter']}" if is_open else f"{{ref}}`{row['chapter']}`"
    yield f"**Chapter:** {chapter}"
    yield "**Tests:**"
    yield "\n".join(f"- {test_link(test)}" for test in row["tests"])


def linked(text: str) -> str:
    """Lead from the name of a row to the row."""
    return re.sub(r"\b00[0-4]-[ESOF]\d+\b", lambda name: row_link(name[0]), text)


def row_link(identifier: str) -> str:
    """Link the name of a row, which has no label that Sphinx knows."""
    return f'<a class="reference internal" href="#{anchor(identifier)}">{identifier}</a>'


def test_link(test: str) -> str:
    """Link the name of a test to a copy of its file."""
    path, _, name = test.partition("::")
    return f"{{download}}`{name} <../{path}>`"


def summary_text(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Write the table of verdicts in MyST Markdown."""
    lines = ["| verdict | rows | what it says |", "|---|---:|---|"]
    for verdict, (sign, meaning) in VERDICTS.items():
        ids = [row["id"] for row in rows if row["verdict"] == verdict]
        links = " ".join(map(row_link, ids))
        lines.append(f"| {sign} {verdict} | {len(ids)} | {meaning}<br>{links} |")
    yield "\n".join([*lines, f"| all | {len(rows)} | |"])


def anchor(identifier: str) -> str:
    """Return the place of a row on the page."""
    return f"audit-{identifier.lower()}"


class SourceAudit(Directive):
    """The summary, or the rows of one note."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse what the rows say as if it stood on the page."""
        environment = self.state.document.settings.env
        path = Path(environment.doc2path(environment.docname)).parent / DATA
        environment.note_dependency(str(path))
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))["rows"]
        part = self.arguments[0]
        if part == "summary":
            return [self._parsed(summary_text(rows), "audit-summary")]
        return [
            self._parsed(row_text(row), "audit-row", anchor(row["id"]))
            for row in rows
            if row["note"] == part
        ]

    def _parsed(self, paragraphs: Iterator[str], kind: str, name: str | None = None) -> nodes.Node:
        block = nodes.container(classes=[kind], ids=[name] if name else [])
        if name:  # {ref}`words <audit-004-s7>` leads to it from any page
            environment = self.state.document.settings.env
            environment.get_domain("std").anonlabels[name] = (environment.docname, name)
        lines = "\n\n".join(paragraphs).splitlines()
        self.state.nested_parse(StringList(lines), self.content_offset, block)
        return block


def setup(app: Any) -> dict[str, Any]:
    """Register the directive with Sphinx."""
    app.add_directive("source-audit", SourceAudit)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _matrix(values: Any) -> list[list[float | None]]:
    if not isinstance(values, list):
        return [[values]]
    return values if isinstance(values[0], list) else [values]


def _numbers(values: Any, like: Any = None) -> list[float]:
    """List the numbers that are there, in the one matrix or in the other."""
    there = _matrix(values if like is None else like)
    return [
        value
        for row, shown in zip(_matrix(values), there, strict=True)
        for value, printed in zip(row, shown, strict=True)
        if printed is not None
    ]
