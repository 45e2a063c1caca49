"""Write the six novels of Jane Austen that Debian's package `r-cran-janeaustenr` holds, as texts.

The package is MIT-licensed; the novels are in the public domain, and its author took them from
Project Gutenberg. R keeps them compressed, and the library `rdata`, which is needed here and
nowhere else, reads what comes out::

    apt-get download r-cran-janeaustenr=1.0.0-1
    dpkg-deb -x r-cran-janeaustenr_1.0.0-1_all.deb unpacked
    python -m pip install rdata  # 1.1.0 was used
    python read_austen.py unpacked/usr/lib/R/site-library/janeaustenr/data texts
"""

import argparse
import bz2
import lzma
import zlib
from pathlib import Path
from typing import Any

import rdata

FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]


def read(content: bytes) -> Any:
    return rdata.conversion.convert(rdata.parser.parse_data(content, extension=".rds"))


def unpacked(piece: bytes) -> bytes:
    """One object of R's database: its length in four bytes, a letter for the packing, the rest."""
    kind = piece[4:5]
    if kind == b"2":
        content = bz2.decompress(piece[5:])
    elif kind == b"Z":
        content = lzma.decompress(piece[5:], format=lzma.FORMAT_RAW, filters=FILTERS)
    else:
        content = zlib.decompress(piece[4:])
    if len(content) != int.from_bytes(piece[:4], "big"):
        raise SystemExit("a novel is not as long as the package says")
    return content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder that holds Rdata.rdx and Rdata.rdb")
    parser.add_argument("texts", type=Path, help="folder that the novels are written to")
    arguments = parser.parse_args()
    places = read((arguments.data / "Rdata.rdx").read_bytes())["variables"]
    database = (arguments.data / "Rdata.rdb").read_bytes()
    arguments.texts.mkdir(parents=True, exist_ok=True)
    for name, (start, length) in sorted(places.items()):
        lines = read(unpacked(database[start : start + length]))
        text = "\n".join(map(str, lines)) + "\n"
        (arguments.texts / f"{name}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
