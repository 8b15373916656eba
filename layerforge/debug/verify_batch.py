"""`layerforge verify batch`: the gradient of a batch is that of its parts, put to the test on the user's own net.

The first batch of the training data goes through Solver.accumulate whole, and cut into parts: halves, ragged pieces,
one sample and the rest. Every parameter's averaged gradient must come out the same, to 1e-6 of its norm in float32 and
1e-14 in float64, with dropout at work: its masks belong to the samples, not to the parts.

What a layer makes of a sample may depend on the rest of its batch: BatchNorm in train, a softmax along the batch. Such
layers are found by running each one alone on parts of what it sees. Those that keep running statistics are frozen for
the test (use_running_stats); what any other one has a part in is not promised, and listed as that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arrays.sparse import shape_of
from ..arrays.spec import Spec
from ..check.case import close
from ..check.draws import with_batch
from ..check.harness import Probe
from ..check.one_step import ordered_parameters
from ..check.replay import Replay
from ..config.document import Config
from ..contract import call
from ..contract.layer import Example
from ..graph.graph import PhaseGraph, Step
from ..net import Net
from ..plan.plan import Plan
from ..plan.planner import make_plan
from ..run.counting import Count, at_hand, loss_count
from ..schema.errors import ConfigError
from ..solvers.solver import Solver
from .trace import first_batch

LIMITS = {"float32": 1e-6, "float64": 1e-14}  # of the norm of an array
SWITCH = "use_running_stats"  # the hyper-parameter that freezes a layer's statistics
Batch = Mapping[str, Any]


@dataclass
class Cut:
    """A parameter's gradient from the whole batch and from its parts. `off` is the largest |a - b| by dtype, in norms.

    allowed   LIMITS; of a gradient so small that this is less than a rounding of the largest one's norm, that rounding
    """

    name: str
    norm: float = 0.0
    off: dict[str, float] = field(default_factory=dict)
    allowed: dict[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return all(off <= self.allowed[dtype] for dtype, off in self.off.items())


@dataclass
class BatchVerdict:
    """What came of a verification.

    cuts        the sizes of the parts, for each way to cut the batch
    gradients   a Cut for each parameter whose gradient is promised
    frozen      layers that depend on the batch and were frozen, "bn1 (BatchNorm)"
    depending   layers that depend on the batch and cannot be frozen
    unpromised  parameters in whose gradients those have a part
    averaged    where losses are means over different counts: what each is a mean over (None: it is a sum)
    as_trained  with nothing frozen: the parameter whose gradient depends most on the cut, and how much of its norm
    """

    name: str
    samples: int
    cuts: list[list[int]]
    gradients: list[Cut] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    depending: list[str] = field(default_factory=list)
    unpromised: list[str] = field(default_factory=list)
    averaged: dict[str, Count] = field(default_factory=dict)
    as_trained: tuple[str, float] | None = None

    @property
    def ok(self) -> bool:
        return all(cut.ok for cut in self.gradients)


def verify_batch(config: Config, seed: int = 0) -> BatchVerdict:
    """Compare the gradients of a batch with those of its parts; `seed` chooses where the ragged ones are cut.

    Errors   ConfigError where no gradient is promised or the batch has one sample; LayerForgeError of the net
    """
    net = Net(config.in_full_precision(dtype="float64"), keep="none")
    batch = first_batch(net, config)[0]
    verdict = _prepare(net, config, batch, seed)
    net.forward(phase="train", backward=False, copy=False, **batch)  # statistics to freeze that have seen something
    for dtype in LIMITS:
        _compare(_frozen(config, dtype, net, verdict.frozen), batch, verdict, dtype)
    return verdict


def _frozen(config: Config, dtype: str, source: Net, frozen: Sequence[str]) -> Net:
    """A net of that dtype with the values of another one, the statistics of some layers frozen from the start."""
    net = Net(config.in_full_precision(dtype=dtype), keep="none")
    for step in net.graph.phases["train"].steps:
        if _title(step) in frozen:
            setattr(step.node.layer, SWITCH, True)
    net.load_arrays(source.arrays(), "the net")
    return net


def _prepare(net: Net, config: Config, batch: Batch, seed: int) -> BatchVerdict:
    """A verdict that knows the cuts and what depends on the batch."""
    samples = _samples(batch)
    if samples < 2:
        raise ConfigError(f"a batch of {samples} cannot be cut", hint="take a larger batch_size")
    replay = _replay(net, batch)
    depending = depends_on_batch(replay)
    fixed = [step for step in depending if not _can_freeze(step)]
    least = 2 if fixed else 1  # what depends on the batch may have nothing to say of one sample
    verdict = BatchVerdict(config.name, samples, _cuts(samples, seed, min(least, samples // 2)))
    verdict.frozen = [_title(step) for step in depending if _can_freeze(step)]
    verdict.depending = [_title(step) for step in fixed]
    counts = _counts(replay)
    verdict.averaged = counts if len(set(counts.values())) > 1 else {}
    touched = _below_losses_of(net.graph.phases["train"], fixed)
    owners = {".".join(net.parameters.shared.get(k, k)) for k in _every_parameter(net) if k[0] in touched}
    every = [".".join(key) for key in ordered_parameters(net) if net.layers[key[0]].needs_param_grad[key[1]]]
    verdict.unpromised = [name for name in every if name in owners]
    verdict.gradients = [Cut(name) for name in every if name not in owners]
    if not verdict.gradients:
        why = f"all of them depend on {', '.join(verdict.depending)}" if verdict.depending else "nothing is learned"
        raise ConfigError(f"no gradient of this net can be had from parts of a batch: {why}")
    if verdict.frozen:
        halves = _parts(batch, verdict.cuts[0])
        whole, cut = gradients(net, [batch]), gradients(net, halves)
        norms = {name: float(np.linalg.norm(array)) for name, array in whole.items()}
        real = [name for name, norm in norms.items() if norm > LIMITS["float32"] * max(norms.values())]
        name = max(real, key=lambda n: _share(whole[n], cut[n]))
        verdict.as_trained = name, _share(whole[name], cut[name])
    return verdict


def _samples(batch: Batch) -> int:
    """The first axis of the first input; 1 where that is a single number, or there are no inputs."""
    shape = shape_of(next(iter(batch.values()), 0))
    return shape[0] if shape else 1


def _every_parameter(net: Net) -> Iterator[tuple[str, str]]:
    return ((layer.name, name) for layer in net.layers.values() for name in layer.params)


def _compare(net: Net, batch: Batch, verdict: BatchVerdict, dtype: str) -> None:
    """Fill in what one dtype says, all cuts together."""
    whole = gradients(net, [batch])
    norms = {name: float(np.linalg.norm(array)) for name, array in whole.items()}
    floor = float(np.finfo(dtype).eps) * max(norms.values())
    parts = [gradients(net, _parts(batch, cut)) for cut in verdict.cuts]
    for cut in verdict.gradients:
        cut.norm = norms[cut.name]
        furthest = max(float(np.abs(part[cut.name] - whole[cut.name]).max(initial=0)) for part in parts)
        cut.off[dtype] = furthest / cut.norm if cut.norm else furthest and math.inf
        cut.allowed[dtype] = max(LIMITS[dtype], floor / cut.norm if cut.norm else 0.0)


def _share(whole: np.ndarray, cut: np.ndarray) -> float:
    norm = float(np.linalg.norm(whole))
    return float(np.abs(whole - cut).max(initial=0)) / norm if norm else 0.0


def gradients(net: Net, parts: Sequence[Batch]) -> dict[str, np.ndarray]:
    """The averaged gradient of every trained parameter, by "layer.name", as a solver sums it up over the parts.

    The net's statistics, iteration and sample count are left as they were.
    """
    state, first, solver = net.snapshot_state(), net.first_sample, Solver(net, lr=1.0)
    solver.begin_step(parts)
    for part in parts:
        net.reset_carried("train")  # a part goes on from no other part of its batch
        solver.accumulate(**part)
    solver.measure()
    trained = ((layer, name, net.params[layer][name].grad) for layer, name in ordered_parameters(net))
    found = {
        f"{layer}.{name}": np.array(net.backend.to_host(grad)) * solver.average
        for layer, name, grad in trained
        if grad is not None
    }
    net.restore_state(state)
    net.first_sample = first
    return found


def _cuts(samples: int, seed: int, least: int) -> list[list[int]]:
    """Halves, pieces of random sizes, the smallest piece and the rest; each way once, no piece below `least`."""
    rng = np.random.default_rng(seed)
    possible = np.arange(least, samples - least + 1, least)
    places = np.sort(rng.choice(possible, size=min(3, possible.size), replace=False))
    ragged = np.diff([0, *places, samples]).tolist()
    ways = [[samples - samples // 2, samples // 2], ragged, [least, samples - least]]
    return [way for i, way in enumerate(ways) if way not in ways[:i]]


def _parts(batch: Batch, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """The pieces of a batch of these sizes. What does not have the batch axis goes into each of them whole."""
    ends = np.cumsum(sizes)
    whole = sum(sizes)
    return [
        {n: x[end - size : end] if shape_of(x)[:1] == (whole,) else x for n, x in batch.items()}
        for size, end in zip(sizes, ends, strict=True)
    ]


# What depends on the batch --------------------------------------------------------------------------------------------


def _replay(net: Net, batch: Batch) -> Replay:
    """Everything that the net computes of the batch in train."""
    specs = _specs(net, batch)
    replay = Replay(net, make_plan(net.graph.phases["train"], specs, None, None))
    replay.start({name: net.backend.from_host(array, specs[name].dtype) for name, array in batch.items()})
    return replay


def _specs(net: Net, batch: Batch) -> dict[str, Spec]:
    return {name: net.graph.inputs[name].with_shape(shape_of(array)) for name, array in batch.items()}


def _counts(replay: Replay) -> dict[str, Count]:
    """What each loss is a mean over."""
    steps = (step for step in replay.plan.steps if any(step.node.loss_weights))
    return {s.node.name: at_hand(loss_count(replay.plan, s, s.tops[0], replay.values)) for s in steps}


def depends_on_batch(replay: Replay) -> list[Step]:
    """The steps of train, losses and metrics aside, whose tops for a sample change with the rest of its batch.

    Each is run alone, on the first and on the last part of what it sees in the net, and its tops are compared with
    that part of those for the whole. Random numbers belong to samples: a layer that draws some is never excused.
    """
    whole = replay.plan
    specs = {name: whole.specs[index] for index, name in whole.inputs}
    samples = next(iter(specs.values())).shape[0]
    part = make_plan(replay.net.graph.phases["train"], with_batch(specs, samples - samples // 2), None, None)
    learned = (s for s in whole.steps if s.node.layer.is_differentiable() and not any(s.node.loss_weights))
    return [step for step in learned if _depends(step, replay, whole, part)]


def _depends(step: Step, replay: Replay, whole: Plan, part: Plan) -> bool:
    if all(whole.specs[i].shape == part.specs[i].shape for i in step.bottoms):
        return False  # none of its bottoms knows of samples
    layer, net = step.node.layer, replay.net
    example = Example(layer.config, [whole.specs[i] for i in step.bottoms], tops=len(step.tops))
    probe = Probe(type(layer), example, backend=net.backend, dtype=net.dtype)
    probe.layer.name = layer.name
    for mine, theirs in ((probe.layer.params, layer.params), (probe.layer.state, layer.state)):
        for name, array in theirs.items():
            mine[name][...] = array
    call.setup(probe.layer, [part.specs[i] for i in step.bottoms])
    same = True
    for end in (_first, _last):
        tops = probe.forward([end(replay.values[i], part.specs[i].shape) for i in step.bottoms])
        pairs = zip(tops, step.tops, strict=False)
        same &= all(close(probe.host(top), end(replay.host(i), part.specs[i].shape)) for top, i in pairs)
    return not same and not probe.layer.draws


def _first(array: Any, shape: tuple[int, ...]) -> Any:
    """The first part of an array: as much of every axis as `shape` says."""
    return array[tuple(slice(length) for length in shape)]


def _last(array: Any, shape: tuple[int, ...]) -> Any:
    """The last part of an array."""
    return array[tuple(slice(whole - length, None) for whole, length in zip(array.shape, shape, strict=True))]


def _can_freeze(step: Step) -> bool:
    layer = step.node.layer
    return SWITCH in layer.fields and len(layer.state) > 0


def _title(step: Step) -> str:
    return f"{step.node.name} ({step.node.layer.type_name})"


def _below_losses_of(graph: PhaseGraph, steps: Sequence[Step]) -> set[str]:
    """The names of the layers below any loss that depends on one of these steps."""
    moved = {top for step in steps for top in step.tops}
    losses: set[int] = set()
    for step in graph.steps:
        if moved & set(step.bottoms):
            moved |= set(step.tops)
            losses |= {top for top, weight in zip(step.tops, step.node.loss_weights, strict=True) if weight}
    below, names = set(losses), set()
    for step in reversed(graph.steps):
        if below & set(step.tops):
            below |= set(step.bottoms)
            names.add(step.node.name)
    return names
