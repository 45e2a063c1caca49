"""All cores at once: worker threads that share one budget, with one BLAS thread each."""

import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from numbers import Integral
from typing import Any, TypeVar

from companion.kernels import blas

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
    return _default_threads()


def parallel_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int | None = None
) -> list[Result]:
    """Call a function on every item, on several threads, and return the results in order.

    NumPy lets go of the interpreter inside its products and elementwise functions, so threads
    that spend their time there run at once. While they do, every BLAS library of the process is
    held at one thread, and set back when the last call is done. The caller is one of the workers;
    where one is enough, or no thread can be started, it is the only one. Calls made at the same
    time share the workers between them, a call from inside a worker runs in that worker, and no
    thread outlives its call.

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
    work = _Work(function, items)
    try:
        work.share(_budget.begin(work, max(1, wanted)))
    except BaseException as interrupt:
        work.fail(interrupt)
    finally:
        for end in (work.wait, partial(_budget.end, work)):
            _until_it_is_done(end, work.fail)
    if work.errors:
        raise work.errors[0]
    return work.results


def _until_it_is_done(function: Callable[[], None], fail: Callable[[BaseException], None]) -> None:
    """Call a function again where it was interrupted."""
    while True:
        try:
            return function()
        except BaseException as interrupt:
            fail(interrupt)


class _Work:
    """The items of one call, their results, and whatever was raised."""

    def __init__(self, function: Callable[[Any], Any], items: list[Any]) -> None:
        self.function = function
        self.remaining = deque(enumerate(items))
        self.results: list[Any] = [None] * len(items)
        self.errors: list[BaseException] = []
        self.others: list[threading.Thread] = []

    def share(self, workers: int) -> None:
        """Work in this thread and in others beside it."""
        for _ in range(workers - 1):
            run = contextvars.copy_context().run
            other = threading.Thread(target=run, args=(self.work,), name="companion")
            self.others.append(other)
            try:
                other.start()
            except RuntimeError:
                break  # none can be started, as when the interpreter ends: fewer do the work
        contextvars.copy_context().run(self.work)

    def work(self) -> None:
        """Take one item after the other, until none is left or one has failed."""
        _worker.busy = True
        try:
            blas.hold()  # once more: some libraries keep a limit for each thread
            while self.remaining:
                try:
                    index, item = self.remaining.popleft()
                except IndexError:  # another worker was faster
                    return
                self.results[index] = self.function(item)
        except BaseException as error:
            self.fail(error)
        finally:
            _worker.busy = False

    def fail(self, error: BaseException) -> None:
        """Keep an error, and leave out what has not begun."""
        self.errors.append(error)
        self.remaining.clear()

    def wait(self) -> None:
        """Wait until no thread of the call is left."""
        for other in self.others:
            if other.is_alive():
                other.join()


class _Budget:
    """The workers of all calls that run now."""

    def __init__(self) -> None:
        self.granted: dict[Any, int] = {}  # to each call

    @blas.one_at_a_time
    def begin(self, call: Any, wanted: int) -> int:
        """Give as many of the wanted workers as are not busy, and one in any case."""
        self.granted[call] = granted = max(1, wanted - sum(self.granted.values()))
        blas.hold()
        return granted

    @blas.one_at_a_time
    def end(self, call: Any) -> None:
        """Take a call's workers back, and give BLAS its threads back with the last."""
        self.granted.pop(call, None)
        if not self.granted:
            blas.release()


def _default_threads() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = [library.num_threads for library in blas.libraries()]
    return max(1, min(cores or 1, max(found, default=cores or 1)))


_worker = threading.local()
_budget = _Budget()


def _start_afresh() -> None:
    """Forget, in a forked child, calls whose threads were not forked."""
    global _budget, _worker
    blas.start_afresh()
    _budget, _worker = _Budget(), threading.local()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
