"""Bad calls and what they are answered: the argument, what was expected, what came."""

import inspect
import re

import numpy as np
import pytest

import companion
from companion import loops
from companion import scaled_dot_product_attention as attend
from tests.support.homes import STRICT
from tests.support.tiny_language_model import tiny_parameters

X = np.ones((5, 6))
QUERY, KEY, VALUE = np.ones((2, 4, 5, 8)), np.ones((2, 2, 7, 8)), np.ones((2, 2, 7, 3))
IDS = np.asarray([0, 4, 2])
WHOLE = np.ones((2, 2), dtype=np.int64)
STATE = companion.softmax_state(X, X.T)
DECODER = tiny_parameters(np.float64)
VOCABULARY = {"the": 0, "cat": 1}


def sdpa(*arrays, **options):
    """Call the central function, with good arrays where none are given."""
    return attend(*(arrays or (QUERY, KEY, VALUE)), **options)


# (the bad call, the kind of error, a part of its message)
BAD_CALLS = [
    # gradients
    (
        lambda: companion.attention_backward(VALUE, QUERY, KEY, VALUE),
        ValueError,
        "d_output must have the shape of what the forward returned, (2, 4, 5, 3), got (2, 2, 7, 3)",
    ),
    (
        lambda: companion.attention_record(QUERY, KEY[..., :5], VALUE),
        ValueError,
        "key must be (..., H_kv, S, d_k=8)",
    ),
    (
        lambda: companion.scaled_scores_backward(X, X, X),
        ValueError,
        "d_scores must have the shape of what the forward returned, (5, 5), got (5, 6)",
    ),
    (
        lambda: companion.small_writer("tests/data", xp=np),
        FileNotFoundError,
        "must hold the file config.json, and does not",
    ),
    (lambda: companion.soft_cap_backward(X, X, -1.0), ValueError, "softcap must be finite"),
    (lambda: companion.soft_cap_backward(X[0], X, 1.0), ValueError, "returned, (5, 6), got (6,)"),
    (lambda: companion.softmax_backward(X, WHOLE), TypeError, "scores must have a real floating"),
    (
        lambda: companion.weighted_values_backward(X, X[:, :5], X[:4]),
        ValueError,
        "value must be (..., S=5, d_v)",
    ),
    (lambda: companion.project_backward(X, X, X), ValueError, "weight must be (..., d=6, d_out)"),
    (
        lambda: companion.embed_backward(X, IDS, X),
        ValueError,
        "d_output must have the shape of what the forward returned, (3, 6), got (5, 6)",
    ),
    (
        lambda: companion.embed_backward(X, X, X),
        TypeError,
        "ids must have an integer dtype, got float64",
    ),
    (lambda: companion.rotate_backward(X, X, np.arange(4)), ValueError, "must be (N=5,) to match"),
    (
        lambda: companion.cross_entropy_backward(X, X, np.arange(5)),
        ValueError,
        "d_loss must be a single number, got shape (5, 6)",
    ),
    (
        lambda: companion.state_logits_backward(X, np.ones((5, 20)), DECODER),
        ValueError,
        "d_logits must have the shape of what the forward returned, (5, 257), got (5, 6)",
    ),
    (
        lambda: companion.loss_and_gradients(IDS, IDS[:2], DECODER),
        ValueError,
        "targets must be (3,) like token_ids, got (2,)",
    ),
    # packing
    (lambda: companion.build_vocabulary("the cat"), TypeError, "got the one string 'the cat'"),
    (lambda: companion.build_vocabulary(["the", 3]), TypeError, "tokens must be strings, got int"),
    (lambda: companion.build_vocabulary([]), ValueError, "at least one token"),
    (lambda: companion.token_ids(["dog"], VOCABULARY), ValueError, "2 tokens, got ['dog']"),
    (lambda: companion.token_ids("the", VOCABULARY), TypeError, "sequence of strings"),
    (lambda: companion.embed(IDS, X[:4]), ValueError, "ids must be in 0 … 3 for a table of 4 rows"),
    (lambda: companion.embed(np.asarray([1, -1]), X), ValueError, "got -1"),
    (lambda: companion.embed(X, X), TypeError, "ids must have an integer dtype, got float64"),
    (lambda: companion.embed(IDS, WHOLE), TypeError, "table must have a real floating dtype"),
    (lambda: companion.embed(IDS, X[0]), ValueError, "table must be (V, d), got shape (6,)"),
    (lambda: companion.pack_rows([]), ValueError, "at least one vector"),
    (lambda: companion.pack_rows([X[0], X[:, 0]]), ValueError, "rows[1] must be a vector of shape"),
    (
        lambda: companion.pack_rows([X[0], STRICT.asarray(X[0])]),
        TypeError,
        "rows[1] must come from",
    ),
    (lambda: companion.sinusoidal_positions(-1, 4), ValueError, "length must not be negative"),
    (lambda: companion.sinusoidal_positions(3, 0), ValueError, "width must be at least 1, got 0"),
    (lambda: companion.sinusoidal_positions(3, 4, base=0), ValueError, "base must be positive"),
    (lambda: companion.add_positions(X, X[:4]), ValueError, "M at least N=5 to match x (5, 6)"),
    (lambda: companion.add_positions(X, X[:, :5]), ValueError, "positions must be (M, d=6)"),
    (lambda: companion.add_positions(X[0], X), ValueError, "x must be (..., N, d), got shape (6,)"),
    (lambda: companion.rotate(X, np.arange(4)), ValueError, "must be (N=5,) to match x (5, 6)"),
    (
        lambda: companion.rotate(QUERY, np.zeros((3, 5))),
        ValueError,
        "positions must be (N=5,) or (2, 5) to match x (2, 4, 5, 8), got (3, 5)",
    ),
    (lambda: companion.rotate(X[:, :5], np.arange(5)), ValueError, "with an even d_k, got shape"),
    (lambda: companion.rotate(X[0], np.arange(6)), ValueError, "x must be (..., N, d_k)"),
    (lambda: companion.rotate(X, IDS > 0), TypeError, "positions must have an integer dtype"),
    (lambda: companion.rotate(WHOLE, np.arange(2)), TypeError, "x must have a real floating"),
    (lambda: companion.rotate(X, np.arange(5), base=0), ValueError, "base must be positive"),
    (lambda: companion.rotate(X, np.arange(5), base=np.inf), ValueError, "and finite, got inf"),
    (lambda: companion.rotate(X, np.arange(5), pairing="both"), ValueError, "got 'both'"),
    (lambda: companion.rotate_back(X, np.arange(5), pairing=1), ValueError, "'interleaved', got 1"),
    (lambda: companion.alibi_slopes(0), ValueError, "heads must be at least 1, got 0"),
    (lambda: companion.alibi_mask(X, 2, 3), ValueError, "slopes must be (H,), got shape (5, 6)"),
    (lambda: companion.alibi_mask(X[0], 2, -3), ValueError, "keys must not be negative, got -3"),
    (lambda: companion.alibi_mask(IDS, 2, 3), TypeError, "slopes must have a real floating dtype"),
    (lambda: companion.pack_batch([]), ValueError, "at least one sequence"),
    (lambda: companion.pack_batch([X, X[:, :5]]), ValueError, "sequences[1] must be (N, d=6)"),
    (lambda: companion.pack_batch([X[0]]), ValueError, "sequences[0] must be (N, d=6)"),
    (lambda: companion.unpack_batch(X[None], X[None, :, 0]), TypeError, "must be boolean"),
    (lambda: companion.unpack_batch(X[None], X == 1), ValueError, "token_mask must be (B, N)"),
    # projections
    (lambda: companion.project(X, X), ValueError, "weight must be (..., d=6, d_out)"),
    (lambda: companion.project(X[0], X), ValueError, "x must be (..., N, d), got shape (6,)"),
    (lambda: companion.project(X, X.T, X[0]), ValueError, "bias of weight must have shape (5,)"),
    (lambda: companion.project(X, X.T.astype("f4")), TypeError, "weight must have the dtype of x"),
    (lambda: companion.project(X, [[1.0]]), TypeError, "weight must be an array"),
    (
        lambda: companion.project_qkv(X, X.T, X.T[:, :4], X.T),
        ValueError,
        "w_k must have as many columns as w_q, d_k=5, got shape (6, 4)",
    ),
    (lambda: companion.project_qkv(X, X.T, X, X.T), ValueError, "w_k must be (..., d=6, d_out)"),
    (lambda: companion.bilinear_form(X, X.T), ValueError, "w_k must be (..., d, d_k) like w_q"),
    # scores
    (lambda: companion.scaled_scores(X, X.T), ValueError, "key must be (..., S, d_k=6)"),
    (lambda: companion.scaled_scores(X[0], X), ValueError, "query must be (..., T, d_k)"),
    (lambda: companion.scaled_scores(X[:, :0], X[:, :0]), ValueError, "at least one column"),
    (lambda: companion.scaled_scores(X, X, scale="1"), TypeError, "scale must be a real number"),
    (lambda: companion.scaled_scores(X, X, scale=np.inf), ValueError, "scale must be finite"),
    (lambda: companion.soft_cap(X, -1.0), ValueError, "softcap must be finite and not negative"),
    (lambda: companion.soft_cap(X, True), TypeError, "softcap must be a real number"),
    (lambda: companion.soft_cap(WHOLE, 1.0), TypeError, "scores must have a real floating dtype"),
    (lambda: companion.score_variance_terms(X[:0], X), ValueError, "query must have at least one"),
    (lambda: companion.score_variance(0), ValueError, "d_k must be at least 1"),
    (lambda: companion.score_variance(4, key_variance=-1), ValueError, "key_variance must not"),
    # softmax
    (lambda: companion.softmax(WHOLE), TypeError, "scores must have a real floating dtype"),
    (lambda: companion.softmax(X, axis=2), ValueError, "axis must be one of the 2 axes of scores"),
    (lambda: companion.softmax(X, axis=None), ValueError, "got None"),
    (lambda: companion.hardmax(X, axis=-3), ValueError, "axis must be one of"),
    (lambda: companion.logsumexp(X[:, :0]), ValueError, "scores must not be empty along axis -1"),
    (lambda: companion.softmax_jacobian(np.asarray(1.0)), ValueError, "axis must be one of the 0"),
    (lambda: companion.weighted_values(X, X), ValueError, "value must be (..., S=6, d_v)"),
    (lambda: companion.weighted_values(X[0], X), ValueError, "weights must be (..., T, S)"),
    # masks
    (lambda: companion.causal_mask(2.0), TypeError, "queries must be an integer, got 2.0"),
    (lambda: companion.causal_mask(3, -1), ValueError, "must not be negative, got (3, -1)"),
    (lambda: companion.causal_mask(3, query_offset=0.5), TypeError, "query_offset must be"),
    (lambda: companion.causal_mask(3, query_offset=True), TypeError, "an integer, got True"),
    (lambda: companion.causal_mask(3, query_offset=X), TypeError, "an integer dtype, got float64"),
    (lambda: companion.window_mask(3, window=4), TypeError, "a pair (left, right) of integers"),
    (lambda: companion.window_mask(3, window=(1, 0.5)), TypeError, "window must be an integer"),
    (lambda: companion.window_mask(3, window=(1, -2)), ValueError, "at least -1, got (1, -2)"),
    (lambda: companion.padding_mask(X), TypeError, "token_mask must be boolean, got float64"),
    (lambda: companion.padding_mask(np.asarray(True)), ValueError, "token_mask must be (..., S)"),
    (lambda: companion.combine_masks(X == 1, X), TypeError, "masks[1] must be boolean"),
    (lambda: companion.combine_masks(X == 1, X.T == 1), ValueError, "shapes [(5, 6), (6, 5)]"),
    (lambda: companion.additive_mask(X, X.dtype), TypeError, "mask must be boolean"),
    (
        lambda: companion.additive_mask(X == 1, np.int64),
        TypeError,
        "dtype must have a real floating",
    ),
    (lambda: companion.mask_scores(X, WHOLE), TypeError, "mask must be boolean or real floating"),
    (lambda: companion.mask_scores(X, X.T == 1), ValueError, "broadcast to the scores (5, 6)"),
    # attention
    (lambda: sdpa(X[0], X, X), ValueError, "query must be (T, d_k) or (..., H, T, d_k), got (6,)"),
    (lambda: sdpa(X, X[:, :5], X), ValueError, "key must be (S, d_k=6) to match query (5, 6)"),
    (lambda: sdpa(QUERY, KEY[0, 0], VALUE), ValueError, "key must be (..., H_kv, S, d_k=8)"),
    (lambda: sdpa(QUERY, KEY, VALUE[:, :, :6]), ValueError, "value must be (..., H_kv, S=7, d_v)"),
    (lambda: sdpa(QUERY, KEY, VALUE[:, :1]), ValueError, "as many heads as key"),
    (lambda: sdpa(QUERY[:, :3], KEY, VALUE), ValueError, "H_kv that divides H=3"),
    (lambda: sdpa(QUERY, KEY[[0, 0, 0]], VALUE), ValueError, "batch shapes that broadcast"),
    (lambda: sdpa(QUERY, KEY.astype("f4"), VALUE), TypeError, "key must have the dtype of query"),
    (lambda: sdpa(WHOLE, WHOLE, WHOLE), TypeError, "query must have a real floating dtype"),
    (lambda: sdpa([[1.0]], X, X), TypeError, "query must be an array of an array library"),
    (lambda: sdpa(QUERY, KEY, VALUE, X), ValueError, "attn_mask must broadcast to the scores"),
    (lambda: sdpa(X, X, X, np.ones((2, 5, 5)) == 1), ValueError, "scores (5, 5), got (2, 5, 5)"),
    (lambda: sdpa(X, X, X, np.ones((5, 5), int)), TypeError, "attn_mask must be boolean or real"),
    (lambda: sdpa(is_causal="yes"), TypeError, "is_causal must be True or False, got 'yes'"),
    (lambda: sdpa(return_weights=None), TypeError, "return_weights must be True or False"),
    (lambda: sdpa(query_offset=1.0, is_causal=True), TypeError, "query_offset must be an integer"),
    (lambda: sdpa(query_offset=IDS), ValueError, "an integer array of the batch shape (2,)"),
    (lambda: sdpa(query_offset=X), TypeError, "query_offset must have an integer dtype"),
    (lambda: sdpa(window=(-2, 0)), ValueError, "window must hold bounds of at least -1"),
    (lambda: sdpa(window=3), TypeError, "window must be a pair (left, right)"),
    (lambda: sdpa(scale=np.nan), ValueError, "scale must be finite, got nan"),
    (lambda: sdpa(softcap=-0.1), ValueError, "softcap must be finite and not negative, got -0.1"),
    (lambda: sdpa(implementation="fast"), ValueError, "implementation must be one of"),
    (
        lambda: sdpa(implementation="tiled", return_weights=True),
        ValueError,
        "return_weights must be False with implementation='tiled'",
    ),
    (lambda: sdpa(threads=0), ValueError, "threads must be at least 1, got 0"),
    # threads
    (lambda: companion.thread_count(2.0), TypeError, "threads must be an integer or None"),
    (lambda: companion.parallel_map(len, [X], threads=0), ValueError, "at least 1, got 0"),
    # online softmax
    (lambda: companion.softmax_state(X[:, :0], X[:0]), ValueError, "S of at least 1, got (5, 0)"),
    (lambda: companion.softmax_state(X, X), ValueError, "value must be (..., S=6, d_v)"),
    (lambda: companion.empty_state(X), TypeError, "like must be a SoftmaxState, got ndarray"),
    (lambda: companion.state_output(X), TypeError, "state must be a SoftmaxState, got ndarray"),
    (lambda: companion.merge_states(STATE, X), TypeError, "second must be a SoftmaxState"),
    (
        lambda: companion.merge_states(STATE, companion.softmax_state(X[:2], X.T)),
        ValueError,
        "second must have the shape of first, (5, 5), got (2, 5)",
    ),
    (lambda: companion.online_attention(X, X[:0], X), ValueError, "S of at least 1, got (0, 6)"),
    (lambda: companion.online_attention(X, X, X[:4]), ValueError, "value must be (..., S=5, d_v)"),
    (
        lambda: companion.online_attention(X, X, X, block_size=0),
        ValueError,
        "block_size must be at least 1, got 0",
    ),
    (
        lambda: companion.online_attention(X, X, X, block_size=2.0),
        TypeError,
        "block_size must be an integer, got float",
    ),
    # pooling
    (lambda: companion.mean_pool(WHOLE), TypeError, "states must have a real floating dtype"),
    (lambda: companion.mean_pool(X[0]), ValueError, "states must be (..., N, d), got shape (6,)"),
    (lambda: companion.mean_pool(X, X[:, 0]), TypeError, "token_mask must be boolean, got float64"),
    (lambda: companion.mean_pool(X, X[0] == 1), ValueError, "token_mask must be (5,) to match"),
    (lambda: companion.unit_rows(WHOLE), TypeError, "x must have a real floating dtype"),
    (lambda: companion.unit_rows(np.asarray(1.0)), ValueError, "x must be (..., d), got shape ()"),
    # loops
    (lambda: loops.project_loop(X, X), ValueError, "weight must be (d=6, d_out)"),
    (lambda: loops.scores_loop(X, X.T), ValueError, "key must be (S, d_k=6)"),
    (lambda: loops.softmax_loop(X[0]), ValueError, "scores must be a matrix that is not empty"),
    (lambda: loops.weighted_values_loop(X, X), ValueError, "value must be (S=6, d_v)"),
    (lambda: loops.attention_loop(X, X, X[:4]), ValueError, "value must be (S=5, d_v)"),
    (lambda: loops.attention_loop(WHOLE, X, X), TypeError, "query must have a real floating"),
]


