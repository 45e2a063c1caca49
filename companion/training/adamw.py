"""AdamW: each weight steps by its mean gradient over that gradient's usual size, and decays."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

from companion.arrays import Array, array_namespace, cast, widen
from companion.parameters import P, map_parameters, named_parameters

__all__ = ["AdamWState", "adamw", "clip_gradients", "is_decayed"]


@dataclass(frozen=True, eq=False)
class AdamWState(Generic[P]):
    """What AdamW remembers from step to step.

    Attributes
    ----------
    step : int
        Steps that were taken.
    mean, square : the kind that the parameters are
        Running means of the gradient and of its square, not yet corrected for their start at 0.
    """

    step: int
    mean: P
    square: P

    @classmethod
    def zero(cls, parameters: P) -> "AdamWState[P]":
        """Make the state before the first step."""
        xp = array_namespace(**named_parameters(parameters))
        nothing = map_parameters(lambda a: xp.zeros_like(widen(xp, a)), parameters)
        return cls(0, nothing, nothing)


def is_decayed(name: str) -> bool:
    """Say by a weight's name whether decay draws it towards 0: no norm's does, and no bias.

    A norm's weight says how large a row is, and is meant to stay near 1; a bias moves it, and
    multiplies nothing. Every matrix decays, and so does an embedding: where it is tied it makes the
    logits, and their size is what decay holds down. A norm is what has a name that begins with
    ``norm``, and a bias is called ``bias`` or ``b_…``, as in this library; other names need a rule
    of their own.

    Parameters
    ----------
    name : str
        As :func:`companion.named_parameters` writes it.

    Returns
    -------
    bool
    """
    *above, last = name.split(".")
    is_norm = any(part.startswith("norm") for part in (*above, last))
    return not is_norm and last != "bias" and not last.startswith("b_")


def adamw(
    parameters: P,
    gradients: P,
    state: AdamWState[P] | None = None,
    *,
    learning_rate: float,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.1,
    decays: Callable[[str], bool] = is_decayed,
) -> tuple[P, AdamWState[P]]:
    r"""Take one step against the gradient.

    With the means :math:`m \leftarrow \beta_1 m + (1 - \beta_1) g` and
    :math:`v \leftarrow \beta_2 v + (1 - \beta_2) g^2` at step t, each divided by
    :math:`1 - \beta^t`, which makes up for their start at 0:
    :math:`w \leftarrow w - \eta\,(\hat m / (\sqrt{\hat v} + \varepsilon) + \lambda w)`. The decay
    stands outside the fraction, decoupled: the size of the gradient does not change it.

    Parameters
    ----------
    parameters : parameter dataclass, or tuple or list of such
    gradients : the kind that `parameters` is
        A gradient in the place of each weight.
    state : AdamWState, optional
        What the step before returned, for the same parameters; a first step starts from zeros.
    learning_rate : float
        η, about how far a weight goes.
    betas : pair of float
        β₁ and β₂, what the means keep of themselves at each step.
    eps : float
        ε, which bounds the step where gradients are all but 0.
    weight_decay : float
        λ, for the weights that decay.
    decays : callable
        Says it by a weight's name; :func:`is_decayed` where it is left out.

    Returns
    -------
    parameters, state
        New ones; the arguments stay what they are.

    Raises
    ------
    TypeError
        If `gradients` or the means are of another kind than the parameters.
    ValueError
        If an option is out of range, a gradient or a mean has another shape than its weight, or
        one of them stands alone.

    References
    ----------
    Kingma and Ba, *Adam*, 2015. Loshchilov and Hutter, *Decoupled weight decay*, 2019.
    """
    check_adamw(learning_rate, betas, eps, weight_decay)
    names = named_parameters(parameters)
    _check_like(parameters, gradients, "gradients", "the gradient")
    if state is not None:
        _check_like(parameters, state.mean, "state.mean", "the mean")
        _check_like(parameters, state.square, "state.square", "the mean square")
    xp = array_namespace(**names, **{f"d {n}": g for n, g in named_parameters(gradients).items()})
    state = AdamWState.zero(parameters) if state is None else state
    step, (beta_1, beta_2) = state.step + 1, betas
    start_1, start_2 = 1 - beta_1**step, 1 - beta_2**step
    wide = map_parameters(lambda g: widen(xp, g), gradients)
    mean = map_parameters(lambda m, g: beta_1 * m + (1 - beta_1) * g, state.mean, wide)
    square = map_parameters(lambda v, g: beta_2 * v + (1 - beta_2) * (g * g), state.square, wide)
    shares = iter([weight_decay if decays(name) else 0.0 for name in names])

    def moved(w: Array, m: Array, v: Array) -> Array:
        kept = 1 - learning_rate * next(shares)
        towards = m / (xp.sqrt(v / start_2) + eps)
        return cast(xp, widen(xp, w) * kept - towards * (learning_rate / start_1), w.dtype)

    return map_parameters(moved, parameters, mean, square), AdamWState(step, mean, square)


def check_adamw(
    learning_rate: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> None:
    """Raise unless a step can be taken with these options."""
    for name, value in (("learning_rate", learning_rate), ("weight_decay", weight_decay)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be finite and not negative, got {value}")
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must be two numbers of at least 0 and below 1, got {betas}")
    if not 0 < eps < math.inf:
        raise ValueError(f"eps must be positive and finite, got {eps}")


def _check_like(parameters: Any, others: Any, argument: str, each: str) -> None:
    if type(others) is not type(parameters):
        raise TypeError(
            f"{argument} must be of the kind of the parameters, {type(parameters).__name__}, "
            f"got {type(others).__name__}"
        )
    weights, given = named_parameters(parameters), named_parameters(others)
    if given.keys() != weights.keys():
        odd = sorted(given.keys() ^ weights.keys())[0]
        raise ValueError(f"{argument} must stand where the parameters do, got {odd} in one alone")
    for name, weight in weights.items():
        if given[name].shape != weight.shape:
            raise ValueError(
                f"{each} of {name} must be {weight.shape} like it, got {given[name].shape}"
            )


def clip_gradients(gradients: P, limit: float) -> tuple[P, Array]:
    """Shorten all gradients together to a length, where they are longer.

    Parameters
    ----------
    gradients : parameter dataclass, or tuple or list of such
    limit : float
        The greatest length that passes. All numbers of all arrays count as one vector, so its
        direction stays.

    Returns
    -------
    gradients : the kind that was given
    norm : array, shape ()
        Their length before, infinite where their dtype cannot hold it. Where one of them is not
        finite, nor is it, and nothing is shortened.

    Raises
    ------
    TypeError
        If `gradients` are no parameters.
    ValueError
        If `limit` is not positive.
    """
    if not limit > 0:
        raise ValueError(f"limit must be positive, got {limit}")
    arrays = [array for array in named_parameters(gradients).values() if 0 not in array.shape]
    xp = array_namespace(*arrays)
    wide = [widen(xp, array) for array in arrays]
    # Squares of what float32 holds can leave its range, so the largest number is the unit.
    largest = xp.max(xp.stack([xp.max(xp.abs(array)) for array in wide]))
    unit = xp.where((largest > 0) & (largest < xp.inf), largest, xp.ones_like(largest))
    shares = [array / unit for array in wide]
    sums = [xp.sum(part * part) for part in shares]
    length = xp.sqrt(xp.sum(xp.stack(sums)))  # in units
    norm, one = unit * length, xp.ones_like(unit)
    if math.isinf(limit):
        return gradients, norm
    limit = min(limit, float(xp.finfo(norm.dtype).max))
    share = xp.where(xp.isfinite(norm), limit / xp.maximum(norm, limit), one)
    # What is too long for its dtype is shortened in units, since its share would be all but 0.
    beyond = xp.isfinite(length) & ~xp.isfinite(norm)
    share = xp.where(beyond, limit / xp.where(beyond, length, one), share)
    unit = xp.where(beyond, unit, one)
    return map_parameters(lambda g: cast(xp, widen(xp, g) / unit * share, g.dtype), gradients), norm
