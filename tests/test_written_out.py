"""What a page writes out before it calls the library is the library's function, on other inputs.

A cell tagged `written-out` defines a function by the library's own name, from `xp`, `math` and what
such cells before it define. The table holds a line for each: the library's function, and what both
are called with, of other sizes than the page's.
"""

import ast
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import companion
from tests.support.same import assert_same
from tests.support.tiny_language_model import tiny_parameters

ROOT = Path(__file__).parent.parent
PATHS = sorted(path for path in ROOT.glob("notebooks/*.ipynb") if path.stem != "cover")
TAG = "written-out"
LONGEST = 10  # lines of code in a function
GROUND = {"xp": companion.array_module("numpy"), "math": math}
# What a page calls of the library that no page writes out, or not whole.
LENT: dict[str, dict[str, Any]] = {
    "09_encoder": {"multi_head_attention": companion.multi_head_attention},  # with its masks
    "10_cost": {"Cost": companion.cost.Cost},
    "11_cupy": {"array_namespace": companion.array_namespace},  # it only tells libraries apart
}
RNG = np.random.default_rng(0)


class Call(NamedTuple):
    """What a function is called with."""

    arguments: tuple[Any, ...]
    options: dict[str, Any]


class Written(NamedTuple):
    """The library's function, and at least two calls with arrays of different shapes."""

    library: Callable[..., Any]
    calls: list[Call]


def call(*arguments: Any, **options: Any) -> Call:
    return Call(arguments, options)


def normal(*shape: int, dtype: type = np.float64) -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def heads_of(heads: int, width: int) -> companion.AttentionParameters:
    """Draw heads with values of another width than keys, and an output of another than x."""
    shapes = (heads, width, 5), (heads, width, 5), (heads, width, 3), (3 * heads, width + 1)
    return companion.AttentionParameters(*(normal(*shape) for shape in shapes))


def network_of(*sizes: int) -> companion.FeedForwardParameters:
    """Draw a network from d to d_ff to d_out whose biases are not neutral."""
    width, hidden, gives = sizes
    shapes = (width, hidden), (hidden,), (hidden, gives), (gives,)
    return companion.FeedForwardParameters(*(normal(*shape) for shape in shapes))


def decoder_of(**sizes: Any) -> companion.LanguageModelParameters:
    """Draw a small decoder whose norms are not neutral."""
    return tiny_parameters(np.float64, **sizes)


def block_of(heads: int, width: int) -> companion.BlockParameters:
    """Draw a block whose norms and biases are not neutral, but for attention, which has none."""
    drawn = companion.BlockParameters.random(RNG, width=width, heads=heads, hidden=width + 2)
    moved = companion.map_parameters(lambda w: w + 0.5 * normal(*w.shape), drawn)
    attention = companion.AttentionParameters.random(RNG, width=width, heads=heads, bias=False)
    return replace(moved, attention=attention)


def embedding_of(vocabulary: int, width: int) -> companion.EmbeddingParameters:
    """Draw tables of words, of more positions than they need, and of two kinds of text."""
    tables = (normal(rows, width) for rows in (vocabulary, vocabulary + 3, 2))
    return companion.EmbeddingParameters(*tables, companion.NormParameters(*normal(2, width)))


def encoder_of(width: int) -> list[companion.BlockParameters]:
    """Draw two blocks with all biases, none of them neutral."""
    made = {"width": width, "heads": 2, "hidden": width + 3}
    drawn = [companion.BlockParameters.random(RNG, **made) for _ in range(2)]
    return [companion.map_parameters(lambda w: w + 0.3 * normal(*w.shape), b) for b in drawn]


def state_of(queries: int, keys: int, d_v: int, level: float = 0) -> companion.SoftmaxState:
    """Return the state of some keys, with scores around a level."""
    return companion.softmax_state(level + normal(queries, keys), normal(keys, d_v))


def packed_of(queries: int, keys: int, d_v: int, level: float = 0) -> np.ndarray:
    """Return the same as one array, as it travels."""
    m, t, u = state_of(queries, keys, d_v, level)
    return np.concatenate([m, t, u / t], axis=-1)


