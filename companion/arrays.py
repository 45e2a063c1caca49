"""One code for every array library: functions follow their arrays, only creation needs a switch.

Every function of this library asks its arguments which array library they belong to and answers in
kind. The one choice left is where arrays are made, and :func:`companion.array_module` makes it.

**One door.** A public function checks its arguments and hands them, with their namespace in front,
to the form of it that trusts: ``softmax(scores)`` to ``unchecked_softmax(xp, scores, axis)``.
What begins with ``unchecked_`` calls only what does not check, so however many functions lie
between a block and its softmax, the arrays are looked at once. A check that several doors share is
called ``check_…`` or ``require_…``.
"""

import functools
import os
import typing
from typing import Any, Literal, NoReturn, TypeAlias

import array_api_compat
import array_api_compat.numpy
import numpy as np

from companion.array_types import Array, DType, Namespace
from companion.libraries import (
    cuda_device_answers,
    dtype_named,
    host_copy,
    library_named,
)

__all__ = [
    "Array",
    "DType",
    "Namespace",
    "array_module",
    "array_namespace",
    "random_normal",
    "show",
    "to_numpy",
]

ENVIRONMENT_VARIABLE = "COMPANION_ARRAY_MODULE"
ModuleName: TypeAlias = Literal["auto", "numpy", "cupy", "torch", "jax"]
MODULE_NAMES: tuple[str, ...] = typing.get_args(ModuleName)


def array_module(name: ModuleName | None = None) -> Namespace:
    """Choose the array module in which a notebook makes its arrays.

    Parameters
    ----------
    name : {"auto", "numpy", "cupy", "torch", "jax"}, optional
        ``"auto"`` is CuPy when a CUDA device answers and NumPy otherwise. Without a name the
        environment variable ``COMPANION_ARRAY_MODULE`` decides, and ``"auto"`` where it is unset.

    Returns
    -------
    module
        The Array API namespace of the library: ``jax.numpy`` for JAX, and what `array-api-compat`
        gives for the others.

    Raises
    ------
    ValueError
        If the name is none of the five.
    ModuleNotFoundError
        If the library is not installed; the message says what to install.
    RuntimeError
        If CuPy is asked for and no CUDA device answers.

    Notes
    -----
    On PyTorch and JAX automatic gradients go through every function of chapters 1 to 8, and on JAX
    ``jax.jit`` too. Where JAX traces a function its arrays have no values yet: checks of values,
    such as whether token ids are in the table, are left out there, and checks of shapes and kinds
    stay. Parameter classes are pytrees to JAX.
    """
    source = "name"
    wanted: str | None = name
    if wanted is None:
        source = f"the environment variable {ENVIRONMENT_VARIABLE}"
        wanted = os.environ.get(ENVIRONMENT_VARIABLE) or "auto"
    if wanted not in MODULE_NAMES:
        raise ValueError(f"{source} must be one of {', '.join(MODULE_NAMES)}, got {wanted!r}")
    if wanted == "auto":
        wanted = "cupy" if cuda_device_answers() else "numpy"
    return library_named(wanted)


def array_namespace(*arrays: Array | None, **named_arrays: Array | None) -> Namespace:
    """Return the one array library that all arguments belong to.

    Parameters
    ----------
    *arrays, **named_arrays : array or None
        The arrays a function was given; None stands for an optional one that was left out. Given
        by keyword, an argument is called by its name in error messages.

    Returns
    -------
    module
        The Array API namespace of the arrays.

    Raises
    ------
    TypeError
        If an argument is no array, if the arguments come from different libraries (both are
        named), or if all of them are None.
    """
    given = (*arrays, *named_arrays.values())
    found = {_namespace(array) for array in given if array is not None}
    namespace: Namespace | None = found.pop() if len(found) == 1 else None
    if namespace is None:
        _refuse({f"argument {i}": a for i, a in enumerate(arrays, start=1)} | named_arrays)
    return namespace


_NAMESPACES: dict[type, Any] = {np.ndarray: array_api_compat.numpy}  # by the class of the array


def _namespace(array: Any) -> Any:
    """Return the namespace of an array, None where it is none."""
    kind = type(array)
    namespace = _NAMESPACES.get(kind)
    if namespace is None and array_api_compat.is_array_api_obj(array):
        # A matrix multiplies where arrays take products entry by entry, and a masked array leaves
        # out of its sums what our products would take in.
        if issubclass(kind, (np.matrix, np.ma.MaskedArray)):
            return None
        namespace = _NAMESPACES[kind] = array_api_compat.array_namespace(array)
    return namespace


def _refuse(named: dict[str, Array | None]) -> NoReturn:
    """Raise the error that says which argument is no array, or of another library."""
    given = {name: array for name, array in named.items() if array is not None}
    if not given:
        raise TypeError("expected at least one array, got none")
    first = next(iter(given))
    require_library(_namespace(given[first]), first, **given)
    raise AssertionError("these arrays go together")


def require_library(xp: Namespace, first: str, /, **arrays: Array | None) -> None:
    """Raise TypeError unless all are arrays of `xp`, the library of `first` (None passes)."""
    for name, array in arrays.items():
        if array is None:
            continue
        namespace = _namespace(array)
        if namespace is None:
            raise TypeError(
                f"{name} must be an array of an array library such as NumPy or CuPy, "
                f"got {type(array).__name__}"
            )
        if namespace is not xp:
            raise TypeError(
                f"{name} must come from the array library of {first}, {_library(xp)}, "
                f"got an array of {_library(namespace)}"
            )


