"""From the space of the inputs into the two spaces of attention."""

from collections.abc import Sequence
from dataclasses import replace

from companion.arrays import Array
from companion.figures.kit.diagrams import Matrix, equations
from companion.figures.kit.figure import Figure
from companion.figures.kit.flows import Box, flow
from companion.figures.kit.wording import spoken

__all__ = ["projected_spaces", "spaces_flow"]

ROLES = (("Q", "query"), ("K", "key"), ("V", "value"))


def projected_spaces(
    x: Array,
    w_q: Array,
    w_k: Array,
    w_v: Array,
    *,
    token: str,
    features: Sequence[str],
    follow: int = 2,
) -> Figure:
    """Draw one token's row against each of the three matrices, block by block, with all sizes.

    Parameters
    ----------
    x : array, shape (d,)
    w_q, w_k : array, shape (d, d_k)
    w_v : array, shape (d, d_v)
    token : str
        What `x` is the row of.
    features : sequence of d str
        What the entries of `x` stand for.
    follow : int
        The token's row, counted from 0.

    Returns
    -------
    Figure
    """
    i, names = follow + 1, (token,)
    row = Matrix(
        f"{token}, $x_{i}$",
        (1, len(features)),
        "(1, $d$)",
        row_names=names,
        column_names=features,
        highlight_row=0,
        values=x[None, :],
    )
    lines, said = [], []
    for (letter, role), weight, width in zip(
        ROLES, (w_q, w_k, w_v), ("$d_k$", "$d_k$", "$d_v$"), strict=True
    ):
        (height, columns), letters = weight.shape, f"($d$, {width})"
        shape = (height, columns)
        matrix = Matrix(f"$W^{letter}$", shape, letters, row_names=features, values=weight)
        made = x[None, :] @ weight
        vector = f"{role} ${letter.lower()}_{i}$"
        result = Matrix(vector, (1, columns), f"(1, {width})", row_names=names, values=made)
        lines.append((row, "@", matrix, "=", result))
        said.append(
            f"times W^{letter} ({height} × {columns}) is the {spoken(vector)} (1 × {columns})"
        )
    drawn = equations(*lines)
    alt = f"The row of {token}, x_{i} (1 × {len(features)}), {'; '.join(said)}."
    return replace(drawn, alt=alt, tables=tuple(dict.fromkeys(drawn.tables)))


def spaces_flow(x: Array, w_q: Array, w_k: Array, w_v: Array) -> Figure:
    """Draw the way from the space of the inputs through three matrices into two spaces.

    Parameters
    ----------
    x : array, shape (..., d)
    w_q, w_k : array, shape (d, d_k)
    w_v : array, shape (d, d_v)

    Returns
    -------
    Figure
    """
    maps = [
        Box(letter, f"$W^{letter}$", f"{weight.shape[0]} × {weight.shape[1]}", operation=True)
        for letter, weight in zip("QKV", (w_q, w_k, w_v), strict=True)
    ]
    spaces = [
        Box("met", "queries and keys", f"$d_k$ = {w_k.shape[1]}", column=0.5),
        Box("mixed", "values", f"$d_v$ = {w_v.shape[1]}", column=2.0),
    ]
    arrows = [("x", "Q"), ("x", "K"), ("x", "V"), ("Q", "met"), ("K", "met"), ("V", "mixed")]
    return flow([[Box("x", "inputs", f"$d$ = {x.shape[-1]}")], maps, spaces], arrows)
