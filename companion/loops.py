"""The definitions, token by token: slow, obvious, and what the matrix forms are checked against.

Every function here has a matrix form that gives the same numbers; its docstring names it. None of
them is meant for more than a handful of tokens.
"""

from collections.abc import Callable

from companion.arrays import Array, Namespace, array_namespace, require_floating
from companion.feed_forward import FeedForwardParameters, gelu
from companion.heads import AttentionParameters

__all__ = [
    "attention_loop",
    "feed_forward_loop",
    "layer_norm_loop",
    "multi_head_attention_loop",
    "project_loop",
    "scores_loop",
    "softmax_loop",
    "weighted_values_loop",
]


def project_loop(x: Array, weight: Array) -> Array:
    """Map every token by itself, entry by entry; :func:`companion.project` does it at once.

    Parameters
    ----------
    x : array, shape (N, d)
    weight : array, shape (d, d_out)

    Returns
    -------
    array, shape (N, d_out)
        Entry (i, c) is the sum over l of ``x[i, l] * weight[l, c]``.

    Raises
    ------
    TypeError
        If an argument is not floating.
    ValueError
        If an argument is no matrix or the shapes do not match.
    """
    xp = _check_matrices(x=x, weight=weight)
    width = x.shape[1]
    if weight.shape[0] != width:
        raise ValueError(
            f"weight must be (d={width}, d_out) to match x {x.shape}, got {weight.shape}"
        )
    rows = []
    for i in range(x.shape[0]):  # each token
        row = []
        for c in range(weight.shape[1]):  # each entry of its projection
            row.append(sum(x[i, m] * weight[m, c] for m in range(width)))
        rows.append(xp.stack(row))
    return xp.stack(rows)


def scores_loop(query: Array, key: Array, *, scale: float = 1.0) -> Array:
    """Compare every query with every key; :func:`companion.scaled_scores` does it at once.

    Parameters
    ----------
    query : array, shape (T, d_k)
    key : array, shape (S, d_k)
    scale : float
        Factor of the products; 1 leaves them unscaled.

    Returns
    -------
    array, shape (T, S)

    Raises
    ------
    TypeError
        If an argument is not floating.
    ValueError
        If an argument is no matrix or the shapes do not match.
    """
    xp = _check_matrices(query=query, key=key)
    d_k = query.shape[1]
    if key.shape[1] != d_k:
        raise ValueError(
            f"key must be (S, d_k={d_k}) to match query {query.shape}, got {key.shape}"
        )
    rows = []
    for i in range(query.shape[0]):  # each query
        row = []
        for j in range(key.shape[0]):  # meets each key
            row.append(sum(query[i, m] * key[j, m] for m in range(d_k)) * scale)
        rows.append(xp.stack(row))
    return xp.stack(rows)


def softmax_loop(scores: Array) -> Array:
    """Exponentiate and share out, row by row; :func:`companion.softmax` does it at once.

    The maximum is not subtracted, so large scores overflow: this is the definition, not the method.

    Parameters
    ----------
    scores : array, shape (T, S)

    Returns
    -------
    array, shape (T, S)

    Raises
    ------
    TypeError
        If the scores are not floating.
    ValueError
        If they are no matrix.
    """
    xp = _check_matrices(scores=scores)
    rows = []
    for i in range(scores.shape[0]):
        powers = [xp.exp(scores[i, j]) for j in range(scores.shape[1])]
        total = sum(powers)
        rows.append(xp.stack([power / total for power in powers]))
    return xp.stack(rows)


def weighted_values_loop(weights: Array, value: Array) -> Array:
    """Add up the weighted values of each token; :func:`companion.weighted_values` does it at once.

    Parameters
    ----------
    weights : array, shape (T, S)
    value : array, shape (S, d_v)

    Returns
    -------
    array, shape (T, d_v)

    Raises
    ------
    TypeError
        If an argument is not floating.
    ValueError
        If an argument is no matrix or the shapes do not match.
    """
    xp = _check_matrices(weights=weights, value=value)
    keys = weights.shape[1]
    if value.shape[0] != keys:
        raise ValueError(
            f"value must be (S={keys}, d_v) to match weights {weights.shape}, got {value.shape}"
        )
    return xp.stack(
        [
            sum(weights[i, j] * value[j, :] for j in range(keys))  # one mixture a token
            for i in range(weights.shape[0])
        ]
    )


