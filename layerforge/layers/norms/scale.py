"""Scale and Bias: a factor or a summand for each channel or along other axes, learned or given by a second bottom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import expect_role, normalize_dim, shape_mismatch, unbroadcast
from ...arrays.spec import Spec
from ...contract.fillers import Filler
from ...contract.layer import Bad, Example, Layer
from ...schema.params import param
from ...schema.registry import register


class AtAxes(Layer):
    """Base of Scale and Bias: an operand that belongs to some neighbouring axes of x and is broadcast along the others.

    The operand is learned with one bottom, and the second bottom with two.
    """

    bottoms = (1, 2)

    dim: int = param(1, help="first axis of x that the operand belongs to; negative counts from the back")
    num_axes: int = param(1, help="how many axes a learned operand has; -1: all from dim on, 0: one value", ge=-1)

    def operand_shape(self, x: Spec, second: Spec | None = None) -> tuple[int, ...]:
        """The shape of the operand; LayerError where it is not within x."""
        expect_role("bottom[0]", x, "real")
        if second is not None:
            expect_role("bottom[1]", second, "real")
            start = self.start(x.ndim, second.shape)
            wanted = x.shape[start : start + second.ndim]
            if second.shape != wanted:
                raise shape_mismatch("bottom[1]", second.shape, f"{wanted}: axes of {x.shape} from dim {self.dim} on")
            return second.shape
        if self.num_axes == 0:
            return ()
        start = normalize_dim(self.dim, x.ndim)
        stop = x.ndim if self.num_axes == -1 else start + self.num_axes
        if stop > x.ndim:
            raise shape_mismatch("the bottom", x.shape, f"{self.num_axes} axes (num_axes) from dim {self.dim} on")
        return x.shape[start:stop]

    def start(self, ndim: int, shape: tuple[int, ...]) -> int:
        """dim counted from the front. A single value belongs to no axis: dim says nothing of it."""
        return normalize_dim(self.dim, ndim) if shape else ndim

    def aligned(self, shape: tuple[int, ...], ndim: int) -> tuple[int, ...]:
        """The shape of an operand with axes of length 1 at its end: it broadcasts against x with ndim axes."""
        return (*shape, *(1,) * (ndim - self.start(ndim, shape) - len(shape)))

    def spread(self, operand: Any, ndim: int) -> Any:
        """The operand in its aligned shape."""
        return operand.reshape(self.aligned(operand.shape, ndim))

    def collect(self, d: Any, shape: tuple[int, ...]) -> Any:
        """The gradient of an operand of this shape: the sum over the places to which it was broadcast."""
        return unbroadcast(d, self.aligned(shape, d.ndim)).reshape(shape)


SHAPES = [
    ({}, [Spec((3, 4))]),
    ({}, [Spec((2, 3, 4, 5))]),
    ({"dim": -2, "num_axes": 2}, [Spec((2, 3, 4, 5))]),
    ({"num_axes": -1}, [Spec((3, 2, 1, 4))]),
    ({"num_axes": 0}, [Spec((2, 3))]),
    ({"num_axes": 0}, [Spec(())]),
    ({"dim": 2}, [Spec((2, 3, 1))]),
    ({}, [Spec((0, 3, 2))]),
    ({}, [Spec((2, 3, 4)), Spec((3,))]),
    ({"dim": 0}, [Spec((2, 3, 4)), Spec((2, 3))]),
    ({"dim": 0}, [Spec((2, 1, 4)), Spec((2, 1, 4))]),
    ({"dim": -1}, [Spec((2, 3, 4)), Spec((4,))]),
    ({}, [Spec((2, 3)), Spec(())]),
]
BAD_SHAPES = [
    Bad({"dim": 2}, "dim 2 is out of range", [Spec((3, 4))]),
    Bad({"num_axes": 3}, "expected 3 axes (num_axes) from dim 1", [Spec((2, 3, 4))]),
    Bad({"num_axes": -2}, "must be >= -1"),
    Bad({"axis": 1}, "did you mean 'dim'?"),
    Bad({}, "bottom[1] has shape (4,), expected (3,)", [Spec((2, 3, 4)), Spec((4,))]),
    Bad({"dim": 2}, "bottom[1] has shape (4, 2), expected (4,)", [Spec((2, 3, 4)), Spec((4, 2))]),
    Bad({}, "bottom[1] must be real numbers", [Spec((2, 3)), Spec((3,), role="index")]),
]


@register
class Scale(AtAxes):
    """Scale: a factor for each channel, or along other axes (Caffe: Scale)

        y = weight x + bias      weight and bias broadcast along the axes of x that they do not have

    With one bottom weight is learned and has the axes dim ... dim + num_axes - 1 of x. With two it is the second
    bottom, and its axes are those of x from dim on. bias, learned, has the shape of weight. Neither decays.

    Shapes    x real, y the same; weight, bias x.shape[dim : dim + num_axes]
    Backward  One weight multiplies many elements of x, so its gradient is a sum over them:
                  dx = weight dy,   dweight = Σ x dy,   dbias = Σ dy      over the axes along which they are broadcast
    Keeps     x and weight
    Cost      one or two operations per element forward, four backward
    Errors    LayerError when x has no such axes, or the second bottom does not have their lengths
    Source    compare Caffe's Scale layer; two bottoms are torch.mul with broadcasting at dim
    """

    backward_reads = ("bottom",)

    bias: bool = param(False, help="learn an additive bias, too")
    weight_filler: Filler = param({"type": "constant", "value": 1.0}, help="start values of weight")
    bias_filler: Filler = param("constant", help="start values of bias")

    examples = [
        *(Example(hyper, bottoms) for hyper, bottoms in SHAPES),
        Example({"bias": True}, [Spec((2, 3, 4))]),
        Example({"bias": True, "num_axes": 2}, [Spec((2, 3, 4, 2))]),
        Example({"bias": True}, [Spec((2, 3, 4)), Spec((3,))]),
    ]
    bad_examples = [*BAD_SHAPES, Bad({"bias_term": True}, "did you mean 'bias'?")]

    def setup(self, x: Spec, *second: Spec) -> Spec:
        shape = self.operand_shape(x, *second)
        if not second:
            self.add_param("weight", shape, self.weight_filler, decay_mult=0)
        if self.bias:
            self.add_param("bias", shape, self.bias_filler, decay_mult=0)
        return x

    def forward(self, x: Any, *second: Any) -> Any:
        weight = second[0] if second else self.params.weight
        self.save(x=x, weight=weight)
        y = x * self.spread(weight, x.ndim)
        if self.bias:
            y += self.spread(self.params.bias, x.ndim)
        return y

    def backward(self, dy: Any) -> Any:
        x, weight = self.saved.x, self.saved.weight
        if self.bias and self.needs_param_grad.bias:
            self.grads.bias += self.collect(dy, weight.shape)
        dx = dy * self.spread(weight, dy.ndim) if self.needs_grad[0] else None
        if len(self.needs_grad) == 2:
            return dx, self.collect(dy * x, weight.shape) if self.needs_grad[1] else None
        if self.needs_param_grad.weight:
            self.grads.weight += self.collect(dy * x, weight.shape)
        return dx

    def jvp(self, dx: Any, dweight: Any = None) -> Any:
        x, weight = self.saved.x, self.saved.weight
        dy = 0 if dx is None else dx * self.spread(weight, x.ndim)
        return dy if dweight is None else dy + x * self.spread(dweight, x.ndim)

    def jvp_params(self, weight: Any = None, bias: Any = None) -> Any:
        x = self.saved.x
        moved = [] if weight is None else [x * self.spread(weight, x.ndim)]
        moved += [] if bias is None else [self.spread(bias, x.ndim)]
        return self.xp.broadcast_to(sum(moved), x.shape)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return (2 if self.bias else 1) * tops[0].size


@register
class Bias(AtAxes):
    """Bias: a summand for each channel, or along other axes (Caffe: Bias)

        y = x + bias      bias broadcast along the axes of x that it does not have

    With one bottom bias is learned and has the axes dim ... dim + num_axes - 1 of x. With two it is the second bottom,
    and its axes are those of x from dim on. It does not decay.

    Shapes    x real, y the same; bias x.shape[dim : dim + num_axes]
    Backward  dx = dy,   dbias = Σ dy      over the axes along which it is broadcast
    Keeps     nothing, so y may overwrite x
    Cost      one operation per element, forward and backward
    Errors    LayerError when x has no such axes, or the second bottom does not have their lengths
    Source    compare Caffe's Bias layer; two bottoms are torch.add with broadcasting at dim
    """

    inplace = True
    grad_aliases = True

    bias_filler: Filler = param("constant", help="start values of bias")

    examples = [Example(hyper, bottoms) for hyper, bottoms in SHAPES]
    bad_examples = [*BAD_SHAPES, Bad({"filler": "constant"}, "did you mean 'bias_filler'?")]

    def setup(self, x: Spec, *second: Spec) -> Spec:
        shape = self.operand_shape(x, *second)
        if not second:
            self.add_param("bias", shape, self.bias_filler, decay_mult=0)
        return x

    def forward(self, x: Any, *second: Any) -> Any:
        bias = second[0] if second else self.params.bias
        self.save(shape=bias.shape, top_shape=x.shape)
        y = self.buf("y", x.shape, over=x)
        return self.xp.add(x, self.spread(bias, x.ndim), out=y)

    def backward(self, dy: Any) -> Any:
        dx, shape = dy if self.needs_grad[0] else None, self.saved.shape
        if len(self.needs_grad) == 2:
            return dx, self.collect(dy, shape) if self.needs_grad[1] else None
        if self.needs_param_grad.bias:
            self.grads.bias += self.collect(dy, shape)
        return dx

    def jvp(self, dx: Any, dbias: Any = None) -> Any:
        dy = self.xp.zeros(self.saved.top_shape, dtype=self.dtype) if dx is None else dx
        return dy if dbias is None else dy + self.spread(dbias, dy.ndim)

    def jvp_params(self, bias: Any) -> Any:
        shape = self.saved.top_shape
        return self.xp.broadcast_to(self.spread(bias, len(shape)), shape)
