"""The exercises of the chapter on packing: what their checkers take for right, and what not."""

import itertools
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest

import companion
from companion.exercises import packing as exercises
from tests.support.attempts import Attempts, tried_on
from tests.support.homes import NUMPY

CAT_ROW = [0.5, 0, 1.5, 0, 1, 0]  # at position 3 of *quickly ran the cat*


def gaps(x, table, positions):
    return (x - positions[: len(x)])[:, None, :] - table[None, :, :]


def nearest(x, table, positions):
    return np.argmin((gaps(x, table, positions) ** 2).sum(axis=-1), axis=1)


def nearest_in_place(x, table, positions):
    x -= positions[: len(x)]
    table *= -1
    return np.argmin(np.abs(x[:, None, :] + table).max(axis=-1), axis=1)


def nearest_without_slice(x, table, positions):
    return np.argmin((((x - positions)[:, None, :] - table) ** 2).sum(axis=-1), axis=1)


def nearest_with_positions(x, table, positions):
    return nearest(x, table, 0 * positions)


def by_one_column(x, table, positions):
    return np.argmin(np.abs(gaps(x, table, positions)[:, :, 0]), axis=1)


def by_all_but_one_column(x, table, positions):
    return np.argmin(np.abs(gaps(x, table, positions)[:, :, 1:]).sum(axis=-1), axis=1)


def by_cosine(x, table, positions):
    embedded = x - positions[: len(x)]
    return np.argmax(embedded @ (table / np.linalg.norm(table, axis=1, keepdims=True)).T, axis=1)


def by_product(x, table, positions):
    return np.argmax((x - positions[: len(x)]) @ table.T, axis=1)


def by_equality(x, table, positions):
    return np.argmax((gaps(x, table, positions) == 0).all(axis=-1), axis=1)


def by_sum(x, table, positions):
    return np.argmin(np.abs(gaps(x, table, positions).sum(axis=-1)), axis=1)


def by_centred_row(x, table, positions):
    centred = (rows - rows.mean(axis=1, keepdims=True) for rows in (x - positions[: len(x)], table))
    return nearest(*centred, 0 * positions)


def by_length(x, table, positions):
    lengths = np.linalg.norm(x - positions[: len(x)], axis=1), np.linalg.norm(table, axis=1)
    return np.argmin(np.abs(lengths[0][:, None] - lengths[1]), axis=1)


class Nearest:
    """A class in place of a function, and other letters."""

    def __new__(cls, rows, vocabulary, places, dtype=np.int32):
        return np.asarray([int(i) for i in nearest(rows, vocabulary, places)], dtype=dtype)


def token_mean(x, token_mask):
    keep = token_mask[:, :, None]
    return np.where(keep, x, 0.0).sum(axis=1) / keep.sum(axis=1)


def mean_in_place(x, token_mask):
    x[~token_mask] = 0
    token_mask |= False
    return x.sum(axis=1) / token_mask.sum(axis=1)[:, None]


def mean_by_product(x, token_mask):
    keep = token_mask[:, :, None]
    return (x * keep).sum(axis=1) / keep.sum(axis=1)


def mean_over_the_batch(x, token_mask):
    return np.where(token_mask[:, :, None], x, 0.0).sum(axis=1) / token_mask.sum() * len(x)


def mean_into_one_buffer():
    """Return the same array from call to call, with what the padding holds in it."""
    buffers = {}

    def mean(x, token_mask):
        buffer = buffers.setdefault(x.shape, np.empty((len(x), x.shape[2])))
        buffer[...] = x.sum(axis=1) / token_mask.sum(axis=1)[:, None]
        return buffer

    return mean


def mean_over_two_or_more(x, token_mask):
    """Guard the division too well: a sentence of one token is halved."""
    keep = token_mask[:, :, None]
    return np.where(keep, x, 0.0).sum(axis=1) / np.maximum(keep.sum(axis=1), 2)


def ids_of_close_rows(x, table, positions):
    """Take the first row that is close by a tolerance that suits ordinary numbers only."""
    close = np.isclose((x - positions[: len(x)])[:, None], table)
    return close.all(axis=-1).argmax(axis=1)


def ids_of_rows_within(x, table, positions):
    gaps = np.abs((x - positions[: len(x)])[:, None] - table)
    return (gaps < 1e-12).all(axis=-1).argmax(axis=1)


def packed_by(row, *, fill=0.0):
    """Make a packer from the row that a token gets: word n of its sentence, and k-th of all."""

    def pack(sentences, table, positions):
        longest = max(map(len, sentences))
        x = np.full((len(sentences), longest, table.shape[1]), fill)
        token_mask = np.zeros(x.shape[:2], dtype=bool)
        k = 0
        for b, ids in enumerate(sentences):
            for n, t in enumerate(ids):
                token = SimpleNamespace(word=table[t], p=positions, n=n, k=k % len(positions))
                x[b, n] = row(token)
                token_mask[b, n] = True
                k += 1
        return x, token_mask

    return pack


