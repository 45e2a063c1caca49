"""How far a step goes, by when it is taken."""

import math

__all__ = ["warmup_cosine"]


def warmup_cosine(
    step: int, *, steps: int, peak: float, warmup: int = 0, final: float = 0.0
) -> float:
    """Return the learning rate of a step: it rises on a line, then falls on half a cosine.

    The first steps are short, since what AdamW knows of the gradients' sizes is from few of them;
    the last ones are, since a batch's noise is all that long steps would follow.

    Parameters
    ----------
    step : int
        0 … steps − 1.
    steps : int
        How many there are.
    peak : float
        The rate of step warmup − 1, the last that rises. Without a warm-up no step has it: the
        first has begun to fall.
    warmup : int
        How many steps rise; step 0 has peak / warmup.
    final : float
        The rate of the last step, unless all steps rise.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If `step` or `warmup` is not within the steps.
    """
    if not 0 <= step < steps:
        raise ValueError(f"step must be in 0 … {steps - 1}, got {step}")
    if not 0 <= warmup <= steps:
        raise ValueError(f"warmup must be in 0 … steps={steps}, got {warmup}")
    if step < warmup:
        return peak * (step + 1) / warmup
    way = (step + 1 - warmup) / (steps - warmup)
    return final + (peak - final) * (1 + math.cos(math.pi * way)) / 2
