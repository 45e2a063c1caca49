"""A checker for a feed-forward network that the reader writes: it knows what goes wrong in one.

Each mistake is a network of its own here. A reader's network is run on the same numbers, and the
mistake that gives what it gives is named.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from companion.arrays import array_module
from companion.exercises.feedback import (
    Feedback,
    agrees,
    floats,
    function,
    result,
    say,
)
from companion.exercises.mistakes import check_named, check_nearly, one_array
from companion.feed_forward import gelu, relu, silu

__all__ = ["check_two_layers"]

FEW_DIGITS = "Do you round, compute in float32, or take a Φ of few digits?"
Bend = Callable[[Any], Any]
ROUNDINGS = 2**12  # of sums over a hidden row, which cancel


class Network(NamedTuple):
    """What a reader's function is handed, on the host."""

    x: np.ndarray  # (..., N, d)
    w_1: np.ndarray  # (d, d_ff)
    b_1: np.ndarray  # (d_ff,)
    w_2: np.ndarray  # (d_ff, d)
    b_2: np.ndarray  # (d,)


def check_two_layers(attempt: Any) -> None:
    """Check a function (x, w_1, b_1, w_2, b_2) → rows of the shape of x, with the exact GELU."""
    say(_two_layers, attempt)


def _two_layers(attempt: Any) -> str:
    network = function(attempt, "write two_layers(x, w_1, b_1, w_2, b_2)")
    rng = np.random.default_rng(23)
    sizes = ((5, 6), 9, 1.0), ((4, 7), 3, 3.0), ((1, 4), 11, 1.0)
    draws = [*(_drawn(rng, *size) for size in sizes), _drawn_apart(rng)]
    for drawn in draws:
        found, right = _run(network, drawn), _fed(drawn)
        if agrees(found, right, roundings=ROUNDINGS):
            continue
        run = functools.partial(_run, network)
        check_named(drawn, draws, run, _mistakes, roundings=ROUNDINGS)
        if drawn is draws[-1]:
            raise Feedback(
                "Near zero your bend is right, some units away from it is not: GELU is never cut "
                "off, only small."
            )
        check_nearly(found, right, within=1e-4, why=FEW_DIGITS)
        raise Feedback(_what_is_seen(found, drawn))
    _check_edges(network, rng)
    return "Right: wider, bent entry by entry, narrow again, and each row by itself."


def _check_edges(network: Callable[..., Any], rng: np.random.Generator) -> None:
    """Try pre-activations that are very large, and a batch."""
    for drawn, said in (
        (
            _drawn(rng, (5, 6), 9, 1e3),
            "Ordinary rows come out right, very large ones do not: does something overflow?",
        ),
        (
            _drawn(rng, (2, 5, 6), 9, 1.0),
            "One sentence comes out right, a batch of them does not: which axes do you name?",
        ),
    ):
        if not agrees(_run(network, drawn), _fed(drawn), roundings=ROUNDINGS):
            raise Feedback(said)


def _drawn(rng: np.random.Generator, shape: tuple[int, ...], hidden: int, spread: float) -> Network:
    """Draw rows and a network in which no two sizes are equal and no bias is small."""
    width = shape[-1]
    w_1 = rng.standard_normal((width, hidden)) / width**0.5
    w_2 = rng.standard_normal((hidden, width)) / hidden**0.5
    x = spread * rng.standard_normal(shape)
    return Network(x, w_1, rng.standard_normal(hidden), w_2, rng.standard_normal(width))


def _drawn_apart(rng: np.random.Generator) -> Network:
    """Draw a row whose pre-activations go from −8 to 8, and none is 0."""
    drawn = _drawn(rng, (1, 5), 32, 1.0)
    return drawn._replace(b_1=np.linspace(-8, 8, 32) - (drawn.x @ drawn.w_1)[0])


def _run(network: Callable[..., Any], drawn: Network) -> np.ndarray:
    xp = array_module()
    case = f" for x of shape {drawn.x.shape}"
    returned = result(network, *(xp.asarray(array) for array in drawn), case=case)
    given = one_array(returned, "the rows")
    return floats(given, drawn.x.shape, "a row for each row of x, as wide")


