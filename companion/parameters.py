"""What all parameter classes share: a walk over their arrays, to count, move and change them."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

import array_api_compat
import numpy as np

from companion.arrays import (
    Array,
    DType,
    Namespace,
    array_namespace,
    random_normal,
    require_floating,
    require_same_dtype,
    to_numpy,
)
from companion.libraries import dtype_named

__all__ = ["count_parameters", "map_parameters", "move_parameters", "named_parameters"]

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ParameterTree: TypeAlias = "DataclassInstance | tuple[Any, ...] | list[Any]"
P = TypeVar("P", bound=ParameterTree)


class Parameters:
    """What the parameter classes share: JAX knows them, so `jit` and `grad` take them whole.

    JAX is not imported for it. Whoever makes parameters where it is in use makes their class known
    to it; ``jax.grad(loss)(block)`` is then a block of gradients.
    """

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Make the class a pytree, once."""
        if "jax" in sys.modules and cls not in _KNOWN_TO_JAX:
            _KNOWN_TO_JAX.add(cls)
            sys.modules["jax"].tree_util.register_pytree_with_keys(
                cls, _named_parts, partial(_from_parts, cls)
            )
        return super().__new__(cls)


_KNOWN_TO_JAX: set[type] = set()


def _named_parts(parameters: Any) -> tuple[list[tuple[Any, Any]], None]:
    key = sys.modules["jax"].tree_util.GetAttrKey
    return [(key(f.name), getattr(parameters, f.name)) for f in fields(parameters)], None


def _from_parts(cls: type, _: None, parts: Any) -> Any:
    """Make parameters unchecked: JAX also puts what is no array where the arrays were."""
    made: Any = object.__new__(cls)
    for field, part in zip(fields(cls), parts, strict=True):
        object.__setattr__(made, field.name, part)
    return made


def map_parameters(function: Callable[..., Array], parameters: P, *others: P) -> P:
    """Make the same parameters with every array changed by a function.

    Parameters
    ----------
    function : callable
        Takes an array, and the array in its place of each of the others, and returns one.
    parameters : parameter dataclass, or tuple or list of such
        None in place of an array stays None; numbers stay as they are.
    *others : the kind that `parameters` is
        Walked together with it, as an optimiser walks weights, gradients and moments.

    Returns
    -------
    The kind that was given, its shapes checked anew.

    Raises
    ------
    TypeError
        If `parameters` is none of these, or another is not of its kind.
    ValueError
        If a sequence has another length than its like, or an array stands beside None.
    """
    for other in others:
        if type(other) is not type(parameters):
            raise TypeError(
                f"all parameters must be of one kind, {type(parameters).__name__}, "
                f"got {type(other).__name__}"
            )
    if isinstance(parameters, (tuple, list)):
        trees: tuple[Any, ...] = (parameters, *others)
        lengths = {len(tree) for tree in trees}
        if len(lengths) > 1:
            raise ValueError(f"all parameters must have one length, got {sorted(lengths)}")
        parts = zip(*trees, strict=True)
        return type(parameters)(map_parameters(function, *part) for part in parts)
    if not is_dataclass(parameters) or isinstance(parameters, type):
        raise TypeError(
            f"parameters must be a parameter dataclass or a sequence of such, "
            f"got {type(parameters).__name__}"
        )
    changed: dict[str, Any] = {}
    for field in fields(parameters):
        value, *likes = (getattr(tree, field.name) for tree in (parameters, *others))
        if any((like is None) != (value is None) for like in likes):
            raise ValueError(
                f"{field.name} of {type(parameters).__name__} must be an array in all parameters "
                f"or in none, got None beside an array"
            )
        if _holds_parameters(value):
            part: Any = value  # no class: a value
            changed[field.name] = map_parameters(function, part, *likes)
        elif hasattr(value, "dtype"):
            changed[field.name] = function(value, *likes)
    return replace(parameters, **changed)


def _holds_parameters(value: object) -> bool:
    """Say whether a field is to be walked into: a dataclass, or a sequence of such."""
    if isinstance(value, (tuple, list)):
        return not value or any(map(_holds_parameters, value))
    return is_dataclass(value)


