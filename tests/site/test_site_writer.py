"""The writer in the page makes the library's tokens and probabilities, and keeps the words."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import companion
from book._extensions import explorer_writer
from tests.support import stand_in_writer

PAGE = "book/explorer.html"
HALF_DIGIT = 0.5001e-4
FOLDERS = ["stand-in", *["shipped"] * explorer_writer.is_there()]

TEXTS = [
    "She was not at all",
    "The girl lost her ring but she found it again.",
    "it's they're we've I'm we'll he'd 'tis O'Brien's",
    "  two  spaces,\n\na tab\tand\u00a0a hard space \u2003 ",
    "12.5 % of 1,024 – ½ or ٣",
    "naïve café e\u0301 日本語 עברית 👩\u200d🚀 🎉🎉",
    "\ufeff \u0085 \u2028",
    "<|endoftext|> is text",
    "",
]
ENCODE = """(texts) => {
    const made = writerTokens.make(explorerData.there.writer.tokens);
    return texts.map((text) => [made.encode(text), made.decode(made.encode(text))]);
}"""
NEXT = """() => [...document.querySelectorAll(".ex-next button")].map((e) =>
    [Number(e.dataset.token), Number(e.querySelector("output").innerText)])"""
SEEN = """() => [...document.querySelectorAll(".ex-piece")].map((e) =>
    [e.innerText, e.title, e.classList.contains("ex-written")])"""
COSTS = """() => [...document.querySelectorAll("[data-part=costs] td")].map((e) =>
    Number(e.innerText.replace(/\\s/g, "")))"""


@pytest.fixture(scope="module", params=FOLDERS)
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "shipped":
        return explorer_writer.FOLDER
    return stand_in_writer.store(tmp_path_factory.mktemp("writer"))


@pytest.fixture(scope="module")
def model(folder: Path) -> companion.CausalLanguageModel:
    return companion.small_writer(folder, xp=np)


@pytest.fixture(scope="module")
def open_writer(browser: Any, address: str, book: Path, folder: Path) -> Iterator[Any]:
    """Open the station with the folder's writer, whether the book was built with it or not."""
    text = (book / PAGE).read_text(encoding="utf-8")
    named = f'data-writer="../_static/{explorer_writer.NAME}"'
    body = text.replace('data-writer=""', named)
    assert named in body
    script = explorer_writer.script(folder)
    contexts, troubles = [], []

    def opened(view: str = "", **options: Any) -> Any:
        context = browser.new_context(reduced_motion="reduce", **options)
        contexts.append(context)
        context.route(
            "**/book/explorer.html", lambda r: r.fulfill(body=body, content_type="text/html")
        )
        context.route(
            f"**/{explorer_writer.NAME}",
            lambda r: r.fulfill(body=script, content_type="text/javascript"),
        )
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(f"{address}{PAGE}#station=write{view}")
        page.wait_for_selector("[data-part=one]:visible")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture(scope="module")
def page(open_writer: Callable[..., Any]) -> Any:
    return open_writer()


def see(page: Any, view: str) -> None:
    page.evaluate("(view) => { location.hash = `station=write${view}`; }", view)
    page.wait_for_timeout(80)


def test_tokens_are_the_librarys_on_written_texts(
    page: Any, model: companion.CausalLanguageModel
) -> None:
    for text, (ids, back) in zip(TEXTS, page.evaluate(ENCODE, TEXTS), strict=True):
        assert ids == model.tokenizer.encode(text, start=False), text
        assert back == text


def test_tokens_are_the_librarys_on_random_texts(
    page: Any, model: companion.CausalLanguageModel
) -> None:
    # What both Unicode tables know; the page's may be a newer one.
    signs = st.characters(exclude_categories=("Cs", "Cn"))
    words = st.sampled_from([*TEXTS, " the", "'s", " ", "  ", "\n", "ing", "é", "1", "🎉", "'"])

    @settings(max_examples=30, deadline=None, derandomize=True)
    @given(st.lists(st.lists(words | st.text(signs, max_size=5), max_size=12), max_size=20))
    def agree(lists: list[list[str]]) -> None:
        texts = ["".join(parts) for parts in lists]
        for text, (ids, back) in zip(texts, page.evaluate(ENCODE, texts), strict=True):
            assert ids == model.tokenizer.encode(text, start=False), text
            assert back == text

    agree()


