"""The built book, a server for it on the loopback address, and a browser that sees nothing else.

`COMPANION_BOOK=_build/html python -m pytest tests/site` tests a book that is already built.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from playwright.sync_api import sync_playwright

from book import pdf, serve

ROOT = Path(__file__).parents[2]
JUPYTER_BOOK = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
ALONE = ["--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
ARRIVED = "!document.querySelector('meta[http-equiv=refresh]')"  # the root leads to the cover
READY = """async () => {
    await document.fonts.ready;
    while (window.laysOut) await new Promise((done) => setTimeout(done, 20));
    for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
}"""


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the book once for all workers, outside the checkout; a warning is an error."""
    if built := os.environ.get("COMPANION_BOOK"):
        return Path(built).resolve()
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, result = base / "book", base / "book-built"
    try:
        folder.mkdir()
    except FileExistsError:  # another worker builds it
        _wait_for(result)
    else:
        options = ["--path-output", str(folder), "-W", "-n", "--keep-going"]
        command = [*JUPYTER_BOOK, "build", str(ROOT), *options]
        run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        unfinished = base / "book-builds"
        said = run.stdout + run.stderr if run.returncode else ""
        unfinished.write_text(said, encoding="utf-8")
        unfinished.rename(result)
    if said := result.read_text(encoding="utf-8"):
        pytest.fail(f"the book does not build:\n{said[-4000:]}", pytrace=False)
    return folder / "_build" / "html"


def _wait_for(path: Path, seconds: int = 300) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > end:
            pytest.fail(f"no book was built within {seconds} s", pytrace=False)
        time.sleep(0.2)


@pytest.fixture(scope="session")
def address(book: Path) -> Iterator[str]:
    """Serve the book on the loopback address."""
    with serve.server(book) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Start Chromium, of the machine's own, without a way to any other address."""
    executable = pdf.chromium()
    if executable is None:
        pytest.skip(
            "there is no Chromium: install it (apt-get install chromium) or name it in $CHROMIUM"
        )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=executable, args=[*pdf.OPTIONS, *ALONE]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def tabs() -> list[Any]:
    """Keep the pages that tests have left, each in a context of its own.

    A page that has been open before opens the next one in a third of the time.
    """
    return []


@pytest.fixture
def open_page(
    browser: Any, tabs: list[Any], address: str, book: Path
) -> Iterator[Callable[..., Any]]:
    """Open pages, by their path or a file:// address, and fail in the end if one had a trouble.

    The book's server answers `status`; a page is ready when it is drawn. The `first` page of a
    visit finds nothing that an earlier one has loaded.
    """
    own = (address, book.as_uri(), "data:", "blob:")
    opened: dict[Any, Callable[[], None]] = {}  # and how each is watched no longer
    troubles: list[str] = []

    def open_one(
        path: str,
        *,
        scheme: str = "light",
        width: int = 1280,
        status: int = 200,
        first: bool = False,
    ) -> Any:
        page = tabs.pop() if tabs and not first else browser.new_context().new_page()
        page.emulate_media(
            media="null", color_scheme=scheme, reduced_motion="reduce", forced_colors="none"
        )
        page.set_viewport_size({"width": width, "height": 800})
        missing = urljoin(address, path) if status == 404 else None
        opened[page] = _watch(page, own, troubles, missing)
        response = page.goto(urljoin(address, path))
        if not page.url.startswith("file:") and response.status != status:
            troubles.append(f"{page.url}: status {response.status}")
        page.wait_for_function(ARRIVED)
        page.wait_for_load_state()
        page.evaluate(READY)
        return page

    yield open_one
    for page, watch_no_longer in opened.items():
        watch_no_longer()
        if page.context.pages == [page]:
            _forget(page)
            tabs.append(page)
        else:
            page.context.close()
    assert not troubles, "\n".join(troubles)


def _forget(page: Any) -> None:
    """Leave nothing on a page that the next test could find."""
    page.evaluate("localStorage.clear(); sessionStorage.clear()")
    page.context.clear_cookies()
    page.context.clear_permissions()
    page.goto("about:blank")


def _watch(
    page: Any, own: tuple[str, ...], troubles: list[str], missing: str | None
) -> Callable[[], None]:
    """Write down whatever goes wrong on a page, until what is returned is called.

    A 404 is no trouble at the address `missing`.
    """
    listeners = []

    def trouble(event: str, told: Callable[[Any], str | None]) -> None:
        def note(what: Any) -> None:
            if said := told(what):
                troubles.append(f"{page.url}: {event}: {said}")

        page.on(event, note)
        listeners.append((event, note))

    def printed(message: Any) -> str | None:
        where = message.location.get("url")
        wrong = message.type in ("error", "warning") and where != (missing or ...)
        return f"{message.text} ({where})" if wrong else None

    trouble("request", lambda r: None if r.url.startswith(own) else r.url)
    # The browser gives up what it no longer needs when the reader leaves a page.
    trouble("requestfailed", lambda r: None if r.failure == "net::ERR_ABORTED" else r.url)
    trouble("response", lambda r: r.url if r.status >= 400 and r.url != missing else None)
    trouble("pageerror", str)
    trouble("console", printed)

    def stop() -> None:
        for event, note in listeners:
            page.remove_listener(event, note)

    return stop
