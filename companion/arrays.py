"""One code for NumPy and CuPy: functions follow their arrays, only creation needs a switch.

Every function of this library asks its arguments which array library they belong to and answers in
kind. The one choice left is where arrays are made, and :func:`companion.array_module` makes it.
"""

import os
from typing import Any, Literal, TypeAlias, cast, get_args

import array_api_compat
import numpy as np

from companion.array_types import Array, DType, Namespace

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
ModuleName: TypeAlias = Literal["auto", "numpy", "cupy"]
MODULE_NAMES: tuple[str, ...] = get_args(ModuleName)


def array_module(name: ModuleName | None = None) -> Namespace:
    """Choose the array module in which a notebook makes its arrays.

    Parameters
    ----------
    name : {"auto", "numpy", "cupy"}, optional
        ``"auto"`` is CuPy when a CUDA device answers and NumPy otherwise. Without a name the
        environment variable ``COMPANION_ARRAY_MODULE`` decides, and ``"auto"`` where it is unset.

    Returns
    -------
    module
        The Array API namespace of NumPy or of CuPy, as `array-api-compat` gives it.

    Raises
    ------
    ValueError
        If the name is none of the three.
    ModuleNotFoundError
        If CuPy is asked for and not installed; the message says what to install.
    RuntimeError
        If CuPy is asked for and no CUDA device answers.
    """
    source = "name"
    wanted: str | None = name
    if wanted is None:
        source = f"the environment variable {ENVIRONMENT_VARIABLE}"
        wanted = os.environ.get(ENVIRONMENT_VARIABLE) or "auto"
    if wanted not in MODULE_NAMES:
        raise ValueError(f"{source} must be one of {', '.join(MODULE_NAMES)}, got {wanted!r}")
    if wanted == "cupy" or (wanted == "auto" and _cuda_device_answers()):
        return _cupy_namespace()
    import array_api_compat.numpy as numpy_namespace

    return cast(Namespace, numpy_namespace)  # its names are made as it loads: no checker sees them


def _cuda_device_answers() -> bool:
    try:
        import cupy
    except ImportError:
        return False
    return bool(cupy.cuda.is_available())  # pragma: gpu


def _cupy_namespace() -> Namespace:
    try:
        import cupy
    except ImportError as error:
        raise ModuleNotFoundError(
            "the array module 'cupy' needs CuPy, which is not installed: install "
            "attention-companion[cuda12] or attention-companion[cuda13], whichever matches your "
            "driver's CUDA version, or choose 'numpy'"
        ) from error
    if not cupy.cuda.is_available():  # pragma: gpu
        raise RuntimeError(
            "the array module 'cupy' needs a CUDA device, and CuPy finds none: check that "
            "nvidia-smi lists one, or choose 'numpy'"
        )
    import array_api_compat.cupy as cupy_namespace  # pragma: gpu

    return cast(Namespace, cupy_namespace)  # pragma: gpu


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
    named = {f"argument {i}": array for i, array in enumerate(arrays, start=1)} | named_arrays
    first_name = ""
    first: Namespace | None = None
    for name, array in named.items():
        if array is None:
            continue
        if not array_api_compat.is_array_api_obj(array):
            raise TypeError(
                f"{name} must be an array of an array library such as NumPy or CuPy, "
                f"got {type(array).__name__}"
            )
        namespace = cast(Namespace, array_api_compat.array_namespace(array))
        if first is None:
            first_name, first = name, namespace
        elif namespace is not first:
            raise TypeError(
                f"{name} must come from the array library of {first_name}, {_library(first)}, "
                f"got an array of {_library(namespace)}"
            )
    if first is None:
        raise TypeError("expected at least one array, got none")
    return first


def _library(namespace: Namespace) -> str:
    return namespace.__name__.removeprefix("array_api_compat.")


def require_floating(xp: Namespace, **arrays: Array | None) -> None:
    """Raise TypeError unless every array given by name has a real floating dtype (None passes)."""
    for name, array in arrays.items():
        if array is not None and not xp.isdtype(array.dtype, "real floating"):
            raise TypeError(f"{name} must have a real floating dtype, got {array.dtype}")


def require_integer(xp: Namespace, **arrays: Array | None) -> None:
    """Raise TypeError unless every array given by name has an integer dtype (None passes)."""
    for name, array in arrays.items():
        if array is not None and not xp.isdtype(array.dtype, "integral"):
            raise TypeError(f"{name} must have an integer dtype, got {array.dtype}")


def require_same_dtype(**arrays: Array | None) -> None:
    """Raise TypeError unless every array given by name has the dtype of the first (None passes)."""
    given = {name: array for name, array in arrays.items() if array is not None}
    first = next(iter(given))
    for name, array in given.items():
        if array.dtype != given[first].dtype:
            raise TypeError(
                f"{name} must have the dtype of {first}, {given[first].dtype}, got {array.dtype}"
            )


def computing_dtype(xp: Namespace, dtype: DType) -> DType:
    """Return the dtype in which a result of `dtype` is computed: float32 for float16.

    NumPy's arrays in the other byte order are computed in the machine's own.
    """
    if isinstance(dtype, np.dtype):
        dtype = dtype.newbyteorder("=")
    return xp.float32 if dtype == getattr(xp, "float16", None) else dtype


def to_numpy(x: Array) -> np.ndarray:
    """Bring an array of any array module to the host, as a NumPy array.

    This is the one explicit way off the device; library code never takes it. What already is a
    NumPy array is returned as it is.

    Raises
    ------
    TypeError
        If `x` is no array.
    """
    array_namespace(x=x)
    array: Any = x  # each library has its own way to the host
    host: np.ndarray
    if array_api_compat.is_cupy_array(x):
        host = array.get()  # pragma: gpu
    elif array_api_compat.is_numpy_array(x):
        host = np.asarray(array)
    else:
        host = np.from_dlpack(array)
    return host


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
    elif host.dtype.kind == "f":
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
        Floating dtype of the result, the module's float64 where it is left out. The numbers are
        drawn in float64 and rounded, so a lower precision sees the same draw.

    Raises
    ------
    TypeError
        If `rng` is no NumPy generator.
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, got {type(rng).__name__}")
    xp = array_module() if xp is None else xp
    return xp.asarray(rng.standard_normal(shape), dtype=xp.float64 if dtype is None else dtype)
