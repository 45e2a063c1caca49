"""Choosing the next token: each step against its definition, and what chance may decide."""

import math

import array_api_compat.numpy as xp_numpy
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion import Sampling, next_token_probabilities, sample_tokens
from tests.support.homes import array_homes

# Few sizes, so that ties and zeros are common.
logits = st.lists(
    st.sampled_from([-np.inf, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.5]), min_size=1, max_size=9
).filter(lambda row: max(row) > -np.inf)
samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
    top_k=st.none() | st.integers(1, 10),
    top_p=st.none() | st.sampled_from([0.01, 0.3, 0.61, 0.9, 0.999, 1.0]),
    min_p=st.none() | st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 0.7, 1.3]),
)


def by_definition(row, s, previous):
    """Follow the order of the steps, with lists and one token at a time."""
    row = [
        x if i not in previous else x / s.repetition_penalty if x > 0 else x * s.repetition_penalty
        for i, x in enumerate(row)
    ]
    ranked = sorted(range(len(row)), key=lambda i: (-row[i], i))
    if s.temperature == 0:
        return [float(i == ranked[0]) for i in range(len(row))]
    left = ranked[: s.top_k]

    def shares(ids):
        weights = [math.exp((row[i] - row[ranked[0]]) / s.temperature) for i in ids]
        return [weight / math.fsum(weights) for weight in weights]

    if s.top_p is not None and s.top_p < 1:
        together = shares(left)
        count = next(
            n for n in range(1, len(left) + 1) if math.fsum(together[:n]) >= s.top_p - 1e-15
        )
        left = left[:count]
    if s.min_p is not None:
        together = shares(left)
        left = [
            i for i, share in zip(left, together, strict=True) if share >= s.min_p * together[0]
        ]
    together = dict(zip(left, shares(left), strict=True))
    return [together.get(i, 0.0) for i in range(len(row))]


@given(logits, samplings, st.sets(st.integers(0, 8)))
def test_the_probabilities_are_those_of_the_definition(row, sampling, seen):
    seen = {i for i in seen if i < len(row)}
    got = next_token_probabilities(np.asarray(row), sampling, previous=seen)
    np.testing.assert_allclose(got, by_definition(row, sampling, seen), rtol=1e-12, atol=1e-300)
    assert got.dtype == np.float64


@given(logits, samplings, st.integers(0, 2**32 - 1))
def test_one_number_decides_a_token_by_the_cumulative_probabilities(row, sampling, seed):
    numbers = np.random.default_rng(seed).random(5)
    rng = np.random.default_rng(seed)
    probabilities = next_token_probabilities(np.asarray(row), sampling)
    for number in numbers:
        (token,) = sample_tokens(np.asarray([row]), sampling, rng=rng)
        if sampling.temperature == 0:
            assert token == probabilities.argmax()
        else:
            ends = np.cumsum(probabilities)
            assert ends[token] - probabilities[token] <= number + 1e-12
            assert number <= ends[token] + 1e-12
        assert probabilities[token] > 0
    drawn = 0 if sampling.temperature == 0 else 5
    assert rng.random() == np.random.default_rng(seed).random(drawn + 1)[-1]


def test_the_shares_of_many_draws_are_the_probabilities():
    row = np.log([0.5, 0.2, 0.0001, 0.2999])
    sampling = Sampling(temperature=1.0)
    chosen = sample_tokens(np.tile(row, (20_000, 1)), sampling, rng=np.random.default_rng(0))
    shares = np.bincount(chosen, minlength=4) / 20_000
    np.testing.assert_allclose(shares, np.exp(row), atol=0.012)  # 3.4 standard deviations


class Always:
    """A generator that gives the ends of what it may."""

    def __init__(self, number):
        self.number = number

    def random(self):
        return self.number


@pytest.mark.parametrize(("number", "token"), [(0.0, 1), (np.nextafter(1, 0), 4)])
def test_a_token_without_probability_is_never_drawn(number, token):
    from companion.language_model.sampling import choose_token

    row = np.asarray([-np.inf, 0.1, 0.3, -np.inf, 0.2, -np.inf])
    sampling = Sampling(temperature=0.7)
    assert choose_token(row, sampling, Always(number), np.asarray([], int)) == token


def test_ties_go_to_the_smaller_id():
    row = np.asarray([0.0, 2.0, 1.0, 2.0, 2.0])
    assert sample_tokens(row[None, :]).tolist() == [1]
    kept = next_token_probabilities(row, Sampling(temperature=1.0, top_k=2))
    np.testing.assert_array_equal(kept, [0, 0.5, 0, 0.5, 0])
    kept = next_token_probabilities(row, Sampling(temperature=1.0, top_p=0.4))
    np.testing.assert_array_equal(kept, [0, 0.5, 0, 0.5, 0])