pack_sentences = packed_by(lambda t: t.word + t.p[t.n])


def padded_by(fill):
    """Make a packer that pads the ids, as tokenizers do, and fills what is padding."""

    def pack(sentences, table, positions):
        longest = max(map(len, sentences))
        ids = np.asarray([ids + [0] * (longest - len(ids)) for ids in sentences])
        tokens = np.arange(longest) < np.asarray([[len(ids)] for ids in sentences])
        right = table[ids] + positions[:longest]
        return np.where(tokens[:, :, None], right, fill(table, positions[:longest])), tokens

    return pack


def pack_with(batch=lambda x: x, mask=lambda right: right.tokens):
    """Pack as is right, and then change the batch or the mask."""

    def pack(sentences, table, positions):
        x, tokens = pack_sentences(sentences, table, positions)
        ids = np.full(tokens.shape, -1)
        ids[tokens] = np.concatenate(sentences)
        return batch(x), mask(SimpleNamespace(tokens=tokens, x=x, ids=ids))

    return pack


def pack_to_the_left(sentences, table, positions):
    x, tokens = pack_sentences(sentences, table, positions)
    lengths = tokens.sum(axis=1)
    return np.stack([np.roll(r, -n, axis=0) for r, n in zip(x, lengths, strict=True)]), tokens


def pack_the_shortest(sentences, table, positions):
    x, tokens = pack_sentences(sentences, table, positions)
    shortest = min(map(len, sentences))
    return x[:, :shortest], tokens[:, :shortest]


def pack_as_long_as(number):
    def pack(sentences, table, positions):
        x, tokens = pack_sentences(sentences, table, positions)
        length = len(sentences[number])
        return x[:, :length], tokens[:, :length]

    return pack


def pack_to_the_table(sentences, table, positions):
    longest = len(positions)
    x = [table[ids] + positions[: len(ids)] for ids in sentences]
    x = np.stack([np.pad(rows, ((0, longest - len(rows)), (0, 0))) for rows in x])
    return x, np.arange(longest) < np.asarray([[len(ids)] for ids in sentences])


def pack_end_to_end(sentences, table, positions):
    x, tokens = pack_sentences(sentences, table, positions)
    return x[tokens], tokens


def pack_in_place(sentences, table, positions):
    """Use up what it is given, in float32 and as a generator."""
    longest = max(map(len, sentences))
    token_mask = np.asarray([[n < len(ids) for n in range(longest)] for ids in sentences])
    for ids in sentences:
        ids += [0] * (longest - len(ids))
    positions = positions[:longest]
    table += 0
    x = np.asarray([table[ids] + positions for ids in sentences], np.float32)
    x[~token_mask] = 0
    return (part for part in (x, token_mask))


class Pack:
    """A class in place of a function, by the library."""

    def __new__(cls, rows, vocabulary, places):
        words = [companion.embed(np.asarray(ids), vocabulary) for ids in rows]
        return companion.pack_batch([companion.add_positions(x, places) for x in words])


