"""From words to one matrix: vocabulary, token ids, embeddings, and ragged batches."""

from collections.abc import Iterable, Mapping, Sequence

import array_api_compat

from companion.arrays import (
    Array,
    Namespace,
    array_module,
    array_namespace,
    require_floating,
    require_integer,
)
from companion.libraries import dtype_named, is_traced

__all__ = [
    "build_vocabulary",
    "embed",
    "pack_batch",
    "pack_rows",
    "token_ids",
    "unpack_batch",
]


def build_vocabulary(tokens: Iterable[str]) -> dict[str, int]:
    """Give each distinct token a number, in the order in which they first appear.

    Parameters
    ----------
    tokens : iterable of str
        Tokens, repeats allowed.

    Returns
    -------
    dict
        The id of each token, counted from 0.

    Raises
    ------
    TypeError
        If `tokens` is a single string or holds something that is no string.
    ValueError
        If there are no tokens.
    """
    tokens = _checked_tokens(tokens)
    if not tokens:
        raise ValueError("tokens must hold at least one token, got none")
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}


def token_ids(
    tokens: Iterable[str], vocabulary: Mapping[str, int], *, xp: Namespace | None = None
) -> Array:
    """Look up the id of every token.

    Parameters
    ----------
    tokens : iterable of str
        N tokens.
    vocabulary : mapping of str to int
        Ids by token, as :func:`build_vocabulary` makes them.
    xp : module, optional
        The array module of the result; :func:`companion.array_module` chooses where it is left out.

    Returns
    -------
    array of int64 (of int32 on JAX outside its 64-bit mode), shape (N,)

    Raises
    ------
    TypeError
        If `tokens` is a single string or holds something that is no string.
    ValueError
        If a token is not in the vocabulary.
    """
    tokens = _checked_tokens(tokens)
    unknown = [token for token in tokens if token not in vocabulary]
    if unknown:
        raise ValueError(
            f"tokens must be in the vocabulary of {len(vocabulary)} tokens, got {unknown}"
        )
    xp = array_module() if xp is None else xp
    return xp.asarray([vocabulary[token] for token in tokens], dtype=dtype_named(xp, "int64"))


def _checked_tokens(tokens: Iterable[str]) -> list[str]:
    """Return the tokens as a list, for an iterator gives each but once, or raise."""
    if isinstance(tokens, str):
        raise TypeError(f"tokens must be a sequence of strings, got the one string {tokens!r}")
    tokens = list(tokens)
    for token in tokens:
        if not isinstance(token, str):
            raise TypeError(f"tokens must be strings, got {type(token).__name__}: {token!r}")
    return tokens


def check_text(text: object, name: str) -> None:
    """Check that a text is a string that can be written as UTF-8."""
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string, got {type(text).__name__}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} must be valid Unicode, got {error.reason}: {text!r}") from None


def embed(ids: Array, table: Array) -> Array:
    """Look up one row of the embedding table for every token id.

    Parameters
    ----------
    ids : integer array, shape (..., N)
        Token ids in 0 … V − 1.
    table : array, shape (V, d)
        One embedding a row.

    Returns
    -------
    array, shape (..., N, d)
        Row i is ``table[ids[i]]``, in the table's dtype.

    Raises
    ------
    TypeError
        If `ids` are not integers or `table` is not floating.
    ValueError
        If the table is no matrix or an id is out of range. NumPy would take a negative id from the
        end and CuPy would wrap any id around without a word, so both are checked here; on a GPU
        the check waits for the device. Under ``jax.jit`` ids have no values to check yet.
    """
    xp = array_namespace(ids=ids, table=table)
    require_integer(xp, ids=ids)
    require_floating(xp, table=table)
    if table.ndim != 2:
        raise ValueError(f"table must be (V, d), got shape {table.shape}")
    check_ids(xp, ids, table.shape[0], "ids")
    return unchecked_embed(xp, ids, table)


