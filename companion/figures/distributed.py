"""Drawings of the chapter on several machines: who holds what, and what travels."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from companion.figures.kit.figure import Figure
from companion.figures.kit.flows import Arrow, Box, flow

__all__ = ["merge_flow"]


def merge_flow(shards: Mapping[str, Sequence[str]], row: str) -> Figure:
    """Draw how the states of two machines' shards become one row of the output.

    Parameters
    ----------
    shards : mapping of str to two str
        Of two machines, by name: the words whose keys lie in each of its two shards.
    row : str
        The token whose row it is.

    Returns
    -------
    Figure
    """
    keys = [
        Box(f"{machine}{i}", words, f"on {machine}", column=2.0 * place + i)
        for place, (machine, both) in enumerate(shards.items())
        for i, words in enumerate(both)
    ]
    states = [Box(f"{box.name} state", "$m, t, o$", "state", column=box.column) for box in keys]
    merges = [
        Box(f"{machine} merge", "⊕", operation=True, column=2.0 * place + 0.5)
        for place, machine in enumerate(shards)
    ]
    last = Box("last", "⊕", operation=True, column=1.5)
    out = Box("out", row, "its row of the output", highlight=True, column=1.5)
    arrows: list[Arrow] = [(box.name, state.name) for box, state in zip(keys, states, strict=True)]
    arrows += [(f"{machine}{i} state", f"{machine} merge") for machine in shards for i in range(2)]
    first, second = merges
    arrows += [(first.name, "last"), (second.name, "last", "travels"), ("last", "out")]
    drawn = flow([keys, states, merges, [last], [out]], arrows)
    held = "; ".join(
        f"machine {machine} sums up the keys of {first} and of {second}, and merges the two states"
        for machine, (first, second) in shards.items()
    )
    one, other = shards
    return replace(
        drawn,
        alt=f"Flow diagram: {held}. What {other} has merged travels to {one}, where it is merged "
        f"with the rest. It ends in the row of {row}.",
    )
