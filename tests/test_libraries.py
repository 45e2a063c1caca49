"""The functions of chapters 1 to 8 on JAX and PyTorch: same numbers, and gradients go through."""

import importlib.util
import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import companion

jax.config.update("jax_enable_x64", True)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 5, 6))
HEADS = RNG.standard_normal((2, 4, 5, 3))
KEYS = RNG.standard_normal((2, 2, 5, 3))
SQUARE = RNG.standard_normal((5, 5))
SEEN = np.tri(5, k=-1, dtype=bool)  # the first row sees nothing
FLOAT_MASK = np.where(SEEN, SQUARE, -np.inf)
VECTOR = RNG.standard_normal(6)
ROWS_OF_ZEROS = X * np.arange(5)[:, None]
EMPTY_ROWS = np.where(SEEN, SQUARE, -np.inf)
BLOCK = companion.BlockParameters.random(RNG, width=6, heads=2, hidden=10)
GATED = companion.BlockParameters.random(
    RNG, width=6, heads=4, kv_heads=2, d_k=3, hidden=8, gated=True
)
FINAL = companion.NormParameters.neutral(6)
SIZES = companion.LanguageModelConfig(5, 2, 6, 4, 2, 4, 8, 9, 100.0, 1e-5, tied=True)
DECODER = companion.LanguageModelParameters.from_tensors(
    SIZES,
    {name: RNG.standard_normal(s) for name, s in companion.language_model_tensors(SIZES).items()},
    xp=np,
    dtype=np.float64,
)
IDS = np.asarray([[4, 0, 3], [2, 2, 1]])


def read(x):
    """Send ids through a decoder whose embedding is `x`."""
    p = replace(like(x, DECODER), embedding=x)
    return companion.state_logits(companion.decoder_states(like(x, IDS), p), p)


def attend(**options):
    """Make a call of attention with grouped heads."""
    return lambda query: companion.scaled_dot_product_attention(
        query, query[:, :2], query[:, :2], **options
    )


