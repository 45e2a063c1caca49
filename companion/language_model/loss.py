"""How well a model foretells a text: the mean surprise at its tokens, and what choice that is."""

from companion.arrays import (
    Array,
    Namespace,
    array_namespace,
    cast,
    require_floating,
    require_integer,
    widen,
)
from companion.libraries import is_traced
from companion.softmax import exponentials

__all__ = ["cross_entropy", "perplexity"]


def cross_entropy(logits: Array, targets: Array) -> Array:
    """Average over the targets how little their logits foretold them (:eq:`eq-cross-entropy`).

    A target costs −log of its softmax weight, which is the log-sum-exp of the row less the target's
    own logit.

    Parameters
    ----------
    logits : array, shape (..., V)
    targets : integer array, shape (...)
        The token that came, for each row; −1 leaves a row out. For a text ``ids`` they are
        ``ids[1:]``, and the logits those of all rows but the last.

    Returns
    -------
    array, shape ()
        In nats, in the dtype of the logits; float16 is computed in float32.

    Raises
    ------
    TypeError
        If the logits are not floating, or the targets no integers.
    ValueError
        If the shapes do not match, a target is below −1 or no column of the logits, or no target
        counts. (Under ``jax.jit`` targets have no values to check yet.)
    """
    xp = array_namespace(logits=logits, targets=targets)
    check_loss(xp, logits, targets)
    return xp.asarray(cast(xp, _mean_surprise(xp, logits, targets), logits.dtype))


def _mean_surprise(xp: Namespace, logits: Array, targets: Array) -> Array:
    """Return the cross-entropy in wide floats."""
    kept = surprises(xp, logits, targets)
    # Divided first: the sum of what is finite could overflow.
    return xp.sum(kept / xp.sum(xp.astype(targets >= 0, kept.dtype)))


def surprises(xp: Namespace, logits: Array, targets: Array) -> Array:
    """Return what each target costs, 0 where it is left out: the mean's terms, in wide floats."""
    counted = targets >= 0
    wide = widen(xp, logits)
    places = xp.where(counted, targets, xp.zeros_like(targets))[..., None]
    own = xp.take_along_axis(wide, places, axis=-1)[..., 0]
    # Both from the top of the row: the log-sum-exp itself would round the small part away.
    _, total, top = exponentials(xp, wide, -1)
    surprise = xp.log(total[..., 0]) + (top[..., 0] - own)
    return xp.where(counted, surprise, xp.zeros_like(surprise))


def check_loss(xp: Namespace, logits: Array, targets: Array) -> None:
    """Raise unless there is a loss of these logits at these targets."""
    require_floating(xp, logits=logits)
    if logits.ndim < 1 or targets.shape != logits.shape[:-1]:
        require_integer(xp, targets=targets)
        raise ValueError(
            f"targets must be {logits.shape[:-1]} to match logits {logits.shape}, "
            f"got {targets.shape}"
        )
    check_targets(xp, targets, logits.shape[:-1], logits.shape[-1])


def check_targets(xp: Namespace, targets: Array, shape: tuple[int, ...], size: int) -> None:
    """Raise unless the targets are of this shape, −1 or in 0 … size − 1, and some count."""
    require_integer(xp, targets=targets)
    if targets.shape != shape:
        raise ValueError(f"targets must be {shape} like token_ids, got {targets.shape}")
    if is_traced(targets):
        return
    if 0 in targets.shape or int(xp.max(targets)) < 0:
        raise ValueError(f"targets must hold one of at least 0, got shape {targets.shape}")
    lowest, highest = int(xp.min(targets)), int(xp.max(targets))
    if lowest < -1 or highest >= size:
        wrong = lowest if lowest < -1 else highest
        raise ValueError(f"targets must be −1 or in 0 … {size - 1}, got {wrong}")


def perplexity(logits: Array, targets: Array) -> Array:
    """Return among how many equally likely tokens a choice would surprise as much.

    Parameters
    ----------
    logits, targets
        As in :func:`cross_entropy`.

    Returns
    -------
    array, shape ()
        exp of the cross-entropy, rounded once to the dtype of the logits; V for logits that are all
        equal.

    Raises
    ------
    TypeError, ValueError
        As :func:`cross_entropy` does.
    """
    xp = array_namespace(logits=logits, targets=targets)
    check_loss(xp, logits, targets)
    return xp.asarray(cast(xp, xp.exp(_mean_surprise(xp, logits, targets)), logits.dtype))
