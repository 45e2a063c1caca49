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
from book._extensions import explorer, explorer_data

ROOT = Path(__file__).parent.parent
LAYER = 2
TRAINED = companion.load_trained_heads(ROOT / "notebooks/data/minilm_heads.npz", xp=np)
SENTENCES = list(TRAINED.sentences.values())


@pytest.fixture(scope="module")
def data() -> dict:
    return json.loads(json.dumps(explorer_data.page_data(LAYER)))


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
    triangles = np.frombuffer(base64.b64decode(data["gram"]), "<f4").reshape(heads, -1)
    gram = np.zeros((heads, width, width), np.float32)
    above = np.triu_indices(width)
    gram[:, *above] = gram.mT[:, *above] = triangles
    layer, x = TRAINED.layer(LAYER), SENTENCES[2].inputs[LAYER]
    mixed = companion.scaled_dot_product_attention(*companion.project_heads(x, layer))
    through = np.sqrt(np.einsum("hnc,hcd,hnd->hn", mixed, gram, mixed))
    added = np.linalg.vector_norm(companion.head_contributions(x, layer), axis=-1)
    np.testing.assert_allclose(through, added, rtol=1e-5)


def test_the_static_figure_is_the_view_that_the_page_names() -> None:
    page = (ROOT / "book" / "explorer.md").read_text(encoding="utf-8")
    options = dict(re.findall(r"^:(\w+): (\d+)$", page, re.MULTILINE))
    view = {name: int(number) for name, number in options.items()}
    figure = explorer_data.static_figure(*(view[name] for name in explorer.OPTIONS))
    assert "Row 8 (she), outlined, gives 65 % to token 3 (girl)" in figure.alt
    assert SENTENCES[view["sentence"]].text in page
    script = (ROOT / "book/_static/explorer-view.js").read_text(encoding="utf-8")
    start = re.search(r"START = \{(.+?)\}", script)[1]
    for name, number in view.items():
        assert f"{name}: {number}" in start
    assert view["layer"] == explorer.FIRST


def test_only_the_explorers_page_loads_its_script() -> None:
    loaded = []
    app = SimpleNamespace(
        add_css_file=loaded.append, add_js_file=lambda name, **_: loaded.append(name)
    )
    explorer._load(app, "book/run", "", {}, None)
    assert loaded == []
    explorer._load(app, "book/explorer", "", {}, None)
    assert loaded == [*explorer.STYLES, *explorer.SCRIPTS]
    assert loaded[-1] == "explorer.js"  # after what it calls
    assert all((ROOT / "book" / "_static" / name).is_file() for name in loaded)


def test_files_are_short_and_each_calls_what_stands_before_it() -> None:
    static = ROOT / "book" / "_static"
    names = {
        "explorer-load.js": "explorerData",
        "attention-row.js": "attentionRow",
        "explorer-attention.js": "attention",
        "explorer-view.js": "explorer",
        "matrix-products.js": "matrixProducts",
        "matrix-words.js": "matrixWords",
        "matrix-sheet.js": "matrixSheet",
        "explorer-experiments.js": "experiments",
        "writer-tokens.js": "writerTokens",
        "writer-model.js": "writerModel",
        "explorer-write.js": "explorerWriter",
        "explorer-tour.js": "explorerTour",
    }
    known: set[str] = set()
    for file in explorer.SCRIPTS:
        text = (static / file).read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 300, file
        if file in names:
            known.add(names[file])
            assert f"const {names[file]} = (() => {{" in text
        called = {name for name in names.values() if re.search(rf"\b{name}[.?(]", text)}
        assert called <= known, file
    for file in explorer.STYLES:
        assert len((static / file).read_text(encoding="utf-8").splitlines()) <= 300, file


