"""Products of a matrix in compressed sparse rows with dense ones: where a sparse layer spends its time.

Row by row a product would fetch a row of the dense factor from memory for every stored number. So blocks of rows are
stored once more, column after column (CSC): going down a column, a product meets the same row of one dense factor again
and again, and the few rows of the other that belong to the block. Both stay in the cache.

SciPy makes the products, or CuPy on a device. SciPy's operators return new arrays; the loops below them add to memory
that is there. These are no part of SciPy's public interface, so they are tried on a small matrix before they are used:
where they are not what they were, the operators do the work. Both let other threads run meanwhile. Every sum is made by
one thread, from the first row or column to the last: results do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, TypeAlias

import numpy as np

from . import threads

BLOCK = 2**10  # rows that are multiplied together: with 64 numbers for each they are a quarter of a megabyte
CACHED = 2**19  # numbers of a product that are made together: of 64 features those of 8192 columns, two megabytes
WORTH = 2**22  # multiplications for which threads are started
TURNING = 16  # multiplications that take as long as bringing one number to its column
Array: TypeAlias = Any


@cache
def loops() -> Any:
    """SciPy's module with the loops over the stored numbers; None where they do not do what they are used for here."""
    # A = [[0, 2, 0], [3, 0, 5]] is to be turned; A [[0, 1], [2, 3], [4, 5]] and Aᵀ [[0, 1], [2, 3]] are to be added.
    begins, columns, data = np.array([0, 1, 3], "int32"), np.array([1, 0, 2], "int32"), np.array([2.0, 3, 5], "f4")
    turned = np.zeros(4, "int32"), np.zeros(3, "int32"), np.zeros(3, "f4")
    by_rows, by_columns = np.array([1.0, 0, 0, 1], "f4"), np.array([1.0, 0, 0, 0, 0, 1], "f4")
    try:
        from scipy.sparse import _sparsetools as found

        found.csr_tocsc(2, 3, begins, columns, data, *turned)
        found.csc_matvecs(2, 3, 2, *turned, np.arange(6, dtype="f4"), by_rows)
        found.csr_matvecs(3, 2, 2, *turned, np.arange(4, dtype="f4"), by_columns)
    except (ImportError, AttributeError, TypeError, ValueError, RuntimeError):
        return None
    wanted = [[0, 1, 2, 3], [1, 0, 1], [3, 2, 5], [5, 6, 20, 29], [7, 9, 0, 2, 10, 16]]
    return found if [part.tolist() for part in (*turned, by_rows, by_columns)] == wanted else None


@dataclass(frozen=True)
class Block:
    """Neighbouring rows of a matrix (N, D), stored column after column.

    rows     which
    shape    (n, D), or of fewer columns
    begins   where each column begins among the numbers (D + 1,)
    places   the row of each number, counted from the first of the block
    data     the numbers
    library  the type of a csc_array of these
    """

    rows: slice
    shape: tuple[int, int]
    begins: Array
    places: Array
    data: Array
    library: Any

    @property
    def matrix(self) -> Any:
        """The same as the library's own matrix."""
        return self.library((self.data, self.places, self.begins), shape=self.shape)

    def only(self, xp: Any, columns: Array) -> Block:
        """The same without the columns that are not named: those in which no number is stored."""
        # A column without numbers begins where the next one does, so leaving it out moves no other.
        begins = xp.concatenate([self.begins[columns], self.begins[-1:]])
        return replace(self, shape=(self.shape[0], len(columns)), begins=begins)


