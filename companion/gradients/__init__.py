"""Every forward's way back, derived by hand: gradients in the order of the chapters.

A backward function is called as its forward with ``_backward`` behind the name. It takes the
gradient with respect to what the forward returned, then exactly what the forward took, and returns
the gradients with respect to that, each with the shape and the dtype of what it belongs to.

They are right for numbers of ordinary size, in every dtype, layout and library that the forward
takes; near the ends of a dtype's range, and for what is not finite, they promise no more than
ordinary arithmetic gives.
"""

from companion.gradients.attention import AttentionRecord, attention_backward, attention_record
from companion.gradients.block import transformer_block_backward, transformer_stack_backward
from companion.gradients.feed_forward import (
    feed_forward_backward,
    gated_feed_forward_backward,
    gelu_backward,
    relu_backward,
    silu_backward,
)
from companion.gradients.heads import multi_head_attention_backward
from companion.gradients.language_model import (
    cross_entropy_backward,
    loss_and_gradients,
    rotate_backward,
    state_logits_backward,
)
from companion.gradients.norms import layer_norm_backward, rms_norm_backward
from companion.gradients.projections import embed_backward, project_backward
from companion.gradients.softmax import (
    scaled_scores_backward,
    soft_cap_backward,
    softmax_backward,
    weighted_values_backward,
)

__all__ = [
    "AttentionRecord",
    "attention_backward",
    "attention_record",
    "cross_entropy_backward",
    "embed_backward",
    "feed_forward_backward",
    "gated_feed_forward_backward",
    "gelu_backward",
    "layer_norm_backward",
    "loss_and_gradients",
    "multi_head_attention_backward",
    "project_backward",
    "relu_backward",
    "rms_norm_backward",
    "rotate_backward",
    "scaled_scores_backward",
    "silu_backward",
    "soft_cap_backward",
    "softmax_backward",
    "state_logits_backward",
    "transformer_block_backward",
    "transformer_stack_backward",
    "weighted_values_backward",
]
