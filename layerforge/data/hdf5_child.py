"""Run as a program in a process of its own: read a foreign HDF5 file, with limits on time and memory.

The HDF5 library can loop for ever on damaged files, and takes memory as their headers say; here that ends this process
and not the training. It imports nothing of the framework.

    describe FILE                JSON: {"arrays": {name: [shape, dtype, stored bytes]}, "refused": {name: why}}
    read SECONDS FILE NAME...    the arrays' bytes, in C order and native byte order
    snapshot                     of a snapshot of format 1 on stdin, JSON: {"arrays": {name: [dtype, shape, position]},
                                 "texts": {name of an attribute: its JSON}}
"""

from __future__ import annotations

import io
import json
import math
import os
import signal
import sys
from typing import Any

DESCRIBE_SECONDS = 4
MEMORY = 1 << 30  # of address space, beyond that of the libraries
MOST_OBJECTS = 10_000
MOST_NAMES = 1 << 20  # characters of all paths together
DEEPEST = 50  # groups within groups
PIECE = 16 << 20  # bytes read at a time


def limit(seconds: int) -> None:
    """Load the libraries; then let the system end this process when it uses more processor time or memory.

    On a machine that is busy, or a disk that is slow, it may take somewhat longer by the clock.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # threads take address space
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # a file must not choose libraries to be loaded
    import h5py  # noqa: F401

    if hasattr(signal, "SIGALRM"):
        signal.alarm(7 + 20 * (seconds - DESCRIBE_SECONDS))  # unlike Python's handlers it ends loops of libhdf5 too
    try:
        import resource

        with open("/proc/self/statm") as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
    except ImportError:  # Windows
        return
    except OSError:  # macOS does not limit address space
        taken = 0
    for kind, value in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, taken + MEMORY)):
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (value, hard))
        except (ValueError, OSError):
            continue


def describe(path: str) -> dict[str, Any]:
    """The arrays of a file, and what is refused because it would read another file."""
    import h5py

    arrays: dict[str, Any] = {}
    refused: dict[str, str] = {}
    seen: set[Any] = set()
    names = 0

    def visit(group: Any, prefix: str) -> None:
        nonlocal names
        for name in group:
            full = f"{prefix}{name}"
            names += len(full)
            if names > MOST_NAMES or full.count("/") > DEEPEST:
                raise ValueError("names are too long or too deep")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                refused[full] = "is an external link" if isinstance(link, h5py.ExternalLink) else "is a soft link"
                continue
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if len(seen) >= MOST_OBJECTS or len(arrays) + len(refused) >= MOST_OBJECTS:
                raise ValueError(f"more than {MOST_OBJECTS} objects")
            if isinstance(item, h5py.Dataset):
                seen.add(address)
                if item.is_virtual or item.external:
                    refused[full] = "keeps its data in another file"
                elif item.shape is None:
                    refused[full] = "is empty, without a shape"
                elif item.dtype.kind not in "biuf":
                    refused[full] = f"holds {item.dtype}, not numbers"
                else:
                    arrays[full] = [list(item.shape), item.dtype.newbyteorder("=").str, item.id.get_storage_size()]
            elif isinstance(item, h5py.Group) and address not in seen:  # a group may contain itself
                seen.add(address)
                visit(item, f"{full}/")

    with h5py.File(path, "r") as file:
        visit(file, "")
    return {"arrays": arrays, "refused": refused}


def read(path: str, names: list[str], out: Any) -> None:
    """Write the bytes of the arrays to `out`, a few rows at a time."""
    import h5py
    import numpy as np

    with h5py.File(path, "r") as file:
        for name in names:
            data = file[name]
            native = data.dtype.newbyteorder("=")
            row = max(1, math.prod(data.shape[1:]) * native.itemsize)
            rows = max(1, PIECE // row)
            for first in range(0, data.shape[0], rows):
                out.write(np.ascontiguousarray(data[first : first + rows], dtype=native).tobytes())


def snapshot(content: bytes) -> dict[str, Any]:
    """Where the arrays of a snapshot of format 1 lie, and the texts of its attributes."""
    import h5py

    arrays: dict[str, Any] = {}
    texts: dict[str, str] = {}
    left = len(content)

    def visit(name: str, item: Any) -> None:
        nonlocal left
        if not isinstance(item, h5py.Dataset):
            return
        if item.is_virtual or item.external or item.chunks:
            raise ValueError(f"'{name}' is not stored in one piece")
        if name.startswith("meta/"):
            if item.shape != () or h5py.check_string_dtype(item.dtype) is None:
                raise ValueError(f"'{name}' is no text")
            text = item.asstr()[()]
            texts[name.removeprefix("meta/")] = text
            left -= len(text)
            if left < 0:
                raise ValueError("the texts are longer than the file")
        else:
            arrays[name] = [item.dtype.str, list(item.shape), item.id.get_offset() if item.size else 0]

    with h5py.File(io.BytesIO(content), "r") as file:
        file.visititems(visit)
    return {"arrays": arrays, "texts": texts}


def main(arguments: list[str]) -> int:
    """The program; what fails is one line of JSON on stderr and exit code 3."""
    command, *rest = arguments
    try:
        if command == "describe":
            limit(DESCRIBE_SECONDS)
            print(json.dumps(describe(rest[0])))
        elif command == "snapshot":
            content = sys.stdin.buffer.read()
            limit(DESCRIBE_SECONDS)
            print(json.dumps(snapshot(content)))
        else:
            limit(int(rest[0]))
            read(rest[1], rest[2:], sys.stdout.buffer)
    except Exception as problem:  # h5py raises many kinds for damaged files: all of them mean the same to the parent
        print(json.dumps({"error": f"{type(problem).__name__}: {problem}"}), file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
