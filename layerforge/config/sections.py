"""The sections of a configuration that do not depend on the net or the data, each declared once with its defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Protocol, TypeAlias

from ..schema.errors import ConfigError, LayerForgeError, flatten, raise_all
from ..schema.locations import part, place_of
from ..schema.params import Declared, family_value, param, parse_as, show
from ..schema.precisions import FULL, HIGHEST, MATMUL_PRECISIONS, PRECISIONS
from ..schema.registry import SCHEDULES, SOLVERS
from ..schema.synonyms import hint_for_key

DEFAULT_EPOCHS = 10
MOST_THREADS = 4096  # more than any machine has cores
ENGINES = ("auto", "reference", "onednn", "cuda")


class Section(Declared):
    """A mapping of the configuration that has one fixed meaning and so needs no `type`."""

    def plain(self) -> dict[str, Any]:
        return self.config


class VersionRule:
    """The rule for the version of the configuration language; there is one so far."""

    description = "the version of the configuration language, 1"

    @staticmethod
    def parse(value: Any) -> int:
        if parse_as(int, value) != 1:
            raise ConfigError(f"version {value} is not known", hint="this LayerForge reads version 1")
        return value


class NameRule:
    """The rule for a text that can be the name of a folder."""

    description = "a string"

    @staticmethod
    def parse(value: Any) -> str:
        name = parse_as(str, value)
        if name.strip() in ("", ".", "..") or set(name) & set("/\\\n\r\t"):
            raise ConfigError(
                f"the name {show(name)} cannot be the name of a folder", hint="use letters, digits, - and _"
            )
        return name


class FiniteRule:
    """The rule for a number that is neither infinite nor NaN."""

    description = "a finite number"

    @staticmethod
    def parse(value: Any) -> float:
        number = parse_as(float, value)
        if not math.isfinite(number):
            raise TypeError
        return number


Version: TypeAlias = Annotated[int, VersionRule]
RunName: TypeAlias = Annotated[str, NameRule]
Finite: TypeAlias = Annotated[float, FiniteRule]


class Top(Section):
    """The scalars at the top level."""

    version: Version = param(1, help="version of the configuration language")
    name: RunName | None = param(None, help="name of the run and of its folder; default: the name of the file")
    seed: int = param(0, help="start of all random numbers", ge=0)
    backend: str = param("numpy", help="where arrays live", choices=("numpy", "cupy"))
    dtype: str = param("float32", help="type of parameters and blobs", choices=("float32", "float64"))
    precision: str = param(
        FULL,
        help="what activations are stored and products computed in: float32, or half of it where the processor can",
        choices=PRECISIONS,
    )
    matmul_precision: str = param(
        HIGHEST,
        help="what products of float32 are computed in: medium lets them be computed in bfloat16",
        choices=MATMUL_PRECISIONS,
    )
    engine: str = param(
        "auto",
        help="who computes: auto takes the fastest there is, reference the layer files themselves",
        choices=ENGINES,
    )
    threads: int | None = param(
        None, help="threads of all libraries together; default: one for each core", ge=1, le=MOST_THREADS
    )


class Every(Section):
    """How often something happens: `{epochs: n}` or `{steps: n}`, one of the two."""

    description = "{epochs: N} or {steps: N}"

    epochs: int | None = param(None, help="once in so many epochs", ge=1)
    steps: int | None = param(None, help="once in so many steps of the solver", ge=1)

    @staticmethod
    def parse(value: Any) -> Every:
        """The value of a parameter annotated with this class; TypeError where it is no mapping."""
        if not isinstance(value, Mapping):
            raise TypeError
        return Every.from_config(value, owner="interval")

    def ends_at(self, step: int, steps_per_epoch: int) -> bool:
        """Whether such an interval ends with this step."""
        return step % (self.steps or (self.epochs or 1) * steps_per_epoch) == 0

    def validate(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            hint = "as a whole, {epochs: 1} or {steps: 500}, with --set too"
            raise ConfigError("give exactly one of epochs and steps", hint=hint)

    def plain(self) -> dict[str, Any]:
        return {name: number for name, number in self.config.items() if number is not None}


class EarlyStoppingSection(Section):
    """When a run ends before its last step."""

    description = "{patience: N, ...}"

    monitor: str | None = param(None, help="metric that has to improve; by default the one that chooses the best")
    mode: str | None = param(None, help="whether small or large is good; follows the metric", choices=("min", "max"))
    patience: int = param(3, help="evaluations in a row without an improvement that end the run", ge=1)
    min_delta: Finite = param(0.0, help="what an improvement must be more than", ge=0)

    @staticmethod
    def parse(value: Any) -> EarlyStoppingSection:
        """The value of a parameter annotated with this class; TypeError where it is no mapping."""
        if isinstance(value, EarlyStoppingSection):
            return value
        if not isinstance(value, Mapping):
            raise TypeError
        return EarlyStoppingSection.from_config(value, owner="early_stopping")


class TrainSection(Section):
    """How long training runs and what it does along the way."""

    epochs: int | None = param(
        None, help=f"passes over the training data; {DEFAULT_EPOCHS} where max_steps is not given either", ge=1
    )
    max_steps: int | None = param(None, help="steps of the solver; with epochs, whichever ends first", ge=1)
    eval_every: Every = param({"epochs": 1}, help="how often the val data are evaluated")
    log_every: int = param(50, help="steps between two rows of metrics", ge=1)
    accumulate_grad_batches: int = param(1, help="batches whose gradients make one step of the solver", ge=1)
    on_nonfinite: str = param(
        "stop",
        help="a loss or gradient that is not finite: stop the run, skip the step, or ignore it and update all the same",
        choices=("stop", "skip", "ignore"),
    )
    early_stopping: EarlyStoppingSection | None = param(None, help="end the run when a val metric stops improving")
    ema_decay: float | None = param(
        None,
        help="evaluate and keep the exponential moving average of the weights with this decay, such as 0.999",
        gt=0,
        lt=1,
    )
    log_layers: bool = param(False, help="metrics of each layer: gradient norm, and update relative to the weights")
    overfit_batches: int | None = param(None, help="train on the first batches of the first epoch only", ge=1)
    output_dir: str = param("runs", help="folder for the folders of runs, relative to the working folder")

    def validate(self) -> None:
        if self.epochs is None and self.max_steps is None:
            self.epochs = DEFAULT_EPOCHS


class CheckpointSection(Section):
    """Which states of a run are kept."""

    every: Every = param({"epochs": 1}, help="how often a checkpoint is written")
    keep_last: int = param(0, help="numbered checkpoints kept beside last and best", ge=0)
    monitor: str | None = param(None, help="metric of the best one; val/accuracy if there is one, else val/loss")
    mode: str | None = param(
        None,
        help="whether small or large is good; follows the metric: an accuracy max, a loss min",
        choices=("min", "max"),
    )


class LearningRate(Protocol):
    """What a solver needs of a schedule; `solvers.schedules.Schedule` is the base of those that there are."""

    monitor: str | None

    def lr(self, base_lr: float, progress: Any) -> float: ...
    def observe(self, metric: float) -> None: ...
    def state(self) -> dict[str, float]: ...
    def load_state(self, state: Mapping[str, float]) -> None: ...
    def plain(self) -> dict[str, Any]: ...


class ScheduleRule:
    """The rule for a learning-rate schedule, by name or as {type: name, ...its parameters}."""

    description = "the name of a schedule or {type: NAME, ...}"

    @staticmethod
    def parse(value: Any) -> Any:
        return value if isinstance(value, Declared) else family_value(SCHEDULES, value, "schedule")


class SolverSection(Section):
    """The update rule and what all rules have in common.

    `type` names the rule; the keys that are not declared here belong to it, and the rule object that they make is
    `rule`. `schedule` is the schedule object.
    """

    type: str = param("SGD", help="update rule")
    lr: Finite = param(help="learning rate", gt=0)
    weight_decay: Finite = param(0.0, help="strength of the regularization, times decay_mult of each parameter", ge=0)
    regularization: str = param("L2", help="adds w (L2) or sign w (L1) to the gradient", choices=("L2", "L1"))
    clip_grad_norm: float | None = param(None, help="largest norm of all gradients together", gt=0)
    clip_grad_value: float | None = param(None, help="largest absolute value of a single gradient", gt=0)
    clip_order: str = param(
        "average_first",
        help="clip the mean over accumulated batches, or like Caffe their sum before the division",
        choices=("average_first", "caffe"),
    )
    micro_batches: str = param(
        "one_batch",
        help="what accumulated batches are: one batch cut into pieces, or equals whose mean is taken, as in Caffe",
        choices=("one_batch", "mean"),
    )
    schedule: Annotated[LearningRate, ScheduleRule] = param("fixed", help="how lr changes during the run")
    rule: Any

    def _assign(self, values: Mapping[str, Any], owner: str) -> None:
        kind = values.get("type", self.fields["type"].default)
        owner = f"solver ({kind})" if isinstance(kind, str) else "solver"
        errors: list[LayerForgeError] = []
        try:
            super()._assign(part(values, self.fields), owner)
        except ConfigError as error:
            errors += flatten(error)
        if isinstance(kind, str):
            errors += self._make_rule(values, kind, owner)
        raise_all(errors)

    def _make_rule(self, values: Mapping[str, Any], kind: str, owner: str) -> list[LayerForgeError]:
        """Set `rule`; the errors of its own keys, and of keys that belong neither to it nor to all solvers."""
        errors: list[LayerForgeError] = []
        try:
            rule_class = SOLVERS.get(kind, place_of(values, "type"))
            errors += self._unknown_keys(values, rule_class, owner)
            self.rule = rule_class.from_config(part(values, rule_class.fields), owner)
        except ConfigError as error:
            errors += flatten(error)
        return errors

    def _unknown_keys(self, values: Mapping[str, Any], rule_class: Any, owner: str) -> list[LayerForgeError]:
        known = (*self.fields, *rule_class.fields)
        return [
            ConfigError(
                f"unknown key '{key}' in {owner}", place=place_of(values, key, of="key"), hint=hint_for_key(key, known)
            )
            for key in values
            if key not in known
        ]

    def plain(self) -> dict[str, Any]:
        """All keys with their values: those of every solver, then those of the rule."""
        return {**self.config, **self.rule.config}
