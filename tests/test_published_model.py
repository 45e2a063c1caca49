"""The published model's numbers are those that transformers computes of the same file."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp

import companion
from tests.support.published_model import published_model

DATA = Path(__file__).parent / "data"
SHORT, LONG = 3e-4, 1e-3  # of logits up to 40, to 300 tokens and beyond
ALONE = ("ordinary", "code", "accents", "emoji", "digits", "one token", "long")
TOGETHER = ("shorter", "longer")


@pytest.fixture(scope="module")
def reference():
    with np.load(DATA / "language_model_reference.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def prompts():
    return json.loads((DATA / "token_ids.json").read_text(encoding="utf-8"))["prompts"]


@pytest.fixture(scope="module")
def model():
    return companion.CausalLanguageModel.from_pretrained(published_model(), xp=np)


def compare(logits, reference, name, ids):
    """Hold each row to what was recorded of it, and the greedy token where it is clear."""
    allowed = SHORT if len(ids) <= 300 else LONG
    kept = {part: reference[f"{name}: {part}"] for part in ("largest", "largest ids", "target")}
    rows = np.arange(len(ids))
    assert logits.shape == (len(ids), 49152)
    log_sum = np.concatenate(
        [
            logsumexp(part.astype(np.float64), axis=-1)
            for part in np.array_split(logits, 1 + len(ids) // 100)
        ]
    )
    assert np.max(np.abs(log_sum - reference[f"{name}: log-sum-exp"])) <= allowed
    assert np.max(np.abs(logits[rows[:-1], ids[1:]] - kept["target"]), initial=0) <= allowed
    assert np.max(np.abs(logits[rows[:, None], kept["largest ids"]] - kept["largest"])) <= allowed
    clear = kept["largest"][:, 0] - kept["largest"][:, 1] > 2 * allowed
    assert np.mean(clear) > 0.9
    np.testing.assert_array_equal(logits.argmax(axis=-1)[clear], kept["largest ids"][clear, 0])
    if f"{name}: last row" in reference:
        assert np.max(np.abs(logits[-1] - reference[f"{name}: last row"])) <= allowed


def test_the_record_says_what_it_was_made_with(reference, prompts):
    versions = json.loads(str(reference["versions"]))
    assert versions.keys() == {"transformers", "torch", "gguf", "numpy", "python"}
    lengths = [len(prompts[name]) for name in (*ALONE, *TOGETHER)]
    assert 1 in lengths
    assert max(lengths) == 998
    assert len(prompts["shorter"]) != len(prompts["longer"])
    assert sum(f"{name}: last row" in reference for name in ALONE) == 3
    assert 20 < max(reference[f"{name}: largest"].max() for name in ALONE) < 45


@pytest.mark.parametrize("name", ALONE)
def test_every_rows_logits_are_the_recorded_ones(model, reference, prompts, name):
    compare(model.logits(prompts[name]), reference, name, prompts[name])


@pytest.mark.parametrize("name", ["ordinary", "emoji"])
def test_so_they_are_one_token_at_a_time(model, reference, prompts, name):
    cache = model.new_cache()
    rows = [model.logits([token], cache) for token in prompts[name]]
    compare(np.concatenate(rows), reference, name, prompts[name])


def test_so_they_are_in_a_batch_of_unlike_lengths(model, reference, prompts):
    length = max(len(prompts[name]) for name in TOGETHER)
    empty = [length - len(prompts[name]) for name in TOGETHER]
    ids = np.asarray([[0] * n + prompts[k] for n, k in zip(empty, TOGETHER, strict=True)])
    mask = np.arange(length) >= np.asarray(empty)[:, None]
    logits = model.logits(ids, token_mask=mask)
    for row, name in enumerate(TOGETHER):
        compare(logits[row, empty[row] :], reference, name, prompts[name])


def test_it_writes_what_transformers_writes(model, reference):
    (completion,) = model.complete(["The black cat ran quickly"], max_new_tokens=40)
    assert completion.text.startswith(" down the dark alley, its fur was a deep, rich brown")
    assert completion.text == model.tokenizer.decode(reference["written"])
    assert list(completion.token_ids) == reference["written"].tolist()