def _library(namespace: Namespace) -> str:
    return namespace.__name__.removeprefix("array_api_compat.")


@functools.lru_cache
def is_floating(xp: Namespace, dtype: DType) -> bool:
    """Say whether a dtype is a real floating one, which NumPy does not know of bfloat16."""
    return _is_narrow(xp, dtype) or _is_kind(xp, dtype, "real floating")


@functools.lru_cache
def _is_kind(xp: Namespace, dtype: DType, kind: str) -> bool:
    try:
        return xp.isdtype(dtype, kind)
    except TypeError:  # a dtype that another package brought into NumPy
        return False


def _is_narrow(xp: Namespace, dtype: DType) -> bool:
    """Say whether a dtype is one of the two floating ones of 16 bits, of any library."""
    narrow = [getattr(xp, name) for name in ("float16", "bfloat16") if hasattr(xp, name)]
    return any(dtype == one for one in narrow) or getattr(dtype, "name", "") == "bfloat16"


def require_floating(xp: Namespace, **arrays: Array | None) -> None:
    """Raise TypeError unless every array given by name has a real floating dtype (None passes)."""
    for name, array in arrays.items():
        if array is not None and not is_floating(xp, array.dtype):
            raise TypeError(f"{name} must have a real floating dtype, got {array.dtype}")


def require_integer(xp: Namespace, **arrays: Array | None) -> None:
    """Raise TypeError unless every array given by name has an integer dtype (None passes)."""
    for name, array in arrays.items():
        if array is not None and not _is_kind(xp, array.dtype, "integral"):
            raise TypeError(f"{name} must have an integer dtype, got {array.dtype}")


def require_same_dtype(**arrays: Array | None) -> None:
    """Raise TypeError unless every array given by name has the dtype of the first (None passes).

    The order of its bytes is no part of a dtype here.
    """
    first, dtype = "", None
    for name, array in arrays.items():
        if array is None:
            continue
        if dtype is None:
            first, dtype = name, array.dtype
        elif array.dtype != dtype and _native(array.dtype) != _native(dtype):
            raise TypeError(f"{name} must have the dtype of {first}, {dtype}, got {array.dtype}")


@functools.lru_cache
def computing_dtype(xp: Namespace, dtype: DType) -> DType:
    """Return the dtype in which a result of `dtype` is computed: float32 for 16 bits.

    NumPy's arrays in the other byte order are computed in the machine's own.
    """
    dtype = _native(dtype)
    return xp.float32 if _is_narrow(xp, dtype) else dtype


def _native(dtype: DType) -> DType:
    """Return a dtype of NumPy in the machine's byte order, and any other as it is."""
    foreign = isinstance(dtype, np.dtype) and not dtype.isnative
    return dtype.newbyteorder("=") if foreign else dtype


def cast(xp: Namespace, x: Array, dtype: DType) -> Array:
    """Return the array in a dtype; itself, where it has it."""
    return x if x.dtype == dtype else xp.astype(x, dtype)


def widen(xp: Namespace, x: Array) -> Array:
    """Return the array in the dtype in which it is computed; itself, where it has it."""
    dtype = x.dtype
    wide = computing_dtype(xp, dtype)
    return x if wide is dtype else xp.astype(x, wide, copy=False)


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape to which all broadcast, or raise ValueError; quick where all are equal."""
    return tuple(shapes[0]) if len({*shapes}) == 1 else np.broadcast_shapes(*shapes)


def to_numpy(x: Array) -> np.ndarray:
    """Bring an array of any array module to the host, as a NumPy array.

    This is the one explicit way off the device; library code never takes it. What already is a
    NumPy array is returned as it is. Of a PyTorch tensor it is the values without their gradient.

    Raises
    ------
    TypeError
        If `x` is no array.
    """
    array_namespace(x=x)
    return host_copy(x)


def show(x: Array, label: str | None = None) -> None:
    """Print an array the same way on every device: float64, four decimals, no negative zero.

    Parameters
    ----------
    x : array
        Any shape and dtype; it is copied to the host. Integers are printed as they are, booleans
        as 1 and 0.
    label : str, optional
        Printed on a line above, with the shape.
    """
    host = to_numpy(x)
    if host.dtype.kind == "b":
        host = host.astype(np.int64)
    elif host.dtype.kind not in "iu":
        host = np.round(host.astype(np.float64), 4) + 0.0
    if label is not None:
        print(f"{label}  {host.shape}")
    print(
        np.array2string(
            host, precision=4, floatmode="fixed", suppress_small=True, max_line_width=88
        )
    )


def random_normal(
    shape: tuple[int, ...],
    rng: np.random.Generator,
    *,
    xp: Namespace | None = None,
    dtype: DType = None,
) -> Array:
    """Draw standard normal numbers with NumPy and move them, so every device sees the same ones.

    Parameters
    ----------
    shape : tuple of int
        Shape of the result.
    rng : numpy.random.Generator
        The generator that is drawn from; ``np.random.default_rng(seed)`` makes one.
    xp : module, optional
        The array module of the result; :func:`array_module` chooses where it is left out.
    dtype : dtype, optional
        Floating dtype of the result, the module's float64 where it is left out (JAX has none
        outside its 64-bit mode, and gives float32). The numbers are drawn in float64 and rounded,
        so a lower precision sees the same draw.

    Raises
    ------
    TypeError
        If `rng` is no NumPy generator.
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, got {type(rng).__name__}")
    xp = array_module() if xp is None else xp
    dtype = dtype_named(xp, "float64") if dtype is None else dtype
    return xp.asarray(rng.standard_normal(shape), dtype=dtype)
