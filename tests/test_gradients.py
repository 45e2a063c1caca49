"""Every backward function: against finite differences, against JAX, and by what must hold."""

import math
import tracemalloc
from dataclasses import fields, is_dataclass

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion import gradients, map_parameters
from companion import scaled_dot_product_attention as attend
from companion.kernels import backward, exponential
from tests.support.exactness import draw, problems, root_mean_square
from tests.support.homes import STRICT

jax.config.update("jax_enable_x64", True)


@pytest.fixture(scope="module", autouse=True)
def jax_compiles_quickly():
    """Leave out what makes JAX fast, not right: here it is the measure, and each call runs once.

    What it compiled so goes in the end, as other tests ask how JAX runs the library.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()


RNG = np.random.default_rng(7)


def normal(*shape):
    return RNG.standard_normal(shape)


def shaken(parameters):
    """Give biases and norms numbers that are not neutral."""
    return map_parameters(lambda a: a + 0.3 * normal(*a.shape), parameters)


def block(**options):
    sizes = {"width": 6, "heads": 4, "kv_heads": 2, "d_k": 3, "d_v": 4, "hidden": 10}
    return shaken(companion.BlockParameters.random(RNG, **sizes, **options))


X = normal(3, 5, 6)
CONTEXT = normal(3, 7, 6)
PLAIN, GATED, BARE = block(), block(gated=True), block(bias=False)
IDS = np.asarray([[3, 0, 3], [8, 3, 1]])
SEEN = np.tri(5, 7, k=-1, dtype=bool)  # the first row sees nothing
FLOAT_MASK = np.where(RNG.random((4, 5, 7)) < 0.7, normal(4, 5, 7), -np.inf)
QKV = normal(2, 4, 5, 3), normal(2, 2, 7, 3), normal(2, 2, 7, 4)
FINAL = shaken(companion.NormParameters.neutral(6))
SCORES = np.where(np.tri(5, 6, k=-1, dtype=bool), normal(3, 5, 6), -np.inf)

# name: (the function, its arguments, its options, how many arguments get a gradient)
CASES = {
    "embed": (companion.embed, (IDS, normal(9, 4)), {}, (1,)),
    "project": (companion.project, (X, normal(6, 4)), {}, (0, 1)),
    "project, heads and biases": (
        companion.project,
        (X[:, None], normal(2, 6, 4), normal(2, 4)),
        {},
        (0, 1, 2),
    ),
    "scaled_scores": (companion.scaled_scores, (X, normal(7, 6)), {}, (0, 1)),
    "scaled_scores, scale": (companion.scaled_scores, (X, X), {"scale": -2.0}, (0, 1)),
    "soft_cap": (companion.soft_cap, (4 * X, 2.0), {}, (0,)),
    "softmax": (companion.softmax, (SCORES,), {}, (0,)),
    "softmax, another axis": (companion.softmax, (X,), {"axis": -2}, (0,)),
    "weighted_values": (companion.weighted_values, (X, normal(6, 4)), {}, (0, 1)),
    "gelu": (companion.gelu, (3 * X,), {}, (0,)),
    "gelu, tanh": (companion.gelu, (3 * X,), {"approximate": "tanh"}, (0,)),
    "silu": (companion.silu, (3 * X,), {}, (0,)),
    "relu": (companion.relu, (X,), {}, (0,)),
    "layer_norm": (companion.layer_norm, (X, normal(6), normal(6)), {"eps": 0.1}, (0, 1, 2)),
    "layer_norm, no bias": (companion.layer_norm, (X, normal(6)), {}, (0, 1)),
    "rms_norm": (companion.rms_norm, (X, normal(6)), {"eps": 0.1}, (0, 1)),
    "feed_forward": (companion.feed_forward, (X, PLAIN.feed_forward), {}, (0, 1)),
    "feed_forward, silu": (
        companion.feed_forward,
        (X, BARE.feed_forward),
        {"activation": companion.silu},
        (0, 1),
    ),
    "gated_feed_forward": (companion.gated_feed_forward, (X, GATED.feed_forward), {}, (0, 1)),
    "multi_head_attention": (
        companion.multi_head_attention,
        (X, PLAIN.attention),
        {"is_causal": True},
        (0, 1),
    ),
    "transformer_block": (companion.transformer_block, (X, PLAIN), {"is_causal": True}, (0, 1)),
    "transformer_block, pre": (companion.transformer_block, (X, GATED), {"norm": "pre"}, (0, 1)),
    "transformer_block, bare": (companion.transformer_block, (X, BARE), {}, (0, 1)),
}
BACKWARD = {
    getattr(companion, name.removesuffix("_backward")): getattr(gradients, name)
    for name in gradients.__all__
    if name.endswith("_backward") and hasattr(companion, name.removesuffix("_backward"))
}


def leaves(tree):
    """List the arrays of an array, a parameter class, or a tuple of such."""
    if tree is None:
        return []
    if isinstance(tree, (tuple, list)):
        return [leaf for part in tree for leaf in leaves(part)]
    if is_dataclass(tree):
        return [leaf for field in fields(tree) for leaf in leaves(getattr(tree, field.name))]
    return [np.asarray(tree)]


def to_jax(tree):
    if isinstance(tree, np.ndarray):
        return jnp.asarray(tree)
    return map_parameters(jnp.asarray, tree) if is_dataclass(tree) else tree


def by_jax(function, arguments, options, which, d_output):
    """Pull a gradient back by JAX through our own forward."""
    fixed = [to_jax(argument) for argument in arguments]

    def forward(*some):
        given = list(fixed)
        for place, argument in zip(which, some, strict=True):
            given[place] = argument
        return function(*given, **options)

    _, pull = jax.vjp(forward, *(fixed[place] for place in which))
    return pull(jnp.asarray(d_output))


def test_every_forward_of_a_backward_function_is_tried():
    named = {name for name in gradients.__all__ if name.endswith("_backward")}
    special = {"attention_backward", "transformer_stack_backward"}
    special |= {"rotate_backward", "cross_entropy_backward", "state_logits_backward"}
    tried = {BACKWARD[function].__name__ for function, *_ in CASES.values()}
    assert tried == named - special


@pytest.mark.claim("thm-product-backward")
@pytest.mark.claim("thm-softmax-backward")
@pytest.mark.claim("prop-use-sums")
@pytest.mark.claim("prop-entry-backward")
@pytest.mark.claim("prop-norm-backward")
@pytest.mark.parametrize("name", CASES)
def test_it_is_what_jax_pulls_back(name):
    function, arguments, options, which = CASES[name]
    output = function(*arguments, **options)
    d_output = normal(*output.shape)
    expected = leaves(by_jax(function, arguments, options, which, d_output))
    found = leaves(BACKWARD[function](d_output, *arguments, **options))
    assert [part.shape for part in found] == [part.shape for part in expected]
    for part, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-9, atol=1e-11)


@pytest.mark.claim("thm-product-backward")
@pytest.mark.claim("thm-softmax-backward")
@pytest.mark.claim("prop-use-sums")
@pytest.mark.claim("prop-entry-backward")
@pytest.mark.claim("prop-norm-backward")
@pytest.mark.parametrize("name", CASES)
def test_it_is_the_slope_that_finite_differences_find(name):
    function, arguments, options, which = CASES[name]
    output = function(*arguments, **options)
    d_output = normal(*output.shape)
    found = leaves(BACKWARD[function](d_output, *arguments, **options))
    given = leaves([arguments[place] for place in which])
    directions = [normal(*array.shape) for array in given]
    step = 1e-6

    def moved(sign):
        rest = iter(directions)

        def move(array):
            with np.errstate(invalid="ignore"):
                there = array + sign * step * next(rest)
            return np.where(np.isfinite(array), there, array)

        some = list(arguments)
        for place in which:
            some[place] = (
                map_parameters(move, some[place])
                if is_dataclass(some[place])
                else move(some[place])
            )
        return np.sum(function(*some, **options) * d_output)

    slope = (moved(1) - moved(-1)) / (2 * step)
    pairs = zip(found, directions, strict=True)
    assert slope == pytest.approx(sum(np.sum(d * v) for d, v in pairs), rel=2e-7, abs=2e-7)


ATTENTION = [
    {},
    {"is_causal": True},
    {"is_causal": True, "query_offset": 2, "window": (2, 1)},
    {"query_offset": np.asarray([3, -1]), "window": (-1, 1)},
    {"attn_mask": SEEN, "scale": -0.7},
    {"attn_mask": FLOAT_MASK, "softcap": 1.5},
]


@pytest.mark.claim("eq-attention-backward")
@pytest.mark.claim("thm-tiled-backward")
@pytest.mark.parametrize("implementation", ["textbook", "tiled"])
@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("options", ATTENTION)
def test_attention_is_what_jax_pulls_back(options, saved, implementation):
    d_output = normal(2, 4, 5, 4)
    moved = {key: jnp.asarray(v) if hasattr(v, "shape") else v for key, v in options.items()}
    given = moved | {"implementation": "textbook"}
    expected = by_jax(attend, QKV, given, (0, 1, 2), d_output)
    options = options | {"implementation": implementation}
    record = gradients.attention_record(*QKV, **options) if saved else None
    found = gradients.attention_backward(d_output, *QKV, **options, saved=record)
    for part, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-10, atol=1e-12)


def test_attention_of_one_head_and_of_broadcast_batches():
    cases = [
        ((5, 3), (7, 3), (7, 4)),
        ((3, 4, 5, 3), (1, 2, 7, 3), (3, 2, 7, 4)),
        ((1, 4, 5, 3), (2, 7, 3), (3, 2, 7, 4)),
    ]
    for shapes in cases:
        arrays = [normal(*shape) for shape in shapes]
        d_output = normal(*attend(*arrays).shape)
        options = {"implementation": "textbook"}
        expected = by_jax(attend, arrays, options, (0, 1, 2), d_output)
        for implementation in ("textbook", "tiled"):
            found = gradients.attention_backward(d_output, *arrays, implementation=implementation)
            for part, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(part, other, rtol=1e-10, atol=1e-12)


def pulled_back(arrays, d_output, implementation, options, dtype):
    given = [array.astype(dtype) for array in (d_output, *arrays)]
    return gradients.attention_backward(*given, implementation=implementation, **options)


def sizes_of_terms(arrays, d_output, options):
    """Return how large the terms are whose sums the gradients are: rounding is of their size."""
    query, key, value = (np.abs(array.astype(np.float64)) for array in arrays)
    group = query.shape[-3] // key.shape[-3]
    key, value = (np.repeat(array, group, axis=-3) for array in (key, value))
    _, weights = attend(*(a.astype(np.float64) for a in arrays), return_weights=True, **options)
    d_output = np.abs(d_output.astype(np.float64))
    scale = abs(options["scale"] or query.shape[-1] ** -0.5)
    d_weights = d_output @ value.mT
    d_scores = weights * (d_weights + np.sum(weights * d_weights, axis=-1, keepdims=True)) * scale
    terms = d_scores @ key, d_scores.mT @ query, weights.mT @ d_output
    return [np.max(term) * (group if i else 1) for i, term in enumerate(terms)]


@pytest.mark.claim("thm-tiled-backward")
@given(problem=problems(), sizes=st.data(), power=st.sampled_from(exponential.BASES))
def test_the_tiled_way_back_is_as_exact_as_the_textbooks(problem, sizes, power):
    arrays, options = problem
    rng, dtype = np.random.default_rng(0), arrays[0].dtype
    d_output = draw(rng, dtype, attend(*arrays, **options).shape)[0]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ROWS", "KEYS", "JOBS"):
            patch.setattr(backward, name, sizes.draw(st.integers(1, 12)))
        patch.setattr(exponential, "fastest", lambda _: power)
        found = pulled_back(arrays, d_output, "tiled", options, dtype)
    longer = np.longdouble if dtype == np.float64 else np.float64
    exact = pulled_back(arrays, d_output, "textbook", options, longer)
    textbook = pulled_back(arrays, d_output, "textbook", options, dtype)
    terms = sizes_of_terms(arrays, d_output, options)
    for part, known, true, size in zip(found, textbook, exact, terms, strict=True):
        assert (part.dtype, part.shape) == (dtype, true.shape)
        slack = 8 * np.finfo(dtype).eps * size
        error, allowed = part - true, known - true
        assert root_mean_square(error) <= 2 * root_mean_square(allowed) + slack
        assert np.max(np.abs(error)) <= 4 * np.max(np.abs(allowed)) + slack


KINDS = {
    "soft": {"scale": 0.01},
    "sharp": {"scale": 3.0, "is_causal": True},
    "sharp, few far keys": {"scale": 3.0, "is_causal": True, "window": (9, 0)},
    "capped": {"scale": 3.0, "softcap": 90.0},
    "capped low": {"scale": 3.0, "softcap": 4.0, "is_causal": True},
    "added": {"scale": 3.0, "attn_mask": np.where(np.tri(64, k=-1, dtype=bool), 2.5, -np.inf)},
}


@pytest.mark.claim("thm-tiled-backward")
@pytest.mark.parametrize("power", exponential.BASES)
@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_the_forwards_loops_know_the_sums_of_all_rows(options, power, monkeypatch):
    monkeypatch.setattr(exponential, "fastest", lambda _: power)
    monkeypatch.setattr(backward, "row_sums", None)  # so that nothing is made again
    query, key, value, seen = (3 * normal(2, 4, 64, 8) for _ in range(4))
    found = []

    def noted(*args):
        found.extend(attend_again(*args))
        return found

    attend_again = backward.attend_again
    monkeypatch.setattr(backward, "attend_again", noted)
    options = options | {"implementation": "tiled"}
    gradients.attention_backward(seen, query, key, value, **options)
    output, top, total = found
    np.testing.assert_allclose(output, attend(query, key, value, **options), rtol=1e-12)
    by_equation = options | {"implementation": "textbook", "return_weights": True}
    weights = attend(query, key, value, **by_equation)[1]
    scores = query @ key.mT * options.get("scale", 8**-0.5)
    if cap := options.get("softcap"):
        scores = cap * np.tanh(scores / cap)
    if "attn_mask" in options:
        scores = scores + options["attn_mask"]
    scores = np.where(weights > 0, scores, -np.inf)
    expected = companion.logsumexp(scores)[..., None]
    with np.errstate(divide="ignore"):  # the first row of the last kind sees nothing
        np.testing.assert_allclose(top + np.log(total), expected, rtol=1e-12)


@pytest.mark.claim("prop-mask-backward")
@pytest.mark.parametrize("implementation", ["textbook", "tiled"])
def test_what_a_mask_hides_gets_no_gradient_and_a_blind_row_gives_none(implementation):
    visible = np.tri(5, 7, k=1, dtype=bool)  # the last key is seen by nobody
    visible[2] = False
    d_output = normal(2, 4, 5, 4)
    options = {"attn_mask": visible, "implementation": implementation}
    d_query, d_key, d_value = gradients.attention_backward(d_output, *QKV, **options)
    assert not d_key[:, :, 6].any()
    assert not d_value[:, :, 6].any()
    assert not d_query[:, :, 2].any()
    others = d_output * (np.arange(5) != 2)[:, None]
    again = gradients.attention_backward(others, *QKV, **options)
    assert all(np.array_equal(a, b) for a, b in zip(again, (d_query, d_key, d_value), strict=True))


@pytest.mark.parametrize("implementation", ["textbook", "tiled"])
def test_what_a_row_may_not_see_leaves_its_gradient_to_the_bit(implementation):
    query, key, value = QKV
    d_output = normal(2, 4, 5, 4)
    options = {"is_causal": True, "implementation": implementation}
    before = gradients.attention_backward(d_output, *QKV, **options)[0]
    later = np.arange(7)[:, None] >= 3
    changed = query, np.where(later, key + 9, key), np.where(later, value - 9, value)
    after = gradients.attention_backward(d_output, *changed, **options)[0]
    assert np.array_equal(before[:, :, :3], after[:, :, :3])
    assert not np.array_equal(before, after)


@pytest.mark.claim("thm-softmax-backward")
@pytest.mark.claim("prop-mask-backward")
def test_the_gradient_of_a_softmax_row_sums_to_zero():
    d_scores = gradients.softmax_backward(normal(3, 5, 6), SCORES)
    np.testing.assert_allclose(d_scores.sum(axis=-1), 0, atol=1e-15)
    assert not d_scores[-np.inf == SCORES].any()
    jacobian = companion.softmax_jacobian(companion.softmax(X))
    d_weights = normal(3, 5, 6)
    expected = (jacobian @ d_weights[..., None])[..., 0]
    np.testing.assert_allclose(gradients.softmax_backward(d_weights, X), expected, atol=1e-15)


@pytest.mark.claim("prop-use-sums")
def test_shared_heads_sum_over_their_group():
    query, key, value = QKV
    d_output = normal(2, 4, 5, 4)
    apart = [np.repeat(array, 2, axis=1) for array in (key, value)]
    _, *alone = gradients.attention_backward(d_output, query, *apart)
    _, *shared = gradients.attention_backward(d_output, *QKV)
    for part, grouped in zip(alone, shared, strict=True):
        summed = part.reshape(2, 2, 2, *part.shape[2:]).sum(axis=2)
        np.testing.assert_allclose(summed, grouped, atol=1e-14)


def test_halves_of_a_batch_sum_to_the_whole():
    d_output = normal(3, 5, 6)
    whole_x, whole = gradients.transformer_block_backward(d_output, X, PLAIN)
    parts = [
        gradients.transformer_block_backward(d_output[some], X[some], PLAIN)
        for some in (slice(1), slice(1, 3))
    ]
    np.testing.assert_allclose(np.concatenate([part[0] for part in parts]), whole_x, atol=1e-13)
    summed = map_parameters(lambda a, b: a + b, parts[0][1], parts[1][1])
    for part, other in zip(leaves(summed), leaves(whole), strict=True):
        np.testing.assert_allclose(part, other, atol=1e-12)


@pytest.mark.claim("prop-norm-backward")
def test_a_norms_gradient_is_orthogonal_to_what_the_norm_takes_out():
    d_output = normal(3, 5, 6)
    d_x, *_ = gradients.layer_norm_backward(d_output, X, normal(6), normal(6), eps=0.0)
    np.testing.assert_allclose(d_x.sum(axis=-1), 0, atol=1e-14)
    np.testing.assert_allclose((d_x * X).sum(axis=-1), 0, atol=1e-14)
    d_x, _ = gradients.rms_norm_backward(d_output, X, normal(6), eps=0.0)
    np.testing.assert_allclose((d_x * X).sum(axis=-1), 0, atol=1e-14)


@pytest.mark.parametrize("size", [1e-30, 1e25])
def test_a_norms_gradient_keeps_its_digits_near_the_ends_of_the_range(size):
    d_output, weight = normal(5, 6), normal(6)
    for norm, back in (
        (companion.layer_norm, gradients.layer_norm_backward),
        (companion.rms_norm, gradients.rms_norm_backward),
    ):
        eps = 0.0
        exact = back(d_output, X[0] * size, weight, eps=eps)[0] * size
        single = [a.astype(np.float32) for a in (d_output, X[0] * size, weight)]
        found = back(*single, eps=eps)[0].astype(np.float64) * size
        np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5)
        assert np.isfinite(norm(*single[1:], eps=eps)).all()


@pytest.mark.claim("prop-use-sums")
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_stack_is_what_jax_pulls_back(norm):
    final = FINAL if norm == "pre" else None
    d_output = normal(3, 5, 6)
    blocks = (PLAIN, block())
    moved = tuple(map(to_jax, blocks)), None if final is None else to_jax(final)

    def forward(x, blocks, final):
        return companion.transformer_stack(x, blocks, norm=norm, final_norm=final, is_causal=True)

    _, pull = jax.vjp(forward, jnp.asarray(X), *moved)
    found = gradients.transformer_stack_backward(
        d_output, X, blocks, norm=norm, final_norm=final, is_causal=True
    )
    for part, other in zip(leaves(found), leaves(pull(jnp.asarray(d_output))), strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-9, atol=1e-11)


def test_a_context_gets_its_gradient():
    d_output = normal(3, 5, 6)

    def forward(x, parameters, context):
        return companion.multi_head_attention(x, parameters, context=context)

    _, pull = jax.vjp(forward, *map(to_jax, (X, PLAIN.attention, CONTEXT)))
    found = gradients.multi_head_attention_backward(d_output, X, PLAIN.attention, context=CONTEXT)
    for part, other in zip(leaves(found), leaves(pull(jnp.asarray(d_output))), strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-9, atol=1e-11)


def test_activations_have_finite_slopes_at_both_ends():
    ends = np.asarray([-np.finfo(np.float32).max, -1e30, -90, 90, 1e30], np.float32)
    ones = np.ones_like(ends)
    for back in (gradients.gelu_backward, gradients.silu_backward, gradients.relu_backward):
        np.testing.assert_allclose(back(ones, ends), [0, 0, 0, 1, 1], atol=1e-30)
    tanh = gradients.gelu_backward(ones, ends, approximate="tanh")
    np.testing.assert_allclose(tanh, [0, 0, 0, 1, 1], atol=1e-30)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_gradients_have_the_dtype_of_what_they_belong_to(dtype):
    arrays = [array.astype(dtype) for array in (normal(2, 4, 5, 4), *QKV)]
    for implementation in ("textbook", "tiled"):
        found = gradients.attention_backward(*arrays, implementation=implementation)
        exact = gradients.attention_backward(*(a.astype(np.float64) for a in arrays))
        for part, true in zip(found, exact, strict=True):
            assert part.dtype == dtype
            np.testing.assert_allclose(part, true, rtol=0, atol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith(("gelu", "feed"))])
def test_it_stays_on_its_device(name):
    function, arguments, options, _ = CASES[name]
    d_output = normal(*function(*arguments, **options).shape)

    def move(tree):
        if isinstance(tree, np.ndarray):
            return STRICT.asarray(tree)
        return map_parameters(STRICT.asarray, tree) if is_dataclass(tree) else tree

    if any(argument in (PLAIN, BARE) for argument in arguments if is_dataclass(argument)):
        options = options | {"activation": companion.relu}
    expected = leaves(BACKWARD[function](d_output, *arguments, **options))
    found = BACKWARD[function](move(d_output), *map(move, arguments), **options)
    for part, other in zip(strict_leaves(found), expected, strict=True):
        np.testing.assert_allclose(companion.to_numpy(part), other, rtol=1e-10, atol=1e-12)


def strict_leaves(tree):
    if tree is None:
        return []
    if isinstance(tree, (tuple, list)):
        return [leaf for part in tree for leaf in strict_leaves(part)]
    if is_dataclass(tree):
        return [leaf for f in fields(tree) for leaf in strict_leaves(getattr(tree, f.name))]
    return [tree]


@pytest.mark.claim("thm-tiled-backward")
def test_the_tiled_way_back_needs_memory_that_grows_with_the_length_alone():
    peaks = []
    for length in (1024, 4096):
        arrays = draw(np.random.default_rng(0), np.float32, *[(2, length, 16)] * 4)
        record = gradients.attention_record(*arrays[1:], is_causal=True)
        tracemalloc.start()
        gradients.attention_backward(*arrays, is_causal=True, saved=record, threads=2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 4.5 * peaks[0]
    assert peaks[1] < 2 * 4096 * 4096 * 4 / 4


def test_its_bits_do_not_depend_on_the_number_of_threads():
    arrays = draw(np.random.default_rng(0), np.float32, *[(3, 600, 16)] * 4)
    options = {"is_causal": True, "implementation": "tiled"}
    one, three = (
        gradients.attention_backward(*arrays, **options, threads=threads) for threads in (1, 3)
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, three, strict=True))


def test_a_table_gets_the_sum_over_its_tokens_on_every_library(monkeypatch):
    ids, table = RNG.integers(0, 40, (3, 50)), normal(41, 5)
    d_output = normal(3, 50, 5)
    expected = np.zeros_like(table)
    np.add.at(expected, ids, d_output)
    monkeypatch.setattr(gradients.projections, "SCATTER", 1000)
    for home in (np, STRICT):
        given = [home.asarray(a) for a in (d_output, ids, table)]
        found = companion.to_numpy(gradients.embed_backward(*given))
        np.testing.assert_allclose(found, expected, atol=1e-13)


def decoder(**options):
    """Draw a small decoder of two layers, with shared heads."""
    sizes = {"vocabulary_size": 23, "layer_count": 2, "width": 8, "head_count": 4}
    sizes |= {"key_value_head_count": 2, "head_dim": 4, "hidden_width": 10, "context_length": 64}
    sizes |= {"rotary_base": 100.0, "eps": 1e-5, "tied": True}
    config = companion.LanguageModelConfig(**(sizes | options))
    shapes = companion.language_model_tensors(config)
    tensors = {name: 0.5 * normal(*shape) for name, shape in shapes.items()}
    return companion.LanguageModelParameters.from_tensors(config, tensors, dtype=np.float64)


TEXT = RNG.integers(0, 23, (3, 11))
TARGETS = np.where(RNG.random((3, 11)) < 0.2, -1, RNG.integers(0, 23, (3, 11)))
APART = np.arange(11)[:, None] // 4 == np.arange(11) // 4  # three documents in one text


def jax_loss(parameters, mask=None):
    """Let JAX find a decoder's loss and gradients through our own forwards."""

    def loss(arrays):
        rest = iter(arrays)
        given = map_parameters(lambda _: next(rest), to_jax(parameters))
        options = {} if mask is None else {"attn_mask": jnp.asarray(mask)}
        states = companion.decoder_states(jnp.asarray(TEXT), given, **options)
        return companion.cross_entropy(companion.state_logits(states, given), jnp.asarray(TARGETS))

    return jax.value_and_grad(loss)([jnp.asarray(a) for a in arrays_of(parameters)])


