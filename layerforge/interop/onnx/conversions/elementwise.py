"""Element by element: activations and functions of one bottom. Those that are one operator stand in a table."""

from __future__ import annotations

from ..exporting import EXPORTS, Export, Value

ONE_OPERATOR = {  # layers without hyper-parameters: the operator
    "ReLU": "Relu",
    "Sigmoid": "Sigmoid",
    "Tanh": "Tanh",
}


def _one(operator: str) -> None:
    def export(w: Export, x: Value) -> Value:
        y: Value = w.op(operator, x)
        return y

    return export


EXPORTS.update({kind: _one(operator) for kind, operator in ONE_OPERATOR.items()})