def silent(model: companion.CausalLanguageModel, out: str) -> companion.CausalLanguageModel:
    """Return the model with heads that add nothing: rows of W^O of zeros."""
    parameters, config = model.parameters, model.config
    layers = list(parameters.layers)
    for name in filter(None, out.split(",")):
        number, h = map(int, name.split("."))
        layer = layers[number]
        w_o = np.array(layer.w_o)
        w_o[h * config.head_dim : (h + 1) * config.head_dim] = 0
        changed = {**vars(layer), "w_o": w_o}
        layers[number] = type(layer)(**changed)
    changed = companion.LanguageModelParameters(
        config, parameters.embedding, tuple(layers), parameters.norm, parameters.output
    )
    return companion.CausalLanguageModel(changed, model.tokenizer)


@pytest.mark.parametrize(
    ("text", "heat", "top", "out", "cache"),
    [
        ("She was not at all", 1, 1, "", "on"),
        ("She was not at all", 0.8, 0.9, "", "off"),
        ("The girl lost her ring but she found it again.", 2, 0.5, "1.2", "on"),
        ("A word 日本語 – it's", 0.3, 0.95, "0.0,3.3", "on"),
        ("", 1.3, 0.05, "", "on"),
        ("Greedy", 0, 1, "2.1", "off"),
    ],
)
def test_what_comes_next_is_as_likely_as_the_library_says(
    text: str,
    heat: float,
    top: float,
    out: str,
    cache: str,
    page: Any,
    model: companion.CausalLanguageModel,
) -> None:
    see(page, f"&text={text}&heat={heat}&top={top}&out={out}&cache={cache}")
    ids = model.tokenizer.encode(text) or model.tokenizer.encode(" ")
    sampling = companion.Sampling(temperature=float(heat), top_p=float(top))
    for _ in range(4):
        logits = silent(model, out).logits(ids)[-1]
        expected = companion.next_token_probabilities(logits, sampling)
        shown = page.evaluate(NEXT)
        likeliest = np.sort(expected)[::-1][: len(shown)]
        assert np.abs([share for _, share in shown] - likeliest).max() <= HALF_DIGIT
        for token, share in shown:
            assert abs(expected[token] - share) <= HALF_DIGIT
        assert len(shown) == min(8, np.count_nonzero(expected))
        page.locator("[data-part=one]").click()
        written = [int(t) for t in page.evaluate("explorerWriter.state.written")]
        assert expected[written[-1]] > 0
        ids = [*ids, written[-1]]
        if written[-1] in model.config.stop_ids:
            break


def attention(model: companion.CausalLanguageModel, ids: list[int]) -> list[np.ndarray]:
    """Run the decoder by the earlier chapters' functions; each layer's weights, (H, N, N)."""
    parameters, config = model.parameters, model.config
    x = parameters.embedding[np.asarray(ids)]
    positions, found = np.arange(len(ids)), []
    for block in parameters.blocks:
        rows = companion.rms_norm(x, block.norm_1.weight, eps=config.eps)
        query, key, value = companion.project_heads(rows, block.attention)
        query, key = (companion.rotate(r, positions, base=config.rotary_base) for r in (query, key))
        mixed, weights = companion.scaled_dot_product_attention(
            query, key, value, is_causal=True, return_weights=True
        )
        found.append(weights)
        x = x + companion.merge_heads(mixed) @ block.attention.w_o
        rows = companion.rms_norm(x, block.norm_2.weight, eps=config.eps)
        x = x + companion.gated_feed_forward(rows, block.feed_forward)
    rows = companion.rms_norm(x, parameters.norm, eps=config.eps)
    np.testing.assert_allclose(rows @ parameters.unembedding.T, model.logits(ids), atol=1e-3)
    return found


