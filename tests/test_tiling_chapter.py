"""What the chapter on tiles states, and what it shows to be broken."""

import math
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion import memory_trace, pitfalls
from companion.arrays import to_numpy
from companion.kernels import bounds, cpu

attend = companion.scaled_dot_product_attention
textbook = partial(attend, implementation="textbook")


def draw(seed, *shapes, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


# States


@pytest.mark.claim("eq-softmax-state")
def test_a_state_is_what_the_equation_says_row_by_row(home):
    scores, value = draw(1, (3, 5), (5, 2))
    scores[1, 2:] = scores[2, :] = -np.inf
    state = companion.softmax_state(home.asarray(scores), home.asarray(value))
    maximum, total, weighted = (to_numpy(a) for a in state)
    for i, row in enumerate(scores.tolist()):
        seen = [j for j in range(5) if row[j] > -math.inf]
        m = max(row) if seen else -math.inf
        assert maximum[i, 0] == m
        assert total[i, 0] == pytest.approx(sum(math.exp(row[j] - m) for j in seen), rel=1e-14)
        for c in range(2):
            u = sum(math.exp(row[j] - m) * float(value[j, c]) for j in seen)
            assert weighted[i, c] == pytest.approx(u, rel=1e-13, abs=1e-14)


@pytest.mark.claim("eq-softmax-merge")
def test_merging_shrinks_the_side_with_the_smaller_maximum():
    first = companion.SoftmaxState(*(np.array([a]) for a in ([0.0], [2.0], [2.0, 0.0])))
    second = companion.SoftmaxState(*(np.array([a]) for a in ([math.log(4)], [1.0], [0.0, 4.0])))
    for merged in (companion.merge_states(*pair) for pair in ((first, second), (second, first))):
        assert merged.maximum[0, 0] == math.log(4)
        assert merged.total[0, 0] == pytest.approx(1.5, rel=1e-15)
        np.testing.assert_allclose(merged.weighted, [[0.5, 4.0]], rtol=1e-15)


@st.composite
def cut_keys(draw_from):
    """Draw a number of keys and a random cut of them into blocks, in random order."""
    count = draw_from(st.integers(1, 12))
    labels = draw_from(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    blocks = [[j for j in range(count) if labels[j] == label] for label in sorted(set(labels))]
    return count, draw_from(st.permutations(blocks))


@pytest.mark.claim("cor-any-blocks", "thm-softmax-merge")
@given(cut=cut_keys(), seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.1, 5.0, 400.0]))
def test_blocks_of_any_keys_merge_in_any_order_and_grouping(cut, seed, spread):
    count, blocks = cut
    rng = np.random.default_rng(seed)
    scores, value = spread * rng.standard_normal((4, count)), rng.standard_normal((count, 3))
    scores[rng.random((4, count)) < 0.3] = -np.inf
    states = [companion.softmax_state(scores[:, b], value[b]) for b in blocks]
    assert sum(math.prod(a.shape[1:]) for a in states[0]) == 3 + 2  # d_v + 2 a query
    while len(states) > 1:  # merge a random pair of neighbours: any grouping
        i = int(rng.integers(len(states) - 1))
        states[i : i + 2] = [companion.merge_states(*states[i : i + 2])]
    blind = np.all(scores == -np.inf, axis=-1, keepdims=True)
    expected = np.where(blind, 0, companion.softmax(scores) @ value)
    np.testing.assert_allclose(companion.state_output(states[0]), expected, atol=1e-12)
    whole = companion.softmax_state(scores, value)
    np.testing.assert_array_equal(states[0].maximum, whole.maximum)
    np.testing.assert_allclose(states[0].total, whole.total, rtol=1e-12)


def test_rounded_merges_commute_to_the_bit_and_associate_only_nearly():
    blocks = [draw(2 + i, (1000, n), (n, 4), dtype=np.float32) for i, n in enumerate((7, 9, 8))]
    a, b, c = (companion.softmax_state(*block) for block in blocks)
    merge = companion.merge_states
    for x, y in zip(merge(a, b), merge(b, a), strict=True):
        np.testing.assert_array_equal(x, y)
    left, right = merge(merge(a, b), c), merge(a, merge(b, c))
    assert np.any(left.total != right.total)
    np.testing.assert_allclose(left.total, right.total, rtol=4 * np.finfo(np.float32).eps)


# Traffic

