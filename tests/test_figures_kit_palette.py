"""The colours: legible on white and through the dark theme's filter, and told apart."""

from itertools import pairwise

import numpy as np
import pytest

from companion.figures.kit import palette, plots


def test_numbers_are_legible_on_every_colour_of_the_map():
    for t in np.linspace(-1.0, 1.0, 2001):
        cell, number = palette.map_colour(t), palette.number_colour(t)
        assert palette.contrast(cell, number) >= 4.5, t
        in_dark = (palette.in_dark_theme(cell), palette.in_dark_theme(number))
        assert palette.contrast(*in_dark) >= 4.5, t


@pytest.mark.parametrize("sign", [1, -1])
def test_map_darkens_steadily_from_white(sign):
    shades = [palette.contrast("#ffffff", palette.map_colour(sign * i / 100)) for i in range(101)]
    assert palette.map_colour(0.0) == "#ffffff"
    assert all(later > earlier for earlier, later in pairwise(shades))


@pytest.mark.parametrize("colour", [*palette.LINES, palette.INK, palette.MUTED, palette.HIGHLIGHT])
def test_lines_and_texts_are_legible_on_both_pages(colour):
    assert palette.contrast(colour, "#ffffff") >= 4.5
    assert palette.contrast(palette.in_dark_theme(colour), palette.BACKGROUND_DARK) >= 4.5


@pytest.mark.parametrize("fill", [palette.PANEL, palette.HIGHLIGHT_FILL])
@pytest.mark.parametrize("text", [palette.INK, palette.MUTED, palette.HIGHLIGHT])
def test_texts_are_legible_on_filled_boxes(text, fill):
    assert palette.contrast(text, fill) >= 4.5
    dark = palette.in_dark_theme(text), palette.in_dark_theme(fill)
    assert palette.contrast(*dark) >= 4.5


def test_hatching_is_visible_on_both_pages():
    assert palette.contrast(palette.HATCH, "#ffffff") >= 3.0
    assert palette.contrast(palette.in_dark_theme(palette.HATCH), palette.BACKGROUND_DARK) >= 3.0


@pytest.mark.parametrize(
    ("colour", "filtered"),
    [("#000000", "#ffffff"), ("#ffffff", "#000000"), ("#0072b2", "#42b4f4")],
)
def test_dark_theme_filter_as_a_browser_computes_it(colour, filtered):
    assert palette.in_dark_theme(colour) == filtered


def test_contrast_of_black_and_white_is_21():
    assert palette.contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert palette.contrast("#777777", "#777777") == 1.0


def test_curves_are_told_apart_without_colour():
    for looks in (plots._DASHES, plots._MARKERS):
        assert len(looks) == len(set(looks)) == len(palette.LINES)
    assert len(set(plots._DASHES)) == len(plots._DASHES)
