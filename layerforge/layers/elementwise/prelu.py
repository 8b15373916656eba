"""PReLU: a rectifier that learns its slope below zero."""

from __future__ import annotations

from typing import Any

from ...arrays.functional import expect_role, unbroadcast
from ...arrays.spec import Spec
from ...contract.fillers import Filler
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register


@register
class PReLU(Layer):
    """PReLU: rectified linear unit that learns its slope below zero (Caffe: PReLU)

        y = x where x > 0, otherwise weight x

    One weight for all elements, or one for each channel. It does not decay: that would pull it towards ReLU (torch and
    Caffe decay it unless told otherwise).

    Shapes    x (N, C, d1, ...), real, of any shape when there is one weight; y the same; weight (num_parameters,)
    Backward  dx = dy where x > 0, otherwise weight dy
              dweight = Σ dy x over the elements x ≤ 0 that share the weight, as y = weight x there
    Keeps     x
    Cost      one pass forward, two backward
    Errors    LayerError when num_parameters is neither 1 nor C
    Source    He et al. 2015; compare torch.nn.PReLU
    """

    backward_reads = ("bottom",)

    num_parameters: int = param(1, help="1, or the number of channels", ge=1)
    init: float = param(0.25, help="start value of weight")
    weight_filler: Filler | None = param(None, help="start values of weight; null: each is init")

    examples = [
        Example({}, [Spec((3, 5))]),
        Example({}, [Spec((2, 3, 1, 5))]),
        Example({}, [Spec((4,))]),
        Example({}, [Spec(())]),
        Example({}, [Spec((2, 0, 3))]),
        Example({"init": -0.5}, [Spec((3, 1))]),
        Example({"num_parameters": 3}, [Spec((2, 3))]),
        Example({"num_parameters": 3, "init": 1.5}, [Spec((2, 3, 2, 1))]),
        Example({"num_parameters": 2, "weight_filler": "uniform"}, [Spec((2, 2, 3))]),
        Example({"num_parameters": 4}, [Spec((1, 4, 5))]),
        Example({}, [Spec((3, 5), low=-1e4, high=1e4)], "extreme"),
    ]
    bad_examples = [
        Bad({"num_parameters": 4}, "4 parameters for 3 channels", [Spec((2, 3, 5))]),
        Bad({"num_parameters": 4}, "4 parameters for a bottom without channels", [Spec((4,))]),
        Bad({"num_parameters": 0}, "must be >= 1"),
        Bad({"inplace": True}, "unknown key 'inplace'"),
        Bad({}, "must be real numbers", [Spec((3,), role="index")]),
    ]

    def setup(self, x: Spec) -> Spec:
        expect_role("the bottom", x, "real")
        channels = x.shape[1] if x.ndim > 1 else None
        if self.num_parameters not in (1, channels):
            found = "a bottom without channels" if channels is None else f"{channels} channels"
            raise LayerError(f"{self.num_parameters} parameters for {found}", hint="take 1, or one for each channel")
        self.add_param("weight", (self.num_parameters,), self.weight_filler or self.init, decay_mult=0)
        return x

    def slopes(self, x: Any) -> Any:
        """The weight in a shape that broadcasts against x."""
        return self.spread(self.params.weight, x)

    def spread(self, weight: Any, x: Any) -> Any:
        """A number, or one for each channel, in a shape that broadcasts against x."""
        return weight.reshape(() if self.num_parameters == 1 else (-1, *(1,) * (x.ndim - 2)))

    def forward(self, x: Any) -> Any:
        self.save(x=x)
        return self.xp.where(x > 0, x, self.slopes(x) * x)

    def backward(self, dy: Any) -> Any:
        x = self.saved.x
        if self.needs_param_grad.weight:
            self.grads.weight += unbroadcast(dy * self.xp.minimum(x, 0), self.slopes(x).shape).reshape(-1)
        return self.jvp(dy) if self.needs_grad[0] else None

    def jvp(self, dx: Any) -> Any:
        x = self.saved.x
        return dx * self.xp.where(x > 0, 1, self.slopes(x))

    def jvp_params(self, weight: Any) -> Any:
        x = self.saved.x
        return self.spread(weight, x) * self.xp.minimum(x, 0)
