"""What a reader takes along works away from home: unpacked, installed, and without a network."""

import email
import json
import os
import re
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path
from typing import Any

import nbformat
import pytest

import companion

ROOT = Path(__file__).resolve().parents[2]
MOMENT = 1_700_000_000  # an even second, as archives can store no other

# What a process gets to know that is to be no part of this test run.
OUTSIDE = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHON"))}

# Every Python that starts in the environment has this. An audit hook sees each connection and each
# look-up of a name, works without privileges on any system, and cannot be taken out again.
OFFLINE = """\
import sys

def refuse(event, arguments):
    if event in {"socket.connect", "socket.sendto"}:
        host = arguments[1][0] if isinstance(arguments[1], tuple) else None
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        host = arguments[0]
    else:
        return
    if host not in {None, "", "localhost", "127.0.0.1", "::1"}:
        raise OSError(f"the network is off: no {event} with {host}")

sys.addaudithook(refuse)
"""

# One more notebook, to show that its kernel is where it should be, and cannot get out.
PROBE = """\
import socket
import sys

import companion

print(companion.__file__.startswith(sys.prefix), sys.prefix)
ways = (
    socket.socket().connect,
    socket.create_connection,
    lambda address: socket.gethostbyname(address[0]),
)
for way in ways:
    try:
        way(("192.0.2.1", 80))
    except OSError as error:
        print(error)"""


