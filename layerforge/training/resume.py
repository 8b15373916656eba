"""Going on with a run: from a checkpoint to a state that no uninterrupted run could be told from, bit for bit.

A checkpoint is taken between two steps. Random numbers are keyed by seed, iteration, epoch and sample, so parameters,
statistics, the solver's history, the position in the data and the figures since the last row of metrics are all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import snapshot
from ..config.document import Config
from ..config.yaml_file import parse_yaml
from ..data.kinds import kinds_of
from ..data.transform import InputTransform
from ..net import Net
from ..run import carried
from ..schema.errors import ConfigError, DataError
from .averaging import trained_arrays
from .checkpoints import STATE, TRANSFORM, Position
from .fingerprints import changes
from .rundir import RunDir, find_run, read_metrics, runs_in

# What may change without changing the mathematics of the run.
FREE = ("name", "train.output_dir", "train.log_every", "checkpoint.every", "checkpoint.keep_last")

WHAT = {"weights": "weights only", "trace": "a trace of one step", "capsule": "a capsule of a step that diverged"}
NEEDED = {"position": dict, "solver": dict, "config": str, "seed": int, "fallback": bool, "iteration": int}


@dataclass
class Resume:
    """A checkpoint to go on from, and the run whose folder goes on with it.

    run   None for the state of a training that another program began: a new run goes on from it, and nothing of data
          and configuration binds
    """

    file: Path
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]
    run: RunDir | None

    @property
    def fallback(self) -> bool | None:
        """Whether the run was trained on its fallback: the choice binds."""
        return None if self.run is None else bool(self.meta["fallback"])

    @property
    def transform(self) -> InputTransform | None:
        """The constants of the input transform, as the run computed them."""
        if self.run is None:
            return None
        state = {k.removeprefix(TRANSFORM): v for k, v in self.arrays.items() if k.startswith(TRANSFORM)}
        return InputTransform.from_state(state, kinds_of(self.meta, str(self.file)))


def take_over(net: Net, resume: Resume, samples: int) -> None:
    """Give a net the weights that the run was trained to, and what its layers went on from, for batches of as many.

    Errors   DataError for arrays that do not fit
    """
    net.load_arrays(trained_arrays(resume.arrays), str(resume.file))
    carried.load(net, resume.arrays, str(resume.file), samples)


def in_words(resume: Resume, step: int, total: int, over: bool) -> Iterator[str]:
    """What a run that is resumed says first."""
    yield f"resumed from {resume.file}, after step {step} of {total}"
    if over:
        yield "nothing is left to do; more steps: train.epochs=N or train.max_steps=N"
    if resume.meta.get("failure"):
        yield f"the run had failed there: {resume.meta['failure']}"


@contextmanager
def resuming(target: str | Path | None) -> Iterator[Resume | None]:
    """`open_checkpoint`, and the end of its claim however the work on it ends; None for None."""
    resume = None if target is None else open_checkpoint(target)
    try:
        yield resume
    finally:
        if resume is not None and resume.run is not None:
            resume.run.release()


def open_checkpoint(target: str | Path) -> Resume:
    """The checkpoint that a path names: a file, or the last one of a run; or a state that another program began with.

    The run is claimed before anything of it is read: what another process still adds to it would be lost otherwise.
    Whoever calls this releases it (`resume.run.release()`).

    Errors   ConfigError where there is none, or where the file holds weights only; DataError where it is damaged, or
             another process trains the run
    """
    run, file = find_run(target), Path(target)
    owner = run or find_run(file.absolute().parent.parent)
    if run is not None:
        file = run.checkpoints / "last.h5"
    elif owner is not None:  # where its run is, should the path go by way of `latest`
        file = owner.path / file.absolute().parent.name / file.name
    if owner is None:
        arrays, meta = snapshot.read_snapshot(file)
        if meta.get("kind") == STATE:
            _demand_counts(file, meta)
            return Resume(file, arrays, meta, None)
        demand_checkpoint(file, meta)
        raise ConfigError(f"{file} lies outside of a run's folder", hint="name the run, or use --init-weights")
    owner.claim()
    try:
        if run is not None and not file.is_file():
            hint = "train its configuration anew"
            raise ConfigError(f"the run {run.path} has no checkpoint to go on from", hint=hint)
        arrays, meta = snapshot.read_snapshot(file)
        if meta.get("kind") == STATE:  # it lies in a run's folder, and is not of that run
            _demand_counts(file, meta)
            owner.release()
            return Resume(file, arrays, meta, None)
        demand_checkpoint(file, meta)
    except BaseException:
        owner.release()
        raise
    return Resume(file, arrays, meta, owner)


def demand_checkpoint(file: Path, meta: Mapping[str, Any]) -> None:
    """Check that the attributes of a snapshot are those of a checkpoint.

    Errors   ConfigError for a snapshot of another kind, which says what it is; DataError for one that lacks something
    """
    kind = meta.get("kind")
    if kind != "checkpoint":
        what = WHAT.get(str(kind), f"a snapshot of the kind '{kind}'")
        hint = f"start a new run with them: --init-weights {file}" if kind == "weights" else "name a run or checkpoint"
        raise ConfigError(f"{file} holds {what}, not the state of a run", hint=hint)
    for name, wanted in NEEDED.items():
        if type(meta.get(name)) is not wanted:
            raise DataError(f"{file} is a checkpoint without '{name}'", hint="take its weights only: --init-weights")
    _demand_counts(file, meta)


def _demand_counts(file: Path, meta: Mapping[str, Any]) -> None:
    """DataError unless the iteration and the solver's state are such."""
    solver = meta.get("solver")
    if not isinstance(solver, dict):
        raise DataError(f"{file} holds no state of a solver", hint="take its weights only: --init-weights")
    counts = [solver[name] for name in ("iteration", "updates", "nonfinite") if name in solver]
    schedule = solver.get("schedule")
    if (
        not isinstance(solver.get("type"), str)
        or not isinstance(schedule, dict)
        or not all(type(n) is int and n >= 0 for n in [meta.get("iteration"), *counts])
        or not all(isinstance(n, (int, float)) for n in schedule.values())
    ):
        raise DataError(f"{file} holds no state of a solver", hint="take its weights only: --init-weights")