def test_the_order_of_the_steps_is_the_documented_one():
    """The temperature comes first: it decides whom top-p and min-p leave."""
    row = np.log([0.6, 0.3, 0.1])
    flat = Sampling(temperature=10.0, top_p=0.65)
    assert np.count_nonzero(next_token_probabilities(row, flat)) == 2
    sharp = Sampling(temperature=0.1, top_p=0.65)
    assert np.count_nonzero(next_token_probabilities(row, sharp)) == 1
    # top-p sees what top-k has left: 0.6 of 0.9 is more than 0.65.
    both = Sampling(temperature=1.0, top_k=2, top_p=0.65)
    assert np.count_nonzero(next_token_probabilities(row, both)) == 1
    assert np.count_nonzero(next_token_probabilities(row, Sampling(1.0, top_p=0.65))) == 2


def test_a_probability_that_reaches_top_p_exactly_ends_it():
    row = np.zeros(4)
    for top_p, left in ((0.25, 1), (0.5, 2), (np.nextafter(0.5, 1), 3), (1.0, 4), (1e-9, 1)):
        kept = next_token_probabilities(row, Sampling(temperature=1.0, top_p=top_p))
        assert np.count_nonzero(kept) == left


def test_top_p_of_a_large_vocabulary_keeps_the_fewest():
    row = np.random.default_rng(0).standard_normal(50_000) * 3
    kept = next_token_probabilities(row, Sampling(temperature=1.0, top_p=0.9))
    share = np.sort(companion.softmax(row))[::-1]
    assert np.count_nonzero(kept) == np.searchsorted(np.cumsum(share), 0.9) + 1
    assert companion.softmax(row)[kept > 0].min() >= share[np.count_nonzero(kept) - 1]


@pytest.mark.parametrize("temperature", [1e-300, 5e-324, 1e300])
def test_extreme_temperatures_stay_numbers(temperature):
    row = np.asarray([1.0, 3.0, -np.inf, 2.0])
    got = next_token_probabilities(row, Sampling(temperature=temperature))
    expected = [0, 1, 0, 0] if temperature < 1 else [1 / 3, 1 / 3, 0, 1 / 3]
    np.testing.assert_allclose(got, expected)


@pytest.mark.parametrize("home", array_homes(), ids=lambda home: home.name)
def test_all_devices_draw_the_same_tokens(home):
    rows = np.random.default_rng(1).standard_normal((8, 300)).astype(np.float32)
    sampling = Sampling(temperature=0.9, top_k=40, top_p=0.95)
    drawn = [
        sample_tokens(x, sampling, rng=np.random.default_rng(2)) for x in (rows, home.asarray(rows))
    ]
    np.testing.assert_array_equal(*drawn)


def test_narrow_logits_are_taken_as_they_are():
    row = np.asarray([0.5, 1.5, -2.0])
    for dtype in (np.float16, ml_dtypes.bfloat16):
        got = next_token_probabilities(row.astype(dtype), Sampling(temperature=1.0))
        np.testing.assert_array_equal(got, next_token_probabilities(row, Sampling(temperature=1.0)))


def test_each_text_of_a_batch_has_its_own_number_and_its_own_past():
    rows = np.random.default_rng(3).standard_normal((3, 20))
    sampling = Sampling(temperature=1.5, repetition_penalty=1.8)
    past = [[1, 2, 3], [], range(20)]
    together = sample_tokens(rows, sampling, rng=np.random.default_rng(4), previous=past)
    rng = np.random.default_rng(4)
    alone = [
        sample_tokens(row[None, :], sampling, rng=rng, previous=[ids]).item()
        for row, ids in zip(rows, past, strict=True)
    ]
    assert together.tolist() == alone


BAD_OPTIONS = {
    "temperature": [(-1, ValueError), (np.inf, ValueError), (np.nan, ValueError), ("1", TypeError)],
    "top_k": [(0, ValueError), (1.5, TypeError), (True, TypeError)],
    "top_p": [(0, ValueError), (1.01, ValueError), (np.nan, ValueError), (True, TypeError)],
    "min_p": [(-0.1, ValueError), (1.5, ValueError), ("a", TypeError)],
    "repetition_penalty": [(0, ValueError), (None, TypeError), (np.inf, ValueError)],
}


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [(name, *case) for name, cases in BAD_OPTIONS.items() for case in cases],
)
def test_an_option_out_of_range_is_refused(name, value, kind):
    with pytest.raises(kind, match=f"^{name} must be .*, got "):
        Sampling(**{name: value})


