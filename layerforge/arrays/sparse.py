"""CSR: a matrix of which only some numbers are stored, row by row. All others are 0.

    0 5 0      data     5 7 8      the stored numbers, row after row
    0 0 0      indices  1 0 2      the column of each
    7 0 8      indptr   0 1 1 3    row n has the numbers indptr[n] to indptr[n + 1] of the two above

Layers see this class and no library of sparse matrices; SciPy's, or CuPy's on a device, makes the products.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np

from ..schema.errors import ConfigError
from .functional import MANY, TERMS
from .sparse_products import ByColumns, at_once

CHUNK = 2**20  # numbers at a time where two dense matrices meet at the stored places only
Array: TypeAlias = Any


class CSR:
    """A matrix (N, D) in compressed sparse rows, read-only by convention.

    matrix   the same as a csr_array of SciPy's, or as a csr_matrix of cupyx.scipy.sparse
    xp       the namespace of its arrays

    In each row the columns go up, and none is stored twice. A stored number may be 0; it belongs to the pattern then.
    It remembers its numbers in another order: who has changed them goes on with a `fresh` one.
    """

    ndim = 2
    __array_ufunc__ = None  # NumPy leaves `array @ csr` and all other operators to this class

    def __init__(self, xp: Any, matrix: Any, memory: dict[str, Array] | None = None) -> None:
        """`memory` is what earlier matrices left for what products need, and is overwritten."""
        self.xp = xp
        self.matrix = matrix
        self._memory = memory

    @property
    def data(self) -> Array:
        """The stored numbers (nnz,), live."""
        return self.matrix.data

    @property
    def indices(self) -> Array:
        """The column of each stored number (nnz,)."""
        return self.matrix.indices

    @property
    def indptr(self) -> Array:
        """Where each row begins among the stored numbers (N + 1,)."""
        return self.matrix.indptr

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return tuple(self.matrix.shape)

    @property
    def dtype(self) -> Any:
        """Of the stored numbers."""
        return self.matrix.data.dtype

    @property
    def nnz(self) -> int:
        """How many numbers are stored."""
        return len(self.matrix.data)

    @property
    def parts(self) -> dict[str, Array]:
        """Its arrays as a file holds them: data, indices, indptr and shape, as scipy.sparse.save_npz writes them."""
        return {"data": self.data, "indices": self.indices, "indptr": self.indptr, "shape": np.array(self.shape)}

    @property
    def nbytes(self) -> int:
        """Of its three arrays."""
        return int(self.data.nbytes + self.indices.nbytes + self.indptr.nbytes)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<CSR {self.shape} {self.dtype}, {self.nnz} stored>"

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise ConfigError(
            f"a sparse matrix of shape {self.shape} is no array",
            hint=".matrix is the library's own csr_array, .data its stored numbers, .toarray() all of them",
        )

    def toarray(self) -> Array:
        """All N D numbers as a dense array."""
        return self.matrix.toarray()

    def with_data(self, data: Array) -> CSR:
        """Other numbers at the same places."""
        return CSR(self.xp, type(self.matrix)((data, self.indices, self.indptr), shape=self.shape))

    def fresh(self) -> CSR:
        """The same memory, and nothing remembered."""
        return CSR(self.xp, self.matrix)

    def copy(self, memory: dict[str, Array] | None = None) -> CSR:
        """The same in memory of its own: new, or what earlier copies left in `memory`, where that is large enough."""
        memory, parts = {} if memory is None else memory, []
        for name, part in (("data", self.data), ("indices", self.indices), ("indptr", self.indptr)):
            own = memory.get(name)
            if own is None or len(own) < len(part) or own.dtype != part.dtype:
                own = memory[name] = self.xp.empty(len(part), dtype=part.dtype)
            own[: len(part)] = part
            parts.append(own[: len(part)])
        return CSR(self.xp, type(self.matrix)(tuple(parts), shape=self.shape), memory)

    def astype(self, dtype: Any) -> CSR:
        """The same with numbers of another type; itself where they are of that type."""
        return self if self.dtype == np.dtype(dtype) else self.with_data(self.data.astype(dtype))

    def __getitem__(self, rows: Any) -> CSR:
        """Some rows, by a slice or an array of their numbers."""
        return CSR(self.xp, self.matrix[rows])

    # Products -----------------------------------------------------------------------------------------------------

    @cached_property
    def _blocks(self) -> ByColumns:
        return ByColumns.of(self.xp, self.matrix, {} if self._memory is None else self._memory)

    @cached_property
    def _counts(self) -> Array:
        """How many numbers are stored in each column (D,)."""
        return self._blocks.counts()

    @cached_property
    def columns(self) -> Array:
        """The columns in which a number is stored, going up (C,)."""
        return self.xp.flatnonzero(self._counts)

    @cached_property
    def _compact(self) -> ByColumns:
        """The blocks (rows, C) of the columns that `columns` names alone."""
        return self._blocks.only(self.columns)

    @cached_property
    def _rows(self) -> Array:
        """The row of each stored number (nnz,)."""
        xp = self.xp
        return xp.searchsorted(self.indptr, xp.arange(self.nnz, dtype=self.indptr.dtype), side="right") - 1

    def __matmul__(self, dense: Array) -> Array:
        """A b (N, M) of A (N, D) and a dense b (D, M), of which only the rows are read that A has numbers for."""
        if not self.nnz or not dense.shape[1]:
            return self.xp.zeros((self.shape[0], dense.shape[1]), dtype=dense.dtype)
        if dense.flags.c_contiguous:
            return self._blocks.product(dense)
        # Of the transpose of a matrix columns are gathered faster than rows of what it looks like.
        rows = dense.T.take(self.columns, axis=1).T if dense.strides[0] < dense.strides[1] else dense[self.columns]
        return self._compact.product(self.xp.ascontiguousarray(rows))

    def __rmatmul__(self, dense: Array) -> Array:
        """a B (M, D) of a dense a (M, N) and B (N, D)."""
        product = self.xp.zeros((dense.shape[0], self.shape[1]), dtype=dense.dtype)
        self.add_transposed_product(product.T, dense.T)
        return product

    def add_transposed_product(self, total: Array, dense: Array, *, overwrite: bool = False) -> None:
        """Add Aᵀ b to `total` (D, M), for A (N, D) and a dense b (N, M).

        Its rows are not touched in whose columns of A no number is stored. As in `product_over_rows`, sums of many
        numbers are added up in float64 from those of their parts.

        overwrite  what `total` holds is forgotten: the same as adding to zeros, to the bit, in fewer passes over it
        """
        if not self.nnz or not dense.shape[1]:
            if overwrite:
                total[...] = 0
            return
        everywhere = overwrite or len(self.columns) == self.shape[1]
        blocks = self._blocks if everywhere else self._compact
        exact = self._exact_sums(dense, None if everywhere else self.columns)
        dense = self.xp.ascontiguousarray(dense)

        def add(part: slice) -> None:
            into = total[part] if overwrite else None
            sums = blocks.transposed(dense, part, into)
            for place, row in exact:
                if part.start <= place < part.stop:
                    sums[place - part.start] = row
            if overwrite:
                if sums is not into:
                    total[part] = sums
            elif everywhere:
                total[part] += sums
            else:
                total[self.columns[part]] += sums

        width = dense.shape[1]
        at_once([partial(add, part) for part in blocks.ranges(width)], self.nnz * width)

    def _exact_sums(self, dense: Array, columns: Array | None) -> list[tuple[int, Array]]:
        """The rows of Aᵀ b that are sums of many numbers, each with its place among these columns, or among all."""
        if len(self) <= MANY or int(self._counts.max()) <= MANY:
            return []
        full = self.xp.flatnonzero(self._counts > MANY)
        sums = self.xp.zeros((len(full), dense.shape[1]), dtype="float64")
        numbers = self.matrix[:, full]
        for part in (slice(start, start + TERMS) for start in range(0, len(self), TERMS)):
            sums += numbers[part].T @ dense[part]
        places = full if columns is None else self.xp.searchsorted(columns, full)
        return list(zip(places.tolist(), sums.astype(dense.dtype), strict=True))

    def at_stored_places(self, a: Array, b: Array) -> CSR:
        """The numbers of a b at the stored places of this matrix, for dense a (N, K) and b (K, D); no others are made.

        Number (n, d) is Σₖ aₙₖ bₖ_d: a row of a times a column of b.
        """
        values = self.xp.zeros(self.nnz, dtype=a.dtype)
        step = max(1, CHUNK // max(1, a.shape[1]))
        for part in (slice(start, start + step) for start in range(0, self.nnz, step)):
            values[part] = (a[self._rows[part]] * b.T[self.indices[part]]).sum(axis=1, dtype="float64")
        return self.with_data(values)


def is_sparse(array: Any) -> bool:
    """Whether it is a CSR, or a sparse matrix of a library, of whatever format."""
    return isinstance(array, CSR) or (hasattr(array, "nnz") and hasattr(array, "format") and hasattr(array, "toarray"))


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of an array, a sparse matrix, a list or a number."""
    return tuple(value.shape) if hasattr(value, "shape") else np.shape(value)