@pytest.mark.parametrize(
    ("call", "error", "part"), BAD_CALLS, ids=[part for _, _, part in BAD_CALLS]
)
def test_a_bad_call_is_told_what_is_wrong(call, error, part):
    with pytest.raises(error, match=re.escape(part)):
        call()


def test_every_public_function_of_one_head_is_in_the_table():
    tested_in_their_own_files = {"arrays", "trained_heads", "heads", "feed_forward", "norms"}
    tested_in_their_own_files |= {"block", "parameters", "checkpoint", "sentence_encoder"}
    tested_in_their_own_files |= {"embedding", "states", "glossary"}
    tested_in_their_own_files |= {
        "embedding",
        "states",
        "decoder",
        "loss",
        "sampling",
        "pretrained",
        "small_writer",
    }
    tested_in_their_own_files |= {"adamw", "initial", "loop", "model_folder", "schedule"}
    tested_in_their_own_files |= {"state", "step", "text", "vocabulary"}  # of the training
    cannot_go_wrong = {"running_example", "tiny_language_model"}  # a module, and a dtype
    called = {name for call, _, _ in BAD_CALLS for name in call.__code__.co_names}
    called |= {"scaled_dot_product_attention"} if "sdpa" in called else set()
    functions = {
        name
        for name in companion.__all__
        if inspect.isfunction(function := getattr(companion, name))
        and function.__module__.split(".")[-1] not in tested_in_their_own_files
    }
    assert functions - cannot_go_wrong <= called
