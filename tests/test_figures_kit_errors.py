"""Figures refuse what they cannot draw, and say what was expected and what came."""

import numpy as np
import pytest

from companion.figures import (
    Box,
    Canvas,
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
from companion.figures.kit import palette


def plot(x, lines, **options):
    return curves(x, lines, x_title="x", y_title="y", **options)


UP = np.array([1.0, 2.0])
BOXES = [[Box("a", "first")], [Box("b", "second")]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: heat_map(np.zeros(3)), r"matrix must be \(R, C\).* got shape \(3,\)"),
        (lambda: heat_map(np.zeros((0, 3))), "at least one cell"),
        (lambda: heat_map(np.eye(2), ["a"]), "row_labels must be 2 for a 2 × 2 matrix, got 1"),
        (lambda: heat_map(np.eye(2), None, ["a"] * 3), "column_labels must be 2 .* got 3"),
        (lambda: heat_map(np.eye(2), highlight_row=2), "highlight_row must be from 0 to 1, got 2"),
        (lambda: heat_map(np.eye(2), highlight_row=-1), "highlight_row must be from 0 to 1"),
        (lambda: heat_map(np.eye(2), limits=(0, 0.5)), "limits must hold all values, 0 to 1"),
        (lambda: heat_map(np.eye(2), limits=(-1, 2)), r"limits must be \(0, largest\)"),
        (lambda: heat_map(np.eye(2), decimals=-1), "decimals must be at least 0, got -1"),
        (
            lambda: heat_map(np.eye(2), visible=np.eye(5, dtype=bool)),
            r"visible must have .* \(2, 2\)",
        ),
        (lambda: heat_map(np.eye(20), annotate=True), "annotate=True needs numbers that fit"),
        (lambda: heat_maps([]), "at least one matrix"),
        (lambda: heat_maps([np.eye(2), np.eye(3)]), r"all have shape \(2, 2\), got \(3, 3\)"),
        (lambda: heat_maps([np.eye(2)], titles=["a", "b"]), "titles must be 1.* got 2"),
        (lambda: heat_maps([np.eye(2)], visible=[None, None]), "visible must hold 1 masks"),
        (lambda: heat_maps([np.eye(2)], columns=5), "columns must be from 1 to 4, got 5"),
        (lambda: plot(UP[::-1], {"a": UP}), "x must be .* increasing"),
        (lambda: plot(UP[:1], {"a": UP[:1]}), "x must be .* at least 2"),
        (lambda: plot(UP, {"a": UP[:1]}), r"lines\['a'\] must have the shape of x, \(2,\)"),
        (lambda: plot(UP, {}), "lines must hold from 1 to 6 curves, got 0"),
        (lambda: plot(UP, {str(i): UP for i in range(7)}), "from 1 to 6 curves, got 7"),
        (lambda: plot(UP, {"a": UP * np.nan}), "finite value, got none"),
        (lambda: plot(UP - 1, {"a": UP}, x_log=True), "x must be positive .* got 0"),
        (lambda: plot(UP, {"a": UP - 1}, y_log=True), r"lines\['a'\] must be positive .* got 0"),
        (lambda: plot(UP, {"a": UP}, bands={"b": (UP, UP)}), r"bands must name .* got 'b'"),
        (lambda: plot(UP, {"a": UP}, bands={"a": (UP, UP - 1)}), "got low above high"),
        (lambda: plot(UP, {"a": UP}, references=["b"]), r"references must name .* got 'b'"),
        (lambda: Matrix("X", (0, 2)), "shape must hold two positive numbers"),
        (lambda: Matrix("X", (2, 2), row_labels=["a"]), "row_labels must be 2, got 1"),
        (lambda: Matrix("X", (2, 2), highlight_column=2), "highlight_column must .* got 2"),
        (lambda: Matrix("X", (99, 2), highlight_row=2), "highlight_row must lie within 99"),
        (lambda: Matrix("X", (2, 2), values=UP), r"values must have the shape \(2, 2\)"),
        (lambda: equation(Matrix("X", (2, 3)), "@", Matrix("W", (2, 3))), "W must have 3 rows"),
        (lambda: equation(Matrix("X", (2, 3)), "@"), "parts must be matrices with operators"),
        (lambda: equation(), "parts must be matrices"),
        (lambda: equation(*["+", Matrix("X", (2, 9))] * 9), "parts must be matrices"),
        (
            lambda: equation(Matrix("X", (2, 12)), *["+", Matrix("X", (2, 12))] * 5),
            "parts must fit the width of a phone",
        ),
        (lambda: flow([], []), "rows must each hold at least one box"),
        (lambda: flow([[Box("a", "x"), Box("a", "y")]], []), "got 'a' twice"),
        (lambda: flow(BOXES, [("a", "c")]), "arrows must name boxes out of .* got 'c'"),
        (lambda: flow(BOXES, [("b", "a")]), "arrows must point down or sideways"),
        (
            lambda: flow([[Box(name, "a rather long text") for name in "abcd"]], []),
            "rows must fit the width of a phone, got boxes 'a' and 'b'",
        ),
        (lambda: batch([]), "sentences must each hold at least one token"),
        (lambda: batch([["a"], []]), "sentences must each hold at least one token"),
        (lambda: batch([["a", "b"]], length=1), "length must be at least 2"),
        (lambda: batch([["a"]], highlight=(0, 1)), "highlight must be the row and place"),
        (lambda: batch([["unbelievably"] * 6]), "sentences must fit the width of a phone"),
        (lambda: palette.map_colour(1.01), r"t must lie in \[-1, 1\], got 1.01"),
        (lambda: Canvas().text(0, 0, "small", size=9.0), "size must be at least 10 points, got 9"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: heat_map([[1.0]]),
        lambda: heat_map(np.eye(2), visible=np.eye(2)),
        lambda: mask_map(np.eye(2)),
        lambda: plot([1, 2], {"a": UP}),
    ],
)
def test_kinds_that_do_not_fit_are_refused(call):
    with pytest.raises(TypeError, match="must"):
        call()


@style()
def test_figure_too_wide_for_a_phone_or_without_words_is_refused():
    canvas = Canvas()
    canvas.rectangle(0, 0, 400, 10)
    with pytest.raises(ValueError, match=r"at most 5\.2 inches wide .* got 5\.6"):
        canvas.finish("wide")
    canvas = Canvas()
    canvas.rectangle(0, 0, 10, 10)
    with pytest.raises(ValueError, match="alt must say what the figure shows"):
        canvas.finish(" ")
