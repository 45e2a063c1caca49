"""A training's file: what it takes to go on to the same bits."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from companion.arrays import Array, Namespace, array_module, to_numpy
from companion.extras import import_extra
from companion.files import existing_file, write_whole
from companion.language_model.config import LanguageModelConfig
from companion.language_model.parameters import LanguageModelParameters
from companion.libraries import dtype_named
from companion.parameters import named_parameters
from companion.training.adamw import AdamWState
from companion.training.initial import built
from companion.training.plan import TrainingPlan
from companion.training.state import CurvePoint, TrainingState

__all__ = ["load_training", "save_training"]

FILE, ENTRY = "training.safetensors", "companion training 1"
PARTS = ("weights", "mean", "square")
DTYPES = ("float32", "float64")


def save_training(folder: str | PathLike[str], state: TrainingState) -> None:
    """Write a training at its step into ``training.safetensors``, whole or not at all.

    It holds the weights, what the optimiser remembers, the plan with the seed of all that is
    drawn, the curve, a digest of the texts, and the step, from which the position in the text
    follows.

    Parameters
    ----------
    folder : str or path
        Made where it is not there.
    state : TrainingState

    Raises
    ------
    ModuleNotFoundError
        If the library `safetensors` is missing; the message says what to install.
    OSError
        If the folder cannot be written to.
    TypeError
        If the weights are neither float32 nor float64.
    """
    safetensors = import_extra("safetensors.numpy", "language-model", "a checkpoint")
    check_kept(state.parameters)
    trees = (state.parameters, state.optimiser.mean, state.optimiser.square)
    tensors = {
        f"{part}.{name}": np.ascontiguousarray(to_numpy(array))
        for part, tree in zip(PARTS, trees, strict=True)
        for name, array in named_parameters(tree).items()
    }
    said = {
        "config": asdict(state.parameters.config),
        "plan": asdict(state.plan),
        "step": state.step,
        "curve": state.curve,
        "text": state.text,
    }
    # One entry, since the library writes several in an order that is drawn.
    content = safetensors.save(tensors, metadata={ENTRY: json.dumps(said)})
    write_whole(Path(folder) / FILE, content)


def check_kept(parameters: LanguageModelParameters) -> None:
    """Raise unless the weights are of a dtype that is read again."""
    if (dtype := to_numpy(parameters.embedding).dtype).name not in DTYPES:
        raise TypeError(f"parameters must be {' or '.join(DTYPES)} to be kept, got {dtype}")


def holds_another(folder: Path, state: TrainingState) -> bool:
    """Say whether a folder holds a training that `state` does not go on with."""
    if not (folder / FILE).exists():
        return False
    if not state.text:
        return True  # it begins
    with _opened(folder) as (path, file):
        config, _, curve, _, text = _said(path, file)
    # The plan may have been made longer, but what both have seen is the same.
    same = (config, text) == (state.parameters.config, state.text)
    return not same or any(a != b for a, b in zip(curve, state.curve, strict=False))


def load_training(folder: str | PathLike[str], *, xp: Namespace | None = None) -> TrainingState:
    """Read a training that was saved; :func:`train` goes on with it as if it had not stopped.

    Parameters
    ----------
    folder : str or path
        Holds ``training.safetensors``.
    xp : module, optional
        The array module of the weights; :func:`companion.array_module` chooses where it is left
        out. The same bits come of the same one.

    Returns
    -------
    TrainingState

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModuleNotFoundError
        If the library `safetensors` is missing; the message says what to install.
    ValueError
        If it is damaged, or no training's.
    """
    with _opened(folder) as (path, file):
        return _read(path, file, array_module() if xp is None else xp)


@contextmanager
def _opened(folder: str | PathLike[str]) -> Iterator[tuple[Path, Any]]:
    safetensors = import_extra("safetensors", "language-model", "a checkpoint")
    path = existing_file(Path(folder) / FILE)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            yield path, file
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} must be an undamaged safetensors file: {error}") from error


Said: TypeAlias = tuple[LanguageModelConfig, TrainingPlan, tuple[CurvePoint, ...], int, str]


def _said(path: Path, file: Any) -> Said:
    """Read the words of a checkpoint, which say all but its numbers."""
    metadata = file.metadata() or {}
    if ENTRY not in metadata:
        raise ValueError(f"{path} must hold a {ENTRY!r}, got {sorted(metadata)}")
    try:
        said = json.loads(metadata[ENTRY])
        config = LanguageModelConfig(**_tuples(LanguageModelConfig, said["config"]))
        plan = TrainingPlan(**_tuples(TrainingPlan, said["plan"]))
        curve, step, text = said["curve"], said["step"], said["text"]
        curve = tuple(CurvePoint(*point) for point in curve)
        if step not in range(plan.steps + 1):
            raise ValueError(f"step must be in 0 … {plan.steps}, got {step}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} must say how the training goes: {error!r}") from error
    return config, plan, curve, step, text


def _read(path: Path, file: Any, xp: Namespace) -> TrainingState:
    config, plan, curve, step, text = _said(path, file)
    names, asked = set(file.keys()), set()

    def tree(part: str) -> LanguageModelParameters:
        def take(name: str, shape: tuple[int, ...]) -> Array:
            asked.add(f"{part}.{name}")
            return _tensor(path, file, names, f"{part}.{name}", shape, xp)

        return built(config, take)

    weights, mean, square = (tree(part) for part in PARTS)
    if unknown := sorted(names - asked):
        raise ValueError(f"{path} must hold no other tensors, got {unknown[0]}")
    return TrainingState(plan, weights, AdamWState(step, mean, square), curve, text)


def _tensor(
    path: Path, file: Any, names: set[str], name: str, shape: tuple[int, ...], xp: Namespace
) -> Array:
    if name not in names:
        raise ValueError(f"{path} must hold the tensor {name}, and does not")
    array = file.get_tensor(name)
    if array.shape != shape or array.dtype.name not in DTYPES:
        raise ValueError(
            f"{path}: {name} must be {' or '.join(DTYPES)} of shape {shape}, "
            f"got {array.dtype.name} of shape {array.shape}"
        )
    return xp.asarray(array, dtype=dtype_named(xp, array.dtype.name))


def _tuples(kind: Any, said: dict[str, Any]) -> dict[str, Any]:
    """Give back the tuples that JSON makes lists of, and let no name pass that is none."""
    known = {field.name for field in fields(kind)}
    if odd := sorted(known ^ said.keys()):
        raise ValueError(f"{odd[0]} must stand in {kind.__name__} and in the file")
    return {key: tuple(v) if isinstance(v, list) else v for key, v in said.items()}
