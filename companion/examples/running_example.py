"""The five tokens that walk through every chapter, with weights that can be followed by hand.

The columns of an embedding have names here, which no trained model grants its readers: article,
modifier, noun, verb, noun side, verb side. Head 1 lets a noun or a verb look for the modifier on
its own side; head 2 lets a word look for the thing that the sentence is about.
"""

from dataclasses import dataclass

from companion.arrays import Array, DType, Namespace, array_module
from companion.block import BlockParameters
from companion.feed_forward import FeedForwardParameters
from companion.heads import AttentionParameters
from companion.libraries import dtype_named
from companion.norms import NormParameters
from companion.packing import build_vocabulary, embed, token_ids
from companion.positions import add_positions

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
W_O = [  # (H·d_v, d) = (8, 6): four rows for each head
    [0.5, 0, 0, 0, 0, 0],
    [0, 0.5, 0.5, 0, 0, 0],
    [0, 0, 0, 0.5, 0.5, 0],
    [0, 0, 0, 0, 0, 0.5],
    [0, -0.5, 0, 0, 0.5, 0],
    [0, 0, 0.5, 0.5, 0, 0],
    [0.5, 0, 0, 0, 0, -0.5],
    [0, 0, -0.5, 0, 0, 1],
]
W_1 = [  # (d, d_ff) = (6, 10)
    [1, 0, 0, 0, 0, -1, 0, 0, 0.5, 0],
    [0, 1, 0, 0, 0, 0, -1, 0, 0, 0.5],
    [0, 0, 1, 0, 0, 0, 0, -1, 0.5, 0],
    [0, 0, 0, 1, 0, 1, 0, 0, 0, -0.5],
    [0, 1, 0, 0, 1, 0, 0, 0, -0.5, 0],
    [-1, 0, 0, 0, 1, 0, 0, 1, 0, 0.5],
]
B_1 = [0, -0.5, 0, 0.5, 0, 0, 0.5, 0, -0.5, 0]  # (d_ff,)
W_2 = [  # (d_ff, d) = (10, 6)
    [0.5, 0, 0, 0, 0, 0],
    [0, 0.5, 0, 0, 0, 0],
    [0, 0, 0.5, 0, 0, 0],
    [0, 0, 0, 0.5, 0, 0],
    [0, 0, 0, 0, 0.5, 0],
    [0, 0, 0, 0, 0, 0.5],
    [0, 0, 0.5, 0, 0, -0.5],
    [0.5, 0, 0, -0.5, 0, 0],
    [0, -0.5, 0, 0, 0.5, 0],
    [0, 0, 0, 0.5, 0, 0.5],
]
B_2 = [0, 0, 0.5, 0, 0, -0.5]  # (d,)


@dataclass(frozen=True, eq=False)
class RunningExample:
    """*the black cat ran quickly*: N = 5 tokens, d = 6, H = 2 heads, d_k = 3, d_v = 4, d_ff = 10.

    Attributes
    ----------
    tokens : tuple of str
        The five tokens. The third row, that of *cat*, is the one to follow.
    features : tuple of str
        What the six columns of an embedding stand for.
    vocabulary : dict
        Token to id.
    embedding : array, shape (V, d) = (5, 6)
    positions : array, shape (M, d) = (8, 6)
        A table of positions, as if it had been learned.
    x : array, shape (N, d) = (5, 6)
        The packed sentence: embeddings plus positions.
    w_q, w_k : array, shape (H, d, d_k) = (2, 6, 3)
    w_v : array, shape (H, d, d_v) = (2, 6, 4)
    block : BlockParameters
        A transformer block around the same two heads: ``w_o`` (8, 6), a feed-forward network
        6 → 10 → 6, and norms with weight 1 and bias 0.
    """

    tokens: tuple[str, ...]
    features: tuple[str, ...]
    vocabulary: dict[str, int]
    embedding: Array
    positions: Array
    x: Array
    w_q: Array
    w_k: Array
    w_v: Array
    block: BlockParameters


def running_example(xp: Namespace | None = None, dtype: DType = None) -> RunningExample:
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
    dtype = dtype_named(xp, "float64") if dtype is None else dtype
    vocabulary = build_vocabulary(TOKENS)
    tables = (EMBEDDING, POSITIONS, W_Q, W_K, W_V)
    embedding, positions, w_q, w_k, w_v = (xp.asarray(t, dtype=dtype) for t in tables)
    x = add_positions(embed(token_ids(TOKENS, vocabulary, xp=xp), embedding), positions)
    block = BlockParameters(
        AttentionParameters(w_q, w_k, w_v, xp.asarray(W_O, dtype=dtype)),
        NormParameters.neutral(x.shape[1], xp=xp, dtype=dtype),
        FeedForwardParameters(*(xp.asarray(t, dtype=dtype) for t in (W_1, B_1, W_2, B_2))),
        NormParameters.neutral(x.shape[1], xp=xp, dtype=dtype),
    )
    return RunningExample(
        TOKENS, FEATURES, vocabulary, embedding, positions, x, w_q, w_k, w_v, block
    )
