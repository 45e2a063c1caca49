"""The exercises of the chapter on tiles: what their checkers take for right, and what not."""

import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np

from companion.exercises import kernels as exercises
from tests.support.attempts import Attempts, tried_on


def merged_logs(log_1, output_1, log_2, output_2):
    log = np.logaddexp(log_1, log_2)
    return log, np.exp(log_1 - log) * output_1 + np.exp(log_2 - log) * output_2


def merged_in_place(a, x, b, y):
    """Work in the arrays that came, and hand over an iterator."""
    top = np.maximum(a, b)
    a -= top
    b -= top
    np.exp(a, out=a)
    np.exp(b, out=b)
    x *= a
    y *= b
    x += y
    x /= a + b
    return iter([top + np.log(a + b), x])


def naive_logs(log_1, output_1, log_2, output_2):
    total = np.exp(log_1) + np.exp(log_2)
    return np.log(total), (np.exp(log_1) * output_1 + np.exp(log_2) * output_2) / total


def averaged_logs(log_1, output_1, log_2, output_2):
    return np.logaddexp(log_1, log_2), (output_1 + output_2) / 2


def logs_below_one_maximum(log_1, output_1, log_2, output_2):
    top = max(log_1.max(), log_2.max())
    log, output = naive_logs(log_1 - top, output_1, log_2 - top, output_2)
    return log + top, output


def logs_below_the_first(log_1, output_1, log_2, output_2):
    log, output = naive_logs(0 * log_1, output_1, log_2 - log_1, output_2)
    return log + log_1, output


def logs_but_for_all_empty(log_1, output_1, log_2, output_2):
    if np.isinf(log_1).all():
        return log_2, output_2
    log = log_1 + np.log1p(np.exp(log_2 - log_1))
    log = np.where(log_2 > log_1, log_2 + np.log1p(np.exp(log_1 - log_2)), log)
    return log, output_1 * np.exp(log_1 - log) + output_2 * (1 - np.exp(log_1 - log)) + 0 * log_1


def largest_norm(key, mask):
    return np.where(mask > -np.inf, np.linalg.norm(key, axis=1), 0).max(axis=1)


def bound_with_mask(query, key, mask):
    return np.linalg.norm(query, axis=1) * largest_norm(key, mask) + mask.max(axis=1)


def bound_of_sums(query, key, mask):
    of_queries, of_keys = (np.linalg.norm(rows, axis=1) for rows in (query, key))
    return np.max(of_queries[:, None] * of_keys + mask, axis=1)


def bound_in_place(a, b, c):
    a **= 2
    b **= 2
    c += np.sqrt(a.sum(axis=1))[:, None] * np.sqrt(b.sum(axis=1))
    return c.max(axis=1).astype(np.float32)


def bound_by_all_keys(query, key, mask):
    norms = np.linalg.norm(query, axis=1), np.linalg.norm(key, axis=1)
    return norms[0] * norms[1].max() + mask.max(axis=1)


def bound_without_mask(query, key, mask):
    return np.linalg.norm(query, axis=1) * largest_norm(key, mask)


def bound_by_one_mask(query, key, mask):
    return np.linalg.norm(query, axis=1) * largest_norm(key, mask) + mask.max()


def maxima(query, key, mask):
    return (query @ key.T + mask).max(axis=1)


def factors(m, score):
    top = max(m, score)
    return top, math.exp(m - top), math.exp(score - top)


def stepped(m, t, u, score, value):
    if score == -math.inf:
        return m, t, u
    top, shrink, power = factors(m, score)
    return top, shrink * t + power, shrink * u + power * value


def stepped_in_place(m, t, u, score, value):
    """Work in the row that came, with branches instead of factors of 1, and hand over a list."""
    if score > m:
        shrink = np.exp(m - score)
        u *= shrink
        u += value
        return [np.float32(score), np.asarray([shrink * t + 1]), list(u)]
    value *= np.exp(score - m) if score > -np.inf else 0
    u += value
    return [m, t + (np.exp(score - m) if score > -np.inf else 0), u]


