"""Checkers for the exercises of the chapter on softmax and weighted values."""

from collections.abc import Callable
from typing import Any

import numpy as np

from companion.arrays import array_module, to_numpy
from companion.examples.running_example import running_example
from companion.exercises.feedback import (
    Feedback,
    agrees,
    entries,
    floats,
    function,
    members,
    number,
    result,
    rounding,
    say,
)
from companion.projections import project_qkv
from companion.scores import scaled_scores
from companion.softmax import softmax

__all__ = [
    "check_jacobian_product",
    "check_mixture",
    "check_needed_lead",
    "check_quiet_softmax",
    "check_rising_tokens",
]

#: A lead may be off by the rounding of a few steps, also in float32.
ROUNDED = 1e-5


def check_rising_tokens(attempt: Any) -> None:
    """Check which of the five tokens get more weight from *cat* when all its scores double."""
    say(_rising_tokens, attempt)


def _rising_tokens(attempt: Any) -> str:
    named = members(attempt, "A set of tokens", "name tokens, such as {'the', 'ran'}")
    example = running_example(np)
    strangers = [t for t in named if not (isinstance(t, str) and t in example.tokens)]
    if strangers:
        raise Feedback(f"{strangers[0]!r:.40} is none of the tokens {', '.join(example.tokens)}.")
    query, key, _ = project_qkv(example.x, example.w_q[0], example.w_k[0], example.w_v[0])
    scores = scaled_scores(query, key)[2]
    rises = to_numpy(softmax(2 * scores) > softmax(scores))
    rising = {token for token, more in zip(example.tokens, rises, strict=True) if more}
    falling = set(named) - rising
    if falling:
        raise Feedback(
            f"Tokens you name that get less weight: {len(falling)}. Doubling favours a score only "
            "if it lies above the average score, taken with the weights."
        )
    if set(named) != rising:
        raise Feedback("A token that gains is missing: the weights still sum to one.")
    return "Right: no other score lies above the mean that the weights make."


def check_mixture(attempt: Any) -> None:
    """Check a function (scores, value) → (weights, output): a stable softmax and its mixture."""
    say(_mixture, attempt)


def _mixture(attempt: Any) -> str:
    mixture = function(attempt, "write a function of scores and value")
    rng = np.random.default_rng(0)
    for lead, t, s, d_v in (((), 4, 5, 3), ((), 1, 6, 2), ((), 5, 1, 4), ((2, 3), 4, 7, 5)):
        scores = 2 * rng.standard_normal((*lead, t, s))
        value = 1 + rng.standard_normal((*lead, s, d_v))
        _check_small(mixture, scores, value)
        _check_levels(mixture, scores, value)
        _check_silence(mixture, scores, value)
    return "Right: any number of leading axes, any level of the scores, and a row may say nothing."


def _mixed(mixture: Callable[..., Any], scores: np.ndarray, value: np.ndarray) -> list[np.ndarray]:
    case = f" for scores {scores.shape} and value {value.shape}"
    pair = result(mixture, *_moved(scores, value), case=case)
    weights, output = entries(pair, 2, "return two arrays, (weights, output)")
    shape = (*scores.shape[:-1], value.shape[-1])
    return [
        floats(weights, scores.shape, f"the weights, one for each score{case}"),
        floats(output, shape, f"the output, a mixture for each query{case}"),
    ]


def _are_weights(found: np.ndarray, scores: np.ndarray) -> bool:
    size = 8 + np.abs(scores, where=np.isfinite(scores), out=np.zeros_like(scores)).max()
    return agrees(found, to_numpy(softmax(scores)), size=size, roundings=8)


def _check_small(mixture: Callable[..., Any], scores: np.ndarray, value: np.ndarray) -> None:
    try:
        weights, output = _mixed(mixture, scores, value)
    except Feedback as trouble:
        raise _why_it_stops(mixture, trouble, batch=scores.ndim > 2) from None
    case = f" for scores {scores.shape}"
    if not _are_weights(weights, scores):
        raise Feedback(_other_weights(weights, scores, case))
    right = to_numpy(softmax(scores))
    if agrees(output, right @ value, size=np.abs(value).max()):
        return
    best = np.take_along_axis(value, scores.argmax(axis=-1)[..., None], axis=-2)
    for other, words in (
        (np.exp(scores) @ value, "the exponentials, which do not sum to one"),
        (scores @ value, "the scores"),
        (np.broadcast_to(value.mean(axis=-2, keepdims=True), output.shape), "equal weights"),
        (best, "the best key alone"),
    ):
        if np.allclose(output, other, rtol=1e-5):
            raise Feedback(f"The weights are right{case}; the values are mixed with {words}.")
    raise Feedback(f"The weights are right{case}, but output i is not Σ_j w_ij v_j.")


