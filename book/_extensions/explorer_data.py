"""What the explorer's scripts compute with: all of it made by `companion` when the book is built.

A page has at once what its first view needs. The other layers, and what leads from a head to the
output of its layer, are scripts that are loaded when a reader asks for them: so they come from a
folder too, where a page may not read a file of data.
"""

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import companion
from companion.examples.trained_heads import TrainedHeads, TrainedSentence
from companion.figures import Figure, heat_map
from companion.heads import AttentionParameters

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "notebooks" / "data" / "minilm_heads.npz"

# Each pronoun of the sentences and the noun that it stands for: their numbers in the sentence.
PRONOUNS = {
    "The girl lost her ring but she found it again.": ((4, 2), (7, 2), (9, 5)),
    "My sister lost her keys and my brother found his keys.": ((4, 2), (10, 8)),
}
NAMED = 0.25  # the least mean weight by which a head is named
AT_REST = 0.5


class Kind(NamedTuple):
    """What a head may do: the words below its picture, in a sentence, and the rows it is about."""

    short: str
    long: str
    rows: str


KINDS = {
    "noun": Kind("pronoun → noun", "the noun that a pronoun stands for", "pronouns"),
    "same": Kind("same word", "the other places of the same word", "words that stand twice"),
    "previous": Kind("previous", "the token before", "words"),
    "next": Kind("next", "the token after", "words"),
}


def trained_heads() -> TrainedHeads:
    """Read the layers that the repository ships."""
    return companion.load_trained_heads(DATA, xp=np)


def page_data(index: int) -> dict[str, Any]:
    """Collect what a layer's views need: Q, K, V of all heads, and W^O as far as it shows.

    A row z of head h becomes z W^O_h in the layer's output. Its length needs only the Gram matrix
    W^O_h (W^O_h)ᵀ, and of that, which is symmetric, the triangle from the diagonal on.
    """
    trained = trained_heads()
    layer = trained.layer(index)
    w_o = output_weights(layer)
    return {
        "layer": index,
        "heads": w_o.shape[0],
        "width": w_o.shape[1],
        "gram": packed((w_o @ w_o.mT)[:, *np.triu_indices(w_o.shape[1])]),
        "measured": measured(trained, index),
        "sentences": [
            _sentence_data(sentence, index, layer) for sentence in trained.sentences.values()
        ],
    }


def output_weights(layer: AttentionParameters) -> np.ndarray:
    """Cut W^O into the rows of each head, (H, d_v, d)."""
    heads, width = layer.b_v.shape
    return np.reshape(layer.w_o, (heads, width, -1))


def _sentence_data(
    sentence: TrainedSentence, index: int, layer: AttentionParameters
) -> dict[str, Any]:
    x = sentence.inputs[index]
    projected = dict(zip(("query", "key", "value"), companion.project_heads(x, layer), strict=True))
    return {
        "text": sentence.text,
        "tokens": sentence.tokens,
        "lengths": packed(np.linalg.vector_norm(x, axis=-1)),
        **{role: packed(rows) for role, rows in projected.items()},
    }


def packed(array: np.ndarray, dtype: str = "<f4") -> str:
    """Write the numbers as text, four bytes each or as `dtype` says."""
    return b64encode(array.astype(dtype).tobytes()).decode("ascii")


def output_data(index: int) -> dict[str, Any]:
    """Collect what leads from a head to the output of its layer: W^O, its bias, and the rows X."""
    trained = trained_heads()
    layer = trained.layer(index)
    halves = layer.w_o.astype("<f2")
    if not np.array_equal(halves.astype(np.float32), layer.w_o):
        raise ValueError("W^O must be float16 numbers, as they are stored, got others")
    return {
        "weights": packed(layer.w_o, "<f2"),
        "bias": packed(layer.b_o),
        "inputs": [packed(sentence.inputs[index]) for sentence in trained.sentences.values()],
    }


