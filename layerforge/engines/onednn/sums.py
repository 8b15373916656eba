"""Sums over many rows, and the statistics made of them: by NumPy, without the errors of oneDNN's running sums.

A running sum in float32 loses digits with every element that is added. Here no float32 sum has more than CHAIN terms;
those sums are added up in float64. For speed, rows of few elements are read side by side, as one row of about WIDE.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...arrays.functional import product_over_rows

WIDE = 2048  # float32 values that stay in the first cache beside what is added to them
CHAIN = 32  # terms of a float32 sum: at most 2e-6 of it are lost, most often 1e-7
ROW = 4 * CHAIN  # float32 values that are added up four side by side
CHAINS = 16  # sums of so many rows made by one call: fewer calls cost less than what the second cache saves
PART = 2**16  # values that stay in the second cache
FAR = 4.0  # a mean of more than two spreads: what is left of Σ x² without N mean² has lost digits


def sum_of_squares(flat: Any) -> float:
    """Σ x² of a vector, in float64. A processor adds up several elements of a row side by side: no sum is long."""
    whole = len(flat) - len(flat) % ROW
    rows, rest = flat[:whole].reshape(-1, ROW), flat[whole:]
    of_rows = np.einsum("ij,ij->i", rows, rows)
    return float(np.add.reduce(of_rows, dtype=np.float64)) + float(np.dot(rest, rest))


def positions(image: Any) -> Any:
    """An image with channels last as a matrix: a row for each position, a column for each channel."""
    last = np.moveaxis(image, 1, -1)
    return last.reshape(-1, last.shape[-1])


def column_sums(*products: tuple[Any, ...]) -> list[Any]:
    """For each of some products of matrices (N, C), element by element, the sums of its columns: C values in float64.

    A product is a tuple of one or two matrices; all are read together, a part of the rows at a time.
    """
    rows, columns = products[0][0].shape
    side = max(1, min(WIDE // columns, rows // CHAIN))
    whole = rows - rows % side
    wide = [tuple(m[:whole].reshape(-1, side * columns) for m in product) for product in products]
    totals = [total.reshape(side, columns).sum(axis=0) for total in _sums_of_chains(wide)]
    if whole < rows:
        rest = [tuple(m[whole:] for m in product) for product in products]
        totals = [total + more for total, more in zip(totals, _sums_of_chains(rest), strict=True)]
    return totals


def _sums_of_chains(products: list[tuple[Any, ...]]) -> list[Any]:
    """As `column_sums`, for matrices whose rows are long."""
    totals = [np.zeros(product[0].shape[1]) for product in products]
    rows = len(products[0][0])
    whole = rows - rows % CHAIN
    for start in range(0, whole, CHAINS * CHAIN):
        part = slice(start, min(start + CHAINS * CHAIN, whole))
        for total, product in zip(totals, products, strict=True):
            total += np.add.reduce(_chains([m[part] for m in product], CHAIN), axis=0, dtype=np.float64)
    if whole < rows:
        for total, product in zip(totals, products, strict=True):
            total += _chains([m[whole:] for m in product], rows - whole)[0]
    return totals


def _chains(product: list[Any], length: int) -> Any:
    """The sums, in float32, of each `length` rows of a product of matrices."""
    first, *second = (m.reshape(-1, length, m.shape[1]) for m in product)
    return np.einsum("cij,cij->cj", first, *second) if second else np.add.reduce(first, axis=1)


def set_sums(rows: Any, total: Any) -> None:
    """total = Σₙ rowsₙ"""
    total[...] = column_sums((rows,))[0]


def add_sums(rows: Any, total: Any) -> None:
    """total += Σₙ rowsₙ"""
    np.add(total, column_sums((rows,))[0], out=total, casting="same_kind")


def products_with_standardized(x: Any, mean: Any, inv_std: Any, dy: Any) -> tuple[Any, Any]:
    """Σₙ dyₙ x̂ₙ and Σₙ dyₙ of matrices (N, C), in float64, with x̂ = (x - mean) inv_std for each column or each row."""
    by_row, total = mean.ndim == 2, np.zeros((2, x.shape[1]))
    for part in parts(x):
        of_part = part if by_row else ...
        xhat = x[part] - mean[of_part]
        xhat *= inv_std[of_part]
        total += column_sums((dy[part], xhat), (dy[part],))
    return total[0], total[1]


def take_sums_off(
    x: Any, mean: Any, inv_std: Any, dy: Any, scale: Any, mean_of_products: Any, mean_of_dy: Any, dx: Any
) -> None:
    """dx = scale (dy - mean_of_dy - x̂ mean_of_products) with x̂ = (x - mean) inv_std, a vector for the columns each."""
    factor, shift = (a.astype(x.dtype) for a in (-inv_std * mean_of_products, mean_of_dy))
    for part in parts(x):
        out = dx[part]
        np.subtract(x[part], mean, out=out)
        out *= factor
        out += dy[part]
        out -= shift
        out *= scale


def parts(rows: Any) -> Iterator[slice]:
    """The rows of a matrix, as many at a time as stay in the second cache."""
    step = max(CHAIN, PART // rows.shape[1])
    return (slice(start, start + step) for start in range(0, len(rows), step))


def means_of_images(x: Any, y: Any) -> None:
    """y (N, C, 1, 1) = the mean of each channel of each image of x (N, C, H, W) with channels last."""
    images = np.moveaxis(x, 1, -1).reshape(len(x), -1, x.shape[1])
    whole = images.shape[1] - images.shape[1] % CHAIN
    chains = images[:, :whole].reshape(len(x), -1, CHAIN, x.shape[1])
    total = np.add.reduce(np.add.reduce(chains, axis=2), axis=1, dtype=np.float64)
    total += np.add.reduce(images[:, whole:], axis=1)
    np.divide(total, images.shape[1], out=y[:, :, 0, 0], casting="same_kind")


def set_product(a: Any, b: Any, total: Any) -> None:
    """total = aᵀ b"""
    total[...] = product_over_rows(a, b)


def add_product(a: Any, b: Any, total: Any) -> None:
    """total += aᵀ b"""
    total += product_over_rows(a, b)


def statistics(x: Any, apart: Any, mean: Any, var: Any) -> None:
    """Mean and variance of every column of x (N, C); `apart` is memory of that shape.

    mean = Σ x / N,   var = Σ x² / N - mean²

    Where the mean of a column is far from 0 for its spread, the difference costs digits. Then all is done once more
    for x - mean, whose own mean is what the first one was off by.
    """
    centre, square = (total / len(x) for total in column_sums((x,), (x, x)))
    mean[...] = centre
    spread = square - centre * centre
    if (centre * centre > FAR * spread).any():
        np.subtract(x, mean, out=apart)
        off, square = (total / len(x) for total in column_sums((apart,), (apart, apart)))
        np.add(mean, off, out=mean, casting="same_kind")
        spread = square - off * off
    np.maximum(spread, 0, out=var, casting="same_kind")
