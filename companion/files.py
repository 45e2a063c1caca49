"""A model's files: read whole, or refused with a word about what is wrong; and written whole."""

import json
import os
from pathlib import Path
from typing import Any, TypeVar

Json = TypeVar("Json", dict[str, Any], list[Any])
LARGEST = 2**31 - 1  # what every library below takes as a size
LONGEST = 2**26  # bytes; such files have thousands


def existing_file(path: Path) -> Path:
    """Return the path of a file that is there and can be read, or raise an OSError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} must hold the file {path.name}, and does not")
    path.open("rb").close()
    return path


def read_text(path: Path) -> str:
    """Read a file that holds a text."""
    try:
        return _short_file(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be undamaged UTF-8: {error}") from error


def read_json(path: Path, kind: type[Json]) -> Json:
    """Read a file that holds one JSON object, or one list, in which no key stands twice."""
    _short_file(path)
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:  # damaged UTF-8 or JSON, or nested too deeply
        raise ValueError(f"{path} must be undamaged JSON: {error}") from error
    if not isinstance(content, kind):
        name = "object" if kind is dict else "list"
        raise ValueError(f"{path} must hold a JSON {name}, got {type(content).__name__}")
    return content


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in its folder, whole or not at all: another name holds it until it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def size(path: Path, content: dict[str, Any], key: str) -> int:
    """Take a positive integer out of what a file holds."""
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{path}: {key} must be a positive integer, got {value!r}")
    if value > LARGEST:
        raise ValueError(f"{path}: {key} must be at most {LARGEST}, got {value}")
    return value


def _short_file(path: Path) -> Path:
    length = existing_file(path).stat().st_size
    if length > LONGEST:
        raise ValueError(f"{path} must have at most {LONGEST} bytes, got {length}")
    return path


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return content
