"""Fingerprints of the files that a run depends on beside its configuration: its data, and the code that it imports.

They are in every checkpoint, and a run that is resumed compares them. (Files that the configuration extends are in the
resolved configuration, which is compared value by value.)

A fingerprint is size and SHA-256, of the whole content up to 256 MiB. Of a larger file 256 pieces of 1 MiB are read,
evenly spread, the first and the last among them, which takes a fraction of a second however large it is. Of a folder
the names and sizes of all files count, and the content of 256 of them, chosen likewise. A change between them that
keeps the size would be missed: so the time of the last modification is kept, too, and said where it differs.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..config.data_section import DataSection
from ..data import fetch
from ..data.source import Source
from ..schema.params import PATHS, Declared
from ..schema.texts import printable

WHOLE = 256 << 20  # bytes; of larger files pieces are read
PIECE = 1 << 20
SAMPLED = 256  # files of a folder whose content is read
DIGITS = 12  # of a digest in a message

Fingerprint = dict[str, Any]


def fingerprints(data: DataSection, imports: list[str]) -> dict[str, Fingerprint]:
    """The fingerprint of every file by what it is for: "data.train: digits.npz", "import: layers.py".

    A file that cannot be read has none: whoever needs it says so.
    """
    found: dict[str, Fingerprint] = {}
    known: dict[Path, Fingerprint | None] = {}
    named = [(f"data.{section}", path) for section, feed in data.feeds().items() for path in files_of(feed.source)]
    named += [("data.transform", Path(mean))] if (mean := data.scaling.mean_file) is not None else []
    for role, path in [*named, *(("import", Path(each)) for each in imports)]:
        if path not in known:
            known[path] = folder_fingerprint(path) if path.is_dir() else fingerprint(path)
        taken = known[path]
        if taken is not None:
            found[_key(found, f"{role}: {path.name.removesuffix('.gz')}")] = taken
    return found


def _key(found: Mapping[str, Any], name: str) -> str:
    """A name that is not taken: two files of one name are told apart by their order."""
    name = printable(name)
    number, key = 1, name
    while key in found:
        number += 1
        key = f"{name} ({number})"
    return key


def files_of(source: Any) -> Iterator[Path]:
    """The files that a data source reads: the paths among its parameters, those of sources in it, of a public set."""
    told = source.read_files() if isinstance(source, Source) else None
    if told is not None:
        yield from map(Path, told)
        return
    for name, field in type(source).fields.items():
        value = getattr(source, name)
        if isinstance(value, Declared):
            yield from files_of(value)
        elif field.type in PATHS and value is not None:
            yield Path(value)
    public = getattr(source, "files", None)
    if isinstance(public, fetch.DataSet):
        for wanted in public.parts.get(source.part, ()):
            yield from fetch.locate(public, wanted)


def folder_fingerprint(path: Path) -> Fingerprint:
    """One for all files in a folder: their names and sizes, and the content of some, evenly spread."""
    inside = sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    inside = [file for file in inside if os.path.isfile(file)]
    states = [os.stat(file) for file in inside]
    digest = hashlib.sha256()
    for file, state in zip(inside, states, strict=True):
        digest.update(f"{os.path.relpath(file, path)}/{state.st_size}/".encode("utf-8", "surrogateescape"))
    count = min(SAMPLED, len(inside))
    for number in range(count):
        taken = fingerprint(Path(inside[number * (len(inside) - 1) // max(1, count - 1)]))
        digest.update(str(None if taken is None else taken["sha256"]).encode())
    found = {"bytes": sum(state.st_size for state in states), "sha256": digest.hexdigest()}
    return found | ({"modified": max(s.st_mtime_ns for s in states)} if len(inside) > SAMPLED else {})


def fingerprint(path: Path) -> Fingerprint | None:
    """Size and digest of a file, of a large one also its time; None for one that cannot be read or is no file."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            return None
        size, large = status.st_size, status.st_size > WHOLE
        with path.open("rb") as file:
            digest = hashlib.sha256()
            count = WHOLE // PIECE
            last = size - PIECE
            for number in range(count if large else -(-size // PIECE)):
                file.seek(number * last // (count - 1) if large else number * PIECE)
                digest.update(file.read(PIECE))
    except (OSError, ValueError):
        return None
    found = {"bytes": size, "sha256": digest.hexdigest()}
    return found | ({"modified": status.st_mtime_ns} if large else {})


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What has changed for certain, and what may have, as lines "file: then -> now"."""
    certain, possible = [], []
    for key in dict.fromkeys([*then, *now]):
        a, b = then.get(key), now.get(key)
        if _content(a) != _content(b):
            certain.append(f"{key}: {_words(a)} -> {_words(b)}")
        elif a != b:
            possible.append(f"{key}: modified since, though its size and {WHOLE // PIECE} pieces of it are the same")
    return certain, possible


def _content(taken: Any) -> Any:
    return (taken.get("bytes"), taken.get("sha256")) if isinstance(taken, Mapping) else taken


def _words(taken: Any) -> str:
    if not isinstance(taken, Mapping):
        return "not there"
    return f"{taken.get('bytes')} bytes, SHA-256 {str(taken.get('sha256'))[:DIGITS]}"
