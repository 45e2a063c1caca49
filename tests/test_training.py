"""Training: each part against a plain reference, and a whole one that stops and goes on."""

import json
import math
import os
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import companion
from companion import (
    AdamWState,
    CurvePoint,
    TrainingPlan,
    TrainingText,
    map_parameters,
    named_parameters,
)
from companion.language_model.llama_folder import open_tensors
from companion.training import checkpoint, loop
from companion.training import state as states
from companion.training.text import drawn_starts
from tests.support.exactness import root_mean_square
from tests.support.homes import STRICT
from tests.support.tiny_language_model import byte_tokenizer

SIZES = {"vocabulary_size": 23, "layer_count": 2, "width": 8, "head_count": 4}
SIZES |= {"key_value_head_count": 2, "head_dim": 4, "hidden_width": 10, "context_length": 12}
SIZES |= {"rotary_base": 100.0, "eps": 1e-5, "tied": True}
RNG = np.random.default_rng(3)
WORDS = TrainingText(RNG.integers(0, 23, 90) // 2)  # ids below 12 of 23: soon learnt
HELD = TrainingText(RNG.integers(0, 23, 30) // 2)
PLAN = TrainingPlan(
    9, context=6, batch_size=5, warmup=2, evaluate_every=4, save_every=3, accumulation=2, shards=2
)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Let threads be tried where they are meant: such small steps wait for one another."""
    monkeypatch.setenv("COMPANION_THREADS", "1")


def model(dtype=np.float32, seed=0, **changed):
    config = companion.LanguageModelConfig(**(SIZES | changed))
    drawn = companion.initial_language_model(config, np.random.default_rng(seed), xp=np)
    return companion.move_parameters(drawn, np, dtype=dtype)


def begun(plan=PLAN, **changed):
    return companion.begin_training(model(**changed), plan)


def shaken(parameters, seed=5):
    """Give every weight numbers that are far from neutral."""
    rng = np.random.default_rng(seed)

    def shake(a):
        return (a + 0.5 * rng.standard_normal(a.shape)).astype(a.dtype)

    return map_parameters(shake, parameters)


def arrays(tree):
    return {name: np.asarray(array) for name, array in named_parameters(tree).items()}


def assert_same_bits(one, other):
    """Hold two trainings against each other, to the last bit."""
    for attribute in ("plan", "curve", "text", "step"):
        assert getattr(one, attribute) == getattr(other, attribute)
    trees = ((s.parameters, s.optimiser.mean, s.optimiser.square) for s in (one, other))
    for tree, like in zip(*trees, strict=True):
        for (name, a), b in zip(arrays(tree).items(), arrays(like).values(), strict=True):
            assert (a.dtype, a.tobytes()) == (b.dtype, b.tobytes()), name


# The optimiser


def test_adamw_is_what_a_plain_loop_over_numbers_makes():
    weights = companion.FeedForwardParameters.random(RNG, width=2, hidden=3, xp=np)
    weights = map_parameters(lambda a: RNG.standard_normal(a.shape), weights)
    options = {"learning_rate": 0.03, "betas": (0.7, 0.8), "eps": 1e-3, "weight_decay": 0.4}
    expected = {name: a.copy() for name, a in arrays(weights).items()}
    means, squares = ({name: 0 * a for name, a in expected.items()} for _ in range(2))
    state = None
    for step in range(1, 5):
        gradients = map_parameters(lambda a: RNG.standard_normal(a.shape), weights)
        weights, state = companion.adamw(weights, gradients, state, **options)
        for name, slopes in arrays(gradients).items():
            decay = 0.4 if name.startswith("w_") else 0.0
            for place in np.ndindex(slopes.shape):
                g, w = slopes[place], expected[name][place]
                means[name][place] = m = 0.7 * means[name][place] + 0.3 * g
                squares[name][place] = v = 0.8 * squares[name][place] + 0.2 * g * g
                share = (m / (1 - 0.7**step)) / (math.sqrt(v / (1 - 0.8**step)) + 1e-3)
                expected[name][place] = w - 0.03 * (share + decay * w)
    assert state.step == 4
    for name, array in arrays(weights).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-13, atol=1e-14)


def test_a_first_step_has_the_length_of_the_rate_whatever_the_gradient_is():
    weights = companion.GatedFeedForwardParameters.random(RNG, width=3, hidden=4, xp=np)
    for size in (1e-3, 1.0, 1e6):
        gradients = map_parameters(lambda a, size=size: size * np.sign(a), weights)
        options = {"learning_rate": 0.01, "weight_decay": 0.0, "eps": 1e-12}
        moved, _ = companion.adamw(weights, gradients, **options)
        for a, b in zip(arrays(weights).values(), arrays(moved).values(), strict=True):
            np.testing.assert_allclose(b, a - 0.01 * np.sign(a), rtol=1e-8)


def test_decay_is_decoupled_the_gradient_does_not_change_its_share():
    weights = model(np.float64)
    options = {"learning_rate": 0.1, "betas": (0.5, 0.5)}
    for size in (0.0, 1e-4, 1e4):
        gradients = map_parameters(lambda a, size=size: np.full_like(a, size), weights)
        with_decay, _ = companion.adamw(weights, gradients, weight_decay=0.25, **options)
        without, _ = companion.adamw(weights, gradients, weight_decay=0.0, **options)
        for name, a in arrays(weights).items():
            gone = arrays(without)[name] - arrays(with_decay)[name]
            share = 0.0 if "norm" in name else 0.1 * 0.25
            np.testing.assert_allclose(gone, share * a, atol=1e-14)


def test_no_norm_and_no_bias_decays_and_an_embedding_does():
    block = companion.BlockParameters.random(RNG, width=6, heads=2, hidden=10, xp=np)
    spared = {name for name in named_parameters([block]) if not companion.is_decayed(name)}
    biases = [*(f"attention.b_{i}" for i in "qkvo"), *(f"feed_forward.b_{i}" for i in "12")]
    norms = [f"norm_{i}.{part}" for i in "12" for part in ("weight", "bias")]
    assert spared == {f"0.{name}" for name in (*biases, *norms)}
    decayed = {name for name in named_parameters(model(tied=False)) if companion.is_decayed(name)}
    assert {"embedding", "output", "layers.1.w_qkv", "layers.0.w_down"} < decayed
    assert not any("norm" in name for name in decayed)


def test_arguments_stay_what_they_are():
    weights = model()
    before = {name: a.copy() for name, a in arrays(weights).items()}
    gradients = map_parameters(np.ones_like, weights)
    _, state = companion.adamw(weights, gradients, learning_rate=0.1)
    kept = {name: a.copy() for name, a in arrays(state.mean).items()}
    companion.adamw(weights, gradients, state, learning_rate=0.1)
    companion.clip_gradients(gradients, 0.1)
    for tree, copies in ((weights, before), (state.mean, kept)):
        assert all(np.array_equal(a, copies[name]) for name, a in arrays(tree).items())
    assert all((a == 1).all() for a in arrays(gradients).values())


def test_a_schedule_rises_on_a_line_and_falls_to_its_end():
    def rate(step):
        return companion.warmup_cosine(step, steps=110, peak=8.0, warmup=10, final=2.0)

    assert [rate(step) for step in (0, 4, 9)] == pytest.approx([0.8, 4.0, 8.0])
    assert rate(59) == pytest.approx(5.0)  # half way of the cosine
    assert rate(34) == pytest.approx(2 + 6 * (1 + math.cos(math.pi / 4)) / 2)
    assert rate(109) == pytest.approx(2.0)
    assert all(rate(step) > rate(step + 1) for step in range(9, 109))
    assert companion.warmup_cosine(0, steps=1, peak=3.0, final=1.0) == 1.0
    assert companion.warmup_cosine(4, steps=5, peak=3.0, warmup=5) == 3.0


@pytest.mark.parametrize("size", [1e-25, 1.0, 1e25])
def test_clipping_shortens_all_gradients_as_one_vector(size):
    gradients = map_parameters(lambda a: (size * a).astype(a.dtype), shaken(model()))
    whole = np.concatenate([a.ravel() for a in arrays(gradients).values()]).astype(np.float64)
    length = math.sqrt(np.sum(whole**2))
    for limit in (length / 3, 3 * length):
        clipped, found = companion.clip_gradients(gradients, limit)
        assert float(found) == pytest.approx(length, rel=1e-6)
        short = np.concatenate([a.ravel() for a in arrays(clipped).values()]).astype(np.float64)
        np.testing.assert_allclose(short, whole * min(1, limit / length), rtol=1e-6)


def test_clipping_says_what_is_not_finite_and_takes_zeros():
    nothing = map_parameters(np.zeros_like, model())
    clipped, found = companion.clip_gradients(nothing, 1.0)
    assert float(found) == 0.0
    assert not any(a.any() for a in arrays(clipped).values())
    for wrong in (np.nan, np.inf):
        gradients = replace(nothing, norm=np.full(8, wrong, np.float32))
        with np.errstate(invalid="ignore"):
            assert not math.isfinite(companion.clip_gradients(gradients, 1.0)[1])


def test_clipping_takes_a_length_and_a_limit_that_their_dtype_does_not_hold():
    gradients = companion.NormParameters(np.asarray([3e38, -3e38, 1e38, 0], np.float32))
    for limit in (1e-3, 1.0, 1e38):
        with np.errstate(over="ignore"):
            clipped, found = companion.clip_gradients(gradients, limit)
        assert math.isinf(found)
        expected = limit * np.asarray([3, -3, 1, 0]) / math.sqrt(19)
        np.testing.assert_allclose(clipped.weight, expected, rtol=1e-6)
    short = companion.NormParameters(np.ones(4, np.float32))
    assert (companion.clip_gradients(short, 1e39)[0].weight == 1).all()


# The text


def test_targets_are_the_tokens_after_and_none_across_two_documents():
    text = companion.pack_documents([[1, 2, 3], [4, 5], [6, 7, 8, 9]])
    batch = companion.text_batch(text, [0, 4], 4)
    assert batch.token_ids.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert batch.targets.tolist() == [[2, 3, -1, 5], [-1, 7, 8, 9]]
    assert batch.attn_mask.shape == (2, 1, 4, 4)
    blocks = [[0, 0, 0, 1], [1, 2, 2, 2]]
    for mask, numbers in zip(batch.attn_mask[:, 0], np.asarray(blocks), strict=True):
        assert np.array_equal(mask, numbers[:, None] == numbers)
    alone = companion.text_batch(text, [5], 3)
    assert alone.attn_mask is None
    assert companion.pack_documents([[1, 2]]).documents is None


def test_packed_documents_are_what_each_is_alone():
    parameters = shaken(model(np.float64))
    documents = [RNG.integers(0, 23, length) for length in (3, 5, 1, 4)]
    text = companion.pack_documents(documents)
    batch = companion.text_batch(text, [0], len(text) - 1)
    loss, found = companion.accumulated_gradients([batch], parameters)
    apart = [
        companion.text_batch(TrainingText(ids), [0], len(ids) - 1)
        for ids in documents
        if len(ids) > 1
    ]
    each, expected = companion.accumulated_gradients(apart, parameters)
    assert float(loss) == pytest.approx(float(each), rel=1e-13)
    for name, array in arrays(found).items():
        np.testing.assert_allclose(array, arrays(expected)[name], rtol=1e-10, atol=1e-13)
    open_loss, _ = companion.accumulated_gradients([batch._replace(attn_mask=None)], parameters)
    assert abs(float(open_loss) - float(loss)) > 1e-3  # the mask counts


def test_a_pass_reads_each_window_once_and_the_next_in_another_order():
    length, count = 7, 100
    windows = (count - length) // length
    starts = np.concatenate([drawn_starts(count, length, 5, step, 3) for step in range(26)])
    passes = [starts[i * windows : (i + 1) * windows] for i in range(10)]
    for taken in passes:
        assert (np.diff(np.sort(taken)) == length).all()
        assert taken.min() >= 0
        assert taken.max() + length < count
    assert len({tuple(taken) for taken in passes}) == 10
    assert len({taken.min() for taken in passes}) > 1
    other = drawn_starts(count, length, 5, 0, 4)
    assert not np.array_equal(other, starts[:5])
    assert drawn_starts(8, 7, 3, 2, 0).tolist() == [0, 0, 0]  # a text of a single window


def test_a_texts_loss_counts_each_token_once():
    parameters, text = shaken(model(np.float64)), HELD
    spans = [(start, min(start + 7, 29)) for start in range(0, 29, 7)]
    total = 0.0
    for start, stop in spans:
        ids = text.token_ids[start : stop + 1]
        logits = companion.state_logits(companion.decoder_states(ids[:-1], parameters), parameters)
        total += float(companion.cross_entropy(logits, ids[1:])) * (stop - start)
    for batch_size in (1, 3, 16):
        found = companion.text_loss(parameters, text, context=7, batch_size=batch_size)
        assert found == pytest.approx(total / 29, rel=1e-13)


# Several batches as one


def unequal_batches():
    """Draw three batches, of which the second has almost no targets."""
    batches = []
    for rows, share in ((2, 0.1), (3, 0.95), (1, 0.5)):
        ids, targets = RNG.integers(0, 23, (rows, 9)), RNG.integers(0, 23, (rows, 9))
        targets[RNG.random((rows, 9)) < share] = -1
        batches.append(companion.TextBatch(ids, targets, None))
    return batches


def test_accumulated_batches_are_as_exact_as_one():
    batches = unequal_batches()
    ids, targets = (np.concatenate(p) for p in list(zip(*batches, strict=True))[:2])
    single = shaken(model())
    double = companion.move_parameters(single, np, dtype=np.float64)
    exact_loss, exact = companion.loss_and_gradients(ids, targets, double)
    loss, known = companion.loss_and_gradients(ids, targets, single)
    found_loss, found = companion.accumulated_gradients(batches, single, shards=2)
    assert abs(float(found_loss - exact_loss)) <= 2 * abs(float(loss - exact_loss)) + 8 * (
        np.finfo("f4").eps * float(exact_loss)
    )
    for name, truth in arrays(exact).items():
        error, usual = arrays(found)[name] - truth, arrays(known)[name] - truth
        slack = 8 * np.finfo("f4").eps * np.max(np.abs(truth))
        assert root_mean_square(error) <= 2 * root_mean_square(usual) + slack
        assert np.max(np.abs(error)) <= 4 * np.max(np.abs(usual)) + slack
    means = [companion.loss_and_gradients(b.token_ids, b.targets, double)[0] for b in batches]
    assert abs(np.mean(means) - exact_loss) > 1e-3  # a mean of means is another loss


def test_the_number_of_parts_is_nothing_to_the_loss():
    batches, parameters = unequal_batches(), shaken(model(np.float64))
    losses = [
        float(companion.accumulated_gradients(batches, parameters, shards=shards)[0])
        for shards in (1, 2, 50)
    ]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-14)


# The whole


def test_ten_tokens_are_learnt_by_heart():
    text = TrainingText(np.asarray([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]))
    plan = TrainingPlan(150, context=10, batch_size=1, learning_rate=0.02, warmup=5)
    state = companion.train(begun(plan), text)
    assert state.curve[0].loss == pytest.approx(math.log(23), abs=0.1)
    assert state.curve[-1].loss < 0.01
    assert [point.step for point in state.curve] == list(range(1, 151))
    ids = text.token_ids[:-1]
    logits = companion.state_logits(
        companion.decoder_states(ids, state.parameters), state.parameters
    )
    assert np.argmax(logits, axis=-1).tolist() == text.token_ids[1:].tolist()


def test_the_curve_has_each_step_and_a_look_now_and_then():
    state = companion.train(begun(), WORDS, validation=HELD)
    assert [point.step for point in state.curve] == list(range(10))
    looks = [point.step for point in state.curve if point.validation_loss is not None]
    assert looks == [0, 4, 8, 9]
    assert state.curve[0].loss is None
    last = companion.text_loss(state.parameters, HELD, context=6, batch_size=5)
    assert state.curve[-1].validation_loss == last
    assert state.best == min(p.validation_loss for p in state.curve if p.validation_loss)


def test_threads_change_no_bit(monkeypatch):
    monkeypatch.setenv("COMPANION_THREADS", "1")
    one = companion.train(begun(), WORDS, validation=HELD)
    monkeypatch.setenv("COMPANION_THREADS", "3")
    assert_same_bits(companion.train(begun(), WORDS, validation=HELD), one)
    assert_same_bits(companion.train(begun(), WORDS, validation=HELD, threads=2), one)


def test_another_seed_reads_the_text_in_another_order():
    losses = [
        companion.train(begun(replace(PLAN, seed=seed)), WORDS).curve[3].loss for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("stop", [1, 3, 4, 8])
def test_what_stopped_goes_on_to_the_same_bits(stop, tmp_path, monkeypatch):
    documents = companion.pack_documents([[*range(12)], [5, 5, 7] * 9, [*range(22, 0, -1)]])
    options = {"validation": HELD, "tokenizer": None}
    whole = companion.train(begun(tied=False), documents, folder=tmp_path / "whole", **options)

    real = states.advance

    def interrupted(state, *args):
        if state.step == stop:
            raise KeyboardInterrupt
        return real(state, *args)

    monkeypatch.setattr(loop, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        companion.train(begun(tied=False), documents, folder=tmp_path / "apart", **options)
    monkeypatch.setattr(loop, "advance", real)
    kept = companion.load_training(tmp_path / "apart", xp=np)
    assert (kept.step, len(kept.curve)) == (stop, stop + 1)
    after = companion.train(kept, documents, folder=tmp_path / "apart", **options)
    assert_same_bits(after, whole)
    for name in ("model.safetensors", "training.safetensors", "config.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "apart" / name).read_bytes()


@pytest.mark.parametrize("where", ["adamw", "text_batch", "accumulated_gradients"])
def test_an_interrupt_in_the_middle_of_a_step_loses_that_step_alone(where, tmp_path, monkeypatch):
    real, calls = getattr(states, where), []

    def interrupted(*args, **options):
        calls.append(where)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(states, where, interrupted)
    with pytest.raises(KeyboardInterrupt):
        companion.train(begun(), WORDS, folder=tmp_path)
    monkeypatch.undo()
    kept = companion.load_training(tmp_path, xp=np)
    assert kept.step == 5
    whole = companion.train(begun(), WORDS)
    assert_same_bits(companion.train(kept, WORDS, folder=tmp_path), whole)


def test_an_interrupt_keeps_the_model_of_the_step_that_is_kept(tmp_path, monkeypatch):
    real = states.advance

    def interrupted(state, *args):
        if state.step == 2:
            raise KeyboardInterrupt
        return real(state, *args)

    monkeypatch.setattr(loop, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        companion.train(begun(), WORDS, folder=tmp_path)
    kept = companion.load_training(tmp_path, xp=np)
    tensors = open_tensors(tmp_path, kept.parameters.config)
    assert kept.step == 2
    assert np.array_equal(tensors.read("model.embed_tokens.weight"), kept.parameters.embedding)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_file_is_written_whole_or_not_at_all(error, tmp_path, monkeypatch):
    state = begun()
    companion.save_training(tmp_path, state)
    before = (tmp_path / checkpoint.FILE).read_bytes()

    def fails(_):
        raise error

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(error):
        companion.save_training(tmp_path, replace(state, text="another"))
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.FILE]
    assert (tmp_path / checkpoint.FILE).read_bytes() == before


@pytest.mark.parametrize("tied", [True, False])
def test_the_folder_holds_the_best_model_as_others_read_it(tied, tmp_path):
    plan = replace(PLAN, steps=40, learning_rate=0.05, evaluate_every=2)
    tokenizer, never_read = byte_tokenizer(), TrainingText(WORDS.token_ids[:40] + 6)
    state = begun(plan, tied=tied, vocabulary_size=257, stop_ids=(256,), bos_id=3)
    options = {"validation": never_read, "folder": tmp_path, "tokenizer": tokenizer}
    state = companion.train(state, WORDS, **options)
    opened = companion.CausalLanguageModel.from_pretrained(tmp_path, xp=np)
    assert opened.config == state.parameters.config
    found = companion.text_loss(opened.parameters, never_read, context=6, batch_size=5)
    assert found == pytest.approx(state.best, abs=1e-6)
    assert state.curve[0].validation_loss > state.best
    assert state.curve[-1].validation_loss > state.best + 0.01  # what was kept is not the last
    assert "".join(opened.generate("a", max_new_tokens=3)) is not None
    assert opened.tokenizer.encode("é") == tokenizer.encode("é")


def test_without_a_validation_text_the_last_model_is_kept(tmp_path):
    state = companion.train(begun(), WORDS, folder=tmp_path)
    tensors = open_tensors(tmp_path, state.parameters.config)
    embedding = tensors.read("model.embed_tokens.weight")
    assert np.array_equal(embedding, state.parameters.embedding)
    query = tensors.read("model.layers.1.self_attn.q_proj.weight")
    assert np.array_equal(query.T, state.parameters.layers[1].w_qkv[:, :16])
    down = tensors.read("model.layers.0.mlp.down_proj.weight")
    assert np.array_equal(down.T, state.parameters.layers[0].w_down)


def test_it_runs_on_other_array_libraries():
    moved = companion.move_parameters(model(np.float64), STRICT.xp)
    plan = replace(PLAN, steps=3)
    begin = companion.begin_training
    strict = companion.train(begin(moved, plan), WORDS, validation=HELD)
    plain = companion.train(begin(model(np.float64), plan), WORDS, validation=HELD)
    assert len(strict.curve) == 4
    for one, other in zip(strict.curve[1:], plain.curve[1:], strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-9)
    assert strict.best == pytest.approx(plain.best, rel=1e-9)


def test_a_file_of_float64_stays_one(tmp_path):
    state = companion.train(begun(dtype=np.float64), WORDS, folder=tmp_path)
    assert_same_bits(companion.load_training(tmp_path, xp=np), state)


# What goes wrong


def wrong_weights():
    parameters = model()
    return replace(parameters, norm=np.full(8, np.nan, np.float32))


def test_a_loss_that_is_no_number_is_said_and_the_checkpoint_stays(tmp_path, monkeypatch):
    real = states.accumulated_gradients
    calls = []

    def spoilt(*args, **options):
        loss, gradients = real(*args, **options)
        calls.append(loss)
        return (loss * np.nan if len(calls) == 6 else loss), gradients

    monkeypatch.setattr(states, "accumulated_gradients", spoilt)
    with pytest.raises(FloatingPointError, match=r"step 6: the loss is nan.*keeps that of step 3"):
        companion.train(begun(), WORDS, folder=tmp_path)
    kept = companion.load_training(tmp_path, xp=np)
    assert kept.step == 3
    assert all(np.isfinite(a).all() for a in arrays(kept.parameters).values())


def test_weights_that_are_no_numbers_are_said():
    with pytest.raises(FloatingPointError, match="step 1: the loss is nan"):
        companion.train(companion.begin_training(wrong_weights(), PLAN), WORDS)
    plan = replace(PLAN, learning_rate=1e38, warmup=0, weight_decay=100.0)
    with pytest.raises(FloatingPointError, match=r"step 1: \S+ is no longer finite"):
        companion.train(begun(plan), WORDS)


def test_a_training_that_diverges_is_stopped(tmp_path):
    plan = replace(PLAN, steps=30, learning_rate=30.0, save_every=1)
    with pytest.raises(FloatingPointError, match=r"step \d+: the training diverges: the loss is"):
        companion.train(begun(plan), WORDS, folder=tmp_path)
    kept = companion.load_training(tmp_path, xp=np)
    assert 0 < kept.step < 30
    assert kept.curve[-1].loss < 1.5 * math.log(23)


BEGUN = begun()
NORM, ONE = (companion.NormParameters(np.ones(n)) for n in (8, 1))
LONE = companion.pack_documents([*([[1]] * 60), [*range(20)]])
BAD_CALLS = [
    (lambda: begun(replace(PLAN, context=13)), r"at most the model's of 12 tokens, got 13"),
    (lambda: companion.text_loss(model(), HELD, context=13), "of 12 tokens, got 13"),
    (lambda: companion.text_loss(model(), TrainingText(IDS[:1]), context=3), "at least 2 tokens"),
    (lambda: companion.text_loss(model(), HELD, context=0), "context must be at least 1, got 0"),
    (lambda: companion.text_loss(model(), HELD, context=-1), "context must be at least 1, got -1"),
    (
        lambda: companion.text_loss(model(), HELD, context=3, batch_size=0),
        "batch_size must be at least 1, got 0",
    ),
    (
        lambda: companion.text_loss(model(), HELD, context=3, batch_size=-1),
        "batch_size must be at least 1, got -1",
    ),
    (
        lambda: companion.train(begun(replace(PLAN, batch_size=1)), LONE),
        "text must hold two tokens of one document in each batch, got none in that of step",
    ),
    (lambda: companion.train(BEGUN, TrainingText(IDS[:0])), "at least 7 tokens, got 0"),
    (lambda: companion.train(BEGUN, TrainingText(IDS[:6])), "at least 7 tokens, got 6"),
    (lambda: companion.train(BEGUN, TrainingText(IDS + 20)), "vocabulary, below 23, got"),
    (lambda: companion.train(BEGUN, WORDS, validation=TrainingText(IDS + 20)), "below 23, got"),
    (
        lambda: companion.train(BEGUN, WORDS, tokenizer=byte_tokenizer()),
        "tokenizer must have ids below vocabulary_size=23 of the weights, got 256",
    ),
    (
        lambda: companion.save_language_model("nowhere", model(), byte_tokenizer()),
        "vocabulary_size=23 of the weights, got 256",
    ),
    (
        lambda: companion.train(replace(BEGUN, text="another"), WORDS),
        "must be those that the training began with",
    ),
    (lambda: companion.accumulated_gradients([], model()), "at least one, got none"),
    (lambda: companion.accumulated_gradients([BATCH], model(), shards=0), "at least 1, got 0"),
    (
        lambda: companion.accumulated_gradients(
            [BATCH._replace(targets=BATCH.targets + 20)], model()
        ),
        "targets must be −1 or in 0 … 22",
    ),
    (lambda: companion.text_batch(WORDS, [80], 10), r"within the text of 90, got one from 80"),
    (lambda: companion.text_batch(WORDS, [-1], 10), "got one from -1"),
    (lambda: companion.text_batch(WORDS, [], 10), r"starts must be \(B,\)"),
    (lambda: companion.split_text(WORDS, 90), "at must be in 1 … 89"),
    (lambda: companion.pack_documents([]), "at least one, got none"),
    (lambda: companion.pack_documents([[1], []]), r"documents\[1\] must hold at least one token"),
    (lambda: companion.pack_documents([1, 2]), r"documents\[0\] must be a sequence of ids, got"),
    (lambda: companion.pack_documents([[[1, 2]], [3]]), r"sequence of ids, got shape \(1, 2\)"),
    (lambda: TrainingText(np.array(3)), r"token_ids must be \(n,\), got shape \(\)"),
    (lambda: TrainingText(IDS[:4].reshape(2, 2)), r"token_ids must be \(n,\), got shape \(2, 2\)"),
    (lambda: TrainingText(IDS, IDS[:3]), r"documents must be \(n=90,\), got shape \(3,\)"),
    (lambda: TrainingText(IDS - 20), "must not be negative, got -20"),
    (lambda: replace(PLAN, steps=0), "steps must be at least 1, got 0"),
    (lambda: replace(PLAN, warmup=10), "warmup must be at most steps=9, got 10"),
    (lambda: replace(PLAN, clip=0.0), "clip must be positive, got 0"),
    (lambda: replace(PLAN, final_share=2.0), "final_share must be in 0 … 1, got 2.0"),
    (lambda: replace(PLAN, betas=(0.9, 1.0)), "betas must be two numbers"),
    (lambda: replace(PLAN, eps=0.0), "eps must be positive and finite, got 0.0"),
    (lambda: replace(PLAN, learning_rate=math.nan), "learning_rate must be finite"),
    (lambda: companion.warmup_cosine(5, steps=5, peak=1.0), "step must be in 0 … 4, got 5"),
    (lambda: companion.warmup_cosine(0, steps=5, peak=1.0, warmup=6), "warmup must be in"),
    (lambda: companion.clip_gradients(model(), 0.0), "limit must be positive, got 0.0"),
    (
        lambda: companion.adamw(model(), model(), learning_rate=-1.0),
        "learning_rate must be finite and not negative, got -1.0",
    ),
    (
        lambda: companion.adamw(model(), model(tied=False), learning_rate=1.0),
        "array in all parameters|got output in one alone",
    ),
    (
        lambda: companion.adamw(model(), model(hidden_width=9), learning_rate=1.0),
        r"the gradient of layers.0.w_gate_up must be \(8, 20\) like it, got \(8, 18\)",
    ),
    (
        lambda: companion.adamw(NORM, NORM, AdamWState(1, ONE, NORM), learning_rate=1.0),
        r"the mean of weight must be \(8,\) like it, got \(1,\)",
    ),
    (
        lambda: companion.adamw(NORM, NORM, AdamWState(1, NORM, ONE), learning_rate=1.0),
        r"the mean square of weight must be \(8,\) like it, got \(1,\)",
    ),
    (lambda: companion.train_tokenizer(["a"], 256), "at least 257, got 256"),
]
IDS = WORDS.token_ids
BATCH = companion.text_batch(WORDS, [0, 3], 5)


@pytest.mark.parametrize(("call", "part"), BAD_CALLS, ids=[part for _, part in BAD_CALLS])
def test_a_bad_call_says_what_was_expected(call, part):
    with pytest.raises(ValueError, match=part):
        call()


def test_another_kind_is_refused():
    with pytest.raises(TypeError, match="token_ids must be a NumPy array of integers, got float64"):
        TrainingText(np.ones(3))
    with pytest.raises(TypeError, match="documents must be a NumPy array of integers, got list"):
        TrainingText(IDS[:2], [1, 2])
    with pytest.raises(TypeError, match=r"steps must be an integer, got 2\.0"):
        replace(PLAN, steps=2.0)
    with pytest.raises(TypeError, match=r"documents\[0\] must hold integers, got float64"):
        companion.pack_documents([[1.5, 2]])
    with pytest.raises(TypeError, match="starts must be integers, got float64"):
        companion.text_batch(WORDS, [1.5], 3)
    with pytest.raises(TypeError, match="gradients must be of the kind of the parameters, Norm"):
        companion.adamw(NORM, map_parameters(np.copy, model()), learning_rate=1.0)
    with pytest.raises(TypeError, match=r"state\.mean must be of the kind of the parameters, Norm"):
        companion.adamw(NORM, NORM, BEGUN.optimiser, learning_rate=1.0)
    with pytest.raises(TypeError, match=r"rng must be a numpy\.random\.Generator, got int"):
        companion.initial_language_model(model().config, 0)
    with pytest.raises(TypeError, match=r"texts\[0\] must be a string, got int"):
        companion.train_tokenizer([3], 300)


def test_a_training_begins_in_no_folder_that_holds_one(tmp_path):
    companion.save_training(tmp_path, BEGUN)
    with pytest.raises(FileExistsError, match="holds a training already"):
        companion.train(BEGUN, WORDS, folder=tmp_path)


def test_a_training_goes_on_in_no_folder_that_holds_another(tmp_path):
    one, other, whole = (tmp_path / name for name in ("one", "other", "whole"))
    state = companion.train(begun(), WORDS, folder=one)
    companion.train(begun(replace(PLAN, learning_rate=0.01)), WORDS, folder=other)
    before = (other / checkpoint.FILE).read_bytes()
    for kept in (state, companion.load_training(one, xp=np)):
        with pytest.raises(FileExistsError, match="holds a training already"):
            companion.train(kept, WORDS, folder=other)
    assert (other / checkpoint.FILE).read_bytes() == before
    longer = replace(state, plan=replace(PLAN, steps=11))
    assert companion.train(longer, WORDS, folder=one).step == 11
    assert companion.train(state, WORDS, folder=whole).step == 9


def test_weights_that_could_not_be_read_again_are_not_kept(tmp_path):
    half = begun(dtype=np.float16)
    for keep in (
        lambda: companion.save_training(tmp_path, half),
        lambda: companion.train(half, WORDS, folder=tmp_path),
    ):
        with pytest.raises(TypeError, match="must be float32 or float64 to be kept, got float16"):
            keep()
    assert not [*tmp_path.iterdir()]


def test_a_plan_of_numpys_numbers_is_one_of_pythons(tmp_path):
    plan = replace(PLAN, steps=np.int64(9), learning_rate=np.float32(0.5), clip=2, betas=[0.5, 0])
    assert plan == replace(PLAN, steps=9, learning_rate=0.5, clip=2.0, betas=(0.5, 0.0))
    assert hash(plan) == hash(replace(plan))
    companion.save_training(tmp_path, begun(plan))
    assert companion.load_training(tmp_path, xp=np).plan == plan


def rewritten(path, change_tensors=lambda t: t, change_words=lambda w: w):
    """Write a checkpoint anew, with something changed."""
    tensors = load_file(path)
    with safe_open(path, framework="numpy") as file:
        words = change_words(json.loads(file.metadata()[checkpoint.ENTRY]))
    text = words if isinstance(words, str) else json.dumps(words)
    save_file(change_tensors(tensors), path, metadata={checkpoint.ENTRY: text})


def without(name):
    return lambda entries: {key: value for key, value in entries.items() if key != name}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"change_tensors": without("mean.norm")}, "must hold the tensor mean.norm, and does not"),
        ({"change_tensors": lambda t: t | {"more": t["mean.norm"]}}, "no other tensors, got more"),
        (
            {"change_tensors": lambda t: t | {"weights.norm": t["weights.norm"][:7].copy()}},
            r"weights.norm must be float32 or float64 of shape \(8,\), got float32 of shape \(7,\)",
        ),
        (
            {"change_tensors": lambda t: t | {"weights.norm": t["weights.norm"].astype("f2")}},
            "got float16 of shape",
        ),
        ({"change_words": lambda _: "{"}, "must say how the training goes: JSONDecodeError"),
        ({"change_words": without("plan")}, "must say how the training goes: KeyError"),
        ({"change_words": lambda w: w | {"step": -1}}, "step must be in 0 … 9, got -1"),
        ({"change_words": lambda w: w | {"step": 10}}, "step must be in 0 … 9, got 10"),
        ({"change_words": lambda w: w | {"curve": [3]}}, "must say how the training goes"),
        ({"change_words": lambda w: w | {"config": {}}}, "must stand in LanguageModelConfig"),
        (
            {"change_words": lambda w: w | {"plan": w["plan"] | {"clip": -1}}},
            "clip must be positive, got -1",
        ),
    ],
)
def test_a_damaged_checkpoint_is_refused(change, part, tmp_path):
    companion.save_training(tmp_path, BEGUN)
    rewritten(tmp_path / checkpoint.FILE, **change)
    with pytest.raises(ValueError, match=part):
        companion.load_training(tmp_path)


def test_half_a_checkpoint_and_none_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must hold the file training\.safetensors"):
        companion.load_training(tmp_path)
    companion.save_training(tmp_path, BEGUN)
    path = tmp_path / checkpoint.FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="must be an undamaged safetensors file"):
        companion.load_training(tmp_path)
    save_file({"embedding": np.ones(3)}, path)
    with pytest.raises(ValueError, match="must hold a 'companion training 1', got"):
        companion.load_training(tmp_path)


def test_a_vocabulary_is_made_of_a_text_and_writes_any_other():
    tokenizer = companion.train_tokenizer(["the cat and the hat and the mat " * 20], 280)
    again = companion.train_tokenizer(["the cat and the hat and the mat " * 20], 280)
    assert tokenizer.tokenizer.get_vocab() == again.tokenizer.get_vocab()
    assert tokenizer.special_tokens() == {"<|end|>": 0}
    assert len(tokenizer.encode(" the cat")) == 2
    other = "Ünïcödé — <|end|>\n"
    assert tokenizer.decode(tokenizer.encode(other)) == other
    assert max(tokenizer.tokenizer.get_vocab().values()) < 280


def test_points_of_a_curve_can_be_read_by_name():
    assert CurvePoint(3, 1.5) == (3, 1.5, None)