@pytest.fixture(scope="module")
def bundle(book: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the archive of the built book."""
    folder = tmp_path_factory.mktemp("bundle")
    subprocess.run(
        [sys.executable, str(ROOT / "book" / "bundle.py"), str(book), str(folder)],
        env=os.environ | {"SOURCE_DATE_EPOCH": str(MOMENT)},
        check=True,
    )
    (archive,) = folder.iterdir()
    return archive


@pytest.fixture(scope="module")
def home(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack it, somewhere else."""
    folder = tmp_path_factory.mktemp("home")
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    (unpacked,) = folder.iterdir()
    return unpacked


@pytest.fixture(scope="module")
def wheel(home: Path) -> Path:
    return home / f"attention_companion-{companion.__version__}-py3-none-any.whl"


def make_environment(folder: Path, wheel: Path | None = None) -> Path:
    """Make an environment offline, with what the library needs, and return its Python.

    The packages are those of the running one. A line of a .pth file adds their folder to the path,
    but the .pth files there are not read, so this checkout is not to be found.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    scripts = Path(sysconfig.get_path("scripts", "venv", {"base": str(folder)}))
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    python = scripts / Path(sys.executable).name
    if wheel:
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        subprocess.run([*pip, "--no-index", "--no-deps", str(wheel)], check=True)
    (packages / "offline.py").write_text(OFFLINE, encoding="utf-8")
    (packages / "borrowed.pth").write_text(
        f"import offline\n{sysconfig.get_path('purelib')}\n", encoding="utf-8"
    )
    return python


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(path: Path) -> list[str]:
    cells = read(path)["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def first_code(path: Path) -> str:
    return code_cells(path)[0]


def last_error(python: Path, code: str, folder: Path) -> str:
    """Run the code in that folder; return the last line of how it fails."""
    run = subprocess.run(
        [str(python), "-c", code],
        cwd=folder,
        env=OUTSIDE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    return run.stderr.splitlines()[-1]


def chapters() -> list[str]:
    return sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("chapter", chapters())
def test_a_page_hands_out_the_notebook_of_the_bundle(chapter: str, book: Path, home: Path) -> None:
    page = book / "notebooks" / f"{chapter}.html"
    (link,) = re.findall(r'href="([^"]+\.ipynb)"', page.read_text(encoding="utf-8"))
    assert (page.parent / link).read_bytes() == (home / f"notebooks/{chapter}.ipynb").read_bytes()
    assert first_code(page.parent / link).splitlines()[0].startswith("# This copy may be far")


def test_notebooks_run_offline_from_the_bundle(home: Path, wheel: Path, tmp_path: Path) -> None:
    """One for each file or folder that notebooks open: in all else they run as in the checkout."""
    python = make_environment(tmp_path / "environment", wheel)
    write_probe(home / "notebooks" / "probe.ipynb", tmp_path / "environment")
    notebooks = sorted((home / "notebooks").glob("*.ipynb"))
    assert [path.stem for path in notebooks] == sorted([*chapters(), "probe"])
    opened = {}
    for path in notebooks:
        for name in re.findall(r'"((?:data|\.\.)/[^"]*)"', "\n".join(code_cells(path))):
            opened.setdefault(name, set()).add(path)
    assert len(opened) >= 6
    assert [name for name in opened if not (home / "notebooks" / name).exists()] == []
    apart = [name for name in opened if not any(name.startswith(f"{other}/") for other in opened)]
    chosen = {home / "notebooks" / "probe.ipynb"}
    for paths in sorted((opened[name] for name in apart), key=len):
        if not chosen & paths:  # what has to run may open the rest, too
            chosen.add(min(paths))
    notebooks = sorted(chosen)
    options = f"""
        -p no:cacheprovider --config-file={os.devnull} --rootdir=. --numprocesses=2 --dist=loadfile
        --nbval --nbval-current-env --nbval-cell-timeout=300
    """
    sanitized = ROOT / "notebooks" / "nbval_sanitize.cfg"
    run = subprocess.run(
        [
            str(python),
            *("-m", "pytest", *options.split(), f"--nbval-sanitize-with={sanitized}"),
            *(path.name for path in notebooks),
        ],
        cwd=home / "notebooks",
        env=OUTSIDE | {"OPENBLAS_NUM_THREADS": "1"},  # two notebooks at a time are enough
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    count = sum(len(code_cells(path)) for path in notebooks)
    assert f"{count} passed" in run.stdout.splitlines()[-1]


def test_the_pictures_of_the_text_are_there(home: Path) -> None:
    shown = [
        home / "notebooks" / name
        for path in (home / "notebooks").glob("*.ipynb")
        for cell in read(path)["cells"]
        if cell["cell_type"] == "markdown"
        for name in re.findall(r"\]\(([\w/.-]+\.svg)\)", "".join(cell["source"]))
    ]
    assert home / "notebooks" / "tour.svg" in shown
    assert all(path.is_file() for path in shown)


def write_probe(path: Path, environment: Path) -> None:
    text = (
        f"True {environment}\n"
        "the network is off: no socket.connect with 192.0.2.1\n"
        "the network is off: no socket.getaddrinfo with 192.0.2.1\n"
        "the network is off: no socket.gethostbyname with 192.0.2.1\n"
    )
    output = nbformat.v4.new_output("stream", name="stdout", text=text)
    cell = nbformat.v4.new_code_cell(PROBE, outputs=[output], execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)


def test_a_notebook_alone_says_what_it_needs(home: Path, wheel: Path, tmp_path: Path) -> None:
    code = first_code(home / "notebooks" / "04_softmax.ipynb")
    bare = make_environment(tmp_path / "bare")
    said = last_error(bare, code, home / "notebooks")
    assert said.startswith("ModuleNotFoundError: companion is not installed: ")
    assert said.endswith(f'pip install "{wheel.name}[encoder,figures]"')
    assert last_error(bare, "import numpy, companion", home).endswith("'companion'")
    said = last_error(Path(sys.executable), code, tmp_path)
    assert said.startswith("FileNotFoundError: data/minilm_heads.npz is not here: ")


def test_the_archive_is_the_same_at_every_build(bundle: Path, wheel: Path) -> None:
    for archive in (bundle, wheel):
        with zipfile.ZipFile(archive) as files:
            entries = files.infolist()
        assert {entry.date_time for entry in entries} == {time.gmtime(MOMENT)[:6]}
        assert {oct(entry.external_attr >> 16) for entry in entries} == {"0o100644"}
    with zipfile.ZipFile(bundle) as files:
        assert files.namelist() == sorted(files.namelist())


def test_nothing_in_it_names_a_folder_of_this_machine(
    book: Path, bundle: Path, wheel: Path
) -> None:
    folders = "|".join(re.escape(str(path)) for path in (ROOT, book))
    own = re.compile(rf"(?<![\w.])({folders})(?![\w.])".encode())
    for archive in (bundle, wheel):
        with zipfile.ZipFile(archive) as files:
            assert not [name for name in files.namelist() if own.search(files.read(name))]


def test_the_wheel_holds_the_library_and_nothing_else(wheel: Path) -> None:
    about = f"attention_companion-{companion.__version__}.dist-info"
    sources = [*(ROOT / "companion").rglob("*.py"), ROOT / "companion" / "py.typed"]
    sources += (ROOT / "companion" / "examples" / "small_writer").iterdir()
    with zipfile.ZipFile(wheel) as files:
        metadata = email.message_from_bytes(files.read(f"{about}/METADATA"))
        assert set(files.namelist()) == {
            *(path.relative_to(ROOT).as_posix() for path in sources),
            *(f"{about}/{name}" for name in ("METADATA", "WHEEL", "RECORD")),
            *(f"{about}/licenses/{name}" for name in ("LICENSE", "LICENSE-text")),
        }
    assert metadata["License-Expression"] == "BSD-3-Clause AND CC-BY-4.0"
    assert metadata["Version"] == companion.__version__


def test_what_the_readme_names_is_there(home: Path, wheel: Path) -> None:
    readme = (home / "README.txt").read_text(encoding="utf-8")
    named = set(re.findall(r"index\.html|LICENSE[-\w]*|requirements[-\w]*\.lock|\S+\.whl", readme))
    assert wheel.name in named
    assert len(named) == 6
    assert all((home / name).exists() for name in named)


def test_the_unpacked_book_opens_as_a_file(home: Path, browser: Any) -> None:
    page = browser.new_page()
    page.goto((home / "index.html").as_uri())
    page.wait_for_url((home / "site" / "notebooks" / "cover.html").as_uri())
    assert page.locator("h1").first.inner_text().startswith("Attention as matrix multiplication")
    page.close()


def test_the_menu_of_a_page_downloads_its_notebook(open_page: Any, book: Path) -> None:
    page = open_page("notebooks/04_softmax.html")
    page.get_by_label("Download this page").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Notebook (.ipynb)").click()
    assert download.value.suggested_filename == "04_softmax.ipynb"
    expected = (book / "_sources" / "notebooks" / "04_softmax.ipynb").read_bytes()
    assert Path(download.value.path()).read_bytes() == expected
