"""The training loop.

    for every epoch: for every batch: solver.step; now and then a row of metrics, an evaluation, a checkpoint

Model selection is honest: `val` chooses the best checkpoint, `test` is scored once, at the end, with it.
"""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import snapshot, userfiles
from ..backend import Backend
from ..config.document import Config
from ..config.sections import Every
from ..config.yaml_dump import dump_yaml
from ..data.opening import open_data
from ..errors import ConfigError, DivergedError, LayerForgeError
from ..net import Net
from ..solvers.solver import Solver
from .checkpoints import Checkpoints, Position, Window, checkpoint_bytes
from .console import Console
from .environment import command, environment
from .evaluation import evaluate, is_higher_better, metric_names
from .resume import Resume, check_same, next_segment, open_checkpoint
from .rundir import MetricsLog, RunDir

STEP_COLUMNS = ["step", "epoch", "seconds", "train/loss", "lr", "grad_norm", "time/step_ms"]
SIGNAL_CODES = {"SIGINT": 130, "SIGTERM": 143}


@dataclass
class TrainResult:
    """What a run came to; also the content of summary.json."""

    run: str
    status: str
    exit_code: int
    steps: int
    epochs: float
    seconds: float
    final: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    monitor: str = ""
    test: dict[str, float] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


def train(
    config: str | Path | Mapping[str, Any] | Config,
    overrides: Iterable[str] = (),
    *,
    init_weights: str | Path | None = None,
    resume_from: str | Path | None = None,
    allow_config_change: bool = False,
    backend: str | Backend | None = None,
    console: Console | None = None,
) -> TrainResult:
    """Train the net of a configuration and return what came of it.

    config        a YAML file, a mapping with the same keys, or a Config
    overrides     texts such as "solver.lr=0.05"
    init_weights  a snapshot whose parameters and statistics the net starts from
    resume_from   a run or a checkpoint to go on from; a configuration that says something else is refused unless
                  allow_config_change

    Errors   ConfigError (2), DataError (3), DivergedError (4), BackendError (5); the run's folder keeps what was done
    """
    overrides = tuple(overrides)
    if not isinstance(config, Config):
        read = Config.from_dict if isinstance(config, Mapping) else Config.load
        config = read(config, overrides, userfiles.import_all)  # type: ignore[operator]
    trainer = Trainer(
        config,
        overrides,
        backend=backend,
        console=console or Console(),
        resume=open_checkpoint(resume_from) if resume_from is not None else None,
        allow_config_change=allow_config_change,
    )
    if init_weights is not None:
        trainer.net.load(init_weights)
    return trainer.run()


