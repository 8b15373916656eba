"""Run as a program in a process of its own: read ONNX files by the package onnx, with limits on time and memory.

As long as there are lines [FILE, SECONDS, BYTES] (JSON) on stdin it answers each with a line of JSON, and the bytes of
the arrays that this names, one after the other. It loads nothing of the framework but what this takes.

    {"model": {...}, "arrays": [[dtype, shape], ...]}     "arrays" are what follows; a tensor is {"array": its number}
    {"error": why, "unsupported": whether the file is good all the same}

A tensor of texts is {"texts": [...], "shape": [...]}. What is stored outside is read from below the file's folder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

if not __package__:  # run as a program, perhaps where the package is not installed
    sys.path.append(str(Path(__file__).parents[3]))

from layerforge.interop.onnx.parsing import Reading, Unsupported
from layerforge.schema import process_limits as limits
from layerforge.schema.process_limits import Unreadable

MEMORY = 200 << 20  # of address space beyond that of the libraries, for what is not the file's own size
COPIES = 4  # of a file that are in memory while it is read


def read(path: str) -> tuple[Reading, dict[str, Any]]:
    """Read a file: who has the bytes of its arrays, and the answer. Errors   Unreadable"""
    import onnx
    from google.protobuf.message import DecodeError

    proto = onnx.ModelProto()
    try:
        with open(path, "rb") as file:
            proto.ParseFromString(file.read())
    except DecodeError:
        raise Unreadable("is no ONNX file, or damaged or cut off") from None
    reading = Reading(path)
    return reading, {"model": reading.model(proto), "arrays": reading.arrays}


def serve(requests: Any, out: Any) -> None:
    """Answer requests; each has its own limits of time and memory."""
    base = limits.taken() + MEMORY
    for line in requests:
        path, seconds, size = json.loads(line)
        limits.more_time(seconds)
        limits.more_memory(base + COPIES * size)
        reading = None
        try:
            reading, found = read(path)
            answer = json.dumps(found)
        except Unreadable as problem:
            answer = json.dumps({"error": str(problem), "unsupported": isinstance(problem, Unsupported)})
        except (OSError, MemoryError, RecursionError) as problem:
            answer = json.dumps({"error": f"cannot be read ({type(problem).__name__})", "unsupported": False})
        out.write(answer.encode() + b"\n")
        if reading is not None:
            reading.write(out)
        out.flush()
        limits.no_alarm()


def main() -> int:
    """The program; what fails is one line on stderr and exit code 3."""
    limits.one_thread()
    try:
        import numpy  # noqa: F401
        import onnx  # noqa: F401

        limits.limit(limits.START_SECONDS, MEMORY)
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except Exception as problem:  # a fault of this program: no traceback for the parent
        print(f"{type(problem).__name__}: {problem}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
