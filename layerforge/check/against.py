"""Layers and nets against another implementation: torch, where it is installed.

Of a layer, on each of its examples and in both phases, in float64: the tops, the gradient of every bottom and of every
parameter, the running statistics afterwards. Of a net, in both phases, on random inputs: every blob and its gradient,
every parameter's gradient, the statistics. Random masks are ours in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..arrays.backend import NUMPY, Backend
from ..config.document import Config
from ..contract.layer import Layer
from ..graph.graph import PHASES
from ..net import Net
from ..schema.errors import LayerForgeError
from ..schema.optional import require
from .agreement import EMPTY_MEAN, USUAL, Agreement, Allowed, Compared, compared
from .draws import disturb, random_inputs
from .grounds import title
from .harness import SEED, Probe
from .one_step import OneStep, owner_of, statistics_of, take_step

Arrays = dict[str, np.ndarray]


class Refusal(LayerForgeError):
    """The other implementation cannot do what was asked; the message is its own."""


@dataclass(frozen=True)
class Hyper(Mapping[str, Any]):
    """Hyper-parameters that remember which of them were looked at: who overlooks one computes another layer."""

    given: Mapping[str, Any]
    read: set[str] = field(default_factory=set)

    def __getitem__(self, name: str) -> Any:
        value = self.given[name]
        self.read.add(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self.given)

    def __len__(self) -> int:
        return len(self.given)

    @property
    def overlooked(self) -> list[str]:
        """Those that were given and not looked at."""
        return [name for name in self.given if name not in self.read]


@dataclass(frozen=True)
class Asked:
    """A layer and what it is given. `cotangents` has None for an index top; it is None itself for a metric."""

    type_name: str
    name: str
    phase: str
    hyper: Mapping[str, Any]
    bottoms: list[np.ndarray]
    needs_grad: tuple[bool, ...]
    params: Arrays
    state: Arrays
    tops: int
    cotangents: list[np.ndarray | None] | None
    seed: int


class Reference(Protocol):
    """Another implementation of the layers."""

    name: str

    def knows(self, type_name: str) -> bool:
        """Whether it has this layer."""
        ...

    def layer(self, asked: Asked) -> Arrays:
        """top[0] ..., bottom[0].grad ..., weight.grad ..., and statistics by name; Refusal where it cannot."""
        ...

    def step(self, net: Net, state: Arrays, inputs: Arrays, phase: str, ours: OneStep) -> Arrays:
        """The arrays of one_step.take_step; `state` is what statistics were before, by "layer.name"."""
        ...


def torch_reference() -> Reference:
    """torch, through layerforge/check/torch_twins.

    Errors   ConfigError (exit 2) with the line that installs it where torch is missing
    """
    require("torch", extra="torch", why="--against torch")
    from .torch_twins.reference import Torch

    return Torch()


# Layers ---------------------------------------------------------------------------------------------------------------


def against(
    cls: type[Layer],
    reference: Reference,
    allowed: Allowed = USUAL,
    seed: int = 0,
    tick: Callable[[int], None] = lambda done: None,
    backend: Backend = NUMPY,
) -> Agreement:
    """Compare all examples of a layer in both phases. `tick` is told how many examples are done."""
    agreement = Agreement(reference.name, layers=[cls.type_name], allowed=allowed, backends=[title(backend)])
    if not reference.knows(cls.type_name):
        agreement.unknown.append(cls.type_name)
        return agreement
    if not cls.examples:
        agreement.warnings.append(f"{cls.type_name} has no examples to compare it on; add `examples = [Example(...)]`")
    for number in range(len(cls.examples)):
        for phase in PHASES:
            try:
                probe = Probe(cls, cls.examples[number], phase=phase, seed=SEED + seed, backend=backend)
                agreement.rows += _example(probe, number, phase, reference, allowed)
            except Refusal as refusal:
                agreement.refused[f"{cls.type_name}-{number}"] = refusal.message
        tick(number + 1)
    return agreement


def _example(probe: Probe, number: int, phase: str, reference: Reference, allowed: Allowed) -> list[Compared]:
    """The rows of one run of a layer."""
    probe.layer.run.keep = True
    empty_mean = bool(probe.bottoms and probe.top_specs) and probe.layer.mean_over(*probe.bottoms) == 0
    asked = _question(probe, phase)
    ours = {f"top[{j}]": probe.host(top) for j, top in enumerate(probe.forward())}
    ours |= {name: probe.host(array) for name, array in probe.layer.state.items()}
    if asked.cotangents is not None:
        probe.zero_grad()
        dys = [None if dy is None else probe.device(dy) for dy in asked.cotangents]
        named = probe.named(probe.backward(dys))
        live = probe.arrays()
        ours |= {f"{k}.grad": np.zeros(live[k].shape) if g is None else g for k, g in named.items()}
    theirs, note = reference.layer(asked), ""
    if empty_mean and np.isnan(theirs["top[0]"]).all() and ours["top[0]"].ndim == 0:
        theirs, note = {name: np.zeros_like(array) for name, array in theirs.items()}, EMPTY_MEAN
    names = dict.fromkeys([*ours, *theirs])
    run = (asked.type_name, str(number), phase)
    return [compared(run, name, ours.get(name), theirs.get(name), allowed, note) for name in names]


def _question(probe: Probe, phase: str) -> Asked:
    """What a probe is going to compute. Its forward runs once on the way; statistics are put back."""
    layer, before = probe.layer, {name: probe.host(array) for name, array in probe.layer.state.items()}
    tops = probe.forward()
    for name, array in before.items():
        layer.state[name][...] = probe.backend.from_host(array)
    return Asked(
        layer.type_name,
        layer.name,
        phase,
        dict(probe.example.params),
        [probe.backend.to_host(x).copy() for x in probe.bottoms],
        layer.needs_grad,
        {name: probe.host(array) for name, array in layer.params.items()},
        before,
        len(tops),
        [probe.host(dy) for dy in probe.draw_cotangents(tops)] if layer.is_differentiable() else None,
        layer.run.seed,
    )


# Nets -----------------------------------------------------------------------------------------------------------------


def against_net(
    config: Config, reference: Reference, allowed: Allowed = USUAL, seed: int = 0, backend: Backend | None = None
) -> Agreement:
    """Compare a whole net in float64, in both phases, on random inputs and at disturbed parameters.

    It computes on the backend, by default on that of its configuration.
    Where the reference lacks some of the layers, the other types are compared on their own examples instead.

    Errors   LayerForgeError where the net does not run
    """
    net = Net(config.in_full_precision(dtype="float64"), backend=backend)
    types = list(dict.fromkeys(node.layer.type_name for node in net.graph.nodes))
    agreement = Agreement(reference.name, layers=types, allowed=allowed, backends=[title(net.backend)])
    agreement.unknown = [name for name in types if not reference.knows(name)]
    if agreement.unknown:
        missing = ", ".join(agreement.unknown)
        words = f"{config.name}: {reference.name} does not have {missing}: each other layer is compared on its examples"
        agreement.warnings.append(words)
        for cls in {node.layer.type_name: type(node.layer) for node in net.graph.nodes}.values():
            agreement += against(cls, reference, allowed, seed, backend=net.backend)
        return agreement
    disturb(net, SEED + seed)
    inputs = random_inputs(net, SEED + seed)
    for phase in PHASES:
        state = statistics_of(net)
        ours = take_step(net, inputs, phase, SEED + seed)
        try:
            theirs = reference.step(net, state, inputs, phase, ours)
        except Refusal as refusal:
            agreement.refused[f"{config.name} {phase}"] = refusal.message
            continue
        agreement.rows += _net_rows(net, phase, ours.arrays, theirs, allowed)
    return agreement


def _net_rows(net: Net, phase: str, ours: Arrays, theirs: Arrays, allowed: Allowed) -> list[Compared]:
    """The rows of a net in a phase, each under its layer; what the step began with is the same by itself."""
    rows = []
    for path in (path for path in ours if not (path.startswith("parameters/") and path.endswith("/data"))):
        owner, array = owner_of(net.graph.phases[phase], path)
        kind = f" ({net.layers[owner].type_name})" if owner in net.layers else ""
        rows.append(compared((f"{owner}{kind}", "", phase), array, ours[path], theirs[path], allowed))
    return rows
