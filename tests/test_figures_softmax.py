"""The drawings of the chapter on softmax: they say what the data say."""

import re

import numpy as np
import pytest

import companion
from companion.figures import softmax
from tests.support.homes import NUMPY, STRICT

EXAMPLE = companion.running_example(NUMPY.xp)
X, WEIGHTS = EXAMPLE.x, (EXAMPLE.w_q[0], EXAMPLE.w_k[0], EXAMPLE.w_v[0])
ROWS = (X, *companion.project_qkv(X, *WEIGHTS))
QUERY, KEY, VALUE = ROWS[1:]
SCORES = companion.scaled_scores(QUERY, KEY)
TOKENS = EXAMPLE.tokens

DRAWINGS = {
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


def test_a_query_meets_every_key():
    alt = DRAWINGS["roles_meet"](NUMPY.asarray).alt
    weights = companion.softmax(SCORES)[2]
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


def test_the_drawing_of_a_mixture_says_every_weight():
    alt = softmax.mixture(TOKENS, SCORES, companion.softmax(SCORES), VALUE).alt
    assert "black: score 2.81, weight 55.3 %, value (1, 1, 0, 0.5)" in alt
    assert alt.endswith("give (0.65, 1.03, 0.16, 0.14).")
    with pytest.raises(ValueError, match=r"at most 4 columns, got shape \(5, 8\)"):
        softmax.mixture(TOKENS, SCORES, companion.softmax(SCORES), np.hstack([VALUE, VALUE]))


def test_equal_scores_share_a_curve():
    betas = np.asarray([0.5, 1.0, 2.0])
    drawn = softmax.sharpening(np.asarray([1.0, 2.0, 1.0]), ("a", "b", "c"), betas)
    assert "a, c: from 0.274 at 0.5 to 0.107 at 2" in drawn.alt


def test_the_table_of_a_sharpened_row_has_every_third_factor():
    betas = np.asarray([2.0**k for k in range(-3, 4)])
    (numbers,) = softmax.sharpening(np.zeros(2), ("a", "b"), betas).tables
    assert numbers.row_labels == ("0.125", "1", "8")
    assert numbers.rows == (("0.500",),) * 3


def test_the_drawing_of_the_hull_names_its_corners():
    alt = softmax.mixtures_in_hull(VALUE[:, :2], SCORES, TOKENS).alt
    assert "Corners of their convex hull: the, black, cat, quickly." in alt
    assert "from (0.65, 0.65), the mean of the values, at β = 0 through (0.65, 1.03)" in alt
    assert alt.endswith("to (1.00, 1.00) for large β.")


def written(figure):
    return re.findall(r"<!-- (.*?) -->", figure.svg)


def test_the_drawing_of_the_hull_names_every_output():
    names = written(softmax.mixtures_in_hull(VALUE[:, :2], SCORES, TOKENS))
    assert {name: names.count(name) for name in TOKENS} == dict.fromkeys(TOKENS, 2) | {"cat": 1}
    assert names.count("cat, β = 1") == names.count("β = 0") == 1


def test_the_drawing_of_gradients_tells_median_from_mean():
    sizes = np.asarray([[1.0, 1.0, 1.6], [2.0, 2.0, 3.2]])
    alt = softmax.gradient_sizes(np.asarray([1, 4]), sizes, sizes / 2, y_title="size").alt
    assert "without scale, median: from 1 at 1 to 2 at 4" in alt
    assert "with scale, mean, with a band of error: from 0.6 at 1 to 1.2 at 4" in alt


@pytest.mark.parametrize("smallest", [2e-5, 7e-4])
def test_both_drawings_of_gradients_write_their_sizes_alike(smallest):
    sizes = np.asarray([[smallest, smallest], [1.5, 1.5]])
    figure = softmax.gradient_sizes(np.asarray([1, 4]), sizes, sizes, y_title="size")
    assert {"1", "10⁻¹", "10⁻²", "10⁻³", "10⁻⁴"} <= set(written(figure))
