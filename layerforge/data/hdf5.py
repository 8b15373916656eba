"""HDF5: datasets of a .h5 file. Foreign files are read by a child process with limits (see hdf5_child)."""

from __future__ import annotations

import functools
import json
import math
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays.spec import Spec
from ..schema.errors import DataError
from ..schema.params import FilePath, param
from ..schema.registry import register_source
from .files import DEFLATE_RATIO, file_error, size_of
from .hdf5_stream import StreamedDataset
from .npz import chosen, input_name, spec_of
from .reader import Reader
from .source import Source
from .streaming import is_streamed

SMALL = 64 << 20  # bytes that are taken without asking how they are stored
WIDE = 1 << 20  # elements in a sample that are believed without asking how they are stored
SECONDS = 4  # of processor time, to read what is small
BYTES_PER_SECOND = 20 << 20  # slower reading is taken for a damaged file
MOST_LISTED = 10  # of what is left out
REMEDY = "check the file with h5ls or h5dump"


@register_source
class HDF5(Source):
    """Datasets of an HDF5 file: those of the root group are the blobs, with the samples along the first axis.

    Floats are real; bytes with at least two axes are pixels (real, scaled by 1/255); other integers are indices. Links
    and datasets that would read another file are refused.
    """

    path: FilePath = param(help="the .h5 file")
    blobs: dict | None = param(None, help="which datasets, as {blob: group/name}; null: all of the root group")
    stream: bool | None = param(None, help="read samples when a batch wants them; null: where they exceed 1 GiB")

    def count(self, part: str) -> int | None:
        lengths = {tuple(_form(describe(self.path)["arrays"][name])[0][:1]) for name in self.names().values()}
        # None where reading them will say what is wrong: no samples, or different numbers of them.
        return next(iter(lengths.pop()), None) or None if len(lengths) == 1 else None

    def names(self) -> dict[str, str]:
        """Blob to dataset."""
        found = describe(self.path)
        for name in self.blobs.values() if self.blobs else ():
            if name in found["refused"]:
                raise file_error(self.path, f"'{name}' {found['refused'][name]}", "copy the data into this file")
        known = [name for name in found["arrays"] if self.blobs is not None or "/" not in name]
        if not known:
            listed = left_out(found)
            raise file_error(self.path, f"holds no datasets of numbers{f' ({listed})' if listed else ''}")
        return chosen(self.path, self.blobs, known)

    def specs(self) -> dict[str, Spec]:
        arrays, names = describe(self.path)["arrays"], self.names()
        specs = {blob: spec_of(self.path, name, *_form(arrays[name])) for blob, name in names.items()}
        wide = [names[blob] for blob, spec in specs.items() if spec.size > WIDE]
        demand_stored(self.path, wide, WIDE)  # before a net is built whose weights are as many
        return specs

    def read(self, part: str, progress: bool | None = None) -> dict[str, Any]:
        names, streamed = self.names(), self._streamed()
        arrays = read_arrays(self.path, list(dict.fromkeys(n for blob, n in names.items() if blob not in streamed)))
        listed = "" if self.blobs is not None else left_out(describe(self.path))
        if listed:
            hint = "blobs: {BLOB: GROUP/NAME} names those that are meant"
            warnings.warn(f"HDF5: not all of {self.path} is read: {listed}; {hint}", stacklevel=1)  # once a file
        return {blob: streamed[blob] if blob in streamed else arrays[name] for blob, name in names.items()}

    def _streamed(self) -> dict[str, StreamedDataset]:
        """The blobs that stay in the file."""
        known, names, found = describe(self.path)["arrays"], self.names(), {}
        for blob, spec in self.specs().items():
            shape, dtype = _form(known[names[blob]])
            if is_streamed(self.stream, spec, shape[0], dtype.itemsize):
                demand_stored(self.path, [names[blob]], SMALL)
                found[blob] = StreamedDataset(self.path, names[blob], spec, shape, dtype, known[names[blob]][3])
        return found

    def reader(self) -> Reader:
        from .array_reader import ArrayReader

        return ArrayReader(self.specs(), self.blobs)

    def labels(self) -> dict[str, np.ndarray]:
        names = self.names()
        wanted = [blob for blob, spec in self.specs().items() if not spec.is_real and not spec.shape]
        arrays = read_arrays(self.path, list(dict.fromkeys(names[blob] for blob in wanted))) if wanted else {}
        return self.cut({blob: arrays[names[blob]] for blob in wanted}) if wanted else {}


