"""The training loop.

    for every epoch: for every batch: solver.step; now and then a row of metrics, an evaluation, a checkpoint

Model selection is honest: `val` chooses the best checkpoint, `test` is scored once, at the end, with it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from ..arrays.awaited import awaiting
from ..arrays.uploading import uploads_to
from ..data.loader import Batch, Loader
from ..run.counting import LossPart
from ..schema.errors import DivergedError
from ..schema.user_modules import described
from .averaging import Average
from .batches import accumulated, begin_epoch, check_batches, grouped
from .checkpoints import Checkpoints, Position, Window, checkpoint_bytes
from .console import Console, show_metric
from .divergence import RefusedStep, refused, tell_overflow, warn
from .ending import TrainResult, about_last_checkpoint, conclude, earlier_tables
from .environment import write_down
from .evaluation import score_all
from .final_test import final_test
from .hooks import Hooks, Running, imported
from .layer_metrics import LayerMetrics
from .overfit import SameBatches
from .preparation import Parts, lengths
from .resume import Resume, begin_segment, check_same, in_words, take_over
from .rundir import MetricsLog
from .signals import SAVING, Asked, Stop, listening
from .weights import init_weights as load_weights

STEP_COLUMNS = ["step", "epoch", "seconds", "train/loss", "lr", "grad_norm", "time/step_ms"]


class Trainer:
    """One run: its net, solver, data, folder and position."""

    def __init__(
        self, parts: Parts, overrides: tuple[str, ...] = (), *, console: Console, hooks: Iterable[Any] = ()
    ) -> None:
        """`parts` are what `prepare` makes; a run that is resumed is then told so by `go_on_from`."""
        config = parts.config
        section = config.train
        self.config = config
        self.overrides = overrides
        self.console = console
        self.net = parts.net
        self.data = parts.data
        self.solver = parts.solver
        self.metrics = parts.monitors.metrics
        self.each = frozenset(parts.monitors.each)
        self.tables: dict[str, Any] = {}  # what the last evaluation counted, for the summary
        self.monitor = parts.monitors.monitor
        self.higher = parts.monitors.higher
        self.stopping = parts.monitors.stopping
        self.resolved = parts.resolved
        self.signature = parts.signature
        self.files = parts.files
        self.feed = SameBatches(parts.train, section.overfit_batches) if section.overfit_batches else parts.train
        self.average = Average(self.net, section.ema_decay) if section.ema_decay else None
        self.layers = LayerMetrics(self.solver) if section.log_layers else None
        self.hooks = Hooks([*imported(config.imports), *hooks])
        self.counted = [] if section.on_nonfinite == "stop" else ["nonfinite"]
        self.counted += [] if parts.solver.loss_scale is None else ["loss_scale", "overflows"]
        own = [*STEP_COLUMNS, *self.counted, *(self.layers.columns if self.layers is not None else ()), *self.metrics]
        self.columns = [*own, *self.hooks.columns(own)]
        self.position = Position()
        self.resume: Resume | None = None
        self.steps_per_epoch, self.total = lengths(section, len(self.feed))
        self.solver.total_iterations = self.total
        self.solver.total_epochs = math.ceil(self.total / self.steps_per_epoch)
        most = min(section.overfit_batches or len(self.feed), self.total * section.accumulate_grad_batches)
        counts = {name: loader.samples for name, loader in self.data.loaders.items()}
        check_batches(self.net, self.data.section, counts, most)
        self.saved = 0  # the step of the last checkpoint
        self.reading: Any = None  # the batches of the present epoch, which a thread prepares
        self.lr = 0.0  # of the step just made

    def go_on_from(self, resume: Resume, allow_config_change: bool = False) -> None:
        """Be where a checkpoint was taken, and go on in its run; from another program's state, in a new one.

        Errors   ConfigError for a configuration that says something else; DataError for arrays that do not fit
        """
        self.resume = resume
        changes = check_same(resume, self.resolved, self.files, allow_config_change)
        for line in changes:
            self.console.note(f"changed since the checkpoint: {line}")
        take_over(self.net, resume, self.data.section.train.batch_size)
        if self.average is not None:
            self.average.load(resume.arrays)
        self.solver.load_state(resume.meta["solver"], resume.arrays, str(resume.file))
        self.saved = self.solver.iteration
        if resume.run is None:  # where in its data the other program was is not known: they begin anew
            self.position = Position(epoch=self.solver.iteration // self.steps_per_epoch)
            return
        self.position = Position.from_meta(resume.meta, str(resume.file))
        self.hooks.load_state(self.position.hooks)
        self.tables = earlier_tables(resume.run)
        if changes:  # what ended the run may not be so any more
            self.position.ending = self._worn_out()

    def _worn_out(self) -> str:
        return self.stopping.reason(self.position) if self.stopping is not None else ""

    def start_from(
        self, weights: str | Path, allow_missing: Iterable[str] = (), rename: Mapping[str, str] | None = None
    ) -> None:
        """Take the weights of a snapshot or run, and say what of them was not taken."""
        for line in load_weights(self.net, weights, allow_missing, rename):
            self.console.note(line)

    # The run ------------------------------------------------------------------------------------------------------

    def run(self) -> TrainResult:
        """Everything from the folder to the summary. The folder tells what happened, whatever happens (ending.py)."""
        result = TrainResult("", "running", 0, 0, 0.0, 0.0, monitor=self.monitor)
        result.data = {"fallback": self.data.fallback_used, "notice": self.data.notice}
        begun, ended = time.monotonic(), None
        with listening() as asked:
            asked.at_once = True
            self.folder, segment = begin_segment(self.config, self.resume, self.position, self.console.note)
            try:
                self._train(asked, segment)
                chosen = self.position.best is not None
                result.test, tables = final_test(self.net, self.data, self.folder, chosen, self.console)
                self.tables |= tables
                self.hooks.end("finished")
                result.reason = self.position.ending or f"{self.total} steps done"
            except BaseException as problem:
                ended = problem
                self._save_what_was_trained(problem, bool(asked.stop))
            with listening():  # not even a signal comes between a run and its last words
                ended = self._finish(result, ended, bool(asked.stop), time.monotonic() - begun)
        try:
            if ended is not None:
                raise ended
        finally:
            del ended  # its traceback holds this frame: a cycle, which would keep net and data alive
        return result

    def _train(self, asked: Asked, segment: int) -> None:
        """From what is written first to the last step."""
        self.console.log = self.folder.log
        self.checkpoints = Checkpoints(self.folder.place / "checkpoints", self.config.checkpoint.keep_last)
        self.log = MetricsLog(self.folder, self.columns, segment)
        first = self.resume is None or self.resume.run is None
        write_down(self.folder, self.config, self.resolved, self.overrides, self.net, first=first)
        for remark in self.data.warnings():
            self.console.warn(remark)
        for note in self.data.section.train.source.notes():
            self.console.note(note)
        self.console.note(f"run directory: {self.folder.path}")
        if self.resume is not None:
            for note in in_words(self.resume, self.solver.iteration, self.total, self._over):
                self.console.note(note)
        if isinstance(self.feed, SameBatches):
            self.console.note(f"overfitting: the same {self.feed.samples} samples again and again")
        self.console.start(self.total, self.solver.iteration)
        self.hooks.begin(self._running())
        asked.at_once = False
        self._epochs(asked)
        asked.at_once = True
        self.console.stop()
        warn(self.solver, self.config.train.on_nonfinite == "skip", self.console.warn)

    def _running(self) -> Running:
        """What hooks see of this run."""
        return Running(
            self.net,
            self.solver,
            self.config,
            self.folder.place,
            self.position,
            total=self.total,
            steps_per_epoch=self.steps_per_epoch,
            columns=self.hooks.columns(),
            note=self.console.note,
        )

    def _finish(
        self, result: TrainResult, ended: BaseException | None, signalled: bool, seconds: float
    ) -> BaseException | None:
        """Write down how the run ended; what there is to raise."""
        self.console.stop()
        if self.reading is not None:
            self.reading.close()
        result.run, result.nonfinite = str(self.folder.path), self.solver.nonfinite
        result.steps, result.epochs = self.solver.iteration, round(self.solver.iteration / self.steps_per_epoch, 4)
        result.seconds, result.final, result.best = round(seconds, 3), self.position.latest, self.position.metrics
        result.tables = self.tables

        def tell(text: str) -> None:
            self.console.log = lambda line: None  # the log may be what went wrong
            self.console.note(text)

        try:
            return conclude(self.folder, result, ended, signalled, self.hooks.end, tell)
        finally:
            self.folder.release()

    def _epochs(self, asked: Asked) -> None:
        section, position = self.config.train, self.position
        while not self._over:
            self.solver.epoch = position.epoch
            begin_epoch(self.net, position.batch)
            with uploads_to(self.net.xp) as uploads:
                batches = self.reading = self.feed.epoch(position.epoch, position.batch, uploads)
                for group in grouped(batches, section.accumulate_grad_batches):
                    self._timed_step(group)
                    position.batch += len(group)
                    self._after_step(asked)
                    if self._over:
                        break
            position.epoch, position.batch = position.epoch + 1, 0

    @property
    def _over(self) -> bool:
        return self.solver.iteration >= self.total or bool(self.position.ending)

    def _timed_step(self, group: list[Batch]) -> None:
        started = time.perf_counter()
        losses = self._step(group)
        if losses is not None:
            seconds = time.perf_counter() - started
            for window in (self.position.window, self.position.recent):
                window.add(losses, seconds)

    def _step(self, group: list[Batch]) -> list[LossPart] | None:
        """One step of the solver on one or more batches; their losses, or None where it did not update the weights.

        Errors   DivergedError where loss or gradient is not finite, unless the configuration says otherwise
        """
        measured = self.layers if self._is_logged(self.solver.iteration + 1) else None
        if measured is not None:
            measured.begin()
        overflows = self.solver.overflows
        try:
            with awaiting(self.net.xp):
                losses = accumulated(self.solver, group)
                self.lr = self.solver.lr
                self.solver.update(check=self.config.train.on_nonfinite != "ignore")
        except DivergedError as error:
            self._refused(group, error)
            return None
        if self.solver.overflows > overflows:
            tell_overflow(self.solver, self.console.note)
            return None
        if measured is not None:
            self.position.logged |= measured.end()
        if self.average is not None:
            self.average.update(self.solver.updates)
        return losses

    def _refused(self, group: list[Batch], error: DivergedError) -> None:
        """Write a capsule of a step that is not finite, and end the run or skip the step."""
        step = RefusedStep(self.net, self.solver, group, self.resolved, self.data.fallback_used)
        refused(step, error, self.folder, skips=self.config.train.on_nonfinite == "skip", note=self.console.note)

    def _is_logged(self, step: int) -> bool:
        return step % self.config.train.log_every == 0 or step == self.total

    def _after_step(self, asked: Asked) -> None:
        step, wanted = self.solver.iteration, asked.take()
        self.console.step(step, lambda: f"loss {self.position.window.loss:.4f}")
        self.hooks.call("on_step_end")
        if self._is_logged(step) or self._over:
            self._log_step()
        due = self._over or self.config.train.eval_every.ends_at(step, self.steps_per_epoch)
        improved = self._evaluate(self.data.val) if due and self.data.val is not None else False
        if due and self.data.val is None:
            self._tell()
        if self._over and self.position.window.steps:  # the evaluation was the last one
            self._log_step()
        numbered = self._over or self.config.checkpoint.every.ends_at(step, self.steps_per_epoch)
        if improved or wanted or numbered:
            self._checkpoint(improved, numbered)
        if wanted.save:
            self.console.note(f"{SAVING}: checkpoint saved after step {step}")
        if wanted.stop:
            self.console.note(f"{wanted.stop}: stopped after step {step}; checkpoint saved")
            raise Stop(wanted.stop)

    def _row(self) -> dict[str, Any]:
        epoch = round(self.solver.iteration / self.steps_per_epoch, 4)
        return {"step": self.solver.iteration, "epoch": epoch, "seconds": round(time.time(), 3)}

    def _log_step(self) -> None:
        window = self.position.window
        self.position.latest["train/loss"] = window.loss
        row = {"train/loss": window.loss, "lr": self.lr, "grad_norm": self.solver.grad_norm}
        counts = {name: getattr(self.solver, name) for name in self.counted}
        self.log.add({**self._row(), **row, "time/step_ms": window.milliseconds, **counts, **self.position.logged})
        self.position.window, self.position.logged = Window(), {}

    def _evaluate(self, val: Loader) -> bool:
        """Score the val data; True when the monitored metric is the best so far."""
        with self.average.in_place() if self.average is not None else nullcontext():
            scores = score_all(self.net, val)
        values = {f"val/{k}": v for k, v in scores.values.items()}
        self.tables = scores.named_tables("val")
        self.position.renew_loss()
        self.position.latest |= values
        self.log.add({**self._row(), **values})
        watched = self.solver.schedule.monitor
        if watched is not None and watched in self.position.latest:
            self.solver.schedule.observe(self.position.latest[watched])
        improved = self.position.improves(values.get(self.monitor), self.higher)
        self._tell("  best" if improved else "")
        if self.stopping is not None:
            self.stopping.observe(values, self.position)
            self.position.ending = self.position.ending or self._worn_out()
        self.hooks.call("on_eval_end", values)
        return improved

    def _tell(self, remark: str = "") -> None:
        """A line of the newest loss and metrics; without val data, of the loss alone."""
        self.position.renew_loss()
        where = f"epoch {self.solver.iteration / self.steps_per_epoch:<6.4g} step {self.solver.iteration:<7}"
        told = self.position.latest.keys() - self.each | {self.monitor}
        shown = {name: value for name, value in self.position.latest.items() if name in told}
        words = "  ".join(f"{name} {show_metric(name, value)}" for name, value in shown.items())
        self.console.result(f"{where} {words}{remark}")

    def _checkpoint(self, best: bool, numbered: bool, failure: str = "") -> None:
        self.position.hooks = self.hooks.state()
        weights = self.average.arrays() if self.average is not None else None
        content = checkpoint_bytes(
            self.net, self.solver, self.data, self.position, self.resolved, self.signature, weights, self.files, failure
        )
        self.checkpoints.write(content, self.solver.iteration, best=best, numbered=numbered)
        self.saved = self.solver.iteration
        self.hooks.call("on_checkpoint", self.checkpoints.folder / ("best.h5" if best else "last.h5"))

    def _save_what_was_trained(self, problem: BaseException, signalled: bool) -> None:
        """After a failure: last.h5 of the last whole step, which says why, and from which --resume goes on.

        A run that diverged has a capsule instead: from its last step it would diverge again. A second signal does not
        wait for it.
        """
        hurry = isinstance(problem, KeyboardInterrupt) and signalled
        failed = not isinstance(problem, (DivergedError, Stop)) and not hurry
        if not failed or self.solver.iteration == self.saved or self.solver.in_step:
            if said := about_last_checkpoint(problem, self.saved):
                self.console.note(said)
            return
        try:
            self._checkpoint(best=False, numbered=False, failure=described(problem) or type(problem).__name__)
            self.console.note(f"what was trained is saved: checkpoint after step {self.solver.iteration}")
        except Exception as other:  # it must not hide what ended the run
            with suppress(Exception):
                self.console.note(f"what was trained since step {self.saved} could not be saved: {other}")
