"""Where tasks run: contiguous runs of shards on one worker, and merges beside them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import array_api_compat

from companion.extras import import_extra
from companion.kernels.merge_tree import homes

__all__ = ["compute", "place"]

PURPOSE = "work on several machines"
LOST = (
    "the scheduler at {address} is lost, and with it what it was asked for: "
    "start it again, connect a new client, and ask again"
)


def place(array: Any, workers: Sequence[str]) -> Any:
    """Say of each task of a lazy result which worker it belongs to.

    The shards that it reads are dealt out in contiguous runs, each together with the tasks that
    make it, and two parts are merged where the first of them lies. So what travels is little more
    than one state between neighbouring runs (:prf:ref:`prop-states-moved`). It is a wish: where a
    worker is lost, its tasks run elsewhere. No bit of the result depends on it.

    Parameters
    ----------
    array : Dask array
        Such as :func:`companion.scaled_dot_product_attention` returns for Dask arrays.
    workers : sequence of str
        The addresses, as ``client.scheduler_info()["workers"]`` lists them.

    Returns
    -------
    Dask array
        The same one. Compute it with ``optimize_graph=False``, or by :func:`compute`, as Dask's
        optimisation forgets where tasks belong.

    Raises
    ------
    TypeError
        If `array` is no Dask array.
    ValueError
        If there is no worker.
    """
    _check_array(array)
    if isinstance(workers, str) or len(workers) == 0:
        raise ValueError(f"workers must hold at least one address, got {workers!r}")
    graphs = import_extra("dask.highlevelgraph", "distributed", PURPOSE)
    graph = array.__dask_graph__().cull(set(_keys(array)))
    home, _ = homes(graph.get_all_dependencies(), len(workers))
    address = {key: [workers[number]] for key, number in home.items()}
    notes = {"workers": address.__getitem__, "allow_other_workers": True}
    layer = graphs.MaterializedLayer(graph.to_dict(), annotations=notes)
    whole = graphs.HighLevelGraph({array.name: layer}, {array.name: set()})
    return type(array)(whole, array.name, array.chunks, dtype=array.dtype, meta=array._meta)


def compute(array: Any, client: Any) -> Any:
    """Compute a lazy result on a client's workers, each task where :func:`place` says.

    Parameters
    ----------
    array : Dask array
    client : distributed.Client
        Such as :func:`local_workers` and :func:`connect` give.

    Returns
    -------
    array
        Of the kind of the chunks.

    Raises
    ------
    TypeError
        If `array` is no Dask array.
    ConnectionError
        If the scheduler is lost, or has no worker.
    Exception
        What a task raises; ``distributed.KilledWorker`` where its workers died again and again,
        for want of memory perhaps. The rest is then given up, as after an interrupt.
    """
    _check_array(array)
    distributed = import_extra("distributed", "distributed", PURPOSE)
    with one_error(client):
        let_places_be_forgotten(client)
        placed = client.persist(place(array, worker_addresses(client)), optimize_graph=False)
    futures = {future.key: future for future in distributed.futures_of(placed)}
    return _joined(placed.__dask_keys__(), gathered(client, futures), array.ndim)


def let_places_be_forgotten(client: Any) -> None:
    """Teach a scheduler that a task is free to run anywhere once the worker it belonged to is lost.

    By itself Dask sees to that only while another worker is there: where all are lost at once, it
    would wait for ever for the old addresses, and not take those that come in their stead.
    """
    plugin: Any = import_extra("distributed", "distributed", PURPOSE).SchedulerPlugin

    class FreeTasks(plugin):  # type: ignore[misc]
        """Forgets what the tasks of a lost worker were bound to."""

        name = "companion-free-tasks"
        idempotent = True

        def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
            for task in scheduler.tasks.values():
                if task.worker_restrictions and worker in task.worker_restrictions:
                    task.worker_restrictions = set()

    client.register_plugin(FreeTasks())


def worker_addresses(client: Any) -> list[str]:
    """Return the addresses of a client's workers, in the order of their names."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        raise ConnectionError(f"the scheduler at {client.scheduler.address} has no worker")
    return sorted(workers, key=lambda address: str(workers[address].get("name")))


def gathered(client: Any, futures: dict[Any, Any]) -> dict[Any, Any]:
    """Fetch results by their keys, or give up all of them where one fails or one is interrupted."""
    with one_error(client):
        try:
            return dict(client.gather(futures))
        finally:
            for future in futures.values():
                future.release()


@contextmanager
def one_error(client: Any) -> Iterator[None]:
    """Make one error of the many by which Dask says that a scheduler is lost."""
    distributed = import_extra("distributed", "distributed", PURPOSE)
    address = client.scheduler.address
    try:
        yield
    except (
        distributed.CancelledError,
        distributed.client.FutureCancelledError,
        distributed.comm.CommClosedError,
    ) as error:
        raise ConnectionError(LOST.format(address=address)) from error


def _check_array(array: object) -> None:
    if not array_api_compat.is_dask_array(array):
        raise TypeError(f"array must be a Dask array, got {type(array).__name__}")


def _keys(array: Any) -> list[Any]:
    flatten = import_extra("dask.core", "distributed", PURPOSE).flatten
    return list(flatten(array.__dask_keys__()))


def _joined(keys: Any, parts: dict[Any, Any], axes: int) -> Any:
    """Join the blocks of an array, whose keys are nested as its axes are."""
    if not isinstance(keys, list):
        return parts[keys]
    blocks = [_joined(key, parts, axes - 1) for key in keys]
    xp = array_api_compat.array_namespace(blocks[0])
    return xp.concat(blocks, axis=-axes) if len(blocks) > 1 else blocks[0]
