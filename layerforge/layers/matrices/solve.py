"""Solve: the solution of systems of linear equations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays.functional import broadcast_shape, expect_role, unbroadcast
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.registry import register
from .square import check_square, is_singular, matrices, refuse_singular, singular, transposed, where_finite


def solve(xp: Any, a: Any, b: Any) -> Any:
    """x with a x = b for matrices whose batches broadcast.

    Errors   LayerError when NumPy finds that a matrix of `a` is singular; of a device `refuse_singular` asks that
    """
    batch = broadcast_shape(a.shape[:-2], b.shape[:-2])
    a, b = (xp.broadcast_to(m, (*batch, *m.shape[-2:])) for m in (a, b))
    try:
        return where_finite(xp, lambda a: xp.linalg.solve(a, b), a)
    except np.linalg.LinAlgError:
        raise singular(is_singular(xp, a)) from None


@register
class Solve(Layer):
    """Solve: the solution of systems of linear equations

        y = a⁻¹ b      the y with a y = b

    b is a vector, or one for each matrix, where its shape says so (one axis, or the shape of a without its last one);
    otherwise its columns are right-hand sides. Leading axes broadcast.

    Shapes    a (..., K, K), b (..., K, J), (..., K) or (K), all real; y as b
    Backward  From a y = b: ȧ y + a ẏ = ḃ, so ẏ = a⁻¹ (ḃ - ȧ y): a change ȧ does what ḃ = -ȧ y would do. db says what
              ḃ[i, j] is worth, so da[i, k] = -Σⱼ db[i, j] y[k, j]:
                  db = a⁻ᵀ dy      one more system, with aᵀ
                  da = -db yᵀ
              Both are summed over the leading axes along which a or b was broadcast.
    Keeps     a and y
    Cost      2K³/3 + 2K²J flops per matrix forward; as much backward, and 2K²J for da
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
        refuse_singular(self.xp, a)
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
