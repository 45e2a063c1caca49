"""A llama folder's tensors: one file of them, or several with an index."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from companion.extras import import_extra
from companion.files import existing_file, read_json
from companion.language_model.config import LanguageModelConfig
from companion.language_model.parameters import language_model_tensors

__all__ = ["TensorFolder", "open_tensors"]

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
DTYPES = ("F32", "F16", "BF16")
# In old files: it is computed from the base, and files without it are read the same.
FREQUENCIES = "self_attn.rotary_emb.inv_freq"
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


@dataclass(frozen=True, eq=False)
class TensorFolder:
    """The open files of a folder; each tensor's name with the path and the file it is in."""

    tensors: Mapping[str, tuple[Path, Any]]

    def read(self, name: str) -> np.ndarray:
        """Read a tensor in float32.

        Raises
        ------
        ValueError
            If a value is not finite.
        """
        path, file = self.tensors[name]
        array: np.ndarray = file.get_tensor(name).astype(np.float32, copy=False)
        if not np.all(np.isfinite(array)):
            raise ValueError(f"{path}: {name} must be finite, got a value that is not")
        return array


def open_tensors(folder: Path, config: LanguageModelConfig) -> TensorFolder:
    """Open the files of a folder, and check the names, shapes and dtypes of all tensors.

    Parameters
    ----------
    folder : Path
        Holds ``model.safetensors``, or ``model.safetensors.index.json`` and the files that it
        names, which lie in the folder.
    config : LanguageModelConfig

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ModuleNotFoundError
        If a library that reads the files is missing; the message says what to install.
    ValueError
        If a file is damaged, or a tensor is missing, unknown, twice there, or of another shape or
        dtype.
    """
    held: dict[str, tuple[Path, Any]] = {}
    for path, promised in _files(folder).items():
        file = _opened(path)
        names = set(file.keys())
        for name in sorted(promised or ()):
            if name not in names:
                raise ValueError(f"{path} must hold the tensor {name}, as {INDEX} says")
        if promised is not None and (extra := sorted(names - promised)):
            raise ValueError(
                f"{path} must hold no tensor that {INDEX} does not say, got {extra[0]}"
            )
        held |= {name: (path, file) for name in names if not name.endswith(FREQUENCIES)}
    opened = TensorFolder(held)
    _check(folder, opened, config)
    return opened


def _files(folder: Path) -> Mapping[Path, set[str] | None]:
    """Return the files, with the tensors that the index says are in each; None without an index."""
    if (folder / WHOLE).exists() or not (folder / INDEX).exists():
        return {folder / WHOLE: None}
    index = read_json(folder / INDEX, dict).get("weight_map")
    if not isinstance(index, dict) or not index:
        raise ValueError(f"{folder / INDEX}: weight_map must name the file of each tensor")
    files: dict[Path, set[str]] = {}
    for tensor, name in index.items():
        plain = isinstance(name, str) and name.endswith(".safetensors")
        if not plain or PureWindowsPath(name).name != name:  # it knows both signs of a path
            raise ValueError(
                f"{folder / INDEX}: {tensor} must be in a .safetensors file of the folder, "
                f"got {name!r}"
            )
        files.setdefault(folder / name, set()).add(tensor)
    return files


def _opened(path: Path) -> Any:
    safetensors = import_extra("safetensors", "language-model", "a published model")
    # By which NumPy knows bfloat16.
    import_extra("ml_dtypes", "language-model", "a published model")
    existing_file(path)
    try:
        return safetensors.safe_open(path, framework="numpy")
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} must be an undamaged safetensors file: {error}") from error


def _check(folder: Path, opened: TensorFolder, config: LanguageModelConfig) -> None:
    # More layers than tensors cannot be there, and their table could fill the memory.
    layers = min(config.layer_count, len(opened.tensors) + 1)
    table = language_model_tensors(replace(config, layer_count=layers))
    unknown = sorted(opened.tensors.keys() - table.keys() - ({HEAD} if config.tied else set()))
    for name, shape in table.items():
        if name not in opened.tensors:
            found = f"; it holds {unknown[0]}, which has no place here" if unknown else ""
            raise ValueError(f"{folder} must hold the tensor {name}, and does not{found}")
        path, file = opened.tensors[name]
        header = file.get_slice(name)
        got, dtype = tuple(header.get_shape()), header.get_dtype()
        if got != shape or dtype not in DTYPES:
            raise ValueError(
                f"{path}: {name} must be {', '.join(DTYPES)} of shape {shape}, "
                f"got {dtype} of shape {got}"
            )
    if unknown:
        path, _ = opened.tensors[unknown[0]]
        raise ValueError(f"{path} must hold no other tensors, got {unknown[0]}")
    if config.tied and HEAD in opened.tensors:
        path, _ = opened.tensors[HEAD]
        if not np.array_equal(opened.read(HEAD), opened.read(EMBEDDING)):
            raise ValueError(
                f"{path}: {HEAD} must be {EMBEDDING}, as tie_word_embeddings of config.json says, "
                f"got another"
            )
