"""The tiled form: the textbook's numbers for every input, in linear memory, with stable bits."""

import itertools
import math
import tracemalloc
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion import attention
from companion import scaled_dot_product_attention as attend
from companion.arrays import to_numpy
from companion.kernels import bounds, cpu, decoding, exponential, tiled
from tests.support.exactness import assert_as_exact_as_textbook, draw, problems
from tests.support.homes import array_homes

SMALL = {
    cpu: ("ROWS", "KEYS", "STRIP", "TURNED", "EQUATION"),
    tiled: ("TOGETHER",),
    decoding: ("FEW", "PART", "ROWS"),
}


def set_sizes(patch, size):
    """Set what a tile, a strip, a part and few queries are: `size` gives a number each time."""
    for module, names in SMALL.items():
        for name in names:
            patch.setattr(module, name, size())
    patch.setattr(tiled, "ROWS", cpu.ROWS)
    patch.setattr(tiled, "KEYS", cpu.KEYS)
    patch.setattr(tiled, "FEW", decoding.FEW)
    patch.setattr(tiled, "_spare", deque())  # of workers for such sizes


@given(problem=problems(), sizes=st.data(), power=st.sampled_from(exponential.BASES))
def test_it_is_as_exact_as_the_textbook_for_every_tile_size(problem, sizes, power):
    arrays, options = problem
    with pytest.MonkeyPatch.context() as patch:
        set_sizes(patch, lambda: sizes.draw(st.integers(2, 12)))
        patch.setattr(exponential, "fastest", lambda _: power)
        output = attend(*arrays, implementation="tiled", **options)
    assert_as_exact_as_textbook(arrays, output, **options)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("length", [1, 97, 257, 1025])
def test_awkward_lengths(length, dtype, is_causal):
    rng = np.random.default_rng(length)
    arrays = draw(rng, dtype, (4, length, 16), (2, length, 16), (2, length, 5))
    output = attend(*arrays, is_causal=is_causal, implementation="tiled")
    assert_as_exact_as_textbook(arrays, output, is_causal=is_causal)


def with_keys_scaled(factor):
    return lambda query, key, value: (query, key * np.float32(factor), value)


def with_one_huge_key(factor):
    def change(query, key, value):
        key = key.copy()
        key[..., 50, :] *= np.float32(factor)
        return query, key, value

    return change


def with_scores_below_the_bound(gap):
    """Give queries and keys parts at right angles, which put the bound too high by `gap`."""

    def change(query, key, value):
        query, key = query / 4, key / 4
        query[..., 0], query[..., 1] = math.sqrt(gap * 4), 0
        key[..., 0], key[..., 1] = 0, math.sqrt(gap * 4)
        return query, key, value

    return change


HOSTILE = {
    **{f"keys times {x:g}": with_keys_scaled(x) for x in (1e-4, 1e-2, 10, 100, 3e4)},
    **{f"one key times {x:g}": with_one_huge_key(x) for x in (30, 1e3, 1e6, 1e18, 1e30)},
    **{
        f"bound too high by {x}": with_scores_below_the_bound(x)
        for x in (20, 40, 60, 75, 80, 85, 90, 100, 1000)
    },
    "constant rows": lambda query, key, value: (0 * query + 1, 0 * key + 1, value),
    "scores near the largest float": lambda query, key, value: (
        np.full_like(query, 1e19),
        np.sign(key) * np.float32(2e18),
        value,
    ),
    "norms overflow": lambda query, key, value: (
        query * np.float32(1e-22),
        key * np.float32(1e22),
        value,
    ),
    "norms vanish": lambda query, key, value: (
        query * np.float32(1e25),
        key * np.float32(1e-24),
        value,
    ),
    "sums of values overflow": lambda query, key, value: (
        0 * query + 1,
        0 * key + 1,
        np.full_like(value, 1e38),
    ),
    **{
        f"bound too high by {gap}, values of {x:g}": lambda query, key, value, gap=gap, x=x: (
            *with_scores_below_the_bound(gap)(query, key, value)[:2],
            value * np.float32(x),
        )
        for gap, x in ((40, 1e-10), (40, 1e-20), (40, 1e-28), (40, 1e-32), (95, 1e15), (98, 1e15))
    },
    "values near the largest float": lambda query, key, value: (
        query,
        key,
        value * np.float32(5e37),
    ),
}


