"""Serve the built book as a host does: compressed, to be cached, with a page for what is missing.

python book/serve.py                 _build/html at http://localhost:8000
python book/serve.py <html> <port>
"""

import functools
import gzip
import mimetypes
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class Handler(SimpleHTTPRequestHandler):
    """Answers with the files of a folder."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Send a file, or the page for what is not there."""
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        there = path.is_file()
        path = path if there else Path(self.directory, "404.html")
        body, headers = _content(path, path.stat().st_mtime_ns if path.exists() else 0)
        self.send_response(200 if there else 404)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


@functools.cache
def _content(path: Path, _changed: int) -> tuple[bytes, dict[str, str]]:
    body = path.read_bytes() if path.is_file() else b""
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    headers = {"Content-Type": kind, "Cache-Control": "max-age=600"}
    if kind.startswith("text/") or kind.endswith(("xml", "json", "javascript")):
        body = gzip.compress(body, mtime=0)
        headers["Content-Encoding"] = "gzip"
    headers["Content-Length"] = str(len(body))
    return body, headers


def server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """Return a server for a folder on the loopback address, at a free port unless one is given."""
    handler = functools.partial(Handler, directory=str(folder))
    made = ThreadingHTTPServer(("127.0.0.1", port), handler)
    made.block_on_close = False  # a connection that a browser keeps open
    return made


if __name__ == "__main__":
    folder, port = sys.argv[1:] or (ROOT / "_build" / "html", 8000)
    print(f"http://localhost:{port}")
    server(Path(folder), int(port)).serve_forever()
