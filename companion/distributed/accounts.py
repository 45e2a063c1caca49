"""What travels between workers, and what each of them computes, from the shapes alone."""

from typing import NamedTuple

from companion.cost import Sizes
from companion.cost.ledger import scores, softmax, total, weighted_values
from companion.kernels.merge_tree import LEAF, homes, tree

__all__ = ["Account", "causal_pairs", "hidden_length", "ring_account", "tree_account"]


class Account(NamedTuple):
    """What attention costs that is shared between workers.

    Attributes
    ----------
    flops : tuple of int
        Floating-point operations of each worker, those of the merges left out.
    there : int
        Bytes of queries, or of keys and values, that go to workers which do not have them.
    back : int
        Bytes of states that go to where they are merged.
    """

    flops: tuple[int, ...]
    there: int
    back: int

    @property
    def moved(self) -> int:
        """All bytes between workers."""
        return self.there + self.back


def tree_account(queries: int, keys: int, sizes: Sizes, *, shards: int, workers: int) -> Account:
    """Count what moves where keys stay and queries travel (:prf:ref:`prop-states-moved`).

    Parameters
    ----------
    queries, keys : int
        T, in one chunk, and S, in `shards` even chunks; every query sees every key.
    sizes : companion.cost.Sizes
        Its itemsize is that of the queries; a state has 4 bytes a number, or 8 where they have 8.
    shards, workers : int

    Returns
    -------
    Account

    Raises
    ------
    ValueError
        If there are not as many shards as workers, or `shards` does not divide `keys`.
    """
    _check(keys, shards, workers)
    heads = sizes.batch * sizes.heads * queries
    state = heads * (sizes.d_v + 2) * max(4, sizes.itemsize)
    held = [0] * workers
    for shard in range(shards):
        held[shard * workers // shards] += keys // shards
    there = (workers - 1) * heads * sizes.d_k * sizes.itemsize
    flops = tuple(_attention_flops(queries, own, sizes) for own in held)
    return Account(flops, there, _states_moved(shards, workers) * state)


def ring_account(length: int, sizes: Sizes, *, workers: int) -> Account:
    """Count what moves where queries stay and keys and values travel around.

    Parameters
    ----------
    length : int
        N, shared out evenly; every token sees every other.
    sizes : companion.cost.Sizes
    workers : int

    Returns
    -------
    Account

    Raises
    ------
    ValueError
        If `workers` does not divide `length`.

    References
    ----------
    Liu, Zaharia and Abbeel, *Ring attention with blockwise transformers*, 2023.
    """
    _check(length, workers, workers)
    row = sizes.batch * sizes.kv_heads * (sizes.d_k + sizes.d_v) * sizes.itemsize
    flops = (_attention_flops(length // workers, length, sizes),) * workers
    return Account(flops, (workers - 1) * length * row, 0)


def hidden_length(sizes: Sizes, *, flop_rate: float, bandwidth: float) -> float:
    """Return the tokens a worker needs so that a ring's transfers hide behind its products.

    This is :eq:`eq-hidden-length`. Parameters are the model's sizes, and the FLOPs and bytes a
    second of one worker; ValueError if one of them is not positive.
    """
    for name, rate in (("flop_rate", flop_rate), ("bandwidth", bandwidth)):
        if not rate > 0:
            raise ValueError(f"{name} must be positive, got {rate}")
    moved = sizes.kv_heads * sizes.itemsize / bandwidth
    return moved * flop_rate / (2 * sizes.heads)


def causal_pairs(length: int, workers: int, *, striped: bool = False) -> list[int]:
    """Count the query-key pairs of each worker's queries under a causal mask.

    Parameters
    ----------
    length, workers : int
    striped : bool
        Worker w has the tokens w, w + W, w + 2W, … and not a run of neighbours.

    Returns
    -------
    list of int
        They sum to N (N + 1) / 2.

    Raises
    ------
    ValueError
        If `workers` does not divide `length`.
    """
    _check(length, workers, workers)
    run = length // workers
    spans = [
        range(w, length, workers) if striped else range(w * run, (w + 1) * run)
        for w in range(workers)
    ]
    return [sum(span) + len(span) for span in spans]


def _attention_flops(queries: int, keys: int, sizes: Sizes) -> int:
    steps = (scores, softmax, weighted_values)
    return total({step.__name__: step(queries, keys, sizes) for step in steps}).flops


def _states_moved(shards: int, workers: int) -> int:
    """Count the merges whose second part lies on another worker than the first."""
    leaves = {i: (LEAF, i) for i in range(shards)}
    steps, _ = tree("merge", (), shards, leaves, max)
    parts = {key: step[1:] for key, step in steps.items()} | dict.fromkeys(leaves.values(), ())
    home, _ = homes(parts, workers)
    return sum(home[left] != home[right] for _, left, right in steps.values())


def _check(length: int, pieces: int, workers: int) -> None:
    if not 1 <= workers <= pieces:
        raise ValueError(f"workers must be from 1 to the {pieces} shards, got {workers}")
    if length < 1 or length % pieces:
        raise ValueError(f"{pieces} pieces must share {length} tokens evenly")
