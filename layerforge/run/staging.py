"""Staging: the inputs of a plan in memory of its own, where every pass finds them at the same place."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.backend import NUMPY
from ..arrays.bfloat16 import BFLOAT16
from ..arrays.host_memory import memory_of_this_machine
from ..arrays.sparse import CSR
from ..arrays.spec import Spec
from ..engines.protocol import is_engine_layer
from ..plan.plan import Plan
from ..schema.errors import ConfigError


def staged_inputs(plan: Plan) -> dict[str, np.ndarray]:
    """An array for each input by name that is not sparse. Its values are undefined.

    Where all layers that read an input would copy it into one and the same order of axes, it is stored in that order;
    where they all read it in bfloat16, so (plan/precision.py).

    Errors   those of `demand_memory`
    """
    found = {}
    for index, name in ((i, n) for i, n in plan.inputs if not plan.specs[i].sparse):
        spec = plan.specs[index]
        demand_memory(spec)
        readers = [step.node.layer for step in plan.steps if index in step.bottoms]
        orders = {layer.axes_in_memory(spec.ndim) if is_engine_layer(layer) else None for layer in readers}
        order = (orders.pop() if len(orders) == 1 else None) or tuple(range(spec.ndim))
        dtype = BFLOAT16 if index in plan.halved else spec.dtype
        found[name] = np.empty([spec.shape[axis] for axis in order], dtype).transpose(np.argsort(order))
    return found


def dummy(spec: Spec) -> Any:
    """Ones and label 0, or the least value allowed where that is not; nothing stored where it is sparse.

    Errors   those of `demand_memory`
    """
    if spec.sparse:
        nothing, begins = np.zeros(0, "int32"), np.zeros(spec.shape[0] + 1, "int32")
        return NUMPY.csr(nothing.astype(spec.dtype), nothing, begins, spec.shape)
    demand_memory(spec)
    value = 1.0 if spec.is_real else 0
    fits = (spec.low is None or spec.low <= value) and (spec.high is None or value < spec.high)
    return np.full(spec.shape, value if fits or spec.low is None else spec.low, spec.dtype)


def demand_memory(spec: Spec) -> None:
    """ConfigError for an input that no memory of this machine holds."""
    if spec.size * np.dtype(spec.dtype).itemsize > memory_of_this_machine():
        message = f"an input of shape {spec.shape} does not fit into memory"
        raise ConfigError(message, hint="lower batch_size, or the shape of the input")


def may_be_theirs(array: Any, given: Any) -> bool:
    """Whether an array may be memory of whoever gave this, and not a conversion of it. A CSR mostly shares some."""
    return isinstance(array, CSR) or array is given or array.base is not None
