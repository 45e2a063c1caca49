"""Every number of the audit, from the note's inputs; what computes reads no result."""

import copy
import subprocess
import sys

import numpy as np
import pytest

import companion
from companion import scaled_dot_product_attention as attend
from tests.support.audit import ROWS, inputs, qkv

# The notes' examples, recomputed


def packed(given):
    return {"X": companion.pack_rows(list(given["embeddings"]))}


def projections(given):
    return dict(zip("QKV", qkv(given), strict=True))


def unscaled_scores(given):
    query, key, _ = qkv(given)
    return {"scores": companion.scaled_scores(query, key, scale=1.0)}


def weights_and_output(given):
    output, weights = attend(*qkv(given), return_weights=True)
    return {"weights": weights, "output": output}


def causal_scores(given, scale=1.0):
    query, key, _ = qkv(given)
    scores = companion.scaled_scores(query, key, scale=scale)
    return {"scores": companion.mask_scores(scores, companion.causal_mask(3))}


def causal_weights(given):
    scores = {"unscaled": causal_scores(given), "scaled": causal_scores(given, None)}
    return {f"weights_{name}": companion.softmax(s["scores"]) for name, s in scores.items()}


def causal_outputs(given):
    scales = {"output_unscaled": 1.0, "output_scaled": None}
    return {name: attend(*qkv(given), is_causal=True, scale=s) for name, s in scales.items()}


def two_values(given):
    return {"output": companion.weighted_values(given["weights"][None, :], given["V"])[0]}


def masked_weights(given):
    return {"weights": companion.softmax(companion.mask_scores(given["S"], given["M"]))}


def one_token(given):
    rows = companion.project_qkv(given["x"][None, :], given["W_Q"], given["W_K"], given["W_V"])
    return {name: row[0] for name, row in zip("qkv", rows, strict=True)}


def one_query(given):
    query = given["q"][None, :]
    output, weights = attend(query, given["K"], given["V"], return_weights=True)
    scores = companion.scaled_scores(query, given["K"])
    return {"scores": scores[0], "weights": weights[0], "output": output[0]}


def tanh_form(h):
    return companion.gelu(h, approximate="tanh")


def network(given):
    row = given["x"][None, :]
    p = companion.FeedForwardParameters(*(given[name] for name in ("W_1", "b_1", "W_2", "b_2")))
    hidden = companion.project(row, p.w_1, p.b_1)
    return {
        "hidden": hidden[0],
        "activated": tanh_form(hidden)[0],
        "output_tanh": companion.feed_forward(row, p, activation=tanh_form)[0],
        "output_exact": companion.feed_forward(row, p)[0],
    }


def error_of_the_printed_code():
    code = ROWS["004-E4"]["inputs"]["code"]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return run.stderr.splitlines()[-1].partition(":")[0]


def two_heads(given):
    stacks = (np.stack([given[f"W_{role}{h}"] for h in (1, 2)]) for role in "QKV")
    parameters = companion.AttentionParameters(*stacks, given["W_O"])
    output = companion.multi_head_attention(given["x"][None, :], parameters)
    return {"error": error_of_the_printed_code(), "output": output[0]}


RECOMPUTE = {
    "000-E1": packed,
    "000-E2": projections,
    "000-E3": unscaled_scores,
    "000-E4": weights_and_output,
    "002-E1": projections,
    "002-E2": causal_scores,
    "002-E3": causal_weights,
    "002-E4": causal_outputs,
    "003-E1": two_values,
    "003-E2": masked_weights,
    "004-E1": one_token,
    "004-E2": one_query,
    "004-E3": network,
    "004-E4": two_heads,
}


def same(written, recomputed):
    """Compare to eight digits what the file says with what came out."""
    assert written.keys() == recomputed.keys()
    for name, value in recomputed.items():
        if isinstance(value, str):
            assert written[name] == value
            continue
        numbers = np.asarray(written[name], dtype=np.float64)
        assert numbers.shape == value.shape
        np.testing.assert_allclose(numbers, value, rtol=1e-8, atol=0)


@pytest.mark.parametrize("identifier", RECOMPUTE)
def test_the_numbers_of(identifier):
    same(ROWS[identifier]["computed"], RECOMPUTE[identifier](inputs(identifier)))


def test_no_numerical_row_is_left_out():
    assert list(RECOMPUTE) == [i for i, row in ROWS.items() if "computed" in row]


@pytest.mark.parametrize("identifier", RECOMPUTE)
def test_a_change_in_the_fourth_decimal_is_noticed(identifier):
    recomputed = RECOMPUTE[identifier](inputs(identifier))
    for name, value in recomputed.items():
        for place in np.argwhere(np.isfinite(value)) if not isinstance(value, str) else []:
            altered = copy.deepcopy(ROWS[identifier]["computed"])
            *outer, last = place
            row = altered[name][outer[0]] if outer else altered[name]
            row[last] += 1e-4
            with pytest.raises(AssertionError):
                same(altered, recomputed)