@pytest.mark.parametrize("index", [0, 2])
def test_what_a_head_is_said_to_do_was_measured(index: int) -> None:
    told = explorer_data.measured(TRAINED, index)
    layer = TRAINED.layer(index)
    for h, said in enumerate(told):
        rows: dict[str, list[float]] = {kind: [] for kind in (*explorer_data.KINDS, "rest")}
        for sentence in SENTENCES:
            x, tokens = sentence.inputs[index], sentence.tokens
            query = companion.project(x, layer.w_q[h], layer.b_q[h])
            key = companion.project(x, layer.w_k[h], layer.b_k[h])
            weights = companion.softmax(companion.scaled_scores(query, key))
            for i, token in enumerate(tokens):
                if token in ("[CLS]", "[SEP]"):
                    continue
                rows["previous"].append(weights[i, i - 1])
                rows["next"].append(weights[i, i + 1])
                rows["rest"].append(weights[i, tokens.index("[CLS]")])
                if tokens.count(token) > 1:
                    same = [j for j in range(len(tokens)) if tokens[j] == token]
                    rows["same"].append(sum(weights[i, j] for j in same) - weights[i, i])
            nouns = {("her", "girl"), ("she", "girl"), ("it", "ring"), ("her", "sister")}
            for i, token in enumerate(tokens):
                for j, noun in enumerate(tokens):
                    if (token, noun) in nouns | {("his", "brother")}:
                        rows["noun"].append(weights[i, j])
        means = {kind: float(np.mean(numbers)) for kind, numbers in rows.items()}
        assert said["rest"] == pytest.approx(means["rest"], abs=1e-4)
        assert said["words"] == len(rows["rest"]) == 40
        kinds = {kind: means[kind] for kind in explorer_data.KINDS}
        best = max(kinds, key=kinds.__getitem__)
        if kinds[best] < explorer_data.NAMED:
            assert said["share"] is None
            assert said["name"] == ("at rest" if means["rest"] >= 0.5 else "")
        else:
            assert said["share"] == pytest.approx(means[best], abs=1e-4)
            assert said["name"] == explorer_data.KINDS[best].short
            assert said["rows"] == f"{len(rows[best])} {explorer_data.KINDS[best].rows}"
    assert (index, told[4]["name"]) in [(2, "pronoun → noun"), (0, "")]


@pytest.mark.parametrize("index", [0, 2])
def test_what_comes_later_is_the_librarys(index: int) -> None:
    later = explorer_data.scripts(first=explorer.FIRST)
    assert set(later) == {"explorer-layer-0.js", "explorer-output-0.js", "explorer-output-2.js"}
    if index != explorer.FIRST:
        text = later[f"explorer-layer-{index}.js"]
        found = re.fullmatch(r'explorerData\.put\("layer-0", (.*)\);\n', text)
        assert json.loads(found[1]) == json.loads(json.dumps(explorer_data.page_data(index)))
    data, layer = explorer_data.output_data(index), TRAINED.layer(index)
    weights = np.frombuffer(base64.b64decode(data["weights"]), "<f2").astype(np.float32)
    assert np.array_equal(weights.reshape(384, 384), layer.w_o)
    assert base64.b64decode(data["bias"]) == layer.b_o.astype("<f4").tobytes()
    for packed, sentence in zip(data["inputs"], SENTENCES, strict=True):
        assert base64.b64decode(packed) == sentence.inputs[index].astype("<f4").tobytes()


def test_the_sheet_holds_the_running_example() -> None:
    data, example = explorer_data.sheet_data(), companion.running_example(np)
    assert tuple(data["tokens"]) == example.tokens
    assert np.array_equal(data["x"], example.x)
    assert np.array_equal([head["wq"] for head in data["heads"]], example.w_q)
    assert np.array_equal([head["wk"] for head in data["heads"]], example.w_k)
    assert np.array_equal([head["wv"] for head in data["heads"]], example.w_v)
    w_o = np.concatenate([head["wo"] for head in data["heads"]])
    assert np.array_equal(w_o, example.block.attention.w_o)


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
