"""Samples that stay in their file: read in chunks when batches want them, and shuffled so that each is read once.

In an epoch the chunks come in random order, and of the samples in that order each `buffer` of them are shuffled, as
by a shuffle buffer of tf.data or of Hugging Face's datasets. Chunks that it reaches into are kept, and few more.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np

from ..arrays.spec import Spec
from .lazy import Lazy
from .source import check_array

CHUNK = 1 << 20  # bytes of a chunk, about
WHOLE = 1 << 30  # bytes of an array that is read whole where nobody says otherwise


class Chunked(Lazy):
    """A blob whose samples are read a chunk at a time. A subclass has `load`.

    owner   what errors call it
    spec    one sample
    step    a chunk is a multiple of so many samples
    length  samples in a chunk; `starts` has the first of each, and the end
    """

    def __init__(self, owner: str, spec: Spec, shape: tuple[int, ...], dtype: Any, step: int = 1) -> None:
        super().__init__(shape, dtype)
        self.owner = owner
        self.spec = spec
        size = self.dtype.itemsize * max(1, spec.size)
        self.length = max(1, -(-CHUNK // (size * step))) * step
        self.starts = np.append(np.arange(0, len(self), self.length), len(self))
        self._room = 2
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def load(self, start: int, stop: int) -> np.ndarray:
        """The samples start <= i < stop. One thread calls it at a time."""
        raise NotImplementedError(f"{type(self).__name__} needs load(start, stop)")

    def read(self, rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        chunks = np.searchsorted(self.starts, rows, "right") - 1
        for chunk in np.unique(chunks):
            here = chunks == chunk
            out[here] = self._chunk(int(chunk))[rows[here] - self.starts[chunk]]
        return out

    def chunks(self) -> np.ndarray:
        return np.arange(len(self)) // self.length

    def expect(self, samples: int) -> None:
        """Two buffers: batches that are prepared ahead are of the next one."""
        self._room = max(self._room, 2 * (samples // self.length + 2))

    def _chunk(self, number: int) -> np.ndarray:
        with self._lock:
            found = self._kept.pop(number, None)
            if found is None:
                found = self.load(int(self.starts[number]), int(self.starts[number + 1]))
                self.check(number, found)
            self.keep(number, found)
            return found

    def check(self, number: int, samples: np.ndarray) -> None:
        """DataError where a chunk that was loaded is not what `spec` says."""
        check_array(f"{self.owner} (samples counted from {self.starts[number]})", self.spec, samples)

    def keep(self, number: int, samples: np.ndarray) -> None:
        """Hold a chunk as the last that is let go."""
        self._kept[number] = samples
        while len(self._kept) > self._room:
            self._kept.popitem(last=False)


def by_chunks(chunks: np.ndarray, buffer: int, bits: Any) -> np.ndarray:
    """The samples of an epoch (samples,): chunk by chunk in random order, and shuffled within each `buffer` of them.

    chunks   the chunk of each sample
    bits     gives random words
    """
    numbers = np.unique(chunks, return_inverse=True)[1].reshape(-1)
    places = np.argsort(np.argsort(bits.random_raw(int(numbers.max()) + 1), kind="stable"), kind="stable")
    order = np.argsort(places[numbers], kind="stable")
    return order[np.lexsort((bits.random_raw(len(order)), np.arange(len(order)) // buffer))]


def is_streamed(stream: bool | None, spec: Spec, count: int, itemsize: int) -> bool:
    """Whether a blob stays in its file: what has several values a sample, where that is asked for or it is large.

    One value a sample - labels, weights - is read whole: classes are counted, and samples drawn by them.
    """
    if not spec.shape:
        return False
    return count * max(1, spec.size) * itemsize > WHOLE if stream is None else stream
