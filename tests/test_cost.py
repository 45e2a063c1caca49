"""The ledger, checked against operations that are counted and arrays that are held."""

import inspect
import json
import math
import re
import tracemalloc
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import companion
from benchmarks import cost as benchmark
from companion import cost, pitfalls
from companion.cost import Cost, Sizes
from companion.figures import cost as figures

attend = partial(companion.scaled_dot_product_attention, implementation="textbook")
SMALL = Sizes(width=12, heads=4, kv_heads=2, d_k=5, d_v=3, hidden=20)
NARROW = Sizes(width=128, heads=2)
sizes_of_matrices = st.integers(1, 90)


class Counted(np.ndarray):
    """An array that counts what is done to it and its like, and the bytes that go to and fro.

    Only operations on at least `smallest` numbers count: the ledger leaves the small ones out.
    """

    smallest: ClassVar[int] = 0
    flops: ClassVar[int] = 0
    moved: ClassVar[int] = 0

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        plain = [np.asarray(a) if isinstance(a, np.ndarray) else a for a in inputs]
        if out is not None:
            options["out"] = tuple(np.asarray(a) for a in out)
        result = getattr(ufunc, method)(*plain, **options)
        arrays = [a for a in (*plain, result) if isinstance(a, np.ndarray)]
        if max((a.size for a in arrays), default=0) >= Counted.smallest:
            multiply_adds = 2 * result.size * plain[0].shape[-1] if ufunc is np.matmul else 0
            Counted.flops += multiply_adds or max(a.size for a in arrays)
            Counted.moved += sum(a.nbytes for a in arrays)
        return result.view(Counted) if isinstance(result, np.ndarray) else result


def counted(function, *arrays, smallest=0):
    Counted.flops = Counted.moved = 0
    Counted.smallest = smallest
    function(*(array.view(Counted) for array in arrays))
    return Counted.flops, Counted.moved


