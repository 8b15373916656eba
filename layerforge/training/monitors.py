"""The metrics that a run watches: for its best checkpoint, for early stopping and for the plateau schedule.

Each is one that val gives; anything else would never be seen. Whether small or large is good says the layer, where it
is a Metric or a loss; of other layers it follows from the name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..config.document import Config
from ..net import Net
from ..schema.errors import ConfigError, LayerForgeError, raise_all
from ..schema.locations import Place, place_of
from ..schema.synonyms import did_you_mean, is_higher_better
from ..solvers.schedules import Plateau
from .evaluation import each_names, metric_names, metric_of
from .stopping import EarlyStopping

TRAIN_LOSS = "train/loss"


class Monitors:
    """What a run watches.

    metrics           the names of the metrics that val gives; none where there are no val data
    each              those of them that are one number for each class or output
    monitor, higher   the metric that chooses the best checkpoint, and whether large is good
    stopping          early stopping, where there is any

    Errors   ConfigError for a metric that does not exist, and for a run without val data that is to watch one
    """

    def __init__(self, config: Config, net: Net, evaluated: bool, classes: Sequence[str] = ()) -> None:
        self.config, self.net = config, net
        each = [name for names in each_names(net, classes).values() for name in names]
        self.each = [f"val/{name}" for name in each] if evaluated else []
        self.metrics = [*(f"val/{name}" for name in metric_names(net)), *self.each] if evaluated else []
        self.errors: list[LayerForgeError] = []
        self.monitor, self.higher = self._best()
        self._plateau()
        self.stopping = self._stopping()
        raise_all(self.errors)

    def _best(self) -> tuple[str, bool]:
        section = self.config.checkpoint
        preferred: tuple[str, ...] = ("val/accuracy", "val/loss")
        usual = [name for name in preferred if name in self.metrics] or [*self.metrics, TRAIN_LOSS]
        if section.monitor is not None:
            self._check("checkpoint", section.monitor, self.metrics, "remove checkpoint.monitor")
        monitor = section.monitor or usual[0]
        return monitor, self._is_higher_better(monitor, section.mode)

    def _plateau(self) -> None:
        """Check what a schedule watches, and fill in a plateau's mode: a run is recorded with the one it has."""
        schedule = self.config.solver.schedule if self.config.solver is not None else None
        monitor = getattr(schedule, "monitor", None)
        if monitor is not None:
            known = [*self.metrics, TRAIN_LOSS] if self.metrics else []
            self._check("solver.schedule", monitor, known, "take another schedule")
        if isinstance(schedule, Plateau):
            schedule.mode = "max" if self._is_higher_better(schedule.monitor, schedule.mode) else "min"
            schedule.validate()

    def _stopping(self) -> EarlyStopping | None:
        section = self.config.train.early_stopping
        if section is None:
            return None
        monitor = section.monitor or self.monitor
        self._check("train.early_stopping", monitor, self.metrics, "remove train.early_stopping")
        same = section.mode is None and monitor == self.monitor
        higher = self.higher if same else self._is_higher_better(monitor, section.mode)
        return EarlyStopping(monitor, higher, section.patience, section.min_delta)

    def _check(self, key: str, monitor: str, known: list[str], otherwise: str) -> None:
        place = self._place(f"{key}.monitor")
        if not known:
            message = f"{key}: there are no val data to evaluate"
            self.errors.append(ConfigError(message, place=place, hint=f"add data.val, or {otherwise}"))
        elif monitor not in known:
            hint = did_you_mean(monitor, known) or f"one of {', '.join(known)}"
            self.errors.append(ConfigError(f"{key}.monitor: there is no metric '{monitor}'", place=place, hint=hint))

    def _place(self, key: str) -> Place | None:
        """Where a key is written, or the last mapping on the way to it that is."""
        value: Any = self.config.tree
        place = None
        for part in key.split("."):
            if not isinstance(value, Mapping) or part not in value:
                break
            place, value = place_of(value, part), value[part]
        return place

    def _is_higher_better(self, metric: str, mode: str | None) -> bool:
        if mode is not None:
            return mode == "max"
        top = metric.partition("/")[2]
        steps = self.net.graph.phases["eval"].steps
        is_loss = any(
            top == name and (weight or (step.node.layer.loss and not j))
            for step in steps
            for j, (name, weight) in enumerate(zip(step.node.tops, step.node.loss_weights, strict=True))
        )
        parts = top.split("/")  # of a class "a/b": recall/a/b
        named = (metric_of(self.net, "/".join(parts[:count])) for count in range(len(parts), 0, -1))
        declares = next((each for each in named if each is not None), None)
        return declares.higher_is_better if declares is not None else not is_loss and is_higher_better(metric)
