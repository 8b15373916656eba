"""Inverse, Solve and LogDet: functions of square matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays.functional import broadcast_shape, expect_role, sum_of, unbroadcast
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.registry import register


def near_identity(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Matrices whose diagonal outweighs the rest: far from singular, with a positive determinant."""
    return 2.0 * np.eye(shape[-1]) + rng.uniform(-0.5, 0.5, shape)


def matrices(*shape: int) -> Spec:
    """The Spec of an example's matrices."""
    return Spec(shape, draw=near_identity)


def check_square(name: str, spec: Spec) -> None:
    """LayerError unless a bottom is real matrices (..., n, n)."""
    expect_role(name, spec, "real")
    if spec.ndim < 2 or spec.shape[-1] != spec.shape[-2]:
        raise LayerError(f"{name} has shape {spec.shape}, expected square matrices (..., n, n)")


def transposed(x: Any) -> Any:
    """Matrices with rows and columns exchanged: a view."""
    return x.swapaxes(-1, -2)


def solve(xp: Any, a: Any, b: Any) -> Any:
    """x with a x = b for matrices whose batches broadcast.

    Errors   LayerError when a matrix of `a` is singular (CuPy returns NaN instead)
    """
    batch = broadcast_shape(a.shape[:-2], b.shape[:-2])
    a, b = (xp.broadcast_to(m, (*batch, *m.shape[-2:])) for m in (a, b))
    try:
        return xp.linalg.solve(a, b)
    except np.linalg.LinAlgError:
        raise singular() from None


def inverse(xp: Any, x: Any) -> Any:
    """x⁻¹ for each matrix; LayerError when one is singular (CuPy returns NaN instead)."""
    try:
        return xp.linalg.inv(x)
    except np.linalg.LinAlgError:
        raise singular() from None


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


@register
class Inverse(Layer):
    """Inverse: the inverse of square matrices

        y = x⁻¹

    Where only x⁻¹ b is needed, Solve is cheaper and more exact.

    Shapes    x (..., n, n) real, y the same
    Backward  From x y = 1: dx y + x dy = 0, so a change ẋ of x changes y by ẏ = -y ẋ y. The upstream gradient meets it
              in Σᵢⱼ dyᵢⱼ ẏᵢⱼ = -Σ dyᵢⱼ yᵢₖ ẋₖₗ yₗⱼ, and the factor of ẋₖₗ is
                  dxₖₗ = -Σᵢⱼ yᵢₖ dyᵢⱼ yₗⱼ      dx = -yᵀ dy yᵀ
    Keeps     y
    Cost      2n³ flops per matrix forward, 4n³ backward
    Errors    LayerError when x is not square matrices, or a matrix is singular
    Source    Giles 2008, "Collected matrix derivative results"; compare torch.linalg.inv
    """

    backward_reads = ("top",)
    examples = SQUARE
    bad_examples = SQUARE_BAD

    def setup(self, x: Spec) -> Spec:
        check_square("the bottom", x)
        return x

    def per_sample_for(self, x: Spec) -> bool:
        return x.ndim > 2

    def forward(self, x: Any) -> Any:
        y = inverse(self.xp, x)
        self.save(y=y)
        return y

    def backward(self, dy: Any) -> Any:
        y = transposed(self.saved.y)
        return -(y @ dy @ y)

    def jvp(self, dx: Any) -> Any:
        y = self.saved.y
        return None if dx is None else -(y @ dx @ y)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 2 * bottoms[0].size * bottoms[0].shape[-1]


@register
class LogDet(Layer):
    """LogDet: the logarithm of the determinant of square matrices

        y = log det x

    Computed from the triangular factors as the sum of logarithms, so the determinant itself may over- or underflow.
    y is NaN where det x < 0 and -inf where it is 0, as in torch.

    Shapes    x (..., n, n) real, y (...)
    Backward  Along row i, det x = Σⱼ xᵢⱼ cᵢⱼ with cofactors cᵢⱼ that do not depend on that row, so ∂det/∂xᵢⱼ = cᵢⱼ; and
              by Cramer's rule (x⁻¹)ⱼᵢ = cᵢⱼ / det x. The logarithm divides by det x:
                  dx = dy (x⁻¹)ᵀ
    Keeps     x
    Cost      2n³/3 flops per matrix forward, 2n³ backward
    Errors    LayerError when x is not square matrices, or in backward when a matrix is singular
    Source    Giles 2008; compare torch.logdet
    """

    backward_reads = ("bottom",)
    examples = SQUARE
    bad_examples = SQUARE_BAD

    def setup(self, x: Spec) -> Spec:
        check_square("the bottom", x)
        return x.with_shape(x.shape[:-2])

    def per_sample_for(self, x: Spec) -> bool:
        return x.ndim > 2

    def forward(self, x: Any) -> Any:
        self.save(x=x)
        sign, log = self.xp.linalg.slogdet(x)
        return self.xp.where(sign < 0, self.xp.full((), float("nan"), dtype=x.dtype), log)

    def backward(self, dy: Any) -> Any:
        return dy[..., None, None] * transposed(inverse(self.xp, self.saved.x))

    def jvp(self, dx: Any) -> Any:
        if dx is None:
            return None
        return sum_of(transposed(inverse(self.xp, self.saved.x)) * dx, (-2, -1))

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 2 * bottoms[0].size * bottoms[0].shape[-1] // 3


