"""The lines that the chapters show under *In PyTorch* give the library's numbers, where PyTorch is.

Each file of `book/in_pytorch` is called by its room and by what it shows, imports torch, reads the
page's names and assigns what its line of the table says, `output` where it says nothing. Where
PyTorch is missing, what can be read is tested all the same.
"""

import ast
import builtins
import importlib
import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import companion
from tests.support.same import assert_same

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "book" / "in_pytorch").glob("*.py"))
RNG = np.random.default_rng(0)
SHORTEST, LONGEST = 2, 8  # lines after the imports


class Snippet(NamedTuple):
    """What the lines read, by the page's names, and what they must assign, made by the library.

    Arrays become tensors, in lists too; all else stays what it is. `ours` takes the same names and
    returns a dict of what is assigned, or `output` alone.
    """

    inputs: dict[str, Any]
    ours: Callable[..., Any]


@dataclass(frozen=True)
class Linear:
    """One matrix, for an optimiser to move."""

    weight: Any


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def all_heads(*, x: Any, w_o: Any, **w: Any) -> dict[str, Any]:
    parameters = companion.AttentionParameters(**w, w_o=w_o)
    output, weights = companion.multi_head_attention(x, parameters, return_weights=True)
    return {"output": output, "weights": weights}


def first_step(*, x: Any, weight: Any, targets: Any) -> Any:
    d_logits = companion.cross_entropy_backward(1.0, x @ weight, targets)
    _, slope, _ = companion.project_backward(d_logits, x, weight)
    moved, _ = companion.adamw((Linear(weight),), (Linear(slope),), learning_rate=0.01)
    return moved[0].weight


