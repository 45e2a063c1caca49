"""The tokenizer of a GGUF file, made of its vocabulary and its merges."""

from typing import Any

from companion.extras import import_extra
from companion.language_model.gguf_file import GgufFile
from companion.language_model.tokenizer import TextTokenizer

__all__ = ["gguf_tokenizer", "stored_token_id", "stored_tokens"]

# The kinds of tokens: those of a text, those that only a program writes, and those that were added
# to a vocabulary and may stand in a text.
NORMAL, CONTROL, ADDED, UNUSED = 1, 3, 4, 5
# What a chat template calls a token, and what the file does.
NAMES = {
    "bos_token": "bos",
    "eos_token": "eos",
    "unk_token": "unknown",
    "pad_token": "padding",
}


def gguf_tokenizer(file: GgufFile) -> TextTokenizer:
    """Make the tokenizer of a file, from its vocabulary and its merges.

    Raises
    ------
    ModuleNotFoundError
        If the library `tokenizers` is missing; the message says what to install.
    ValueError
        If the file's tokenizer is damaged, or one that this library does not know.
    """
    tokenizers = import_extra("tokenizers", "language-model", "a published model")
    for key, expected in {"model": "gpt2", "pre": "smollm"}.items():
        if (got := file.metadata.get(f"tokenizer.ggml.{key}")) != expected:
            raise ValueError(f"{file.path}: tokenizer.ggml.{key} must be {expected!r}, got {got!r}")
    words, kinds = stored_tokens(file), _kinds(file)
    merges = [tuple(merge.split(" ")) for merge in _list(file, "merges", str)]
    try:
        model = tokenizers.models.BPE({word: i for i, word in enumerate(words)}, merges)
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(
            f"{file.path}: tokenizer.ggml.merges must fit the tokens: {error}"
        ) from error
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_tokens(
        [
            tokenizers.AddedToken(word, special=kind == CONTROL)
            for word, kind in zip(words, kinds, strict=True)
            if kind in (CONTROL, ADDED)
        ]
    )
    _put_around(file, made, words)
    template = file.metadata.get("tokenizer.chat_template")
    if template is not None and not isinstance(template, str):
        raise ValueError(f"{file.path}: tokenizer.chat_template must be a text, got {template!r}")
    ids = {ours: stored_token_id(file, theirs) for ours, theirs in NAMES.items()}
    named = {name: words[number] for name, number in ids.items() if number is not None}
    return TextTokenizer(made, template, named)


def _kinds(file: GgufFile) -> list[int]:
    """Return the kind of each token, after a look at whether tokens and kinds fit together."""
    words, kinds = stored_tokens(file), _list(file, "token_type", int)
    if len(kinds) != len(words) or len(set(words)) != len(words):
        raise ValueError(
            f"{file.path}: tokenizer.ggml.tokens must be {len(kinds)} different texts, one for "
            f"each of tokenizer.ggml.token_type, got {len(words)}, {len(set(words))} of them "
            f"different"
        )
    if unknown := set(kinds) - {NORMAL, CONTROL, ADDED, UNUSED}:
        raise ValueError(
            f"{file.path}: tokenizer.ggml.token_type must hold {NORMAL}, {CONTROL}, {ADDED} and "
            f"{UNUSED}, got {min(unknown)}"
        )
    return kinds


def _put_around(file: GgufFile, made: Any, words: list[str]) -> None:
    """Set the tokens that stand before and after every text, if the file asks for them."""
    tokenizers = import_extra("tokenizers", "language-model", "a published model")
    pattern, special = ["$A"], []
    for name, at in {"bos": 0, "eos": 2}.items():
        asked = file.metadata.get(f"tokenizer.ggml.add_{name}_token", False)
        number = stored_token_id(file, name)
        if not isinstance(asked, bool) or (asked and number is None):
            raise ValueError(
                f"{file.path}: tokenizer.ggml.add_{name}_token must be false or name a token, "
                f"got {asked!r} and the id {number}"
            )
        if asked and number is not None:
            pattern.insert(at, words[number])
            special.append((words[number], number))
    if special:
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single=pattern, special_tokens=special
        )


def stored_tokens(file: GgufFile) -> list[str]:
    """Return the vocabulary, in the order of the ids."""
    return _list(file, "tokens", str)


def stored_token_id(file: GgufFile, name: str) -> int | None:
    """Return the id of a token that the file names, such as ``"eos"``; None if it does not."""
    key = f"tokenizer.ggml.{name}_token_id"
    value = file.metadata.get(key)
    if value is not None and (type(value) is not int or not 0 <= value < len(stored_tokens(file))):
        raise ValueError(
            f"{file.path}: {key} must be below the number of tokens {len(stored_tokens(file))}, "
            f"got {value!r}"
        )
    return value


def _list(file: GgufFile, key: str, kind: type) -> list[Any]:
    value = file.metadata.get(f"tokenizer.ggml.{key}")
    if not isinstance(value, list) or not value or not isinstance(value[0], kind):
        got = f"a list of {type(value[0]).__name__}" if isinstance(value, list) and value else value
        raise ValueError(
            f"{file.path}: tokenizer.ggml.{key} must be a list of {kind.__name__}, got {got!r}"
        )
    return value
