"""Datasets of an HDF5 file, chunk by chunk, from a process that reads it for as long as they are wanted."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays.spec import Spec
from .streaming import Chunked

SECONDS = 10  # of processor time for a chunk


class StreamedDataset(Chunked):
    """A dataset; `step` is how many of its rows are stored together."""

    def __init__(self, path: str, name: str, spec: Spec, shape: tuple[int, ...], dtype: np.dtype, step: int) -> None:
        super().__init__(f"{path}: '{name}'", spec, shape, dtype, step)
        self.path = path
        self.name = name
        self._child: Child | None = None

    def load(self, start: int, stop: int) -> np.ndarray:
        if self._child is None:
            self._child = Child(self.path)
        array = np.empty((stop - start, *self.shape[1:]), self.dtype)
        try:
            self._child.fill(array, self.name, start, stop)
        except BaseException:
            self._child = None
            raise
        return array


class Child:
    """The reading process (hdf5_child.py). It ends with whoever has it."""

    def __init__(self, path: str) -> None:
        program = Path(__file__).with_name("hdf5_child.py")
        self.path = path
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(program), "serve", path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
        )  # fmt: skip
        self.end = weakref.finalize(self, end, self.process, self.errors)

    def fill(self, array: np.ndarray, name: str, start: int, stop: int) -> None:
        """Read rows into an array; DataError where the process failed or was ended by its limits."""
        from .hdf5 import failure, fill

        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write((json.dumps([name, start, stop, SECONDS]) + "\n").encode())
            stdin.flush()
            whole = fill(stdout, array)
        except BrokenPipeError:
            whole = False
        if not whole:
            stdin.close()
            code = self.process.wait()
            self.errors.seek(0)
            text = self.errors.read().decode(errors="replace")
            raise failure(self.path, code, text or "it changed while it was read")


def end(process: subprocess.Popen[bytes], errors: Any) -> None:
    """Let the process go, and its files."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    process.wait()
    errors.close()
