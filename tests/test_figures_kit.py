"""The drawing kit: the same bytes for the same data, alt text from the data, legible everywhere."""

import math
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter

from companion.figures import (
    Box,
    Canvas,
    Figure,
    Matrix,
    batch,
    curves,
    equation,
    flow,
    heat_map,
    heat_maps,
    mask_map,
    style,
)
from companion.figures.kit import figure as figure_module
from companion.figures.kit import palette, plots
from companion.figures.kit.axis import choose_axis, tick_texts
from companion.figures.kit.canvas import _broken, text_size
from companion.figures.kit.diagrams import equations
from companion.figures.kit.titles import draw_title

TOKENS = ["the", "black", "cat", "ran", "quickly"]
LONG = [
    *["[CLS]", "the", "transformer", "translates", "unbelievably", "long", "sentences", ","],
    *["one", "##wise", "word", "[SEP]"],
]
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
SCORES = 3.0 * np.sin(np.arange(25.0)).reshape(5, 5)


def wide_weights() -> np.ndarray:
    scores = 4.0 * np.sin(np.arange(144.0) ** 1.5).reshape(12, 12)
    weights = np.exp(scores)
    return weights / weights.sum(axis=1, keepdims=True)


def pipeline() -> Figure:
    rows = [
        [Box("x", "input row $x_i$", "(d,)", highlight=True)],
        [Box("q", "query"), Box("k", "keys", "(N, $d_k$)"), Box("v", "values", "(N, $d_v$)")],
        [Box("s", r"divide by $\sqrt{d_k}$", operation=True, column=0.5)],
        [Box("m", "softmax", operation=True, column=0.5)],
        [Box("o", "sum", column=0.5), Box("n", "next", column=2.0)],
    ]
    arrows = [
        *[("x", name, f"$W^{name.upper()}$") for name in "qkv"],
        *[("q", "s"), ("k", "s"), ("s", "m"), ("m", "o", "weights"), ("v", "o"), ("o", "n", "out")],
    ]
    return flow(rows, arrows, title="One head")


def product() -> Figure:
    x = Matrix("$X$", (5, 6), "(N, d)", row_labels=TOKENS, highlight_row=2)
    return equation(x, "@", Matrix("$W^Q$", (6, 3)), "=", Matrix("$Q$", (5, 3), highlight_row=2))


def numbered_product() -> Figure:
    q, k = np.arange(15).reshape(5, 3) % 4 - 1, np.arange(15).reshape(5, 3) % 3 - 1
    return equation(
        Matrix("$Q$", (5, 3), row_labels=TOKENS, values=q, decimals=0),
        "@",
        Matrix(
            r"$K^\top$", (3, 5), column_labels=TOKENS, values=k.T, decimals=0, highlight_column=1
        ),
        "=",
        Matrix("scores", (5, 5), column_labels=TOKENS, values=q @ k.T, decimals=0),
        title="All pairs at once",
    )


def gradients() -> Figure:
    x = 2.0 ** np.arange(11)
    decay = np.exp(-x / 60)
    return curves(
        x,
        {"scaled": 0.2 + 0 * x, "unscaled, median": decay, "theory": 0.21 + 0 * x, "mean": 1 / x},
        x_title="head width $d_k$",
        y_title="gradient",
        title="Saturation",
        x_log=True,
        y_log=True,
        bands={"unscaled, median": (0.8 * decay, 1.2 * decay)},
        references=["theory"],
    )


FIGURES = {
    "weights": lambda: heat_map(WEIGHTS, TOKENS, TOKENS, title="Weights", highlight_row=2),
    "scores": lambda: heat_map(SCORES, TOKENS, TOKENS),
    "wide": lambda: heat_map(wide_weights(), LONG, LONG, highlight_row=2),
    "causal": lambda: heat_map(WEIGHTS, TOKENS, TOKENS, visible=CAUSAL),
    "minus infinity": lambda: heat_map(np.where(CAUSAL, SCORES, -np.inf), TOKENS, TOKENS),
    "pair": lambda: heat_maps([WEIGHTS, WEIGHTS.T], TOKENS, TOKENS, titles=["one", "two"]),
    "heads": lambda: heat_maps([wide_weights()] * 6, LONG, LONG, columns=3),
    "masked heads": lambda: heat_maps(
        [np.tril(np.full((30, 30), 0.5))] * 2, visible=np.tril(np.ones((30, 30), dtype=bool))
    ),
    "mask": lambda: mask_map(CAUSAL, TOKENS, TOKENS, title="Causal mask"),
    "curves": gradients,
    "product": product,
    "numbered product": numbered_product,
    "large product": lambda: equation(Matrix("$X$", (5, 512)), "@", Matrix("$W$", (512, 64))),
    "ragged": lambda: batch([TOKENS, ["a", "dog"]], highlight=(0, 2)),
    "padded": lambda: batch([TOKENS, ["a", "dog"]], length=5, title="Padded"),
    "flow": pipeline,
}


