"""Who computes the tiles: two ways to share the heads between cores."""

from collections.abc import Sequence

from companion.figures.kit.canvas import Canvas
from companion.figures.kit.figure import Figure, style
from companion.figures.kit.palette import FILLED, INK, MUTED, PANEL

__all__ = ["core_schedule"]

LANE, LANE_GAP, SPAN = 24.0, 5.0, 250.0

Task = tuple[int, float, float, bool, int]


@style()
def core_schedule(*, product: float, elementwise: float, heads: int, cores: int = 2) -> Figure:
    """Draw two ways to share the heads of attention between cores, and when each is done.

    Above, every product is shared by all cores and the exponentials, which NumPy computes on one
    core, are not. Below, each core computes heads of its own from beginning to end.

    Parameters
    ----------
    product, elementwise : float
        Time of one product and of the exponentials of one head, on one core.
    heads, cores : int

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a time is not positive or a number is less than 1.
    """
    if min(product, elementwise) <= 0 or min(heads, cores) < 1:
        raise ValueError(
            f"times must be positive and numbers at least 1, got product={product}, "
            f"elementwise={elementwise}, heads={heads}, cores={cores}"
        )
    shared, own = [], []  # (core, start, duration, is a product, head)
    for head in range(heads):
        start = head * (2 * product / cores + elementwise)
        ways = [(0.0, product / cores), (product / cores + elementwise, product / cores)]
        shared += [(c, start + at, time, True, head) for at, time in ways for c in range(cores)]
        shared.append((0, start + product / cores, elementwise, False, head))
        begin = head // cores * (2 * product + elementwise)
        steps = ((0.0, product), (product, elementwise), (product + elementwise, product))
        for number, (at, time) in enumerate(steps):
            own.append((head % cores, begin + at, time, number != 1, head))
    ends = [max(at + time for _, at, time, _, _ in tasks) for tasks in (shared, own)]
    canvas, top = Canvas(), 0.0
    titles = ("each step on as many cores as it takes", "each core its own head")
    for tasks, title, end in zip((shared, own), titles, ends, strict=True):
        top = _panel(canvas, top, tasks, title, end, SPAN / max(ends), cores)
    _key(canvas, top, f"on one core a product takes {product:g}, exponentials {elementwise:g}")
    return canvas.finish(
        f"Two time tables for {heads} heads on {cores} cores, with products that take {product:g} "
        f"and exponentials that take {elementwise:g} on one core. Where each product is shared and "
        f"the exponentials run on one core, all is done after {ends[0]:g}. Where each core has its "
        f"own head, all is done after {ends[1]:g}."
    )


def _panel(
    canvas: Canvas,
    top: float,
    tasks: Sequence[Task],
    title: str,
    end: float,
    points: float,
    cores: int,
) -> float:
    """Draw one time table and return where the next may begin."""
    canvas.text(0.0, top, title, align="left", bold=True)
    for core in range(cores):
        y = top + 12.0 + core * (LANE + LANE_GAP)
        canvas.text(-6.0, y + LANE / 2, f"core {core + 1}", size=10.5, align="right", colour=MUTED)
        busy = sorted(task[1:] for task in tasks if task[0] == core)
        free = 0.0
        for start, time, is_product, head in [*busy, (end, 0.0, True, 0)]:
            if start > free + 1e-9:
                canvas.hatch(free * points, y, (start - free) * points, LANE)
            free = start + time
            if time:
                fill = FILLED if is_product else PANEL
                canvas.rectangle(start * points, y, time * points, LANE, fill=fill, edge=MUTED)
                words = str(head + 1)
                canvas.text((start + time / 2) * points, y + LANE / 2, words, size=10.5)
    bottom = top + 12.0 + cores * (LANE + LANE_GAP)
    canvas.line([(end * points, top + 6.0), (end * points, bottom)], colour=INK, width=1.6)
    middle = (top + 12.0 + bottom - LANE_GAP) / 2
    canvas.text(end * points + 7.0, middle, f"done at {end:g}", size=10.5, align="left")
    return bottom + 18.0


def _key(canvas: Canvas, top: float, times: str) -> None:
    x = 0.0
    for fill, words in ((FILLED, "product"), (PANEL, "exponentials"), (None, "idle")):
        if fill is None:
            canvas.hatch(x, top - 6.0, 18.0, 12.0)
        else:
            canvas.rectangle(x, top - 6.0, 18.0, 12.0, fill=fill, edge=MUTED)
        canvas.text(x + 23.0, top, words, size=10.5, align="left")
        x += 80.0 if words == "product" else 108.0
    for line, words in enumerate(("in the boxes: heads", times), 1):
        canvas.text(0.0, top + 17.0 * line, words, size=10.5, align="left", colour=MUTED)
