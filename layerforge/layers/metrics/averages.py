"""How a number of each class becomes one: scikit-learn's averages."""

from __future__ import annotations

from typing import Any

from ...arrays.spec import Spec
from ...schema.errors import LayerError
from .compared import SEVERAL, ratio

AVERAGES = ("binary", "macro", "micro", "weighted", "none")


def chosen_average(layer: Any) -> str:
    """A metric's `average`, or the one that follows from its classes; LayerError where that makes no sense."""
    two = layer.classes == 2 and layer.form != SEVERAL
    if layer.average == "binary" and not two:
        what = "labels" if layer.form == SEVERAL else "classes"
        message = f"average binary is for two classes, there are {layer.classes} {what}"
        raise LayerError(message, hint="macro, micro, weighted or none")
    return layer.average or ("binary" if two else "macro")


def number_or_each(layer: Any, number: Spec) -> Spec:
    """The Spec of the top: one number, or with average none one of each class."""
    return number.with_shape((layer.classes,)) if chosen_average(layer) == "none" else number


def averaged(layer: Any, each: Any, occurs: Any, weight: Any) -> Any:
    """The average of `each` (K), but for micro: that of class 1, of those that occur, by weight, or all as they are."""
    average = chosen_average(layer)
    if average == "binary":
        return each[1]
    if average == "none":
        return each
    xp = layer.xp
    if average == "macro":
        weight = occurs.astype("float64")
    return ratio(xp, xp.where(weight == 0, 0.0, each * weight).sum(), weight.sum())
