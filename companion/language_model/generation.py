"""Writing: the prompt in one pass, then one token after another, for one text or for several."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import array_api_compat
import numpy as np

from companion.arrays import Array, Namespace, array_namespace
from companion.language_model.cache import KeyValueCache
from companion.language_model.decoder import unchecked_decoder_states, unchecked_state_logits
from companion.language_model.parameters import LanguageModelParameters
from companion.language_model.sampling import Sampling, choose_token
from companion.language_model.stops import StopTexts
from companion.libraries import dtype_named, host_copy

if TYPE_CHECKING:
    from companion.language_model.tokenizer import TextTokenizer

__all__ = ["Completion", "Draft", "begin_draft", "new_cache", "write"]

Reason: TypeAlias = Literal["stop token", "stop text", "length", "context"]


@dataclass(frozen=True)
class Completion:
    """What a model wrote behind a prompt.

    Attributes
    ----------
    text : str
        Without the stop text, if that ended it.
    token_ids : tuple of int
        The tokens that were chosen, without a stop token.
    log_probabilities : tuple of float, or None
        The model's own of each of them, in nats: before temperature and all that narrows the
        choice. None where they were not asked for.
    reason : {"stop token", "stop text", "length", "context"}
        Why it ends: a token that ends texts, one of the stop texts, `max_new_tokens`, or the
        model's context is full.
    """

    text: str
    token_ids: tuple[int, ...]
    log_probabilities: tuple[float, ...] | None
    reason: Reason


@dataclass
class Draft:
    """A text that is being written."""

    prompt: list[int]
    stream: Any  # a TextStream
    stops: StopTexts
    token_ids: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    reason: Reason | None = None

    def take(self, token: int) -> str:
        """Add a token, and return the text that is certain with it."""
        self.token_ids.append(token)
        piece = self.stops.push(self.stream.push(token))
        if self.stops.found:
            self.reason = "stop text"
        return self._hand_out(piece)

    def end(self, reason: Reason) -> str:
        """End the text, and return what was kept back."""
        self.reason = reason
        piece = self.stops.push(self.stream.end())
        if self.stops.found:
            self.reason = "stop text"
        return self._hand_out(piece + self.stops.end())

    def _hand_out(self, piece: str) -> str:
        self.pieces.append(piece)
        return piece

    def completion(self, with_log_probabilities: bool) -> Completion:
        """Return what was written."""
        logs = tuple(self.log_probabilities) if with_log_probabilities else None
        return Completion(
            "".join(self.pieces), tuple(self.token_ids), logs, self.reason or "length"
        )


def begin_draft(tokenizer: "TextTokenizer", prompt: Sequence[int], stop: Sequence[str]) -> Draft:
    """Begin a text behind a prompt."""
    return Draft(list(prompt), tokenizer.stream(after=prompt), StopTexts(stop))


def write(
    drafts: list[Draft],
    parameters: LanguageModelParameters,
    sampling: Sampling,
    rng: np.random.Generator | None,
    max_new_tokens: int,
    *,
    cache: KeyValueCache | None = None,
    log_probabilities: bool = False,
) -> Iterator[list[str]]:
    """Write all drafts at once, and hand out the new piece of each at every step.

    The prompts are not empty and end within the context. A cache is for one draft: what it holds of
    the prompt is not computed again.
    """
    first = _first(drafts, parameters, max_new_tokens, cache)

    def choose(draft: Draft, logits: np.ndarray) -> str:
        return _choose(draft, logits, parameters, sampling, rng, log_probabilities)

    return _steps(drafts, parameters, max_new_tokens, *first, choose)


def _steps(
    drafts: list[Draft],
    parameters: LanguageModelParameters,
    max_new_tokens: int,
    ids: Array,
    mask: Array | None,
    cache: KeyValueCache,
    choose: Callable[[Draft, np.ndarray], str],
) -> Iterator[list[str]]:
    xp = array_namespace(ids=ids)
    going = drafts
    while going:
        pieces = [_end_if_full(draft, max_new_tokens, parameters) for draft in drafts]
        going = [draft for draft in drafts if draft.reason is None]
        if going:
            states: Any = unchecked_decoder_states(xp, ids, parameters, cache, mask, None, False)
            last = unchecked_state_logits(xp, states[..., -1, :], parameters)
            rows = host_copy(last).reshape(len(drafts), -1)
            for i, draft in enumerate(drafts):
                if draft.reason is None:
                    pieces[i] = choose(draft, rows[i])
            ids, mask = _next(xp, drafts, ids), None
        yield pieces


def _end_if_full(draft: Draft, max_new_tokens: int, parameters: LanguageModelParameters) -> str:
    """End a text that may have no more tokens, before one is computed that nobody wants."""
    if draft.reason is None and len(draft.token_ids) >= max_new_tokens:
        return draft.end("length")
    length = len(draft.prompt) + len(draft.token_ids)
    if draft.reason is None and length >= parameters.config.context_length:
        return draft.end("context")
    return ""


def _first(
    drafts: list[Draft],
    parameters: LanguageModelParameters,
    max_new_tokens: int,
    cache: KeyValueCache | None,
) -> tuple[Array, Array | None, KeyValueCache]:
    """Lay the prompts out for the first pass, padded on the left: ids, mask and cache."""
    xp = array_namespace(embedding=parameters.embedding)
    made: dict[str, Any] = {"device": parameters.device, "dtype": dtype_named(xp, "int64")}
    longest = max(len(draft.prompt) for draft in drafts)
    most = min(longest + max_new_tokens, parameters.config.context_length)
    if len(drafts) == 1:
        cache = new_cache(parameters) if cache is None else cache
        prompt = drafts[0].prompt
        cache.cut(_common_beginning(cache, prompt))
        cache.reserve(most - cache.seen)
        return xp.asarray(prompt[cache.seen :], **made), None, cache
    ids = np.zeros((len(drafts), longest), dtype=np.int64)  # any id will do where no token is
    held = np.zeros(ids.shape, dtype=bool)
    for row, draft in enumerate(drafts):
        ids[row, longest - len(draft.prompt) :] = draft.prompt
        held[row, longest - len(draft.prompt) :] = True
    cache = new_cache(parameters, (len(drafts),))
    cache.reserve(most)
    mask = None if held.all() else xp.asarray(held, device=parameters.device)
    return xp.asarray(ids, **made), mask, cache


def _common_beginning(cache: KeyValueCache, prompt: Sequence[int]) -> int:
    """Count the tokens that a prompt begins with as the cache does, all but the last at most."""
    seen = host_copy(cache.token_ids)
    count = min(len(seen), len(prompt) - 1)
    differ = np.flatnonzero(seen[:count] != np.asarray(prompt[:count]))
    return int(differ[0]) if len(differ) else count


def _next(xp: Namespace, drafts: list[Draft], ids: Array) -> Array:
    """Lay out the tokens that were chosen; behind a text that has ended anything may follow."""
    chosen: Any = [[(draft.token_ids or draft.prompt)[-1]] for draft in drafts]
    column = chosen[0] if ids.ndim == 1 else chosen
    return xp.asarray(column, dtype=ids.dtype, device=array_api_compat.device(ids))


def new_cache(
    parameters: LanguageModelParameters,
    batch: tuple[int, ...] = (),
    *,
    window: int | None = None,
) -> KeyValueCache:
    """Make an empty cache where the weights are."""
    xp = array_namespace(embedding=parameters.embedding)
    dtype, device = parameters.embedding.dtype, parameters.device
    return KeyValueCache(parameters.config, batch, window=window, xp=xp, dtype=dtype, device=device)


def _choose(
    draft: Draft,
    logits: np.ndarray,
    parameters: LanguageModelParameters,
    sampling: Sampling,
    rng: np.random.Generator | None,
    log_probabilities: bool,
) -> str:
    """Choose the next token of a text, and return what is certain with it."""
    previous = np.empty(0, dtype=np.int64)
    if sampling.repetition_penalty != 1:
        previous = np.asarray(draft.prompt + draft.token_ids, dtype=np.int64)
    token = choose_token(logits, sampling, rng, previous)
    if token in parameters.config.stop_ids:
        return draft.end("stop token")
    if log_probabilities:
        draft.log_probabilities.append(_log_probability(logits, token))
    return draft.take(token)


def _log_probability(logits: np.ndarray, token: int) -> float:
    distances = logits.astype(np.float64) - float(logits[token])
    top = distances.max()
    return -float(top + np.log(np.exp(distances - top).sum()))
