"""Make the font of the formulas: the letters and signs of Latin Modern Math that a book needs.

    python book/mathematics_font.py latinmodern-math.otf

Needs fonttools and brotli. A formula with a sign that is not in `SIGNS` is an error of the build;
add it here then, and make the font again.
"""

import sys
from pathlib import Path

TARGET = Path(__file__).parent / "_static" / "mathematics" / "mathematics.woff2"

# As a formula writes them. The italic letters of a formula stand in a plane of their own.
SIGNS = frozenset(
    "".join(map(chr, range(0x20, 0x7F)))
    + "\N{NO-BREAK SPACE}¬±·×÷ıȷˆˇ˘˙˚˜¯´\u0302\u0303\u0304\u0305\u0307\u0308\u030c\u20d7"
    + "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλμνξοπρςστυφχψωϑϕϖϱϵ"
    + "‖…′″‴−∗∘∙√∝∞∠∣∤∥∧∨∩∪∫∬∮∼≃≅≈≠≡≤≥≪≫≺≻⊂⊃⊆⊇⊕⊖⊗⊙⊢⊣⊤⊥⋂⋃⋅⋆⋮⋯⋰⋱"
    + "∀∂∃∄∅∇∈∉∋∏∐∑∓∖←↑→↓↔↕↦⇐⇒⇔⟵⟶⟷⟸⟹⟺⟼⌈⌉⌊⌋⟨⟩⏞⏟⎴⎵"
    + "ℂℕℙℚℝℤ𝔼𝟙ℓ𝖳ℎℬℰℱℋℐℒℳℛ𝟎𝟏"
    + "".join(chr(0x1D400 + i) for i in range(52))  # bold
    + "".join(chr(0x1D434 + i) for i in range(52) if i != 33)  # italic; h is ℎ
    + "𝒜𝒞𝒟𝒢𝒥𝒦𝒩𝒪𝒫𝒬𝒮𝒯𝒰𝒱𝒲𝒳𝒴𝒵𝚤𝚥"
    + "".join(chr(0x1D6E2 + i) for i in range(58))  # italic Greek
)


def main(source: str) -> None:
    """Write the font with these signs, and all sizes of those that stretch."""
    from fontTools import subset
    from fontTools.ttLib import TTFont

    font = TTFont(source)
    # An optical size for each depth of an index is thrice the weight: browsers shrink the letters.
    options = subset.Options(layout_features=[], flavor="woff2", drop_tables=["FFTM"])
    subsetter = subset.Subsetter(options)
    subsetter.populate(text="".join(SIGNS))
    subsetter.subset(font)
    for number in (1, 4, 6, 16):  # what is changed gets another name, as the licence asks
        font["name"].setName("Companion Mathematics", number, 3, 1, 0x409)
    font["CFF "].cff.fontNames = ["CompanionMathematics"]
    subset.save_font(font, TARGET, options)


if __name__ == "__main__":
    main(*sys.argv[1:])
