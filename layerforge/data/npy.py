"""NPY: an array in a file of its own, as numpy.save writes it, which may be larger than memory."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays.spec import Spec
from ..schema.errors import ConfigError
from ..schema.params import FilePath, param
from ..schema.registry import register_source
from .files import file_error, reading, size_of
from .npz import npy_header, spec_of
from .source import Source
from .streaming import Chunked, is_streamed


@register_source
class NPY(Source):
    """An array of a .npy file: blob `x`, and `label` from a second file; samples along the first axis.

    Floats are real; bytes with at least two axes are pixels (real, scaled by 1/255); other integers are indices.
    """

    path: FilePath = param(help="the .npy file")
    label: FilePath | None = param(None, help="a .npy file with one value for each sample, blob `label`")
    blob: str = param("x", help="the name of the blob")
    stream: bool | None = param(None, help="read samples when a batch wants them; null: where they exceed 1 GiB")

    def validate(self) -> None:
        if self.blob == "label" and self.label is not None:
            raise ConfigError("NPY: two blobs would be called 'label'", hint="blob: names that of path")

    @property
    def paths(self) -> dict[str, str]:
        """Blob to file."""
        return {self.blob: self.path, **({"label": self.label} if self.label is not None else {})}

    def specs(self) -> dict[str, Spec]:
        found = {blob: header(path) for blob, path in self.paths.items()}
        return {blob: spec_of(path, blob, *found[blob][:2]) for blob, path in self.paths.items()}

    def count(self, part: str) -> int | None:
        lengths = {header(path)[0][:1] for path in self.paths.values()}
        # None where reading them will say what is wrong: no samples, or different numbers of them.
        return next(iter(lengths.pop()), None) or None if len(lengths) == 1 else None

    def read(self, part: str, progress: bool | None = None) -> dict[str, Any]:
        specs, blobs = self.specs(), {}
        for blob, path in self.paths.items():
            shape, dtype, fortran, _ = header(path)
            streamed = is_streamed(self.stream, specs[blob], shape[0], dtype.itemsize)
            if streamed and fortran:
                hint = "write it anew: numpy.save(path, numpy.ascontiguousarray(array))"
                raise file_error(path, "stores its first axis fastest, so that no sample is in one piece", hint)
            blobs[blob] = StreamedNpy(path, specs[blob]) if streamed else read_npy(path)
        return blobs

    def labels(self) -> dict[str, np.ndarray]:
        wanted = [blob for blob, spec in self.specs().items() if not spec.is_real and not spec.shape]
        arrays = {blob: read_npy(self.paths[blob]) for blob in wanted}
        return self.cut(arrays) if arrays else {}


class StreamedNpy(Chunked):
    """The array of a .npy file, chunk by chunk."""

    def __init__(self, path: str, spec: Spec) -> None:
        shape, dtype, _, self.offset = header(path)
        super().__init__(path, spec, shape, dtype.newbyteorder("="))
        self.path = path
        self.stored = dtype

    def load(self, start: int, stop: int) -> np.ndarray:
        shape = (stop - start, *self.shape[1:])
        one = self.stored.itemsize * max(1, self.spec.size)
        with reading(self.path), open(self.path, "rb") as file:
            file.seek(self.offset + start * one)
            content = bytearray((stop - start) * one)
            count = file.readinto(content)
        if count != len(content):
            raise file_error(self.path, "changed while it was read")
        return np.frombuffer(content, self.stored).reshape(shape).astype(self.dtype, copy=False)


def header(path: str) -> tuple[tuple[int, ...], np.dtype, bool, int]:
    """Shape, dtype, whether the first axis is the fastest, and where the numbers begin; checked against the size."""
    size = size_of(path)
    return _header(path, Path(path).stat().st_mtime_ns, size)


@functools.lru_cache(maxsize=64)
def _header(path: str, modified: int, size: int) -> tuple[tuple[int, ...], np.dtype, bool, int]:
    with reading(path), open(path, "rb") as file:
        shape, fortran, dtype = npy_header(path, Path(path).name, file)
        offset = file.tell()
    spec_of(path, Path(path).name, shape, dtype)
    wanted = math.prod(shape) * dtype.itemsize
    if wanted != size - offset:
        raise file_error(path, f"should have {wanted} bytes after its header, and has {size - offset}")
    return shape, dtype, fortran, offset


def read_npy(path: str) -> np.ndarray:
    """The whole array of a file; its size is checked before memory is taken."""
    shape, dtype, fortran, offset = header(path)
    with reading(path), open(path, "rb") as file:
        file.seek(offset)
        flat = np.frombuffer(bytearray(file.read()), dtype)
    array = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)
