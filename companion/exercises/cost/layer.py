"""A checker for the ledger of one layer: it knows what people forget to count.

Each mistake is a count of its own here, made from the shapes of one step. The step whose numbers it
gives is named with it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from companion.exercises.feedback import (
    Feedback,
    function,
    reads_attempts,
    result,
    say,
    whole_numbers,
)

__all__ = ["check_layer_ledger"]

WHAT = "return a dict of pairs (FLOPs, bytes moved)"
FLOAT = 4  # bytes of a number


class Layer(NamedTuple):
    """What a reader's function is called with."""

    n: int
    width: int
    heads: int
    d_k: int
    d_v: int


class Product(NamedTuple):
    """So many products (rows, inner) @ (inner, columns)."""

    rows: int
    inner: int
    columns: int
    times: int = 1

    @property
    def flops(self) -> int:
        return 2 * self.times * self.rows * self.inner * self.columns

    @property
    def numbers(self) -> tuple[int, int]:
        """How many numbers are read, and how many are made."""
        rows, inner, columns, times = self
        return times * (rows * inner + inner * columns), times * rows * columns

    @property
    def moved(self) -> int:
        return FLOAT * sum(self.numbers)


# No two sizes are equal, nor a head's width times the heads equal to the layer's, nor a head's
# width to the layer's over the heads; and no two mistakes that are named make the same number.
DRAWN = (
    Layer(5, 26, 3, 11, 4),
    Layer(7, 10, 3, 4, 2),
    Layer(1, 8, 2, 5, 3),
    Layer(96, 40, 4, 9, 11),
)
NOT_THE_FLOOR = "the width of a head is given, and need not be the layer's over the heads."
IN_PAIRS = ("scores", "weighted values")


def check_layer_ledger(attempt: Any) -> None:
    """Check a function (n, width, heads, d_k, d_v) → FLOPs and bytes of a layer's six products."""
    say(_layer_ledger, attempt)


def _layer_ledger(attempt: Any) -> str:
    count = function(attempt, "write layer_ledger(n, width, heads, d_k, d_v)")
    for layer in DRAWN:
        found = _run(count, layer)
        for step, product in _steps(layer).items():
            flops, moved = found[step]
            if flops != product.flops:
                raise Feedback(_said_of_flops(step, flops, layer))
            if moved != product.moved:
                raise Feedback(_said_of_bytes(step, moved, layer))
    return "Right: four products grow with n, and two with its square."


def _steps(layer: Layer) -> dict[str, Product]:
    n, width, heads, d_k, d_v = layer
    return {
        "queries": Product(n, width, heads * d_k),
        "keys": Product(n, width, heads * d_k),
        "values": Product(n, width, heads * d_v),
        "scores": Product(n, d_k, n, heads),
        "weighted values": Product(n, n, d_v, heads),
        "output": Product(n, heads * d_v, width),
    }


def _run(count: Callable[..., Any], layer: Layer) -> dict[str, tuple[int, int]]:
    case = " for " + ", ".join(f"{name}={size}" for name, size in layer._asdict().items())
    return _read(result(count, *layer, case=case))


@reads_attempts
def _read(returned: Any) -> dict[str, tuple[int, int]]:
    if not isinstance(returned, Mapping):
        raise Feedback(f"A dict is asked for, and this is {type(returned).__name__}.")
    read = {}
    for step in _steps(DRAWN[0]):
        if step not in returned:
            raise Feedback(f'The dict should have the key "{step}", and yours has not.')
        flops, moved = whole_numbers(returned[step], 2, WHAT)
        read[step] = flops, moved
    return read


def _said_of_flops(step: str, flops: int, layer: Layer) -> str:
    for said, wrong in _wrong_flops(step, layer):
        if flops == wrong:
            return f"The FLOPs of the {step}: {said}"
    return (
        f"The FLOPs of the {step} are not right yet. Which entries has the result, and how many "
        "multiply-adds does each take?"
    )


