"""What a gradient does where its forward broadcast: it sums."""

from companion.arrays import Array, Namespace


def summed_to(xp: Namespace, gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the axes along which an array of this shape was broadcast.

    An array that was used n times hands on the sum of n gradients.
    """
    if gradient.shape == shape:
        return gradient
    extra = gradient.ndim - len(shape)
    if extra:
        gradient = xp.sum(gradient, axis=tuple(range(extra)))
    axes = tuple(
        axis for axis, (got, to) in enumerate(zip(gradient.shape, shape, strict=True)) if got != to
    )
    return xp.sum(gradient, axis=axes, keepdims=True) if axes else gradient


def check_gradient(d_output: Array, shape: tuple[int, ...], name: str = "d_output") -> None:
    """Raise unless a gradient has the shape of what its forward returned."""
    if d_output.shape != shape:
        raise ValueError(
            f"{name} must have the shape of what the forward returned, {shape}, "
            f"got {d_output.shape}"
        )