# By notebook and function.
TABLE: dict[str, dict[str, Written]] = {
    "tour": {},
    "01_packing": {
        "token_ids": Written(
            companion.token_ids,
            [call(list("cab"), {"a": 0, "b": 1, "c": 2}), call(["b"] * 5, {"a": 7, "b": 0})],
        ),
        "embed": Written(
            companion.embed,
            [call(RNG.integers(0, 9, 4), normal(9, 6)), call(RNG.integers(0, 3, 7), normal(3, 2))],
        ),
        "add_positions": Written(
            companion.add_positions,
            [call(normal(4, 6), normal(8, 6)), call(normal(1, 3), normal(1, 3))],
        ),
        "sinusoidal_positions": Written(companion.sinusoidal_positions, [call(7, 6), call(1, 4)]),
        "pack_batch": Written(
            companion.pack_batch,
            [
                call([normal(4, 6), normal(1, 6), normal(3, 6)]),
                call([normal(2, 3), normal(2, 3)]),
            ],
        ),
    },
    "02_projections": {
        "project": Written(
            companion.project,
            [
                call(normal(7, 5), normal(5, 2), normal(2)),
                call(normal(1, 4), normal(4, 4)),
                call(normal(2, 3, 4), normal(4, 6), bias=normal(6)),
            ],
        ),
    },
    "03_scores": {
        "scores_loop": Written(
            companion.loops.scores_loop,
            [call(normal(3, 7), normal(4, 7)), call(normal(1, 2), normal(5, 2), scale=0.3)],
        ),
        "scaled_scores": Written(
            companion.scaled_scores,
            [
                call(normal(6, 7), normal(4, 7)),
                call(normal(2, 3, 1, 5), normal(2, 3, 8, 5)),
                call(normal(4, 2, dtype=np.float32), normal(3, 2, dtype=np.float32)),
            ],
        ),
    },
    "04_softmax": {
        "softmax_loop": Written(
            companion.loops.softmax_loop, [call(normal(3, 7)), call(normal(6, 1))]
        ),
        "weighted_values_loop": Written(
            companion.loops.weighted_values_loop,
            [call(normal(3, 7), normal(7, 2)), call(normal(1, 4), normal(4, 6))],
        ),
        "softmax": Written(
            companion.softmax,
            [
                call(normal(3, 7)),
                call(100 * normal(2, 4, 5) + 1000 * normal(2, 4, 1)),
                call(normal(6, 1, dtype=np.float32)),
            ],
        ),
        "weighted_values": Written(
            companion.weighted_values,
            [call(normal(3, 7), normal(7, 2)), call(normal(2, 1, 4), normal(2, 4, 6))],
        ),
    },
    "05_masks": {
        "causal_mask": Written(companion.causal_mask, [call(4, 7), call(6, 3), call(1, 1)]),
        "mask_scores": Written(
            companion.mask_scores,
            [
                call(normal(4, 7), RNG.random((4, 7)) < 0.6),
                call(normal(2, 3, 5), RNG.random((2, 1, 5)) < 0.6),
                call(
                    np.asarray([[np.nan, np.inf, 1]], np.float32),
                    np.asarray([[False, False, True]]),
                ),
            ],
        ),
        "scaled_dot_product_attention": Written(
            companion.scaled_dot_product_attention,
            [
                call(normal(4, 3), normal(7, 3), normal(7, 2), is_causal=True),
                call(normal(2, 6, 5), normal(2, 4, 5), normal(2, 4, 3)),
                call(*(100 * normal(3, 5, 4) for _ in range(3)), is_causal=True),
            ],
        ),
    },
    "06_heads": {
        "multi_head_attention_loop": Written(
            companion.loops.multi_head_attention_loop,
            [call(normal(4, 9), heads_of(3, 9)), call(normal(3, 8), heads_of(2, 8))],
        ),
        "split_heads": Written(
            companion.split_heads,
            [call(normal(4, 6), 3), call(normal(2, 5, 8), 2), call(normal(0, 6), 3)],
        ),
        "merge_heads": Written(
            companion.merge_heads,
            [call(normal(3, 4, 2)), call(normal(2, 2, 5, 4)), call(normal(2, 0, 4))],
        ),
        "multi_head_attention": Written(
            companion.multi_head_attention,
            [call(normal(4, 9), heads_of(3, 9)), call(normal(2, 5, 8), heads_of(2, 8))],
        ),
        "head_contributions": Written(
            companion.head_contributions,
            [call(normal(4, 9), heads_of(3, 9)), call(normal(6, 8), heads_of(2, 8))],
        ),
    },
    "07_feed_forward": {
        "relu": Written(companion.relu, [call(normal(4, 7)), call(normal(2, 3, 5))]),
        "gelu": Written(
            companion.gelu,
            [call(3 * normal(4, 7)), call(normal(2, 3, 5, dtype=np.float32)), call(normal(6) - 8)],
        ),
        "feed_forward": Written(
            companion.feed_forward,
            [
                call(normal(4, 7), network_of(7, 9, 7)),
                call(normal(2, 3, 5), network_of(5, 4, 6), activation=companion.relu),
            ],
        ),
    },
    "08_block": {
        "layer_norm": Written(
            companion.layer_norm,
            [call(normal(4, 7), normal(7), normal(7)), call(normal(2, 3, 5), normal(5), normal(5))],
        ),
        "rms_norm": Written(
            companion.rms_norm, [call(normal(4, 7), normal(7)), call(normal(2, 3, 5), normal(5))]
        ),
        "transformer_block": Written(
            companion.transformer_block,
            [
                call(normal(4, 8), block_of(2, 8)),
                call(normal(4, 8), block_of(2, 8), norm="pre"),
                call(normal(2, 3, 9), block_of(3, 9), norm="pre"),
            ],
        ),
    },
    "09_encoder": {
        "embed_tokens": Written(
            companion.embed_tokens,
            [
                call(RNG.integers(0, 9, 4), embedding_of(9, 6)),
                call(RNG.integers(0, 3, 1), embedding_of(3, 5), eps=0.1),
            ],
        ),
        "transformer_stack": Written(
            companion.transformer_stack,
            [
                call(normal(4, 8), encoder_of(8), eps=1e-12),
                call(
                    normal(2, 3, 6),
                    encoder_of(6),
                    eps=0.1,
                    attn_mask=np.asarray([[[[True, True, False]]], [[[True, True, True]]]]),
                ),
            ],
        ),
        "mean_pool": Written(
            companion.mean_pool,
            [
                call(normal(2, 5, 3), np.arange(5) < np.asarray([[5], [2]])),
                call(normal(4, 6), np.arange(4) > 1),
                call(np.asarray([[np.nan], [1]], np.float32), np.asarray([False, True])),
            ],
        ),
        "unit_rows": Written(
            companion.unit_rows, [call(normal(4, 7)), call(normal(2, 3, 1, dtype=np.float32))]
        ),
    },
    "10_cost": {
        "product": Written(
            companion.cost.product,
            [call(5, 3, 7), call(2, 8, 4, times=3, itemsize=2), call(1, 1, 1)],
        ),
        "scores": Written(
            companion.cost.scores,
            [
                call(5, 7, companion.cost.Sizes(width=12, heads=3)),
                call(1, 9, companion.cost.Sizes(width=8, heads=2, d_k=5)),
            ],
        ),
    },
    "11_cupy": {
        "softmax": Written(companion.softmax, [call(normal(4, 7)), call(normal(2, 3, 5))]),
        "scaled_dot_product_attention": Written(
            companion.scaled_dot_product_attention,
            [
                call(normal(4, 7), normal(6, 7), normal(6, 3)),
                call(normal(2, 3, 5), normal(2, 4, 5), normal(2, 4, 6)),
                call(*(normal(3, 3, dtype=np.float32) for _ in range(3))),
            ],
        ),
    },
    "12_tiled": {
        "softmax_state": Written(
            companion.softmax_state,
            [
                call(normal(4, 7), normal(7, 3)),
                call(100 * normal(2, 3, 5), normal(2, 5, 1)),
                call(normal(6, 1, dtype=np.float32), normal(1, 2, dtype=np.float32)),
            ],
        ),
        "merge_states": Written(
            companion.merge_states,
            [
                call(state_of(4, 7, 3), state_of(4, 2, 3)),
                call(state_of(3, 1, 2, level=2000), state_of(3, 5, 2, level=-2000)),
                call(state_of(3, 5, 2), companion.empty_state(state_of(3, 1, 2))),
            ],
        ),
        "online_attention": Written(
            companion.online_attention,
            [
                call(normal(4, 3), normal(7, 3), normal(7, 2), block_size=3),
                call(normal(2, 5), normal(6, 5), normal(6, 4)),
                call(*(30 * normal(5, 4) for _ in range(3)), block_size=1),
            ],
        ),
    },
    "13_language_model": {
        "state_logits": Written(
            companion.state_logits,
            [
                call(normal(5, 12), decoder_of(width=12)),
                call(normal(2, 3, 8), decoder_of(width=8, eps=0.1, tied=False)),
            ],
        ),
        "cross_entropy": Written(
            companion.cross_entropy,
            [
                call(normal(4, 7), RNG.integers(0, 7, 4)),
                call(300 * normal(6, 3), RNG.integers(0, 3, 6)),
            ],
        ),
        "rotate": Written(
            companion.rotate,
            [
                call(normal(4, 6), np.arange(4)),
                call(normal(3, 5, 8), 7 * np.arange(5) + 1000, base=100_000.0),
                call(normal(2, 1, 4, dtype=np.float32), np.asarray([2.5])),
            ],
        ),
        "next_token_probabilities": Written(
            companion.next_token_probabilities,
            [
                call(3 * normal(7), companion.Sampling(temperature=0.7, top_p=0.8)),
                call(normal(12), companion.Sampling(temperature=1.5, top_p=1.0)),
                call(900 + normal(5), companion.Sampling(temperature=1.0, top_p=0.1)),
            ],
        ),
    },
    "14_training": {
        "weighted_values_backward": Written(
            companion.weighted_values_backward,
            [
                call(normal(4, 3), normal(4, 6), normal(6, 3)),
                call(normal(2, 5, 1), normal(2, 5, 2), normal(2, 2, 1)),
            ],
        ),
        "softmax_backward": Written(
            companion.softmax_backward,
            [
                call(normal(4, 6), normal(4, 6)),
                call(normal(2, 3, 5), 900 + 300 * normal(2, 3, 5)),
                call(normal(2, 1, dtype=np.float32), normal(2, 1, dtype=np.float32)),
            ],
        ),
        "scaled_scores_backward": Written(
            companion.scaled_scores_backward,
            [
                call(normal(4, 6), normal(4, 3), normal(6, 3)),
                call(normal(2, 1, 5), normal(2, 1, 8), normal(2, 5, 8)),
            ],
        ),
        "attention_backward": Written(
            companion.attention_backward,
            [
                call(normal(4, 2), normal(4, 3), normal(6, 3), normal(6, 2)),
                call(normal(2, 5, 7), normal(2, 5, 4), normal(2, 1, 4), normal(2, 1, 7)),
            ],
        ),
        "cross_entropy_backward": Written(
            companion.cross_entropy_backward,
            [
                call(1.0, normal(4, 7), np.asarray([3, -1, 0, 6])),
                call(-2.5, 300 * normal(2, 3, 4), RNG.integers(0, 4, (2, 3))),
            ],
        ),
    },
}
TABLE["15_distributed"] = {
    "merge_packed": Written(
        companion.distributed.merge_packed,
        [
            call(packed_of(4, 7, 3), packed_of(4, 2, 3)),
            call(packed_of(3, 1, 2, level=2000), packed_of(3, 5, 2, level=-2000)),
            call(*(np.asarray([[0, 5e4, 1e34]], dtype=np.float32) for _ in range(2))),
        ],
    ),
}
CHAPTERS = sorted(set(TABLE) - {"tour"})
BORROWERS = CHAPTERS[3:]  # the fourth and all after it may use what earlier chapters wrote out


