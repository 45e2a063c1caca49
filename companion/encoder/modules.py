"""What is done around an encoder's blocks, as the files of sentence-transformers say."""

from pathlib import Path
from typing import Any, Literal

from companion.files import read_json

__all__ = ["Pooling", "read_modules", "read_prompt"]

Pooling = Literal["mean", "cls"]

# Files of today name the mode, older ones have a flag for each.
POOLINGS: dict[str, Pooling] = {
    "mean": "mean",
    "pooling_mode_mean_tokens": "mean",
    "cls": "cls",
    "pooling_mode_cls_token": "cls",
}
SEQUENCES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])


def read_modules(folder: Path) -> tuple[Pooling, bool]:
    """Read how a sentence's vector is pooled, and whether it is scaled to length 1.

    A folder without ``modules.json`` says nothing of it: vectors are means of length 1, and a
    ``1_Pooling/config.json`` that is there may name the pooling.

    Raises
    ------
    FileNotFoundError
        If ``modules.json`` names a folder that lacks its file.
    ValueError
        If a file is damaged, or asks for something that this library does not compute.
    """
    path = folder / "modules.json"
    if not path.exists():
        alone = folder / "1_Pooling" / "config.json"
        return (_pooling(alone) if alone.exists() else "mean"), True
    modules = [_module(path, entry) for entry in read_json(path, list)]
    kinds = [kind for kind, _ in modules]
    if kinds not in SEQUENCES:
        raise ValueError(
            f"{path}: the modules must be Transformer, Pooling and, if anything follows, "
            f"Normalize, got {kinds}"
        )
    (_, root), (_, pooling), *normalize = modules
    if root:
        raise ValueError(f"{path}: path of Transformer must be '', got {root!r}")
    for _, name in normalize:
        _check_normalize(folder / name / "config.json")
    return _pooling(folder / pooling / "config.json"), bool(normalize)


def read_prompt(folder: Path) -> str:
    """Read what stands before every text; empty where the folder sets no default prompt."""
    path = folder / "config_sentence_transformers.json"
    if not path.exists():
        return ""
    content = read_json(path, dict)
    model = content.get("model_type", "SentenceTransformer")
    if model != "SentenceTransformer":
        raise ValueError(f"{path}: model_type must be 'SentenceTransformer', got {model!r}")
    prompts, name = content.get("prompts", {}), content.get("default_prompt_name")
    if not isinstance(prompts, dict):
        raise ValueError(f"{path}: prompts must be a JSON object, got {prompts!r}")
    if name is None:
        return ""
    if not isinstance(name, str) or name not in prompts:
        raise ValueError(
            f"{path}: default_prompt_name must be one of prompts {list(prompts)}, got {name!r}"
        )
    prompt = prompts[name]
    if not isinstance(prompt, str) or any("\ud800" <= sign <= "\udfff" for sign in prompt):
        raise ValueError(f"{path}: the prompt {name!r} must be valid Unicode, got {prompt!r}")
    return prompt


def _module(path: Path, entry: Any) -> tuple[str, str]:
    """Return a module's kind, and the name of its folder."""
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: a module must be a JSON object, got {entry!r}")
    kind, name = entry.get("type"), entry.get("path")
    if not isinstance(kind, str):
        raise ValueError(f"{path}: type of a module must be a string, got {kind!r}")
    if not isinstance(name, str) or name == ".." or set(name) & {"/", "\\", ":", "\0"}:
        raise ValueError(f"{path}: path of {kind} must name a folder beside it, got {name!r}")
    if options := entry.get("kwargs"):
        raise ValueError(f"{path}: kwargs of {kind} must be absent, got {options!r}")
    package, _, rest = kind.partition(".")
    return (rest.rpartition(".")[2] if package == "sentence_transformers" else kind), name


def _pooling(path: Path) -> Pooling:
    content = read_json(path, dict)
    if (included := content.get("include_prompt", True)) is not True:
        raise ValueError(f"{path}: include_prompt must be True, got {included!r}")
    if "pooling_mode" in content:
        named = content["pooling_mode"]
        modes = named if isinstance(named, list) else [named]
    else:
        flags = {key: on for key, on in content.items() if key.startswith("pooling_mode_")}
        for key, on in flags.items():
            if not isinstance(on, bool):
                raise ValueError(f"{path}: {key} must be true or false, got {on!r}")
        modes = [key for key, on in flags.items() if on]
    if len(modes) != 1 or not isinstance(modes[0], str) or modes[0] not in POOLINGS:
        raise ValueError(
            f"{path}: the pooling mode must be the mean over tokens or the row of the first, "
            f"got {modes}"
        )
    return POOLINGS[modes[0]]


def _check_normalize(path: Path) -> None:
    """Refuse a Normalize of something else than the sentence's vector; older ones have no file."""
    if not path.exists():
        return
    content = read_json(path, dict)
    for key in ("module_input_name", "module_output_name"):
        if (got := content.get(key)) not in (None, "sentence_embedding"):
            raise ValueError(f"{path}: {key} must be 'sentence_embedding', got {got!r}")
