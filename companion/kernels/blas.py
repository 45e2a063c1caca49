"""Every BLAS library of the process at one thread, while calls of ours run their own."""

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

P = ParamSpec("P")
R = TypeVar("R")

_lock = threading.RLock()
_found: tuple[int, list[Any]] = (-1, [])  # modules when it was looked, and what was there
_noted: dict[str, int] = {}  # threads that each library has when it is let go, by its file
_originals: dict[Any, tuple[Any, Any]] = {}  # of a controller: how it reads and writes


def one_at_a_time(function: Callable[P, R]) -> Callable[P, R]:
    """Let one thread at a time into functions that are marked so; they may call each other.

    A ``with`` would not do: from Python 3.14 on an interrupt can come between taking its lock and
    entering it, and the lock is then never given back.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        lock = _lock
        try:
            lock.acquire()
            return function(*args, **kwargs)
        finally:
            try:  # noqa: SIM105  # the `with` that it would have is the one that will not do
                lock.release()
            except RuntimeError:  # interrupted before it was taken
                pass

    return call


@one_at_a_time
def libraries() -> list[Any]:
    """Return the controllers of the BLAS libraries that are loaded.

    Looking takes milliseconds, so it is done again only when Python has loaded a module since.
    """
    global _found
    if _found[0] != len(sys.modules):
        controllers = ThreadpoolController().select(user_api="blas").lib_controllers
        for library in controllers:
            _teach(type(library))
        _found = (len(sys.modules), controllers)
    return _found[1]


@one_at_a_time
def hold() -> None:
    """Set every BLAS library to one thread, and note what it had."""
    for library in libraries():
        read, _ = _originals[type(library)]
        _noted.setdefault(library.filepath, read(library))
        _write(library, 1)


@one_at_a_time
def release() -> None:
    """Give every BLAS library the threads that were noted of it, or asked for meanwhile."""
    for library in libraries():
        if library.filepath in _noted:
            _write(library, _noted[library.filepath])
            del _noted[library.filepath]


def start_afresh() -> None:
    """Let go in a forked child, where whoever had the lock may not have been forked."""
    global _lock
    _lock = threading.RLock()
    release()


def _write(library: Any, threads: int) -> None:
    """Set the threads of a library, whichever thread has set them last.

    threadpoolctl may keep who that was and refuse all others, behind a lock of its own that a
    forked child inherits as it is; its inner form sets and asks nothing.
    """
    if hasattr(library, "_real_set_num_threads"):
        library._real_set_num_threads(threads)
    else:
        _, write = _originals[type(library)]
        write(library, threads)


def _teach(controller: Any) -> None:
    """Let others read and write what a library will have when it is let go, while it is held.

    A limit that someone begins during a call of ours would otherwise note the one thread of the
    call and come back to it, and one that ends then would be undone.
    """
    if controller in _originals:
        return
    read, write = controller.get_num_threads, controller.set_num_threads

    @one_at_a_time
    def get_num_threads(self: Any) -> Any:
        return _noted[self.filepath] if self.filepath in _noted else read(self)

    @one_at_a_time
    def set_num_threads(self: Any, num_threads: int) -> Any:
        if self.filepath in _noted:
            _noted[self.filepath] = num_threads
            return None
        return write(self, num_threads)

    controller.get_num_threads, controller.set_num_threads = get_num_threads, set_num_threads
    _originals[controller] = (read, write)
