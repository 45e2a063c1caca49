"""A vocabulary made of a text: byte-pair tokens, by the library `tokenizers`."""

from collections.abc import Iterable

from companion.extras import import_extra
from companion.language_model.tokenizer import TextTokenizer
from companion.packing import check_text

__all__ = ["train_tokenizer"]

END = "<|end|>"


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> TextTokenizer:
    """Make a vocabulary of the bytes, and of the pairs that occur most often, again and again.

    Parameters
    ----------
    texts : iterable of str
    vocabulary_size : int
        At least 257: a token for each byte, so that any text can be written, and id 0, ``<|end|>``,
        which ends one. A short text has fewer pairs than are asked for.

    Returns
    -------
    TextTokenizer

    Raises
    ------
    ModuleNotFoundError
        If the library `tokenizers` is missing; the message says what to install.
    TypeError
        If a text is no string.
    ValueError
        If the size is less than 257.
    """
    tokenizers = import_extra("tokenizers", "language-model", "a vocabulary")
    if vocabulary_size < 257:
        raise ValueError(f"vocabulary_size must be at least 257, got {vocabulary_size}")
    whole = list(texts)
    for i, text in enumerate(whole):
        check_text(text, f"texts[{i}]")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[END],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(whole, trainer)
    return TextTokenizer(tokenizer)
