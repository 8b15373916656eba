"""Snapshots: named arrays in one HDF5 file that is written atomically and carries a digest of itself.

    line 1       LayerForge snapshot <format>
    line 2       the SHA-256 of everything behind this line, and so over every array
    line 3       the index: {path: [dtype, shape, position in the file]} as JSON
    then zeros to a power of two (HDF5's user block), and an ordinary HDF5 file, which h5py, h5dump and MATLAB read

A snapshot is read by its index, after its digest was checked: libhdf5, which can crash or loop on damaged input, never
sees it. Files of format 1, which have no index, are opened by libhdf5 in a process of its own. Nothing in a snapshot is
ever executed. "/" in a layer's name is written as %2F.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from .schema.errors import DataError
from .schema.regular_files import irregular
from .schema.texts import from_json, to_json

FORMAT = 2
HEAD = re.compile(rb"LayerForge snapshot (\d{1,9})\n")
DIGEST = 65  # characters of the second line
OLD_BLOCK = 512  # user block of format 1
META = "meta/"
MOST_TEXT = 16 << 20  # bytes of the index, and of an attribute
DTYPE = re.compile(r"[<>|=][biufS]\d{1,10}")
PIECE = 1 << 20
LITTER = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the quota is used up: free some space",
    errno.EFBIG: "files must not become so large here: see `ulimit -f`",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "the folder must not be written to",
    errno.EPERM: "the folder must not be written to",
    errno.ENOENT: "the folder is not there, or not any more",
    errno.EIO: "the disk or the network has a fault",
}


def escape(name: str) -> str:
    """A name as one component of an HDF5 path."""
    return "%2E" if name == "." else name.replace("%", "%25").replace("/", "%2F")


def unescape(name: str) -> str:
    """The name that `escape` wrote."""
    return name.replace("%2E", ".").replace("%2F", "/").replace("%25", "%")


# Writing --------------------------------------------------------------------------------------------------------------


@contextmanager
def writing(path: str | Path, consequence: str) -> Iterator[None]:
    """Turn what the system says against writing a file into a DataError (exit 3) with a remedy."""
    try:
        yield
    except OSError as problem:
        remedy = REMEDIES.get(problem.errno or 0)
        hint = f"{remedy}; {consequence}" if remedy else consequence
        raise DataError(f"cannot write {path}: {problem.strerror or problem}", hint=hint) from None


def atomic_write(path: str | Path, content: bytes) -> None:
    """Write a file so that a crash at any moment leaves either the old file or the whole new one.

    A new file in the same folder is written, synchronised with the disk, read back, compared and renamed over the old
    one; then the folder is synchronised.

    Errors   DataError (exit 3) when the folder is missing, not writable or full, and for a pipe or a device, which the
             new file would take the place of; what was there is untouched
    """
    path = Path(path)
    if kind := irregular(path):
        raise DataError(f"cannot write {path}: it is {kind}, not a regular file", hint="name a file of its own")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with writing(path, "what was there before is untouched"):
        try:
            _write_new(temporary, content)
            _compare(temporary, content)
            os.replace(temporary, path)
        except BaseException:  # an interrupt too must leave no litter
            with suppress(OSError):
                os.unlink(temporary)
            raise
    with writing(path, "it is there, but a power failure may still undo that"):
        sync_folder(path.parent)


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        view, done = memoryview(content), 0
        while done < len(view):
            done += os.write(descriptor, view[done:])
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _compare(path: Path, content: bytes) -> None:
    """OSError where a file does not hold `content`. It is read from the disk, where the system can be told to."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        if hasattr(os, "posix_fadvise"):
            with suppress(OSError):  # a file system without a cache of its own
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        view, done = memoryview(content), 0
        while piece := os.read(descriptor, PIECE):
            if piece != view[done : done + len(piece)]:
                break
            done += len(piece)
    finally:
        os.close(descriptor)
    if done < len(content):
        raise OSError(errno.EIO, f"what was read back differs from what was written, from byte {done} on")


