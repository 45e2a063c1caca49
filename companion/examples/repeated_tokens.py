"""Tokens that come again, and the smallest model that learns to copy them.

Each text is a row of distinct tokens, drawn at random, that repeats with a period of its own. What
comes next is known only to who looks back: for the token before this one's last place, and then one
on. Two layers of one head can do that. The model has no feed-forward network: its weights are 0, so
it gives nothing, gets no gradient, and stays 0.
"""

import math

import numpy as np

from companion.arrays import Array, Namespace, array_namespace
from companion.attention import scaled_dot_product_attention
from companion.language_model import LanguageModelConfig, LanguageModelParameters
from companion.language_model.parameters import language_model_tensors
from companion.norms import rms_norm
from companion.packing import embed
from companion.positions import rotate

TOKENS, LENGTH, PERIODS = 32, 32, (5, 16)


def repeated_tokens(
    rng: np.random.Generator, count: int, *, length: int = LENGTH, period: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw texts that repeat, and what is to be foretold of them.

    Parameters
    ----------
    rng : numpy.random.Generator
    count : int
        Texts.
    length : int
        Tokens of each.
    period : int, optional
        Of all texts; drawn for each, from 5 to 16, where it is left out.

    Returns
    -------
    token_ids, targets : integer arrays, shape (count, length)
        A target is the token that comes next, and −1 in the first pass, where none can be known.
    """
    low, high = PERIODS if period is None else (period, period)
    periods = rng.integers(low, high + 1, count)
    texts = np.stack([np.resize(rng.permutation(TOKENS)[:p], length + 1) for p in periods])
    known = np.arange(length) >= periods[:, None]
    return texts[:, :-1], np.where(known, texts[:, 1:], -1)


def attention_only_model(
    rng: np.random.Generator,
    layer_count: int,
    *,
    width: int = 32,
    sizes: tuple[float, float] = (1.0, 1.0),
    xp: Namespace | None = None,
) -> LanguageModelParameters:
    """Draw a decoder of one head a layer, with norms and rotary positions and no network.

    Parameters
    ----------
    rng : numpy.random.Generator
    layer_count : int
    width : int
        d, which is also the width of a head.
    sizes : pair of float
        What embeddings and matrices are multiplied by; as they are, embeddings have the size of
        what a head adds to them.
    xp : module, optional
        As in :meth:`companion.LanguageModelParameters.from_tensors`.

    Returns
    -------
    LanguageModelParameters
        The weights of the network are 0.
    """
    config = LanguageModelConfig(
        vocabulary_size=TOKENS,
        layer_count=layer_count,
        width=width,
        head_count=1,
        key_value_head_count=1,
        head_dim=width,
        hidden_width=1,
        context_length=LENGTH,
        rotary_base=10_000.0,
        eps=1e-5,
        tied=False,
    )

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if "mlp" in name:
            return np.zeros(shape, np.float32)
        if "norm" in name:
            return np.ones(shape, np.float32)
        size = sizes[0] if "embed" in name else sizes[1] / math.sqrt(width)
        return (size * rng.standard_normal(shape)).astype(np.float32)

    tensors = {name: draw(name, s) for name, s in language_model_tensors(config).items()}
    return LanguageModelParameters.from_tensors(config, tensors, xp=xp)


def look_inside(
    token_ids: Array, parameters: LanguageModelParameters, *, without: int | None = None
) -> tuple[Array, list[Array]]:
    """Compute the logits of an attention-only model, and what each layer's head looks at.

    Parameters
    ----------
    token_ids : integer array, shape (B, N)
    parameters : LanguageModelParameters
        Of :func:`attention_only_model`.
    without : int, optional
        A layer, from 0, whose head says the same everywhere: the mean of what it adds.

    Returns
    -------
    logits : array, shape (B, N, V)
    weights : list of arrays, shape (B, N, N)
        One for each layer.
    """
    p = parameters
    xp = array_namespace(embedding=p.embedding)
    positions = xp.arange(token_ids.shape[-1])
    x, seen = embed(token_ids, p.embedding), []
    for i, layer in enumerate(p.layers):
        rows = rms_norm(x, layer.norm_1, eps=p.config.eps)
        d = x.shape[-1]
        query, key, value = (
            (rows @ layer.w_qkv[:, j * d : (j + 1) * d])[:, None] for j in range(3)
        )
        query, key = rotate(query, positions), rotate(key, positions)
        output, weights = scaled_dot_product_attention(
            query, key, value, is_causal=True, return_weights=True
        )
        seen.append(weights[:, 0])
        added = output[:, 0] @ layer.w_o
        if i == without:
            added = xp.broadcast_to(xp.mean(added, axis=(0, 1), keepdims=True), added.shape)
        x = x + added
    return rms_norm(x, p.norm, eps=p.config.eps) @ p.unembedding.mT, seen


def head_scores(
    rng: np.random.Generator, parameters: LanguageModelParameters, *, period: int = 12
) -> dict[str, list[float]]:
    """Measure how much each layer looks one back, and how much at what followed last time.

    Returns
    -------
    dict of str to list of float
        ``"previous"`` and ``"induction"``: mean weights, one number a layer.
    """
    ids, _ = repeated_tokens(rng, 64, period=period)
    _, seen = look_inside(ids, parameters)
    rows = np.arange(period, LENGTH)
    backs = {"previous": 1, "induction": period - 1}
    return {
        name: [float(np.mean(w[:, rows, rows - back])) for w in map(np.asarray, seen)]
        for name, back in backs.items()
    }
