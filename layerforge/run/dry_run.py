"""Recording a pass on dummy values, from which an arena is planned. No data are needed, and nothing is left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays.spec import Spec
from ..plan.engines import FAST
from ..plan.plan import AGAIN, Plan
from ..schema import registry
from ..schema.errors import ConfigError, LayerForgeError
from .arena import Arena, Recorder
from .execution import Pass
from .parameters import memory_of_this_machine

if TYPE_CHECKING:
    from ..net import Net

NET = ""  # whose memory the sums at forks are: no layer can be called so


def hold_inputs(plan: Plan) -> None:
    """Give the inputs memory of the plan's own, where every pass finds them at the same place.

    Where all layers that read an input would copy it into one and the same order of axes, it lies in that order.
    """
    for index, name in plan.inputs:
        spec = plan.specs[index]
        demand_memory(spec)
        readers = [step.node.layer for step in plan.steps if index in step.bottoms]
        orders = {layer.axes_in_memory(spec.ndim) if hasattr(layer, "engine") else None for layer in readers}
        order = (orders.pop() if len(orders) == 1 else None) or tuple(range(spec.ndim))
        plan.held[name] = np.empty([spec.shape[axis] for axis in order], spec.dtype).transpose(np.argsort(order))
        plan.carriers[name] = plan.carrier()


def record(plan: Plan, net: Net, backward: bool) -> Arena | None:
    """The arena of a plan; None where its layers do not take dummy values.

    Engines compute nothing while they are recorded, so their memory is never touched. Reference layers run as always:
    running statistics and gradients are put back afterwards.
    """
    recorder = Recorder(plan, plan.staying(), backward)
    layers = [step.node.layer for step in plan.steps]
    before = [(layer.memory, layer.kept) for layer in layers]
    for layer in layers:
        layer.memory = recorder.memory(layer.name)
    statistics, gradients = net.snapshot_state(), net.flat.grad.copy()
    run = net.run.phase, net.run.keep
    net.run.phase, net.run.keep = plan.phase, backward
    engine = registry.engine(FAST)
    engine.record(True)
    try:
        with np.errstate(all="ignore"):
            _run(plan, net, recorder, backward)
        return recorder.arena()
    except LayerForgeError:
        return None
    finally:
        engine.record(False)
        net.run.phase, net.run.keep = run
        net.restore_state(statistics)
        net.flat.grad[...] = gradients
        for layer, (memory, kept) in zip(layers, before, strict=True):
            layer.memory, layer.kept = memory, kept


def _run(plan: Plan, net: Net, recorder: Recorder, backward: bool) -> None:
    recomputed = [plan.steps[i].node.name for i in recorder.segment]
    again = {name: recorder.memory(name + AGAIN) for name in recomputed}
    once = Pass(plan, net.xp, net.dtype, recorder.memory(NET), again, recorder)
    for index, name in plan.inputs:
        plan.held[name][...] = dummy(plan.specs[index])
    once.forward(plan.held, keep=backward)
    if backward:
        seeds = plan.losses or [(i, 1.0) for i in plan.outputs.values() if plan.specs[i].is_real]
        once.backward({i: net.xp.full(plan.specs[i].shape, w, dtype=net.dtype) for i, w in seeds})


def dummy(spec: Spec) -> Any:
    """Ones and label 0, or the least value allowed where that is not. Errors   those of `demand_memory`"""
    demand_memory(spec)
    value = 1.0 if spec.is_real else 0
    fits = (spec.low is None or spec.low <= value) and (spec.high is None or value < spec.high)
    return np.full(spec.shape, value if fits or spec.low is None else spec.low, spec.dtype)


def demand_memory(spec: Spec) -> None:
    """ConfigError for an input that no memory of this machine holds."""
    if spec.size * np.dtype(spec.dtype).itemsize > memory_of_this_machine():
        message = f"an input of shape {spec.shape} does not fit into memory"
        raise ConfigError(message, hint="lower batch_size, or the shape of the input")