def stepped_by_logs(m, t, u, score, value):
    """Go by way of the logarithm of the total."""
    with np.errstate(divide="ignore"):
        log = np.logaddexp(m + np.log(t), score)
    top = np.maximum(m, score)
    if log == -np.inf:
        return iter([m, t, u])
    return iter([top, np.exp(log - top), np.exp(m - top) * u + np.exp(score - top) * value])


def step(new):
    """Make a step of a function of what is met and of the factors, for keys that are not hidden."""

    def attempt(m, t, u, score, value):
        top, shrink, power = factors(m, score)
        return new(SimpleNamespace(m=m, t=t, u=u, s=score, v=value, top=top, a=shrink, p=power))

    return attempt


def below(x):
    return math.exp(x.s - x.m)


def bare(x):
    return math.exp(x.s)


def with_hidden(m, t, u, score, value):
    return (m, t, u) if score == m == -math.inf else stepped(m, t, u, score, value)


def bare_sums(m, t, u, score, value):
    """Keep the sums below no maximum, and divide by it when they are handed over."""
    old, new = np.exp(m), np.exp(score)
    total, weighted = old * t + new, old * u + new * value
    top = max(m, score)
    return top, total / np.exp(top), weighted / np.exp(top)


def ties_lost(m, t, u, score, value):
    return (m, t, u) if score == m else stepped(m, t, u, score, value)


def from_zero(m, t, u, score, value):
    m = max(m, -1000.0)
    return stepped(m, t, u, score, value)


def each_block(query, key, value, size):
    """Yield scores and values, block by block."""
    for start in range(0, len(key), size):
        keys = slice(start, start + size)
        yield query @ key[keys].T / math.sqrt(key.shape[1]), value[keys]


def tile(query, key, value, size, *, of_t=True, of_u=True, start=-np.inf, axis=1, turn=1):
    m, t, u = start, 0.0, 0.0
    for scores, values in each_block(query, key, value, size):
        top = np.maximum(m, scores.max(axis=axis, keepdims=True))
        powers, shrink = np.exp(scores - top), np.exp(turn * (m - top))
        if np.all(np.isinf(m)):
            shrink = 0.0
        t = (shrink if of_t else 1.0) * t + powers.sum(axis=1, keepdims=True)
        u = (shrink if of_u else 1.0) * u + powers @ values
        m = top
    return u / t


def altered(**change):
    return lambda *given: tile(*given, **change)


def averaged(*given):
    return np.mean([s @ v for s, v in weighed(*given)], axis=0)


def weighed(*given):
    """List the weights within each block, and its values."""
    powers = [(np.exp(s - s.max(axis=1, keepdims=True)), v) for s, v in each_block(*given)]
    return [(p / p.sum(axis=1, keepdims=True), v) for p, v in powers]


def last_block(query, key, value, size):
    begin = (len(key) - 1) // size * size
    return tile(query, key[begin:], value[begin:], size)


def whole_blocks(query, key, value, size):
    end = len(key) // size * size
    return tile(query, key[:end], value[:end], size)


def weighed_in_place(query, key, value, _):
    """Keep all scores in one array, in float32, that nothing can watch."""
    q, k, v = (np.asarray(a, dtype=np.float32) for a in (query, key, value))
    powers = q @ k.T
    powers /= np.float32(math.sqrt(k.shape[1]))
    powers -= powers.max(axis=1, keepdims=True)
    np.exp(powers, out=powers)
    return powers @ v / powers.sum(axis=1, keepdims=True)


def row_by_row(query, key, value, _):
    return np.concatenate([weighed_at_once(q[None, :], key, value, 0) for q in query])


def multiplied_at_once(query, key, value, size):
    return by_scores(query @ key.T / math.sqrt(key.shape[1]), value, size)


def summed_at_once(query, key, value, _):
    """Make all scores without a product that anyone would watch."""
    scores = (query[:, None, :] * key).sum(axis=-1) / math.sqrt(key.shape[1])
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers @ value / powers.sum(axis=1, keepdims=True)