def newest_run(config: Config) -> Path:
    """The folder of the newest run of a configuration's name; ConfigError where there is none."""
    folder = Path(config.train.output_dir) / config.name
    run = find_run(folder)
    if run is None:
        known = runs_in(folder)
        if known:
            message = f"{folder}/latest leads to no run of '{config.name}', so it is not known which one to resume"
            raise ConfigError(message, hint=f"name it: --resume-from RUN. There are {', '.join(known)}")
        raise ConfigError(f"there is no run of '{config.name}' in {folder} to resume", hint="train without --resume")
    return run.path


def check_same(resume: Resume, resolved: str, files: Mapping[str, Any], allowed: bool) -> list[str]:
    """What configuration and files are now, differently from the run's, as lines "key: then -> now".

    A state that another program began with tells of neither.

    files   fingerprints, as fingerprints.py takes them; a checkpoint of an earlier version has none to compare with

    Errors   ConfigError when a difference changes the mathematics and `allowed` is false
    """
    if resume.run is None:
        return []
    then, now = dict(flat(_today(resume.meta["config"]))), dict(flat(parse_yaml(resolved, "config.resolved.yaml")))
    changed = [key for key in dict.fromkeys([*then, *now]) if then.get(key) != now.get(key)]
    lines = [f"{key}: {then.get(key, 'not there')} -> {now.get(key, 'not there')}" for key in changed]
    binding = [line for key, line in zip(changed, lines, strict=True) if not key.startswith(FREE)]
    known = resume.meta.get("files")
    certain, possible = changes(known, files) if isinstance(known, Mapping) else ([], [])
    if (binding or certain) and not allowed:
        what = " and ".join(["the configuration"] * bool(binding) + ["what the run reads"] * bool(certain))
        raise ConfigError(
            f"{what} {'are' if binding and certain else 'is'} not that of {resume.file}:"
            f" {'; '.join([*binding, *certain])}",
            hint="to go on all the same: --allow-config-change",
        )
    return [*lines, *certain, *possible]


def _today(text: str) -> Mapping[str, Any]:
    """A resolved configuration with what has come to the language since, at its default."""
    tree = parse_yaml(text, "config.resolved.yaml")
    config = Config.from_dict(tree)
    return tree if config.errors else config.resolved()


def flat(tree: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted key, value) of every leaf; layers go by their name."""
    if isinstance(tree, Mapping):
        items: Iterable[tuple[Any, Any]] = tree.items()
    elif isinstance(tree, list):
        items = ((v.get("name", i) if isinstance(v, Mapping) else i, v) for i, v in enumerate(tree))
    else:
        return [(prefix, tree)]
    return [leaf for key, value in items for leaf in flat(value, f"{prefix}.{key}" if prefix else str(key))]


def begin_segment(
    config: Config, resume: Resume | None, position: Position, note: Callable[[str], None]
) -> tuple[RunDir, int]:
    """The run's folder and the number of this segment: a new one and 0, or those of the resumed run and its next."""
    run = None if resume is None else resume.run
    if resume is None or run is None:
        return RunDir.create(config.train.output_dir, config.name), 0
    segment = next_segment(run)
    aside = set_aside_best(resume.file, resume.meta, run)
    if aside is not None:
        position.best, position.metrics = None, {}
        note(f"best.h5 was of a later step, and is {aside.name} now: the best is chosen anew")
    run.set_status("running")
    return run, segment


def set_aside_best(file: Path, meta: Mapping[str, Any], run: RunDir) -> Path | None:
    """Where best.h5 went, if a step after the checkpoint wrote it, and a run goes on from that checkpoint.

    It is of a course that is not this run's any more: this one is not to be scored with it, nor may it be lost. In a
    run that was killed just before its last.h5 was written best.h5 is ahead, too, but will be written again.
    """
    best = run.checkpoints / "best.h5"
    if file.name == "last.h5" or not best.is_file():
        return None
    step = snapshot.read_snapshot(best)[1].get("iteration")
    if type(step) is not int or step <= meta["iteration"]:
        return None
    aside = best.with_name(f"best-of-step-{step:08d}.h5")
    with snapshot.writing(best, "the run cannot go on beside it"):
        best.replace(aside)
    return aside


def next_segment(run: RunDir) -> int:
    """The number of the segment that begins now, in a run that is claimed.

    What a crash left is taken away: temporary files, and a torn last line of both metrics files.

    Errors   DataError where the run's metrics are missing or damaged, or its folder cannot be written to
    """
    run.remove_litter()
    for name in ("metrics.jsonl", "metrics.csv"):
        path = run.path / name
        if not path.is_file():
            raise DataError(f"{path} is missing", hint="the run's folder is not complete; use --init-weights")
        try:
            content = path.read_bytes()
        except OSError as problem:
            raise DataError(f"cannot read {path}: {problem.strerror}", hint="check its permissions") from None
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            snapshot.atomic_write(path, whole)
    return 1 + max((row["run_segment"] for row in read_metrics(run.path)), default=-1)
