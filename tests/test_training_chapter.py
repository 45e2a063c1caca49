"""What the chapter on training shows: its pitfalls, the model that copies, and the small writer."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import companion
from companion import pitfalls
from companion.examples import repeated_tokens as task
from companion.language_model.small_writer import FOLDER

ROOT = Path(__file__).parent.parent
RNG = np.random.default_rng(3)
COPYING = json.loads((ROOT / "notebooks/data/induction.json").read_text(encoding="utf-8"))
WRITER = json.loads((ROOT / "notebooks/data/small_writer_training.json").read_text("utf-8"))


def normal(*shape):
    return RNG.standard_normal(shape)


def test_what_repeats_is_asked_for_from_its_second_pass_on():
    ids, targets = task.repeated_tokens(np.random.default_rng(0), 50)
    assert ids.shape == targets.shape == (50, 32)
    for text, wanted in zip(ids.tolist(), targets.tolist(), strict=True):
        period = wanted.count(-1)
        assert 5 <= period <= 16
        assert len({*text[:period]}) == period
        assert text == (text[:period] * 7)[:32]
        assert wanted == [-1] * period + (text[:period] * 7)[period + 1 : 33]
    ids, targets = task.repeated_tokens(np.random.default_rng(0), 3, length=10, period=4)
    assert np.count_nonzero(targets < 0) == 12
    np.testing.assert_array_equal(ids[:, 4:], ids[:, :-4])


def test_the_little_model_is_the_librarys_decoder_without_networks():
    model = task.attention_only_model(np.random.default_rng(1), 2, width=8, xp=np)
    ids, targets = task.repeated_tokens(np.random.default_rng(2), 3)
    logits, seen = task.look_inside(ids, model)
    states = companion.decoder_states(ids, model)
    np.testing.assert_allclose(logits, companion.state_logits(states, model), atol=1e-5)
    assert [w.shape for w in seen] == [(3, 32, 32)] * 2
    _, gradients = companion.loss_and_gradients(ids, targets, model)
    for layer in gradients.layers:
        for still in (layer.w_gate_up, layer.w_down, layer.norm_2):
            assert not still.any()
        assert layer.w_qkv.any()
    _, alone = task.look_inside(ids, model, without=0)
    np.testing.assert_array_equal(alone[0], seen[0])
    assert np.max(np.abs(alone[1] - seen[1])) > 1e-3


def test_heads_are_measured_where_they_look():
    rng = np.random.default_rng(4)
    model = task.attention_only_model(rng, 2, xp=np)
    found = task.head_scores(np.random.default_rng(5), model)
    ids, _ = task.repeated_tokens(np.random.default_rng(5), 64, period=12)
    weights = [np.asarray(w) for w in task.look_inside(ids, model)[1]]
    for name, back in (("previous", 1), ("induction", 11)):
        for layer, w in enumerate(weights):
            there = [w[:, i, i - back].mean() for i in range(12, 32)]
            assert found[name][layer] == pytest.approx(np.mean(there), rel=1e-5)


def test_the_recorded_models_did_what_the_chapter_says():
    two = COPYING["two layers"]
    assert two[-1] < 0.05
    assert min(two[:10]) > 2.5  # the plateau
    assert min(COPYING["one layer"]) > 2
    assert COPYING["one layer, fixed period"][-1] < 0.05
    assert COPYING["heads"]["previous"][0] > 0.5
    assert COPYING["heads"]["induction"][1] > 0.5
    assert [len(w) for layers in COPYING["maps"]["layers"] for w in layers] == [16] * 6


def steps_until_found(losses):
    """Return how many steps a recorded loss took to fall below 0.1, none where it did not."""
    return next((10 * (i + 1) for i, loss in enumerate(losses) if loss < 0.1), None)


def test_what_was_left_out_cost_what_the_chapter_says():
    two = steps_until_found(COPYING["two layers"])
    assert 3.5 < steps_until_found(COPYING["scores not divided"]) / two < 4  # nearly four times
    assert steps_until_found(COPYING["no norms"]) <= two
    found = {rate for rate, losses in COPYING["rates"].items() if steps_until_found(losses)}
    assert found == {"0.003", "0.01", "0.03"}  # about a factor of ten


def test_the_shipped_writer_is_the_recorded_one():
    content = (FOLDER / "model.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() == WRITER["sha256"]
    writer = companion.small_writer(xp=np)
    assert companion.count_parameters(writer.parameters) == WRITER["weights"] < 1_100_000
    assert len(content) < 1_300_000
    text = "She had always been very fond of her sister, and was sure that she must be happy.\n"
    ids = np.asarray(writer.tokenizer.encode(text))
    assert writer.tokenizer.decode(ids) == text
    loss = float(companion.cross_entropy(writer.logits(ids[:-1]), ids[1:]))
    assert 2 < loss < 3.5  # a sentence like those that it was judged by


def test_the_record_of_the_writer_is_whole():
    counting = list(WRITER["counting"].values())
    assert counting == sorted(counting, reverse=True)
    assert WRITER["counting"]["uniform"] == pytest.approx(np.log(1024))
    assert WRITER["loss_of_bytes"] < WRITER["counting"]["trigram"]
    assert WRITER["loss_of_bytes"] == pytest.approx(min(WRITER["validation_loss"]), abs=0.02)
    assert len(WRITER["steps"]) == len(WRITER["loss"])
    assert WRITER["looked"][0] == 0
    assert WRITER["looked"][-1] == WRITER["plan"]["steps"]
    assert {str(step) for step in (0, 100, 400, 1500, WRITER["plan"]["steps"])} <= {
        *WRITER["samples"]
    }


def test_each_broken_way_back_is_given_away():
    query, key, value, d_output = normal(5, 3), normal(5, 3), normal(5, 4), normal(5, 4)
    scores = companion.scaled_scores(query, key)
    d_weights = d_output @ value.mT
    broken = pitfalls.softmax_backward_entry_by_entry(d_weights, scores)
    assert np.max(np.abs(broken.sum(axis=-1))) > 0.01  # a right one's rows sum to 0
    d_scores = companion.softmax_backward(d_weights, scores)
    right = companion.scaled_scores_backward(d_scores, query, key)
    unscaled = pitfalls.scaled_scores_backward_without_scale(d_scores, query, key)
    for part, other in zip(unscaled, right, strict=True):
        np.testing.assert_allclose(part, np.sqrt(3) * other, rtol=1e-12)
    d_output[3:] = 0  # no row that sees the last two keys is in the loss
    leaked = pitfalls.attention_backward_without_mask(d_output, query, key, value)
    causal = companion.attention_backward(d_output, query, key, value, is_causal=True)
    assert not causal[1][3:].any()
    assert leaked[1][3:].any()
    np.testing.assert_allclose(leaked[2], causal[2], rtol=1e-12)


def test_each_broken_loss_is_given_away():
    logits, targets = normal(6, 5), np.asarray([1, 4, 0, 2, -1, -1])
    right = companion.cross_entropy(logits[:4], targets[:4])
    assert abs(pitfalls.cross_entropy_over_padding(logits, targets, 3) - right) > 0.01
    d_logits = companion.cross_entropy_backward(1.0, logits[:4], targets[:4])
    broken = pitfalls.cross_entropy_backward_over_all_rows(logits, targets)
    np.testing.assert_allclose(broken[:4], d_logits * 4 / 6, rtol=1e-12)
    assert not broken[4:].any()
    sure = 20 * np.eye(5)[[0, 3, 1]]  # says again what it was given
    ids = np.asarray([0, 3, 1])
    assert pitfalls.cross_entropy_without_shift(sure, ids) < 0.01
    assert companion.cross_entropy(sure[:-1], ids[1:]) > 10