def attention_loop(query: Array, key: Array, value: Array, *, is_causal: bool = False) -> Array:
    """Attend token by token; :func:`companion.scaled_dot_product_attention` does it at once.

    Parameters
    ----------
    query : array, shape (T, d_k)
    key : array, shape (S, d_k)
    value : array, shape (S, d_v)
    is_causal : bool
        Token i looks only at tokens 0 … i: the loop simply stops there, no mask is needed.

    Returns
    -------
    array, shape (T, d_v)

    Raises
    ------
    TypeError
        If an argument is not floating.
    ValueError
        If an argument is no matrix or the shapes do not match.
    """
    xp = _check_matrices(query=query, key=key, value=value)
    scale = query.shape[1] ** -0.5
    rows = []
    for i in range(query.shape[0]):
        seen = min(i + 1, key.shape[0]) if is_causal else key.shape[0]
        scores = scores_loop(query[i : i + 1, :], key[:seen, :], scale=scale)  # (1, seen)
        rows.append(weighted_values_loop(softmax_loop(scores), value[:seen, :])[0, :])
    return xp.stack(rows)


def multi_head_attention_loop(
    x: Array, parameters: AttentionParameters, *, is_causal: bool = False
) -> Array:
    """Attend head by head, lay the heads side by side, and mix them.

    :func:`companion.multi_head_attention` does it at once.

    Parameters
    ----------
    x : array, shape (N, d)
    parameters : AttentionParameters
    is_causal : bool
        Token i looks only at tokens 0 … i.

    Returns
    -------
    array, shape (N, d_out)

    Raises
    ------
    TypeError
        If `x` is not floating or from another array library.
    ValueError
        If `x` is no matrix or the shapes do not match.
    """
    p = parameters
    xp = _check_matrices(x=x)
    group = p.heads // p.w_k.shape[0]
    heads = []
    for h in range(p.heads):
        g = h // group  # the key/value head that serves query head h
        query = _with_bias(project_loop(x, p.w_q[h, ...]), p.b_q, h)
        key = _with_bias(project_loop(x, p.w_k[g, ...]), p.b_k, g)
        value = _with_bias(project_loop(x, p.w_v[g, ...]), p.b_v, g)
        heads.append(attention_loop(query, key, value, is_causal=is_causal))  # (N, d_v)
    output = project_loop(xp.concat(heads, axis=1), p.w_o)  # (N, H·d_v) @ (H·d_v, d_out)
    return output if p.b_o is None else output + p.b_o


def _with_bias(rows: Array, bias: Array | None, head: int) -> Array:
    return rows if bias is None else rows + bias[head, ...]


def feed_forward_loop(
    x: Array, parameters: FeedForwardParameters, *, activation: Callable[[Array], Array] = gelu
) -> Array:
    """Send every token through the network by itself; :func:`companion.feed_forward` does all.

    Parameters
    ----------
    x : array, shape (N, d)
    parameters : FeedForwardParameters
    activation : callable
        Works on each entry by itself.

    Returns
    -------
    array, shape (N, d_out)

    Raises
    ------
    TypeError
        If `x` is not floating or from another array library.
    ValueError
        If `x` is no matrix or the shapes do not match.
    """
    xp = _check_matrices(x=x)
    p = parameters
    rows = []
    for i in range(x.shape[0]):  # each token, alone
        hidden = project_loop(x[i : i + 1, :], p.w_1)[0, :]
        hidden = activation(hidden if p.b_1 is None else hidden + p.b_1)  # (d_ff,)
        output = project_loop(hidden[None, :], p.w_2)[0, :]
        rows.append(output if p.b_2 is None else output + p.b_2)
    return xp.stack(rows)


def layer_norm_loop(x: Array, weight: Array, bias: Array, *, eps: float = 1e-5) -> Array:
    """Bring every token to mean 0 and variance 1 by itself; :func:`companion.layer_norm` does all.

    Parameters
    ----------
    x : array, shape (N, d)
    weight, bias : array, shape (d,)
    eps : float
        Added to the variance, under the root.

    Returns
    -------
    array, shape (N, d)

    Raises
    ------
    TypeError
        If an argument is not floating.
    ValueError
        If `x` is no matrix.
    """
    xp = _check_matrices(x=x)
    width = x.shape[1]
    rows = []
    for i in range(x.shape[0]):
        mean = sum(x[i, c] for c in range(width)) / width
        variance = sum((x[i, c] - mean) ** 2 for c in range(width)) / width
        rows.append((x[i, :] - mean) / (variance + eps) ** 0.5 * weight + bias)
    return xp.stack(rows)


def _check_matrices(**arrays: Array) -> Namespace:
    xp = array_namespace(**arrays)
    require_floating(xp, **arrays)
    for name, array in arrays.items():
        if array.ndim != 2 or 0 in array.shape:
            raise ValueError(f"{name} must be a matrix that is not empty, got shape {array.shape}")
    return xp
