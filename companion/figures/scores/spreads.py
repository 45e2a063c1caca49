"""How far scores spread: against d_k, and over the heads of a trained model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from companion.arrays import to_numpy
from companion.figures.kit.canvas import Canvas, text_size
from companion.figures.kit.cells import NUMBER
from companion.figures.kit.figure import MAX_WIDTH, Figure, style
from companion.figures.kit.palette import FAINT, INK, LINES, MUTED
from companion.figures.kit.plots import curves
from companion.figures.kit.tables import by_head

__all__ = ["head_spreads", "variance_by_scale", "variance_within_error"]

LABEL, ROW = 11.0, 17.0
MEASURED, PREDICTED = LINES[0], LINES[1]


def variance_by_scale(widths: Any, variances: Any) -> Figure:
    """Draw the measured variance of q·k, of q·k/√d_k and of q·k/d_k over d_k.

    Parameters
    ----------
    widths : array, shape (n,)
        The values of d_k, increasing.
    variances : array, shape (n,)
        The measured variance of q·k for each.

    Returns
    -------
    Figure
    """
    widths, variances = (to_numpy(a).astype(np.float64) for a in (widths, variances))
    measured = {
        "$q{\\cdot}k$": variances,
        "$q{\\cdot}k/\\sqrt{d_k}$": variances / widths,
        "$q{\\cdot}k/d_k$": variances / widths**2,
    }
    theory = {
        "theory $d_k$": widths,
        "theory $1$": np.ones_like(widths),
        "theory $1/d_k$": 1 / widths,
    }
    return curves(
        widths,
        measured | theory,
        x_title="$d_k$, the number of entries",
        y_title="variance of the score",
        x_log=True,
        y_log=True,
        references=list(theory),
        y_ticks=[0.001, 0.01, 0.1, 1, 10, 100, 1000],
    )


def variance_within_error(widths: Any, ratios: Any, errors: Any) -> Figure:
    """Draw measured over predicted variance, with three standard errors around 1.

    Parameters
    ----------
    widths, ratios, errors : array, shape (n,)
        The values of d_k, the measured variance over d_k, and the standard error of that ratio.

    Returns
    -------
    Figure
    """
    widths, ratios, errors = (to_numpy(a).astype(np.float64) for a in (widths, ratios, errors))
    ones = np.ones_like(widths)
    return curves(
        widths,
        {"measured": ratios, "theory": ones},
        x_title="$d_k$, the number of entries",
        y_title="measured variance of $q{\\cdot}k$ over $d_k$; the band is ±3 standard errors",
        x_log=True,
        bands={"theory": (1 - 3 * errors, 1 + 3 * errors)},
        references=["theory"],
        y_ticks=[0.9, 1.0, 1.1],
        height=130.0,
    )


@style()
def head_spreads(
    measured: Any, centred: Any, *, titles: Sequence[str], ticks: Sequence[float]
) -> Figure:
    """Draw the standard deviation of every head's scaled scores with and without the means, and 1.

    Parameters
    ----------
    measured, centred : array, shape (L, H)
        Standard deviations of H heads in L layers; the second once the means of queries and keys
        are taken away.
    titles : sequence of L str
        The layers.
    ticks : sequence of float
        The values marked on the logarithmic axis.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the shapes or the titles do not fit.
    """
    measured, centred = (to_numpy(a).astype(np.float64) for a in (measured, centred))
    if measured.ndim != 2 or centred.shape != measured.shape or len(titles) != len(measured):
        raise ValueError(
            f"measured and centred must be (L={len(titles)}, H), got {measured.shape} and "
            f"{centred.shape}"
        )
    low, high = min(ticks) / 1.15, max(ticks) * 1.15
    if not low < min(measured.min(), centred.min()) <= max(measured.max(), centred.max()) < high:
        raise ValueError(f"ticks must hold all values, got {min(ticks):g} to {max(ticks):g}")
    left, gap = text_size("head", NUMBER)[0] + 8.0, 28.0
    width = (MAX_WIDTH - 10.0 - left - gap * (len(titles) - 1)) / len(titles)
    canvas = Canvas()
    for k, title in enumerate(titles):
        panel = _Panel(left + k * (width + gap), width, low, high)
        canvas.text(panel.place(math.sqrt(low * high)), -14.0, title, size=LABEL, bold=True)
        _draw_panel(canvas, panel, measured[k], centred[k], ticks)
        for h in range(measured.shape[1] if k == 0 else 0):
            canvas.text(left - 8.0, ROW * (h + 0.5), str(h), size=NUMBER, align="right")
    canvas.text(left - 8.0, -14.0, "head", size=NUMBER, align="right", colour=MUTED)
    _spread_key(canvas, left, ROW * measured.shape[1] + 44.0)
    numbers = [
        by_head(dict(zip(titles, spreads, strict=True)), f"standard deviation, {kind}")
        for kind, spreads in (("measured", measured), ("without the means", centred))
    ]
    return canvas.finish(_spread_alt(measured, centred, titles), numbers)


@dataclass(frozen=True)
class _Panel:
    """The logarithmic axis of one layer: its left end, its length, and the values of its ends."""

    left: float
    width: float
    low: float
    high: float

    def place(self, value: float) -> float:
        """Return where a value lies on the canvas."""
        fraction = math.log(value / self.low) / math.log(self.high / self.low)
        return self.left + round(fraction * self.width, 3)


def _draw_panel(
    canvas: Canvas,
    panel: _Panel,
    measured: np.ndarray,
    centred: np.ndarray,
    ticks: Sequence[float],
) -> None:
    """Draw a line for each head from its spread without the means to its spread."""
    bottom = ROW * len(measured)
    for tick in ticks:
        colour, width = (INK, 1.6) if tick == 1 else (FAINT, 0.6)
        x = panel.place(tick)
        canvas.line([(x, 0.0), (x, bottom)], colour=colour, width=width, order=0.5)
        canvas.text(x, bottom + 10.0, f"{tick:g}", size=NUMBER)
    for h, (spread, rest) in enumerate(zip(measured, centred, strict=True)):
        y = ROW * (h + 0.5)
        ends = panel.place(rest), panel.place(spread)
        canvas.line([(x, y) for x in ends], colour=MUTED, width=1.2)
        _diamond(canvas, ends[0], y)
        canvas.disc(ends[1], y, 4.2, fill=MEASURED)


def _diamond(canvas: Canvas, x: float, y: float) -> None:
    r = 4.2
    canvas.polygon([(x, y - r), (x + r, y), (x, y + r), (x - r, y)], fill=PREDICTED)


def _spread_key(canvas: Canvas, x: float, y: float) -> None:
    canvas.text(x, y - 16.0, "standard deviation of the scaled scores", size=NUMBER, align="left")
    canvas.disc(x + 5.0, y, 4.2, fill=MEASURED)
    canvas.text(x + 14.0, y, "measured", size=NUMBER, align="left")
    _diamond(canvas, x + 85.0, y)
    canvas.text(x + 94.0, y, "without the means", size=NUMBER, align="left")


def _spread_alt(measured: np.ndarray, centred: np.ndarray, titles: Sequence[str]) -> str:
    said = []
    for title, spreads, rest in zip(titles, measured, centred, strict=True):
        low, high = int(np.argmin(np.round(spreads, 3))), int(np.argmax(np.round(spreads, 3)))
        said.append(
            f"{title}: measured from {spreads[low]:.2f} (head {low}) to {spreads[high]:.2f} (head "
            f"{high}); without the means from {rest.min():.2f} to {rest.max():.2f}."
        )
    return "Standard deviation of the scaled scores of trained heads. " + " ".join(said)
