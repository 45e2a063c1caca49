"""The drawings that are stored as files, since no cell of a notebook makes them.

python book/drawings.py  writes them all anew
"""

from pathlib import Path

import numpy as np

import companion
from companion.figures import Figure
from companion.figures.tour import one_word_asks, row_of_weights

ROOT = Path(__file__).resolve().parent.parent
HEADS = ROOT / "notebooks" / "data" / "minilm_heads.npz"
TOUR, COVER = ROOT / "notebooks" / "tour.svg", ROOT / "book" / "_static" / "cover.svg"

# What the cover shows: this head of this layer, and first the row of this token (she).
SENTENCE = "The girl lost her ring but she found it again."
LAYER, HEAD, TOKEN = 2, 4, 7


def tour() -> Figure:
    """Draw what *cat* takes in, in the first head of the running example."""
    example = companion.running_example(np)
    query, key, value = companion.project_qkv(
        example.x, example.w_q[0], example.w_k[0], example.w_v[0]
    )
    return one_word_asks(query, key, value, tokens=example.tokens, row=2)


def cover_weights() -> tuple[tuple[str, ...], np.ndarray]:
    """Compute the tokens (N,) and the weights (N, N) that the cover shows."""
    trained = companion.load_trained_heads(HEADS, xp=np)
    sentence, layer = trained.sentence(SENTENCE), trained.layer(LAYER)
    query, key, _ = companion.project_heads(sentence.inputs[LAYER], layer)
    return sentence.tokens, companion.softmax(companion.scaled_scores(query[HEAD], key[HEAD]))


def cover() -> Figure:
    """Draw the row that the cover shows first, and alone where there is no script."""
    tokens, weights = cover_weights()
    return row_of_weights(weights[TOKEN], tokens, row=TOKEN)


def stored() -> dict[Path, str]:
    """Make every drawing, as it stands in its file."""
    # Beside the text of a README nothing turns a drawing's ink light where the page is dark.
    on_white = cover().svg.replace("<svg ", '<svg style="background: white" ', 1)
    return {TOUR: f"{tour().svg}\n", COVER: f"{on_white}\n"}


if __name__ == "__main__":
    for path, drawing in stored().items():
        path.write_text(drawing, encoding="utf-8", newline="\n")
        print(path.relative_to(ROOT))
