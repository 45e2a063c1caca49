"""The drawings of the chapter on a causal language model."""

from collections.abc import Mapping

from companion.figures.kit.canvas import Canvas, text_size
from companion.figures.kit.figure import MAX_WIDTH, Figure, Table, style
from companion.figures.kit.flows import Box, flow
from companion.figures.kit.palette import LINES, MUTED

__all__ = ["next_tokens", "text_to_next_token"]

BAR, GAP, BETWEEN, NUMBER = 13.0, 4.0, 26.0, 34.0


def text_to_next_token(tokens: int, *, width: int, layers: int, vocabulary: int) -> Figure:
    """Draw the way from a text to the token that is written behind it, with the shapes.

    Parameters
    ----------
    tokens : int
        N, of the text.
    width, layers, vocabulary : int
        d, the number of blocks, and V.

    Returns
    -------
    Figure
    """
    stations = [
        Box("text", "a text"),
        Box("ids", "token ids", f"({tokens},)"),
        Box("first", "rows $X_0$", f"({tokens}, {width})"),
        Box("last", f"rows $X_{{{layers}}}$", f"({tokens}, {width})"),
        Box("logits", "logits", f"({tokens}, {vocabulary})"),
        Box("next", "the next token", highlight=True),
    ]
    steps = (
        "tokenizer",
        "embed",
        f"{layers} blocks, causal",
        "norm, unembed",
        "last row: softmax, choose",
    )
    arrows = [(stations[i].name, stations[i + 1].name, step) for i, step in enumerate(steps)]
    return flow([[station] for station in stations], arrows)


@style()
def next_tokens(panels: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw the likeliest next tokens as bars, in panels side by side on one scale.

    Parameters
    ----------
    panels : mapping of str to mapping of str to float
        By title: tokens and their probabilities, in the order in which they are drawn. A space in
        front of a token is written as ␣, a new line as ↵.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are no panels, a panel is empty, or a probability is none.
    """
    if not panels or not all(panels.values()):
        raise ValueError("panels must each hold a token at least")
    if not all(0 <= p <= 1 for panel in panels.values() for p in panel.values()):
        raise ValueError("panels must hold probabilities, from 0 to 1")
    canvas = Canvas()
    written = {
        title: {_visible(token): round(float(p), 3) for token, p in panel.items()}
        for title, panel in panels.items()
    }
    names = [max(text_size(token, 11.0)[0] for token in panel) for panel in written.values()]
    room = MAX_WIDTH - sum(names) - BETWEEN * (len(panels) - 1)
    longest = max(p for panel in written.values() for p in panel.values())
    scale = (room / len(panels) - NUMBER - 6.0) / longest
    left = 0.0
    for k, (title, panel) in enumerate(written.items()):
        left += names[k] + 6.0
        _bars(canvas, left, scale, title, panel, LINES[k], left - names[k] - 6.0)
        left += scale * longest + NUMBER + BETWEEN
    said = "; ".join(
        f"{title}: " + ", ".join(f"{token} {p:.2f}" for token, p in panel.items())
        for title, panel in written.items()
    )
    tables = [
        Table(
            title,
            "next token",
            "",
            tuple(panel),
            ("probability",),
            tuple((f"{p:.3f}",) for p in panel.values()),
        )
        for title, panel in written.items()
    ]
    return canvas.finish(f"Bars, the probabilities of next tokens. {said}.", tables)


def _visible(token: str) -> str:
    """Write a token so that its spaces show; what no font has is "�"."""
    shown = token.replace(" ", "␣").replace("\n", "↵")
    return "".join(sign if sign.isprintable() else "�" for sign in shown)


def _bars(
    canvas: Canvas,
    left: float,
    scale: float,
    title: str,
    panel: Mapping[str, float],
    colour: str,
    edge: float,
) -> None:
    """Draw one panel: its tokens left of the bars, the probabilities behind them."""
    canvas.text(edge, -16.0, title, size=12.0, bold=True, align="left")
    for i, (token, p) in enumerate(panel.items()):
        y = i * (BAR + GAP)
        canvas.text(left - 6.0, y + BAR / 2, token, size=11.0, align="right")
        canvas.rectangle(left, y, max(scale * p, 0.8), BAR, fill=colour)
        canvas.text(left + scale * p + 4.0, y + BAR / 2, f"{p:.2f}", size=10.5, align="left")
    canvas.line([(left, -2.0), (left, len(panel) * (BAR + GAP))], colour=MUTED, width=1.0)
