"""The explorer's page computes with the library's own numbers, and links lead to views it has."""

import base64
import json
import re
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs

import numpy as np
import pytest

import companion
from book._extensions import explorer

ROOT = Path(__file__).parent.parent
LAYER = 2
TRAINED = companion.load_trained_heads(ROOT / "notebooks/data/minilm_heads.npz", xp=np)
SENTENCES = list(TRAINED.sentences.values())


@pytest.fixture(scope="module")
def data() -> dict:
    return json.loads(json.dumps(explorer.page_data(LAYER)))


@pytest.mark.parametrize("number", range(4))
def test_queries_keys_and_values_are_the_librarys_bytes(data: dict, number: int) -> None:
    sentence, there = SENTENCES[number], data["sentences"][number]
    layer = TRAINED.layer(LAYER)
    assert (there["text"], tuple(there["tokens"])) == (sentence.text, sentence.tokens)
    rows = companion.project_heads(sentence.inputs[LAYER], layer)
    for role, expected in zip(("query", "key", "value"), rows, strict=True):
        assert expected.shape == (data["heads"], len(sentence.tokens), data["width"])
        assert base64.b64decode(there[role]) == expected.astype("<f4").tobytes()
    lengths = np.linalg.vector_norm(sentence.inputs[LAYER], axis=-1)
    assert base64.b64decode(there["lengths"]) == lengths.astype("<f4").tobytes()


def test_the_gram_matrices_measure_what_a_head_adds(data: dict) -> None:
    heads, width = data["heads"], data["width"]
    gram = np.frombuffer(base64.b64decode(data["gram"]), "<f4").reshape(heads, width, width)
    layer, x = TRAINED.layer(LAYER), SENTENCES[2].inputs[LAYER]
    mixed = companion.scaled_dot_product_attention(*companion.project_heads(x, layer))
    through = np.sqrt(np.einsum("hnc,hcd,hnd->hn", mixed, gram, mixed))
    added = np.linalg.vector_norm(companion.head_contributions(x, layer), axis=-1)
    np.testing.assert_allclose(through, added, rtol=1e-5)


def test_the_static_figure_is_the_view_that_the_page_names() -> None:
    page = (ROOT / "book" / "explorer.md").read_text(encoding="utf-8")
    options = dict(re.findall(r"^:(\w+): (\d+)$", page, re.MULTILINE))
    view = {name: int(number) for name, number in options.items()}
    figure = explorer.static_figure(*(view[name] for name in explorer.OPTIONS))
    assert "Row 8 (she), outlined, gives 65 % to token 3 (girl)" in figure.alt
    assert SENTENCES[view["sentence"]].text in page
    script = (ROOT / "book/_static/explorer.js").read_text(encoding="utf-8")
    start = re.search(r"START = \{(.+?)\}", script)[1]
    for name in ("sentence", "head", "token"):
        assert f"{name}: {view[name]}" in start


def test_only_the_explorers_page_loads_its_script() -> None:
    loaded = []
    app = SimpleNamespace(
        add_css_file=loaded.append, add_js_file=lambda name, **_: loaded.append(name)
    )
    explorer._load(app, "book/run", "", {}, None)
    assert loaded == []
    explorer._load(app, "book/explorer", "", {}, None)
    assert loaded[:2] == ["attention-row.css", "explorer.css"]
    assert loaded[2] == "attention-row.js"
    assert loaded[-1] == "explorer.js"  # after what it calls
    assert all((ROOT / "book" / "_static" / name).is_file() for name in loaded)


LINKS = [
    (path.stem, *link)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
    if cell["cell_type"] == "markdown"
    for link in re.findall(r"\{explorer\}`([^<`]+) <([^>`]+)>`", "".join(cell["source"]))
]


def test_chapters_on_a_heads_steps_lead_to_the_explorer() -> None:
    assert {"03_scores", "04_softmax", "05_masks", "06_heads"} <= {page for page, *_ in LINKS}


@pytest.mark.parametrize(("page", "words", "view"), LINKS, ids=[link[0] for link in LINKS])
def test_a_link_names_a_view_that_there_is(page: str, words: str, view: str) -> None:  # noqa: ARG001
    given = {name: values[0] for name, values in parse_qs(view, strict_parsing=True).items()}
    tokens = SENTENCES[int(given.pop("sentence"))].tokens
    assert 0 <= int(given.pop("head")) < TRAINED.layer(LAYER).heads
    for name in {"token", "key"} & set(given):
        assert 0 <= int(given.pop(name)) < len(tokens)
    assert given.pop("root", "off") == "off"
    assert given.pop("mask", "on") == "on"
    assert 0.1 <= float(given.pop("temperature", 1)) <= 4
    assert given.pop("experiment", "value") in ("value", "head", "future")
    assert not given