def _same(h: Any) -> Any:
    return h


def _chance(h: Any) -> Any:
    """Give the chance that a standard normal number is smaller; no number that is drawn is 0."""
    return gelu(h) / h


def _fed(network: Network, *, bend: Bend = gelu, first: Bend = _same, last: Bend = _same) -> Any:
    """Return the network's output, or that of one with another bend or with more of them."""
    x, w_1, b_1, w_2, b_2 = network
    return last(bend(first(x) @ w_1 + b_1) @ w_2 + b_2)


def _mistakes(network: Network) -> Iterator[tuple[str, Any]]:
    """Yield what to say of each mistake, and the output that it makes."""
    x, w_1, b_1, w_2, b_2 = network
    for bend, said in _wrong_bends():
        yield said, _fed(network, bend=bend)
    yield (
        "You bend what leaves the second layer too: the bend stands between the two products.",
        _fed(network, last=gelu),
    )
    yield (
        "You bend only what leaves the second layer. Between the products nothing is bent.",
        _fed(network, bend=_same, last=gelu),
    )
    yield "You bend the row that enters: it goes in as it is.", _fed(network, first=gelu)
    yield (
        "You bend before the first product: what is bent are the pre-activations.",
        _fed(network, first=gelu, bend=_same),
    )
    none = 0 * b_1, 0 * b_2
    yield "Both biases are missing.", _fed(network._replace(b_1=none[0], b_2=none[1]))
    yield "The first bias is missing.", _fed(network._replace(b_1=none[0]))
    yield "The second bias is missing.", _fed(network._replace(b_2=none[1]))
    yield (
        "The first bias comes after the bend: it belongs to the pre-activation.",
        (gelu(x @ w_1) + b_1) @ w_2 + b_2,
    )
    yield (
        "You add the row itself: that residual belongs to the block around the network.",
        x + _fed(network),
    )


def _wrong_bends() -> Iterator[tuple[Bend, str]]:
    yield _same, "Nothing is bent: two layers without an activation are one."
    yield relu, "That is ReLU. GELU weighs a number by Φ of it."
    yield silu, "That is SiLU: it weighs by the logistic function, and GELU by Φ."
    yield (
        functools.partial(gelu, approximate="tanh"),
        "That is the tanh form, which is close. The exact GELU is asked for.",
    )
    yield (
        lambda h: silu(1.702 * h) / 1.702,
        "That is the logistic function of 1.702 x in place of Φ, which is close. The exact GELU is "
        "asked for.",
    )
    root = 2**0.5
    yield lambda h: gelu(root * h) / root, "Φ(x) is erfc(−x/√2)/2: where is your root of two?"
    yield lambda h: h * (1 - _chance(h)), "Mind the sign: a large number should pass."
    yield lambda h: 2 * gelu(h), "Twice too much is let through: Φ is a half of erfc."
    yield _chance, "Your hidden row holds the chances Φ. They are what its numbers are weighed by."
    yield (
        lambda h: h * (2 * _chance(h) - 1),
        "At 0 the weight should be a half: you have erf in place of Φ.",
    )
    yield (
        lambda h: h * (_chance(h) - 0.5),
        "At 0 the weight should be a half: you have erf in place of 1 + erf.",
    )
    yield np.tanh, "That is the hyperbolic tangent."
    yield lambda h: 1 / (1 + np.exp(-h)), "That is the logistic function alone."


def _what_is_seen(found: np.ndarray, network: Network) -> str:
    if not np.isfinite(found).all():
        return "Some of your numbers are not finite. Which step makes them?"
    if agrees(found, network.x):
        return "You return x as it came."
    rows = found - found[..., :1, :]
    if len(network.x) > 1 and agrees(rows, 0 * rows, size=np.abs(found).max()):
        return "All your rows are alike: each should come from its own row of x."
    return "Not yet. Look at the hidden row first: is each entry GELU of a pre-activation?"