# What the reasons say of the printed numbers


def printed(identifier, name):
    return np.asarray(ROWS[identifier]["printed"][name], dtype=np.float64)


def test_most_printed_projections_are_wrong():
    for identifier, right in (("000-E2", 0), ("002-E1", 7)):
        true = projections(inputs(identifier))
        agree = [np.abs(printed(identifier, n) - true[n]) < 0.005 for n in "QKV"]
        assert np.sum(agree) == right
    for n in "QKV":
        columns = inputs("002-E1")["X"] @ inputs("002-E1")[f"W_{n}"].T  # W x, the other reading
        assert np.abs(printed("002-E1", n) - columns).max() > 0.4


@pytest.mark.parametrize(
    ("projected", "scored", "theirs"),
    [
        ("000-E2", "000-E3", {(0, 0): 9.3576}),
        (
            "002-E1",
            "002-E2",
            {(0, 0): 1.32, (1, 0): 1.4, (1, 1): 0.99, (2, 0): 1.11, (2, 1): 0.88, (2, 2): 1.16},
        ),
    ],
)
def test_printed_queries_and_keys_do_not_give_the_printed_scores(projected, scored, theirs):
    query, key = (printed(projected, name) for name in "QK")
    scores = companion.scaled_scores(query, key, scale=1.0)
    claimed = printed(scored, "scores")
    for place, number in theirs.items():
        np.testing.assert_allclose(scores[place], number, rtol=1e-12)
        assert abs(claimed[place] - number) > 0.005


def test_printed_weights_and_values_do_not_give_the_printed_output():
    weights = np.nan_to_num(printed("002-E3", "weights_unscaled"))
    mixed = companion.weighted_values(weights, printed("002-E1", "V"))
    np.testing.assert_allclose(mixed[2], [0.445, 0.464, 0.707, 0.505], atol=1e-12)
    assert np.abs(mixed[2] - printed("002-E4", "output_unscaled")[2]).max() > 0.06


def test_printed_scores_do_not_give_the_printed_weights():
    scores = companion.mask_scores(
        np.nan_to_num(printed("002-E2", "scores")), companion.causal_mask(3)
    )
    theirs = companion.softmax(scores)
    np.testing.assert_allclose(theirs[1, :2], [0.48, 0.52], atol=0.005)
    np.testing.assert_allclose(theirs[2], [0.38, 0.29, 0.33], atol=0.005)
    claimed = np.nan_to_num(printed("002-E3", "weights_unscaled"))
    assert (np.abs(theirs - claimed)[np.tri(3, dtype=bool)][1:] > 0.005).all()


def test_the_second_token_prefers_the_first():
    for weights in causal_weights(inputs("002-E3")).values():
        assert weights[1, 0] > weights[1, 1]
    assert np.diff(printed("002-E3", "weights_unscaled")[1, :2]) > 0


def test_all_three_tokens_attend_to_the_third():
    query, key, _ = qkv(inputs("000-E4"))
    assert (companion.softmax(companion.scaled_scores(query, key)).argmax(axis=-1) == 2).all()
    assert (query > 0).all()
    assert (key > 0).all()
    unit = np.concatenate([query, key])
    unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
    assert (unit @ unit.T > 0.99).all()  # nearly one direction, so the longest key wins
    of_the_printed = companion.softmax(printed("000-E3", "scores") / 2)
    assert (of_the_printed.argmax(axis=-1) == 2).all()
    third = printed("000-E4", "weights")[2]
    assert round(third.sum(), 8) == 1.00000008
    rounding = 5e-10 * 10 ** np.ceil(np.log10(third))  # half of the ninth digit of each
    assert third.sum() - 1 > 50 * rounding.sum()


def test_printed_masked_weights_are_too_sharp():
    scores, weights = inputs("003-E2")["S"], printed("003-E2", "weights")
    for i, j in ((1, 0), (2, 0), (2, 1)):
        ratio = np.log(weights[i, j + 1] / weights[i, j]) / (scores[i, j + 1] - scores[i, j])
        assert 1.5 < ratio < 2


def test_the_network_would_not_miss_its_activation():
    given = inputs("004-E3")
    numbers = network(given)
    assert numbers["hidden"].min() > 1.2
    assert np.sum(numbers["hidden"] > 3.4) == 7
    linear = numbers["hidden"] @ given["W_2"] + given["b_2"]
    assert np.abs(linear / numbers["output_exact"] - 1).max() < 0.01
    gap = np.abs(numbers["output_exact"] - numbers["output_tanh"]).max()
    assert 1e-4 < gap < 2e-4


def test_two_heads_on_one_token_are_its_two_values():
    given = inputs("004-E4")
    values = np.concatenate([given["x"] @ given["W_V1"], given["x"] @ given["W_V2"]])
    np.testing.assert_allclose(two_heads(given)["output"], values @ given["W_O"], rtol=1e-14)
