"""Every public function on every kind of number and array that it may be given.

Dtypes, sizes of numbers, kinds of arrays and libraries are combined in pairs rather than in full.
What comes out is held against the same call on the same numbers in a longer dtype, where nothing
over- or underflows. Where an error is the right answer a table says so, and which.
"""

import contextlib
import functools
import importlib
from types import SimpleNamespace
from unittest import mock

import array_api_compat.numpy as xnp
import array_api_strict
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import scipy.special

import companion
from benchmarks import agreement
from companion.cost import rounding

jax.config.update("jax_enable_x64", True)

DTYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
SIZES = ("ordinary", "largest", "smallest", "subnormal", "zero", "infinite", "nan")
LAYOUTS = ("native", "swapped", "read-only", "strided")
KINDS = ("empty", "masked", "matrix", "integer", "boolean", "object")
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")

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
) | {"score_variance_terms": 4}
# Functions of single numbers, or of rows brought to one size: each entry is right by itself.
ELEMENTWISE = ["gelu", "silu", "soft_cap", "relu", "unit_rows", "rms_norm"]

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


def magnitude(size, dtype, name):
    """Return what the ordinary numbers of a case are multiplied by, or what takes their place."""
    info = ml_dtypes.finfo(dtype)
    powers = MULTIPLIED.get(name, 1)
    largest, smallest = float(info.max), float(info.smallest_normal)
    return {
        # Far enough from the end for what is summed and multiplied on the way to stay finite.
        "largest": largest ** (1 / powers) / (5 if powers == 1 and is_own(name) else 2**9),
        "smallest": smallest,
        "subnormal": smallest / 2**4,
    }.get(size, 1.0)


def is_own(name):
    """Say whether the numbers may come to the end of the range: none of them is to be summed."""
    summed = """project project_heads feed_forward softmax_state state_output merge_states
    add_positions map_parameters"""
    return name.split(" ")[0] not in summed.split()


def place(x, size, dtype, layout, name):
    """Return floating numbers of a size, in a dtype and a layout of NumPy."""
    x = x * magnitude(size, dtype, name)
    if size == "zero":
        x = np.copysign(0.0, x)
    if size in ("infinite", "nan"):
        spoilt = np.random.default_rng(7).random(x.shape) < 0.05
        x = np.where(spoilt, np.nan if size == "nan" else np.copysign(np.inf, x), x)
    x = x.astype(dtype)
    return lay(x, layout)


def lay(x, layout):
    if layout == "swapped" and x.dtype.name != "bfloat16":  # of which there is but one order
        return x.astype(x.dtype.newbyteorder(">"))
    if layout == "strided":
        spread = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
        spread[..., ::2] = x
        return spread[..., ::2]
    if layout == "read-only":
        x.flags.writeable = False
    return x


@functools.cache
def ordinary():
    """Return the inputs of the cases in float64; numbers that are drawn stay within ±4."""
    return agreement.inputs(xnp, "float64")


DATA = [
    "x",
    "weight",
    "other",
    "bias",
    "scale",
    "shift",
    "query",
    "key",
    "value",
    "scores",
    "shares",
    "packed",
    "batch",
]
PARAMETERS = ("blocks", "gated", "encoder")


def inputs(change, parameters):
    """Return the inputs with every floating array of data, and every parameter, changed."""
    i = SimpleNamespace(**vars(ordinary()))
    for name in DATA:
        setattr(i, name, change(getattr(i, name)))
    i.blocks = [companion.map_parameters(parameters, b) for b in i.blocks]
    i.gated = companion.map_parameters(parameters, i.gated)
    embedding = companion.map_parameters(parameters, i.encoder.embedding)
    i.encoder = SimpleNamespace(
        config=i.encoder.config, embedding=embedding, blocks=tuple(i.blocks)
    )
    return i


def arrays(result):
    parts = result if isinstance(result, tuple | list) else [result]
    return [companion.to_numpy(part) for part in parts]


