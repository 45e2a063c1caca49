"""``python -m companion generate``: a published model writes on behind a text, or answers it."""

import argparse
import os
import sys
from collections.abc import Iterator

import numpy as np

from companion.language_model import CausalLanguageModel, published_model_path

DESCRIPTION = "Write on behind a text with a language model of the llama family, on this machine."
MODEL_HELP = (
    "a .gguf file, or a folder with config.json, tokenizer.json and model.safetensors; "
    "the small published model that the book reads where it is left out"
)


def add_generate(parser: argparse.ArgumentParser) -> None:
    """Tell a parser the command's arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("prompt", help="the text to go on from, or with --chat to answer")
    parser.add_argument("--chat", action="store_true", help="answer, as the model's template asks")
    parser.add_argument("--max-new-tokens", type=int, default=40, metavar="N", help="40 by default")
    parser.add_argument("--model", metavar="PATH", help=MODEL_HELP)
    drawn = parser.add_argument_group("tokens that are drawn, and not the likeliest ones")
    drawn.add_argument(
        "--temperature",
        type=float,
        default=0.0,
        metavar="T",
        help="1 draws as the model has it, less draws likelier tokens, 0 draws none (the default)",
    )
    drawn.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest")
    drawn.add_argument(
        "--top-p", type=float, metavar="P", help="draw from the likeliest that make P in all"
    )
    drawn.add_argument("--seed", type=int, metavar="S", help="draw the same ones every time")


def generate(options: argparse.Namespace) -> int:
    """Write as the arguments ask, piece by piece; return the exit status."""
    try:
        pieces = _begin(options)
    except (OSError, ImportError, ValueError) as error:
        print(f"python -m companion generate: {error}", file=sys.stderr)
        return 1
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a stream of text
    try:
        if not options.chat:
            print(options.prompt, end="", flush=True)
        for piece in pieces:
            print(piece, end="", flush=True)
        print(flush=True)
    except KeyboardInterrupt:  # the reader has seen enough
        print()
    except BrokenPipeError:  # so has the program that reads; Python would complain once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _begin(options: argparse.Namespace) -> Iterator[str]:
    """Read the model and check the options; what is written comes piece by piece."""
    model = CausalLanguageModel.from_pretrained(options.model or published_model_path())
    prompt: str | list[int] = options.prompt
    if options.chat:
        prompt = model.tokenizer.encode_chat([{"role": "user", "content": options.prompt}])
    return model.generate(
        prompt,
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        rng=None if options.seed is None else np.random.default_rng(options.seed),
    )