def _other_weights(found: np.ndarray, scores: np.ndarray, case: str) -> str:
    """Say what the weights are, where they are not the softmax of each row."""
    powers, columns = np.exp(scores), scores.max(axis=-2, keepdims=True)
    for other, words in (
        (softmax(scores, axis=-2), "Your columns sum to one, not your rows"),
        (softmax(scores, axis=1 - scores.ndim), "You count the axis of the sum from the front"),
        (powers / powers.sum(), "All weights together sum to one, and each row should"),
        (powers, "Those are exponentials that nobody has shared out"),
        (scores / scores.sum(axis=-1, keepdims=True), "You share out the scores themselves"),
        (softmax(scores - columns), "What you subtract differs within a row, so ratios change"),
    ):
        if np.allclose(found, to_numpy(other), rtol=1e-5):
            return f"{words}{case}."
    total = found.sum(axis=-1, keepdims=True)
    wrong = ~(np.abs(total - 1) <= 1e-6)
    if wrong.any():
        return f"Row {_place(wrong)} of your weights sums to {total[wrong][0]:.6g}{case}."
    logs, spread = (a - a.mean(axis=-1, keepdims=True) for a in (np.log(found), scores))
    factor = np.sum(logs * spread) / np.sum(spread * spread)
    if np.allclose(logs, factor * spread, atol=1e-6):
        return f"Those are the weights of scores {factor:.4g} times as large{case}."
    return f"Your rows sum to one, but w_ij / w_il is not exp(s_ij − s_il){case}."


def _check_levels(mixture: Callable[..., Any], scores: np.ndarray, value: np.ndarray) -> None:
    apart = np.resize([-1000.0, 0.0, 1000.0, 5.0], scores.shape[:-1])[..., None]
    for level, words in (
        (1000.0, "1000 added to each, something overflows or is cut off."),
        (apart, "rows around −1000, 0 and 1000 they do not: whose maximum do you subtract?"),
    ):
        if not _are_weights(_mixed(mixture, scores + level, value)[0], scores + level):
            raise Feedback(f"Small scores come out right; with {words}")


