"""Beyond one machine: sums that may be made anywhere, on the workers of Dask.

Attention itself needs nothing from here: :func:`companion.scaled_dot_product_attention` takes Dask
arrays.
"""

from companion.distributed.accounts import (
    Account,
    causal_pairs,
    hidden_length,
    ring_account,
    tree_account,
)
from companion.distributed.corpus import EncodedCorpus, encode_corpus
from companion.distributed.placement import compute, place
from companion.distributed.states import merge_packed
from companion.distributed.training import sharded_loss_and_gradients
from companion.distributed.workers import SETTINGS, connect, local_workers

__all__ = [
    "SETTINGS",
    "Account",
    "EncodedCorpus",
    "causal_pairs",
    "compute",
    "connect",
    "encode_corpus",
    "hidden_length",
    "local_workers",
    "merge_packed",
    "place",
    "ring_account",
    "sharded_loss_and_gradients",
    "tree_account",
]
