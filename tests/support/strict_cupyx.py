"""The part of cupyx.scipy.sparse that is used, over `strict_cupy`: matrices that meet no host array.

A product counts as one launch. A choice of rows waits once, for cupyx fetches how many numbers are stored in them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from . import strict_cupy


def _raw(array: Any) -> Any:
    if not isinstance(array, strict_cupy.ndarray):
        raise TypeError(f"Unsupported type {type(array)}: a device array is expected")
    return array._raw


def _made(result: Any) -> Any:
    """A new device array, made by one launch."""
    strict_cupy.counts["launches"] += 1
    return strict_cupy._wrap(np.asarray(result))


class _Matrix:
    """A matrix on the imagined device, of whatever format SciPy's `host` has."""

    def __init__(self, host: Any, arrays: Any = None) -> None:
        self._host = host
        self.shape, self.format = host.shape, host.format
        made = arrays or tuple(map(_made, (host.data, host.indices, host.indptr)))
        self.data, self.indices, self.indptr = made

    def _now(self) -> Any:
        """SciPy's matrix of the device's present numbers."""
        return type(self._host)((_raw(self.data), _raw(self.indices), _raw(self.indptr)), shape=self.shape)

    @property
    def T(self) -> _Matrix:
        return _Matrix(self._now().T, (self.data, self.indices, self.indptr))

    def __matmul__(self, dense: Any) -> Any:
        return _made(self._now() @ _raw(dense))

    def __getitem__(self, rows: Any) -> csr_matrix:
        strict_cupy.counts["waits"] += 1
        return csr_matrix.of(self._now()[_raw(rows) if isinstance(rows, strict_cupy.ndarray) else rows])

    def tocsc(self) -> csc_matrix:
        host = self._now().tocsc()
        return csc_matrix(tuple(map(_made, (host.data, host.indices, host.indptr))), host.shape)

    def toarray(self) -> Any:
        return _made(self._now().toarray())


class csr_matrix(_Matrix):
    """A CSR matrix of three device arrays, which it does not copy."""

    def __init__(self, arrays: Any, shape: tuple[int, int]) -> None:
        super().__init__(scipy.sparse.csr_matrix(tuple(map(_raw, arrays)), shape=shape), tuple(arrays))

    @classmethod
    def of(cls, host: Any) -> csr_matrix:
        return cls(tuple(map(_made, (host.data, host.indices, host.indptr))), host.shape)

    def copy(self) -> csr_matrix:
        return csr_matrix(tuple(a.copy() for a in (self.data, self.indices, self.indptr)), self.shape)


class csc_matrix(_Matrix):
    """The same by columns."""

    def __init__(self, arrays: Any, shape: tuple[int, int]) -> None:
        super().__init__(scipy.sparse.csc_matrix(tuple(map(_raw, arrays)), shape=shape), tuple(arrays))
