"""Layers that are one operator of ONNX with renamed attributes: a table, a part of which is read in both directions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ....contract.layer import Layer
from ....layers.elementwise.rectifiers import SELU_ALPHA, SELU_SCALE
from ..exporting import EXPORTS, Export, Value


@dataclass(frozen=True)
class OneOperator:
    """A layer as one operator, whose inputs are the layer's bottoms in their order.

    type        of the layer
    op          the operator
    attributes  from the layer's hyper-parameters to the operator's attributes
    fixed       attributes that are always so
    when        values of hyper-parameters that a row is for; where no row of a type fits, it has an export beside
    """

    type: str
    op: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    when: Mapping[str, Any] = field(default_factory=dict)

    def fits(self, layer: Layer) -> bool:
        """Whether the layer is this row's operator."""
        return layer.type_name == self.type and all(getattr(layer, name) == v for name, v in self.when.items())

    def written(self, layer: Layer) -> dict[str, Any]:
        """The operator's attributes for a layer."""
        return {**self.fixed, **{theirs: attribute(getattr(layer, ours)) for ours, theirs in self.attributes.items()}}


def attribute(value: Any) -> Any:
    """A hyper-parameter as ONNX takes it: pairs as lists, true and false as 1 and 0."""
    if isinstance(value, (tuple, list)):
        return list(value)
    return int(value) if isinstance(value, bool) else value


PLAIN = {"scale": 1.0, "shift": 0.0, "base": None}

# Of several rows with one operator the first is the one that it is imported as; of several with one type the first
# that fits is the one that it is exported as.

# Element-wise layers of one bottom, which are imported by their rows, too.
BOTH_WAYS = (
    # rectifiers
    OneOperator("ReLU", "Relu", when={"negative_slope": 0.0}),
    OneOperator("LeakyReLU", "LeakyRelu", {"negative_slope": "alpha"}),
    OneOperator("ReLU", "LeakyRelu", {"negative_slope": "alpha"}),
    OneOperator("ELU", "Elu", {"alpha": "alpha"}),
    OneOperator("CELU", "Celu", {"alpha": "alpha"}),
    OneOperator("HardSwish", "HardSwish"),
    # activations
    OneOperator("Sigmoid", "Sigmoid"),
    OneOperator("Tanh", "Tanh"),
    OneOperator("Softplus", "Softplus", when={"beta": 1.0, "threshold": 20.0}),
    OneOperator("Softsign", "Softsign"),
    OneOperator("Erf", "Erf"),
    # signs, powers and circular functions
    OneOperator("Abs", "Abs"),
    OneOperator("Neg", "Neg"),
    OneOperator("Sign", "Sign"),
    OneOperator("Floor", "Floor"),
    OneOperator("Sqrt", "Sqrt"),
    OneOperator("Reciprocal", "Reciprocal"),
    OneOperator("Exp", "Exp", when=PLAIN),
    OneOperator("Log", "Log", when=PLAIN),
    OneOperator("Sin", "Sin"),
    OneOperator("Cos", "Cos"),
    OneOperator("Tan", "Tan"),
    OneOperator("Asin", "Asin"),
    OneOperator("Acos", "Acos"),
    OneOperator("Atan", "Atan"),
    OneOperator("Sinh", "Sinh"),
    OneOperator("Cosh", "Cosh"),
)

# Those whose operators say more than the layers, or want more of what they read: the modules *_in.py import them.
EXPORTED = (
    OneOperator("SELU", "Selu", fixed={"alpha": SELU_ALPHA, "gamma": SELU_SCALE}),
    OneOperator("HardSigmoid", "HardSigmoid", fixed={"alpha": 1 / 6, "beta": 0.5}),
    # of two bottoms or more
    OneOperator("Sub", "Sub"),
    OneOperator("Div", "Div"),
    OneOperator("PowBinary", "Pow"),
    OneOperator("Maximum", "Max"),
    OneOperator("Minimum", "Min"),
    # along an axis
    OneOperator("Softmax", "Softmax", {"dim": "axis"}),
    OneOperator("LogSoftmax", "LogSoftmax", {"dim": "axis"}),
    OneOperator("IndexSelect", "Gather", {"dim": "axis"}),
    OneOperator("BatchReindex", "Gather", fixed={"axis": 0}),
    OneOperator("Gather", "GatherElements", {"dim": "axis"}),
    # matrices
    OneOperator("Matmul", "MatMul"),
    OneOperator("Einsum", "Einsum", {"equation": "equation"}),
    OneOperator("Det", "Det"),
    # of images
    OneOperator("GlobalAvgPool2d", "GlobalAveragePool"),
    OneOperator("PixelShuffle", "DepthToSpace", {"upscale_factor": "blocksize"}, fixed={"mode": "CRD"}),
    # plumbing
    OneOperator("Identity", "Identity"),
    OneOperator("Detach", "Identity"),
)
TABLE = (*BOTH_WAYS, *EXPORTED)


def row_of(layer: Layer) -> OneOperator | None:
    """The row that a layer is exported by."""
    return next((row for row in TABLE if row.fits(layer)), None)


def types() -> Iterator[str]:
    """Types that have a row for every value of their hyper-parameters."""
    return (row.type for row in TABLE if not row.when)


def write(w: Export, *bottoms: Value) -> Value:
    """The export of a type of the table."""
    row = row_of(w.layer)
    assert row is not None
    return w.op(row.op, *bottoms, **row.written(w.layer))


EXPORTS.update(dict.fromkeys(types(), write))
