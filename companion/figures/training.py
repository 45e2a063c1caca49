"""Drawings of the chapter on gradients and training: the way back, and what was learnt when."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from companion.arrays import Array
from companion.figures.kit.diagrams import Matrix, equations
from companion.figures.kit.figure import Figure
from companion.figures.kit.heatmaps import heat_maps
from companion.figures.kit.plots import curves

__all__ = ["copying_curves", "head_maps", "way_back", "writer_curves"]

COUNTING = ("uniform", "unigram", "bigram", "trigram")


def way_back(
    d_output: Array,
    value: Array,
    d_weights: Array,
    d_scores: Array,
    key: Array,
    d_query: Array,
    *,
    tokens: Sequence[str],
    row: int,
) -> Figure:
    """Draw how a gradient goes back from a head's output to its queries: two products.

    Parameters
    ----------
    d_output : array, shape (T, d_v)
    value : array, shape (S, d_v)
    d_weights, d_scores : array, shape (T, S)
    key : array, shape (S, d_k)
    d_query : array, shape (T, d_k)
    tokens : sequence of str
    row : int
        The row to follow, counted from 0.

    Returns
    -------
    Figure
    """

    def block(name: str, values: Any, letters: str, **look: Any) -> Matrix:
        return Matrix(name, values.shape, letters, values=values, **look)

    rows, columns = {"row_names": tokens}, {"column_names": tokens}
    drawn, follow = {"row_labels": tokens}, {"highlight_row": row}
    return equations(
        (
            block("$dA$", d_output, "($T$, $d_v$)", **drawn, **follow),
            "@",
            block(r"$V^\top$", value.mT, "($d_v$, $S$)", **columns),
            "=",
            block("$dW$", d_weights, "($T$, $S$)", **rows, **columns, **follow),
        ),
        (
            block("$dS$", d_scores, "($T$, $S$)", **drawn, **columns, **follow),
            "@",
            block("$K$", key, "($S$, $d_k$)", **rows),
            r"$/\sqrt{d_k}$ =",
            block("$dQ$", d_query, "($T$, $d_k$)", **rows, **follow),
        ),
        between="back through the softmax",
    )


def copying_curves(record: Mapping[str, Any]) -> Figure:
    """Draw the loss on the second pass of three models that learn to copy.

    Parameters
    ----------
    record : mapping
        The content of ``induction.json``.

    Returns
    -------
    Figure
    """
    names = ("one layer", "two layers", "one layer, fixed period")
    every, count = record["every"], len(record["two layers"])
    x = every * np.arange(1, count + 1)
    return curves(
        x.astype(np.float64),
        {name: np.asarray(record[name]) for name in names},
        x_title="steps",
        y_title="loss on the second pass, in nats",
        y_limits=(0.0, 4.0),
        y_ticks=(0, 1, 2, 3, 4),
    )


def head_maps(record: Mapping[str, Any]) -> Figure:
    """Draw what the heads of both layers look at, at three steps of their training.

    Parameters
    ----------
    record : mapping
        The content of ``induction.json``.

    Returns
    -------
    Figure
    """
    kept = record["maps"]
    matrices = [np.asarray(m) for layers in kept["layers"] for m in layers]
    titles = [f"step {step}, layer {layer}" for step in kept["steps"] for layer in (0, 1)]
    letters = [chr(ord("a") + i % kept["period"]) for i in range(matrices[0].shape[0])]
    visible = np.tri(len(letters), dtype=bool)
    return heat_maps(matrices, letters, letters, titles=titles, visible=visible, limits=(0.0, 1.0))


def writer_curves(record: Mapping[str, Any]) -> Figure:
    """Draw the losses of the small writer beside those of models that only count.

    Parameters
    ----------
    record : mapping
        The content of ``small_writer_training.json``.

    Returns
    -------
    Figure
    """
    looked = np.asarray(record["looked"][1:], dtype=np.float64)  # not before the first step
    steps, losses = np.asarray(record["steps"], dtype=np.float64), np.asarray(record["loss"])
    lines = {name: np.full(len(looked), record["counting"][name]) for name in COUNTING}
    lines["training"] = np.interp(looked, steps, losses)
    lines["validation"] = np.asarray(record["validation_loss"][1:])
    return curves(
        looked,
        lines,
        x_title="steps",
        y_title="loss, in nats",
        x_log=True,
        references=COUNTING,
    )