# What passes between the parts of these is rounded to the arguments' dtype, and a softmax of scores
# far from 0 turns on a digit that 16 bits do not hold.
COMPOSED = [
    "attend_heads",
    "head_contributions",
    "multi_head_attention",
    "transformer_block",
    "transformer_stack",
]
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
    "additive_mask",
    "causal_mask",
    "combine_masks",
    "embed_tokens",
    "padding_mask",
    "sinusoidal_positions",
    "token_states",
    "window_mask",
]
NO_MATRIX = [  # but arrays of one axis, or of three
    "map_parameters",
    "mean_pool (all)",
    "merge_heads",
    "move_parameters",
    "scaled_dot_product_attention",
    "scaled_dot_product_attention (tiled)",
    "scaled_scores",
]
NO_ARGUMENT = ["causal_mask", "sinusoidal_positions", "window_mask"]
# The calls of these cut more rows out than an empty array has, which array-api-strict refuses.
CUT = ["embed", "empty_state", "merge_states", "pack_batch", "softmax_state", "state_output"]

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
                "feed_forward",
                "token_states",
                "transformer_block",
                "transformer_stack",
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
    for n, (dtype, size) in enumerate((d, s) for d in DTYPES for s in SIZES):
        yield dtype, size, LAYOUTS[(turn + n + n // len(SIZES)) % len(LAYOUTS)], "numpy"
        if dtype.startswith("float") and dtype != "float16" and (turn + n) % 2:
            yield dtype, size, "native", "strict"
        if (n - 5 * turn) % (len(DTYPES) * len(SIZES)) == 0:
            yield dtype, size, "native", "jax"
    for n, kind in enumerate((*KINDS, "ids")):
        if name == "pack_rows" and kind == "empty":
            continue  # its rows are taken by number
        yield list(DTYPES)[(turn + n) % len(DTYPES)], "ordinary", kind, "numpy"
        if kind in ("integer", "boolean", "ids") or (kind == "empty" and name not in CUT):
            yield ("float32", "float64")[turn % 2], "ordinary", kind, "strict"


def test_the_sweep_knows_every_public_function():
    public = {
        name
        for name in companion.__all__
        if callable(getattr(companion, name)) and not isinstance(getattr(companion, name), type)
    }
    swept = {name.split(" ")[0] for name in CASES}
    assert public == swept | NO_ARRAYS | EVERYWHERE
    assert not swept & (NO_ARRAYS | EVERYWHERE)


def test_the_cells_pair_everything():
    found = [(name.split(" ")[0], *cell) for name in CASES for cell in cells(name)]
    for column in (2, 3):
        assert {(c[1], c[column]) for c in found} >= {
            (d, s) for d in DTYPES for s in (SIZES if column == 2 else (*LAYOUTS, *KINDS))
        }
    assert {(c[2], c[3]) for c in found} >= {(s, lay) for s in SIZES for lay in LAYOUTS}
    assert {(c[2], c[4]) for c in found} >= {(s, o) for s in SIZES for o in LIBRARIES}
    assert {c[1] for c in found if c[4] == "jax"} == set(DTYPES)


LIBRARIES = {"numpy": xnp, "strict": array_api_strict, "jax": jnp}


def moved(xp, x):
    if xp is xnp:
        return x
    return xp.asarray(x, dtype=getattr(xp, x.dtype.name))


def given(name, dtype, size, kind, library):
    """Return the inputs of a cell, and the same numbers in a longer dtype."""
    xp, dtype = LIBRARIES[library], DTYPES[dtype]
    layout = kind if kind in LAYOUTS else "native"

    def data(x):
        return place(x, size, dtype, layout, name)

    short = inputs(data, lambda x: lay(x.astype(dtype), layout))
    short.dtype = short.x.dtype
    if size in ("infinite", "nan"):  # rows of weights sum to one
        short.shares = place(ordinary().shares, "ordinary", dtype, layout, name)
    turn = sorted(CASES).index(name)
    if kind == "empty":
        change(short, emptied)
    elif kind == "masked":
        change(short, lambda x: np.ma.masked_array(x, mask=x == x.flat[0]))
    elif kind == "matrix":
        change(short, lambda x: x.view(np.matrix) if x.ndim == 2 else x)
        short.ids = short.ids[None, :].view(np.matrix)
    elif kind in ("integer", "boolean", "object"):
        to = {"boolean": np.bool_, "object": object}.get(kind, INTEGERS[turn % len(INTEGERS)])
        for one in DATA:
            setattr(short, one, np.abs(getattr(short, one)).astype(to))
    elif kind == "ids":
        short.ids = short.ids.astype(INTEGERS[turn % len(INTEGERS)])
    wide = np.dtype(np.longdouble if dtype == np.float64 else np.float64)

    def longer(x):
        x = np.array(x, dtype=wide if x.dtype in (short.dtype, dtype) else x.dtype)
        if library == "jax" and x.dtype == wide:  # it flushes subnormal numbers
            x[np.abs(x) < float(ml_dtypes.finfo(dtype).smallest_normal)] = 0
        return x

    long = inputs(lambda x: x, lambda x: longer(x.astype(dtype)))
    long.dtype = wide
    for one in (*DATA, "ids", "visible", "is_token"):
        setattr(long, one, longer(getattr(short, one)))
    if library != "numpy":
        short = elsewhere(xp, short)
    return short, long


def emptied(x):
    """Return what is left of an array without its tokens: (…, 0, d) of (…, N, d)."""
    return x[tuple(slice(0) if n == agreement.N else slice(None) for n in x.shape)]


def change(i, function):
    for name in (*DATA, "ids", "visible", "is_token"):
        setattr(i, name, function(getattr(i, name)))


def elsewhere(xp, i):
    move = functools.partial(moved, xp)
    change(i, move)
    i.xp, i.dtype = xp, getattr(xp, i.dtype.name)
    i.blocks = [companion.map_parameters(move, b) for b in i.blocks]
    i.gated = companion.map_parameters(move, i.gated)
    i.encoder = SimpleNamespace(
        config=i.encoder.config,
        embedding=companion.map_parameters(move, i.encoder.embedding),
        blocks=tuple(i.blocks),
    )
    return i


FEED_FORWARD = importlib.import_module("companion.feed_forward")  # not the function


def erfc(x):
    """Do for numbers of 80 bits too what SciPy does for 64; theirs are within a rounding."""
    return scipy.special.erfc(x.astype(np.float64)).astype(x.dtype)


def complaint(name, cell):
    """Return what is wrong with a cell, None where it is right."""
    dtype, _size, kind, library = cell
    short, long = given(name, *cell)
    error = expected_error(name, kind)
    if error is None and library == "strict":
        error = ERRORS.get((name.split(" ")[0], "strict"))
    case = CASES[name]
    if error is not None:
        try:
            arrays(case.call(short))
        except error[0] as found:
            return None if error[1] in str(found) else f"says {found}"
        except Exception as found:
            return f"{type(found).__name__}: {found}"
        return f"no {error[0].__name__}"
    with np.errstate(all="ignore"), mock.patch.object(FEED_FORWARD, "complementary_error", erfc):
        right = arrays(case.call(long))
        limit = float(ml_dtypes.finfo(DTYPES[dtype]).max)
        finite = all(
            np.isfinite(r).all() and (np.abs(r) <= limit).all()
            for r in right
            if r.dtype.kind == "f"
        )
    loud = contextlib.nullcontext() if finite else np.errstate(all="ignore")
    try:
        with loud:
            got = arrays(case.call(short))
    except Exception as found:
        return f"{type(found).__name__}: {found}"
    if len(got) != len(right):
        return f"{len(got)} results for {len(right)}"
    for a, b in zip(got, right, strict=True):
        if wrong := difference(name, case, cell, a, b, long):
            return wrong
    return None


def difference(name, case, cell, got, right, long):
    dtype, size, _kind, _library = cell
    if got.shape != right.shape:
        return f"shape {got.shape} for {right.shape}"
    if right.dtype.kind not in "fV":
        same = np.array_equal(got, right)
        return None if same else "other values"
    own = DTYPES[dtype]
    if (
        right.dtype == long.dtype
        and got.dtype.newbyteorder("=") != own
        and name.split(" ")[0] not in STATES
    ):
        return f"dtype {got.dtype} for {own}"
    with np.errstate(all="ignore"):
        rounded = right.astype(own).astype(right.dtype)
        got = got.astype(right.dtype)
        known = np.isfinite(rounded)
        if not np.array_equal(got[~known], rounded[~known], equal_nan=True):
            return f"{got[~known][:3]} for {rounded[~known][:3]}"
        if not np.isfinite(got[known]).all():
            lost = known & ~np.isfinite(got)
            return f"{got[lost][:3]} for finite {rounded[lost][:3]}"
    if name in COMPOSED and size == "largest":
        return None
    got, right = got[known], right[known]
    allowed = np.broadcast_to(tolerance(name, case, cell, right, long), right.shape)
    far = ~(np.abs(got - right) <= allowed)
    if far.any():
        return f"{got[far][:3]} for {right[far][:3]}, off by more than {allowed[far][:3]}"
    return None


STATES = ["softmax_state", "merge_states", "empty_state", "state_output"]


def tolerance(name, case, cell, right, long):
    dtype, _size, _kind, library = cell
    info = ml_dtypes.finfo(DTYPES[dtype])
    narrow = dtype in ("float16", "bfloat16")
    computed = np.float32 if narrow else DTYPES[dtype]
    sizes = np.abs(right)
    if name.split(" ")[0] not in ELEMENTWISE:
        sizes = np.max(sizes, initial=0.0)
    if case.proved:
        absolute = {n: np.abs(v) for n, v in vars(long).items() if n in DATA}
        with np.errstate(all="ignore"):
            summed = arrays(case.call(SimpleNamespace(**(vars(long) | absolute))))
        sizes = max(np.max(np.abs(part[np.isfinite(part)]), initial=0.0) for part in summed)
    # What is computed, and what is rounded when it is handed on: once, or after each part.
    share = 2 * rounding.gamma(case.roundings, rounding.unit_roundoff(np.dtype(computed).name))
    rounded = float(info.eps) * (16 if name in (*COMPOSED, *LONG) else 1) * narrow
    least = (
        np.finfo(computed).smallest_normal
        if library == "jax"
        else np.finfo(computed).smallest_subnormal
    )
    least = max(
        float(least),
        float(info.smallest_normal if library == "jax" else info.smallest_subnormal) * narrow,
    )
    return (share + rounded) * sizes + 64 * least


LONG = [
    "feed_forward",
    "gated_feed_forward",
    "token_states",
    "embed_tokens",
    "score_variance_terms",
]


@pytest.mark.parametrize("name", CASES)
def test_every_cell_is_right_or_a_listed_error(name):
    found = {cell: complaint(name, cell) for cell in cells(name)}
    assert {cell: what for cell, what in found.items() if what} == {}


# Integers of Python and of NumPy, in the narrowest dtype that holds them.
WHOLE = {
    "causal_mask": lambda n: companion.causal_mask(n(100), n(120), query_offset=n(100)),
    "window_mask": lambda n: companion.window_mask(n(100), window=(n(100), n(90))),
    "online_attention": lambda n: companion.online_attention(*[LONG_ROWS] * 3, block_size=n(100)),
    "parallel_map": lambda n: np.asarray(companion.parallel_map(np.sqrt, range(200), threads=n(2))),
    "score_variance": lambda n: np.asarray(
        companion.score_variance(
            n(100), query_mean=n(100), query_variance=n(100), key_variance=n(100)
        )
    ),
    "sinusoidal_positions": lambda n: companion.sinusoidal_positions(n(127), n(127)),
    "softmax": lambda n: companion.softmax(LONG_ROWS, axis=n(1)),
    "split_heads": lambda n: companion.split_heads(LONG_ROWS.mT, n(100)),
    "split_packed_projection": lambda n: companion.split_packed_projection(
        LONG_ROWS[:, 0], heads=n(10), d_k=n(10)
    ),
    "AttentionParameters.random": lambda n: (
        companion.AttentionParameters.random(
            np.random.default_rng(0), width=n(120), heads=n(12), d_k=n(20)
        ).w_o
    ),
    "BlockParameters.random": lambda n: (
        companion.BlockParameters.random(
            np.random.default_rng(0), width=n(120), heads=n(12), hidden=n(127)
        ).feed_forward.w_1
    ),
    "cost.product": lambda n: np.asarray(companion.cost.product(n(100), n(100), n(100)).flops),
    "cost.Sizes": lambda n: np.asarray(
        companion.cost.total(
            companion.cost.block(90, 90, companion.cost.Sizes(n(120), n(12)))
        ).flops
    ),
}
LONG_ROWS = np.random.default_rng(5).standard_normal((300, 4))


@pytest.mark.parametrize("width", [np.int8, np.uint8, np.int16, np.uint64])
@pytest.mark.parametrize("name", WHOLE)
def test_integers_of_every_width_do_what_pythons_do(name, width):
    for got, right in zip(arrays(WHOLE[name](width)), arrays(WHOLE[name](int)), strict=True):
        np.testing.assert_array_equal(got, right, strict=True)


def test_tokens_may_come_one_by_one(tmp_path):
    words = ["The", "black", "cat", "the"]
    vocabulary = companion.build_vocabulary(map(str.lower, words))
    assert vocabulary == {"the": 0, "black": 1, "cat": 2}
    ids = companion.token_ids(map(str.lower, words), vocabulary, xp=xnp)
    assert ids.tolist() == [0, 1, 2, 0]
    (tmp_path / "words").write_text("cat\ndog\ncat\n", encoding="utf-8")
    with (tmp_path / "words").open(encoding="utf-8") as lines:
        assert companion.build_vocabulary(lines) == {"cat\n": 0, "dog\n": 1}
    with pytest.raises(ValueError, match="at least one token, got none"):
        companion.build_vocabulary(iter([]))


@pytest.mark.parametrize(
    "call",
    [
        lambda i, one: companion.pack_rows(one(i.x[:3, :])),
        lambda i, one: companion.pack_batch(one(i.batch)),
        lambda i, one: companion.transformer_stack(i.x, i.blocks, states=one([None, None])),
        lambda i, one: companion.map_parameters(abs, one(i.blocks)),
        lambda i, one: companion.count_parameters(one(i.blocks)),
    ],
)
def test_where_a_sequence_is_needed_an_iterator_is_refused(call):
    call(ordinary(), list)
    with pytest.raises(TypeError):
        call(ordinary(), iter)


def test_blocks_may_come_one_by_one():
    i = ordinary()
    np.testing.assert_array_equal(
        companion.transformer_stack(i.x, iter(i.blocks)), companion.transformer_stack(i.x, i.blocks)
    )


@pytest.mark.parametrize("cap", [1e-320, 1e-310, 1e-44, 1e-39, 1e-3, 30.0, 1e25, 1e38, 4e38, 1e300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_cap_of_every_size_is_a_cap(cap, dtype):
    info = np.finfo(dtype)
    ends = np.asarray([info.smallest_subnormal, info.tiny, 1e-30, 1e-3, 1, 7, 1e30, info.max])
    scores = np.concatenate([-ends, [0], ends]).astype(dtype)
    wide = scores.astype(np.longdouble)
    right = (np.tanh(wide / cap) * cap).astype(dtype)
    got = companion.soft_cap(scores, cap)
    # Where the quotient is subnormal in tanh's own longer format too, the identity is as right.
    np.testing.assert_allclose(got, right, rtol=8 * info.eps, atol=float(info.smallest_subnormal))


@pytest.mark.parametrize("norm", [companion.layer_norm, companion.rms_norm])
def test_a_row_is_normed_by_itself_whatever_stands_beside_it(norm):
    x = np.random.default_rng(0).standard_normal((2, 5)).astype(np.float32)
    weight = np.ones(5, np.float32)
    alone = norm(x[:1], weight)
    x[1] *= 2e38 / np.abs(x[1]).max()
    both = norm(x, weight)
    np.testing.assert_array_equal(both[:1], alone)
    np.testing.assert_allclose(both, norm(x.astype(np.float64), weight.astype(np.float64)), 1e-6)
