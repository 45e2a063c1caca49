# ruff: noqa: ARG001, ARG005 - an attempt takes what it is given, and may forget to use it
"""The exercises of the chapter on a language model: what is taken for right, and what not."""

import math

import numpy as np

import companion
from companion.exercises import language_model as exercises
from tests.support.attempts import Attempts, tried_on


def angles(x, positions, base, power=2.0):
    width = x.shape[-1]
    return positions[:, None] * base ** (-power * np.arange(width // 2) / width)


def turned(x, theta):
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return np.concatenate(
        [a * np.cos(theta) - b * np.sin(theta), b * np.cos(theta) + a * np.sin(theta)], -1
    )


def turn_rows(x, positions, base):
    return turned(x, angles(x, positions, base))


def by_complex_numbers(x, positions, base):
    half = x.shape[-1] // 2
    z = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles(x, positions, base))
    return np.concatenate([z.real, z.imag], -1).astype(np.float32)


def by_matrices(x, positions, base):
    out = np.empty_like(x)
    half = x.shape[-1] // 2
    for i, p in enumerate(positions):
        for m in range(half):
            t = p * base ** (-2 * m / (2 * half))
            c, s = math.cos(t), math.sin(t)
            out[:, i, [m, m + half]] = x[:, i, [m, m + half]] @ np.asarray([[c, s], [-s, c]])
    return out


def in_place(x, positions, base):
    half = x.shape[-1] // 2
    for i in range(len(positions)):
        for m in range(half):
            t = positions[i] * base ** (-m / half)
            a, b = x[:, i, m].copy(), x[:, i, m + half].copy()
            x[:, i, m], x[:, i, m + half] = (
                a * math.cos(t) - b * math.sin(t),
                b * math.cos(t) + a * math.sin(t),
            )
    return x


def interleaved(x, positions, base):
    return companion.rotate(x, positions, base=base, pairing="interleaved")


def mirrored(x, positions, base):
    half = x.shape[-1] // 2
    t = angles(x, positions, base)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(t) - b * np.sin(t), b * np.cos(t) - a * np.sin(t)], -1)


def overwritten(x, positions, base):
    half = x.shape[-1] // 2
    t = angles(x, positions, base)
    x[..., :half] = x[..., :half] * np.cos(t) - x[..., half:] * np.sin(t)
    x[..., half:] = x[..., half:] * np.cos(t) + x[..., :half] * np.sin(t)
    return x


def woven(x, positions, base):
    half = x.shape[-1] // 2
    out = turn_rows(x, positions, base)
    return np.stack([out[..., :half], out[..., half:]], -1).reshape(x.shape)


def rows_counted(x, positions, base):
    return turn_rows(x, np.arange(x.shape[1]), base)


def run_of_positions(x, positions, base):
    return turn_rows(x, positions[0] + np.arange(x.shape[1]), base)


def in_single_angles(x, positions, base):
    return turn_rows(x, positions.astype(np.float16), base)


def cached_step(query, key, value, past_key, past_value):
    return stepped(query, key, value, past_key, past_value)


def stepped(
    query,
    key,
    value,
    past_key,
    past_value,
    *,
    place=lambda past: past,
    turn_query=True,
    turn_key=True,
    repeat=lambda rows, group: np.repeat(rows, group, axis=0),
    scale=lambda d_k, d_v: 1 / math.sqrt(d_k),
    seen=slice(None),
    kept=None,
):
    at = np.asarray([place(past_key.shape[1])])
    bare = key
    query = companion.rotate(query, at) if turn_query else query
    key = companion.rotate(key, at) if turn_key else key
    keys = np.concatenate([past_key, key], axis=1)
    values = np.concatenate([past_value, value], axis=1)
    group = query.shape[0] // keys.shape[0]
    k, v = (repeat(rows[:, seen], group) for rows in (keys, values))
    weights = companion.softmax(query @ k.mT * scale(key.shape[-1], value.shape[-1]))
    if kept == "bare":
        keys = np.concatenate([past_key, bare], axis=1)
    return weights @ v, keys, values


def altered(**change):
    return lambda *given: stepped(*given, **change)


def turned_again(query, key, value, past_key, past_value):
    past = companion.rotate(past_key, np.arange(past_key.shape[1])) if past_key.size else past_key
    return stepped(query, key, value, past, past_value)


def new_in_front(*given):
    output, keys, values = stepped(*given)
    return output, np.roll(keys, 1, axis=1), np.roll(values, 1, axis=1)


