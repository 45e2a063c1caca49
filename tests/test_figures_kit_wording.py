"""The alt texts: they say what the data say."""

import numpy as np
import pytest

from companion.figures import (
    Box,
    Matrix,
    batch,
    curves,
    equation,
    flow,
    heat_map,
    heat_maps,
    mask_map,
)
from companion.figures.kit import wording

TOKENS = ["the", "black", "cat", "ran", "quickly"]
CAUSAL = np.tril(np.ones((5, 5), dtype=bool))
WEIGHTS = np.array(
    [
        [0.90, 0.02, 0.04, 0.03, 0.01],
        [0.00, 1.00, 0.00, 0.00, 0.00],
        [0.10, 0.62, 0.20, 0.05, 0.03],
        [0.20, 0.20, 0.20, 0.20, 0.20],
        [0.01, 0.03, 0.30, 0.40, 0.26],
    ]
)


def test_alt_text_of_weights():
    assert heat_map(WEIGHTS, TOKENS, TOKENS, title="Weights", highlight_row=2).alt == (
        "Weights: heat map of weights with 5 rows (query) and 5 columns (key) over "
        "“the black cat ran quickly”. "
        "Row 1 (the) gives 90 % to token 1 (the); "
        "row 2 (black) gives 100 % to token 2 (black); "
        "row 3 (cat), outlined, gives 62 % to token 2 (black) and 20 % to token 3 (cat); "
        "row 4 (ran) gives 20 % to each of 5 tokens; "
        "row 5 (quickly) gives 40 % to token 4 (ran) and 30 % to token 3 (cat)."
    )


def test_alt_text_of_shares_of_something_else_than_keys():
    shares = np.array([[0.75, 0.25], [0.5, 0.5]])
    alt = heat_map(shares, ["1", "2"], ["a", "b"], title="Share", column_title="block").alt
    assert alt == (
        "Share: heat map of shares with 2 rows (query) and 2 columns (block). "
        "Row 1 (1) gives 75 % to block 1 (a) and 25 % to block 2 (b); "
        "row 2 (2) gives 50 % to each of 2 blocks."
    )


def test_alt_text_counts_by_labels_that_are_numbers():
    alt = heat_map(2 * np.eye(2), ["0", "1"], ["0", "1"], row_title="head", column_title="r").alt
    assert "Row 0 is highest at r 0, 2.00, and lowest at r 1, 0; row 1 is" in alt


def test_alt_text_of_a_row_with_nothing_to_attend_to():
    assert "row 2 attends to nothing." in heat_map(np.array([[1.0, 0.0], [0.0, 0.0]])).alt


def test_alt_text_of_one_visible_key():
    alt = heat_map(np.eye(2), visible=np.eye(2, dtype=bool)).alt
    assert "Row 1 gives 100 % to token 1; row 2 gives 100 % to token 2. 2 of 4 cells are" in alt


def test_alt_text_of_scores():
    alt = heat_map(np.array([[1.5, -2.0], [0.0, 0.0]]), ["a", "b"], ["c", "d"]).alt
    assert alt == (
        "Heat map of numbers with 2 rows (query) and 2 columns (key). "
        "Row 1 (a) is highest at key 1 (c), 1.50, and lowest at key 2 (d), −2.00; "
        "row 2 (b) is 0 throughout."
    )


def test_alt_text_leaves_what_is_not_finite_out_of_highest_and_lowest():
    alt = heat_map(np.array([[3.0, 1.5, -np.inf]])).alt
    assert "Row 1 is highest at key 1, 3.00, and lowest at key 2, 1.50." in alt


def test_alt_text_of_infinite_scores():
    alt = heat_map(np.array([[1.5, -np.inf], [-np.inf, -np.inf]])).alt
    assert "Row 1 shows one number, at key 1, 1.50; row 2 shows no number." in alt


def test_alt_text_of_a_large_map_has_the_followed_and_the_strongest_rows():
    words = "[CLS] the transformer translates surprisingly long sentences , one word more [SEP]"
    tokens = words.split()
    weights = np.full((12, 12), 1 / 12)
    weights[7] = np.eye(12)[3]
    weights[5] = 0.5 * (np.eye(12)[0] + np.eye(12)[1])
    alt = heat_map(weights, tokens, tokens, highlight_row=2).alt
    assert "Row 3 (transformer), outlined, gives 8 % to each of 12 tokens. Strongest: " in alt
    assert "Strongest: row 8 (,) gives 100 % to token 4 (translates); row 6 (long) gives" in alt
    assert "row 12" not in alt


def test_alt_text_names_hidden_cells_and_a_causal_mask():
    causal = heat_map(WEIGHTS, TOKENS, TOKENS, visible=CAUSAL).alt
    assert "10 of 25 cells are hidden, every key after its query." in causal
    one = ~np.eye(5, dtype=bool)
    assert "5 of 25 cells are hidden." in heat_map(WEIGHTS, TOKENS, TOKENS, visible=one).alt
    assert "hidden" not in heat_map(WEIGHTS, TOKENS, TOKENS).alt


def test_alt_text_of_several_maps_names_each():
    alt = heat_maps([WEIGHTS, np.eye(5)], TOKENS, TOKENS, titles=["head 1", "head 2"]).alt
    assert alt.startswith("2 heat maps of weights, each with 5 rows (query)")
    assert "head 1: Strongest: row 2 (black) gives 100 % to token 2 (black)" in alt
    assert "head 2: Strongest: row 1 (the) gives 100 % to token 1 (the)" in alt
    assert "Map 2: " in heat_maps([WEIGHTS, np.eye(5)]).alt


