"""Break the library one line at a time and see a test notice: ``python -m tests.mutants [words]``.

``tests/mutations.toml`` lists the breaks. Each is applied to a copy of the package. For each claim
that it names, one of the tests marked with that claim must fail there; a break of which no claim
speaks names its tests. Words on the command line choose the mutations that contain one of them.
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from book import claims

ROOT = Path(__file__).resolve().parent.parent


def mutated(mutation: dict[str, Any]) -> str:
    """Return the text of the file with the mutation in it, whose line must be there just once."""
    text = (ROOT / "companion" / mutation["file"]).read_text(encoding="utf-8")
    if text.count(mutation["old"]) != 1 or "\n" in mutation["old"] + mutation["new"]:
        raise ValueError(
            f"{mutation['old']!r} must be a part of exactly one line of {mutation['file']}, "
            f"found {text.count(mutation['old'])} times"
        )
    return text.replace(mutation["old"], mutation["new"])


@functools.cache
def _marked_tests() -> list[claims.Label]:
    return claims.marked_tests(ROOT)


def watchers(mutation: dict[str, Any]) -> dict[str, list[str]]:
    """Return the tests of each claim that the mutation breaks, and those that it names itself."""
    marked = _marked_tests()
    found = {
        label: [test.where for test in marked if test.name == label]
        for label in mutation.get("claims", ())
    }
    if "tests" in mutation:
        found["tests"] = mutation["tests"].split()
    return found


def survived(mutation: dict[str, Any]) -> list[str]:
    """Run the tests against a copy of the package with the mutation in it: who noticed nothing?"""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "companion"
        shutil.copytree(ROOT / "companion", package)
        (package / mutation["file"]).write_text(mutated(mutation), encoding="utf-8")
        return [name for name, tests in watchers(mutation).items() if _pass(tests, folder)]


def _pass(tests: list[str], folder: str) -> bool:
    settings = ["-c", str(ROOT / "pyproject.toml"), "-o", "addopts=--import-mode=importlib"]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *settings]
    run = subprocess.run(
        [*command, *(str(ROOT / test) for test in tests)],
        cwd=folder,  # Python looks here first, and finds the broken copy
        env=os.environ | {"CI": "true"},
        capture_output=True,
        text=True,
    )
    if run.returncode not in (0, 1):
        raise RuntimeError(f"the tests did not run:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    return run.returncode == 0


def main(words: list[str]) -> int:
    """Run the chosen mutations and return the exit status: 0 if each was noticed."""
    chosen = [m for m in claims.mutations(ROOT) if not words or any(w in str(m) for w in words)]
    survivors = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutation, blind in zip(chosen, pool.map(survived, chosen), strict=True):
            survivors += bool(blind)
            verdict = f"SURVIVED {', '.join(blind)}" if blind else " noticed"
            print(f"{verdict}  {mutation['file']}: {mutation['why']}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutations noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
