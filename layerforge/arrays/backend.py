"""Backends: the array library that the layers' maths runs on. NumPy, or CuPy with the same names.

A layer says `self.xp.exp(x)` and never asks which one it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from ..schema import optional
from ..schema.errors import BackendError, BackendMissing, ConfigError, DataError
from ..schema.synonyms import did_you_mean
from . import cuda_device, cuda_driver, cuda_packages, host_memory
from .device_errors import raise_told
from .sparse import CSR, checked, flaw, in_order
from .uploading import Upload

NAMES = ("numpy", "cupy")

# An array of either library. The two share their methods but no base class, and CuPy need not be installed where types
# are checked; so a checker takes an array for anything, and the name tells the reader what it is.
Array: TypeAlias = Any


@dataclass(frozen=True)
class Backend:
    """An array namespace and the two ways across: host to device and back. A CSR goes both ways as arrays do.

    sparse   the module with this backend's sparse matrices
    """

    name: str
    xp: Any
    sparse: str = "cupyx.scipy.sparse"

    def from_host(self, array: Any, dtype: Any = None) -> Array:
        """An array of this backend with the values of a NumPy array (or list); a copy only where one is needed.

        What is on its way already, an `Upload`, is waited for, by the device alone.
        """
        if isinstance(array, Upload):
            first, *rest = array.parts()
            return self.from_host(self.csr(first, rest[0], rest[1], array.shape) if rest else first, dtype)
        if isinstance(array, CSR):
            moved = array if array.xp is self.xp else self.csr(array.data, array.indices, array.indptr, array.shape)
            return moved if dtype is None else moved.astype(dtype)
        if isinstance(array, self.xp.ndarray):
            return array if dtype is None or array.dtype == np.dtype(dtype) else array.astype(dtype)
        host = np.asarray(array, dtype=dtype)
        try:
            return self.xp.asarray(host)
        except Exception as problem:
            raise_told(problem)

    def to_host(self, array: Array) -> Any:
        """The values as a NumPy array; on NumPy the array itself."""
        if isinstance(array, CSR):
            data, indices, indptr = (self.to_host(part) for part in (array.data, array.indices, array.indptr))
            return array if array.xp is np else NUMPY.csr(data, indices, indptr, array.shape)
        if isinstance(array, (np.ndarray, np.generic)):
            return array
        try:
            return self.xp.asnumpy(array)
        except Exception as problem:  # also of what the device was to do before
            raise_told(problem)

    def csr(self, data: Any, indices: Any, indptr: Any, shape: tuple[int, ...]) -> CSR:
        """A CSR of three host arrays that are known to fit together. Errors   BackendError where SciPy is missing"""
        parts = tuple(self.from_host(part) for part in (data, indices, indptr))
        return CSR(self.xp, self._csr_type(parts, shape=shape))

    def csr_from(self, what: str, value: Any, columns: int, dtype: Any) -> CSR:
        """A CSR of a matrix of SciPy's or cupyx's, with so many columns and in a dtype. `what` is what errors call it.

        It shares memory with the matrix where nothing had to be changed.

        Errors   ConfigError for anything else, and for arrays that do not fit together
        """
        if isinstance(value, Upload) and isinstance(value.host, CSR):
            value = self.from_host(value)
        if isinstance(value, CSR):
            if value.shape[1] != columns:
                raise ConfigError(f"{what} has the shape {value.shape}, expected (N, {columns})")
            return self.from_host(value.fresh(), dtype)
        if hasattr(value, "data") and isinstance(value.data, np.ndarray) and self.xp is not np:
            return self.from_host(NUMPY.csr_from(what, value, columns, dtype))
        found = checked(what, value, columns, self.xp)
        return CSR(self.xp, self._csr_type((found.data, found.indices, found.indptr), shape=found.shape)).astype(dtype)

    @property
    def _csr_type(self) -> Any:
        why = "a sparse matrix"
        module = optional.require(self.sparse, extra="sparse", why=why, error=BackendError)
        return getattr(module, "csr_array", None) or module.csr_matrix  # cupyx has the older of the two

    def __reduce__(self) -> Any:
        return get_backend, (self.name,)

    def __deepcopy__(self, memo: Any) -> Backend:
        return self

    def describe(self) -> str:
        """Name and version; of a GPU its name, memory, driver and CUDA, and what makes its numbers others. For the
        run's record.
        """
        name = f"{self.name} {self.xp.__version__}"
        return name if self.xp is np else f"{name} on {cuda_device.describe(self.xp)}"

    def memory(self) -> dict[str, int]:
        """Bytes of memory where its arrays are: total, free, and of a GPU pooled; without what is not told."""
        return host_memory.memory() if self.xp is np else cuda_device.memory(self.xp)


NUMPY = Backend("numpy", np, "scipy.sparse")


def get_backend(name: str | Backend) -> Backend:
    """The backend of that name.

    Errors   ConfigError for a name that does not exist; BackendMissing (exit 5) where CuPy or its GPU is missing
    """
    if isinstance(name, Backend):
        return name
    if name == "numpy":
        return NUMPY
    if name == "cupy":
        return Backend("cupy", _cupy())
    raise ConfigError(f"unknown backend '{name}'", hint=did_you_mean(name, NAMES) or f"one of {', '.join(NAMES)}")


def _cupy() -> ModuleType:
    cupy = optional.require("cupy", extra="cuda12", why="backend 'cupy'", error=BackendMissing)
    if not cupy.cuda.is_available():
        found = cuda_packages.obstacle(cuda_packages.installed(), cuda_driver.find())
        why, remedy = found or ("CuPy does not say why", f"check `nvidia-smi`, {cuda_packages.pip_line()}")
        raise BackendMissing(
            f"backend 'cupy' needs an NVIDIA GPU with its driver; CuPy {cupy.__version__} is installed but finds none:"
            f" {why}",
            hint=f"{remedy}; or set `backend: numpy`. `layerforge doctor` says what is there",
        )
    return cupy


def csr_of(parts: Mapping[str, np.ndarray], owner: str) -> CSR:
    """The CSR, on the host, of arrays from a file: data, indices, indptr and shape. `owner` is what errors call them.

    Columns that are out of order are sorted, and numbers stored twice at a place are added up.

    Errors   DataError for arrays that are missing or do not fit together
    """
    missing = [name for name in ("data", "indices", "indptr", "shape") if name not in parts]
    if missing:
        raise DataError(f"{owner} is no CSR matrix: it lacks {', '.join(missing)}")
    data, indices, indptr, sizes = (parts[name] for name in ("data", "indices", "indptr", "shape"))
    shape = tuple(int(n) for n in sizes.reshape(-1)) if sizes.dtype.kind in "iu" else ()
    problem = "its shape is not two numbers" if len(shape) != 2 or min(shape) < 0 else ""
    problem = problem or flaw(data, indices, indptr, shape)
    if problem:
        raise DataError(f"{owner} is no valid CSR matrix: {problem}", hint="write it again with scipy.sparse.save_npz")
    found = NUMPY.csr(data, indices, indptr, shape)
    if not in_order(np, indices, indptr):
        found.matrix.sum_duplicates()
    return found
