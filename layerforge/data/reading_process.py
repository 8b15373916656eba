"""A process that reads foreign files for this one, and is asked line by line."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np


class ReadingProcess:
    """A program with limits (schema/process_limits.py) that serves requests. It ends with whoever has it.

    program     a file of the package; -P: its folder must not shadow modules
    arguments   of the program
    """

    def __init__(self, program: Path, *arguments: str) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(program), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
        )  # fmt: skip
        self.end = weakref.finalize(self, end, self.process, self.errors)

    def ask(self, request: Any) -> Any:
        """Send a request as a line of JSON. Returns   the stream of answers. Errors   BrokenPipeError"""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None  # they are pipes
        stdin.write((json.dumps(request) + "\n").encode())
        stdin.flush()
        return stdout

    def ending(self) -> tuple[int, str]:
        """The exit code of a process that failed, and its words."""
        _close(self.process.stdin)
        code = self.process.wait()
        self.errors.seek(0)
        return code, self.errors.read().decode(errors="replace")


def fill(stream: Any, array: np.ndarray) -> bool:
    """Read an array's bytes from a stream; whether there were enough."""
    view, done = array.reshape(-1).view(np.uint8).data, 0
    while done < len(view) and (got := stream.readinto(view[done:])):
        done += got
    return done == len(view)


def end(process: subprocess.Popen[bytes], errors: Any) -> None:
    """Let the process go, and its files."""
    for stream in (process.stdin, process.stdout):
        _close(stream)
    process.wait()
    errors.close()


def _close(stream: Any) -> None:
    """Close a pipe. It sends what a failed request has left, which fails again where the process has ended."""
    if stream is not None:
        with contextlib.suppress(OSError):
            stream.close()
