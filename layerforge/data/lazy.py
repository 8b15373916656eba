"""Lazy: samples that are read when they are asked for, in place of an array of all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

Rows = slice | np.ndarray


class Lazy:
    """Stands in for a blob's array in what `Source.load` and `Source.read` give, where it would not fit into memory.

    A subclass has `read`. The rest is as with an array: `lazy[rows]` reads a slice or numbers of rows.

    shape   (samples, ...): that of the whole array
    dtype   of what is read

    is_measured   whether what training saw of it is told by all samples, and not by a few
    goes_forward  whether a sample is read by way of those before it, so that samples from everywhere take long
    """

    is_measured = False
    goes_forward = False

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The samples of these numbers (len(rows), ...), checked. Several threads call it at once.

        rows   in any order, and maybe one of them twice

        Errors   DataError that names the file and the position of what cannot be read
        """
        raise NotImplementedError(f"{type(self).__name__} needs read(rows)")

    def take(self, rows: Rows) -> Lazy:
        """Some of the samples, in that order, still to be read."""
        return _Taken(self, self.numbers(rows))

    def some(self, most: int = 64) -> np.ndarray:
        """A few samples, evenly spread: what tells the range of all of them well enough."""
        return self.read(np.unique(np.linspace(0, len(self) - 1, most).astype(np.int64)))

    def numbers(self, rows: Rows) -> np.ndarray:
        """The numbers of rows that a slice means."""
        return rows if isinstance(rows, np.ndarray) else np.arange(*rows.indices(len(self)))

    def chunks(self) -> np.ndarray | None:
        """The piece of the file that each sample is in (samples,), where samples of one are best read together."""
        return None

    def expect(self, samples: int) -> None:
        """Be told how many samples batches are drawn from at a time: as many are worth being kept."""

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows) -> np.ndarray:
        return self.read(self.numbers(rows))


class _Taken(Lazy):
    """Rows of another."""

    def __init__(self, whole: Lazy, rows: np.ndarray) -> None:
        super().__init__((len(rows), *whole.shape[1:]), whole.dtype)
        self.whole = whole
        self.rows = rows
        self.is_measured = whole.is_measured
        self.goes_forward = whole.goes_forward

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self.whole.read(self.rows[rows])

    def take(self, rows: Rows) -> Lazy:
        return _Taken(self.whole, self.rows[rows])

    def chunks(self) -> np.ndarray | None:
        chunks = self.whole.chunks()
        return None if chunks is None else chunks[self.rows]

    def expect(self, samples: int) -> None:
        self.whole.expect(samples)


def picked(array: Any, rows: Rows) -> Any:
    """Some samples of an array, or of a Lazy without reading them."""
    return array.take(rows) if isinstance(array, Lazy) else array[rows]


def at_hand(array: Any) -> Any:
    """The array itself, or a few samples of a Lazy."""
    return array.some() if isinstance(array, Lazy) else array
