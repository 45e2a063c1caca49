"""Weights before the first step."""

import math
from collections.abc import Callable

import numpy as np

from companion.arrays import Array, DType, Namespace, array_module
from companion.language_model import (
    DecoderLayerParameters,
    LanguageModelConfig,
    LanguageModelParameters,
)

__all__ = ["initial_language_model"]

SPREAD = 0.02
"""Of an embedding's numbers: so small that the first logits hardly differ, and the first loss is
that of guessing, the logarithm of the vocabulary."""


def initial_language_model(
    config: LanguageModelConfig,
    rng: np.random.Generator,
    *,
    xp: Namespace | None = None,
    dtype: DType = None,
) -> LanguageModelParameters:
    """Draw the weights that a training begins with.

    Norms are 1. A matrix with n rows is normal with variance 1/n, so that what goes in and what
    comes out vary alike; the two of a layer that add to the rows (w_o and w_down) are smaller by
    the root of the number of such sums, so that the rows do not grow with the depth.

    Parameters
    ----------
    config : LanguageModelConfig
    rng : numpy.random.Generator
        Draws in float32 at every dtype, so that all see the same weights.
    xp : module, optional
        The array module; :func:`companion.array_module` chooses where it is left out.
    dtype : dtype, optional
        float32 where it is left out.

    Returns
    -------
    LanguageModelParameters

    Raises
    ------
    TypeError
        If `rng` is no generator of NumPy's.
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, got {type(rng).__name__}")
    xp = array_module() if xp is None else xp
    dtype = xp.float32 if dtype is None else dtype
    sums = 2 * config.layer_count

    def draw(name: str, shape: tuple[int, ...]) -> Array:
        if len(shape) == 1:
            return xp.ones(shape, dtype=dtype)
        scale = SPREAD if name in ("embedding", "output") else 1 / math.sqrt(shape[0])
        if name.endswith(("w_o", "w_down")):
            scale /= math.sqrt(sums)
        drawn = rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)
        return xp.asarray(drawn, dtype=dtype)

    return built(config, draw)


def built(
    config: LanguageModelConfig, make: Callable[[str, tuple[int, ...]], Array]
) -> LanguageModelParameters:
    """Make a model of what a function gives for each name and shape."""
    c = config
    heads, shared = c.head_count * c.head_dim, c.key_value_head_count * c.head_dim
    shapes = {
        "norm_1": (c.width,),
        "w_qkv": (c.width, heads + 2 * shared),
        "w_o": (heads, c.width),
        "norm_2": (c.width,),
        "w_gate_up": (c.width, 2 * c.hidden_width),
        "w_down": (c.hidden_width, c.width),
    }
    table = (c.vocabulary_size, c.width)
    return LanguageModelParameters(
        c,
        embedding=make("embedding", table),
        layers=tuple(
            DecoderLayerParameters(
                **{name: make(f"layers.{i}.{name}", shape) for name, shape in shapes.items()}
            )
            for i in range(c.layer_count)
        ),
        norm=make("norm", (c.width,)),
        output=None if c.tied else make("output", table),
    )
