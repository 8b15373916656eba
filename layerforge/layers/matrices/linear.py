"""Linear: the fully connected layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import product_over_rows, rows, sum_of
from ...arrays.spec import Spec
from ...contract.fillers import Filler
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register


@register
class Linear(Layer):
    """Linear: fully connected layer (Caffe: InnerProduct)

        y = x Wᵀ + b
        y[n, o] = Σ_d x[n, d] W[o, d] + b[o]

    Products are matrix products, samples are rows.

    Shapes    x (N, D) real or (..., D), y (N, O) or (..., O), weight W (O, D), bias b (O,). n runs over the samples;
              with more leading axes, over all of them together
    Backward  A change of W[o, d] moves y[n, o] by x[n, d] times as much, for every n, so
                  dW[o, d] = Σₙ dy[n, o] x[n, d]      dW = dyᵀ x
                  db[o]    = Σₙ dy[n, o]              db = the sum of dy's rows
              and x[n, d] reaches every y[n, o], through W[o, d], so
                  dx[n, d] = Σ_o dy[n, o] W[o, d]     dx = dy W
    Keeps     x
    Cost      2NDO flops forward, 4NDO backward
    Errors    LayerError when D differs from the D seen at setup
    Source    Rumelhart, Hinton & Williams 1986; compare torch.nn.Linear, where W and b start from U(-1/√D, 1/√D), of
              variance 1/(3 D); here b starts from 0 and W as weight_filler says: He's N(0, 2/D) has 6 times
              that variance
    """

    linear_in_params = True
    backward_reads = ("bottom",)

    out_features: int = param(help="features O of the output", ge=1)
    bias: bool = param(True, help="learn an additive bias")
    weight_filler: Filler = param("msra", help="start values of weight")
    bias_filler: Filler = param("constant", help="start values of bias")

    examples = [
        Example({"out_features": 4}, [Spec((3, 5))]),
        Example({"out_features": 2, "bias": False}, [Spec((3, 5))]),
        Example({"out_features": 3}, [Spec((2, 3, 4))], note="any number of leading axes"),
        Example({"out_features": 3}, [Spec((1, 1))]),
    ]
    bad_examples = [
        Bad({"out_features": 0}, "must be >= 1"),
        Bad({"out_features": 2.5}, "must be an integer"),
        Bad({}, "out_features is required"),
        Bad({"num_output": 3}, "unknown key 'num_output'"),
        Bad({"out_features": 3}, "at least one axis", [Spec(())]),
    ]

    def setup(self, x: Spec) -> Spec:
        if x.ndim < 1:
            raise LayerError("the bottom is a single number, expected at least one axis of features")
        self.add_param("weight", (self.out_features, x.shape[-1]), self.weight_filler)
        if self.bias:
            self.add_param("bias", (self.out_features,), self.bias_filler, decay_mult=0)
        return x.with_shape((*x.shape[:-1], self.out_features))

    def forward(self, x: Any) -> Any:
        self.save(x=x)
        y = x @ self.params.weight.T
        if self.bias:
            y += self.params.bias
        return y

    def backward(self, dy: Any) -> Any:
        x, dy_rows = rows(self.saved.x), rows(dy)
        if self.needs_param_grad.weight:
            self.grads.weight += product_over_rows(dy_rows, x)
        if self.bias and self.needs_param_grad.bias:
            self.grads.bias += sum_of(dy_rows, 0)
        return dy @ self.params.weight if self.needs_grad[0] else None

    def jvp(self, dx: Any) -> Any:
        return dx @ self.params.weight.T

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 2 * bottoms[0].size * self.out_features
