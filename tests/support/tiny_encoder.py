"""A published encoder's folder in miniature, for the tests to read and to damage."""

import json
from pathlib import Path
from typing import Any

import numpy as np

VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "black", "cat", "ran", "##s", "é", "猫")
LAYERS, HEADS, WIDTH, HIDDEN = 2, 2, 6, 10
POSITIONS, TOKEN_TYPES, MAX_LENGTH = 12, 3, 9

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": WIDTH,
    "intermediate_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "vocab_size": len(VOCABULARY),
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": TOKEN_TYPES,
    "layer_norm_eps": 1e-3,
}
MODULES = [
    {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
    for i, (path, kind) in enumerate(
        [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    )
]
OLD_POOLING = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}


def tensors() -> dict[str, np.ndarray]:
    """Draw every tensor of the file under the name that BERT's own code gives it."""
    rng = np.random.default_rng(5)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    def gain() -> np.ndarray:
        """Stay near 1, so that what distinguishes two texts is not normed away."""
        return 1 + draw(WIDTH) / 4

    made = {
        "embeddings.word_embeddings.weight": draw(len(VOCABULARY), WIDTH),
        "embeddings.position_embeddings.weight": draw(POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": draw(TOKEN_TYPES, WIDTH),
        "embeddings.LayerNorm.weight": gain(),
        "embeddings.LayerNorm.bias": draw(WIDTH),
        "embeddings.position_ids": np.arange(POSITIONS)[None, :],
        "pooler.dense.weight": draw(WIDTH, WIDTH),
        "pooler.dense.bias": draw(WIDTH),
    }
    for layer in range(LAYERS):
        block = f"encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            made[f"{block}.attention.{part}.weight"] = draw(WIDTH, WIDTH)
            made[f"{block}.attention.{part}.bias"] = draw(WIDTH)
        made[f"{block}.intermediate.dense.weight"] = draw(HIDDEN, WIDTH)
        made[f"{block}.intermediate.dense.bias"] = draw(HIDDEN)
        made[f"{block}.output.dense.weight"] = draw(WIDTH, HIDDEN)
        made[f"{block}.output.dense.bias"] = draw(WIDTH)
        for part in ("attention.output", "output"):
            made[f"{block}.{part}.LayerNorm.weight"] = gain()
            made[f"{block}.{part}.LayerNorm.bias"] = draw(WIDTH) / 4
    return made


def write_tensors(folder: Path, **changed: Any) -> None:
    """Write model.safetensors; a tensor given as None is left out, another one takes its place."""
    from safetensors.numpy import save_file

    content = {name: tensor for name, tensor in (tensors() | changed).items() if tensor is not None}
    save_file(content, folder / "model.safetensors")


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_tokenizer(folder: Path, vocabulary: tuple[str, ...] = VOCABULARY) -> None:
    """Write tokenizer.json, set to cut and fill up to another length than the model's."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    ids = {token: i for i, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=6)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_encoder(folder: Path) -> Path:
    """Write the whole folder."""
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": MAX_LENGTH})
    write_json(folder / "modules.json", MODULES)
    write_json(folder / "1_Pooling" / "config.json", OLD_POOLING)
    write_tokenizer(folder)
    write_tensors(folder)
    return folder
