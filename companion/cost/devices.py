"""Two models of a GPU that run anywhere: its queue of commands, and when it pays to use it.

They are models: what they leave out is written beside them, and the numbers in them are the
reader's to change.
"""

import math
from dataclasses import dataclass

__all__ = ["CommandQueue", "Machine", "attention_seconds", "break_even_length"]


@dataclass
class CommandQueue:
    """A device that works through commands in order, while the host goes on (:eq:`eq-queue`).

    A real queue has room for so many commands, and then the host has to wait; this one is endless.

    Attributes
    ----------
    launch : float
        What it costs the host to hand a command over.
    host : float
        The host's clock.
    device : float
        When the device will have finished all that was handed over.
    """

    launch: float
    host: float = 0.0
    device: float = 0.0

    def __post_init__(self) -> None:
        """Refuse times that run backwards."""
        if not self.launch >= 0:
            raise ValueError(f"launch must not be negative, got {self.launch}")

    def submit(self, duration: float) -> None:
        """Hand over a command that will keep the device busy for `duration`; do not wait for it."""
        if not duration >= 0:
            raise ValueError(f"duration must not be negative, got {duration}")
        self.host += self.launch
        self.device = max(self.device, self.host) + duration

    def synchronize(self) -> None:
        """Wait until the device has finished; ``float(x)``, ``print(x)`` and ``if x:`` do so."""
        self.host = max(self.host, self.device)


@dataclass(frozen=True)
class Machine:
    """What a processor is worth to :func:`attention_seconds`.

    Attributes
    ----------
    rate : float
        Floating-point operations a second, of those it sustains on a matrix product.
    launch : float
        Seconds to start one operation.
    bandwidth : float
        Bytes a second between the host's memory and its own; infinite where they are the same.
    """

    rate: float
    launch: float = 0.0
    bandwidth: float = math.inf

    def __post_init__(self) -> None:
        """Refuse a machine that never finishes."""
        if not (self.rate > 0 and self.launch >= 0 and self.bandwidth > 0):
            raise ValueError(f"rate and bandwidth must be positive, launch not negative: {self}")


def attention_seconds(
    length: float,
    machine: Machine,
    *,
    heads: int,
    width: int,
    launches: int,
    item_bytes: int = 4,
) -> float:
    """Predict the time of attention with its data's way there and back (:eq:`eq-attention-time`).

    Left out: the exponentials, and the device's own memory.

    Parameters
    ----------
    length : float
        Number of tokens N.
    machine : Machine
    heads, width : int
        H, and d_k = d_v.
    launches : int
        How many operations are started.
    item_bytes : int
        Bytes of a number.

    Returns
    -------
    float
    """
    operations = 4 * heads * width * length**2
    moved = 4 * heads * width * length * item_bytes
    return launches * machine.launch + moved / machine.bandwidth + operations / machine.rate


def break_even_length(
    host: Machine,
    device: Machine,
    *,
    heads: int,
    width: int,
    launches: int,
    item_bytes: int = 4,
) -> float:
    """Return the length from which the device is the faster one (:prf:ref:`prop-break-even`).

    Parameters
    ----------
    host, device : Machine
        The host's data is where it is needed: its launch and bandwidth are not used.
    heads, width, launches, item_bytes : int
        As in :func:`attention_seconds`.

    Returns
    -------
    float
        Infinite if the device's rate is not above the host's.
    """
    gain = 4 * heads * width * (1 / host.rate - 1 / device.rate)  # for each N²
    if gain <= 0:
        return math.inf
    way = 4 * heads * width * item_bytes / device.bandwidth  # for each N
    start = launches * device.launch
    return (way + math.sqrt(way**2 + 4 * gain * start)) / (2 * gain)
