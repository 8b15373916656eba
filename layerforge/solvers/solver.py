"""Solver: drives a net towards a smaller loss.

    solver = Solver(net, type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4)
    loss = solver.step(x=x, t=t)                  # one whole step, or its parts:

    solver.begin_step(parts)                      # needed only for several losses that are means over different counts
    for part in parts:
        solver.accumulate(**part)                 # forward and backward; gradients are summed
    net.params["fc"]["weight"].grad[0] = 0        # gradients can be edited in between
    solver.update()

What an update does, in this order, to the gradient G that the micro-batches summed up:

    1  average    g = G / (number of things that the losses are means over); the norm of g over all parameters
                  (weighting.py)
    2  check      a loss or norm that is not finite ends here, with weights, history and statistics as before the step;
                  whoever wants to go on calls `skip`
    3  clip       by norm: g <- g · min(1, clip_grad_norm / norm); then by value: each number into ±clip_grad_value
    4  decay      g <- g + d w (L2) or g + d sign w (L1), with d = weight_decay · decay_mult; AdamW and LARS, which keep
                  decay apart from the gradient, get it as it is
    5  update     the rule, with the schedule's lr times lr_mult
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import snapshot
from ..config.python_tree import placed_copy
from ..config.sections import SolverSection
from ..run import copies, tuning
from ..run.parameters import Group, extended
from ..run.splitting import REMEDY, reasons
from ..run.turns import Turns, in_turn, reading_in_turn
from ..schema.errors import ConfigError, DataError, DivergedError, LayerError, LayerForgeError
from .fast import fast_update
from .rows import gradient_norm, refuse_rows, update_rows
from .rules import RuleStep
from .schedules import Progress
from .settings import Adjustable
from .weighting import AsTheyCome, Counted, weighting

if TYPE_CHECKING:
    from ..net import Net

BLOCK_BYTES = 256 * 1024  # of each array: small enough for the caches, large enough to hide the cost of a NumPy call


@dataclass
class Accumulation:
    """The step that is being accumulated.

    weights  what its micro-batches are weighted by
    loss     the sum of the losses, each times its weight; None before the first
    alone    in words, losses that no second micro-batch can be added to
    """

    statistics: Any
    first_sample: int
    weights: AsTheyCome | Counted = field(default_factory=AsTheyCome)
    loss: float | None = None
    alone: list[str] = field(default_factory=list)


class Solver(Adjustable):
    """Solver(net, type="SGD", lr=..., ...): the keywords are the keys of `solver:` in a configuration.

    Common to all types are lr, weight_decay, regularization, clip_grad_norm, clip_grad_value, clip_order and schedule
    (`layerforge.config.SolverSection` declares them); the others, such as momentum, belong to the type.

    With clip_order "caffe" both limits are held against the sum over the micro-batches before its division, as
    Caffe's clip_gradients with iter_size: in a step of k equal micro-batches they bind k times sooner.

    net, rule, schedule, base_lr   what it was made of
    iteration      completed steps; keys the random numbers of the layers, and what the schedule counts
    updates        those of them that changed the weights: all but the skipped ones
    nonfinite      those whose loss or gradient was not finite, skipped or not
    epoch          completed epochs; whoever trains sets it, for schedules with `unit: epoch`
    total_iterations, total_epochs   length of the run, for schedules that need it; None while unknown
    history        the rule's arrays, in the layout of net.parameters.grad
    grad_norm      norm of the averaged gradient of the last update, before clipping
    average        the factor that averaged it: what the sum over the micro-batches was multiplied by
    loss           of the last update, over all of its micro-batches; None where `accumulate` was not used

    The options can be read and assigned as attributes (settings.py): solver.lr = 0.01 is what the schedule multiplies
    from the next update on. A run that is resumed begins with what its configuration says.

    Errors   ConfigError for an unknown or bad keyword, and for an unknown or bad attribute
    """

    def __init__(self, net: Net, type: str = "SGD", **options: Any) -> None:
        self._set_up(net, SolverSection.from_config(placed_copy({"type": type, **options})))

    @classmethod
    def from_config(cls, net: Net, section: SolverSection) -> Solver:
        """The solver that a configuration's `solver:` describes."""
        self = cls.__new__(cls)
        self._set_up(net, section)
        return self

    def _set_up(self, net: Net, section: SolverSection) -> None:
        refuse_rows(net, section)
        self.net, self.section, self.rule, self.base_lr = net, section, section.rule, section.lr
        self.schedule = copy.copy(section.schedule)  # what a plateau remembers is this solver's, not the section's
        self.iteration = self.updates = self.nonfinite = self.epoch = 0
        self.total_iterations: int | None = None
        self.total_epochs: int | None = None
        self.grad_norm: float | None = None
        self.loss: float | None = None
        self.average = 1.0
        # Its net's; what takes the place of a net need not know of turns.
        self.turns: Turns = getattr(net, "turns", None) or Turns("the net", lambda: None)
        self._pending: Accumulation | None = None
        self._lay_out([net.parameters.grad[:0]] * self.rule.histories)
        self.rule.hold()
        self._settle()

    @in_turn
    def _change(self, name: str, value: Any) -> None:
        """Take another value for an option; history and schedule go on."""
        section = self._changed_section(name, value)
        refuse_rows(self.net, section)
        vars(self).update(section=section, rule=section.rule, base_lr=section.lr)
        self.rule.hold()
        self._fast = fast_update(self.net, section, self.history)

    def _lay_out(self, history: Iterable[Any]) -> None:
        """Give the histories the size of the net's flat gradient, with zeros where they end, and plan the updates."""
        net, xp, grad = self.net, self.net.backend.xp, self.net.parameters.grad
        self._grad = grad
        self.history = tuple(extended(xp, array, len(grad)) for array in history)
        self._fast = fast_update(net, self.section, self.history)
        # On a device a pass costs a launch, not a trip through a cache: there everything is one block.
        self._block = BLOCK_BYTES // grad.itemsize if xp is np else max(1, grad.size)
        self._scratch = xp.empty(0, dtype=grad.dtype)

    def _follow(self) -> None:
        """Follow the net where parameters that were frozen from the start learn now: their histories begin at zero."""
        if self._grad is not self.net.parameters.grad:
            self._lay_out(self.history)

    @reading_in_turn
    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes over (copies.py): options as a configuration writes them, counts, arrays on the host."""
        host = self.net.backend.to_host
        made = ("turns", "section", "rule", "schedule", "history", "_fast", "_scratch", "_grad")
        state = {name: value for name, value in vars(self).items() if name not in made}
        if self._pending is not None:
            statistics = {key: host(array) for key, array in self._pending.statistics.items()}
            state["_pending"] = replace(
                self._pending, statistics=statistics, weights=copy.deepcopy(self._pending.weights)
            )
        return {
            "taken": self.turns.taken,
            "types": copies.user_types((self.rule, self.schedule)),
            "options": {**self.section.plain(), "schedule": self.schedule.plain()},
            "schedule": self.schedule.state(),
            "history": [np.array(host(array)) for array in self.history],
            **state,
        }

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        made = ("taken", "types", "options", "schedule", "history")
        rest = {name: value for name, value in state.items() if name not in made}
        copies.demand_one_moment(rest["net"], state["taken"])
        self._set_up(rest["net"], SolverSection.from_config(placed_copy(state["options"])))
        self.schedule.load_state(state["schedule"])
        from_host = self.net.backend.from_host
        self._lay_out([from_host(array) for array in state["history"]])
        vars(self).update(rest)
        if self._pending is not None:
            statistics = {key: from_host(array).copy() for key, array in self._pending.statistics.items()}
            self._pending = replace(self._pending, statistics=statistics)

    @property
    def lr(self) -> float:
        """The learning rate of the next update, before lr_mult. What is assigned is multiplied by the schedule.

        Errors   ConfigError when the schedule needs the length of the run and it is not known
        """
        progress = Progress(self.iteration, self.epoch, self.total_iterations, self.total_epochs)
        return self.schedule.lr(self.base_lr, progress)

    # One step -----------------------------------------------------------------------------------------------------

    @in_turn
    def step(self, **batch: Any) -> float:
        """One step on one batch: zero_grad, forward, backward, update. Returns the weighted loss.

        Errors   those of `update`
        """
        self._abandon()
        loss = self.accumulate(**batch)
        self.update()
        return loss

    @in_turn
    def accumulate(self, **batch: Any) -> float:
        """Forward and backward of one micro-batch; returns its own loss. The first after an update begins from zero.

        The micro-batches of a step count as one batch cut into pieces, of any sizes: the gradient is that of the
        whole, and the random numbers of a sample depend on its position in the whole. Where losses are means over
        different counts, such as labels of which some are ignored, that takes all of them: see `begin_step`.

        Errors   LayerError; ConfigError where `begin_step` would have been needed; DivergedError where a backward
                 refuses what a loss that is not finite sends down
        """
        net, step = self.net, self._pending or self._begin()
        try:
            # What overflows on the way shows in the loss or in the gradient, which `update` checks and names.
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                net.forward(phase="train", copy=False, **batch)
                counts = net.mean_over()
                step.alone += reasons(counts)
                if step.loss is not None:
                    refuse_parts(step.alone)
                weight = step.weights.weigh(counts)
                if weight is None:
                    raise self._counts_differ()
                self._backward(weight, overwrite_grad=step.loss is None)
                loss = net.total_loss()
                weighted = net.total_loss(weight) if isinstance(weight, tuple) else weight * loss
            net.first_sample += net.batch_size
        except BaseException:  # an interrupt too must not leave half a step in the running statistics
            self._abandon()
            raise
        step.loss = (step.loss or 0.0) + weighted
        return loss

    @in_turn
    def begin_step(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Begin a step of these micro-batches: count, in all of them, what each loss is a mean over.

        `accumulate` then takes them one by one, in this order, and `update` ends the step. Losses that are means over
        different counts have other shares in each micro-batch; only so each of them is weighted as in the whole batch.

        Errors   LayerError and ConfigError, as from a forward
        """
        self._abandon()
        step, net = self._begin(), self.net
        try:
            counts = []
            for part in parts:
                counts.append(net.count_losses(**part))
                net.first_sample += _samples(part)
                if len(parts) > 1:
                    refuse_parts(reasons(counts[-1]))
            step.weights = weighting(counts)
        except BaseException:
            self._abandon()
            raise
        net.restore_state(step.statistics)
        net.first_sample = step.first_sample

    def _counts_differ(self) -> ConfigError:
        losses = ", ".join(
            f"'{p.name}' {'a sum' if p.count is None else f'a mean over {p.count:g}'}" for p in self.net.losses()
        )
        return ConfigError(
            f"the losses have other shares in this micro-batch than in those before it ({losses}): fed one by one they"
            " would not add up to the whole batch",
            hint="call solver.begin_step([part, ...]) with all micro-batches of the step before the first accumulate",
        )

    def _backward(self, weight: float | Sequence[float], overwrite_grad: bool) -> None:
        try:
            self.net.backward_losses(weight, overwrite_grad=overwrite_grad)
        except LayerError:
            loss = self.net.total_loss()
            if not math.isfinite(loss):
                self.loss, self.grad_norm = loss, math.nan
                self._check_finite()
            raise

    def _begin(self) -> Accumulation:
        self.net.iteration = self.iteration
        self._pending = Accumulation(self.net.snapshot_state(), self.net.first_sample)
        return self._pending

    def _abandon(self) -> None:
        """Forget the step that is being accumulated, and what its forwards did to the running statistics."""
        if self._pending is not None:
            self.net.restore_state(self._pending.statistics)
            self.net.first_sample = self._pending.first_sample
            self._pending = None

    @in_turn
    def update(self, *, check: bool = True) -> None:
        """Average, check, clip, decay and update, as the module says; then iteration is one more.

        Without `accumulate` before it (net.forward, net.backward), the gradients are taken as they are, and nothing
        is known of the loss nor of earlier running statistics. The gradients themselves are left as they were.

        check    False updates whatever loss and gradient are

        Errors   DivergedError (exit 4) for a loss or gradient that is not finite; ConfigError from the schedule
        """
        try:
            if self._pending is not None:
                self._pending.weights.demand_all()
            self.measure()
            if check:
                self._check_finite()
            refuse_rows(self.net, self.section)  # multipliers may have changed
            lr, clipping = self.lr, self._clipping(self.average)
        except BaseException:
            self._abandon()
            raise
        # Weights that overflow here show in the next step's loss, which is checked and named.
        with np.errstate(over="ignore", invalid="ignore"):
            self._follow()
            flat, xp = self.net.parameters, self.net.backend.xp
            for group in flat.groups:
                self._update_group(group, lr * group.lr_mult, *clipping)
            for slot in flat.by_rows():
                step = RuleStep(lr * slot.lr_mult, self.updates + 1)
                update_rows(xp, flat, slot, self.rule, self.history, step, *clipping)
        if self._pending is not None:
            self.net.first_sample = self._pending.first_sample
            self._pending = None
        self.updates += 1
        self._count()

    @in_turn
    def skip(self) -> None:
        """After a DivergedError: count the step, leaving weights, history and statistics as they were before it.

        The schedule moves on; the rule does not see the step, so that its bias corrections stay right.
        """
        self._abandon()
        self._count()

    def _count(self) -> None:
        self.nonfinite += not self.is_finite
        self.iteration += 1
        self.net.iteration = self.iteration

    @in_turn
    def measure(self) -> None:
        """Set average, loss and grad_norm of the step that was accumulated. `update` begins with it."""
        self.average = self._pending.weights.average if self._pending else 1.0
        pending = self._pending
        self.loss = pending.loss * self.average if pending and pending.loss is not None else None
        self.grad_norm = self.average * gradient_norm(self.net.backend.xp, self.net.parameters)

    @property
    def in_step(self) -> bool:
        """Whether a step was begun and not ended: after an error in the middle of an update weights may be half new."""
        return self._pending is not None

    @property
    def is_finite(self) -> bool:
        """Whether the last step's loss and gradient norm are."""
        return math.isfinite(self.loss or 0.0) and math.isfinite(self.grad_norm or 0.0)

    def _check_finite(self) -> None:
        if self.is_finite:
            return
        loss = "" if self.loss is None else f"loss {self.loss:g}, "
        raise DivergedError(
            f"training diverged at iteration {self.iteration}: {loss}gradient norm {self.grad_norm:g};"
            " the weights are those from before this step",
            hint="lower solver.lr, add solver.clip_grad_norm or solver.schedule.warmup, look for NaN in the data",
        )

    def _clipping(self, average: float) -> tuple[float, float | None]:
        """What the summed gradient is multiplied by, and the bound on its numbers after that (None: no bound)."""
        section, norm = self.section, self.grad_norm or 0.0
        # A limit on the sum is `average` times that limit on the mean.
        scale = average if section.clip_order == "caffe" else 1.0
        factor, bound = average, None
        if section.clip_grad_norm is not None and norm > section.clip_grad_norm * scale:
            factor *= section.clip_grad_norm * scale / norm
        if section.clip_grad_value is not None:
            bound = section.clip_grad_value * scale
        return factor, bound

    def _pieces(self, group: Group) -> Iterator[slice]:
        """The slices of a group that the rule is called on: whole parameters if it asks for them, otherwise blocks."""
        if not self.rule.whole_parameters:
            return blocks(group.start, group.stop, self._block)
        slots = self.net.parameters.slots.values()
        return (slice(s.offset, s.offset + s.size) for s in slots if group.start <= s.offset < group.stop)

    def _update_group(self, group: Group, lr: float, factor: float, bound: float | None) -> None:
        """Steps 3 to 5 piece by piece, so that each number is fetched from memory once for all of them."""
        xp, flat, decay = self.net.backend.xp, self.net.parameters, self.section.weight_decay * group.decay_mult
        if self._fast is not None and bound is None:
            self._fast(group.start, group.stop, lr, factor, decay)
            return
        for piece in self._pieces(group):
            data, grad, pull = flat.data[piece], flat.grad[piece], None
            if len(self._scratch) < piece.stop - piece.start:
                self._scratch = xp.empty(piece.stop - piece.start, dtype=grad.dtype)
            out = self._scratch[: piece.stop - piece.start]
            if factor != 1:
                grad = xp.multiply(grad, factor, out=out)
            if bound is not None:
                grad = xp.clip(grad, -bound, bound, out=out)
            if decay:
                pull = decay * (data if self.section.regularization == "L2" else xp.sign(data))
            if decay and not self.rule.decay_apart:
                grad, pull = xp.add(grad, pull, out=out), None
            step = RuleStep(lr, self.updates + 1, group.decay_mult, pull)
            self.rule.update(xp, data, grad, [h[piece] for h in self.history], step)

    # State --------------------------------------------------------------------------------------------------------

    @reading_in_turn
    def state(self) -> dict[str, Any]:
        """What a checkpoint holds besides arrays, as JSON writes it: the type, the counts, the schedule's state, and
        the multipliers of parameters that were changed since the net was built.
        """
        counts = {"iteration": self.iteration, "updates": self.updates, "nonfinite": self.nonfinite}
        changed = tuning.as_plain(self.net.parameters.changed)
        tuned = {"multipliers": changed} if changed else {}
        return {"type": self.rule.type_name, **counts, "schedule": self.schedule.state(), **tuned}

    @reading_in_turn
    def arrays(self) -> dict[str, np.ndarray]:
        """Copies of the history on the host, by path: history/<number>/<layer>/<parameter>."""
        to_host = self.net.backend.to_host
        return {path: np.array(to_host(view)) for path, view in self._views().items()}

    @in_turn
    def load_state(self, state: Mapping[str, Any], arrays: Mapping[str, Any], source: str = "the saved state") -> None:
        """Go on from what `state` and `arrays` returned. `source` is what errors call it.

        The history is found by layer and name, so the configuration's multipliers may have changed; those that were
        changed in the run hold again. Other arrays than history/ are left alone. Nothing is changed unless everything
        fits.

        Errors   DataError for another type of solver and for a missing, unexpected or mis-shaped history;
                 ConfigError for another kind of schedule
        """
        if not {"type", "iteration", "schedule"} <= set(state):
            raise DataError(f"{source} holds no state of a solver", hint="take its weights only, and begin anew")
        if state["type"] != self.rule.type_name:
            raise DataError(
                f"{source} is from a solver of type {state['type']}, this one is {self.rule.type_name}",
                hint=f"set solver.type: {state['type']}, or begin anew with its weights",
            )
        saved = {k: v for k, v in arrays.items() if k.startswith("history/")}
        before, tuned = self.net.parameters.changed, tuning.from_plain(self.net, state.get("multipliers", ()), source)
        if tuned != before:
            tuning.apply(self.net, tuned)
        try:
            views = self._views()
            problems = _differences(views, saved)
            if problems:
                raise DataError(f"{source} does not fit this solver", hint="; ".join(map(snapshot.unescape, problems)))
            self.schedule.load_state(state["schedule"])
        except LayerForgeError:
            if tuned != before:
                tuning.apply(self.net, before)
            raise
        self._abandon()
        for path, view in views.items():
            view[...] = self.net.backend.from_host(saved[path], view.dtype)
        self.iteration = self.net.iteration = int(state["iteration"])
        self.updates = int(state.get("updates", self.iteration))
        self.nonfinite = int(state.get("nonfinite", 0))

    def _views(self) -> dict[str, Any]:
        """The parts of the history by path: live arrays in their parameters' shapes, of all that learn or once did."""
        self._follow()
        return {
            f"history/{number}/{snapshot.escape(slot.layer)}/{slot.name}": slot.view(array)
            for number, array in enumerate(self.history)
            for slot in self.net.parameters.slots.values()
            if slot.offset < len(array) and (not slot.frozen or slot.key in self.net.parameters.changed)
        }


def refuse_parts(whys: Sequence[str]) -> None:
    """ConfigError where a loss of a whole batch does not follow from those of its micro-batches, and why."""
    for why in whys:
        raise ConfigError(f"{why}: micro-batches of it do not add up to the whole batch", hint=REMEDY)


def _differences(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """In words, why arrays by path cannot take the place of `mine`."""
    missing = [f"missing {k}" for k in mine if k not in theirs]
    unexpected = [f"unexpected {k}" for k in theirs if k not in mine]
    shapes = {k: (tuple(theirs[k].shape), tuple(mine[k].shape)) for k in mine if k in theirs}
    return missing + unexpected + [f"{k} has shape {a}, not {b}" for k, (a, b) in shapes.items() if a != b]


def _samples(batch: Mapping[str, Any]) -> int:
    """The first axis of the first input; 1 where there is none."""
    first = next(iter(batch.values()), 0)
    shape = first.shape if hasattr(first, "shape") else np.shape(first)
    return shape[0] if shape else 1


def blocks(start: int, stop: int, size: int) -> Iterator[slice]:
    """The slices of at most `size` numbers that make up start:stop."""
    for begin in range(start, stop, size):
        yield slice(begin, min(begin + size, stop))
