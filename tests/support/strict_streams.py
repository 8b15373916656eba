"""Streams, events and page-locked memory for `strict_cupy`: the order of work where there is more than one stream.

Work on one stream is done in order. On two it is done in any order, unless one waits for an event of the other. So a
copy from page-locked memory is taken to be done as late as it may be, and what depends on it being early raises:

* an array that is written on one stream is used on another that did not wait for an event behind the copy;
* an array is written on a stream that did not wait for those who may still use it, or its memory: the stream on which
  it was made, as memory that Python gave back a moment ago is made an array again at once;
* page-locked memory is written, or given back, before the copy from it is known to be done;
* an array is dropped while a stream that its memory goes back to does not wait for the copy into it;
* an array is written on a stream of its own from memory that is not page-locked: the host would wait;
* a stream waits for an event that nobody recorded.

What is dropped raises at the next use of anything here; `settled()` asks at the end. Arrays that were never written on
another stream than their own are not looked at.

A moment is a number that counts up. What the host has seen to be done is before all that is begun later.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from typing import Any

import numpy as np

from . import strict_faults

POISON = 0xA5
_moments = itertools.count(1)
_lock = threading.RLock()
_tracked: dict[int, _Tracked] = {}  # by id of the array that owns the memory
_copies: list[_Copy] = []  # that the host does not know to be done
_locked: list[_Locked] = []
_seen_by_host: dict[int, int] = {}  # by stream: until when it is known to be done
_faults: list[str] = []


class Counts(threading.local):
    """Counts of what a thread does; `copy` has the sums over all threads, which never write the same number."""

    def __init__(self, names: tuple[str, ...], all_: list[dict[str, int]]) -> None:  # called by each thread
        self._own = dict.fromkeys(names, 0)
        self._all = all_
        all_.append(self._own)

    def __getitem__(self, name: str) -> int:
        return self._own[name]

    def __setitem__(self, name: str, value: int) -> None:
        self._own[name] = value

    def copy(self) -> dict[str, int]:
        return {name: sum(counts[name] for counts in self._all) for name in self._own}


counts = Counts(("launches", "waits", "uploads", "views", "allocations"), [])


class StreamError(AssertionError):
    """Numbers that depend on which of two streams is faster."""


def _raise_faults() -> None:
    if _faults:
        found, _faults[:] = "; ".join(_faults), []
        raise StreamError(found)


# Streams and events ---------------------------------------------------------------------------------------------------


class _Current(threading.local):
    stream: Stream | None = None


_current = _Current()


class Stream:
    """A stream. _waited: by number of another stream, until when of it this one has waited."""

    null: Stream
    ptds: Stream

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: Any = None
    ) -> None:
        self.ptr = 0 if null else 2 if ptds else 16 * next(_moments)
        self.is_non_blocking = non_blocking
        self.device_id = -1 if null or ptds else 0
        self._waited: dict[int, int] = {}
        self._before: list[Stream] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self) -> int:
        return self.ptr

    def use(self) -> Stream:
        _current.stream = self
        return self

    def __enter__(self) -> Stream:
        self._before.append(get_current_stream())
        return self.use()

    def __exit__(self, *error: Any) -> None:
        self._before.pop().use()

    def _has_waited(self, stream: int, moment: int) -> bool:
        """Whether what is begun on this stream now comes after what another did until then."""
        known = max(self._waited.get(stream, 0), _seen_by_host.get(stream, 0))
        return stream == self.ptr or known >= moment

    def record(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        with _lock:
            _raise_faults()
            for stream, moment in event._moments_behind().items():
                self._waited[stream] = max(moment, self._waited.get(stream, 0))

    @property
    def done(self) -> bool:
        return all(copy.stream != self.ptr for copy in _copies)

    def synchronize(self) -> None:
        counts["waits"] += 1
        self._is_done()
        strict_faults.waited()

    def _is_done(self) -> None:
        """The host knows that all is done that this stream was given."""
        with _lock:
            _see({**self._waited, self.ptr: next(_moments)})


Stream.null, Stream.ptds = Stream(null=True), Stream(ptds=True)


def get_current_stream(device_id: int = -1) -> Stream:
    return _current.stream or Stream.null


class Event:
    """A place in the work of a stream, and of those that it waited for."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        if interprocess and not disable_timing:
            raise ValueError("Timing must be disabled for interprocess events")
        self._behind: dict[int, int] | None = None

    def record(self, stream: Stream | None = None) -> None:
        stream = stream or get_current_stream()
        with _lock:
            _raise_faults()
            self._behind = {**stream._waited, stream.ptr: next(_moments)}

    def _moments_behind(self) -> dict[int, int]:
        """By stream, until when of it this event is behind."""
        if self._behind is None:
            raise StreamError("an event is waited for that nobody recorded: nothing waits")
        return self._behind

    @property
    def done(self) -> bool:
        """Whether the host can know it from something else that it waited for: as late as may be."""
        return all(_seen_by_host.get(stream, 0) >= moment for stream, moment in (self._behind or {}).items())

    def synchronize(self) -> None:
        counts["waits"] += 1
        with _lock:
            _see(self._moments_behind())
        strict_faults.waited()


class Device:
    """The one device."""

    compute_capability, mem_info = "90", (2**33, 2**33)

    def __init__(self, device: Any = None) -> None:
        self.id = 0

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *error: Any) -> None:
        return None

    use = __enter__

    def synchronize(self) -> None:
        counts["waits"] += 1
        with _lock:
            now = next(_moments)
            _see(dict.fromkeys({Stream.null.ptr, *(copy.stream for copy in _copies)}, now))
        strict_faults.waited()


