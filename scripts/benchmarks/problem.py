"""A net of the benchmark as the driver hands it to every competitor: inputs, update, and how much work a step is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .catalogue import NETS

if TYPE_CHECKING:
    from layerforge.net import Net

# Trips through memory in a step.
BLOB_PASSES = 5  # the value is written, read forward and read backward, its gradient written and read
INPUT_PASSES = 2  # read forward, read backward
PARAMETER_PASSES = 8  # in the net: 2 of the value, 1 of the gradient; in the update: 1 of that, 2 of value and history


@dataclass(frozen=True)
class Problem:
    """What all competitors solve.

    dtype         of parameters and real inputs
    inputs        by name: shape, dtype, and for integers the bound below which they are drawn
    scores        the blob that inference asks for
    input_grads   the inputs that get a gradient
    shapes        of the parameters
    rates         by parameter: the factors on lr and on weight_decay
    forward_flops, step_flops    counted by the layers, for one batch
    step_bytes    least traffic with memory that a training step needs, where activations are fused into what is above
    largest_bytes of one blob or parameter: tells which cache holds it
    """

    name: str
    config: str
    dtype: str
    inputs: dict[str, tuple[list[int], str, int]]
    input_grads: list[str]
    scores: str
    shapes: dict[str, tuple[int, ...]]
    lr: float
    momentum: float
    weight_decay: float
    rates: dict[str, tuple[float, float]]
    forward_flops: int
    step_flops: int
    step_bytes: int
    largest_bytes: int

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def load(name: str, overrides: Sequence[str] = ()) -> Problem:
    """The problem of a net of the catalogue, from its configuration.

    Errors   LayerForgeError where the configuration is wrong
    """
    from layerforge.cli.net_table import describe
    from layerforge.net import Net

    path = NETS[name].config
    net = Net.from_yaml(path, overrides, keep="none")
    solver, totals = net.config.solver, describe(net)["totals"]
    scores = next(node for node in net.graph.nodes if any(node.loss_weights)).bottoms[0]
    blobs = net.graph.phases["train"].current
    classes = blobs[scores].spec.shape[1]
    slots = net.parameters.slots.values()
    return Problem(
        name,
        str(path),
        net.dtype,
        {n: (list(s.shape), s.dtype, 0 if s.is_real else classes) for n, s in net.graph.inputs.items()},
        sorted(net.graph.input_grads),
        scores,
        {f"{s.layer}.{s.name}": s.shape for s in slots},
        solver.lr,
        solver.rule.momentum,
        solver.weight_decay,
        {f"{s.layer}.{s.name}": (s.lr_mult, s.decay_mult) for s in slots},
        totals["forward_flops"],
        totals["step_flops"],
        step_bytes(net),
        max(4 * s.size for s in [*slots, *(b.spec for b in blobs.values() if b.spec)]),
    )


def step_bytes(net: Net) -> int:
    """The traffic with memory of a training step, estimated from the sizes of blobs and parameters in float32.

    Tops of layers that can work in place or make views cost nothing: a good implementation fuses them.
    """
    graph = net.graph.phases["train"]
    numbers = sum(INPUT_PASSES * b.spec.size for b in graph.blobs if b.producer is None and b.spec)
    numbers += PARAMETER_PASSES * net.parameters.count
    for step in graph.steps:
        layer = step.node.layer
        if not (layer.inplace or layer.top_is_view):
            numbers += sum(BLOB_PASSES * spec.size for i in step.tops if (spec := graph.blobs[i].spec))
    return 4 * numbers