@pytest.mark.claim("prop-softmax-bound")
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_hostile_numbers(change, is_causal):
    arrays = change(*draw(np.random.default_rng(3), np.float32, *[(2, 300, 16)] * 3))
    output = attend(*arrays, is_causal=is_causal, implementation="tiled")
    assert_as_exact_as_textbook(arrays, output, is_causal=is_causal)


def ways_taken(monkeypatch, arrays, **options):
    """Count the rows that are taken as they are, below their largest score, and by the equation."""
    taken = {"as they are": 0, "shifted": 0, "equation": 0}
    find, follow = cpu.Worker._ways, cpu.Worker._follow_equation

    def count_ways(self, rows, query):
        loose, safe = find(self, rows, query)
        some = np.broadcast_to(True if loose is None else loose, (self.heads, len(rows), 1))
        taken["as they are"] += int(some.sum())
        taken["shifted"] += int((~some & safe).sum())
        return loose, safe

    def count_equation(self, rows, done, finite):
        taken["equation"] += int((~np.broadcast_to(done, (self.heads, len(rows), 1))).sum())
        follow(self, rows, done, finite)

    monkeypatch.setattr(cpu.Worker, "_ways", count_ways)
    monkeypatch.setattr(cpu.Worker, "_follow_equation", count_equation)
    attend(*arrays, implementation="tiled", threads=1, **options)
    return list(taken.values())


@pytest.mark.claim("prop-softmax-bound")
@pytest.mark.parametrize(
    ("change", "options", "expected"),
    [
        (with_keys_scaled(1), {}, [256, 0, 0]),
        (with_keys_scaled(1e-6), {}, [256, 0, 0]),
        (with_scores_below_the_bound(30), {}, [256, 0, 0]),
        (with_scores_below_the_bound(60), {}, [0, 256, 0]),
        (with_one_huge_key(100), {}, [50, 206, 0]),
        (with_one_huge_key(1e30), {}, [50, 0, 206]),
        (with_one_huge_key(1e30), {"window": (9, 0)}, [246, 0, 10]),
        (with_one_huge_key(1e30), {"attn_mask": np.arange(256) != 50}, [256, 0, 0]),
        (with_keys_scaled(30), {"softcap": 3.0}, [256, 0, 0]),
        (with_keys_scaled(1), {"attn_mask": np.zeros((256, 256))}, [0, 256, 0]),
        (HOSTILE["scores near the largest float"], {}, [0, 0, 256]),
        (HOSTILE["sums of values overflow"], {}, [0, 256, 250]),
        (lambda query, key, value: (query, key, value * np.float32(1e25)), {}, [0, 256, 0]),
        (lambda query, key, value: (query, key, value * np.float32(1e-34)), {}, [0, 256, 0]),
        (lambda query, key, value: (query, key, value * np.float32(0)), {}, [256, 0, 0]),
    ],
)
def test_a_slower_way_is_taken_where_it_is_needed_and_nowhere_else(
    monkeypatch, change, options, expected
):
    arrays = change(*draw(np.random.default_rng(4), np.float32, *[(1, 256, 16)] * 3))
    assert ways_taken(monkeypatch, arrays, is_causal=True, **options) == expected


