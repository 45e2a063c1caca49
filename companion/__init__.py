"""Self-attention as matrix multiplication, on NumPy and CuPy.

Every room of the library is a chapter of the book; the functions below are what the rooms offer.
"""

from companion import loops, pitfalls
from companion.arrays import array_module, array_namespace, random_normal, show, to_numpy
from companion.attention import scaled_dot_product_attention
from companion.masks import (
    additive_mask,
    causal_mask,
    combine_masks,
    mask_scores,
    padding_mask,
    window_mask,
)
from companion.packing import (
    add_positions,
    build_vocabulary,
    embed,
    pack_batch,
    pack_rows,
    sinusoidal_positions,
    token_ids,
    unpack_batch,
)
from companion.projections import bilinear_form, project, project_qkv
from companion.running_example import RunningExample, running_example
from companion.scores import scaled_scores, score_variance, soft_cap
from companion.softmax import hardmax, logsumexp, softmax, softmax_jacobian, weighted_values
from companion.trained_heads import (
    TrainedEmbedding,
    TrainedHeads,
    TrainedLayer,
    TrainedSentence,
    load_trained_heads,
)

__all__ = [
    "RunningExample",
    "TrainedEmbedding",
    "TrainedHeads",
    "TrainedLayer",
    "TrainedSentence",
    "add_positions",
    "additive_mask",
    "array_module",
    "array_namespace",
    "bilinear_form",
    "build_vocabulary",
    "causal_mask",
    "combine_masks",
    "embed",
    "hardmax",
    "load_trained_heads",
    "logsumexp",
    "loops",
    "mask_scores",
    "pack_batch",
    "pack_rows",
    "padding_mask",
    "pitfalls",
    "project",
    "project_qkv",
    "random_normal",
    "running_example",
    "scaled_dot_product_attention",
    "scaled_scores",
    "score_variance",
    "show",
    "sinusoidal_positions",
    "soft_cap",
    "softmax",
    "softmax_jacobian",
    "to_numpy",
    "token_ids",
    "unpack_batch",
    "weighted_values",
    "window_mask",
]
__version__ = "0.1.0"
