"""A run that is stopped and resumed, beside one that is not."""

from __future__ import annotations

from typing import Any

from layerforge import load_model, train
from layerforge.training.console import Console

QUIET = Console(progress="off", quiet=True, results=False)


def whole_and_resumed(config: dict[str, Any], steps: int, stop: int) -> str:
    """Train so many steps at once, and again with a stop in between: the weights are the same bits. The first run."""
    whole = train(config, [f"train.max_steps={steps}"], console=QUIET)
    part = train(config, [f"train.max_steps={stop}"], console=QUIET)
    train(config, [f"train.max_steps={steps}"], resume_from=part.run, allow_config_change=True, console=QUIET)
    a, b = (load_model(run).net.arrays() for run in (whole.run, part.run))
    assert all((a[name] == b[name]).all() for name in a)
    return whole.run
