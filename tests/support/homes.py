"""The array modules that tests run on, each with the device on which it puts its arrays."""

import os
from dataclasses import dataclass
from typing import Any

import array_api_compat.numpy
import array_api_strict

import companion


@dataclass(frozen=True)
class ArrayHome:
    """An array module and the device on which a test puts its arrays."""

    name: str
    xp: Any
    device: Any

    def asarray(self, x: Any, dtype: Any = None) -> Any:
        """Put numbers there; a NumPy array keeps its dtype."""
        if dtype is None and hasattr(x, "dtype"):
            dtype = getattr(self.xp, str(x.dtype))
        return self.xp.asarray(x, dtype=dtype, device=self.device)


NUMPY = ArrayHome("numpy", array_api_compat.numpy, None)
# On its second device a stray NumPy call fails, as it would on a GPU.
STRICT = ArrayHome("strict", array_api_strict, array_api_strict.Device("device1"))


def array_homes() -> list[ArrayHome]:
    """List NumPy, the strict namespace, and CuPy where it is asked for."""
    homes = [NUMPY, STRICT]
    if os.environ.get("COMPANION_ARRAY_MODULE") == "cupy":
        homes.append(ArrayHome("cupy", companion.array_module("cupy"), None))
    return homes