@register
class Solve(Layer):
    """Solve: the solution of systems of linear equations

        y = a⁻¹ b      the y with a y = b

    b is a vector, or one for each matrix, where its shape says so (one axis, or the shape of a without its last one);
    otherwise its columns are right-hand sides. Leading axes broadcast.

    Shapes    a (..., n, n), b (..., n, k), (..., n) or (n), all real; y as b
    Backward  A change ḃ changes y by a⁻¹ ḃ; and from a y = b, ȧ y + a ẏ = 0, a change ȧ by -a⁻¹ ȧ y. So
                  db = a⁻ᵀ dy      one more system, with aᵀ
                  da = -db yᵀ      by the chain rule through ḃ = -ȧ y
    Keeps     a and y
    Cost      2n³/3 + 2n²k flops per matrix, as much backward
    Errors    LayerError when shapes do not fit, or a matrix is singular
    Source    Giles 2008; compare torch.linalg.solve
    """

    bottoms = 2
    backward_reads = ("bottom[0]", "top")

    examples = [
        Example({}, [matrices(2, 3, 3), Spec((2, 3, 4))]),
        Example({}, [matrices(2, 3, 3), Spec((2, 3))], "a vector for each matrix"),
        Example({}, [matrices(2, 3, 3), Spec((3,))], "one vector for all"),
        Example({}, [matrices(4, 3, 3), Spec((3, 2))], "one right side for all"),
        Example({}, [matrices(2, 1, 2, 2), Spec((3, 2, 1))], "each with each"),
        Example({}, [matrices(1, 1, 1), Spec((1, 1, 1))]),
        Example({}, [matrices(0, 2, 2), Spec((0, 2, 1))], "no samples"),
    ]
    bad_examples = [
        Bad({}, "bottom[0] has shape (2, 3), expected square", [Spec((2, 3)), Spec((3, 1))]),
        Bad({}, "bottom[1] has shape (4, 1), expected (..., 3, k) or (..., 3)", [Spec((3, 3)), Spec((4, 1))]),
        Bad({}, "bottom[1] has shape (), expected", [Spec((3, 3)), Spec(())]),
        Bad({}, "do not broadcast", [Spec((2, 3, 3)), Spec((4, 3, 1))]),
        Bad({}, "bottom[1] must be real", [Spec((3, 3)), Spec((3,), role="index")]),
    ]

    def setup(self, a: Spec, b: Spec) -> Spec:
        check_square("bottom[0]", a)
        expect_role("bottom[1]", b, "real")
        columns = (*b.shape, 1) if self.is_vector(a.shape, b.shape) else b.shape
        if len(columns) < 2 or columns[-2] != a.shape[-1]:
            n = a.shape[-1]
            raise LayerError(f"bottom[1] has shape {b.shape}, expected (..., {n}, k) or (..., {n})")
        shape = (*broadcast_shape(a.shape[:-2], columns[:-2]), *columns[-2:])
        return b.with_shape(shape[:-1] if columns != b.shape else shape)

    def per_sample_for(self, a: Spec, b: Spec) -> bool:
        axes = b.ndim + self.is_vector(a.shape, b.shape)
        return a.ndim > 2 and (axes < a.ndim or (axes == a.ndim and b.shape[0] in (1, a.shape[0])))

    @staticmethod
    def is_vector(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
        """Whether b is vectors, each of them one right-hand side."""
        return len(b) == 1 or b == a[:-1]

    def forward(self, a: Any, b: Any) -> Any:
        vector = self.is_vector(a.shape, b.shape)
        y = solve(self.xp, a, b[..., None] if vector else b)
        self.save(a=a, y=y, shape=b.shape, vector=vector)
        return y[..., 0] if vector else y

    def backward(self, dy: Any) -> tuple[Any, Any]:
        a, y, vector = self.saved.a, self.saved.y, self.saved.vector
        db = solve(self.xp, transposed(a), dy[..., None] if vector else dy)
        da = unbroadcast(-(db @ transposed(y)), a.shape) if self.needs_grad[0] else None
        columns = (*self.saved.shape, 1) if vector else self.saved.shape
        return da, unbroadcast(db, columns).reshape(self.saved.shape) if self.needs_grad[1] else None

    def jvp(self, da: Any, db: Any) -> Any:
        a, y, vector = self.saved.a, self.saved.y, self.saved.vector
        moved = [] if da is None else [-(da @ y)]
        moved += [] if db is None else [db[..., None] if vector else db]
        if not moved:
            return None
        dy = solve(self.xp, a, sum(moved))
        return dy[..., 0] if vector else dy

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        n, size = bottoms[0].shape[-1], bottoms[0].size
        return 2 * size * n // 3 + 2 * n * tops[0].size
