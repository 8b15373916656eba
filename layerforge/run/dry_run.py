"""A dry run: one pass through a plan on dummy values, from which its memory layout follows.

No data are needed, and nothing is left behind. It sees layers and parameters, not a net.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.bfloat16 import stored
from ..contract.layer import Run
from ..plan.plan import Plan
from ..schema import registry
from ..schema.errors import LayerForgeError
from .executor import Executor
from .lifetimes import Recorder
from .memory_layout import SUMS, MemoryLayout
from .parameters import Parameters
from .recompute import AGAIN
from .remembered import Remembered
from .staging import dummy, staged_inputs


def dry_run(plan: Plan, run: Run, parameters: Parameters, xp: Any) -> MemoryLayout | None:
    """The memory layout of a plan; None where its layers do not take dummy values.

    run  of the layers

    Engines compute nothing in a dry run, so their memory is never touched. Reference layers run as always: what they
    remember and gradients are put back afterwards.

    Errors   ConfigError for inputs that do not fit into memory
    """
    inputs: dict[str, Any] = staged_inputs(plan)
    recorder = Recorder(plan, list(inputs.values()))
    layers = [step.node.layer for step in plan.steps]
    before = [(layer.memory, layer.kept) for layer in layers]
    remembered = Remembered(layers)
    gradients = parameters.saved_gradients()
    circumstances = run.phase, run.keep
    for layer in layers:
        layer.memory = recorder.memory(layer.name)
    run.phase, run.keep = plan.phase, plan.backward
    engine = registry.engine(plan.engine)
    engine.dry_run(True)
    try:
        with np.errstate(all="ignore"):
            _pass(plan, inputs, recorder, xp, str(parameters.data.dtype))
        return recorder.layout()
    except LayerForgeError:
        return None
    finally:
        engine.dry_run(False)
        run.phase, run.keep = circumstances
        remembered.put_back()
        parameters.put_back(gradients)
        for layer, (memory, kept) in zip(layers, before, strict=True):
            layer.memory, layer.kept = memory, kept


def _pass(plan: Plan, inputs: dict[str, Any], recorder: Recorder, xp: Any, dtype: str) -> None:
    """Forward and, where one may follow, backward, in memories of the recorder's."""
    once = Executor(plan, xp, dtype, observers=[recorder])
    recomputed = [] if plan.keeps_all else [plan.steps[i].node.name for i in recorder.segment]
    once.again = {name: recorder.memory(name + AGAIN) for name in recomputed}
    once.sums.memory = recorder.memory(SUMS)
    for index, name in plan.inputs:
        if name in inputs:
            inputs[name][...] = stored(dummy(plan.specs[index]), inputs[name].dtype)
        else:
            inputs[name] = dummy(plan.specs[index])
    once.forward(inputs, keep=plan.backward)
    if plan.backward:
        weights = dict(plan.losses)
        seeds = {i: weights.get(i, 1.0) for i in plan.begins_backward}
        once.backward({i: once.seed(i, w) for i, w in seeds.items()})