# name: (a function of one array, the array); what else it needs is moved to the array's library.
FUNCTIONS = {
    "add_positions": (lambda x: companion.add_positions(x, like(x, SQUARE[:, :1] + VECTOR)), X),
    "rotate": (lambda x: companion.rotate(x, like(x, np.arange(5))), X),
    "rotate_back": (
        lambda x: companion.rotate_back(x, like(x, np.arange(5)), pairing="interleaved"),
        X,
    ),
    "alibi_mask": (lambda x: companion.alibi_mask(x[0, 0], 2, 3, query_offset=1), X),
    "project": (lambda x: companion.project(x, like(x, X[0].T), like(x, VECTOR[:5])), X),
    "project_qkv": (lambda x: companion.project_qkv(x, *[like(x, X[0].T)] * 3)[1], X),
    "bilinear_form": (lambda x: companion.bilinear_form(x, x * 2), X),
    "scaled_scores": (lambda x: companion.scaled_scores(x, x), X),
    "scaled_scores, large scale": (lambda x: companion.scaled_scores(x, x, scale=3.0), X),
    "soft_cap": (lambda x: companion.soft_cap(x, 0.5), X),
    "score_variance_terms": (lambda x: sum(companion.score_variance_terms(x, x)), X),
    "softmax": (companion.softmax, SQUARE),
    "softmax of empty rows": (companion.softmax, EMPTY_ROWS),
    "logsumexp": (companion.logsumexp, SQUARE),
    "softmax_jacobian": (companion.softmax_jacobian, SQUARE),
    "hardmax": (companion.hardmax, SQUARE),
    "weighted_values": (lambda x: companion.weighted_values(x, x.mT), X),
    "mask_scores": (lambda x: companion.softmax(companion.mask_scores(x, like(x, SEEN))), SQUARE),
    "attention": (attend(), HEADS),
    "attention, causal window": (attend(is_causal=True, window=(2, 0), softcap=2.0), HEADS),
    "attention, empty rows": (lambda x: attend(attn_mask=like(x, SEEN))(x), HEADS),
    "attention, float mask": (lambda x: attend(attn_mask=like(x, FLOAT_MASK))(x), HEADS),
    "attention, offsets": (
        lambda x: attend(is_causal=True, query_offset=like(x, np.asarray([-2, 1])))(x),
        HEADS,
    ),
    "attention, weights": (lambda x: attend(return_weights=True)(x)[1], HEADS),
    "online_attention": (
        lambda x: companion.online_attention(x, x, x, like(x, SEEN), block_size=2),
        HEADS,
    ),
    "multi_head_attention": (
        lambda x: companion.multi_head_attention(x, like(x, BLOCK.attention), is_causal=True),
        X,
    ),
    "head_contributions": (lambda x: companion.head_contributions(x, like(x, BLOCK.attention)), X),
    "split and merge": (lambda x: companion.merge_heads(companion.split_heads(x, 2) * 2), X),
    "relu": (companion.relu, X),
    "gelu": (companion.gelu, X * 4),
    "gelu, tanh": (lambda x: companion.gelu(x, approximate="tanh"), X),
    "silu": (companion.silu, X),
    "feed_forward": (lambda x: companion.feed_forward(x, like(x, BLOCK.feed_forward)), X),
    "layer_norm": (lambda x: companion.layer_norm(x, like(x, VECTOR), like(x, VECTOR)), X),
    "layer_norm of zeros": (
        lambda x: companion.layer_norm(x, like(x, VECTOR), eps=1.0),
        ROWS_OF_ZEROS,
    ),
    "rms_norm of zeros": (lambda x: companion.rms_norm(x, like(x, VECTOR), eps=1.0), ROWS_OF_ZEROS),
    "block": (lambda x: companion.transformer_block(x, like(x, BLOCK)), X),
    "gated block": (lambda x: companion.transformer_block(x, like(x, GATED), norm="pre"), X),
    "stack": (
        lambda x: companion.transformer_stack(
            x, [like(x, BLOCK)] * 2, norm="pre", final_norm=like(x, FINAL)
        ),
        X,
    ),
    "decoder": (read, X[0]),
    "cross_entropy": (
        lambda x: companion.cross_entropy(x, like(x, np.asarray([[1, -1, 0, 5, 2]] * 2))),
        X * 9,
    ),
    "perplexity": (lambda x: companion.perplexity(x, like(x, IDS[:, :2])), X[:, :2]),
    "softmax_backward": (lambda x: companion.softmax_backward(like(x, X[::-1]), x), X),
    "rms_norm_backward": (lambda x: companion.rms_norm_backward(x, 2 * x, like(x, VECTOR))[0], X),
    "attention_backward": (
        lambda x: companion.attention_backward(x, x, x[:, :2], x[:, :2], is_causal=True)[1],
        HEADS,
    ),
    "cross_entropy_backward": (
        lambda x: companion.cross_entropy_backward(1.0, x, like(x, IDS[:, :2])),
        X[:, :2],
    ),
    "adamw": (
        lambda x: (
            companion.adamw(
                [companion.NormParameters(x)],
                [companion.NormParameters(x)],
                learning_rate=0.1,
                eps=1.0,
            )[0][0].weight
        ),
        VECTOR,
    ),
    "clip_gradients": (
        lambda x: companion.clip_gradients(companion.NormParameters(x), 0.5)[0].weight,
        VECTOR,
    ),
    "mean_pool": (lambda x: companion.mean_pool(x, like(x, X[..., 0] > 0)), X),
    "unit_rows": (companion.unit_rows, X),
    "pack and unpack": (
        lambda x: companion.pack_rows(list(companion.pack_batch([x[0], x[1, :2]])[0][1])),
        X,
    ),
}
EVERY = pytest.mark.parametrize(("function", "x"), FUNCTIONS.values(), ids=FUNCTIONS)


def like(x, thing):
    """Move a NumPy array, or parameters, to the library of `x`."""
    if isinstance(thing, np.ndarray):
        return companion.array_namespace(x).asarray(thing)
    return companion.move_parameters(thing, companion.array_namespace(x))