def check_ids(xp: Namespace, ids: Array, size: int, name: str) -> None:
    """Raise unless the array holds ids of a table of that many rows."""
    require_integer(xp, **{name: ids})
    if 0 in ids.shape:
        return
    ends = xp.min(ids), xp.max(ids)
    if is_traced(ends[0]):
        return
    lowest, highest = map(int, ends)
    if lowest < 0 or highest >= size:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(
            f"{name} must be in 0 … {size - 1} for a table of {size} rows, got {wrong}"
        )


def unchecked_embed(xp: Namespace, ids: Array, table: Array) -> Array:
    """Do what :func:`embed` does, without its checks."""
    flat = xp.reshape(ids, (-1,))
    return xp.reshape(xp.take(table, flat, axis=0), (*ids.shape, table.shape[1]))


def pack_rows(rows: Sequence[Array]) -> Array:
    """Stack N token vectors into one matrix, one token a row (:eq:`eq-packing`).

    Parameters
    ----------
    rows : sequence of arrays, each of shape (d,)

    Returns
    -------
    array, shape (N, d)

    Raises
    ------
    ValueError
        If there are no rows or their shapes differ.
    """
    if len(rows) == 0:
        raise ValueError("rows must hold at least one vector, got none")
    xp = array_namespace(**{f"rows[{i}]": row for i, row in enumerate(rows)})
    width = rows[0].shape
    for i, row in enumerate(rows):
        if row.ndim != 1 or row.shape != width:
            raise ValueError(
                f"rows[{i}] must be a vector of shape (d,) like rows[0], {width}, got {row.shape}"
            )
    return xp.stack(list(rows))


def pack_batch(sequences: Sequence[Array]) -> tuple[Array, Array]:
    """Pack sequences of different lengths into one array, filled up with rows of zeros.

    Parameters
    ----------
    sequences : sequence of B arrays, shapes (N_b, d)

    Returns
    -------
    x : array, shape (B, N, d)
        N is the greatest N_b; the rows from N_b on are zero.
    token_mask : boolean array, shape (B, N)
        True where there is a token, False where there is padding.

    Raises
    ------
    ValueError
        If there are no sequences or their widths differ.
    """
    if len(sequences) == 0:
        raise ValueError("sequences must hold at least one sequence, got none")
    named = {f"sequences[{i}]": sequence for i, sequence in enumerate(sequences)}
    xp = array_namespace(**named)
    for name, sequence in named.items():
        if sequence.ndim != 2 or sequence.shape[1] != sequences[0].shape[-1]:
            raise ValueError(
                f"{name} must be (N, d={sequences[0].shape[-1]}) like the first, "
                f"got shape {sequence.shape}"
            )
    device = array_api_compat.device(sequences[0])
    length = max(sequence.shape[0] for sequence in sequences)

    def fill(rows: int, like: Array) -> Array:
        return xp.zeros((rows, like.shape[1]), dtype=like.dtype, device=device)

    x = xp.stack([xp.concat([s, fill(length - s.shape[0], s)]) for s in sequences])
    lengths = xp.asarray([s.shape[0] for s in sequences], device=device)
    return x, xp.arange(length, device=device)[None, :] < lengths[:, None]


def unpack_batch(x: Array, token_mask: Array) -> list[Array]:
    """Undo :func:`pack_batch`: return the rows of each sequence without its padding.

    Parameters
    ----------
    x : array, shape (B, N, d)
    token_mask : boolean array, shape (B, N)

    Returns
    -------
    list of B arrays, shapes (N_b, d)

    Raises
    ------
    TypeError
        If the mask is not boolean.
    ValueError
        If the shapes do not match.
    """
    xp = array_namespace(x=x, token_mask=token_mask)
    if token_mask.dtype != xp.bool:
        raise TypeError(f"token_mask must be boolean, got {token_mask.dtype}")
    if x.ndim != 3 or token_mask.shape != x.shape[:2]:
        raise ValueError(
            f"token_mask must be (B, N) to match x (B, N, d) {x.shape}, got {token_mask.shape}"
        )
    return [x[b, ...][token_mask[b, ...]] for b in range(x.shape[0])]
