"""Parameter: a blob that is learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.spec import Spec
from ...contract.fillers import Filler
from ...contract.layer import Bad, Example, Layer
from ...schema.params import param
from ...schema.registry import register


@register
class Parameter(Layer):
    """Parameter: a learned array as a blob (Caffe: Parameter)

        y = weight

    For what no layer learns: the start of a state, a temperature, the image that a net should find.

    Shapes    y and weight as `shape` says; there is no batch axis, so broadcasting layers combine it with samples
    Backward  dweight = dy
    Keeps     nothing
    Cost      a copy, so that a layer may overwrite y
    Source    Jia et al. 2014 (Caffe); compare torch.nn.Parameter
    """

    bottoms = 0

    shape: list[int] = param(help="shape of the array; [] is a single number", ge=0)
    filler: Filler = param("constant", help="start values; default: zeros")

    examples = [
        Example({"shape": [3, 4], "filler": "xavier"}, []),
        Example({"shape": [1]}, []),
        Example({"shape": []}, [], "a single number"),
        Example({"shape": [2, 0, 3]}, [], "no elements"),
        Example({"shape": [2, 1, 3], "filler": {"type": "gaussian", "std": 0.1}}, []),
    ]
    bad_examples = [
        Bad({}, "shape is required"),
        Bad({"shape": 3}, "must be a list of integers"),
        Bad({"shape": [3, -1]}, "must be >= 0"),
        Bad({"shape": [3], "filler": "normal"}, "unknown filler type 'normal'"),
        Bad({"shape": [3], "weight_filler": "xavier"}, "did you mean 'filler'?"),
        Bad({"shape": [3]}, "takes 0 bottom(s)", [Spec((2,))]),
    ]

    def setup(self) -> Spec:
        self.add_param("weight", self.shape, self.filler)
        return Spec(self.shape, self.dtype)

    def forward(self) -> Any:
        return self.params.weight.copy()

    def backward(self, dy: Any) -> None:
        self.grads.weight += dy

    def jvp_params(self, weight: Any) -> Any:
        return weight

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0
