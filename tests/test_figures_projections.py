"""The drawings of the chapter on queries, keys and values: they say what the data say."""

import numpy as np
import pytest

import companion
from companion.figures import projections
from tests.support.homes import NUMPY, STRICT

EXAMPLE = companion.running_example(NUMPY.xp)
X, WEIGHTS = EXAMPLE.x, (EXAMPLE.w_q[0], EXAMPLE.w_k[0], EXAMPLE.w_v[0])
ROWS = (X, *companion.project_qkv(X, *WEIGHTS))

DRAWINGS = {
    "projected_spaces": lambda put: projections.projected_spaces(
        *map(put, (X[2], *WEIGHTS)), token="cat", features=EXAMPLE.features
    ),
    "spaces_flow": lambda put: projections.spaces_flow(*map(put, (X, *WEIGHTS))),
    "roles_flow": lambda put: projections.roles_flow(*map(put, ROWS), token="cat"),
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
    ],
)
def test_what_is_drawn_is_told_from_the_data(name, said):
    assert said in DRAWINGS[name](NUMPY.asarray).alt


def test_the_numbers_of_the_row_are_told_once_and_by_name():
    row, *others = DRAWINGS["projected_spaces"](NUMPY.asarray).tables
    titles = "W^Q (d, d_k)|query q_3 (1, d_k)|W^K (d, d_k)|key k_3 (1, d_k)|W^V (d, d_v)"
    assert [table.title for table in others] == [*titles.split("|"), "value v_3 (1, d_v)"]
    assert (row.title, row.row_labels) == ("cat, x_3 (1, d)", ("cat",))
    assert row.column_labels == others[0].row_labels == tuple(EXAMPLE.features)


def test_three_roles_are_drawn_and_told_from_the_data():
    rows = ROWS[1:]
    vectors = [X[2], *(row[2] for row in rows)]
    labels = {"token": "cat", "features": EXAMPLE.features}
    figure = projections.three_roles(*vectors, **labels)
    assert "the row of cat, x, is article 0, modifier 0, noun 1.5" in figure.alt.lower()
    assert "query, what I look for, has 3 entries, 2.25 1.5 −0.5, and meets every key" in figure.alt
    assert "value, what I hand over, has 4 entries, 0.5 0 1.5 0" in figure.alt
    assert (
        projections.three_roles(*(STRICT.asarray(v) for v in vectors), **labels).svg == figure.svg
    )
    with pytest.raises(ValueError, match="features must be 6, one for each entry, got 2"):
        projections.three_roles(*vectors, token="cat", features=["a", "b"])
    with pytest.raises(ValueError, match=r"key must be a vector that is not empty, got shape \(5,"):
        projections.three_roles(vectors[0], vectors[1], rows[1], vectors[3], **labels)


def test_a_product_is_drawn_and_told_from_the_data():
    labels = {"tokens": EXAMPLE.tokens, "features": EXAMPLE.features}
    figure = projections.matrix_product(X, WEIGHTS[0], **labels, row=4, column=0)
    assert "Row 5 (quickly) of Q is 1.25 −0.75 1.5" in figure.alt
    assert "1.25, is the row's x against column 1 of W^Q: 1 times 0.5 plus 0.5 times 1.5" in (
        figure.alt
    )
    zero = projections.matrix_product(X, 0 * WEIGHTS[0], **labels, row=0, column=0)
    assert "all terms are 0" in zero.alt
    with pytest.raises(ValueError, match=r"must be \(N, d\) and \(d, d_k\), got shapes"):
        projections.matrix_product(X, WEIGHTS[0].T, **labels, row=0, column=0)
    with pytest.raises(ValueError, match=r"as many as x has, \(5, 6\), got \(1, 6\)"):
        projections.matrix_product(
            X, WEIGHTS[0], tokens=["a"], features=EXAMPLE.features, row=0, column=0
        )
    with pytest.raises(ValueError, match=r"inside the product \(5, 3\), got 5, 0"):
        projections.matrix_product(X, WEIGHTS[0], **labels, row=5, column=0)


def test_asymmetry_is_drawn_and_told_from_the_data():
    shares = {"layer 0": np.asarray([0.6, 0.6, 0.605]), "layer 1": np.asarray([0.3, 0.7])}
    figure = projections.asymmetry(shares, random=(0.704, 0.709), followed=("layer 1", 0))
    assert "The 3 heads of layer 0 lie from 0.60 to 0.60" in figure.alt
    assert "Head 0 of layer 1 has 0.30" in figure.alt
    assert figure.alt.endswith("Random matrices lie from 0.704 to 0.709.")
    with pytest.raises(ValueError, match=r"shares\['layer 0'\] must lie in \[0, 1\]"):
        projections.asymmetry(
            {"layer 0": np.asarray([1.2])}, random=(0.7, 0.7), followed=("layer 0", 0)
        )