ATTEMPTS = {
    exercises.check_pack_sentences: Attempts(
        wrong=[
            # The mask.
            (pack_with(mask=lambda right: ~right.tokens), "token_mask is turned over"),
            (pack_with(mask=lambda right: right.x.any(axis=-1)), "row happens to be zero"),
            (pack_with(mask=lambda right: right.ids > 0), "and 0 is an id like any other"),
            (
                pack_with(mask=lambda right: right.tokens * 1),
                "holds int64: it should be boolean",
            ),
            (pack_with(mask=lambda right: right.tokens | True), "True everywhere"),
            (pack_with(mask=lambda right: right.tokens[:, ::-1]), "the padding before"),
            (
                pack_with(mask=lambda right: np.roll(right.tokens, -1, axis=1)),
                "another number of tokens, or has them in other places",
            ),
            (
                pack_with(mask=lambda right: right.tokens.T),
                "should be (3, 4), an entry for each place in each sentence; yours is (4, 3)",
            ),
            # The shape of the batch.
            (pack_with(batch=lambda x: x.swapaxes(0, 1)), "the tokens first"),
            (pack_with(batch=lambda x: x.mT), "holds a token as a column"),
            (pack_the_shortest, "cut to the shortest sentence"),
            (
                pack_as_long_as(0),
                "as long as the first sentence. The shape of x should be (B=3, N=5",
            ),
            (pack_as_long_as(-1), "as long as the last sentence"),
            (pack_to_the_table, "as long as the table of positions"),
            (pack_end_to_end, "end to end in one matrix. The shape of x should be (B=3, N=4, d=5)"),
            # The rows of the tokens.
            (packed_by(lambda t: t.word), "hold no position"),
            (packed_by(lambda t: t.p[t.n]), "and no embedding"),
            (packed_by(lambda t: t.word * t.p[t.n]), "are multiplied"),
            (packed_by(lambda t: t.word + t.p[t.n + 1]), "count from one"),
            (packed_by(lambda t: t.word + t.p[t.k]), "go on counting"),
            (packed_by(lambda t: t.word + t.p[0]), "of position 0"),
            (packed_by(lambda t: t.word - t.p[t.n]), "not yet E plus P"),
            (pack_to_the_left, "and x has it before them"),
            # The padding.
            (padded_by(lambda table, p: table[0] + p), "what a token of id 0 would hold"),
            (padded_by(lambda table, _: table[0]), "the embedding of id 0"),
            (padded_by(lambda _, p: p), "the vector of their position"),
            (padded_by(lambda table, p: table[-1] + p), "what the last word of the table"),
            (packed_by(lambda t: t.word + t.p[t.n], fill=1e-9), "are not zero"),
        ],
        odd=[padded_by(lambda *_: 0.0), pack_in_place, Pack],
        other=[
            (None, "Not attempted yet: write a function of sentences, table and positions"),
            (lambda *_: ..., "Not attempted yet"),
            ([0, 1], "this is list"),
            (
                lambda sentences, table, _: table[sentences],
                "stops for sentences of 4, 2, 3 tokens with ValueError",
            ),
            (lambda *given: pack_sentences(*given)[0], "A pair is asked for"),
            (lambda *given: pack_sentences(*given)[::-1], "yours is (3, 4)"),
            (
                pack_with(batch=lambda x: np.where(x == 0, np.nan, x)),
                "Finite numbers are asked for",
            ),
            (pack_sentences, "Right"),
        ],
        needs={"xp": NUMPY.xp},
    ),
    exercises.check_cat_row: Attempts(
        wrong=[
            ([0, 0, 1.5, 0, 1, 0], "so is the vector of position 2."),
            ([0, 0, 1, 0.5, 1, 0], "so is the vector of position 4."),
            ([0.5, 0, 1, 0, 1, 0], "so is the vector of position 1."),
            ([0, 0, 1, 0, 1, 0], "so is the vector of position 0."),
            ([0.5, 0, 1.5, 0, 0, 0], "no row of P"),
            ([0.5, 0, 0.5, 0, 0, 0], "no row of P"),
        ],
        odd=[
            np.asarray(CAT_ROW, np.float32),
            (Decimal(str(entry)) for entry in CAT_ROW),
            (np.asarray(entry) for entry in CAT_ROW),
        ],
        other=[
            (None, "Not attempted yet"),
            (..., "Not attempted yet"),
            ("cat", "six numbers"),
            ([[1], [2, 3]], "list of length 2: write down the six numbers"),
            ([0.5, 0, 1, 0, 1], "this is list of length 5"),
            (np.zeros((1, 6)), "this is ndarray of shape (1, 6)"),
            ([np.nan] * 6, "A finite number"),
            (itertools.count(), "count of length more than 6"),
            (CAT_ROW, "Right"),
        ],
    ),
    exercises.check_distinct_rows: Attempts(
        wrong=[
            (2, "Which rows are equal"),
            (5, "Which rows are equal"),
            (4, "Which rows are equal"),
            (1, "Which rows are equal"),
        ],
        odd=[3.0, np.float32(3), np.asarray(3), Decimal(3)],
        other=[
            (None, "Not attempted yet"),
            ("three", "this is str"),
            (True, "this is bool"),
            (2.5, "A whole number is asked for, got 2.5"),
            (0, "at least one and at most five"),
            (6, "at least one and at most five"),
            (3, "Right"),
        ],
    ),
    exercises.check_ids_from_rows: Attempts(
        wrong=[
            (nearest_without_slice, "table (14, 7) and positions (20, 7) with ValueError"),
            (nearest_with_positions, "still hold their positions"),
            (lambda x, table, p: nearest(x, table, -p), "You add the positions once more"),
            (lambda x, table, p: nearest(x, table, p[1:]), "Your positions count from one"),
            (lambda x, table, p: nearest(x - p[0], table, 0 * p), "of position 0 away from every"),
            (by_one_column, "does not come back. The row you took"),
            (by_all_but_one_column, "differs in one column: compare all of them"),
            (by_cosine, "lies along the right one"),
            (by_product, "does not come back. The row with the largest product"),
            (by_length, "than to the one you took"),
            (by_sum, "than to the one you took"),
            (by_centred_row, "than to the one you took"),
            (by_equality, "look for the nearest row, not for an equal one"),
            (ids_of_close_rows, "take the nearest"),
            (ids_of_rows_within, "within some tolerance, it seems"),
        ],
        odd=[nearest_in_place, Nearest, lambda a, b, *c: nearest(a, b, c[0]).astype(np.uint8)],
        other=[
            (None, "Not attempted yet"),
            (lambda *_: ..., "Not attempted yet"),
            ([0, 1], "this is list"),
            (lambda x: x, "with TypeError"),
            (lambda *_: [0] * 9, "An array is asked for, and this is list"),
            (lambda x, *_: x, "one id a row; yours is (16, 7)"),
            (lambda x, *_: x[:, 0], "yours have dtype float64"),
            (lambda *arrays: nearest(*arrays) - 14, "0 … 13"),
            (nearest, "Right"),
        ],
        needs={"xp": NUMPY.xp},
    ),
    exercises.check_token_mean: Attempts(
        wrong=[
            (lambda x, _: x.mean(axis=1), "rows of padding hold other numbers"),
            (
                lambda x, token_mask: x.sum(axis=1) / token_mask.sum(axis=1)[:, None],
                "rows of padding hold other numbers",
            ),
            (mean_into_one_buffer(), "rows of padding hold other numbers"),
            (mean_by_product, "A NaN in a row of padding reaches your means"),
            (
                lambda x, token_mask: np.where(token_mask[:, :, None], x, 0.0).mean(axis=1),
                "sentences with padding are divided",
            ),
            (
                lambda x, token_mask: np.where(token_mask[:, :, None], x, 0.0).sum(axis=1),
                "also where a sentence has no padding",
            ),
            (mean_over_the_batch, "also where a sentence has no padding"),
            (mean_over_two_or_more, "sentences with padding are divided"),
            (lambda x, _: x[:, 0], "which rows do you add up?"),
            (lambda x, _: 0 * x[:, 0], "which rows do you add up?"),
            (
                lambda x, keep: np.stack(
                    [np.median(r[k], 0) for r, k in zip(x, keep, strict=True)]
                ),
                "which rows do you add up?",
            ),
        ],
        odd=[
            mean_in_place,
            lambda rows, seen: token_mean(rows, seen).astype(np.float32),
            lambda x, keep: np.stack([x[b, : keep[b].sum()].mean(0) for b in range(len(x))]),
        ],
        other=[
            (None, "Not attempted yet"),
            (lambda *_: None, "Not attempted yet"),
            (3, "this is int"),
            (lambda x, _: x.undefined, "stops with AttributeError"),
            (lambda *_: 0.0, "this is float"),
            (lambda x, _: x.mean(axis=2), "one mean a sentence; yours is (3, 5)"),
            (lambda *_: np.full((3, 4), np.nan), "not all finite"),
            (token_mean, "Right"),
        ],
        needs={"xp": NUMPY.xp},
    ),
    exercises.check_padding_cost: Attempts(
        wrong=[
            ((1344, 4 * 512**2), "The rows are right"),
            ((1344, 512**2), "The rows are right"),
            ((704, 274_432), "The scores are right"),
            ((704, 704**2), "Neither yet"),
        ],
        odd=[(1344.0, 274_432.0), np.asarray([1344, 274_432], np.float32), iter([1344, 274_432])],
        other=[
            (None, "Not attempted yet"),
            (1344, "this is int: write down two whole numbers"),
            ((1344,), "A pair is asked for, and this is tuple of length 1"),
            ({1344, 274_432}, "A pair is asked for, and this is set"),
            ((0, 0), "Neither yet"),
            ((1344, 274_432), "Right"),
        ],
    ),
}

