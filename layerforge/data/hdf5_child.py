"""Run as a program in a process of its own: read a foreign HDF5 file, with limits on time and memory.

The HDF5 library can loop for ever on damaged files, and takes memory as their headers say; here that ends this process
and not the training. It imports nothing of the framework but the limits.

    describe FILE...             a line of JSON each: {"arrays": {name: [shape, dtype, stored bytes, rows of a chunk]},
                                 "refused": {name: why}}
    read SECONDS FILE NAME...    the arrays' bytes, in C order and native byte order
    serve                        as long as there are lines [FILE, NAME, START, STOP, BYTES, SECONDS] (JSON) on stdin,
                                 the bytes of these rows
    text FILE NAME               JSON: {"text": the one short text that a dataset of the root group holds}
    snapshot                     of a snapshot of format 1 on stdin, JSON: {"arrays": {name: [dtype, shape, position]},
                                 "texts": {name of an attribute: its JSON}}
"""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

if not __package__:  # run as a program, perhaps where the package is not installed
    sys.path.append(str(Path(__file__).parents[2]))

from layerforge.schema.process_limits import START_SECONDS, Unreadable, more_time, no_alarm, one_thread
from layerforge.schema.process_limits import limit as limit_process

MEMORY = 1 << 30  # of address space, beyond that of the libraries
MOST_OBJECTS = 10_000
MOST_NAMES = 1 << 20  # characters of all paths together
DEEPEST = 50  # groups within groups
PIECE = 16 << 20  # bytes read at a time
MOST_OPEN = 4  # files that are being served: a shuffle buffer reaches into few
LONGEST_TEXT = 1 << 16  # bytes


# What the library raises for damaged files. Anything else would be a fault of this program.
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError, NotImplementedError)


@contextmanager
def library() -> Iterator[None]:
    """Turn what the HDF5 library raises into Unreadable. Around calls of the library only."""
    try:
        yield
    except DAMAGE as problem:
        raise Unreadable(f"{type(problem).__name__}: {problem}") from None


def limit(seconds: int) -> None:
    """Load the libraries; then let the system end this process when it uses more processor time or memory."""
    one_thread()
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # a file must not choose libraries to be loaded
    import h5py  # noqa: F401

    limit_process(seconds, MEMORY)


def stepwise(items: Any) -> Iterator[Any]:
    """The items of something that the library counts out."""
    with library():
        iterator = iter(items)
    while True:
        with library():
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


def describe(path: str) -> dict[str, Any]:
    """The arrays of a file, and what is refused because it would read another file."""
    import h5py

    arrays: dict[str, Any] = {}
    refused: dict[str, str] = {}
    seen: set[Any] = set()
    names = 0

    def visit(group: Any, prefix: str) -> None:
        nonlocal names
        for name in stepwise(group):
            if not isinstance(name, str):
                raise Unreadable("a name is not UTF-8")
            full = f"{prefix}{name}"
            names += len(full)
            if names > MOST_NAMES or full.count("/") > DEEPEST:
                raise Unreadable("names are too long or too deep")
            with library():
                link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                refused[full] = "is an external link" if isinstance(link, h5py.ExternalLink) else "is a soft link"
                continue
            with library():
                item = group[name]
                address = h5py.h5o.get_info(item.id).addr
            if len(seen) >= MOST_OBJECTS or len(arrays) + len(refused) >= MOST_OBJECTS:
                raise Unreadable(f"more than {MOST_OBJECTS} objects")
            if isinstance(item, h5py.Dataset):
                seen.add(address)
                found = _form(item)
                (refused if isinstance(found, str) else arrays)[full] = found
            elif isinstance(item, h5py.Group) and address not in seen:  # a group may contain itself
                seen.add(address)
                visit(item, f"{full}/")

    with opened(path) as file:
        visit(file, "")
    return {"arrays": arrays, "refused": refused}


def _form(item: Any) -> list[Any] | str:
    """Shape, dtype and stored bytes of a dataset, or why it is refused."""
    with library():
        elsewhere = item.is_virtual or item.external
        shape, dtype = item.shape, item.dtype
    if elsewhere:
        return "keeps its data in another file"
    if shape is None:
        return "is empty, without a shape"
    if dtype.kind not in "biuf":
        return f"holds {dtype}, not numbers"
    with library():
        stored, chunks = item.id.get_storage_size(), item.chunks
    return [list(shape), dtype.newbyteorder("=").str, stored, chunks[0] if chunks else 1]


@contextmanager
def opened(file: Any) -> Iterator[Any]:
    """A file, by its path or as a stream, opened by the library."""
    import h5py

    with library():
        opened_file = h5py.File(file, "r")
    try:
        yield opened_file
    finally:
        with library():
            opened_file.close()


