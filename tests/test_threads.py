"""Worker threads: bounded, in order, nested, at once, after a fork, and gone afterwards."""

import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from companion import parallel_map, thread_count
from companion.kernels import blas, threads


def blas_threads():
    """Ask every BLAS library itself, which threadpoolctl does not while a call of ours holds it."""
    return [blas._originals[type(library)][0](library) for library in blas.libraries()]


class Crowd:
    """Counts how many are inside at once."""

    def __init__(self):
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    def visit(self, item):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.005)
        with self.lock:
            self.now -= 1
        return item


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_in_order_and_no_more_workers_than_wanted(count):
    crowd, before = Crowd(), threading.active_count()
    assert parallel_map(crowd.visit, range(20), threads=count) == list(range(20))
    assert crowd.most == count
    assert threading.active_count() == before


def test_nothing_to_do_is_done():
    assert parallel_map(len, []) == []


@pytest.mark.parametrize("count", [1, 3])
def test_each_worker_has_one_blas_thread_and_the_setting_comes_back(count):
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        assert before
        inside = parallel_map(lambda _: blas_threads(), range(4), threads=count)
        assert inside == [[1] * len(before)] * 4
        assert blas_threads() == before


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_comes_out_and_leaves_nothing_behind(count):
    before, alive, begun = blas_threads(), threading.active_count(), []

    def fail(item):
        begun.append(item)
        time.sleep(0.005)
        raise KeyError(item)

    with pytest.raises(KeyError):
        parallel_map(fail, range(100), threads=count)
    assert len(begun) < 100
    assert (blas_threads(), threading.active_count()) == (before, alive)


def test_an_error_stops_the_rest_though_an_earlier_item_still_runs():
    begun, failed = [], threading.Event()

    def second_fails(item):
        begun.append(item)
        if item == 1:
            failed.set()
            raise KeyError(item)
        failed.wait(timeout=5)
        time.sleep(0.05)

    with pytest.raises(KeyError):
        parallel_map(second_fails, range(100), threads=2)
    assert len(begun) < 10


def test_whichever_thread_calls_has_blas_limited_and_given_back():
    with threadpool_limits(2, user_api="blas"):
        pass  # some other code's limit, from this thread
    before, seen = blas_threads(), []
    parallel_map(len, [[]], threads=1)

    def call():
        seen.extend(parallel_map(lambda _: max(blas_threads()), range(2), threads=2))

    def call_and_end_last(begun, leave):
        parallel_map(lambda _: (begun.set(), leave.wait(timeout=5)), [0], threads=1)

    other = threading.Thread(target=call)
    other.start()
    other.join()
    assert seen == [1, 1]
    begun, leave = threading.Event(), threading.Event()
    other = threading.Thread(target=call_and_end_last, args=(begun, leave))
    parallel_map(lambda _: (other.start(), begun.wait(timeout=5)), [0], threads=1)
    leave.set()
    other.join()
    assert blas_threads() == before


def test_a_call_inside_a_worker_runs_in_that_worker():
    def inner(_):
        identities = parallel_map(lambda _: threading.get_ident(), range(4), threads=4)
        return identities == [threading.get_ident()] * 4

    assert parallel_map(inner, range(4), threads=2) == [True] * 4


