"""Bilinear: a layer that is linear in each of two blobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import expect_role, product_over_rows, rows, sum_of
from ...arrays.spec import Spec
from ...contract.fillers import ChosenFiller, Filler
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register


@register
class Bilinear(Layer):
    """Bilinear: fully connected layer of two blobs, with a weight for each pair of features

        y[n, o] = Σᵢⱼ a[n, i] W[o, i, j] b[n, j] + bias[o]      for each output o

    Shapes    a (..., I), b (..., J) real with the same leading axes, y (..., O), weight W (O, I, J), bias (O).
              n runs over all leading axes together
    Backward  y is linear in each of its three factors: the gradient of one is the product of dy with the other two,
                  da[n, i]    = Σ dy[n, o] W[o, i, j] b[n, j]      over o and j
                  db[n, j]    = Σ dy[n, o] a[n, i] W[o, i, j]      over o and i
                  dW[o, i, j] = Σₙ dy[n, o] a[n, i] b[n, j]
                  dbias[o]    = Σₙ dy[n, o]
    Keeps     a and b
    Cost      2NOIJ flops forward, 6NOIJ backward
    Errors    LayerError when leading axes differ, or I or J from those seen at setup
    Source    Tenenbaum & Freeman 2000; compare torch.nn.Bilinear
    """

    bottoms = 2
    backward_reads = ("bottom",)

    out_features: int = param(help="features O of the output", ge=1)
    bias: bool = param(True, help="learn an additive bias")
    weight_filler: ChosenFiller = param(None, help="start values of weight; null: by what follows")
    bias_filler: Filler = param("constant", help="start values of bias")

    examples = [
        Example({"out_features": 4}, [Spec((3, 2)), Spec((3, 5))]),
        Example({"out_features": 2, "bias": False}, [Spec((3, 4)), Spec((3, 3))]),
        Example({"out_features": 3}, [Spec((2, 3, 4)), Spec((2, 3, 2))], "any number of leading axes"),
        Example({"out_features": 1}, [Spec((1, 1)), Spec((1, 1))]),
        Example({"out_features": 2}, [Spec((0, 3)), Spec((0, 2))], "no samples"),
    ]
    bad_examples = [
        Bad({"out_features": 0}, "must be >= 1"),
        Bad({}, "out_features is required"),
        Bad({"out_features": 2}, "leading axes (3,) and (4,) differ", [Spec((3, 2)), Spec((4, 2))]),
        Bad({"out_features": 2}, "bottom[1] is a single number", [Spec((3, 2)), Spec(())]),
        Bad({"out_features": 2}, "bottom[0] must be real numbers", [Spec((3, 2), role="index"), Spec((3, 2))]),
        Bad({"out_features": 2}, "takes 2 bottom(s), got 1", [Spec((3, 2))]),
    ]

    def setup(self, a: Spec, b: Spec) -> Spec:
        for i, spec in enumerate((a, b)):
            expect_role(f"bottom[{i}]", spec, "real")
            if not spec.ndim:
                raise LayerError(f"bottom[{i}] is a single number, expected at least one axis of features")
        if a.shape[:-1] != b.shape[:-1]:
            raise LayerError(f"leading axes {a.shape[:-1]} and {b.shape[:-1]} differ", hint="both are the same samples")
        self.add_param("weight", (self.out_features, a.shape[-1], b.shape[-1]), self.weight_filler)
        if self.bias:
            self.add_param("bias", (self.out_features,), self.bias_filler, decay_mult=0)
        return a.with_shape((*a.shape[:-1], self.out_features))

    def forward(self, a: Any, b: Any) -> Any:
        self.save(a=a, b=b)
        y = self.form(rows(a), rows(b), self.params.weight)
        if self.bias:
            y += self.params.bias
        return y.reshape(*a.shape[:-1], self.out_features)

    def form(self, a: Any, b: Any, weight: Any) -> Any:
        """aᵀ W_o b for every sample and output: (N, I), (N, J) -> (N, O)."""
        return sum_of((a @ weight) * b, -1).T

    def backward(self, dy: Any) -> tuple[Any, Any]:
        a, b, weight = rows(self.saved.a), rows(self.saved.b), self.params.weight
        per_output = rows(dy).T[:, :, None]  # (O, N, 1): beside the samples of a and b
        if self.needs_param_grad.weight:
            self.grads.weight += product_over_rows(per_output * a, b)
        if self.bias and self.needs_param_grad.bias:
            self.grads.bias += sum_of(rows(dy), 0)
        da = sum_of(per_output * (b @ weight.swapaxes(1, 2)), 0) if self.needs_grad[0] else None
        db = sum_of(per_output * (a @ weight), 0) if self.needs_grad[1] else None
        return (
            None if da is None else da.reshape(self.saved.a.shape),
            None if db is None else db.reshape(self.saved.b.shape),
        )

    def jvp(self, da: Any, db: Any) -> Any:
        a, b, weight = self.saved.a, self.saved.b, self.params.weight
        moved = [] if da is None else [self.form(rows(da), rows(b), weight)]
        moved += [] if db is None else [self.form(rows(a), rows(db), weight)]
        return sum(moved).reshape(*a.shape[:-1], self.out_features) if moved else None

    def jvp_params(self, weight: Any = None, bias: Any = None) -> Any:
        a, b = self.saved.a, self.saved.b
        shape = *a.shape[:-1], self.out_features
        moved = [] if weight is None else [self.form(rows(a), rows(b), weight).reshape(shape)]
        moved += [] if bias is None else [bias]
        return self.xp.broadcast_to(sum(moved), shape)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 2 * tops[0].size * bottoms[0].shape[-1] * bottoms[1].shape[-1]
