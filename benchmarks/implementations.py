"""The implementations that are compared: each makes a call, as its user would write it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import companion
from companion.kernels import exponential
from companion.kernels.cpu import ROWS, Job, Worker
from companion.kernels.reach import Reach
from companion.kernels.tiled import on_cores

WIDTH = 64

Call = Callable[[], Any]


@dataclass(frozen=True)
class Problem:
    """Self-attention over `length` tokens."""

    batch: int
    heads: int
    length: int
    causal: bool

    def weights_bytes(self) -> int:
        """Return the size of all weights in float32."""
        return 4 * self.batch * self.heads * self.length**2

    def inputs(self) -> list[np.ndarray]:
        """Draw queries, keys and values, (B, H, N, d)."""
        rng = np.random.default_rng(self.length)
        shape = (self.batch, self.heads, self.length, WIDTH)
        return [rng.standard_normal(shape, dtype=np.float32) for _ in range(3)]


@dataclass(frozen=True)
class Candidate:
    """One implementation: how to prepare its call, and what it needs."""

    prepare: Callable[[Problem, list[np.ndarray]], Call]
    needs: tuple[str, ...] = ()
    holds_weights: tuple[bool, ...] = ()  # where causal is one of these, all at once
    tokens_first: bool = False  # takes and returns (B, N, H, d), or its last two axes in one

    def heads_first(self, output: Any, problem: Problem) -> np.ndarray:
        """Return the output as (B, H, N, d)."""
        output = np.asarray(output)
        if self.tokens_first:
            shape = (problem.batch, problem.length, problem.heads, WIDTH)
            return output.reshape(shape).transpose(0, 2, 1, 3)
        return output


def companion_call(
    problem: Problem, inputs: list[np.ndarray], *, implementation: str | None
) -> Call:
    return partial(
        companion.scaled_dot_product_attention,
        *inputs,
        is_causal=problem.causal,
        implementation=implementation,
    )


def torch_call(problem: Problem, inputs: list[np.ndarray]) -> Call:
    import torch

    query, key, value = (torch.from_numpy(array) for array in inputs)

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return torch.nn.functional.scaled_dot_product_attention(
                query, key, value, is_causal=problem.causal
            )

    return call


def onnxruntime_call(problem: Problem, inputs: list[np.ndarray]) -> Call:
    import onnxruntime
    from onnx import TensorProto, helper

    names = ["query", "key", "value"]
    node = helper.make_node(
        "MultiHeadAttention",
        names,
        ["output"],
        domain="com.microsoft",
        num_heads=problem.heads,
        unidirectional=int(problem.causal),
    )
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "length", "model"])
        for name in (*names, "output")
    ]
    model = helper.make_model(
        helper.make_graph([node], "attention", ends[:3], ends[3:]),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)],
        ir_version=10,
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    shape = (problem.batch, problem.length, problem.heads * WIDTH)
    feed = {
        name: np.ascontiguousarray(array.transpose(0, 2, 1, 3)).reshape(shape)
        for name, array in zip(names, inputs, strict=True)
    }
    return lambda: session.run(None, feed)[0]


def jax_call(problem: Problem, inputs: list[np.ndarray]) -> Call:
    import jax

    arrays = [jax.numpy.asarray(array.transpose(0, 2, 1, 3)) for array in inputs]
    attention = partial(jax.nn.dot_product_attention, is_causal=problem.causal)
    compiled = jax.jit(attention).lower(*arrays).compile()
    return lambda: compiled(*arrays).block_until_ready()


class Steps(Worker):
    """The steps of each tile, and nothing else: no bounds, no masks, no quotients."""

    def fill(self, job: Job) -> None:
        self.job, self.base = job, exponential.choose(self.dtype)
        self.heads, self.length, self.first = len(job.query), job.key.shape[-2], 0
        self.key, self.value = job.key.mT, job.value
        for start in job.rows[::ROWS]:
            rows = range(start, min(start + ROWS, job.rows.stop))
            mixed = job.output[:, rows.start : rows.stop]
            total = self.room("total", *mixed.shape[:2], 1)
            begun = False
            for piece in self._pieces(rows):
                here = slice(piece.rows.start - rows.start, piece.rows.stop - rows.start)
                query = job.query[:, piece.rows.start : piece.rows.stop]
                scores = self._scores(piece, query)
                self.base.power(scores, out=scores)
                self._mix(piece, scores, mixed[:, here], total[:, here], begun)
                begun = True


def floor_call(problem: Problem, inputs: list[np.ndarray]) -> Call:
    """The products of each tile and the exponential between them, cut and shared as companion's."""
    query, key, value = inputs
    query = query / np.float32(WIDTH)  # so small that no exponential overflows
    key = np.ascontiguousarray(key.mT).mT  # laid out as the kernel would lay it out
    reach = Reach(0, -1, 0 if problem.causal else -1)
    return partial(on_cores, query, key, value, None, reach, 1.0, None, None, Steps)


CANDIDATES = {
    "companion": Candidate(partial(companion_call, implementation=None)),
    "textbook": Candidate(
        partial(companion_call, implementation="textbook"), holds_weights=(True, False)
    ),
    "torch": Candidate(torch_call, needs=("torch",)),
    "onnxruntime": Candidate(
        onnxruntime_call, needs=("onnxruntime", "onnx"), holds_weights=(True,), tokens_first=True
    ),
    "jax": Candidate(jax_call, needs=("jax",), holds_weights=(True, False), tokens_first=True),
    "floor": Candidate(floor_call),
}
