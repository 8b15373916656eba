"""A watched net: what every array of a step was, in the order in which they came to be, and what each was made of.

The first array that went non-finite and mattered is found by going back: from a loss or a parameter's gradient that is
not finite to what it was made of, as long as that is not finite either. An infinity that something swallowed on the way
(a mask of -inf below a softmax) is not on that path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..arrays.sparse import stored
from ..config.document import Config
from ..contract.layer import reads
from ..graph.graph import Node, Step
from ..net import Net
from ..run.observer import Observer

DATA, PARAMETER, STATISTIC, BLOB = "input", "parameter", "statistic", "blob"
GRADIENT, PARAMETER_GRADIENT, SUM, SEED = "gradient", "parameter gradient", "sum of gradients", "seed"
BACKWARD = (GRADIENT, PARAMETER_GRADIENT, SUM, SEED)
NORM, LOSS = "norm", "loss"


@dataclass
class Seen:
    """What an array was when it came to be.

    kind      input, parameter, statistic, blob; gradient (of a blob), sum of gradients (where several layers read a
              blob), parameter gradient, seed (where backward begins); norm and loss, which are one number
    name      of the blob or input, or layer.parameter
    layer     whose forward or backward made it, or whose parameter it is; "" for an input
    low, high the smallest and the largest value that is not NaN; nan, inf: how many are NaN and infinite
    """

    kind: str
    name: str
    layer: str
    shape: tuple[int, ...]
    low: float
    high: float
    nan: int
    inf: int
    made_of: list[Seen] = field(default_factory=list, repr=False)
    time: int = 0

    @property
    def finite(self) -> bool:
        return not (self.nan or self.inf)

    @property
    def backward(self) -> bool:
        """Whether it came to be in backward."""
        return self.kind in BACKWARD

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


def look(kind: str, name: str, layer: str, array: np.ndarray, made_of: Sequence[Seen] = ()) -> Seen:
    """The record of an array on the host."""
    real = array.dtype.kind == "f"
    nan, inf = (int(np.isnan(array).sum()), int(np.isinf(array).sum())) if real else (0, 0)
    numbers = array.size - nan
    low, high = (float(np.fmin.reduce(array, None)), float(np.fmax.reduce(array, None))) if numbers else (np.nan,) * 2
    return Seen(kind, name, layer, array.shape, low, high, nan, inf, list(made_of))


class WatchedNet(Net):
    """A net that keeps every blob and is watched (see Watch), on the engines that its configuration asks for."""

    def __init__(self, config: Config, backend: str | Backend | None = None) -> None:
        super().__init__(config, keep="all", backend=backend)
        self.watch = Watch(self)
        self.observe(self.watch)


class Watch(Observer):
    """Records what the layers of a net take and make in train; `seen` in order of time.

    It observes every step, so a blob is looked at before anything can overwrite it. A layer that raises keeps what was
    seen before.
    """

    def __init__(self, net: Net) -> None:
        self.net = net
        self.seen: list[Seen] = []
        self.losses: list[Seen] = []
        self.gradients: dict[tuple[str, str], Seen] = {}  # of parameters, as they are by now
        self._fixed: dict[tuple[str, str, str], Seen] = {}
        self._values: dict[int, Seen] = {}
        self._cotangents: dict[int, list[Seen]] = {}
        self._fixed_now: list[Seen] = []  # the parameters and statistics of the present step
        self._sources_now: list[Seen] = []  # what its backward is made of
        blobs = net.graph.phases["train"].blobs
        self._inputs = {b.name: b.index for b in blobs if b.producer is None}

    def begin(self, batch: dict[str, np.ndarray]) -> None:
        """A micro-batch begins: its inputs are the first that is seen of it."""
        self._values, self._cotangents, self.losses = {}, {}, []
        for name, index in self._inputs.items():
            if name in batch:
                self._values[index] = self._see(DATA, name, "", batch[name])

    def _see(self, kind: str, name: str, layer: str, array: Any, made_of: Sequence[Seen] = ()) -> Seen:
        seen = look(kind, name, layer, np.asarray(self.net.backend.to_host(stored(array))), made_of)
        seen.time = len(self.seen)
        self.seen.append(seen)
        return seen

    def _name(self, index: int) -> str:
        """The name of a blob of the pass that is watched, or of a cast of one."""
        return self.net.current_plan.names[index]

    # Forward ------------------------------------------------------------------------------------------------------

    def _fixed_of(self, node: Node) -> list[Seen]:
        """The parameters and running statistics of a layer as they were before its first forward."""
        layer = node.layer
        for kind, arrays in ((PARAMETER, layer.params), (STATISTIC, layer.state)):
            for name, array in arrays.items():
                key = (kind, layer.name, name)
                if key not in self._fixed:
                    self._fixed[key] = self._see(kind, f"{layer.name}.{name}", layer.name, array)
        return [seen for key, seen in self._fixed.items() if key[1] == layer.name]

    def before_forward(self, number: int, step: Step, bottoms: Sequence[Any], again: bool) -> None:
        self._fixed_now = self._fixed_of(step.node)

    def after_forward(self, number: int, step: Step, tops: Sequence[Any], again: bool) -> None:
        sources = [*(self._values[i] for i in step.bottoms if i in self._values), *self._fixed_now]
        weights = step.node.loss_weights or (0.0,) * len(step.tops)
        for index, top, weight in zip(step.tops, tops, weights, strict=False):
            self._values[index] = self._see(BLOB, self._name(index), step.node.name, top, sources)
            if weight:
                self.losses.append(self._values[index])

    # Backward -----------------------------------------------------------------------------------------------------

    def before_backward(self, number: int, step: Step, dtops: Sequence[Any]) -> None:
        self._sources_now = self._sources(step, dtops)

    def _sources(self, step: Step, dtops: Sequence[Any]) -> list[Seen]:
        """What a backward is made of: the gradients of its tops, and the arrays that the layer says it reads."""
        layer = step.node.layer
        sources = [self._cotangent(step, i, dy) for i, dy in zip(step.tops, dtops, strict=False) if dy is not None]
        for kind, indices in (("bottom", step.bottoms), ("top", step.tops)):
            read = (index for i, index in enumerate(indices) if reads(layer, kind, i))
            sources += [self._values[index] for index in read if index in self._values]
        return [*sources, *(s for key, s in self._fixed.items() if key[:2] == (PARAMETER, layer.name))]

    def _cotangent(self, step: Step, index: int, dy: Any) -> Seen:
        """The gradient of a top: what its one reader made, the sum of what several made, or where backward begins."""
        parts = self._cotangents.get(index, [])
        seeded = any(weight for top, weight in zip(step.tops, step.node.loss_weights, strict=False) if top == index)
        if len(parts) == 1 and not seeded:
            return parts[0]
        return self._see(SUM if parts else SEED, self._name(index), step.node.name, dy, parts)

    def after_backward(self, number: int, step: Step, dbottoms: Sequence[Any]) -> None:
        layer, sources = step.node.layer, self._sources_now
        for name, array in layer.grads.items():
            if layer.needs_param_grad[name]:
                owner = self.net.graph.shared.get((layer.name, name), (layer.name, name))
                earlier = [self.gradients[owner]] if owner in self.gradients else []
                full = f"{layer.name}.{name}"
                seen = self._see(PARAMETER_GRADIENT, full, layer.name, array, [*sources, *earlier])
                self.gradients[owner] = seen
        for index, needed, grad in zip(step.bottoms, step.needs_grad, dbottoms, strict=False):
            if needed and grad is not None:
                seen = self._see(GRADIENT, self._name(index), layer.name, grad, sources)
                self._cotangents.setdefault(index, []).append(seen)


def first_cause(ends: Sequence[Seen]) -> Seen | None:
    """The earliest array on the way to these that is not finite although all that it was made of is.

    A gradient whose upstream gradient is not finite has that for its cause, whatever else its backward reads.
    """
    waiting, known, causes = [seen for seen in ends if not seen.finite], set(), []
    while waiting:
        seen = waiting.pop()
        if seen.time in known:
            continue
        known.add(seen.time)
        broken = [source for source in seen.made_of if not source.finite]
        waiting += [source for source in broken if source.backward] or broken
        if not broken:
            causes.append(seen)
    return min(causes, key=lambda seen: seen.time, default=None)
