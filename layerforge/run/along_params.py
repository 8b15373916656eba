"""Forward accumulation along the parameters of one layer, whose bottoms stand still."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..contract import call
from ..contract.layer import Layer, Memory
from .remembered import Remembered


def knows(layer: Layer) -> bool:
    """Whether a layer says how its tops move with its parameters, in a way that costs no more than a forward."""
    return is_linear(type(layer)) or has_own(layer)


def is_linear(cls: type[Layer]) -> bool:
    """Whether `linear_in_params` was said of the forward that a layer has, and not of one that it overrides."""
    for each in cls.__mro__:
        if "linear_in_params" in vars(each) or "forward" in vars(each):
            return bool(vars(each).get("linear_in_params", False))
    return False


def has_own(layer: Layer) -> bool:
    """Whether a layer writes its jvp_params down."""
    return type(layer).jvp_params is not Layer.jvp_params


def along(layer: Layer, bottoms: Sequence[Any], tangents: Mapping[str, Any]) -> tuple[Any, ...]:
    """The tangents of the tops from those of some parameters, after a forward of these bottoms that was kept.

    Where the tops are linear in the parameters, y(p + v) - y(p) = y(v): a forward with v in the place of p.
    """
    if is_linear(type(layer)):
        with _in_place_of_parameters(layer, tangents):
            return call.forward(layer, bottoms)
    try:
        result = layer.jvp_params(**tangents)
    except (Exception, SystemExit) as error:
        raise call.failure(layer, "jvp_params", list(tangents.values()), error) from error
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


@contextmanager
def _in_place_of_parameters(layer: Layer, tangents: Mapping[str, Any]) -> Iterator[None]:
    """While this lasts a layer has tangents for parameters, other memory, and keeps nothing; then all is as it was."""
    params, remembered = layer.params.items(), Remembered([layer])
    before = layer.memory, layer.kept, layer.runs_in_place, layer.run.keep
    layer.memory, layer.runs_in_place, layer.run.keep = Memory(), False, False
    for name, array in params:
        layer.params.bind(name, tangents[name] if name in tangents else layer.xp.zeros_like(array))
    try:
        yield
    finally:
        layer.memory, layer.kept, layer.runs_in_place, layer.run.keep = before
        for name, array in params:
            layer.params.bind(name, array)
        remembered.put_back()