def stored(array: Array) -> Array:
    """The array that holds the numbers: of a CSR those that are stored, of any other array itself."""
    return array.data if isinstance(array, CSR) else array


def places(array: Array) -> Array:
    """Row and column of each stored number of a CSR (nnz, 2); None of any other array."""
    return array.xp.stack([array._rows, array.indices], axis=1) if isinstance(array, CSR) else None


def checked(what: str, value: Any, columns: int, xp: Any) -> Any:
    """A library's sparse matrix, in csr_array form and order, after everything that its user may have wrong in it.

    Columns that are out of order are sorted and numbers stored twice at a place are added up, in a copy.

    Errors   ConfigError for anything but a CSR matrix of numbers with so many columns whose arrays fit together
    """
    if not is_sparse(value):
        found = f"an array of {np.asarray(value).dtype}" if hasattr(value, "dtype") else f"a {type(value).__name__}"
        raise ConfigError(
            f"{what} is sparse and takes a csr_array or csr_matrix, got {found}", hint="scipy.sparse.csr_array(x)"
        )
    if value.format != "csr":
        raise ConfigError(f"{what} takes a matrix in CSR form, got one in {value.format.upper()}", hint=".tocsr()")
    if len(value.shape) != 2 or value.shape[1] != columns:
        raise ConfigError(f"{what} has the shape {tuple(value.shape)}, expected (N, {columns})")
    if value.data.dtype.kind not in "iubf":
        raise ConfigError(f"{what} takes numbers, got a matrix of {value.data.dtype}")
    if not isinstance(value.data, xp.ndarray):
        raise ConfigError(f"{what} is on another device than the net", hint="give SciPy's on NumPy, cupyx's on CuPy")
    problem = flaw(value.data, value.indices, value.indptr, value.shape)
    if problem:
        raise ConfigError(f"{what} is no valid CSR matrix: {problem}", hint="build it with scipy.sparse, not by hand")
    if not in_order(xp, value.indices, value.indptr):
        value = value.copy()
        value.sum_duplicates()
    return value


