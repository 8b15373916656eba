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
                  (weighting.py). With `precision: 16-mixed` G has the scale of the losses (loss_scale.py): g has not
    2  check      a loss or norm that is not finite ends here, with weights, history and statistics as before the step;
                  whoever wants to go on calls `skip`. Where a smaller scale of the losses may be the remedy there is
                  no error: the step is skipped
    3  clip       by norm: g <- g · min(1, clip_grad_norm / norm); then by value: each element into ±clip_grad_value
    4  decay      g <- g + d w (L2) or g + d sign w (L1), with d = weight_decay · decay_mult; AdamW and LARS, which keep
                  decay apart from the gradient, get it as it is
    5  update     the rule, with the schedule's lr times lr_mult
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic

import numpy as np

from ..arrays.awaited import Awaited, awaiting, present
from ..arrays.backend import Array
from ..config.python_tree import placed_copy
from ..config.sections import SolverSection
from ..run import copies
from ..run.counting import begun_counts
from ..run.explained import explaining
from ..run.splitting import reasons
from ..run.turns import Turns, in_turn, reading_in_turn, turns_of
from ..schema.errors import ConfigError, DivergedError, LayerError
from ..schema.locations import PlacedDict
from .accumulation import Accumulation, counts_differ, refuse_parts, samples_in
from .loss_scale import Scaling, loss_scale_for
from .rows import asked_squares, gradient_norm, refuse_rows
from .schedules import Progress
from .settings import Adjustable
from .state import Saved, in_words
from .trainable import Trainable
from .updater import Updater
from .weighting import Counted, Equals, Weight, scaled, weighting

if TYPE_CHECKING:  # every checker knows typing_extensions; a plain `Solver` is that of a Net
    from typing_extensions import TypeVar

    from ..net import Net

    Driven = TypeVar("Driven", bound=Trainable, default=Net)
else:
    from typing import TypeVar

    Driven = TypeVar("Driven", bound=Trainable)

# What overflows on the way shows in the loss or in the gradient, which `update` checks and names.
NOT_SAID: dict[str, Any] = {"over": "ignore", "invalid": "ignore", "divide": "ignore"}