def arrays_of(parameters):
    found = []
    map_parameters(lambda a: (found.append(np.asarray(a)), a)[1], parameters)
    return found


@pytest.mark.claim("prop-use-sums")
@pytest.mark.claim("prop-cross-entropy-backward")
@pytest.mark.claim("prop-rotation-backward")
@pytest.mark.claim("prop-entry-backward")
@pytest.mark.claim("eq-attention-backward")
@pytest.mark.parametrize("mask", [None, APART])
@pytest.mark.parametrize("tied", [True, False])
def test_a_decoders_gradients_are_what_jax_pulls_back(tied, mask):
    parameters = decoder(tied=tied)
    loss, found = gradients.loss_and_gradients(TEXT, TARGETS, parameters, attn_mask=mask)
    expected, pulled = jax_loss(parameters, mask)
    assert loss == pytest.approx(float(expected), rel=1e-13)
    for part, other in zip(arrays_of(found), pulled, strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-9, atol=1e-13)


def test_a_mean_counts_more_targets_than_16_bits_can():
    parameters = companion.move_parameters(decoder(), np, dtype=ml_dtypes.bfloat16)
    ids = np.tile(TEXT[:1], (200, 1))  # texts that cost alike
    one, many = (gradients.loss_and_gradients(x, x, parameters)[0] for x in (ids[:1], ids))
    np.testing.assert_allclose(many, one, rtol=ids.size * np.finfo(np.float32).eps)


