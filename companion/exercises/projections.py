"""Checkers for the exercises of the chapter on queries, keys and values."""

from typing import Any

import numpy as np

from companion.arrays import array_module, to_numpy
from companion.examples.running_example import running_example
from companion.exercises.feedback import (
    Feedback,
    agrees,
    array,
    entries,
    finite,
    function,
    result,
    rounding,
    say,
    whole_number,
    written_out,
)
from companion.projections import bilinear_form

__all__ = [
    "check_crossover",
    "check_lost_direction",
    "check_narrow_head",
    "check_project_qkv",
    "check_symmetric_partner",
]

#: A matrix that differs from a multiple of another by less than this, relatively, is a multiple.
BARELY = 1e-4
WIDTH, HEAD_WIDTH = 512, 64
ROLES = ("query", "key", "value")


def check_project_qkv(attempt: Any, *, xp: Any = None) -> None:
    """Check a function (x, w_q, w_k, w_v, b_q, b_k, b_v) → (query, key, value), arrays of xp."""
    say(_project_qkv, attempt, xp or array_module())


def _project_qkv(attempt: Any, xp: Any) -> str:
    project = function(attempt, "write a function of x, three weights and three biases")
    rng = np.random.default_rng(0)
    # Square first: where every size is 4, no shape complains, and what is wrong can be named.
    for shape, key_width, value_width in (((4, 4), 4, 4), ((5, 6), 3, 4), ((1, 3), 2, 5)):
        _check_roles(project, xp, *_drawn(rng, shape, key_width, value_width))
    _check_roles(project, xp, *_drawn(rng, (2, 3, 5), 4, 2))
    return "Right: three maps of every row, each with a bias of its own, and no row meets another."