SHAPES = st.tuples(*[st.integers(1, 40)] * 2, *[st.integers(1, 9)] * 2)


@pytest.mark.claim("prop-tile-traffic")
@given(shape=SHAPES, room=st.integers(0, 400), block_size=st.integers(1, 6))
def test_the_tiled_form_moves_what_the_formula_says(shape, room, block_size):
    count, length, d_k, d_v = shape
    query, key, value = draw(3, (count, d_k), (length, d_k), (length, d_v))
    least = block_size * (d_k + d_v) + d_k + 2 * (d_v + 2) + block_size
    output, moved = memory_trace.trace_tiled(query, key, value, least + room, block_size=block_size)
    rows = memory_trace.tile_rows(least + room, d_k, d_v, block_size=block_size)
    needed = rows * (d_k + 2 * (d_v + 2) + block_size) + block_size * (d_k + d_v)
    assert needed <= least + room < needed + d_k + 2 * (d_v + 2) + block_size
    assert moved == (d_k + d_v) * (count + math.ceil(count / rows) * length)
    np.testing.assert_allclose(output, textbook(query, key, value), atol=1e-12)


@pytest.mark.claim("prop-tile-traffic")
@pytest.mark.parametrize("width", [5, 8])
@pytest.mark.parametrize("factor", [16, 17, 40, 333])
def test_the_tiled_form_moves_no_more_than_the_bound(width, factor):
    arrays = draw(4, *[(48, width)] * 3)
    room = factor * width
    _, moved = memory_trace.trace_tiled(*arrays, room)
    assert moved <= 4 * 48 * width + 16 * 48**2 * width**2 / room


@pytest.mark.claim("prop-tile-traffic")
@given(shape=SHAPES, room=st.integers(0, 5000))
def test_the_textbook_form_moves_the_scores_four_times_whatever_the_room(shape, room):
    count, length, d_k, d_v = shape
    query, key, value = draw(5, (count, d_k), (length, d_k), (length, d_v))
    capacity = max(length, 1 + 2 * max(d_k, d_v)) + room
    output, moved = memory_trace.trace_textbook(query, key, value, capacity)
    np.testing.assert_allclose(output, textbook(query, key, value), atol=1e-12)
    side = math.isqrt(capacity + max(d_k, d_v) ** 2) - max(d_k, d_v)
    tiles = math.ceil(count / side)
    ends = count * (d_k + d_v) + tiles * length * (d_k + d_v)
    assert moved == 4 * count * length + ends


def test_the_tracers_follow_their_arrays(home):
    arrays = [home.asarray(a) for a in draw(6, (7, 3), (9, 3), (9, 4))]
    expected = to_numpy(textbook(*arrays))
    for trace in (memory_trace.trace_textbook, memory_trace.trace_tiled):
        output, _ = trace(*arrays, 60)
        assert type(output) is type(arrays[0])
        np.testing.assert_allclose(to_numpy(output), expected, atol=1e-12)


def test_a_fast_memory_holds_no_more_than_it_has_room_for():
    fast = memory_trace.FastMemory(6)
    array = fast.load(np.zeros((2, 2)))
    fast.hold(np.zeros(2))
    with pytest.raises(MemoryError, match="7 numbers held, and capacity is 6"):
        fast.hold(np.zeros(1))
    fast = memory_trace.FastMemory(4)
    fast.store(fast.load(array))
    assert (fast.held, fast.moved) == (0, 8)


@pytest.mark.parametrize("trace", [memory_trace.trace_textbook, memory_trace.trace_tiled])
@pytest.mark.parametrize(
    ("error", "shapes", "dtype", "capacity", "names"),
    [
        (ValueError, [(4, 3), (5, 3), (5, 2)], "float64", 4, "capacity"),
        (ValueError, [(0, 3), (5, 3), (5, 2)], "float64", 99, "query"),
        (ValueError, [(4, 3), (0, 3), (0, 2)], "float64", 99, "key"),
        (ValueError, [(4, 3), (5, 2), (5, 2)], "float64", 99, "key"),
        (ValueError, [(4, 3), (5, 3), (4, 2)], "float64", 99, "value"),
        (TypeError, [(4, 3), (5, 3), (5, 2)], "int64", 99, "query"),
    ],
)
def test_the_tracers_say_what_is_wrong(trace, error, shapes, dtype, capacity, names):
    with pytest.raises(error, match=names):
        trace(*(np.ones(shape, dtype) for shape in shapes), capacity)


