"""Uploading ahead: batches are copied to a device on a stream of their own, while it computes with those before.

    with uploads_to(xp) as uploads:           # None where there is no device
        inputs = uploads.begin(batch)         # {"x": Upload, ...}; returns at once, from any thread
        ...
        net.forward(**inputs)                 # the device waits until they are there, the host does not

    a thread      host -> page-locked memory
    its stream                               copy of batch k + 1 | arrived
    the device                               step k .............. step k + 1

A device does what it is given on one stream in order, and on two streams in any. Four rules keep the numbers right:

1  An array of the device comes from the memory of the stream that computes, and goes back there, whoever drops it.
   Before it is written, the other stream waits for all that the computing one has been given until then: somebody may
   still read what was in that memory before.
2  The computing stream waits for the copy before it is given anything that reads the array.
3  Page-locked memory is written again, or given back, when the copy from it is done.
4  What nobody took is dropped when the computing stream waits for its copy: the memory may have other numbers next.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np

from ..schema.errors import OutOfMemory
from .device_errors import told
from .sparse import CSR

AHEAD = 2  # batches that are copied before they are asked for
ALIGNED = 512  # bytes between the beginnings of arrays in page-locked memory


class Upload:
    """An input on its way to a device; a net takes it in place of the array. It may be taken from one thread at a time.

    host   the array, or CSR, that is copied
    """

    __slots__ = ("_take", "host")

    def __init__(self, host: Any, take: Callable[[], list[Any]]) -> None:
        self.host = host
        self._take = take

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.host.shape)

    @property
    def dtype(self) -> Any:
        return self.host.dtype

    def __len__(self) -> int:
        return len(self.host)

    def __repr__(self) -> str:
        return f"<upload of {self.shape} {self.dtype}>"

    def parts(self) -> list[Any]:
        """The array on the device, or the three of a CSR; what is given to the device from now on finds them there.

        They are the caller's. A second call, and one after `close`, has those of the host: whoever wants them again
        uploads them in the ordinary way.
        """
        return self._take()


class _Batch:
    """Arrays that are copied together.

    parts     on the host, by input: one array, or the three of a CSR
    made      on the device, of those that nobody took yet
    arrived   the event behind the copies
    begun     whether the thread is at it; ended: whether it is done with it
    problem   what went wrong
    """

    def __init__(self, parts: dict[str, list[np.ndarray]]) -> None:
        self.parts = parts
        self.made: dict[str, list[Any]] = {}
        self.arrived: Any = None
        self.begun = False
        self.ended = False
        self.problem: BaseException | None = None


class _Locked:
    """Page-locked memory for one batch, which the device reads by itself. It grows to the largest one.

    copied   the event behind the last copies from it
    """

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self.memory: Any = None
        self.size = 0
        self.copied: Any = None

    def wait(self) -> None:
        """Until it may be written, or given back."""
        if self.copied is not None and not self.copied.done:
            self.copied.synchronize()
        self.copied = None

    def filled(self, parts: list[np.ndarray]) -> list[np.ndarray]:
        """Copies of arrays in this memory, in the same order of axes as a device gives them."""
        places = [0]
        for part in parts:
            places.append(places[-1] + -(-part.nbytes // ALIGNED) * ALIGNED)
        if places[-1] > self.size:
            self.memory, self.size = self.xp.cuda.alloc_pinned_memory(places[-1]), places[-1]
        found = []
        for part, place in zip(parts, places, strict=False):
            copy = np.ndarray(part.shape, part.dtype, self.memory, place, order=_order(part))
            copy[...] = part
            found.append(copy)
        return found


class Uploads:
    """A thread that copies batches to a device, in the order in which they are begun and taken.

    At most AHEAD of them are there before they are taken: a device has room for few. One that is passed over, since a
    later one was taken, is let go. It belongs to the device and the stream that are current where it is made.
    """

    def __init__(self, xp: Any) -> None:
        cuda = xp.cuda
        self.xp = xp
        self.device = cuda.Device()
        self.computing = cuda.get_current_stream()
        self.stream = cuda.Stream(non_blocking=True)
        self.given = cuda.Event(disable_timing=True)
        self.ring = deque(_Locked(xp) for _ in range(AHEAD + 1))
        self.line: deque[_Batch] = deque()  # begun and not taken
        self.changed = threading.Condition()
        self.closed = False
        self.thread = threading.Thread(target=self._work, daemon=True, name="layerforge-uploads")
        self.thread.start()

    def begin(self, blobs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs with an `Upload` in place of each array of the host's; others are left as they are."""
        parts = {name: _parts(array) for name, array in blobs.items()}
        batch = _Batch({name: found for name, found in parts.items() if found})
        with self.changed:
            if batch.parts and not self.closed:
                self.line.append(batch)
                self.changed.notify_all()
        return {
            name: Upload(array, partial(self._take, batch, name)) if name in batch.parts else array
            for name, array in blobs.items()
        }

    def close(self) -> None:
        """Let go of what was not taken, and end the thread."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        self.thread.join()
        while self.line:
            self._let_go(self.line.popleft())
        with ExitStack() as all_of_them:
            for locked in self.ring:
                all_of_them.callback(locked.wait)

    # Whoever computes ---------------------------------------------------------------------------------------------

    def _take(self, batch: _Batch, name: str) -> list[Any]:
        with self.changed:
            while batch in self.line:
                first = self.line[0]
                if first is batch or first.begun:
                    self.changed.wait_for(partial(self._is_over, first))
                self.line.popleft()
                if first is not batch:
                    self._let_go(first)
                self.changed.notify_all()
        if batch.problem is not None:
            raise batch.problem
        made = batch.made.pop(name, None)
        if made is None:
            return batch.parts[name]
        self.xp.cuda.get_current_stream().wait_event(batch.arrived)
        return made

    def _is_over(self, batch: _Batch) -> bool:
        """Whether nothing more will be done for a batch."""
        return batch.ended or (self.closed and not batch.begun)

    def _let_go(self, batch: _Batch) -> None:
        if batch.made:
            self.computing.wait_event(batch.arrived)
            batch.made = {}

    # The thread ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            with self.device, self.computing:
                while (batch := self._next()) is not None:
                    try:
                        self._copy(batch)
                    except BaseException as problem:
                        if not isinstance(told(problem), OutOfMemory):  # without a batch ahead there may be enough
                            batch.problem = problem
                    with self.changed:
                        batch.ended = True
                        self.changed.notify_all()
        finally:  # nobody waits for a thread that is no more
            with self.changed:
                self.closed = True
                self.changed.notify_all()

    def _next(self) -> _Batch | None:
        """The next to be copied; None at the end."""

        def waiting() -> _Batch | None:
            ahead = [batch for batch in self.line if batch.begun]
            return self.line[len(ahead)] if len(ahead) < min(AHEAD, len(self.line)) else None

        with self.changed:
            self.changed.wait_for(lambda: self.closed or waiting() is not None)
            if self.closed:
                return None
            batch = waiting()
            assert batch is not None
            batch.begun = True
            return batch

    def _copy(self, batch: _Batch) -> None:
        """Rules 1 and 3, and the copies."""
        cuda, locked = self.xp.cuda, self.ring[0]
        self.ring.rotate(-1)
        locked.wait()
        parts = [part for found in batch.parts.values() for part in found]
        made = [self.xp.empty(part.shape, dtype=part.dtype, order=_order(part)) for part in parts]
        self.given.record(self.computing)
        self.stream.wait_event(self.given)
        try:
            for array, part in zip(made, locked.filled(parts), strict=True):
                if part.size:
                    array.set(part, stream=self.stream)
        except BaseException:
            self.stream.synchronize()  # nothing is dropped that is being written
            raise
        locked.copied = batch.arrived = cuda.Event(disable_timing=True)
        batch.arrived.record(self.stream)
        rest = iter(made)
        batch.made = {name: [next(rest) for _ in found] for name, found in batch.parts.items()}


@contextmanager
def uploads_to(xp: Any) -> Iterator[Uploads | None]:
    """What uploads ahead to the device of an array library in this block; None where it has none.

    Nor where each thread has a default stream of its own (CUPY_CUDA_PER_THREAD_DEFAULT_STREAM): a thread cannot name
    that of another.
    """
    if xp is np or xp.cuda.get_current_stream() == xp.cuda.Stream.ptds:
        yield None
        return
    uploads = Uploads(xp)
    try:
        yield uploads
    except BaseException:
        with suppress(Exception):  # what went wrong first is what is told
            uploads.close()
        raise
    uploads.close()


def _parts(array: Any) -> list[np.ndarray]:
    """The arrays of the host's that an input is made of; none of what is on a device."""
    if isinstance(array, CSR):
        return [array.data, array.indices, array.indptr] if array.xp is np else []
    return [array] if isinstance(array, np.ndarray) else []


def _order(array: np.ndarray) -> Any:
    """The order of axes that `asarray` gives a copy on a device: the host's, where that is one of two."""
    return "F" if array.flags.fnc else "C"
