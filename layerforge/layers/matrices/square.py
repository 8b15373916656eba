"""What functions of matrices share: how they are checked, inverted, decomposed and drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.functional import expect_role
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError


def near_identity(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Matrices whose diagonal outweighs the rest: far from singular, with a positive determinant."""
    return 2.0 * np.eye(shape[-1]) + rng.uniform(-0.5, 0.5, shape)


def matrices(*shape: int) -> Spec:
    """The Spec of an example's matrices."""
    return Spec(shape, draw=near_identity)


def check_square(name: str, spec: Spec) -> None:
    """LayerError unless a bottom is real matrices (..., K, K)."""
    expect_role(name, spec, "real")
    if spec.ndim < 2 or spec.shape[-1] != spec.shape[-2]:
        raise LayerError(f"{name} has shape {spec.shape}, expected square matrices (..., K, K)")


def transposed(x: Any) -> Any:
    """Matrices with rows and columns exchanged: a view."""
    return x.swapaxes(-1, -2)


def inverse(xp: Any, x: Any) -> Any:
    """x⁻¹ for each matrix; LayerError when one is singular (CuPy returns NaN instead)."""
    try:
        return xp.linalg.inv(x)
    except np.linalg.LinAlgError:
        raise singular() from None


def decomposed(xp: Any, x: Any) -> tuple[Any, Any, Any]:
    """u, s and vᵀ of x = u diag(s) vᵀ for matrices, square or not, as many columns of u and v as there are s.

    Errors   LayerError when a matrix holds NaN or infinity
    """
    try:
        u, s, vt = xp.linalg.svd(x, full_matrices=False)
    except np.linalg.LinAlgError:
        raise not_finite() from None
    return u, found(xp, s), vt


def singular_values(xp: Any, x: Any) -> Any:
    """The s of `decomposed` alone, at less cost."""
    try:
        return found(xp, xp.linalg.svd(x, compute_uv=False))
    except np.linalg.LinAlgError:
        raise not_finite() from None


def found(xp: Any, s: Any) -> Any:
    """Singular values, unless they are NaN: not every library says of every matrix that it has none."""
    if bool(xp.isnan(s).any()):
        raise not_finite()
    return s


def not_finite() -> LayerError:
    """The error for a matrix without singular values."""
    return LayerError("a matrix holds NaN or infinity: it has no singular values", hint="look at the layer below")


def singular() -> LayerError:
    """The error for a matrix without an inverse."""
    return LayerError("a matrix is singular", hint="adding a small multiple of the identity keeps matrices regular")


SQUARE_BAD = [
    Bad({}, "has shape (2, 3), expected square matrices", [Spec((2, 3))]),
    Bad({}, "has shape (3,), expected square matrices", [Spec((3,))]),
    Bad({}, "must be real numbers", [Spec((2, 2), role="index")]),
    Bad({"n": 3}, "unknown key 'n'"),
]

SQUARE = [
    Example({}, [matrices(2, 3, 3)]),
    Example({}, [matrices(2, 1, 2, 2)], "any number of leading axes"),
    Example({}, [matrices(3, 1, 1)], "numbers as matrices"),
    Example({}, [matrices(1, 5, 5)]),
    Example({}, [matrices(0, 2, 2)], "no samples"),
]


class OfSquares(Layer):
    """Base of layers that compute something of each matrix of square ones, (..., K, K)."""

    bad_examples = SQUARE_BAD

    def setup(self, x: Spec) -> Spec:
        check_square("the bottom", x)
        return x

    def per_sample_for(self, x: Spec) -> bool:
        return x.ndim > 2
