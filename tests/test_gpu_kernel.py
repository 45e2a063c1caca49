"""The fused pass of the tiled form on CuPy.

Where there is no GPU, the text of its kernels is compiled for the host instead and run in loops, so
that what they say is tested; how CuPy launches them is tested where CuPy is.
"""

import ctypes
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given

from companion import scaled_dot_product_attention as attend
from companion.arrays import to_numpy
from companion.kernels import gpu, tiled
from companion.kernels.textbook import masked_softmax
from tests.support.exactness import assert_as_exact_as_textbook, draw, problems
from tests.support.homes import STRICT

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
compiled = pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler: install g++")
TYPES = {"float": np.float32, "double": np.float64}
LOOPS = """
#include <cmath>
using std::exp, std::tanh;
#define __device__
#define max(a, b) std::fmax(a, b)
{preamble}
extern "C" void kernel(long rows, long columns, {pointers}) {{
    for (long _row = 0; _row < rows; ++_row) {{
        [[maybe_unused]] T _sum = T({identity});
        for (long _at = _row * columns; _at < (_row + 1) * columns; ++_at) {{
            {inputs}
            {body}
        }}
        {end}
    }}
}}
"""


def build(definition, kind, folder):
    """Compile one of CuPy's kernels as a loop over the rows of arrays of one shape."""
    given = [p.split() for p in definition["in_params"].split(", ")]
    out_type, out = definition["out_params"].split()
    if "operation" in definition:
        body = f"{out_type} {out}; {definition['operation']} _raw_{out}[_at] = {out};"
        end = ""
    else:
        body = f"const T a = _sum, b = T({definition['map_expr']});"
        body += f"_sum = T({definition['reduce_expr']});"
        end = f"const T a = _sum; T {out}; {definition['post_map_expr']}; _raw_{out}[_row] = {out};"
    text = LOOPS.format(
        preamble=f"typedef {kind} T;\n{definition['preamble']}",
        pointers=", ".join(
            [f"const {t} *_raw_{n}" for t, n in given] + [f"{out_type} *_raw_{out}"]
        ),
        identity=definition.get("identity", "0"),
        inputs="\n".join(f"const {t} &{n} = _raw_{n}[_at];" for t, n in given),
        body=body,
        end=end,
    )
    name = f"{definition['name']}_{kind}"
    source, library = folder / f"{name}.cpp", folder / f"{name}.so"
    source.write_text(text, encoding="utf-8")
    command = [COMPILER, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", library, source], check=True)
    return ctypes.CDLL(str(library)).kernel, [t for t, _ in given]


class HostKernel:
    """Calls a compiled kernel as CuPy's is called, on arrays of the strict namespace."""

    def __init__(self, definition, folder):
        self.reduces = "map_expr" in definition
        self.made = {dtype: build(definition, kind, folder) for kind, dtype in TYPES.items()}

    def __call__(self, *given, axis=None, keepdims=False):
        assert (axis, keepdims) == ((-1, True) if self.reduces else (None, False))
        scores = to_numpy(given[0])
        function, types = self.made[scores.dtype.type]
        arrays = [
            np.ascontiguousarray(
                np.broadcast_to(to_numpy(a) if hasattr(a, "shape") else a, scores.shape),
                bool if t == "bool" else scores.dtype,
            )
            for a, t in zip(given, types, strict=False)
        ]
        assert len(given) == len(types) + (0 if self.reduces else 1)  # the last is written into
        shape = (*scores.shape[:-1], 1) if self.reduces else scores.shape
        output = np.empty(shape, scores.dtype)
        rows = scores.size // scores.shape[-1]
        pointers = (ctypes.c_void_p(a.ctypes.data) for a in (*arrays, output))
        function(ctypes.c_long(rows), ctypes.c_long(scores.shape[-1]), *pointers)
        return STRICT.asarray(output)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    names = ("LARGEST", "TOTAL", "WEIGHTS")
    return tuple(HostKernel(getattr(gpu, name), folder) for name in names)


@pytest.fixture
def fused(kernels, monkeypatch):
    """Let other array modules than NumPy go the way of CuPy."""
    monkeypatch.setattr(gpu, "_kernels", lambda: kernels)
    monkeypatch.setattr(tiled, "masked_softmax", gpu.fused_softmax)
    return gpu.fused_softmax


@compiled
@given(problem=problems())
def test_the_fused_pass_is_as_exact_as_the_textbook(kernels, problem):
    arrays, options = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "_kernels", lambda: kernels)
        patch.setattr(tiled, "masked_softmax", gpu.fused_softmax)
        patch.setattr(tiled, "SCORES", 100)
        move = {k: STRICT.asarray(v) for k, v in options.items() if isinstance(v, np.ndarray)}
        given_arrays = (STRICT.asarray(a) for a in arrays)
        output = attend(*given_arrays, implementation="tiled", **(options | move))
    assert_as_exact_as_textbook(arrays, to_numpy(output), **options)


