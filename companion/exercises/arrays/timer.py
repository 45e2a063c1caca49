"""A checker for a timer that the reader writes, on a device that only pretends.

The device is lazy: a call hands commands over, and returns before they are done. Each mistake is a
timer of its own here. It is tried on the same device, and the one that reads what the reader's
timer read is named.
"""

import itertools
import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any

from companion.cost.devices import CommandQueue
from companion.exercises.feedback import Feedback, function, number, result, say

__all__ = ["check_timer"]

WHAT_TO_DO = "write time_of(call, synchronize, clock, repeats)"
LAUNCH, COMMANDS = 4e-6, 10  # seconds to hand a command over, and commands in a call
COMPILING, EARLIER, INTERRUPTED = 0.2, 0.5, 0.01  # seconds
SUMMARIES: dict[str, Callable[[list[float]], float]] = {
    "": statistics.median,
    "The mean is drawn along by the one run that was interrupted: take the median.": (
        statistics.fmean
    ),
    "You return all repeats together, and what one takes is asked for.": math.fsum,
    "You return the quickest run: the median was asked for.": min,
    "You return the slowest run: the median was asked for.": max,
}


class Device:
    """A lazy device, whose clock is the host's: later calls take longer, and one is interrupted."""

    def __init__(self) -> None:
        """Begin with work that somebody has handed over before."""
        self.queue = CommandQueue(LAUNCH)
        self.queue.submit(EARLIER)
        self.calls = self.readings = self.waits = 0

    def call(self) -> None:
        """Hand over the commands of one call; the first call compiles them before."""
        if self.calls == 0:
            self.queue.host += COMPILING
        for _ in range(COMMANDS):
            self.queue.submit(self.duration(self.calls))
        self.calls += 1

    def synchronize(self) -> None:
        """Wait for the device."""
        self.waits += 1
        self.queue.synchronize()

    def clock(self) -> float:
        """Read the host's clock, in seconds."""
        self.readings += 1
        return self.queue.host

    @staticmethod
    def duration(number: int) -> float:
        """Return what each command of a call keeps the device busy for."""
        return INTERRUPTED if number == 4 else 1e-4 * (number + 1)

    def alone(self, number: int) -> float:
        """Return what a call takes by itself, handed to a device that is idle."""
        device = CommandQueue(LAUNCH)
        for _ in range(COMMANDS):
            device.submit(self.duration(number))
        device.synchronize()
        return device.host


def check_timer(attempt: Any) -> None:
    """Check a timer (call, synchronize, clock, repeats) → seconds, on a device that is lazy."""
    say(_timer, attempt)


def _timer(attempt: Any) -> str:
    time_of = function(attempt, WHAT_TO_DO)
    for repeats in (5, 7, 1):
        device = Device()
        given = device.call, device.synchronize, device.clock, repeats
        case = f" for repeats = {repeats}"
        returned = result(time_of, *given, case=case)
        found = number(returned, "return a number of seconds")
        if device.calls == 0 or device.readings == 0:
            name = "call" if device.calls == 0 else "clock"
            raise Feedback(f"Your timer never calls {name}(), so what does it time?")
        if device.calls < repeats:
            raise Feedback(f"{device.calls} calls{case}: time as many as are asked for.")
        alone = [device.alone(number) for number in range(device.calls)][-repeats:]
        right = statistics.median(alone)
        if device.calls > repeats and _same(found, right):
            continue
        for said, mistaken in _mistakes(repeats):
            if _same(found, mistaken):
                raise Feedback(said)
        raise Feedback(_what_is_seen(device, repeats, found / right))
    return "Right: called once for nothing, waited for each time, and the median of what it took."


def _same(found: float, other: float) -> bool:
    return math.isclose(found, other, rel_tol=1e-6)


def _what_is_seen(device: Device, repeats: int, times_right: float) -> str:
    if any(_same(times_right, unit) for unit in (1e3, 1e6, 1e9)):
        return "The time is right, and in another unit: return seconds, as the clock gives them."
    if device.calls == repeats:
        return (
            f"{device.calls} calls for {repeats} repeats: the one that compiles is thrown away, "
            "and comes before them."
        )
    if device.waits == 0:
        return "You never wait for the device, so what you read is no time of its work."
    return (
        "That is no time that these calls took. Of each repeat by itself: what lies between your "
        "two readings of the clock?"
    )


def _mistakes(repeats: int) -> Iterator[tuple[str, float]]:
    """Yield what to say of each mistake, and the time that it reads."""
    options = itertools.product(SUMMARIES, (True, False), (True, False), ("each", "once", "never"))
    for summary, warm, settle, wait in sorted(options, key=_how_wrong):
        said = _said(summary, warm, settle, wait)
        if said:
            yield said, _read(Device(), repeats, SUMMARIES[summary], warm, settle, wait)


def _how_wrong(option: tuple[str, bool, bool, str]) -> int:
    """Count what is wrong, so that the plainest explanation comes first."""
    summary, warm, settle, wait = option
    return bool(summary) + (not warm) + (not settle) + (wait != "each")


def _said(summary: str, warm: bool, settle: bool, wait: str) -> str:
    if wait == "never":
        return (
            "You read the clock before the device has finished: that is how long it takes to hand "
            "the commands over."
        )
    if not warm:
        return "Your first call is counted in, and it compiles: call once before you time."
    if not settle:
        return (
            "Your first timing begins while the device still works on what was handed over before: "
            "wait for that too."
        )
    if wait == "once":
        return (
            "You wait once for all repeats: meanwhile the host hands over one call while the "
            "device works on another. Time each by itself."
        )
    return summary


def _read(
    device: Device,
    repeats: int,
    summary: Callable[[list[float]], float],
    warm: bool,
    settle: bool,
    wait: str,
) -> float:
    """Time calls as somebody does who leaves some of it out."""
    if warm:
        device.call()
    if settle:
        device.synchronize()
    times, began = [], device.clock()
    for _ in range(repeats):
        start = device.clock()
        device.call()
        if wait == "each":
            device.synchronize()
        times.append(device.clock() - start)
    if wait == "once":
        device.synchronize()
        return (device.clock() - began) / repeats
    return summary(times)
