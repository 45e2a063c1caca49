"""One matrix, three roles: queries, keys and values."""

from companion.arrays import (
    Array,
    Namespace,
    array_namespace,
    broadcast_shape,
    cast,
    require_floating,
    require_same_dtype,
    widen,
)

__all__ = ["bilinear_form", "project", "project_qkv"]


def project(x: Array, weight: Array, bias: Array | None = None, *, name: str = "weight") -> Array:
    """Map every row of x with one matrix (:eq:`eq-projections`).

    Parameters
    ----------
    x : array, shape (..., N, d)
    weight : array, shape (..., d, d_out)
        Leading axes broadcast: weights (H, d, d_out) make H projections of one x (N, d).
    bias : array, shape (..., d_out), optional
        One bias a projection; its leading axes are the weight's.
    name : str
        What the weight is called in error messages.

    Returns
    -------
    array, shape (..., N, d_out)
        In the arguments' dtype; float16 is computed in float32 and rounded once.

    Raises
    ------
    TypeError
        If an argument is not floating or the dtypes differ.
    ValueError
        If the shapes do not match.
    """
    xp = array_namespace(**{"x": x, name: weight, "bias": bias})
    check_projection(xp, x, weight, bias, name)
    return unchecked_project(xp, x, weight, bias)


def unchecked_project(xp: Namespace, x: Array, weight: Array, bias: Array | None) -> Array:
    """Do what :func:`project` does, without its checks."""
    projected = widen(xp, x) @ widen(xp, weight)
    if bias is not None:
        projected = projected + widen(xp, bias)[..., None, :]
    return cast(xp, projected, x.dtype)


def check_projection(xp: Namespace, x: Array, weight: Array, bias: Array | None, name: str) -> None:
    """Raise unless the rows of `x` can be mapped with the weight and the bias."""
    arrays = {"x": x, name: weight, f"the bias of {name}": bias}
    require_floating(xp, **arrays)
    require_same_dtype(**arrays)
    if x.ndim < 2:
        raise ValueError(f"x must be (..., N, d), got shape {x.shape}")
    if weight.ndim < 2 or weight.shape[-2] != x.shape[-1]:
        raise ValueError(
            f"{name} must be (..., d={x.shape[-1]}, d_out) to match x {x.shape}, got {weight.shape}"
        )
    try:
        broadcast_shape(x.shape[:-2], weight.shape[:-2])
    except ValueError:
        raise ValueError(
            f"the axes of {name} before (d, d_out) must broadcast with those of x {x.shape} "
            f"before (N, d), got {weight.shape}"
        ) from None
    if bias is not None and bias.shape != (*weight.shape[:-2], weight.shape[-1]):
        expected = (*weight.shape[:-2], weight.shape[-1])
        raise ValueError(f"the bias of {name} must have shape {expected}, got {bias.shape}")


def project_qkv(
    x: Array,
    w_q: Array,
    w_k: Array,
    w_v: Array,
    b_q: Array | None = None,
    b_k: Array | None = None,
    b_v: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Make queries, keys and values from one packed matrix (:eq:`eq-projections`).

    Parameters
    ----------
    x : array, shape (..., N, d)
    w_q, w_k : array, shape (..., d, d_k)
    w_v : array, shape (..., d, d_v)
    b_q, b_k : array, shape (..., d_k), optional
    b_v : array, shape (..., d_v), optional

    Returns
    -------
    query, key : array, shape (..., N, d_k)
    value : array, shape (..., N, d_v)

    Raises
    ------
    TypeError
        If an argument is not floating or the dtypes differ.
    ValueError
        If the shapes do not match.
    """
    xp = array_namespace(x=x, w_q=w_q, w_k=w_k, w_v=w_v, b_q=b_q, b_k=b_k, b_v=b_v)
    for name, weight, bias in (("w_q", w_q, b_q), ("w_k", w_k, b_k), ("w_v", w_v, b_v)):
        check_projection(xp, x, weight, bias, name)
    if w_q.shape[-1] != w_k.shape[-1]:
        raise ValueError(
            f"w_k must have as many columns as w_q, d_k={w_q.shape[-1]}, got shape {w_k.shape}"
        )
    query = unchecked_project(xp, x, w_q, b_q)
    key = unchecked_project(xp, x, w_k, b_k)
    value = unchecked_project(xp, x, w_v, b_v)
    return query, key, value


def bilinear_form(w_q: Array, w_k: Array) -> Array:
    r"""Return :math:`W^Q (W^K)^{\mathsf T}`, all that a score knows of both (:eq:`eq-bilinear`).

    Parameters
    ----------
    w_q, w_k : array, shape (..., d, d_k)

    Returns
    -------
    array, shape (..., d, d)
        A matrix of rank at most d_k (:prf:ref:`cor-bilinear-rank`), in the arguments' dtype.

    Raises
    ------
    TypeError
        If an argument is not floating or the dtypes differ.
    ValueError
        If the shapes do not match.
    """
    xp = array_namespace(w_q=w_q, w_k=w_k)
    require_floating(xp, w_q=w_q, w_k=w_k)
    require_same_dtype(w_q=w_q, w_k=w_k)
    if w_q.ndim < 2 or w_k.shape != w_q.shape:
        raise ValueError(f"w_k must be (..., d, d_k) like w_q {w_q.shape}, got {w_k.shape}")
    return cast(xp, widen(xp, w_q) @ widen(xp, w_k).mT, w_q.dtype)