def _check_silence(mixture: Callable[..., Any], scores: np.ndarray, value: np.ndarray) -> None:
    hidden = scores.copy()
    hidden[..., 0, :] = -np.inf  # a row with nothing to attend to
    hidden[..., 1:, : scores.shape[-1] // 2] = -np.inf
    weights, output = _mixed(mixture, hidden, value)
    nothing = weights[..., 0, :]
    if np.isnan(nothing).any():
        raise Feedback("A row of nothing but −∞ becomes NaN: what is −∞ − (−∞)?")
    if nothing.any():
        weight = nothing[nothing != 0][0]
        raise Feedback(
            f"A row of nothing but −∞ attends to nothing; yours has a weight {weight:.4g}."
        )
    right = to_numpy(softmax(hidden)) @ value
    if not (_are_weights(weights, hidden) and agrees(output, right, size=np.abs(value).max())):
        raise Feedback("With scores of −∞ in its rows, the weights or the output are not right.")


def _why_it_stops(mixture: Callable[..., Any], trouble: Feedback, *, batch: bool) -> Feedback:
    """Say more of a function that stops: where all is square, a wrong transpose runs."""
    if batch:
        return Feedback(f"One head comes out right; with leading axes it does not. {trouble}")
    scores, value = np.random.default_rng(1).standard_normal((2, 3, 3))
    try:
        output = _mixed(mixture, scores, value)[1]
    except Feedback:
        return trouble
    weights = to_numpy(softmax(scores))
    for other, words in (
        (weights.mT @ value, "a column of the weights"),
        (weights @ value.mT, "the columns of value"),
    ):
        if np.allclose(output, other, rtol=1e-5):
            return Feedback(f"Your mixture takes {words}: that runs only where all is square.")
    return trouble


def check_jacobian_product(attempt: Any) -> None:
    """Check a function (weights, gradient by them) → gradient by the scores, all (..., n)."""
    say(_jacobian_product, attempt)


def _jacobian_product(attempt: Any) -> str:
    back = function(attempt)
    rng = np.random.default_rng(1)
    for shape, spread, size in (((3, 7), 1, 1), ((4,), 3, 1e3), ((2, 3, 5), 0.3, 1e-3)):
        w = to_numpy(softmax(spread * rng.standard_normal(shape)))
        g = size * (1 + rng.standard_normal(shape))
        case = f" for arrays of shape {shape}"
        returned = result(back, *_moved(w, g), case=case)
        got = floats(returned, shape, f"{_rows_of(shape)}, as they came")
        right = w * (g - (w * g).sum(axis=-1, keepdims=True))
        _check_gradient(got, right, size=(w * np.abs(g)).sum(axis=-1, keepdims=True))
    return "Right. If you formed J on the way, ask what it costs for n = 100,000."


def _check_gradient(got: np.ndarray, right: np.ndarray, size: np.ndarray) -> None:
    wrong = ~(np.abs(got.sum(axis=-1, keepdims=True)) <= rounding(got) * size)
    if wrong.any():
        raise Feedback(
            f"Row {_place(wrong)} does not sum to zero, but adding one number to all scores "
            "of a row changes no weight."
        )
    wrong = ~(np.abs(got - right) <= rounding(got) * size)
    if wrong.any():
        raise Feedback(
            f"Row {_place(wrong)} sums to zero, but is not the Jacobian times its gradient."
        )


def _place(wrong: np.ndarray) -> Any:
    """Return the place, among the leading axes, of the first row with something wrong."""
    place = tuple(int(i) for i in np.argwhere(wrong)[0][:-1])
    return place[0] if len(place) == 1 else place or 0


def _rows_of(shape: tuple[int, ...]) -> str:
    return f"{' × '.join(str(n) for n in shape[:-1])} rows, each with {shape[-1]} scores".lstrip()


def check_quiet_softmax(attempt: Any) -> None:
    """Check a softmax whose row may also say nothing: exp(s_j) / (1 + the sum of exp(s_l))."""
    say(_quiet_softmax, attempt)


def _quiet_softmax(attempt: Any) -> str:
    quiet = function(attempt)
    rng = np.random.default_rng(3)
    for shape in ((3, 4), (6,), (2, 3, 5)):
        scores = rng.standard_normal(shape)
        _check_quiet(quiet, scores)
        if len(shape) > 1:
            # Rows so far apart that one maximum for all of them would not do.
            levels = np.resize([-1000.0, 0.0, 1000.0, 5.0], shape[:-1])
            if not _is_quiet(quiet, scores + levels[..., None]):
                raise Feedback(
                    f"Where all rows of {shape} are alike it is right; with rows around −1000, 0 "
                    "and 1000 in one array some row is wrong. Whose maximum is taken away from it?"
                )
    return "Right: it is the softmax with one more key, of score 0 and value 0."


def _check_quiet(quiet: Callable[..., Any], scores: np.ndarray) -> None:
    if agrees(_quiet_weights(quiet, scores).sum(axis=-1), np.ones(scores.shape[:-1])):
        raise Feedback("Every row sums to one: nothing is left for saying nothing.")
    if not _is_quiet(quiet, scores) or not _is_quiet(quiet, 3 * scores - 4):
        raise Feedback("For small scores the weights are not exp(s_j) / (1 + Σ exp(s_l)).")
    if not _is_quiet(quiet, scores + 1000.0):
        raise Feedback(
            "Small scores come out right; with 1000 added to each, something "
            "overflows or is cut off."
        )
    if not _is_quiet(quiet, scores - 1000.0):
        total = _quiet_weights(quiet, scores - 1000.0).sum(axis=-1).flat[0]
        raise Feedback(
            "Small and large scores come out right; with 1000 taken from each, the weights "
            f"should all but vanish, and row 0 sums to {total:.2g}."
        )


def _is_quiet(quiet: Callable[..., Any], scores: np.ndarray) -> bool:
    top = np.maximum(scores.max(axis=-1, keepdims=True), 0.0)
    powers = np.exp(scores - top)
    right = powers / (np.exp(-top) + powers.sum(axis=-1, keepdims=True))
    size = 8 + np.abs(scores).max()  # what rounds a score of this size changes its power as much
    return agrees(_quiet_weights(quiet, scores), right, size=size, roundings=8)


def _quiet_weights(quiet: Callable[..., Any], scores: np.ndarray) -> np.ndarray:
    returned = result(quiet, *_moved(scores), case=f" for scores of shape {scores.shape}")
    return floats(returned, scores.shape, _rows_of(scores.shape))


def check_needed_lead(attempt: Any) -> None:
    """Check a function (n, p) → lead of one score over n − 1 equal ones that makes its weight p."""
    say(_needed_lead, attempt)


def _needed_lead(attempt: Any) -> str:
    needed_lead = function(attempt)
    for n, p in ((2, 0.5), (2, 0.9), (3, 0.1), (10, 0.5), (1000, 0.25), (100_000, 0.99)):
        case = f" for n = {n} and p = {p}"
        lead = number(result(needed_lead, n, p, case=case), "return the lead")
        weight = float(softmax(np.where(np.arange(n) == 0, lead, 0.0))[0])
        if not abs(weight - p) <= ROUNDED * p * (1 - p):
            raise Feedback(f"Your lead{case} gives the one token the weight {weight:.8g}.")
    return "Right: the needed lead grows like the logarithm of the length."


def _moved(*arrays: np.ndarray) -> list[Any]:
    xp = array_module()
    return [xp.asarray(array, dtype=xp.float64) for array in arrays]
