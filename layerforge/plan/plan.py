"""Plans: for one phase and one set of input shapes, what runs in which order and when a blob is not needed any more.

A plan is a value: it has no memory and never changes. planner.py makes it, run/executor.py runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ..arrays.spec import Spec
from ..engines.protocol import is_engine_layer
from ..graph.graph import Step
from ..schema.errors import ConfigError
from ..schema.precisions import FULL
from ..schema.synonyms import did_you_mean

REFERENCE = "reference"  # the engine that every layer has: its layer file


@dataclass(frozen=True)
class EngineChoice:
    """Who computes a layer, and why not another; `into` names the layer that it became a part of.

    precision  what it computes and stores in
    wide       why that is not the precision asked for
    """

    engine: str
    why: str = ""
    into: str = ""
    precision: str = FULL
    wide: str = ""


@dataclass(frozen=True)
class Plan:
    """The steps of one phase for inputs of given shapes. Blobs are numbered; `names` and `specs` go by number.

    inputs       (number, name) of those that are given
    outputs      what forward returns, by name
    losses       (number, loss_weight)
    current      what the names of the phase mean once all is done
    kept         the blobs that were asked to be kept, data and gradient
    keeps_all    these are all, each in memory of its own, and a backward leaves what the forward kept as it is
    backward     whether one may follow
    choices      by layer: who computes it, and why
    engine       the engine that some layers may have; "" where all are the reference's
    overwriting  the layers whose backward can write the gradients of their parameters instead of adding to them
    halved       the blobs that are stored in bfloat16, and their gradients
    rounded      the blobs that are stored in float32 and rounded, with their gradients, to this precision
    released     by layer: the blobs that nobody needs after it
    segments     what is recomputed: the number of the first step by that of the last
    """

    phase: str
    steps: tuple[Step, ...]
    names: tuple[str, ...]
    specs: tuple[Spec, ...]
    inputs: tuple[tuple[int, str], ...]
    outputs: Mapping[str, int]
    losses: tuple[tuple[int, float], ...]
    current: Mapping[str, int]
    kept: frozenset[int]
    keeps_all: bool = False
    backward: bool = True
    choices: Mapping[str, EngineChoice] = field(default_factory=dict)
    engine: str = ""
    overwriting: frozenset[str] = frozenset()
    halved: frozenset[int] = frozenset()
    rounded: Mapping[int, str] = field(default_factory=dict)
    released: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    segments: Mapping[int, int] = field(default_factory=dict)

    @cached_property
    def fed(self) -> frozenset[int]:
        """The blobs that depend on an input."""
        found = {i for i, _ in self.inputs}
        for step in self.steps:
            found |= set(step.tops) if found & set(step.bottoms) else set()
        return frozenset(found)

    @cached_property
    def holds(self) -> frozenset[int]:
        """The blobs that its passes know: inputs that are given, and what its steps make."""
        return frozenset(i for i, _ in self.inputs) | {i for step in self.steps for i in step.tops}

    @cached_property
    def makers(self) -> Mapping[int, Step]:
        """The step that makes each blob."""
        return {i: step for step in self.steps for i in step.tops}

    @cached_property
    def makers_of_losses(self) -> tuple[tuple[Step, int], ...]:
        """The step that makes each loss, with the blob, in the order of `losses`."""
        return tuple((self.makers[i], i) for i, _ in self.losses)

    @cached_property
    def begins_backward(self) -> frozenset[int]:
        """The blobs from which a backward begins that is given no cotangent; its real outputs where it has no loss."""
        losses = frozenset(i for i, _ in self.losses)
        return losses or frozenset(i for i in self.outputs.values() if self.specs[i].is_real)

    @cached_property
    def segment_of(self) -> Mapping[int, int]:
        """For every step that is recomputed the number of the last step of its segment."""
        return {i: last for last, first in self.segments.items() for i in range(first, last + 1)}

    @cached_property
    def has_engine_layers(self) -> bool:
        """Whether an engine computes any of its layers."""
        return any(is_engine_layer(step.node.layer) for step in self.steps)

    @cached_property
    def staying(self) -> frozenset[int]:
        """The blobs that must exist after the pass: outputs, losses, inputs, what is kept, and what metrics read."""
        stay = set(self.outputs.values()) | {i for i, _ in self.losses} | {i for i, _ in self.inputs}
        counted = set(stay)  # what they are means over is looked up afterwards, in what they or scalars below them read
        for step in reversed(self.steps):
            if counted & set(step.tops):
                stay |= set(step.bottoms)
                counted |= {i for i in step.bottoms if not self.specs[i].shape}
        return stay | self.kept

    def index_of(self, name: str) -> int:
        """The number of a blob; ConfigError with a suggestion where there is none."""
        return index_of(name, self.current, self.phase)


def index_of(name: str, current: Mapping[str, int], phase: str) -> int:
    """The number of a blob among those of a phase; ConfigError with a suggestion where there is none."""
    if name not in current:
        hint = did_you_mean(name, current) or f"blobs: {', '.join(current)}"
        raise ConfigError(f"the net has no blob '{name}' in phase {phase}", hint=hint)
    return current[name]