def _see(behind: dict[int, int]) -> None:
    """The host waited for this; copies that were done by then are over."""
    for stream, moment in behind.items():
        _seen_by_host[stream] = max(moment, _seen_by_host.get(stream, 0))
    over = [copy for copy in _copies if copy.moment <= _seen_by_host.get(copy.stream, 0)]
    _copies[:] = [copy for copy in _copies if copy not in over]
    for copy in over:
        copy.check()
    _raise_faults()


# Page-locked memory ---------------------------------------------------------------------------------------------------


class _Locked:
    """A block of page-locked memory. Its bytes are kept, so that it can be seen what becomes of them."""

    def __init__(self, size: int) -> None:
        self.owner = bytearray(max(512, 1 << (size - 1).bit_length()))  # no array, or NumPy forgets who handed it out
        self.bytes = np.frombuffer(self.owner, np.uint8)
        self.bytes[:] = POISON
        self.address = self.bytes.ctypes.data

    def hand_out(self) -> np.ndarray:
        view = np.frombuffer(self.owner, np.uint8)
        weakref.finalize(view, _given_back, self).atexit = False
        return view


def _given_back(block: _Locked) -> None:
    with _lock:
        if any(copy.block is block for copy in _copies):
            _faults.append("page-locked memory is given back while a device may still copy from it")
        elif block in _locked:
            _locked.remove(block)


def alloc_pinned_memory(size: int) -> np.ndarray:
    """Page-locked memory of at least so many bytes, in units as CuPy's pool gives it out."""
    with _lock:
        _raise_faults()
        block = _Locked(size)
        _locked.append(block)
        return block.hand_out()


def _block_of(array: np.ndarray) -> _Locked | None:
    address = array.ctypes.data
    return next((b for b in _locked if b.address <= address < b.address + len(b.owner)), None)


# Copies ---------------------------------------------------------------------------------------------------------------


class _Tracked:
    """An array of the device's that was written on another stream than its own.

    home      the stream that its memory goes back to
    written   by stream, the moment of the last copy into it
    used      by stream, the moment of the last use
    waiting   the numbers that are to be in it, until somebody waits for them
    """

    def __init__(self, home: Stream, born: int, memory: np.ndarray) -> None:
        self.home = home
        self.memory = memory
        self.written: dict[int, int] = {}
        self.used = {home.ptr: born}
        self.waiting: np.ndarray | None = None


class _Copy:
    """A copy out of page-locked memory that the host does not know to be done."""

    def __init__(self, stream: int, block: _Locked, source: np.ndarray) -> None:
        self.stream, self.block, self.moment = stream, block, next(_moments)
        start = source.ctypes.data - block.address
        self.places = slice(start, start + source.nbytes)
        self.wanted = block.bytes[self.places].copy()

    def check(self) -> None:
        if not np.array_equal(self.block.bytes[self.places], self.wanted):
            _faults.append("page-locked memory was written again before the copy from it was known to be done")


def born() -> tuple[Stream, int]:
    """Where and when an array is made."""
    return get_current_stream(), next(_moments)


def write(array: Any, source: np.ndarray, stream: Stream | None) -> None:
    """`array.set(source, stream)`, of an array that owns its memory or does not."""
    owner, stream = array if array.base is None else array.base, stream or get_current_stream()
    home, moment = owner._born
    block = _block_of(source)
    with _lock:
        _raise_faults()
        tracked = _tracked.get(id(owner))
        if tracked is None and stream == home == Stream.null:
            array._memory[...] = source
            if block is not None:
                _copies.append(_Copy(stream.ptr, block, source))
            return
        if block is None:
            raise StreamError("an array is written on a stream of its own from memory that is not page-locked")
        if array is not owner:
            raise NotImplementedError("strict_streams models the writing of whole arrays only")
        if tracked is None:
            tracked = _tracked[id(owner)] = _Tracked(home, moment, owner._memory)
            weakref.finalize(owner, _dropped, id(owner)).atexit = False
        if not all(stream._has_waited(*use) for use in (*tracked.used.items(), *tracked.written.items())):
            raise StreamError("an array is written while another stream may still use it, or the memory it is made of")
        copy = _Copy(stream.ptr, block, source)
        _copies.append(copy)
        tracked.written[stream.ptr] = copy.moment
        tracked.waiting = np.array(source)
        kind = owner._memory.dtype
        owner._memory[...] = np.iinfo(kind).max if kind.kind in "iu" else True if kind.kind == "b" else np.nan


def use(owner: Any) -> None:
    """Whoever computes on the present stream reads or writes an array."""
    with _lock:
        _raise_faults()
        tracked = _tracked.get(id(owner))
        if tracked is None:
            return
        stream = get_current_stream()
        if not all(stream._has_waited(*write) for write in tracked.written.items()):
            raise StreamError("an array is used before the stream waits for the copy that another one makes into it")
        tracked.used[stream.ptr] = next(_moments)
        if tracked.waiting is not None:
            tracked.memory[...], tracked.waiting = tracked.waiting, None


def _dropped(key: int) -> None:
    with _lock:
        tracked = _tracked.pop(key)
        if not all(tracked.home._has_waited(*each) for each in (*tracked.used.items(), *tracked.written.items())):
            _faults.append("an array is dropped while another stream may still write or read its memory")


def settled() -> None:
    """StreamError where something went wrong that nobody was told of yet."""
    with _lock:
        Stream.null._is_done()
        _raise_faults()


def forget() -> None:
    """Nothing that went wrong until now is told of."""
    with _lock:
        _copies.clear()
        _faults.clear()
        _see(
            dict.fromkeys(
                (stream for each in _tracked.values() for stream in (*each.written, *each.used)), next(_moments)
            )
        )


def is_tracking() -> bool:
    """Whether any array was written on another stream, or something is to be told."""
    return bool(_tracked or _faults)