NUMBERS = [
    ([[2e38]], [[-1e-38], [-2e-38]], [[1.0], [2.0]], {"scale": 2.0}),
    ([[2e38]], [[-1e-38], [-2e-38]], [[1.0], [2.0]], {"scale": 2.0, "softcap": 30.0}),
    ([[6.3, 0.0]], [[0.0, 6.3], [0.0, 6.29]], [[1.0, 1e-28], [1.0, 2e-28]], {"scale": 1.0}),
    ([[30.0]], [[1.0], [3.0]], [[1e-30, 1.0], [1e-34, 1.0]], {"scale": 1.0}),
    ([[-2e18]], [[1e20], [1.01e20]], [[1.0], [2.0]], {"scale": 1.0}),
    ([[1.0]], [[-200.0], [0.0]], [[1e38], [1.0]], {"scale": 1.0}),
    ([[1.0]], [[-70.0], [0.0]], [[1e30], [1e-3]], {"scale": 1.0}),
    ([[0.0]], [[1.0], [1.0]], [[1.0], [2.0]], {"attn_mask": np.full((1, 2), -3.4e38, np.float32)}),
    ([[1.0]], [[5.0], [6.0]], [[1.0], [2.0]], {"attn_mask": np.float32([[-1e4, -1e4 + 1]])}),
]


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize("numbers", NUMBERS, ids=range(len(NUMBERS)))
def test_each_entry_is_right_whatever_the_size_of_the_others(numbers, rows):
    query, key, value = (np.float32(a) for a in numbers[:3])
    query, options = np.repeat(query, rows, axis=0), numbers[3]
    exact = attend(
        *(a.astype(np.float64) for a in (query, key, value)), implementation="textbook", **options
    )
    output = attend(query, key, value, implementation="tiled", **options)
    np.testing.assert_allclose(output, exact, rtol=1e-5)


@pytest.mark.parametrize("queries", [3, 50])
def test_a_row_keeps_its_bits_whatever_way_its_neighbours_go(queries):
    """Rows that need no shift come out the same in a tile where others are shifted."""
    query, key, value = draw(
        np.random.default_rng(21), np.float32, (2, queries, 16), *[(2, 70, 16)] * 2
    )
    before = attend(query, key, value, implementation="tiled")
    for factor in (30.0, 1e20, math.nan):
        changed = query.copy()
        changed[:, -1] *= np.float32(factor)
        with np.errstate(invalid="ignore"):
            after = attend(changed, key, value, implementation="tiled")
        np.testing.assert_array_equal(after[:, :-1], before[:, :-1])


def test_what_is_far_below_the_largest_score_makes_no_subnormal_number(monkeypatch):
    """Such numbers slow a product down a hundredfold on some processors."""
    seen, mix = [], cpu.Worker._mix

    def look(self, piece, powers, *rest):
        seen.append(np.array(powers))
        mix(self, piece, powers, *rest)

    monkeypatch.setattr(cpu.Worker, "_mix", look)
    arrays = draw(np.random.default_rng(22), np.float32, *[(1, 200, 64)] * 3)
    for options in ({"scale": 3.0}, {"attn_mask": np.where(np.tri(200), 0, -95.0)}):
        attend(*arrays, implementation="tiled", threads=1, **options)
        powers = np.concatenate([a.ravel() for a in seen])
        assert (powers == 0).mean() > 0.01
        # In the last octave before 0 a number in a hundred may be one.
        assert ((powers > 0) & (powers < np.finfo(np.float32).smallest_normal)).mean() < 0.01
        seen.clear()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_powers_below_the_largest_are_halved_and_end_in_zero(dtype):
    least = np.finfo(dtype).minexp
    for chosen in exponential.BASES:
        exponents = np.asarray([0, -1, -40.25, least + 2, least - 1, 2 * least, -np.inf])
        scores = (exponents / chosen.bits).astype(dtype)
        expected = np.where(exponents > least, 2.0 ** (exponents - 1), 0)
        exponential.below_largest(chosen, scores, dtype(0), 1.0)
        np.testing.assert_allclose(scores, expected, rtol=2e-4 if dtype == np.float32 else 1e-12)


