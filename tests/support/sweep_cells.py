"""The cells of the sweep: which call meets which numbers and arrays, where an error is right."""

import array_api_compat.numpy as xnp
import array_api_strict
import jax.numpy as jnp
import ml_dtypes
import numpy as np

import companion
from benchmarks import agreement
from companion import gradients

DTYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
SIZES = ("ordinary", "largest", "smallest", "subnormal", "zero", "infinite", "nan")
LAYOUTS = ("native", "swapped", "read-only", "strided")
KINDS = ("empty", "masked", "matrix", "integer", "boolean", "object")
LIBRARIES = {"numpy": xnp, "strict": array_api_strict, "jax": jnp}
# The number of largest floats that are multiplied on the way, where it is not 1.
MULTIPLIED = dict.fromkeys(
    [
        "attend_heads",
        "head_contributions",
        "multi_head_attention",
        "online_attention",
        "scaled_scores",
        "scaled_dot_product_attention",
        "transformer_block",
        "transformer_stack",
        "gated_feed_forward",
        "bilinear_form",
        "project",
        "project_heads",
        "project_qkv",
        "softmax_jacobian",
        "weighted_values",
        "scaled_dot_product_attention (tiled)",
    ],
    2,
) | {"score_variance_terms": 4, "attention_backward": 4}
# Functions of single numbers, or of rows brought to one size: each entry is right by itself.
ELEMENTWISE = ["gelu", "silu", "soft_cap", "relu", "unit_rows", "rms_norm"]
# What passes between the parts of these is rounded to the arguments' dtype, and a softmax of scores
# far from 0 turns on a digit that 16 bits do not hold.
COMPOSED = [
    "attend_heads",
    "head_contributions",
    "multi_head_attention",
    "transformer_block",
    "transformer_stack",
    "transformer_block_backward",
    "transformer_stack_backward",
    "accumulated_gradients",
    "loss_and_gradients",
]
# The smallest numbers become ordinary ones in their norms. Where those numbers are subnormal on the
# way, JAX makes them 0, and another row comes out.
NORMED = ["transformer_block", "transformer_stack"]
LONG = [
    "decoder_states",
    "feed_forward",
    "gated_feed_forward",
    "token_states",
    "embed_tokens",
    "score_variance_terms",
]
STATES = ["softmax_state", "merge_states", "empty_state", "state_output", "attention_record"]
# A way back, and a step of training, is right where numbers are of ordinary size. At the ends of
# the range and beyond it promises no more than ordinary arithmetic gives: a slope is a product of
# what went in and what came out, and leaves the range long before either does. Those cells are left
# out, but for the ways back that are right there all the same, so that they stay so. (Parameters
# are of ordinary size in every cell: what takes them alone would meet the same numbers again.)
EXTREME = ("largest", "smallest", "subnormal", "infinite", "nan")
DERIVATIVES = {
    *gradients.__all__,
    *("accumulated_gradients", "adamw", "clip_gradients", "text_loss"),
} - {"attention_backward", "rotate_backward", "silu_backward", "softmax_backward"}
# Made of other ways back, each of which meets JAX here. Of these it would compile hundreds of small
# products one by one, for seconds each.
MADE_OF_PARTS = {
    "accumulated_gradients",
    "feed_forward_backward",
    "gated_feed_forward_backward",
    "loss_and_gradients",
    "multi_head_attention_backward",
    "text_loss",
    "transformer_block_backward",
    "transformer_stack_backward",
}
EXTRA = {
    "map_parameters": agreement.Case(
        lambda i: companion.map_parameters(lambda a: 2 * a, companion.NormParameters(i.bias)).weight
    ),
    "move_parameters": agreement.Case(
        lambda i: companion.move_parameters(companion.NormParameters(i.bias), i.xp).weight
    ),
    "to_numpy": agreement.Case(lambda i: i.x),  # what every cell ends with
    "soft_cap (small)": agreement.Case(lambda i: companion.soft_cap(i.scores, 1e-300), 32),
    "soft_cap (large)": agreement.Case(lambda i: companion.soft_cap(i.scores, 1e39), 32),
    "logsumexp (columns)": agreement.Case(
        lambda i: companion.logsumexp(i.scores, axis=0), agreement.SOFTMAX
    ),
    "layer_norm (no eps)": agreement.Case(
        lambda i: companion.layer_norm(i.x, i.scale, eps=0), agreement.NORM
    ),
    "rms_norm (no eps)": agreement.Case(
        lambda i: companion.rms_norm(i.x, i.scale, eps=0), agreement.NORM
    ),
    "mean_pool (all)": agreement.Case(lambda i: companion.mean_pool(i.batch), agreement.N + 1),
}
CASES = dict(agreement.CASES) | EXTRA
# Public functions that take no arrays of numbers.
NO_ARRAYS = agreement.NOT_COMPARED - set(EXTRA) - {"array_namespace", "show"}
EVERYWHERE = {"array_namespace", "show"}  # the first is called by all, the second by a test below
ANY_DTYPE = [
    "merge_heads",
    "pack_batch",
    "pack_rows",
    "split_heads",
    "split_packed_projection",
    "to_numpy",
    "unpack_batch",
]
NO_DATA = [
    "accumulated_gradients",
    "adamw",
    "additive_mask",
    "alibi_slopes",
    "causal_mask",
    "clip_gradients",
    "combine_masks",
    "decoder_states",
    "embed_tokens",
    "loss_and_gradients",
    "padding_mask",
    "sinusoidal_positions",
    "text_loss",
    "token_states",
    "window_mask",
]
NO_MATRIX = [  # but arrays of one axis, or of three
    "alibi_mask",
    "attention_backward",
    "attention_record",
    "map_parameters",
    "mean_pool (all)",
    "merge_heads",
    "move_parameters",
    "scaled_dot_product_attention",
    "scaled_dot_product_attention (tiled)",
    "scaled_scores",
]
NO_ARGUMENT = [  # or parameters alone, whose own classes refuse what is no floating array
    "adamw",
    "alibi_slopes",
    "causal_mask",
    "clip_gradients",
    "sinusoidal_positions",
    "window_mask",
]
# The calls of these cut more rows out than an empty array has, which array-api-strict refuses.
CUT = [
    "accumulated_gradients",
    "embed",
    "embed_backward",
    "empty_state",
    "merge_states",
    "pack_batch",
    "softmax_state",
    "state_output",
]
NO_ARRAY = (TypeError, "must be an array of an array library")
NOT_FLOATING = (TypeError, "must have a real floating dtype")
NO_ERFC = (TypeError, "must be a NumPy, CuPy, PyTorch or JAX array")
# Where an error is the right answer beside those of a kind: by function and kind.
ERRORS = {
    **dict.fromkeys(
        [
            (name, "strict")
            for name in [
                "gelu",
                "gelu_backward",
                "feed_forward",
                "feed_forward_backward",
                "token_states",
                "transformer_block",
                "transformer_block_backward",
                "transformer_stack",
                "transformer_stack_backward",
            ]
        ],
        NO_ERFC,
    ),
    **{
        (name, "empty"): (ValueError, part)
        for names, part in (
            ("logsumexp", "must not be empty along axis"),
            ("empty_state merge_states softmax_state state_output", "S of at least 1"),
            ("online_attention", "key must be (..., S, d_k) with S of at least 1"),
            ("score_variance_terms", "query must have at least one row"),
            (
                "accumulated_gradients decoder_states loss_and_gradients",
                "token_ids must be (..., N) with N at least 1",
            ),
            (
                "cross_entropy cross_entropy_backward perplexity",
                "targets must hold one of at least 0",
            ),
            ("text_loss", "text must have at least 2 tokens"),
        )
        for name in names.split()
    },
}


