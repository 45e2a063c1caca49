"""Beyond one machine: Dask arrays, real workers, and what may happen to them."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

import companion
from companion import cost, distributed
from companion import scaled_dot_product_attention as attend
from companion.kernels import blas, shards
from companion.kernels.merge_tree import LEAF, homes, tree
from tests.support import faults
from tests.support.exactness import assert_as_exact_as_textbook
from tests.support.tiny_encoder import write_encoder
from tests.support.tiny_language_model import tiny_parameters

da = pytest.importorskip("dask.array", reason="the extra distributed is not installed")
import dask  # noqa: E402
import dask.bag  # noqa: E402
from distributed import KilledWorker, Security  # noqa: E402

ROOT = Path(__file__).parent.parent
LIMIT = 30  # seconds that anything here may wait


# Attention over chunks, in one process


def cut(rng, array):
    """Make a Dask array of an array, in chunks of any sizes."""
    chunks = tuple(int(rng.integers(size // 4 + 1, size + 1)) for size in array.shape)
    return da.from_array(array, chunks=chunks)


def problem(rng, dtype):
    """Draw arrays and options of attention, in whatever shapes go together."""
    kv_heads, times = (int(n) for n in rng.integers(1, 4, 2))
    rows, keys, d_k, d_v = (int(n) for n in rng.integers(1, 40, 4))
    batch = tuple(int(n) for n in rng.integers(1, 4, rng.integers(0, 3)))

    def part():
        return tuple(1 if rng.random() < 0.4 else n for n in batch[rng.integers(0, 3) :])

    if rng.random() < 0.2:
        batch, shapes = (), [(rows, d_k), (keys, d_k), (keys, d_v)]
        whole = (rows, keys)
    else:
        shapes = [
            (*batch, kv_heads * times, rows, d_k),
            (*part(), kv_heads, keys, d_k),
            (*part(), kv_heads, keys, d_v),
        ]
        whole = (*batch, kv_heads * times, rows, keys)
    options = {"is_causal": bool(rng.random() < 0.4)}
    if rng.random() < 0.5:
        options["query_offset"] = int(rng.integers(-5, 30))
    if rng.random() < 0.3:
        options["window"] = tuple(int(n) for n in rng.integers(-1, 8, 2))
    if rng.random() < 0.3:
        options |= {"softcap": 2.0, "scale": float(rng.random())}
    mask = None
    if rng.random() < 0.6:
        shape = tuple(1 if rng.random() < 0.3 else n for n in whole)[rng.integers(0, len(whole)) :]
        mask = rng.random(shape) < 0.5
        if rng.random() < 0.5:
            mask = np.where(mask, rng.standard_normal(shape), -np.inf).astype(dtype)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes], mask, batch, options


@pytest.mark.claim("eq-packed-merge")
@pytest.mark.parametrize("seed", range(48))
def test_chunks_give_what_the_whole_gives(seed):
    rng = np.random.default_rng(seed)
    dtype = (np.float16, np.float32, np.float64)[seed % 3]
    arrays, mask, batch, options = problem(rng, dtype)
    asked = dict(options)
    if batch and rng.random() < 0.5:
        offsets = rng.integers(-5, 30, batch)
        options["query_offset"], asked["query_offset"] = offsets, cut(rng, offsets)
    lazy_mask = mask if mask is None or seed % 2 else cut(rng, mask)
    lazy = attend(*(cut(rng, array) for array in arrays), lazy_mask, **asked)
    for block in np.ndindex(lazy.numblocks):
        part = lazy.blocks[block]
        assert part.compute(scheduler="sync").shape == part.shape
    output = lazy.compute(scheduler="sync")
    assert (lazy.shape, lazy.dtype) == (output.shape, output.dtype)
    whole = arrays if mask is None else [*arrays, mask]
    assert_as_exact_as_textbook(whole, output, **options)


def seeded(seed, shape, chunks, dtype="float32"):
    """Return a Dask array whose chunks are drawn where they are needed."""
    sizes = da.core.normalize_chunks(chunks, shape)
    return da.map_blocks(
        drawn, chunks=sizes, dtype=dtype, meta=np.empty((0,) * len(shape), dtype), seed=seed
    )


def drawn(seed, block_info=None, block_id=None):
    return faults.chunk(seed, block_info[None]["chunk-shape"], block_info[None]["dtype"], block_id)


def three(length=64, chunk=8, rows=16, **options):
    """Return queries, keys and values of two heads: one chunk of queries, many of keys."""
    query = seeded(1, (2, rows, 4), (2, rows, 4), **options)
    key = seeded(2, (2, length, 4), (2, chunk, 4), **options)
    return query, key, seeded(3, (2, length, 6), (2, chunk, 6), **options)


def through(function, array, **options):
    """Send the chunks through a function; Dask does not try it out here, as its `meta` is known."""
    return array.map_blocks(function, dtype=array.dtype, meta=array._meta, **options)


def guarded(array, allowed, axis=-2):
    return through(faults.forbidden, array, allowed=allowed, axis=axis)


HALF = np.arange(64) < 32
FLOATS = np.where(HALF, 0.5, -np.inf).astype(np.float32)


@pytest.mark.parametrize(
    ("mask", "options", "allowed"),
    [
        (None, {"is_causal": True}, (0, 1)),
        (None, {"is_causal": True, "query_offset": 8}, (0, 1, 2)),
        (None, {"window": (4, 4), "query_offset": 24}, (2, 3, 4, 5)),
        (HALF, {}, (0, 1, 2, 3)),
        (FLOATS, {}, (0, 1, 2, 3)),
        (HALF, {"is_causal": True, "query_offset": -8}, (0,)),
    ],
)
def test_what_is_hidden_is_never_computed(mask, options, allowed):
    query, key, value = three()
    lazy = attend(query, guarded(key, allowed), guarded(value, allowed), mask, **options)
    output = lazy.compute(scheduler="sync")
    whole = [a.compute(scheduler="sync") for a in (query, key, value)]
    assert_as_exact_as_textbook(whole if mask is None else [*whole, mask], output, **options)
    fewer = guarded(key, allowed[:-1])  # and all of these are
    with pytest.raises(AssertionError, match="was computed"):
        attend(query, fewer, value, mask, **options).compute(scheduler="sync")


def test_building_computes_nothing():
    query, key, value = (guarded(array, ()) for array in three())
    mask = guarded(da.from_array(HALF[None], chunks=(1, 16)), ())
    lazy = attend(query, key, value, mask, is_causal=True)
    assert lazy.shape == (2, 16, 6)


def test_a_mask_that_hides_nothing_of_a_chunk_does_not_travel():
    query, key, value = three()
    graph = dict(attend(query, key, value, HALF).__dask_graph__())
    tasks = [task for name, task in graph.items() if str(name[0]).startswith(LEAF)]
    assert len(tasks) == 4
    assert not any("array(" in str(task) for task in tasks)


def test_no_key_at_all_gives_zeros():
    query, key, value = (array[:, :n] for array, n in zip(three(), (16, 0, 0), strict=True))
    for lazy in (
        attend(query, key, value),
        attend(*three(), is_causal=True, query_offset=-99),
        attend(*three(), np.zeros(64, bool)),
    ):
        output = lazy.compute(scheduler="sync")
        assert (output.shape, output.dtype) == ((2, 16, 6), np.float32)
        assert not output.any()


def test_the_future_changes_no_bit_of_the_past():
    query, key, value = (
        da.from_array(array, chunks=(2, 8, -1))
        for array in np.random.default_rng(3).standard_normal((3, 2, 40, 4)).astype(np.float32)
    )
    later = np.where(np.arange(40) < 21, 1, 1e4).astype(np.float32)[:, None]
    outputs = [
        attend(query, key * factor, value * factor, is_causal=True).compute(scheduler="sync")
        for factor in (np.float32(1), later)
    ]
    np.testing.assert_array_equal(outputs[0][:, :21], outputs[1][:, :21])
    assert not np.array_equal(outputs[0], outputs[1])


def test_large_values_do_not_leave_the_range():
    query, key, value = three()
    output = attend(query * 0, key, value * 0 + np.float32(3e38)).compute(scheduler="sync")
    np.testing.assert_allclose(output, np.full((2, 16, 6), 3e38), rtol=1e-5)


def test_packed_states_of_other_queries_are_refused():
    state = np.ones((5, 6), np.float32)
    for wrong, error, said in (
        (state[:2], ValueError, r"second must have the shape of first, \(5, 6\), got \(2, 6\)"),
        (state.astype(np.float64), TypeError, "second must have the dtype of first"),
        ("state", TypeError, "second must be an array"),
    ):
        with pytest.raises(error, match=said):
            distributed.merge_packed(state, wrong)
    with pytest.raises(ValueError, match=r"first must be \(\.\.\., T, d_v \+ 2\)"):
        distributed.merge_packed(state[:, :2], state[:, :2])


def test_a_state_of_no_key_is_the_identity():
    empty = np.asarray([[-np.inf, 0, 0, 0]] * 2)
    some = np.asarray([[2.0, 1.5, 3, -1], [-np.inf, 0, 0, 0]])
    for pair in ((some, empty), (empty, some), (empty, empty)):
        np.testing.assert_array_equal(distributed.merge_packed(*pair), pair[pair[0] is empty])


def test_sixteen_bits_travel_as_thirty_two():
    query, key, value = three(dtype="float16")
    lazy = attend(query, key, value)
    graph = lazy.__dask_graph__()
    states = [name for name in dict(graph) if str(name[0]).startswith((LEAF, "merge-"))]
    assert len(states) == 15
    for state in dask.get(dict(graph), states):
        assert (state.dtype, state.shape) == (np.float32, (2, 16, 8))
    assert lazy.dtype == lazy.compute(scheduler="sync").dtype == np.float16


def test_whole_heads_of_a_block_go_through_dask_too():
    rng = np.random.default_rng(5)
    query, key, value = rng.standard_normal((3, 4, 9, 6))
    lazy = attend(*(da.from_array(a, chunks=(3, 4, 2)) for a in (query, key, value)))
    assert lazy.chunks[-1] == (6,)  # no row of values is cut
    np.testing.assert_allclose(lazy.compute(scheduler="sync"), attend(query, key, value))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda q, k, v: attend(q, k, v, return_weights=True), ValueError, "return_weights must"),
        (lambda q, k, v: attend(q, k, v, implementation="textbook"), ValueError, "'tiled' or None"),
        (lambda q, k, v: attend(q, k, v, threads=2), ValueError, "threads must be None for Dask"),
        (lambda q, k, v: attend(q, k[:, k[0, :, 0] > 0], v), ValueError, "key must have chunks of"),
        (lambda q, k, v: attend(q, k.compute(), v), TypeError, "key must come from the array lib"),
        (
            lambda q, k, v: attend(q, k, v, is_causal=True, query_offset=np.asarray(3)),
            TypeError,
            "query_offset must come from",
        ),
        (lambda q, k, v: attend(q, k, v[:, 1:]), ValueError, "value must be"),
        (lambda q, k, v: attend(q, k, v, np.ones(3, bool)), ValueError, "attn_mask must broadcast"),
    ],
)
def test_what_chunks_cannot_do_is_refused(call, error, said):
    with pytest.raises(error, match=said):
        call(*three())


def test_a_shard_is_summed_up_by_one_thread_of_blas(monkeypatch):
    def threads(*_):
        return [blas._originals[type(one)][0](one) for one in blas.libraries()]

    monkeypatch.setattr(shards, "_packed_state", threads)
    assert set(shards.packed_state(None, None, None, None)) == {1}
    assert blas._noted == {}


# The tree


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_the_tree_keeps_the_order_and_its_form(count):
    leaves = {i: (LEAF, i) for i in range(count)}
    steps, root = tree("merge", (), count, leaves, lambda a, b: f"({a}{b})")
    names = {leaf: (lambda i=i: chr(97 + i),) for i, leaf in leaves.items()}
    joined = dask.get(steps | names, root)
    assert joined.replace("(", "").replace(")", "") == "abcdefghijklm"[:count]
    assert joined.count("(") == count - 1
    depth = max(joined[:i].count("(") - joined[:i].count(")") for i in range(len(joined) + 1))
    assert 2 ** (depth - 1) < count <= 2**depth
    del leaves[count // 2]  # whoever is left keeps to the same groups
    fewer, root = tree("merge", (), count, leaves, lambda a, b: f"({a}{b})")
    assert set(fewer) <= set(steps)
    assert (root is None) == (count == 1)


def _tasks(count):
    leaves = {i: (LEAF + "x", i) for i in range(count)}
    steps, root = tree("merge", (), count, leaves, max)
    reads = {leaf: {("key", i), ("query", 0)} for i, leaf in leaves.items()}
    parts = {name: set(step[1:]) for name, step in steps.items()}
    return parts | reads | {("key", i): set() for i in leaves} | {("query", 0): set()}, root


@pytest.mark.claim("prop-states-moved")
@pytest.mark.parametrize(("count", "workers"), [(8, 1), (8, 2), (8, 4), (16, 8), (7, 3), (12, 5)])
def test_runs_of_neighbours_move_hardly_a_state(count, workers):
    tasks, root = _tasks(count)
    home, order = homes(tasks, workers)
    runs = [home[LEAF + "x", i] for i in range(count)]
    assert runs == sorted(runs)
    sizes = [runs.count(worker) for worker in range(workers)]
    assert max(sizes) - min(sizes) <= 1
    assert all(home["key", i] == runs[i] for i in range(count))
    assert home["query", 0] == 0 == home[root]
    merges = [name for name in tasks if name[0] == "merge"]
    moved = sum(len({home[part] for part in tasks[name]}) - 1 for name in merges)
    if count & (count - 1) == workers & (workers - 1) == 0:
        assert moved == workers - 1
    else:
        assert workers - 1 <= moved < count - 1
    assert all(order.index(part) < order.index(name) for name in tasks for part in tasks[name])


def test_a_place_is_written_beside_every_task():
    lazy = distributed.place(attend(*three()), ["tcp://a:1", "tcp://b:1"])
    (layer,) = lazy.dask.layers.values()
    where = {name: layer.annotations["workers"](name) for name in layer}
    leaves = [name for name in where if str(name[0]).startswith(LEAF)]
    assert [where[name] for name in sorted(leaves)] == [["tcp://a:1"]] * 4 + [["tcp://b:1"]] * 4
    assert layer.annotations["allow_other_workers"]
    for wrong, error in (("tcp://a:1", ValueError), ([], ValueError)):
        with pytest.raises(error, match="workers must hold at least one address"):
            distributed.place(lazy, wrong)
    with pytest.raises(TypeError, match="array must be a Dask array, got ndarray"):
        distributed.place(np.ones(3), ["tcp://a:1"])


# Accounts


SIZES = cost.Sizes(width=8, heads=2, d_k=4, d_v=6)


def test_an_account_follows_from_shapes():
    account = distributed.tree_account(16, 64, SIZES, shards=8, workers=2)
    assert account.there == 2 * 16 * 4 * 4
    assert account.back == 2 * 16 * 8 * 4
    assert account.moved == account.there + account.back
    one = distributed.tree_account(16, 64, SIZES, shards=8, workers=1)
    assert one.moved == 0
    assert sum(account.flops) == one.flops[0] == cost.tiled_attention(16, 64, SIZES).flops
    longer = distributed.tree_account(16, 6400, SIZES, shards=8, workers=2)
    assert longer.moved == account.moved
    ring = distributed.ring_account(64, SIZES, workers=4)
    assert ring.there == 3 * 64 * 2 * (4 + 6) * 4
    assert sum(ring.flops) == cost.tiled_attention(64, 64, SIZES).flops


@pytest.mark.claim("eq-hidden-length")
def test_the_length_that_hides_a_ring_is_where_its_two_times_meet():
    sizes = cost.Sizes(width=64, heads=8, kv_heads=2, itemsize=2)
    rate, bandwidth = 1e12, 1e9
    length = distributed.hidden_length(sizes, flop_rate=rate, bandwidth=bandwidth)
    products = 2 * sizes.heads * (sizes.d_k + sizes.d_v) * length**2 / rate
    ring = distributed.ring_account(8, sizes, workers=2).there / 8 * length / bandwidth
    np.testing.assert_allclose(products, ring)


@pytest.mark.claim("prop-striped")
@pytest.mark.parametrize(("length", "workers"), [(12, 3), (64, 8), (30, 1)])
def test_stripes_share_a_causal_mask_out_evenly(length, workers):
    seen = np.tril(np.ones((length, length), int)).sum(axis=1)
    runs = distributed.causal_pairs(length, workers)
    stripes = distributed.causal_pairs(length, workers, striped=True)
    assert runs == [int(part.sum()) for part in np.split(seen, workers)]
    assert stripes == [int(seen[w::workers].sum()) for w in range(workers)]
    assert max(stripes) - min(stripes) == length // workers * (workers - 1)
    assert max(runs) - min(runs) == (length // workers) ** 2 * (workers - 1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: distributed.tree_account(1, 8, SIZES, shards=2, workers=3), "from 1 to the 2"),
        (lambda: distributed.tree_account(1, 9, SIZES, shards=2, workers=2), "share 9 tokens"),
        (lambda: distributed.ring_account(9, SIZES, workers=2), "2 pieces must share 9"),
        (lambda: distributed.causal_pairs(9, 0), "workers must be from 1"),
        (lambda: distributed.hidden_length(SIZES, flop_rate=0, bandwidth=1), "flop_rate must be"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()


# Gradients


RNG = np.random.default_rng(11)
MODEL = tiny_parameters(np.float64, layer_count=2)
TEXTS = RNG.integers(0, 257, (5, 9))
TARGETS = np.where(RNG.random((5, 9)) < [[0.9], [0.1], [0.5], [1.0], [0.2]], -1, TEXTS[:, ::-1])


def leaves(parameters):
    found = []
    companion.map_parameters(lambda a: found.append(a) or a, parameters)
    return found


@pytest.mark.claim("eq-sharded-gradient")
@pytest.mark.parametrize("shards_", [1, 2, 3, 5])
def test_shards_of_a_batch_give_the_gradient_of_the_whole(shards_):
    loss, gradients = companion.gradients.loss_and_gradients(TEXTS, TARGETS, MODEL)
    sum_, summed = distributed.sharded_loss_and_gradients(TEXTS, TARGETS, MODEL, shards=shards_)
    np.testing.assert_allclose(sum_, loss, rtol=1e-12)
    for one, other in zip(leaves(gradients), leaves(summed), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-12 * np.abs(one).max())


@pytest.mark.parametrize(
    ("shards_", "error", "said"),
    [(0, ValueError, "from 1 to the 5 texts, got 0"), (2.0, TypeError, "must be an integer")],
)
def test_shards_that_cannot_be_cut_are_refused(shards_, error, said):
    with pytest.raises(error, match=said):
        distributed.sharded_loss_and_gradients(TEXTS, TARGETS, MODEL, shards=shards_)


# A corpus


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("model"))


def write_texts(folder, count=7):
    folder.mkdir()
    for i in range(count):
        (folder / f"{i}.txt").write_text("the black cat ran"[: 3 + i], encoding="utf-8")
    return sorted(folder.iterdir())


def expected(model, texts):
    encoder = companion.SentenceEncoder.from_pretrained(model, xp=np)
    return np.concatenate([encoder.encode([text]) for text in texts])


def test_a_corpus_becomes_vectors_in_its_order(model, tmp_path):
    files = write_texts(tmp_path / "texts")
    corpus = distributed.encode_corpus(model, files, tmp_path / "out", part_size=3, progress=False)
    assert corpus.names == [str(file) for file in files]
    assert corpus.bad == {}
    vectors = corpus.vectors()
    assert vectors.chunks[0] == (3, 3, 1)
    whole = expected(model, [file.read_text(encoding="utf-8") for file in files])
    np.testing.assert_allclose(vectors.compute(scheduler="sync"), whole, atol=1e-6)


def test_what_is_there_is_not_made_again(model, tmp_path, capsys):
    files = write_texts(tmp_path / "texts")
    out = tmp_path / "out"
    files[4].write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match=r"must be texts of valid Unicode, got \S*4\.txt: 'utf-8'"):
        distributed.encode_corpus(model, files, out, part_size=2, progress=False)
    assert sorted(path.name for path in out.glob("*.npy")) == ["part-000000.npy", "part-000001.npy"]
    (out / ".part-000002-draft").touch()  # of a worker that was ended
    before = (out / "part-000000.npy").stat().st_mtime_ns
    corpus = distributed.encode_corpus(model, files, out, part_size=2, bad="skip")
    assert "4/4" in capsys.readouterr().err
    assert (out / "part-000000.npy").stat().st_mtime_ns == before
    assert [Path(name).name for name in corpus.bad] == ["4.txt"]
    assert len(corpus.names) == 6
    assert corpus.vectors().shape == (6, 6)
    assert not list(out.glob(".*"))


def test_a_folder_keeps_to_one_corpus_and_one_model(model, tmp_path):
    files = write_texts(tmp_path / "texts", 2)
    distributed.encode_corpus(model, files, tmp_path / "out", progress=False)
    with pytest.raises(ValueError, match="vectors of another corpus: choose a new folder"):
        distributed.encode_corpus(model, files[:1], tmp_path / "out", progress=False)
    other = write_encoder(tmp_path / "other" if (tmp_path / "other").mkdir() is None else tmp_path)
    (other / "config.json").write_text((other / "config.json").read_text() + " ")
    with pytest.raises(ValueError, match="vectors of another model: choose"):
        distributed.encode_corpus(other, files, tmp_path / "out", progress=False)


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"documents": "a.txt"}, TypeError, "documents must be paths or a Dask bag, got str"),
        ({"bad": "ignore"}, ValueError, "bad must be one of"),
        ({"part_size": 0}, ValueError, "part_size must be at least 1, got 0"),
        ({"batch_size": 2.0}, TypeError, "batch_size must be an integer, got 2.0"),
        ({"model": "nowhere"}, FileNotFoundError, "nowhere"),
    ],
)
def test_a_corpus_that_cannot_be_is_refused(model, tmp_path, asked, error, said):
    given = {"model": model, "documents": [], "output": tmp_path / "out"} | asked
    with pytest.raises(error, match=said):
        distributed.encode_corpus(**given)
    assert not (tmp_path / "out").exists()


# Real workers


@pytest.fixture(scope="module")
def client():
    """Start two workers, and see that nothing of them is left."""
    psutil = pytest.importorskip("psutil")
    before = set(psutil.Process().children(recursive=True))
    with ExitStack() as stack:
        try:
            client = stack.enter_context(distributed.local_workers(2, memory_limit="400MiB"))
        except (OSError, RuntimeError) as error:
            pytest.skip(f"no process or no socket may be opened here: {error}")
        assert client.dashboard_link.startswith("http://127.0.0.1:")
        folder = Path(client.cluster.workers[0].local_directory)
        yield client
    left = set(psutil.Process().children(recursive=True)) - before
    left -= {one for one in left if "resource_tracker" in " ".join(one.cmdline())}
    assert psutil.wait_procs(left, 10)[1] == []
    assert not folder.exists()


@pytest.fixture
def ready(client):
    """Wait until both workers are there."""
    client.wait_for_workers(2, timeout=LIMIT)
    return client


def alone(lazy):
    return lazy.compute(scheduler="sync")


def traffic(client):
    logs = client.run(lambda dask_worker: [e["total"] for e in dask_worker.transfer_incoming_log])
    return sum(sum(log) for log in logs.values())


@pytest.mark.claim("prop-states-moved")
def test_two_workers_make_the_bits_of_one_and_move_what_was_predicted(ready):
    lazy = attend(*three(512, 64))
    before = traffic(ready)
    np.testing.assert_array_equal(distributed.compute(lazy, ready), alone(lazy))
    predicted = distributed.tree_account(16, 512, SIZES, shards=8, workers=2)
    assert traffic(ready) - before == predicted.moved
    one = distributed.place(lazy, distributed.placement.worker_addresses(ready)[:1])
    np.testing.assert_array_equal(
        ready.gather(ready.compute(one, optimize_graph=False)), alone(lazy)
    )
    blocks = attend(*(seeded(9, (2, 40, 4), (1, 16, 4)) for _ in range(3)), is_causal=True)
    np.testing.assert_array_equal(distributed.compute(blocks, ready), alone(blocks))


def test_gradients_of_two_workers_have_the_bits_of_one(ready):
    here = distributed.sharded_loss_and_gradients(TEXTS, TARGETS, MODEL, shards=4)
    there = distributed.sharded_loss_and_gradients(TEXTS, TARGETS, MODEL, shards=4, client=ready)
    assert here[0] == there[0]
    for one, other in zip(leaves(here[1]), leaves(there[1]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_worker_that_is_killed_changes_nothing(ready, tmp_path):
    query, key, value = three()
    killer = through(faults.killing, key, marker=str(tmp_path / "killed"))
    output = distributed.compute(attend(query, killer, value), ready)
    assert (tmp_path / "killed").exists()
    np.testing.assert_array_equal(output, alone(attend(query, key, value)))


def test_a_corpus_survives_a_worker_that_is_killed(ready, model, tmp_path):
    bag = dask.bag.from_sequence(range(7), npartitions=4).map(
        faults.text, marker=str(tmp_path / "killed")
    )
    corpus = distributed.encode_corpus(model, bag, tmp_path / "out", client=ready, progress=False)
    assert (tmp_path / "killed").exists()
    assert corpus.names == [f"text {i}" for i in range(7)]
    whole = expected(model, ["the black cat ran"[: 3 + i] for i in range(7)])
    np.testing.assert_allclose(corpus.vectors().compute(scheduler="sync"), whole, atol=1e-6)
    assert len(list((tmp_path / "out").iterdir())) == 9
    assert max(ready.run(lambda: _models_read()).values()) <= 1


def _models_read():
    from companion.distributed import corpus

    return corpus._encoder.cache_info().misses


def test_a_shard_that_raises_says_so(ready):
    query, key, value = three()
    damaged = through(faults.raising, key)
    with pytest.raises(ValueError, match="chunk 3 is damaged"):
        distributed.compute(attend(query, damaged, value), ready)
    until_idle(ready)


def wait_for(condition):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def until_idle(client):
    wait_for(lambda: not client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))


@contextmanager
def asking(code, *arguments):
    """Run a program that asks workers for something, and end it whatever happens."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