def keys_in_front(*given):
    output, keys, values = stepped(*given)
    return output, np.roll(keys, 1, axis=1), values


def half_as_much(*given):
    output, keys, values = stepped(*given)
    return output / 2, keys, values


def by_the_library(query, key, value, past_key, past_value):
    """Hand over a list, computed by the library in float32."""
    at = np.asarray([past_key.shape[1]])
    keys = np.concatenate([past_key, companion.rotate(key, at)], axis=1).astype(np.float32)
    values = np.concatenate([past_value, value], axis=1).astype(np.float32)
    query = companion.rotate(query, at).astype(np.float32)
    return [companion.scaled_dot_product_attention(query, keys, values), keys, values]


def head_by_head(query, key, value, past_key, past_value):
    at = np.asarray([past_key.shape[1]])
    query, key = companion.rotate(query, at), companion.rotate(key, at)
    keys, values = [], []
    for j in range(len(key)):
        keys.append(np.vstack([past_key[j], key[j]]))
        values.append(np.vstack([past_value[j], value[j]]))
    output = []
    for h, q in enumerate(query):
        j = h // (len(query) // len(key))
        powers = np.exp(q @ keys[j].T / math.sqrt(q.shape[-1]))
        output.append(powers @ values[j] / powers.sum())
    return iter([np.asarray(output), np.asarray(keys), np.asarray(values)])


def without_a_past(query, key, value, past_key, past_value):
    if past_key.shape[1] == 0:
        return 0 * stepped(query, key, value, past_key, past_value)[0], key, value
    return stepped(query, key, value, past_key, past_value)


def with_several_key_heads(query, key, value, past_key, past_value):
    output, keys, values = stepped(query, key, value, past_key, past_value)
    return output * (len(key) > 1), keys, values


def softmax(logits):
    powers = np.exp(logits - np.max(logits))
    return powers / powers.sum()


def nucleus(weights, top_p):
    order = np.argsort(-weights)
    before = np.cumsum(weights[order]) - weights[order]
    kept = np.zeros(len(weights), dtype=bool)
    kept[order[before < top_p]] = True
    return kept


def pick(weights, u):
    return int(np.searchsorted(np.cumsum(weights), u * weights.sum(), side="right"))


def choose(logits, temperature, top_p, u):
    weights = softmax(logits / temperature)
    return pick(np.where(nucleus(weights, top_p), weights, 0), u)


def from_the_likeliest(logits, temperature, top_p, u):
    """Lay the tokens out in falling order, and hand over NumPy's number."""
    weights = softmax(logits / temperature)
    order = np.argsort(-weights, kind="stable")
    reached = np.cumsum(weights[order])
    count = np.searchsorted(reached, top_p * (1 - 1e-12)) + 1
    return order[:count][np.searchsorted(reached[:count] / reached[count - 1], u, side="right")]


def by_a_loop(logits, temperature, top_p, u):
    weights = [math.exp(float(x) / temperature - float(max(logits)) / temperature) for x in logits]
    ranked = sorted(range(len(weights)), key=lambda i: -weights[i])
    left, reached = [], 0.0
    for i in ranked:
        if reached < top_p * sum(weights):
            left.append(i)
            reached += weights[i]
    goal = u * reached
    for i in reversed(left):
        goal -= weights[i]
        if goal < 0:
            return float(i)
    return left[0]


def greedy(logits, temperature, top_p, u):
    return int(np.argmax(logits))


def multiplied(logits, temperature, top_p, u):
    return choose(logits, 1 / temperature, top_p, u)


def cold(logits, temperature, top_p, u):
    return choose(logits, 1.0, top_p, u)


def off_the_end(logits, temperature, top_p, u):
    weights = softmax(logits / temperature)
    weights = np.where(nucleus(weights, top_p), weights, 0)
    return np.searchsorted(np.cumsum(weights / weights.sum()), u, side="right")


def rounded_up(logits, temperature, top_p, u):
    return min(off_the_end(logits, temperature, top_p, float(np.float32(u))), len(logits) - 1)


def one_too_many(logits, temperature, top_p, u):
    """Keep a token more where top_p is reached exactly."""
    return choose(logits, temperature, top_p * (1 + 1e-9), u)


def all_that_tie(logits, temperature, top_p, u):
    weights = softmax(logits / temperature)
    least = weights[nucleus(weights, top_p)].min()
    return pick(np.where(weights >= least, weights, 0), u)