def cells(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def is_layered(notebook: list[dict[str, Any]]) -> bool:
    lines = (x for c in notebook if c["cell_type"] == "markdown" for x in c["source"])
    return any(line.rstrip("\n") == "## Going deeper" for line in lines)


def tagged(notebook: list[dict[str, Any]]) -> list[str]:
    return ["".join(c["source"]) for c in notebook if TAG in c["metadata"].get("tags", ())]


def functions(source: str) -> list[ast.FunctionDef]:
    return [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]


def define(sources: list[str], namespace: dict[str, Any]) -> dict[str, Any]:
    """Run the definitions, and nothing else, of these cells; return the functions by name."""
    found = {}
    for source in sources:
        for node in functions(source):
            exec(compile(ast.Module([node], []), "<written out>", "exec"), namespace)
            found[node.name] = namespace[node.name]
    return found


def written_on(path: Path) -> dict[str, Any]:
    """Define what a page writes out, with what earlier pages lend it in reach."""
    namespace = GROUND | ({"np": np} if path.stem == "tour" else {})
    for name in CHAPTERS[: CHAPTERS.index(path.stem)] if path.stem in BORROWERS else ():
        namespace |= LENT.get(name, {})
        define(tagged(cells(path.with_stem(name))), namespace)
    namespace |= LENT.get(path.stem, {})
    return define(tagged(cells(path)), namespace)


def problems(name: str, notebook: list[dict[str, Any]], table: dict[str, Written]) -> list[str]:
    """Say what of a notebook's cells and lines of the table does not fit together."""
    sources = tagged(notebook)
    found = [f"{name}: a cell defines no function" for source in sources if not functions(source)]
    if is_layered(notebook) and not sources:
        found.append(f"{name}: nothing is written out")
    names = []
    for node in (node for source in sources for node in functions(source)):
        names.append(node.name)
        lines = len(ast.unparse(without_docstring(node)).splitlines())
        found += [f"{name}: {node.name} takes {lines} lines"] * (lines > LONGEST)
        found += [f"{name}: no line of the table tests {node.name}"] * (node.name not in table)
        before, beside = around(notebook, node.name)
        called = re.compile(rf"companion(?:\.\w+)?\.{node.name}\(")
        found += [f"{name}: {node.name} is called before"] * bool(called.search(before))
        compared = called.search(beside) and "assert" in beside
        found += [f"{name}: {node.name} is not compared on the page"] * (not compared)
    found += [f"{name}: {n} is not written out" for n in table if n not in names]
    for n, written in table.items():
        if written.library.__name__ != n:
            found.append(f"{name}: {n} has another name in the library")
        if len({shapes(call) for call in written.calls}) < 2:
            found.append(f"{name}: {n} is called with one size only")
    return found


def without_docstring(node: ast.FunctionDef) -> ast.FunctionDef:
    if ast.get_docstring(node) and len(node.body) > 1:
        node.body = node.body[1:]
    return node


def around(notebook: list[dict[str, Any]], function: str) -> tuple[str, str]:
    """Give the unfolded code before a function is written out, and its cell with the next one."""
    code = [cell for cell in notebook if cell["cell_type"] == "code"]
    for i, cell in enumerate(code):
        for source in tagged([cell]):
            if function in [node.name for node in functions(source)]:
                shown = [c for c in code[:i] if "hide-input" not in c["metadata"].get("tags", ())]
                return text_of(shown), text_of(code[i : i + 2])
    raise AssertionError(f"{function} is not written out")


def text_of(cells: list[dict[str, Any]]) -> str:
    return "\n".join("".join(cell["source"]) for cell in cells)


def shapes(call: Call) -> tuple[Any, ...]:
    """Give the sizes of what is called with; a whole number may be one."""
    return tuple(size(x) for x in (*call.arguments, *call.options.values()))


def size(x: Any) -> Any:
    if isinstance(x, int):
        return x
    if isinstance(x, tuple):
        return tuple(size(part) for part in x)
    return getattr(x, "shape", None) or getattr(x, "__len__", lambda: 0)()


def test_every_notebook_has_its_place_in_the_table() -> None:
    assert {path.stem for path in PATHS} <= set(TABLE)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_cells_and_table_fit_together(path: Path) -> None:
    assert problems(path.stem, cells(path), TABLE[path.stem]) == []


@pytest.mark.parametrize(
    ("path", "name"), [(path, name) for path in PATHS for name in TABLE[path.stem]]
)
def test_what_is_written_out_returns_what_the_library_returns(path: Path, name: str) -> None:
    function, (library, calls) = written_on(path)[name], TABLE[path.stem][name]
    for arguments, options in calls:
        assert_same(function(*arguments, **options), library(*arguments, **options))


# The test, tested


def page(*sources: str, tag: str = TAG) -> list[dict[str, Any]]:
    """Make a notebook of these cells, which goes deeper."""
    code = [
        {"cell_type": "code", "source": [source], "metadata": {"tags": [tag]}} for source in sources
    ]
    return [{"cell_type": "markdown", "source": ["## Going deeper"], "metadata": {}}, *code]


SOFTMAX = """def softmax(scores):
    \"\"\"(..., n) → (..., n)\"\"\"
    exponentials = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    return exponentials / xp.sum(exponentials, axis=-1, keepdims=True)


assert xp.all(softmax(scores) == companion.softmax(scores))
"""
RIGHT = {"softmax": Written(companion.softmax, [call(normal(4, 7)), call(normal(2, 3, 5))])}


def test_a_sound_page_has_no_problems() -> None:
    assert problems("p", page(SOFTMAX), RIGHT) == []
    written = define([SOFTMAX], dict(GROUND))["softmax"]
    for arguments, _ in RIGHT["softmax"].calls:
        assert_same(written(*arguments), companion.softmax(*arguments))


@pytest.mark.parametrize(
    ("notebook", "table", "problem"),
    [
        (page(SOFTMAX, "x = 1"), RIGHT, "p: a cell defines no function"),
        (page(), {}, "p: nothing is written out"),
        (page(SOFTMAX, tag="other"), {}, "p: nothing is written out"),
        (page(SOFTMAX), {}, "p: no line of the table tests softmax"),
        (page(SOFTMAX), RIGHT | {"more": RIGHT["softmax"]}, "p: more is not written out"),
        (
            page(SOFTMAX),
            {"softmax": RIGHT["softmax"]._replace(library=companion.hardmax)},
            "p: softmax has another name in the library",
        ),
        (
            page(SOFTMAX),
            {"softmax": Written(companion.softmax, [call(normal(4, 7)), call(normal(4, 7))])},
            "p: softmax is called with one size only",
        ),
        (page("companion.softmax(x)", tag="")[1:] + page(SOFTMAX), RIGHT, "p: softmax is called"),
        (page(SOFTMAX.replace("assert ", "")), RIGHT, "p: softmax is not compared on the page"),
        (
            page(SOFTMAX.replace("    return", "    1\n" * 9 + "    return")),
            RIGHT,
            "p: softmax takes 12 lines",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    notebook: list[dict[str, Any]], table: dict[str, Written], problem: str
) -> None:
    assert any(found.startswith(problem) for found in problems("p", notebook, table))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (" - xp.max(scores, axis=-1, keepdims=True)", " - xp.max(scores)"),
        ("xp.sum(exponentials, axis=-1", "xp.sum(exponentials, axis=0"),
        ("return ", "return 1.000001 * "),
        ("return ", "return [0] + 0 * "),
        ("xp.exp", "companion.exp"),
    ],
)
def test_a_function_that_drifted_is_seen(old: str, new: str) -> None:
    assert old in SOFTMAX
    written = define([SOFTMAX.replace(old, new)], dict(GROUND))["softmax"]
    far_apart = np.asarray([[0.0, 1.0], [1.0, 3.0], [-2000.0, -2001.0]])
    with pytest.raises((AssertionError, NameError, RuntimeWarning)):
        assert_same(written(far_apart), companion.softmax(far_apart))