INTERRUPTED = """
import sys
from companion import distributed
from tests.support import faults
from tests.test_distributed import attend, three, through
address, marker = sys.argv[1:]
query, key, value = three()
endless = through(faults.slow, key, marker=marker)
with distributed.connect(address) as client:
    try:
        distributed.compute(attend(query, endless, value), client)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        input()
"""


def test_an_interrupt_gives_the_work_up(ready, tmp_path):
    marker = tmp_path / "began"
    with asking(INTERRUPTED, ready.scheduler.address, str(marker)) as process:
        wait_for(marker.exists)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        marker.unlink()
        until_idle(ready)  # while the client is still there
        process.communicate("\n", timeout=LIMIT)


def test_a_worker_without_memory_is_one_error_after_three_attempts(ready, tmp_path):
    query, key, value = three(8)
    hungry = through(faults.hungry, key, counter=str(tmp_path))
    with pytest.raises(KilledWorker):
        distributed.compute(attend(query, hungry, value), ready)
    assert len(list(tmp_path.iterdir())) == 3
    until_idle(ready)


# Started by hand


@pytest.fixture
def by_hand(tmp_path):
    """Start a scheduler and two workers as one would by hand, with certificates."""
    security = Security.temporary()
    files = {"ca-file": security.tls_ca_file}
    files |= {"cert": security.tls_scheduler_cert, "key": security.tls_scheduler_key}
    tls = []
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        tls += [f"--tls-{name}", str(tmp_path / name)]
    settings = {
        f"DASK_{name.replace('.', '__').replace('-', '_').upper()}": str(value)
        for name, value in distributed.SETTINGS.items()
    }
    started = []

    def start(kind, *options):
        with (tmp_path / f"{kind}-{len(started)}.log").open("w") as log:
            command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *tls, *options]
            started.append(
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=os.environ | settings | {"TMPDIR": str(tmp_path)},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    address = tmp_path / "scheduler.json"
    listen = ("--host", "tls://127.0.0.1", "--no-dashboard")
    start("scheduler", *listen, "--port", "0", "--scheduler-file", str(address))
    for _ in range(2):
        found = ("--scheduler-file", str(address), "--nthreads", "1", "--memory-limit", "400MiB")
        start("worker", *found, *listen, "--no-nanny", "--local-directory", str(tmp_path))
    yield address, started
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(LIMIT)


ASK = """
import json, sys
from distributed import Security
from companion import distributed
from tests.test_distributed import attend, three
address, *files = sys.argv[1:]
security = Security(require_encryption=True, **json.loads(files[0]))
lazy = attend(*three(512, 64))
with distributed.connect(address, security=security, timeout=20) as client:
    client.wait_for_workers(2, timeout=30)
    same = (distributed.compute(lazy, client) == lazy.compute(scheduler="sync")).all()
    print("same bits" if same else "other bits", flush=True)
    input()
    try:
        distributed.compute(lazy, client)
    except ConnectionError as error:
        print(error, flush=True)
"""


@pytest.mark.usefixtures("client")  # skipped where no process may be started
def test_workers_that_were_started_by_hand_and_a_scheduler_that_is_lost(by_hand, tmp_path):
    file, started = by_hand
    wait_for(file.exists)
    address = json.loads(file.read_text())["address"]
    assert address.startswith("tls://127.0.0.1:")
    names = {"tls_ca_file": "ca-file", "tls_client_cert": "cert", "tls_client_key": "key"}
    files = {name: str(tmp_path / path) for name, path in names.items()}
    with asking(ASK, address, json.dumps(files)) as process:
        assert process.stdout.readline() == "same bits\n"
        os.killpg(started[0].pid, signal.SIGKILL)
        out, said = process.communicate("\n", timeout=2 * LIMIT)
        print(said[-4000:])
    assert out == f"{distributed.placement.LOST.format(address=address)}\n"


def test_nobody_at_an_address_is_one_error():
    with pytest.raises(ConnectionError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9 with"):
        distributed.connect("tcp://127.0.0.1:9", timeout=0.5)
