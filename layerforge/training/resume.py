"""Going on with a run: from a checkpoint to a state that no uninterrupted run could be told from, bit for bit.

A checkpoint is taken between two steps. Random numbers are keyed by seed, iteration, epoch and sample, so parameters,
statistics, the solver's history, the position in the data and the figures since the last row of metrics are all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import snapshot
from ..config.document import Config
from ..config.yaml_file import parse_yaml
from ..data.transform import InputTransform
from ..errors import ConfigError, DataError
from .rundir import RunDir, find_run
from .trained import TRANSFORM

# What may change without changing the mathematics of the run.
FREE = ("name", "train.output_dir", "train.log_every", "checkpoint.every", "checkpoint.keep_last")


@dataclass
class Resume:
    """A checkpoint to go on from, and the run whose folder goes on with it."""

    file: Path
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]
    run: RunDir

    @property
    def fallback(self) -> bool:
        """Whether the run was trained on its fallback: the choice binds."""
        return bool(self.meta["fallback"])

    @property
    def transform(self) -> InputTransform:
        """The constants of the input transform, as the run computed them."""
        state = {k.removeprefix(TRANSFORM): v for k, v in self.arrays.items() if k.startswith(TRANSFORM)}
        return InputTransform.from_state(state)


def open_checkpoint(target: str | Path) -> Resume:
    """The checkpoint that a path names: a file, or the last one of a run.

    Errors   ConfigError where there is none, or where the file holds weights only; DataError where it is damaged
    """
    run = find_run(target)
    file = run.checkpoints / "last.h5" if run is not None else Path(target)
    if run is not None and not file.is_file():
        raise ConfigError(f"the run {run.path} has no checkpoint to go on from", hint="train its configuration anew")
    arrays, meta = snapshot.read_snapshot(file)
    if meta.get("kind") != "checkpoint":
        message = f"{file} holds weights only, not the state of a run"
        raise ConfigError(message, hint=f"start a new run with them: --init-weights {file}")
    owner = run or find_run(file.absolute().parent.parent)
    if owner is None:
        raise ConfigError(f"{file} lies outside of a run's folder", hint="name the run, or use --init-weights")
    return Resume(file, arrays, meta, owner)


def newest_run(config: Config) -> Path:
    """The folder of the newest run of a configuration's name; ConfigError where there is none."""
    folder = Path(config.train.output_dir) / config.name
    run = find_run(folder)
    if run is None:
        raise ConfigError(f"there is no run of '{config.name}' in {folder} to resume", hint="train without --resume")
    return run.path


def check_same(resume: Resume, resolved: str, allowed: bool) -> list[str]:
    """What the configuration says differently from the run's, as lines "key: then -> now".

    Errors   ConfigError when a difference changes the mathematics and `allowed` is false
    """
    then, now = (dict(flat(parse_yaml(text, "config.resolved.yaml"))) for text in (resume.meta["config"], resolved))
    changed = [key for key in dict.fromkeys([*then, *now]) if then.get(key) != now.get(key)]
    lines = [f"{key}: {then.get(key, 'not there')} -> {now.get(key, 'not there')}" for key in changed]
    binding = [line for key, line in zip(changed, lines, strict=True) if not key.startswith(FREE)]
    if binding and not allowed:
        raise ConfigError(
            f"the configuration is not that of {resume.file}: {'; '.join(binding)}",
            hint="to go on all the same: --allow-config-change",
        )
    return lines


def flat(tree: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted key, value) of every leaf; layers go by their name."""
    if isinstance(tree, Mapping):
        items = tree.items()
    elif isinstance(tree, list):
        items = ((v.get("name", i) if isinstance(v, Mapping) else i, v) for i, v in enumerate(tree))
    else:
        return [(prefix, tree)]
    return [leaf for key, value in items for leaf in flat(value, f"{prefix}.{key}" if prefix else str(key))]


def next_segment(run: RunDir) -> int:
    """The number of the segment that begins now. A last line that a crash tore is taken off both metrics files."""
    for name in ("metrics.jsonl", "metrics.csv"):
        path = run.path / name
        if not path.is_file():
            raise DataError(f"{path} is missing", hint="the run's folder is not complete; use --init-weights")
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            snapshot.atomic_write(path, whole)
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    return 1 + max((json.loads(line)["run_segment"] for line in lines), default=-1)