def uncut(logits, temperature, top_p, u):
    return choose(logits, temperature, 1.0, u)


def cut_first(logits, temperature, top_p, u):
    kept = nucleus(softmax(logits), top_p)
    return pick(np.where(kept, softmax(logits / temperature), 0), u)


def one_too_few(logits, temperature, top_p, u):
    weights = softmax(logits / temperature)
    order = np.argsort(-weights)
    kept = order[np.cumsum(weights[order]) <= top_p]
    kept = order if len(kept) == 0 else kept
    return int(kept[pick(weights[kept], u)])


def not_renormalised(logits, temperature, top_p, u):
    weights = softmax(logits / temperature)
    order = np.argsort(-weights)
    order = order[: nucleus(weights, top_p).sum()]
    place = np.searchsorted(np.cumsum(weights[order]), u, side="right")
    return int(order[min(place, len(order) - 1)])


def by_numbers(logits, temperature, top_p, u):
    weights = softmax(logits / temperature)
    kept = np.cumsum(weights) - weights < top_p
    return pick(np.where(kept, weights, 0), u)


def by_a_threshold(logits, temperature, top_p, u):
    weights = softmax(logits / temperature)
    return pick(np.where(weights >= top_p * weights.max(), weights, 0), u)


def unsafe(logits, temperature, top_p, u):
    powers = np.exp(logits / temperature)
    weights = powers / powers.sum()
    return pick(np.where(nucleus(weights, top_p), weights, 0), u)


def from_the_left(logits, temperature, top_p, u):
    weights = softmax(logits / temperature)
    weights = np.where(nucleus(weights, top_p), weights, 0)
    return int(np.searchsorted(np.cumsum(weights), u * weights.sum()))


