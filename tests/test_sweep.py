"""Every public function on every kind of number and array that it may be given.

Dtypes, sizes of numbers, kinds of arrays and libraries are combined in pairs rather than in full.
What comes out is held against the same call on the same numbers in a longer dtype, where nothing
over- or underflows. Where an error is the right answer a table says so, and which.
"""

import array_api_compat.numpy as xnp
import jax
import numpy as np
import pytest

import companion
from companion import cost
from tests.support.sweep import arrays, complaint, ordinary
from tests.support.sweep_cells import (
    CASES,
    DTYPES,
    EVERYWHERE,
    KINDS,
    LAYOUTS,
    LIBRARIES,
    NO_ARRAYS,
    SIZES,
    cells,
)

jax.config.update("jax_enable_x64", True)


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
    "cost.product": lambda n: np.asarray(cost.product(n(100), n(100), n(100)).flops),
    "cost.Sizes": lambda n: np.asarray(
        cost.total(cost.block(90, 90, cost.Sizes(width=n(120), heads=n(12)))).flops
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
