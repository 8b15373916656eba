"""The part of cupyx.scipy.sparse that is used, over `strict_cupy`: matrices that meet no host array."""

from __future__ import annotations

from typing import Any

import scipy.sparse
from support import strict_cupy


def _raw(array: Any) -> Any:
    if not isinstance(array, strict_cupy.ndarray):
        raise TypeError(f"Unsupported type {type(array)}: a device array is expected")
    return array.get()


class _Matrix:
    """A matrix on the imagined device, of whatever format SciPy's `host` has."""

    def __init__(self, host: Any) -> None:
        self._host = host
        self.shape, self.format = host.shape, host.format
        self.data, self.indices, self.indptr = (strict_cupy.asarray(a) for a in (host.data, host.indices, host.indptr))

    def _now(self) -> Any:
        """SciPy's matrix of the device's present numbers."""
        return type(self._host)((_raw(self.data), _raw(self.indices), _raw(self.indptr)), shape=self.shape)

    @property
    def T(self) -> _Matrix:
        return _Matrix(self._now().T)

    def __matmul__(self, dense: Any) -> Any:
        return strict_cupy.asarray(self._now() @ _raw(dense))

    def __getitem__(self, rows: Any) -> csr_matrix:
        return csr_matrix.of(self._now()[_raw(rows) if isinstance(rows, strict_cupy.ndarray) else rows])

    def tocsc(self) -> csc_matrix:
        host = self._now().tocsc()
        return csc_matrix(tuple(strict_cupy.asarray(a) for a in (host.data, host.indices, host.indptr)), host.shape)

    def toarray(self) -> Any:
        return strict_cupy.asarray(self._now().toarray())


class csr_matrix(_Matrix):
    """A CSR matrix of three device arrays, which it does not copy."""

    def __init__(self, arrays: Any, shape: tuple[int, int]) -> None:
        super().__init__(scipy.sparse.csr_matrix(tuple(map(_raw, arrays)), shape=shape))
        self.data, self.indices, self.indptr = arrays

    @classmethod
    def of(cls, host: Any) -> csr_matrix:
        parts = (strict_cupy.asarray(a) for a in (host.data, host.indices, host.indptr))
        return cls(tuple(parts), host.shape)

    def copy(self) -> csr_matrix:
        return csr_matrix(tuple(a.copy() for a in (self.data, self.indices, self.indptr)), self.shape)


class csc_matrix(_Matrix):
    """The same by columns."""

    def __init__(self, arrays: Any, shape: tuple[int, int]) -> None:
        super().__init__(scipy.sparse.csc_matrix(tuple(map(_raw, arrays)), shape=shape))
