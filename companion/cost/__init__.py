"""What attention costs: a ledger from its shapes, and models of memory, rounding and devices."""

from companion.cost.ledger import (
    Cost,
    Sizes,
    attention,
    block,
    feed_forward,
    least_time,
    product,
    projections,
    recurrence,
    scores,
    softmax,
    tiled_attention,
    total,
    weighted_values,
    windowed_attention,
)

__all__ = [
    "Cost",
    "Sizes",
    "attention",
    "block",
    "feed_forward",
    "least_time",
    "product",
    "projections",
    "recurrence",
    "scores",
    "softmax",
    "tiled_attention",
    "total",
    "weighted_values",
    "windowed_attention",
]
