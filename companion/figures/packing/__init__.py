"""Drawings of the chapter on packing: from words to rows, positions, batches, and likeness."""

from companion.figures.packing.likeness import position_likeness, position_table, row_likeness
from companion.figures.packing.words import ragged_batch, words_to_rows

__all__ = ["position_likeness", "position_table", "ragged_batch", "row_likeness", "words_to_rows"]