class ByColumns:
    """A matrix (N, D) as blocks of rows, each stored column after column.

    nnz      how many numbers are stored
    looping  SciPy's loops, or None: operators make the products
    """

    def __init__(self, xp: Any, shape: tuple[int, int], nnz: int, blocks: list[Block]) -> None:
        self.xp = xp
        self.shape = shape
        self.nnz = nnz
        self.blocks = blocks
        self.looping = loops() if xp is np else None

    @classmethod
    def of(cls, xp: Any, matrix: Any, memory: dict[str, Array]) -> ByColumns:
        """That of a csr_array. `memory` holds what earlier matrices left for their numbers, and is overwritten."""
        (count, width), nnz = matrix.shape, len(matrix.data)
        step = max(1, count)
        if xp is np:  # on a device a product is one launch, not a trip through a cache
            step = min(BLOCK, -(-step // threads_for(TURNING * nnz)))
        rows = [slice(start, min(start + step, count)) for start in range(0, count, step)]
        if xp is np and loops() is not None:
            kind = matrix.indices.dtype
            data, places = _at_least(memory, "turned", nnz, matrix.data.dtype), _at_least(memory, "places", nnz, kind)
            heads = _at_least(memory, "begins", len(rows) * (width + 1), kind).reshape(len(rows), width + 1)
            pairs = zip(rows, heads, strict=True)
            tasks = [partial(_turned_into, matrix, part, head, places, data) for part, head in pairs]
        else:
            tasks = [partial(_turned, matrix, part) for part in rows]
        return cls(xp, (count, width), nnz, at_once(tasks, TURNING * nnz))

    def counts(self) -> Array:
        """How many numbers are stored in each column (D,)."""
        counts = self.xp.zeros(self.shape[1], dtype="int64")
        for block in self.blocks:
            counts += block.begins[1:] - block.begins[:-1]
        return counts

    def only(self, columns: Array) -> ByColumns:
        """The same without the columns that are not named: those in which no number is stored."""
        blocks = [block.only(self.xp, columns) for block in self.blocks]
        return ByColumns(self.xp, (self.shape[0], len(columns)), self.nnz, blocks)

    def product(self, dense: Array) -> Array:
        """A b (N, M) for a dense b (D, M)."""
        width, looping = dense.shape[1], self._loops_over(dense)
        y = self.xp.zeros((self.shape[0], width), dtype=dense.dtype)

        def add(block: Block) -> None:
            if looping is not None:
                parts = (block.begins, block.places, block.data)
                looping.csc_matvecs(*block.shape, width, *parts, dense.reshape(-1), y[block.rows].reshape(-1))
            else:
                y[block.rows] = block.matrix @ dense

        at_once([partial(add, block) for block in self.blocks], self.nnz * width)
        return y

    def transposed(self, dense: Array, columns: slice, into: Array | None = None) -> Array:
        """The rows `columns` of Aᵀ b, for a dense b (N, M) in one piece: in the memory given, if they can be."""
        width, looping = dense.shape[1], self._loops_over(dense)
        if into is not None and into.dtype == dense.dtype and into.flags.c_contiguous:
            sums = into
            sums[...] = 0
        else:
            sums = self.xp.zeros((columns.stop - columns.start, width), dtype=dense.dtype)
        for block in self.blocks:
            part = dense[block.rows]
            if looping is not None:
                parts = (block.begins[columns.start : columns.stop + 1], block.places, block.data)
                looping.csr_matvecs(*sums.shape[:1], len(part), width, *parts, part.reshape(-1), sums.reshape(-1))
            else:
                sums += (block.matrix.T @ part)[columns]
        return sums

    def ranges(self, width: int) -> list[slice]:
        """Of the columns: their rows of a product (D, M) are made together. Without loops there is but one."""
        columns = self.shape[1]
        if self.looping is None:
            return [slice(0, columns)]
        step = max(1, min(CACHED // max(1, width), -(-columns // threads_for(self.nnz * width))))
        return [slice(start, min(start + step, columns)) for start in range(0, columns, step)]

    def _loops_over(self, dense: Array) -> Any:
        """The loops, where they take a dense factor: one of the same type and in one piece."""
        return self.looping if self.blocks[0].data.dtype == dense.dtype and dense.flags.c_contiguous else None


def _turned(matrix: Any, rows: slice) -> Block:
    """Some rows of a csr_array."""
    begin, end = int(matrix.indptr[rows.start]), int(matrix.indptr[rows.stop])
    parts = (matrix.data[begin:end], matrix.indices[begin:end], matrix.indptr[rows.start : rows.stop + 1] - begin)
    found = type(matrix)(parts, shape=(rows.stop - rows.start, matrix.shape[1])).tocsc()
    return Block(rows, found.shape, found.indptr, found.indices, found.data, type(found))


def _turned_into(matrix: Any, rows: slice, head: Array, places: Array, data: Array) -> Block:
    """The same in the memory given: `head` for where the columns begin, their part of `places` and `data`."""
    from scipy.sparse import csc_array

    own = slice(int(matrix.indptr[rows.start]), int(matrix.indptr[rows.stop]))
    shape = (rows.stop - rows.start, matrix.shape[1])
    begins = matrix.indptr[rows.start : rows.stop + 1] - matrix.indptr[rows.start]
    loops().csr_tocsc(*shape, begins, matrix.indices[own], matrix.data[own], head, places[own], data[own])
    return Block(rows, shape, head, places[own], data[own], csc_array)


def _at_least(memory: dict[str, Array], name: str, size: int, dtype: Any) -> Array:
    """An array of so many numbers: what is in `memory` under this name, if it is large enough, or new."""
    own = memory.get(name)
    if own is None or len(own) < size or own.dtype != dtype:
        own = memory[name] = np.empty(size, dtype=dtype)
    return own[:size]


def threads_for(multiplications: int) -> int:
    """How many threads so much work is for."""
    return threads.here() if multiplications >= WORTH else 1


def at_once(tasks: Sequence[Callable[[], Any]], multiplications: int) -> list[Any]:
    """What the tasks return, each done by one of the threads that compute."""
    count = min(len(tasks), threads_for(multiplications))
    if count <= 1:
        return [task() for task in tasks]
    from concurrent.futures import ThreadPoolExecutor  # not at every start: it is slow to import

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda task: task(), tasks))