def test_a_long_text_goes_back_through_tiles(monkeypatch):
    parameters = decoder()
    whole = gradients.loss_and_gradients(TEXT, TARGETS, parameters)
    monkeypatch.setattr(companion.attention, "LARGE", 1)
    monkeypatch.setattr(companion.attention, "LARGE_FEW", 1)
    short, record = gradients.loss_and_gradients(TEXT, TARGETS, parameters), []
    monkeypatch.setattr(gradients.decoder_layer, "SHORT", 1)
    real = gradients.decoder_layer.unchecked_attention_record
    monkeypatch.setattr(
        gradients.decoder_layer,
        "unchecked_attention_record",
        lambda *args: (record.append(args), real(*args))[1],
    )
    in_tiles = gradients.loss_and_gradients(TEXT, TARGETS, parameters)
    assert len(record) == 2  # one for each layer
    for part, other in zip(arrays_of(in_tiles[1]), arrays_of(whole[1]), strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-9, atol=1e-13)
    for part, other in zip(arrays_of(short[1]), arrays_of(whole[1]), strict=True):
        assert np.array_equal(part, other)  # a short text keeps its weights


@pytest.mark.claim("prop-cross-entropy-backward")
def test_cross_entropys_gradient_sums_to_zero_and_leaves_rows_out():
    logits = normal(3, 11, 23)
    d_logits = gradients.cross_entropy_backward(1.0, logits, TARGETS)
    np.testing.assert_allclose(d_logits.sum(axis=-1), 0, atol=1e-16)
    assert not d_logits[TARGETS < 0].any()

    def loss(x):
        return companion.cross_entropy(x, jnp.asarray(TARGETS))

    np.testing.assert_allclose(d_logits, jax.grad(loss)(jnp.asarray(logits)), atol=1e-15)