def sync_folder(folder: Path) -> None:
    """Make a rename durable; where folders cannot be opened (Windows) the rename is durable by itself."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot, and need not
            raise
    finally:
        os.close(descriptor)


def remove_litter(folder: Path) -> None:
    """Remove the temporary files that a killed process left in a folder."""
    for path in folder.iterdir():
        if LITTER.fullmatch(path.name):
            path.unlink(missing_ok=True)


def pack(arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> bytes:
    """The bytes of a snapshot: arrays by HDF5 path, attributes as JSON texts under meta/, the format among them."""
    import h5py

    texts = {**attributes, "format": FORMAT}
    # HDF5 attributes end at 64 KiB, these do not
    meta = {META + k: np.array(to_json(v, sort=True).encode()) for k, v in texts.items()}
    everything = {name: np.asarray(array) for name, array in arrays.items()} | meta
    longest = _head({name: _entry(array, 10**15) for name, array in everything.items()})
    block = 1 << max(OLD_BLOCK, len(longest) - 1).bit_length()
    buffer, index = io.BytesIO(), {}
    with h5py.File(buffer, "w", userblock_size=block, track_order=True) as file:
        for name, array in everything.items():
            dataset = file.create_dataset(name, data=array, track_times=False)
            index[name] = _entry(array, dataset.id.get_offset() if array.size else 0)
    with buffer.getbuffer() as view:
        view[: len(longest)] = _head(index).ljust(len(longest), b"\0")
        first = len(_first_line()) + DIGEST
        view[len(_first_line()) : first] = hashlib.sha256(view[first:]).hexdigest().encode() + b"\n"
    return buffer.getvalue()


def _first_line() -> bytes:
    return b"LayerForge snapshot %d\n" % FORMAT


def _entry(array: np.ndarray, position: int) -> list[Any]:
    return [array.dtype.str, list(array.shape), position]


def _head(index: Mapping[str, Any]) -> bytes:
    """The three lines, with an empty digest."""
    return _first_line() + b"\n".rjust(DIGEST) + json.dumps(index, separators=(",", ":")).encode() + b"\n"


def write_snapshot(path: str | Path, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> None:
    """Pack in memory, then write atomically; a missing folder is made."""
    with writing(path, "choose another place"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, pack(arrays, attributes))


# Reading --------------------------------------------------------------------------------------------------------------


class _Malformed(Exception):
    """An index or attribute that no LayerForge wrote."""


def read_snapshot(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read and verify a snapshot. DataError (exit 3) where there is none."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError(f"{path} is not an ordinary file", hint="give the path of a snapshot")
        with open(path, "rb") as file:
            content = file.read(64)
            if HEAD.match(content):  # anything else may be large, and is not wanted
                file.seek(0)
                content = file.read()
    except (OSError, ValueError) as problem:  # ValueError: a path with a NUL in it
        reason = getattr(problem, "strerror", None) or problem
        raise DataError(f"cannot read {path}: {reason}", hint="check the path") from None
    return unpack(content, str(path))


def unpack(content: bytes, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and attributes of a snapshot; `name` is what errors call it.

    Errors   DataError (exit 3) for a file that is not a snapshot, is of a later format, is cut short or does not match
             its digest
    """
    head = HEAD.match(content)
    if head is None:
        kind = "is empty" if not content else "is not a LayerForge snapshot"
        raise DataError(f"{name} {kind}", hint="snapshots are written by `layerforge train` and net.save()")
    version = int(head[1])
    if version > FORMAT:
        message = f"{name} is a snapshot of format {version}, which a later LayerForge wrote"
        raise DataError(message, hint=f"this one reads formats up to {FORMAT}: pip install --upgrade layerforge")
    covered = memoryview(content)[OLD_BLOCK if version == 1 else head.end() + DIGEST :]
    digest = content[head.end() : head.end() + DIGEST - 1]
    if hashlib.sha256(covered).hexdigest().encode() != digest:
        message = f"{name} is damaged: its digest does not match ({len(content)} bytes)"
        raise DataError(message, hint="it was cut short or changed; use another checkpoint of the run")
    try:
        if version == 1:
            index, texts = _index_by_hdf5(content)
        else:
            index, texts = _index(content, head.end() + DIGEST), {}
        arrays = _arrays(content, index)
        texts |= {k.removeprefix(META): arrays.pop(k).tobytes() for k in list(arrays) if k.startswith(META)}
        return arrays, {key: _json(text) for key, text in texts.items()}
    except _Malformed as problem:
        hint = "its digest is right, so it was made like this: do not use it"
        raise DataError(f"{name} is not a file that LayerForge wrote: {problem}", hint=hint) from None


def _json(text: bytes | memoryview | str) -> Any:
    if len(text) > MOST_TEXT:
        raise _Malformed(f"more than {MOST_TEXT} bytes of text")
    try:
        return from_json(bytes(text) if isinstance(text, memoryview) else text)
    except (ValueError, RecursionError):
        raise _Malformed("damaged JSON") from None


def _index(content: bytes, start: int) -> dict[str, Any]:
    end = content.find(b"\n", start, start + MOST_TEXT)
    index = _json(memoryview(content)[start : max(start, end)])
    if not isinstance(index, dict):
        raise _Malformed("its index is no mapping")
    return index


def _index_by_hdf5(content: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Index and attributes of a file of format 1, as libhdf5 sees them, in a process with limits."""
    import subprocess  # files of format 2 do without

    program = Path(__file__).parent / "data" / "hdf5_child.py"
    child = subprocess.run([sys.executable, "-P", str(program), "snapshot"], input=content, capture_output=True)
    if child.returncode:
        raise _Malformed("the HDF5 library cannot read it")
    found = json.loads(child.stdout)
    return found["arrays"], found["texts"]


def _arrays(content: bytes, index: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of an index; together they cannot be larger than the file, so that memory stays bounded by it."""
    arrays, left = {}, len(content)
    for name, entry in index.items():
        dtype, shape, position = _checked(name, entry)
        count = math.prod(shape)
        left -= count * dtype.itemsize
        if left < 0 or position + count * dtype.itemsize > len(content):
            raise _Malformed(f"'{name[:100]}' does not fit into the file")
        flat = np.frombuffer(content, dtype, count, position) if count else np.empty(0, dtype)
        arrays[name] = flat.reshape(shape).copy()
    return arrays


def _checked(name: str, entry: Any) -> tuple[np.dtype, tuple[int, ...], int]:
    try:
        text, shape, position = entry
        numbers = [*shape, position]
        if not DTYPE.fullmatch(text) or not all(type(n) is int and n >= 0 for n in numbers) or len(shape) > 32:
            raise ValueError
        dtype = np.dtype(text)
        if math.prod(max(1, n) for n in shape) * dtype.itemsize >= 2**63:
            raise ValueError
    except (TypeError, ValueError):
        raise _Malformed(f"'{name[:100]}' is no array") from None
    return dtype, tuple(shape), position
