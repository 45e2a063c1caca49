"""Batches drawn token by token, ragged or padded to one length."""

from collections.abc import Sequence

from companion.figures.kit import wording
from companion.figures.kit.canvas import MARGIN, Canvas, literal, text_size
from companion.figures.kit.figure import MAX_WIDTH, Figure, style
from companion.figures.kit.palette import FAINT, HIGHLIGHT, HIGHLIGHT_FILL, INK, PANEL

__all__ = ["batch"]

LABEL, TITLE = 11.0, 12.0
CELL_HEIGHT, BETWEEN = 27.0, 4.0


@style()
def batch(
    sentences: Sequence[Sequence[str]],
    *,
    length: int | None = None,
    padding: str = "pad",
    title: str | None = None,
    highlight: tuple[int, int] | None = None,
) -> Figure:
    """Draw sentences of tokens as the rows of one batch, hatched where they are padded.

    Parameters
    ----------
    sentences : sequence of sequence of str
        The tokens of each sentence.
    length : int, optional
        The common length they are padded to; without it the rows stay ragged.
    padding : str
        What is written into padded cells.
    title : str, optional
        Written above, and at the head of the alt text.
    highlight : (int, int), optional
        Row and place of the token to follow, counted from 0.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a sentence is empty or longer than `length`, if `highlight` names no token, or if the
        tokens are too many for the width of a phone.
    """
    _check(sentences, length, highlight)
    tokens = {token for sentence in sentences for token in sentence} | {padding}
    width = max(text_size(literal(token), LABEL, bold=True)[0] for token in tokens) + 13.0
    places = length or max(len(sentence) for sentence in sentences)
    if places * (width + BETWEEN) > MAX_WIDTH - 2 * MARGIN:
        raise ValueError(
            f"sentences must fit the width of a phone, got {places} places {width:.0f} points wide"
        )
    canvas = Canvas()
    for i, sentence in enumerate(sentences):
        for j in range(length or len(sentence)):
            x, y = j * (width + BETWEEN), i * (CELL_HEIGHT + BETWEEN)
            if j < len(sentence):
                _token(canvas, x, y, width, sentence[j], follow=(i, j) == highlight)
            else:
                canvas.rectangle(x, y, width, CELL_HEIGHT, edge=FAINT, radius=3.0)
                canvas.hatch(x, y, width, CELL_HEIGHT, padding, size=LABEL)
    if title is not None:
        left, top, right, _ = canvas.bounds
        canvas.text((left + right) / 2, top - 18.0, title, size=TITLE, bold=True)
    return canvas.finish(_alt(sentences, length, title))


def _token(canvas: Canvas, x: float, y: float, width: float, token: str, *, follow: bool) -> None:
    fill, edge = (HIGHLIGHT_FILL, HIGHLIGHT) if follow else (PANEL, FAINT)
    line = 1.8 if follow else 0.8
    canvas.rectangle(x, y, width, CELL_HEIGHT, fill=fill, edge=edge, line=line, radius=3.0)
    colour = HIGHLIGHT if follow else INK
    middle = (x + width / 2, y + CELL_HEIGHT / 2)
    canvas.text(*middle, literal(token), size=LABEL, colour=colour, bold=follow)


def _check(
    sentences: Sequence[Sequence[str]], length: int | None, highlight: tuple[int, int] | None
) -> None:
    if not sentences or not all(sentences):
        raise ValueError("sentences must each hold at least one token, got an empty one")
    longest = max(len(sentence) for sentence in sentences)
    if length is not None and length < longest:
        raise ValueError(f"length must be at least {longest}, the longest sentence's, got {length}")
    if highlight is not None:
        row, place = highlight
        if not (0 <= row < len(sentences) and 0 <= place < len(sentences[row])):
            raise ValueError(f"highlight must be the row and place of a token, got {highlight}")


def _alt(sentences: Sequence[Sequence[str]], length: int | None, title: str | None) -> str:
    said = [] if title is None else [f"{wording.spoken(title)}:"]
    said.append(f"{len(sentences)} sentences as rows of tokens.")
    for i, sentence in enumerate(sentences):
        padded = 0 if length is None else length - len(sentence)
        padded_places = f"{padded} padding place{'s' if padded > 1 else ''}"
        places = f", then {padded_places}" if padded else ""
        said.append(f"Row {i + 1}: {' '.join(sentence)}{places}.")
    return " ".join(said)
