"""A checker for a step of AdamW that the reader writes."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

import numpy as np

from companion.exercises.feedback import Feedback, agrees, entries, floats, function, result, say
from companion.exercises.mistakes import check_named, check_nearly

__all__ = ["check_adamw"]

#: What is said of a mistake, and what it makes of a draw.
Mistake = tuple[str, np.ndarray]

RATE, DECAY, BETAS, EPS = 0.01, 0.1, (0.9, 0.95), 1e-8
#: Where a step's parts stand, in the order in which they are judged: each is made of those before.
PLACES = {"mean": 1, "square": 2, "parameter": 0}
UNLIKE = {
    "mean": "The mean is not the running mean of the gradient",
    "square": "The square is not the running mean of the gradient's square",
    "parameter": "The means are right, and the parameter does not go where it should",
}


class Draw(NamedTuple):
    """What a step is taken from."""

    parameter: np.ndarray
    gradient: np.ndarray
    mean: np.ndarray
    square: np.ndarray
    step: int

    @property
    def case(self) -> str:
        return f" at step {self.step} for a parameter {self.parameter.shape}"


def check_adamw(attempt: Any) -> None:
    """Check a function (parameter, gradient, mean, square, step from 1) → parameter and means."""
    say(_adamw, attempt)


def _adamw(attempt: Any) -> str:
    move = function(attempt, "write a function of parameter, gradient, mean, square and step")
    draws = list(_draws())
    found = [_taken(move, draw) for draw in draws]
    for name, place in PLACES.items():
        for draw, parts in zip(draws, found, strict=True):
            right = _step(draw)[place]
            if not agrees(parts[place], right, size=np.abs(right).max()):
                _say_what_it_is(name, parts[place], draw, draws, move)
    return "Right: two running means, their start made up for, and a decay that stands outside."


def _draws() -> Iterator[Draw]:
    rng = np.random.default_rng(0)
    for shape in ((3, 4), (5,), (2, 1, 3)):
        parameter, mean, square = rng.standard_normal(shape), np.zeros(shape), np.zeros(shape)
        for step in range(1, 6):
            gradient = rng.standard_normal(shape) * 10.0 ** rng.uniform(-3, 1)
            draw = Draw(parameter, gradient, mean, square, step)
            yield draw
            parameter, mean, square = _step(draw)


def _taken(move: Callable[..., Any], draw: Draw) -> list[np.ndarray]:
    returned = result(move, *draw, case=draw.case)
    parts = entries(returned, 3, "return (parameter, mean, square)")
    meaning = f"that of the parameter{draw.case}"
    return [floats(part, draw.parameter.shape, meaning) for part in parts]


def _step(
    draw: Draw, *, corrected: bool = True, root: bool = True, decay: float = DECAY
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Take the step, or one of those that are written instead."""
    parameter, gradient, mean, square, step = draw
    (b_1, b_2), n = BETAS, step if corrected else 1000
    mean, square = b_1 * mean + (1 - b_1) * gradient, b_2 * square + (1 - b_2) * gradient**2
    m, v = mean / (1 - b_1**n), square / (1 - b_2**n)
    towards = m / ((np.sqrt(v) if root else v) + EPS)
    return parameter - RATE * (towards + decay * parameter), mean, square


def _say_what_it_is(
    name: str, found: np.ndarray, wrong: Draw, draws: list[Draw], move: Callable[..., Any]
) -> NoReturn:
    """Stop the check with what is wrong with a part of the step, where it was not right."""
    place, mistakes = PLACES[name], MISTAKES[name]
    check_named(
        wrong,
        draws,
        lambda draw: _taken(move, draw)[place],
        lambda draw: [(f"{UNLIKE[name]}{wrong.case}: {said}.", m) for said, m in mistakes(draw)],
    )
    check_nearly(
        found,
        _step(wrong)[place],
        why="Is it 10⁻⁸ that you add, to the root and after the correction? Or is it float32?",
    )
    raise Feedback(f"{UNLIKE[name]}{wrong.case}.")


def _other_means(draw: Draw) -> list[Mistake]:
    kept, gradient = BETAS[0], draw.gradient
    coupled, right = gradient + DECAY * draw.parameter, _step(draw)[1]
    return [
        (
            "the decay is in it, and a decoupled one stands outside of the means",
            kept * draw.mean + (1 - kept) * coupled,
        ),
        (
            "the new gradient is counted whole, and should be by a tenth",
            kept * draw.mean + gradient,
        ),
        (
            "what you keep is corrected already, and is then corrected anew",
            right / (1 - kept**draw.step),
        ),
        (
            "it keeps a tenth of itself, and should keep nine",
            (1 - kept) * draw.mean + kept * gradient,
        ),
        ("the gradient's sign is the other one", kept * draw.mean - (1 - kept) * gradient),
    ]


def _other_squares(draw: Draw) -> list[Mistake]:
    kept, new = BETAS[1], draw.gradient**2
    return [
        ("the new square is counted whole, and should be by a twentieth", kept * draw.square + new),
        (
            "what you keep is corrected already, and is then corrected anew",
            _step(draw)[2] / (1 - kept**draw.step),
        ),
        ("nothing is squared", kept * draw.square + (1 - kept) * draw.gradient),
        ("it is the mean that is squared", kept * draw.square + (1 - kept) * _step(draw)[1] ** 2),
        ("it keeps 0.9 of itself, and should keep 0.95", 0.9 * draw.square + 0.1 * new),
    ]


def _other_parameters(draw: Draw) -> list[Mistake]:
    before, right, still = draw.parameter, _step(draw)[0], _step(draw, decay=0.0)[0]
    return [
        (
            "the means begin at 0, and nothing makes up for it",
            _step(draw, corrected=False)[0],
        ),
        ("it is divided by the square's mean, not by its root", _step(draw, root=False)[0]),
        ("nothing decays", still),
        ("it goes up the slope", right + 2 * (before - still)),
        ("it goes up the slope, and grows where it should decay", 2 * before - right),
        ("that is plain gradient descent", before - RATE * draw.gradient),
        ("the decay is not times the rate", still - DECAY * before),
    ]


MISTAKES: dict[str, Callable[[Draw], list[Mistake]]] = {
    "mean": _other_means,
    "square": _other_squares,
    "parameter": _other_parameters,
}
