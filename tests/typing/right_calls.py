"""Right calls, with the arrays of the libraries whose types a checker can see: none is refused."""

import array_api_strict
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import companion
from companion.arrays import Array, Namespace


def on_numpy(x: NDArray[np.float32], ids: NDArray[np.int64], mask: NDArray[np.bool_]) -> np.ndarray:
    weights = companion.softmax(companion.scaled_scores(x, x, scale=0.5), axis=-1)
    companion.show(weights[:, None, :] @ x + 1 - 2 * weights**2, "weights")
    companion.embed(ids, companion.mask_scores(x, mask))
    companion.causal_mask(5, query_offset=ids, xp=np)
    companion.combine_masks(mask, None, companion.causal_mask(5, query_offset=-1))
    companion.feed_forward(
        x, companion.FeedForwardParameters(x, None, x, x), activation=companion.relu
    )
    companion.gelu(x, approximate="tanh")
    companion.pack_batch([x, x, x])
    companion.scaled_dot_product_attention(x, x, x, mask, window=(2, 0), implementation="tiled")
    return companion.to_numpy(companion.random_normal((5, 6), np.random.default_rng(0), xp=np))


def on_jax(x: jax.Array) -> Array:
    companion.sinusoidal_positions(5, 6, xp=jnp, dtype=jnp.float32)
    state = companion.softmax_state(x, x)
    return companion.state_output(companion.merge_states(state, companion.empty_state(state)))


def on_array_api_strict() -> tuple[Array, Array, Array]:
    x = array_api_strict.ones((5, 6))
    companion.running_example(xp=array_api_strict, dtype=array_api_strict.float32)
    return companion.project_qkv(x, x, x, x, b_q=None)


def on_whichever(x: Array) -> float:
    xp: Namespace = companion.array_namespace(x)
    hidden: Array = companion.layer_norm(x, xp.ones(x.shape[-1:]), None)
    parameters = companion.BlockParameters.random(
        np.random.default_rng(0), width=6, heads=2, hidden=9
    )
    moved = companion.move_parameters(parameters, companion.array_module("numpy"))
    companion.transformer_block(hidden, moved, norm="pre")
    output, weights = companion.attend_heads(
        *companion.project_heads(hidden, moved.attention), moved.attention, return_weights=True
    )
    _, other = companion.multi_head_attention(output, moved.attention, return_weights=True)
    layers: list[Array] = companion.transformer_stack(hidden, [moved], return_all=True)
    largest = xp.max(companion.transformer_stack(layers[-1], [parameters, moved]))
    return float(largest * xp.max(weights - other))