class Stop(Exception):
    """A signal asked the run to stop after the step that it is in."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Trainer:
    """One run: its net, solver, data, folder and position."""

    def __init__(
        self,
        config: Config,
        overrides: tuple[str, ...],
        *,
        backend: str | Backend | None = None,
        console: Console,
        resume: Resume | None = None,
        allow_config_change: bool = False,
    ) -> None:
        self.config, self.overrides, self.console, self.resume = config, overrides, console, resume
        _demand_sections(config)
        self.net = Net(config, keep="none", backend=backend)
        self.solver = Solver.from_config(self.net, config.solver)
        self.data = open_data(
            config.data,
            seed=config.top.seed,
            dtype=config.top.dtype,
            use_fallback=resume.fallback if resume else None,
            transform=resume.transform if resume else None,
        )
        self.resolved = self._resolved()
        self.metrics = [f"val/{name}" for name in metric_names(self.net)] if self.data.val else []
        self.monitor, self.higher = self._monitor()
        self.position = Position()
        self.batches = len(self.data.train)
        self.steps_per_epoch = -(-self.batches // config.train.accumulate_grad_batches)
        self.total = self._total_steps()
        self.lr = 0.0  # of the step just made
        if resume is not None:
            self._restore(resume, allow_config_change)

    def _resolved(self) -> str:
        """The configuration with everything filled in and with the data that are really used."""
        tree = self.config.resolved()
        if self.data.fallback_used:
            tree["data"] = self.data.section.config
        return dump_yaml(tree)

    def _restore(self, resume: Resume, allow_config_change: bool) -> None:
        for line in check_same(resume, self.resolved, allow_config_change):
            self.console.note(f"changed since the checkpoint: {line}")
        self.net.load_arrays(resume.arrays, str(resume.file))
        self.solver.load_state(resume.meta["solver"], resume.arrays, str(resume.file))
        self.position = Position.from_meta(resume.meta)

    def _monitor(self) -> tuple[str, bool]:
        """The metric that chooses the best checkpoint, and whether larger is better."""
        section = self.config.checkpoint
        known = self.metrics or ["train/loss"]
        preferred = [n for n in ("val/accuracy", "val/loss") if n in known] or known
        monitor = section.monitor or preferred[0]
        if monitor not in known:
            raise ConfigError(f"checkpoint.monitor: there is no metric '{monitor}'", hint=f"one of {', '.join(known)}")
        return monitor, (section.mode == "max") if section.mode else is_higher_better(monitor)

    def _total_steps(self) -> int:
        section = self.config.train
        if not self.batches:
            hint = "use fewer samples per batch, or drop_last: false"
            raise ConfigError("the training data make no batch", hint=hint)
        limits = [section.max_steps] if section.max_steps else []
        limits += [section.epochs * self.steps_per_epoch] if section.epochs else []
        total = min(limits)
        self.solver.total_iterations, self.solver.total_epochs = total, math.ceil(total / self.steps_per_epoch)
        return total

    # The run ------------------------------------------------------------------------------------------------------

    def run(self) -> TrainResult:
        """Everything from the folder to the summary. The folder tells what happened, whatever happens."""
        self.folder, segment = self._folder()
        self.console.log = self.folder.log
        self.checkpoints = Checkpoints(self.folder.checkpoints, self.config.checkpoint.keep_last)
        self.log = MetricsLog(self.folder, [*STEP_COLUMNS, *self.metrics], segment)
        self._record()
        if self.data.fallback_used:
            self.console.warn(self.data.notice)
        self.console.note(f"run directory: {self.folder.path}")
        if self.resume is not None:
            self.console.note(f"resumed from {self.resume.file}, after step {self.solver.iteration} of {self.total}")
        result = TrainResult(str(self.folder.path), "running", 0, 0, 0.0, 0.0, monitor=self.monitor)
        result.data = {"fallback": self.data.fallback_used, "notice": self.data.notice}
        begun = time.monotonic()
        try:
            with _signals() as asked:
                self.console.start(self.total, self.solver.iteration)
                self._epochs(asked)
            self.console.stop()
            result.test = self._test()
            result.status, result.reason = "finished", f"{self.total} steps done"
        except Stop as stop:
            result.status, result.exit_code, result.reason = "interrupted", SIGNAL_CODES[stop.name], stop.name
        except DivergedError as error:
            result.status, result.exit_code, result.reason = "diverged", error.exit_code, str(error)
            raise
        except BaseException as error:
            code = error.exit_code if isinstance(error, LayerForgeError) else 1
            result.status, result.exit_code, result.reason = "failed", code, str(error) or type(error).__name__
            raise
        finally:
            self.console.stop()
            self._finish(result, time.monotonic() - begun)
        return result

    def _folder(self) -> tuple[RunDir, int]:
        """The run's folder and the number of this segment: a new one, or the resumed run's and its next."""
        if self.resume is None:
            return RunDir.create(self.config.train.output_dir, self.config.name), 0
        segment = next_segment(self.resume.run)
        self.resume.run.set_status("running")
        return self.resume.run, segment

    def _record(self) -> None:
        """Write down what this run is, before anything can go wrong with it."""
        for i, (path, text) in enumerate(self.config.files if self.resume is None else ()):
            self.folder.write_text("config.yaml" if i == 0 else f"config.{Path(path).name}", text)
        self.folder.write_text("config.resolved.yaml", self.resolved)
        self.folder.write_json("command.json", command(sys.argv, list(self.overrides)))
        self.folder.write_json("env.json", environment(self.net.backend))

    def _finish(self, result: TrainResult, seconds: float) -> None:
        result.steps, result.epochs = self.solver.iteration, round(self.solver.iteration / self.steps_per_epoch, 4)
        result.seconds, result.final, result.best = round(seconds, 3), self.position.latest, self.position.metrics
        try:
            self.folder.write_json("summary.json", asdict(result))
            self.folder.set_status(result.status)
        except LayerForgeError as error:  # a full disk must not hide the error that ended the run
            self.console.note(f"error: {error}")

    def _epochs(self, asked: list[str]) -> None:
        section, position = self.config.train, self.position
        while self.solver.iteration < self.total:
            self.solver.epoch = position.epoch
            batches = self.data.train.epoch(position.epoch, position.batch)
            for group in grouped(batches, section.accumulate_grad_batches):
                started = time.perf_counter()
                for batch in group:
                    self.solver.accumulate(**batch.blobs)
                self.lr = self.solver.lr
                self.solver.update()
                samples, seconds = sum(b.count for b in group), time.perf_counter() - started
                position.window.add(self.solver.loss or 0.0, samples, seconds)
                position.batch += len(group)
                self._after_step(asked)
                if self.solver.iteration >= self.total:
                    break
            position.epoch, position.batch = position.epoch + 1, 0

    def _after_step(self, asked: list[str]) -> None:
        step, section = self.solver.iteration, self.config.train
        self.console.step(step, lambda: f"loss {self.position.window.loss:.4f}")
        last = step == self.total
        if step % section.log_every == 0 or last:
            self._log_step()
        evaluated = self.data.val is not None and (last or self._due(section.eval_every))
        improved = self._evaluate() if evaluated else False
        if improved or last or asked or self._due(self.config.checkpoint.every):
            self._checkpoint(improved, numbered=last or self._due(self.config.checkpoint.every))
        if asked:
            self.console.note(f"{asked[0]}: stopped after step {step}; checkpoint saved")
            raise Stop(asked[0])

    def _due(self, every: Every) -> bool:
        """Whether an interval ends with the step just made."""
        interval = every.steps or every.epochs * self.steps_per_epoch
        return self.solver.iteration % interval == 0

    def _row(self) -> dict[str, Any]:
        epoch = round(self.solver.iteration / self.steps_per_epoch, 4)
        return {"step": self.solver.iteration, "epoch": epoch, "seconds": round(time.time(), 3)}

    def _log_step(self) -> None:
        window = self.position.window
        self.position.latest["train/loss"] = window.loss
        row = {"train/loss": window.loss, "lr": self.lr, "grad_norm": self.solver.grad_norm}
        self.log.add({**self._row(), **row, "time/step_ms": window.milliseconds})
        self.position.window = Window()

    def _evaluate(self) -> bool:
        """Score the val data; True when the monitored metric is the best so far."""
        values = {f"val/{k}": v for k, v in evaluate(self.net, self.data.val.epoch(0)).items()}
        self.position.latest |= values
        self.log.add({**self._row(), **values})
        if self.solver.schedule.monitor in self.position.latest:
            self.solver.schedule.observe(self.position.latest[self.solver.schedule.monitor])
        improved = self._improves(values.get(self.monitor))
        where = f"epoch {self.solver.iteration / self.steps_per_epoch:<6.4g} step {self.solver.iteration:<7}"
        words = "  ".join(f"{name} {show_metric(name, value)}" for name, value in self.position.latest.items())
        self.console.result(f"{where} {words}{'  best' if improved else ''}")
        return improved

    def _improves(self, value: float | None) -> bool:
        best = self.position.best
        if value is None or math.isnan(value):
            return False
        if best is not None and not (value > best if self.higher else value < best):
            return False
        self.position.best, self.position.metrics = value, dict(self.position.latest)
        return True

    def _checkpoint(self, best: bool, numbered: bool) -> None:
        content = checkpoint_bytes(self.net, self.solver, self.data, self.position, self.resolved)
        self.checkpoints.write(content, self.solver.iteration, best=best, numbered=numbered)

    def _test(self) -> dict[str, float]:
        """Score the test data once, with the weights that val chose, and say so in the last line."""
        chosen = self.folder.checkpoints / ("best.h5" if self.position.best is not None else "last.h5")
        where = "synthetic Digits, NOT on the data asked for" if self.data.fallback_used else "test data"
        if self.data.test is None:
            if self.data.fallback_used:
                self.console.warn(self.data.notice)
            self.console.result(f"done: {self.folder.path}")
            return {}
        arrays, _ = snapshot.read_snapshot(chosen)
        self.net.load_arrays(arrays, str(chosen))
        values = {f"test/{k}": v for k, v in evaluate(self.net, self.data.test.epoch(0)).items()}
        words = "  ".join(f"{name} {show_metric(name, value)}" for name, value in values.items())
        self.console.note(f"done: {self.folder.path}")
        self.console.result(f"{words}  ({chosen.name}, {self.data.test.samples} samples of {where})")
        return values


def _demand_sections(config: Config) -> None:
    """Raise the configuration's own errors together with what only training needs."""
    for key in ("data", "solver"):
        if getattr(config, key) is None and key not in config.tree:
            message = f"training needs a '{key}' section"
            example = {"data": "data: {train: {type: Digits}}", "solver": "solver: {lr: 0.1}"}[key]
            config.errors.append(ConfigError(message, hint=f"for example `{example}`"))


def grouped(batches: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of `size` consecutive batches, the last one shorter where they do not divide."""
    group: list[Any] = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def show_metric(name: str, value: float) -> str:
    """Shares as per cent, everything else with four digits."""
    return f"{100 * value:.2f} %" if "accuracy" in name else f"{value:.4f}"


@contextmanager
def _signals() -> Iterator[list[str]]:
    """Collects the first SIGINT or SIGTERM instead of dying of it; a second one has its usual effect."""
    asked: list[str] = []
    previous: dict[int, Any] = {}

    def note(number: int, frame: Any) -> None:
        asked.append(signal.Signals(number).name)
        signal.signal(number, previous[number])

    try:
        for name in SIGNAL_CODES:
            number = getattr(signal, name)
            previous[number] = signal.signal(number, note)
    except ValueError:  # not in the main thread: signals are the caller's business
        pass
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
