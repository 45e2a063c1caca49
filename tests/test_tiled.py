"""The tiled form: the textbook's numbers for every input, in linear memory, with stable bits."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion import attention
from companion import scaled_dot_product_attention as attend
from companion.arrays import to_numpy
from companion.kernels import cpu, tiled
from tests.support.exactness import assert_as_exact_as_textbook, draw, problems
from tests.support.homes import array_homes


@pytest.fixture
def tiles(monkeypatch):
    """Set the size of the tiles."""

    def set_size(rows, keys):
        monkeypatch.setattr(cpu, "ROWS", rows)
        monkeypatch.setattr(tiled, "ROWS", rows)
        monkeypatch.setattr(cpu, "KEYS", keys)
        monkeypatch.setattr(tiled, "SCORES", rows * keys)

    return set_size


@given(problem=problems(), rows=st.integers(1, 12), keys=st.integers(1, 12))
def test_it_is_as_exact_as_the_textbook_for_every_tile_size(problem, rows, keys):
    arrays, options = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "ROWS", rows)
        patch.setattr(tiled, "ROWS", rows)
        patch.setattr(cpu, "KEYS", keys)
        patch.setattr(tiled, "KEYS", 4 * keys)
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
    """Count the tiles computed with the bound, with the maximum and as the equation reads."""
    taken = {"bound": 0, "maximum": 0, "equation": 0}
    mix, follow = cpu.Worker._mix, cpu.Worker._follow_equation

    def count_mix(self, *arguments):
        taken["maximum" if arguments[-1] else "bound"] += 1
        mix(self, *arguments)

    def count_equation(self, done):
        taken["equation"] += len(list(self._tiles(done)))
        follow(self, done)

    monkeypatch.setattr(cpu.Worker, "_mix", count_mix)
    monkeypatch.setattr(cpu.Worker, "_follow_equation", count_equation)
    attend(*arrays, implementation="tiled", threads=1, **options)
    return taken


@pytest.mark.parametrize(
    ("change", "options", "expected"),
    [
        (with_keys_scaled(1), {}, {"bound": 2, "maximum": 0, "equation": 0}),
        (with_scores_below_the_bound(30), {}, {"bound": 2, "maximum": 0, "equation": 0}),
        (with_scores_below_the_bound(60), {}, {"bound": 2, "maximum": 2, "equation": 0}),
        (with_one_huge_key(1e30), {}, {"bound": 2, "maximum": 2, "equation": 0}),
        (with_keys_scaled(1), {"softcap": 3.0}, {"bound": 0, "maximum": 2, "equation": 0}),
        (with_keys_scaled(1), {"window": (9, 0)}, {"bound": 0, "maximum": 2, "equation": 0}),
        (HOSTILE["scores near the largest float"], {}, {"bound": 2, "maximum": 2, "equation": 0}),
    ],
)
def test_a_slower_way_is_taken_where_it_is_needed_and_nowhere_else(
    monkeypatch, change, options, expected
):
    arrays = change(*draw(np.random.default_rng(4), np.float32, *[(1, 256, 16)] * 3))
    assert ways_taken(monkeypatch, arrays, is_causal=True, **options) == expected


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
@pytest.mark.parametrize("length", [260, 600])
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
    hide = cpu.Worker._hide

    def count(self, rows, keys, scores):
        nonlocal cells
        cells += scores.size
        hide(self, rows, keys, scores)

    monkeypatch.setattr(cpu.Worker, "_hide", count)
    arrays = draw(np.random.default_rng(11), np.float32, *[(1, 2048, 8)] * 3)
    attend(*arrays, window=(100, 27), implementation="tiled", threads=1)
    assert cells <= 2048 * (100 + 27 + cpu.ROWS)


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
    query, key, value = np.ones((1, 2, 5, 3)), np.ones((0, 2, 7, 3)), np.ones((1, 2, 7, 4))
    assert attend(query, key, value, implementation="tiled").shape == (0, 2, 5, 4)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_no_queries_or_no_keys(shape):
    queries, keys = shape
    query, key, value = (np.ones((2, n, 3)) for n in (queries, keys, keys))
    output = attend(query, key, value, implementation="tiled")
    np.testing.assert_array_equal(output, np.zeros((2, queries, 3)))
