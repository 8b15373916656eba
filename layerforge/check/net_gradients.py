"""Gradients of a whole net against finite differences: of every parameter, and of every input that has a gradient.

Differences of the loss (without one, of random projections of the outputs) are taken in float64, on a few random
samples, along random directions of each array. Many ReLUs make kinks likely somewhere: what met one is tried again with
other inputs and directions, at most REDRAWS times. What still has no answer then, and the search for the layer at
fault, is decided by each layer alone, at the blobs that it really sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..arrays.sparse import places, shape_of, stored
from ..arrays.spec import Spec
from ..config.document import Config
from ..contract.layer import Example
from ..graph.graph import Step
from ..net import Net
from ..plan.plan import REFERENCE, Plan
from ..plan.planner import make_plan
from ..run.access import input_array
from ..schema.errors import ConfigError, LayerForgeError
from ..schema.synonyms import did_you_mean
from .diagnosis import overwrites
from .draws import BATCH, disturb, input_specs, with_batch
from .gradients import DIRECTIONS, REDRAWS, Effort, Judge, Row, norm, probe_gradients
from .harness import Probe, draw
from .replay import Replay

ALONE_AT_MOST = 256  # elements of an array that are judged where kinks or errors call for many
Progress = Callable[[int, int], None]  # (done, total)


@dataclass(frozen=True, eq=False)
class Target:
    """An array whose gradient is judged: a parameter (under its owner, where it is shared), or an input."""

    owner: str  # as the report calls it
    blob: str
    layer: str  # "" for an input
    shape: tuple[int, ...]
    steps: tuple[Step, ...]  # what changes with it

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class NetCheck:
    """A private copy of a net in float64, at disturbed parameters, and the check of its gradients.

    config   of the net; source: a net whose values are taken over; inputs: arrays to use instead of random ones
    backend  what computes, in place of the source's, or the configuration's
    engine   who computes the gradients under test, in place of what the configuration says
    """

    def __init__(
        self,
        config: Config,
        effort: Effort,
        *,
        source: Net | None = None,
        inputs: Mapping[str, Any] | None = None,
        backend: Backend | None = None,
        engine: str | None = None,
    ) -> None:
        if backend is None and source is not None:
            backend = source.backend
        if engine is not None:
            config = config.with_top(engine=engine)
        self.effort, self.given = effort, dict(inputs or {})
        self.net = Net(config.in_full_precision(dtype="float64"), backend=backend)
        if source is not None:
            self.net.load_arrays(source.arrays(), "the net")
            self.net.iteration = source.iteration
        disturb(self.net, self.effort.seed)
        self.tested = self.net  # what computes the gradients under test
        if effort.dtype != "float64":
            self.tested = Net(config.in_full_precision(dtype=effort.dtype), backend=backend)
            self.tested.load_arrays(self.net.arrays(), "the net")
            self.net.load_arrays(self.tested.arrays(), "the net")  # both at values that both can hold
            self.tested.iteration = self.net.iteration
        self.losses = self._losses()
        self.heads = tuple(self.losses) or self._outputs()
        self.specs = self._input_specs()
        self.plan = self._plan()
        self.replay, self.tested_state = Replay(self.net, self.plan), self.tested.snapshot_state()
        self.targets = self._targets()
        self.rows = {t: Row(t.owner, t.blob, t.shape) for t in self.targets}

    def engines(self) -> dict[str, dict[str, int]]:
        """The layers that an engine computed in the gradients under test, by engine."""
        choices = {} if self.tested.passes.last is None else self.tested.passes.last.plan.choices
        found: dict[str, dict[str, int]] = {}
        for name, choice in choices.items():
            if choice.engine != REFERENCE:
                found.setdefault(choice.engine, {})[name] = 0
        return found

    # What is differentiated ---------------------------------------------------------------------------------------

    def _losses(self) -> dict[str, float]:
        """The tops that the loss sums up, with their weights."""
        nodes = [step.node for step in self.net.graph.phases["train"].steps]
        return {top: w for node in nodes for top, w in zip(node.tops, node.loss_weights, strict=True) if w}

    def _outputs(self) -> tuple[str, ...]:
        """The outputs that have a gradient, for a net without loss."""
        outputs = self.net.graph.phases["train"].outputs()
        return tuple(b.name for b in outputs if b.needs_grad)

    def _input_specs(self) -> dict[str, Spec]:
        known = input_specs(self.net.graph)
        for name in self.given:
            if name not in known:
                raise ConfigError(f"the net has no input '{name}'", hint=did_you_mean(name, known))
            if known[name].sparse:
                self.given[name] = input_array(self.net, name, self.given[name])
        return known

    def _plan(self) -> Plan:
        """The plan for a small batch; for the declared one where the net takes no other."""
        if not self.heads:
            raise ConfigError("nothing in this net has a gradient", hint="declare `grad: true` for an input")
        phase = self.net.graph.phases["train"]
        if self.given:
            shapes = {name: shape_of(array) for name, array in self.given.items()}
            batch = next((shape[0] for shape in shapes.values() if shape), 0)
            self.specs = with_batch(self.specs, batch)
            self.specs |= {name: self.specs[name].with_shape(shape) for name, shape in shapes.items()}
            return make_plan(phase, self.specs, self.heads, None)
        small = with_batch(self.specs, BATCH)
        try:
            plan = make_plan(phase, small, self.heads, None)
        except LayerForgeError:
            return make_plan(phase, self.specs, self.heads, None)
        self.specs = small
        return plan

    def _targets(self) -> list[Target]:
        targets = []
        graph, slots = self.net.graph, self.net.parameters.slots
        for layer in self.net.layers.values():
            for key in ((layer.name, name) for name in layer.params):
                if key not in slots or slots[key].frozen:  # shared ones belong to their owner
                    continue
                users = {layer.name} | {user for (user, _), owner in graph.shared.items() if owner == key}
                steps = self.replay.depending_on(layers=frozenset(users))
                owner = f"{layer.name} ({layer.type_name})"
                targets.append(Target(owner, key[1], layer.name, slots[key].shape, tuple(steps)))
        for index, name in self.plan.inputs:
            wanted = any(i == index and s.needs_grad[j] for s in self.plan.steps for j, i in enumerate(s.bottoms))
            if name in graph.input_grads and wanted:
                steps = self.replay.depending_on(blob=index)
                targets.append(Target("input", name, "", self.specs[name].shape, tuple(steps)))
        return [t for t in targets if t.steps and t.size]

    def _array(self, target: Target, inputs: Mapping[str, Any]) -> Any:
        """The live array of a target."""
        return self.net.layers[target.layer].params[target.blob] if target.layer else stored(inputs[target.blob])

    # One scene: inputs, and the gradients there -------------------------------------------------------------------

    def scene(self, number: int) -> tuple[dict[str, Any], dict[Target, np.ndarray], list[np.ndarray]]:
        """Fresh inputs, the gradients under test, and the cotangents that they belong to."""
        rng = np.random.default_rng([self.effort.seed, 2, number])
        host = {name: draw(spec, rng) for name, spec in self.specs.items()} | self.given
        specs = {name: self.plan.specs[self.plan.index_of(name)] for name in self.heads}
        cotangents = {
            name: np.full(spec.shape, self.losses[name]) if self.losses else rng.normal(size=spec.shape)
            for name, spec in specs.items()
        }
        self.tested.restore_state(self.tested_state)
        self.tested.zero_grad()
        self.tested.forward(phase="train", outputs=self.heads, copy=False, **host)
        self.tested.backward(None if self.losses else cotangents)
        inputs = {name: self._rounded(name, value) for name, value in host.items()}
        host_of = self.tested.backend.to_host
        gradients = {t: np.array(host_of(stored(self._gradient(t))), np.float64) for t in self.targets}
        self.replay.start(inputs)
        return inputs, gradients, list(cotangents.values())

    def _rounded(self, name: str, value: Any) -> Any:
        """An input in float64, at the number that the net under test sees; memory that may be changed in place."""
        seen = self.tested.backend.from_host(value, self.tested.graph.inputs[name].dtype)
        return self.net.backend.from_host(seen, self.net.graph.inputs[name].dtype).copy()

    def _gradient(self, target: Target) -> Any:
        if target.layer:
            return self.tested.layers[target.layer].grads[target.blob]
        return self.tested.blobs[target.blob].grad

    # The check ----------------------------------------------------------------------------------------------------

    def run(self, layer: str | None = None, progress: Progress = lambda done, total: None) -> list[Row]:
        """The rows of all targets, or of one layer's; where something is wrong, also those of the layers at fault."""
        targets = self.targets if layer is None else [t for t in self.targets if t.layer == self._known(layer)]
        missing = {target: min(DIRECTIONS, target.size) for target in targets}
        for number in range(1 + REDRAWS):
            self._round(number, missing, progress)
            missing = {target: n for target, n in missing.items() if n}
            if not missing:
                break
        rows = self._settle(targets, list(missing))
        if layer is not None:
            known = {(row.owner, row.blob) for row in rows}
            alone = [row for row in self.alone(layer) if row.blob.startswith("bottom")]
            rows = [row for row in alone if (row.owner, row.blob) not in known] + rows
        if not rows:
            raise ConfigError("nothing in this net has a gradient", hint="declare `grad: true` for an input")
        return rows

    def _known(self, layer: str) -> str:
        names = [s.node.name for s in self.plan.steps if s.runs_backward]
        if layer not in names:
            reason = "has no gradient" if layer in self.net.layers else "does not exist"
            hint = did_you_mean(layer, names) or f"layers with a gradient: {', '.join(names)}"
            raise ConfigError(f"layer '{layer}' {reason}", hint=hint)
        return layer

    def _round(self, number: int, missing: dict[Target, int], progress: Progress) -> None:
        """Try the missing directions of each target at new inputs; the first round looks at elements too."""
        inputs, gradients, cotangents = self.scene(number)
        if number == 0:
            self.replay.check_repeats()
        largest = max((norm(g) for g in gradients.values()), default=0.0)
        heads = [self.plan.index_of(name) for name in self.heads]
        for done, target in enumerate(missing):
            progress(done, len(missing))

            def evaluate(steps: Sequence[Step] = target.steps) -> list[np.ndarray]:
                self.replay.run(steps)
                return [self.replay.host(i) for i in heads]

            row = self.rows[target]
            row.scale, row.floor = norm(gradients[target]), self.effort.limits.zero * largest
            row.shape = gradients[target].shape  # of a sparse input: how many numbers it stores this time
            rng = np.random.default_rng([self.effort.seed, 4, number, done])
            array, device = self._array(target, inputs), self.net.backend.from_host
            judge = Judge(row, array, gradients[target], evaluate, cotangents, device, rng, self.effort)
            judge.places = None if target.layer else places(inputs[target.blob])
            wanted = missing[target]
            missing[target] = wanted - sum(judge.direction(f"direction {k + 1}") for k in range(wanted))
            if number == 0:
                judge.elements(array.size if self.effort.exhaustive else self.effort.samples)
            self.replay.run(target.steps)

    def _settle(self, targets: list[Target], kinked: list[Target]) -> list[Row]:
        """The verdicts, with the help of the layers alone where kinks or errors leave a question.

        A gradient that kinks hide from the loss is right where every layer on its way there is right.
        """
        faults: dict[str, list[Row]] = {}
        if kinked or any(not self.rows[t].ok for t in targets):
            names = [step.node.name for step in self.plan.steps if step.runs_backward]
            wrong = {name: [row for row in self.alone(name) if not row.ok] for name in names}
            faults = {name: rows for name, rows in wrong.items() if rows}
        for target in targets:
            row = self.rows[target]
            guilty = [step.node.name for step in target.steps if step.node.name in faults]
            if not row.ok and guilty:
                row.cause = ", ".join(guilty)
            elif not row.ok:
                row.note, row.mistake = "no layer fails alone", self._overwriting(target)
            elif target in kinked:
                row.note = "layers alone, after kinks"
        return [row for rows in faults.values() for row in rows] + [self.rows[t] for t in targets]

    def alone(self, name: str) -> list[Row]:
        """The gradients of one layer by itself, at the blobs and parameters that it has in the net now."""
        step = next(s for s in self.plan.steps if s.node.name == name)
        probe = self._probe(step)
        suspects = {t.blob: row.suspect for t, row in self.rows.items() if t.layer == name and row.suspect}
        rows = probe_gradients(probe, replace(self.effort, most=ALONE_AT_MOST), suspects)
        for row in rows:
            row.owner, row.note = f"{name} ({step.node.layer.type_name})", "layer alone"
        return rows

    def _probe(self, step: Step) -> Probe:
        """The layer of a step by itself, with the values that it has in the net."""
        layer = step.node.layer
        example = Example(layer.config, [self.plan.specs[i] for i in step.bottoms], tops=len(step.tops))
        probe = Probe(type(layer), example, backend=self.net.backend, seed=self.effort.seed)
        probe.bottoms = [self.replay.values[i].copy() for i in step.bottoms]
        for mine, theirs in ((probe.layer.params, layer.params), (probe.layer.state, layer.state)):
            for key, array in theirs.items():
                mine[key][...] = array
        return probe

    def _overwriting(self, target: Target) -> str:
        """In words, which users of a shared parameter overwrite what the others added to its gradient."""
        owner = (target.layer, target.blob)
        names = {user: name for (user, name), key in self.net.graph.shared.items() if key == owner}
        names |= {target.layer: target.blob} if names else {}
        steps = [step for step in target.steps if step.node.name in names]
        guilty = [step.node.name for step in steps if names[step.node.name] in overwrites(self._probe(step))]
        return f"{', '.join(guilty)}: the shared gradient is overwritten; add to it with +=" if guilty else ""
