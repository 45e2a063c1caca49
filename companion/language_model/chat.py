"""A model's chat template: a stranger's small program that makes one text of a conversation."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from companion.extras import import_extra
from companion.packing import check_text

__all__ = ["Disguise", "check_messages", "render_chat"]

# Code points that Unicode keeps out of all text: those that no message has mark what users typed.
NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    names: Mapping[str, str],
    *,
    reply: bool = True,
) -> str:
    """Make one text of a conversation, as the template says.

    The template runs in a sandbox: it sees the messages and a few functions, reaches no file and
    changes nothing.

    Parameters
    ----------
    template : str
        In the language of Jinja.
    messages : sequence of mappings
        Each has a ``"role"`` and a ``"content"``.
    names : mapping
        What the template may call a special token, such as ``bos_token``, and the token.
    reply : bool
        Whether the text ends where the model's answer begins.

    Raises
    ------
    ModuleNotFoundError
        If the library `jinja2` is missing; the message says what to install.
    ValueError
        If the template is damaged, or refuses the messages, or fails on them.
    """
    environment = _environment()
    jinja2 = import_extra("jinja2", "language-model", "a chat")
    try:
        compiled = environment.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(
            f"the model's chat template must be undamaged: line {error.lineno}: {error.message}"
        ) from error
    given = {"messages": messages, "add_generation_prompt": reply, "tools": None, "documents": None}
    try:
        text: str = compiled.render(**names, **given)
    except Exception as error:  # whatever a stranger's program raises
        raise ValueError(
            f"the model's chat template must take the messages, and does not: "
            f"{str(error) or type(error).__name__}"
        ) from error
    check_text(text, "the text of the model's chat template")
    return text


def check_messages(messages: object) -> None:
    """Check that each message of a conversation has a role and a content."""
    if isinstance(messages, (str, Mapping)) or not isinstance(messages, Sequence):
        raise TypeError(
            f"messages must be a sequence of mappings with role and content, "
            f"got {type(messages).__name__}"
        )
    if not messages:
        raise ValueError("messages must hold at least one message, got none")
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise TypeError(f"messages[{i}] must be a mapping, got {type(message).__name__}")
        for key in ("role", "content"):
            if key not in message:
                raise ValueError(f"messages[{i}] must have {key!r}, got {sorted(message, key=str)}")
            check_text(message[key], f"messages[{i}][{key!r}]")


class Disguise:
    """Puts signs that occur in no text where a user types special tokens' names.

    What has gone through the template tells by them what the user wrote and what the template did.
    The first character of each name is replaced, and that of a name's beginning at the end of a
    text, which what follows there might complete.
    """

    def __init__(self, names: Iterable[str], template: str, messages: Any) -> None:
        self.names = sorted(names, key=len, reverse=True)
        held = {sign for text in _texts(messages) for sign in text} | set(template)
        free = [sign for sign in NONCHARACTERS if sign not in held]
        first = sorted({name[0] for name in self.names})
        if len(free) < len(first):
            raise ValueError(
                "messages must hold no noncharacters U+FDD0 to U+FDEF beside special tokens, "
                f"got {len(NONCHARACTERS) - len(free)} of them"
            )
        self.signs = dict(zip(first, free, strict=False))

    def put_on(self, value: Any) -> Any:
        """Disguise the names in every text of a message, its keys left as they are."""
        if isinstance(value, str):
            for name in self.names:
                value = value.replace(name, self.signs[name[0]] + name[1:])
            cut = {i for n in self.names for i in range(1, len(n)) if value.endswith(n[:i])}
            for i in cut:
                at = len(value) - i
                value = value[:at] + self.signs[value[at]] + value[at + 1 :]
            return value
        if isinstance(value, Mapping):
            return {key: self.put_on(part) for key, part in value.items()}
        return [self.put_on(part) for part in value] if isinstance(value, (list, tuple)) else value

    def take_off(self, text: str) -> str:
        """Return a text as the user wrote it."""
        for character, sign in self.signs.items():
            text = text.replace(sign, character)
        return text


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)


def _environment() -> Any:
    """Return the sandbox, with what templates expect beside Jinja's own."""
    import_extra("jinja2", "language-model", "a chat")
    from jinja2 import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """Take what stands between the tags of the model's own words, and leave the tags."""

        tags = {"generation"}  # noqa: RUF012  # as Jinja declares it

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def as_json(value: Any, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = as_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment
