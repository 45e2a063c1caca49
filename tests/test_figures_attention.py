"""The drawings of attention as a whole: they say what the data say, and fit a phone."""

import numpy as np
import pytest
from conftest import NUMPY, STRICT

import companion
from companion.figures import Matrix, projections, softmax
from companion.figures.kit.diagrams import equations

EXAMPLE = companion.running_example(NUMPY.xp)
X, WEIGHTS = EXAMPLE.x, (EXAMPLE.w_q[0], EXAMPLE.w_k[0], EXAMPLE.w_v[0])
ROWS = (X, *companion.project_qkv(X, *WEIGHTS))
QUERY, KEY, VALUE = ROWS[1:]
TOKENS = EXAMPLE.tokens

DRAWINGS = {
    "projected_spaces": lambda put: projections.projected_spaces(
        *map(put, (X[2], *WEIGHTS)), token="cat", features=EXAMPLE.features
    ),
    "spaces_flow": lambda put: projections.spaces_flow(*map(put, (X, *WEIGHTS))),
    "roles_flow": lambda put: projections.roles_flow(*map(put, ROWS), token="cat"),
    "roles_meet": lambda put: softmax.roles_meet(*map(put, ROWS), tokens=TOKENS),
    "matrix_form": lambda put: softmax.matrix_form(*map(put, ROWS[1:]), tokens=TOKENS, row=2),
    "attention_flow": lambda put: softmax.attention_flow(*map(put, ROWS)),
    "pipeline": lambda put: softmax.pipeline(*map(put, ROWS), token="cat"),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_array_module_gives_the_same_drawing(name):
    figure, strict = DRAWINGS[name](NUMPY.asarray), DRAWINGS[name](STRICT.asarray)
    assert (figure.svg, figure.alt) == (strict.svg, strict.alt)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "projected_spaces",
            "The row of cat, x_3 (1 × 6), times W^Q (6 × 3) is the query q_3 (1 × 3); times W^K",
        ),
        ("spaces_flow", "W^K, 6 × 3, leads to queries and keys, d_k = 3. W^V, 6 × 4, leads to va"),
        ("roles_flow", "row 3, cat, 1 × 6, leads to as a query (by W^Q), as a key (by W^K)"),
        ("roles_flow", "as a value, 1 × 4, leads to all 5 outputs"),
        ("matrix_form", "times K^T (d_k, N: 3 × 5) /√d_k = scores (N, N: 5 × 5)."),
        (
            "matrix_form",
            "Then softmax of each row: W (N, N: 5 × 5) times V (N, d_v: 5 × 4)",
        ),
        ("attention_flow", "values V, 5 × 4, leads to output A = WV"),
        ("pipeline", "−1.5  4.875  2.625  −1.5  3.625, leads to divide by √d_k = 1.73."),
        ("pipeline", "0.01  0.55  0.15  0.01  0.27, leads to sum of w_3j v_j"),
    ],
)
def test_what_is_drawn_is_told_from_the_data(name, said):
    assert said in DRAWINGS[name](NUMPY.asarray).alt


def test_the_tables_of_the_matrix_form_have_the_tokens_for_names():
    entries, tokens = ("1", "2", "3", "4"), tuple(TOKENS)
    tables = DRAWINGS["matrix_form"](NUMPY.asarray).tables
    named = [(table.title, table.row_labels, table.column_labels) for table in tables]
    assert named == [
        ("Q (N, d_k)", tokens, entries[:3]),
        ("K^T (d_k, N)", entries[:3], tokens),
        ("scores (N, N)", tokens, tokens),
        ("W (N, N)", tokens, tokens),
        ("V (N, d_v)", tokens, entries),
        ("A (N, d_v)", tokens, entries),
    ]


def test_the_numbers_of_the_row_are_told_once_and_by_name():
    row, *others = DRAWINGS["projected_spaces"](NUMPY.asarray).tables
    titles = "W^Q (d, d_k)|query q_3 (1, d_k)|W^K (d, d_k)|key k_3 (1, d_k)|W^V (d, d_v)"
    assert [table.title for table in others] == [*titles.split("|"), "value v_3 (1, d_v)"]
    assert (row.title, row.row_labels) == ("cat, x_3 (1, d)", ("cat",))
    assert row.column_labels == others[0].row_labels == tuple(EXAMPLE.features)


def test_a_query_meets_every_key():
    alt = DRAWINGS["roles_meet"](NUMPY.asarray).alt
    weights = companion.softmax(companion.scaled_scores(QUERY, KEY))[2]
    for j, token in enumerate(TOKENS):
        part = alt.split(f"{token}: key ")[1].split(";")[0]
        assert f"weight {100 * weights[j]:.1f} %" in part
    assert "becomes the query (2.25, 1.5, −0.5) by W^Q" in alt
    assert alt.endswith("add up to the output (0.65, 1.03, 0.16, 0.14).")
    other = softmax.roles_meet(*ROWS, tokens=TOKENS, follow=0).alt
    assert other.startswith("The row of the, (1, 0, 0, 0, 0.5, 0)")
    with pytest.raises(ValueError, match=r"at most 4 columns, got \(3, 5\)"):
        softmax.roles_meet(X, QUERY, KEY, np.ones((5, 5)), tokens=TOKENS)


def test_the_scale_that_is_written_is_that_of_the_keys():
    one = softmax.pipeline(X, QUERY[:, :1], KEY[:, :1], VALUE, token="cat")
    assert "leads to divide by √d_k = 1.00. divide by √d_k = 1.00 leads to scores." in one.alt


def test_equations_stand_below_each_other_on_one_scale():
    narrow, wide = Matrix("$A$", (2, 2)), Matrix("$B$", (2, 12))
    two = equations((narrow, "@", wide), (narrow, "→", narrow))
    assert two.alt == "A (2 × 2) times B (2 × 12). A (2 × 2) becomes A (2 × 2)."
    with pytest.raises(ValueError, match=r"\$A\$ must have 12 rows to follow"):
        equations((narrow, "@", wide), (wide, "@", narrow))
    with pytest.raises(ValueError, match="parts must be matrices with operators between them"):
        equations((narrow,), ("=", narrow))