def weigh(function, x, seed=1):
    """Return the loss of an output: its product with fixed random numbers."""
    shape = function(x).shape
    factors = np.random.default_rng(seed).standard_normal(shape)

    def loss(given):
        return (function(given) * like(given, factors)).sum()

    return loss


def difference(loss, x, step=1e-6):
    """Differentiate on NumPy, entry by entry; −∞ stays where it is."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        if np.isfinite(x[index]):
            moved = np.zeros_like(x)
            moved[index] = step
            gradient[index] = (loss(x + moved) - loss(x - moved)) / (2 * step)
    return gradient


@EVERY
def test_jax_computes_the_same(function, x):
    got = function(jnp.asarray(x))
    assert isinstance(got, jax.Array)
    np.testing.assert_allclose(got, function(x), rtol=1e-12, atol=1e-12)


@EVERY
def test_jax_compiles_it(function, x):
    got = jax.jit(function)(jnp.asarray(x))
    np.testing.assert_allclose(got, function(x), rtol=1e-12, atol=1e-12)


@EVERY
def test_jaxs_gradient_is_the_difference_quotient(function, x):
    loss = weigh(function, x)
    got = jax.jit(jax.grad(loss))(jnp.asarray(x))
    np.testing.assert_allclose(got, difference(loss, x), rtol=1e-6, atol=1e-7)


# A kink: there is no derivative, and any finite number will do.
KINKS = {
    "unit_rows of zeros": (companion.unit_rows, np.zeros((2, 3))),
    "relu at zero": (companion.relu, np.zeros(3)),
    "logsumexp of nothing": (companion.logsumexp, np.full((2, 3), -np.inf)),
    "hardmax of nothing": (companion.hardmax, np.full((2, 3), -np.inf)),
    "softmax of nothing": (companion.softmax, np.full((2, 3), -np.inf)),
    "softmax of ties": (companion.softmax, np.zeros((2, 3))),
    "layer_norm of zeros": (lambda x: companion.layer_norm(x, like(x, VECTOR)), np.zeros((2, 6))),
    "rms_norm of zeros": (lambda x: companion.rms_norm(x, like(x, VECTOR)), np.zeros((2, 6))),
    "gelu far out": (companion.gelu, np.asarray([-300.0, -40.0, 0.0, 40.0])),
    "silu far out": (companion.silu, np.asarray([-800.0, 0.0, 800.0])),
    "mean of no token": (lambda x: companion.mean_pool(x, like(x, X[..., 0] > 9)), X),
    "attention without a key": (lambda x: attend()(x[..., :0, :]), HEADS),
    "attention that sees nothing": (lambda x: attend(attn_mask=like(x, SEEN & False))(x), HEADS),
    "online, seeing nothing": (
        lambda x: companion.online_attention(x, x, x, like(x, SEEN & False), block_size=2),
        HEADS,
    ),
}
AT_KINKS = pytest.mark.parametrize(("function", "x"), KINKS.values(), ids=KINKS)


@AT_KINKS
def test_jaxs_gradient_is_finite_where_a_row_is_empty_or_zero(function, x):
    def loss(given):
        out = function(given)
        return companion.array_namespace(out).where(jnp.isfinite(out), out, 0.0).sum()

    assert np.isfinite(jax.grad(loss)(jnp.asarray(x))).all()
    assert np.isfinite(jax.jit(jax.grad(loss))(jnp.asarray(x))).all()


def test_the_gradient_of_a_whole_block_is_a_block():
    block, x = companion.move_parameters(BLOCK, jnp), jnp.asarray(X)

    def loss(p):
        return (companion.transformer_block(x, p, is_causal=True) ** 3).sum()

    gradient = jax.jit(jax.grad(loss))(block)
    assert isinstance(gradient, companion.BlockParameters)
    assert gradient.attention.heads == 2
    step = 1e-6 * RNG.standard_normal()
    moved = [
        companion.map_parameters(lambda w, g, s=sign: w + s * step * g, block, gradient)
        for sign in (1, -1)
    ]
    slope = (loss(moved[0]) - loss(moved[1])) / (2 * step)
    squares = sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(gradient))
    np.testing.assert_allclose(slope, squares, rtol=1e-6)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(block)]
    assert paths[0] == ".attention.w_q"
    assert len(paths) == 16
    assert jax.tree.map(lambda leaf: leaf.shape, block).norm_1.weight == (6,)


def test_compiled_code_checks_shapes_and_kinds_but_no_values():
    table = jnp.asarray(X[0])
    ids = jnp.asarray([1, 9])
    for run in (jax.jit(companion.embed), lambda i, t: jax.jit(lambda t: companion.embed(i, t))(t)):
        assert np.isnan(run(ids, table)[1]).all()  # what JAX takes from beyond the table
    with pytest.raises(ValueError, match="got 9"):
        companion.embed(ids, table)
    with pytest.raises(TypeError, match="ids must have an integer dtype"):
        jax.jit(companion.embed)(table, table)
    with pytest.raises(ValueError, match=r"key must be \(S, d_k=6\)"):
        jax.jit(companion.scaled_dot_product_attention)(table, table[:, :5], table)
    with pytest.raises(TypeError, match="query must have a real floating dtype"):
        jax.jit(companion.scaled_dot_product_attention)(table > 0, table > 0, table > 0)


def test_offsets_may_be_traced():
    x = jnp.asarray(X[0])
    run = jax.jit(
        lambda offset: companion.scaled_dot_product_attention(
            x, x, x, is_causal=True, query_offset=offset
        )
    )
    for offset in (-1, 0, 2):
        expected = companion.scaled_dot_product_attention(
            X[0], X[0], X[0], is_causal=True, query_offset=offset
        )
        np.testing.assert_allclose(run(offset), expected, atol=1e-12)


def test_the_names_are_choices_and_what_is_missing_says_what_to_install(monkeypatch):
    assert companion.array_module("jax") is jnp
    monkeypatch.setenv("COMPANION_ARRAY_MODULE", "jax")
    assert companion.array_module() is jnp
    for name, called in (("jax", "JAX"), ("torch", "PyTorch")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            message = f"'{name}' needs {called}, .* install the package {name}, or choose 'numpy'"
            with pytest.raises(ModuleNotFoundError, match=message):
                companion.array_module(name)


def test_arrays_of_jax_come_to_the_host_and_mix_with_no_other(capsys):
    x = jnp.asarray(X[0])
    np.testing.assert_array_equal(companion.to_numpy(x), X[0])
    assert type(companion.to_numpy(x > 0)) is np.ndarray
    companion.show(jnp.asarray([0.5, -1e-9], dtype=jnp.bfloat16))
    assert capsys.readouterr().out == "[0.5000 0.0000]\n"
    with pytest.raises(
        TypeError, match=r"key must come from the array library of query, jax\.numpy"
    ):
        companion.scaled_dot_product_attention(x, X[0], x)
    drawn = companion.random_normal((3,), np.random.default_rng(0), xp=jnp)
    np.testing.assert_array_equal(drawn, np.random.default_rng(0).standard_normal(3))
    block = companion.move_parameters(BLOCK, jnp)
    back = companion.move_parameters(block, companion.array_module("numpy"))
    np.testing.assert_array_equal(back.attention.w_q, BLOCK.attention.w_q)


@pytest.mark.parametrize("kind", [jnp.float16, jnp.bfloat16])
def test_sixteen_bits_are_computed_in_float32(kind):
    x = jnp.asarray(X[0], dtype=kind)
    wide = np.asarray(x, dtype=np.float32)
    for function in (companion.softmax, companion.gelu, companion.silu, companion.unit_rows):
        got = function(x)
        assert got.dtype == kind
        np.testing.assert_array_equal(got, jnp.asarray(function(jnp.asarray(wide)), dtype=kind))


def test_outside_its_64_bit_mode_jax_warns_of_nothing():
    code = """