def expected_error(name, kind):
    """Return the (exception, part of its message) that a cell must end in, None for a result."""
    plain = name.split(" ")[0]
    if (plain, kind) in ERRORS:
        return ERRORS[plain, kind]
    if kind in ("masked", "matrix"):
        spared = plain in NO_ARGUMENT or (kind == "matrix" and name in NO_MATRIX)
        return None if spared else NO_ARRAY
    if kind in ("integer", "boolean", "object") and plain not in (*ANY_DTYPE, *NO_DATA):
        return NOT_FLOATING
    return None


def cells(name):
    """Yield (dtype, size, kind, library): all pairs of a dtype with a size, the others in turn."""
    turn = sorted(CASES).index(name)
    sizes = [s for s in SIZES if s not in EXTREME] if name in DERIVATIVES else SIZES
    for n, (dtype, size) in enumerate((d, s) for d in DTYPES for s in sizes):
        yield dtype, size, LAYOUTS[(turn + n + n // len(sizes)) % len(LAYOUTS)], "numpy"
        if dtype.startswith("float") and dtype != "float16" and (turn + n) % 2:
            yield dtype, size, "native", "strict"
        if (n - 5 * turn) % (len(DTYPES) * len(sizes)) == 0 and name not in MADE_OF_PARTS:
            yield dtype, size, "native", "jax"
    for n, kind in enumerate((*KINDS, "ids")):
        if name == "pack_rows" and kind == "empty":
            continue  # its rows are taken by number
        yield list(DTYPES)[(turn + n) % len(DTYPES)], "ordinary", kind, "numpy"
        if kind in ("integer", "boolean", "ids") or (kind == "empty" and name not in CUT):
            yield ("float32", "float64")[turn % 2], "ordinary", kind, "strict"
