"""Snapshots: named arrays in one HDF5 file that is written atomically and carries a digest of itself.

    bytes 0-511   HDF5's user block: the line "LayerForge snapshot 1", then the SHA-256 of everything behind the block
    byte 512      an ordinary HDF5 file; h5py, h5dump and MATLAB read it as it is

The digest is checked before HDF5 sees the file: libhdf5 can crash or loop on damaged input. Nothing in a snapshot is
ever executed. "/" in a layer's name is written as %2F.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataError

MAGIC = b"LayerForge snapshot 1\n"
BLOCK = 512
META = "meta"


def escape(name: str) -> str:
    """A name as one component of an HDF5 path."""
    return name.replace("%", "%25").replace("/", "%2F")


def unescape(name: str) -> str:
    """The name that `escape` wrote."""
    return name.replace("%2F", "/").replace("%25", "%")


def atomic_write(path: str | Path, content: bytes) -> None:
    """Write a file so that a crash at any moment leaves either the old file or the whole new one.

    Errors   DataError (exit 3) when the folder is missing, not writable or full; the old file is untouched
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as problem:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise DataError(
            f"cannot write {path}: {problem.strerror or problem}", hint="what was there before is untouched"
        ) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Make a rename durable; where folders cannot be opened (Windows) the rename is durable by itself."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def pack(arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> bytes:
    """The bytes of a snapshot: arrays by HDF5 path, attributes as JSON texts under meta/."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=BLOCK, track_order=True) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, track_times=False)
        for name, value in attributes.items():
            file[f"{META}/{name}"] = json.dumps(value, sort_keys=True)  # HDF5 attributes end at 64 KiB, these do not
    body = buffer.getvalue()[BLOCK:]
    head = MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n"
    return head.ljust(BLOCK, b"\0") + body


def unpack(content: bytes, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and attributes of a snapshot; `name` is what errors call it.

    Errors   DataError (exit 3) for a file that is not a snapshot, is cut short or does not match its digest
    """
    if not content.startswith(MAGIC):
        kind = "is empty" if not content else "is not a LayerForge snapshot"
        raise DataError(f"{name} {kind}", hint="snapshots are written by `layerforge train` and net.save()")
    digest = content[len(MAGIC) : len(MAGIC) + 64].decode("ascii", "replace")
    if hashlib.sha256(content[BLOCK:]).hexdigest() != digest:
        message = f"{name} is damaged: its digest does not match ({len(content)} bytes)"
        raise DataError(message, hint="it was cut short or changed; use another checkpoint of the run")
    import h5py

    arrays: dict[str, np.ndarray] = {}
    with h5py.File(io.BytesIO(content), "r") as file:

        def collect(path: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and not path.startswith(f"{META}/"):
                arrays[path] = item[()]

        file.visititems(collect)
        attributes = {key: json.loads(text[()]) for key, text in file.get(META, {}).items()}
    return arrays, attributes


def write_snapshot(path: str | Path, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> None:
    """Pack in memory, then write atomically."""
    atomic_write(path, pack(arrays, attributes))


def read_snapshot(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read and verify a snapshot. DataError (exit 3) where there is none."""
    try:
        content = Path(path).read_bytes()
    except OSError as problem:
        raise DataError(f"cannot read {path}: {problem.strerror or problem}", hint="check the path") from None
    return unpack(content, str(path))
