"""The audit of the source notes has a row for every item, and each row says what it must."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from book import claims
from book._extensions import source_audit as audit

ROOT = Path(__file__).parent.parent
ROWS = {
    row["id"]: row
    for row in yaml.safe_load((ROOT / "book/source_audit.yml").read_text(encoding="utf-8"))["rows"]
}

# What the five notes hold: numerical examples (E), statements (S), observations (O), drawings (F).
COUNTS = {
    "000": {"E": 4, "S": 5, "F": 1},
    "001": {"S": 17, "F": 9},
    "002": {"E": 4, "S": 8},
    "003": {"E": 2, "S": 8, "O": 1},
    "004": {"E": 4, "S": 10},
}
IDS = [
    f"{note}-{kind}{i}"
    for note, kinds in COUNTS.items()
    for kind, count in kinds.items()
    for i in range(1, count + 1)
]
ALLOWED = {
    "E": {"confirmed", "corrected", "computed"},
    "S": {"confirmed", "refined", "refuted"},
    "O": {"confirmed", "refined", "refuted"},
    "F": {"drawn"},
}
FIELDS = ("id", "note", "verdict", "statement", "why", "chapter", "tests")
OPTIONAL = ("inputs", "printed", "computed", "counterexample", "figure", "status")


# The rows


def test_every_item_of_the_notes_has_its_row():
    assert len(IDS) == 73
    assert sorted(ROWS) == sorted(IDS)
    text = (ROOT / "book/source_audit.yml").read_text(encoding="utf-8")
    assert len(yaml.safe_load(text)["rows"]) == 73


@pytest.mark.parametrize("identifier", IDS)
def test_a_row_is_complete(identifier):
    row, kind = ROWS[identifier], identifier[4]
    assert set(FIELDS) <= set(row) <= {*FIELDS, *OPTIONAL}
    assert identifier.startswith(f"{row['note']}-")
    assert row["verdict"] in ALLOWED[kind]
    assert row["statement"]
    assert row["why"]
    assert ("inputs" in row and "computed" in row) == (kind == "E")
    assert ("printed" in row) == (kind == "E" and row["note"] != "004")
    assert ("counterexample" in row) == (row["verdict"] in ("refined", "refuted"))
    assert ("figure" in row) == (kind == "F")
    assert row["tests"]


def test_at_most_three_rows_wait_for_a_chapter():
    states = [row["status"] for row in ROWS.values() if "status" in row]
    assert set(states) <= {"open"}
    assert len(states) <= 3


def test_every_chapter_figure_and_label_is_in_the_book():
    names = {definition.name for definition in claims.definitions(ROOT)}
    for row in ROWS.values():
        if row.get("status") != "open":
            assert row["chapter"] in names
        assert row.get("figure", row["chapter"]) in names or "status" in row
        text = " ".join([row["statement"], row["why"], row.get("counterexample", "")])
        assert set(claims.PAGE_ROLE.findall(text)) <= names


def test_every_test_is_there():
    named = {test.partition("[")[0] for row in ROWS.values() for test in row["tests"]}
    there = set()
    for path in {test.partition("::")[0] for test in named}:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        there |= {f"{path}::{n.name}" for n in tree.body if isinstance(n, ast.FunctionDef)}
    assert named <= there


def test_a_verdict_on_numbers_follows_from_the_numbers():
    for identifier, row in ROWS.items():
        if "printed" in row:
            assert row["printed"].keys() <= row["computed"].keys()
            wrong = [audit.differs(v, row["computed"][n]) for n, v in row["printed"].items()]
            assert row["verdict"] == ("corrected" if any(wrong) else "confirmed"), identifier


# The page


@pytest.mark.parametrize(
    ("printed", "computed", "expected"),
    [
        ("0.35", "0.40", "≠0.<mark>40</mark>"),
        ("1.26", "0.90", "≠<mark>0.90</mark>"),
        ("0.13", "0.13", "0.13"),
        ("1.4", "11.4", "≠<mark>11.4</mark>"),
        ("−0.1", "0.1", "≠<mark>0.1</mark>"),
        ("1.13e−05", "1.13e−02", "≠<mark>1.13e−02</mark>"),
        ("·", "−∞", "−∞"),
    ],
)
def test_digits_are_marked_from_the_first_that_differs(printed, computed, expected):
    assert audit.compared(computed, printed, "≠") == expected


def test_numbers_are_rounded_like_the_printed_ones():
    assert audit.number_format([[1.4, 1.54], [0, None]]) == ".2f"
    assert audit.number_format([[1.23903002e-15, 0.5]]) == ".8e"
    assert not audit.differs([[0.4, None]], [[0.4013, 9.0]])
    assert audit.differs([[0.4, 0.35]], [[0.4013, 0.3613]])
    assert audit.number(-0.0, ".2f") == "0.00"


@pytest.mark.parametrize("identifier", IDS)
def test_a_row_says_on_the_page_what_it_says_in_the_file(identifier):
    row = ROWS[identifier]
    linked = "\n\n".join(audit.row_text(row))
    text = re.sub(r'<a [^>]+href="#audit-[\w-]+">([\w-]+)</a>', r"\1", linked)
    words = [identifier, row["verdict"], row["statement"], row["why"], row["chapter"]]
    words += [row.get("counterexample", ""), row.get("figure", "")]
    assert all(word in text for word in words)
    assert all(test.partition("::")[2] in text for test in row["tests"])
    assert all(f"{audit.caption(name)}, printed" in text for name in row.get("printed", {}))
    assert ("<mark>" in text) == (row["verdict"] == "corrected" and "printed" in row)
    assert ("≠" in text) == (row["verdict"] == "corrected")


def test_a_name_of_a_row_leads_to_the_row():
    known = {audit.anchor(identifier) for identifier in IDS}
    for row in ROWS.values():
        text = " ".join([row["statement"], row["why"], row.get("counterexample", "")])
        places = re.findall(r'href="#([\w-]+)"', audit.linked(text))
        assert len(places) == len(re.findall(r"00\d-", text))
        assert set(places) <= known


def test_names_of_two_words_are_captions_of_two_words():
    assert audit.caption("weights_unscaled") == "weights unscaled"
    assert audit.caption("W_Q") == "W_Q"


def test_the_summary_counts_every_row():
    (table,) = audit.summary_text(list(ROWS.values()))
    for verdict in audit.VERDICTS:
        count = sum(row["verdict"] == verdict for row in ROWS.values())
        assert f"{verdict} | {count} |" in table
    assert all(f'href="#audit-{identifier.lower()}"' in table for identifier in IDS)
    assert "| all | 73 |" in table
