"""Trained layers to set beside the running example, read from one small file.

Heads, networks and norms come from the published sentence encoder all-MiniLM-L6-v2;
`notebooks/data/README.md` says what the file holds, where it is from and how it was made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from os import PathLike
from pathlib import Path

import numpy as np

from companion.arrays import Array, DType, Namespace, array_module
from companion.block import BlockParameters
from companion.encoder.embedding import EmbeddingParameters
from companion.feed_forward import FeedForwardParameters
from companion.heads import AttentionParameters
from companion.norms import NormParameters

__all__ = [
    "TrainedHeads",
    "TrainedSentence",
    "load_trained_heads",
]

HEADS, WIDTH, HEAD_WIDTH, HIDDEN = 12, 384, 32, 1536
GROUP = 32  # weights of a column of a network that share a scale


@dataclass(frozen=True, eq=False)
class TrainedSentence:
    """A sentence and what enters the trained layers for it.

    Attributes
    ----------
    text : str
    tokens : tuple of N str
        The sentence's tokens, from ``[CLS]`` to ``[SEP]``, both included.
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
class TrainedHeads:
    """The content of the file; its methods pick from it.

    Attributes
    ----------
    layers : mapping of int to AttentionParameters
        By the layer's place in the encoder, counted from 0.
    sentences : mapping of str to TrainedSentence
        By text.
    networks : mapping of int to FeedForwardParameters
    norms : mapping of int to two NormParameters
        Those behind attention and behind the network; the encoder is a post-norm model.
    vocabulary : mapping of str to int
        The rows of ``embedding.word`` by token: only the sentences' tokens and ``[PAD]`` are here.
    embedding : EmbeddingParameters
        What packs tokens into the X of layer 0.
    eps : float
        Of every layer norm, the embedding's and those of the layers.
    """

    layers: Mapping[int, AttentionParameters]
    sentences: Mapping[str, TrainedSentence]
    networks: Mapping[int, FeedForwardParameters]
    norms: Mapping[int, tuple[NormParameters, NormParameters]]
    vocabulary: Mapping[str, int]
    embedding: EmbeddingParameters
    eps: float

    def layer(self, index: int) -> AttentionParameters:
        """Return the heads of this layer; ValueError if the file does not hold it."""
        self._check(index)
        return self.layers[index]

    def feed_forward(self, index: int) -> FeedForwardParameters:
        """Return the network of this layer; ValueError if the file does not hold it."""
        self._check(index)
        return self.networks[index]

    def block(self, index: int) -> BlockParameters:
        """Return this layer whole, a post-norm block; ValueError if the file does not hold it."""
        self._check(index)
        first, second = self.norms[index]
        return BlockParameters(self.layers[index], first, self.networks[index], second)

    def _check(self, index: int) -> None:
        if index not in self.layers:
            held = ", ".join(map(str, self.layers))
            raise ValueError(f"index must be one of the layers {held}, got {index!r}")

    def sentence(self, text: str) -> TrainedSentence:
        """Return the sentence with this text; ValueError if the file does not hold it."""
        if text not in self.sentences:
            held = ", ".join(map(repr, self.sentences))
            raise ValueError(f"text must be one of {held}, got {text!r}")
        return self.sentences[text]


def load_trained_heads(
    path: str | PathLike[str], *, xp: Namespace | None = None, dtype: DType = None
) -> TrainedHeads:
    """Read the trained layers, and check the whole file before anything is handed out.

    Parameters
    ----------
    path : str or path
        The file ``minilm_heads.npz``, which stores the weights of its heads in float16 and those
        of its networks in bytes.
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
        networks={index: _read_network(file, f"layer_{index}") for index in indices},
        norms={index: _read_norms(file, f"layer_{index}") for index in indices},
        sentences={
            text: _read_sentence(file, number, text, indices)
            for number, text in enumerate(file.strings("sentences", "S"))
        },
        vocabulary={t: row for row, t in enumerate(file.strings("embedding/tokens", "V"))},
        embedding=_read_embedding(file),
        eps=float(file.get("embedding/norm_eps", "f")),
    )


def _read_layer(file: "_File", index: int) -> AttentionParameters:
    shapes: dict[str, tuple[int, ...]] = {f"w_{role}": (HEADS, WIDTH, HEAD_WIDTH) for role in "qkv"}
    shapes |= {f"b_{role}": (HEADS, HEAD_WIDTH) for role in "qkv"}
    shapes |= {"w_o": (HEADS * HEAD_WIDTH, WIDTH), "b_o": (WIDTH,)}
    arrays = {name: file.numbers(f"layer_{index}/{name}", *shape) for name, shape in shapes.items()}
    return AttentionParameters(**arrays)


def _read_network(file: "_File", prefix: str) -> FeedForwardParameters:
    return FeedForwardParameters(
        w_1=file.scaled(f"{prefix}/w_1", WIDTH, HIDDEN),
        b_1=file.numbers(f"{prefix}/b_1", HIDDEN),
        w_2=file.scaled(f"{prefix}/w_2", HIDDEN, WIDTH),
        b_2=file.numbers(f"{prefix}/b_2", WIDTH),
    )


def _read_norms(file: "_File", prefix: str) -> tuple[NormParameters, NormParameters]:
    def norm(number: int) -> NormParameters:
        parts = (f"{prefix}/norm_{number}_{part}" for part in ("weight", "bias"))
        return NormParameters(*(file.numbers(part, WIDTH) for part in parts))

    return norm(1), norm(2)


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


def _read_embedding(file: "_File") -> EmbeddingParameters:
    tokens = len(file.strings("embedding/tokens", "V"))
    return EmbeddingParameters(
        word=file.numbers("embedding/word", tokens, WIDTH),
        position=file.numbers("embedding/position", "M", WIDTH),
        # The file holds the row for single texts alone.
        token_type=file.numbers("embedding/token_type", WIDTH)[None, :],
        norm=NormParameters(
            file.numbers("embedding/norm_weight", WIDTH), file.numbers("embedding/norm_bias", WIDTH)
        ),
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

    def scaled(self, name: str, rows: int, columns: int) -> Array:
        """Return weights that are whole numbers, each times the scale of its group of a column."""
        whole = self.get(name, "i", rows, columns)
        scale = self.get(f"{name}_scale", "f", rows // GROUP, columns)
        weights = whole * np.repeat(scale.astype(np.float64), GROUP, axis=0)
        return self.xp.asarray(weights, dtype=self.dtype)

    def integers(self, name: str, *shape: int | str) -> list[int]:
        numbers: list[int] = self.get(name, "i", *shape).tolist()
        return numbers

    def strings(self, name: str, *shape: int | str) -> list[str]:
        texts: list[str] = self.get(name, "U", *shape).tolist()
        return texts