import warnings; warnings.simplefilter("error")
import jax.numpy as jnp, numpy as np, companion
example = companion.running_example(jnp)
ids = companion.token_ids(example.tokens, example.vocabulary, xp=jnp)
x = companion.embed(ids, example.embedding) + companion.sinusoidal_positions(5, 6, xp=jnp)
x = x + companion.random_normal((5, 6), np.random.default_rng(0), xp=jnp)
numbers = companion.move_parameters(
    companion.BlockParameters.random(np.random.default_rng(0), width=6, heads=2, hidden=4), jnp)
neutral = companion.NormParameters.neutral(6, xp=jnp)
y = companion.transformer_block(x, example.block, is_causal=True, window=(2, 0))
y = companion.transformer_block(y, numbers, is_causal=True, query_offset=jnp.asarray(1))
packed, mask = companion.pack_batch([y, y[:2]])
companion.mean_pool(packed, mask)
print(ids.dtype, x.dtype, y.dtype, neutral.weight.dtype)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["int32", "float32", "float32", "float32"]


# --- PyTorch, where it is installed

HAS_TORCH = importlib.util.find_spec("torch") is not None
torch_only = pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


@torch_only
@EVERY
def test_pytorch_computes_the_same_and_so_does_its_gradient(torch, function, x):
    tensor = torch.asarray(x.copy(), requires_grad=True)
    got = function(tensor)
    assert isinstance(got, torch.Tensor)
    np.testing.assert_allclose(companion.to_numpy(got), function(x), rtol=1e-12, atol=1e-12)
    loss = weigh(function, x)
    (gradient,) = torch.autograd.grad(loss(tensor), tensor)
    np.testing.assert_allclose(gradient, difference(loss, x), rtol=1e-6, atol=1e-7)