def count_parameters(parameters: ParameterTree) -> int:
    """Count the numbers in all arrays of a parameter dataclass, or of a sequence of such.

    Raises
    ------
    TypeError
        If `parameters` is neither.
    """
    sizes = []

    def count(array: Array) -> Array:
        sizes.append(int(np.prod(array.shape)))
        return array

    map_parameters(count, parameters)
    return sum(sizes)


def named_parameters(parameters: ParameterTree) -> dict[str, Array]:
    """List all arrays of a parameter dataclass, or of a sequence of such, by where they stand.

    Returns
    -------
    dict of str to array
        In the order in which :func:`map_parameters` comes to them, under names such as
        ``layers.0.w_qkv``.

    Raises
    ------
    TypeError
        If `parameters` is neither.
    """
    arrays: list[Array] = []

    def note(array: Array) -> Array:
        arrays.append(array)
        return array

    map_parameters(note, parameters)
    return dict(zip(_names(parameters, ""), arrays, strict=True))


def _names(tree: Any, above: str) -> Iterator[str]:
    if isinstance(tree, (tuple, list)):
        parts = {str(i): part for i, part in enumerate(tree)}
    else:
        parts = {f.name: getattr(tree, f.name) for f in fields(tree)}
    for name, part in parts.items():
        if _holds_parameters(part):
            yield from _names(part, f"{above}{name}.")
        elif hasattr(part, "dtype"):
            yield f"{above}{name}"


def move_parameters(parameters: P, xp: Namespace, *, dtype: DType = None) -> P:
    """Copy parameters to another array module, through the host.

    Parameters
    ----------
    parameters : parameter dataclass, or tuple or list of such
    xp : module
        The array module of the copy.
    dtype : dtype, optional
        Floating dtype of the copy, that of each array where it is left out. (JAX has no float64
        outside its 64-bit mode, and gets float32.)

    Returns
    -------
    The kind that was given.

    Raises
    ------
    TypeError
        If `parameters` is none of these.
    """

    def move(array: Array) -> Array:
        host, kind = to_numpy(array), dtype
        if kind is None:  # NumPy has more dtypes than names for them
            numpy = array_api_compat.is_numpy_namespace(xp)
            kind = host.dtype if numpy else dtype_named(xp, host.dtype.name)
        return xp.asarray(host, dtype=kind)

    return map_parameters(move, parameters)


def check_parameters(
    owner: str, **expected: tuple[Array | None, tuple[int | str, ...]]
) -> dict[str, int]:
    """Check arrays against shapes written in letters, and return what each letter stands for.

    ``check_parameters("FeedForward", w_1=(w_1, ("d", "d_ff")), b_1=(b_1, ("d_ff",)))`` takes the
    first length it meets for a letter and holds all others to it. None passes.
    """
    arrays = {name: array for name, (array, _) in expected.items()}
    xp = array_namespace(**arrays)
    require_floating(xp, **arrays)
    require_same_dtype(**arrays)
    sizes: dict[str, int] = {}
    for name, (array, letters) in expected.items():
        if array is None:
            continue
        shape = tuple(
            letter if isinstance(letter, int) else sizes.get(letter, got)
            for letter, got in zip(letters, array.shape, strict=False)
        )
        if len(letters) != array.ndim or shape != array.shape:
            wanted = ", ".join(
                f"{letter}={sizes[letter]}" if letter in sizes else str(letter)
                for letter in letters
            )
            raise ValueError(f"{name} of {owner} must be ({wanted}), got {array.shape}")
        sizes |= {
            letter: length
            for letter, length in zip(letters, array.shape, strict=True)
            if isinstance(letter, str)
        }
    return sizes


def draw_weight(
    rng: np.random.Generator, shape: tuple[int, ...], xp: Namespace, dtype: DType
) -> Array:
    """Draw a weight whose outputs vary as much as its inputs: variance 1 / (number of rows)."""
    scale: float = shape[-2] ** -0.5
    return random_normal(shape, rng, xp=xp, dtype=dtype) * scale
