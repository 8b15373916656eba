"""Datasets of HDF5 files, chunk by chunk, from a process that reads it for as long as they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..arrays.spec import Spec
from .hdf5_list import in_role
from .reading_process import ReadingProcess, fill
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


class Child(ReadingProcess):
    """The reading process (hdf5_child.py)."""

    def __init__(self) -> None:
        super().__init__(Path(__file__).with_name("hdf5_child.py"), "serve")

    def fill(self, array: np.ndarray, path: str, name: str, start: int = 0) -> None:
        """Read rows of a dataset into an array, some at a time.

        start   the first of them

        Errors   DataError where the process failed or was ended by its limits
        """
        rows = max(1, PIECE * len(array) // max(1, array.nbytes))
        for first in range(0, len(array), rows):
            self._fill(array[first : first + rows], path, name, start + first)

    def _fill(self, array: np.ndarray, path: str, name: str, start: int) -> None:
        from .hdf5 import failure

        try:
            whole = fill(self.ask([path, name, start, start + len(array), array.nbytes, SECONDS]), array)
        except BrokenPipeError:
            whole = False
        if not whole:
            code, text = self.ending()
            raise failure(path, code, text or "it changed while it was read")
