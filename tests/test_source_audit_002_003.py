"""The statements of the source notes 002 and 003: where they fail, the smallest counterexample."""

from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import companion
from companion import cost
from companion import scaled_dot_product_attention as attend
from companion.heads import AttentionParameters
from tests.support.audit import ONE, SMALL, find, matrices

HEADS = Path(__file__).parent.parent / "notebooks/data/minilm_heads.npz"


def one_feature(x):
    """Return the weights of the head whose matrices are all (1)."""
    return companion.softmax(companion.scaled_scores(x, x))


# 002


def test_002_s1():
    def refutes(case):
        x, t = case
        return not np.allclose(one_feature(x + t), one_feature(x))

    rows = st.integers(1, 3).flatmap(lambda n: matrices(n, 1))
    x, t = find(st.tuples(rows, SMALL), refutes)
    np.testing.assert_array_equal(x, [[0], [1]])
    assert t == 1
    np.testing.assert_array_equal(one_feature(x)[0], [0.5, 0.5])
    np.testing.assert_allclose(one_feature(x + 1)[0], [0.27, 0.73], atol=0.005)


class Row(np.ndarray):
    """An array that counts the products and sums that wait for one another."""

    depth = 0

    def __array_ufunc__(self, ufunc, method, *parts, **options):
        depth = 1 + max(getattr(part, "depth", 0) for part in parts)
        plain = [np.asarray(part) for part in parts]
        out = np.asarray(getattr(ufunc, method)(*plain, **options)).view(Row)
        out.depth = depth
        return out


def recurrent(x, w_x, w_h):
    """Run a recurrent network: h_i = tanh(x_i W_x + h_{i-1} W_h)."""
    read, state = x @ w_x, np.zeros((1, w_h.shape[0])).view(Row)
    for i in range(x.shape[0]):
        state = np.tanh(read[i : i + 1] + state @ w_h)
    return state


def in_parallel(x, w_q, w_k, w_v):
    """Attend by the formula, step by step, so that its steps can be counted."""
    scores = (x @ w_q) @ (x @ w_k).T / x.shape[1] ** 0.5
    powers = np.exp(scores)
    return (powers / np.add.reduce(powers, axis=1, keepdims=True)) @ (x @ w_v)


def test_002_s4():
    rng = np.random.default_rng(0)
    weights = [w.view(Row) for w in rng.standard_normal((3, 4, 4))]
    depths = {}
    for length in (2, 20, 200):
        x = rng.standard_normal((length, 4)).view(Row)
        depths[length] = recurrent(x, *weights[:2]).depth, in_parallel(x, *weights).depth
        np.testing.assert_allclose(
            np.asarray(in_parallel(x, *weights)),
            attend(*(np.asarray(x @ w) for w in weights)),
            rtol=1e-10,
        )
    steps, parallel = zip(*depths.values(), strict=True)
    assert len(set(parallel)) == 1  # as many for 200 tokens as for 2
    assert steps[1] - steps[0] == 3 * 18  # product, sum, tanh for each token more
    assert steps[2] - steps[1] == 3 * 180
    sizes = cost.Sizes(width=64)
    for length in (1, 10, 64, 1000):
        steps = cost.projections(length, sizes) | cost.attention(length, length, sizes)
        recurrence = cost.total(cost.recurrence(length, sizes))
        assert recurrence.flops < cost.total(steps).flops
        lstm_is_cheaper = 4 * recurrence.flops < cost.total(steps).flops
        assert lstm_is_cheaper == (length > 2 * sizes.width)


