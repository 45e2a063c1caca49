"""A published causal language model: a text goes in, and the model writes on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from os import PathLike
from typing import Any, Literal, TypeAlias

import numpy as np

from companion.arrays import Array, Namespace, array_namespace
from companion.language_model.cache import KeyValueCache
from companion.language_model.config import LanguageModelConfig
from companion.language_model.decoder import decoder_states, unchecked_state_logits
from companion.language_model.generation import Completion, Draft, begin_draft, new_cache, write
from companion.language_model.parameters import LanguageModelParameters
from companion.language_model.pretrained import load_language_model
from companion.language_model.sampling import Sampling, check_generator
from companion.language_model.stops import check_stop
from companion.language_model.tokenizer import TextTokenizer
from companion.libraries import dtype_named

__all__ = ["CausalLanguageModel"]

Prompt: TypeAlias = str | Sequence[int]


@dataclass(frozen=True, eq=False)
class CausalLanguageModel:
    """A published model of the llama family, run by the functions of this book.

    :meth:`from_pretrained` makes one.

    Attributes
    ----------
    parameters : LanguageModelParameters
        Every weight, where :func:`companion.decoder_states` and the others can use it.
    tokenizer : TextTokenizer
    """

    parameters: LanguageModelParameters
    tokenizer: TextTokenizer

    @classmethod
    def from_pretrained(
        cls,
        path: str | PathLike[str],
        *,
        xp: Namespace | None = None,
        dtype: Literal["float32", "float16"] = "float32",
    ) -> "CausalLanguageModel":
        """Read a model from its files; nothing is downloaded.

        Parameters
        ----------
        path, xp, dtype
            As in :func:`companion.load_language_model`: a ``.gguf`` file, or a folder with
            ``config.json``, ``model.safetensors`` and ``tokenizer.json``.

        Raises
        ------
        FileNotFoundError, ModuleNotFoundError, ValueError
            As :func:`companion.load_language_model` says.
        """
        return cls(*load_language_model(path, xp=xp, dtype=dtype))

    @property
    def config(self) -> LanguageModelConfig:
        """The sizes of the model."""
        return self.parameters.config

    def new_cache(self, batch: tuple[int, ...] = (), *, window: int | None = None) -> KeyValueCache:
        """Make an empty cache, for ids of that batch shape.

        Parameters
        ----------
        batch, window
            As in :class:`companion.KeyValueCache`.
        """
        return new_cache(self.parameters, batch, window=window)

    def logits(
        self,
        token_ids: Array | Sequence[int],
        cache: KeyValueCache | None = None,
        *,
        token_mask: Array | None = None,
    ) -> Array:
        """Score every token of the vocabulary as the one that follows each row.

        Parameters
        ----------
        token_ids : integer array or list, shape (..., N)
        cache, token_mask
            As in :func:`companion.decoder_states`.

        Returns
        -------
        array, shape (..., N, V)

        Raises
        ------
        TypeError, ValueError
            As :func:`companion.decoder_states` does.
        """
        p = self.parameters
        xp = array_namespace(embedding=p.embedding)
        if isinstance(token_ids, (list, tuple)):
            kind: dict[str, Any] = {"dtype": dtype_named(xp, "int64")} if not token_ids else {}
            token_ids = xp.asarray(token_ids, device=p.device, **kind)
        ids: Any = token_ids
        states = decoder_states(ids, p, cache, token_mask=token_mask)
        return unchecked_state_logits(xp, states, p)

    def generate(
        self,
        prompt: Prompt,
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        stop: str | Sequence[str] = (),
        rng: np.random.Generator | None = None,
        cache: KeyValueCache | None = None,
    ) -> Iterator[str]:
        """Write on behind a prompt, and hand the text out as it grows.

        Parameters
        ----------
        prompt : str or sequence of int
            A text, in which the names of special tokens are text like any other; or token ids, such
            as those that ``tokenizer.encode_chat`` makes of a conversation.
        max_new_tokens : int
            Tokens that are chosen at most.
        temperature, top_k, top_p, min_p, repetition_penalty
            As in :class:`companion.Sampling`. Left out, the likeliest token is taken each time.
        stop : str or sequence of str
            The text ends before the first of these that comes; no part of it is handed out.
        rng : numpy.random.Generator, optional
            Gives one number a token where something is left to chance; a new one, seeded by the
            system, where it is left out.
        cache : KeyValueCache, optional
            Of :meth:`new_cache`, and kept from call to call: what it holds of the prompt is not
            computed again. So hand in the whole conversation each time, as token ids or text. Where
            the prompt differs from what was read before, the cache is cut.

        Returns
        -------
        iterator of str
            Pieces of whole characters, none of them empty. A token that ends texts, `stop`, the
            number of tokens or the model's context ends them.

        Raises
        ------
        TypeError, ValueError
            If the prompt is empty or longer than the model's context, or an option is of the wrong
            kind or out of range.
        """
        sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
        draft = self._draft(prompt, check_stop(stop), "prompt")
        if cache is not None:
            _check_cache(cache, self.parameters)
        options = sampling, _generator(sampling, rng), _checked_count(max_new_tokens)
        pieces = write([draft], self.parameters, *options, cache=cache)
        return (piece for (piece,) in pieces if piece)

    def complete(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        stop: str | Sequence[str] = (),
        rng: np.random.Generator | None = None,
        log_probabilities: bool = False,
    ) -> list[Completion]:
        """Write on behind several prompts at once, each as if it were alone.

        Parameters
        ----------
        prompts : sequence of prompts
            Texts or sequences of token ids, of any lengths, as in :meth:`generate`.
        log_probabilities : bool
            Whether to keep the model's own log-probability of each token that is chosen.
        max_new_tokens, temperature, top_k, top_p, min_p, repetition_penalty, stop, rng
            As in :meth:`generate`. At each step `rng` gives one number to each text that goes on,
            in their order.

        Returns
        -------
        list of Completion
            Beam search is not done: each text has one draft.

        Raises
        ------
        TypeError, ValueError
            As :meth:`generate` does.
        """
        if isinstance(prompts, str):
            raise TypeError(f"prompts must be a sequence of prompts, got the one text {prompts!r}")
        sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
        stops = check_stop(stop)
        drafts = [self._draft(p, stops, f"prompts[{i}]") for i, p in enumerate(prompts)]
        options = sampling, _generator(sampling, rng), _checked_count(max_new_tokens)
        if drafts:
            written = write(drafts, self.parameters, *options, log_probabilities=log_probabilities)
            for _ in written:
                pass
        return [draft.completion(log_probabilities) for draft in drafts]

    def _draft(self, prompt: Prompt, stop: tuple[str, ...], name: str) -> Draft:
        """Begin a text, or raise unless its prompt is one."""
        c = self.config
        if not isinstance(prompt, (str, Iterable)):
            raise TypeError(f"{name} must be a string or token ids, got {type(prompt).__name__}")
        ids = self.tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
        for i in ids:
            if isinstance(i, bool) or not isinstance(i, Integral):
                raise TypeError(f"{name} must be a string or token ids, got {i!r} in it")
            if not 0 <= i < c.vocabulary_size:
                raise ValueError(f"{name} must hold ids in 0 … {c.vocabulary_size - 1}, got {i}")
        if not ids:
            raise ValueError(f"{name} must hold at least one token, got none")
        if len(ids) > c.context_length:
            raise ValueError(
                f"{name} must fit the model's context of {c.context_length} tokens, got {len(ids)}"
            )
        return begin_draft(self.tokenizer, [int(i) for i in ids], stop)


def _check_cache(cache: KeyValueCache, parameters: LanguageModelParameters) -> None:
    xp = array_namespace(embedding=parameters.embedding)
    if cache.config != parameters.config or cache.xp is not xp:
        raise ValueError("cache must be made for this model, by its new_cache")
    if cache.batch:
        raise ValueError(f"cache must be for one text, of batch shape (), got {cache.batch}")


def _generator(sampling: Sampling, rng: np.random.Generator | None) -> np.random.Generator | None:
    if rng is not None:
        check_generator(rng)
    elif sampling.temperature > 0:
        return np.random.default_rng()
    return rng


def _checked_count(count: object) -> int:
    if isinstance(count, bool) or not isinstance(count, Integral):
        raise TypeError(f"max_new_tokens must be an integer, got {count!r}")
    if count < 0:
        raise ValueError(f"max_new_tokens must not be negative, got {count}")
    return int(count)
