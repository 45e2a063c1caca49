"""Queries, keys and values: the maps, what they lose, and what a score sees of them."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, find, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

import companion
from companion import loops, pitfalls
from companion.arrays import to_numpy
from tests.support.homes import NUMPY, STRICT

jax.config.update("jax_enable_x64", True)

DATA = Path(__file__).parent.parent / "notebooks" / "data" / "minilm_heads.npz"
CAT = "The black cat ran quickly."
DOG = "The big dog saw the small dog near the river."
RING = "The girl lost her ring but she found it again."
EPSILON = float(np.finfo(np.float64).eps)


def whole(*shape, largest=4):
    """Draw matrices of small whole numbers, on which float64 makes no rounding error."""
    return st_numpy.arrays(np.float64, shape, elements=st.integers(-largest, largest).map(float))


@st.composite
def heads(draw, widest=4):
    """Draw W^Q and W^K of one shape."""
    d, d_k = draw(st.integers(1, widest)), draw(st.integers(1, widest))
    return draw(whole(d, d_k)), draw(whole(d, d_k))


@st.composite
def tokens_and_map(draw):
    """Draw X (N, d) and W (d, m)."""
    n, d, m = (draw(st.integers(1, 5)) for _ in range(3))
    return draw(whole(n, d)), draw(whole(d, m))


def rank(matrix):
    if 0 in matrix.shape:  # which NumPy before 2.4 stops at
        return 0
    return int(np.linalg.matrix_rank(matrix))


def lost_directions(weight):
    """Return an orthonormal basis, as rows, of all n with n W = 0."""
    return np.linalg.svd(weight.T)[2][rank(weight) :]


def weights_of(x, w_q, w_k, b_q=None, b_k=None):
    """Return the weights (N, N) that one head gives."""
    query, key = companion.project(x, w_q, b_q), companion.project(x, w_k, b_k)
    return companion.softmax(companion.scaled_scores(query, key))


def random_head(rng, d=6, d_k=3):
    """Return W^Q, W^K, b^Q and b^K of one head."""
    shapes = ((d, d_k), (d, d_k), (d_k,), (d_k,))
    return [rng.standard_normal(shape) for shape in shapes]


def invertible(rng, size):
    """Return a matrix whose condition number is known to be small."""
    left, right = (np.linalg.qr(rng.standard_normal((size, size)))[0] for _ in range(2))
    return left @ np.diag(rng.uniform(0.5, 2.0, size)) @ right


@pytest.fixture(scope="module")
def trained():
    return companion.load_trained_heads(DATA, xp=NUMPY.xp, dtype=np.float64)


# The maps


SHAPES = {
    "one head": ((5, 6), (6, 3), (3,)),
    "one token": ((1, 6), (6, 3), (3,)),
    "one column": ((5, 6), (6, 1), (1,)),
    "odd lengths": ((97, 257), (257, 17), (17,)),
    "heads": ((5, 6), (2, 6, 3), (2, 3)),
    "batch": ((7, 5, 6), (6, 4), (4,)),
    "batch of heads": ((7, 1, 5, 6), (2, 6, 4), (2, 4)),
    "no tokens": ((0, 6), (6, 3), (3,)),
}


@pytest.mark.claim("eq-projections")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("x", "weight", "bias"), SHAPES.values(), ids=SHAPES)
def test_a_projection_is_the_product_plus_the_bias(home, x, weight, bias, dtype):
    rng = np.random.default_rng(1)
    x, weight, bias = (rng.standard_normal(shape).astype(dtype) for shape in (x, weight, bias))
    arguments = [home.asarray(array) for array in (x, weight, bias)]
    for given_bias, added in ((arguments[2], bias), (None, np.zeros_like(bias))):
        result = to_numpy(companion.project(*arguments[:2], given_bias))
        assert result.dtype == dtype
        wide = [np.float64(array) for array in (x, weight, added)]
        expected = jnp.einsum("...nd,...dm->...nm", *wide[:2]) + wide[2][..., None, :]
        assert result.shape == expected.shape
        # A sum of d products: each term is rounded a few times, never more than d.
        size = np.abs(wide[0]) @ np.abs(wide[1]) + np.abs(wide[2])[..., None, :]
        bound = (x.shape[-1] + 2) * np.finfo(dtype).eps * size
        assert np.all(np.abs(result - np.asarray(expected)) <= bound)


@pytest.mark.claim("eq-projections")
@given(tokens_and_map())
def test_the_loop_gives_the_same_numbers(drawn):
    x, weight = drawn
    np.testing.assert_array_equal(loops.project_loop(x, weight), companion.project(x, weight))


@pytest.mark.claim("eq-projections")
@given(tokens_and_map(), st.data())
def test_a_bias_is_one_more_row_met_by_one_more_one(drawn, data):
    x, weight = drawn
    bias = data.draw(whole(weight.shape[1]))
    longer = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    taller = np.concatenate([weight, bias[None, :]])
    np.testing.assert_array_equal(
        companion.project(longer, taller), companion.project(x, weight, bias)
    )


def test_a_projection_never_mixes_tokens():
    rng = np.random.default_rng(2)
    x, weight = rng.standard_normal((7, 6)), rng.standard_normal((6, 3))
    before = companion.project(x, weight)
    x[4] += 1.0
    changed = np.any(companion.project(x, weight) != before, axis=1)
    assert list(np.flatnonzero(changed)) == [4]


def test_float16_is_computed_in_float32_and_rounded_once():
    rng = np.random.default_rng(3)
    x, weight = (rng.standard_normal(shape).astype(np.float16) for shape in ((5, 300), (300, 4)))
    bias = rng.standard_normal(4).astype(np.float16)
    wide = companion.project(*(array.astype(np.float32) for array in (x, weight, bias)))
    result = companion.project(x, weight, bias)
    assert result.dtype == np.float16
    np.testing.assert_array_equal(result, wide.astype(np.float16))
    form = companion.bilinear_form(weight, -weight)
    assert form.dtype == np.float16
    wide = companion.bilinear_form(weight.astype(np.float32), -weight.astype(np.float32))
    np.testing.assert_array_equal(form, wide.astype(np.float16))


@pytest.mark.claim("eq-projections")
def test_queries_keys_and_values_each_have_a_map_of_their_own(home):
    rng = np.random.default_rng(4)
    shapes = ((5, 6), (2, 6, 3), (2, 6, 3), (2, 6, 4), (2, 3), (2, 3), (2, 4))
    x, *maps = (home.asarray(rng.standard_normal(shape)) for shape in shapes)
    query, key, value = companion.project_qkv(x, *maps)
    assert (query.shape, key.shape, value.shape) == ((2, 5, 3), (2, 5, 3), (2, 5, 4))
    for made, weight, bias in zip((query, key, value), maps[:3], maps[3:], strict=True):
        expected = to_numpy(companion.project(x, weight, bias))
        np.testing.assert_array_equal(to_numpy(made), expected)


def test_one_packed_product_holds_all_three():
    example = companion.running_example(xp=NUMPY.xp)
    maps = example.w_q[0], example.w_k[0], example.w_v[0]
    packed = companion.project(example.x, np.concatenate(maps, axis=1))
    query, key, value = companion.project_qkv(example.x, *maps)
    np.testing.assert_array_equal(packed, np.concatenate([query, key, value], axis=1))


X, W = np.ones((7, 5, 6)), np.ones((2, 6, 3))
BAD_CALLS = [
    (
        lambda: companion.project(X, W),
        ValueError,
        "the axes of weight before (d, d_out) must broadcast with those of x (7, 5, 6) before "
        "(N, d), got (2, 6, 3)",
    ),
    (lambda: companion.project(X[0, 0], W[0]), ValueError, "x must be (..., N, d), got shape (6,)"),
    (lambda: companion.project(X[0], W[0], W[:, 0]), ValueError, "bias of weight must have shape"),
    (lambda: companion.project(X, np.ones(6)), ValueError, "weight must be (..., d=6, d_out)"),
    (
        lambda: companion.project(X[0], W[0], np.ones(3, dtype=np.float32), name="w_k"),
        TypeError,
        "the bias of w_k must have the dtype of x, float64, got float32",
    ),
    (
        lambda: companion.project(X[0], W[0], STRICT.asarray(np.ones(3))),
        TypeError,
        "bias must come from the array library of x",
    ),
    (
        lambda: companion.project_qkv(X[0], W[0], W[0, :, :2], W[0]),
        ValueError,
        "w_k must have as many columns as w_q, d_k=3, got shape (6, 2)",
    ),
    (lambda: companion.project_qkv(X, W[0], W[0], W), ValueError, "axes of w_v before"),
    (lambda: companion.bilinear_form(W, W[:1]), ValueError, "w_k must be (..., d, d_k) like w_q"),
    (lambda: companion.bilinear_form(W[0, 0], W[0, 0]), ValueError, "w_k must be (..., d, d_k)"),
    (lambda: companion.bilinear_form(W > 0, W > 0), TypeError, "w_q must have a real floating"),
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD_CALLS)
def test_bad_calls_are_answered_by_name(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)


# What a projection loses, and where it lands


@pytest.mark.claim("prop-projection-loss")
@given(tokens_and_map())
def test_tokens_share_a_query_exactly_along_the_lost_directions(drawn):
    x, weight = drawn
    d, m = weight.shape
    lost = lost_directions(weight)
    assert len(lost) == d - rank(weight) >= d - m
    size = 1 + np.abs(x).max() * np.abs(weight).max()
    for n in lost:
        moved = companion.project(x + n, weight)
        np.testing.assert_allclose(moved, companion.project(x, weight), rtol=0, atol=1e-13 * size)
    kept = np.linalg.svd(weight.T)[2][: rank(weight)]
    assert rank(companion.project(kept, weight)) == len(kept)  # no other direction is lost


@pytest.mark.claim("prop-projection-loss")
@given(tokens_and_map())
def test_a_product_has_no_higher_rank_than_its_factors(drawn):
    x, weight = drawn
    assert rank(companion.project(x, weight)) <= min(rank(x), rank(weight))


@pytest.mark.claim("prop-projection-loss")
def test_head_1_asks_the_same_of_a_noun_and_a_verb():
    example = companion.running_example(xp=NUMPY.xp)
    noun_to_verb = np.asarray([0, 0, -1.5, 1.5, 0, 0])
    cats = np.stack([example.x[2], example.x[2] + noun_to_verb])
    query, key, value = companion.project_qkv(cats, example.w_q[0], example.w_k[0], example.w_v[0])
    assert np.array_equal(query[0], query[1])
    assert not np.array_equal(key[0], key[1])
    assert not np.array_equal(value[0], value[1])
    assert rank(np.concatenate([example.w_q[0], example.w_k[0]], axis=1)) == 6


def fill_the_same_space(weight, other):
    """Tell by projecting the unit vectors whether each image lies in the other."""
    images = [companion.project(np.eye(len(w)), w) for w in (weight, other)]
    for basis, image in (images, images[::-1]):
        inside = np.linalg.lstsq(basis.T, image.T)[0]
        if not np.allclose(basis.T @ inside, image.T, atol=1e-9):
            return False
    return True


@pytest.mark.claim("prop-projection-image")
@given(heads())
def test_images_are_equal_exactly_when_stacking_adds_no_rank(pair):
    weight, other = pair
    both = rank(np.concatenate(pair))
    assert fill_the_same_space(weight, other) == (rank(weight) == rank(other) == both)
    if rank(weight) == rank(other) == weight.shape[1]:
        assert fill_the_same_space(weight, other)


@pytest.mark.claim("prop-projection-image")
@given(heads())
def test_equal_maps_are_equal_matrices(pair):
    weight, other = pair
    same = np.array_equal(*(companion.project(np.eye(len(w)), w) for w in (weight, other)))
    assert same == np.array_equal(weight, other)


@pytest.mark.claim("prop-projection-image")
@given(heads())
def test_maps_of_full_rank_lose_the_same_exactly_when_one_leads_to_the_other(pair):
    weight, other = pair
    assume(rank(weight) == rank(other) == weight.shape[1])
    leads, *_ = np.linalg.lstsq(weight, other)  # the only candidate for A
    led = np.allclose(weight @ leads, other, atol=1e-9)
    lost = lost_directions(weight)
    assert led == np.allclose(companion.project(lost, other), 0, atol=1e-9)
    if led:
        assert rank(leads) == weight.shape[1]


@pytest.mark.claim("prop-projection-image")
def test_the_smallest_different_maps_into_one_space_are_two_numbers():
    found = find(
        heads(),
        lambda pair: not np.array_equal(*pair) and np.any(pair[0]) and fill_the_same_space(*pair),
    )
    assert found[0].shape == (1, 1)
    assert fill_the_same_space(np.asarray([[1.0]]), np.asarray([[2.0]]))
    assert not fill_the_same_space(np.asarray([[0.0]]), np.asarray([[2.0]]))


# Only the product matters


@pytest.mark.claim("eq-bilinear")
@given(heads(), st.data())
def test_scores_are_a_bilinear_form(pair, data):
    w_q, w_k = pair
    x = data.draw(whole(3, len(w_q)))
    query, key = companion.project(x, w_q), companion.project(x, w_k)
    form = companion.bilinear_form(w_q, w_k)
    np.testing.assert_array_equal(x @ form @ x.T, loops.scores_loop(query, key))


@pytest.mark.claim("eq-bilinear")
def test_the_form_on_every_array_module_and_of_several_heads(home):
    example = companion.running_example(xp=NUMPY.xp)
    form = companion.bilinear_form(home.asarray(example.w_q), home.asarray(example.w_k))
    assert form.shape == (2, 6, 6)
    for head in range(2):
        expected = np.einsum("ac,bc->ab", example.w_q[head], example.w_k[head])
        np.testing.assert_array_equal(to_numpy(form)[head], expected)


@pytest.mark.claim("thm-only-product")
@pytest.mark.parametrize("index", [0, 2])
def test_no_score_of_a_trained_head_sees_a_change_of_basis(trained, index):
    layer = trained.layer(index)
    x = trained.sentence(RING).inputs[index]
    a = invertible(np.random.default_rng(5), 32)
    back = np.linalg.inv(a).T
    query, key = (
        companion.project(x, *pair) for pair in ((layer.w_q, layer.b_q), (layer.w_k, layer.b_k))
    )
    new_query = companion.project(x, layer.w_q @ a, layer.b_q @ a)
    new_key = companion.project(x, layer.w_k @ back, layer.b_k @ back)
    assert np.all(np.max(np.abs(new_query - query), axis=(1, 2)) > 1)
    assert np.all(np.max(np.abs(new_key - key), axis=(1, 2)) > 1)
    scores, new_scores = query @ key.mT, new_query @ new_key.mT
    sizes = [
        np.linalg.norm(np.abs(x) @ np.abs(w) + np.abs(b)[:, None], axis=-1).max()
        for w, b in ((layer.w_q, layer.b_q), (layer.w_k, layer.b_k))
    ]
    bound = 384 * np.linalg.cond(a) * EPSILON * math.prod(sizes)
    assert np.max(np.abs(new_scores - scores)) < bound < 1e-7 * np.max(np.abs(scores))


@pytest.mark.claim("thm-only-product")
def test_heads_of_one_form_differ_by_one_change_of_basis():
    rng = np.random.default_rng(6)
    w_q, w_k, *_ = random_head(rng)
    left, sizes, right = np.linalg.svd(companion.bilinear_form(w_q, w_k))
    other_q, other_k = left[:, :3] * sizes[:3], right[:3].T  # the same form, made otherwise
    a, _, full, _ = np.linalg.lstsq(w_q, other_q)
    assert full == 3  # the columns are independent: there is one solution
    np.testing.assert_allclose(w_q @ a, other_q, rtol=0, atol=1e-13)
    np.testing.assert_allclose(w_k @ np.linalg.inv(a).T, other_k, rtol=0, atol=1e-12)


@pytest.mark.claim("cor-bilinear-rank")
@given(heads())
def test_the_form_has_at_most_the_rank_of_a_head(pair):
    assert rank(companion.bilinear_form(*pair)) <= pair[0].shape[1]


@pytest.mark.claim("cor-bilinear-rank")
def test_trained_forms_use_their_rank_to_the_full(trained):
    for layer in trained.layers.values():
        # W^Q = Q R with orthonormal columns in Q, so R_q R_kᵀ has the singular values that count.
        core = np.linalg.qr(layer.w_q).R @ np.linalg.qr(layer.w_k).R.mT
        assert set(np.linalg.matrix_rank(core)) == {32}
    sizes = np.linalg.svdvals(companion.bilinear_form(layer.w_q[9], layer.w_k[9]))
    np.testing.assert_allclose(sizes[:32], np.linalg.svdvals(core[9]), rtol=1e-10)
    assert np.max(sizes[32:]) < 1e-13 * sizes[0]


# Symmetry


def scores_of(x, w_q, w_k):
    return companion.project(x, w_q) @ companion.project(x, w_k).T


@pytest.mark.claim("thm-symmetric-scores")
@given(heads(), st.data())
def test_scores_are_symmetric_for_every_x_exactly_when_the_form_is(pair, data):
    w_q, w_k = pair
    d = len(w_q)
    form = companion.bilinear_form(w_q, w_k)
    np.testing.assert_array_equal(scores_of(np.eye(d), w_q, w_k), form)
    if np.array_equal(form, form.T):
        scores = scores_of(data.draw(whole(3, d)), w_q, w_k)
        np.testing.assert_array_equal(scores, scores.T)
    else:
        a, b = np.argwhere(form != form.T)[0]
        two = scores_of(np.eye(d)[[a, b]], w_q, w_k)
        assert two[0, 1] != two[1, 0]


@pytest.mark.claim("thm-symmetric-scores")
@given(whole(4, 3), whole(3, 3), st.data())
def test_different_matrices_may_give_symmetric_scores(w_q, m, data):
    scores = scores_of(data.draw(whole(5, 4)), w_q, w_q @ (m + m.T))
    np.testing.assert_array_equal(scores, scores.T)


@pytest.mark.claim("thm-symmetric-scores")
def test_the_smallest_head_with_asymmetric_scores_has_two_features():
    def asymmetric(pair):
        form = companion.bilinear_form(*pair)
        return not np.array_equal(form, form.T)

    found = find(heads(), asymmetric)
    assert found[0].shape == (2, 1)
    shown = companion.bilinear_form(np.asarray([[1.0], [0.0]]), np.asarray([[0.0], [1.0]]))
    np.testing.assert_array_equal(shown, [[0, 1], [0, 0]])


def antisymmetric_share(form):
    return np.linalg.norm(form - form.T) / (2 * np.linalg.norm(form))


def test_random_forms_are_half_antisymmetric_within_their_sampling_error():
    rng = np.random.default_rng(7)
    d, d_k = 384, 32
    shares = [
        antisymmetric_share(companion.bilinear_form(*rng.standard_normal((2, d, d_k))))
        for _ in range(20)
    ]
    # E tr(B²) = d d_k and E ‖B‖² = d² d_k, so the squared share is (1 − 1/d) / 2 on average.
    error = np.std(shares) / math.sqrt(len(shares))
    assert abs(np.mean(shares) - math.sqrt((1 - 1 / d) / 2)) < 4 * error


def test_the_two_halves_of_a_form_add_up(trained):
    for layer in trained.layers.values():
        for form in companion.bilinear_form(layer.w_q, layer.w_k):
            halves = [np.linalg.norm(form + sign * form.T) / 2 for sign in (1, -1)]
            assert math.isclose(math.hypot(*halves), np.linalg.norm(form), rel_tol=1e-12)


def test_every_trained_form_is_less_asymmetric_than_random_ones(trained):
    rng = np.random.default_rng(8)
    draws = rng.standard_normal((2, 20, 384, 32))
    noise = [antisymmetric_share(form) for form in companion.bilinear_form(*draws)]
    shares = [
        antisymmetric_share(form)
        for layer in trained.layers.values()
        for form in companion.bilinear_form(layer.w_q, layer.w_k)
    ]
    assert max(shares) < min(noise)
    assert np.sum(np.asarray(shares) > 0.6) == 18


def test_with_biases_the_form_is_not_all_there_is_to_be_read(trained):
    """The scores hold b^Q · k_j as well, and nothing else that the weights see."""
    sentence, moved, rows = trained.sentence("The black cat ran quickly."), 0, 0
    for index, layer in trained.layers.items():
        x = sentence.inputs[index]
        query, key = (
            companion.project(x, w, b) for w, b in ((layer.w_q, layer.b_q), (layer.w_k, layer.b_k))
        )
        favourites = np.argmax(query @ key.mT, axis=-1)  # (12, 8)
        form = x @ companion.bilinear_form(layer.w_q, layer.w_k) @ x.T
        column = layer.w_k @ layer.b_q[:, :, None]  # W^K (b^Q)ᵀ: (12, 384, 1)
        np.testing.assert_array_equal(np.argmax(form + (x @ column).mT, axis=-1), favourites)
        moved += np.sum(np.argmax(form, axis=-1) != favourites)
        rows += favourites.size
    assert (moved, rows) == (90, 192)


@pytest.mark.parametrize("between", ["rotation", "norm"])
def test_what_stands_between_projection_and_product_takes_the_freedom_away(between):
    """Rotary positions or a norm on queries and keys: another A is another head."""
    rng = np.random.default_rng(9)
    query, key = rng.standard_normal((2, 5, 2))
    angles = np.arange(5.0)
    turns = np.stack([np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)], axis=-1)

    def scores(a):
        rows = query @ a, key @ np.linalg.inv(a).T
        if between == "norm":
            rows = [r / np.linalg.norm(r, axis=1, keepdims=True) for r in rows]
        else:
            rows = [np.einsum("nc,ncd->nd", r, turns.reshape(5, 2, 2)) for r in rows]
        return rows[0] @ rows[1].T

    plain = scores(np.eye(2))
    assert np.abs(scores(np.asarray([[2.0, 1.0], [0.0, 1.0]])) - plain).max() > 0.1
    turned = np.asarray([[0.6, 0.8], [-0.8, 0.6]])  # this one changes places with both
    np.testing.assert_allclose(scores(turned), plain, atol=1e-14)


@pytest.mark.claim("prop-shared-matrix")
@given(tokens_and_map())
def test_one_matrix_for_two_roles(drawn):
    x, weight = drawn
    scores = scores_of(x, weight, weight)
    own = np.diag(scores)
    np.testing.assert_array_equal(scores, scores.T)
    np.testing.assert_array_equal(own, np.sum(companion.project(x, weight) ** 2, axis=1))
    assert np.all(scores**2 <= own[:, None] * own)
    assert np.all(2 * scores <= own[:, None] + own)
    prefers_other = scores > own[:, None]
    assert not np.any(prefers_other & prefers_other.T)
    assert np.max(scores) == np.max(own)


@pytest.mark.claim("prop-shared-matrix")
def test_a_trained_head_does_what_one_matrix_could_not(trained):
    layer, x = trained.layer(2), trained.sentence(DOG).inputs[2]
    query = companion.project(x, layer.w_q[9], layer.b_q[9])
    scores = companion.scaled_scores(query, companion.project(x, layer.w_k[9], layer.b_k[9]))
    assert scores[3, 7] > scores[3, 3] + 2
    assert scores[7, 3] > scores[7, 7] + 2
    shared = companion.scaled_scores(query, query)
    assert not (shared[3, 7] > shared[3, 3] and shared[7, 3] > shared[7, 7])


@pytest.mark.claim("prop-symmetric-weights")
@given(whole(4, 4, largest=3))
def test_weights_are_symmetric_exactly_when_all_rows_have_one_sum(drawn):
    scores = drawn + drawn.T
    weights = companion.softmax(scores)
    sums = companion.logsumexp(scores)
    symmetric = np.allclose(weights, weights.T, rtol=1e-9, atol=0)
    assert symmetric == np.allclose(sums, sums[0], rtol=0, atol=1e-10)


@pytest.mark.claim("prop-symmetric-weights")
def test_some_symmetric_scores_do_have_symmetric_weights():
    scores = np.asarray([[0.0, 1.0, 2.0], [1.0, 2.0, 0.0], [2.0, 0.0, 1.0]])
    weights = companion.softmax(scores)
    np.testing.assert_allclose(weights, weights.T, rtol=1e-15)


@pytest.mark.claim("prop-symmetric-weights")
def test_the_smallest_symmetric_scores_with_asymmetric_weights():
    def asymmetric(x):
        weights = companion.softmax(x @ x.T)
        return not np.allclose(weights, weights.T)

    found = find(st.integers(1, 4).flatmap(lambda n: whole(n, 1)), asymmetric)
    np.testing.assert_array_equal(found, [[0.0], [1.0]])


# Shifts and biases


@pytest.mark.claim("thm-harmless-shifts")
@pytest.mark.parametrize("biased", [False, True])
def test_a_shift_is_harmless_when_the_form_takes_it_to_zero(biased):
    rng = np.random.default_rng(8)
    w_q, w_k, *biases = random_head(rng)
    biases = biases if biased else [None, None]
    w_k[:, 2] = w_k[:, 1]  # rank 2: now t W^Q need not be zero
    t = lost_directions(companion.bilinear_form(w_q, w_k))[:1]
    assert np.max(np.abs(t @ w_q)) > 0.1
    for x in rng.standard_normal((20, 5, 6)):
        weights = weights_of(x, w_q, w_k, *biases)
        moved = weights_of(x + 3 * t, w_q, w_k, *biases)
        np.testing.assert_allclose(moved, weights, rtol=0, atol=1e-13)
    w_v = rng.standard_normal((6, 4))
    shifted = companion.weighted_values(moved, companion.project(x + 3 * t, w_v))
    output = companion.weighted_values(weights, companion.project(x, w_v))
    np.testing.assert_allclose(shifted, output + 3 * t @ w_v, rtol=0, atol=1e-13)


@pytest.mark.claim("thm-harmless-shifts")
@pytest.mark.parametrize("biased", [False, True])
def test_every_other_shift_harms_some_x(biased):
    rng = np.random.default_rng(9)
    for _ in range(20):
        w_q, w_k, *biases = random_head(rng)
        t = rng.standard_normal((1, 6))
        x = np.concatenate([t @ companion.bilinear_form(w_q, w_k), np.zeros((1, 6))])
        biases = biases if biased else [None, None]
        query, key = (companion.project(x, w, b) for w, b in zip((w_q, w_k), biases, strict=True))
        moved = companion.project(x + t, w_q, biases[0]), companion.project(x + t, w_k, biases[1])
        leads = [
            np.diff(q @ k.T, axis=1) for q, k in ((query, key), moved)
        ]  # by how much each row prefers token 2: the weights of two tokens are its logistic
        assert np.min(np.abs(leads[1] - leads[0])) > 1e-3


@pytest.mark.claim("thm-harmless-shifts")
def test_for_keys_of_full_rank_it_is_the_queries_that_must_not_notice():
    example = companion.running_example(xp=NUMPY.xp)
    head = example.w_q[0], example.w_k[0]
    assert rank(head[1]) == 3
    weights = weights_of(example.x, *head)
    unnoticed, noticed = np.asarray([0.0, 0, 1, -1, 0, 0]), np.asarray([2.0, 1, 0, 0, 0, 0])
    assert not np.any(unnoticed @ head[0])
    assert not np.any(noticed @ head[1])
    np.testing.assert_allclose(weights_of(example.x + unnoticed, *head), weights, atol=1e-14)
    assert np.max(np.abs(weights_of(example.x + noticed, *head) - weights)) > 0.28


@pytest.mark.claim("cor-key-bias")
def test_the_bias_of_the_keys_changes_no_weight():
    rng = np.random.default_rng(10)
    for _ in range(20):
        w_q, w_k, b_q, b_k = random_head(rng)
        x = rng.standard_normal((5, 6))
        with_bias, without = (weights_of(x, w_q, w_k, b_q, b) for b in (b_k, None))
        np.testing.assert_allclose(with_bias, without, rtol=0, atol=1e-14)
        assert np.max(np.abs(weights_of(x, w_q, w_k, None, b_k) - without)) > 1e-3  # b^Q does


@pytest.mark.claim("cor-key-bias")
def test_the_bias_of_the_keys_learns_nothing():
    rng = np.random.default_rng(11)
    w_q, w_k, b_q, b_k = (jnp.asarray(part) for part in random_head(rng))
    x, target = jnp.asarray(rng.standard_normal((5, 6))), jnp.asarray(rng.random((5, 5)))

    def loss(b_q, b_k):
        scores = (x @ w_q + b_q) @ (x @ w_k + b_k).T
        return jnp.sum(target * jax.nn.softmax(scores))

    by_query, by_key = jax.grad(loss, argnums=(0, 1))(b_q, b_k)
    assert np.max(np.abs(by_key)) < 1e-15 < 1e-3 < np.max(np.abs(by_query))


# Learning, and what it costs


@pytest.mark.claim("eq-projection-gradients")
def test_both_gradients_come_from_one_matrix():
    rng = np.random.default_rng(12)
    w_q, w_k, *_ = random_head(rng)
    x, target = rng.standard_normal((5, 6)), rng.random((5, 5))

    def loss(scores):
        return jnp.sum(target * jax.nn.softmax(scores))

    by_q, by_k = jax.grad(lambda q, k: loss((x @ q) @ (x @ k).T), argnums=(0, 1))(w_q, w_k)
    form = companion.bilinear_form(w_q, w_k)
    g = np.asarray(jax.grad(loss)(jnp.asarray(x @ form @ x.T)))
    m = x.T @ g @ x
    np.testing.assert_allclose(jax.grad(lambda b: loss(x @ b @ x.T))(form), m, atol=1e-13)
    np.testing.assert_allclose(by_q, m @ w_k, rtol=0, atol=1e-13)
    np.testing.assert_allclose(by_k, m.T @ w_q, rtol=0, atol=1e-13)
    idle = jax.grad(lambda q: loss((x @ q) @ (x @ (0 * w_k)).T))(w_q)
    assert not np.any(idle)  # where W^K is zero, W^Q learns nothing


def multiply_adds(function, *shapes):
    """Count what a compiler counts; one multiply-add is two operations."""
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    analysis = jax.jit(function).lower(*arrays).compile().cost_analysis()
    return analysis["flops"] / 2


@pytest.mark.claim("eq-projection-cost")
@pytest.mark.parametrize("sizes", [(7, 6, 3, 4), (100, 512, 64, 64)])
def test_the_cost_is_the_formula(sizes):
    n, d, d_k, d_v = sizes
    maps = [(d, d_k), (d, d_k), (d, d_v)]
    per_token = d * (2 * d_k + d_v)
    assert sum(math.prod(shape) for shape in maps) == per_token
    assert multiply_adds(companion.project_qkv, (n, d), *maps) == n * per_token


@pytest.mark.claim("eq-projection-cost")
def test_the_sizes_of_2017():
    d, d_k, d_v, heads = 512, 64, 64, 8
    assert d * (2 * d_k + d_v) == 98_304
    assert heads * d * (2 * d_k + d_v) == 3 * d**2 == 786_432
    assert (2 * d * d_k, 2 * d * d_k - d_k**2) == (65_536, 61_440)


def test_swapping_the_roles_transposes_scores_and_not_weights(trained):
    layer, x = trained.layer(2), trained.sentence(CAT).inputs[2]
    query = companion.project(x, layer.w_q[8], layer.b_q[8])
    key = companion.project(x, layer.w_k[8], layer.b_k[8])
    scores, turned = companion.scaled_scores(query, key), companion.scaled_scores(key, query)
    np.testing.assert_allclose(turned, scores.T, rtol=0, atol=1e-13)
    weights, swapped = companion.softmax(scores), companion.softmax(turned)
    assert 0.69 < weights[2, 3] < 0.71
    assert np.argmax(swapped[3]) == 2
    assert 0.51 < swapped[3, 2] < 0.53
    assert np.mean(weights[:, 0]) > 0.5 > 0.3 > np.max(swapped[:, 0])


# What breaks


def test_unit_vectors_expose_a_transposed_weight():
    weight = np.asarray([[1.0, 2.0], [0.0, 3.0]])
    np.testing.assert_array_equal(companion.project(np.eye(2), weight), weight)
    wrong = pitfalls.project_with_transposed_weight(np.eye(2), weight)
    assert wrong.shape == weight.shape
    assert not np.array_equal(wrong, weight)


def test_scores_that_see_the_values_expose_a_wrong_split():
    example = companion.running_example(xp=NUMPY.xp)
    right, wrong = [], []
    for factor in (1, 2):
        maps = example.w_q[0], example.w_k[0], factor * example.w_v[0]
        packed = companion.project(example.x, np.concatenate(maps, axis=1))
        right.append(packed[:, :3] @ packed[:, 3:6].T)
        query, key, value = pitfalls.split_qkv_in_wrong_order(packed, 3, 4)
        assert (query.shape, key.shape, value.shape) == ((5, 3), (5, 3), (5, 4))
        wrong.append(query @ key.T)
    np.testing.assert_array_equal(*right)
    assert not np.array_equal(*wrong)


def test_symmetric_scores_expose_one_shared_matrix():
    example = companion.running_example(xp=NUMPY.xp)
    query, key, _ = companion.project_qkv(example.x, example.w_q[0], example.w_k[0], example.w_v[0])
    right = companion.scaled_scores(query, key)
    wrong = pitfalls.scores_with_one_shared_matrix(example.x, example.w_q[0])
    assert not np.allclose(right, right.T)
    assert np.max(right) > np.max(np.diag(right))
    assert np.allclose(wrong, wrong.T)
    assert np.max(wrong) == np.max(np.diag(wrong))