def test_002_s5():
    trained = companion.load_trained_heads(HEADS, xp=np, dtype=np.float64)
    sentence = trained.sentence("The black cat ran quickly.")
    black, cat, ran, quickly = map(sentence.tokens.index, ("black", "cat", "ran", "quickly"))
    _, weights = companion.multi_head_attention(
        sentence.inputs[2], trained.layer(2), return_weights=True
    )  # (12, 8, 8)
    np.testing.assert_allclose(weights[8, black, cat], 0.70, atol=0.005)
    np.testing.assert_allclose(weights[11, quickly, ran], 0.77, atol=0.005)
    favourites = weights.argmax(axis=-1)  # (12, 8)
    assert np.flatnonzero(favourites[:, black] == cat).tolist() == [8]
    assert np.flatnonzero(favourites[:, quickly] == ran).tolist() == [11]
    assert favourites[8, quickly] == 0  # [CLS]
    np.testing.assert_allclose(weights[11, cat, [black, 0]], 0.47, atol=0.005)
    others = weights[11].copy()  # what head 2.11 gives to words: the one before gets most
    others[:, 0] = 0
    assert [others[i].argmax() for i in (black, cat, ran, quickly)] == [black - 1, black, cat, ran]


def test_002_s6():
    def refutes(width):
        try:
            np.ones((width, 1)) @ np.ones((width, width))
        except ValueError:
            return True
        return False

    assert find(st.integers(1, 9), refutes) == 2

    def readings_differ(case):
        x, w = case
        return np.any(companion.project(x, w) != (w @ x.T).T)

    x, w = find(st.tuples(matrices(1, 2), matrices(2, 2)), readings_differ)
    assert np.abs(x).sum() == np.abs(w).sum() == 1
    x, w = np.asarray([[0.0, 1.0]]), np.asarray([[0.0, 0.0], [1.0, 0.0]])
    np.testing.assert_array_equal(companion.project(x, w), [[1, 0]])
    np.testing.assert_array_equal(w @ x.T, [[0], [0]])


def test_002_s7():
    def refutes(case):
        x, w_v = (n * ONE for n in case)
        return attend(x, x, companion.project(x, w_v), is_causal=True)[0, 0] != x[0, 0]

    assert find(st.tuples(SMALL, SMALL), refutes) == (1, 0)


def test_002_s8():
    text = ["to", "be", "or", "not", "to", "be", "that", "is", "the", "question"]
    vocabulary = companion.build_vocabulary(text)
    ids = companion.token_ids(text, vocabulary, xp=np)
    places = 50 * np.eye(len(text))  # a head that reads positions and no words
    next_word = np.eye(len(vocabulary))[np.roll(ids, -1)]
    recited = attend(places, places, next_word, is_causal=True).argmax(axis=-1)
    np.testing.assert_array_equal(recited[:-1], ids[1:])


# 003


@pytest.mark.parametrize("length", [2, 3, 8])
def test_003_s1(length):
    mask = companion.causal_mask(length)
    scores = np.zeros((length, length))
    assert (companion.softmax(np.where(mask, scores, 0.0))[~mask] == 1 / length).all()
    assert (companion.softmax(companion.mask_scores(scores, mask))[~mask] == 0).all()


@pytest.mark.parametrize("finite", [-1.0, -1e4, -1e9, -1e300])
def test_003_s2(finite):
    """The lemma's own M, with zeros on and below the diagonal: no row of it is empty."""
    shown, above = companion.causal_mask(2), np.asarray([[0.0, 1.0], [0.0, 0.0]])
    scores = np.asarray([[finite, 0.0], [0.0, 0.0]])
    for masked in (scores + finite * above, np.where(shown, scores, finite)):  # added, or put there
        assert companion.softmax(masked)[0, 1] == 0.5
    exact = companion.softmax(companion.mask_scores(scores, shown))
    assert exact[0, 1] == 0  # −∞: exactly
    assert companion.softmax(np.asarray([finite]))[0] == 1  # another mask, and nothing to see
    with np.errstate(over="ignore"):
        assert np.float16(-1e9) == -np.inf


def first_row_moves(case):
    """Say whether the second of two tokens moves the first row of unmasked attention."""
    x, other, w_v = case
    rows = [np.asarray([[x], [last]], dtype=np.float64) for last in (x, other)]
    outputs = [attend(r, r, companion.project(r, w_v * ONE)) for r in rows]
    return outputs[0][0, 0] != outputs[1][0, 0]


def test_003_s3():
    @hypothesis.given(SMALL, SMALL)
    def never_moves_without_values(x, other):
        assert not first_row_moves((x, other, 0))

    never_moves_without_values()
    case = st.tuples(SMALL, SMALL, st.integers(1, 9))
    assert find(case, first_row_moves) == (0, 1, 1)  # with values it does


