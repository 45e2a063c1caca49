"""A corpus of texts turned into vectors on disk, part by part, wherever there is a worker."""

import functools
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from companion.distributed.placement import one_error
from companion.encoder import SentenceEncoder
from companion.extras import import_extra
from companion.files import read_json
from companion.kernels.threads import parallel_map
from companion.libraries import library_named
from companion.packing import check_text

__all__ = ["EncodedCorpus", "encode_corpus"]

Pair: TypeAlias = tuple[str, Any]
Bad: TypeAlias = Literal["refuse", "skip"]
PURPOSE = "a corpus on several workers"
MODEL_FILES = ("config.json", "tokenizer.json", "model.safetensors")


@dataclass(frozen=True)
class EncodedCorpus:
    """The vectors of a corpus, on disk.

    Attributes
    ----------
    folder : pathlib.Path
        Holds a file ``part-….npy`` for each part, and one ``.json`` with its documents' names.
    names : list of str
        Of the documents that have a vector, in their order.
    bad : dict of str to str
        Why those have none that were left out, by their names.
    """

    folder: Path
    names: list[str]
    bad: dict[str, str]

    def vectors(self) -> Any:
        """Return the vectors as a Dask array (len(names), d): row i is that of ``names[i]``."""
        da = import_extra("dask.array", "distributed", PURPOSE)
        files = sorted(self.folder.glob("part-*.npy"))
        return da.concatenate(
            [da.from_array(np.load(file, mmap_mode="r"), chunks=-1) for file in files]
        )


def encode_corpus(
    model: str | os.PathLike[str],
    documents: Any,
    output: str | os.PathLike[str],
    *,
    client: Any = None,
    bad: Bad = "refuse",
    part_size: int = 256,
    batch_size: int = 32,
    progress: bool = True,
) -> EncodedCorpus:
    """Turn every text of a corpus into a vector (:meth:`companion.SentenceEncoder.encode`).

    A worker reads the model once, and writes each part in one step: whatever is interrupted, a part
    is there and whole, or it is not there. Called again, the function goes on with the parts that
    are missing.

    Parameters
    ----------
    model : str or path
        The folder of the encoder, where every worker finds it.
    documents : iterable of paths, or Dask bag of pairs (name, text)
        Files of text in UTF-8, or the texts themselves. A partition of a bag is a part.
    output : str or path
        The folder that is written to, the same one for every worker.
    client : distributed.Client, optional
        Whose workers encode. Left out, this process does.
    bad : {"refuse", "skip"}
        What becomes of a text that cannot be read or is not valid Unicode: an error that names all
        such of the first part that has one, or an entry in the result.
    part_size : int
        Files in a part.
    batch_size : int
        As in :meth:`companion.SentenceEncoder.encode`.
    progress : bool
        Show how many parts are done.

    Returns
    -------
    EncodedCorpus

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or size, a document is bad and `bad` is ``"refuse"``, or
        the folder holds vectors of another corpus or model.
    FileNotFoundError
        If the model is not there.
    ConnectionError
        If the scheduler is lost.
    """
    if bad not in get_args(Bad):
        raise ValueError(f"bad must be one of {get_args(Bad)}, got {bad!r}")
    for name, size in (("part_size", part_size), ("batch_size", batch_size)):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"{name} must be an integer, got {size!r}")
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
    model, output = Path(model).absolute(), Path(output).absolute()
    parts, corpus = _parts(documents, part_size)
    _open(output, {"model": _digest(model), "corpus": corpus, "parts": len(parts)})
    encode = partial(_encode_part, model, output, bad, batch_size)
    missing = {i: part for i, part in enumerate(parts) if not _report(output, i).exists()}
    steps = _on_workers(encode, missing, client) if client else _here(encode, missing)
    if progress:
        tqdm = import_extra("tqdm", "encoder", PURPOSE).tqdm
        steps = tqdm(steps, total=len(parts), initial=len(parts) - len(missing), desc="encode")
    for _ in steps:
        pass
    for left in output.glob(".part-*"):  # by a worker that was ended while it wrote
        left.unlink(missing_ok=True)
    return _read(output, len(parts))


