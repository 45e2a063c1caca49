"""What is tried on the exercises' checkers, a table for each, and the test that tries it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass(frozen=True)
class Attempts:
    """What is tried on one checker.

    `wrong` looks right and is not; `odd` is right and does not look it: in place, float32, an
    iterator, a class. `other` is the rest: what nobody takes for an answer, and the plain one.
    `needs` is what the checker takes besides the attempt.
    """

    wrong: Sequence[tuple[Any, str]]  # an attempt, and a part of what is said of it
    odd: Sequence[Any]
    other: Sequence[tuple[Any, str]] = ()
    needs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.wrong) < 3 or len(self.odd) < 2:
            raise ValueError("three wrong attempts at least, and two odd ones that are right")

    def cases(self) -> Iterator[tuple[str, Any, str]]:
        """List kind, attempt and a part of what is said of it."""
        yield from (("wrong", attempt, said) for attempt, said in self.wrong)
        yield from (("odd", attempt, "Right") for attempt in self.odd)
        yield from (("other", attempt, said) for attempt, said in self.other)


def tried_on(tables: dict[Callable[..., None], Attempts]) -> Callable[..., None]:
    """Make the test that tries each attempt, and holds each answer to one line."""
    cases = [
        pytest.param(check, attempt, said, table.needs, id=f"{check.__name__}-{kind}-{i}")
        for check, table in tables.items()
        for i, (kind, attempt, said) in enumerate(table.cases())
    ]

    @pytest.mark.parametrize(("check", "attempt", "said", "needs"), cases)
    def test(check, attempt, said, needs, capsys, monkeypatch):
        monkeypatch.setenv("COMPANION_ARRAY_MODULE", "numpy")  # the attempts are NumPy's
        assert check(attempt, **needs) is None
        printed = capsys.readouterr().out
        assert said in printed
        assert printed.count("\n") == 1
        assert printed.startswith("Right") == said.startswith("Right")

    return test
