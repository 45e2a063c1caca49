"""The sheet of matrices shows the library's numbers, whatever is changed, and how they come."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import companion

PAGE = "book/explorer.html"
HALF_DIGIT = 0.5001e-4  # what is shown has four decimals

# Every number of the sheet, by its place: what is said of it, and what stands there.
NUMBERS = """() => Object.fromEntries(
    [...document.querySelectorAll(".ms-matrix button")].map((e) =>
        [e.dataset.at, [e.getAttribute("aria-label"), e.innerText]]))"""
LIT = """(kind) =>
    [...document.querySelectorAll(`.ms-matrix .ms-${kind}`)].map((e) => e.dataset.at)"""
# What the stepper says of so many entries, one after the other.
STEPS = """(count) => {
    const factors = (side) => [...document.querySelectorAll(`.ms-formula .ms-${side}`)]
        .map((e) => e.innerText).filter((text) => !/[a-zA-Z]/.test(text));
    const next = [...document.querySelectorAll("button")].find((e) => e.ariaLabel === "Next entry");
    return [...Array(count)].map(() => {
        const { at } = document.querySelector(".ms-matrix [aria-pressed=true]").dataset;
        const result = document.querySelector(".ms-formula output").innerText;
        const said = { at, left: factors("left"), right: factors("right"), result };
        next.click();
        return said;
    });
}"""

VIEWS = {
    "0,0,q.2.0": (0, False, {}),
    "1,0,a.2.1": (1, False, {}),
    "0,1,s.1.3,x.2.1:2": (0, True, {"x": (2, 1, 2.0)}),
    "1,1,z.4.3,wk.0.1:-1.5,a.3.1:0.25": (1, True, {"wk": (0, 1, -1.5), "a": (3, 1, 0.25)}),
    "0,0,y.4.5,s.2.1:-3.125,wo.3.5:7": (0, False, {"s": (2, 1, -3.125), "wo": (3, 5, 7.0)}),
}


def sheet(head: int, causal: bool, changes: dict[str, Any]) -> dict[str, np.ndarray]:
    """Compute every matrix by the library, each with the entry that is set by hand."""
    example = companion.running_example(np)
    matrices: dict[str, np.ndarray] = {}

    def keep(name: str, matrix: np.ndarray) -> np.ndarray:
        matrices[name] = np.array(matrix)
        if name in changes:
            i, j, number = changes[name]
            matrices[name][i, j] = number
        return matrices[name]

    x = keep("x", example.x)
    weights = (example.w_q[head], example.w_k[head], example.w_v[head])
    w_q, w_k, w_v = (keep(f"w{n}", w) for n, w in zip("qkv", weights, strict=True))
    query, key, value = (
        keep(n, companion.project(x, w)) for n, w in zip("qkv", (w_q, w_k, w_v), strict=True)
    )
    scores = keep("s", companion.scaled_scores(query, key))
    if causal:
        scores = companion.mask_scores(scores, companion.causal_mask(5, xp=np))
        matrices["s"] = scores
    mixed = keep("z", keep("a", companion.softmax(scores)) @ value)
    w_o = keep("wo", np.reshape(example.block.attention.w_o, (2, 4, 6))[head])
    keep("y", companion.project(mixed, w_o))
    return matrices


def number(text: str) -> float:
    return float(text.strip("()").replace("−", "-").replace("∞", "inf"))


def follow(page: Any, view: str) -> None:
    page.evaluate("view => { location.hash = `sheet=${view}&station=matrices`; }", view)
    page.wait_for_function("view => location.hash.includes(view)", arg=view)
    page.wait_for_timeout(50)


def compare(shown: dict[str, list[str]], expected: dict[str, np.ndarray]) -> None:
    places = {f"{n}.{i}.{j}" for n, m in expected.items() for i, j in np.ndindex(m.shape)}
    assert set(shown) == places
    for place, (label, text) in shown.items():
        name, i, j = place.split(".")
        value = expected[name][int(i), int(j)]
        said = label.rpartition(": ")[2]
        whole = re.search(r"\((.+)\)$", said)
        assert said.startswith(text)
        exact = number(whole[1] if whole else said)
        assert exact == value or abs(exact - value) <= HALF_DIGIT
        assert number(text) == value or abs(number(text) - value) <= 0.5001e-2


@pytest.fixture
def page(open_page: Callable[..., Any]) -> Any:
    return open_page(PAGE)


@pytest.mark.parametrize("view", VIEWS)
def test_every_number_of_the_sheet_is_the_librarys(view: str, page: Any) -> None:
    follow(page, view)
    compare(page.evaluate(NUMBERS), sheet(*VIEWS[view]))


def test_the_two_heads_together_are_the_layer() -> None:
    example = companion.running_example(np)
    sums = sum(sheet(head, False, {})["y"] for head in range(2))
    whole = companion.multi_head_attention(example.x, example.block.attention)
    np.testing.assert_allclose(sums, whole, atol=1e-12)


@pytest.mark.parametrize("view", ["0,0,q.0.0", "1,1,q.0.0"])
def test_the_stepper_says_how_each_entry_comes(view: str, page: Any) -> None:
    follow(page, view)
    head, causal = int(view[0]), view[2] == "1"
    matrices = sheet(head, causal, {})
    made = [n for n in matrices if n in "qkvsazy"]
    order = sorted(made, key="qkvsazy".index)
    places = [(n, i, j) for n in order for i, j in np.ndindex(matrices[n].shape)]
    for (name, i, j), said in zip(places, page.evaluate(STEPS, len(places)), strict=True):
        value = matrices[name][i, j]
        assert said["at"] == f"{name}.{i}.{j}"
        left, right = (list(map(number, said[side])) for side in ("left", "right"))
        result = number(said["result"])
        assert result == value or abs(result - value) <= HALF_DIGIT
        if name == "a" and value > 0:
            row = matrices["s"][i]
            expected = [row[j], *row[row > -np.inf]]
            assert np.abs(np.subtract(left, expected)).max() <= HALF_DIGIT
        elif name != "a" and value > -np.inf:
            sides = {"q": "x wq", "k": "x wk", "v": "x wv", "s": "q k", "z": "a v", "y": "z wo"}
            first, second = (matrices[n] for n in sides[name].split())
            column = second[j] if name == "s" else second[:, j]
            assert np.abs(np.subtract(left, first[i])).max() <= HALF_DIGIT
            assert np.abs(np.subtract(right, column)).max() <= HALF_DIGIT
            root = 3**0.5 if name == "s" else 1
            assert np.dot(first[i], column) / root == pytest.approx(value)
    chosen = page.locator(".ms-matrix [aria-pressed=true]").get_attribute("data-at")
    assert chosen == "q.0.0"  # around


def test_what_makes_an_entry_lights_up(page: Any) -> None:
    expected = {
        "q.2.0": ([f"x.2.{c}" for c in range(6)], [f"wq.{r}.0" for r in range(6)]),
        "s.1.4": ([f"q.1.{c}" for c in range(3)], [f"k.4.{c}" for c in range(3)]),
        "a.3.0": ([f"s.3.{c}" for c in range(5)], []),
        "z.0.3": ([f"a.0.{c}" for c in range(5)], [f"v.{r}.3" for r in range(5)]),
        "y.4.5": ([f"z.4.{c}" for c in range(4)], [f"wo.{r}.5" for r in range(4)]),
        "wk.1.1": ([], []),
    }
    for place, (left, right) in expected.items():
        page.locator(f"[data-at='{place}']").hover()
        assert page.evaluate(LIT, "pointed") == [place]
        assert sorted(page.evaluate(LIT, "left")) == sorted(left)
        assert sorted(page.evaluate(LIT, "right")) == sorted(right)
    page.locator("#ex-matrices").hover()
    assert page.evaluate(LIT, "pointed") == []
    assert len(page.evaluate(LIT, "left")) == 6  # of what is chosen


def test_a_change_moves_what_follows_and_nothing_else(page: Any) -> None:
    page.locator("[data-at='k.2.1']").click()
    page.locator("[data-sheet-part=number]").fill("0.5")
    changed, plain = sheet(0, False, {"k": (2, 1, 0.5)}), sheet(0, False, {})
    compare(page.evaluate(NUMBERS), changed)
    moved = {
        f"{n}.{i}.{j}"
        for n in changed
        for i, j in zip(*np.nonzero(np.abs(changed[n] - plain[n]) > 1e-12), strict=True)
    }
    assert set(page.evaluate(LIT, "moved")) == moved
    assert {place[0] for place in moved} == set("ksazy")
    assert page.evaluate(LIT, "set") == ["k.2.1"]
    page.get_by_role("button", name="More by one half").click()
    compare(page.evaluate(NUMBERS), sheet(0, False, {"k": (2, 1, 1.0)}))
    page.get_by_role("button", name="Put all back").click()
    compare(page.evaluate(NUMBERS), plain)
    assert page.evaluate(LIT, "moved") == []


def test_the_number_field_shows_what_is_used_and_says_what_may_be(page: Any) -> None:
    page.locator("[data-at='x.2.1']").click()
    field = page.locator("[data-sheet-part=number]")
    assert "−99 to 99" in page.locator("[data-sheet-part=numberName]").inner_text()
    for typed, used in (("1e9", 99), ("-250", -99), ("2.25", 2.25)):
        field.fill(typed)
        assert float(field.input_value()) == used
        compare(page.evaluate(NUMBERS), sheet(0, False, {"x": (2, 1, used)}))
    for leave in ("Tab", "Enter"):
        field.fill("")
        field.press(leave)
        assert float(field.input_value()) == 2.25
    follow(page, "0,0,x.2.1,x.2.1:-1e9")
    compare(page.evaluate(NUMBERS), sheet(0, False, {"x": (2, 1, -99)}))


def test_columns_are_counted_in_what_is_said(page: Any) -> None:
    said = page.locator("[data-at='wq.0.2']").get_attribute("aria-label")
    assert said.startswith("W^Q, article, column 3: ")


def test_the_keyboard_goes_through_the_sheet(page: Any) -> None:
    stops = ".matrix-sheet :is(button, input)"
    tabs = "all => all.filter((e) => e.tabIndex >= 0).map((e) => e.dataset.at)"
    assert page.locator(stops).evaluate_all(tabs) == ["q.2.0"]  # until one is in it
    page.locator("[data-at='q.2.0']").focus()
    assert page.locator(stops).evaluate_all(tabs).count(None) == 10  # what is beside the matrices
    for key, place in [
        ("ArrowRight", "q.2.1"),
        ("ArrowDown", "q.3.1"),
        ("ArrowLeft", "q.3.0"),
        ("ArrowLeft", "q.3.0"),  # the end of the row
        ("Tab", "k.0.0"),
        ("Enter", "k.0.0"),
    ]:
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.dataset.at") == place
    assert page.evaluate("document.activeElement.ariaPressed") == "true"
    stops = page.locator(".ms-matrix button").evaluate_all("all => all.map((e) => e.tabIndex)")
    assert stops.count(0) == 12  # one in each matrix


def test_a_link_restores_the_sheet_and_nonsense_leaves_it(
    page: Any, open_page: Callable[..., Any]
) -> None:
    view = "1,1,z.4.3,wk.0.1:-1.5,a.3.1:0.25"
    follow(page, view)
    shown = page.evaluate(NUMBERS)
    page.locator("#station-matrices .ex-link").click()
    other = open_page(page.url)
    assert other.evaluate(NUMBERS) == shown
    assert other.locator(".ms-formula").inner_text() == page.locator(".ms-formula").inner_text()
    follow(other, "7,0,q.9.9,x.1.1:a")
    assert other.evaluate(NUMBERS) == shown
    other.get_by_role("button", name="Reset").click()
    compare(other.evaluate(NUMBERS), sheet(0, False, {}))


def test_it_plays_by_itself_until_it_is_stopped(page: Any) -> None:
    page.clock.install()
    play = page.locator("[data-sheet-part=play]")
    chosen = page.locator(".ms-matrix [aria-pressed=true]")
    play.click()
    assert play.inner_text() == "Pause"
    page.clock.run_for(2500)
    assert chosen.get_attribute("data-at") == "q.2.2"
    play.click()
    page.clock.run_for(5000)
    assert chosen.get_attribute("data-at") == "q.2.2"
    assert play.inner_text() == "Play"


def test_what_is_chosen_stays_in_sight_on_a_phone(open_page: Callable[..., Any]) -> None:
    page = open_page(f"{PAGE}#sheet=0,0,v.4.3&station=matrices", width=390)
    for _ in range(12):
        page.get_by_role("button", name="Next entry").click()
        box = page.locator(".ms-matrix [aria-pressed=true]").bounding_box()
        below = page.locator(".ms-reading").bounding_box()
        assert box["y"] > 100
        assert box["y"] + box["height"] <= below["y"]


CHAPTERS = {
    "02_projections": ["x", "wq", "wk", "wv", "q", "k", "v"],
    "03_scores": ["q", "k", "s"],
    "04_softmax": ["s", "a", "v", "z"],
    "05_masks": ["s", "a", "v", "z"],
    "06_heads": ["a", "v", "z", "wo", "y"],
}


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_has_the_matrices_that_it_is_about(
    name: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"notebooks/{name}.html", width=390)
    causal = name == "05_masks"
    for head in (0, 1):
        page.locator(f".ms-heads input[value='{head}']").check()
        expected = sheet(head, causal, {})
        shown = page.evaluate(NUMBERS)
        assert list(dict.fromkeys(place.partition(".")[0] for place in shown)) == CHAPTERS[name]
        compare(shown, {matrix: expected[matrix] for matrix in CHAPTERS[name]})
    page.locator(".ms-heads input[value='0']").check()
    first = CHAPTERS[name][0]
    page.locator(f"[data-at='{first}.2.1']").click()
    page.get_by_role("button", name="More by one half").click()
    there = sheet(0, causal, {})[first][2, 1]
    changed = sheet(0, causal, {first: (2, 1, round(there, 12) + 0.5)})
    compare(page.evaluate(NUMBERS), {matrix: changed[matrix] for matrix in CHAPTERS[name]})
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_without_script_a_chapter_says_what_stands_there(browser: Any, book: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((book / "notebooks/03_scores.html").as_uri())
    said = page.locator(".ms-lead noscript")
    assert said.is_visible()
    assert "In a browser with script" in said.text_content()
    assert not page.locator(".matrix-sheet").is_visible()
    page.emulate_media(media="print")
    assert not page.locator(".ms-lead").is_visible()
    context.close()


AXE = """() => axe.run({ include: ".matrix-sheet" }, { resultTypes: ["violations"] })
    .then(({ violations }) => violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_sheet_is_within_reach(scheme: str, open_page: Callable[..., Any]) -> None:
    axe = pytest.importorskip("axe_playwright_python.base").AXE_SCRIPT
    page = open_page(f"{PAGE}#sheet=0,1,a.2.1,x.2.1:2&station=matrices", scheme=scheme)
    page.evaluate(f"{axe};0")
    assert page.evaluate(AXE) == []
