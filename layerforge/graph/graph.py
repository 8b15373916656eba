"""The graph of a net: its layers in order, and for each phase who reads what and which shapes flow.

builder.py makes it from a configuration, in_place.py proves which overwriting is safe, gradients.py finds which
gradients are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..arrays.spec import Spec
from ..config.sections import ENGINES
from ..contract.fillers import Filler
from ..contract.layer import Layer
from ..schema.locations import Place, place_of
from ..schema.params import Declared, param
from ..schema.precisions import MATMUL_PRECISIONS, PRECISIONS
from .multipliers import Multipliers

PHASES = ("train", "eval")


class Wiring(Declared):
    """The keys of a layer that the framework owns."""

    name: str = param(help="unique name; checkpoints, --set and blobs use it")
    type: str = param(help="layer type, as `layerforge layers` lists them")
    bottom: str | list[str] | None = param(None, help="blobs that it reads; by default the top of the layer above")
    top: str | list[str] | None = param(None, help="blobs that it makes; by default its own name")
    phase: str | None = param(None, help="only in this phase", choices=(*PHASES, None))
    loss_weight: float | list[float] | None = param(None, help="weight of its tops in the loss that is minimised")
    lr_mult: float | dict[str, float] | None = param(None, help="factor on lr, for all parameters or by name", ge=0)
    decay_mult: float | dict[str, float] | None = param(None, help="factor on weight_decay, likewise", ge=0)
    freeze: bool = param(False, help="do not train its parameters")
    engine: str | None = param(
        None, help="who computes this layer; by default as the top-level key says", choices=(*ENGINES, None)
    )
    precision: str | None = param(
        None, help="what it computes and stores in; by default as the top-level key says", choices=(*PRECISIONS, None)
    )
    matmul_precision: str | None = param(
        None, help="what its products are computed in; likewise", choices=(*MATMUL_PRECISIONS, None)
    )
    recompute: bool = param(False, help="keep nothing for backward, but run forward once more then")
    share: dict[str, str] = param({}, help="parameters taken from another layer: {weight: fc1.weight}")


@dataclass
class Node:
    """A layer in its place: what it reads and makes, in which phases, with which weights."""

    layer: Layer
    wiring: Wiring
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    item: Mapping[str, Any]  # as written, for the places of its values
    loss_weights: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        return self.layer.name

    @property
    def place(self) -> Place | None:
        return self.layer.place

    def place_of_bottom(self, name: str) -> Place | None:
        """Where a bottom is named; where the layer is, if the bottom is not written down."""
        written = self.item.get("bottom")
        if isinstance(written, list) and name in written:
            return place_of(written, written.index(name)) or self.place
        return place_of(self.item, "bottom") if written is not None else self.place

    def runs_in(self, phase: str) -> bool:
        return self.wiring.phase in (None, phase)

    def written_factor(self, key: str, name: str) -> float | None:
        """What the keys `lr_mult` or `decay_mult` say of a parameter; None where they say nothing."""
        value = getattr(self.wiring, key)
        return value.get(name) if isinstance(value, Mapping) else value

    def multipliers(self, name: str) -> Multipliers:
        """The factors on a parameter's learning rate and decay: the configuration's, else what the layer declared."""
        decl = self.layer.param_decls[name]
        lr, decay = self.written_factor("lr_mult", name), self.written_factor("decay_mult", name)
        return Multipliers(
            decl.lr_mult if lr is None else lr, decl.decay_mult if decay is None else decay, self.wiring.freeze
        )


@dataclass
class Blob:
    """One version of a named blob. Writing in place makes a new version in the same storage."""

    name: str
    index: int
    storage: int
    spec: Spec | None = None
    producer: Node | None = None
    readers: list[tuple[Node, int]] = field(default_factory=list)
    overwritten_by: Node | None = None
    settled: bool = False  # it was overwritten, nobody's backward reads it, and nobody can read it any more
    needs_grad: bool = False


@dataclass(frozen=True)
class Step:
    """A node in the order of one phase, with the blobs of that phase by index."""

    node: Node
    bottoms: tuple[int, ...]
    tops: tuple[int, ...]
    in_place: bool = False
    needs_grad: tuple[bool, ...] = ()
    runs_backward: bool = False


@dataclass
class PhaseGraph:
    """Everything that happens in one phase."""

    phase: str
    steps: list[Step] = field(default_factory=list)
    blobs: list[Blob] = field(default_factory=list)
    current: dict[str, Blob] = field(default_factory=dict)
    sharing: dict[int, list[Blob]] = field(default_factory=dict)  # by storage, those that are not settled

    def add(self, blob: Blob) -> None:
        """A blob is made, and from now on is what its name means."""
        self.blobs.append(blob)
        self.current[blob.name] = blob
        self.sharing.setdefault(blob.storage, []).append(blob)

    def has_losses(self) -> bool:
        """Whether anything is minimised in this phase."""
        return any(any(step.node.loss_weights) for step in self.steps)

    def outputs(self) -> list[Blob]:
        """The tops that nobody consumes, in order."""
        return [b for b in self.current.values() if b.producer is not None and not b.readers]


@dataclass(frozen=True)
class StartingValue:
    """The filler that the graph chose for a parameter, and the reason in words."""

    filler: Filler
    why: str


@dataclass
class Graph:
    """The layers of a net in order, and the graph of each phase.

    shared           from each parameter that is taken from another layer to the one whose memory it has
    starting_values  how the parameters start that declare no filler, by (layer, parameter)
    """

    nodes: list[Node]
    inputs: dict[str, Spec]
    input_grads: frozenset[str]
    phases: dict[str, PhaseGraph]
    shared: dict[tuple[str, str], tuple[str, str]]
    starting_values: dict[tuple[str, str], StartingValue] = field(default_factory=dict)

    def filler(self, node: Node, name: str) -> Filler:
        """The filler of a parameter that is its layer's own: what the layer declared, else what was chosen."""
        return node.layer.param_decls[name].filler or self.starting_values[node.name, name].filler

    def multipliers(self) -> dict[tuple[str, str], Multipliers]:
        """The factors on each parameter's learning rate and decay: the configuration's, else the layer's own."""
        return {(node.name, name): node.multipliers(name) for node in self.nodes for name in node.layer.param_decls}
