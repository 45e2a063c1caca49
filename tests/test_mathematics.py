"""Formulas become MathML when the book is built, and what cannot be set is an error there."""

import re

import pytest

pytest.importorskip("math_core")

from book._extensions import mathematics
from book.mathematics_font import SIGNS


def words(markup: str) -> str:
    return re.sub(r"<[^>]*>", "", markup)


@pytest.mark.parametrize(
    ("tex", "parts"),
    [
        (r"\frac{QK^{\mathsf T}}{\sqrt{d_k}}", ("<mfrac>", "<msqrt>", "<msub>", "<msup>", "𝖳")),
        (r"\sum_{j=1}^{S} w_{ij} v_j", ("∑", "<msub>")),
        (r"\begin{cases} a & b \\ c & d \end{cases}", ("<mtable", "{")),
        (r"\operatorname{softmax}(x) \in \mathbb{R}", ("softmax", "ℝ", "∈")),
    ],
)
def test_a_formula_is_set(tex: str, parts: tuple[str, ...]) -> None:
    for display in (False, True):
        markup = mathematics.mathml(tex, display=display)
        assert markup.startswith('<math display="block">' if display else "<math>")
        assert markup.endswith("</math>")
        assert all(part in markup for part in parts)


def test_what_the_converter_does_not_know_is_written_for_it() -> None:
    gap = mathematics.mathml(r"\begin{aligned} a &= b \\[4pt] c &= d \end{aligned}", display=True)
    assert words(gap) == "a=bc=d"
    assert gap.count("<mtr>") == 2
    small = mathematics.mathml(r"\bigl(\begin{smallmatrix} 1 & 2 \\ 3 & 4 \end{smallmatrix}\bigr)")
    assert 'scriptlevel="1"' in small
    split = r"\begin{split} a &= b \\ &= c \end{split}"
    assert mathematics.mathml(split) == mathematics.mathml(split.replace("split", "aligned"))


def test_a_bracket_knows_its_side_and_a_line_goes_on_with_its_sum() -> None:
    markup = mathematics.mathml(r"f(x) + \big( y \big)")
    assert re.findall(r'form="(\w+)">(.)<', markup) == [
        *(("prefix", "("), ("postfix", ")")),
        *(("prefix", "("), ("postfix", ")")),
    ]
    lines = mathematics.mathml(r"\begin{aligned} a = & b \\ {} + & c \\ & + d \end{aligned}")
    assert '<mo form="infix">+</mo><mi>d' in lines
    assert 'form="infix"' not in mathematics.mathml(r"\begin{pmatrix} -1 & +2 \end{pmatrix}")


def test_lines_are_aligned_where_nothing_else_does() -> None:
    assert mathematics.lines("a = b") == "a = b"
    assert mathematics.lines(r"a \\ b") == r"\begin{aligned}a \\ b\end{aligned}"
    assert mathematics.lines("a\n\nb") == r"\begin{aligned}a \\ b\end{aligned}"
    whole = r"x = \begin{cases} a \\ b \end{cases}"
    assert mathematics.lines(whole) == whole


@pytest.mark.parametrize("tex", [r"\nonsense", r"\frac{1", r"\text{漢}", r"\mathfrak{A}"])
def test_what_cannot_be_set_is_said(tex: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be set|which book/mathematics_font.py has not"):
        mathematics.mathml(tex)


def test_the_font_has_both_forms_of_a_letter() -> None:
    """A formula's single letter is italic, which is a sign of its own."""
    italic = {chr(0x1D434 + i) for i in range(52)} - {chr(0x1D455)} | {"ℎ"}
    assert italic <= SIGNS
    assert set("abcxyzABCXYZαβγσΣΔ√∑∞≤⋅−") <= SIGNS
