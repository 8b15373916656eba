"""What mixed precision means, without kernels: a layer's own text between roundings to bfloat16, or to float16.

    y = round(f(round(x), round(W))),   dx = round(∂f/∂x · round(dy))

Sums and all between are float32, and so are the gradients of parameters, parameters of one axis (biases, the factors of
a normalisation), and running statistics.

On a device this is how mixed precision is computed. Arrays hold float32 there, too, so that no memory is saved. What
goes into a product was rounded before, so that TF32, in which tensor cores take float32 (CuPy's CUPY_TF32=1), leaves it
as it is: it has the exponent of float32 and the mantissa of float16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

from ..arrays.bfloat16 import rounded
from ..arrays.float16 import rounded_to_float16
from ..arrays.sparse import CSR
from ..contract.layer import Layer, Memory
from ..contract.namespaces import Params
from ..schema.precisions import BF16_MIXED, FP16_MIXED

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

WIDENED = frozenset(["Linear"])  # those of whose top the digits stay, where nobody reads it rounded
NEAREST: Mapping[str, Callable[[Any, Any], Any]] = {BF16_MIXED: rounded, FP16_MIXED: rounded_to_float16}


class Rounding(Layer):
    """Mixin of a layer's stand-in, before the layer's own class in the bases.

    rounds_to  a key of `NEAREST`
    """

    rounds_to: ClassVar[str]

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
            seen.bind(name, self._rounded(array) if array.ndim > 1 else array)
        return seen

    def _rounded(self, array: Any) -> Any:
        if array is None or array.dtype.kind != "f":
            return array
        if isinstance(array, CSR):
            return array.with_data(self._rounded(array.data))
        return NEAREST[self.rounds_to](self.xp, array)


@cache
def _rounding_class(kind: Any, precision: str) -> type[Layer]:
    told = {"__doc__": f"{kind.__name__} in {precision}.", "__module__": __name__}
    body = {**told, "top_is_view": False, "rounds_to": precision}
    made: Any = type(f"Rounding{kind.__name__}", (Rounding, kind), body)
    made.type_name = kind.type_name
    return made


def rounding(layer: Layer, precision: str = BF16_MIXED) -> Layer:
    """A stand-in for a layer, with its hyper-parameters, parameters, gradients, state and run, that rounds."""
    kind: Any = type(layer)
    made: Any = object.__new__(_rounding_class(kind, precision))
    vars(made).update(vars(layer), memory=Memory(), kept=None, draws=0)
    return made
