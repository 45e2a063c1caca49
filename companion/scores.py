"""How well does each query fit each key: the scaled scores."""

import math
from numbers import Integral, Real

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

__all__ = ["scaled_scores", "score_variance", "score_variance_terms", "soft_cap"]


def scaled_scores(query: Array, key: Array, *, scale: float | None = None) -> Array:
    """Compute all scaled scores in one product (:eq:`eq-scaled-scores`).

    Parameters
    ----------
    query : array, shape (..., T, d_k)
    key : array, shape (..., S, d_k)
        Leading axes broadcast.
    scale : float, optional
        Factor of the products, 1/√d_k where it is left out.

    Returns
    -------
    array, shape (..., T, S)
        Entry (i, j) is ``scale * (query[i] · key[j])``, in the arguments' dtype; float16 is
        computed in float32.

    Raises
    ------
    TypeError
        If an argument is not floating, the dtypes differ, or `scale` is no number.
    ValueError
        If the shapes do not match, d_k is 0, or `scale` is not finite.
    """
    xp = array_namespace(query=query, key=key)
    check_rows(xp, query, key)
    return unchecked_scaled_scores(xp, query, key, check_scale(scale, query.shape[-1]))


def unchecked_scaled_scores(xp: Namespace, query: Array, key: Array, scale: float) -> Array:
    """Do what :func:`scaled_scores` does, without its checks."""
    rows, columns = widen(xp, query), widen(xp, key)
    # A factor below 1 goes in before the product, so that nothing overflows on the way to a
    # score that is finite; a factor above 1 goes in after it, for the same reason.
    small = abs(scale) <= 1
    scores = (rows * scale) @ columns.mT if small else (rows @ columns.mT) * scale
    return cast(xp, scores, query.dtype)


def check_rows(xp: Namespace, query: Array, key: Array) -> None:
    """Raise unless `query` (..., T, d_k) and `key` (..., S, d_k) can be multiplied."""
    require_floating(xp, query=query, key=key)
    require_same_dtype(query=query, key=key)
    if query.ndim < 2:
        raise ValueError(f"query must be (..., T, d_k), got shape {query.shape}")
    if key.ndim < 2 or key.shape[-1] != query.shape[-1]:
        raise ValueError(
            f"key must be (..., S, d_k={query.shape[-1]}) to match query {query.shape}, "
            f"got {key.shape}"
        )
    try:
        broadcast_shape(query.shape[:-2], key.shape[:-2])
    except ValueError:
        raise ValueError(
            f"key must have leading axes that broadcast with {query.shape[:-2]} of query "
            f"{query.shape}, got {key.shape}"
        ) from None


def check_scale(scale: float | None, d_k: int) -> float:
    """Return the scale as a finite Python float, 1/√d_k where it is None, or raise."""
    if d_k == 0:
        raise ValueError("query must have at least one column, got d_k=0")
    if scale is None:
        return 1 / math.sqrt(d_k)
    if not isinstance(scale, Real) or isinstance(scale, bool):
        raise TypeError(f"scale must be a real number or None, got {type(scale).__name__}")
    if not math.isfinite(scale):
        raise ValueError(f"scale must be finite, got {scale}")
    return float(scale)


def soft_cap(scores: Array, cap: float | None) -> Array:
    """Squeeze scores smoothly into (−cap, cap): ``cap * tanh(scores / cap)``.

    Parameters
    ----------
    scores : array, any shape
    cap : float or None
        None and 0 leave the scores as they are (0 switches it off in ONNX too).

    Returns
    -------
    array
        Same shape and dtype; float16 is computed in float32.

    Raises
    ------
    TypeError
        If `scores` is not floating or `cap` is no number.
    ValueError
        If `cap` is negative or not finite.
    """
    xp = array_namespace(scores=scores)
    require_floating(xp, scores=scores)
    return unchecked_soft_cap(xp, scores, check_softcap(cap))


def unchecked_soft_cap(xp: Namespace, scores: Array, cap: float | None) -> Array:
    """Do what :func:`soft_cap` does, without its checks; 0 is no cap here, None is."""
    if cap is None:
        return scores
    wide = widen(xp, scores)
    info = xp.finfo(wide.dtype)
    largest, smallest, eps = float(info.max), float(info.smallest_normal), float(info.eps)
    near = cap * math.sqrt(eps / 2)  # where tanh is the identity to the last digit
    if near >= largest:
        return scores
    far, inside = 32 * cap, wide  # tanh is 1 to the last digit from there on
    if far < largest:  # or a quotient by a small cap overflows
        inside = xp.minimum(xp.maximum(wide, -far), far)
    # A cap beyond an end of the range is brought into it, and the scores with it.
    unit = 2.0**64 if cap > largest else 2.0**-64 if cap < smallest else 1.0
    if cap < smallest * eps:  # nor does anything between 0 and the least float exist
        return cast(xp, xp.minimum(xp.maximum(wide, -cap), cap), scores.dtype)
    bent = xp.tanh(inside / unit / (cap / unit)) * (cap / unit) * unit
    return cast(xp, xp.where(xp.abs(wide) <= near, wide, bent), scores.dtype)