def read(path: str, names: list[str], out: Any) -> None:
    """Write the bytes of the arrays to `out`, a few rows at a time."""
    import numpy as np

    with opened(path) as file:
        for name in names:
            with library():
                data = file[name]
                native, shape = data.dtype.newbyteorder("="), data.shape
            pieces: list[tuple[()] | slice] = [()]
            if shape:
                rows = max(1, PIECE // max(1, math.prod(shape[1:]) * native.itemsize))
                pieces = [slice(first, first + rows) for first in range(0, shape[0], rows)]
            for piece in pieces:
                with library():
                    values = data[piece]
                out.write(np.ascontiguousarray(values, dtype=native).tobytes())


def text(path: str, name: str) -> dict[str, str]:
    """The text of a dataset with one."""
    import h5py

    with opened(path) as file:
        with library():
            link = file.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise Unreadable(f"'{name}' is a link")
        with library():
            item = file[name]
            is_text = isinstance(item, h5py.Dataset) and h5py.check_string_dtype(item.dtype) is not None
            whole = is_text and not (item.is_virtual or item.external) and item.shape in ((), (1,))
        if not whole or item.dtype.itemsize > LONGEST_TEXT:
            raise Unreadable(f"'{name}' is not one short text")
        with library():
            value = item[()] if item.shape == () else item[0]
    value = bytes(value) if isinstance(value, bytes) else str(value).encode(errors="replace")
    if len(value) > LONGEST_TEXT:
        raise Unreadable(f"'{name}' is not one short text")
    return {"text": value.rstrip(b"\0").decode(errors="backslashreplace")}


def serve(requests: Any, out: Any) -> None:
    """Write the bytes of rows as they are asked for; each request has its own limit of time."""
    import numpy as np

    with ExitStack() as stack:
        kept: dict[str, Any] = {}
        for line in requests:
            path, name, start, stop, size, seconds = json.loads(line)
            more_time(seconds)
            if path not in kept:
                if len(kept) >= MOST_OPEN:
                    kept.clear()
                    stack.close()
                kept[path] = stack.enter_context(opened(path))
            with library():
                data = kept[path][name]
                values = data[start:stop]
            content = np.ascontiguousarray(values, dtype=data.dtype.newbyteorder("=")).tobytes()
            if len(content) != size:  # whoever asks would wait for the rest
                raise Unreadable(f"'{name}' changed while it was read")
            out.write(content)
            out.flush()
            no_alarm()


def snapshot(content: bytes) -> dict[str, Any]:
    """Where the arrays of a snapshot of format 1 are stored, and the texts of its attributes."""
    import h5py

    arrays: dict[str, Any] = {}
    texts: dict[str, str] = {}
    names: list[str] = []
    left = len(content)
    with opened(io.BytesIO(content)) as file:
        with library():
            file.visit(names.append)
        for name in names:
            if not isinstance(name, str):
                raise Unreadable("a name is not UTF-8")
            with library():
                item = file[name]
                is_array = isinstance(item, h5py.Dataset)
                whole = is_array and not (item.is_virtual or item.external or item.chunks)
                shape, dtype = (item.shape, item.dtype) if is_array else ((), None)
            if not is_array:
                continue
            if not whole or shape is None:
                raise Unreadable(f"'{name}' is not stored in one piece")
            if not name.startswith("meta/"):
                with library():
                    position = item.id.get_offset() if item.size else 0
                arrays[name] = [dtype.str, list(shape), position]
                continue
            if shape != () or h5py.check_string_dtype(dtype) is None:
                raise Unreadable(f"'{name}' is no text")
            with library():
                text = item.asstr()[()]
            texts[name.removeprefix("meta/")] = text
            left -= len(text)
            if left < 0:
                raise Unreadable("the texts are longer than the file")
    return {"arrays": arrays, "texts": texts}


def main(arguments: list[str]) -> int:
    """The program; what fails is one line of JSON on stderr and exit code 3."""
    command, *rest = arguments
    try:
        if command == "describe":
            limit(START_SECONDS)
            for number, path in enumerate(rest):
                if number:
                    more_time(START_SECONDS)
                print(json.dumps(describe(path)), flush=True)
        elif command == "text":
            limit(START_SECONDS)
            print(json.dumps(text(rest[0], rest[1])))
        elif command == "snapshot":
            content = sys.stdin.buffer.read()
            limit(START_SECONDS)
            print(json.dumps(snapshot(content)))
        elif command == "serve":
            limit(START_SECONDS)
            serve(sys.stdin.buffer, sys.stdout.buffer)
        else:
            limit(int(rest[0]))
            read(rest[1], rest[2:], sys.stdout.buffer)
    except Unreadable as problem:
        print(json.dumps({"error": str(problem)}), file=sys.stderr)
        return 3
    except Exception as problem:  # a fault of this program, or the memory is used up: no traceback for the parent
        print(json.dumps({"error": f"{type(problem).__name__}: {problem}"}), file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
