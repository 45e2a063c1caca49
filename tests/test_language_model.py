"""A model that writes: what it hands out and when, for one text, for several, and turn by turn."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import companion
from companion.language_model import fast_decoder
from companion.language_model.stops import StopTexts
from tests.support.tiny_language_model import scripted_model, tiny_model

MODEL = tiny_model()
END = 256
seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def greedy(model, ids, count):
    """Write without a cache, by all rows' logits: the definition."""
    ids, chosen = list(ids), []
    while len(chosen) < count and len(ids) < model.config.context_length:
        token = int(model.logits(ids)[-1].argmax())
        if token in model.config.stop_ids:
            break
        ids.append(token)
        chosen.append(token)
    return chosen


def written(model, prompt, **options):
    return "".join(model.generate(prompt, **options))


# What is written


@given(seeds, st.integers(1, 40))
@settings(max_examples=20)
def test_the_tokens_are_those_of_the_definition(rng, length):
    prompt = rng.integers(0, 128, length).tolist()  # whole characters
    (done,) = MODEL.complete([prompt], max_new_tokens=30)
    assert list(done.token_ids) == greedy(MODEL, prompt, 30)
    assert done.text == MODEL.tokenizer.decode(done.token_ids)
    assert done.text == written(MODEL, prompt, max_new_tokens=30)


@pytest.mark.parametrize("changed", [{"dtype": np.float64}, {"tied": True}])
def test_other_models_write_too(changed):
    model = tiny_model(**changed)
    (done,) = model.complete(["The cat"], max_new_tokens=20)
    assert list(done.token_ids) == greedy(model, model.tokenizer.encode("The cat"), 20)


def test_a_model_says_what_it_has_learnt():
    model = scripted_model("The cw🐈dog.")
    assert written(model, "T", max_new_tokens=99) == "he cw🐈dog."


def test_logits_take_a_list_or_an_array():
    ids = [3, 1, 2]
    logits = MODEL.logits(ids)
    assert logits.shape == (3, 257)
    np.testing.assert_array_equal(logits, MODEL.logits(np.asarray(ids)))
    cache = MODEL.new_cache((2,))
    assert MODEL.logits([ids, ids], cache).shape == (2, 3, 257)
    assert cache.length == 3
    with pytest.raises(ValueError, match=r"token_ids must be \(..., N\) with N at least 1"):
        MODEL.logits([])


def test_chance_repeats_with_its_seed():
    options = {"max_new_tokens": 25, "temperature": 1.2, "top_k": 60, "top_p": 0.95, "min_p": 0.01}
    texts = [
        written(MODEL, "ab", rng=np.random.default_rng(seed), **options) for seed in (1, 1, 2, 3)
    ]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3
    # The system seeds one; now and then its first token ends the text.
    assert any(written(MODEL, "ab", **options) for _ in range(20))


def test_a_penalty_counts_the_prompt_and_what_was_written():
    (plain,) = MODEL.complete([[5, 6, 7]], max_new_tokens=40)
    ids = [*set(plain.token_ids), 5, 6, 7]  # what comes otherwise stands in the prompt
    (done,) = MODEL.complete([ids], max_new_tokens=40, repetition_penalty=5.0)
    for i, token in enumerate(done.token_ids):
        past = ids + list(done.token_ids[:i])
        shares = companion.next_token_probabilities(
            MODEL.logits(past)[-1], companion.Sampling(repetition_penalty=5.0), previous=past
        )
        assert shares[token] == 1
    (plain,) = MODEL.complete([ids], max_new_tokens=40)
    assert done.token_ids != plain.token_ids


def test_log_probabilities_are_the_models_own():
    options = {"max_new_tokens": 12, "temperature": 0.5, "top_k": 3}
    (done,) = MODEL.complete(
        ["cat"], **options, rng=np.random.default_rng(0), log_probabilities=True
    )
    ids = MODEL.tokenizer.encode("cat") + list(done.token_ids)
    shares = companion.softmax(MODEL.logits(ids).astype(np.float64))
    expected = [np.log(shares[i - 1, ids[i]]) for i in range(3, len(ids))]
    np.testing.assert_allclose(done.log_probabilities, expected, rtol=1e-4, atol=1e-4)
    (other,) = MODEL.complete(["cat"], **options, rng=np.random.default_rng(0))
    assert other.log_probabilities is None
    assert other.token_ids == done.token_ids


# Where it ends


def test_why_a_text_ends():
    model = scripted_model("abcdef", context_length=9)
    ends = {
        "stop token": model.complete(["a"], max_new_tokens=50)[0],
        "length": model.complete(["a"], max_new_tokens=3)[0],
        "stop text": model.complete(["a"], max_new_tokens=50, stop="de")[0],
        "context": model.complete(["zzzzzabc"], max_new_tokens=50)[0],
    }
    assert {reason: done.reason for reason, done in ends.items()} == {r: r for r in ends}
    assert [done.text for done in ends.values()] == ["bcdef", "bcd", "bc", "d"]
    assert ends["stop token"].token_ids == tuple(b"bcdef")  # without the token that ended it


