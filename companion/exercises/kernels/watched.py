"""Arrays that note how many scores are made of them at once.

What comes out of a product, and what goes into an exponential, is noted; everything else is
NumPy's. What is made of a watched array is watched.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["most_at_once"]

Attempt = Callable[..., Any]
POWERS = {np.exp, np.exp2, np.expm1, np.logaddexp, np.logaddexp2}
PRODUCTS = {np.dot, np.einsum, np.inner, np.tensordot}


def most_at_once(call: Callable[[Callable[[Attempt], Attempt]], Any]) -> int:
    """Return the most numbers that one product makes or one exponential takes during a call.

    `call` is handed a function that lets an attempt work on watched arrays.
    """
    noted = [0]

    class Watched(np.ndarray):
        def __array_ufunc__(self, ufunc: Any, method: str, *given: Any, **options: Any) -> Any:
            made = getattr(ufunc, method)(*map(_plain, given), **_plain_options(options))
            if ufunc is np.matmul or (ufunc in POWERS and method == "__call__"):
                noted.append(np.size(made))
            elif ufunc in POWERS:
                noted.append(np.size(given[0]))
            return _watched(made)

        def __array_function__(self, function: Any, _: Any, given: Any, options: Any) -> Any:
            made = super().__array_function__(function, (Watched,), given, options)
            if function in PRODUCTS:
                noted.append(np.size(made))
            return made

    def _plain(array: Any) -> Any:
        return array.view(np.ndarray) if isinstance(array, Watched) else array

    def _plain_options(options: dict[str, Any]) -> dict[str, Any]:
        outputs = {"out": tuple(map(_plain, options["out"]))} if "out" in options else {}
        return {name: _plain(value) for name, value in options.items()} | outputs

    def _watched(array: Any) -> Any:
        return array.view(Watched) if isinstance(array, np.ndarray) else array

    def watch(attempt: Attempt) -> Attempt:
        return lambda *given: attempt(*map(_watched, given))

    call(watch)
    return max(noted)
