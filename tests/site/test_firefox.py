"""A second browser shows the same: Firefox, through a protocol of its own."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("firefox-esr", "firefox")
PAGES = ["notebooks/cover", "notebooks/03_scores", "book/explorer", "book/api/one_head", "search"]
PREFERENCES = {
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "marionette.port": 0,  # any that is free
    "network.proxy.no_proxies_on": "127.0.0.1",
    "network.proxy.socks": "127.0.0.1",  # nobody listens: no request leaves the machine
    "network.proxy.socks_port": 9,
    "network.proxy.type": 1,
    "toolkit.telemetry.enabled": False,
}
LOOKS = """
    const math = [...document.querySelectorAll(".math math")];
    const size = (e) => e.getBoundingClientRect();
    const images = [...document.images];
    for (const image of images) image.loading = "eager";
    const eager = images.map((e) => e.decode().catch(() => {}));
    return Promise.all([document.fonts.ready, ...eager]).then(() => ({
        theme: document.documentElement.dataset.theme,
        ground: getComputedStyle(document.body).backgroundColor,
        formulas: math.length,
        undrawn: math.filter((e) => e.checkVisibility() && !size(e).width).length,
        fonts: [...document.fonts].map((f) => [f.family, f.status]),
        images: images.filter((e) => !e.naturalWidth || !e.getAttribute("width")).length,
        wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        asked: performance.getEntriesByType("resource").map((e) => e.name),
    }));
"""
ERRORS = """
    return Services.console.getMessageArray()
        .filter((m) => m instanceof Ci.nsIScriptError && !(m.flags & 1))
        .filter((m) => /^(http|file)/.test(m.sourceName))
        .map((m) => m.errorMessage);
"""


class Firefox:
    """Speaks Marionette: over a socket, each message is its length, a colon and JSON."""

    def __init__(self, executable: str, profile: Path) -> None:
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in PREFERENCES.items()]
        (profile / "user.js").write_text("\n".join(lines), encoding="utf-8")
        self.process = subprocess.Popen(
            [
                executable,
                "--headless",
                "--no-remote",
                "--marionette",
                "--remote-allow-system-access",
                "--profile",
                str(profile),
            ],
            env=os.environ | {"HOME": str(profile)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.socket = self._connected(profile / "MarionetteActivePort")
        self.count = 0
        self._message()  # it says what it is
        self.call("WebDriver:NewSession", capabilities={})

    def _connected(self, port: Path, seconds: int = 60) -> socket.socket:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            if port.exists() and (number := port.read_text(encoding="utf-8").strip()):
                return socket.create_connection(("127.0.0.1", int(number)), timeout=60)
            time.sleep(0.2)
        raise OSError("Firefox does not answer")

    def _message(self) -> Any:
        length = b""
        while (sign := self.socket.recv(1)) != b":":
            length += sign
        text = b""
        while len(text) < int(length):
            text += self.socket.recv(int(length) - len(text))
        return json.loads(text)

    def call(self, command: str, **parameters: Any) -> Any:
        self.count += 1
        message = json.dumps([0, self.count, command, parameters]).encode()
        self.socket.sendall(f"{len(message)}:".encode() + message)
        _, _, error, result = self._message()
        assert error is None, error
        return result.get("value") if isinstance(result, dict) else result

    def run(self, script: str, context: str = "content") -> Any:
        self.call("Marionette:SetContext", value=context)
        result = self.call("WebDriver:ExecuteScript", script=script, args=[])
        self.call("Marionette:SetContext", value="content")
        return result

    def close(self) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("there is no Firefox: install it (on Debian, apt-get install firefox-esr)")
    browser = Firefox(executable, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("place", ["server", "folder"])
def test_firefox_shows_the_page(
    name: str, place: str, firefox: Firefox, address: str, book: Path
) -> None:
    root = address if place == "server" else f"{book.as_uri()}/"
    firefox.run("Services.console.reset()", "chrome")
    firefox.call("WebDriver:SetWindowRect", width=390, height=800)
    firefox.call("WebDriver:Navigate", url=f"{root}{name}.html")
    looks = firefox.run(LOOKS)
    assert looks["theme"] == "light"
    assert looks["ground"] == "rgb(255, 255, 255)"
    assert looks["undrawn"] == looks["images"] == looks["wide"] == 0
    if looks["formulas"]:
        assert ["Companion Mathematics", "loaded"] in [
            [family.strip('"'), status] for family, status in looks["fonts"]
        ]
    assert (looks["formulas"] > 100) == (name == "notebooks/03_scores")
    assert [url for url in looks["asked"] if not url.startswith((root, "data:"))] == []
    assert firefox.run(ERRORS, "chrome") == []


def test_firefox_searches_and_explores(firefox: Firefox, book: Path) -> None:
    firefox.call("WebDriver:Navigate", url=f"{book.as_uri()}/search.html?q=causal+mask")
    wait = "return new Promise((done) => setTimeout(done, 100))"
    for _ in range(100):
        found = firefox.run("return document.querySelector('ul.search a')?.textContent")
        if found:
            break
        firefox.run(wait)
    assert found == "5. Causal masks"
    firefox.call("WebDriver:Navigate", url=f"{book.as_uri()}/book/explorer.html")
    firefox.run("document.querySelectorAll('.ex-word')[4].click()")
    assert firefox.run("return location.hash") == "#sentence=2&head=4&token=4"
    firefox.run("document.querySelector('[data-part=rest]').click()")
    firefox.run("document.querySelectorAll('.ex-word')[9].click()")
    assert firefox.run("return document.querySelector('.ex-said').textContent").startswith("it ")
    firefox.run("document.querySelector('[data-at=\"x.2.1\"]').click()")
    firefox.run("document.querySelector('[data-sheet-part=more]').click()")
    assert firefox.run("return document.querySelectorAll('.ms-moved').length") > 20
    firefox.run("document.querySelector('[data-part=waiting]').scrollIntoView()")
    for _ in range(100):
        if firefox.run("return document.querySelector('[data-part=residual] td') !== null"):
            break
        firefox.run(wait)
    assert firefox.run("return document.querySelectorAll('[data-part=residual] td').length") == 9