HOSTILE = {
    "far apart": [3e38, -3e38, 0.0],
    "all hidden by overflow": [-np.inf, -np.inf, -np.inf],
    "infinite": [np.inf, 0.0, 1.0],
    "infinite where a mask hides": [0.0, np.inf, 1.0],
    "not a number": [np.nan, 0.0, 1.0],
    "equal and huge": [3e38, 3e38, 3e38],
    "equal and hugely negative": [-3e38, -3e38, -3e38],
}


@compiled
@pytest.mark.parametrize("mask", ["none", "boolean", "float", "both"])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_scores_give_the_textbook_weights(fused, name, softcap, mask):
    scores = np.asarray([HOSTILE[name], HOSTILE[name][::-1]], np.float32)
    boolean = np.asarray([[True, False, True], [False, False, False]])
    shift = np.asarray([[0.5, -np.inf, 1.0]])
    masks = {"none": [], "boolean": [boolean], "float": [shift], "both": [shift, boolean]}[mask]
    masks = [STRICT.asarray(m) for m in masks]
    with np.errstate(invalid="ignore"):  # ∞ − ∞, of which NumPy warns rightly
        expected = masked_softmax(STRICT.asarray(scores), masks, softcap)
    weights = fused(STRICT.asarray(scores), masks, softcap)
    np.testing.assert_allclose(to_numpy(weights), to_numpy(expected), rtol=1e-6)


@compiled
def test_what_is_hidden_never_counts(fused):
    scores = STRICT.asarray(np.asarray([[1.0, np.nan, np.inf]], np.float32))
    hidden = STRICT.asarray(np.asarray([[True, False, False]]))
    np.testing.assert_array_equal(to_numpy(fused(scores, [hidden], None)), [[1.0, 0.0, 0.0]])


def test_no_scores_need_no_kernel(monkeypatch):
    monkeypatch.setattr(gpu, "_kernels", lambda: pytest.fail("launched"))
    for shape in ((2, 0), (0, 3)):
        assert gpu.fused_softmax(STRICT.asarray(np.ones(shape)), [], None).shape == shape


def test_only_cupy_goes_the_fused_way(monkeypatch):
    taken = []

    def weigh(scores, masks, softcap):
        taken.append("fused")
        return masked_softmax(scores, masks, softcap)

    monkeypatch.setattr(tiled, "fused_softmax", weigh)
    arrays = [
        STRICT.asarray(a) for a in draw(np.random.default_rng(0), np.float32, *[(2, 5, 4)] * 3)
    ]
    attend(*arrays, implementation="tiled")
    assert taken == []
    compat = SimpleNamespace(**vars(tiled.array_api_compat))
    compat.is_cupy_namespace = lambda _: True
    monkeypatch.setattr(tiled, "array_api_compat", compat)
    attend(*arrays, implementation="tiled")
    assert taken == ["fused"]


def test_nothing_waits_for_the_device(monkeypatch):
    """A number of an array that is asked for on the host would wait until all before it is done."""
    rng = np.random.default_rng(1)
    arrays = [STRICT.asarray(a) for a in draw(rng, np.float32, *[(2, 2, 30, 4)] * 3)]
    mask, offsets = STRICT.asarray(rng.random((30, 30)) < 0.9), STRICT.asarray(np.asarray([0, 3]))
    monkeypatch.setattr(tiled, "SCORES", 100)
    for name in ("__bool__", "__int__", "__float__", "__index__"):
        monkeypatch.setattr(type(mask), name, lambda _, name=name: pytest.fail(f"{name} waits"))
    for options in ({}, {"query_offset": offsets, "window": (5, 2)}, {"softcap": 2.0}):
        attend(*arrays, mask, is_causal=True, implementation="tiled", **options)


def test_half_precision_keys_are_widened_once(monkeypatch):
    widened = []
    compute = tiled.textbook_attention

    def look(xp, query, key, value, *rest, **options):
        widened.append(key.dtype)
        return compute(xp, query, key, value, *rest, **options)

    monkeypatch.setattr(tiled, "SCORES", 100)
    monkeypatch.setattr(tiled, "textbook_attention", look)
    compat = SimpleNamespace(**vars(tiled.array_api_compat))
    compat.is_numpy_namespace = lambda _: False
    monkeypatch.setattr(tiled, "array_api_compat", compat)
    arrays = draw(np.random.default_rng(2), np.float16, *[(2, 30, 4)] * 3)
    output = attend(*arrays, implementation="tiled")
    assert output.dtype == np.float16
    assert len(widened) > 2
    assert set(widened) == {np.dtype(np.float32)}
    expected = attend(*arrays, implementation="textbook")
    np.testing.assert_allclose(output, expected, atol=2e-3)
