"""What a function hands out is the caller's: it can be written to, like what NumPy hands out."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import companion as c
from benchmarks.agreement import CASES, inputs

ONE_KEY = (slice(None), slice(1))
# Beside the cases that array modules are compared on: little to do but broadcast, or nothing.
CALLS = {name: case.call for name, case in CASES.items()} | {
    "weights": lambda i: _weights(i.query, i.key, i.value),
    "weights of one key": lambda i: _weights(i.query, i.key[ONE_KEY], i.value[ONE_KEY]),
    "weights of no key": lambda i: _weights(i.query, i.key[:, :0], i.value[:, :0]),
    "weights of values in a batch": lambda i: _weights(
        i.query[None], i.key[None], np.stack([i.value, i.value])
    ),
    "weights of heads in a batch": lambda i: c.multi_head_attention(
        i.batch, i.blocks[0].attention, return_weights=True
    ),
    "tiled, with values in a batch": lambda i: c.scaled_dot_product_attention(
        i.query[None], i.key[None], np.stack([i.value, i.value]), implementation="tiled"
    ),
    "states of each layer": lambda i: c.transformer_stack(i.x, i.blocks, return_all=True),
    "one head": lambda i: (c.split_heads(i.x, 1), c.merge_heads(i.query[:1])),
    "one mask": lambda i: c.combine_masks(i.visible),
    "no cap": lambda i: c.soft_cap(i.scores, None),
    "no block": lambda i: c.transformer_stack(i.x, []),
    "every window": lambda i: c.window_mask(4, window=(-1, -1), xp=i.xp),
    "offsets": lambda i: c.causal_mask(4, query_offset=np.zeros(2, int), xp=i.xp),
    "no rows hidden": lambda i: c.mask_scores(i.scores, np.ones_like(i.visible)),
}
# Nothing is computed there, so the result may be a view, as `reshape` and `x.T` are in NumPy.
VIEWS = {
    "padding_mask",
    "split_heads",
    "split_packed_projection",
    "one head",
    "one mask",
    "no cap",
    "no block",
    "states of each layer",  # the first is the argument
}


def _weights(query: Any, key: Any, value: Any) -> Any:
    return c.scaled_dot_product_attention(query, key, value, return_weights=True)


def arrays(held: Any) -> Iterator[np.ndarray]:
    """Yield the arrays in a result or in the inputs, wherever they are."""
    if isinstance(held, np.ndarray):
        yield held
    elif isinstance(held, SimpleNamespace):
        yield from arrays(list(vars(held).values()))
    elif is_dataclass(held):
        yield from arrays([getattr(held, field.name) for field in fields(held)])
    elif isinstance(held, (list, tuple)):
        for part in held:
            yield from arrays(part)


@pytest.mark.parametrize("name", CALLS)
def test_a_result_can_be_written_to_and_changes_nothing_else(name: str) -> None:
    given = inputs(np, "float64")
    results = list(arrays(CALLS[name](given)))
    assert results
    for k, result in enumerate(results):
        assert result.flags.writeable
        steps = zip(result.strides, result.shape, strict=True)
        assert all(step for step, count in steps if count > 1 and result.size)
        assert not any(np.shares_memory(result, other) for other in results[:k])
    held = list(arrays(given))
    shared = any(np.shares_memory(result, x) for result in results for x in held)
    assert shared == (name in VIEWS)
