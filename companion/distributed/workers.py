"""Workers of Dask, each a process: started here, or found at an address."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from companion.extras import import_extra

__all__ = ["SETTINGS", "connect", "local_workers"]

SETTINGS: dict[str, Any] = {
    # A task stays where it was placed, and is tried three times before it is given up.
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.allowed-failures": 2,
    # Of its memory limit a worker fills so much before it writes to its disk, and then rests; a
    # nanny ends it only when nothing else helped.
    "distributed.worker.memory.target": 0.6,
    "distributed.worker.memory.spill": 0.7,
    "distributed.worker.memory.pause": 0.85,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.comm.timeouts.connect": "10s",
}
"""Dask's settings here. For workers and a scheduler that are started by hand they stand in a file
of YAML, or in variables such as ``DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING=False``."""


@contextmanager
def local_workers(
    count: int = 2, *, memory_limit: str | int = "1GiB", security: Any = None
) -> Iterator[Any]:
    """Start workers as processes of this machine, and end them afterwards.

    They listen on the loopback address alone. Each has one thread, keeps to its memory limit, and
    moves to its disk what does not fit.

    Parameters
    ----------
    count : int
        How many.
    memory_limit : str or int
        Of each worker, in bytes or as ``"512MiB"``.
    security : distributed.Security or bool, optional
        Certificates for TLS; True makes some for this once.

    Yields
    ------
    distributed.Client
        Its ``dashboard_link`` is where a browser sees them work, once the package `bokeh` is there.

    Raises
    ------
    ModuleNotFoundError
        If the extra ``distributed`` is not installed.
    """
    dask = import_extra("dask", "distributed", "work on several machines")
    distributed = import_extra("distributed", "distributed", "work on several machines")
    with (
        _quiet(),
        tempfile.TemporaryDirectory(prefix="companion-") as folder,
        dask.config.set(SETTINGS | {"temporary-directory": folder}),
        distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=memory_limit,
            security=security,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def _quiet() -> Iterator[None]:
    """Let Dask say nothing of a worker that ends or is started again: what matters is raised."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def connect(address: str, *, security: Any = None, timeout: float = 10.0) -> Any:
    """Connect to a scheduler that runs already.

    A scheduler runs whatever is sent to it. Let it listen where only those can reach it whom you
    trust, or give everyone certificates.

    Parameters
    ----------
    address : str
        Such as ``"tcp://192.0.2.1:8786"``, or ``"tls://…"`` with certificates.
    security : distributed.Security, optional
        The certificates.
    timeout : float
        Seconds after which it is given up.

    Returns
    -------
    distributed.Client
        To be closed, or used in a ``with``.

    Raises
    ------
    ConnectionError
        If no scheduler answers there.
    ModuleNotFoundError
        If the extra ``distributed`` is not installed.
    """
    distributed = import_extra("distributed", "distributed", "work on several machines")
    try:
        return distributed.Client(address, security=security, timeout=timeout, set_as_default=False)
    except OSError as error:
        raise ConnectionError(
            f"no scheduler answers at {address} within {timeout:g} seconds: {error}"
        ) from error
