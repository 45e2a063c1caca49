"""A text as batches: windows of one token more than the context, documents kept apart."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from companion.arrays import Array

__all__ = ["TextBatch", "TrainingText", "pack_documents", "split_text", "text_batch"]


@dataclass(frozen=True, eq=False)
class TrainingText:
    """The tokens of a text, in memory of the host.

    :func:`pack_documents` makes one of several documents.

    Attributes
    ----------
    token_ids : NumPy array of integers, shape (n,)
    documents : NumPy array of integers, shape (n,), or None
        The number of the document that each token is in; None where all are in one.

    Raises
    ------
    TypeError
        If an array is none of NumPy's integers.
    ValueError
        If a shape is wrong, or an id is negative.
    """

    token_ids: np.ndarray
    documents: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("token_ids", "documents"):
            array = getattr(self, name)
            if array is None and name == "documents":
                continue
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
                kind = getattr(array, "dtype", type(array).__name__)
                raise TypeError(f"{name} must be a NumPy array of integers, got {kind}")
            if array.ndim != 1 or len(array) != len(self.token_ids):
                n = f"n={len(self.token_ids)}" if name == "documents" else "n"
                raise ValueError(f"{name} must be ({n},), got shape {array.shape}")
        if len(self.token_ids) and int(self.token_ids.min()) < 0:
            raise ValueError(f"token_ids must not be negative, got {int(self.token_ids.min())}")

    def __len__(self) -> int:
        return len(self.token_ids)


class TextBatch(NamedTuple):
    """What one step learns from.

    Attributes
    ----------
    token_ids : integer array, shape (B, N)
    targets : integer array, shape (B, N)
        The token after each; −1 where the document ends.
    attn_mask : boolean array, shape (B, 1, N, N), or None
        True within a document, where a window holds more than one.
    """

    token_ids: Array
    targets: Array
    attn_mask: Array | None


def pack_documents(documents: Sequence[Sequence[int]]) -> TrainingText:
    """Lay documents one behind the other, and note where each token comes from.

    A window may then hold the end of one and the beginning of the next. No token attends to
    another document's, and none is asked for a token that stands in another. (Where rotary
    positions count from is nothing to a model, since only distances count.)

    Parameters
    ----------
    documents : sequence of sequences of int
        Token ids; with the token that ends a text last in each, a model learns to end one.

    Returns
    -------
    TrainingText

    Raises
    ------
    TypeError
        If a token id is no integer.
    ValueError
        If a document is no sequence of tokens or holds none, or there is none.
    """
    arrays = [np.asarray(document) for document in documents]
    for i, array in enumerate(arrays):
        if array.size == 0:
            raise ValueError(f"documents[{i}] must hold at least one token, got none")
        if array.dtype.kind not in "iu":
            raise TypeError(f"documents[{i}] must hold integers, got {array.dtype}")
        if array.ndim != 1:
            raise ValueError(f"documents[{i}] must be a sequence of ids, got shape {array.shape}")
    if not arrays:
        raise ValueError("documents must be at least one, got none")
    if len(arrays) == 1:
        return TrainingText(arrays[0])
    numbers = np.repeat(np.arange(len(arrays)), [len(array) for array in arrays])
    return TrainingText(np.concatenate(arrays), numbers)


def split_text(text: TrainingText, at: int) -> tuple[TrainingText, TrainingText]:
    """Cut a text in two before a token: one part to learn from, one to be judged by.

    Parameters
    ----------
    text : TrainingText
    at : int

    Returns
    -------
    pair of TrainingText

    Raises
    ------
    ValueError
        If one of the parts would be empty.
    """
    if not 0 < at < len(text):
        raise ValueError(f"at must be in 1 … {len(text) - 1}, to leave two parts, got {at}")
    cut = (slice(None, at), slice(at, None))
    numbers = text.documents
    first, second = (
        TrainingText(text.token_ids[part], None if numbers is None else numbers[part])
        for part in cut
    )
    return first, second


def text_batch(text: TrainingText, starts: Sequence[int] | np.ndarray, length: int) -> TextBatch:
    """Cut windows out of a text: what is read, and what comes after each token of it.

    Parameters
    ----------
    text : TrainingText
    starts : sequence of int, shape (B,)
        Where each window begins.
    length : int
        N tokens are read in each, and N + 1 are touched.

    Returns
    -------
    TextBatch
        NumPy arrays.

    Raises
    ------
    TypeError
        If a start is no integer.
    ValueError
        If a window does not lie within the text, or there is none.
    """
    first = np.asarray(starts)
    if first.size and first.dtype.kind not in "iu":
        raise TypeError(f"starts must be integers, got {first.dtype}")
    if length < 1 or first.ndim != 1 or len(first) == 0:
        raise ValueError(
            f"starts must be (B,) and length at least 1, got {first.shape} and {length}"
        )
    if int(first.min()) < 0 or int(first.max()) + length >= len(text):
        raise ValueError(
            f"windows of {length} tokens and the one after must lie within the text of "
            f"{len(text)}, got one from {int(first.min())} and one from {int(first.max())}"
        )
    places = first[:, None] + np.arange(length + 1)
    ids = text.token_ids[places].astype(np.int64)
    targets, mask = ids[:, 1:], None
    if text.documents is not None:
        numbers = text.documents[places]
        targets = np.where(numbers[:, 1:] == numbers[:, :-1], targets, -1)
        if np.any(numbers != numbers[:, :1]):
            inner = numbers[:, :-1]
            mask = (inner[:, :, None] == inner[:, None, :])[:, None]
    return TextBatch(ids[:, :-1], targets, mask)


def drawn_starts(count: int, length: int, size: int, step: int, seed: int) -> np.ndarray:
    """Say where the windows of a step begin, in a text of `count` tokens.

    A pass over the text cuts it into windows that touch, from a first token that is drawn, and
    takes them in an order that is drawn: each pass by a generator of its own, from the seed and its
    number. So where a step begins is all that has to be known to go on.
    """
    windows = max(1, (count - length) // length)
    slack = count - 1 - windows * length
    starts = np.empty(size, np.int64)
    for i, number in enumerate(range(step * size, (step + 1) * size)):
        turn, place = divmod(number, windows)
        if i == 0 or place == 0:
            rng = np.random.default_rng((seed, turn))
            offset, order = rng.integers(slack + 1), rng.permutation(windows)
        starts[i] = offset + length * order[place]
    return starts


def whole_text(text: TrainingText, length: int, size: int) -> Iterator[TextBatch]:
    """Cut a text into windows that touch, the last one short, so that each target comes once."""
    windows, rest = divmod(len(text) - 1, length)
    for start in range(0, windows, size):
        yield text_batch(text, length * np.arange(start, min(start + size, windows)), length)
    if rest:
        yield text_batch(text, [length * windows], rest)


def cut(batch: TextBatch, pieces: int) -> list[TextBatch]:
    """Cut a batch into pieces of whole windows, as equal as they can be; none is empty."""
    rows = batch.token_ids.shape[0]
    pieces = min(pieces, rows)
    ends = [rows * i // pieces for i in range(pieces + 1)]

    def part(array: Any, start: int, stop: int) -> Any:
        return None if array is None else array[start:stop, ...]

    return [TextBatch(*(part(array, *span) for array in batch)) for span in pairwise(ends)]
