"""What `precision: bf16-mixed` means, without kernels: a layer's own text between roundings to bfloat16.

    y = round(f(round(x), round(W))),   dx = round(∂f/∂x · round(dy))

Sums and all between are float32, and so are the gradients of parameters, parameters of one axis (biases, the factors of
a normalisation), and running statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from ..arrays.bfloat16 import rounded
from ..arrays.sparse import CSR
from ..contract.layer import Layer, Memory
from ..contract.namespaces import Params

# The types that compute so. What is not among them, such as losses and softmax, stays float32.
ROUNDED = frozenset(
    [
        "Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
        "MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "GlobalAvgPool2d",
        "BatchNorm", "LayerNorm", "LSTM", "GRU", "RNN", "ScaledDotProductAttention", "MultiheadAttention",
        "Add", "Dropout", "Dropout2d", "Flatten", "Reshape",
        "ReLU", "LeakyReLU", "Tanh", "Sigmoid", "ELU", "GELU", "SiLU",
    ]
)  # fmt: skip


WIDENED = frozenset(["Linear"])  # those of whose top the digits stay, where nobody reads it in bfloat16


class Rounding(Layer):
    """Mixin of a layer's stand-in, before the layer's own class in the bases."""

    halved = True
    wide_top = False

    def widen_top(self) -> None:
        """Do not round the top from now on."""
        self.wide_top = self.type_name in WIDENED

    def perform(self, doing: str, arrays: Sequence[Any]) -> Any:
        own, self.params = self.params, self.rounded_params()
        try:
            result = super().perform(doing, [self._rounded(array) for array in arrays])
        finally:
            self.params = own
        if self.wide_top and doing == "forward":
            return result
        if isinstance(result, (tuple, list)):
            return tuple(self._rounded(array) for array in result)
        return self._rounded(result)

    def rounded_params(self) -> Params:
        """The parameters as products see them."""
        seen = Params()
        for name, array in self.params.items():
            seen.bind(name, rounded(self.xp, array) if array.ndim > 1 else array)
        return seen

    def _rounded(self, array: Any) -> Any:
        if array is None or array.dtype.kind != "f":
            return array
        if isinstance(array, CSR):
            return array.with_data(rounded(self.xp, array.data))
        return rounded(self.xp, array)


@cache
def _rounding_class(kind: Any) -> type[Layer]:
    body = {"__doc__": f"{kind.__name__} in bfloat16.", "__module__": __name__, "top_is_view": False}
    made: Any = type(f"Rounding{kind.__name__}", (Rounding, kind), body)
    made.type_name = kind.type_name
    return made


def rounding(layer: Layer) -> Layer:
    """A stand-in for a layer, with its hyper-parameters, parameters, gradients, state and run, that rounds."""
    kind: Any = type(layer)
    made: Any = object.__new__(_rounding_class(kind))
    vars(made).update(vars(layer), memory=Memory(), kept=None, draws=0)
    return made