@pytest.fixture(params=FIGURES.values(), ids=FIGURES.keys())
def draw(request):
    return request.param


Box4 = tuple[float, float, float, float]


@dataclass(frozen=True)
class Drawn:
    """A figure, the texts it writes level, where they lie, and the whole drawing's bounds."""

    figure: Figure
    writings: list[tuple[str, float, Box4]]
    bounds: Box4


@cache
def drawn(draw) -> Drawn:
    writings, bounds = [], []
    write, finish = Canvas.text, Canvas.finish

    def spy_text(self, x, y, text, *, size=11.0, align="center", bold=False, angle=0.0, **look):
        write(self, x, y, text, size=size, align=align, bold=bold, angle=angle, **look)
        if angle == 0.0:
            width = text_size(text, size, bold=bold)[0]
            left = x - {"left": 0.0, "center": width / 2, "right": width}[align]
            writings.append((text, size, (left, y - size / 2, left + width, y + size / 2)))

    def spy_finish(self, alt, tables=()):
        bounds.append(self.bounds)
        return finish(self, alt, tables)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Canvas, "text", spy_text)
        patch.setattr(Canvas, "finish", spy_finish)
        figure = draw()
    return Drawn(figure, writings, bounds[0])


def overlap(a: Box4, b: Box4) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


# --- what every figure is


def test_the_same_data_give_the_same_bytes_whatever_the_sessions_settings(draw):
    expected = drawn(draw).figure.svg
    own = {"font.size": 30.0, "text.color": "red", "text.parse_math": False}
    own |= {"font.family": "serif", "mathtext.fontset": "cm", "svg.fonttype": "none"}
    with matplotlib.rc_context({**own, "path.sketch": (9, 9, 9)}):
        before = dict(matplotlib.rcParams)
        assert draw().svg == expected
        assert dict(matplotlib.rcParams) == before


