"""From text to token ids and back, a piece at a time where a text is being written."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import index
from threading import Lock
from typing import TYPE_CHECKING, Any

from companion.language_model.chat import Disguise, check_messages, render_chat
from companion.packing import check_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["TextStream", "TextTokenizer"]

UNFINISHED = "\ufffd"  # what bytes that are no whole character are decoded to


@dataclass(frozen=True, eq=False)
class TextTokenizer:
    """The tokenizer of a published model.

    :meth:`companion.CausalLanguageModel.from_pretrained` reads one.

    Attributes
    ----------
    tokenizer : tokenizers.Tokenizer
    chat_template : str or None
        Makes one text of a conversation, where the model was made for that.
    names : mapping of str to str
        What the template may call a special token, such as ``bos_token``, and the token.
    """

    tokenizer: "Tokenizer"
    chat_template: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    _lock: Any = field(default_factory=Lock, repr=False)  # of a setting that one text changes

    def encode(self, text: str, *, special: bool = False, start: bool = True) -> list[int]:
        """Cut a text into tokens and return their ids.

        Parameters
        ----------
        text : str
        special : bool
            Whether a special token's name in the text, such as ``<|im_end|>``, is that token.
            Left alone it is text like any other, so that what a user types ends no turn.
        start : bool
            Whether the tokens that the model puts around every text, such as its first one, are
            put there.

        Returns
        -------
        list of int

        Raises
        ------
        TypeError
            If `text` is no string.
        ValueError
            If it is not valid Unicode.
        """
        check_text(text, "text")
        with self._lock:
            self.tokenizer.encode_special_tokens = not special
            ids: list[int] = self.tokenizer.encode(text, add_special_tokens=start).ids
        return ids

    def encode_chat(
        self, messages: Sequence[Mapping[str, Any]], *, reply: bool = True
    ) -> list[int]:
        """Turn a conversation into token ids, by the model's own template.

        The special tokens are those that the template writes. Their names in a message stay text:
        nobody ends a turn, or begins another's, by typing ``<|im_end|>``.

        Parameters
        ----------
        messages : sequence of mappings
            Each has a ``"role"``, such as ``"user"``, and a ``"content"``.
        reply : bool
            Whether the answer of the model is to follow.

        Returns
        -------
        list of int

        Raises
        ------
        ModuleNotFoundError
            If the library `jinja2` is missing; the message says what to install.
        TypeError
            If `messages` are no sequence of mappings that hold strings.
        ValueError
            If the model has no chat template, or it is damaged or refuses the messages, or there
            are none.
        """
        if self.chat_template is None:
            raise ValueError("a chat needs a model with a chat template, and this one has none")
        check_messages(messages)
        special = self.special_tokens()
        disguise = Disguise(special, self.chat_template, messages)
        text = render_chat(
            self.chat_template, [*map(disguise.put_on, messages)], self.names, reply=reply
        )
        if disguise.take_off(text) == text:  # nobody typed a name
            return self.encode(text, special=True, start=False)
        ids = []
        for piece in re.split("(" + "|".join(map(re.escape, disguise.names)) + ")", text):
            if piece in special:
                ids.append(special[piece])
            else:
                ids += self.encode(disguise.take_off(piece), start=False)
        return ids

    def decode(self, ids: Iterable[int], *, special: bool = False) -> str:
        """Return the text of token ids.

        Parameters
        ----------
        ids : iterable of int
            An id that no token has is no text.
        special : bool
            Whether special tokens are written out.

        Returns
        -------
        str
            Bytes that are no whole character are "�".

        Raises
        ------
        TypeError
            If an id is no integer.
        ValueError
            If an id is negative or beyond 32 bits.
        """
        return self._text([_checked_id(i) for i in ids], special)

    def stream(self, after: Iterable[int] = (), *, special: bool = False) -> "TextStream":
        """Begin a text that is decoded token by token.

        Parameters
        ----------
        after : iterable of int
            Ids that stand before it and are not shown. Some tokenizers write no space before the
            first token of all, so a text that is continued needs them.
        special : bool
            As in :meth:`decode`.
        """
        return TextStream(self, after, special=special)

    def special_tokens(self) -> dict[str, int]:
        """Return the ids of the special tokens by their names."""
        added = self.tokenizer.get_added_tokens_decoder()
        return {
            token.content: i
            for i, token in sorted(added.items())
            if token.special and token.content
        }

    def _text(self, ids: list[int], special: bool) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=not special)
        return text


class TextStream:
    """A text that grows token by token and is handed out in whole characters.

    What the pieces make together is what :meth:`TextTokenizer.decode` makes of all ids. (Where
    tokens of single bytes are no characters, some tokenizers take back what is handed out already.)
    """

    # Characters may span tokens, and a token may be written otherwise at the beginning of a text.
    # So the tokens of the piece before are decoded again, as the beginning of the next.

    def __init__(
        self, tokenizer: TextTokenizer, after: Iterable[int] = (), *, special: bool = False
    ) -> None:
        self._tokenizer, self._special = tokenizer, special
        self._before = [_checked_id(i) for i in after]
        self._waiting: list[int] = []

    def push(self, token: int) -> str:
        """Take the next token, and return the characters that are whole with it."""
        self._waiting.append(_checked_id(token))
        piece = self._piece()
        return "" if piece.endswith(UNFINISHED) else self._hand_out(piece)

    def end(self) -> str:
        """Return what is left: "�" for bytes that have not become a character."""
        return self._hand_out(self._piece())

    def _piece(self) -> str:
        shown = self._tokenizer._text(self._before, self._special)
        whole = self._tokenizer._text(self._before + self._waiting, self._special)
        same = (a == b for a, b in zip(shown, whole, strict=False))
        return whole[next((i for i, alike in enumerate(same) if not alike), len(shown)) :]

    def _hand_out(self, piece: str) -> str:
        self._before = self._waiting if piece else self._before + self._waiting
        self._waiting = []
        return piece


def _checked_id(value: object) -> int:
    try:
        number = index(value)  # type: ignore[arg-type]  # what is no integer is refused
    except TypeError:
        raise TypeError(f"ids must be integers, got {value!r}") from None
    if not 0 <= number < 2**32:
        raise ValueError(f"ids must be at least 0 and of 32 bits, got {number}")
    return number
