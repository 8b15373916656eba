"""Run as a program in a process of its own: read a foreign HDF5 file, with limits on time and memory.

The HDF5 library can loop for ever on damaged files, and takes memory as their headers say; here that ends this process
and not the training. It imports nothing of the framework.

    describe FILE                JSON: {"arrays": {name: [shape, dtype, stored bytes]}, "refused": {name: why}}
    read SECONDS FILE NAME...    the arrays' bytes, in C order and native byte order
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

DESCRIBE_SECONDS = 30
MEMORY = 6 << 30  # of address space, shared libraries included
MOST_OBJECTS = 10_000
PIECE = 16 << 20  # bytes read at a time


def limit(seconds: int) -> None:
    """Let the system end this process when it uses more processor time or memory."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, value in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, MEMORY)):
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (value, hard))
        except (ValueError, OSError):  # macOS does not limit address space
            continue


def describe(path: str) -> dict[str, Any]:
    """The arrays of a file, and what is refused because it would read another file."""
    import h5py

    arrays: dict[str, Any] = {}
    refused: dict[str, str] = {}
    seen: set[Any] = set()

    def visit(group: Any, prefix: str) -> None:
        for name in group:
            full = f"{prefix}{name}"
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                refused[full] = "is an external link" if isinstance(link, h5py.ExternalLink) else "is a soft link"
                continue
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if len(seen) >= MOST_OBJECTS:
                raise ValueError(f"more than {MOST_OBJECTS} objects")
            if isinstance(item, h5py.Dataset):
                seen.add(address)
                if item.is_virtual or item.external:
                    refused[full] = "keeps its data in another file"
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


def main(arguments: list[str]) -> int:
    """The program; what fails is one line of JSON on stderr and exit code 3."""
    command, *rest = arguments
    try:
        if command == "describe":
            limit(DESCRIBE_SECONDS)
            print(json.dumps(describe(rest[0])))
        else:
            limit(int(rest[0]))
            read(rest[1], rest[2:], sys.stdout.buffer)
    except Exception as problem:  # h5py raises many kinds for damaged files: all of them mean the same to the parent
        print(json.dumps({"error": f"{type(problem).__name__}: {problem}"}), file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
