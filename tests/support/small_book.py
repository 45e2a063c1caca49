"""A book of one chapter, with its tests, its mutations and its library."""

import json
from pathlib import Path

PAGE = """(ch-sums)=
# Sums

$$
1 + 1 = 2
$$ (eq-two)

```{prf:theorem} More
:label: thm-more

By {eq}`eq-two`, {numref}`Figure %s <fig-sum>` and {ref}`ch-sums`.
```

:::{prf:definition}
:class: note
:label: def-sum
:::

```{prf:remark}
A remark needs no label.
```
"""
TESTS = """import pytest

@pytest.mark.claim("eq-two")
@pytest.mark.parametrize("n", [1, 2])
def test_two(n):
    assert n + n == 2 * n

@pytest.mark.claim("thm-more", "def-sum")
def test_more():
    assert 1 + 1 > 1
"""
MUTATIONS = """[[mutation]]
file = "sums.py"
old = "x + y"
new = "x - y"
why = "the sum is a difference"
claims = ["eq-two", "thm-more"]

[[mutation]]
file = "sums.py"
old = "return x"
new = "return y"
why = "no claim"
tests = "tests/test_sums.py"
"""
LIBRARY = '''"""Sums (:ref:`ch-sums`)."""

def add(x, y):
    """Add (:eq:`eq-two`, :prf:ref:`thm-more`)."""
    return x + y  # :eq:`eq-no-docstring`

class Sum:
    def of(self):
        """Add (:eq:`eq-two`)."""
'''


def write_book(
    root: Path,
    page: str = PAGE,
    tests: str = TESTS,
    library: str = LIBRARY,
    mutations: str = MUTATIONS,
) -> Path:
    """Write a book of one chapter and one page beside it."""
    figure = {"figure": {"caption": "See {eq}`eq-two`.", "name": "fig-sum"}}
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": page.splitlines(keepends=True)},
        {"cell_type": "code", "metadata": {"mystnb": figure}, "source": ["$$ (eq-code)"]},
    ]
    files = {
        "notebooks/01_sums.ipynb": json.dumps({"cells": cells}),
        "book/run.md": "Begin with {ref}`sums <ch-sums>`.\n",
        "tests/test_sums.py": tests,
        "tests/mutations.toml": mutations,
        "companion/sums.py": library,
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def replaced(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)