def test_calls_at_the_same_time_share_the_workers():
    crowd, before, results = Crowd(), blas_threads(), []
    callers = [
        threading.Thread(
            target=lambda: results.append(parallel_map(crowd.visit, range(20), threads=2))
        )
        for _ in range(3)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert results == [list(range(20))] * 3
    assert crowd.most <= 2 + len(callers) - 1  # one worker is always given
    assert blas_threads() == before


def test_the_number_of_threads_follows_argument_then_variable_then_blas(monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, "3")
    assert (thread_count(5), thread_count()) == (5, 3)
    monkeypatch.setenv(threads.VARIABLE, "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert 1 <= thread_count() <= cores
    with threadpool_limits(1, user_api="blas"):
        assert thread_count() == 1
    before = thread_count()
    assert parallel_map(lambda _: thread_count(), range(2), threads=2) == [before] * 2


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_a_variable_that_is_no_number_of_threads_is_refused(monkeypatch, text):
    monkeypatch.setenv(threads.VARIABLE, text)
    with pytest.raises(ValueError, match=f"COMPANION_THREADS must be .* got '{text}'"):
        thread_count()


def test_a_worker_sees_the_callers_error_state():
    def overflow(_):
        return float(np.float32(3e38) * np.float32(10))

    with np.errstate(over="ignore"):
        assert parallel_map(overflow, range(4), threads=2) == [np.inf] * 4
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        parallel_map(overflow, range(4), threads=2)


def run(script, seconds=60):
    """Run a script in a fresh process and return how it ended."""
    script = textwrap.dedent(script)
    return subprocess.run([sys.executable, "-c", script], timeout=seconds, check=False).returncode


def test_one_worker_is_the_caller(monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", lambda _: pytest.fail("a thread started"))
    seen = parallel_map(lambda _: threading.get_ident(), range(3), threads=1)
    assert seen == [threading.get_ident()] * 3


def test_where_no_thread_can_be_started_the_caller_does_all_the_work(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    before = blas_threads()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert parallel_map(lambda n: n * n, range(5), threads=3) == [0, 1, 4, 9, 16]
    assert blas_threads() == before


@pytest.mark.parametrize("threads", [1, 2])
def test_it_works_when_the_interpreter_ends(threads):
    script = f"""
        import atexit, os, threading, time
        import numpy as np
        from companion import scaled_dot_product_attention as attend

        x = np.ones((2, 600, 8), np.float32)
        call = lambda: attend(x, x, x, implementation="tiled", threads={threads})
        right = call()
        done = []

        def later():
            threading.main_thread().join()
            done.append(bool((call() == right).all()))

        threading.Thread(target=later).start()

        def last():
            done.append(bool((call() == right).all()))
            os._exit(0 if done == [True, True] else 1)

        atexit.register(last)
    """
    assert run(script) == 0


def test_a_blas_that_is_loaded_later_is_held_too():
    script = """
        import numpy as np
        from threadpoolctl import threadpool_info
        from companion import parallel_map
        from companion.kernels import blas

        parallel_map(len, [[]])
        import scipy.linalg

        held = lambda _: [blas._originals[type(b)][0](b) for b in blas.libraries()]
        before = held(0)
        inside = parallel_map(held, range(2), threads=2)
        raise SystemExit(0 if inside == [[1] * len(before)] * 2 and held(0) == before else 1)
    """
    pytest.importorskip("scipy")
    assert run(script) == 0


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("begins", ["before", "during"])
def test_someone_elses_limit_that_crosses_a_call_is_left_as_it_was(begins, limit):
    before = blas_threads()
    begun, leave = threading.Event(), threading.Event()
    hold = lambda _: (begun.set(), leave.wait(timeout=5))  # noqa: E731
    caller = threading.Thread(target=lambda: parallel_map(hold, [0], threads=1))
    if begins == "before":
        with threadpool_limits(limit, user_api="blas"):
            caller.start()
            begun.wait(timeout=5)
            assert blas_threads() == [1] * len(before)
        leave.set()
        caller.join()
    else:
        caller.start()
        begun.wait(timeout=5)
        with threadpool_limits(limit, user_api="blas"):
            assert blas_threads() == [1] * len(before)
            leave.set()
            caller.join()
            assert blas_threads() == [limit] * len(before)
    assert blas_threads() == before


@pytest.mark.parametrize("taken", [False, True])
def test_an_interrupt_at_the_door_leaves_the_lock_free(monkeypatch, taken):
    class Interrupted:
        """A lock in whose taking an interrupt comes: before it is taken, or just after."""

        def acquire(self):
            if taken:
                lock.acquire()
            raise KeyboardInterrupt

        def release(self):
            lock.release()

    lock = threading.RLock()
    monkeypatch.setattr(blas, "_lock", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        blas.hold()
    free = []
    other = threading.Thread(target=lambda: free.append(lock.acquire(blocking=False)))
    other.start()
    other.join()
    assert free == [True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_crowd_of_calls_leaves_every_bit_and_every_limit_as_it_was():
    """Eight threads, two hundred calls, forks, errors, interrupts and limits of others, twice."""
    script = """
        import hashlib, os, signal, threading, time, warnings
        import numpy as np
        from threadpoolctl import threadpool_limits
        from companion import parallel_map, scaled_dot_product_attention as attend
        from companion.kernels import blas

        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
        limits = lambda: [blas._originals[type(b)][0](b) for b in blas.libraries()]
        before, alive = limits(), threading.active_count()
        rng = np.random.default_rng(0)
        inputs = [rng.standard_normal((3, 2, 150 + n, 8), dtype=np.float32) for n in range(25)]
        wrong = []

        def call(n):
            options = {"is_causal": True, "implementation": "tiled", "threads": 1 + n % 3}
            return attend(*inputs[n], **options)

        def fail(n):
            raise KeyError(n)

        def work(which, found):
            for n in range(25):
                if n % 5 == 0 and which == 0:  # two at once would undo each other
                    with threadpool_limits(1 + n % 2, user_api="blas"):
                        found[which, n] = hashlib.sha256(call(n)).digest()
                else:
                    found[which, n] = hashlib.sha256(call(n)).digest()
                if n % 6 == which % 6:
                    try:
                        parallel_map(fail, range(9), threads=2)
                        wrong.append("no error")
                    except KeyError:
                        pass
                if n % 12 == which:
                    child = os.fork()
                    if child == 0:
                        same = hashlib.sha256(call(n)).digest() == found[which, n]
                        os._exit(0 if same else 1)
                    if os.waitpid(child, 0)[1] != 0:
                        wrong.append("child")

        def crowd():
            found = {}
            workers = [threading.Thread(target=work, args=(w, found)) for w in range(8)]
            for worker in workers:
                worker.start()
            interrupts = 0
            while interrupts < 4 or any(worker.is_alive() for worker in workers):
                timer = threading.Timer(0.02, signal.raise_signal, (signal.SIGINT,))
                try:
                    timer.start()
                    while timer.is_alive():
                        call(interrupts % 25)
                    timer.join()  # one that falls into a weak reference is lost
                except KeyboardInterrupt:
                    interrupts += 1
                finally:
                    timer.join()
            return found

        first, second = crowd(), crowd()
        assert len(first) == 200 and first == second and not wrong, wrong
        assert len({first[w, 7] for w in range(8)}) == 1
        assert limits() == before, (limits(), before)
        assert threading.active_count() == alive
    """
    assert run(script, seconds=300) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_forked_during_a_call_can_work_and_has_its_blas_back():
    script = """
        import os, threading, warnings
        from threadpoolctl import threadpool_info, threadpool_limits
        from companion import parallel_map

        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
        threadpool_limits(2, user_api="blas")
        before = [i["num_threads"] for i in threadpool_info()]
        inside, leave = threading.Event(), threading.Event()
        hold = lambda _: (inside.set(), leave.wait())
        caller = threading.Thread(target=parallel_map, args=(hold, range(2)), kwargs={"threads": 2})
        caller.start()
        inside.wait()
        child = os.fork()
        if child == 0:
            same = [i["num_threads"] for i in threadpool_info()] == before
            both = threading.Barrier(2)  # passed by two workers at once, or broken after a while
            met = parallel_map(lambda _: both.wait(timeout=5) >= 0, range(2), threads=2)
            os._exit(0 if same and met == [True, True] else 1)
        leave.set()
        caller.join()
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert run(script) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_forked_while_someone_sets_a_limit_can_work():
    script = """
        import os, threading
        import threadpoolctl
        from companion import parallel_map

        states = [
            controller._SHARED_STATE.lock
            for controller in vars(threadpoolctl).values()
            if hasattr(controller, "_SHARED_STATE")
        ]
        for lock in states:  # as one thread may hold it while another forks
            lock.acquire()
        child = os.fork()
        for lock in states:
            child and lock.release()
        if child == 0:
            met = parallel_map(lambda n: n * n, range(3), threads=2)
            os._exit(0 if met == [0, 1, 4] else 1)
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert run(script, seconds=20) == 0
