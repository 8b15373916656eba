"""Who computes each layer of a plan.

Nothing here changes what is computed: an engine's layer stands in for a reference layer of the same hyper-parameters,
parameters and state, and `choices` says of every layer who computes it and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..arrays.formula import DEVICE
from ..config.other_backend import belongs
from ..config.sections import Top
from ..engines.protocol import EngineLayer
from ..graph.graph import Node, Step
from ..schema import registry
from ..schema.errors import BackendError
from ..schema.precisions import FULL, HIGHEST
from .plan import REFERENCE, EngineChoice, Plan

FAST = "onednn"  # what `engine: auto` means on a CPU
SPARSE = "a bottom is sparse"
ASKED_FOR = "asked for"  # why a layer is the reference's by its key or the net's
NO_OTHER = "no other"  # why a layer is the reference's that no engine has


@dataclass(frozen=True)
class EngineRequest:
    """What a net asks of its engines: the top-level keys `engine`, `precision` and `matmul_precision`, the backend,
    its dtype, and how many threads.
    """

    engine: str
    backend: str
    dtype: str
    threads: int
    precision: str = FULL
    matmul_precision: str = HIGHEST

    @classmethod
    def of_top(cls, top: Top, backend: str, threads: int) -> EngineRequest:
        """What the top level of a configuration asks for."""
        return cls(top.engine, backend, top.dtype, threads, top.precision, top.matmul_precision)

    @property
    def on_device(self) -> bool:
        """Whether kernels compute, which stand in for functions and not for layers."""
        return self.backend != "numpy"

    @property
    def fast(self) -> str:
        """The engine that `auto` means."""
        return DEVICE if self.on_device else FAST

    def obstacle(self, engine: str) -> str | None:
        """Why no layer of the net can be computed by an engine; None where some may."""
        if not belongs(engine, self.backend):
            return f"the backend is {self.backend}"
        if engine == FAST and self.dtype != "float32":
            return f"the numbers are {self.dtype}"
        return registry.engine(engine).missing()

    def of(self, node: Node) -> str:
        """The engine that a layer asks for: its own key, or the net's."""
        return node.wiring.engine or self.engine

    def precision_of(self, node: Node) -> str:
        """What a layer asks to compute in: its own key, or the net's."""
        return node.wiring.precision or self.precision

    def matmul_precision_of(self, node: Node) -> str:
        """What the products of a layer may be computed in: its own key, or the net's."""
        return node.wiring.matmul_precision or self.matmul_precision

    def as_text(self, nodes: Iterable[Node]) -> frozenset[str]:
        """The layers whose functions are not to be computed by kernels, which only a device has."""
        return frozenset(node.name for node in nodes if self.on_device and self.of(node) == REFERENCE)

    def computing(self, nodes: Iterable[Node]) -> dict[str, Any]:
        """For tables and records: the `library` that computes in a net of these layers and with how many `threads`.

        The threads are those that the net was made with, whatever other nets of the process have since; None on a
        device.

        Both are None where all is the reference's; then `why` says why.
        """
        why = ASKED_FOR if all(self.of(node) == REFERENCE for node in nodes) else self.obstacle(self.fast)
        if why:
            return {"library": None, "threads": None, "why": why}
        threads = None if self.on_device else self.threads
        return {"library": registry.engine(self.fast).describe(), "threads": threads, "why": None}


def with_engines(plan: Plan, request: EngineRequest) -> Plan:
    """The plan in which every layer is computed by the engine that it asks for, where that engine does not refuse it.

    Errors   BackendError (exit 5) where an engine is asked for by name and cannot be had
    """
    asked_for = {step.node.name: request.of(step.node) for step in plan.steps}
    for engine in sorted({FAST, DEVICE}.intersection(asked_for.values())):
        if why := request.obstacle(engine):
            raise BackendError(f"engine '{engine}' is asked for, but {why}", hint="or set `engine: auto`")
    if request.on_device:
        return replace(plan, choices={name: _on_device(engine) for name, engine in asked_for.items()})
    wanted = any(engine != REFERENCE for engine in asked_for.values())
    obstacle = request.obstacle(FAST) if wanted else None
    table = registry.engine(FAST).layers() if wanted and not obstacle else {}
    choices = {step.node.name: _choice(plan, step, asked_for[step.node.name], table, obstacle) for step in plan.steps}
    return replace(
        plan,
        steps=tuple(_stand_in(step, choices[step.node.name], table) for step in plan.steps),
        choices=choices,
        engine=FAST if table else "",
    )


def _on_device(asked_for: str) -> EngineChoice:
    return EngineChoice(REFERENCE, ASKED_FOR) if asked_for == REFERENCE else EngineChoice(DEVICE)


def _choice(
    plan: Plan, step: Step, asked_for: str, table: Mapping[str, type[EngineLayer]], obstacle: str | None
) -> EngineChoice:
    layer = step.node.layer
    cls = table.get(layer.type_name)
    if asked_for == REFERENCE or cls is None or not cls.stands_for(layer):
        return EngineChoice(REFERENCE, ASKED_FOR if asked_for == REFERENCE else obstacle or NO_OTHER)
    if any(plan.specs[i].sparse for i in step.bottoms):
        return EngineChoice(REFERENCE, SPARSE)
    why = cls.refuses(layer, [plan.specs[i] for i in step.bottoms], [plan.specs[i] for i in step.tops])
    return EngineChoice(REFERENCE, why) if why else EngineChoice(cls.engine)


def _stand_in(step: Step, choice: EngineChoice, table: Mapping[str, type[EngineLayer]]) -> Step:
    if choice.engine == REFERENCE:
        return step
    layer = table[step.node.layer.type_name].instead_of(step.node.layer)
    return replace(step, node=replace(step.node, layer=layer))


def overwriting_layers(
    steps: Sequence[Step], shared: Mapping[tuple[str, str], tuple[str, str]]
) -> frozenset[str]:
    """The layers whose backward alone makes the gradients of their parameters, and can write them (beta = 0)."""
    several = {name for names in shared.items() for name, _ in names}
    alone = (step.node.layer for step in steps if step.runs_backward and step.node.name not in several)
    return frozenset(layer.name for layer in alone if layer.can_overwrite_grad)
