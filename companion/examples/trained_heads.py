"""Trained attention heads to set beside the running example, read from one small file.

The heads come from the published sentence encoder all-MiniLM-L6-v2; `notebooks/data/README.md` says
what the file holds, where it is from and how it was made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from os import PathLike
from pathlib import Path

import numpy as np

from companion.arrays import Array, DType, Namespace, array_module
from companion.heads import AttentionParameters
from companion.norms import layer_norm

__all__ = [
    "TrainedEmbedding",
    "TrainedHeads",
    "TrainedLayer",
    "TrainedSentence",
    "load_trained_heads",
]

HEADS, WIDTH, HEAD_WIDTH = 12, 384, 32


@dataclass(frozen=True, eq=False)
class TrainedLayer:
    """The attention weights of one layer, H heads on the first axis: queries are x @ w_q + b_q.

    Attributes
    ----------
    index : int
        Which layer of the encoder, counted from 0.
    w_q, w_k : array, shape (H, d, d_k)
    w_v : array, shape (H, d, d_v)
    w_o : array, shape (H·d_v, d)
    b_q, b_k : array, shape (H, d_k)
    b_v : array, shape (H, d_v)
    b_o : array, shape (d,)
    """

    index: int
    w_q: Array
    w_k: Array
    w_v: Array
    w_o: Array
    b_q: Array
    b_k: Array
    b_v: Array
    b_o: Array

    @property
    def attention(self) -> AttentionParameters:
        """The same weights as :func:`companion.multi_head_attention` takes them."""
        roles = ("w_q", "w_k", "w_v", "w_o", "b_q", "b_k", "b_v", "b_o")
        return AttentionParameters(**{role: getattr(self, role) for role in roles})


@dataclass(frozen=True, eq=False)
class TrainedSentence:
    """A sentence and what enters the trained layers for it.

    Attributes
    ----------
    text : str
    tokens : tuple of N str
        The sentence's tokens between ``[CLS]`` and ``[SEP]``.
    token_ids : tuple of N int
        Their numbers in the encoder's own vocabulary.
    inputs : mapping of int to array, shape (N, d)
        By layer, the packed matrix X that enters it.
    """

    text: str
    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    inputs: Mapping[int, Array]


@dataclass(frozen=True, eq=False)
class TrainedEmbedding:
    """What packs tokens into the X of layer 0: a row for each token and position, then a norm.

    Attributes
    ----------
    vocabulary : mapping of str to int
        The rows of `word` by token: only the sentences' tokens and ``[PAD]`` are here.
    word : array, shape (V, d)
    position : array, shape (M, d)
    token_type : array, shape (d,)
        Added to every row; the encoder has a second such row for the second text of a pair.
    norm_weight, norm_bias : array, shape (d,)
    norm_eps : float
    """

    vocabulary: Mapping[str, int]
    word: Array
    position: Array
    token_type: Array
    norm_weight: Array
    norm_bias: Array
    norm_eps: float

    def normalize(self, x: Array) -> Array:
        """Apply the layer norm behind the sums of word, position and token type rows.

        Parameters
        ----------
        x : array, shape (..., N, d)

        Returns
        -------
        array, shape (..., N, d)

        Raises
        ------
        TypeError, ValueError
            As :func:`companion.layer_norm` says.
        """
        return layer_norm(x, self.norm_weight, self.norm_bias, eps=self.norm_eps)


@dataclass(frozen=True, eq=False)
class TrainedHeads:
    """The content of the file; `layer` and `sentence` pick from it.

    Attributes
    ----------
    layers : mapping of int to TrainedLayer
    sentences : mapping of str to TrainedSentence
        By text.
    embedding : TrainedEmbedding
    """

    layers: Mapping[int, TrainedLayer]
    sentences: Mapping[str, TrainedSentence]
    embedding: TrainedEmbedding

    def layer(self, index: int) -> TrainedLayer:
        """Return the layer with this index; ValueError if the file does not hold it."""
        if index not in self.layers:
            held = ", ".join(map(str, self.layers))
            raise ValueError(f"index must be one of the layers {held}, got {index!r}")
        return self.layers[index]

    def sentence(self, text: str) -> TrainedSentence:
        """Return the sentence with this text; ValueError if the file does not hold it."""
        if text not in self.sentences:
            held = ", ".join(map(repr, self.sentences))
            raise ValueError(f"text must be one of {held}, got {text!r}")
        return self.sentences[text]


def load_trained_heads(
    path: str | PathLike[str], *, xp: Namespace | None = None, dtype: DType = None
) -> TrainedHeads:
    """Read the trained heads, and check the whole file before anything is handed out.

    Parameters
    ----------
    path : str or path
        The file ``minilm_heads.npz``. Its weights are kept in float16.
    xp : module, optional
        The array module of the result; :func:`companion.array_module` chooses where it is left out.
    dtype : dtype, optional
        Floating dtype of the result, float32 where it is left out.

    Returns
    -------
    TrainedHeads

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If `dtype` is not a real floating dtype.
    ValueError
        If the file is damaged, lacks an array, or holds one of another shape or kind than expected,
        or with a number that is not finite.
    """
    xp = array_module() if xp is None else xp
    dtype = xp.float32 if dtype is None else dtype
    if not xp.isdtype(dtype, "real floating"):
        raise TypeError(f"dtype must be a real floating dtype, got {dtype}")
    file = _File(Path(path), xp, dtype)
    indices = file.integers("layers", "L")
    return TrainedHeads(
        layers={index: _read_layer(file, index) for index in indices},
        sentences={
            text: _read_sentence(file, number, text, indices)
            for number, text in enumerate(file.strings("sentences", "S"))
        },
        embedding=_read_embedding(file),
    )


def _read_layer(file: "_File", index: int) -> TrainedLayer:
    shapes: dict[str, tuple[int, ...]] = {f"w_{role}": (HEADS, WIDTH, HEAD_WIDTH) for role in "qkv"}
    shapes |= {f"b_{role}": (HEADS, HEAD_WIDTH) for role in "qkv"}
    shapes |= {"w_o": (HEADS * HEAD_WIDTH, WIDTH), "b_o": (WIDTH,)}
    arrays = {name: file.numbers(f"layer_{index}/{name}", *shape) for name, shape in shapes.items()}
    return TrainedLayer(index, **arrays)


def _read_sentence(file: "_File", number: int, text: str, indices: list[int]) -> TrainedSentence:
    prefix = f"sentence_{number}"
    tokens = file.strings(f"{prefix}/tokens", "N")
    length = len(tokens)
    return TrainedSentence(
        text=text,
        tokens=tuple(tokens),
        token_ids=tuple(file.integers(f"{prefix}/token_ids", length)),
        inputs={index: file.numbers(f"{prefix}/x_{index}", length, WIDTH) for index in indices},
    )


def _read_embedding(file: "_File") -> TrainedEmbedding:
    tokens = file.strings("embedding/tokens", "V")
    vectors = ("token_type", "norm_weight", "norm_bias")
    return TrainedEmbedding(
        vocabulary={token: row for row, token in enumerate(tokens)},
        word=file.numbers("embedding/word", len(tokens), WIDTH),
        position=file.numbers("embedding/position", "M", WIDTH),
        norm_eps=float(file.get("embedding/norm_eps", "f")),
        **{name: file.numbers(f"embedding/{name}", WIDTH) for name in vectors},
    )


class _File:
    """The arrays of an .npz file, each handed out once its shape and kind are as expected."""

    def __init__(self, path: Path, xp: Namespace, dtype: DType):
        self.path, self.xp, self.dtype = path, xp, dtype
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise FileNotFoundError(f"there is no file of trained heads at {path}") from error
        try:
            with np.load(BytesIO(content), allow_pickle=False) as archive:
                self.arrays: dict[str, np.ndarray] = {name: archive[name] for name in archive.files}
        except Exception as error:  # damage meets the readers of zip and npy in many ways
            raise ValueError(
                f"{path} must be an undamaged .npz file of plain arrays: {error}"
            ) from error

    def get(self, name: str, kind: str, *shape: int | str) -> np.ndarray:
        """Return the array of this name; a letter in `shape` stands for any length."""
        if name not in self.arrays:
            raise ValueError(f"{self.path} must hold the array {name}, and does not")
        array = self.arrays[name]
        fits = len(array.shape) == len(shape) and all(
            isinstance(expected, str) or got == expected
            for got, expected in zip(array.shape, shape, strict=True)
        )
        if not fits or array.dtype.kind != kind:
            kinds = {"f": "floating", "i": "integer", "U": "text"}
            raise ValueError(
                f"{self.path}: {name} must be {kinds[kind]} of shape "
                f"({', '.join(map(str, shape))}), got {array.dtype} of shape {array.shape}"
            )
        if kind == "f" and not np.all(np.isfinite(array)):
            raise ValueError(f"{self.path}: {name} must be finite, got a value that is not")
        return array

    def numbers(self, name: str, *shape: int | str) -> Array:
        return self.xp.asarray(self.get(name, "f", *shape), dtype=self.dtype)

    def integers(self, name: str, *shape: int | str) -> list[int]:
        numbers: list[int] = self.get(name, "i", *shape).tolist()
        return numbers

    def strings(self, name: str, *shape: int | str) -> list[str]:
        texts: list[str] = self.get(name, "U", *shape).tolist()
        return texts
