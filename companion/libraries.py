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

__all__ = ["complementary_error", "host_copy", "is_traced", "library_named"]

INSTALL = {
    "torch": ("PyTorch", "install the package torch"),
    "jax": ("JAX", "install the package jax"),
    "cupy": (
        "CuPy",
        "install attention-companion[cuda12] or attention-companion[cuda13], whichever matches "
        "your driver's CUDA version",
    ),
}
NAMES = ("numpy", "cupy", "torch", "jax")


def library_named(name: str) -> Any:
    """Return the namespace of one of `NAMES`, or raise an error that says what to install."""
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


def is_traced(array: Any) -> bool:
    """Say whether an array stands for values that are not known yet, as under ``jax.jit``."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(array, jax.core.Tracer)


def host_copy(array: Any) -> np.ndarray:
    """Bring an array of any library to the host."""
    if array_api_compat.is_cupy_array(array):
        return array.get()  # pragma: gpu
    if array_api_compat.is_torch_array(array):
        return array.detach().cpu().numpy()
    if array_api_compat.is_numpy_array(array) or array_api_compat.is_jax_array(array):
        return np.asarray(array)
    return np.from_dlpack(array)


def complementary_error(array: Any) -> Any:
    """Compute erfc, which the Array API standard lacks, with the array's own library."""
    if array_api_compat.is_numpy_array(array):
        from scipy.special import erfc
    elif array_api_compat.is_cupy_array(array):  # pragma: gpu
        from cupyx.scipy.special import erfc
    elif array_api_compat.is_torch_array(array):
        from torch.special import erfc
    else:
        from jax.scipy.special import erfc
    return erfc(array)


def has_complementary_error(array: Any) -> bool:
    """Say whether :func:`complementary_error` knows the array's library."""
    return (
        array_api_compat.is_numpy_array(array)
        or array_api_compat.is_cupy_array(array)
        or array_api_compat.is_torch_array(array)
        or array_api_compat.is_jax_array(array)
    )


def dtype_named(xp: Any, name: str) -> Any:
    """Return the dtype of that name, or the widest float or integer where the library has none.

    JAX has no 64 bits unless ``jax_enable_x64`` says so: float64 is float32 there, int64 int32.
    """
    if _is_narrow(xp) and name in ("float64", "int64", "uint64"):
        name = name.replace("64", "32")
    return getattr(xp, name)


def _is_narrow(xp: Any) -> bool:
    if not array_api_compat.is_jax_namespace(xp):
        return False
    import jax

    return not jax.config.jax_enable_x64


@functools.lru_cache
def largest_float(xp: Any, dtype: Any) -> Any:
    """Return the largest finite number of a floating dtype."""
    return xp.finfo(dtype).max
