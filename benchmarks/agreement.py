"""Every array function of the library on the same inputs in two array modules.

The largest difference is held against a tolerance that follows from the sizes and the unit
roundoff, never from what was seen. It has one of three reasons:

- exact: data is moved, selected or compared, so every bit must agree;
- proved: each of the two is within the bound of the book of the exact result;
- counted: twice γ_k times the largest entry, for k roundings on the longest way from an input to
  the output. That is a rule and no proof, for functions whose conditioning is not bounded.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import array_api_compat as api
import numpy as np

import companion
from companion import rounding

N, D, HEADS, D_K, D_FF, LAYERS = 33, 24, 4, 6, 40, 2
EXP = rounding.EXPONENTIAL
# The longest way through each part, in roundings; a softmax's exponents lose some of their own.
PROJECTION = D + 1
SCORES = D_K + 2
SOFTMAX = N + 2 * EXP + 32
ATTENTION = 2 * PROJECTION + SCORES + SOFTMAX + N + HEADS * D_K + 1
NORM = 2 * D + 8
NETWORK = PROJECTION + 2 * EXP + D_FF + 1
BLOCK = ATTENTION + NETWORK + 2 * NORM + 2
ROTATION = 3 + EXP
DECODER = LAYERS * (BLOCK + 2 * ROTATION) + 1
LOGITS = NORM + PROJECTION
BACK = 4  # a way back goes the way there, and twice its length in products

ATTENTION_NAME = "scaled_dot_product_attention"

Call = Callable[[Any], Any]


@dataclass(frozen=True)
class Case:
    """One function on the inputs of :func:`inputs`.

    Attributes
    ----------
    call : callable
        From the inputs to an array, or a tuple or list of arrays.
    roundings : int
        On the longest way to the result; 0 if nothing is rounded.
    proved : bool
        Whether ``call`` of the inputs' absolute values bounds the sum of the summands' sizes, as
        for a product, so that the tolerance is a proved one.
    """

    call: Call
    roundings: int = 0
    proved: bool = False


def inputs(xp: Any, dtype_name: str, device: Any = None) -> SimpleNamespace:
    """Place the same numbers, drawn and rounded by NumPy, in an array module."""
    rng = np.random.default_rng(20)
    dtype = getattr(xp, dtype_name)

    def place(x: np.ndarray) -> Any:
        x = x.astype(dtype_name) if x.dtype.kind == "f" else x
        return xp.asarray(x, dtype=getattr(xp, str(x.dtype)), device=device)

    def normal(*shape: int) -> Any:
        return place(rng.standard_normal(shape))

    block = {"width": D, "heads": HEADS, "hidden": D_FF, "dtype": np.dtype(dtype_name)}
    blocks = [companion.BlockParameters.random(rng, **block, xp=np) for _ in range(LAYERS)]
    gated = companion.GatedFeedForwardParameters.random(rng, width=D, hidden=D_FF, xp=np)
    norm = companion.NormParameters(normal(D), normal(D))
    embedding = companion.EmbeddingParameters(normal(N, D), normal(N, D), normal(2, D), norm)
    blocks = [companion.map_parameters(place, b) for b in blocks]
    config = SimpleNamespace(eps=1e-12)
    visible = rng.random((N, N)) < 0.7
    return SimpleNamespace(
        xp=xp,
        dtype=dtype,
        x=normal(N, D),
        wide=normal(N, D_FF),
        weight=normal(D, D_K),
        other=normal(D, D_K),
        bias=normal(D_K),
        scale=normal(D),
        shift=normal(D),
        query=normal(HEADS, N, D_K),
        key=normal(HEADS, N, D_K),
        value=normal(HEADS, N, D_K),
        scores=normal(N, N),
        shares=place(rng.dirichlet(np.ones(N), N)),
        packed=normal(N, 3 * HEADS * D_K),
        ids=place(rng.integers(0, D, N)),
        visible=place(visible),
        is_token=place(np.arange(N) < [[N - 4], [N - 9]]),
        batch=normal(2, N, D),
        blocks=blocks,
        encoder=SimpleNamespace(config=config, embedding=embedding, blocks=tuple(blocks)),
        gated=companion.map_parameters(place, gated),
        language_model=companion.map_parameters(place, _language_model()),
    )


def _language_model() -> Any:
    """Draw a decoder whose vocabulary holds the ids."""
    rng = np.random.default_rng(21)
    config = companion.LanguageModelConfig(
        vocabulary_size=D_FF,
        layer_count=LAYERS,
        width=D,
        head_count=HEADS,
        key_value_head_count=HEADS // 2,
        head_dim=D_K,
        hidden_width=D_FF,
        context_length=N,
        rotary_base=100.0,
        eps=1e-5,
        tied=True,
    )
    tensors = {
        name: rng.standard_normal(shape) / shape[-1] ** 0.5
        for name, shape in companion.language_model_tensors(config).items()
    }
    return companion.LanguageModelParameters.from_tensors(config, tensors, xp=np, dtype=np.float64)


def _attend(i: SimpleNamespace, implementation: str) -> Any:
    return companion.scaled_dot_product_attention(
        i.query, i.key, i.value, is_causal=True, implementation=implementation
    )


def _half(i: SimpleNamespace, start: int) -> Any:
    return companion.softmax_state(i.scores[:, start : start + D_K], i.x[start : start + D_K, :])


def _tensors(tree: Any) -> tuple[Any, ...]:
    return tuple(companion.named_parameters(tree).values())


def _way_back(found: tuple[Any, ...]) -> tuple[Any, ...]:
    """List the gradient of the rows, and those of all weights, each bias's below its weight's.

    A bias is the weight of a row of ones, and one product makes both gradients: their roundings go
    by the size of the whole. That of the keys is 0 but for roundings, for no softmax sees it.
    """
    d_x, named = found[0], companion.named_parameters(found[1])
    xp = api.array_namespace(d_x)
    made = [d_x]
    for name, gradient in named.items():
        *above, last = name.split(".")
        bias = named.get(".".join([*above, last.replace("w_", "b_")]))
        if last.startswith("w_") and bias is not None:
            made.append(xp.concat([gradient, bias[..., None, :]], axis=-2))
        elif not last.startswith("b_"):
            made.append(gradient)
    return tuple(made)


def _text(i: SimpleNamespace) -> Any:
    """Make a batch of two short texts, of which one token is left out."""
    ids = i.xp.reshape(i.ids[..., :32], (2, -1))
    numbers = i.xp.arange(ids.shape[-1], device=api.device(ids))
    targets = i.xp.where(numbers == 7, -i.xp.ones_like(ids), ids)
    return companion.TextBatch(ids, targets, None)


def _stepped(i: SimpleNamespace) -> Any:
    p = i.gated
    moved, state = companion.adamw(p, p, learning_rate=0.1)
    return companion.adamw(moved, p, state, learning_rate=0.1)[0]


def _loss_of_a_text(i: SimpleNamespace) -> float:
    text = companion.TrainingText(companion.to_numpy(i.ids))
    return companion.text_loss(i.language_model, text, context=12)


c = companion
CASES: Mapping[str, Case] = {
    "accumulated_gradients": Case(
        lambda i: _tensors(c.accumulated_gradients([_text(i)], i.language_model, shards=2)[1]),
        BACK * (DECODER + LOGITS),
    ),
    "adamw": Case(lambda i: _tensors(_stepped(i)), 16),
    "add_positions": Case(lambda i: c.add_positions(i.x, i.x), 1),
    "additive_mask": Case(lambda i: c.additive_mask(i.visible, i.dtype)),
    "alibi_mask": Case(lambda i: c.alibi_mask(i.scale, N, N, query_offset=2), 1),
    "alibi_slopes": Case(lambda i: c.alibi_slopes(6, xp=i.xp, dtype=i.dtype)),
    "attend_heads": Case(
        lambda i: c.attend_heads(
            *c.project_heads(i.x, i.blocks[0].attention), i.blocks[0].attention, is_causal=True
        ),
        ATTENTION,
    ),
    "attention_backward": Case(
        lambda i: c.attention_backward(i.query, i.query, i.key, i.value, is_causal=True),
        BACK * ATTENTION,
    ),
    "attention_record": Case(
        lambda i: tuple(c.attention_record(i.query, i.key, i.value, is_causal=True)), ATTENTION
    ),
    "bilinear_form": Case(lambda i: c.bilinear_form(i.weight, i.other), D_K, proved=True),
    "causal_mask": Case(lambda i: c.causal_mask(N, query_offset=-2, xp=i.xp)),
    "clip_gradients": Case(lambda i: _tensors(c.clip_gradients(i.gated, 0.5)[0]), 3 * D * D_FF),
    "combine_masks": Case(lambda i: c.combine_masks(i.visible, i.visible.mT)),
    "cross_entropy": Case(lambda i: c.cross_entropy(i.scores, i.ids), SOFTMAX + N + 4),
    "cross_entropy_backward": Case(
        lambda i: c.cross_entropy_backward(1.0, i.scores, i.ids), SOFTMAX + 3
    ),
    "decoder_states": Case(lambda i: c.decoder_states(i.ids, i.language_model), DECODER),
    "embed": Case(lambda i: c.embed(i.ids, i.x[:D, :])),
    "embed_backward": Case(lambda i: c.embed_backward(i.x, i.ids, i.x[:D, :]), N),
    "embed_tokens": Case(lambda i: c.embed_tokens(i.ids, i.encoder.embedding), NORM + 2),
    "empty_state": Case(lambda i: c.empty_state(_half(i, 0))),
    "feed_forward": Case(lambda i: c.feed_forward(i.x, i.blocks[0].feed_forward), NETWORK),
    "feed_forward_backward": Case(
        lambda i: _way_back(c.feed_forward_backward(i.x, i.x, i.blocks[0].feed_forward)),
        BACK * NETWORK,
    ),
    "gated_feed_forward": Case(lambda i: c.gated_feed_forward(i.x, i.gated), NETWORK + D),
    "gated_feed_forward_backward": Case(
        lambda i: _way_back(c.gated_feed_forward_backward(i.x, i.x, i.gated)), BACK * NETWORK
    ),
    "gelu": Case(lambda i: (c.gelu(i.x), c.gelu(i.x, approximate="tanh")), 8 * EXP),
    "gelu_backward": Case(
        lambda i: (
            c.gelu_backward(i.x, i.x),
            c.gelu_backward(i.x, i.x, approximate="tanh"),
        ),
        16 * EXP,
    ),
    "hardmax": Case(lambda i: c.hardmax(i.scores), 1),
    "head_contributions": Case(
        lambda i: c.head_contributions(i.x, i.blocks[0].attention), ATTENTION
    ),
    "layer_norm": Case(lambda i: c.layer_norm(i.x, i.scale, i.shift), NORM),
    "layer_norm_backward": Case(
        lambda i: c.layer_norm_backward(i.x, i.x, i.scale, i.shift), BACK * NORM + N
    ),
    "logsumexp": Case(lambda i: c.logsumexp(i.scores), SOFTMAX),
    "loss_and_gradients": Case(
        lambda i: _tensors(c.loss_and_gradients(i.ids, i.ids, i.language_model)[1]),
        BACK * (DECODER + LOGITS),
    ),
    "mask_scores": Case(lambda i: c.mask_scores(i.scores, i.visible)),
    "mean_pool": Case(lambda i: c.mean_pool(i.batch, i.is_token), N + 1),
    "merge_heads": Case(lambda i: c.merge_heads(i.query)),
    "merge_states": Case(lambda i: c.merge_states(_half(i, 0), _half(i, D_K)), SOFTMAX + N),
    "multi_head_attention": Case(
        lambda i: c.multi_head_attention(i.x, i.blocks[0].attention, is_causal=True), ATTENTION
    ),
    "multi_head_attention_backward": Case(
        lambda i: _way_back(
            c.multi_head_attention_backward(i.x, i.x, i.blocks[0].attention, is_causal=True)
        ),
        BACK * ATTENTION,
    ),
    "online_attention": Case(
        lambda i: c.online_attention(i.query, i.key, i.value, i.visible, block_size=8),
        ATTENTION + N * EXP,
    ),
    "pack_batch": Case(lambda i: c.pack_batch([i.x, i.x[:9, :]])),
    "pack_rows": Case(lambda i: c.pack_rows([i.x[k, :] for k in range(5)])),
    "padding_mask": Case(lambda i: c.padding_mask(i.is_token)),
    "perplexity": Case(lambda i: c.perplexity(i.scores, i.ids), SOFTMAX + N + 4 + EXP),
    "project": Case(lambda i: c.project(i.x, i.weight, i.bias), PROJECTION, proved=True),
    "project_backward": Case(
        lambda i: c.project_backward(i.packed[:, :D_K], i.x, i.weight, i.bias),
        PROJECTION + N,
    ),
    "project_heads": Case(
        lambda i: c.project_heads(i.x, i.blocks[0].attention), PROJECTION, proved=True
    ),
    "project_qkv": Case(
        lambda i: c.project_qkv(i.x, i.weight, i.other, i.weight), PROJECTION, proved=True
    ),
    "relu": Case(lambda i: c.relu(i.x)),
    "relu_backward": Case(lambda i: c.relu_backward(i.x, i.x)),
    "rms_norm": Case(lambda i: c.rms_norm(i.x, i.scale), NORM),
    "rms_norm_backward": Case(lambda i: c.rms_norm_backward(i.x, i.x, i.scale), BACK * NORM + N),
    ATTENTION_NAME: Case(lambda i: _attend(i, "textbook"), ATTENTION),
    f"{ATTENTION_NAME} (tiled)": Case(lambda i: _attend(i, "tiled"), ATTENTION),
    "rotate": Case(lambda i: c.rotate(i.query, i.ids), ROTATION),
    "rotate_back": Case(lambda i: c.rotate_back(i.query, i.ids, pairing="interleaved"), ROTATION),
    "rotate_backward": Case(lambda i: c.rotate_backward(i.key, i.query, i.ids), ROTATION),
    "scaled_scores": Case(lambda i: c.scaled_scores(i.query, i.key), SCORES, proved=True),
    "scaled_scores_backward": Case(
        lambda i: c.scaled_scores_backward(i.scores, i.x, i.x), BACK * N
    ),
    "score_variance_terms": Case(lambda i: c.score_variance_terms(i.x, i.x), 4 * N),
    "silu": Case(lambda i: c.silu(i.x), 4 * EXP),
    "silu_backward": Case(lambda i: c.silu_backward(i.x, i.x), 8 * EXP),
    "sinusoidal_positions": Case(
        lambda i: c.sinusoidal_positions(N, D, xp=i.xp, dtype=i.dtype), 4 * N
    ),
    "soft_cap": Case(lambda i: c.soft_cap(i.scores, 2.0), 2 * EXP),
    "soft_cap_backward": Case(lambda i: c.soft_cap_backward(i.scores, i.scores, 2.0), 4 * EXP),
    "softmax": Case(lambda i: c.softmax(i.scores), SOFTMAX),
    "softmax_backward": Case(lambda i: c.softmax_backward(i.shares, i.scores), BACK * SOFTMAX),
    "softmax_state": Case(lambda i: _half(i, 0), SOFTMAX + N),
    "state_logits": Case(lambda i: c.state_logits(i.x, i.language_model), LOGITS),
    "state_logits_backward": Case(
        lambda i: c.state_logits_backward(i.wide, i.x, i.language_model),
        BACK * LOGITS + N + D_FF,
    ),
    "state_output": Case(lambda i: c.state_output(_half(i, 0)), SOFTMAX + N + 1),
    "softmax_jacobian": Case(lambda i: c.softmax_jacobian(i.shares), 3),
    "split_heads": Case(lambda i: c.split_heads(i.packed, 3)),
    "split_packed_projection": Case(
        lambda i: c.split_packed_projection(i.packed, heads=HEADS, d_k=D_K)
    ),
    "text_loss": Case(lambda i: i.xp.asarray(_loss_of_a_text(i), dtype=i.dtype), DECODER + LOGITS),
    "token_states": Case(lambda i: c.token_states(i.ids, i.encoder), NORM + 2 + LAYERS * BLOCK),
    "transformer_block": Case(lambda i: c.transformer_block(i.x, i.blocks[0]), BLOCK),
    "transformer_block_backward": Case(
        lambda i: _way_back(c.transformer_block_backward(i.x, i.x, i.blocks[0])), BACK * BLOCK
    ),
    "transformer_stack": Case(lambda i: c.transformer_stack(i.x, i.blocks), LAYERS * BLOCK),
    "transformer_stack_backward": Case(
        lambda i: _way_back(c.transformer_stack_backward(i.x, i.x, i.blocks)),
        BACK * LAYERS * BLOCK,
    ),
    "unit_rows": Case(lambda i: c.unit_rows(i.x), D + 4),
    "unpack_batch": Case(lambda i: c.unpack_batch(i.batch, i.is_token)),
    "weighted_values": Case(lambda i: c.weighted_values(i.shares, i.x), N, proved=True),
    "weighted_values_backward": Case(
        lambda i: c.weighted_values_backward(i.x, i.shares, i.x), D + N
    ),
    "window_mask": Case(lambda i: c.window_mask(N, window=(3, 1), xp=i.xp)),
}
# Public functions that compute no array from arrays, and so cannot differ between devices.
NOT_COMPARED = frozenset(
    {
        "array_module",
        "array_namespace",
        "begin_training",
        "build_vocabulary",
        "count_parameters",
        "glossary_entries",
        "initial_language_model",  # drawn on the host
        "is_decayed",
        "language_model_tensors",
        "load_checkpoint",
        "load_language_model",
        "load_tokenizer",
        "load_trained_heads",
        "load_training",
        "map_parameters",
        "move_parameters",
        "named_parameters",
        "pack_documents",
        "published_model_path",
        "next_token_probabilities",  # on the host, whatever the logits are
        "parallel_map",
        "random_normal",
        "running_example",
        "sample_tokens",
        "save_language_model",
        "save_training",
        "score_variance",
        "show",
        "small_writer",
        "split_text",
        "tensor_table",
        "text_batch",  # on the host
        "thread_count",
        "tiny_language_model",
        "to_numpy",
        "token_ids",
        "train",  # many steps, each of which is compared
        "train_tokenizer",
        "warmup_cosine",
    }
)


def compare(
    ours: Any,
    theirs: Any,
    dtype_name: str,
    *,
    device: Any = None,
    cases: Mapping[str, Case] = CASES,
) -> Iterator[dict[str, Any]]:
    """Yield for every case what differs between two array modules, and by how much it may.

    Parameters
    ----------
    ours, theirs : module
        The first is NumPy, in which the tolerances are computed.
    dtype_name : {"float32", "float64"}
    device : optional
        Where the second module's arrays go.
    cases : mapping of str to Case
    """
    here, there = inputs(ours, dtype_name), inputs(theirs, dtype_name, device)
    for name, case in cases.items():
        left, right = _arrays(case.call(here)), _arrays(case.call(there))
        found = [_difference(a, b) for a, b in zip(left, right, strict=True)]
        allowed = tolerances(name, case, here, left, dtype_name)
        # The pair that comes nearest to its tolerance speaks for the function.
        share = [_share(d, t) for d, t in zip(found, allowed, strict=True)]
        worst = int(np.argmax(share))
        yield {
            "function": name,
            "dtype": dtype_name,
            "reason": reason(name, case),
            "difference": found[worst],
            "tolerance": allowed[worst],
            "agrees": share[worst] <= 1,
        }


def reason(name: str, case: Case) -> str:
    """Say why a tolerance is what it is: exact, proved or counted."""
    if case.roundings == 0:
        return "exact"
    return "proved" if case.proved or name == ATTENTION_NAME else "counted"


def tolerances(
    name: str, case: Case, here: SimpleNamespace, results: list[np.ndarray], dtype_name: str
) -> list[float]:
    """Return for every result how far two devices may be apart."""
    unit = rounding.unit_roundoff(dtype_name)
    if name == ATTENTION_NAME:
        bound = rounding.attention_error_bound(
            here.query, here.key, here.value, unit=unit, is_causal=True
        )
        return [2 * float(np.max(bound))]
    if case.proved:
        floats = {n: v for n, v in vars(here).items() if isinstance(v, np.ndarray)}
        sizes = {n: np.abs(v) for n, v in floats.items() if v.dtype.kind == "f"}
        results = _arrays(case.call(SimpleNamespace(**(vars(here) | sizes))))
    factor = 2 * rounding.gamma(case.roundings, unit)
    return [factor * _largest(result) for result in results]


def _arrays(result: Any) -> list[np.ndarray]:
    parts = result if isinstance(result, tuple | list) else [result]
    return [companion.to_numpy(part) for part in parts]


def _largest(x: np.ndarray) -> float:
    x = np.abs(x.astype(np.float64))
    return float(np.max(x[np.isfinite(x)], initial=0.0))


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference; infinite where kinds, shapes or non-finite entries differ."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return float("inf")
    a, b = a.astype(np.float64), b.astype(np.float64)
    known = np.isfinite(a)
    if not np.array_equal(a[~known], b[~known], equal_nan=True) or not np.isfinite(b[known]).all():
        return float("inf")
    return float(np.max(np.abs(a[known] - b[known]), initial=0.0))


def _share(difference: float, tolerance: float) -> float:
    if difference == 0:
        return 0.0
    return difference / tolerance if tolerance > 0 else float("inf")
