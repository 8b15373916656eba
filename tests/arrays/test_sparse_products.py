"""Products of a CSR: by SciPy's loops, by its operators, by any number of threads, what the dense matrix gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse

from layerforge.arrays import sparse_products, threads
from layerforge.arrays.sparse import CSR

RNG = np.random.default_rng


def drawn(rows: int, columns: int, kept: float, dtype: str = "float64", index: str = "int32") -> tuple[CSR, np.ndarray]:
    """A matrix with an empty row and empty columns, and all of its numbers."""
    rng = RNG(rows + columns)
    full = (rng.normal(size=(rows, columns)) * (rng.random((rows, columns)) < kept)).astype(dtype)
    full[rows // 2] = 0
    full[:, : columns // 5] = 0
    found = scipy.sparse.csr_array(full)
    found.indices, found.indptr = found.indices.astype(index), found.indptr.astype(index)
    return CSR(np, found), full


@pytest.fixture(params=["loops", "operators"])
def way(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Small blocks, so that there are several; with SciPy's loops and without."""
    for name, value in (("BLOCK", 4), ("CACHED", 20), ("WORTH", 1)):
        monkeypatch.setattr(sparse_products, name, value)
    if request.param == "operators":
        monkeypatch.setattr(sparse_products, "loops", lambda: None)
    return str(request.param)


def products(x: CSR, seed: int = 0) -> list[np.ndarray]:
    """A b for b in either order of memory, a A, and Aᵀ b added to a matrix in either order."""
    rng, (rows, columns) = RNG(seed), x.shape
    b, a = rng.normal(size=(columns, 3)).astype(x.dtype), rng.normal(size=(rows, 3)).astype(x.dtype)
    start = rng.normal(size=(columns, 3)).astype(x.dtype)
    by_rows, by_columns = start.copy(), np.asfortranarray(start)
    x.add_transposed_product(by_rows, a)
    x.add_transposed_product(by_columns, np.asfortranarray(a))
    return [x @ b, x @ np.asfortranarray(b), a.T @ x, by_rows - start, by_columns - start]


@pytest.mark.parametrize("index", ["int32", "int64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("rows", "columns", "kept"), [(11, 40, 0.3), (1, 7, 1.0), (9, 23, 0.02), (4, 5, 0.0), (30, 2, 0.5)]
)
def test_they_are_those_of_all_the_numbers(
    rows: int, columns: int, kept: float, dtype: str, index: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, full = drawn(rows, columns, kept, dtype, index)
    monkeypatch.setattr(threads.HERE, "count", 3)
    rng = RNG(0)
    b, a = rng.normal(size=(columns, 3)).astype(dtype), rng.normal(size=(rows, 3)).astype(dtype)
    wanted = [full @ b, full @ b, a.T @ full, full.T @ a, full.T @ a]
    for found, right in zip(products(x), wanted, strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, right, rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-5)


def test_no_bit_depends_on_the_number_of_threads(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for count in (1, 2, 5):
        monkeypatch.setattr(threads.HERE, "count", count)
        found.append(products(drawn(37, 60, 0.4, "float32")[0]))
    for one, *others in zip(*found, strict=True):
        for other in others:
            np.testing.assert_array_equal(one, other)


def test_rows_of_columns_without_numbers_are_not_touched(way: str) -> None:
    x, full = drawn(9, 30, 0.1)
    empty = ~full.any(axis=0)
    total = np.where(empty[:, None], np.nan, np.zeros((30, 2)))
    x.add_transposed_product(total, RNG(1).normal(size=(9, 2)))
    assert np.isnan(total[empty]).all()
    assert np.isfinite(total[~empty]).all()
    assert np.isfinite(x @ np.where(empty[:, None], np.nan, np.ones((30, 2)))).all()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("rows", "columns", "kept"), [(11, 40, 0.3), (1, 7, 1.0), (9, 23, 0.02), (4, 5, 0.0), (30, 2, 0.5), (5000, 6, 0.9)]
)
def test_what_is_overwritten_is_what_is_added_to_zeros(
    rows: int, columns: int, kept: float, order: Any, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, whatever was there, in columns without numbers too, and of sums that are done in float64."""
    x, _ = drawn(rows, columns, kept, "float32")
    monkeypatch.setattr(threads.HERE, "count", 3)
    a = RNG(0).normal(size=(rows, 3)).astype("float32")
    added, written = np.zeros((columns, 3), "float32", order), np.full((columns, 3), np.nan, "float32", order)
    x.add_transposed_product(added, a)
    x.add_transposed_product(written, a, overwrite=True)
    np.testing.assert_array_equal(written, added)
    x.add_transposed_product(written[:, :0], a[:, :0], overwrite=True)
    wider = written.astype("float64")
    x.add_transposed_product(wider, a, overwrite=True)
    np.testing.assert_array_equal(wider, added)


def test_memory_of_earlier_matrices_is_used_again_and_grows(way: str) -> None:
    memory: dict[str, Any] = {}
    for rows, columns in ((11, 40), (5, 40), (30, 40), (11, 40)):
        x, full = drawn(rows, columns, 0.3)
        b = RNG(2).normal(size=(columns, 3))
        np.testing.assert_allclose(x.copy(memory) @ b, full @ b, rtol=1e-12, atol=1e-14)


def test_columns_with_many_numbers_are_added_up_exactly(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 10_000  # of 0.1 each, as a running sum in float32 it is off by 1e-4
    monkeypatch.setattr(sparse_products, "BLOCK", 1024)
    full = np.zeros((rows, 6), "float32")
    full[:, 1] = full[:, 4] = 0.1
    full[::7, 2] = 0.1
    x, total = CSR(np, scipy.sparse.csr_array(full)), np.zeros((6, 2), "float32")
    x.add_transposed_product(total, np.full((rows, 2), 0.1, "float32"))
    right = full.astype("float64").T @ np.full((rows, 2), np.float32(0.1), "float64")
    np.testing.assert_allclose(total[[1, 4]], right[[1, 4]], rtol=2e-6)
    np.testing.assert_allclose(total, right, rtol=2e-5)


def test_loops_that_do_something_else_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.sparse import _sparsetools

    assert sparse_products.loops.__wrapped__() is not None
    for change in (lambda *_: None, lambda rows, columns: None):
        monkeypatch.setattr(_sparsetools, "csr_matvecs", change)
        assert sparse_products.loops.__wrapped__() is None
    monkeypatch.delattr(_sparsetools, "csr_matvecs")
    assert sparse_products.loops.__wrapped__() is None