def multiplied_by_einsum(query, key, value, size):
    scores = np.einsum("td,sd->ts", query, key)
    return by_scores(scores / math.sqrt(key.shape[1]), value, size)


def by_scores(scores, value, size):
    """Take the powers of scores that are there already, block by block."""
    m = scores.max(axis=1, keepdims=True)
    t = u = 0.0
    for start in range(0, len(value), size):
        powers = np.exp(scores[:, start : start + size] - m)
        t = t + powers.sum(axis=1, keepdims=True)
        u = u + powers @ value[start : start + size]
    return u / t


def below_the_blocks_own(query, key, value, size):
    state = None
    for scores, values in each_block(query, key, value, size):
        m = scores.max(axis=1, keepdims=True)
        powers = np.exp(scores - m)
        t, u = powers.sum(axis=1, keepdims=True), powers @ values
        if state is not None:
            shrink = np.exp(state[0] - m)
            t, u = shrink * state[1] + t, shrink * state[2] + u
        state = m, t, u
    return u / t


def merged_from_stacks(query, key, value, size):
    """Keep all states, and merge them at the end, all at once."""
    states = []
    for scores, values in each_block(query, key, value, size):
        m = scores.max(axis=1, keepdims=True)
        powers = np.exp(scores - m)
        states.append((m, powers.sum(axis=1, keepdims=True), powers @ values))
    m, t, u = (np.stack(parts) for parts in zip(*states, strict=True))
    shrink = np.exp(m - m.max(axis=0))
    return (shrink * u).sum(axis=0) / (shrink * t).sum(axis=0)


def unscaled_below(scale):
    """Make a tile with another scale than 1/√d_k, of the sizes that it is given."""

    def attempt(query, key, value, size):
        d_k = key.shape[1]
        return tile(query * (scale(d_k, value.shape[1], size) * math.sqrt(d_k)), key, value, size)

    return attempt


def without_maximum(*given):
    parts = [(np.exp(scores), values) for scores, values in each_block(*given)]
    return sum(p @ v for p, v in parts) / sum(p.sum(axis=1, keepdims=True) for p, _ in parts)


def weighed_at_once(query, key, value, _):
    scores = query @ key.T / math.sqrt(key.shape[1])
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True) @ value


def turned(query, key, value, size):
    return tile(query[:, ::-1], key, value, size)


def merged_from_a_list(query, key, value, size):
    """Keep all states and merge them from the last to the first, in float32, row by row."""
    states = []
    for scores, values in each_block(query, key, value, size):
        m = scores.max(axis=1)
        powers = np.exp(scores - m[:, None])
        states.append((m, powers.sum(axis=1), powers @ values))
    m, t, u = states.pop()
    while states:
        other, t_2, u_2 = states.pop()
        top = np.maximum(m, other)
        a, b = np.exp(m - top), np.exp(other - top)
        m, t, u = top, a * t + b * t_2, a[:, None] * u + b[:, None] * u_2
    return (u / t[:, None]).astype(np.float32)


def tile_in_place(q, k, v, n):
    q /= k.shape[1] ** 0.5
    out, log = np.zeros((len(q), v.shape[1])), np.full((len(q), 1), -np.inf)
    while len(k):
        s = q @ k[:n].T
        new = np.logaddexp(log, np.logaddexp.reduce(s, axis=1, keepdims=True))
        out = np.exp(log - new) * out + np.exp(s - new) @ v[:n]
        log, k, v = new, k[n:], v[n:]
    return [list(row) for row in out]