def _wrong_flops(step: str, layer: Layer) -> Iterator[tuple[str, int]]:
    """Yield what to say of each mistake, and the FLOPs that it makes."""
    n, width, heads, d_k, d_v = layer
    right = _steps(layer)[step].flops
    inner = _steps(layer)[step].inner
    yield "a multiply-add is two of them.", right // 2
    yield "that is the bytes' place; the FLOPs come first.", _steps(layer)[step].moved
    yield (
        f"a multiply-add counts as two, so an entry takes {2 * inner}, not {2 * inner - 1}.",
        right // inner * (2 * inner - 1) // 2,
    )
    if step in IN_PAIRS:
        yield from _wrong_pairs(step, layer)
        return
    floor = width // heads
    if step == "output":
        yield "the rows that enter hold all heads, side by side.", right // heads
        yield (
            "the heads stand side by side with their values, d_v each.",
            2 * n * heads * d_k * width,
        )
        yield NOT_THE_FLOOR, 2 * n * heads * floor * width
        yield "is it wide as the layer on both sides?", 2 * n * width * width
        return
    yield "that is one head, and there are several.", right // heads
    yield (
        "which width has each head here, d_k or d_v?",
        2 * n * width * heads * (d_k if step == "values" else d_v),
    )
    yield NOT_THE_FLOOR, 2 * n * width * heads * floor
    yield "is the result as wide as X?", 2 * n * width * width
    yield "that is done for each of the heads once more.", right * heads


def _wrong_pairs(step: str, layer: Layer) -> Iterator[tuple[str, int]]:
    """Yield the mistakes in the FLOPs of a product that is done for every pair of tokens."""
    n, width, heads, d_k, d_v = layer
    right = _steps(layer)[step].flops
    mine, other = (d_k, d_v) if step == "scores" else (d_v, d_k)
    softmax = "the softmax is no product, and products alone are asked for."
    yield softmax, right + 6 * heads * n * n
    yield softmax, right + 5 * heads * n * n
    yield "that is one head, and there are several.", right // heads
    yield "which width has each head here, d_k or d_v?", right // mine * other
    yield NOT_THE_FLOOR, right // mine * (width // heads)
    yield (
        "each head has columns of its own, as many as its width and not as X has.",
        right // mine * width,
    )
    yield "a mask hides scores that were computed.", right * (n + 1) // (2 * n)
    yield "every query meets every key, so n stands in it twice.", right // n
    yield "that is a square too many: what has n rows, and what has n columns?", right * n


def _said_of_bytes(step: str, moved: int, layer: Layer) -> str:
    for said, wrong in _wrong_bytes(step, layer):
        if moved == wrong:
            return f"The bytes of the {step}: {said}"
    return (
        f"The FLOPs of the {step} are right, their bytes are not: two matrices are read and one is "
        "written. What shapes have they?"
    )


def _wrong_bytes(step: str, layer: Layer) -> Iterator[tuple[str, int]]:
    """Yield what to say of each mistake, and the bytes that it makes."""
    product = _steps(layer)[step]
    rows, inner, columns, times = product
    read, made = product.numbers
    yield "those are numbers, and a number takes four bytes.", read + made
    yield "a number takes four bytes here, not eight.", 8 * (read + made)
    yield "a number takes four bytes here, not two.", 2 * (read + made)
    lost = "one of the two matrices that are read is missing."
    if step == "weighted values":  # whose values and result have one shape
        yield "one of three matrices is missing: two are read, one is written.", FLOAT * read
    else:
        yield "what is read is counted; the result is written, too.", FLOAT * read
        yield lost, FLOAT * (times * rows * inner + made)
    yield lost, FLOAT * (times * inner * columns + made)
    yield "the result is counted; two matrices are read for it.", FLOAT * made
    yield "those are FLOPs; bytes follow from how many numbers are touched.", product.flops
    yield "each FLOP does not move a number of its own.", FLOAT * product.flops
    if step in IN_PAIRS:
        yield "that is one head, and there are several.", product.moved // times
        yield (
            "each head reads matrices of its own.",
            FLOAT * (read // times + made),
        )
        return
    heads, wide = layer.heads, columns if step != "output" else inner
    if step != "output":
        yield (
            "X is read once for all heads, which are one product.",
            FLOAT * (heads * rows * inner + inner * wide + rows * wide),
        )
    else:
        yield (
            "all heads are one product, whose result is written once.",
            FLOAT * (rows * wide + wide * columns + heads * rows * columns),
        )