class Solver(Scaling, Saved, Adjustable, Generic[Driven]):
    """Solver(net, type="SGD", lr=..., ...): the keywords are the keys of `solver:` in a configuration.

    Common to all types are lr, weight_decay, regularization, clip_grad_norm, clip_grad_value, clip_order, micro_batches
    and schedule (`layerforge.config.SolverSection` declares them); the others, such as momentum, belong to the type.

    With micro_batches "mean" the gradient of a step is the mean of those of its micro-batches, whatever their losses
    are means of, as with Caffe's iter_size; otherwise they count as one batch cut into pieces.

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
    loss_scale     what the losses are multiplied by before the next backward with `precision: 16-mixed`, and the
                   gradients until they are averaged; None in any other precision. What is assigned holds from the
                   next step on
    overflows      steps that were skipped because a gradient overflowed in float16; they are not among `nonfinite`
    loss           of the last update, over all of its micro-batches; None where `accumulate` was not used

    The options can be read and assigned as attributes (settings.py): solver.lr = 0.01 is what the schedule multiplies
    from the next update on. A run that is resumed begins with what its configuration says.

    Errors   ConfigError for an unknown or bad keyword, and for an unknown or bad attribute
    """

    net: Driven

    def __init__(self, net: Driven, type: str = "SGD", **options: Any) -> None:
        self._set_up(net, SolverSection.from_config(placed_copy({"type": type, **options})))

    @classmethod
    def from_config(cls, net: Driven, section: SolverSection | Mapping[str, Any]) -> Solver[Driven]:
        """The solver that a configuration's `solver:` describes, or a mapping with the same keys.

        Errors   ConfigError, as from a configuration
        """
        self = cls.__new__(cls)
        if not isinstance(section, SolverSection):
            section = SolverSection.from_config(section if isinstance(section, PlacedDict) else placed_copy(section))
        self._set_up(net, section)
        return self

    def _set_up(self, net: Driven, section: SolverSection) -> None:
        refuse_rows(net, section)
        self.net = net
        self.section = section
        self.rule = section.rule
        self.base_lr = section.lr
        self.schedule = copy.copy(section.schedule)  # what a plateau remembers is this solver's, not the section's
        self.iteration = 0
        self.updates = 0
        self.nonfinite = 0
        self.epoch = 0
        self.total_iterations: int | None = None
        self.total_epochs: int | None = None
        self.grad_norm: float | None = None
        self.loss: float | None = None
        self.average = 1.0
        self._turns = turns_of(net) or Turns("the net", lambda: None)
        self._loss_scale = loss_scale_for(net)
        self._pending: Accumulation | None = None
        flat = net.parameters
        needed = {"parameters": flat.data.nbytes, "gradients": flat.grad.nbytes}
        with explaining(net.backend, {**needed, "each history of the solver": flat.grad.nbytes}):
            self._updater = Updater(net, section)
        self.rule.hold()
        self._settle()

    def __repr__(self) -> str:
        return f"<Solver {self.rule.type_name}: lr {self.base_lr:g}, iteration {self.iteration}>"

    def __str__(self) -> str:
        """What it is made of and how far it is, for `print(solver)`."""
        try:
            now = f"{self.lr:g}"
        except ConfigError as error:  # a schedule that needs the length of the run
            now = f"not known: {error.message}"
        counts = {"updates": self.updates, "not finite": self.nonfinite}
        counts |= {"overflows": self.overflows} if self.overflows else {}
        return in_words(self.section, self.schedule, now, self.iteration, counts)

    @property
    def history(self) -> tuple[Array, ...]:
        """The rule's arrays, in the layout of net.parameters.grad."""
        return self._updater.history

    @in_turn
    def _change(self, name: str, value: Any) -> None:
        """Take another value for an option; history and schedule go on."""
        section = self._changed_section(name, value)
        refuse_rows(self.net, section)
        vars(self).update(section=section, rule=section.rule, base_lr=section.lr)
        self.rule.hold()
        self._updater.use(section)

    @reading_in_turn
    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes over (copies.py): options as a configuration writes them, counts, arrays on the host."""
        host = self.net.backend.to_host
        made = ("_turns", "section", "rule", "schedule", "_updater", "_pending")
        state = {name: value for name, value in vars(self).items() if name not in made}
        pending = self._pending
        return {
            "taken": self._turns.taken,
            "types": copies.user_types((self.rule, self.schedule)),
            "options": {**self.section.plain(), "schedule": self.schedule.plain()},
            "schedule": self.schedule.state(),
            "history": [np.array(host(array)) for array in self.history],
            "_pending": None if pending is None else pending.moved(host),
            **state,
        }

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        made = ("taken", "types", "options", "schedule", "history")
        rest = {name: value for name, value in state.items() if name not in made}
        copies.demand_one_moment(rest["net"], state["taken"])
        self._set_up(rest["net"], SolverSection.from_config(placed_copy(state["options"])))
        self.schedule.load_state(state["schedule"])
        from_host = self.net.backend.from_host
        self._updater = Updater(self.net, self.section, [from_host(array) for array in state["history"]])
        vars(self).update(rest)
        if self._pending is not None:
            self._pending = self._pending.moved(lambda array: from_host(array).copy())

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
        with np.errstate(**NOT_SAID), awaiting(self.net.backend.xp) as awaited:
            loss = self._accumulate(batch, awaited)
            self._update(check=True)
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
        with np.errstate(**NOT_SAID):
            return self._accumulate(batch, present())

    def _accumulate(self, batch: Mapping[str, Any], awaited: Awaited | None = None) -> float:
        """`awaited`: the step may end with this batch, and the squares of its gradients are fetched with its loss."""
        net, step = self.net, self._pending or self._begin()
        try:
            if step.samples:
                net.first_sample += step.samples
            net.forward(phase="train", copy=False, **batch)
            step.samples = net.batch_size
            weight = self._weight(step, late=awaited is not None)
            self._backward(scaled(weight, step.loss_scale), overwrite_grad=step.loss is None)
            if awaited is not None:
                step.squares = asked_squares(net.backend.xp, net.parameters)
            loss = net.total_loss()
            weighted = net.total_loss(weight) if isinstance(weight, tuple) else weight * loss
        except BaseException:  # an interrupt too must not leave half a step in the running statistics
            self._abandon()
            raise
        step.loss = (step.loss or 0.0) + weighted
        return loss

    def _weight(self, step: Accumulation, late: bool) -> Weight:
        """The weight of the micro-batch that was forwarded. `late`: counts need not be there at once.

        Of a first micro-batch none is waited for that a device has: it may be the only one. Its weight is 1, and where
        nothing counts its gradient is 0. A step whose micro-batches were all counted has weights of its own.
        """
        net = self.net
        if late and step.loss is None and not isinstance(step.weights, Counted):
            last = getattr(getattr(net, "passes", None), "last", None)
            step.begun = None if last is None else begun_counts(last)
            if step.begun is not None:
                return 1.0
        step.settle()
        counts = net.mean_over()
        if step.weights.of_one_batch:
            step.alone += reasons(counts)
            if step.loss is not None:
                refuse_parts(step.alone)
        weight = step.weights.weigh(counts)
        if weight is None:
            raise counts_differ(net.losses())
        return weight

    @in_turn
    def begin_step(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Begin a step of these micro-batches: count, in all of them, what each loss is a mean over.

        `accumulate` then takes them one by one, in this order, and `update` ends the step. Losses that are means over
        different counts have other shares in each micro-batch; only so each of them is weighted as in the whole batch.

        Errors   LayerError and ConfigError, as from a forward
        """
        self._abandon()
        step, net = self._begin(), self.net
        if not step.weights.of_one_batch:
            return
        try:
            counts = []
            for part in parts:
                counts.append(net.count_losses(**part))
                net.first_sample += samples_in(part)
                if len(parts) > 1:
                    refuse_parts(reasons(counts[-1]))
            step.weights = weighting(counts)
        except BaseException:
            self._abandon()
            raise
        net.restore_state(step.statistics)
        net.first_sample = step.first_sample

    def _backward(self, weight: float | Sequence[float], overwrite_grad: bool) -> None:
        try:
            self.net.backward_losses(weight, overwrite_grad=overwrite_grad)
        except LayerError as error:
            loss = self.net.total_loss()
            if not math.isfinite(loss):
                self.loss, self.grad_norm = loss, math.nan
                raise self._diverged() from error
            raise

    def _begin(self) -> Accumulation:
        net = self.net
        if net.iteration != self.iteration:
            net.iteration = self.iteration
        self._pending = step = Accumulation(net.snapshot_state(), net.first_sample)
        if self.section.micro_batches != "one_batch":
            step.weights = Equals()
        if self._loss_scale is not None:
            step.loss_scale = self._loss_scale.value
        return step

    def _abandon(self) -> None:
        """Forget the step that is being accumulated, and what its forwards did to the running statistics."""
        if self._pending is not None:
            self.net.restore_state(self._pending.statistics)
            self._end_step()

    def _end_step(self) -> None:
        """Nothing is being accumulated any more."""
        pending = self._pending
        if pending is not None:
            if self.net.first_sample != pending.first_sample:
                self.net.first_sample = pending.first_sample
            self._pending = None

    @in_turn
    def update(self, *, check: bool = True) -> None:
        """Average, check, clip, decay and update, as the module says; then iteration is one more.

        Without `accumulate` before it (net.forward, net.backward), the gradients are taken as they are, and nothing
        is known of the loss nor of earlier running statistics. The gradients themselves are left as they were.

        check    False updates whatever loss and gradient are

        Errors   DivergedError (exit 4) for a loss or gradient that is not finite; ConfigError from the schedule
        """
        with np.errstate(**NOT_SAID):
            self._update(check)

    def _update(self, check: bool) -> None:
        try:
            if self._pending is not None:
                self._pending.weights.demand_all()
            self._measure()
            if self._overflowed():
                self._skip_overflow()
                return
            if check and not self.is_finite:
                raise self._diverged()
            refuse_rows(self.net, self.section)  # multipliers may have changed
            scale = 1.0 if self._pending is None else self._pending.loss_scale
            lr, clipping = self.lr, self._updater.clipping(self.grad_norm or 0.0, self.average * scale, scale)
        except BaseException:
            self._abandon()
            raise
        self._updater.update(lr, *clipping, self.updates + 1)
        if self._loss_scale is not None and self._pending is not None:
            self._loss_scale.hold()
        self._end_step()
        self._count(updates=self.updates + 1)

    def _skip_overflow(self) -> None:
        """Take a smaller scale, and leave weights, history and statistics as before the step."""
        if self._loss_scale is not None:
            self._loss_scale.fall()
        nonfinite = self.nonfinite
        self._abandon()
        self._count(nonfinite=nonfinite)

    @in_turn
    def skip(self) -> None:
        """After a DivergedError: count the step, leaving weights, history and statistics as they were before it.

        The schedule moves on; the rule does not see the step, so that its bias corrections stay right.
        """
        self._abandon()
        self._count()

    def _count(self, **counts: int) -> None:
        self.net.iteration = iteration = self.iteration + 1
        # At once, past Adjustable: in every step.
        counts = {"nonfinite": self.nonfinite + (not self.is_finite), **counts}
        vars(self).update(iteration=iteration, **counts)

    @in_turn
    def measure(self) -> None:
        """Set average, loss and grad_norm of the step that was accumulated. `update` begins with it."""
        with np.errstate(**NOT_SAID):
            self._measure()

    def _measure(self) -> None:
        net, pending = self.net, self._pending
        mean = 1.0 if pending is None else pending.weights.average
        loss = None if pending is None or pending.loss is None else pending.loss * mean
        squares = None if pending is None else pending.squares
        average = mean if pending is None else mean / pending.loss_scale
        norm = average * gradient_norm(net.backend.xp, net.parameters, squares)
        vars(self).update(average=average, loss=loss, grad_norm=norm)

    @property
    def in_step(self) -> bool:
        """Whether a step was begun and not ended: after an error in the middle of an update weights may be half new."""
        return self._pending is not None

    @property
    def is_finite(self) -> bool:
        """Whether the last step's loss and gradient norm are."""
        return math.isfinite(self.loss or 0.0) and math.isfinite(self.grad_norm or 0.0)

    def _diverged(self) -> DivergedError:
        loss = "" if self.loss is None else f"loss {self.loss:g}, "
        return DivergedError(
            f"training diverged at iteration {self.iteration}: {loss}gradient norm {self.grad_norm:g};"
            " the weights are those from before this step",
            hint="lower solver.lr, add solver.clip_grad_norm or solver.schedule.warmup, look for NaN in the data",
        )
