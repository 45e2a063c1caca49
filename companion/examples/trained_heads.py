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
from companion.encoder.embedding import EmbeddingParameters
from companion.heads import AttentionParameters
from companion.norms import NormParameters

__all__ = [
    "TrainedHeads",
    "TrainedSentence",
    "load_trained_heads",
]

HEADS, WIDTH, HEAD_WIDTH = 12, 384, 32


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
    """The content of the file; :meth:`layer` and :meth:`sentence` pick from it.

    Attributes
    ----------
    layers : mapping of int to AttentionParameters
        By the layer's place in the encoder, counted from 0.
    sentences : mapping of str to TrainedSentence
        By text.
    vocabulary : mapping of str to int
        The rows of ``embedding.word`` by token: only the sentences' tokens and ``[PAD]`` are here.
    embedding : EmbeddingParameters
        What packs tokens into the X of layer 0.
    eps : float
        Of the embedding's layer norm.
    """

    layers: Mapping[int, AttentionParameters]
    sentences: Mapping[str, TrainedSentence]
    vocabulary: Mapping[str, int]
    embedding: EmbeddingParameters
    eps: float

    def layer(self, index: int) -> AttentionParameters:
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
        The file ``minilm_heads.npz``, which stores its weights in float16.
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

    def integers(self, name: str, *shape: int | str) -> list[int]:
        numbers: list[int] = self.get(name, "i", *shape).tolist()
        return numbers

    def strings(self, name: str, *shape: int | str) -> list[str]:
        texts: list[str] = self.get(name, "U", *shape).tolist()
        return texts