def test_a_block_has_a_key():
    with pytest.raises(ValueError, match="block_size=0"):
        memory_trace.tile_rows(100, 3, 4, block_size=0)


# The bound


def powers_taken(*arrays, **options):
    """Return what the kernel multiplies with the values, all keys beside one another, and rows."""
    seen, mix = [], cpu.Worker._mix

    def record(self, piece, powers, *rest):
        seen.append((piece, np.array(powers[0])))
        mix(self, piece, powers, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu.Worker, "_mix", record)
        attend(*arrays, implementation="tiled", threads=1, **options)
    whole = np.zeros((arrays[0].shape[-2], arrays[1].shape[-2]), seen[0][1].dtype)
    for piece, powers in seen:
        whole[piece.rows.start : piece.rows.stop, piece.keys.start : piece.keys.stop] = powers
    return whole


@pytest.mark.claim("prop-softmax-bound")
@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize("spread", [0.1, 1.0, 30.0])
def test_the_kernel_shifts_just_the_rows_whose_bound_is_large(is_causal, spread):
    query, key = draw(7, (40, 6), (40, 6))
    key *= spread * np.linspace(0.1, 3, 40)[:, None]
    query[39] = key[39]  # the bound is met, or nearly
    visible = np.tri(40, dtype=bool) if is_causal else np.ones((40, 40), bool)
    norms = np.linalg.norm(query, axis=1)[:, None] * np.linalg.norm(key, axis=1)
    bound = np.where(visible, norms, 0).max(axis=1, keepdims=True) * math.log2(math.e)
    scores = np.where(visible, query @ key.T * math.log2(math.e), -np.inf)
    powers = powers_taken(query, key, key, scale=1.0, is_causal=is_causal)
    shifted = (bound > 60)[:, 0]
    assert (shifted.any(), shifted.all()) == {
        0.1: (False, False),
        1.0: (True, False),
        30.0: (True, not is_causal),
    }[spread]
    halves = np.where(shifted[:, None], scores.max(axis=1, keepdims=True) + 1, 0)
    anyway = (~shifted).all()  # then nothing is halved
    np.testing.assert_allclose(
        powers[~shifted] * (1 if anyway else 2), np.exp2(scores[~shifted]), rtol=1e-12
    )
    np.testing.assert_allclose(
        powers[shifted], np.exp2((scores - halves)[shifted]), rtol=1e-9, atol=1e-300
    )
    assert np.all(np.abs(scores[visible]) <= np.broadcast_to(bound, scores.shape)[visible] + 1e-9)


@pytest.mark.claim("prop-softmax-bound")
@given(
    st.lists(st.integers(-9, 9), min_size=3, max_size=3),
    st.lists(st.lists(st.integers(-9, 9), min_size=3, max_size=3), min_size=1, max_size=6),
)
def test_no_product_exceeds_the_product_of_the_norms(query, keys):
    squares = max(sum(a * a for a in key) for key in keys) * sum(a * a for a in query)
    for key in keys:
        product = sum(a * b for a, b in zip(query, key, strict=True))
        assert product <= 0 or product**2 <= squares  # exact, in integers


@pytest.mark.claim("prop-softmax-bound")
@pytest.mark.parametrize("shift", [-30.0, 0.5, 40.0])
def test_any_shift_gives_the_same_weights(shift):
    (scores,) = draw(8, (4, 7))
    powers = np.exp(scores - shift)
    weights = powers / powers.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(weights, companion.softmax(scores), rtol=1e-13)


