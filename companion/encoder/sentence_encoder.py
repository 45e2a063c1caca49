"""A trained encoder: from sentences to vectors, each step a function of an earlier chapter."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from companion.arrays import Array, Namespace, array_namespace
from companion.encoder.ablation import Ingredient, check_ingredient, states_without
from companion.encoder.checkpoint import (
    EncoderParameters,
    load_checkpoint,
    load_tokenizer,
)
from companion.encoder.embedding import embed_tokens
from companion.encoder.fast_block import LaidOut, even_parts, fast_block, is_plain, lay_out
from companion.encoder.pooling import mean_pool, unit_rows
from companion.encoder.states import token_states
from companion.extras import import_extra
from companion.heads import multi_head_attention
from companion.kernels.threads import parallel_map, thread_count
from companion.libraries import dtype_named
from companion.packing import check_text

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = ["SentenceEncoder"]

LONG_LIST = 32  # batches from which a progress bar is shown


@dataclass(frozen=True, eq=False)
class SentenceEncoder:
    """A published sentence encoder, run by the functions of this book.

    :meth:`from_pretrained` makes one.

    Attributes
    ----------
    parameters : EncoderParameters
        Every weight, where :func:`companion.transformer_block` and the others can use it.
    tokenizer : tokenizers.Tokenizer
    """

    parameters: EncoderParameters
    tokenizer: "Tokenizer"

    @classmethod
    def from_pretrained(
        cls, folder: str | PathLike[str], xp: Namespace | None = None
    ) -> "SentenceEncoder":
        """Read an encoder from a folder; nothing is downloaded.

        Parameters
        ----------
        folder : str or path
            Holds ``config.json``, ``model.safetensors``, ``tokenizer.json`` and
            ``sentence_bert_config.json``. What ``modules.json``, the folders that it names and
            ``config_sentence_transformers.json`` ask for is done, or refused: pooling by the mean
            or by the first token, vectors scaled to length 1 or left, a default prompt. A prompt
            that is named there and not the default is for you to write before a text.
        xp : module, optional
            The array module of the weights and of all results; :func:`companion.array_module`
            chooses where it is left out.

        Raises
        ------
        FileNotFoundError, ModuleNotFoundError, ValueError
            As :func:`companion.load_checkpoint` and :func:`companion.load_tokenizer` say.
        """
        tokenizer = load_tokenizer(folder)
        return cls(load_checkpoint(folder, xp=xp), tokenizer)

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> Array:
        """Turn each text into one unit vector; alike texts get vectors with a large dot product.

        The token rows of the last block are averaged (:func:`mean_pool`) and the mean is scaled to
        length 1 (:func:`unit_rows`), unless the model's files ask for the first row or for no
        scaling. What is longer than the model's length is cut. Batches hold texts of similar
        length, and a list of many batches shows a progress bar.

        Parameters
        ----------
        texts : sequence of str
        batch_size : int
            Texts that are sent through the blocks at once.

        Returns
        -------
        array, shape (len(texts), d)

        Raises
        ------
        TypeError
            If `texts` is one string or holds something else than strings, or if `batch_size` is no
            integer.
        ValueError
            If a text is not valid Unicode, or if `batch_size` is less than 1.
        """
        _check_texts(texts)
        batch_size = _checked_batch_size(batch_size)
        word = self.parameters.embedding.word
        xp = array_namespace(word=word)
        if len(texts) == 0:
            return xp.zeros((0, self.parameters.config.width), dtype=word.dtype)
        prompt = self.parameters.config.prompt
        encodings = self.tokenizer.encode_batch([prompt + text for text in texts])
        ids = [encoding.ids for encoding in encodings]
        order = np.argsort([-len(row) for row in ids], kind="stable")
        vectors = []
        for start in _with_progress(range(0, len(ids), batch_size)):
            vectors += self._encode_batch([ids[i] for i in order[start : start + batch_size]])
        back = xp.asarray(np.argsort(order))
        return xp.take(xp.concat(vectors), back, axis=0)

    def _encode_batch(self, ids: list[list[int]]) -> list[Array]:
        """Encode a batch, in parts side by side where its blocks have a fast form."""
        if not all(map(is_plain, self.parameters.blocks)):
            return [self._encode_padded(ids)]
        parts = even_parts([len(row) for row in ids], thread_count())
        blocks = [lay_out(block) for block in self.parameters.blocks]
        encode = partial(self._encode_rows, blocks=blocks)
        return parallel_map(encode, [[ids[i] for i in part] for part in parts])

    def _encode_padded(self, ids: list[list[int]]) -> Array:
        """Send sentences through the blocks, filled up to one length: (B, d)."""
        xp = array_namespace(word=self.parameters.embedding.word)
        lengths = np.asarray([len(row) for row in ids])
        held = np.arange(lengths.max()) < lengths[:, None]  # (B, N)
        packed = np.zeros(held.shape, dtype=np.int64)  # any id will do where no token is
        packed[held] = np.concatenate(ids)
        token_mask = xp.asarray(held)
        states = token_states(xp.asarray(packed), self.parameters, token_mask=token_mask)
        return self._scale(self._pool(states, token_mask))

    def _encode_rows(self, ids: list[list[int]], blocks: list[LaidOut] | None = None) -> Array:
        """Send sentences through the blocks one below the other, without padding: (B, d)."""
        p, eps = self.parameters, self.parameters.config.eps
        lengths = [len(row) for row in ids]
        tokens: Any = np.concatenate(ids).astype(np.int64)  # NumPy's, as all of plain blocks
        places: Any = np.concatenate([np.arange(length) for length in lengths])
        x: Any = embed_tokens(tokens, p.embedding, positions=places, eps=eps)  # (N_1 + … + N_B, d)
        for block in blocks or p.blocks:
            x = fast_block(x, lengths, block, eps=eps)
        sentences = np.split(x, np.cumsum(lengths)[:-1])
        pooled: list[Any] = [self._pool(rows) for rows in sentences]
        return self._scale(np.stack(pooled))

    def _pool(self, states: Array, token_mask: Array | None = None) -> Array:
        """Make one row of each sentence's, as the model asks for: (..., d)."""
        if self.parameters.config.pooling == "cls":  # the mean over the first token alone
            states = states[..., :1, :]
            token_mask = None if token_mask is None else token_mask[..., :1]
        return mean_pool(states, token_mask)

    def _scale(self, pooled: Array) -> Array:
        return unit_rows(pooled) if self.parameters.config.normalize else pooled

    def encode_without(self, ingredient: Ingredient, texts: Sequence[str]) -> Array:
        """Turn each text into a vector, one ingredient of the encoder left out.

        It says how much this encoder relies on it, and not what one would do that was trained
        without it. Each text goes through the blocks alone.

        Parameters
        ----------
        ingredient : {"scale", "positions", "residuals", "norms", "biases", "w_o"}
            Scores without the factor 1/√d_k; rows without positions; what the parts make in place
            of what they add; norms that multiply by their weight and add their bias, and bring
            nothing to one size; attention without its biases; the identity in place of W^O.
        texts : sequence of str
            At least one.

        Returns
        -------
        array, shape (len(texts), d)

        Raises
        ------
        TypeError
            If `texts` is one string or holds something else than strings.
        ValueError
            If there is no such ingredient or no text, or a text is not valid Unicode.
        """
        check_ingredient(ingredient)
        _check_texts(texts)
        if len(texts) == 0:
            raise ValueError("texts must hold at least one text, got none")

        def pooled(text: str) -> Array:
            return self._pool(states_without(ingredient, self.token_ids(text), self.parameters))

        threads = None if all(map(is_plain, self.parameters.blocks)) else 1
        vectors = parallel_map(pooled, texts, threads=threads)
        return self._scale(array_namespace(vector=vectors[0]).stack(vectors))

    def tokens(self, text: str) -> list[str]:
        """Return the N tokens of a text, ``[CLS]`` and ``[SEP]`` among them.

        Raises
        ------
        TypeError, ValueError
            If `text` is no string, or not valid Unicode.
        """
        return self._encoding(text).tokens

    def token_ids(self, text: str) -> Array:
        """Return the ids of the N tokens of a text: an integer array, shape (N,).

        Raises
        ------
        TypeError, ValueError
            If `text` is no string, or not valid Unicode.
        """
        xp = array_namespace(word=self.parameters.embedding.word)
        return xp.asarray(self._encoding(text).ids, dtype=dtype_named(xp, "int64"))

    def hidden_states(self, text: str) -> Array:
        """Return the embeddings of a text and what leaves each block.

        Parameters
        ----------
        text : str

        Returns
        -------
        array, shape (layers + 1, N, d)

        Raises
        ------
        TypeError, ValueError
            If `text` is no string, or not valid Unicode.
        """
        states = token_states(self.token_ids(text), self.parameters, return_all=True)
        return array_namespace(states=states[0]).stack(states)

    def attention_weights(self, text: str) -> tuple[list[str], Array]:
        """Return the tokens of a text and the attention weights of every head.

        Parameters
        ----------
        text : str

        Returns
        -------
        tokens : list of N str
        weights : array, shape (layers, H, N, N)
            Row i of the last two axes is how token i attends.

        Raises
        ------
        TypeError, ValueError
            If `text` is no string, or not valid Unicode.
        """
        states = self.hidden_states(text)
        xp = array_namespace(states=states)
        weights = [
            multi_head_attention(states[layer, ...], block.attention, return_weights=True)[1]
            for layer, block in enumerate(self.parameters.blocks)
        ]
        return self.tokens(text), xp.stack(weights)

    def _encoding(self, text: str) -> "Encoding":
        check_text(text, "text")
        return self.tokenizer.encode(self.parameters.config.prompt + text)


def _with_progress(batches: Sequence[int]) -> Iterable[int]:
    if len(batches) < LONG_LIST:
        return batches
    tqdm = import_extra("tqdm", "encoder", "a published model").tqdm
    shown: Iterable[int] = tqdm(batches, desc="encode", unit="batch")
    return shown


def _check_texts(texts: object) -> None:
    if isinstance(texts, str):
        raise TypeError(f"texts must be a sequence of strings, got the one string {texts!r}")
    if not isinstance(texts, Sequence):
        raise TypeError(f"texts must be a sequence of strings, got {type(texts).__name__}")
    for i, text in enumerate(texts):
        check_text(text, f"texts[{i}]")


def _checked_batch_size(size: object) -> int:
    if isinstance(size, bool) or not isinstance(size, Integral):
        raise TypeError(f"batch_size must be an integer, got {size!r}")
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, got {size}")
    return int(size)