ROW = np.zeros(3)
BAD_CALLS = {
    "two axes": (lambda: next_token_probabilities(ROW[None]), ValueError, r"logits must be \(V,\)"),
    "none": (lambda: next_token_probabilities(ROW[:0]), ValueError, r"got shape \(0,\)"),
    "NaN": (lambda: next_token_probabilities(ROW * np.nan), ValueError, "and not all −∞, got nan"),
    "NaN, greedy": (lambda: sample_tokens(ROW[None] * np.nan), ValueError, "got nan"),
    "nothing left": (lambda: sample_tokens(ROW[None] - np.inf), ValueError, "got -inf"),
    "integers": (lambda: sample_tokens(np.zeros((1, 3), int)), TypeError, "real floating"),
    "one axis": (lambda: sample_tokens(ROW), ValueError, r"logits must be \(B, V\)"),
    "no generator": (
        lambda: sample_tokens(ROW[None], Sampling(temperature=1)),
        TypeError,
        "rng must be a numpy.random.Generator, got NoneType",
    ),
    "pasts": (
        lambda: sample_tokens(ROW[None], previous=[[], []]),
        ValueError,
        "previous must be one for each of 1 texts, got 2",
    ),
    "id": (
        lambda: next_token_probabilities(ROW, previous=[3]),
        ValueError,
        "previous must be in 0 … 2, got 3",
    ),
    "no id": (
        lambda: next_token_probabilities(ROW, previous=[1.0]),
        TypeError,
        "previous must be integers, got 1.0",
    ),
}


@pytest.mark.parametrize(("call", "kind", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_a_bad_call_is_answered(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


# The loss


@pytest.mark.claim("eq-cross-entropy")
@given(st.integers(0, 2**32 - 1))
def test_the_loss_is_the_mean_surprise_at_the_targets_that_count(seed):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((2, 6, 5)) * rng.choice([1, 30])
    targets = rng.integers(-1, 5, (2, 6))
    targets[0, 0] = 3
    shares = companion.softmax(scores)
    surprises = [-math.log(shares[b, i, t]) for (b, i), t in np.ndenumerate(targets) if t >= 0]
    loss = companion.cross_entropy(scores, targets)
    np.testing.assert_allclose(loss, np.mean(surprises), rtol=1e-9)
    np.testing.assert_allclose(companion.perplexity(scores, targets), np.exp(np.mean(surprises)))


def test_equal_logits_are_a_choice_among_all():
    targets = np.asarray([0, 3, 6])
    assert companion.perplexity(np.full((3, 7), 2.0), targets) == pytest.approx(7)


def test_a_loss_is_stable():
    scores = np.asarray([[1e38, -1e38, 0.0], [1000.0, 999.0, -np.inf]], np.float32)
    loss = companion.cross_entropy(scores, np.asarray([0, 1]))
    assert loss.dtype == np.float32
    assert float(loss) == pytest.approx((0 + 1 + math.log1p(math.exp(-1))) / 2, rel=1e-6)
    assert companion.cross_entropy(scores, np.asarray([-1, 2])) == np.inf
    assert companion.cross_entropy(scores + np.float32(0), np.asarray([0, -1])) == 0


@pytest.mark.parametrize("home", array_homes(), ids=lambda home: home.name)
def test_a_loss_follows_its_arrays(home):
    scores, targets = np.random.default_rng(0).standard_normal((4, 5)), np.asarray([1, -1, 0, 4])
    got = companion.cross_entropy(home.asarray(scores), home.asarray(targets))
    expected = companion.cross_entropy(scores, targets)
    np.testing.assert_allclose(companion.to_numpy(got), expected, rtol=1e-12)


LOGITS = np.zeros((2, 3))
BAD_TARGETS = {
    "shape": (np.zeros(3, int), ValueError, r"targets must be \(2,\) to match logits \(2, 3\)"),
    "kind": (np.zeros(2), TypeError, "targets must have an integer dtype"),
    "too far": (np.asarray([0, 3]), ValueError, "targets must be −1 or in 0 … 2, got 3"),
    "below": (np.asarray([0, -2]), ValueError, "targets must be −1 or in 0 … 2, got -2"),
    "none counts": (np.asarray([-1, -1]), ValueError, "targets must hold one of at least 0"),
}


@pytest.mark.parametrize(("targets", "kind", "message"), BAD_TARGETS.values(), ids=BAD_TARGETS)
def test_targets_that_do_not_fit_are_refused(targets, kind, message):
    with pytest.raises(kind, match=message):
        companion.cross_entropy(LOGITS, targets)
    with pytest.raises(TypeError, match="logits must have a real floating dtype"):
        companion.cross_entropy(xp_numpy.zeros((2, 3), dtype=int), np.zeros(2, int))