@pytest.mark.claim("prop-safe-values")
@given(
    st.lists(st.tuples(st.integers(-60, 60), st.integers(-90, 47)), min_size=1, max_size=20),
    st.integers(60, 80),
)
def test_sums_of_powers_times_values_stay_in_range(terms, bound):
    powers = [Fraction(2) ** p for p, _ in terms]
    values = [Fraction(2) ** v * (-1) ** i for i, (_, v) in enumerate(terms)]
    largest = max(abs(v) for v in values)
    exact = [p * v for p, v in zip(powers, values, strict=True)]
    count = len(terms)
    for stop in range(1, count + 1):
        assert abs(sum(exact[:stop])) <= count * Fraction(2) ** bound * largest
    step = Fraction(1, 2**149)
    lost = [abs(e - e // step * step) for e in exact]  # rounded towards −∞, to a step of float32
    assert sum(lost) <= count * Fraction(2) ** (bound - 149) / largest * sum(map(abs, exact))


@pytest.mark.claim("prop-safe-values")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("length", [1, 1000, 2**20])
def test_the_kernel_leaves_the_values_the_room_that_the_statement_asks_for(length, dtype):
    known = bounds.Bounds(*(np.ones((1, 1, 2), dtype) for _ in range(2)), length)
    info = np.finfo(dtype)
    step = info.minexp - info.nmant  # the exponent of the least step: −149
    for size in (1.0, 2.0**40, 2.0**-40, 2.0 ** (info.maxexp - 30), 2.0 ** (info.minexp + 30)):
        limit = float(known.limit(size, size))
        if limit > 0:
            assert math.log2(length) + limit + math.log2(size) <= info.maxexp - 1
            assert math.log2(length) + limit + step - math.log2(size) <= -info.nmant - 1
        assert limit <= 60


def test_a_row_keeps_its_bits_whatever_its_neighbours_need():
    arrays = draw(10, *[(300, 16)] * 3, dtype=np.float32)
    for factor in (3.0, 1e6):
        for which in (0, 1):
            before = attend(*arrays, is_causal=True, implementation="tiled")
            changed = [a.copy() for a in arrays]
            changed[which][299] *= np.float32(factor)
            after = attend(*changed, is_causal=True, implementation="tiled")
            np.testing.assert_array_equal(after[:299], before[:299])
            assert np.any(after[299] != before[299])


# What breaks


def in_blocks(merge, scores, value, size):
    states = [
        companion.softmax_state(scores[:, i : i + size], value[i : i + size, :])
        for i in range(0, scores.shape[1], size)
    ]
    joined = states[0]
    for state in states[1:]:
        joined = merge(joined, state)
    return companion.state_output(joined)


def test_a_merge_without_rescaling_depends_on_the_blocks(home):
    scores, value = (home.asarray(a) for a in draw(11, (4, 6), (6, 3)))
    expected = to_numpy(companion.softmax(scores) @ value)
    for merge, right in (
        (companion.merge_states, True),
        (pitfalls.merge_without_rescaling, False),
    ):
        assert np.allclose(to_numpy(in_blocks(merge, scores, value, 6)), expected)
        assert np.allclose(to_numpy(in_blocks(merge, scores, value, 2)), expected) == right


def test_averaging_blocks_silences_the_queries(home):
    query, key, value = (home.asarray(a) for a in draw(12, (4, 3), (6, 3), (6, 2)))
    whole = pitfalls.attention_averaged_over_blocks(query, key, value, block_size=6)
    expected = to_numpy(attend(query, key, value))
    np.testing.assert_allclose(to_numpy(whole), expected, atol=1e-14)
    single = pitfalls.attention_averaged_over_blocks(query, key, value, block_size=1)
    mean = np.broadcast_to(to_numpy(value).mean(axis=0), (4, 2))
    np.testing.assert_allclose(to_numpy(single), mean, atol=1e-14)
    assert np.abs(mean - expected).max() > 0.1
    uneven = pitfalls.attention_averaged_over_blocks(query, key, value, block_size=4)
    assert np.abs(to_numpy(uneven) - expected).max() > 0.01


def test_a_bound_over_all_keys_lets_the_future_in(home):
    arrays = draw(13, *[(300, 16)] * 3, dtype=np.float32)

    def bounded(*arrays):
        return to_numpy(pitfalls.attention_bounded_by_all_keys(*map(home.asarray, arrays)))

    before = bounded(*arrays)
    np.testing.assert_allclose(before, attend(*arrays, is_causal=True), atol=1e-5)
    longer = arrays[1].copy()
    longer[299] *= 3
    assert np.any(bounded(arrays[0], longer, arrays[2])[:299] != before[:299])
    with np.errstate(all="ignore"):  # NumPy warns of 0/0 and of overflow, rightly
        longer[299] *= 1000
        assert np.isnan(bounded(arrays[0], longer, arrays[2])).all()
        small, large = arrays[0] * np.float32(1e-20), arrays[1] * np.float32(1e20)
        assert np.isnan(bounded(small, large, arrays[2])).all()
    assert np.isfinite(attend(small, large, arrays[2], is_causal=True)).all()
