"""A model in the small writer's form and size, whose weights were never trained."""

import functools
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from companion.language_model import LanguageModelConfig, language_model_tensors
from companion.language_model.small_writer import store_small_writer

ROOT = Path(__file__).parents[2]
CONFIG = LanguageModelConfig(
    vocabulary_size=1024,
    layer_count=4,
    width=128,
    head_count=4,
    key_value_head_count=4,
    head_dim=32,
    hidden_width=344,
    context_length=128,
    rotary_base=10000.0,
    eps=1e-5,
    tied=True,
    bos_id=0,
    stop_ids=(0,),
)


@functools.cache
def byte_pair_tokenizer() -> Tokenizer:
    """Train byte pairs on a page of the book."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CONFIG.vocabulary_size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def random_tensors(config: LanguageModelConfig = CONFIG, seed: int = 3) -> dict[str, np.ndarray]:
    """Draw every tensor, so that heads are sharp enough to differ."""
    rng = np.random.default_rng(seed)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) == 1:
            drawn = 1 + 0.1 * rng.standard_normal(shape)
        else:
            size = 0.3 if "embed" in name else 2 / np.sqrt(shape[1])
            drawn = size * rng.standard_normal(shape)
        return drawn.astype(np.float32)

    return {name: draw(name, shape) for name, shape in language_model_tensors(config).items()}


def store(folder: Path) -> Path:
    """Write it, and return where."""
    store_small_writer(folder, CONFIG, random_tensors(), byte_pair_tokenizer())
    return folder
