"""Cross-validation: a run for each fold of the data, and the mean and deviation of what they came to.

runs/<name>/folds-<timestamp>-<4 hex digits>/
    fold-0/<timestamp>-<4 hex digits>/ ...     the runs, each with its configuration, metrics and checkpoints
    folds.json                                 what FoldsResult holds, after each fold
"""

from __future__ import annotations

import math
import secrets
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..config.document import Config
from ..config.scalars import quoted_scalar
from ..run.summary import align
from ..schema import user_modules
from ..schema.errors import ConfigError, LayerForgeError
from ..schema.texts import to_json
from ..snapshot import atomic_write
from .console import Console, show_metric
from .ending import TrainResult, outcome
from .loop import Trainer
from .preparation import prepare
from .resume import resuming
from .rundir import find_run

PREFIX = "folds-"


@dataclass
class FoldsResult:
    """What a cross-validation came to; also the content of folds.json.

    folds      the results of the folds that ended, in order
    mean       of each metric over these folds: those of the best checkpoint, of test, and the training loss beside them
    deviation  √(Σ (m - mean)² / (n - 1)) over n folds; null for a single one
    """

    folder: str
    status: str
    exit_code: int
    folds: list[TrainResult] = field(default_factory=list)
    mean: dict[str, float] = field(default_factory=dict)
    deviation: dict[str, float | None] = field(default_factory=dict)

    def add(self, fold: TrainResult, last: bool) -> None:
        """Count one fold more."""
        self.folds.append(fold)
        self.status, self.exit_code = fold.status, fold.exit_code
        if fold.status == "finished" and not last:
            self.status = "running"
        rows = [metrics_of(one) for one in self.folds]
        values = {
            name: [row[name] for row in rows if name in row] for name in dict.fromkeys(n for r in rows for n in r)
        }
        self.mean = {name: statistics.fmean(numbers) for name, numbers in values.items()}
        self.deviation = {name: deviation(numbers) for name, numbers in values.items()}

    def table(self) -> str:
        """The metrics of every fold, their means and deviations, for people."""
        names = list(self.mean)
        rows = [["fold", *names]]
        for number, fold in enumerate(self.folds):
            found = metrics_of(fold)
            rows.append([str(number), *(show_metric(n, found[n]) if n in found else "" for n in names)])
        rows.append(["mean", *(show_metric(name, value) for name, value in self.mean.items())])
        spread = self.deviation.items()
        rows.append(["deviation", *("" if value is None else show_metric(name, value) for name, value in spread)])
        lines = align(rows, range(len(rows[0])))
        return "\n".join([*lines[:1], *lines[1:-2], "-" * len(lines[0]), *lines[-2:]])


def metrics_of(fold: TrainResult) -> dict[str, float]:
    """What counts of a fold: the metrics of its best checkpoint, of its last where there is no best, and of test."""
    return {**(fold.best or fold.final), **fold.test}


def deviation(numbers: list[float]) -> float | None:
    """The standard deviation of a sample; None of one number, NaN where a number is not finite."""
    if len(numbers) < 2:
        return None
    return statistics.stdev(numbers) if all(map(math.isfinite, numbers)) else math.nan


def fold_overrides(folds: int, fold: int) -> list[str]:
    """What makes a configuration that of one fold."""
    return [f"data.split.folds={folds}", f"data.split.fold={fold}", "data.split.val=null"]


def run_folds(
    configured: Callable[[list[str]], Config],
    folds: int,
    train: Callable[[Config, Path | None], TrainResult | None],
    *,
    resume: bool = False,
    console: Console,
) -> FoldsResult | None:
    """Train every fold, one after the other. A fold that does not finish ends it.

    configured  makes the configuration with some more overrides
    train       trains one, going on from a run where one is given; None where it was not meant to train
    resume      go on in the newest folder of folds, with the runs that are there and then with the others

    Errors   ConfigError, DataError, DivergedError and others of a run; folds.json holds the folds before
    """
    console.log = nowhere
    first = configured(fold_overrides(folds, 0))
    first.raise_errors()
    home = Path(first.train.output_dir) / first.name
    folder = newest_folds(home) if resume else home / f"{PREFIX}{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    result = FoldsResult(str(folder), "running", 0)
    try:
        for fold in range(folds):
            if result.status == "running" and not one_fold(result, fold, folds, configured, train, console):
                return None
    except BaseException as problem:
        result.status, result.exit_code, _ = outcome(problem, "", False)
        with suppress(LayerForgeError):  # it must not hide what ended the folds
            write_down(result)
        raise
    finally:
        console.log = nowhere
        if result.exit_code:
            finished = sum(fold.status == "finished" for fold in result.folds)
            console.note(f"{finished} of {folds} folds are finished; --resume goes on")
    return result


def one_fold(
    result: FoldsResult,
    fold: int,
    folds: int,
    configured: Callable[[list[str]], Config],
    train: Callable[[Config, Path | None], TrainResult | None],
    console: Console,
) -> bool:
    """Train a fold, or the rest of it, and count it. False behind the last fold where none was meant to be trained."""
    folder = Path(result.folder)
    place = [f"train.output_dir={quoted_scalar(str(folder))}", f"name=fold-{fold}"]
    config = configured([*fold_overrides(folds, fold), *place])
    config.raise_errors()
    console.note(f"fold {fold} of {folds}")
    run = find_run(folder / f"fold-{fold}")
    begun = run is not None and (run.checkpoints / "last.h5").is_file()
    ended = train(config, run.path if run is not None and begun else None)
    if ended is None:
        return fold < folds - 1
    console.log = nowhere
    result.add(ended, last=fold == folds - 1)
    write_down(result)
    return True


def nowhere(line: str) -> None:
    """Between two runs no log is written."""


def write_down(result: FoldsResult) -> None:
    """Write folds.json, where there is a folder for it."""
    if Path(result.folder).is_dir():
        atomic_write(Path(result.folder) / "folds.json", (to_json(asdict(result), indent=2) + "\n").encode())


def newest_folds(home: Path) -> Path:
    """The newest folder of folds of a name; ConfigError where there is none."""
    found = sorted(path for path in home.glob(f"{PREFIX}*") if path.is_dir())
    if not found:
        raise ConfigError(f"there are no folds in {home} to resume", hint="train without --resume")
    return found[-1]


def cross_validate(
    config: str | Path | Mapping[str, Any],
    folds: int = 5,
    overrides: Iterable[str] = (),
    *,
    resume: bool = False,
    console: Console | None = None,
) -> FoldsResult:
    """Train the net of a configuration once for each fold of its training data, as `layerforge train --folds` does.

    config     a YAML file, or a mapping with the same keys; `stratify`, `group`, `seed` and `test` of its data.split
               hold, and it declares no data.val
    overrides  texts such as "solver.lr=0.05"
    resume     go on in the newest folder of folds of that name: what is finished is not trained again

    Errors   those of `train`
    """
    given, console, imports = tuple(overrides), console or Console(), user_modules.import_all

    def configured(more: list[str]) -> Config:
        if isinstance(config, Mapping):
            return Config.from_dict(config, (*given, *more), imports)
        return Config.load(config, (*given, *more), imports)

    def train(made: Config, target: Path | None) -> TrainResult:
        with resuming(target) as going_on:
            trainer = Trainer(prepare(made, resume=going_on), given, console=console)
            if going_on is not None:
                trainer.go_on_from(going_on)
            return trainer.run()

    result = run_folds(configured, folds, train, resume=resume, console=console)
    assert result is not None
    return result
