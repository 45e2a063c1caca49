"""A checker for a step of AdamW that the reader writes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from companion.exercises.feedback import Feedback, agrees, entries, floats, function, result, say

__all__ = ["check_adamw"]

RATE, DECAY, BETAS, EPS = 0.01, 0.1, (0.9, 0.95), 1e-8


def check_adamw(attempt: Any) -> None:
    """Check a function (weight, gradient, mean, square, step ≥ 1) → (weight, mean, square)."""
    say(_adamw, attempt)


def _adamw(attempt: Any) -> str:
    move = function(attempt, "write a function of weight, gradient, mean, square and step")
    rng = np.random.default_rng(0)
    for shape in ((3, 4), (5,), (2, 1, 3)):
        weight, mean, square = rng.standard_normal(shape), np.zeros(shape), np.zeros(shape)
        for step in range(1, 6):
            gradient = rng.standard_normal(shape) * 10.0 ** rng.uniform(-3, 1)
            given = (weight, gradient, mean, square)
            case = f" at step {step} for a weight {shape}"
            found = _taken(move, given, step, case)
            right = _step(given, step)
            for part, wanted, name in zip(found, right, ("weight", "mean", "square"), strict=True):
                if not agrees(part, wanted, size=np.abs(wanted).max()):
                    raise Feedback(_what_it_is(name, part, given, step, case))
            weight, mean, square = right
    return "Right: two running means, their start made up for, and a decay that stands outside."


def _taken(
    move: Callable[..., Any], given: tuple[np.ndarray, ...], step: int, case: str
) -> list[np.ndarray]:
    parts = entries(result(move, *given, step, case=case), 3, "return (weight, mean, square)")
    return [floats(part, given[0].shape, f"that of the weight{case}") for part in parts]


def _step(
    given: tuple[np.ndarray, ...],
    step: int,
    *,
    corrected: bool = True,
    root: bool = True,
    coupled: bool = False,
    decay: float = DECAY,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Take the step, or one of those that are written instead."""
    weight, gradient, mean, square = given
    (b_1, b_2), n = BETAS, step if corrected else 1000
    gradient = gradient + decay * weight if coupled else gradient
    mean, square = b_1 * mean + (1 - b_1) * gradient, b_2 * square + (1 - b_2) * gradient**2
    m, v = mean / (1 - b_1**n), square / (1 - b_2**n)
    towards = m / ((np.sqrt(v) if root else v) + EPS)
    return weight - RATE * (towards + (0 if coupled else decay * weight)), mean, square


def _what_it_is(
    name: str, found: np.ndarray, given: tuple[np.ndarray, ...], step: int, case: str
) -> str:
    weight, gradient = given[:2]
    right = _step(given, step)[0]
    if name != "weight":
        of = "gradient" if name == "mean" else "square of the gradient"
        corrected = _step(given, step)[1] / (1 - BETAS[0] ** step)
        if name == "mean" and np.allclose(found, corrected):
            return f"What you keep of the mean is corrected already{case}; it is corrected anew."
        return f"The {name} is not the running mean of the {of}{case}."
    for wrong, words in (
        (_step(given, step, coupled=True)[0], "a decoupled decay stands outside of the means"),
        (
            _step(given, step, corrected=False)[0],
            "the means begin at 0, and nothing makes up for it",
        ),
        (_step(given, step, root=False)[0], "it is divided by the square's mean, not by its root"),
        (_step(given, step, decay=0.0)[0], "nothing decays"),
        (2 * weight - right, "it goes up the slope"),
        (weight - RATE * gradient, "that is plain gradient descent"),
        (_step(given, step, decay=0.0)[0] - DECAY * weight, "the decay is not times the rate"),
    ):
        if np.allclose(found, wrong, rtol=1e-9, atol=0):
            return f"The weight does not go where it should{case}: {words}."
    return f"The means are right, and the weight does not go where it should{case}."
