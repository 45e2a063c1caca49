"""Problems that every form of attention is set, and how exact its answers must be."""

import numpy as np
from hypothesis import strategies as st

from companion import scaled_dot_product_attention as attend


def draw(rng, dtype, *shapes):
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def root_mean_square(difference):
    return float(np.sqrt(np.mean(np.square(difference), dtype=np.longdouble)))


def assert_as_exact_as_textbook(arrays, output, **options):
    """Hold an output against the same inputs in a longer precision, and the textbook's error."""
    dtype = arrays[0].dtype
    longer = np.longdouble if dtype == np.float64 else np.float64
    exact = attend(*(a.astype(longer) for a in arrays), implementation="textbook", **options)
    assert (output.dtype, output.shape) == (dtype, exact.shape)
    slack = 8 * np.finfo(dtype).eps * np.max(np.abs(exact), initial=0)
    error, known = output - exact, [form - exact for form in _textbook(*arrays, **options)]
    largest = max(np.max(np.abs(one), initial=0) for one in known)
    assert root_mean_square(error) <= 2 * max(map(root_mean_square, known)) + slack
    assert np.max(np.abs(error), initial=0) <= 4 * largest + slack


def _textbook(query, key, value, attn_mask=None, *, scale=None, **options):
    """Yield the textbook's output: products added up in either order, scaled before or after.

    Huge scores round by much, and a single way of rounding them may be right by luck.
    """
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    for order in (slice(None), slice(None, None, -1)):
        for before, after in ((1, factor), (factor, 1)):
            yield attend(
                query[..., order] * query.dtype.type(before),
                np.ascontiguousarray(key[..., order]),
                value,
                attn_mask,
                scale=after,
                implementation="textbook",
                **options,
            )


@st.composite
def problems(draw_one):
    """Draw shapes, masks and options that the central call takes, and the numbers."""
    rng = np.random.default_rng(draw_one(st.integers(0, 2**32 - 1)))
    batch = draw_one(st.sampled_from([(), (2,), (1, 2)]))
    groups, group = draw_one(st.sampled_from([(1, 1), (2, 1), (1, 3), (2, 2)]))
    queries, keys = draw_one(st.integers(1, 30)), draw_one(st.integers(1, 30))
    dtype = draw_one(st.sampled_from([np.float32, np.float64]))
    spread = draw_one(st.sampled_from([1e-4, 1.0, 30.0, 3e4]))
    heads, width, value_width = groups * group, draw_one(st.integers(1, 5)), 3
    query, key, value = draw(
        rng,
        dtype,
        (*batch, heads, queries, width),
        (*batch, groups, keys, width),
        (*batch, groups, keys, value_width),
    )
    key *= dtype(spread)
    options = {
        "is_causal": draw_one(st.booleans()),
        "query_offset": draw_one(st.integers(-5, 30)),
        "window": draw_one(st.sampled_from([None, (0, 0), (3, 2), (-1, 4), (5, -1)])),
        "scale": draw_one(st.sampled_from([None, -0.5, 2.0])),
        "softcap": draw_one(st.sampled_from([None, 3.0])),
    }
    if draw_one(st.booleans()):
        options["query_offset"] = rng.integers(-5, 30, batch)
    mask = draw_one(st.sampled_from(["none", "keys", "rows", "boolean", "float"]))
    shape = {"keys": (keys,), "rows": (queries, 1)}.get(mask, (*batch, heads, queries, keys))
    visible = rng.random(shape) < 0.7
    if mask == "float":
        visible = np.where(visible, rng.standard_normal(shape), -np.inf).astype(dtype)
    return [query, key, value], options | {"attn_mask": None if mask == "none" else visible}
