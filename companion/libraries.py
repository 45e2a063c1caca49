"""Where the array libraries differ: how each is found, and what it lacks or calls by another name.

The rest of the library speaks the Array API standard. What the standard leaves open between NumPy,
CuPy, PyTorch and JAX is here, and nothing here imports one that is not asked for or in use already.
"""

import functools
import importlib
import sys
from typing import Any

import array_api_compat
import numpy as np

from companion.array_types import Array, DType, Namespace

INSTALL = {
    "torch": ("PyTorch", "install the package torch"),
    "jax": ("JAX", "install the package jax"),
    "cupy": (
        "CuPy",
        "install attention-companion[cuda12] or attention-companion[cuda13], whichever matches "
        "your driver's CUDA version",
    ),
}


def library_named(name: str) -> Namespace:
    """Return the namespace of a library, or raise an error that says what to install."""
    if name in INSTALL:
        called, install = INSTALL[name]
        try:
            library = importlib.import_module(name)
        except ImportError as error:
            raise ModuleNotFoundError(
                f"the array module {name!r} needs {called}, which is not installed: {install}, "
                f"or choose 'numpy'"
            ) from error
        if name == "cupy" and not library.cuda.is_available():  # pragma: gpu
            raise RuntimeError(
                "the array module 'cupy' needs a CUDA device, and CuPy finds none: check that "
                "nvidia-smi lists one, or choose 'numpy'"
            )
    return importlib.import_module("jax.numpy" if name == "jax" else f"array_api_compat.{name}")


def cuda_device_answers() -> bool:
    """Say whether CuPy is there and finds a CUDA device."""
    try:
        import cupy
    except ImportError:
        return False
    return bool(cupy.cuda.is_available())  # pragma: gpu


def is_traced(array: Array) -> bool:
    """Say whether an array stands for values that are not known yet, as under ``jax.jit``."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(array, jax.core.Tracer)


def host_copy(array: Any) -> np.ndarray:
    """Bring an array of any library to the host."""
    host: np.ndarray
    if array_api_compat.is_cupy_array(array):
        host = array.get()  # pragma: gpu
    elif array_api_compat.is_torch_array(array):
        host = array.detach().cpu().numpy()
    elif array_api_compat.is_numpy_array(array) or array_api_compat.is_jax_array(array):
        host = np.asarray(array)
    else:
        host = np.from_dlpack(array)
    return host


def complementary_error(array: Array) -> Array:
    """Compute erfc, which the Array API standard lacks, with the array's own library."""
    if array_api_compat.is_numpy_array(array):
        from scipy.special import erfc
    elif array_api_compat.is_cupy_array(array):  # pragma: gpu
        from cupyx.scipy.special import erfc
    elif array_api_compat.is_torch_array(array):
        from torch.special import erfc
    else:
        from jax.scipy.special import erfc
    tail: Array = erfc(array)
    return tail


def has_complementary_error(array: Array) -> bool:
    """Say whether :func:`complementary_error` knows the array's library."""
    return (
        array_api_compat.is_numpy_array(array)
        or array_api_compat.is_cupy_array(array)
        or array_api_compat.is_torch_array(array)
        or array_api_compat.is_jax_array(array)
    )


def dtype_named(xp: Namespace, name: str) -> DType:
    """Return the dtype of that name, or the widest float or integer where the library has none.

    JAX has no 64 bits unless ``jax_enable_x64`` says so: float64 is float32 there, int64 int32.
    """
    if _is_narrow(xp) and name in ("float64", "int64", "uint64"):
        name = name.replace("64", "32")
    return getattr(xp, name)


def _is_narrow(xp: Namespace) -> bool:
    if xp.__name__ != "jax.numpy":
        return False
    return not sys.modules["jax"].config.jax_enable_x64


@functools.lru_cache
def largest_float(xp: Namespace, dtype: DType) -> Any:
    """Return the largest finite number of a floating dtype."""
    return xp.finfo(dtype).max


def put(buffer: Any, rows: slice, part: Array) -> Any:
    """Write rows (..., n, d) into a buffer, or on JAX into a copy, and return it."""
    if array_api_compat.is_jax_array(buffer):
        return buffer.at[..., rows, :].set(part)
    buffer[..., rows, :] = part
    return buffer


def take_from(xp: Namespace, array: Any, places: Array, amounts: Array) -> Any:
    """Subtract from one entry of each row (R, n), at its place (R,), in its memory where one can.

    What is returned takes the array's place.
    """
    rows, columns = (
        xp.arange(size, dtype=places.dtype, device=array_api_compat.device(places))
        for size in array.shape
    )
    if array_api_compat.is_numpy_array(array) or array_api_compat.is_cupy_array(array):
        array[rows, places] -= amounts
        return array
    at_places = xp.astype(columns == places[:, None], array.dtype)
    return array - at_places * amounts[:, None]


def exp_in_place(xp: Namespace, array: Array) -> Any:
    """Return the exponentials of what nobody else needs, in its memory where the library can."""
    if array_api_compat.is_numpy_array(array) or array_api_compat.is_cupy_array(array):
        return xp.exp(array, out=array)
    return xp.exp(array)
