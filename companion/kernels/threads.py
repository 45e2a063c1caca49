"""All cores at once: worker threads that share one budget, with one BLAS thread each."""

import contextvars
import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from numbers import Integral
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

__all__ = ["parallel_map", "thread_count"]

Item = TypeVar("Item")
Result = TypeVar("Result")

VARIABLE = "COMPANION_THREADS"


def thread_count(threads: int | None = None) -> int:
    """Say how many workers a call may use.

    Parameters
    ----------
    threads : int, optional
        The number wanted. Left out, the environment variable ``COMPANION_THREADS`` gives it, and
        without that the BLAS library: as many threads as it would use itself now, and no more
        than the process may use cores.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    TypeError
        If `threads` is no integer.
    ValueError
        If `threads` is less than 1, or the environment variable is no such number.
    """
    if threads is not None:
        if not isinstance(threads, Integral) or isinstance(threads, bool):
            raise TypeError(f"threads must be an integer or None, got {type(threads).__name__}")
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        return int(threads)
    text = os.environ.get(VARIABLE, "").strip()
    if text:
        if not text.isdecimal() or int(text) < 1:
            raise ValueError(f"{VARIABLE} must be a whole number of at least 1, got {text!r}")
        return int(text)
    return _budget.default()


def parallel_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int | None = None
) -> list[Result]:
    """Call a function on every item, on several threads, and return the results in order.

    NumPy lets go of the interpreter inside its products and elementwise functions, so threads
    that spend their time there run at once. While they do, every BLAS library of the process is
    held at one thread, and set back when the last call is done. Calls made at the same time share
    the workers between them, a call from inside a worker runs in that worker, and no thread
    outlives its call.

    Parameters
    ----------
    function : callable
        Sees the context variables of the caller, NumPy's ``errstate`` among them.
    items : iterable
    threads : int, optional
        As for :func:`thread_count`.

    Returns
    -------
    list

    Raises
    ------
    TypeError, ValueError
        If `threads` is no number of threads.
    Exception
        Whatever `function` raises first; items that have not begun are then left out.
    """
    items = list(items)
    wanted = min(thread_count(threads), len(items))
    if getattr(_worker, "busy", False):
        return [function(item) for item in items]
    with (
        _budget.workers(max(1, wanted)) as workers,
        ThreadPoolExecutor(workers, "companion", _begin_worker) as pool,
    ):
        futures = [pool.submit(contextvars.copy_context().run, function, item) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return _results(futures)


def _begin_worker() -> None:
    _worker.busy = True
    _blas().limit(limits=1)  # once more: some libraries keep a limit for each thread


def _results(futures: list[Future[Result]]) -> list[Result]:
    """Return the results in order, or raise what was raised and not that others were left out."""
    for future in futures:
        if future.done() and not future.cancelled() and (error := future.exception()) is not None:
            raise error
    return [future.result() for future in futures]


@functools.cache
def _blas() -> Any:
    """Find the BLAS libraries that are loaded, once: looking takes milliseconds."""
    return ThreadpoolController().select(user_api="blas")


def _release() -> None:
    """Let this thread set the limit, where threadpoolctl keeps that for who did it first."""
    for library in _blas().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


class _Budget:
    """The workers of all calls that run now, and the limit on BLAS that they share."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls = 0
        self.busy = 0
        self.default_now = 1
        self.limit: Any = None

    def default(self) -> int:
        """Return the number of threads that BLAS would use if no call of ours held it."""
        with self.lock:
            return self.default_now if self.calls else _default_threads()

    def restore(self) -> None:
        """Give BLAS its threads back, whoever limited them."""
        _release()
        self.limit.restore_original_limits()
        _release()

    @contextmanager
    def workers(self, wanted: int) -> Iterator[int]:
        """Give as many of the wanted workers as are not busy, and one in any case."""
        with self.lock:
            if self.calls == 0:
                self.default_now = _default_threads()
                _release()
                self.limit = _blas().limit(limits=1)
            self.calls += 1
            granted = max(1, wanted - self.busy)
            self.busy += granted
        try:
            yield granted
        finally:
            with self.lock:
                self.calls -= 1
                self.busy -= granted
                if self.calls == 0:
                    self.restore()


def _default_threads() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = [library.num_threads for library in _blas().lib_controllers]
    return max(1, min(cores or 1, max(found, default=cores or 1)))


_worker = threading.local()
_budget = _Budget()


def _start_afresh() -> None:
    """Forget, in a forked child, calls whose threads were not forked."""
    global _budget
    if _budget.calls:
        _budget.restore()
    _budget = _Budget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