def held(function):
    """Return the bytes of arrays at the peak of a call, as NumPy reports them."""
    function()
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def draw(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def heads_of(length, s):
    return (
        draw(s.heads, length, s.d_k),
        draw(s.kv_heads, length, s.d_k, seed=2),
        draw(s.kv_heads, length, s.d_v, seed=3),
    )


# Products


@pytest.mark.claim("eq-product-cost")
@given(sizes_of_matrices, sizes_of_matrices, sizes_of_matrices)
def test_a_product_is_counted_by_its_shapes(m, n, p):
    a, b = np.zeros((m, n), np.float32), np.zeros((n, p), np.float32)
    predicted = cost.product(m, n, p)
    assert (predicted.flops, predicted.moved) == counted(np.matmul, a, b)
    assert predicted.peak == (a @ b).nbytes
    twice = cost.product(m, n, p, times=2, itemsize=8)
    assert twice == Cost(2 * predicted.flops, 4 * predicted.moved, 4 * predicted.peak)


@pytest.mark.claim("eq-product-cost")
def test_a_product_is_counted_as_a_loop_does():
    operations = 0
    for _i in range(3):
        for _c in range(5):
            for _m in range(4):
                operations += 2  # a product and a sum
    assert cost.product(3, 4, 5).flops == operations


@pytest.mark.claim("prop-intensity")
@given(sizes_of_matrices, sizes_of_matrices, sizes_of_matrices, st.sampled_from([1, 2, 4, 8]))
def test_the_shortest_side_bounds_the_intensity(m, n, p, itemsize):
    intensity = cost.product(m, n, p, itemsize=itemsize).intensity
    assert intensity < 2 * min(m, n, p) / itemsize
    harmonic = 2 / itemsize / (1 / m + 1 / n + 1 / p)
    assert intensity == pytest.approx(harmonic, rel=1e-12)


# The steps of attention


@pytest.mark.claim("prop-attention-cost")
@pytest.mark.parametrize("s", [SMALL, NARROW, replace(NARROW, heads=4, kv_heads=1)])
def test_each_step_of_attention_is_counted(s):
    length = 37
    query, key, value = heads_of(length, s)
    full = s.heads * length**2
    ledger = cost.attention(length, length, s)
    weights = draw(s.kv_heads, s.heads // s.kv_heads * length, length)
    shared = query.reshape(s.kv_heads, -1, s.d_k)
    assert counted(lambda q, k: q @ k.mT, shared, key) == (
        ledger["scores"].flops,
        ledger["scores"].moved,
    )
    mixed = counted(np.matmul, weights, value)
    assert mixed == (ledger["weighted values"].flops, ledger["weighted values"].moved)
    pairs = 2 * (s.d_k + s.d_v) + 6
    assert cost.total(ledger).flops == full * pairs
    numbers = 12 * full + length * (s.heads + s.kv_heads) * (s.d_k + s.d_v)
    assert cost.total(ledger).moved == 4 * numbers


def test_the_softmax_is_counted_pass_by_pass():
    compared = draw(4, 37, 41)
    predicted = cost.softmax(37, 41, Sizes(width=8, heads=4))
    flops, moved = counted(companion.softmax, compared, smallest=compared.size)
    assert flops == predicted.flops
    narrow = moved - predicted.moved  # the maxima, the floors and the sums, one number a row
    assert 0 < narrow <= 6 * compared.nbytes / 41


@pytest.mark.claim("prop-attention-cost")
@pytest.mark.parametrize("length", [512, 768])
def test_the_peak_is_three_arrays_of_weights(length):
    s = Sizes(width=256, heads=4)
    arrays = heads_of(length, s)

    def textbook():
        return attend(*arrays)

    predicted = cost.total(cost.attention(length, length, s)).peak
    assert predicted == 3 * 4 * s.heads * length**2
    assert 1 <= held(textbook) / predicted < 1.02
    for mask in ({"is_causal": True}, {"attn_mask": np.ones((length, length), bool)}):
        masked = held(lambda mask=mask: attend(*arrays, **mask, implementation="textbook"))
        assert 4 <= 3 * masked / predicted < 4.2  # the masked scores, and the mask itself
    alone = cost.softmax(length, length, s).peak
    compared = companion.scaled_scores(*arrays[:2])
    assert 1 <= held(lambda: companion.softmax(compared)) / alone < 1.02


def test_a_whole_block_is_counted():
    s, length = Sizes(width=64, heads=4), 96
    p = companion.BlockParameters.random(
        np.random.default_rng(1), width=64, heads=4, hidden=256, dtype=np.float32
    )
    p = companion.map_parameters(lambda a: a.view(Counted), p)
    flops, moved = counted(lambda x: companion.transformer_block(x, p), draw(length, 64))
    predicted = cost.total(cost.block(length, length, s))
    # Biases, norms, sums and the scale are left out: a few per cent at this width, and they move
    # as many bytes as the smaller products do.
    assert 1 <= flops / predicted.flops < 1.03
    assert 1 <= moved / predicted.moved < 1.6


@pytest.mark.parametrize("length", [64, 1024])
def test_the_peak_of_a_block_is_held(length):
    s = Sizes(width=64, heads=4, hidden=4096)  # the network's at 64 tokens, the attention's at 1024
    p = companion.BlockParameters.random(
        np.random.default_rng(1), width=64, heads=4, hidden=4096, dtype=np.float32
    )
    x = draw(length, 64)
    options = {"implementation": "textbook"}
    measured = held(lambda: companion.transformer_block(x, p, **options))
    assert measured == pytest.approx(cost.total(cost.block(length, length, s)).peak, rel=0.04)


def test_decoding_computes_one_token_and_reads_all():
    s = replace(SMALL, batch=3)
    one, many = cost.block(1, 100, s), cost.block(100, 100, s)
    for name in ("queries", "keys", "values", "scores", "softmax", "widen", "bend", "narrow"):
        assert 100 * one[name].flops == many[name].flops
    cache = 4 * 3 * 100 * s.kv_heads * (s.d_k + s.d_v)
    assert one["scores"].moved + one["weighted values"].moved > cache
    weights = 4 * s.width * s.hidden
    assert one["widen"].moved > weights
    assert replace(s, batch=1) != s
    alone = cost.block(1, 100, replace(s, batch=1))
    assert one["widen"].moved < 2 * alone["widen"].moved  # weights are read once for all three
    assert one["scores"].moved == 3 * alone["scores"].moved  # keys are not


@pytest.mark.claim("prop-crossover")
@pytest.mark.parametrize(("d", "heads"), [(128, 2), (768, 12), (4096, 32)])
def test_where_the_pairs_take_over(d, heads):
    s = Sizes(width=d, heads=heads)
    for length, wider in ((2 * d, ("queries", "keys", "values", "output projection")), (6 * d, ())):
        ledger = cost.block(length, length, s)
        products = ("queries", "keys", "values", "output projection", "widen", "narrow")
        with_weights = sum(ledger[name].flops for name in wider or products)
        assert ledger["scores"].flops + ledger["weighted values"].flops == with_weights
    length = 4 * s.d_k
    assert cost.scores(length, length, s).peak == cost.feed_forward(length, s)["widen"].peak


# Other forms


@pytest.mark.claim("prop-row-by-row")
def test_row_by_row_needs_memory_for_one_row_of_weights():
    for keys in (16384, 32768):
        query, key, value = draw(20, 4), draw(keys, 4, seed=2), draw(keys, 3, seed=3)

        def row_by_row(query=query, key=key, value=value):
            rows = (attend(query[i : i + 1], key, value) for i in range(20))
            return np.concatenate(list(rows))

        np.testing.assert_allclose(row_by_row(), attend(query, key, value), atol=1e-6)
        row = 4 * keys
        assert 3 * row < held(row_by_row) < 4 * row
        assert held(lambda arrays=(query, key, value): attend(*arrays)) > 3 * 20 * row


@pytest.mark.parametrize(("queries", "keys", "tile"), [(1, 7, 4), (13, 13, 4), (9, 30, 128)])
@pytest.mark.parametrize("is_causal", [False, True])
def test_tiles_are_counted_one_by_one(queries, keys, tile, is_causal):
    s = SMALL
    pairs = seen = 0
    for start in range(0, queries, tile):
        rows = range(start, min(start + tile, queries))
        visible = min(rows[-1] + 1, keys) if is_causal else keys
        pairs, seen = pairs + len(rows) * visible, seen + visible
    tiled = cost.tiled_attention(queries, keys, s, tile=(tile, 8), is_causal=is_causal)
    assert tiled.flops == s.heads * pairs * (2 * s.d_k + 2 * s.d_v + 6)
    assert tiled.moved == 4 * s.heads * (queries + seen) * (s.d_k + s.d_v)
    assert tiled.peak == 4 * (s.heads * queries * s.d_v + min(tile, queries) * min(8, keys))


def test_tiles_move_less_and_hold_less():
    textbook = cost.total(cost.attention(4096, 4096, NARROW))
    tiled = cost.tiled_attention(4096, 4096, NARROW)
    assert tiled.flops == textbook.flops
    assert tiled.moved < textbook.moved / 5
    doubled = cost.tiled_attention(8192, 8192, NARROW)
    tile = 4 * 128 * 1024
    assert doubled.peak - tile == 2 * (tiled.peak - tile)
    assert cost.total(cost.attention(8192, 8192, NARROW)).peak == 4 * textbook.peak


@pytest.mark.claim("eq-window-pairs")
@pytest.mark.parametrize("length", [1, 2, 9, 30])
@pytest.mark.parametrize("left", [0, 1, 8, 100])
def test_a_window_counts_the_pairs_its_mask_shows(length, left):
    pairs = int(companion.window_mask(length, window=(left, 0)).sum())
    windowed = cost.windowed_attention(length, SMALL, left=left)
    assert windowed.flops == SMALL.heads * pairs * (2 * SMALL.d_k + 2 * SMALL.d_v + 6)
    assert windowed.peak == 3 * 4 * SMALL.heads * pairs


def recurrent(x, w, u):
    inputs = x @ w
    states = np.empty_like(inputs)
    state = np.zeros_like(inputs[0])
    for i in range(len(inputs)):
        state = np.tanh(inputs[i] + state @ u)
        states[i] = state
    return states


@pytest.mark.claim("eq-recurrence")
def test_a_recurrent_network_is_counted():
    n, d = 100, 64
    x, w, u = draw(n, d), draw(d, d, seed=2), draw(d, d, seed=3)
    predicted = cost.total(cost.recurrence(n, Sizes(width=d)))
    flops, moved = counted(recurrent, x, w.view(Counted), u.view(Counted))
    assert flops == predicted.flops == n * (4 * d**2 + 2 * d)
    assert predicted.moved <= moved < 1.4 * predicted.moved
    assert held(lambda: recurrent(x, w, u)) == pytest.approx(predicted.peak, rel=0.2)


@pytest.mark.claim("eq-recurrence")
def test_a_later_state_waits_for_every_earlier_token():
    x, w, u = draw(9, 6), draw(6, 6, seed=2) / 3, draw(6, 6, seed=3) / 3
    changed = x.copy()
    changed[0] += 1
    moved = np.abs(recurrent(changed, w, u) - recurrent(x, w, u)).max(axis=1)
    assert np.all(moved > 0)


@pytest.mark.claim("eq-linear-attention")
@given(st.integers(1, 40), st.integers(1, 8), st.integers(0, 100))
def test_without_the_softmax_the_pairs_need_not_be_formed(length, d, seed):
    rng = np.random.default_rng(seed)
    query, key = rng.random((length, d)), rng.random((length, d))
    value = rng.standard_normal((length, d + 1))
    np.testing.assert_allclose((query @ key.T) @ value, query @ (key.T @ value), atol=1e-10)
    pairs = cost.product(length, d, length).flops + cost.product(length, length, d + 1).flops
    states = cost.product(d, length, d + 1).flops + cost.product(length, d, d + 1).flops
    assert pairs == 2 * length**2 * (2 * d + 1)
    assert states == 4 * length * d * (d + 1)


# The roofline


@pytest.mark.claim("eq-roofline")
@given(st.integers(0, 10**15), st.integers(1, 10**15))
def test_the_slower_of_both_sets_the_time(flops, moved):
    step = Cost(flops, moved, 0)
    time = cost.least_time(step, flop_rate=1e12, bandwidth=1e10)
    assert time >= flops / 1e12
    assert time >= moved / 1e10
    assert time in (flops / 1e12, moved / 1e10)
    bound_by_memory = step.intensity < 100
    assert bound_by_memory == (time > flops / 1e12)


def test_a_total_sums_and_takes_the_highest_peak():
    assert cost.total({"a": Cost(1, 2, 3), "b": Cost(10, 20, 1)}) == Cost(11, 22, 3)
    assert Cost(8, 4, 0).intensity == 2


def test_sizes_are_completed():
    assert Sizes(width=12, heads=3) == Sizes(
        width=12, heads=3, kv_heads=3, d_k=4, d_v=4, hidden=48, batch=1, itemsize=4
    )
    assert Sizes(width=12, d_k=np.int64(5)).d_v == 5


BAD_CALLS = [
    (lambda: Sizes(width=0), ValueError, "width must be at least 1, got 0"),
    (lambda: Sizes(width=6.0), TypeError, "width must be an integer, got float"),
    (lambda: Sizes(width=6, heads=7), ValueError, "d_k must be at least 1, got 0"),
    (lambda: Sizes(width=6, heads=6, kv_heads=4), ValueError, "kv_heads must divide heads=6"),
    (lambda: Sizes(width=6, heads="2"), TypeError, "heads must be an integer, got str"),
    (lambda: cost.total({}), ValueError, "at least one step"),
    (lambda: cost.product(0, 1, 1), ValueError, "rows must be at least 1, got 0"),
    (lambda: cost.scores(1.5, 1, SMALL), TypeError, "rows must be an integer, got float"),
    (lambda: cost.softmax(1, 0, SMALL), ValueError, "keys must be at least 1"),
    (
        lambda: cost.tiled_attention(1, 1, SMALL, tile=(0, 1)),
        ValueError,
        "tile_queries must be at least 1",
    ),
    (lambda: cost.windowed_attention(0, SMALL, left=1), ValueError, "length must be at least 1"),
    (lambda: cost.windowed_attention(3, SMALL, left=-1), ValueError, "must not be negative"),
    (
        lambda: cost.least_time(Cost(1, 1, 1), flop_rate=0, bandwidth=1),
        ValueError,
        "flop_rate must be positive",
    ),
]


@pytest.mark.parametrize(("call", "kind", "part"), BAD_CALLS, ids=[part for *_, part in BAD_CALLS])
def test_a_bad_size_is_told(call, kind, part):
    with pytest.raises(kind, match=part):
        call()


# What breaks


def test_a_window_by_mask_computes_every_score():
    query, key, value = draw(200, 8), draw(200, 8, seed=2), draw(200, 8, seed=3)

    def by_slices(q, k, v):
        starts = [max(0, i - 10) for i in range(200)]
        rows = [attend(q[i : i + 1], k[s : i + 1], v[s : i + 1]) for i, s in enumerate(starts)]
        return np.concatenate(rows)

    by_mask = pitfalls.attention_windowed_by_mask(query, key, value, left=10)
    np.testing.assert_allclose(by_mask, by_slices(query, key, value), atol=1e-6)
    every_score = cost.scores(200, 200, Sizes(width=8)).flops
    hidden, _ = counted(
        lambda *a: pitfalls.attention_windowed_by_mask(*a, left=10), query, key, value
    )
    sliced, _ = counted(by_slices, query, key, value)
    assert hidden >= every_score
    assert sliced < every_score / 5


def test_operations_alone_make_a_copy_free():
    rates = {"flop_rate": 1e12, "bandwidth": 1e10}
    copy = Cost(0, 10**9, 0)
    assert pitfalls.least_time_by_flops(copy, **rates) == 0
    assert cost.least_time(copy, **rates) == 0.1


def test_a_first_call_stands_for_no_other():
    now, calls = 0.0, 0

    def function():
        nonlocal now, calls
        calls += 1
        now += 9.0 if calls == 1 else 1.0

    assert pitfalls.time_of_first_call(function, clock=lambda: now) == 9.0
    assert pitfalls.time_of_first_call(function, clock=lambda: now) == 1.0


def test_every_function_of_the_room_is_offered():
    public = {name for name, _ in inspect.getmembers(cost, inspect.isfunction) if name[0] != "_"}
    assert public - {"dataclass", "fields", "replace"} == set(cost.__all__) - {"Cost", "Sizes"}


# What was measured


def test_what_is_timed_side_by_side_is_the_same():
    outputs = {name: call() for name, call in benchmark.layers(32).items()}
    for name in ("textbook", "tiled"):
        np.testing.assert_allclose(outputs[name], outputs["loop"], atol=1e-5)
    assert outputs["recurrent"].shape == outputs["textbook"].shape
    look_ups = benchmark.look_ups(64)
    assert look_ups["scan"]().shape == look_ups["attention"]()[0].shape == (64,)


def record_of(name):
    path = Path(__file__).parent.parent / "benchmarks" / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_recorded_roofline_belongs_to_the_ledger():
    record = record_of("roofline")
    chosen = record["sizes"]
    s = Sizes(width=chosen["width"], heads=chosen["heads"])
    ledgers = {
        "prefill": cost.block(chosen["prefill"], chosen["prefill"], s),
        "decoding": cost.block(1, chosen["cached"], s),
    }
    for step in record["steps"]:
        predicted = ledgers[step["phase"]][step["name"]]
        assert (step["flops"], step["moved"]) == (predicted.flops, predicted.moved)
        # No arithmetic beats the large product by much; what a cache holds may beat the copy.
        assert step["seconds"] > 0.8 * predicted.flops / record["limits"]["flop_rate"]


def test_the_recorded_memory_is_the_predicted_one():
    record = record_of("cost")
    s = Sizes(**record["sizes"])
    peaks = {(entry["name"], entry["length"]): entry.get("peak") for entry in record["layers"]}
    for n in (512, 1024, 2048, 4096, 8192):
        kept = cost.projections(n, s)["values"].peak
        textbook = kept + cost.total(cost.attention(n, n, s)).peak
        assert peaks["textbook", n] == pytest.approx(textbook, rel=0.02)
        recurrent_peak = cost.total(cost.recurrence(n, s)).peak
        assert peaks["recurrent", n] == pytest.approx(recurrent_peak, rel=0.02)


# The figures


MACHINE = {
    "cpu": "some CPU",
    "instruction_sets": ["avx", "avx2", "fma"],
    "blas": [{"num_threads": 2}],
    "versions": {"numpy": "2.0"},
}


def test_growth_is_told_as_a_ratio():
    layers = [
        {"name": name, "length": n, "seconds": 3e-6 * n**power}
        for name, power in (("textbook", 2), ("recurrent", 1))
        for n in (64, 256, 512, 1024)
    ]
    record = {"machine": MACHINE, "layers": layers}
    names = {"textbook": "attention", "tiled": "not measured", "recurrent": "recurrent"}
    drawn = figures.growth(record, "seconds", names=names, start=256, y_title="time")
    assert "attention: from 1 at 256 to 16 at 1024" in drawn.alt
    assert "recurrent: from 1 at 256 to 4 at 1024" in drawn.alt
    assert "On some CPU with AVX2, 2 threads" in drawn.alt
    assert "not measured" not in drawn.alt
    with pytest.raises(ValueError, match="measured at N=128"):
        figures.growth(record, "seconds", names=names, start=128, y_title="time")


def test_the_roofline_places_every_step():
    steps = [
        {"phase": "prefill", "name": "widen", "flops": 10**9, "moved": 10**6, "seconds": 0.002},
        {"phase": "decoding", "name": "widen", "flops": 10**6, "moved": 2 * 10**6, "seconds": 1e-3},
    ]
    limits = {"flop_rate": 1e12, "bandwidth": 1e10}
    drawn = figures.roofline({"machine": MACHINE, "limits": limits, "steps": steps})
    assert "flat from 100 on" in drawn.alt
    assert "prefill, widen: 1000 FLOPs a byte, 0.5 of the highest rate" in drawn.alt
    assert "decoding, widen: 0.5 FLOPs a byte, 0.001 of the highest rate" in drawn.alt
    (numbers,) = drawn.tables
    assert numbers.row_labels == ("prefill, widen", "decoding, widen")
    assert numbers.rows == (("1000", "0.5", "0.5"), ("0.5", "0.001", "0.2"))


@pytest.mark.parametrize("cpu", [f"{'Long' * 8} processor, revision 2 " * 2, "X" * 100])
def test_a_processor_with_a_long_name_is_named_whole_on_a_phone(cpu):
    record = record_of("roofline")
    long = record | {"machine": record["machine"] | {"cpu": cpu}}
    written = "".join(re.findall(r"<!-- (.*?) -->", figures.roofline(long).svg))
    assert f"On {figures.machine_name(long)}".replace(" ", "") in written.replace(" ", "")
    layers = [{"name": "a", "length": n, "seconds": 1.0 * n} for n in (64, 128)]
    grown = {"machine": MACHINE | {"cpu": cpu}, "layers": layers}
    drawn = figures.growth(grown, "seconds", names={"a": "a"}, start=64, y_title="time")
    assert f"On {figures.machine_name(grown)}" in drawn.alt


def test_no_number_of_a_roofline_hides_another(monkeypatch):
    places = {}

    def note(_, x, y, text, **look):
        if text.isdecimal() and look.get("bold"):
            places[text] = (x, y)

    monkeypatch.setattr(figures.Canvas, "text", note)
    figures.roofline(record_of("roofline"))
    assert len(places) == 10
    assert all(math.dist(a, b) > 11 for a, b in combinations(places.values(), 2))
