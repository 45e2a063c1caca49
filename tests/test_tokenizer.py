"""Text becomes the token ids that llama.cpp makes of it, and ids become text a piece at a time."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion.language_model.gguf_file import read_gguf
from companion.language_model.gguf_tokenizer import gguf_tokenizer
from companion.language_model.llama_tokenizer import read_llama_tokenizer
from companion.language_model.tokenizer import TextTokenizer
from tests.support import tiny_llama as tiny
from tests.support.published_model import published_model

RECORDED = Path(__file__).parent / "data" / "token_ids.json"
SIGNS = {byte: 4 + byte for byte in range(256)}  # the id of each byte


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return read_llama_tokenizer(tiny.write_folder(tmp_path_factory.mktemp("tiny")), 269)


@pytest.fixture(scope="module")
def published():
    return gguf_tokenizer(read_gguf(published_model()))


@pytest.fixture(scope="module")
def metaspace():
    """Return a tokenizer that writes spaces as letters, and no first one."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    words = ["<unk>", "▁the", "▁cat", "▁", "t", "h", "e", "c", "a"]
    words += [f"<0x{byte:02X}>" for byte in range(256)]
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("c", "a"), ("ca", "t"), ("▁", "cat")]
    words += ["th", "the", "ca", "cat"]
    vocabulary = {word: i for i, word in enumerate(words)}
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return TextTokenizer(made)


# Ids


def recorded():
    return json.loads(RECORDED.read_text(encoding="utf-8"))


def test_the_recorded_texts_are_awkward_and_say_where_the_ids_come_from():
    texts = [entry["text"] for entry in recorded()["texts"]]
    assert {"", " "} <= set(texts)
    assert any("🙂" in text for text in texts)
    assert any("\u0301" in text for text in texts)
    assert any("<|im_end|>" in text for text in texts)
    assert any(entry["plain"] != entry["special"] for entry in recorded()["texts"])
    assert len(recorded()["prompts"]["long"]) == 998
    assert recorded()["versions"].keys() == {"xllamacpp", "python"}


def test_the_published_models_ids_are_llama_cpps(published):
    for entry in recorded()["texts"]:
        assert published.encode(entry["text"]) == entry["plain"], entry["text"]
        assert published.encode(entry["text"], special=True) == entry["special"], entry["text"]
        assert published.decode(entry["plain"]) == entry["text"]
        assert published.decode(entry["special"], special=True) == entry["text"]


def test_a_gguf_file_and_a_folder_have_one_tokenizer(tokenizer, tmp_path):
    other = gguf_tokenizer(read_gguf(tiny.write_gguf(tmp_path / "tiny.gguf")))
    for text in ("the cat ran", "  the\n\tcat", "é🙂", "<|turn|>the<|end|>"):
        for special in (False, True):
            expected = tokenizer.encode(text, special=special)
            assert other.encode(text, special=special) == expected
    assert other.names == tokenizer.names
    assert other.special_tokens() == tokenizer.special_tokens()


def test_digits_stand_alone_in_a_gguf_file(tmp_path):
    joined = [*tiny.VOCABULARY, "12"]
    changed = {
        "llama.vocab_size": 270,
        "tokenizer.ggml.tokens": joined,
        "tokenizer.ggml.token_type": [1] * 270,
        "tokenizer.ggml.merges": [*tiny.MERGES, "1 2"],
    }
    file = read_gguf(tiny.write_gguf(tmp_path / "tiny.gguf", changed))
    assert gguf_tokenizer(file).encode("12", start=False) == [SIGNS[49], SIGNS[50]]


def test_tokens_that_were_added_count_in_a_text_too(tmp_path):
    kinds = [3, 3, 4, 3] + [1] * 265
    file = read_gguf(tiny.write_gguf(tmp_path / "tiny.gguf", {"tokenizer.ggml.token_type": kinds}))
    assert gguf_tokenizer(file).encode("<|turn|><|end|>", start=False)[0] == 2
    assert gguf_tokenizer(file).encode("<|turn|><|end|>", start=False)[1] != 1


def test_tokens_around_a_text_are_as_the_file_says(tmp_path):
    for first in (False, True):
        for last in (False, True):
            changed = {
                "tokenizer.ggml.add_bos_token": first,
                "tokenizer.ggml.add_eos_token": last,
            }
            made = gguf_tokenizer(read_gguf(tiny.write_gguf(tmp_path / "tiny.gguf", changed)))
            assert made.encode("cat") == [0] * first + [264] + [1] * last
            assert made.encode("cat", start=False) == [264]