def measured(trained: TrainedHeads, index: int) -> list[dict[str, Any]]:
    """Say of each head of a layer what it does, by its mean weights over the four sentences.

    Rows are those of words; `[CLS]` and `[SEP]` ask nothing. A head is named by the largest mean
    of `KINDS` that reaches `NAMED`; otherwise, it may be at rest on `[CLS]`.
    """
    layer = trained.layer(index)
    found: dict[str, list[np.ndarray]] = {kind: [] for kind in (*KINDS, "rest")}
    for sentence in trained.sentences.values():
        query, key, _ = companion.project_heads(sentence.inputs[index], layer)
        weights = companion.softmax(companion.scaled_scores(query, key))  # (H, N, N)
        for kind, row, keys in _places(sentence):
            found[kind].append(weights[:, row, keys].sum(axis=-1))
    means = {kind: np.mean(weights, axis=0) for kind, weights in found.items()}
    counts = {kind: len(weights) for kind, weights in found.items()}
    return [_named({k: float(m[h]) for k, m in means.items()}, counts) for h in range(layer.heads)]


def _places(sentence: TrainedSentence) -> Iterator[tuple[str, int, list[int]]]:
    """List the rows that a measure is about, and the keys whose weights it adds up."""
    tokens = sentence.tokens
    for i in range(1, len(tokens) - 1):
        yield "previous", i, [i - 1]
        yield "next", i, [i + 1]
        yield "rest", i, [0]
        if others := [j for j, token in enumerate(tokens) if token == tokens[i] and j != i]:
            yield "same", i, others
    for pronoun, noun in PRONOUNS.get(sentence.text, ()):
        yield "noun", pronoun, [noun]


def _named(means: dict[str, float], counts: dict[str, int]) -> dict[str, Any]:
    best = max(KINDS, key=lambda kind: means[kind])
    rests = means["rest"] >= AT_REST
    named = means[best] >= NAMED
    told = KINDS[best] if named else None
    return {
        "name": told.short if told else "at rest" if rests else "",
        "long": told.long if told else "",
        "share": round(means[best], 4) if told else None,
        "rows": f"{counts[best]} {told.rows}" if told else "",
        "rest": round(means["rest"], 4),
        "words": counts["rest"],
    }


def sheet_data() -> dict[str, Any]:
    """Collect the running example for the sheet of matrices: X, and the weights of two heads."""
    example = companion.running_example(np)
    w_o = np.reshape(example.block.attention.w_o, (2, 4, 6))
    arrays = {"wq": example.w_q, "wk": example.w_k, "wv": example.w_v, "wo": w_o}
    return {
        "tokens": example.tokens,
        "features": example.features,
        "x": example.x.tolist(),
        "heads": [{name: array[h].tolist() for name, array in arrays.items()} for h in range(2)],
    }


def as_json(content: Any) -> str:
    """Write data as briefly as JSON allows."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def scripts(first: int) -> dict[str, str]:
    """Write what is loaded later, by the name of its file."""
    layers = sorted(trained_heads().layers)
    later = {f"layer-{i}": page_data(i) for i in layers if i != first}
    later |= {f"output-{i}": output_data(i) for i in layers}
    return {
        f"explorer-{name}.js": f'explorerData.put("{name}", {as_json(content)});\n'
        for name, content in later.items()
    }


def static_figure(index: int, sentence: int, head: int, token: int) -> Figure:
    """Draw the view that a page without script shows."""
    trained = trained_heads()
    shown, layer = list(trained.sentences.values())[sentence], trained.layer(index)
    x = shown.inputs[index]
    query = companion.project(x, layer.w_q[head], layer.b_q[head])
    key = companion.project(x, layer.w_k[head], layer.b_k[head])
    weights = companion.softmax(companion.scaled_scores(query, key))
    return heat_map(weights, shown.tokens, shown.tokens, highlight_row=token)
