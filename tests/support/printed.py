"""The words of a printed page, however its fonts drew them."""

import re
import unicodedata


def squeezed(text: str) -> str:
    """Drop the spaces, and take apart letters that some fonts draw as one, such as fi."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", text))
