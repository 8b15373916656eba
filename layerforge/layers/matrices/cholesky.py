"""Cholesky: symmetric positive definite matrices as a triangular one times its transpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays.awaited import refuse_where
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from .solve import solve
from .square import SQUARE_BAD, OfSquares, transposed, where_finite, wrong_matrix


def positive_definite(rng: Any, shape: tuple[int, ...]) -> Any:
    """Symmetric matrices whose eigenvalues are at least 0.5."""
    x = rng.normal(size=shape)
    return x @ transposed(x) / max(shape[-1], 1) + 0.5 * np.eye(shape[-1])


def lopsided(rng: Any, shape: tuple[int, ...]) -> Any:
    """Such matrices and something that its transpose takes away again."""
    x = rng.normal(size=shape)
    return positive_definite(rng, shape) + x - transposed(x)


def symmetric(x: Any) -> Any:
    """(x + xᵀ) / 2."""
    return (x + transposed(x)) / 2


def has_no_factor(x: np.ndarray) -> bool:
    """Whether a matrix on the host is not positive definite."""
    try:
        np.linalg.cholesky(x)
    except np.linalg.LinAlgError:
        return True
    return False


def not_definite(bad: Any) -> LayerError:
    """The error for matrices of which some have no factor."""
    return wrong_matrix("is not positive definite", bad, "adding a small multiple of the identity may make it so")


@register
class Cholesky(OfSquares):
    """Cholesky: symmetric positive definite matrices as a triangular one times its transpose

        y yᵀ = x,   y lower triangular with a positive diagonal;   where upper is true yᵀ y = x, y upper triangular

    It is to a covariance matrix what a standard deviation is to a variance: y times a vector of standard normal values
    has the covariance x. Of an x that is not symmetric (x + xᵀ) / 2 is taken: NumPy and torch read one triangle without
    looking at the other one.

    Shapes    x (..., K, K) real, y the same
    Backward  All products but ⊙ are matrix products; y is the lower factor, of which the upper one is the transpose.
              From x = y yᵀ: ẋ = ẏ yᵀ + y ẏᵀ, and so
                  y⁻¹ ẋ y⁻ᵀ = y⁻¹ ẏ + (y⁻¹ ẏ)ᵀ
              y⁻¹ ẏ is lower triangular: it is the lower triangle of the left side, with half of the diagonal, where it
              meets its own transpose. Let half be the matrix with 1 below the diagonal, 1/2 on it and 0 above it:
                  ẏ = y (half ⊙ (y⁻¹ ẋ y⁻ᵀ))
              The upstream gradient meets it in Σ dy ẏ = Σ (half ⊙ (yᵀ dy)) ⊙ (y⁻¹ ẋ y⁻ᵀ), element by element, and what
              stands beside ẋ there is g; ẋ stands for its symmetric part, so it gets that of g:
                  dx = (g + gᵀ) / 2      g = y⁻ᵀ (half ⊙ (yᵀ dy)) y⁻¹
              What lies in the other triangle of dy reaches nothing; where upper is true, dy is transposed first.
    Keeps     y
    Cost      K³/3 flops per matrix forward, about 7K³ backward
    Errors    LayerError when x is not square matrices, or one is not positive definite
    Source    Murray 2016, "Differentiation of the Cholesky decomposition"; compare torch.linalg.cholesky
    """

    backward_reads = ("top",)

    upper: bool = param(False, help="the upper factor instead of the lower one")

    examples = [
        Example({}, [Spec((2, 3, 3), draw=positive_definite)]),
        Example({"upper": True}, [Spec((2, 3, 3), draw=positive_definite)]),
        Example({}, [Spec((2, 1, 2, 2), draw=positive_definite)], "any number of leading axes"),
        Example({}, [Spec((3, 1, 1), draw=positive_definite)], "square roots"),
        Example({"upper": True}, [Spec((1, 5, 5), draw=positive_definite)]),
        Example({}, [Spec((2, 3, 3), draw=lopsided)], "not symmetric"),
        Example({"upper": True}, [Spec((2, 3, 3), draw=lopsided)], "not symmetric"),
        Example({}, [Spec((0, 2, 2), draw=positive_definite)], "no samples"),
    ]
    bad_examples = [*SQUARE_BAD, Bad({"upper": "yes"}, "upper must be true or false")]

    def forward(self, x: Any) -> Any:
        lower = self.factor(symmetric(x))
        y = transposed(lower) if self.upper else lower
        self.save(y=y)
        return y

    def factor(self, x: Any) -> Any:
        """The lower factors of symmetric matrices; LayerError when one is not positive definite."""
        xp = self.xp
        try:
            lower = np.linalg.cholesky(x) if xp is np else where_finite(xp, xp.linalg.cholesky, x)
        except np.linalg.LinAlgError:
            refused = np.array([has_no_factor(matrix) for matrix in x.reshape(-1, *x.shape[-2:])])
            raise not_definite(refused.reshape(x.shape[:-2])) from None
        good = lower.diagonal(axis1=-2, axis2=-1) > 0  # CuPy stops at such a matrix without a word
        if xp is not np:
            good |= ~xp.isfinite(x).all(axis=(-2, -1))[..., None]  # of the others the solver tells
        refuse_where(~good.all(), lambda: not_definite(~good.all(axis=-1)))
        return lower

    def lower(self) -> Any:
        """The lower factors."""
        return transposed(self.saved.y) if self.upper else self.saved.y

    def half(self, x: Any) -> Any:
        """half ⊙ x: the lower triangle with half of the diagonal."""
        xp, n = self.xp, x.shape[-1]
        return x * (xp.tri(n, dtype=x.dtype) - 0.5 * xp.eye(n, dtype=x.dtype))

    def backward(self, dy: Any) -> Any:
        lower, dlower = self.lower(), transposed(dy) if self.upper else dy
        inner = self.half(transposed(lower) @ dlower)
        left = solve(self.xp, transposed(lower), inner)
        return symmetric(solve(self.xp, transposed(lower), transposed(left)))  # of gᵀ, which is all the same

    def jvp(self, dx: Any) -> Any:
        if dx is None:
            return None
        lower = self.lower()
        left = solve(self.xp, lower, symmetric(dx))
        dlower = lower @ self.half(solve(self.xp, lower, transposed(left)))
        return transposed(dlower) if self.upper else dlower

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return bottoms[0].size * bottoms[0].shape[-1] // 3
