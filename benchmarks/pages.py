"""What a slow phone makes of the built book: ``python -m benchmarks.pages --help``.

Lighthouse, in its mobile setting, which reckons with 1.6 Mbit/s, 150 ms and a processor of a
quarter of the speed; of several runs the median counts.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import measure
from book import pdf, serve

ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "results" / "pages.json"
VERSION = "12.2.3"
PAGES = ("notebooks/cover", "notebooks/03_scores", "book/explorer", "book/api/one_head")
# The first three in milliseconds.
NUMBERS = (
    "first-contentful-paint",
    "largest-contentful-paint",
    "total-blocking-time",
    "cumulative-layout-shift",
)


def lighthouse(command: list[str], address: str) -> dict[str, Any]:
    """Judge a page once: its four scores, of 100, and what the first of them is made of."""
    with TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        flags = "--headless=new --no-sandbox --disable-gpu"
        subprocess.run(
            [
                *(*command, address, "--quiet", "--output=json", f"--output-path={report}"),
                f"--chrome-flags={flags}",
            ],
            env=os.environ | {"CHROME_PATH": pdf.chromium() or sys.exit("there is no Chromium")},
            check=True,
        )
        told = json.loads(report.read_text(encoding="utf-8"))
    assert told["lighthouseVersion"] == VERSION
    scores = {name: round(100 * c["score"]) for name, c in told["categories"].items()}
    numbers = {name: round(told["audits"][name]["numericValue"], 3) for name in NUMBERS}
    return {**scores, **numbers, "benchmark index": told["environment"]["benchmarkIndex"]}


def judged(command: list[str], root: str, repeats: int) -> dict[str, Any]:
    """Judge each page several times, in turns."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in PAGES}
    for _ in range(repeats):
        for name in PAGES:
            runs[name].append(lighthouse(command, f"{root}{name}.html"))
            print(name, runs[name][-1], flush=True)
    return {
        name: {"median": {k: statistics.median(r[k] for r in told) for k in told[0]}, "runs": told}
        for name, told in runs.items()
    }


def main() -> None:
    """Serve the book, judge its pages and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--book", type=Path, default=ROOT / "_build" / "html")
    parser.add_argument("--output", type=Path, help=f"the record to write, as {RESULT.name}")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--lighthouse", help=f"its command; npx lighthouse@{VERSION} otherwise")
    given = parser.parse_args()
    command = [given.lighthouse] if given.lighthouse else ["npx", "--yes", f"lighthouse@{VERSION}"]
    if not shutil.which(command[0]):
        sys.exit(f"there is no {command[0]}")
    machine = measure.machine()
    with serve.server(given.book) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        pages = judged(command, f"http://127.0.0.1:{server.server_port}/", given.repeats)
        server.shutdown()
    record = {
        "command": "make book && python -m benchmarks.pages --output benchmarks/results/pages.json",
        "lighthouse": VERSION,
        "setting": "mobile, simulated: 1.6 Mbit/s, 150 ms, a processor of a quarter of the speed",
        "machine": machine,
        "load_after": round(os.getloadavg()[0], 2),
        "pages": pages,
    }
    if given.output:
        given.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
