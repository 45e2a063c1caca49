"""All of attention in one picture: as products, as a flow, and with its numbers."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from companion.arrays import Array, to_numpy
from companion.figures.kit.diagrams import Matrix, equations
from companion.figures.kit.figure import Figure
from companion.figures.kit.flows import Arrow, Box, flow
from companion.figures.kit.wording import plain, signed
from companion.scores import scaled_scores
from companion.softmax import softmax, weighted_values

__all__ = ["attention_flow", "matrix_form", "pipeline"]


def attention_flow(x: Array, query: Array, key: Array, value: Array) -> Figure:
    """Draw the way from X to the output, with the shape of every matrix.

    Parameters
    ----------
    x : array, shape (N, d)
    query, key : array, shape (N, d_k)
    value : array, shape (N, d_v)

    Returns
    -------
    Figure
    """
    count, columns = value.shape
    square = f"{count} × {count}"
    rows = [
        [Box("x", "input $X$", f"{x.shape[0]} × {x.shape[1]}")],
        [
            Box("q", "queries $Q$", f"{query.shape[0]} × {query.shape[1]}"),
            Box("k", "keys $K$", f"{key.shape[0]} × {key.shape[1]}"),
            Box("v", "values $V$", f"{count} × {columns}"),
        ],
        [Box("s", r"scores $QK^\top / \sqrt{d_k}$", square, column=0.5)],
        [Box("softmax", "softmax of each row", operation=True, column=0.5)],
        [Box("w", "weights $W$", square, column=0.5)],
        [Box("a", "output $A = WV$", f"{count} × {columns}", column=0.5)],
    ]
    arrows: list[Arrow] = [
        ("x", "q", "$W^Q$"),
        ("x", "k", "$W^K$"),
        ("x", "v", "$W^V$"),
        ("q", "s"),
        ("k", "s"),
        ("s", "softmax"),
        ("softmax", "w"),
        ("w", "a"),
        ("v", "a"),
    ]
    return flow(rows, arrows)


def matrix_form(
    query: Array, key: Array, value: Array, *, tokens: Sequence[str], row: int
) -> Figure:
    """Draw attention as two products of matrices with a softmax between them.

    Parameters
    ----------
    query, key : array, shape (N, d_k)
    value : array, shape (N, d_v)
    tokens : sequence of N str
    row : int
        The row to follow, counted from 0.

    Returns
    -------
    Figure
    """
    scores = scaled_scores(query, key)
    weights = softmax(scores)
    output = weighted_values(weights, value)

    def block(name: str, values: Any, letters: str, **look: Any) -> Matrix:
        return Matrix(name, values.shape, letters, values=values, **look)

    rows, columns = {"row_names": tokens}, {"column_names": tokens}
    drawn, follow = {"row_labels": tokens}, {"highlight_row": row}
    return equations(
        (
            block("$Q$", query, "($N$, $d_k$)", **drawn, **follow),
            "@",
            block(r"$K^\top$", key.mT, "($d_k$, $N$)", **columns),
            r"$/\sqrt{d_k}$ =",
            block("scores", scores, "($N$, $N$)", **rows, **columns, **follow),
        ),
        (
            block("$W$", weights, "($N$, $N$)", **drawn, **columns, **follow),
            "@",
            block("$V$", value, "($N$, $d_v$)", **rows),
            "=",
            block("$A$", output, "($N$, $d_v$)", **rows, **follow),
        ),
        between="softmax of each row",
    )


def pipeline(
    x: Array, query: Array, key: Array, value: Array, *, token: str, follow: int = 2
) -> Figure:
    """Draw every step from one token's row to its output, with the numbers, the scale marked.

    Parameters
    ----------
    x : array, shape (N, d)
    query, key : array, shape (N, d_k)
    value : array, shape (N, d_v)
    token : str
        The token that is followed.
    follow : int
        Its row, counted from 0.

    Returns
    -------
    Figure
    """
    count, d_k = key.shape
    products = scaled_scores(query, key, scale=1.0)
    scores = scaled_scores(query, key)
    weights = softmax(scores)
    output = weighted_values(weights, value)
    i, scale = follow + 1, f"divide by $\\sqrt{{d_k}}$ = {d_k**0.5:.2f}"
    rows = [
        [
            Box("x", f"$x_{i}$, the row of {token}", f"1 × {x.shape[1]}", column=0.1),
            Box("X", "all rows $x_j$", f"{count} × {x.shape[1]}", column=1.5),
        ],
        [
            Box("q", f"query $q_{i}$", _numbers(query[follow, :]), column=0.1),
            Box("k", "keys $k_j$", f"{count} × {d_k}", column=1.1),
            Box("v", "values $v_j$", f"{count} × {value.shape[1]}", column=1.9),
        ],
        [
            Box(
                "s",
                f"$q_{i} \\cdot k_j$",
                "  ".join(map(plain, to_numpy(products[follow, :]))),
                column=0.5,
            )
        ],
        [Box("d", scale, operation=True, highlight=True, column=0.5)],
        [Box("r", "scores", _numbers(scores[follow, :]), column=0.5)],
        [Box("e", "softmax", operation=True, column=0.5)],
        [Box("w", f"weights $w_{{{i}j}}$", _numbers(weights[follow, :]), column=0.5)],
        [Box("m", f"sum of $w_{{{i}j}} v_j$", operation=True, column=0.5)],
        [Box("a", f"output $a_{i}$", _numbers(output[follow, :]), column=0.5)],
    ]
    steps = ["s", "d", "r", "e", "w", "m", "a"]
    arrows: list[Arrow] = [
        ("x", "q", "$W^Q$"),
        ("X", "k", "$W^K$"),
        ("X", "v", "$W^V$"),
        ("q", "s"),
        ("k", "s"),
    ]
    arrows += [*pairwise(steps), ("v", "m")]
    return flow(rows, arrows)


def _numbers(row: Any) -> str:
    return "  ".join(signed(number) for number in to_numpy(row).astype(np.float64))
