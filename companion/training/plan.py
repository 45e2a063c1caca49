"""Everything that decides how a training goes, beside its text and its first weights."""

from dataclasses import dataclass, fields
from numbers import Integral

from companion.training.adamw import check_adamw

__all__ = ["TrainingPlan"]


@dataclass(frozen=True)
class TrainingPlan:
    """How a training goes: a checkpoint holds it, so that what goes on goes on the same way.

    Attributes
    ----------
    steps : int
    context : int
        Tokens that a window reads.
    batch_size : int
        Windows of a step.
    learning_rate : float
        The highest, at the end of the warm-up; :func:`warmup_cosine` has that of each step.
    final_share : float
        What is left of it at the last step, unless all steps rise.
    warmup : int
        Steps on which it rises; without one the first has begun to fall.
    weight_decay, betas, eps
        As in :func:`adamw`.
    clip : float
        The greatest length of the gradient, as in :func:`clip_gradients`; ``inf`` lets all pass.
    accumulation : int
        Parts of a batch that are computed one after the other, to need less memory; at most one a
        window.
    shards : int
        Parts of such a part that are computed at once, at most one a window too. It is this number
        that decides the bits of a sum, so it is fixed here, and not taken from the number of
        threads.
    evaluate_every, save_every : int
        Steps between two looks at the validation text, and between two checkpoints.
    seed : int
        Of the order of the windows.

    Raises
    ------
    TypeError
        If a number of something is no integer.
    ValueError
        If an option is out of range.
    """

    steps: int
    context: int = 128
    batch_size: int = 16
    learning_rate: float = 3e-3
    final_share: float = 0.1
    warmup: int = 0
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    clip: float = 1.0
    accumulation: int = 1
    shards: int = 4
    evaluate_every: int = 100
    save_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int:
                if isinstance(value, bool) or not isinstance(value, Integral):
                    raise TypeError(f"{field.name} must be an integer, got {value!r}")
                least = 0 if field.name in ("warmup", "seed") else 1
                if value < least:
                    raise ValueError(f"{field.name} must be at least {least}, got {value}")
        check_adamw(self.learning_rate, self.betas, self.eps, self.weight_decay)
        if not 0 <= self.final_share <= 1:
            raise ValueError(f"final_share must be in 0 … 1, got {self.final_share}")
        if not self.clip > 0:
            raise ValueError(f"clip must be positive, got {self.clip}")
        if self.warmup > self.steps:
            raise ValueError(f"warmup must be at most steps={self.steps}, got {self.warmup}")
        for field in fields(self):  # NumPy's numbers become Python's, which a checkpoint holds
            value, kind = getattr(self, field.name), int if field.type is int else float
            made = tuple(map(kind, value)) if field.name == "betas" else kind(value)
            object.__setattr__(self, field.name, made)
