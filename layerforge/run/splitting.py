"""Losses of which the whole is not the mean, or the sum, of its parts: what is said of them.

A loss that is a mean over n things, or a sum, can be put together from batches of any sizes. A function of such numbers
can be, where it is linear and they are means over equally many things. The square of a loss, the norm of a whole batch,
or the sum of a mean over labels and one over samples cannot: its value depends on how the data are split.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..contract import call
from ..contract.layer import Layer, Run
from ..graph.graph import Step
from ..plan.plan import Plan
from ..schema.errors import LayerForgeError
from ..schema.registry import LAYERS

REMEDY = "give each loss a loss_weight of its own instead of computing with it, or keep the batches whole"
POINTS = ((0.7, 1.9, 0.4, 1.3), (-1.1, 0.6, 2.3, -0.8))  # where functions are tried, over and over for more numbers
_LINEAR: WeakKeyDictionary[Layer, tuple[bool, bool]] = WeakKeyDictionary()


class Whole(float):
    """The count of a loss that can only be had from a whole batch: its samples, and in words why."""

    why: str

    def __new__(cls, count: float, why: str) -> Whole:
        self = super().__new__(cls, count)
        self.why = why
        return self


def reasons(counts: Any) -> list[str]:
    """In words, which losses can only be had from a whole batch. `counts` are one count, or one for each loss."""
    if counts is None or type(counts) in (int, float):  # as in nearly every step
        return []
    every = counts if isinstance(counts, tuple) else (counts,)
    found = [count.why for count in every if isinstance(count, Whole)]
    return list(dict.fromkeys(found))


def function_count(plan: Plan, step: Step, fed: Sequence[int], counts: Sequence[float | None], samples: int) -> Any:
    """The count of a function of numbers that have these counts; `fed` are their blobs."""
    name, known = step.node.name, {plan.names[i]: count for i, count in zip(fed, counts, strict=True)}
    parts = reasons(tuple(counts))
    if parts:
        return Whole(samples, parts[0])
    if len(set(counts)) > 1:
        each = ", ".join(f"'{n}' {'a sum' if c is None else f'a mean over {c:g}'}" for n, c in known.items())
        return Whole(samples, f"'{name}' puts losses together that are means over different counts ({each})")
    homogeneous, affine = linear(plan, step, fed)
    if not (homogeneous if counts[0] is None else affine):
        return Whole(samples, f"'{name}' ({step.node.layer.type_name}) is not linear in {', '.join(map(repr, known))}")
    return counts[0]


def linear(plan: Plan, step: Step, fed: Sequence[int]) -> tuple[bool, bool]:
    """Whether a layer is linear in its bottoms that are `fed`, all single numbers; and whether up to a constant."""
    layer = step.node.layer
    if layer not in _LINEAR:
        _LINEAR[layer] = _tried(plan, step, fed)
    return _LINEAR[layer]


def _tried(plan: Plan, step: Step, fed: Sequence[int]) -> tuple[bool, bool]:
    """What a copy of the layer makes of a few numbers: nothing of the pass that may be going on is touched."""
    layer, specs = step.node.layer, [plan.specs[i] for i in step.bottoms]
    if layer.state_decls or not all(spec.is_real for spec in specs):
        return False, False
    copy = _copy(layer)

    def top(numbers: Sequence[float]) -> np.ndarray:
        moving = iter(numbers)
        arrays = [np.full(s.shape, next(moving) if i in fed else 1.5, s.dtype)
                  for i, s in zip(step.bottoms, specs, strict=True)]  # fmt: skip
        return np.array(call.forward(copy, [copy.xp.asarray(a) for a in arrays])[0].tolist(), "float64")

    count = sum(i in fed for i in step.bottoms)
    one, two = (np.resize(point, count) for point in POINTS)
    try:
        with np.errstate(all="ignore"):
            call.setup(copy, specs)
            y, z, between, both = top(one), top(two), top((one + two) / 2), top(one + two)
    except LayerForgeError:
        return False, False
    return np.allclose(both, y + z, 1e-4, 1e-5), np.allclose(between, (y + z) / 2, 1e-4, 1e-5)


def _copy(layer: Layer) -> Layer:
    """The reference of a layer anew, with the same hyper-parameters and parameters."""
    cls = LAYERS.get(layer.type_name) if hasattr(layer, "engine") else type(layer)
    copy = cls.__new__(cls)
    vars(copy).update({name: getattr(layer, name) for name in layer.fields})
    copy.name, copy.xp, copy.dtype, copy.params = layer.name, layer.xp, layer.dtype, layer.params
    copy.tops_wanted, copy.run = layer.tops_wanted, Run(layer.run.phase, keep=False)
    return copy
