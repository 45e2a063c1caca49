"""One step of training on several workers: gradients of shards, summed by a fixed tree."""

from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias

from companion.arrays import Array, array_namespace
from companion.distributed.placement import (
    gathered,
    let_places_be_forgotten,
    one_error,
    worker_addresses,
)
from companion.extras import import_extra
from companion.gradients.language_model import unchecked_loss_and_gradients
from companion.kernels.merge_tree import LEAF, homes, tree
from companion.kernels.threads import parallel_map
from companion.language_model import LanguageModelParameters
from companion.language_model.decoder import check_decoder
from companion.language_model.loss import check_targets
from companion.parameters import map_parameters

__all__ = ["sharded_loss_and_gradients"]


def sharded_loss_and_gradients(
    token_ids: Array,
    targets: Array,
    parameters: LanguageModelParameters,
    *,
    shards: int,
    client: Any = None,
) -> tuple[Array, LanguageModelParameters]:
    """Compute :func:`companion.loss_and_gradients` of a batch that is cut into shards.

    Each shard gives the sum of its surprises, and its gradients divided by the targets of the whole
    batch; both add up (:eq:`eq-sharded-gradient`). The sums are grouped by the order of the shards
    alone, so the bits depend on their number and not on the workers.

    Parameters
    ----------
    token_ids, targets : integer arrays, shape (B, N)
    parameters : LanguageModelParameters
        They go to the workers once for each step.
    shards : int
        Into how many runs of texts the batch is cut; at most B.
    client : distributed.Client, optional
        Whose workers compute it. Left out, this process does, one shard after the other.

    Returns
    -------
    loss, gradients
        As of :func:`companion.loss_and_gradients`.

    Raises
    ------
    TypeError, ValueError
        As that function says, and if `shards` is no integer between 1 and B.
    ConnectionError
        If the scheduler is lost, or has no worker.
    """
    p = parameters
    xp = array_namespace(token_ids=token_ids, targets=targets, embedding=p.embedding)
    if token_ids.ndim != 2:
        raise ValueError(f"token_ids must be (B, N), got shape {token_ids.shape}")
    check_decoder(xp, token_ids, p, None, None, None)
    check_targets(xp, targets, token_ids.shape, p.config.vocabulary_size)
    texts = token_ids.shape[0]
    if isinstance(shards, bool) or not isinstance(shards, int):
        raise TypeError(f"shards must be an integer, got {shards!r}")
    if not 1 <= shards <= texts:
        raise ValueError(f"shards must be from 1 to the {texts} texts, got {shards}")
    count = xp.sum(xp.astype(targets >= 0, p.embedding.dtype))
    cuts = [texts * i // shards for i in range(shards + 1)]
    runs = [slice(*ends) for ends in pairwise(cuts)]
    parts = [(token_ids[run, :], targets[run, :]) for run in runs]
    total, gradients = _summed(parts, p, 1 / count, client)
    return total / count, gradients


Sums: TypeAlias = tuple[Array, LanguageModelParameters]


def _summed(parts: list[tuple[Array, Array]], parameters: Any, share: Array, client: Any) -> Sums:
    """Add up what the shards give, on the workers of a client or here."""
    token = import_extra("dask.base", "distributed", "work on several shards").tokenize
    name = f"gradients-{token(parts, parameters, share)}"
    weights = (f"weights-{name}", 0)
    tasks: dict[Any, Any] = {weights: (partial(_given, parameters),)}
    leaves = {i: (LEAF + name, i) for i in range(len(parts))}
    for i, leaf in leaves.items():
        token_ids, targets = parts[i]
        tasks[leaf] = (partial(_shard, token_ids, targets, share), weights)
    steps, root = tree(f"sum-{name}", (), len(parts), leaves, _add)
    tasks |= steps
    if client is None:
        result: Sums = import_extra("dask", "distributed", "work on several shards").get(
            tasks, root
        )
        return result
    return _on_workers(tasks, root, client)


def _on_workers(tasks: dict[Any, Any], root: Any, client: Any) -> Sums:
    dask = import_extra("dask", "distributed", "work on several machines")
    graphs = import_extra("dask.highlevelgraph", "distributed", "work on several machines")
    with one_error(client):
        let_places_be_forgotten(client)
        workers = worker_addresses(client)
    bare = graphs.HighLevelGraph({"step": graphs.MaterializedLayer(tasks)}, {"step": set()})
    home, _ = homes(bare.get_all_dependencies(), len(workers))
    address = {key: [workers[number]] for key, number in home.items()}
    with dask.annotate(workers=address.__getitem__, allow_other_workers=True):
        placed = graphs.MaterializedLayer(tasks)
    graph = graphs.HighLevelGraph({"step": placed}, {"step": set()})
    future = client.get(graph, [root], sync=False)[0]
    result: Sums = gathered(client, {root: future})[root]
    return result


def _given(parameters: Any) -> Any:
    return parameters


def _shard(token_ids: Array, targets: Array, share: Array, parameters: Any) -> Sums:
    xp = array_namespace(token_ids=token_ids)
    step = partial(unchecked_loss_and_gradients, xp, token_ids, targets, parameters, None, share)
    return parallel_map(lambda _: step(), [None], threads=1)[0]


def _add(first: Sums, second: Sums) -> Sums:
    return first[0] + second[0], map_parameters(lambda a, b: a + b, first[1], second[1])
