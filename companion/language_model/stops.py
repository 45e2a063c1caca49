"""Texts at which a writer stops: held back as long as they may be beginning."""

from collections.abc import Sequence

__all__ = ["StopTexts", "check_stop"]


def check_stop(stop: str | Sequence[str]) -> tuple[str, ...]:
    """Return the stop texts as a tuple, or raise unless they are strings that are not empty."""
    texts = (stop,) if isinstance(stop, str) else tuple(stop)
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"stop must be a string or several, got {type(text).__name__}")
        if not text:
            raise ValueError("stop must not be the empty string")
    return texts


class StopTexts:
    """Passes a text on, piece by piece, up to the stop text that is complete first.

    What may be the beginning of one is kept back until it is known, so no part of that stop text is
    ever passed on, and the pieces into which the text is cut decide nothing.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts, self._kept = tuple(texts), ""
        self.found = False

    def push(self, piece: str) -> str:
        """Take the next piece, and return what is certainly before every stop text."""
        if self.found:
            return ""
        self._kept += piece
        places = [(place, text) for text in self._texts if (place := self._kept.find(text)) >= 0]
        if places:
            self.found = True
            _, start = min((place + len(text), place) for place, text in places)
            passed, self._kept = self._kept[:start], ""
            return passed
        kept = max((_beginning(self._kept, text) for text in self._texts), default=0)
        cut = len(self._kept) - kept
        passed, self._kept = self._kept[:cut], self._kept[cut:]
        return passed

    def end(self) -> str:
        """Return what was kept back and became no stop text."""
        kept, self._kept = self._kept, ""
        return kept


def _beginning(text: str, stop: str) -> int:
    """Return how many characters at the end of a text begin a stop text."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
