"""HDF5: datasets of a .h5 file. Foreign files are read by a child process with limits (see hdf5_child)."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from ..arrays.spec import Spec
from ..schema.errors import ConfigError, DataError
from ..schema.params import FilePath, param
from ..schema.registry import register_source
from .files import DEFLATE_RATIO, file_error, size_of
from .hdf5_list import RolesRule, in_role, is_list, listed
from .hdf5_stream import Child, Stored, StreamedDataset
from .npz import chosen, input_name, spec_of
from .reader import Reader
from .reading_process import fill
from .source import Source
from .streaming import is_streamed

SMALL = 64 << 20  # bytes that are taken without asking how they are stored
WIDE = 1 << 20  # elements in a sample that are believed without asking how they are stored
SECONDS = 4  # of processor time, to read what is small
BYTES_PER_SECOND = 20 << 20  # slower reading is taken for a damaged file
MOST_LISTED = 10  # of what is left out
AT_ONCE = 100  # files that a process describes
MOST_DESCRIBED = 10_000  # files whose description is kept, by path, time and size
_lock = threading.Lock()
_described: dict[tuple[str, int, int], dict[str, Any]] = {}
REMEDY = "check the file with h5ls or h5dump"


@register_source
class HDF5(Source):
    """Datasets of an HDF5 file: those of the root group are the blobs, with the samples along the first axis.

    `path` may be a text file that names several such files, a path a line: their samples follow each other.
    Floats are real; bytes with at least two axes are pixels (real, scaled by 1/255); other integers are indices. Links
    and datasets that would read another file are refused.
    """

    path: FilePath = param(help="the .h5 file, or a text file with the path of one in each line")
    folder: FilePath | None = param(None, help="where relative paths of a list begin; null: at the folder of the list")
    blobs: dict | None = param(None, help="which datasets, as {blob: group/name}; null: all of the root group")
    roles: Annotated[dict[str, str], RolesRule] | None = param(
        None, help="{blob: index or real}, where its numbers do not tell: whole numbers that are stored as floats"
    )
    stream: bool | None = param(None, help="read samples when a batch wants them; null: where they exceed 1 GiB")

    @property
    def members(self) -> list[str]:
        """The HDF5 files in order."""
        if not is_list(self.path):
            return [self.path]
        files = listed(self.path, self.folder)
        describe_all(files)
        return files

    def read_files(self) -> list[str]:
        return list(dict.fromkeys([self.path, *self.members]))

    def count(self, part: str) -> int | None:
        total = 0
        for path in self.members:
            lengths = {tuple(_form(describe(path)["arrays"][name])[0][:1]) for name in self.names(path).values()}
            if len(lengths) != 1 or not all(lengths):
                return None  # reading them will say what is wrong: different numbers of samples
            total += lengths.pop()[0]
        return total or None

    def names(self, path: str) -> dict[str, str]:
        """Blob to dataset of a file."""
        found = describe(path)
        for name in self.blobs.values() if self.blobs else ():
            if name in found["refused"]:
                raise file_error(path, f"'{name}' {found['refused'][name]}", "copy the data into this file")
        known = [name for name in found["arrays"] if self.blobs is not None or "/" not in name]
        if not known:
            text = left_out(found)
            raise file_error(path, f"holds no datasets of numbers{f' ({text})' if text else ''}")
        return chosen(path, self.blobs, known)

    def specs(self) -> dict[str, Spec]:
        first, *others = self.members
        specs = self._specs_of(first)
        for path in others:
            for blob, spec in self._specs_of(path).items():
                if specs.get(blob) != spec:
                    words = f"{specs[blob].role} {specs[blob].shape}" if blob in specs else "not there"
                    hint = "roles: {BLOB: index} makes whole numbers in floats classes; blobs: names what is read"
                    raise file_error(path, f"'{blob}' is {spec.role} {spec.shape}, in {first} {words}", hint)
            if missing := specs.keys() - self._specs_of(path).keys():
                raise file_error(path, f"has no '{min(missing)}', which {first} has")
        return specs

    def _specs_of(self, path: str) -> dict[str, Spec]:
        arrays, names = describe(path)["arrays"], self.names(path)
        specs = {blob: spec_of(path, name, *_form(arrays[name])) for blob, name in names.items()}
        for blob, role in (self.roles or {}).items():
            if blob not in specs:
                hint = f"blobs: {', '.join(specs)}"
                raise ConfigError(f"HDF5: roles names '{blob}', which is no blob", place=self.place, hint=hint)
            specs[blob] = Spec(specs[blob].shape, role=role)
        wide = [names[blob] for blob, spec in specs.items() if spec.size > WIDE]
        demand_stored(path, wide, WIDE)  # before a net is built whose weights are as many
        return specs

    def read(self, part: str, progress: bool | None = None) -> dict[str, Any]:
        specs = self.specs()
        found: dict[str, Any] = self._streamed(specs)
        whole: dict[str, list[np.ndarray]] = {blob: [] for blob in specs if blob not in found}
        files = self.members
        child = Child() if len(files) > 1 else None
        for path in files:
            names = self.names(path)
            arrays = read_arrays(path, list(dict.fromkeys(names[blob] for blob in whole)), child)
            for blob, pieces in whole.items():
                pieces.append(in_role(f"{path}: '{names[blob]}'", arrays[names[blob]], specs[blob]))
            text = "" if self.blobs is not None else left_out(describe(path))
            if text:
                hint = "blobs: {BLOB: GROUP/NAME} names those that are meant"
                warnings.warn(f"HDF5: not all of {path} is read: {text}; {hint}", stacklevel=1)  # once a file
        found |= {blob: each[0] if len(each) == 1 else np.concatenate(each) for blob, each in whole.items()}
        return {blob: found[blob] for blob in specs}

    def _streamed(self, specs: Mapping[str, Spec]) -> dict[str, StreamedDataset]:
        """The blobs that stay in their files."""
        found = {}
        for blob, spec in specs.items():
            parts, name = [], ""
            for path in self.members:
                name, known = self.names(path)[blob], describe(path)["arrays"]
                shape, dtype = _form(known[name])
                parts.append(Stored(path, shape[0], dtype, known[name][3]))
            size = max(part.dtype.itemsize for part in parts)
            if is_streamed(self.stream, spec, sum(part.rows for part in parts), size):
                for part in parts:
                    demand_stored(part.path, [name], SMALL)
                found[blob] = StreamedDataset(name, spec, parts)
        return found

    def reader(self) -> Reader:
        from .array_reader import ArrayReader

        return ArrayReader(self.specs(), self.blobs)

    def labels(self) -> dict[str, np.ndarray]:
        wanted = {blob: spec for blob, spec in self.specs().items() if not spec.is_real and not spec.shape}
        pieces: dict[str, list[np.ndarray]] = {blob: [] for blob in wanted}
        child = Child() if wanted else None
        for path in self.members if wanted else ():
            names = self.names(path)
            arrays = read_arrays(path, list(dict.fromkeys(names[blob] for blob in wanted)), child)
            for blob, each in pieces.items():
                each.append(in_role(f"{path}: '{names[blob]}'", arrays[names[blob]], wanted[blob]))
        return self.cut({blob: np.concatenate(each) for blob, each in pieces.items()}) if wanted else {}


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
    texts = [f"'{name}' {why}" for name, why in out.items()]
    more = [f"and {len(texts) - MOST_LISTED} more"] if len(texts) > MOST_LISTED else []
    return "; ".join([*texts[:MOST_LISTED], *more])


def _form(entry: Any) -> tuple[tuple[int, ...], np.dtype]:
    return tuple(entry[0]), np.dtype(entry[1])


def describe(path: str) -> dict[str, Any]:
    """Shapes, dtypes and stored sizes of the datasets of a file, and what is refused."""
    return describe_all([path])[0]


def describe_all(paths: Sequence[str]) -> list[dict[str, Any]]:
    """What `describe` gives of several files, which one process reads one after the other."""
    keys = [_key(path) for path in paths]
    found = {key: _described[key] for key in keys if key in _described}
    left = [key[0] for key in dict.fromkeys(keys) if key not in found]
    while left:
        asked = left[:AT_ONCE]
        with _child(left, "describe", *asked) as stream:
            for path in asked:
                line = stream.readline()
                if not line.endswith(b"\n"):
                    break  # what ended the process is raised: left begins with that file
                found[_key(path)] = json.loads(line)
                left.pop(0)
        if left[:1] == asked[:1]:
            raise file_error(left[0], "changed while it was read")
    with _lock:
        _described.update(found)
        while len(_described) > MOST_DESCRIBED:
            del _described[next(iter(_described))]
    return [found[key] for key in keys]


def _key(path: str) -> tuple[str, int, int]:
    """A file as it is now."""
    size = size_of(path)
    return str(path), Path(path).stat().st_mtime_ns, size


def read_arrays(path: str, names: list[str], child: Child | None = None) -> dict[str, np.ndarray]:
    """Datasets of a file, whole; their sizes are checked against what is stored before memory is taken.

    child   a process that reads several files; None: one for this file alone
    """
    known = describe(path)["arrays"]
    forms = {name: _form(known[name]) for name in names}
    count = demand_stored(path, names, SMALL)
    arrays = {name: np.empty(*form) for name, form in forms.items()}
    if child is not None:
        for name, array in arrays.items():
            child.fill(array, path, name)
        return arrays
    seconds = SECONDS + count // BYTES_PER_SECOND
    with _child([path], "read", str(seconds), path, *names) as stream:
        whole = all(fill(stream, array) for array in arrays.values())
    if not whole:
        raise file_error(path, "changed while it was read")
    return arrays


def read_text(path: str, name: str) -> str:
    """The one short text that a dataset of the root group holds."""
    size_of(path)
    with _child([path], "text", path, name) as stream:
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


@contextmanager
def _child(paths: Sequence[str], *arguments: str) -> Iterator[Any]:
    """The output of the reading process; DataError where it failed or was ended by its limits.

    paths   what it reads; the error is about the one that is the first when the process ends
    """
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
            raise failure(paths[0], code, errors.read().decode(errors="replace"))


def failure(path: str, code: int, text: str) -> DataError:
    """What to say of a reading process that ended with a code and these words."""
    if code < 0:
        return file_error(path, "the HDF5 library crashed or did not come to an end: the file is damaged", REMEDY)
    try:
        reason = json.loads(text.strip().splitlines()[-1])["error"]
    except (ValueError, KeyError, IndexError):
        reason = text.strip()[-200:] or f"exit code {code}"
    return file_error(path, f"is not an HDF5 file, or damaged ({reason})", REMEDY)