def test_maxima_over_ranges():
    values = np.random.default_rng(23).standard_normal((2, 37))
    low, high = np.indices((38, 38)).reshape(2, -1)
    low, high = low[low <= high], high[low <= high]
    found = bounds.range_maximum(bounds.table(values), low, high)
    expected = [
        values[:, a:b].max(axis=-1, initial=-np.inf) for a, b in zip(low, high, strict=True)
    ]
    np.testing.assert_array_equal(found, np.stack(expected, axis=-1))


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8"])
@pytest.mark.parametrize("implementation", ["textbook", "tiled"])
@pytest.mark.parametrize("queries", [4, 40])
def test_the_other_byte_order_is_computed_in_this_one(queries, implementation, dtype):
    shapes = (2, queries, 8), (2, 40, 8), (2, 40, 8)
    arrays = [a.astype(dtype) for a in draw(np.random.default_rng(24), np.float64, *shapes)]
    native = [a.astype(a.dtype.newbyteorder("=")) for a in arrays]
    options = {"implementation": implementation, "is_causal": True}
    output = attend(*arrays, **options)
    assert output.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(output, attend(*native, **options))


KINDS = [np.int8, np.uint8, np.int32, np.uint64, np.int64]


@pytest.mark.parametrize("implementation", ["textbook", "tiled"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("queries", [4, 200])
def test_integers_of_every_kind_are_offsets(queries, kind, implementation):
    arrays = draw(np.random.default_rng(25), np.float32, (2, 2, queries, 8), *[(2, 2, 300, 8)] * 2)
    options = {"implementation": implementation, "window": (120, 3)}
    offsets = np.asarray([100, 120], kind)
    output = attend(*arrays, query_offset=offsets, **options)
    expected = attend(*arrays, query_offset=offsets.astype(np.int64), **options)
    np.testing.assert_array_equal(output, expected)
    info = np.iinfo(kind)
    for limit in (info.min, info.max):
        far = max(-1000, min(int(limit), 1000))
        expected = attend(*arrays, query_offset=far, **options)
        for offset in (kind(limit), int(limit), np.asarray([limit] * 2, kind)):
            np.testing.assert_array_equal(attend(*arrays, query_offset=offset, **options), expected)


@pytest.mark.parametrize("implementation", ["textbook", "tiled", None])
@pytest.mark.parametrize("queries", [2, 40])
def test_masks_and_offsets_have_the_batch_of_all_three_arguments(home, queries, implementation):
    query, key, value = draw(
        np.random.default_rng(26), np.float32, (1, 2, queries, 4), (1, 2, 5, 4), (3, 2, 5, 2)
    )
    mask = np.arange(5) < np.asarray([1, 3, 5])[:, None, None, None]
    offsets = np.asarray([0, -1, 2])
    for options in ({"attn_mask": mask}, {"query_offset": offsets, "is_causal": True}):
        moved = {n: home.asarray(a) if n != "is_causal" else a for n, a in options.items()}
        output = attend(
            *(home.asarray(a) for a in (query, key, value)), implementation=implementation, **moved
        )
        for b in range(3):
            one = {n: a[b] if n != "is_causal" else a for n, a in options.items()}
            one = {n: int(a) if n == "query_offset" else a for n, a in one.items()}
            expected = attend(query[0], key[0], value[b], implementation="textbook", **one)
            np.testing.assert_allclose(to_numpy(output)[b], expected, atol=1e-6)


@pytest.mark.parametrize("queries", [1, 2, 31])
def test_few_queries_read_keys_and_values_where_they_lie(queries):
    shape = (3, 2**14, 16)
    query, key, value = draw(np.random.default_rng(27), np.float32, (9, queries, 16), shape, shape)
    turned = np.ascontiguousarray(key.mT).mT  # a cache that keeps its keys in columns
    outputs = []
    for keys in (key, turned):
        tracemalloc.start()
        outputs.append(attend(query, keys, value, implementation="tiled", threads=1))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < key.nbytes / 2 + 9 * queries * 4 * decoding.PART * 2
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-6)
    assert_as_exact_as_textbook([query, key, value], outputs[0])


CHANGES = {
    "another token": 1.0,
    "a huge key": 1e4,
    "an enormous key": 1e30,
    "NaN": math.nan,
    "infinity": math.inf,
}


@pytest.mark.claim("thm-causal")
@pytest.mark.parametrize("implementation", ["tiled", None])
@pytest.mark.parametrize("factor", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("length", [260, 1100])
def test_what_a_row_may_not_see_changes_no_bit_of_it(length, factor, implementation):
    """The changed key would raise the bound, or send its own tile the slower way."""
    rng = np.random.default_rng(5)
    query, key, value = draw(rng, np.float32, *[(2, length, 16)] * 3)
    options = {"is_causal": True, "implementation": implementation}
    before = attend(query, key, value, **options)
    for place in (length - 1, 200, 100):
        changed_key, changed_value = key.copy(), value.copy()
        changed_key[:, place] = key[:, place - 1] * np.float32(factor)
        changed_value[:, place] = 7
        with np.errstate(invalid="ignore"):  # of the rows that see an infinite key
            after = attend(query, changed_key, changed_value, **options)
        np.testing.assert_array_equal(after[:, :place], before[:, :place])
        assert not np.array_equal(after[:, place:], before[:, place:])


@pytest.mark.parametrize("options", [{"window": (9, 3)}, {"attn_mask": "some"}])
def test_what_window_or_mask_hides_changes_no_bit(options):
    rng = np.random.default_rng(6)
    query, key, value = draw(rng, np.float32, *[(2, 300, 16)] * 3)
    place, rows = 40, np.arange(300)
    blind = (rows < place - 3) | (rows > place + 9)
    if "attn_mask" in options:
        visible = rng.random((300, 300)) < 0.5
        options, blind = {"attn_mask": visible}, ~visible[:, place]
    before = attend(query, key, value, implementation="tiled", **options)
    key[:, place], value[:, place] = 1e4, 7
    after = attend(query, key, value, implementation="tiled", **options)
    np.testing.assert_array_equal(after[:, blind], before[:, blind])
    assert (after[:, ~blind] != before[:, ~blind]).any()


def test_bits_repeat_and_do_not_depend_on_the_threads():
    arrays = draw(np.random.default_rng(7), np.float32, (3, 1030, 16), (1, 1030, 16), (1, 1030, 8))
    first = attend(*arrays, is_causal=True, implementation="tiled", threads=1)
    for threads in (1, 2, 3, 5, None):
        again = attend(*arrays, is_causal=True, implementation="tiled", threads=threads)
        np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_not_finite_reaches_the_same_rows_as_in_the_textbook_form(
    monkeypatch, home, bad
):
    monkeypatch.setattr(tiled, "SCORES", 300 * 64)
    query, key, value = draw(np.random.default_rng(8), np.float32, *[(2, 300, 16)] * 3)
    value[0, 290, 3] = bad
    options = {"is_causal": True, "query_offset": -10}
    with np.errstate(invalid="ignore"):  # 0 · ∞, in both forms
        expected = attend(query, key, value, implementation="textbook", **options)
        arrays = [home.asarray(a) for a in (query, key, value)]
        output = to_numpy(attend(*arrays, implementation="tiled", **options))
    np.testing.assert_array_equal(np.isnan(output), np.isnan(expected))
    assert np.isnan(output[0, 10:, 3]).all()
    assert not np.isnan(output[0, :10]).any()
    np.testing.assert_allclose(output[1], expected[1], atol=1e-5)


def peak(length, **options):
    arrays = draw(np.random.default_rng(9), np.float32, *[(1, length, 8)] * 3)
    attend(*arrays, **options)
    tiled._spare.clear()
    tracemalloc.start()
    attend(*arrays, **options)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def test_memory_grows_with_the_length_and_not_with_its_square():
    sizes = {n: peak(n, is_causal=True, implementation="tiled", threads=2) for n in (2048, 8192)}
    assert sizes[8192] < 4 * sizes[2048]
    assert sizes[8192] < 4 * 8192**2 / 20  # bytes of the scores in float32
    assert peak(2048, is_causal=True, implementation="textbook") > 4 * 2048**2


def test_grouped_heads_share_their_keys_without_a_copy():
    query, key, value = draw(
        np.random.default_rng(10), np.float32, (64, 256, 8), *[(1, 8192, 8)] * 2
    )
    tracemalloc.start()
    attend(query, key, value, implementation="tiled", threads=1)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 64 * key.nbytes / 4


def test_tiles_outside_the_window_are_never_computed(monkeypatch):
    cells = 0
    mix = cpu.Worker._mix

    def count(self, piece, powers, *rest):
        nonlocal cells
        cells += powers.size
        mix(self, piece, powers, *rest)

    monkeypatch.setattr(cpu.Worker, "_mix", count)
    arrays = draw(np.random.default_rng(11), np.float32, *[(1, 2048, 8)] * 3)
    attend(*arrays, window=(100, 27), implementation="tiled", threads=1)
    assert cells <= 2048 * (100 + 27 + 2 * cpu.STRIP)
    cells = 0
    attend(*arrays, is_causal=True, implementation="tiled", threads=1)
    assert cells <= 2048 * (2048 + cpu.STRIP) / 2


def test_none_chooses_by_size_and_by_what_is_asked_for(monkeypatch):
    rng = np.random.default_rng(12)
    called = []
    for name in ("tiled_attention", "textbook_attention"):
        real = getattr(attention, name)
        monkeypatch.setattr(
            attention, name, lambda *a, name=name, real=real: (called.append(name), real(*a))[1]
        )
    keys = attention.LARGE // (2 * 256)  # of two heads with 256 queries
    for length, options in itertools.product((keys - 1, keys), ({}, {"return_weights": True})):
        arrays = draw(rng, np.float32, (2, 256, 4), (2, length, 4), (2, length, 4))
        attend(*arrays, **options)
    assert called == ["textbook_attention"] * 2 + ["tiled_attention", "textbook_attention"]
    called.clear()
    for length in (attention.LARGE_FEW // 2 - 1, attention.LARGE_FEW // 2):
        attend(*draw(rng, np.float32, (2, 1, 4), (2, length, 4), (2, length, 4)))
    assert called == ["textbook_attention", "tiled_attention"]


def test_none_takes_tiles_on_cupy_once_the_scores_would_not_fit_a_block(monkeypatch):
    compat = SimpleNamespace(**vars(attention.array_api_compat))
    compat.is_numpy_namespace, compat.is_cupy_namespace = lambda _: False, lambda _: True
    monkeypatch.setattr(attention, "array_api_compat", compat)
    for extra, tiled_form in ((0, False), (1, True)):
        shape = (2, tiled.SCORES // 8, 4 + extra)
        call = attention.check_call(np, ((*shape[:2], 3), (2, 4 + extra, 3), (2, 4 + extra, 3)))
        assert call.shape == shape
        assert attention.is_tiled(np, call) == tiled_form
        assert not attention.is_tiled(np, call._replace(return_weights=True))


@given(home=st.sampled_from(array_homes()), problem=problems())
def test_other_array_modules_take_some_rows_of_all_heads_at_a_time(home, problem):
    arrays, options = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiled, "SCORES", 100)
        move = {k: home.asarray(v) for k, v in options.items() if isinstance(v, np.ndarray)}
        output = attend(
            *(home.asarray(a) for a in arrays), implementation="tiled", **(options | move)
        )
    assert_as_exact_as_textbook(arrays, to_numpy(output), **options)


def test_the_weights_cannot_be_asked_of_the_tiled_form():
    arrays = draw(np.random.default_rng(13), np.float32, *[(2, 5, 4)] * 3)
    with pytest.raises(
        ValueError, match="return_weights must be False with implementation='tiled'"
    ):
        attend(*arrays, implementation="tiled", return_weights=True)


def test_an_empty_batch_of_keys():
    key, value = np.ones((0, 2, 7, 3)), np.ones((1, 2, 7, 4))
    for queries in (5, 50):
        query = np.ones((1, 2, queries, 3))
        assert attend(query, key, value, implementation="tiled").shape == (0, 2, queries, 4)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_no_queries_or_no_keys(shape):
    queries, keys = shape
    query, key, value = (np.ones((2, n, 3)) for n in (queries, keys, keys))
    output = attend(query, key, value, implementation="tiled")
    np.testing.assert_array_equal(output, np.zeros((2, queries, 3)))