ATTEMPTS = {
    exercises.check_online_step: Attempts(
        wrong=[
            (step(lambda x: (x.top, x.t + x.p, x.u + x.p * x.v)), "Your sums are not shrunk"),
            (step(lambda x: (x.top, x.a * x.t + x.p, x.u + x.p * x.v)), "Your t shrinks and your"),
            (step(lambda x: (x.top, x.t + x.p, x.a * x.u + x.p * x.v)), "Your u shrinks and your"),
            (step(lambda x: (x.top, x.t / x.a + x.p, x.u / x.a + x.p * x.v)), "Your sums grow"),
            (
                step(lambda x: (x.top, x.a * x.t + below(x), x.a * x.u + below(x) * x.v)),
                "power is taken below the old maximum",
            ),
            (
                step(lambda x: (x.top, x.a * x.t + bare(x), x.a * x.u + bare(x) * x.v)),
                "Nothing is taken away from the new score",
            ),
            (
                step(lambda x: (x.m, x.t + below(x), x.u + below(x) * x.v)),
                "Your m stays what it was",
            ),
            (
                step(lambda x: (x.s, x.t / below(x) + 1, x.u / below(x) + x.v)),
                "Your m is the latest score",
            ),
            (step(lambda x: (x.top, x.a * x.t, x.a * x.u)), "The new key is missing"),
            (step(lambda x: (x.top, x.a * x.t + x.p, x.a * x.u + x.v)), "without its weight"),
            (step(lambda x: (x.top, x.a * x.t + 1, x.a * x.u + x.p * x.v)), "counts the new key"),
            (
                lambda *met: (*stepped(*met)[:2], stepped(*met)[2] / stepped(*met)[1]),
                "You divide u by t already",
            ),
            (
                step(lambda x: (x.top, x.a * x.t + x.p, x.a * x.u + x.p * x.v)),
                "Where the first key is hidden you do not go on with nothing: −∞ − (−∞) is NaN",
            ),
            (
                lambda m, t, u, s, v: (s, 1.0, v) if t == 0 else with_hidden(m, t, u, s, v),
                "you do not go on with nothing: m = −∞, t = 0 and u = 0",
            ),
            (ties_lost, "Where a score equals the largest so far"),
            (
                lambda m, t, u, s, v: (s, 1.0, v) if s == m else with_hidden(m, t, u, s, v),
                "Where a score equals the largest so far",
            ),
            (
                lambda m, t, u, s, v: (m, t, u) if s < m - 1.5 else with_hidden(m, t, u, s, v),
                "A score far below the largest so far",
            ),
            (
                lambda m, t, u, s, v: with_hidden(m, t, u, s, v) if s else (m, t, u),
                "A score of 0 does not come out right",
            ),
            (bare_sums, "scores around 2000 do not"),
            (from_zero, "scores around −2000 do not"),
            (
                lambda *met: stepped(*met) if met[3] > -math.inf else (met[3], 0.0, 0 * met[2]),
                "changes what you remember of the others",
            ),
            (
                step(lambda x: (min(x.m, x.s), x.a * x.t + x.p, x.a * x.u + x.p * x.v)),
                "your m is not right",
            ),
            (
                lambda m, t, u, s, v: stepped(m, t, u, s, v) if s < m else (s, 1.0, v),
                "Where a larger score comes than all before, your t is not right",
            ),
            (
                lambda m, t, u, s, v: stepped(m, t, u, s, v) if s > m else (m, t, u),
                "Where a smaller score comes than all before, your t is not right",
            ),
            (
                lambda m, t, u, s, v: stepped(m, t, u, s, v) if m > -9e9 else (s, t, u),
                "Later keys come out right, the first one does not",
            ),
        ],
        odd=[stepped_in_place, stepped_by_logs, with_hidden],
        other=[
            (None, "Not attempted yet: write online_step"),
            (lambda *_: ..., "Not attempted yet: your function returns nothing"),
            (lambda *_: 3, "A list of 3 is asked for, and this is int: return m, t and u"),
            (lambda *met: (*met[:2], met[2][:2]), "The shape should be (3,), u"),
            (lambda *met: (met[2], *met[1:3]), "m should be one number"),
            (lambda *met: ("m", *met[1:3]), "Real numbers are asked for"),
            (lambda *met: met[7], "stops for m = 1.2 and score = 2.5 with IndexError"),
            (stepped, "Right"),
        ],
    ),
    exercises.check_in_tiles: Attempts(
        wrong=[
            (averaged, "You average the blocks' outputs"),
            (lambda *a: sum(s @ v for s, v in weighed(*a)), "You add up the blocks' outputs"),
            (altered(of_t=False, of_u=False), "You merge without rescaling"),
            (altered(of_t=False), "The sum of the powers is not shrunk"),
            (altered(of_u=False), "The sum of the values is not shrunk"),
            (altered(turn=-1), "Your sums grow where they should shrink"),
            (last_block, "what the last block alone"),
            (lambda q, k, v, n: tile(q, k[:n], v[:n], n), "what the first block alone"),
            (whole_blocks, "The last block, which is shorter"),
            (unscaled_below(lambda *_: 1.0), "Your scores are not scaled"),
            (unscaled_below(lambda d_k, *_: 1 / d_k), "You divide by d_k, and not by its root"),
            (unscaled_below(lambda _, d_v, __: d_v**-0.5), "You divide by √d_v"),
            (unscaled_below(lambda *a: a[2] ** -0.5), "the root of the block's size"),
            (without_maximum, "scores around 2000 do not: before exp the largest so far"),
            (altered(start=0.0), "with which maximum do you begin"),
            (altered(axis=None), "each query has a maximum of its own"),
            (weighed_at_once, "you make 3072 scores or powers at once, and a block has 96"),
            (
                lambda *a: weighed_at_once(*map(np.asarray, a[:3]), a[3]),
                "times the bytes of all scores",
            ),
            (weighed_in_place, "times the bytes of all scores"),
            (row_by_row, "you make 1024 scores or powers at once"),
            (lambda q, k, v, _: tile(q, k, v, 256), "you make 768 scores or powers at once"),
            (lambda q, k, v, n: tile(q, k, v, 2 * n), "you make 192 scores or powers at once"),
            (multiplied_at_once, "you make 3072 scores or powers at once"),
            (summed_at_once, "you make 3072 scores or powers at once"),
            (multiplied_by_einsum, "you make 3072 scores or powers at once"),
            (below_the_blocks_own, "m is the largest so far, and not the block's own"),
            (
                lambda q, k, v, n: tile(q, k, v, n) / (1 + 1e-9),
                "Nearly: off by more than rounding",
            ),
            (
                lambda *a: averaged(*a) if len(a[1]) == 7 else tile(*a),
                "With all keys in one block it is right",
            ),
            (lambda *a: (tile(*a),), "is there a comma at the end"),
            (turned, "Not even one block of all keys comes out right"),
            (
                lambda *a: tile(*a) + 0.1 * (a[3] < len(a[1])),
                "With all keys in one block it is right",
            ),
            (lambda *a: tile(*a) * (a[3] > 1), "but for blocks of a single key"),
            (lambda q, k, v, n: tile(q, k, v, n) * (n <= len(k)), "A block of all keys and more"),
            (lambda *a: tile(*a) / 0, "not finite"),
        ],
        odd=[
            merged_from_a_list,
            merged_from_stacks,
            tile_in_place,
            lambda q, k, v, n: tile(q, k, v, min(n, 2)),
            lambda *a: tile(*(x + 0 for x in a)),
        ],
        other=[
            (None, "Not attempted yet: write in_tiles"),
            (lambda *_: ..., "Not attempted yet: your function returns nothing"),
            (lambda *a: (tile(*a), None), "returns several things"),
            (lambda *a: a[0] @ a[1][: a[3]].T, "The shape should be (4, 2), a row for each query"),
            (lambda *a: a[0] @ a[1], "stops for 4 queries and 7 keys in blocks of 3 with"),
            (tile, "Right"),
        ],
    ),
    exercises.check_merged_output: Attempts(
        wrong=[
            ((2 / 3, 4 / 3), "different maxima"),
            ((0.5, 4), "divided"),
            ((8 / 9, 4 / 9), "shrinks the state"),
            ((0.5, 2), "averages"),
            ((8 / 3, 1 / 3), "which factor"),
            ((0.34, 2.66), "which factor"),
        ],
        odd=[
            iter([0.33, 2.67]),
            np.asarray([1 / 3, 8 / 3], np.float32),
            (Fraction(1, 3), Fraction(8, 3)),
        ],
        other=[
            (None, "Not attempted"),
            (..., "Not attempted"),
            ((1 / 3, 8 / 3), "Right"),
            ((7, 7), "which factor"),
            (3, "this is int: give the two numbers"),
            ("no", "A pair is asked for, and this is str"),
            ((math.nan, 1), "A finite number"),
        ],
    ),
    exercises.check_merge_logs: Attempts(
        wrong=[
            (naive_logs, "not finite for scores around 2000"),
            (averaged_logs, "output is wrong for scores around 0"),
            (lambda *a: (a[0], a[1]), "logarithm is wrong"),
            (lambda *a: (np.maximum(a[0], a[2]), merged_logs(*a)[1]), "logarithm is wrong"),
            (logs_below_one_maximum, "not finite where every row has scores of another size"),
            (logs_below_the_first, "not finite where the second has much larger scores"),
            (logs_but_for_all_empty, "not finite where one row of the first has seen no key"),
        ],
        odd=[
            merged_in_place,
            lambda *a: [part.tolist() for part in merged_logs(*a)],
            lambda *a: [part.astype(np.float32) for part in merged_logs(*a)],
            lambda p, q, r, s: merged_logs(r, s, p, q),
        ],
        other=[
            (None, "Not attempted"),
            (merged_logs, "Right"),
            (lambda *a: a[0], "return the logarithm and the output"),
            (lambda *_: (1.0, 2.0), "An array is asked for"),
            (lambda *a: (a[1], a[0]), "should be (3, 1)"),
            (lambda *a: (np.ones((3, 1), str), a[1]), "Real numbers"),
            (lambda *_: None, "returns nothing"),
            (lambda: None, "with TypeError"),
            (3, "A function is asked for"),
        ],
    ),
    exercises.check_causal_tiles: Attempts(
        wrong=[
            (512, "all tiles"),
            (256, "diagonal"),
            (264, "Too few"),
            (287, "Too few"),
            (64 * 65 // 2, "Too many"),
        ],
        odd=[288.0, np.asarray(288), np.float32(288)],
        other=[
            (None, "Not attempted"),
            (288, "Right"),
            (100, "Too few"),
            (300, "Too many"),
            (True, "number is asked for, and this is bool"),
        ],
    ),
    exercises.check_bound_with_mask: Attempts(
        wrong=[
            (bound_by_all_keys, "row 1 does not see"),
            (
                lambda q, k, c: bound_of_sums(q, k, np.maximum(c, -1e9)),
                "row 1 does not see",
            ),
            (bound_without_mask, "above its bound"),
            (bound_by_one_mask, "looser than need be"),
            (maxima, "maxima"),
            (lambda *a: maxima(*a) + 0.1, "Lengths are enough"),
            (lambda q, k, c: (np.abs(q @ k.T) + c).max(axis=1), "Lengths are enough"),
            (lambda *a: bound_with_mask(*a) / 2, "above its bound"),
            (lambda q, k, c: bound_with_mask(0.999 * q, k, c), "Row 6 has a score above its"),
            (lambda *a: bound_with_mask(*a) + 1, "looser than need be"),
        ],
        odd=[
            bound_of_sums,
            bound_in_place,
            lambda *a: bound_of_sums(*a).tolist(),
            lambda a, b, c: bound_of_sums(-a, b, c),
        ],
        other=[
            (None, "Not attempted"),
            (bound_with_mask, "Right"),
            (lambda q, *_: q[:, 0] * np.inf, "not finite"),
            (lambda q, *_: q, "should be (6,)"),
        ],
    ),
}

test_attempts = tried_on(ATTEMPTS)
