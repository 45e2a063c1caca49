"""The tokenizer of a llama folder, and what its files say of special tokens and of chats."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from companion.extras import import_extra
from companion.files import existing_file, read_json, read_text
from companion.language_model.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["read_llama_tokenizer"]

NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")


def read_llama_tokenizer(folder: Path, vocabulary_size: int) -> TextTokenizer:
    """Read the tokenizer of a folder.

    Parameters
    ----------
    folder : Path
        Holds ``tokenizer.json``; ``tokenizer_config.json`` and ``chat_template.jinja`` are read
        where they are there.
    vocabulary_size : int
        That of the model: no id may reach it.

    Raises
    ------
    FileNotFoundError
        If ``tokenizer.json`` is missing.
    ModuleNotFoundError
        If the library `tokenizers` is missing; the message says what to install.
    ValueError
        If a file is damaged, or the tokenizer has ids that the model has no row for.
    """
    tokenizers = import_extra("tokenizers", "language-model", "a published model")
    path = existing_file(folder / "tokenizer.json")
    try:
        tokenizer: Tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{path} must describe a tokenizer: {error}") from error
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest >= vocabulary_size:
        raise ValueError(
            f"{path} must have ids below vocab_size={vocabulary_size} of config.json, got {highest}"
        )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    settings = folder / "tokenizer_config.json"
    said = read_json(settings, dict) if settings.exists() else {}
    names = {name: token for name in NAMES if (token := _named(settings, said, name)) is not None}
    _put_around(settings, said, tokenizer, names)
    return TextTokenizer(tokenizer, _chat_template(folder, settings, said), names)


def _named(path: Path, said: dict[str, Any], key: str) -> str | None:
    """Return a special token, which is written as a text or as an object that holds it."""
    token = said.get(key)
    token = token.get("content") if isinstance(token, dict) else token
    if token is not None and not isinstance(token, str):
        raise ValueError(f"{path}: {key} must name a token, got {said[key]!r}")
    return token


def _put_around(
    path: Path, said: dict[str, Any], tokenizer: "Tokenizer", names: dict[str, str]
) -> None:
    """Set the tokens around every text, if the settings say so; else it is as in tokenizer.json."""
    if said.get("add_bos_token") is None and said.get("add_eos_token") is None:
        return
    tokenizers = import_extra("tokenizers", "language-model", "a published model")
    pattern, special = ["$A"], []
    for name, at in {"bos": 0, "eos": 2}.items():
        if said.get(f"add_{name}_token") not in (True, False, None):
            raise ValueError(
                f"{path}: add_{name}_token must be true or false, got {said[f'add_{name}_token']!r}"
            )
        token = names.get(f"{name}_token")
        if not said.get(f"add_{name}_token") or token is None:
            continue
        if (number := tokenizer.token_to_id(token)) is None:
            raise ValueError(
                f"{path}: {name}_token must be a token of tokenizer.json, got {token!r}"
            )
        pattern.insert(at, token)
        special.append((token, number))
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=pattern, special_tokens=special
    )


def _chat_template(folder: Path, settings: Path, said: dict[str, Any]) -> str | None:
    """Return the template: a file of its own, else the settings' only one or that for chats."""
    path = folder / "chat_template.jinja"
    if path.exists():
        return read_text(path)
    template = said.get("chat_template")
    if isinstance(template, list):  # templates for several uses, by name
        named = {part.get("name"): part.get("template") for part in template if type(part) is dict}
        template = named.get("default")
    if template is not None and not isinstance(template, str):
        raise ValueError(f"{settings}: chat_template must be a text, got {template!r}")
    return template
