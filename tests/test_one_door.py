"""Arguments are checked once, at the door: the forms behind it trust, and call what trusts."""

import ast
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest

import companion
from companion import arrays

PACKAGE = Path(companion.__file__).parent
INNER = ("unchecked_", "textbook_attention")


def functions():
    """List (file, function) of every form of the library that trusts its arguments."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith(INNER):
                found.append((path.relative_to(PACKAGE).as_posix(), node))
    return found


def checks_called(node):
    """List what checks among the names that a function calls."""
    public = {n for n in companion.__all__ if inspect.isfunction(getattr(companion, n))}
    called = {
        call.func.id
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    }
    return {name for name in called if name in public or name.startswith(("check_", "require_"))}


@pytest.mark.parametrize(
    ("file", "node"), functions(), ids=lambda part: getattr(part, "name", part)
)
def test_what_trusts_calls_nothing_that_checks(file, node):
    # What an activation of the caller's returns comes in through the door.
    allowed = {"project"} if file == "feed_forward.py" else set()
    assert checks_called(node) <= allowed


def test_every_unchecked_form_stands_behind_a_door_of_its_name():
    for file, node in functions():
        if node.name.startswith("unchecked_"):
            door = node.name.removeprefix("unchecked_")
            names = {
                inner.name
                for inner in ast.parse((PACKAGE / file).read_text(encoding="utf-8")).body
                if isinstance(inner, ast.FunctionDef)
            }
            assert door in names
            assert node.args.args[0].arg == "xp"
            assert not node.args.defaults


@pytest.fixture
def entered(monkeypatch):
    """Record the arguments of every call that asks arrays for their library."""
    calls, real = [], arrays.array_namespace

    def recorded(*given, **named):
        calls.append((*named, *given))
        return real(*given, **named)

    for name, module in list(sys.modules.items()):
        if name.startswith("companion.") and getattr(module, "array_namespace", None) is real:
            monkeypatch.setattr(module, "array_namespace", recorded)
    return calls


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("gated", [False, True])
def test_a_block_asks_for_the_library_of_its_arrays_once(entered, norm, gated):
    rng = np.random.default_rng(0)
    block = companion.BlockParameters.random(rng, width=6, heads=2, hidden=10, gated=gated)
    x = rng.standard_normal((3, 5, 6))
    mask = companion.padding_mask(np.ones((3, 5), dtype=bool))
    entered.clear()
    companion.transformer_block(x, block, norm=norm, attn_mask=mask, is_causal=True)
    assert entered == [("x", "context", "w_q")]


@pytest.mark.parametrize("implementation", ["textbook", "tiled"])
def test_attention_asks_once(entered, implementation):
    x = np.ones((2, 5, 8))
    companion.scaled_dot_product_attention(
        x, x, x, is_causal=True, window=(2, 0), implementation=implementation
    )
    assert len(entered) == 1


def test_what_a_function_of_the_callers_returns_is_checked():
    rng = np.random.default_rng(0)
    block = companion.BlockParameters.random(rng, width=6, heads=2, hidden=10)
    x = rng.standard_normal((5, 6))
    with pytest.raises(TypeError, match="w_2 must have the dtype of x, float32, got float64"):
        companion.transformer_block(x, block, activation=lambda h: h.astype(np.float32))
    with pytest.raises(ValueError, match=r"w_2 must be \(\.\.\., d=9, d_out\)"):
        companion.feed_forward(x, block.feed_forward, activation=lambda h: h[..., 1:])
    with pytest.raises(ValueError, match=r"key must be \(\.\.\., H_kv, S, d_k=3\)"):
        companion.transformer_block(x, block, state=lambda q, k, v: (q, k[..., 1:], v))


# A bad call of a composed function is told what its part would have said.
RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 6))
BLOCK = companion.BlockParameters.random(RNG, width=6, heads=2, hidden=10)
ATTENTION = BLOCK.attention
SINGLE = companion.move_parameters(BLOCK, companion.array_module("numpy"), dtype=np.float32)


@pytest.mark.parametrize(
    ("options", "error", "part"),
    [
        ({"attn_mask": [[True]]}, TypeError, "attn_mask must be an array of an array library"),
        (
            {"attn_mask": np.ones((4, 4)) == 1},
            ValueError,
            r"to the scores \(2, 5, 5\), got \(4, 4\)",
        ),
        ({"attn_mask": np.ones((5, 5), int)}, TypeError, "attn_mask must be boolean or real"),
        ({"query_offset": np.ones(2)}, TypeError, "query_offset must have an integer dtype"),
        (
            {"query_offset": np.ones(2, int)},
            ValueError,
            r"of the batch shape \(\), got shape \(2,\)",
        ),
        ({"window": 3}, TypeError, "window must be a pair"),
        ({"scale": np.inf}, ValueError, "scale must be finite"),
        ({"softcap": -1.0}, ValueError, "softcap must be finite and not negative"),
        ({"is_causal": "yes"}, TypeError, "is_causal must be True or False"),
        ({"threads": 0}, ValueError, "threads must be at least 1"),
        ({"implementation": "fast"}, ValueError, "implementation must be one of"),
        ({"colour": 1}, TypeError, r"attention\(\) got an unexpected keyword argument 'colour'"),
        ({"context": X[0]}, ValueError, r"context must be \(\.\.\., N, d\), got shape \(6,\)"),
        ({"context": X[:, :5]}, ValueError, r"w_k must be \(\.\.\., d=5, d_out\)"),
        ({"context": X.astype("f4")}, TypeError, "w_k must have the dtype of x, float32"),
    ],
)
def test_options_are_checked_at_the_door_of_heads_and_block(options, error, part):
    with pytest.raises(error, match=part):
        companion.multi_head_attention(X, ATTENTION, **options)
    for norm in ("post", "pre"):
        with pytest.raises(error, match=part):
            companion.transformer_block(X, BLOCK, norm=norm, **options)


def test_the_block_says_which_array_does_not_fit():
    with pytest.raises(TypeError, match="w_q must have the dtype of x, float64, got float32"):
        companion.transformer_block(X, SINGLE)
    with pytest.raises(TypeError, match="weight must have the dtype of x, float64, got float32"):
        companion.transformer_block(X, SINGLE, norm="pre")
    with pytest.raises(ValueError, match=r"eps must not be negative, got -1"):
        companion.transformer_block(X, BLOCK, eps=-1)
    with pytest.raises(ValueError, match=r"weight must be \(d,\) to match x \(5, 5\)"):
        companion.transformer_block(X[:, :5], BLOCK, norm="pre")
    with pytest.raises(TypeError, match=r"norm_1\.weight must have the dtype of attention\.w_q"):
        companion.BlockParameters(ATTENTION, SINGLE.norm_1, BLOCK.feed_forward, BLOCK.norm_2)
    batches = np.ones((2, 5, 6)), np.ones((3, 5, 6))
    with pytest.raises(ValueError, match="batch shapes that broadcast"):
        companion.multi_head_attention(batches[0], ATTENTION, context=batches[1])
