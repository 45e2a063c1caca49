"""Checkers of the answers that are names, a number, or a search."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from companion.arrays import array_module
from companion.exercises.feedback import (
    Feedback,
    attempted,
    function,
    instance,
    number,
    numbers,
    reads_attempts,
    result,
    say,
    whole_numbers,
)

__all__ = [
    "check_index_bytes",
    "check_nearest",
    "check_passes",
    "check_squared_distance",
    "check_tensor_names",
]

# The parameter, the layer in the file, the words that single out its tensor there, and a hint.
NAMES = {
    "blocks[3].attention.w_o": (
        3,
        "attention.output.dense.weight",
        "it leaves the attention as w_2 leaves the network, and is named like w_2",
    ),
    "blocks[0].feed_forward.w_1": (
        0,
        "intermediate.dense.weight",
        "ask which comes first: rows enter by way of something intermediate, and leave by an "
        "output; the word that says what w_2 is fits w_1 as well",
    ),
    "blocks[5].norm_2.bias": (
        5,
        "output.LayerNorm.bias",
        "it has the place in the network that norm_1 has in the attention",
    ),
}
COSINE = 0.68
TEXTS = 10_000
SEED = 0  # of rows for which a cosine, a product and a distance rank differently


def check_tensor_names(attempt: Any) -> None:
    """Check a dict from three parameters to the predicted names of their tensors."""
    say(_tensor_names, attempt)


def _tensor_names(attempt: Any) -> str:
    predicted = _predicted(attempt)
    for parameter, name in predicted.items():
        attempted(name, f"the tensor of {parameter}")
    for parameter, (layer, tensor, hint) in NAMES.items():
        _tensor_name(parameter, predicted[parameter], f"encoder.layer.{layer}.", tensor, hint)
    return "Right: layer, part, and what it is. The whole file is named like this."


@reads_attempts
def _predicted(attempt: Any) -> dict[str, Any]:
    names = instance(attempt, Mapping, "A dict", "predict three names")
    return {parameter: names.get(parameter) for parameter in NAMES}


def _tensor_name(parameter: str, name: Any, layer: str, tensor: str, hint: str) -> None:
    if not isinstance(name, str):
        raise Feedback(f"The name of {parameter} should be a text, not {type(name).__name__}.")
    name = name.strip()
    if not name.startswith("encoder.layer."):
        raise Feedback(f"The name of {parameter} should begin as the three do that you were told.")
    if not name.startswith(layer):
        raise Feedback(f"The name of {parameter} leads to another layer.")
    given = name.removeprefix(layer)
    if given.rpartition(".")[2] != tensor.rpartition(".")[2]:
        raise Feedback(f"The last word of the name of {parameter} says weight or bias: which?")
    if ("attention" in given) != ("attention" in tensor):
        raise Feedback(f"Is {parameter} a part of the attention or does it come behind it?")
    if ("LayerNorm" in given) != ("LayerNorm" in tensor):
        raise Feedback(f"Is {parameter} of a norm or of a dense layer? The name should say so.")
    if given != tensor:
        raise Feedback(f"For {parameter}: {hint}.")


def check_squared_distance(attempt: Any) -> None:
    """Check the squared distance of two unit vectors whose dot product is 0.68."""
    say(_squared_distance, attempt)


def _squared_distance(attempt: Any) -> str:
    value = number(attempt, "give the squared distance")
    right = 2 - 2 * COSINE
    if abs(value - math.sqrt(right)) < 1e-3:
        raise Feedback("That is the distance; its square is asked for.")
    if abs(value - (1 - COSINE)) < 1e-3:
        raise Feedback("Multiply out |u − v|²: both squares count, and the product counts twice.")
    if not 0 <= value <= 4:
        raise Feedback("Two unit vectors are at most 2 apart: the square lies from 0 to 4.")
    if not abs(value - right) < 1e-6:
        raise Feedback("For equal vectors your rule should give 0, for opposite ones 4. Does it?")
    return "Right: the two squares are 1 each, and the product is taken off twice."


def check_nearest(attempt: Any) -> None:
    """Check a search (query (d,), vectors (n, d), k) → places of the k rows of largest cosine."""
    say(_nearest, attempt)


def _nearest(attempt: Any) -> str:
    search = function(attempt)
    rng = np.random.default_rng(SEED)
    for n, d, k in ((20, 5, 4), (6, 9, 6), (30, 7, 1), (11, 3, 2)):
        vectors = rng.standard_normal((n, d)) * rng.uniform(0.2, 5, (n, 1))
        query = 3 * rng.standard_normal(d)
        vectors[0] = 0.1 * rng.standard_normal(d) - 2 * query  # least like it, and long
        _check_places(search, query, vectors, k)
    return "Right: for unit rows it is one product and one sort."


def _check_places(search: Any, query: np.ndarray, vectors: np.ndarray, k: int) -> None:
    xp = array_module()
    n = len(vectors)
    case = f" for {n} vectors and k = {k}"
    found = result(search, xp.asarray(query), xp.asarray(vectors), k, case=case)
    places = np.asarray(whole_numbers(found, k, f"return k places, here {k}"))
    products = vectors @ query
    cosines = products / np.linalg.norm(vectors, axis=1)
    distances = ((vectors - query) ** 2).sum(axis=1)
    best = np.argsort(-cosines)[:k]
    if np.array_equal(places, best):
        return
    if np.array_equal(places, best + 1):
        raise Feedback("Row i of an array has place i, from 0: yours are counted from one.")
    if places.min() < 0 or places.max() >= n:
        raise Feedback(f"A place lies in 0 … n − 1, here 0 … {n - 1}; not all of yours do.")
    for wrong, feedback in (
        (cosines, "these are the rows least like the query."),
        (-products, "long rows win by their length alone; a cosine forgets the length."),
        (distances, "these are the nearest points; their directions may differ."),
        (-np.abs(cosines), "a row that points away from the query is not like it."),
    ):
        if np.array_equal(places, np.argsort(wrong)[:k]):
            raise Feedback(f"The shape is right, but {feedback}")
    if set(places.tolist()) == set(best.tolist()):
        raise Feedback("Those rows it is; the most alike should come first.")
    raise Feedback("The shape is right, but another row has a larger cosine.")


def check_index_bytes(attempt: Any) -> None:
    """Check the bytes that a million vectors of 384 float32 numbers take."""
    say(_index_bytes, attempt)


def _index_bytes(attempt: Any) -> str:
    size = number(attempt, "give a number of bytes")
    right = 1_000_000 * 384 * 4
    if size == right:
        return "Right: about 1.5 GB, whatever the length of the texts."
    if size == right // 4:
        raise Feedback("That many numbers it is; each of them takes several bytes.")
    if size == 2 * right:
        raise Feedback("That would be float64.")
    side = "less" if size < right else "more"
    raise Feedback(f"That is {side} than all the numbers take: texts, columns, bytes for each.")


def check_passes(attempt: Any) -> None:
    """Check the passes (encoder, reader of pairs) that find the most alike of 10 000 texts."""
    say(_passes, attempt)


def _passes(attempt: Any) -> str:
    alone, pairs = numbers(attempt, 2, "give two numbers of passes")
    if alone != TEXTS:
        raise Feedback("The encoder's number is wrong: how often does it read each text?")
    if pairs == TEXTS**2:
        raise Feedback("That counts each pair twice, and each text with itself.")
    if pairs == TEXTS * (TEXTS - 1):
        raise Feedback("That counts each pair twice.")
    if pairs != TEXTS * (TEXTS - 1) // 2:
        raise Feedback("The second number is wrong: how many pairs do 10 000 texts make?")
    return "Right: nearly fifty million passes against ten thousand. Products are what is left."