def test_a_prompt_may_fill_the_context_and_not_more():
    model = scripted_model("abc", context_length=4)
    assert written(model, "zzza", max_new_tokens=5) == ""
    for call in (model.generate, lambda prompt, **options: model.complete([prompt], **options)):
        with pytest.raises(ValueError, match="must fit the model's context of 4 tokens, got 5"):
            call("zzzza", max_new_tokens=5)


def test_no_token_is_computed_that_nobody_wants(monkeypatch):
    rows = []
    product = fast_decoder.product

    def counting(x, weight, out):
        if weight is MODEL.parameters.layers[0].w_qkv:
            rows.append(len(x))
        product(x, weight, out)

    monkeypatch.setattr(fast_decoder, "product", counting)
    assert written(MODEL, "abc", max_new_tokens=0) == ""
    assert rows == []
    text = written(MODEL, "abc", max_new_tokens=6)
    assert rows == [3, 1, 1, 1, 1, 1]
    assert len(text) > 0


@pytest.mark.parametrize("pieces", [list("The cw🐈dog."), ["The c", "w🐈do", "g."]])
def test_a_stop_text_is_held_back_until_it_is_one(pieces):
    stops = StopTexts(["cx", "🐈d", "zz"])
    assert "".join(map(stops.push, pieces)) + stops.end() == "The cw"
    assert stops.found


@given(
    st.text("ab", max_size=12),
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(0, 12), max_size=5).map(sorted),
)
def test_the_first_stop_text_that_is_complete_ends_a_text_however_it_is_cut(text, stops, cuts):
    ends = [0, *cuts, len(text)]
    held = StopTexts(stops)
    grown = ""
    complete = [(text.find(s) + len(s), text.find(s)) for s in stops if s in text]
    expected = text[: min(complete)[1]] if complete else text
    for start, stop in itertools.pairwise(ends):
        grown += held.push(text[start:stop])
        assert expected.startswith(grown)
    assert grown + held.end() == expected
    assert held.found == bool(complete)


@pytest.mark.parametrize("stop", ["dog", ["zz", "g.", "dog"], "🐈", "w🐈", "."])
def test_no_part_of_a_stop_text_is_handed_out(stop):
    model = scripted_model("The cw🐈dog.")
    texts = [stop] if isinstance(stop, str) else stop
    whole = "he cw🐈dog."
    end = min(whole.find(text) for text in texts if text in whole)
    grown = ""
    for piece in model.generate("T", max_new_tokens=50, stop=stop):
        grown += piece
        assert whole[:end].startswith(grown)
    assert grown == whole[:end]


def test_what_only_began_like_a_stop_text_is_handed_out_in_the_end():
    model = scripted_model("The cat")
    assert written(model, "T", max_new_tokens=50, stop="atlas") == "he cat"
    assert written(model, "T", max_new_tokens=5, stop="catx") == "he ca"


# Streaming


def test_a_character_is_handed_out_whole():
    model = scripted_model("a🐈b猫cé.")
    pieces = list(model.generate("a", max_new_tokens=50))
    assert pieces == ["🐈", "b", "猫", "c", "é", "."]
    assert list(model.generate("a", max_new_tokens=4)) == ["🐈"]


def test_text_comes_while_it_is_written(monkeypatch):
    passes = []
    states = companion.language_model.generation.unchecked_decoder_states

    def counting(*arguments):
        passes.append(1)
        return states(*arguments)

    monkeypatch.setattr(companion.language_model.generation, "unchecked_decoder_states", counting)
    pieces = scripted_model("abcdef").generate("a", max_new_tokens=50)
    assert passes == []
    assert next(pieces) == "b"
    assert len(passes) == 1
    assert next(pieces) == "c"
    assert len(passes) == 2
    pieces.close()
    assert len(passes) == 2


# Several prompts at once


@given(seeds, st.lists(st.integers(1, 30), min_size=1, max_size=4))
@settings(max_examples=20)
def test_each_of_several_prompts_is_gone_on_with_as_if_it_were_alone(rng, lengths):
    prompts = [rng.integers(0, 128, n).tolist() for n in lengths]
    together = MODEL.complete(prompts, max_new_tokens=25, log_probabilities=True)
    for prompt, done in zip(prompts, together, strict=True):
        (alone,) = MODEL.complete([prompt], max_new_tokens=25, log_probabilities=True)
        assert (done.token_ids, done.text, done.reason) == (
            alone.token_ids,
            alone.text,
            alone.reason,
        )
        np.testing.assert_allclose(
            done.log_probabilities, alone.log_probabilities, rtol=1e-3, atol=1e-3
        )


def test_texts_that_end_early_let_the_others_go_on():
    model = scripted_model("abcdefghij")
    done = model.complete(["h", "zza", "bcd"], max_new_tokens=6, stop="g")
    assert [d.text for d in done] == ["ij", "bcdef", "ef"]
    assert [d.reason for d in done] == ["stop token", "stop text", "stop text"]
    long = scripted_model("abcdefghij", context_length=7)
    done = long.complete(["zzzza", "a"], max_new_tokens=20)
    assert [(d.text, d.reason) for d in done] == [("bc", "context"), ("bcdefg", "context")]