@pytest.mark.claim("prop-rotation-backward")
@pytest.mark.parametrize("pairing", ["half", "interleaved"])
def test_a_rotation_goes_back_by_the_same_angle(pairing):
    x, d_output, positions = normal(2, 5, 6), normal(2, 5, 6), np.arange(5) * 7
    options = {"base": 100.0, "pairing": pairing}
    found = gradients.rotate_backward(d_output, x, positions, **options)

    def forward(rows):
        return companion.rotate(rows, jnp.asarray(positions), **options)

    _, pull = jax.vjp(forward, jnp.asarray(x))
    np.testing.assert_allclose(found, pull(jnp.asarray(d_output))[0], atol=1e-14)


@pytest.mark.claim("prop-use-sums")
def test_tied_logits_give_the_embedding_one_of_its_gradients():
    parameters, states = decoder(), normal(3, 8)
    d_logits = normal(3, 23)
    d_states, d_norm, d_table = gradients.state_logits_backward(d_logits, states, parameters)

    def forward(states, norm, table):
        rows = companion.rms_norm(states, norm, eps=1e-5)
        return companion.project(rows, table.mT)

    _, pull = jax.vjp(forward, *map(jnp.asarray, (states, parameters.norm, parameters.embedding)))
    expected = pull(jnp.asarray(d_logits))
    for part, other in zip((d_states, d_norm, d_table), expected, strict=True):
        np.testing.assert_allclose(part, other, atol=1e-12)


