"""Broken on purpose: each function looks right, gives what looks right, and is wrong somewhere.

A chapter shows what gives each one away, and a test asserts that it does. Nothing else in the
library uses them.
"""

from companion.pitfalls.block import (
    block_with_residual_around_the_norm,
    gelu_without_root_two,
    layer_norm_over_tokens,
    layer_norm_unbiased,
    linear_feed_forward,
    merge_heads_by_reshape,
    split_heads_by_reshape,
    stack_with_one_feed_forward,
)
from companion.pitfalls.encoder import attention_as_stored, embed_tokens_without_norm
from companion.pitfalls.fast import (
    attention_averaged_over_blocks,
    attention_bounded_by_all_keys,
    attention_windowed_by_mask,
    embed_with_wrapped_ids,
    least_time_by_flops,
    merge_without_rescaling,
    scores_scaled_by_numpy,
    softmax_through_the_host,
    time_of_first_call,
)
from companion.pitfalls.one_head import (
    additive_mask_times_infinity,
    attention_masked_after_softmax,
    attention_with_leaking_zeros,
    attention_with_off_by_one_mask,
    embed_without_check,
    mean_over_padding,
    pack_rows_as_columns,
    project_with_transposed_weight,
    scores_by_reshape,
    scores_divided_by_d_k,
    scores_scaled_by_model_width,
    scores_with_one_shared_matrix,
    softmax_over_queries,
    softmax_shifted_by_global_maximum,
    softmax_without_shift,
    split_qkv_in_wrong_order,
)

__all__ = [
    "additive_mask_times_infinity",
    "attention_as_stored",
    "attention_averaged_over_blocks",
    "attention_bounded_by_all_keys",
    "attention_masked_after_softmax",
    "attention_windowed_by_mask",
    "attention_with_leaking_zeros",
    "attention_with_off_by_one_mask",
    "block_with_residual_around_the_norm",
    "embed_tokens_without_norm",
    "embed_with_wrapped_ids",
    "embed_without_check",
    "gelu_without_root_two",
    "layer_norm_over_tokens",
    "layer_norm_unbiased",
    "least_time_by_flops",
    "linear_feed_forward",
    "mean_over_padding",
    "merge_heads_by_reshape",
    "merge_without_rescaling",
    "pack_rows_as_columns",
    "project_with_transposed_weight",
    "scores_by_reshape",
    "scores_divided_by_d_k",
    "scores_scaled_by_model_width",
    "scores_scaled_by_numpy",
    "scores_with_one_shared_matrix",
    "softmax_over_queries",
    "softmax_shifted_by_global_maximum",
    "softmax_through_the_host",
    "softmax_without_shift",
    "split_heads_by_reshape",
    "split_qkv_in_wrong_order",
    "stack_with_one_feed_forward",
    "time_of_first_call",
]