def test_the_weights_of_each_head_are_the_librarys(
    page: Any, model: companion.CausalLanguageModel
) -> None:
    text = "The girl lost her ring"
    ids = model.tokenizer.encode(text)
    weights = attention(model, ids)
    for layer in range(model.config.layer_count):
        for head in range(model.config.head_count):
            row = (3 * layer + head) % len(ids)
            see(page, f"&text={text}&eye={layer}.{head}.{row}")
            seen = page.evaluate(SEEN)
            assert len(seen) == len(ids)
            expected = weights[layer][head, row]
            for j, (_, title, written) in enumerate(seen):
                assert not written
                assert (title == "later: hidden") == (j > row)
                assert j > row or abs(float(title) - expected[j]) <= HALF_DIGIT
            told = page.locator(".ex-looks b").all_inner_texts()
            largest = np.sort(expected)[::-1][: len(told)]
            assert np.abs(np.asarray(told, dtype=float) - largest).max() <= HALF_DIGIT


def multiplications(model: companion.CausalLanguageModel, first: int, count: int) -> int:
    """Count those of the rows from `first` on, and of one row of logits."""
    config = model.config
    width, heads = config.width, config.head_count * config.head_dim
    shared = config.key_value_head_count * config.head_dim
    row = width * (2 * heads + 2 * shared) + 3 * width * config.hidden_width
    seen = sum(i + 1 for i in range(first, count))
    return (
        config.layer_count * ((count - first) * row + 2 * heads * seen)
        + config.vocabulary_size * width
    )


def test_a_cache_saves_multiplications_and_changes_no_word(
    page: Any, model: companion.CausalLanguageModel
) -> None:
    text = "She was not at all"
    start = len(model.tokenizer.encode(text))
    texts = []
    for cache in ("on", "off"):  # the draws are the same, too
        see(page, f"&text={text}&heat=0&cache={cache}")
        costs = [multiplications(model, 0, start)]
        assert page.evaluate(COSTS) == [costs[0]] * 2
        for step in range(1, 6):
            page.locator("[data-part=one]").click()
            first = start + step - 1 if cache == "on" else 0
            costs.append(multiplications(model, first, start + step))
            assert page.evaluate(COSTS) == [costs[-1], sum(costs)]
        texts.append(page.locator("[data-part=text]").inner_text())
        for kept in (True, False):  # now with the cache, now without: the count changes at once
            page.locator("[data-part=cache]").set_checked(kept)
            firsts = [0, *range(start, start + 5)] if kept else [0] * 6
            both = [multiplications(model, f, start + s) for s, f in enumerate(firsts)]
            assert page.evaluate(COSTS) == [both[-1], sum(both)]
            assert page.locator("[data-part=text]").inner_text() == texts[-1]
    assert texts[0] == texts[1]
    expected = "".join(model.generate(text, max_new_tokens=5))
    assert texts[0] == text + expected.replace("\ufffd", "") or "\ufffd" in texts[0]


def test_a_head_is_knocked_out_and_the_words_are_written_again(
    page: Any, model: companion.CausalLanguageModel
) -> None:
    text = "The row of a token"
    see(page, f"&text={text}&heat=0&eye=1.2.")
    for _ in range(6):
        page.locator("[data-part=one]").click()
    before = page.evaluate("explorerWriter.state.written")
    page.locator("[data-part=out]").check()
    after = page.evaluate("explorerWriter.state.written")
    ids = model.tokenizer.encode(text)
    for changed, out in ((before, ""), (after, "1.2")):
        expected = list(ids)
        for _ in changed:
            expected.append(int(silent(model, out).logits(expected)[-1].argmax()))
        assert [*ids, *changed] == expected
    assert len(after) == len(before) or after[-1] in model.config.stop_ids
    assert page.locator(".ex-silent").all_inner_texts() == ["1.2"]
    page.locator("[data-part=out]").uncheck()
    assert page.evaluate("explorerWriter.state.written") == before


