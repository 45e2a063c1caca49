"""Scaled scores: their definition, their variance with its conditions, and what breaks them."""

import itertools
import math
import re
from fractions import Fraction
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import companion
from companion import loops, pitfalls
from companion.arrays import to_numpy
from companion.figures import scores as figures
from companion.scores import check_scale, scaled_scores, score_variance, score_variance_terms
from tests.support.homes import NUMPY

DATA = Path(__file__).parent.parent / "notebooks" / "data" / "minilm_heads.npz"
EXAMPLE = companion.running_example(NUMPY.xp)
QUERY, KEY = EXAMPLE.x @ EXAMPLE.w_q[0], EXAMPLE.x @ EXAMPLE.w_k[0]
NUMBERS = st.floats(-10, 10, width=32)


def draw(*shapes, dtype=np.float64, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def relative_error(terms):
    """Return the standard error of a mean of independent terms, relative to the mean."""
    return float(np.std(terms)) / math.sqrt(len(terms)) / abs(float(np.mean(terms)))


# --- the scores -----------------------------------------------------------------------------------


@pytest.mark.claim("eq-scaled-scores")
def test_the_scores_of_cat_by_hand():
    expected = np.asarray([-1.5, 4.875, 2.625, -1.5, 3.625])
    np.testing.assert_array_equal(scaled_scores(QUERY, KEY, scale=1.0)[2], expected)
    np.testing.assert_allclose(scaled_scores(QUERY, KEY)[2], expected / math.sqrt(3), rtol=1e-15)


@pytest.mark.claim("eq-scaled-scores")
@pytest.mark.parametrize(
    ("query_shape", "key_shape"),
    [
        ((1, 1), (1, 1)),
        ((4, 3), (5, 3)),
        ((97, 8), (257, 8)),
        ((2, 3, 4, 5), (2, 3, 6, 5)),
        ((3, 4, 5), (6, 5)),
        ((2, 1, 4, 5), (3, 6, 5)),
        ((0, 3), (5, 3)),
        ((4, 3), (0, 3)),
    ],
)
def test_each_entry_is_a_query_times_a_key(home, query_shape, key_shape):
    query, key = draw(query_shape, key_shape)
    scores = scaled_scores(home.asarray(query), home.asarray(key))
    expected = np.einsum("...il,...jl->...ij", query, key) / math.sqrt(query_shape[-1])
    assert scores.shape == expected.shape
    np.testing.assert_allclose(to_numpy(scores), expected, rtol=0, atol=1e-13)


@pytest.mark.claim("eq-scaled-scores")
def test_all_pairs_agree_with_the_double_loop():
    query, key = draw((4, 3), (6, 3))
    loop = loops.scores_loop(query, key, scale=1 / math.sqrt(3))
    np.testing.assert_allclose(scaled_scores(query, key), loop, rtol=0, atol=1e-14)


@pytest.mark.claim("eq-scaled-scores")
def test_scores_agree_with_jax():
    query, key = draw((2, 3, 4, 5), (2, 3, 6, 5), dtype=np.float32)
    expected = jnp.einsum("bhtd,bhsd->bhts", query, key) / jnp.sqrt(jnp.float32(5))
    np.testing.assert_allclose(scaled_scores(query, key), expected, rtol=0, atol=2e-6)


@given(
    query=arrays(np.float64, (4, 3), elements=NUMBERS),
    key=arrays(np.float64, (5, 3), elements=NUMBERS),
    order=st.permutations(range(5)),
)
def test_reordered_keys_reorder_the_columns(query, key, order):
    moved = scaled_scores(query, key[order])
    np.testing.assert_allclose(moved, scaled_scores(query, key)[:, order], rtol=0, atol=1e-12)


@given(
    query=arrays(np.float64, (4, 3), elements=NUMBERS),
    key=arrays(np.float64, (5, 3), elements=NUMBERS),
    place=st.integers(0, 4),
    factor=st.sampled_from([0.25, 2.0, 8.0]),
)
def test_a_longer_key_scales_its_column_and_no_other(query, key, place, factor):
    scores, factors = scaled_scores(query, key), np.ones((5, 1))
    factors[place] = factor
    np.testing.assert_array_equal(scaled_scores(query, key * factors), scores * factors.T)


@given(
    query=arrays(np.float64, (4, 3), elements=NUMBERS),
    key=arrays(np.float64, (5, 3), elements=NUMBERS),
    scale=st.sampled_from([2.0**-6, 0.5, 1.0, 4.0]),
)
def test_the_scale_changes_no_ranking(query, key, scale):
    ranks = np.argsort(scaled_scores(query, key, scale=1.0), axis=-1, kind="stable")
    scaled = scaled_scores(query, key, scale=scale)
    np.testing.assert_array_equal(np.argsort(scaled, axis=-1, kind="stable"), ranks)


def test_a_score_is_lengths_times_cosine():
    lengths = np.linalg.norm(QUERY[2]) * np.linalg.norm(KEY, axis=1)
    cosines = scaled_scores(QUERY, KEY, scale=1.0)[2] / lengths
    assert np.all(np.abs(cosines) <= 1)
    assert np.argmax(cosines) == 1  # black
    assert cosines[2] > cosines[4]  # cat points nearer than quickly does,
    assert scaled_scores(QUERY, KEY)[2, 2] < scaled_scores(QUERY, KEY)[2, 4]  # which is longer


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_dtype_that_comes_in_goes_out(dtype):
    query, key = draw((4, 64), (5, 64), dtype=dtype)
    scores = scaled_scores(query, key)
    assert scores.dtype == dtype
    exact = query.astype(np.float64) @ key.astype(np.float64).T / 8
    tolerance = 16 * float(np.finfo(dtype).eps) * np.abs(exact).max()
    np.testing.assert_allclose(scores.astype(np.float64), exact, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("dtype", "entry", "expected"),
    [("float16", 64.0, 2.0**15), ("float32", 2.0**61, 2.0**125), ("float64", 2.0**509, 2.0**1021)],
)
def test_a_finite_score_does_not_overflow_on_the_way(home, dtype, entry, expected):
    """The unscaled product, 64 · entry², is beyond the largest number of its dtype."""
    if not hasattr(home.xp, dtype):
        pytest.skip(f"{home.name} has no {dtype}")
    assert 64 * Fraction(entry) ** 2 > Fraction(float(np.finfo(dtype).max))
    rows = home.asarray(np.full((1, 64), entry, dtype=dtype))
    assert float(scaled_scores(rows, rows)[0, 0]) == expected


def test_a_factor_above_one_is_applied_last():
    query = np.asarray([[2.0**120, 0]], dtype=np.float32)
    key = np.asarray([[2.0**-60, 0]], dtype=np.float32)
    assert scaled_scores(query, key, scale=2.0**60)[0, 0] == 2.0**120


def test_the_scale_is_a_python_float():
    assert type(check_scale(None, 64)) is float
    assert type(check_scale(np.float32(0.5), 64)) is float
    assert check_scale(None, 64) == 0.125


def test_leading_axes_must_broadcast():
    query, key = draw((2, 4, 3), (5, 6, 3))
    with pytest.raises(ValueError, match=re.escape("key must have leading axes that broadcast")):
        scaled_scores(query, key)


@pytest.mark.parametrize("cap", [0.5, 50.0])
def test_soft_cap(home, cap):
    scores = np.linspace(-200, 200, 41)
    capped = to_numpy(companion.soft_cap(home.asarray(scores), cap))
    assert np.all(np.abs(capped) <= cap)
    assert np.all(np.diff(capped) >= 0)
    np.testing.assert_allclose(capped, cap * np.tanh(scores / cap), rtol=1e-14)
    tiny = home.asarray(np.asarray([1e-6 * cap]))
    assert float(companion.soft_cap(tiny, cap)[0]) == pytest.approx(1e-6 * cap, rel=1e-11)


@pytest.mark.parametrize("cap", [None, 0, 0.0])
def test_no_soft_cap(cap):
    assert companion.soft_cap(QUERY, cap) is QUERY


# --- the variance ---------------------------------------------------------------------------------


def exact_moments(pairs):
    """Return the mean and the variance of q · k over equally likely pairs, as fractions."""
    scores = [sum(Fraction(a) * Fraction(b) for a, b in zip(q, k, strict=True)) for q, k in pairs]
    mean = sum(scores) / len(scores)
    return mean, sum((score - mean) ** 2 for score in scores) / len(scores)


def moments(rows):
    rows = np.asarray(rows, dtype=np.float64)
    return rows.mean(axis=0), np.cov(rows.T, bias=True).reshape(rows.shape[1], rows.shape[1])


def by_theorem(queries, keys):
    (mean_q, cov_q), (mean_k, cov_k) = moments(queries), moments(keys)
    return np.trace(cov_q @ cov_k) + mean_q @ cov_k @ mean_q + mean_k @ cov_q @ mean_k


WHOLE_ROWS = st.integers(1, 4).flatmap(
    lambda d_k: st.tuples(
        *(
            st.lists(st.tuples(*[st.integers(-9, 9)] * d_k), min_size=1, max_size=5)
            for _ in range(2)
        )
    )
)


@pytest.mark.claim("thm-score-variance")
@given(WHOLE_ROWS)
def test_variance_of_a_score_is_exact_for_any_two_distributions(rows):
    """Every query with every key, equally often: two independent, otherwise arbitrary vectors."""
    queries, keys = rows
    mean, variance = exact_moments(itertools.product(queries, keys))
    assert moments(queries)[0] @ moments(keys)[0] == pytest.approx(float(mean), abs=1e-9)
    assert by_theorem(queries, keys) == pytest.approx(float(variance), rel=1e-12, abs=1e-9)


@pytest.mark.claim("prop-between-keys")
@given(WHOLE_ROWS)
def test_what_one_query_sees(rows):
    queries, keys = rows
    within = [exact_moments([(query, key) for key in keys]) for query in queries]
    terms = score_variance_terms(*(np.asarray(a, dtype=np.float64) for a in rows))
    average = sum(variance for _, variance in within) / len(queries)
    assert float(terms[0] + terms[1]) == pytest.approx(float(average), rel=1e-12, abs=1e-9)
    row_means = np.asarray([float(mean) for mean, _ in within])
    assert float(terms[2]) == pytest.approx(float(np.var(row_means)), rel=1e-12, abs=1e-9)
    everywhere = exact_moments(itertools.product(queries, keys))[1]
    assert float(sum(terms)) == pytest.approx(float(everywhere), rel=1e-12, abs=1e-9)


@pytest.mark.claim("prop-between-keys")
def test_the_mean_of_the_keys_changes_no_weight_and_that_of_the_queries_does():
    weights = companion.softmax(scaled_scores(QUERY, KEY))
    without = companion.softmax(scaled_scores(QUERY, KEY - KEY.mean(axis=0)))
    np.testing.assert_allclose(without, weights, rtol=0, atol=1e-14)
    without = companion.softmax(scaled_scores(QUERY - QUERY.mean(axis=0), KEY))
    assert np.abs(without - weights).max() > 0.1


@pytest.mark.claim("thm-score-variance")
def test_terms_over_batches(home):
    query, key = draw((2, 3, 7, 4), (2, 3, 9, 4))
    query, key = query + 1, key @ draw((4, 4), seed=2)[0] - 2
    terms = [to_numpy(t) for t in score_variance_terms(home.asarray(query), home.asarray(key))]
    for b, h in itertools.product(range(2), range(3)):
        (mean_q, cov_q), (mean_k, cov_k) = moments(query[b, h]), moments(key[b, h])
        expected = np.trace(cov_q @ cov_k), mean_q @ cov_k @ mean_q, mean_k @ cov_q @ mean_k
        np.testing.assert_allclose([t[b, h] for t in terms], expected, rtol=1e-12)
    variance = np.var(query @ np.swapaxes(key, -1, -2), axis=(-2, -1))
    np.testing.assert_allclose(sum(terms), variance, rtol=1e-12)


def test_terms_are_computed_in_float32_for_float16():
    """The sums of squares, about 125,000, are beyond float16; the covariances are not."""
    query, key = (10 + 5 * a for a in draw((5000, 2), (5000, 2), dtype=np.float16))
    terms = score_variance_terms(query, key)
    assert {term.dtype for term in terms} == {np.dtype(np.float16)}
    wide = score_variance_terms(query.astype(np.float64), key.astype(np.float64))
    np.testing.assert_allclose(np.stack(terms), np.stack(wide), rtol=1e-3)


@pytest.mark.parametrize(
    ("call", "error", "part"),
    [
        (lambda: score_variance_terms(QUERY[:0], KEY), ValueError, "query must have at least one"),
        (lambda: score_variance_terms(QUERY, KEY[:0]), ValueError, "key must have at least one"),
        (lambda: score_variance_terms(QUERY[0], KEY), ValueError, "query must be (..., T, d_k)"),
        (lambda: score_variance_terms(QUERY, KEY[:, :2]), ValueError, "key must be (..., S, d_k=3"),
        (lambda: score_variance_terms([[1.0]], KEY), TypeError, "query must be an array"),
        (lambda: score_variance(2.0), TypeError, "d_k must be an integer, got float"),
        (lambda: score_variance(True), TypeError, "d_k must be an integer, got bool"),
        (lambda: score_variance(2, key_mean="0"), TypeError, "key_mean must be a real number"),
        (lambda: score_variance(2, query_mean=math.nan), ValueError, "query_mean must be finite"),
        (lambda: score_variance(2, query_variance=-1), ValueError, "query_variance must not be"),
    ],
)
def test_bad_calls(call, error, part):
    with pytest.raises(error, match=re.escape(part)):
        call()


@pytest.mark.claim("eq-score-variance", "cor-score-scale")
@pytest.mark.parametrize("d_k", [1, 2, 3])
@pytest.mark.parametrize("query_values", [(-1, 1), (0, 4), (-3, 1)])
@pytest.mark.parametrize("key_values", [(-1, 1), (-2, 2), (1, 5)])
def test_shared_moments_by_enumeration(d_k, query_values, key_values):
    """All entries independent, each one of two values with equal chances."""
    pairs = itertools.product(
        itertools.product(query_values, repeat=d_k), itertools.product(key_values, repeat=d_k)
    )
    mean, variance = exact_moments(pairs)
    predicted = score_variance(
        d_k,
        query_mean=float(np.mean(query_values)),
        query_variance=float(np.var(query_values)),
        key_mean=float(np.mean(key_values)),
        key_variance=float(np.var(key_values)),
    )
    assert predicted == float(variance)
    assert mean == d_k * Fraction(np.mean(query_values)) * Fraction(np.mean(key_values))


@pytest.mark.claim("cor-score-scale")
def test_one_of_the_two_may_depend_on_itself():
    """Zero means and unit variances throughout; q is one fair coin, repeated."""
    d_k, coin = 4, (-1, 1)
    free = list(itertools.product(coin, repeat=d_k))
    repeated = [(c,) * d_k for c in coin]
    alternating = [tuple(c * (-1) ** m for m in range(d_k)) for c in coin]
    variances = {
        (0, 1): d_k,  # q repeated, k free
        (1, 0): d_k,
        (1, 1): d_k,
        (0, 0): d_k**2,
        (0, 2): 0,
    }
    kinds = repeated, free, alternating
    for (i, j), expected in variances.items():
        assert exact_moments(itertools.product(kinds[i], kinds[j])) == (0, expected)
    assert score_variance(d_k) == d_k


@pytest.mark.parametrize("rows", [((1.0, 2.0), (3.0, -1.0)), ((1.0, 2.0), (1.0, 2.0))])
def test_fresh_random_weights_meet_the_assumption(rows):
    """All weights of the signs ±1, each as likely: the token may also meet itself."""
    x_i, x_j = (np.asarray([row]) for row in rows)  # (1, d) each
    for d_k in (1, 2, 3):
        signs = itertools.product((-1.0, 1.0), repeat=2 * d_k)
        weights = np.asarray(list(signs)).reshape(-1, 2, d_k)  # every matrix there is
        scores = scaled_scores((x_i @ weights)[:, 0], (x_j @ weights)[:, 0])  # each with each
        assert scores.mean() == pytest.approx(0, abs=1e-12)
        assert scores.var() == pytest.approx(float(np.sum(x_i**2) * np.sum(x_j**2)), rel=1e-12)


@pytest.mark.claim("cor-score-scale")
@pytest.mark.parametrize("d_k", [1, 3, 64, 512])
def test_the_scale_makes_the_variance_one(d_k):
    scale = check_scale(None, d_k)
    assert scale**2 * score_variance(d_k) == pytest.approx(1, rel=1e-15)
    moments = {"query_variance": 4.0, "key_variance": 9.0}
    assert scale**2 * score_variance(d_k, **moments) == pytest.approx(36, rel=1e-15)


@pytest.mark.claim("cor-score-scale", "lem-score-kurtosis")
@pytest.mark.parametrize("d_k", [2**i for i in range(10)])
def test_the_simulated_variance_is_within_its_error(d_k):
    n, rng = 10_000, np.random.default_rng(d_k)
    query, key = (companion.random_normal((n, d_k), rng, xp=NUMPY.xp) for _ in range(2))
    squares = np.sum(query * key, axis=1) ** 2
    error = math.sqrt((2 + 6 / d_k) / n)
    assert abs(squares.mean() / d_k - 1) < 4 * error
    assert abs((squares / d_k).mean() - 1) < 4 * error
    # A wrong law of growth would show: it would be out by the square root of d_k, or by d_k.
    assert d_k == 1 or abs(squares.mean() / math.sqrt(d_k) - 1) > 4 * error


@pytest.mark.claim("lem-score-kurtosis")
@pytest.mark.parametrize("d_k", [1, 2])
def test_kurtosis_by_exact_integration(d_k):
    """Three Gauss–Hermite nodes integrate a polynomial of degree 4 in each entry exactly."""
    nodes = np.asarray([-math.sqrt(3), 0.0, math.sqrt(3)])
    chances = np.asarray([1, 4, 1]) / 6
    second = fourth = 0.0
    for places in itertools.product(range(3), repeat=2 * d_k):
        entries, chance = nodes[list(places)], float(np.prod(chances[list(places)]))
        score = float(entries[:d_k] @ entries[d_k:])
        second, fourth = second + chance * score**2, fourth + chance * score**4
    assert second == pytest.approx(d_k, rel=1e-12)
    assert fourth / second**2 == pytest.approx(3 + 6 / d_k, rel=1e-12)


@pytest.mark.claim("lem-score-kurtosis")
@pytest.mark.parametrize("d_k", [1, 4, 32])
def test_the_error_of_the_simulation_is_the_one_stated(d_k):
    """The spread of many repeated measurements, itself measured, against the formula."""
    n, repeats, rng = 100, 2_000, np.random.default_rng(d_k)
    query, key = companion.random_normal((2, repeats, n, d_k), rng, xp=NUMPY.xp)
    estimates = np.mean(np.sum(query * key, axis=-1) ** 2, axis=-1) / d_k
    squared = (estimates - 1) ** 2
    assert abs(squared.mean() * n / (2 + 6 / d_k) - 1) < 4 * relative_error(squared)


@pytest.mark.claim("prop-dependent-pair")
@pytest.mark.parametrize("d_k", [1, 16])
def test_a_normal_query_against_itself(d_k):
    query = companion.random_normal((40_000, d_k), np.random.default_rng(d_k), xp=NUMPY.xp)
    squares = (np.sum(query * query, axis=1) - d_k) ** 2
    assert abs(squares.mean() / (2 * d_k) - 1) < 4 * relative_error(squares)


@pytest.mark.claim("prop-dependent-pair")
@pytest.mark.parametrize("d_k", [1, 2, 3])
@pytest.mark.parametrize("values", [(-1, 1), (-2, 0, 0, 0, 0, 0, 0, 2)])
def test_a_key_that_copies_its_query(d_k, values):
    """Entries of mean 0 and variance 1, with fourth moments 1 and 4."""
    kurtosis = Fraction(sum(v**4 for v in values), len(values))
    assert Fraction(sum(v**2 for v in values), len(values)) == 1
    queries = list(itertools.product(values, repeat=d_k))
    assert exact_moments([(q, q) for q in queries]) == (d_k, d_k * (kurtosis - 1))
    pairs = [(q, tuple(sign * entry for entry in q)) for q in queries for sign in (-1, 1)]
    assert exact_moments(pairs) == (0, d_k**2 + d_k * (kurtosis - 1))
    for i, j in itertools.product(range(d_k), repeat=2):
        assert sum(q[i] * k[j] for q, k in pairs) == 0  # no entry correlates with any


# --- trained heads --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    return companion.load_trained_heads(DATA, xp=NUMPY.xp, dtype=np.float64)


def queries_and_keys(trained, index, sentence):
    return companion.project_heads(sentence.inputs[index], trained.layer(index))[:2]


def test_in_one_sentence_the_terms_are_an_identity(trained):
    for index, sentence in itertools.product(trained.layers, trained.sentences.values()):
        query, key = queries_and_keys(trained, index, sentence)
        scores = scaled_scores(query, key)
        terms = [term / 32 for term in score_variance_terms(query, key)]
        np.testing.assert_allclose(sum(terms), np.var(scores, axis=(1, 2)), rtol=1e-10)
        within = np.var(scores, axis=2).mean(axis=1)
        np.testing.assert_allclose(terms[0] + terms[1], within, rtol=1e-10)


def test_what_the_chapter_says_of_trained_spreads(trained):
    for index in trained.layers:
        pairs = [queries_and_keys(trained, index, s) for s in trained.sentences.values()]
        spread = np.sqrt(np.mean([np.var(scaled_scores(*p), axis=(1, 2)) for p in pairs], axis=0))
        if index == 0:
            assert np.argmax(spread) == 2
            assert 9 < spread[2] < 12
            assert np.sum((spread > 0.8) & (spread < 1.25)) >= 8
        else:
            assert np.all(spread > 1)


def directions(query, key):
    """Count the directions in which they meet, by the eigenvalues of Σq Σk."""
    both = [np.cov(q.T) @ np.cov(k.T) for q, k in zip(query, key, strict=True)]
    sizes = np.linalg.eigvals(both).real
    return sizes.sum(axis=-1) ** 2 / (sizes**2).sum(axis=-1)


def in_all_sentences(trained, index):
    pairs = [queries_and_keys(trained, index, s) for s in trained.sentences.values()]
    return (np.concatenate(rows, axis=1) for rows in zip(*pairs, strict=True))


def test_trained_queries_and_keys_meet_in_few_directions(trained):
    counts, larger = [], 0
    for index in trained.layers:
        query, key = in_all_sentences(trained, index)
        counts.extend(directions(query, key))
        trace, of_mean, _ = score_variance_terms(query, key)
        larger += np.sum(of_mean > trace)
    assert larger == 11
    assert 1.2 < min(counts) < max(counts) < 6.5
    noise = directions(*np.random.default_rng(1).standard_normal((2, 100, 48, 32)))
    assert 11 < min(noise) < max(noise) < 16
    white = np.sqrt(32) * np.concatenate([np.eye(32), -np.eye(32)])[None]
    np.testing.assert_allclose(directions(white, white), 32)


def test_what_the_chapter_measures_of_trained_heads_is_theirs_in_any_basis(trained):
    """Only products matter; what single entries say depends on the A of thm-only-product."""
    basis = np.random.default_rng(2).standard_normal((32, 32))
    for index in trained.layers:
        query, key = in_all_sentences(trained, index)
        other = query @ basis, key @ np.linalg.inv(basis).T
        terms, others = score_variance_terms(query, key), score_variance_terms(*other)
        np.testing.assert_allclose(np.stack(others), np.stack(terms), rtol=1e-8)
        np.testing.assert_allclose(directions(*other), directions(query, key), rtol=1e-6)
        spread = scaled_scores(query, key).std(axis=(1, 2))
        above = []
        for q, k in ((query, key), other):
            moments = [
                score_variance(
                    32,
                    query_mean=float(q[h].mean()),
                    query_variance=float(q[h].var()),
                    key_mean=float(k[h].mean()),
                    key_variance=float(k[h].var()),
                )
                for h in range(12)
            ]
            above.append(np.sum(spread > np.sqrt(np.asarray(moments) / 32)))
        assert above == [12, 0]  # so the page does not say which is larger


def test_a_small_start_makes_small_scores():
    d, spread, rng = 384, 0.02, np.random.default_rng(3)
    x = rng.standard_normal((400, d))
    x /= np.sqrt(np.mean(x**2, axis=1, keepdims=True))
    w_q, w_k = spread * rng.standard_normal((2, 50, d, 32))
    scores = scaled_scores(x @ w_q, x @ w_k)  # (50, 400, 400)
    off = ~np.eye(400, dtype=bool)
    assert abs(scores[:, off].std() - d * spread**2) < 0.003
    assert round(d * spread**2, 2) == 0.15


def test_most_held_out_spreads_are_predicted_to_ten_percent(trained):
    close = 0
    for index in trained.layers:
        pairs = [queries_and_keys(trained, index, s) for s in trained.sentences.values()]
        for i, (query, key) in enumerate(pairs):
            others = zip(*pairs[:i], *pairs[i + 1 :], strict=True)
            terms = score_variance_terms(*(np.concatenate(rows, axis=1) for rows in others))
            ratio = np.sqrt(sum(terms) / 32 / scaled_scores(query, key).var(axis=(1, 2)))
            close += np.sum(abs(ratio - 1) < 0.1)
    assert close == 67  # of 96


def test_the_tripled_key_changes_one_column(trained):
    sentence = trained.sentence("The black cat ran quickly.")
    query, key = (a[8] for a in queries_and_keys(trained, 2, sentence))
    before, factors = scaled_scores(query, key), np.ones((8, 1))
    factors[3] = 3
    after = scaled_scores(query, key * factors)
    assert list(np.flatnonzero(np.any(np.abs(after - before) > 1e-9, axis=0))) == [3]
    assert before[0, 3] < 0 < before[1, 3]
    assert list(np.argmax(after[1:3], axis=1)) == [3, 3]
    assert list(np.argmax(before[1:3], axis=1)) == [3, 3]
    assert np.all(before[:, 0] > 2)  # every query's score with [CLS]


# --- what breaks ----------------------------------------------------------------------------------


def test_reshape_is_exposed_by_reordered_keys():
    wrong = pitfalls.scores_by_reshape(QUERY, KEY)
    assert wrong.shape == scaled_scores(QUERY, KEY).shape
    moved = pitfalls.scores_by_reshape(QUERY, KEY[::-1])
    assert np.abs(moved - wrong[:, ::-1]).max() > 1
    assert not np.allclose(wrong, scaled_scores(QUERY, KEY))


@pytest.mark.parametrize(("length", "d_k"), [(1, 3), (5, 1)])
def test_one_token_or_one_entry_hides_the_reshape(length, d_k):
    query, key = draw((length, d_k), (length, d_k))
    wrong = pitfalls.scores_by_reshape(query, key)
    np.testing.assert_allclose(wrong, scaled_scores(query, key), rtol=1e-14)


def test_a_wrong_root_is_exposed_by_the_variance():
    query, key = draw((200, 64), (200, 64), seed=5)
    ranks = np.argsort(scaled_scores(query, key), axis=1)
    for wrong, variance in (
        (scaled_scores(query, key), 1),
        (pitfalls.scores_divided_by_d_k(query, key), 1 / 64),
        (pitfalls.scores_scaled_by_model_width(query, key, 512), 64 / 512),
    ):
        assert wrong.shape == (200, 200)
        np.testing.assert_array_equal(np.argsort(wrong, axis=1), ranks)
        # The scores share queries and keys; their variance is out by some percent at most.
        assert wrong.var() == pytest.approx(variance, rel=0.1)


def test_one_head_hides_the_width_of_the_model():
    query, key = draw((4, 8), (4, 8))
    wrong = pitfalls.scores_scaled_by_model_width(query, key, 8)
    np.testing.assert_allclose(wrong, scaled_scores(query, key), rtol=1e-14)


# --- figures --------------------------------------------------------------------------------------


def test_the_figure_of_all_pairs_says_what_it_shows():
    alt = figures.every_pair(QUERY, KEY, tokens=EXAMPLE.tokens, row=2, column=1).alt
    assert "the query of cat (2.25, 1.50, −0.50)" in alt
    assert "the key of black (1.50, 1.00, 0)" in alt
    assert "their scaled score 2.81" in alt
    assert alt.endswith("−0.87, 2.81, 1.52, −0.87, 2.09.")


def test_the_figure_of_keys_says_what_it_shows():
    figure = figures.keys_around_query(QUERY[2], KEY, tokens=EXAMPLE.tokens, name="cat")
    assert "quickly: length 2.66, 60 degrees, score 2.09" in figure.alt


def test_the_curves_of_variance_follow_the_data():
    widths = np.asarray([1.0, 4, 16])
    alt = figures.variance_by_scale(widths, np.asarray([1.1, 4.4, 17.6])).alt
    assert "q·k: from 1.1 at 1 to 17.6 at 16" in alt
    assert "q·k/d_k: from 1.1 at 1 to 0.0688 at 16" in alt
    error = np.full(3, 0.01)
    alt = figures.variance_within_error(widths, np.asarray([1.02, 0.98, 1]), error).alt
    assert "measured: from 1.02 at 1 to 1 at 16" in alt


def test_the_figure_of_spreads_says_what_it_shows():
    measured, centred = np.asarray([[1.0, 3.0, 0.8]]), np.asarray([[0.9, 1.0, 0.7]])
    figure = figures.head_spreads(measured, centred, titles=["layer 0"], ticks=[0.5, 1, 5])
    assert "layer 0: measured from 0.80 (head 2) to 3.00 (head 1)" in figure.alt
    assert "without the means from 0.70 to 1.00." in figure.alt


@pytest.mark.parametrize(
    ("draw_wrong", "part"),
    [
        (
            lambda: figures.every_pair(QUERY, KEY, tokens=("a",), row=0, column=0),
            "one token a row",
        ),
        (
            lambda: figures.every_pair(QUERY, KEY, tokens=EXAMPLE.tokens, row=5, column=0),
            "inside (5, 5), got 5, 0",
        ),
        (
            lambda: figures.every_pair(
                np.ones((9, 3)), np.ones((9, 3)), tokens="abcdefghi", row=0, column=0
            ),
            "must fit the width of a phone",
        ),
        (
            lambda: figures.keys_around_query(0 * QUERY[0], KEY, tokens=EXAMPLE.tokens, name="a"),
            "query must be (d_k,) and not zero",
        ),
        (
            lambda: figures.head_spreads(np.ones((1, 3)), np.ones((1, 2)), titles=["a"], ticks=[1]),
            "measured and centred must be (L=1, H)",
        ),
        (
            lambda: figures.head_spreads(
                np.full((1, 2), 7.0), np.ones((1, 2)), titles=["a"], ticks=[1, 5]
            ),
            "ticks must hold all values",
        ),
    ],
)
def test_a_figure_that_cannot_be_drawn(draw_wrong, part):
    with pytest.raises(ValueError, match=re.escape(part)):
        draw_wrong()
