"""A GGUF file: what it says of itself, and where its tensors lie in it."""

import math
import struct
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from companion.extras import import_extra
from companion.files import existing_file

__all__ = ["GgufFile", "GgufTensor", "read_gguf", "read_rows"]

# The library `gguf` knows the types of the tensors and what their bytes mean. Its reader of files
# is not used: it makes objects of each word of a vocabulary, and where a file is cut off it may go
# on for ever.
VERSIONS = (2, 3)
STRING, ARRAY, BOOL = 8, 9, 7
SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "B",
    10: "Q",
    11: "q",
    12: "d",
}
MOST_DIMENSIONS = 4
ROWS = 256  # are read at a time


@dataclass(frozen=True)
class GgufTensor:
    """Where a tensor lies, and what its bytes mean.

    Attributes
    ----------
    shape : tuple of int
        (outputs, inputs), as in PyTorch; the file writes them the other way round.
    kind : gguf.GGMLQuantizationType
    start, row_bytes : int
        Where its bytes begin, and how many make a row of its last axis.
    """

    shape: tuple[int, ...]
    kind: Any
    start: int
    row_bytes: int


@dataclass(frozen=True, eq=False)
class GgufFile:
    """What stands in a file before its tensors; `content` is the file itself, mapped."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]
    content: np.ndarray = field(repr=False)


def read_gguf(path: str | PathLike[str]) -> GgufFile:
    """Read what a file says of itself, and check that its tensors lie in it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModuleNotFoundError
        If the library `gguf` is missing; the message says what to install.
    ValueError
        If the file is damaged or cut off, or of a version or kind of numbers that is not read.
    """
    path = existing_file(Path(path))
    import_extra("gguf", "language-model", "a published model")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} must be a GGUF file, got an empty one")
    content = np.memmap(path, mode="r").view(np.ndarray)
    cursor = _Cursor(path, content.data)
    if cursor.take(4, "the word GGUF") != b"GGUF":
        raise ValueError(f"{path} must be a GGUF file, which begins with the word GGUF")
    if (version := cursor.number("I")) not in VERSIONS:
        raise ValueError(f"{path} must be of GGUF version 2 or 3, got {version}")
    tensor_count, pair_count = cursor.number("Q"), cursor.number("Q")
    metadata: dict[str, Any] = {}
    for _ in range(pair_count):
        key = cursor.string()
        if key in metadata:
            raise ValueError(f"{path}: the key {key} must stand there once, got it twice")
        metadata[key] = cursor.value(cursor.number("I"))
    stored: dict[str, tuple[tuple[int, ...], int, int]] = {}
    for _ in range(tensor_count):
        name = cursor.string()
        if name in stored:
            raise ValueError(f"{path}: the tensor {name} must be there once, got it twice")
        stored[name] = cursor.tensor(name)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 8 or alignment & (alignment - 1):
        raise ValueError(
            f"{path}: general.alignment must be a power of 2 from 8, got {alignment!r}"
        )
    start = -(-cursor.position // alignment) * alignment
    tensors = {
        name: _located(path, len(content), name, shape, kind, start + offset)
        for name, (shape, kind, offset) in stored.items()
    }
    return GgufFile(path, metadata, tensors, content)


def read_rows(file: GgufFile, name: str, order: np.ndarray | None = None) -> np.ndarray:
    """Read a tensor in float32, its rows put where `order` says if there is one.

    Raises
    ------
    ValueError
        If a value is not finite.
    """
    gguf = import_extra("gguf", "language-model", "a published model")
    tensor = file.tensors[name]
    count = math.prod(tensor.shape[:-1])
    size = count * tensor.row_bytes
    stored = file.content[tensor.start : tensor.start + size].reshape(count, tensor.row_bytes)
    rows = np.empty((count, tensor.shape[-1]), np.float32)
    for first in range(0, count, ROWS):
        part = slice(first, first + ROWS)
        with np.errstate(all="ignore"):  # what is not finite is refused here
            numbers = gguf.quants.dequantize(stored[part], tensor.kind)
        if not np.all(np.isfinite(numbers)):
            raise ValueError(f"{file.path}: {name} must be finite, got a value that is not")
        rows[part if order is None else order[part]] = numbers
    return rows.reshape(tensor.shape)


def _located(
    path: Path, end: int, name: str, shape: tuple[int, ...], number: int, start: int
) -> GgufTensor:
    """Check that a tensor can be read, and lies in the file."""
    gguf = import_extra("gguf", "language-model", "a published model")
    try:
        kind = gguf.GGMLQuantizationType(number)
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        gguf.quants.dequantize(np.zeros((1, block_bytes), np.uint8), kind)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise ValueError(f"{path}: {name} is stored in a way that is not read: {error}") from None
    if shape[-1] % block != 0:
        raise ValueError(
            f"{path}: {name} must have rows of a multiple of {block} numbers, as {kind.name} "
            f"stores them, got shape {shape}"
        )
    row_bytes = shape[-1] // block * block_bytes
    size = math.prod(shape[:-1]) * row_bytes
    if start + size > end:
        raise ValueError(
            f"{path} is cut off: {name} must lie in bytes {start} to {start + size}, "
            f"and the file ends at {end}"
        )
    return GgufTensor(shape, kind, start, row_bytes)


class _Cursor:
    """A place in the bytes of a file, which nothing is read beyond the end of."""

    def __init__(self, path: Path, content: memoryview) -> None:
        self.path, self.content, self.position = path, content, 0

    def take(self, size: int, what: str) -> bytes:
        end = self.position + size
        if end > len(self.content):
            raise ValueError(
                f"{self.path} is cut off or damaged: {what} must end at byte {end}, "
                f"and the file ends at {len(self.content)}"
            )
        part = bytes(self.content[self.position : end])
        self.position = end
        return part

    def number(self, letter: str) -> Any:
        form = f"<{letter}"
        return struct.unpack(form, self.take(struct.calcsize(form), "a number"))[0]

    def string(self) -> str:
        at, length = self.position, self.number("Q")
        try:
            return self.take(length, "a text").decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path} is damaged: the text at byte {at}: {error}") from None

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            return self.array()
        number = self.number(self.letter(kind))
        return bool(number) if kind == BOOL else number

    def array(self) -> list[Any]:
        kind, length = self.number("I"), self.number("Q")
        if kind == STRING:
            return [self.string() for _ in range(length)]
        form = np.dtype(self.letter(kind)).newbyteorder("<")
        numbers = np.frombuffer(self.take(length * form.itemsize, "a list"), form)
        return list((numbers.astype(bool) if kind == BOOL else numbers).tolist())

    def letter(self, kind: int) -> str:
        if kind not in SCALARS:
            raise ValueError(
                f"{self.path} is damaged: byte {self.position} follows an unknown kind of value, "
                f"{kind}"
            )
        return SCALARS[kind]

    def tensor(self, name: str) -> tuple[tuple[int, ...], int, int]:
        """Read a tensor's shape, the number of its kind, and where it begins after the header."""
        dimensions = self.number("I")
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise ValueError(
                f"{self.path}: {name} must have 1 to {MOST_DIMENSIONS} dimensions, got {dimensions}"
            )
        shape = tuple(self.number("Q") for _ in range(dimensions))
        return shape[::-1], self.number("I"), self.number("Q")