def check_softcap(softcap: float | None) -> float | None:
    """Return the cap as a positive Python float, None where it is None or 0, or raise."""
    if softcap is None:
        return None
    if not isinstance(softcap, Real) or isinstance(softcap, bool):
        raise TypeError(f"softcap must be a real number or None, got {type(softcap).__name__}")
    if not (math.isfinite(softcap) and softcap >= 0):
        raise ValueError(f"softcap must be finite and not negative, got {softcap}")
    return float(softcap) or None


def score_variance(
    d_k: int,
    *,
    query_mean: float = 0.0,
    query_variance: float = 1.0,
    key_mean: float = 0.0,
    key_variance: float = 1.0,
) -> float:
    """Predict the variance of an unscaled score q·k (:eq:`eq-score-variance`).

    q and k are taken as independent, and the entries of each as uncorrelated among themselves;
    those of q share one mean and one variance, and so do those of k.

    Parameters
    ----------
    d_k : int
        Number of entries.
    query_mean, query_variance, key_mean, key_variance : float
        Moments of the entries.

    Returns
    -------
    float
        d_k for zero means and unit variances (:prf:ref:`thm-score-variance`).

    Raises
    ------
    TypeError
        If `d_k` is no integer or a moment is no real number.
    ValueError
        If `d_k` is less than 1, a moment is not finite, or a variance is negative.
    """
    if not isinstance(d_k, Integral) or isinstance(d_k, bool):
        raise TypeError(f"d_k must be an integer, got {type(d_k).__name__}")
    if d_k < 1:
        raise ValueError(f"d_k must be at least 1, got {d_k}")
    means = {"query_mean": query_mean, "key_mean": key_mean}
    variances = {"query_variance": query_variance, "key_variance": key_variance}
    for name, moment in (means | variances).items():
        if not isinstance(moment, Real) or isinstance(moment, bool):
            raise TypeError(f"{name} must be a real number, got {type(moment).__name__}")
        if not math.isfinite(moment):
            raise ValueError(f"{name} must be finite, got {moment}")
        if name in variances and moment < 0:
            raise ValueError(f"{name} must not be negative, got {moment}")
    d_k = int(d_k)  # a product of narrow integers, or of narrow floats, would leave their range
    query_mean, query_variance = float(query_mean), float(query_variance)
    key_mean, key_variance = float(key_mean), float(key_variance)
    return d_k * (
        query_variance * key_variance + query_mean**2 * key_variance + key_mean**2 * query_variance
    )


def score_variance_terms(query: Array, key: Array) -> tuple[Array, Array, Array]:
    r"""Split the variance of all unscaled scores into its three terms.

    With the means :math:`\mu` and the covariances :math:`\Sigma` of the rows, the variance of the
    T·S products ``query[i] · key[j]`` is the sum of what is returned
    (:prf:ref:`thm-score-variance`), and the softmax sees the first two of the three
    (:prf:ref:`prop-between-keys`).

    Parameters
    ----------
    query : array, shape (..., T, d_k)
    key : array, shape (..., S, d_k)
        Leading axes broadcast.

    Returns
    -------
    both_vary, query_mean, key_mean : array, shape (...)
        :math:`\operatorname{tr}(\Sigma_q \Sigma_k)`, :math:`\mu_q \Sigma_k \mu_q^{\mathsf T}` and
        :math:`\mu_k \Sigma_q \mu_k^{\mathsf T}`, in the arguments' dtype; float16 is computed in
        float32.

    Raises
    ------
    TypeError
        If an argument is not floating or the dtypes differ.
    ValueError
        If the shapes do not match, or there is no query or no key.
    """
    xp = array_namespace(query=query, key=key)
    check_rows(xp, query, key)
    for name, rows in (("query", query), ("key", key)):
        if rows.shape[-2] == 0:
            raise ValueError(f"{name} must have at least one row, got shape {rows.shape}")
    q_mean, q_covariance = _moments(xp, widen(xp, query))
    k_mean, k_covariance = _moments(xp, widen(xp, key))
    terms = (
        xp.sum(q_covariance * k_covariance, axis=(-2, -1)),  # the trace: both are symmetric
        (q_mean @ k_covariance @ q_mean.mT)[..., 0, 0],
        (k_mean @ q_covariance @ k_mean.mT)[..., 0, 0],
    )
    both_vary, query_mean, key_mean = (cast(xp, term, query.dtype) for term in terms)
    return both_vary, query_mean, key_mean


def _moments(xp: Namespace, rows: Array) -> tuple[Array, Array]:
    """Return the mean (..., 1, n) and the covariance (..., n, n) of the rows (..., N, n)."""
    mean = xp.mean(rows, axis=-2, keepdims=True)
    centred = rows - mean
    return mean, centred.mT @ centred / rows.shape[-2]
