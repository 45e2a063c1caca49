"""A published language model's files in miniature, for the tests to read and to damage."""

import json
from pathlib import Path
from typing import Any

import numpy as np

LAYERS, WIDTH, HEADS, KEY_HEADS, HEAD_DIM, HIDDEN, CONTEXT = 2, 32, 4, 2, 16, 96, 40
BASE, EPS = 500.0, 1e-3
SPECIAL = ("<|begin|>", "<|end|>", "<|turn|>", "<|unknown|>")
MERGES = ("t h", "th e", "Ġ the", "c a", "ca t", "Ġ cat", "r a", "ra n", "Ġ Ġ")
TEMPLATE = (
    "{% for message in messages %}<|turn|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)


def _byte_signs() -> list[str]:
    """Return the sign that byte-level tokenizers write for each byte, in the order of the bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


VOCABULARY = [*SPECIAL, *_byte_signs(), *(merge.replace(" ", "") for merge in MERGES)]

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "vocab_size": len(VOCABULARY),
    "hidden_size": WIDTH,
    "intermediate_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KEY_HEADS,
    "head_dim": HEAD_DIM,
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": EPS,
    "rope_theta": BASE,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
SETTINGS: dict[str, Any] = {
    "bos_token": "<|begin|>",
    "eos_token": {"content": "<|end|>", "lstrip": False},
    "chat_template": TEMPLATE,
}


def tensors(tied: bool = False) -> dict[str, np.ndarray]:
    """Draw every tensor under the name and in the shape that llama folders have."""
    rng = np.random.default_rng(13)
    shapes = {
        "self_attn.q_proj": (HEADS * HEAD_DIM, WIDTH),
        "self_attn.k_proj": (KEY_HEADS * HEAD_DIM, WIDTH),
        "self_attn.v_proj": (KEY_HEADS * HEAD_DIM, WIDTH),
        "self_attn.o_proj": (WIDTH, HEADS * HEAD_DIM),
        "mlp.gate_proj": (HIDDEN, WIDTH),
        "mlp.up_proj": (HIDDEN, WIDTH),
        "mlp.down_proj": (WIDTH, HIDDEN),
        "input_layernorm": (WIDTH,),
        "post_attention_layernorm": (WIDTH,),
    }
    shapes = {
        "model.embed_tokens": (len(VOCABULARY), WIDTH),
        **{f"model.layers.{i}.{name}": s for i in range(LAYERS) for name, s in shapes.items()},
        "model.norm": (WIDTH,),
        **({} if tied else {"lm_head": (len(VOCABULARY), WIDTH)}),
    }
    return {
        f"{name}.weight": (
            rng.standard_normal(shape) * (shape[-1] ** -0.5 if len(shape) > 1 else 0.1)
            + (len(shape) == 1)
        ).astype(np.float32)
        for name, shape in shapes.items()
    }


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def write_config(folder: Path, **changed: Any) -> None:
    """Write config.json; a key given as None is left out, another value takes its place."""
    content = {key: value for key, value in (CONFIG | changed).items() if value is not None}
    write_json(folder / "config.json", content)


def write_tensors(path: Path, **changed: Any) -> None:
    """Write one file; a tensor given as None is left out, another one takes its place."""
    from safetensors.numpy import save_file

    content = {name: tensor for name, tensor in (tensors() | changed).items() if tensor is not None}
    save_file(content, path)


def write_tokenizer(folder: Path, vocabulary: list[str] = VOCABULARY) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    merges = [tuple(merge.split(" ")) for merge in MERGES]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(vocabulary)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(word, normalized=False) for word in SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", 0)]
    )
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=6)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_folder(folder: Path) -> Path:
    """Write a whole folder."""
    write_config(folder)
    write_json(folder / "generation_config.json", {"eos_token_id": [1, 2]})
    write_json(folder / "tokenizer_config.json", SETTINGS)
    write_tokenizer(folder)
    write_tensors(folder / "model.safetensors")
    return folder


METADATA: dict[str, Any] = {
    "general.type": "model",
    "llama.vocab_size": len(VOCABULARY),
    "llama.block_count": LAYERS,
    "llama.context_length": CONTEXT,
    "llama.embedding_length": WIDTH,
    "llama.feed_forward_length": HIDDEN,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": KEY_HEADS,
    "llama.attention.key_length": HEAD_DIM,
    "llama.attention.value_length": HEAD_DIM,
    "llama.attention.layer_norm_rms_epsilon": EPS,
    "llama.rope.dimension_count": HEAD_DIM,
    "llama.rope.freq_base": BASE,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": VOCABULARY,
    "tokenizer.ggml.token_type": [3] * len(SPECIAL) + [1] * (len(VOCABULARY) - len(SPECIAL)),
    "tokenizer.ggml.merges": list(MERGES),
    "tokenizer.ggml.bos_token_id": 0,
    "tokenizer.ggml.eos_token_id": 1,
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.chat_template": TEMPLATE,
}
IN_GGUF = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers": "blk",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_attention_layernorm": "ffn_norm",
    "input_layernorm": "attn_norm",
}


def gguf_tensors(tied: bool = False) -> dict[str, np.ndarray]:
    """Return the same tensors as GGUF names and orders them."""
    return {gguf_name(name): gguf_rows(name, rows) for name, rows in tensors(tied).items()}


def gguf_name(name: str) -> str:
    for ours, theirs in IN_GGUF.items():
        name = name.replace(ours, theirs)
    return name


def gguf_rows(name: str, rows: np.ndarray) -> np.ndarray:
    """Put the two rows of a query's or key's head that are rotated together side by side."""
    if "q_proj" not in name and "k_proj" not in name:
        return rows
    heads = rows.reshape(-1, 2, HEAD_DIM // 2, rows.shape[-1])
    return np.ascontiguousarray(heads.swapaxes(1, 2)).reshape(rows.shape)


def write_gguf(
    path: Path,
    changed: dict[str, Any] | None = None,
    kinds: dict[str, str] | None = None,
    tensors: dict[str, np.ndarray | None] | None = None,
    architecture: str = "llama",
    tied: bool = False,
) -> Path:
    """Write a file; what is given as None is left out, and `kinds` says how tensors are stored."""
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    for key, value in (METADATA | (changed or {})).items():
        if value is not None:
            _add(writer, key, value)
    for name, tensor in (gguf_tensors(tied) | (tensors or {})).items():
        if tensor is None:
            continue
        kind = gguf.GGMLQuantizationType[(kinds or {}).get(name, "F32")]
        writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: Any, key: str, value: Any) -> None:
    if key == "general.alignment":
        writer.add_custom_alignment(value)
    elif isinstance(value, list):
        writer.add_array(key, value)
    else:
        add = {bool: "bool", int: "uint32", float: "float32", str: "string"}[type(value)]
        getattr(writer, f"add_{add}")(key, value)