def test_chance_gives_each_text_that_goes_on_one_number_a_step():
    options = {"temperature": 1.0, "max_new_tokens": 8}
    done = MODEL.complete(["ab", "c"], **options, rng=np.random.default_rng(3))
    numbers = np.random.default_rng(3).random((8, 2))

    class Given(np.random.Generator):
        def __init__(self, numbers):
            super().__init__(np.random.PCG64(0))
            self.numbers = iter(numbers)

        def random(self):
            return next(self.numbers)

    for i, prompt in enumerate(["ab", "c"]):
        (alone,) = MODEL.complete([prompt], **options, rng=Given(numbers[:, i]))
        assert alone.token_ids == done[i].token_ids


def test_no_prompts_give_no_texts():
    assert MODEL.complete([], max_new_tokens=3) == []


# Turn by turn


def test_a_cache_that_is_kept_saves_what_was_read_and_changes_nothing(monkeypatch):
    rows = []
    product = fast_decoder.product

    def counting(x, weight, out):
        if weight is MODEL.parameters.layers[0].w_qkv:
            rows.append(len(x))
        product(x, weight, out)

    cache = MODEL.new_cache()
    first = MODEL.tokenizer.encode("Who is there?")
    (done,) = MODEL.complete([first], max_new_tokens=10)
    assert written(MODEL, first, max_new_tokens=10, cache=cache) == done.text
    talk = [*first, *done.token_ids, *MODEL.tokenizer.encode(" And who else?")]
    monkeypatch.setattr(fast_decoder, "product", counting)
    answer = written(MODEL, talk, max_new_tokens=10, cache=cache)
    # The last token that was written was not read yet.
    assert sum(rows) == len(talk) - (len(first) + len(done.token_ids) - 1) + 9
    assert answer == written(MODEL, talk, max_new_tokens=10)
    # Where a text differs, the cache is cut.
    other = [*talk[:15], 1, 2, 3]
    assert written(MODEL, other, max_new_tokens=10, cache=cache) == written(
        MODEL, other, max_new_tokens=10
    )
    # And one that was read whole already is gone on with from its last token.
    rows.clear()
    again = written(MODEL, other, max_new_tokens=1, cache=cache)
    assert rows == [1]
    assert again == written(MODEL, other, max_new_tokens=1)


def test_a_text_that_was_broken_off_leaves_a_cache_to_go_on_with():
    cache = MODEL.new_cache()
    pieces = MODEL.generate("abc", max_new_tokens=20, cache=cache)
    next(pieces)
    pieces.close()
    text = written(MODEL, "abc", max_new_tokens=20, cache=cache)
    assert text == written(MODEL, "abc", max_new_tokens=20)


# What is refused


BAD = {
    "no prompt": (lambda m: m.generate("", max_new_tokens=1), ValueError, "at least one token"),
    "no text": (lambda m: m.generate(5.5, max_new_tokens=1), TypeError, "prompt must be a string"),
    "no ids": (
        lambda m: m.generate([1.5], max_new_tokens=1),
        TypeError,
        "prompt must be a string or token ids, got 1.5 in it",
    ),
    "an id too far": (
        lambda m: m.complete(["a", [1, 257]], max_new_tokens=1),
        ValueError,
        "prompts[1] must hold ids in 0 … 256, got 257",
    ),
    "one text": (
        lambda m: m.complete("abc", max_new_tokens=1),
        TypeError,
        "prompts must be a sequence of prompts, got the one text 'abc'",
    ),
    "a count below 0": (
        lambda m: m.generate("a", max_new_tokens=-1),
        ValueError,
        "max_new_tokens must not be negative, got -1",
    ),
    "no count": (
        lambda m: m.generate("a", max_new_tokens=2.0),
        TypeError,
        "max_new_tokens must be an integer, got 2.0",
    ),
    "no stop": (
        lambda m: m.generate("a", max_new_tokens=1, stop=[1]),
        TypeError,
        "stop must be a string or several, got int",
    ),
    "an empty stop": (
        lambda m: m.generate("a", max_new_tokens=1, stop=""),
        ValueError,
        "stop must not be the empty string",
    ),
    "a seed": (
        lambda m: m.generate("a", max_new_tokens=1, temperature=1, rng=7),
        TypeError,
        "rng must be a numpy.random.Generator, got int",
    ),
    "top_p": (
        lambda m: m.generate("a", max_new_tokens=1, top_p=7),
        ValueError,
        "top_p must be above 0 and at most 1, got 7",
    ),
    "a batch's cache": (
        lambda m: m.generate("a", max_new_tokens=1, cache=m.new_cache((1,))),
        ValueError,
        "cache must be for one text, of batch shape (), got (1,)",
    ),
    "another model's cache": (
        lambda m: m.generate("a", max_new_tokens=1, cache=tiny_model(width=8).new_cache()),
        ValueError,
        "cache must be made for this model",
    ),
}


@pytest.mark.parametrize(("call", "kind", "message"), BAD.values(), ids=BAD)
def test_a_bad_call_is_answered_at_once(call, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        call(MODEL)
