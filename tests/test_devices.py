"""The queue and the break-even, against the formulas and against a search."""

import functools
import inspect
import math

import array_api_strict as strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import companion
from companion.cost.devices import CommandQueue, Machine, attention_seconds, break_even_length

times = st.integers(0, 50)
rates = st.floats(1e9, 1e14)


@pytest.mark.claim("eq-queue", "prop-two-clocks", "prop-unequal-commands")
@given(times, st.lists(times, min_size=1, max_size=12))
def test_two_clocks(launch, durations):
    queue, k = CommandQueue(launch), len(durations)
    for duration in durations:
        queue.submit(duration)
    assert queue.host == k * launch
    finished = max((j + 1) * launch + sum(durations[j:]) for j in range(k))
    assert queue.device == finished
    queue.synchronize()
    assert queue.host == max(k * launch, finished)


@pytest.mark.claim("prop-two-clocks")
@given(times, times, st.integers(1, 20))
def test_equal_commands(launch, duration, count):
    queue = CommandQueue(launch)
    for _ in range(count):
        queue.submit(duration)
    queue.synchronize()
    assert queue.host == max(launch + count * duration, count * launch + duration)


@pytest.mark.claim("eq-queue")
def test_the_device_waits_for_the_host_and_the_host_only_where_it_is_told():
    queue = CommandQueue(launch=4)
    queue.submit(1)
    assert (queue.host, queue.device) == (4, 5)
    queue.submit(10)
    assert (queue.host, queue.device) == (8, 18)
    queue.synchronize()
    queue.synchronize()
    assert queue.host == 18
    queue.submit(1)
    assert (queue.host, queue.device) == (22, 23)


@pytest.mark.claim("eq-attention-time")
def test_the_time_is_launches_and_bytes_and_operations():
    heads, width, length = 12, 64, 100
    machine = Machine(rate=2.0, launch=3.0, bandwidth=5.0)
    products = 2 * (2 * length * length * width * heads)
    numbers = 4 * heads * length * width  # query, key, value and output
    assert attention_seconds(
        length, machine, heads=heads, width=width, launches=7, item_bytes=8
    ) == pytest.approx(7 * 3 + numbers * 8 / 5 + products / 2)
    assert attention_seconds(1, Machine(1.0), heads=1, width=1, launches=9) == 4


@pytest.mark.claim("prop-break-even", "eq-break-even")
@given(
    rates, rates, st.floats(0, 1e-3), st.floats(1e8, 1e12), st.integers(1, 32), st.integers(1, 256)
)
def test_the_device_is_faster_just_beyond_the_break_even(p_h, p_d, launch, bandwidth, heads, width):
    host, device = Machine(p_h), Machine(p_d, launch, bandwidth)
    sizes = {"heads": heads, "width": width, "launches": 12}

    def faster(length):
        device_time = attention_seconds(length, device, **sizes)
        return device_time < attention_seconds(length, host, **sizes)

    length = break_even_length(host, device, **sizes)
    if p_d <= p_h:
        assert math.isinf(length)
        assert not any(faster(n) for n in (1, 1e3, 1e6, 1e9))
    elif p_d > 1.001 * p_h:
        assert faster(1.001 * length)
        assert not faster(0.999 * length)


@pytest.mark.claim("prop-break-even")
@given(st.floats(1e9, 1e11), st.floats(1e12, 1e14), st.integers(1, 32), st.integers(1, 256))
def test_the_two_special_cases(p_h, p_d, heads, width):
    host, gain = Machine(p_h), 1 / p_h - 1 / p_d
    sizes = {"heads": heads, "width": width, "launches": 10, "item_bytes": 2}
    resident = break_even_length(host, Machine(p_d, launch=1e-5), **sizes)
    assert resident == pytest.approx(math.sqrt(1e-4 / (4 * heads * width * gain)))
    moved = break_even_length(host, Machine(p_d, bandwidth=1e10), **sizes)
    assert moved == pytest.approx(2 / (1e10 * gain))


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: CommandQueue(-1.0), "launch must not be negative, got -1"),
        (lambda: CommandQueue(1.0).submit(-2.0), "duration must not be negative, got -2"),
        (lambda: Machine(0.0), "rate and bandwidth must be positive"),
        (lambda: Machine(1.0, bandwidth=0.0), "rate and bandwidth must be positive"),
        (lambda: Machine(1.0, launch=-1.0), "launch not negative"),
    ],
)
def test_a_bad_number_is_refused(call, part):
    with pytest.raises(ValueError, match=part):
        call()


# How many commands attention is


VIEWS = {"asarray", "astype", "broadcast_to", "expand_dims", "matrix_transpose", "reshape"}
ASKED = {"can_cast", "finfo", "isdtype", "result_type"}


@pytest.fixture
def commands(monkeypatch):
    """Count the calls that compute an array, each of which is a command on a device."""
    done, inside = [], []

    def counting(name, function):
        @functools.wraps(function)
        def call(*arguments, **options):
            if not inside:
                done.append(name)
            inside.append(name)
            try:
                return function(*arguments, **options)
            finally:
                inside.pop()

        return call

    for name, function in inspect.getmembers(strict, inspect.isfunction):
        if not name.startswith("_") and name not in VIEWS | ASKED:
            monkeypatch.setattr(strict, name, counting(name, function))
    array = type(strict.asarray(0.0))
    for name in ("add", "sub", "mul", "truediv", "matmul", "and", "or", "le", "gt", "eq"):
        method = f"__{name}__"
        monkeypatch.setattr(array, method, counting(method, getattr(array, method)))
    return done


def test_the_matrix_form_is_two_dozen_commands_and_a_dozen_more_under_a_mask(commands):
    counts = set()
    for length in (2, 50):
        rows = [strict.asarray(np.ones((length, 3))) for _ in range(3)]
        for is_causal in (False, True):
            commands.clear()
            companion.scaled_dot_product_attention(
                *rows, is_causal=is_causal, implementation="textbook"
            )
            counts.add((is_causal, len(commands)))
    (plain, masked) = (count for _, count in sorted(counts))  # whatever the length
    assert 20 <= plain <= 28
    assert 9 <= masked - plain <= 15