test_attempts = tried_on(ATTEMPTS)


def test_the_row_of_cat_is_that_of_the_packed_sentence():
    example = companion.running_example(NUMPY.xp)
    ids = companion.token_ids(["quickly", "ran", "the", "cat"], example.vocabulary, xp=NUMPY.xp)
    x = companion.add_positions(companion.embed(ids, example.embedding), example.positions)
    assert x[3, :].tolist() == CAT_ROW


def test_the_row_of_cat_may_be_on_any_device(capsys, home):
    exercises.check_cat_row(home.asarray(np.asarray(CAT_ROW)))
    assert "Right" in capsys.readouterr().out


@pytest.mark.parametrize("attempt", [None, 2, "x", (1, 2), CAT_ROW[:4]])
def test_no_checker_gives_the_answer_away(capsys, attempt):
    for name in exercises.__all__:
        getattr(exercises, name)(attempt)
        line = capsys.readouterr().out
        assert not line.startswith("Right")
        assert not any(answer in line for answer in ("three", "1344", "274"))


def test_checkers_find_the_array_module_themselves(capsys, monkeypatch):
    monkeypatch.setenv("COMPANION_ARRAY_MODULE", "numpy")
    exercises.check_ids_from_rows(nearest)
    exercises.check_token_mean(token_mean)
    exercises.check_pack_sentences(pack_sentences)
    assert capsys.readouterr().out.count("Right") == 3
