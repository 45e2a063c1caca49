"""The attention explorer shows the library's numbers, whatever is chosen, and needs no mouse."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pytest

import companion
from book._extensions import explorer_data

ROOT = Path(__file__).parents[2]
PAGE = "book/explorer.html"
LAYER = 2
HALF_DIGIT = 0.5001e-4  # what is shown has four decimals
SPACE = "\N{NO-BREAK SPACE}"
SMALL = f"<{SPACE}1{SPACE}%"

# A view, and whatever it has to load.
FOLLOW = """(view) => new Promise((done) => {
    const figure = document.querySelector(".explorer");
    const wait = () => setTimeout(() => (figure.ariaBusy ? wait() : done()));
    if (location.hash === `#${view}`) return wait();
    addEventListener("hashchange", wait, { once: true });
    location.hash = view;
})"""

SHOWN = """() => {
    const every = (selector) => [...document.querySelectorAll(selector)];
    const words = (selector) => every(selector).map((e) => e.innerText.trim());
    return {
        labels: every(".ex-map button").map((e) => e.getAttribute("aria-label")),
        percents: words(".ex-map button"),
        shares: words(".ex-share"),
        said: words(".ex-said")[0],
        steps: every("[data-part=steps] tr").map((e) =>
            [...e.children].map((c) => c.innerText.trim())),
        mixture: every("[data-part=mixture] tr").map((e) =>
            [...e.children].map((c) => c.innerText.trim())),
        does: words(".ex-does")[0],
        pair: every(".ex-pair select").map((e) => Number(e.value)),
    };
}"""

ANSWER = """(name) => {
    const form = document.querySelector(`[data-experiment=${name}]`);
    return {
        verdicts: [...form.querySelectorAll(".ex-verdict")].map((e) => e.innerText),
        why: form.querySelector(".ex-answer p:last-of-type").innerText,
        rows: [...form.querySelectorAll("tbody tr")].map((e) =>
            [...e.children].map((c) => c.innerText)),
    };
}"""

VIEWS = [
    "sentence=2&head=4&token=7",
    "sentence=0&head=9&token=3&key=0&root=off",
    "sentence=1&head=8&token=7&key=10&mask=on",
    "sentence=3&head=4&token=10&key=2&mask=on&temperature=0.3",
    "sentence=3&head=10&token=13&root=off&temperature=4",
    "sentence=2&head=4&token=9&rest=off",
    "sentence=2&head=2&token=7&key=6&layer=0",
    "sentence=1&head=6&token=4&key=2&layer=0&mask=on&rest=off&entry=31",
    "sentence=0&head=1&token=0&key=0&mask=on&rest=off",
]


@pytest.fixture(scope="module")
def trained() -> Any:
    return companion.load_trained_heads(ROOT / "notebooks/data/minilm_heads.npz", xp=np)


class Expected:
    """What `companion` makes of a view, in float64 from the float32 rows that the page has."""

    def __init__(self, trained: Any, view: str) -> None:
        given = dict(parse_qsl(view))
        self.sentence = list(trained.sentences.values())[int(given["sentence"])]
        self.tokens = self.sentence.tokens
        self.h, self.i = int(given["head"]), int(given["token"])
        self.index = int(given.get("layer", LAYER))
        self.layer = trained.layer(self.index)
        self.x = self.sentence.inputs[self.index].astype(np.float64)
        rows = companion.project_heads(self.sentence.inputs[self.index], self.layer)
        self.all_heads = [matrix.astype(np.float64) for matrix in rows]
        self.qkv = [matrix[self.h] for matrix in self.all_heads]
        self.all_w_o = np.reshape(self.layer.w_o, (12, 32, 384)).astype(np.float64)
        self.w_o = self.all_w_o[self.h]
        self.root = given.get("root") != "off"
        self.causal = given.get("mask") == "on"
        self.rest = given.get("rest") != "off"
        self.temperature = float(given.get("temperature", 1))
        self.output, self.weights = self.attend(*self.qkv)
        self.j = int(given.get("key", np.argmax(self.weights[self.i])))
        self.entry, self.column = (int(given.get(name, 0)) for name in ("entry", "column"))

    def attend(self, *qkv: np.ndarray, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        scale = 1 / ((32**0.5 if self.root else 1) * self.temperature)
        seen = np.ones((len(self.tokens), len(self.tokens)), dtype=bool)
        seen[:, 0] = self.rest
        options = {"is_causal": self.causal, "scale": scale, **options}
        return companion.scaled_dot_product_attention(*qkv, seen, return_weights=True, **options)

    @property
    def visible(self) -> np.ndarray:
        count = len(self.tokens)
        seen = np.tri(count, dtype=bool) if self.causal else np.ones((count, count), dtype=bool)
        seen[:, 0] &= self.rest
        return seen

    def moved(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        return np.linalg.norm((after - before) @ self.w_o, axis=-1)


def number(text: str) -> float:
    return float(text.replace("−", "-").replace("∞", "inf"))


def close(shown: Any, expected: Any) -> bool:
    shown, expected = np.asarray(shown, dtype=float), np.asarray(expected, dtype=float)
    same = shown == expected  # two infinities
    with np.errstate(invalid="ignore"):
        return bool(np.all(same | (np.abs(shown - expected) <= HALF_DIGIT)))


@pytest.fixture
def explorer(open_page: Callable[..., Any]) -> Any:
    return open_page(PAGE)


def test_what_is_shown_is_what_the_library_computes(explorer: Any, trained: Any) -> None:
    for view in VIEWS:
        explorer.evaluate(FOLLOW, view)
        compare(explorer.evaluate(SHOWN), Expected(trained, view))


def compare(shown: dict[str, Any], view: Expected) -> None:
    count = len(view.tokens)
    visible = view.visible
    for label, percent, weight, seen in zip(
        shown["labels"], shown["percents"], view.weights.flat, visible.flat, strict=True
    ):
        said = label.rpartition(": ")[2]
        assert seen or (said, percent) == ("hidden", "–")
        if seen:
            assert said.startswith(f"{percent}{SPACE}%, ")
            assert close(number(said.rpartition(", ")[2]), weight)
            assert abs(int(percent) - 100 * weight) <= 0.5001
    row = shown["percents"][view.i * count : (view.i + 1) * count]
    for share, percent in zip(shown["shares"], row, strict=True):
        assert share == ("hidden" if percent == "–" else SMALL if percent == "0" else share)
        assert percent in ("–", "0") or share == f"{percent}{SPACE}%"
    assert shown["pair"] == [view.i, view.j]
    q, k = view.qkv[0][view.i], view.qkv[1][view.j]
    scores = view.qkv[0][view.i] @ view.qkv[1].T / (32**0.5 if view.root else 1) / view.temperature
    scores = np.where(visible[view.i], scores, -np.inf)
    top = scores.max()
    powers = np.exp(scores - top) if top > -np.inf else np.zeros(count)
    largest = sorted(q * k, key=abs, reverse=True)[:4]
    rooted = q @ k / (32**0.5 if view.root else 1)
    score, power = scores[view.j], powers[view.j]
    shifted = score - top if score > -np.inf else score
    expected = [*largest, q @ k - sum(largest), q @ k, rooted, rooted / view.temperature, score]
    expected += [shifted, power, view.weights[view.i, view.j]]
    assert close([number(value) for _, value in shown["steps"]], expected)
    titles = [title for title, _ in shown["steps"]]
    for title, entry in zip(titles, np.argsort(-np.abs(q * k)), strict=False):
        factors = [f"{x[entry]:.3f}".replace("-", "−") for x in (q, k)]
        second = f"({factors[1]})" if k[entry] < 0 else factors[1]
        assert title == f"q{entry + 1} k{entry + 1} = {factors[0]} · {second}"
        if title == titles[3]:
            break
    assert close(number(titles[-3].rpartition(" ")[2]), top)
    assert close(number(titles[-1].rpartition(" ")[2]), powers.sum())
    assert close(powers / max(powers.sum(), 1), view.weights[view.i]) or top > -np.inf
    value = view.qkv[2][:, view.entry]
    row = view.weights[view.i]
    *products, total = shown["mixture"]
    numbers = [[number(text) for text in cells[1:]] for cells in products]
    assert close(numbers, np.transpose([row, value, row * value]))
    assert total[0] == f"z{view.entry + 1}, the sum"
    assert close(number(total[1]), view.output[view.i, view.entry])


RESIDUAL = """() => ({
    terms: [...document.querySelectorAll("[data-part=residual] tr")].map((e) =>
        [...e.children].map((c) => c.innerText.trim())),
    lengths: document.querySelector("[data-part=lengths]").innerText,
})"""


def test_the_arithmetic_goes_on_to_the_row_that_leaves_the_layer(
    explorer: Any, trained: Any
) -> None:
    for view in [
        "sentence=2&head=4&token=7&key=2&column=0&station=arithmetic",
        "sentence=1&head=8&token=7&key=10&mask=on&column=383&station=arithmetic",
        "sentence=2&head=2&token=7&layer=0&column=41&station=arithmetic",
    ]:
        explorer.evaluate(FOLLOW, view)
        explorer.wait_for_selector("[data-part=output]:visible")
        there = Expected(trained, view)
        i, c = there.i, there.column
        outputs, _ = there.attend(*there.all_heads)
        parts = np.einsum("hd,hdc->hc", outputs[:, i], there.all_w_o)
        products = outputs[there.h, i] * there.w_o[:, c]
        largest = sorted(products, key=abs, reverse=True)[:3]
        bias, x = there.layer.b_o[c], there.x[i]
        own, others = parts[there.h, c], parts[:, c].sum() - parts[there.h, c]
        goes_on = x + parts.sum(axis=0) + there.layer.b_o
        shown = explorer.evaluate(RESIDUAL)
        expected = [*largest, products.sum() - sum(largest), own, others, bias, x[c], goes_on[c]]
        assert close([number(value) for _, value in shown["terms"]], expected)
        assert shown["terms"][4][0] == f"what head {there.index}.{there.h} adds"
        lengths = [float(text) for text in re.findall(r"\d+\.\d\d", shown["lengths"])]
        norms = np.linalg.norm([x, parts[there.h], goes_on], axis=-1)
        assert np.abs(lengths - norms).max() <= 0.5001e-2
        if not there.causal:
            whole = x + companion.multi_head_attention(there.x.astype(np.float32), there.layer)[i]
            assert close(goes_on[c], whole[c])
        explorer.get_by_role("button", name="Where this head adds the most").click()
        assert explorer.locator("[data-part=column]").input_value() == str(
            np.argmax(np.abs(parts[there.h]))
        )


def test_a_head_is_named_by_what_was_measured(explorer: Any) -> None:
    for index in (2, 0):
        explorer.evaluate(FOLLOW, f"sentence=2&head=0&token=7&layer={index}")
        told = explorer_data.measured(explorer_data.trained_heads(), index)
        names = explorer.locator(".ex-heads small").all_inner_texts()
        assert [name.strip() for name in names] == [head["name"] for head in told]
        for h in (0, 4, 2):
            explorer.evaluate(FOLLOW, f"sentence=2&head={h}&token=7&layer={index}")
            does = explorer.evaluate(SHOWN)["does"].replace(SPACE, " ")
            assert does.startswith(f"Head {index}.{h}, which is head {h} of layer {index}")
            percents = [int(text) for text in re.findall(r"(\d+) %", does)]
            shares = [told[h]["share"]] * bool(told[h]["name"] and told[h]["long"])
            assert percents == [round(100 * share) for share in (*shares, told[h]["rest"])]
            assert told[h]["long"] in does
            assert told[h]["rows"] in does
            # Of what each is a mean.
            where = f"a mean over the {told[h]['rows']} in the four sentences"
            assert (where in does) == bool(told[h]["long"])
            assert f"Over all {told[h]['words']} words, and with no rule changed" in does


def test_it_looks_at_ring_once_one_thing_is_changed(explorer: Any) -> None:
    explorer.evaluate(FOLLOW, "sentence=2&head=4&token=9")
    assert explorer.locator(".ex-said").inner_text().endswith("others together.")
    assert re.match(r"it gives \d+.% to \[CLS\]", explorer.locator(".ex-said").inner_text())
    explorer.locator("[data-part=rest]").check()
    assert re.match(r"it gives \d+.% to ring", explorer.locator(".ex-said").inner_text())
    assert explorer.evaluate("location.hash").endswith("rest=off")


def test_a_row_that_is_pointed_at_is_not_the_one_that_is_chosen(explorer: Any) -> None:
    rows = explorer.locator(".ex-map tbody tr")
    rows.nth(4).hover()
    style = "e => { const s = getComputedStyle(e); return [s.outlineStyle, s.outlineColor]; }"
    pointed, chosen = rows.nth(4).evaluate(style), rows.nth(7).evaluate(style)
    assert (pointed[0], chosen[0]) == ("dashed", "solid")
    assert pointed[1] != chosen[1]
    assert explorer.evaluate(SHOWN)["pair"] == [7, 2]  # the arithmetic stays
    explorer.locator("h1").hover()
    assert explorer.locator(".ex-pointed").count() == 0


def test_a_shorter_sentence_does_not_land_on_a_sign(explorer: Any) -> None:
    explorer.evaluate(FOLLOW, "sentence=3&head=4&token=12")
    explorer.locator("#ex-sentence").select_option("0")
    assert explorer.evaluate("location.hash") == "#sentence=0&head=4&token=5"
    assert explorer.locator(".ex-said").inner_text().startswith("quickly gives")


def test_the_row_is_said_in_words(explorer: Any) -> None:
    said = explorer.locator(".ex-said")
    words = said.inner_text().replace(SPACE, " ")
    assert (
        words == "she gives 65 % to girl, 15 % to [CLS], 12 % to the, 8 % to all others together."
    )
    assert said.get_attribute("role") == "status"
    places = [box.bounding_box() for box in explorer.locator(".ex-token").all()]
    explorer.locator(".ex-word").nth(4).hover()
    assert said.inner_text().startswith("her gives 56")
    assert places == [box.bounding_box() for box in explorer.locator(".ex-token").all()]
    explorer.locator("h1").hover()
    assert said.inner_text().startswith("she gives 65")
    explorer.evaluate(FOLLOW, "sentence=1&head=9&token=7")
    assert re.match(r"dog \(2nd\) gives \d+.% to dog \(1st\)", said.inner_text())


def predict(page: Any, experiment: str, *said: str, **chosen: str) -> dict[str, Any]:
    form = page.locator(f"[data-experiment={experiment}]")
    for name, value in chosen.items():
        form.locator(f"select[name={name}]").select_option(value)
    assert form.locator("tbody tr").count() == 0 or not form.locator("table").is_visible()
    for value in said:
        form.locator(f"input[value='{value}']").check()
    form.get_by_role("button", name="Show me").click()
    return page.evaluate(ANSWER, experiment)


def test_a_changed_value_moves_each_row_by_its_weight(explorer: Any, trained: Any) -> None:
    for view in VIEWS[::2]:
        explorer.evaluate(FOLLOW, view)
        there = Expected(trained, view)
        query, key, value = there.qkv
        for other, row in (("zero", 0 * value[2]), ("twice", 2 * value[2]), ("4", value[4])):
            changed = value.copy()
            changed[2] = row
            output, weights = there.attend(query, key, changed)
            assert np.array_equal(weights, there.weights)
            moved = there.moved(there.output, output)
            said = str(np.argmax(moved))
            answer = predict(explorer, "value", "yes", said, token="2", other=other)
            assert answer["verdicts"][0] == "✗ You said yes; it is no."
            assert answer["verdicts"][1].startswith("✓ As you said: ")
            assert answer["why"].startswith(
                f"{weights.size} of {weights.size} weights keep every bit"
            )
            assert close([number(row[1]) for row in answer["rows"]], weights[:, 2])
            assert close([number(row[2]) for row in answer["rows"]], moved)


def test_a_head_that_is_knocked_out_takes_its_contribution_with_it(
    explorer: Any, trained: Any
) -> None:
    for view in VIEWS[:3]:
        explorer.evaluate(FOLLOW, view)
        there = Expected(trained, view)
        moved = there.moved(0 * there.output, there.output)
        answer = predict(explorer, "head", str(np.argmin(moved)))
        assert answer["verdicts"][0].startswith("✗ You said ")
        assert close([number(row[2]) for row in answer["rows"]], moved)
        shares = 100 * moved / np.linalg.norm(there.x, axis=-1)
        shown = [number(row[1].removesuffix(f"{SPACE}%")) for row in answer["rows"]]
        assert np.max(np.abs(shown - shares)) <= 0.0501


def test_a_future_token_leaves_earlier_rows_as_they_are(explorer: Any, trained: Any) -> None:
    for view in VIEWS[:2]:
        explorer.evaluate(FOLLOW, view)
        there = Expected(trained, view)
        j, other = 5, 1
        changed = [matrix.copy() for matrix in there.qkv]
        for matrix in changed:
            matrix[j] = matrix[other]
        said = "its own and later ones"
        answer = predict(explorer, "future", said, token=str(j), other=str(other))
        assert answer["verdicts"] == [f"✓ As you said: {said}."]
        assert answer["why"].startswith(f"With the mask {j} of the {j} rows before ")
        assert answer["why"].endswith(f"Without it 0 of the {j} do.")
        for column, causal in ((1, True), (2, False)):
            before, after = (
                there.attend(*qkv, is_causal=causal)[0] for qkv in (there.qkv, changed)
            )
            moved = there.moved(before, after)
            shown = [row[column] for row in answer["rows"]]
            kept = j if causal else 0
            assert shown[:kept] == ["= same bits"] * kept
            assert close([number(text) for text in shown[kept:]], moved[kept:])
            assert np.array_equal(before[:kept], after[:kept])


def test_an_experiment_asks_before_it_shows(explorer: Any) -> None:
    form = explorer.locator("[data-experiment=head]")
    form.get_by_role("button").click()
    assert not form.locator("table").is_visible()
    predict(explorer, "head", "7")
    explorer.evaluate("document.querySelectorAll('.ex-wait').forEach((e) => (e.id = 'told'))")
    explorer.locator("[data-part=temperature]").fill("2")
    assert form.locator("table").is_visible()
    assert explorer.locator(".ex-wait#told").count() == 2  # what is old is not said again
    explorer.locator("input[name=ex-head][value='0']").check(force=True)
    assert not form.locator("table").is_visible()
    assert form.locator(":checked").count() == 0


def follow_keys(page: Any, way: list[tuple[str, str]]) -> None:
    for keys, view in way:
        for key in keys.split():
            page.keyboard.press(key)
        assert page.evaluate("location.hash.slice(1)") == view


def test_the_keyboard_alone_drives_everything(explorer: Any) -> None:
    explorer.locator("#ex-sentence").focus()
    explorer.evaluate("addEventListener('keydown', (e) => (window.taken = e.defaultPrevented))")
    way = [
        ("ArrowDown", "sentence=3&head=4&token=7"),
        ("Tab Tab ArrowLeft ArrowLeft", "sentence=3&head=4&token=5"),
        ("Tab Space", "sentence=3&head=4&token=5&root=off"),
        ("Tab Space", "sentence=3&head=4&token=5&root=off&mask=on"),
        ("Tab Space", "sentence=3&head=4&token=5&root=off&mask=on&rest=off"),
        ("Tab ArrowRight", "sentence=3&head=4&token=5&root=off&mask=on&rest=off&temperature=1.1"),
        ("Tab ArrowRight", "sentence=3&head=5&token=5&root=off&mask=on&rest=off&temperature=1.1"),
    ]
    follow_keys(explorer, way)
    explorer.locator("[data-part=reset]").press("Enter")
    explorer.locator("[name=ex-head]:checked").focus()
    way = [
        ("Tab", ""),
        ("ArrowDown ArrowRight", "sentence=2&head=4&token=8&key=3"),
        ("Tab Tab Tab Tab Tab ArrowUp", "sentence=2&head=4&token=7&key=3"),
        ("Tab ArrowDown", "sentence=2&head=4&token=7&key=4"),
        ("Tab ArrowRight", "sentence=2&head=4&token=7&key=4&entry=1"),
    ]
    follow_keys(explorer, way)
    explorer.wait_for_selector("[data-part=output]:visible")
    follow_keys(explorer, [("Tab ArrowRight", f"{way[-1][1]}&column=1")])
    explorer.locator(".ex-map [aria-pressed=true]").press("ArrowUp")
    assert explorer.evaluate("taken")  # or the page would scroll
    explorer.locator("#ex-predict button").focus()
    for keys in ("Tab Tab Tab Space Tab Space Tab Enter", "Tab Space Tab Enter"):
        for key in keys.split():
            explorer.keyboard.press(key)
    for key in ["Tab", "Tab", "Tab", "Space", "Tab", "Enter"]:
        explorer.keyboard.press(key)
    assert explorer.locator(".ex-answer table:visible").count() == 3


def test_a_link_leads_to_a_view_and_nonsense_to_the_first(open_page: Callable[..., Any]) -> None:
    page = open_page(f"{PAGE}#sentence=1&head=2&token=12&key=3&mask=on&experiment=future")
    assert page.evaluate(SHOWN)["pair"] == [12, 3]
    assert page.locator("[data-part=causal]").is_checked()
    assert page.evaluate("scrollY") > 500
    page.evaluate(FOLLOW, "sentence=7&head=x&token=-1&key=&temperature=99")
    shown = page.evaluate(SHOWN)
    assert shown["pair"] == [7, 2]
    page.evaluate(FOLLOW, "sentence=0&head=1&token=1")
    other = page.evaluate(SHOWN)
    assert other != shown
    page.evaluate(FOLLOW, "main-content")  # a link within the page
    assert page.evaluate(SHOWN) == other
    page.get_by_role("button", name="Reset").click()
    assert page.evaluate(SHOWN) == shown
    assert "#" not in page.url


def test_without_a_server(open_page: Callable[..., Any], book: Path) -> None:
    page = open_page((book / PAGE).as_uri())
    page.locator(".ex-word").nth(4).click()
    assert page.evaluate("location.hash") == "#sentence=2&head=4&token=4"
    assert page.locator(".ex-said").inner_text().startswith("her gives 56")


def test_without_script_and_on_paper(browser: Any, book: Path) -> None:
    for script in (False, True):
        context = browser.new_context(java_script_enabled=script)
        page = context.new_page()
        page.goto((book / PAGE).as_uri())
        if script:
            page.emulate_media(media="print")
        else:
            said = page.locator("noscript p")
            assert said.is_visible()
            assert said.inner_text().startswith(
                "This is one view of many: in a browser with script"
            )
        assert page.locator(".explorer-static img").is_visible()
        assert not page.locator(".explorer").is_visible()
        context.close()


TARGETS = """() => [...document.querySelectorAll(
    ".explorer :is(select, label:has(input), .ex-stations a," +
        " button:not(.ex-map button, .ms-matrix button))")]
    .filter((e) => e.checkVisibility())
    .map((e) => [e.getBoundingClientRect(), e.textContent])
    .filter(([box]) => box.width < 40 || box.height < 40)
    .map(([box, text]) => `${text}: ${box.width} x ${box.height}`)"""


# Of tables only the first rows: axe-core takes its time with each cell.
AXE = """() => {
    const rows = ".explorer tbody tr:nth-child(n + 4)";
    const options = { resultTypes: ["violations"], preload: false };
    return axe.run({ include: ".explorer", exclude: rows }, options).then(({ violations }) =>
        violations.map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html)}`));
}"""

# The colours of a number and of its cell, as red, green and blue from 0 to 1.
SHADES = """(weights) => weights.map((w) => {
    const cell = document.querySelector(".ex-map button");
    cell.style.setProperty("--w", w);
    cell.classList.toggle("ex-strong", w >= 0.5);
    const { color, backgroundColor } = getComputedStyle(cell);
    return [color, backgroundColor].map((text) =>
        text.match(/[\\d.]+/g).slice(0, 3).map((x) => x / (text.startsWith("rgb") ? 255 : 1)));
})"""


def luminance(rgb: list[float]) -> float:
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in rgb]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_nothing_is_out_of_reach(open_page: Callable[..., Any]) -> None:
    axe = pytest.importorskip("axe_playwright_python.base").AXE_SCRIPT
    page = open_page(f"{PAGE}#{VIEWS[2]}", width=390)
    for experiment, said in {
        "value": ("no", "3"),
        "head": ("3",),
        "future": ("all of them",),
    }.items():
        predict(page, experiment, *said)
    assert page.evaluate(TARGETS) == []
    page.evaluate(f"{axe};0")
    for scheme, width in (("light", 390), ("dark", 1280)):  # and as it opens, like any page
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function("s => document.documentElement.dataset.theme === s", arg=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(AXE) == []
        for ink, ground in page.evaluate(SHADES, [0, 0.25, 0.4999, 0.5, 0.75, 1]):
            dark, light = sorted(map(luminance, (ink, ground)))
            assert (light + 0.05) / (dark + 0.05) > 4.5


SHARED = re.compile(r"/(?:book|print)\.")
OWN = re.compile(r'(?:href|src)="(\.\./_static/[\w.-]+\.(?:css|js))')


def test_it_is_light(book: Path, open_page: Callable[..., Any]) -> None:
    """At first; the rest comes when it is asked for, each piece of a size that a phone takes."""
    text = (book / PAGE).read_text(encoding="utf-8")
    own = [
        book / PAGE,
        *(book / "book" / name for name in OWN.findall(text) if not SHARED.search(name)),
    ]
    assert len(own) == 4
    assert sum(len(gzip.compress(path.read_bytes())) for path in own) < 300_000
    later = [*(book / "_static").glob("explorer-*-?.js")]
    assert len(later) == 3
    assert max(path.stat().st_size for path in later) < 500_000
    page = open_page(PAGE)
    asked = "performance.getEntriesByType('resource').map((e) => e.name)"
    names = {path.name for path in later}
    assert not [url for url in page.evaluate(asked) if url.rpartition("/")[2] in names]
    page.locator("#station-arithmetic").scroll_into_view_if_needed()
    page.wait_for_selector("[data-part=output]:visible")
    loaded = {url.rpartition("/")[2] for url in page.evaluate(asked)} & names
    assert loaded == {"explorer-output-2.js"}


def test_a_station_s_link_restores_its_view(open_page: Callable[..., Any]) -> None:
    page = open_page(f"{PAGE}#{VIEWS[2]}&entry=3&column=17")
    for station in ("look", "arithmetic", "predict"):
        shown = page.evaluate(SHOWN)
        page.locator(f"#station-{station} .ex-link").click()
        address = page.url
        assert f"station={station}" in address
        other = open_page(address)
        assert other.evaluate(SHOWN) == shown
        top = f"document.querySelector('#station-{station}').getBoundingClientRect().top"
        assert 0 <= other.evaluate(top) < 200


def test_the_stations_are_in_reach(explorer: Any) -> None:
    links = explorer.locator(".ex-stations a:visible")
    assert links.all_inner_texts()[:4] == ["Look", "Arithmetic", "Matrices", "Predict"]
    view = explorer.evaluate("location.hash")
    for link in links.all():
        link.click()
        explorer.wait_for_timeout(100)
        name = link.inner_text()
        assert explorer.locator(".ex-stations [aria-current]").all_inner_texts() == [name]
        assert explorer.evaluate("document.activeElement.innerText").split("\n")[0] in "12345"
    assert explorer.evaluate("location.hash") == view


def test_the_tour_leads_through_the_stations_and_ends(explorer: Any) -> None:
    card = explorer.locator(".ex-tour")
    assert not card.is_visible()
    explorer.get_by_role("button", name="One-minute tour").click()
    seen = []
    stations = explorer.locator(".ex-stations a:visible").count()
    words = 0
    for stop in range(stations):
        said = card.locator("p").inner_text()
        assert said.startswith(f"{stop + 1}/{stations} ")
        words += len(said.split())
        explorer.wait_for_timeout(100)
        seen.append(explorer.locator(".ex-stations [aria-current]").inner_text())
        card.get_by_role("button", name="Next" if stop < stations - 1 else "Done").click()
    assert seen == explorer.locator(".ex-stations a:visible").all_inner_texts()
    assert words <= 200  # what is read in a minute
    assert not card.is_visible()
    explorer.get_by_role("button", name="One-minute tour").press("Enter")
    assert card.is_visible()
    explorer.keyboard.press("Escape")
    assert not card.is_visible()


# What of the explorer lies, once it has the focus, under the bar of the stations or off the screen.
COVERED = """() => {
    const low = document.querySelector(".ex-stations").getBoundingClientRect().bottom;
    const reached = [...document.querySelectorAll(
        ".ex-station :is(a, button, input, select, textarea)")]
        .filter((e) => e.tabIndex >= 0 && !e.disabled && e.checkVisibility());
    return reached.filter((e) => {
        scrollTo(0, document.documentElement.scrollHeight);
        e.focus();
        const { top } = e.getBoundingClientRect();
        return top < low || top > innerHeight;
    }).map((e) => e.outerHTML);
}"""


@pytest.mark.parametrize("width", [1280, 390])
def test_the_bar_of_the_stations_covers_nothing_that_is_gone_to(
    width: int, open_page: Callable[..., Any]
) -> None:
    page = open_page(PAGE, width=width)
    bar = page.locator(".ex-stations")
    ground = bar.evaluate("e => getComputedStyle(e).backgroundColor")
    assert ground.startswith("rgb(")  # nothing shines through
    assert page.evaluate(COVERED) == []
    page.evaluate("document.querySelector('#station-arithmetic').scrollIntoView()")
    low = bar.bounding_box()["y"] + bar.bounding_box()["height"]
    assert low <= page.locator("#station-arithmetic").bounding_box()["y"] < low + 30


def test_on_a_phone_a_rule_and_what_it_changes_are_on_one_screen(
    open_page: Callable[..., Any],
) -> None:
    page = open_page(PAGE, width=390)
    bar, words, rules = (
        page.locator(name).bounding_box()
        for name in (".ex-stations", ".ex-words", "#station-look .ex-rules")
    )
    room = 800 - bar["height"] - 56  # and the page's own bar
    assert 0 < rules["y"] + rules["height"] - words["y"] < room


# What each stop of the tour speaks of.
SPOKEN_OF = {
    "Look": ".ex-words",
    "Arithmetic": "[data-part=steps] tr:first-child",
    "Matrices": "[data-at='s.2.1']",
    "Predict": "[data-experiment=value] h3",
    "Write": "[data-part=prompt]",
}


@pytest.mark.parametrize("width", [1280, 390])
def test_the_tour_covers_nothing_that_it_speaks_of(
    width: int, open_page: Callable[..., Any]
) -> None:
    page = open_page(PAGE, width=width)
    card = page.locator(".ex-tour")
    page.get_by_role("button", name="One-minute tour").click()
    stops = page.locator(".ex-stations a:visible").all_inner_texts()
    for name in stops:
        page.wait_for_timeout(100)
        box, told = card.bounding_box(), page.locator(SPOKEN_OF[name]).bounding_box()
        assert box["y"] + box["height"] <= told["y"], name
        assert told["y"] + told["height"] <= 800, name
        assert page.locator(".ex-stations [aria-current]").inner_text() == name
        names = card.locator("button:visible").all_inner_texts()
        assert names == ["Back", "Done"] if name == stops[-1] else ["Back", "Next", "End"]
        card.locator("button").nth(1).click()


def test_a_mouse_at_rest_changes_nothing(explorer: Any) -> None:
    tour, word = explorer.locator("[data-part=tour]"), explorer.locator(".ex-token").nth(1)
    tour.press("Enter")
    box = word.bounding_box()
    explorer.keyboard.press("Escape")
    explorer.evaluate("scrollTo(0, 0)")
    explorer.mouse.move(box["x"] + 9, box["y"] + 9)
    tour.press("Enter")
    explorer.wait_for_timeout(300)
    assert word.evaluate("e => e.matches(':hover')")
    assert explorer.locator(".ex-said").inner_text().startswith("she gives")
    explorer.mouse.move(box["x"] + 12, box["y"] + 9)
    assert explorer.locator(".ex-said").inner_text().startswith("the gives")


def test_what_has_the_keyboard_has_one_frame(explorer: Any) -> None:
    frames = """(e) => [e, e.closest("label")].filter((one) =>
        getComputedStyle(one).outlineStyle === "solid").length"""
    explorer.get_by_role("link", name="Write", exact=True).click()
    explorer.locator("textarea").wait_for()
    for name in ("textarea", ".ex-rules input", ".ex-words input:checked"):
        field = explorer.locator(f".explorer {name}").first
        field.evaluate("e => e.focus({ focusVisible: true })")
        assert field.evaluate(frames) == 1, name


# What the writer was asked for.
SETTINGS = """() => [...document.querySelectorAll("#station-write :is(input, textarea, select)")]
    .map(({ value, checked }) => [value, checked])"""


def test_each_station_suggests_two_things_to_try(explorer: Any) -> None:
    def state() -> tuple[Any, ...]:
        formula = explorer.locator(".ms-formula").inner_text()
        return explorer.evaluate(SHOWN), formula, explorer.evaluate(SETTINGS)

    for station in explorer.locator("[data-station]").all():
        assert station.locator(".ex-tries a").count() == 2
    for place in range(explorer.locator("[data-station]:visible .ex-tries a").count()):
        link = explorer.locator("[data-station]:visible .ex-tries a").nth(place)
        before = state()
        link.click()
        explorer.wait_for_function("!document.querySelector('.explorer').ariaBusy")
        if "station=write" in link.get_attribute("href"):  # its model comes with a script
            explorer.wait_for_function("document.querySelector('[data-part=prompt]').value")
        assert "=" in explorer.evaluate("location.hash")
        assert state() != before or "experiment=" in link.get_attribute("href")
