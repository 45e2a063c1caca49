"""Backwards through packing and projecting."""

import math
from typing import Any

import array_api_compat
import numpy as np

from companion.arrays import (
    Array,
    Namespace,
    array_namespace,
    broadcast_shape,
    cast,
    require_floating,
    require_integer,
    require_same_dtype,
    widen,
)
from companion.gradients.sums import check_gradient, summed_to
from companion.projections import check_projection

__all__ = ["embed_backward", "project_backward"]

SCATTER = 2**22
"""Zeros and ones at once where a product sums the rows of each token."""


def project_backward(
    d_output: Array, x: Array, weight: Array, bias: Array | None = None, *, name: str = "weight"
) -> tuple[Array, Array, Array | None]:
    r"""Go back through :func:`companion.project`.

    With :math:`Y = XW + b`: :math:`dX = dY\,W^{\mathsf T}`, :math:`dW = X^{\mathsf T} dY`
    (:prf:ref:`thm-product-backward`), and db is the sum of the rows of dY
    (:prf:ref:`prop-use-sums`).

    Parameters
    ----------
    d_output : array, shape (..., N, d_out)
        Gradient with respect to what the forward returned.
    x : array, shape (..., N, d)
    weight : array, shape (..., d, d_out)
    bias : array, shape (..., d_out), optional
    name : str
        What the weight is called in error messages.

    Returns
    -------
    d_x, d_weight, d_bias : arrays, shaped like x, weight and bias; None without a bias

    Raises
    ------
    TypeError
        If an argument is not floating or the dtypes differ.
    ValueError
        If the shapes do not match.
    """
    xp = array_namespace(**{"d_output": d_output, "x": x, name: weight, "bias": bias})
    check_projection(xp, x, weight, bias, name)
    require_same_dtype(x=x, d_output=d_output)
    batch = broadcast_shape(x.shape[:-2], weight.shape[:-2])
    check_gradient(d_output, (*batch, x.shape[-2], weight.shape[-1]))
    return unchecked_project_backward(xp, d_output, x, weight, bias)


def unchecked_project_backward(
    xp: Namespace, d_output: Array, x: Array, weight: Array, bias: Array | None
) -> tuple[Array, Array, Array | None]:
    """Do what :func:`project_backward` does, without its checks."""
    d_wide, wide = widen(xp, d_output), widen(xp, x)
    d_x = summed_to(xp, d_wide @ widen(xp, weight).mT, x.shape)
    if weight.ndim == 2:
        # One weight for all rows of all batches: their sum is one long product.
        rows = math.prod(x.shape[:-1])
        flat = xp.reshape(wide, (rows, x.shape[-1])), xp.reshape(d_wide, (rows, weight.shape[-1]))
        d_weight = flat[0].mT @ flat[1]
    else:
        d_weight = summed_to(xp, wide.mT @ d_wide, weight.shape)
    d_bias = None
    if bias is not None:
        d_bias = cast(xp, summed_to(xp, xp.sum(d_wide, axis=-2), bias.shape), bias.dtype)
    return cast(xp, d_x, x.dtype), cast(xp, d_weight, weight.dtype), d_bias


def embed_backward(d_output: Array, ids: Array, table: Array) -> Array:
    """Go back through :func:`companion.embed`: a row of the table gets the sum over its tokens.

    It is used once for each of them: :prf:ref:`prop-use-sums`.

    Parameters
    ----------
    d_output : array, shape (..., N, d)
    ids : integer array, shape (..., N)
    table : array, shape (V, d)

    Returns
    -------
    array, shape (V, d)
        Rows of tokens that do not occur are 0. The sums are made in the order of the tokens, so
        they repeat to the bit.

    Raises
    ------
    TypeError
        If `ids` are not integers, the others not floating, or their dtypes differ.
    ValueError
        If the shapes do not match.
    """
    xp = array_namespace(d_output=d_output, ids=ids, table=table)
    require_integer(xp, ids=ids)
    require_floating(xp, d_output=d_output, table=table)
    require_same_dtype(table=table, d_output=d_output)
    if table.ndim != 2:
        raise ValueError(f"table must be (V, d), got shape {table.shape}")
    check_gradient(d_output, (*ids.shape, table.shape[-1]))
    return unchecked_embed_backward(xp, d_output, ids, table)


def unchecked_embed_backward(xp: Namespace, d_output: Array, ids: Array, table: Array) -> Array:
    """Do what :func:`embed_backward` does, without its checks."""
    count = math.prod(ids.shape)
    ids = xp.reshape(ids, (count,))
    rows = xp.reshape(widen(xp, d_output), (count, table.shape[-1]))
    if count == 0:
        return xp.zeros_like(table)
    if array_api_compat.is_numpy_namespace(xp):
        return cast(xp, _sums_by_token(rows, ids, table.shape[0]), table.dtype)
    # A row of zeros and ones says which tokens are a word's, and a product with it sums them.
    step = max(1, SCATTER // count)
    numbers = xp.arange(table.shape[0], dtype=ids.dtype, device=array_api_compat.device(ids))
    parts = [
        cast(xp, numbers[start : min(start + step, table.shape[0]), None] == ids, rows.dtype) @ rows
        for start in range(0, table.shape[0], step)
    ]
    return cast(xp, xp.concat(parts, axis=0), table.dtype)


def _sums_by_token(rows: Any, ids: Any, count: int) -> Any:
    """Sum NumPy's rows by their token: in the order of the tokens, each one's lie together."""
    order = np.argsort(ids, kind="stable")
    in_order = ids[order]
    starts = np.flatnonzero(np.diff(in_order, prepend=-1))
    sums = np.zeros((count, rows.shape[-1]), rows.dtype)
    sums[in_order[starts]] = np.add.reduceat(rows[order], starts, axis=0)
    return sums
