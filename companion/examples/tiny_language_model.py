"""A causal language model of drawn weights, for where the published one is not installed."""

import numpy as np

from companion.arrays import Namespace, array_module
from companion.extras import import_extra
from companion.language_model import (
    CausalLanguageModel,
    LanguageModelConfig,
    LanguageModelParameters,
    TextTokenizer,
    language_model_tensors,
)

__all__ = ["tiny_language_model"]

END = "<|end|>"


def tiny_language_model(*, xp: Namespace | None = None) -> CausalLanguageModel:
    """Make a small model with drawn weights: it has learnt nothing, and writes nonsense.

    All that holds for every model holds for it; and it needs no file. Its tokens are single bytes.

    Parameters
    ----------
    xp : module, optional
        The array module of the weights; :func:`companion.array_module` chooses where it is left
        out.

    Returns
    -------
    CausalLanguageModel

    Raises
    ------
    ModuleNotFoundError
        If the library `tokenizers` is missing; the message says what to install.
    """
    tokenizer = _byte_tokenizer()
    config = LanguageModelConfig(
        vocabulary_size=257,
        layer_count=3,
        width=48,
        head_count=6,
        key_value_head_count=2,
        head_dim=8,
        hidden_width=64,
        context_length=8192,
        rotary_base=10_000.0,
        eps=1e-5,
        tied=True,
        stop_ids=(0,),
    )
    rng = np.random.default_rng(13)
    tensors = {
        name: np.ones(shape, np.float32)
        if len(shape) == 1
        else (rng.standard_normal(shape) * shape[-1] ** -0.5).astype(np.float32)
        for name, shape in language_model_tensors(config).items()
    }
    xp = array_module() if xp is None else xp
    return CausalLanguageModel(
        LanguageModelParameters.from_tensors(config, tensors, xp=xp), tokenizer
    )


def _byte_tokenizer() -> TextTokenizer:
    """Make a tokenizer whose tokens are the token that ends texts and the 256 bytes."""
    library = import_extra("tokenizers", "language-model", "a tiny language model")
    signs = [END, *sorted(library.pre_tokenizers.ByteLevel.alphabet())]
    words = {sign: i for i, sign in enumerate(signs)}
    tokenizer = library.Tokenizer(library.models.BPE(words, []))
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    tokenizer.add_special_tokens([END])
    return TextTokenizer(tokenizer)