def test_one_s_own_words_one_token_at_a_time_and_a_link_to_them(
    page: Any, open_writer: Callable[..., Any]
) -> None:
    page.get_by_role("button", name="Reset").click()
    assert page.locator("[data-part=prompt]").input_value() == (
        "The girl lost her ring but she found it again."  # the sentence of all stations
    )
    page.locator("[data-part=prompt]").fill("My own words")
    assert page.locator("[data-part=text]").inner_text() == "My own words"
    for _ in range(3):
        page.locator("[data-part=one]").click()
    page.locator(".ex-next button").nth(2).click()  # chosen by the reader
    written = page.evaluate("explorerWriter.state.written")
    assert len(written) == 4
    page.get_by_role("button", name="Take one back").click()
    assert page.evaluate("explorerWriter.state.written") == written[:3]
    page.locator(".ex-piece").nth(1).click()
    page.locator("#station-write .ex-link").click()
    other = open_writer("&" + page.url.partition("#")[2].replace("station=write", ""))
    for expression in (SEEN, NEXT):
        assert other.evaluate(expression) == page.evaluate(expression)
    said = "document.querySelector('[data-part=text]').textContent"
    assert other.evaluate(said) == page.evaluate(said)


def test_the_draws_stay_until_others_are_asked_for(page: Any) -> None:
    see(page, "&text=She was not at all&heat=1.5&top=1&cache=off")

    def write() -> list[int]:
        for _ in range(6):
            page.locator("[data-part=one]").click()
        return page.evaluate("explorerWriter.state.written")

    first = write()
    page.locator("[data-part=cache]").check()
    page.get_by_role("button", name="Start again").click()
    assert write() == first
    page.get_by_role("button", name="Draw anew").click()
    assert write() != first


END = r"[.!?][\"'”’)_]*"


def test_it_writes_on_to_the_end_of_a_sentence(
    open_writer: Callable[..., Any], model: companion.CausalLanguageModel
) -> None:
    page = open_writer("&text=A secret&heat=0.8&seed=1")
    page.clock.install()
    on = page.locator("[data-part=on]")
    for _ in range(3):
        before = len(page.evaluate("explorerWriter.state.written"))
        on.click()
        assert on.inner_text() == "Pause"
        while on.inner_text() == "Pause":
            page.clock.run_for(120)
        written = page.evaluate("explorerWriter.state.written")
        assert len(written) > before
        sentence = re.sub(r"\b(Mr|Mrs|Dr|St)\.", "", model.tokenizer.decode(written[before:]))
        assert not re.search(rf"{END}\s", sentence), sentence
        if on.is_disabled():  # the text ended before its sentence did
            break
        assert re.search(rf"{END}$", sentence), sentence


@pytest.mark.parametrize("text", ["word " * 900, "д" * 900])
def test_words_that_are_cut_say_so(
    text: str, page: Any, model: companion.CausalLanguageModel
) -> None:
    page.get_by_role("button", name="Reset").click()
    note = page.locator("[data-part=writerSaid]")
    page.locator("[data-part=prompt]").fill(text)
    assert page.locator("[data-part=prompt]").input_value() == text
    room = model.config.context_length
    held = model.tokenizer.decode(model.tokenizer.encode(text)[: room - 1])
    shown = page.locator("[data-part=text]").text_content()
    assert shown.rstrip("\ufffd") == held.rstrip("\ufffd")
    assert f"after {len(shown)} letters" in note.inner_text()
    assert f"holds {room} tokens" in note.inner_text()
    assert note.bounding_box()["height"] > 10  # seen, and not only said
    page.locator("[data-part=one]").click()
    assert f"reached its end. The writer holds {room}" in note.inner_text()
    page.locator("[data-part=prompt]").fill(" ")
    assert note.inner_text() == "You gave no words: it begins after a space."
    page.locator("[data-part=prompt]").fill("A word")
    assert note.bounding_box()["height"] <= 1


