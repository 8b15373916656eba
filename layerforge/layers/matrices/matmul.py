"""Matmul: the product of two blobs as matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...arrays.functional import broadcast_shape, expect_role, rows, unbroadcast
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.registry import register


@register
class Matmul(Layer):
    """Matmul: matrix product of two blobs: vectors, matrices, and batches of matrices

        y = a b      y[i, j] = Σₖ a[i, k] b[k, j]

    One rule gives every case. A vector on the left is a row, a vector on the right a column, and the axis that makes
    it one is taken away again from y. All axes but the last two number the matrices of a batch; they broadcast.

        a            b            y
        (K)          (K)          ()               a single number: Σₖ a[k] b[k]
        (I, K)       (K)          (I)              matrix · vector
        (K)          (K, J)       (J)              vector · matrix
        (I, K)       (K, J)       (I, J)           matrix · matrix
        (N, I, K)    (N, K, J)    (N, I, J)        one product per batch index
        (N, I, K)    (K, J)       (N, I, J)        the same right matrix for all
        (N, I, K)    (K)          (N, I)           the same vector for all
        (P, 1, I, K) (N, K, J)    (P, N, I, J)     every left one with every right one

    Shapes    a (..., I, K) or (K), b (..., K, J) or (K), both real; y as above
    Backward  a[i, k] is in every y[i, j] of its row, with the factor b[k, j]; and b[k, j] is in every y[i, j] of its
              column, with the factor a[i, k]:
                  da[i, k] = Σⱼ dy[i, j] b[k, j]      da = dy bᵀ
                  db[k, j] = Σᵢ a[i, k] dy[i, j]      db = aᵀ dy
              (To remember: da must be (I, K), and of dy (I, J) and b (K, J) only dy bᵀ is.)
              The other cases are this one, read with I = 1 or J = 1:
                  number = vector · vector       da = dy b              db = dy a
                  vector = matrix · vector       da = dy bᵀ (outer)     db = aᵀ dy
                  vector = vector · matrix       da = b dy              db = aᵀ dy (outer)
              In a batch each matrix has its own da and db. A matrix that was broadcast took part in several products;
              its gradient is the sum of theirs, as for everything that is read in several places.
              Forward mode (`jvp`) is the product rule: ẏ = ȧ b + a ḃ
    Keeps     a and b
    Cost      2IKJ flops per product forward, 4IKJ backward
    Errors    LayerError when the K differ, when the batches do not broadcast, or a bottom is a single number
    Source    Giles 2008, "Collected matrix derivative results"; compare torch.matmul
    """

    bottoms = 2
    backward_reads = ("bottom",)

    examples = [
        Example({}, [Spec((4,)), Spec((4,))], "vector · vector"),
        Example({}, [Spec((3, 4)), Spec((4,))], "matrix · vector"),
        Example({}, [Spec((3,)), Spec((3, 4))], "vector · matrix"),
        Example({}, [Spec((3, 4)), Spec((4, 2))], "matrix · matrix"),
        Example({}, [Spec((2, 3, 4)), Spec((2, 4, 5))], "batches"),
        Example({}, [Spec((2, 3, 4)), Spec((4, 5))], "one right matrix for all"),
        Example({}, [Spec((3, 4)), Spec((2, 4, 5))], "one left matrix for all"),
        Example({}, [Spec((2, 1, 3, 4)), Spec((3, 4, 2))], "each with each"),
        Example({}, [Spec((2, 3, 4)), Spec((4,))], "batch · vector"),
        Example({}, [Spec((1, 1, 1)), Spec((1, 1, 1))]),
        Example({}, [Spec((1,)), Spec((1,))]),
        Example({}, [Spec((3, 0)), Spec((0, 2))], "sums of nothing"),
        Example({}, [Spec((2, 3, 0)), Spec((0, 2))], "and in batches"),
        Example({}, [Spec((0, 3, 4)), Spec((4, 2))], "no samples"),
    ]
    bad_examples = [
        Bad({}, "(3, 4) and (3, 4) cannot be multiplied: 4 columns meet 3 rows", [Spec((3, 4)), Spec((3, 4))]),
        Bad({}, "4 columns meet 3 rows", [Spec((4,)), Spec((3,))]),
        Bad({}, "shapes (2,), (3,) do not broadcast", [Spec((2, 3, 4)), Spec((3, 4, 5))]),
        Bad({}, "bottom[1] is a single number", [Spec((3, 4)), Spec(())]),
        Bad({}, "bottom[1] must be real numbers", [Spec((3, 4)), Spec((4,), role="index")]),
    ]

    def setup(self, a: Spec, b: Spec) -> Spec:
        for i, spec in enumerate((a, b)):
            expect_role(f"bottom[{i}]", spec, "real")
            if not spec.ndim:
                raise LayerError(f"bottom[{i}] is a single number", hint="Mul multiplies by numbers")
        columns, lines = a.shape[-1], b.shape[-2:][0]
        if columns != lines:
            message = f"{a.shape} and {b.shape} cannot be multiplied: {columns} columns meet {lines} rows"
            raise LayerError(message, hint="the last axis of a and the last but one of b must agree")
        batch = broadcast_shape(a.shape[:-2], b.shape[:-2])
        return a.with_shape((*batch, *a.shape[-2:-1], *b.shape[-1:][: b.ndim - 1]))

    def per_sample_for(self, a: Spec, b: Spec) -> bool:
        return a.ndim > 2 and (b.ndim < a.ndim or (b.ndim == a.ndim and b.shape[0] in (1, a.shape[0])))

    def forward(self, a: Any, b: Any) -> Any:
        self.save(a=a, b=b)
        return self.xp.matmul(a, b)

    def backward(self, dy: Any) -> tuple[Any, Any]:
        shape_a, shape_b = self.saved.a.shape, self.saved.b.shape
        a = self.saved.a.reshape(1, -1) if len(shape_a) == 1 else self.saved.a
        b = self.saved.b.reshape(-1, 1) if len(shape_b) == 1 else self.saved.b
        dy = dy.reshape(*broadcast_shape(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
        da = unbroadcast(dy @ b.swapaxes(-1, -2), a.shape).reshape(shape_a) if self.needs_grad[0] else None
        if not self.needs_grad[1]:
            return da, None
        if b.ndim == 2:  # one b for all: the rows of all its partners are the rows of one matrix
            a, dy = rows(a), rows(dy)
        return da, unbroadcast(a.swapaxes(-1, -2) @ dy, b.shape).reshape(shape_b)

    def jvp(self, da: Any, db: Any) -> Any:
        moved = [] if da is None else [self.xp.matmul(da, self.saved.b)]
        moved += [] if db is None else [self.xp.matmul(self.saved.a, db)]
        return sum(moved) if moved else None

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 2 * math.prod(tops[0].shape) * bottoms[0].shape[-1]