def test_special_tokens_in_a_text_stay_text_unless_asked(tokenizer):
    text = "a<|end|><|turn|>b"
    plain = tokenizer.encode(text, start=False)
    assert not set(plain) & set(tokenizer.special_tokens().values())
    assert tokenizer.decode(plain) == text
    asked = tokenizer.encode(text, special=True, start=False)
    assert asked == [SIGNS[97], 1, 2, SIGNS[98]]
    assert tokenizer.decode(asked) == "ab"
    assert tokenizer.decode(asked, special=True) == text
    assert tokenizer.encode(text, start=False) == plain  # asking once changes nothing


@pytest.mark.parametrize("text", [b"bytes", 5, None, ["a"]])
def test_what_is_no_text_is_refused(tokenizer, text):
    with pytest.raises(TypeError, match=f"^text must be a string, got {type(text).__name__}$"):
        tokenizer.encode(text)


def test_what_is_no_unicode_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"^text must be valid Unicode, got surrogates"):
        tokenizer.encode("a\ud800")


def test_what_are_no_ids_is_refused(tokenizer):
    for ids in ([1.5], ["a"], [None]):
        with pytest.raises(TypeError, match=r"^ids must be integers, got "):
            tokenizer.decode(ids)
    for ids in ([-1], [2**32]):
        with pytest.raises(ValueError, match=r"^ids must be at least 0 and of 32 bits, got "):
            tokenizer.decode(ids)
    with pytest.raises(TypeError, match=r"^ids must be integers, got 'a'"):
        tokenizer.stream().push("a")
    with pytest.raises(TypeError, match=r"^ids must be integers, got 'a'"):
        tokenizer.stream(after="a")


def test_ids_may_be_an_array(tokenizer):
    ids = tokenizer.encode("the cat")
    assert tokenizer.decode(np.asarray(ids)) == "the cat"
    assert tokenizer.stream().push(np.int64(264)) == "cat"


@given(text=st.text())
def test_every_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


# Pieces


def pieces(tokenizer, ids, **options):
    stream = tokenizer.stream(**options)
    return [*map(stream.push, ids), stream.end()]


def test_a_character_is_handed_out_when_it_is_whole(tokenizer):
    ids = [SIGNS[byte] for byte in "aé🙂".encode()]
    assert pieces(tokenizer, ids) == ["a", "", "é", "", "", "", "🙂", ""]


def test_bytes_that_become_no_character_are_handed_out_at_the_end(tokenizer):
    ids = [SIGNS[byte] for byte in b"a\xf0\x9f"]
    assert pieces(tokenizer, ids) == ["a", "", "", "\ufffd"]
    ids = [SIGNS[byte] for byte in b"\xf0\x9fa"]
    assert pieces(tokenizer, ids) == ["", "", "\ufffda", ""]


@given(text=st.text())
def test_no_piece_of_a_text_holds_half_a_character(tokenizer, text):
    ids = [SIGNS[byte] for byte in text.encode()]
    handed_out = pieces(tokenizer, ids)
    assert "".join(handed_out) == text
    if "\ufffd" not in text:
        assert all(len(piece) <= 1 for piece in handed_out)
        assert handed_out[-1] == ""


@given(ids=st.lists(st.integers(0, 270)), special=st.booleans())
def test_pieces_make_what_all_ids_make(tokenizer, ids, special):
    handed_out = pieces(tokenizer, ids, special=special)
    assert "".join(handed_out) == tokenizer.decode(ids, special=special)


@given(before=st.text(), text=st.text())
def test_what_stands_before_is_not_shown(tokenizer, before, text):
    ids = tokenizer.encode(text, start=False)
    handed_out = pieces(tokenizer, ids, after=tokenizer.encode(before))
    assert "".join(handed_out) == text


@given(cut=st.integers(0, 12))
def test_a_text_may_go_on_within_a_character(tokenizer, cut):
    ids = [SIGNS[byte] for byte in "é🙂cat ü".encode()]
    shown = tokenizer.decode(ids[:cut]).rstrip("\ufffd")
    assert shown + "".join(pieces(tokenizer, ids[cut:], after=ids[:cut])) == "é🙂cat ü"


@pytest.mark.parametrize("text", ["the cat", "the  cat 🙂é the", "é", " the"])
def test_a_space_before_the_first_word_is_kept_where_a_text_goes_on(metaspace, text):
    before, ids = metaspace.encode("the cat"), metaspace.encode(text)
    assert "".join(pieces(metaspace, ids)) == metaspace.decode(ids) == text
    whole = metaspace.decode(before + ids)
    assert whole == f"the cat {text}"
    assert "".join(pieces(metaspace, ids, after=before)) == f" {text}"


@given(text=st.text(st.sampled_from("the ca🙂é猫\n"), max_size=30))
def test_pieces_of_single_bytes_make_the_text(metaspace, text):
    ids = metaspace.encode(text)
    assert "".join(pieces(metaspace, ids)) == metaspace.decode(ids) == text
