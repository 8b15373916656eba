"""SparseMatmul: the product of a sparse and a dense matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import expect_role
from ...arrays.sparse import CSR
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.registry import register


@register
class SparseMatmul(Layer):
    """SparseMatmul: matrix product of which one factor is sparse and the other dense, in either order

        y = a b      y[i, j] = Σₖ a[i, k] b[k, j]

    It is Matmul for two matrices, made from the stored numbers of the sparse one alone: all others are 0 and add
    nothing to any sum.

    Shapes    a (I, K) and b (K, J), both real, one of them csr and the other dense; y (I, J) dense
    Backward  As in Matmul, da = dy bᵀ and db = aᵀ dy. For sparse a with its set S of stored places:
                  db[k, j] = Σᵢ a[i, k] dy[i, j]      over the i with (i, k) in S
                  da[i, k] = Σⱼ dy[i, j] b[k, j]      for (i, k) in S only
              Row k of db is 0 where column k of a is empty; what is not stored of a is no number that could be moved.
              Likewise for sparse b, with db[k, j] for (k, j) in S. The gradient of the sparse factor has its pattern.
              Forward mode (jvp) is the product rule: ẏ = ȧ b + a ḃ
    Keeps     a and b
    Cost      with s stored numbers 2sJ flops forward (2sI for sparse b), twice that backward; a row of the dense
              factor that meets no stored number is not read
    Errors    LayerError when the K differ, when not exactly one factor is sparse, or one is no matrix
    Source    Giles 2008, "Collected matrix derivative results"; compare torch.sparse.mm
    """

    bottoms = 2
    backward_reads = ("bottom",)
    sparse_bottoms = (0, 1)
    per_sample = False

    examples = [
        Example({}, [Spec((4, 5), sparse="csr"), Spec((5, 3))], "sparse · dense"),
        Example({}, [Spec((3, 5)), Spec((5, 6), sparse="csr")], "dense · sparse"),
        Example({}, [Spec((3, 4), sparse="csr"), Spec((4, 1))], "a vector as a column"),
        Example({}, [Spec((1, 2), sparse="csr"), Spec((2, 1))]),
        Example({}, [Spec((0, 4), sparse="csr"), Spec((4, 2))], "no rows"),
        Example({}, [Spec((3, 0)), Spec((0, 2), sparse="csr")], "sums of nothing"),
    ]
    bad_examples = [
        Bad({}, "(3, 4) and (3, 4) cannot be multiplied", [Spec((3, 4), sparse="csr"), Spec((3, 4))]),
        Bad({}, "one bottom must be sparse and the other dense", [Spec((3, 4)), Spec((4, 2))]),
        Bad({}, "one bottom must be sparse", [Spec((3, 4), sparse="csr"), Spec((4, 2), sparse="csr")]),
        Bad({}, "bottom[1] must be a matrix", [Spec((3, 4), sparse="csr"), Spec((4,))]),
        Bad({}, "bottom[1] must be real numbers", [Spec((3, 4), sparse="csr"), Spec((4, 2), role="index")]),
    ]

    def setup(self, a: Spec, b: Spec) -> Spec:
        for i, spec in enumerate((a, b)):
            expect_role(f"bottom[{i}]", spec, "real")
            if spec.ndim != 2:
                raise LayerError(f"bottom[{i}] must be a matrix, got {spec}", hint="Reshape makes a column of a vector")
        if bool(a.sparse) == bool(b.sparse):
            kind = "sparse" if a.sparse else "dense"
            hint = "Matmul multiplies dense ones" if kind == "dense" else "of two sparse factors y would be sparse"
            raise LayerError(f"one bottom must be sparse and the other dense, both are {kind}", hint=hint)
        if a.shape[1] != b.shape[0]:
            message = f"{a.shape} and {b.shape} cannot be multiplied: {a.shape[1]} columns meet {b.shape[0]} rows"
            raise LayerError(message, hint="the last axis of a and the first of b must agree")
        return a.dense.with_shape((a.shape[0], b.shape[1]))

    def forward(self, a: Any, b: Any) -> Any:
        self.save(a=a, b=b)
        return a @ b

    def backward(self, dy: Any) -> tuple[Any, Any]:
        a, b = self.saved.a, self.saved.b
        if isinstance(a, CSR):
            da = a.at_stored_places(dy, b.T) if self.needs_grad[0] else None
            return da, self.all_rows(a, dy) if self.needs_grad[1] else None
        da = (b @ dy.T).T if self.needs_grad[0] else None  # dy bᵀ, with the sparse factor in front
        return da, b.at_stored_places(a.T, dy) if self.needs_grad[1] else None

    def all_rows(self, a: CSR, dy: Any) -> Any:
        """aᵀ dy (K, N), with zeros in the rows whose column of a is empty."""
        db = self.xp.zeros((a.shape[1], dy.shape[1]), dtype=dy.dtype)
        a.add_transposed_product(db, dy)
        return db

    def jvp(self, da: Any, db: Any) -> Any:
        moved = [] if da is None else [da @ self.saved.b]
        moved += [] if db is None else [self.saved.a @ db]
        return sum(moved) if moved else None

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 2 * tops[0].size * bottoms[0].shape[1]
