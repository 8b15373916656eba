"""Linear as products of matrices whose results are added to, in place, and whose activation costs nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.spec import Spec
from ...layers.matrices.linear import Linear
from . import inner_products, primitives
from .base import OneDnn
from .folding import Folding

FEW = 8  # rows up to which reading the weights is the work, and oneDNN's inner product reads them fastest


class OneDnnLinear(Folding, OneDnn, Linear):
    """Linear, with an activation and, where no backward follows, a BatchNorm that the plan fused."""

    replays = can_overwrite_grad = has_bfloat16 = True

    def channels_of(self, top: Spec) -> bool:
        return top.ndim == 2

    def widen_top(self) -> None:
        self.wide_top = True

    def forward(self, x: Any) -> Any:
        rows = self.matrix("x", x, "saved")
        dtype = self.dtype if self.wide_top else None
        y = self.buf("y", (*x.shape[:-1], self.out_features), dtype, life=self.life_of_top())
        bias, *scaling = self.vectors(2)
        y_rows = self.matrix("y rows", y)
        if len(rows) <= FEW and rows.flags.c_contiguous:
            product = self.op("few y", inner_products.inner_product, self.post_ops())
            product(rows, self.operands.weight, bias, y_rows, *scaling)
        else:
            weight = self.view("weight", self.operands.weight, np.transpose)
            self.op("y", primitives.scaled_matmul, self.post_ops())(rows, weight, bias, y_rows, *scaling)
        self.activate(y)
        self.save(rows=rows, y=self.kept_top(y), shape=x.shape)
        return y

    def backward(self, dy: Any) -> Any:
        rows = self.saved.rows
        dz = self.narrowed("dy", self.matrix("dy", self.before_activation(dy)))
        if self.needs_param_grad.weight:
            self.add_product("dW", dz, rows, self.grads.weight)
        if self.bias and self.needs_param_grad.bias:
            self.add_column_sums(dz, self.grads.bias)
        if not self.needs_grad[0]:
            return None
        dx = self.buf("dx", (*dy.shape[:-1], rows.shape[1]))
        self.set_product("dx", dz, self.operands.weight, self.matrix("dx rows", dx))
        return dx

    def jvp_params(self, weight: Any = None, bias: Any = None) -> Any:
        kept = self.saved
        with self.as_if_saved(x=kept.rows.reshape(kept.shape), y=kept.y):
            return super().jvp_params(weight=weight, bias=bias)