# By room, and by what the file shows: `softmax_rows.py` is "rows" of the room "softmax".
TABLE: dict[str, dict[str, Snippet]] = {
    "tour": {},
    "packing": {
        "rows": Snippet(
            {
                "ids": RNG.integers(0, 9, 4),
                "table": normal(9, 6),
                "positions": normal(8, 6),
            },
            lambda ids, table, positions: companion.add_positions(
                companion.embed(ids, table), positions
            ),
        ),
        "batch": Snippet(
            {"sequences": [normal(4, 6), normal(1, 6), normal(3, 6)]},
            lambda sequences: (
                dict(zip(("x", "token_mask"), companion.pack_batch(sequences), strict=True))
                | {"src_key_padding_mask": ~companion.pack_batch(sequences)[1]}
            ),
        ),
    },
    "projections": {
        "linear": Snippet(
            {"x": normal(2, 5, 6), "weight": normal(6, 3), "bias": normal(3)}, companion.project
        ),
        "packed": Snippet(
            {"x": normal(5, 6), "w_q": normal(6, 3), "w_k": normal(6, 3), "w_v": normal(6, 4)},
            lambda **given: dict(
                zip(("query", "key", "value"), companion.project_qkv(**given), strict=True)
            ),
        ),
    },
    "scores": {
        "product": Snippet(
            {"query": normal(2, 3, 5, 4), "key": normal(2, 3, 7, 4)}, companion.scaled_scores
        ),
    },
    "softmax": {
        "rows": Snippet({"scores": normal(2, 5, 7)}, companion.softmax),
        "mixture": Snippet(
            {"query": normal(2, 3, 5, 4), "key": normal(2, 3, 7, 4), "value": normal(2, 3, 7, 6)},
            companion.scaled_dot_product_attention,
        ),
    },
    "masks": {
        "causal": Snippet(
            {"query": normal(5, 3), "key": normal(5, 3), "value": normal(5, 4)},
            lambda **given: companion.scaled_dot_product_attention(**given, is_causal=True),
        ),
        "last_rows": Snippet(
            {"query": normal(2, 3), "key": normal(5, 3), "value": normal(5, 4)},
            lambda **given: companion.scaled_dot_product_attention(
                **given, is_causal=True, query_offset=3
            ),
        ),
    },
    "heads": {
        "layer": Snippet(
            {"x": normal(5, 6), "w_o": normal(6, 6)}
            | {name: normal(2, 6, 3) for name in ("w_q", "w_k", "w_v")},
            all_heads,
        ),
        "split": Snippet(
            {"packed": normal(2, 5, 6), "heads": 3},
            lambda **given: companion.split_heads(given["packed"], given["heads"]),
        ),
    },
    "feed_forward": {
        "layers": Snippet(
            {"x": normal(2, 5, 6), "w_1": normal(6, 9), "b_1": normal(9)}
            | {"w_2": normal(9, 6), "b_2": normal(6)},
            lambda x, **given: companion.feed_forward(x, companion.FeedForwardParameters(**given)),
        ),
    },
    "block": {
        "norm": Snippet(
            {"total": normal(2, 5, 7), "weight": normal(7), "bias": normal(7)},
            lambda total, weight, bias: dict.fromkeys(
                ("output", "by_hand"), companion.layer_norm(total, weight, bias)
            ),
        ),
    },
    "encoder": {
        "pooling": Snippet(
            {
                "states": np.where(np.arange(5)[:, None] < [[[5]], [[2]]], normal(2, 5, 3), np.nan),
                "token_mask": np.arange(5) < np.asarray([[5], [2]]),
            },
            lambda states, token_mask: companion.unit_rows(companion.mean_pool(states, token_mask)),
        ),
    },
    "cost": {
        "flops": Snippet(
            {"query": normal(2, 5, 3), "key": normal(2, 7, 3)},
            lambda **_: companion.cost.scores(5, 7, companion.cost.Sizes(width=6, heads=2)).flops,
        ),
    },
    "arrays": {
        "device": Snippet(
            {"query": normal(2, 5, 3), "key": normal(2, 5, 3), "value": normal(2, 5, 4)},
            lambda **given: companion.scaled_dot_product_attention(**given, is_causal=True),
        ),
    },
    "language_model": {
        "step": Snippet(
            {
                "query": normal(1, 6, 2, 4),
                "key": normal(1, 3, 2, 4),
                "value": normal(1, 3, 2, 5),
                "past_key": normal(1, 3, 7, 4),
                "past_value": normal(1, 3, 7, 5),
            },
            lambda query, key, value, past_key, past_value: companion.scaled_dot_product_attention(
                query,
                np.concatenate([past_key, key], axis=-2),
                np.concatenate([past_value, value], axis=-2),
                is_causal=True,
                query_offset=7,
            ),
        ),
        "loss": Snippet(
            {"logits": normal(6, 9), "ids": np.asarray([3, 0, 8, 2, 2, 5])},
            lambda logits, ids: companion.cross_entropy(logits[:-1, :], ids[1:]),
        ),
    },
    "distributed": {
        "shards": Snippet(
            {"query": normal(2, 3, 5, 4), "key": normal(2, 3, 8, 4), "value": normal(2, 3, 8, 7)},
            lambda **given: companion.scaled_dot_product_attention(**given),
        ),
    },
    "kernels": {
        "merge": Snippet(
            {"query": normal(2, 3, 5, 4), "key": normal(2, 3, 6, 4), "value": normal(2, 3, 6, 7)},
            lambda **given: companion.online_attention(**given, block_size=3),
        ),
    },
    "training": {
        "step": Snippet(
            {
                "x": normal(5, 6),
                "weight": normal(6, 4),
                "targets": np.asarray([3, 0, -1, 1, 2]),
            },
            first_step,
        ),
    },
}
SNIPPETS = {f"{room}_{what}": s for room, shown in TABLE.items() for what, s in shown.items()}
EVERY = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def problems(text: str, snippet: Snippet) -> list[str]:
    """Say what is wrong with the lines of a file, as far as reading them shows it."""
    tree = ast.parse(text)
    lines = [line for line in text.splitlines() if line and not line.startswith("import torch")]
    found = [f"{len(lines)} lines"] * (not SHORTEST <= len(lines) <= LONGEST)
    found += ["the last line does not say what ours is"] * (not lines[-1].startswith("# ours: "))
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    imported = [a for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
    modules = {alias.name.split(".")[0] for alias in imported}
    known = {*stored, *modules, *(a.asname for a in imported), *snippet.inputs, *dir(builtins)}
    found += [f"imports {name}" for name in sorted(modules - {"torch"})]
    found += [f"reads {name}" for name in sorted(read - known)]
    found += [f"does not read {name}" for name in snippet.inputs if name not in read]
    found += [f"does not assign {name}" for name in expected(snippet) if name not in stored]
    return found


def expected(snippet: Snippet) -> dict[str, Any]:
    made = snippet.ours(**snippet.inputs)
    return made if isinstance(made, dict) else {"output": made}


def markdown(page: Path) -> str:
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def run(text: str, snippet: Snippet) -> dict[str, Any]:
    """Run the lines, and take what they assign back to NumPy."""
    torch = importlib.import_module("torch")

    def tensors(x: Any) -> Any:
        if isinstance(x, list):
            return [tensors(entry) for entry in x]
        return torch.tensor(x) if isinstance(x, np.ndarray) else x

    namespace = {name: tensors(x) for name, x in snippet.inputs.items()}
    exec(compile(text, "<in PyTorch>", "exec"), namespace)
    return {
        name: x.detach().numpy() if isinstance(x, torch.Tensor) else x
        for name, x in namespace.items()
    }


def test_every_file_has_its_line_in_the_table() -> None:
    assert sorted(path.stem for path in FILES) == sorted(SNIPPETS)


@EVERY
def test_the_lines_can_be_read(path: Path) -> None:
    assert problems(path.read_text(encoding="utf-8"), SNIPPETS[path.stem]) == []


@EVERY
def test_one_chapter_shows_them_folded(path: Path) -> None:
    shown = f"```{{literalinclude}} ../book/in_pytorch/{path.name}\n:language: python\n```"
    found = []
    for page in ROOT.glob("notebooks/*.ipynb"):
        for dropdown in markdown(page).split("{dropdown} In PyTorch\n")[1:]:
            inside = re.split(r"^`{4,}", dropdown, maxsplit=1, flags=re.MULTILINE)[0]
            found += [page.stem] * inside.count(shown)
    assert len(found) == 1


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="PyTorch is not installed")
@EVERY
def test_pytorch_gives_the_numbers_of_the_library(path: Path) -> None:
    got = run(path.read_text(encoding="utf-8"), SNIPPETS[path.stem])
    for name, ours in expected(SNIPPETS[path.stem]).items():
        assert_same(got[name], ours)


# The test, tested

LINES = """import torch

shifted = scores - torch.amax(scores, dim=-1, keepdim=True)
output = torch.softmax(shifted, dim=-1)
# ours: companion.softmax(scores)
"""


def test_sound_lines_have_no_problems() -> None:
    assert problems(LINES, SNIPPETS["softmax_rows"]) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("# ours: companion.softmax(scores)", "", "the last line does not say what ours is"),
        ("output =", "weights =", "does not assign output"),
        ("scores", "logits", "reads logits"),
        ("scores", "logits", "does not read scores"),
        ("import torch\n", "import torch\nimport numpy\n", "imports numpy"),
        ("# ours", "1\n" * 6 + "# ours", "9 lines"),
        ("shifted = scores - torch.amax(scores, dim=-1, keepdim=True)\noutput", "", "1 lines"),
    ],
)
def test_what_is_wrong_with_lines_is_named(old: str, new: str, problem: str) -> None:
    assert old in LINES
    text = LINES.replace(old, new).replace("\n = torch.softmax(shifted, dim=-1)", "")
    assert problem in problems(text, SNIPPETS["softmax_rows"])