def _drawn(
    rng: np.random.Generator, shape: tuple[int, ...], key_width: int, value_width: int
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    widths = (key_width, key_width, value_width)
    x = 1 + rng.standard_normal(shape)
    weights = [rng.standard_normal((shape[-1], width)) for width in widths]
    return x, weights, [1 + rng.random(width) for width in widths]


def _check_roles(
    project: Any, xp: Any, x: np.ndarray, weights: list[np.ndarray], biases: list[np.ndarray]
) -> None:
    given = [xp.asarray(part) for part in (x, *weights, *biases)]
    returned = result(project, *given, case=f" for x {x.shape} and W^V {weights[2].shape}")
    made = entries(returned, 3, "return (query, key, value)")
    right = [x @ weight + bias for weight, bias in zip(weights, biases, strict=True)]
    shapes = [tuple(array(part).shape) for part in made]
    if shapes != [part.shape for part in right]:
        raise Feedback(_wrong_shapes(x.shape, shapes, [part.shape for part in right]))
    for role, part in enumerate(made):
        found = finite(part)
        if not agrees(found, right[role]):
            mistakes = _mistakes(role, x, weights, biases)
            seen = (mistake for mistake, rows in mistakes.items() if agrees(found, rows))
            trouble = next(seen, "something else is made than x times its weight plus its bias")
            raise Feedback(f"The shapes are right. In your {ROLES[role]} {trouble}.")


def _wrong_shapes(
    x: tuple[int, ...], found: list[tuple[int, ...]], right: list[tuple[int, ...]]
) -> str:
    role = next(i for i in range(3) if found[i] != right[i])
    asked = f"Your {ROLES[role]} should be {right[role]} for x {x}; it is {found[role]}."
    if found == [right[0], right[2], right[1]]:
        return f"{asked} Have key and value changed places?"
    missing = len(right[role]) - len(found[role])
    if missing:
        axes = "An axis is" if abs(missing) == 1 else f"{abs(missing)} axes are"
        return f"{asked} {axes} {'missing' if missing > 0 else 'too many'}."
    if found[role][:-1] != right[role][:-1]:
        swapped = sorted(found[role]) == sorted(right[role])
        return f"{asked} Your axes are in another order." if swapped else asked
    if any(shape[:-1] != right[role][:-1] for shape in found):
        return asked
    if sum(shape[-1] for shape in found) == sum(shape[-1] for shape in right):
        return f"{asked} Together your three are as wide as they should be: cut elsewhere."
    if len(set(found)) == 1 < len(set(right)):
        return f"{asked} All three of yours are equally wide, and the weights are not."
    return asked


def _mistakes(
    role: int, x: np.ndarray, weights: list[np.ndarray], biases: list[np.ndarray]
) -> dict[str, np.ndarray]:
    """Make what people make in place of a query, a key or a value, by what is wrong with it."""
    weight, bias = weights[role], biases[role]
    made = {"no bias is added": x @ weight, "the bias is taken away": x @ weight - bias}
    for other in {0, 1, 2} - {role}:
        if weights[other].shape == weight.shape:
            name, swapped, other_bias = ROLES[other], x @ weights[other], biases[other]
            made |= {
                f"you have what the {name} should be": swapped + other_bias,
                f"you have the weight of the {name}": swapped + bias,
                f"you have the weight of the {name} and no bias": swapped,
                f"you have the bias of the {name}": x @ weight + other_bias,
            }
    if x.ndim == 2 and len(x) == weight.shape[0] == weight.shape[1]:
        made |= {
            "the bias is added before the product": (x + bias) @ weight,
            "each token has a bias of its own, where each column should": x @ weight
            + bias[:, None],
            "the weight is transposed": x @ weight.T + bias,
            "the weight is transposed, and no bias is added": x @ weight.T,
            "the weight stands on the left, where it mixes tokens": weight @ x + bias,
            "the transposed weight stands on the left and mixes tokens": weight.T @ x + bias,
            "x is transposed": x.T @ weight + bias,
            "tokens are columns": (x @ weight + bias).T,
        }
    return made


def check_lost_direction(attempt: Any) -> None:
    """Check an array n (6,) that, added to a row, leaves the query of head 2 as it is."""
    say(_lost_direction, attempt)


def _lost_direction(attempt: Any) -> str:
    what_to_do = "set n to an array of six numbers, one for each feature"
    n = finite(written_out(attempt, what_to_do), (6,), "one number for each feature")
    if not np.any(n):
        raise Feedback("n is zero: adding nothing changes nothing. Some entry must differ from 0.")
    change = n @ running_example(np).w_q[1]
    if not np.max(np.abs(change)) <= rounding(n) * np.max(np.abs(n)):
        entry = int(np.argmax(np.abs(change)))
        raise Feedback(
            f"Adding n moves entry {entry + 1} of every query by {change[entry]:g}: the rows of "
            "W^Q, each taken as often as n says, must add up to zero in every column."
        )
    return "Right: n W^Q = 0, so x and x + n ask the same question, whatever x is."


def check_symmetric_partner(attempt: Any) -> None:
    """Check a :math:`W^K` (6, 3), no multiple of :math:`W^Q`, that makes its scores symmetric."""
    say(_symmetric_partner, attempt)


def _symmetric_partner(attempt: Any) -> str:
    given = written_out(attempt, "set partner to an array of shape (6, 3)")
    partner = finite(given, (6, 3), "that of W^Q")
    w_q = to_numpy(running_example(np).w_q[0])
    form = to_numpy(bilinear_form(w_q, partner.astype(w_q.dtype)))
    i, j = np.unravel_index(np.argmax(np.abs(form - form.T)), form.shape)
    if not abs(form[i, j] - form[j, i]) <= rounding(partner) * np.max(np.abs(form)):
        raise Feedback(
            f"Not symmetric: entry ({i + 1}, {j + 1}) of W^Q (W^K)ᵀ is {form[i, j]:g}, entry "
            f"({j + 1}, {i + 1}) is {form[j, i]:g}, and they differ by "
            f"{abs(form[i, j] - form[j, i]):.2g}. Which factor M makes W^Q M (W^Q)ᵀ symmetric?"
        )
    multiple = np.sum(partner * w_q) / np.sum(w_q * w_q) * w_q
    if not np.max(np.abs(partner - multiple)) > BARELY * np.max(np.abs(partner)):
        raise Feedback("The scores are symmetric, but this is a multiple of W^Q: find another.")
    return "Right: W^Q (W^K)ᵀ is symmetric, and W^K is no multiple of W^Q."


def check_crossover(attempt: Any) -> None:
    """Check the N at which one head of the 2017 sizes spends as much on pairs as on projecting."""
    say(_crossover, attempt)


def _crossover(attempt: Any) -> str:
    length = whole_number(attempt, "set crossover to a whole number of tokens")
    if length < 1:
        raise Feedback(f"A number of tokens is at least 1, got {length}.")
    projecting = 3 * length * WIDTH * HEAD_WIDTH
    pairing = 2 * length**2 * HEAD_WIDTH
    if projecting != pairing:
        compared = "projections still cost more than the pairs"
        if pairing > projecting:
            compared = "pairs already cost more than the projections"
        raise Feedback(
            f"At N = {length:,} the {compared}: {projecting:,} multiply-adds for the "
            f"projections, {pairing:,} for the pairs."
        )
    return "Right: below this N the projections are the larger part, above it the pairs are."


def check_narrow_head(attempt: Any, form: Any) -> None:
    """Check a pair of weights, both (d, m), of this bilinear form (d, d) with the smallest m."""
    say(_narrow_head, attempt, to_numpy(form))


def _narrow_head(attempt: Any, form: np.ndarray) -> str:
    what_to_do = "set narrow to a pair of arrays (w_q, w_k), both (6, m)"
    pair = entries(attempt, 2, what_to_do)
    w_q, w_k = (finite(written_out(part, what_to_do)) for part in pair)
    width = len(form)
    if w_q.ndim != 2 or w_q.shape != w_k.shape or len(w_q) != width:
        raise Feedback(
            f"Both must be (d={width}, m) with the same m: a row for each feature and a column for "
            f"each entry of a query or key. Got {w_q.shape} and {w_k.shape}."
        )
    made = w_q.astype(np.float64) @ w_k.T.astype(np.float64)
    tolerance = rounding(w_q, w_k) * np.max(np.abs(form))
    difference = np.max(np.abs(made - form))
    if np.max(np.abs(made.T - form)) <= tolerance < difference:
        raise Feedback("The form is transposed: queries and keys have changed places.")
    if not difference <= tolerance:
        raise Feedback(
            f"Another head: an entry of W^Q (W^K)ᵀ differs by {difference:g}, so the score of "
            "some pair of tokens does too."
        )
    if w_q.shape[1] > np.linalg.matrix_rank(form):
        raise Feedback(
            f"The scores are the same, in {w_q.shape[1]} columns: fewer are enough. What bounds "
            "their number from below?"
        )
    return "Right: the same scores, in as many columns as the form has rank. Fewer cannot do it."