ATTEMPTS = {
    exercises.check_cache_bytes: Attempts(
        wrong=[
            (23_040_000, "half: keys alone"),
            (138_240_000, "a key for each query head"),
            (11_520_000, "has four bytes"),
            (1_536_000, "one layer"),
            (46_080, "one token"),
            (46e6, "to the byte"),
            (46.08, "megabytes"),
            (43.9, "megabytes"),
            (5, "A token leaves a key and a value"),
        ],
        odd=[np.float64(46_080_000), 2 * 30 * 3 * 64 * 1000 * 4.0],
        other=[(None, "Not attempted yet"), ("46 MB", "A number is asked for")],
    ),
    exercises.check_perplexity: Attempts(
        wrong=[
            (4.36, "one over the mean probability"),
            (8.667, "averages 2, 8 and 16"),
            (1.848, "the loss, in nats"),
            (8 / 3, "the loss, in bits"),
            (256, "all three"),
            (0.1575, "typical probability itself"),
            (5, "mean of the three surprises"),
        ],
        odd=[6.35, np.float32(256 ** (1 / 3))],
        other=[(None, "Not attempted yet")],
    ),
    exercises.check_still_pairs: Attempts(
        wrong=[
            (20, "those are the pairs that do come round"),
            (6, "a turn is 2π"),
            (7, "for the base 10,000"),
            (3, "Pair m needs"),
        ],
        odd=[12.0, np.int64(12)],
        other=[(None, "Not attempted yet")],
    ),
    exercises.check_stretched: Attempts(
        wrong=[
            ((0.25, 4.18), "divide by less than 1"),
            ((2, 4.18), "the same last angle"),
            ((4, 4), "raised to 2m / d_k"),
            ((4, 16), "to the power 62/64"),
        ],
        odd=[[4, 4.18], np.asarray([4.0, 4 ** (32 / 31)])],
        other=[(None, "Not attempted yet"), ((4,), "A pair is asked for")],
    ),
    exercises.check_rotation: Attempts(
        wrong=[
            (interleaved, "You pair neighbours"),
            (woven, "lay the results out as neighbours"),
            (lambda x, p, b: turn_rows(x, -p, b), "the other way round"),
            (mirrored, "both signs are alike"),
            (lambda x, p, b: turned(x, angles(x, p, b, 1)), "too small by a factor of 2"),
            (lambda x, p, b: turned(x, angles(x, p, b, 4)), "too large by a factor of 2"),
            (lambda x, p, b: turned(x, angles(x, p, b, -2)), "pair 0 is the fastest"),
            (lambda x, p, b: turn_rows(x, p + 1, b), "begin at 1"),
            (rows_counted, "as if it stood at 0"),
            (lambda x, p, b: turn_rows(x, p - p[0], b), "as if it stood at 0"),
            (lambda x, p, b: turned(x, p[:, None]), "All pairs turn alike"),
            (lambda x, p, b: x, "Nothing has turned"),
            (overwritten, "keep a copy"),
            (lambda x, p, b: 2 * turn_rows(x, p, b), "the lengths of the rows change"),
            (lambda x, p, b: turn_rows(x, p, 2 * b), "turn by other angles"),
            (lambda x, p, b: turn_rows(x, p + 3, b), "position 0 should stay"),
            (run_of_positions, "do not rise by one"),
            (lambda x, p, b: turn_rows(x, np.floor(p), b), "between whole numbers"),
            (lambda x, p, b: turn_rows(x, p % 100, b), "far away"),
            (lambda x, p, b: turn_rows(x, np.round(2 * p) / 2, b), "between whole numbers"),
            (lambda x, p, b: turn_rows(x, np.abs(p), b), "below 0"),
            (lambda x, p, b: turn_rows(x, p, b) * (x.shape[-1] > 2), "a single pair"),
        ],
        odd=[by_complex_numbers, by_matrices, in_place],
        other=[
            (turn_rows, "Right"),
            (None, "Not attempted yet"),
            (lambda x, p, b: None, "returns nothing"),
            (lambda x, p, b: x[0], "The shape should be"),
            (lambda x, p: x, "Your function stops"),
        ],
    ),
    exercises.check_cached_step: Attempts(
        wrong=[
            (altered(place=lambda past: 0), "stands at 0, or is not turned"),
            (altered(turn_query=False, turn_key=False), "stands at 0, or is not turned"),
            (altered(place=lambda past: past + 1), "one place too far back"),
            (altered(place=lambda past: max(past - 1, 0)), "where the last one does"),
            (altered(turn_query=False), "The query is not turned"),
            (altered(turn_key=False), "The new key is not turned"),
            (altered(kept="bare"), "as it was before it was turned"),
            (turned_again, "turn them once more"),
            (
                altered(repeat=lambda rows, group: np.tile(rows, (group, 1, 1))),
                "do not tile them all",
            ),
            (altered(seen=slice(0, 1)), "sees the first key alone"),
            (altered(seen=slice(0, -1)), "does not see itself"),
            (altered(scale=lambda d_k, d_v: 1.0), "scale 1/√d_k is missing"),
            (altered(scale=lambda d_k, d_v: d_v**-0.5), "by the width of the values"),
            (new_in_front, "The values that you keep"),
            (keys_in_front, "The keys that you keep"),
            (half_as_much, "the output is not"),
            (without_a_past, "With nothing in the cache"),
            (with_several_key_heads, "the output is not"),
        ],
        odd=[by_the_library, head_by_head],
        other=[
            (cached_step, "Right"),
            (None, "Not attempted yet"),
            (lambda *given: None, "returns nothing"),
            (lambda *given: stepped(*given)[:2], "A list of 3"),
            (lambda *given: (stepped(*given)[0][0], *stepped(*given)[1:]), "The shape should be"),
        ],
    ),
    exercises.check_sampler: Attempts(
        wrong=[
            (greedy, "the likeliest token whatever u is"),
            (multiplied, "You multiply the logits"),
            (cold, "The temperature changes nothing"),
            (uncut, "top_p cuts nothing off"),
            (cut_first, "You cut before the temperature"),
            (one_too_few, "You leave out the token"),
            (not_renormalised, "not brought back to a sum of 1"),
            (by_numbers, "in the order of their numbers"),
            (by_a_threshold, "at least a certain probability"),
            (unsafe, "There are tokens 0 to 5, and you return 6"),
            (from_the_left, "For the smallest u it takes a token whose logit is −∞"),
            (rounded_up, "For the largest u it takes a token whose logit is −∞"),
            (off_the_end, "runs off the end"),
            (one_too_many, "any two reach top_p"),
            (all_that_tie, "any two reach top_p"),
            (lambda logits, t, p, u: choose(logits, t, p, u**2), "not as often as they should"),
            (lambda logits, t, p, u: choose(logits, t, p, u / 2), "some token never comes"),
        ],
        odd=[from_the_likeliest, by_a_loop],
        other=[
            (choose, "Right"),
            (None, "Not attempted yet"),
            (lambda *given: None, "returns nothing"),
            (lambda *given: 0.5, "A whole number"),
            (lambda *given: 17, "There are tokens 0 to 5"),
        ],
    ),
}

test_attempts = tried_on(ATTEMPTS)
