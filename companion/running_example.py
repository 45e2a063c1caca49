"""The five tokens that walk through every chapter, with weights that can be followed by hand.

The columns of an embedding have names here, which no trained model grants its readers: article,
modifier, noun, verb, noun side, verb side. Head 1 lets a noun or a verb look for the modifier on
its own side; head 2 lets a word look for the thing that the sentence is about.
"""

from dataclasses import dataclass
from typing import Any

from companion.arrays import array_module
from companion.packing import add_positions, build_vocabulary, embed, token_ids

__all__ = ["RunningExample", "running_example"]

TOKENS = ("the", "black", "cat", "ran", "quickly")
FEATURES = ("article", "modifier", "noun", "verb", "noun side", "verb side")

EMBEDDING = [  # (V, d) = (5, 6)
    [1, 0, 0, 0, 0.5, 0],
    [0, 1, 0, 0, 1, 0],
    [0, 0, 1, 0, 1, 0],
    [0, 0, 0, 1, 0, 1],
    [0, 1, 0, 0, 0, 1.5],
]
POSITIONS = [  # (M, d) = (8, 6): half of the position's binary digits
    [0, 0, 0, 0, 0, 0],
    [0.5, 0, 0, 0, 0, 0],
    [0, 0, 0.5, 0, 0, 0],
    [0.5, 0, 0.5, 0, 0, 0],
    [0, 0, 0, 0.5, 0, 0],
    [0.5, 0, 0, 0.5, 0, 0],
    [0, 0, 0.5, 0.5, 0, 0],
    [0.5, 0, 0.5, 0.5, 0, 0],
]
W_Q = [  # (H, d, d_k) = (2, 6, 3)
    [[0, 0, 0.5], [0.5, 0, 0], [1.5, 0, 0], [1.5, 0, 0], [0, 1.5, -0.5], [0, -0.5, 1]],
    [[1, 0, 0], [1, 0, 1], [0, 0, 1], [1.5, -0.5, 0], [0.5, 0, 0], [-0.5, 1, 0]],
]
W_K = [  # (H, d, d_k) = (2, 6, 3)
    [[-1, 0, 0], [2, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [0, 1, 0], [0, 0, 1]],
    [[-0.5, 0, 1], [-1, -1, 0], [1.5, 0, 0.5], [0, 1.5, 0], [0.5, 0, 0], [0, 0.5, -0.5]],
]
W_V = [  # (H, d, d_v) = (2, 6, 4)
    [[1, 0, 0, 0], [0, 1, 0, 0.5], [0, 0, 1, 0], [0, 0, -0.5, 1], [0.5, 0, 0, 0], [0, 0.5, 0, -1]],
    [[0, 0.5, 0, -1], [1, 0, 0, 0], [0, 1, 0, 0.5], [-1, 0, 1, 0], [0, 0, 0.5, 0], [0.5, 0, 0, 1]],
]


@dataclass(frozen=True)
class RunningExample:
    """*the black cat ran quickly*: N = 5 tokens, d = 6, H = 2 heads, d_k = 3, d_v = 4.

    Attributes
    ----------
    tokens : tuple of str
        The five tokens. Row 3, *cat*, is the one to follow.
    features : tuple of str
        What the six columns of an embedding stand for.
    vocabulary : dict
        Token to id.
    embedding : array, shape (V, d) = (5, 6)
    positions : array, shape (M, d) = (8, 6)
        A table of learned positions, as if it had been learned.
    x : array, shape (N, d) = (5, 6)
        The packed sentence: embeddings plus positions.
    w_q, w_k : array, shape (H, d, d_k) = (2, 6, 3)
    w_v : array, shape (H, d, d_v) = (2, 6, 4)
    """

    tokens: tuple[str, ...]
    features: tuple[str, ...]
    vocabulary: dict[str, int]
    embedding: Any
    positions: Any
    x: Any
    w_q: Any
    w_k: Any
    w_v: Any


def running_example(xp: Any = None, dtype: Any = None) -> RunningExample:
    """Make the running example on an array module.

    Parameters
    ----------
    xp : module, optional
        The array module; :func:`companion.array_module` chooses where it is left out.
    dtype : dtype, optional
        Floating dtype, float64 where it is left out. All entries are multiples of 1/2, exact in
        every one.

    Returns
    -------
    RunningExample
    """
    xp = array_module() if xp is None else xp
    dtype = xp.float64 if dtype is None else dtype
    vocabulary = build_vocabulary(TOKENS)
    tables = (EMBEDDING, POSITIONS, W_Q, W_K, W_V)
    embedding, positions, w_q, w_k, w_v = (xp.asarray(t, dtype=dtype) for t in tables)
    x = add_positions(embed(token_ids(TOKENS, vocabulary, xp=xp), embedding), positions)
    return RunningExample(TOKENS, FEATURES, vocabulary, embedding, positions, x, w_q, w_k, w_v)
