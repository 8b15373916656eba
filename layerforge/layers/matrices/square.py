"""What functions of matrices share: how they are checked, inverted, decomposed and drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...arrays.awaited import refuse_where
from ...arrays.functional import expect_role
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError

LOOK_BELOW = "look at the layer below"


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


def where_finite(xp: Any, compute: Callable[[Any], Any], x: Any) -> Any:
    """What is computed of matrices, one array or several; NaN for each matrix that holds NaN or infinity.

    Of such a matrix some libraries say that it is singular, or has no factors; others warn, print, return numbers, or
    search for ever (the singular values of one that holds infinity). They do not see it: they get the identity instead.
    """
    finite = xp.isfinite(x).all(axis=(-2, -1))
    if xp is np and bool(finite.all()):  # what a device could not tell without being waited for
        return compute(x)
    found = compute(xp.where(finite[..., None, None], x, xp.eye(*x.shape[-2:], dtype=x.dtype)))
    if not isinstance(found, tuple):
        return _or_nan(xp, finite, found)
    return tuple(_or_nan(xp, finite, array) for array in found)


def _or_nan(xp: Any, finite: Any, array: Any) -> Any:
    """An array of something of each matrix, with NaN where the matrix is not finite."""
    axes = (1,) * (array.ndim - finite.ndim)
    return xp.where(finite.reshape(*finite.shape, *axes), array, xp.full((), float("nan"), dtype=array.dtype))


def inverse(xp: Any, x: Any) -> Any:
    """x⁻¹ for each matrix; LayerError when one is singular."""
    refuse_singular(xp, x)
    try:
        return where_finite(xp, xp.linalg.inv, x)
    except np.linalg.LinAlgError:
        raise singular(is_singular(xp, x)) from None


def refuse_singular(xp: Any, x: Any) -> None:
    """LayerError for a singular matrix on a device, whose library makes something or other of it without a word."""
    if xp is not np:
        bad = is_singular(xp, x)
        refuse_where(bad.any(), lambda: singular(bad))


def is_singular(xp: Any, x: Any) -> Any:
    """Whether each matrix has a pivot of 0, by which NumPy refuses it; those that are not finite have none."""
    return where_finite(xp, lambda x: xp.linalg.slogdet(x)[0], x) == 0


def decomposed(xp: Any, x: Any) -> tuple[Any, Any, Any]:
    """u, s and vᵀ of x = u diag(s) vᵀ for matrices, square or not, as many columns of u and v as there are s."""
    try:
        u, s, vt = where_finite(xp, lambda x: tuple(xp.linalg.svd(x, full_matrices=False)), x)
    except np.linalg.LinAlgError:
        raise not_found() from None
    return u, s, vt


def singular_values(xp: Any, x: Any) -> Any:
    """The s of `decomposed` alone, at less cost.

    Errors   LayerError when a matrix holds NaN or infinity
    """
    finite = xp.isfinite(x)
    what = "holds NaN or infinity: it has no singular values"
    refuse_where(~finite.all(), lambda: wrong_matrix(what, ~finite.all(axis=(-2, -1)), LOOK_BELOW))
    try:
        if xp is np:
            return np.linalg.svd(x, compute_uv=False)
        return where_finite(xp, lambda x: xp.linalg.svd(x, compute_uv=False), x)
    except np.linalg.LinAlgError:
        raise not_found() from None


def not_found() -> LayerError:
    """The error for a matrix whose singular values are not found, which is rare."""
    return LayerError("the search for the singular values of a matrix does not converge", hint=LOOK_BELOW)


def singular(bad: Any) -> LayerError:
    """The error for matrices of which some have no inverse."""
    return wrong_matrix("is singular", bad, "adding a small multiple of the identity keeps matrices regular")


def wrong_matrix(what: str, bad: Any, hint: str) -> LayerError:
    """The error for matrices of which some are bad, which says what the first of them is, and where."""
    position = np.unravel_index(int(bad.argmax()), bad.shape) if bad.shape else ()
    where = f" (at position {', '.join(str(int(i)) for i in position)})" if position else ""
    return LayerError(f"a matrix {what}{where}", hint=hint)


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