def _parts(documents: Any, size: int) -> tuple[list[Any], str]:
    """Return what each part reads, and what tells this corpus from another."""
    if hasattr(documents, "to_delayed"):
        return list(documents.to_delayed()), str(documents.name)
    if isinstance(documents, (str, os.PathLike)) or not isinstance(documents, Iterable):
        raise TypeError(f"documents must be paths or a Dask bag, got {type(documents).__name__}")
    paths = [str(Path(path).absolute()) for path in documents]
    runs = [paths[i : i + size] for i in range(0, len(paths), size)]
    return runs, hashlib.sha256("\n".join([str(size), *paths]).encode()).hexdigest()


def _digest(model: Path) -> str:
    found = hashlib.sha256()
    for name in MODEL_FILES:
        with (model / name).open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def _open(output: Path, wanted: dict[str, Any]) -> None:
    """Make the folder, or see that what it holds is of this corpus and model."""
    output.mkdir(parents=True, exist_ok=True)
    note = output / "corpus.json"
    if not note.exists():
        _write(note, json.dumps(wanted).encode())
    elif (held := read_json(note, dict)) != wanted:
        other = next(name for name in wanted if held.get(name) != wanted[name])
        raise ValueError(f"output {output} holds vectors of another {other}: choose a new folder")


def _here(encode: Callable[..., None], missing: dict[int, Any]) -> Iterator[None]:
    for number, part in missing.items():
        encode(number, part.compute() if hasattr(part, "compute") else part)
        yield


def _on_workers(
    encode: Callable[..., None], missing: dict[int, Any], client: Any
) -> Iterator[None]:
    distributed = import_extra("distributed", "distributed", PURPOSE)
    dask = import_extra("dask", "distributed", PURPOSE)
    tasks = [dask.delayed(encode)(number, part) for number, part in missing.items()]
    with one_error(client):
        futures = client.compute(tasks)
        try:
            for future in distributed.as_completed(futures, loop=client.loop):
                yield future.result()
        finally:
            for future in futures:
                future.release()


@functools.lru_cache(maxsize=1)
def _encoder(model: Path) -> SentenceEncoder:
    """Read a model once for each process."""
    return SentenceEncoder.from_pretrained(model, xp=library_named("numpy"))


def _encode_part(
    model: Path, output: Path, bad: Bad, batch_size: int, number: int, part: Sequence[str | Pair]
) -> None:
    """Encode the documents of a part and write them, the report last: then the part is done."""
    good, reasons = _texts(part)
    if reasons and bad == "refuse":
        named = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise ValueError(f"documents must be texts of valid Unicode, got {named}")
    texts = [text for _, text in good]
    encode = partial(_encoder(model).encode, texts, batch_size)
    vectors = parallel_map(lambda _: encode(), [None], threads=1)[0]
    file = _report(output, number).with_suffix(".npy")
    _write(file, partial(np.save, arr=np.asarray(vectors)))
    report = {"names": [name for name, _ in good], "bad": reasons}
    _write(_report(output, number), json.dumps(report).encode())


def _texts(part: Sequence[str | Pair]) -> tuple[list[Pair], dict[str, str]]:
    """Return the documents with their texts, and why others have none."""
    good, reasons = list[Pair](), dict[str, str]()
    for document in part:
        name = document if isinstance(document, str) else str(document[0])
        try:
            text = Path(name).read_text("utf-8") if document is name else document[1]
            check_text(text, "text")
        except (OSError, ValueError, TypeError) as error:
            reasons[name] = str(error)
        else:
            good.append((name, text))
    return good, reasons


def _report(output: Path, number: int) -> Path:
    return output / f"part-{number:06}.json"


def _write(path: Path, content: bytes | Callable[[Any], None]) -> None:
    """Write a file in one step: nobody ever sees half of it."""
    draft = path.with_name(f".{path.stem}-{uuid.uuid4().hex}")
    try:
        with draft.open("wb") as file:
            file.write(content) if isinstance(content, bytes) else content(file)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _read(output: Path, parts: int) -> EncodedCorpus:
    reports = [read_json(_report(output, i), dict) for i in range(parts)]
    names = [name for report in reports for name in report["names"]]
    bad = {name: why for report in reports for name, why in report["bad"].items()}
    return EncodedCorpus(output, names, bad)
