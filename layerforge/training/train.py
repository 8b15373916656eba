"""train: a run from its configuration to its result, in one call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..arrays.backend import Backend
from ..config.document import Config
from ..schema import user_modules
from .console import Console
from .ending import TrainResult
from .loop import Trainer
from .preparation import prepare
from .resume import resuming


def train(
    config: str | Path | Mapping[str, Any] | Config,
    overrides: Iterable[str] = (),
    *,
    init_weights: str | Path | None = None,
    allow_missing: Iterable[str] = (),
    rename: Mapping[str, str] | None = None,
    resume_from: str | Path | None = None,
    allow_config_change: bool = False,
    backend: str | Backend | None = None,
    console: Console | None = None,
    hooks: Iterable[Any] = (),
) -> TrainResult:
    """Train the net of a configuration and return what came of it.

    config        a YAML file, a mapping with the same keys, or a Config
    overrides     texts such as "solver.lr=0.05"
    init_weights  a snapshot or run whose parameters and statistics the net starts from; layers whose names match a
                  pattern in `allow_missing` may be missing there, or not fit; `rename` says which have other names
                  there (both as Net.load has them)
    resume_from   a run or a checkpoint to go on from; a configuration that says something else is refused unless
                  allow_config_change
    hooks         objects with on_step_end and other events (docs/hooks.md), beside those of imported files

    Errors   ConfigError (2), DataError (3), DivergedError (4), BackendError (5); the run's folder keeps what was done
    """
    overrides = tuple(overrides)
    if not isinstance(config, Config):
        imports = user_modules.import_all
        if isinstance(config, Mapping):
            config = Config.from_dict(config, overrides, imports)
        else:
            config = Config.load(config, overrides, imports)
    with resuming(resume_from) as resume:
        trainer = Trainer(prepare(config, backend, resume), overrides, console=console or Console(), hooks=hooks)
        if resume is not None:
            trainer.go_on_from(resume, allow_config_change)
        if init_weights is not None:
            trainer.start_from(init_weights, allow_missing, rename)
        return trainer.run()
