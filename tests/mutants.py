"""Break the library one line at a time and see a test notice: ``python tests/mutants.py [words]``.

``tests/mutations.toml`` lists the breaks. Each is applied to a copy of the package, and the tests
it names must fail there. Words on the command line choose the mutations that contain one of them.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "tests" / "mutations.toml"


def mutations() -> list[dict[str, str]]:
    """Read the list: dicts with `file`, `old`, `new`, `why` and `tests`."""
    return tomllib.loads(LIST.read_text(encoding="utf-8"))["mutation"]


def mutated(mutation: dict[str, str]) -> str:
    """Return the text of the file with the mutation in it, whose line must be there just once."""
    text = (ROOT / "companion" / mutation["file"]).read_text(encoding="utf-8")
    if text.count(mutation["old"]) != 1 or "\n" in mutation["old"] + mutation["new"]:
        raise ValueError(
            f"{mutation['old']!r} must be a part of exactly one line of {mutation['file']}, "
            f"found {text.count(mutation['old'])} times"
        )
    return text.replace(mutation["old"], mutation["new"])


def survives(mutation: dict[str, str]) -> bool:
    """Run the named tests against a copy of the package with the mutation in it."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "companion"
        shutil.copytree(ROOT / "companion", package)
        (package / mutation["file"]).write_text(mutated(mutation), encoding="utf-8")
        tests = [str(ROOT / test) for test in mutation["tests"].split()]
        settings = ["-c", str(ROOT / "pyproject.toml"), "-o", "addopts=", "-p", "no:cacheprovider"]
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", *settings, *tests],
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
    chosen = [m for m in mutations() if not words or any(w in " ".join(m.values()) for w in words)]
    survivors = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutation, survived in zip(chosen, pool.map(survives, chosen), strict=True):
            survivors += survived
            verdict = "SURVIVED" if survived else "noticed"
            print(f"{verdict:>8}  {mutation['file']}: {mutation['why']}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutations noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
