"""The small writer as a script: the bytes that the library reads, and its tokens.

The page computes with what `model.safetensors` holds, in the order of
:func:`companion.language_model_tensors`: the bytes of a matrix, or a norm, in one text, and the
scales of all rows in another.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from book._extensions.explorer_data import as_json, packed
from companion.language_model.llama_config import read_llama_config
from companion.language_model.small_writer import FOLDER, read_bytes

NAME = "explorer-writer.js"
SHELL = Path(__file__).with_name("explorer_write.html")
LARGEST = 1_700_000  # bytes of the script
# What the page's tokenizer does; what a file says otherwise, it would not do.
EXPECTED = {
    ("normalizer",): None,
    ("truncation",): None,
    ("padding",): None,
    ("post_processor",): None,
    ("model", "type"): "BPE",
    ("model", "dropout"): None,
    ("model", "continuing_subword_prefix"): None,
    ("model", "end_of_word_suffix"): None,
    ("model", "byte_fallback"): False,
    ("model", "ignore_merges"): False,
    ("pre_tokenizer", "type"): "ByteLevel",
    ("pre_tokenizer", "add_prefix_space"): False,
    ("pre_tokenizer", "use_regex"): True,
    ("decoder", "type"): "ByteLevel",
}
BYTES = 256


def is_there(folder: Path = FOLDER) -> bool:
    """Say whether a writer is shipped; without one the explorer ends a station earlier."""
    return folder.is_dir()


def station(folder: Path = FOLDER) -> str:
    """Write the station's frame, which names the script where there is one."""
    shell = SHELL.read_text(encoding="utf-8")
    if not is_there(folder):
        return shell.replace("{writer}", "").replace("{size}", "")
    size = f"{len(script(folder)) / 1e6:.1f} MB"
    return shell.replace("{writer}", f"../_static/{NAME}").replace("{size}", size)


def script(folder: Path = FOLDER) -> str:
    """Write the script that brings the writer to the page.

    Raises
    ------
    ValueError
        If the tokenizer is of another kind than the page's, or the script is too long.
    """
    config = read_llama_config(folder)
    data = {
        "config": {
            "vocabulary": config.vocabulary_size,
            "layers": config.layer_count,
            "width": config.width,
            "heads": config.head_count,
            "keyHeads": config.key_value_head_count,
            "headWidth": config.head_dim,
            "hidden": config.hidden_width,
            "context": config.context_length,
            "base": config.rotary_base,
            "eps": config.eps,
            "tied": config.tied,
            "stops": config.stop_ids,
        },
        "tokens": tokenizer_data(folder),
        **_tensors(folder, config),
    }
    text = f'explorerData.put("writer", {as_json(data)});\n'
    if len(text.encode()) > LARGEST:
        raise ValueError(f"the writer's script must have at most {LARGEST} bytes, got {len(text)}")
    return text


def _tensors(folder: Path, config: Any) -> dict[str, str]:
    matrices, scales, norms = [], [], []
    for array, scale in read_bytes(folder, config).values():
        if scale is None:
            norms.append(array)
        else:
            matrices.append(array.ravel())
            scales.append(scale)
    joined = {"scales": np.concatenate(scales), "norms": np.concatenate(norms)}
    return {
        "matrices": packed(np.concatenate(matrices), "i1"),
        **{name: packed(numbers) for name, numbers in joined.items()},
    }


def tokenizer_data(folder: Path) -> dict[str, Any]:
    """Read the tokens by their ids, and the pairs that are merged, in order.

    Raises
    ------
    ValueError
        If the file says what the page's tokenizer does not do.
    """
    path = folder / "tokenizer.json"
    said = json.loads(path.read_text(encoding="utf-8"))
    for keys, expected in EXPECTED.items():
        got: Any = said
        for key in keys:
            got = (got or {}).get(key)
        if got != expected:
            raise ValueError(f"{path}: {'.'.join(keys)} must be {expected!r}, got {got!r}")
    vocabulary: dict[str, int] = said["model"]["vocab"]
    special = {added["content"]: added["id"] for added in said["added_tokens"]}
    names = [""] * (max({**vocabulary, **special}.values()) + 1)
    for token, i in {**vocabulary, **special}.items():
        names[i] = token
    if sum(len(token) == 1 for token in vocabulary) < BYTES:
        raise ValueError(f"{path}: vocab must hold a token for each of {BYTES} bytes, got fewer")
    merges = [m.split(" ") if isinstance(m, str) else m for m in said["model"]["merges"]]
    pairs = [
        [vocabulary[left], vocabulary[right], vocabulary[left + right]] for left, right in merges
    ]
    return {"names": names, "special": sorted(special.values()), "merges": pairs}
