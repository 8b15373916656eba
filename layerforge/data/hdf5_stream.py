"""Datasets of HDF5 files, chunk by chunk, from a process that reads it for as long as they are wanted."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays.spec import Spec
from .hdf5_list import in_role
from .source import check_array
from .streaming import Chunked

SECONDS = 10  # of processor time for a chunk
PIECE = 16 << 20  # bytes that are asked for at a time


@dataclass(frozen=True)
class Stored:
    """A dataset of a file: its samples, how they are stored, and how many of them together."""

    path: str
    rows: int
    dtype: np.dtype
    step: int


class StreamedDataset(Chunked):
    """A dataset of a file, or of several files one after the other. Chunks lie within files."""

    def __init__(self, name: str, spec: Spec, parts: Sequence[Stored]) -> None:
        counts = [part.rows for part in parts]
        stored = np.result_type(*(part.dtype for part in parts))
        dtype = stored if spec.is_real or stored.kind != "f" else np.dtype(np.int64)
        owner = f"{parts[0].path}: '{name}'"
        super().__init__(owner, spec, (sum(counts), *spec.shape), dtype, parts[0].step)
        self.name = name
        self.parts = parts
        self.ends = np.cumsum(counts)
        pieces = [np.arange(end - rows, end, self.length) for end, rows in zip(self.ends, counts, strict=True)]
        self.starts = np.append(np.concatenate(pieces), len(self))
        self._child: Child | None = None

    def chunks(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def load(self, start: int, stop: int) -> np.ndarray:
        number = int(np.searchsorted(self.ends, start, "right"))
        part, begin = self.parts[number], int(self.ends[number]) - self.parts[number].rows
        array = np.empty((stop - start, *self.shape[1:]), part.dtype)
        child, self._child = self._child or Child(), None
        child.fill(array, part.path, self.name, start - begin)
        self._child = child  # unless it ended
        owner = f"{part.path}: '{self.name}'"
        check_array(f"{owner} (samples counted from {start - begin})", Spec(self.spec.shape), array)
        return in_role(owner, array, self.spec, start - begin).astype(self.dtype, copy=False)


class Child:
    """The reading process (hdf5_child.py). It ends with whoever has it."""

    def __init__(self) -> None:
        program = Path(__file__).with_name("hdf5_child.py")
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(program), "serve"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
        )  # fmt: skip
        self.end = weakref.finalize(self, end, self.process, self.errors)

    def fill(self, array: np.ndarray, path: str, name: str, start: int = 0) -> None:
        """Read rows of a dataset into an array, some at a time.

        start   the first of them

        Errors   DataError where the process failed or was ended by its limits
        """
        rows = max(1, PIECE * len(array) // max(1, array.nbytes))
        for first in range(0, len(array), rows):
            self._fill(array[first : first + rows], path, name, start + first)

    def _fill(self, array: np.ndarray, path: str, name: str, start: int) -> None:
        from .hdf5 import failure, fill

        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        try:
            request = [path, name, start, start + len(array), array.nbytes, SECONDS]
            stdin.write((json.dumps(request) + "\n").encode())
            stdin.flush()
            whole = fill(stdout, array)
        except BrokenPipeError:
            whole = False
        if not whole:
            stdin.close()
            code = self.process.wait()
            self.errors.seek(0)
            text = self.errors.read().decode(errors="replace")
            raise failure(path, code, text or "it changed while it was read")


def end(process: subprocess.Popen[bytes], errors: Any) -> None:
    """Let the process go, and its files."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    process.wait()
    errors.close()