def hdf5_input(path: Path, blob: str, blobs: Mapping[str, Any] | None = None) -> np.ndarray:
    """The samples of a blob from an HDF5 file given to `predict`; `blobs` is that of the source of training."""
    known = describe(str(path))["arrays"]
    if not known:
        raise file_error(path, "holds no datasets of numbers")
    name = input_name(path, blob, blobs, list(known))
    spec_of(str(path), name, *_form(known[name]))
    return read_arrays(str(path), [name])[name]


def left_out(found: dict[str, Any]) -> str:
    """What of a description is no blob where `blobs` names none, and why: groups, and what is refused."""
    nested = (name for name in (*found["arrays"], *found["refused"]) if "/" in name)
    groups = dict.fromkeys((name.split("/", 1)[0] for name in nested), "is a group")
    out = groups | {name: why for name, why in found["refused"].items() if "/" not in name}
    listed = [f"'{name}' {why}" for name, why in out.items()]
    more = [f"and {len(listed) - MOST_LISTED} more"] if len(listed) > MOST_LISTED else []
    return "; ".join([*listed[:MOST_LISTED], *more])


def _form(entry: Any) -> tuple[tuple[int, ...], np.dtype]:
    return tuple(entry[0]), np.dtype(entry[1])


def describe(path: str) -> dict[str, Any]:
    """Shapes, dtypes and stored sizes of the datasets of a file, and what is refused."""
    size_of(path)
    status = Path(path).stat()
    return _describe(str(path), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=16)
def _describe(path: str, modified: int, size: int) -> dict[str, Any]:
    with _child(path, "describe", path) as stream:
        text = stream.read()
    return json.loads(text)


def read_arrays(path: str, names: list[str]) -> dict[str, np.ndarray]:
    """Datasets of a file, whole; their sizes are checked against what is stored before memory is taken."""
    known = describe(path)["arrays"]
    forms = {name: _form(known[name]) for name in names}
    count = demand_stored(path, names, SMALL)
    arrays = {name: np.empty(*form) for name, form in forms.items()}
    seconds = SECONDS + count // BYTES_PER_SECOND
    with _child(path, "read", str(seconds), path, *names) as stream:
        whole = all(fill(stream, array) for array in arrays.values())
    if not whole:
        raise file_error(path, "changed while it was read")
    return arrays


def read_text(path: str, name: str) -> str:
    """The one short text that a dataset of the root group holds."""
    size_of(path)
    with _child(path, "text", path, name) as stream:
        answer = stream.read()
    return json.loads(answer)["text"]


def demand_stored(path: str, names: list[str], small: int) -> int:
    """The bytes of some datasets; DataError where they are more than `small` and than what is stored can hold."""
    known = describe(path)["arrays"]
    forms = [_form(known[name]) for name in names]
    count = sum(math.prod(shape) * dtype.itemsize for shape, dtype in forms)
    stored = min(size_of(path), sum(known[name][2] for name in names))
    if count > small and count > stored * DEFLATE_RATIO:
        listed = ", ".join(f"'{name}'" for name in names[:5])
        raise file_error(path, f"{listed} should have {count} bytes, but only {stored} are stored", REMEDY)
    return count


def fill(stream: Any, array: np.ndarray) -> bool:
    """Read an array's bytes from a stream; whether there were enough."""
    view, done = array.reshape(-1).view(np.uint8).data, 0
    while done < len(view) and (got := stream.readinto(view[done:])):
        done += got
    return done == len(view)


@contextmanager
def _child(path: str, *arguments: str) -> Iterator[Any]:
    """The output of the reading process; DataError where it failed or was ended by its limits."""
    program = Path(__file__).with_name("hdf5_child.py")
    command = [sys.executable, "-P", str(program), *arguments]  # -P: the program's folder must not shadow modules
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        assert child.stdout is not None  # it is a pipe
        try:
            yield child.stdout
        finally:
            child.stdout.close()
            code = child.wait()
        if code:
            errors.seek(0)
            raise failure(path, code, errors.read().decode(errors="replace"))


def failure(path: str, code: int, text: str) -> DataError:
    """What to say of a reading process that ended with a code and these words."""
    if code < 0:
        return file_error(path, "the HDF5 library crashed or did not come to an end: the file is damaged", REMEDY)
    try:
        reason = json.loads(text.strip().splitlines()[-1])["error"]
    except (ValueError, KeyError, IndexError):
        reason = text.strip()[-200:] or f"exit code {code}"
    return file_error(path, f"is not an HDF5 file, or damaged ({reason})", REMEDY)