def test_003_s4():
    test_002_s8()  # a model that writes word by word, each from the words before it
    output = attend(ONE, ONE, -ONE, is_causal=True)
    assert output[0, 0] == -1  # no distribution over words comes out of attention
    rng = np.random.default_rng(0)
    rows, to_words = rng.standard_normal((5, 3)), rng.standard_normal((3, 7))
    attended = attend(rows, rows, rows, is_causal=True)
    chances = companion.softmax(companion.project(attended, to_words))  # an output layer does it
    np.testing.assert_allclose(chances.sum(axis=-1), 1)
    changed = np.where(np.arange(5)[:, None] == 4, 9.0, rows)
    later = attend(changed, changed, changed, is_causal=True)
    same = companion.softmax(companion.project(later, to_words))[:4] == chances[:4]
    assert same.all()  # and each prediction depends on earlier words alone


@pytest.mark.claim("cor-last-rows")
def test_003_s6():
    rng = np.random.default_rng(1)
    query, key, value = rng.standard_normal((3, 6, 4))
    causal = attend(query, key, value, is_causal=True)
    before = value[:0]
    for n in range(1, 7):
        prefix = attend(query[:n], key[:n], value[:n])  # unmasked, and the future is not there
        np.testing.assert_allclose(prefix[-1], causal[n - 1], rtol=0, atol=1e-14)
        # But each new word changes every earlier row.
        assert (np.abs(prefix[:-1] - before) > 1e-3).any(axis=-1).all()
        before = prefix
        # And with a second layer the last row is no longer that of one causal pass.
        twice = attend(*3 * [prefix])[-1], attend(*3 * [causal], is_causal=True)[n - 1]
        assert (np.abs(twice[0] - twice[1]).max() > 1e-3) == (n > 1)


def test_003_s7():
    def refutes(length):
        mask = companion.additive_mask(companion.causal_mask(length), np.float64)
        return not np.array_equal(mask, np.tril(mask))

    assert find(st.integers(1, 9), refutes) == 2
    for length in (2, 5):
        mask = companion.additive_mask(companion.causal_mask(length), np.float64)
        above = np.triu(np.ones((length, length), dtype=bool), k=1)
        assert (mask[above] == -np.inf).all()
        assert (mask[~above] == 0).all()
    assert companion.softmax(np.asarray([1.0, 0.0]))[1] > 0.2  # small, and not hidden


def test_003_s8():
    rng = np.random.default_rng(2)
    draw = {"width": 6, "heads": 2, "xp": np}
    encode, look_back, cross = (AttentionParameters.random(rng, **draw) for _ in range(3))

    def translate(source, target):
        source = source + companion.multi_head_attention(source, encode)
        target = target + companion.multi_head_attention(target, look_back, is_causal=True)
        return target + companion.multi_head_attention(target, cross, context=source)

    source, target = rng.standard_normal((2, 2, 6))
    rows = translate(source, target)
    for word in (0, 1):
        changed = source + (np.arange(2)[:, None] == word)
        assert (translate(changed, target) != rows).any(axis=-1).all()
    changed = target + (np.arange(2)[:, None] == 1)
    moved = (translate(source, changed) != rows).any(axis=-1)
    np.testing.assert_array_equal(moved, [False, True])


def test_003_o1():
    rng = np.random.default_rng(3)
    query, key, value = rng.standard_normal((3, 5, 4))
    output, weights = attend(query, key, value, return_weights=True)
    _, others = attend(query[::-1], key, value, return_weights=True)
    assert np.abs(weights - others).max() > 0.1  # other queries, other weights
    assert np.abs(weights - 1 / 5).max() > 0.1
    plain = attend(0 * query, key, value)
    np.testing.assert_allclose(plain, np.tile(value.mean(axis=0), (5, 1)))
    for c in range(4):  # every column is mixed by itself, with the same weights
        np.testing.assert_allclose(output[:, c], weights @ value[:, c], rtol=1e-12)