def flaw(data: Array, indices: Array, indptr: Array, shape: tuple[int, ...]) -> str:
    """Why three arrays are no CSR matrix of a shape; "" where they are one."""
    if data.ndim != 1 or indices.ndim != 1 or indptr.ndim != 1:
        return "data, indices and indptr need one axis each"
    if indices.dtype.kind not in "iu" or indptr.dtype.kind not in "iu":
        return "indices and indptr must be integers"
    if len(indptr) != shape[0] + 1:
        return f"indptr has {len(indptr)} numbers for {shape[0]} rows, expected {shape[0] + 1}"
    if int(indptr[0]) != 0 or bool((indptr[1:] < indptr[:-1]).any()):
        return "indptr must begin with 0 and never go down"
    if not int(indptr[-1]) == len(indices) == len(data):
        return f"indptr ends with {int(indptr[-1])}, there are {len(indices)} indices and {len(data)} numbers"
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < shape[1]:
        return f"its columns go from {int(indices.min())} to {int(indices.max())}, allowed are 0 to {shape[1] - 1}"
    return ""


def in_order(xp: Any, indices: Array, indptr: Array) -> bool:
    """Whether in each row the columns go up, and none occurs twice."""
    if len(indices) < 2:
        return True
    falls = indices[1:] <= indices[:-1]  # where number i + 1 does not stand behind number i ...
    inner = indptr[(indptr > 0) & (indptr < len(indices))]
    falls[inner - 1] = False  # ... unless a row begins with it
    return not bool(falls.any())