def test_the_token_that_is_spoken_of_is_in_sight_and_told_apart(page: Any) -> None:
    see(page, f"&text={'so, ' * 60}")
    in_sight = """() => {
        const [box, chosen] = [".ex-pieces", ".ex-piece[aria-pressed=true]"].map((name) =>
            document.querySelector(name).getBoundingClientRect());
        return chosen.top >= box.top && chosen.bottom <= box.bottom;
    }"""
    assert page.evaluate("document.querySelector('.ex-pieces').scrollTop") > 0
    assert page.evaluate(in_sight)
    assert re.search(r"” \(\d+(st|nd|rd|th)\)", page.locator(".ex-looks").inner_text())
    page.locator(".ex-piece[aria-pressed=true]").press("ArrowLeft")
    assert page.evaluate(in_sight)


def test_the_words_never_leave_the_page(page: Any) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator("[data-part=prompt]").fill("A secret")
    page.locator("[data-part=on]").click()
    page.wait_for_function("explorerWriter.state.written.length > 3")
    page.locator("[data-part=on]").click()
    count = page.evaluate("explorerWriter.state.written.length")
    page.wait_for_timeout(400)
    assert page.evaluate("explorerWriter.state.written.length") == count
    assert asked == []
    assert "secret" not in page.url


def test_it_ends_where_its_context_ends(page: Any, model: companion.CausalLanguageModel) -> None:
    room = model.config.context_length
    nearly = model.tokenizer.encode("word " * room, start=False)[: room - 8]
    see(page, f"&text={model.tokenizer.decode(nearly)}&heat=1&top=1&seed=3")
    assert page.locator("[data-part=one]").is_enabled()
    for _ in range(room):
        if page.locator("[data-part=one]").is_disabled():
            break
        page.locator("[data-part=one]").click()
    assert page.locator("[data-part=one]").is_disabled()
    assert page.locator(".ex-piece").count() <= room
    said = page.locator("[data-part=writerSaid]").inner_text()
    assert "end" in said
    assert page.locator(".ex-piece:disabled").count() == 0  # each can be looked at, the last too


def test_the_writer_comes_when_it_is_asked_for(open_writer: Callable[..., Any]) -> None:
    page = open_writer()
    page.evaluate("location.hash = ''")
    page.reload()
    names = "performance.getEntriesByType('resource').map((e) => e.name).join()"
    page.wait_for_selector("[data-part=writeOpen] button")
    assert explorer_writer.NAME not in page.evaluate(names)
    page.get_by_role("button", name="Open the writer").press("Enter")
    page.wait_for_selector("[data-part=one]:visible")
    assert explorer_writer.NAME in page.evaluate(names)
    assert page.evaluate("document.activeElement.dataset.part") == "prompt"


AXE = """() => axe.run({ include: "#station-write" }, { resultTypes: ["violations"] })
    .then(({ violations }) => violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`))"""


def test_the_station_is_within_reach(open_writer: Callable[..., Any]) -> None:
    axe = pytest.importorskip("axe_playwright_python.base").AXE_SCRIPT
    for width, scheme in ((390, "light"), (1280, "dark")):
        page = open_writer(color_scheme=scheme, viewport={"width": width, "height": 800})
        for _ in range(5):
            page.locator("[data-part=one]").click()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.evaluate(f"{axe};0")
        assert page.evaluate(AXE) == []
        page.locator(".ex-piece[aria-pressed=true]").focus()
        page.keyboard.press("ArrowLeft")
        pressed = ".ex-piece[aria-pressed=true]"
        assert page.evaluate(f"document.activeElement.matches('{pressed}')")


def test_chance_is_even(page: Any) -> None:
    drawn = np.asarray(
        page.evaluate(
            "[...Array(4000).keys()].map((i) => writerModel.chance(1 + (i % 40), i / 40 | 0))"
        )
    )
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = np.histogram(drawn, bins=10, range=(0, 1))[0]
    assert np.abs(counts - 400).max() < 100  # five standard deviations
    assert len(np.unique(drawn)) > 3990
