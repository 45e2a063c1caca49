"""One cell of the sweep: its numbers, the same in a longer dtype, and whether the call is right."""

import contextlib
import functools
import importlib
from types import SimpleNamespace
from unittest import mock

import array_api_compat.numpy as xnp
import ml_dtypes
import numpy as np
import scipy.special

import companion
from benchmarks import agreement
from companion.cost import rounding
from tests.support.sweep_cells import (
    CASES,
    COMPOSED,
    DTYPES,
    ELEMENTWISE,
    ERRORS,
    LAYOUTS,
    LIBRARIES,
    LONG,
    MULTIPLIED,
    NORMED,
    STATES,
    expected_error,
)

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
DATA = [
    "x",
    "wide",
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
ERFC = [  # the modules, not the functions
    importlib.import_module(name)
    for name in ("companion.feed_forward", "companion.gradients.feed_forward")
]


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
    with np.errstate(all="ignore"), contextlib.ExitStack() as patches:
        for module in ERFC:
            patches.enter_context(mock.patch.object(module, "complementary_error", erfc))
        right = arrays(case.call(long))
        limit = float(ml_dtypes.finfo(DTYPES[dtype]).max)
        finite = all((np.abs(part) <= limit).all() for part in right if part.dtype.kind == "f")
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


def inputs(change, parameters):
    """Return the inputs with every floating array of data, and every parameter, changed."""
    i = SimpleNamespace(**vars(ordinary()))
    for name in DATA:
        setattr(i, name, change(getattr(i, name)))
    i.blocks = [companion.map_parameters(parameters, b) for b in i.blocks]
    i.gated = companion.map_parameters(parameters, i.gated)
    i.language_model = companion.map_parameters(parameters, i.language_model)
    embedding = companion.map_parameters(parameters, i.encoder.embedding)
    i.encoder = SimpleNamespace(
        config=i.encoder.config, embedding=embedding, blocks=tuple(i.blocks)
    )
    return i


def change(i, function):
    for name in (*DATA, "ids", "visible", "is_token"):
        setattr(i, name, function(getattr(i, name)))


def emptied(x):
    """Return what is left of an array without its tokens: (…, 0, d) of (…, N, d)."""
    return x[tuple(slice(0) if n == agreement.N else slice(None) for n in x.shape)]


def elsewhere(xp, i):
    move = functools.partial(moved, xp)
    change(i, move)
    i.xp, i.dtype = xp, getattr(xp, i.dtype.name)
    i.blocks = [companion.map_parameters(move, b) for b in i.blocks]
    i.gated = companion.map_parameters(move, i.gated)
    i.language_model = companion.map_parameters(move, i.language_model)
    i.encoder = SimpleNamespace(
        config=i.encoder.config,
        embedding=companion.map_parameters(move, i.encoder.embedding),
        blocks=tuple(i.blocks),
    )
    return i


@functools.cache
def ordinary():
    """Return the inputs of the cases in float64; numbers that are drawn stay within ±4."""
    return agreement.inputs(xnp, "float64")


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


def moved(xp, x):
    if xp is xnp:
        return x
    return xp.asarray(x, dtype=getattr(xp, x.dtype.name))


def erfc(x):
    """Do for numbers of 80 bits too what SciPy does for 64; theirs are within a rounding."""
    return scipy.special.erfc(x.astype(np.float64)).astype(x.dtype)


def arrays(result):
    parts = result if isinstance(result, tuple | list) else [result]
    return [companion.to_numpy(part) for part in parts]


def difference(name, case, cell, got, right, long):
    dtype, size, _kind, library = cell
    if got.shape != right.shape:
        return f"shape {got.shape} for {right.shape}"
    if right.dtype.kind not in "fV":
        same = np.array_equal(got, right)
        return None if same else "other values"
    own = DTYPES[dtype]
    floating = right.dtype == long.dtype and name.split(" ")[0] not in STATES
    if floating and got.dtype.newbyteorder("=") != own:
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
    if name in NORMED and library == "jax" and size in ("smallest", "subnormal"):
        return None
    got, right = got[known], right[known]
    allowed = np.broadcast_to(tolerance(name, case, cell, right, long), right.shape)
    far = ~(np.abs(got - right) <= allowed)
    if far.any():
        return f"{got[far][:3]} for {right[far][:3]}, off by more than {allowed[far][:3]}"
    return None


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
    kind = "smallest_normal" if library == "jax" else "smallest_subnormal"
    least = max(float(getattr(ml_dtypes.finfo(one), kind)) for one in (computed, DTYPES[dtype]))
    return (share + rounded) * sizes + 64 * least