def test_alt_text_of_a_mask():
    visible = np.array([[1, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=bool)
    assert mask_map(visible, title="Window").alt == (
        "Window: mask with 3 rows (query) and 4 columns (key). Row 1 sees tokens 1 and 3 to 4; "
        "row 2 sees every token; row 3 sees nothing. 5 of 12 cells are hidden."
    )


def test_alt_text_of_a_large_mask_gives_examples():
    alt = mask_map(np.tril(np.ones((9, 9), dtype=bool)), highlight_row=2).alt
    assert "Row 3, outlined, sees tokens 1 to 3. For example: row 1 sees token 1; row 5" in alt


def test_alt_text_of_curves():
    x = np.array([1.0, 2.0, 4.0])
    lines = {"median": np.array([0.5, 3.0, 1.0]), "$d_k$": np.array([2.0, np.nan, 2.0])}
    bands = {"median": (lines["median"] - 0.1, lines["median"] + 0.1)}
    text = {"x_title": "width $d_k$", "y_title": "gradient", "title": "Growth"}
    assert curves(x, lines, bands=bands, references=["$d_k$"], x_log=True, **text).alt == (
        "Growth: line plot of gradient against width d_k from 1 to 4, x axis logarithmic. "
        "median, with a band of error: from 0.5 at 1 to 1 at 4, highest 3 at 2. "
        "d_k (reference): 2 throughout."
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        *[(0.0, "0"), (-0.0, "0"), (-7.0, "−7"), (16384.0, "16384"), (262144.0, "262144")],
        *[(0.125, "0.125"), (0.03125, "0.03125"), (12345.6, "12350"), (2.0 / 3.0, "0.6667")],
        *[(-4.79e-5, "−4.79·10⁻⁵"), (1.87e8, "1.87·10⁸"), (np.inf, "inf")],
    ],
)
def test_numbers_are_written_plainly(value, written):
    assert wording.plain(value) == written


def test_a_tie_is_rounded_alike_whatever_its_last_bit():
    for tie in (0.125, 2.375, -0.625):
        near = [np.nextafter(np.float32(tie), np.float32(end)) for end in (-9.0, 9.0)]
        assert len({wording.signed(value) for value in (tie, *near)}) == 1


def test_alt_text_finds_where_a_sampled_curve_turns():
    titles = {"x_title": "x", "y_title": "y"}
    x = np.linspace(-4.0, 3.0, 141)
    assert curves(x, {"SiLU": x / (1.0 + np.exp(-x))}, **titles).alt.endswith(
        "lowest −0.278 at −1.28."
    )
    x = 2.0 ** np.linspace(-3.0, 3.0, 40)
    bell = {"bell": np.exp(-(np.log(x / 1.3) ** 2))}
    assert "highest 1 at 1.3." in curves(x, bell, x_log=True, **titles).alt


def test_alt_text_of_measured_points_names_one_of_them():
    titles = {"x_title": "x", "y_title": "y"}
    x = np.arange(5.0)
    y = np.array([0.0, 3.0, 2.9, 0.0, 0.0])
    for few in (x, 0.5 * x):
        assert f"highest 3 at {few[1]:g}." in curves(few, {"y": y}, **titles).alt
    many = np.arange(20.0)
    y = np.where(many == 4.0, 3.0, np.where(many == 5.0, 2.9, 0.0))
    assert "highest 3 at 4." in curves(many, {"y": y}, **titles).alt


def test_alt_text_of_an_equation():
    x = Matrix("$X$", (5, 6), "(N, d)", row_labels=TOKENS, highlight_row=2)
    q = Matrix("$Q$", (5, 3), highlight_row=2)
    assert equation(x, "@", Matrix("$W^Q$", (6, 3)), "=", q).alt == (
        "X (N, d: 5 × 6) times W^Q (6 × 3) equals Q (5 × 3). The rows are the, black, cat, ran, "
        "quickly. Highlighted: row 3 (cat) of X, row 3 of Q."
    )
    keys = Matrix(r"$K^\top$", (3, 5), column_labels=TOKENS, highlight_column=1)
    assert equation(keys, title="Keys").alt == (
        "Keys: K^T (3 × 5). Highlighted: column 2 (black) of K^T."
    )


def test_alt_text_of_a_flow():
    rows = [
        [Box("x", "input row $x_i$", "(d,)")],
        [Box("q", "query"), Box("k", "key"), Box("v", "value")],
        [Box("s", r"divide by $\sqrt{d_k}$")],
    ]
    arrows = [*[("x", name, f"$W^{name.upper()}$") for name in "qkv"], ("q", "s"), ("k", "s")]
    assert flow(rows, arrows, title="One head").alt == (
        "One head: flow diagram. input row x_i, (d,), leads to query (by W^Q), key (by W^K) and "
        "value (by W^V). query leads to divide by √d_k. key leads to divide by √d_k."
    )


def test_alt_text_of_a_batch():
    assert batch([["a", "b"], ["c"]], length=3, title="Padded").alt == (
        "Padded: 2 sentences as rows of tokens. Row 1: a b, then 1 padding place. "
        "Row 2: c, then 2 padding places."
    )
