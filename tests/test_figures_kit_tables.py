"""The tables beside the drawings: every matrix has one, and its numbers are the data's."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter

from companion.figures import (
    Matrix,
    curves,
    encoder,
    equation,
    heads,
    heat_map,
    heat_maps,
    mask_map,
    masks,
)
from companion.figures.kit.figure import TABLES
from companion.figures.kit.tables import MOST_NUMBERS, by_head

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
TOKENS = ["the", "black", "cat", "ran", "quickly"]
SCORES = 3.0 * np.sin(np.arange(25.0)).reshape(5, 5)
CAUSAL = np.tri(5, dtype=bool)

#: Figures in the notebooks that draw no matrix, or a curve of more points than a table is good for.
WITHOUT = {
    *[
        "fig-roles-flow",
        "fig-spaces-flow",
        "fig-attention-flow",
        "fig-pipeline",
        "fig-next-steps",
        "fig-over-the-bus",
    ],
    *["fig-encoder-steps", "fig-norm-placements", "fig-heads-split-merge", "fig-two-clocks"],
    *["fig-packing-batch", "fig-number-formats", "fig-tile-sweep", "fig-causal-tiles"],
    "fig-merge-flow",
    *["fig-core-schedule", "fig-activations", "fig-gelu-difference"],
    # Their alt text says all their numbers.
    *["fig-three-roles", "fig-scores-geometry", "fig-softmax-hull", "fig-feed-forward-row"],
}


def numbers(table):
    return np.array(
        [[float(n.replace("−", "-").replace("∞", "inf")) for n in row] for row in table.rows]
    )


def stored_figures():
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                if "image/svg+xml" in output.get("data", {}):
                    yield cell.metadata.mystnb.figure.name, output.data


def test_the_numbers_of_a_heat_map_are_the_datas():
    (table,) = heat_map(SCORES, TOKENS, TOKENS, title="Scores").tables
    assert (table.title, table.row_title, table.column_title) == ("Scores", "query", "key")
    assert table.row_labels == table.column_labels == tuple(TOKENS)
    np.testing.assert_allclose(numbers(table), SCORES, rtol=0, atol=0.00501)
    fine = heat_map(SCORES, decimals=4, annotate=False).tables[0]
    np.testing.assert_allclose(numbers(fine), SCORES, rtol=0, atol=0.0000501)


def test_numbers_are_written_as_the_drawing_writes_them():
    figure = heat_map(np.array([[0.0, -1e-9, 0.125], [-np.inf, np.nan, -2.0]]))
    (table,) = figure.tables
    assert table.rows == (("0", "0.00", "0.12"), ("−∞", "NaN", "−2.00"))
    written = set(re.findall(r"<!-- (.*?) -->", figure.svg)) - {"query ↓", "key →"}
    assert written == {number for row in table.rows for number in row}


def test_each_map_has_its_own_table():
    one, two = heat_maps([SCORES, SCORES.T], titles=["one", "two"]).tables
    assert (one.title, two.title) == ("one", "two")
    np.testing.assert_allclose(numbers(two), SCORES.T, rtol=0, atol=0.00501)
    assert [table.title for table in heat_maps([SCORES, SCORES]).tables] == [
        "numbers of map 1",
        "numbers of map 2",
    ]


def test_what_a_mask_hides_is_in_no_table():
    (table,) = heat_map(SCORES, visible=CAUSAL).tables
    assert "left empty" in table.title
    assert [[n != "" for n in row] for row in table.rows] == CAUSAL.tolist()


def test_a_word_that_comes_twice_is_told_with_its_place():
    (table,) = heat_map(np.eye(3), ["the", "cat", "the"], ["a", "$5", "c"]).tables
    assert table.row_labels == ("the (1)", "cat (2)", "the (3)")
    assert table.column_labels == ("a", "$5", "c")


def test_a_large_map_is_told_by_the_ends_of_its_rows():
    length = int(MOST_NUMBERS**0.5) + 1
    values = np.sin(np.arange(length**2)).reshape(length, length)
    (table,) = heat_map(values, visible=np.tri(length, k=-1, dtype=bool)).tables
    assert table.column_labels == ("highest", "at key", "lowest", "at key")
    assert table.rows[0] == ("", "", "", "")
    seen = values[-1, :-1]
    high, at, low, where = (float(n.replace("−", "-")) for n in table.rows[-1])
    assert (high, low) == pytest.approx((seen.max(), seen.min()), abs=0.00501)
    assert (seen[int(at) - 1], seen[int(where) - 1]) == pytest.approx((high, low), abs=0.00501)


def test_a_mask_is_ones_and_zeros():
    (table,) = mask_map(CAUSAL, TOKENS, TOKENS, title="Causal").tables
    assert table.title == "Causal (1 = may attend)"
    np.testing.assert_array_equal(numbers(table), CAUSAL)
    gallery = masks.mask_gallery({"causal": CAUSAL, "none": CAUSAL | True}, highlight_row=2)
    np.testing.assert_array_equal(numbers(gallery.tables[0]), CAUSAL)
    np.testing.assert_array_equal(numbers(gallery.tables[1]), np.ones((5, 5)))
    first, second = (table.title for table in gallery.tables)
    assert first == "causal (1 = may attend)"
    assert second == "none"


def test_a_product_has_a_table_for_each_matrix_with_numbers():
    q = SCORES[:, :2]
    figure = equation(
        Matrix("$Q$", q.shape, "(N, $d_k$)", row_labels=TOKENS, values=q),
        "@",
        Matrix("$W$", (2, 3)),
    )
    (table,) = figure.tables
    assert (table.title, table.row_labels) == ("Q (N, d_k)", tuple(TOKENS))
    np.testing.assert_allclose(numbers(table), q, rtol=0, atol=0.00501)


def test_curves_of_few_points_have_a_table():
    x, lines = np.array([1.0, 512.0]), {"$N^2$": np.array([0.12345, np.nan])}
    titles = {"x_title": "$N$", "y_title": "time"}
    (table,) = curves(x, lines, **titles).tables
    assert (table.row_labels, table.column_labels) == (("1", "512"), ("N^2",))
    assert table.rows == (("0.123",), ("",))
    written = {1.004: "1.00", -0.0123: "−0.0123", 12534.0: "12500", 3.41e6: "3.41·10⁶", 0.0: "0"}
    (table,) = curves(np.arange(5.0), {"y": np.array(list(written))}, **titles).tables
    assert [number for (number,) in table.rows] == list(written.values())
    (table,) = curves(np.arange(2.0), {"y": np.array([4096.0, 3e5])}, **titles).tables
    assert table.rows == (("4096",), ("300000",))
    many = np.arange(50.0)
    assert curves(many, {"y": many}, **titles).tables == ()


def test_other_words_leave_the_tables_as_they_are():
    weights = np.full((2, 3, 3), 1 / 3)
    assert [table.title for table in heads.head_gallery(weights, "abc", layer=2).tables] == [
        "2.0",
        "2.1",
    ]
    first, back = encoder.all_heads(weights[None], "abc").tables
    assert first.rows == back.rows == (("0.33", "0.33"),)


def test_layers_may_have_heads_of_their_own_number():
    table = by_head({"layer 0": np.array([0.5, 0.25]), "layer 2": np.array([1.0])}, "share")
    assert (table.row_labels, table.column_labels) == (("layer 0", "layer 2"), ("0", "1"))
    assert table.rows == (("0.50", "0.25"), ("1.00", ""))


def test_a_notebook_stores_the_tables_beside_the_drawing():
    figure = heat_map(np.eye(2), ["a", "b"])
    formats, _ = DisplayFormatter().format(figure)
    assert formats[TABLES] == {
        "tables": [
            {
                "title": "weights",
                "rows": "query",
                "columns": "key",
                "lines": ["\t1\t2", "a\t1.00\t0", "b\t0\t1.00"],
            }
        ]
    }


def test_every_matrix_in_the_notebooks_has_its_table():
    names = {name: TABLES in data for name, data in stored_figures()}
    assert len(names) > 60
    assert {name for name, has in names.items() if not has} == WITHOUT


def test_what_a_stored_heat_map_writes_is_in_its_table():
    checked = 0
    for name, data in stored_figures():
        if re.match(r"(([^.]*: )?heat map|\d+ heat maps|matrix product)", data["text/plain"], re.I):
            lines = [line for table in data[TABLES]["tables"] for line in table["lines"]]
            told = {text for line in lines for text in line.split("\t")}
            written = re.findall(r"<!-- (−?\d+\.\d\d?|−∞) -->", data["image/svg+xml"])
            checked += len(written)
            assert set(written) <= told, name
    assert checked > 500