def test_bytes_do_not_depend_on_the_process():
    code = (
        "from companion.figures import heat_map; import numpy as np;"
        "print(heat_map(np.eye(3), list('abc'), list('abc')).svg, end='')"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "SOURCE_DATE_EPOCH": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert runs == {heat_map(np.eye(3), list("abc"), list("abc")).svg.encode()}


def test_other_data_give_other_bytes_and_another_alt_text():
    changed = WEIGHTS.copy()
    changed[2, :2] = changed[2, 1::-1]
    first, second = (heat_map(w, TOKENS, TOKENS) for w in (WEIGHTS, changed))
    assert first.svg != second.svg
    assert first.alt != second.alt


def test_svg_is_narrow_self_contained_and_without_fonts(draw):
    svg = drawn(draw).figure.svg
    width = float(re.match(r'<svg[^>]* width="([\d.]+)pt"', svg)[1])
    assert width <= 5.2 * 72
    assert "<text" not in svg
    assert "<image" not in svg
    assert "dc:date" not in svg
    outside = set(re.findall(r"https?://[^\"' >]+", svg))
    assert outside <= {
        "http://www.w3.org/1999/xlink",
        "http://www.w3.org/2000/svg",
    }


@pytest.mark.parametrize("kind", ["weights", "causal", "curves", "numbered product", "flow"])
def test_rounding_moves_nothing_that_an_eye_could_see(kind, monkeypatch):
    rounded = FIGURES[kind]().svg
    monkeypatch.setattr(figure_module, "_rounded", lambda svg: svg)
    exact = FIGURES[kind]().svg
    assert len(rounded) < len(exact)
    places = {"d", "x", "y", "width", "height", "viewBox"}
    for before, after in zip(
        *(ElementTree.fromstring(s).iter() for s in (exact, rounded)), strict=True
    ):
        assert (before.tag, before.text, set(before.attrib)) == (
            after.tag,
            after.text,
            set(after.attrib),
        )
        for name, value in before.attrib.items():
            if name == "transform":
                shift = r"translate\([^)]*\)"
                assert re.sub(shift, "", value) == re.sub(shift, "", after.get(name))
            elif name not in places:
                assert value == after.get(name)
            compared = [re.findall(r"-?[\d.]+|[^-\d.]+", text) for text in (value, after.get(name))]
            for one, other in zip(*compared, strict=True):
                assert one == other or float(one) == pytest.approx(float(other), abs=0.00501)


def test_background_is_transparent(draw):
    first_path = re.search(r'<path d="[^"]*"[^>]*style="([^"]*)"', drawn(draw).figure.svg)[1]
    assert first_path == "fill: none"


def test_level_texts_are_large_enough_and_do_not_overlap(draw):
    writings = drawn(draw).writings
    assert min(size for _, size, _ in writings) >= 10.0
    clashes = [(a[0], b[0]) for a, b in combinations(writings, 2) if overlap(a[2], b[2])]
    assert clashes == []


def test_nothing_is_cut_off(draw):
    x0, y0, x1, y1 = drawn(draw).bounds
    for text, _, (left, top, right, bottom) in drawn(draw).writings:
        assert x0 <= left + 0.01, text
        assert right <= x1 + 0.01, text
        assert y0 <= top + 2.0, text
        assert bottom <= y1 + 2.0, text


def test_drawing_is_as_large_as_its_marks_and_a_margin(draw):
    x0, y0, x1, y1 = drawn(draw).bounds
    size = re.match(r'<svg[^>]* width="([\d.]+)pt" height="([\d.]+)pt"', drawn(draw).figure.svg)
    assert float(size[1]) == pytest.approx(x1 - x0 + 4.0, abs=0.006)
    assert float(size[2]) == pytest.approx(y1 - y0 + 4.0, abs=0.006)


def test_settings_are_back_after_an_error():
    before = dict(matplotlib.rcParams)

    @style()
    def fail():
        raise RuntimeError(matplotlib.rcParams["figure.facecolor"])

    with pytest.raises(RuntimeError, match=r"^none$"):
        fail()
    assert dict(matplotlib.rcParams) == before


def test_matplotlib_is_imported_when_drawing_and_pyplot_never():
    code = (
        "import sys, companion, companion.figures;"
        "assert 'matplotlib' not in sys.modules;"
        "import numpy; companion.figures.heat_map(numpy.eye(2));"
        "assert 'matplotlib' in sys.modules;"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_notebook_shows_the_drawing_and_stores_the_alt_text():
    figure = Figure("<svg/>", "what it shows")
    formats, _ = DisplayFormatter().format(figure)
    assert formats == {"image/svg+xml": "<svg/>", "text/plain": "what it shows"}
    assert repr(figure) == "what it shows"


def test_save_writes_the_drawing(tmp_path):
    FIGURES["padded"]().save(tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").read_text(encoding="utf-8") == FIGURES["padded"]().svg


def test_arrays_of_every_module_are_drawn(home):
    expected = heat_map(WEIGHTS, TOKENS, TOKENS, visible=CAUSAL)
    drawn = heat_map(home.asarray(WEIGHTS), TOKENS, TOKENS, visible=home.asarray(CAUSAL))
    assert drawn == expected
    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    titles = {"x_title": "x", "y_title": "y"}
    assert curves(home.asarray(x), {"y": home.asarray(y)}, **titles) == curves(
        x, {"y": y}, **titles
    )


def test_the_last_bit_of_a_device_does_not_reach_the_figure():
    nudged = np.where(WEIGHTS > 0, np.nextafter(WEIGHTS, 2.0), 0.0)
    assert heat_map(nudged, TOKENS, TOKENS) == heat_map(WEIGHTS, TOKENS, TOKENS)


# --- what is drawn


def texts(figure: Figure) -> list[str]:
    """Return the texts of a drawing, which matplotlib notes beside their outlines."""
    return re.findall(r"<!-- (.*?) -->", figure.svg)


def test_numbers_are_written_where_they_fit_and_a_key_where_they_do_not():
    assert "0.62" in texts(heat_map(WEIGHTS, TOKENS, TOKENS))
    assert "0.62" not in texts(heat_map(WEIGHTS, TOKENS, TOKENS, annotate=False))
    wide = texts(heat_map(wide_weights(), LONG, LONG))
    assert wide[-2:] == ["0", "1"]
    assert not any(re.fullmatch(r"0\.\d\d", text) for text in wide)


def test_exactly_zero_is_written_0_and_nearly_zero_0_00():
    written = texts(heat_map(np.array([[1e-9, -1e-9, 0.0, -0.5]])))
    assert written[:4] == ["0.00", "0.00", "0", "−0.50"]


def test_infinities_are_written_out_and_hidden_cells_are_not():
    values = np.array([[1.0, -np.inf], [np.nan, np.inf]])
    written = texts(heat_map(values, visible=np.array([[True, True], [True, False]])))
    assert written[:3] == ["1.00", "−∞", "NaN"]
    assert "∞" not in written
    assert "hidden by the mask" in written


def test_weight_of_one_may_miss_it_by_rounding():
    assert heat_map(np.array([[1.0 + 1e-7, 0.0]])).alt.startswith("Heat map of weights")


def test_tokens_beside_rows_are_left_out_of_thumbnails():
    assert "transformer" in texts(heat_map(wide_weights(), LONG, LONG))
    assert "transformer" not in texts(heat_maps([wide_weights()] * 4, LONG, LONG))


def test_dollar_signs_in_tokens_are_written_as_they_are():
    tokens = ["$5", "and", "$10"]
    for figure in (heat_map(np.eye(3), tokens, tokens), batch([tokens])):
        assert "$5" in texts(figure)
        assert "$5 and $10" in figure.alt


@style()
@pytest.mark.parametrize(("align", "before"), [("left", 0.0), ("center", 0.5), ("right", 1.0)])
@pytest.mark.parametrize("angle", [0.0, 45.0, 90.0])
def test_text_lies_where_it_is_aligned(align, before, angle):
    canvas = Canvas()
    canvas.text(50.0, 20.0, "quickly", size=12.0, align=align, angle=angle)
    width, turn = text_size("quickly", 12.0)[0], math.radians(angle)
    x0, y0, x1, y1 = canvas.bounds
    # A point and a half of leeway: a box leaves other room above its letters than below.
    along = (0.5 - before) * width
    assert (x0 + x1) / 2 == pytest.approx(50.0 + along * math.cos(turn), abs=1.5)
    assert (y0 + y1) / 2 == pytest.approx(20.0 - along * math.sin(turn), abs=1.5)


def test_a_map_of_many_cells_is_a_small_file():
    figure = heat_maps([wide_weights()] * 12, columns=4)
    assert len(figure.svg) < 100 * 12 * 144


@style()
def test_hatching_stays_within_its_cell_and_leaves_room_for_its_text():
    for width, height in ((40.0, 30.0), (3.0, 3.0), (200.0, 1.0)):
        canvas = Canvas()
        canvas.hatch(10.0, 20.0, width, height)
        left, top, right, bottom = canvas.bounds
        assert 10.0 <= left <= right <= 10.0 + width
        assert 20.0 <= top <= bottom <= 20.0 + height
    ends = _broken((50.0, 0.0), (0.0, 50.0), (25.0, 25.0), (10.0, 5.0))
    assert ends == [(50.0, 0.0), (30.0, 20.0), (20.0, 30.0), (0.0, 50.0)]
    assert _broken((9.0, 0.0), (0.0, 9.0), (25.0, 25.0), (10.0, 5.0)) == [(9.0, 0.0), (0.0, 9.0)]


def test_names_at_the_ends_of_curves_are_moved_apart():
    placed = plots._apart([10.0, 11.0, 50.0, 99.0], [14.0, 14.0, 14.0, 28.0], 100.0)
    assert placed == pytest.approx([3.5, 17.5, 50.0, 93.0])


@pytest.mark.parametrize(
    ("values", "logarithmic", "written"),
    [
        ([0.0, 1.0], False, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        ([-3.0, 7.0], False, ["−4", "−2", "0", "2", "4", "6", "8"]),
        ([1.0, 2.0, 64.0], True, ["1", "2", "4", "8", "16", "32", "64"]),
        ([1.0, 50.0, 900.0], True, ["1", "10", "100", "1000"]),
        ([3e-6, 1.0], True, ["10⁻⁶", "10⁻⁵", "10⁻⁴", "10⁻³", "10⁻²", "10⁻¹", "1"]),
        ([5.0, 5.0], False, ["4.4", "4.6", "4.8", "5", "5.2", "5.4", "5.6"]),
    ],
)
def test_marked_values_of_an_axis(values, logarithmic, written):
    assert tick_texts(choose_axis(np.array(values), logarithmic=logarithmic)) == written


def test_products_carry_their_numbers_where_these_fit():
    written = texts(numbered_product())
    assert {"scores", "5 × 5", "−1", "2"} <= set(written)
    values = np.full((2, 9), -1000.25)
    wide = equation(Matrix("A", (2, 9), values=values), "+", Matrix("B", (2, 9), values=values))
    assert set(texts(wide)) == {"A", "+", "B", "2 × 9"}


def test_batches_show_every_token_and_pad_the_rest():
    assert texts(batch([["a", "b"], ["c"]])) == ["a", "b", "c"]
    assert texts(batch([["a", "b"], ["c"]], length=3)) == ["a", "b", "pad", "c", "pad", "pad"]


def test_marked_values_and_limits_can_be_given():
    titles = {"x_title": "x", "y_title": "y"}
    y = np.array([1.0, 2.0, 3.0])
    written = texts(
        curves(y, {"a": y}, **titles, x_ticks=[1, 3], y_ticks=[0, 2, 9], y_limits=(0, 4))
    )
    assert written == ["0", "2", "1", "3", "x", "y", "a"]


def test_six_curves_and_a_gap_are_drawn():
    x = np.linspace(0.0, 1.0, 50)
    lines = {f"curve {k}": k + x for k in range(6)}
    lines["curve 5"][20:30] = np.nan
    figure = curves(x, lines, x_title="x", y_title="y")
    assert [text for text in texts(figure) if text.startswith("curve")] == sorted(lines)[::-1]
    assert "curve 5: from 5 at 0 to 6 at 1." in figure.alt


def test_limits_can_be_given_so_that_maps_can_be_compared():
    full, half = (heat_map(np.array([[0.25]]), limits=limits).svg for limits in ((0, 1), (0, 0.5)))
    assert palette.map_colour(0.25) in full
    assert palette.map_colour(0.5) in half


def test_weights_below_one_percent_are_said_to_be():
    alt = heat_map(np.full((1, 400), 1 / 400)).alt
    assert "Row 1 gives less than 1 % to each of 400 tokens." in alt


def test_equations_stand_below_each_other_on_one_scale():
    narrow, wide = Matrix("$A$", (2, 2)), Matrix("$B$", (2, 12))
    two = equations((narrow, "@", wide), (narrow, "→", narrow))
    assert two.alt == "A (2 × 2) times B (2 × 12). A (2 × 2) becomes A (2 × 2)."
    with pytest.raises(ValueError, match=r"\$A\$ must have 12 rows to follow"):
        equations((narrow, "@", wide), (wide, "@", narrow))
    with pytest.raises(ValueError, match="parts must be matrices with operators between them"):
        equations((narrow,), ("=", narrow))


@style()
@pytest.mark.parametrize("title", [" ".join(["processor"] * 20), "W" * 99, f"{'W' * 40} @ 2 GHz"])
def test_a_title_of_any_length_fits_a_phone_and_is_written_whole(title):
    canvas = Canvas()
    draw_title(canvas, 0.0, 0.0, title, size=12.0)
    canvas.rectangle(0.0, 12.0, 10.0, 10.0)
    lines = re.findall(r"<!-- (.*?) -->", canvas.finish("a title").svg)
    assert len(lines) > 1
    assert "".join(lines).replace(" ", "") == title.replace(" ", "")