@torch_only
@AT_KINKS
def test_pytorchs_gradient_is_finite_where_a_row_is_empty_or_zero(torch, function, x):
    tensor = torch.asarray(x.copy(), requires_grad=True)
    out = function(tensor)
    (gradient,) = torch.autograd.grad(out[torch.isfinite(out)].sum(), tensor)
    assert torch.isfinite(gradient).all()


@torch_only
def test_pytorch_is_a_choice_and_its_tensors_come_to_the_host(torch, capsys):
    xp = companion.array_module("torch")
    x = xp.asarray(X[0])
    assert companion.array_namespace(x) is xp
    np.testing.assert_array_equal(companion.to_numpy(x.requires_grad_()), X[0])
    companion.show(torch.asarray([0.5, -1e-9]))
    assert capsys.readouterr().out == "[0.5000 0.0000]\n"
    with pytest.raises(TypeError, match="key must come from the array library of query, torch"):
        companion.scaled_dot_product_attention(x, X[0], x)
    drawn = companion.random_normal((3,), np.random.default_rng(0), xp=xp)
    np.testing.assert_array_equal(drawn, np.random.default_rng(0).standard_normal(3))
    with pytest.raises(ValueError, match="got 9"):
        companion.embed(xp.asarray([1, 9]), x)
    example = companion.running_example(xp)
    expected = companion.running_example(companion.array_module("numpy"))
    np.testing.assert_array_equal(companion.to_numpy(example.x), expected.x)


@torch_only
def test_the_parameters_of_a_block_learn_in_pytorch(torch):
    block = companion.move_parameters(BLOCK, companion.array_module("torch"))
    block = companion.map_parameters(lambda w: w.requires_grad_(), block)
    loss = (companion.transformer_block(torch.asarray(X), block, is_causal=True) ** 3).sum()
    loss.backward()
    slopes = []
    companion.map_parameters(lambda w: slopes.append(w.grad) or w, block)
    assert len(slopes) == 16
    assert all(torch.isfinite(slope).all() for slope in slopes)


@torch_only
@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_sixteen_bits_of_pytorch_are_computed_in_float32(torch, kind):
    x = torch.asarray(X[0]).to(getattr(torch, kind))
    got = companion.scaled_dot_product_attention(x, x, x)
    wide = companion.scaled_dot_product_attention(*[x.float()] * 3)
    assert torch.equal(got, wide.to(x.dtype))


def test_no_library_is_imported_that_is_not_asked_for():
    code = (
        "import sys, companion, numpy; companion.softmax(numpy.ones(3));"
        "print({'jax', 'torch', 'cupy'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
