"""A sum of many parts, grouped by their order alone, and where each of its steps belongs."""

import bisect
import graphlib
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, TypeAlias

Key: TypeAlias = Hashable
LEAF = "shard-"
"""What the names of tasks that read a shard begin with; the last entry of a key is its number."""


def tree(
    name: str,
    place: tuple[int, ...],
    count: int,
    leaves: Mapping[int, Key],
    merge: Callable[..., Any],
) -> tuple[dict[Key, Any], Key | None]:
    """Merge the leaves 0 … count − 1, halves by halves; those that are not there are left out.

    The grouping follows from `count` alone, so neither who computes a leaf nor who finishes first
    nor whether another leaf is there changes a bit of what is summed up.

    Returns
    -------
    steps : dict
        A task of Dask for each merge, called ``(name, *place, start, stop)``.
    root : key or None
        What holds the result; None where there is no leaf.
    """
    steps: dict[Key, Any] = {}
    numbers = sorted(leaves)

    def whole(start: int, stop: int) -> Key | None:
        first = bisect.bisect_left(numbers, start)
        if first == len(numbers) or numbers[first] >= stop:
            return None
        if stop - start == 1:
            return leaves[start]
        middle = (start + stop + 1) // 2
        left, right = whole(start, middle), whole(middle, stop)
        if left is None or right is None:
            return left if right is None else right
        key = (name, *place, start, stop)
        steps[key] = (merge, left, right)
        return key

    return steps, whole(0, count)


def homes(
    dependencies: Mapping[Key, Iterable[Key]], workers: int
) -> tuple[dict[Key, int], list[Key]]:
    """Say which of so many workers each task belongs to, and the tasks in an order that can run.

    The shards that are read are dealt out in contiguous runs, as even as they can be. What a shard
    is made of lies where it is read first, and a merge where its first part lies.
    """
    order = _sorted(dependencies)
    read = sorted({key[-1] for key in dependencies if _is_leaf(key)})  # type: ignore[index]
    run = {number: rank * workers // len(read) for rank, number in enumerate(read)}
    home: dict[Key, int] = {key: run[key[-1]] for key in dependencies if _is_leaf(key)}  # type: ignore[index]
    for key in reversed(order):  # from a shard to what it is made of
        if key in home:
            for part in dependencies[key]:
                if not _is_leaf(part):
                    home[part] = min(home.get(part, workers), home[key])
    for key in order:  # and from the shards to what is made of them
        if key not in home:
            known = [home[part] for part in dependencies[key] if part in home]
            home[key] = min(known, default=0)
    return home, order


def _is_leaf(key: Key) -> bool:
    return isinstance(key, tuple) and str(key[0]).startswith(LEAF)


def _sorted(dependencies: Mapping[Key, Iterable[Key]]) -> list[Key]:
    return list(graphlib.TopologicalSorter(dependencies).static_order())