BAD_CALLS = [
    (lambda: gradients.softmax_backward(X[0], X), r"d_weights must have the shape .*\(3, 5, 6\)"),
    (lambda: gradients.project_backward(X, X, normal(6, 4)), r"returned, \(3, 5, 4\), got"),
    (
        lambda: gradients.attention_backward(normal(2, 4, 5, 3), *QKV),
        r"d_output must have the shape .*\(2, 4, 5, 4\), got \(2, 4, 5, 3\)",
    ),
    (
        lambda: gradients.attention_backward(normal(2, 4, 5, 4), *QKV, saved=(X, X, X)),
        r"output of saved must have shape \(2, 4, 5, 4\), got \(3, 5, 6\)",
    ),
    (
        lambda: gradients.feed_forward_backward(X, X, PLAIN.feed_forward, activation=np.tanh),
        "activation must be gelu, relu or silu",
    ),
    (
        lambda: gradients.transformer_block_backward(X, X, PLAIN, state=lambda *qkv: qkv),
        "state must be left out",
    ),
    (
        lambda: gradients.transformer_stack_backward(X, X, [PLAIN], return_all=True),
        "return_all must be left out",
    ),
    (
        lambda: gradients.transformer_stack_backward(X[0], X, []),
        r"d_output must have the shape .*\(3, 5, 6\), got \(5, 6\)",
    ),
    (lambda: gradients.transformer_stack_backward(X, X, [], norm="last"), "'post' or 'pre'"),
    (lambda: gradients.gelu_backward(X, X, approximate="erf"), "must be 'none' or 'tanh'"),
    (lambda: gradients.transformer_block_backward(X, X, PLAIN, norm="last"), "'post' or 'pre'"),
]


@pytest.mark.parametrize(("call", "part"), BAD_CALLS)
def test_a_bad_call_says_what_was_expected(call, part):
    with pytest.raises(ValueError, match=part):
        call()


def test_a_record_that_is_none_and_another_dtype_are_refused():
    d_output = normal(2, 4, 5, 4)
    with pytest.raises(TypeError, match=r"saved must be .*, got str"):
        gradients.attention_backward(d_output, *QKV, saved="all")
    with pytest.raises(TypeError, match="d_output must have the dtype of query"):
        gradients.attention_backward(d_output.astype(np.float32), *QKV)
    with pytest.raises(TypeError, match="d_output must have the dtype of x"):
        gradients.transformer_stack_backward(X.astype(np.float32), X, [])
    record = gradients.attention_record(*QKV)
    for name, array in record._asdict().items():
        saved = record._replace(**{name: array.astype(np.int64)})
        with pytest.raises(TypeError, match=f"{name} of saved must be float64, got int64"):
            gradients.attention_backward(d_output, *QKV, saved=saved)
    assert math.isfinite(gradients.attention_record(*QKV).total.max())
