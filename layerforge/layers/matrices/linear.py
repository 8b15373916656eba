"""Linear: the fully connected layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import map_rows, product_over_rows, rows, sum_of
from ...arrays.sparse import CSR
from ...arrays.spec import Spec
from ...contract.fillers import ChosenFiller, Filler
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register


def nothing(rng: Any, shape: tuple[int, ...]) -> list[list[float]]:
    """The numbers of an example in which none is stored."""
    return [[0.0] * shape[1]] * shape[0]


@register
class Linear(Layer):
    """Linear: fully connected layer (Caffe: InnerProduct)

        y = x Wᵀ + b
        y[n, o] = Σ_d x[n, d] W[o, d] + b[o]

    Products are matrix products, samples are rows.

    Shapes    x (N, D) real or (..., D), y (N, O) or (..., O), weight W (O, D), bias b (O,). n runs over the samples;
              with more leading axes, over all of them together. x (N, D) may be sparse, csr
    Backward  A change of W[o, d] moves y[n, o] by x[n, d] times as much, for every n, so
                  dW[o, d] = Σₙ dy[n, o] x[n, d]      dW = dyᵀ x
                  db[o]    = Σₙ dy[n, o]              db = the sum of dy's rows
              and x[n, d] reaches every y[n, o], through W[o, d], so
                  dx[n, d] = Σ_o dy[n, o] W[o, d]     dx = dy W
              Of a sparse x only the stored numbers take part, as bags of words over 100,000 words have them: the
              columns d in which x has none add nothing to dW, so they are not touched, and dx is made at the stored
              places alone.
              Forward mode (`jvp`) is the product rule: ẏ = ẋ Wᵀ + x Ẇᵀ + ḃ
    Keeps     x
    Cost      2NDO flops forward, 4NDO backward; with s stored numbers 2sO forward, 2sO backward (4sO with dx)
    Errors    LayerError when D differs from the D seen at setup
    Source    Rumelhart, Hinton & Williams 1986; compare torch.nn.Linear, where W and b start from U(-1/√D, 1/√D), of
              variance 1/(3 D); here b starts from 0 and W as weight_filler says: by what follows, of variance 2/D in
              front of a ReLU, 1/D or less elsewhere
    """

    backward_reads = ("bottom",)
    sparse_bottoms = (0,)

    out_features: int = param(help="features O of the output", ge=1)
    bias: bool = param(True, help="learn an additive bias")
    weight_filler: ChosenFiller = param(None, help="start values of weight; null: by what follows")
    bias_filler: Filler = param("constant", help="start values of bias")

    examples = [
        Example({"out_features": 4}, [Spec((3, 5))]),
        Example({"out_features": 2, "bias": False}, [Spec((3, 5))]),
        Example({"out_features": 3}, [Spec((2, 3, 4))], note="any number of leading axes"),
        Example({"out_features": 3}, [Spec((1, 1))]),
        Example({"out_features": 3}, [Spec((5, 6), sparse="csr")], note="sparse"),
        Example({"out_features": 2, "bias": False}, [Spec((3, 4), sparse="csr", draw=nothing)], note="nothing stored"),
    ]
    bad_examples = [
        Bad({"out_features": 0}, "must be >= 1"),
        Bad({"out_features": 2.5}, "must be an integer"),
        Bad({}, "out_features is required"),
        Bad({"num_output": 3}, "unknown key 'num_output'"),
        Bad({"out_features": 3}, "at least one axis", [Spec(())]),
        Bad({"out_features": 3}, "a sparse bottom has two axes", [Spec((2, 3, 4), sparse="csr")]),
    ]

    def setup(self, x: Spec) -> Spec:
        if x.ndim < 1:
            raise LayerError("the bottom is a single number, expected at least one axis of features")
        if x.sparse and x.ndim != 2:
            raise LayerError(f"a sparse bottom has two axes, got {x}")
        if x.sparse:
            self.can_overwrite_grad = True
        self.add_param("weight", (self.out_features, x.shape[-1]), self.weight_filler, by_columns=bool(x.sparse))
        if self.bias:
            self.add_param("bias", (self.out_features,), self.bias_filler, decay_mult=0)
        return x.dense.with_shape((*x.shape[:-1], self.out_features))

    def forward(self, x: Any) -> Any:
        self.save(x=x)
        y = map_rows(x, self.params.weight.T)
        if self.bias:
            y += self.params.bias
        return y

    def backward(self, dy: Any) -> Any:
        x, dy_rows = self.saved.x, rows(dy)
        if isinstance(x, CSR):
            return self.sparse_backward(x, dy)
        if self.bias and self.needs_param_grad.bias:
            self.grads.bias += sum_of(dy_rows, 0)
        if self.needs_param_grad.weight:
            self.grads.weight += product_over_rows(dy_rows, rows(x))
        return map_rows(dy, self.params.weight) if self.needs_grad[0] else None

    def sparse_backward(self, x: CSR, dy: Any) -> CSR | None:
        """dW in the columns that x has numbers in, and dx at the places where it has them.

        dW may be all that is large in the net: where the net would set it to 0 first, it is written instead.
        """
        if self.bias and self.needs_param_grad.bias:
            if self.overwrites_grad:
                self.grads.bias[...] = 0
            self.grads.bias += sum_of(dy, 0)
        if self.needs_param_grad.weight:
            x.add_transposed_product(self.grads.weight.T, dy, overwrite=self.overwrites_grad)
        return x.at_stored_places(dy, self.params.weight) if self.needs_grad[0] else None

    def jvp(self, dx: Any) -> Any:
        return map_rows(dx, self.params.weight.T)

    def jvp_params(self, weight: Any = None, bias: Any = None) -> Any:
        x = self.saved.x
        moved = [] if weight is None else [map_rows(x, weight.T)]
        moved += [] if bias is None else [bias]
        return self.xp.broadcast_to(sum(moved), (*x.shape[:-1], self.out_features))

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 2 * bottoms[0].size * self.out_features
