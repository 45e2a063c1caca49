"""Self-attention as matrix multiplication, on NumPy and CuPy, and on PyTorch and JAX.

Every module of the library belongs to a chapter of the book; the functions below are what the
modules offer.
"""

from companion import cost, loops, pitfalls
from companion.arrays import array_module, array_namespace, random_normal, show, to_numpy
from companion.attention import scaled_dot_product_attention
from companion.block import BlockParameters, transformer_block, transformer_stack
from companion.cost import devices, memory_trace, rounding
from companion.encoder import (
    EmbeddingParameters,
    EncoderConfig,
    EncoderParameters,
    SentenceEncoder,
    embed_tokens,
    load_checkpoint,
    load_tokenizer,
    mean_pool,
    tensor_table,
    token_states,
    unit_rows,
)
from companion.examples.running_example import RunningExample, running_example
from companion.examples.trained_heads import (
    TrainedHeads,
    TrainedSentence,
    load_trained_heads,
)
from companion.feed_forward import (
    FeedForwardParameters,
    GatedFeedForwardParameters,
    feed_forward,
    gated_feed_forward,
    gelu,
    relu,
    silu,
)
from companion.heads import (
    AttentionParameters,
    attend_heads,
    head_contributions,
    merge_heads,
    multi_head_attention,
    project_heads,
    split_heads,
    split_packed_projection,
)
from companion.kernels.online_softmax import (
    SoftmaxState,
    empty_state,
    merge_states,
    online_attention,
    softmax_state,
    state_output,
)
from companion.kernels.threads import parallel_map, thread_count
from companion.masks import (
    additive_mask,
    causal_mask,
    combine_masks,
    mask_scores,
    padding_mask,
    window_mask,
)
from companion.norms import NormParameters, layer_norm, rms_norm
from companion.packing import (
    build_vocabulary,
    embed,
    pack_batch,
    pack_rows,
    token_ids,
    unpack_batch,
)
from companion.parameters import count_parameters, map_parameters, move_parameters
from companion.positions import (
    add_positions,
    alibi_mask,
    alibi_slopes,
    rotate,
    rotate_back,
    sinusoidal_positions,
)
from companion.projections import bilinear_form, project, project_qkv
from companion.scores import scaled_scores, score_variance, score_variance_terms, soft_cap
from companion.softmax import hardmax, logsumexp, softmax, softmax_jacobian, weighted_values

__all__ = [
    "AttentionParameters",
    "BlockParameters",
    "EmbeddingParameters",
    "EncoderConfig",
    "EncoderParameters",
    "FeedForwardParameters",
    "GatedFeedForwardParameters",
    "NormParameters",
    "RunningExample",
    "SentenceEncoder",
    "SoftmaxState",
    "TrainedHeads",
    "TrainedSentence",
    "add_positions",
    "additive_mask",
    "alibi_mask",
    "alibi_slopes",
    "array_module",
    "array_namespace",
    "attend_heads",
    "bilinear_form",
    "build_vocabulary",
    "causal_mask",
    "combine_masks",
    "cost",
    "count_parameters",
    "devices",
    "embed",
    "embed_tokens",
    "empty_state",
    "feed_forward",
    "gated_feed_forward",
    "gelu",
    "hardmax",
    "head_contributions",
    "layer_norm",
    "load_checkpoint",
    "load_tokenizer",
    "load_trained_heads",
    "logsumexp",
    "loops",
    "map_parameters",
    "mask_scores",
    "mean_pool",
    "memory_trace",
    "merge_heads",
    "merge_states",
    "move_parameters",
    "multi_head_attention",
    "online_attention",
    "pack_batch",
    "pack_rows",
    "padding_mask",
    "parallel_map",
    "pitfalls",
    "project",
    "project_heads",
    "project_qkv",
    "random_normal",
    "relu",
    "rms_norm",
    "rotate",
    "rotate_back",
    "rounding",
    "running_example",
    "scaled_dot_product_attention",
    "scaled_scores",
    "score_variance",
    "score_variance_terms",
    "show",
    "silu",
    "sinusoidal_positions",
    "soft_cap",
    "softmax",
    "softmax_jacobian",
    "softmax_state",
    "split_heads",
    "split_packed_projection",
    "state_output",
    "tensor_table",
    "thread_count",
    "to_numpy",
    "token_ids",
    "token_states",
    "transformer_block",
    "transformer_stack",
    "unit_rows",
    "unpack_batch",
    "weighted_values",
    "window_mask",
]
__version__ = "0.1.0"
