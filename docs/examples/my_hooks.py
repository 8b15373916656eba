"""Hooks for a training run: docs/hooks.md explains them. Named by `import: [my_hooks.py]` in hooks.yaml."""

import math
from collections.abc import Mapping
from pathlib import Path

from layerforge import Running, hook


@hook
class Smoothed:
    """Logs a running mean of the loss, which survives a resume, and stops when it is good enough."""

    columns = ("loss/smoothed",)

    def __init__(self) -> None:
        self.mean = math.nan

    def on_step_end(self, run: Running) -> None:
        self.mean = run.loss if math.isnan(self.mean) else 0.9 * self.mean + 0.1 * run.loss
        run.log(**{"loss/smoothed": self.mean})
        if self.mean < 0.2:
            run.stop(f"the smoothed loss is {self.mean:.3f}")

    def state(self) -> dict[str, float]:
        return {"mean": self.mean}

    def load_state(self, state: Mapping[str, float]) -> None:
        self.mean = state["mean"]


@hook(priority="last")
class Reporter:
    """Says what happens, behind all other hooks."""

    def on_train_begin(self, run: Running) -> None:
        run.note(f"{run.total} steps of {run.config.name} at most")

    def on_eval_end(self, run: Running, metrics: Mapping[str, float]) -> None:
        run.note(f"step {run.step}: {', '.join(metrics)}")

    def on_checkpoint(self, run: Running, path: Path) -> None:
        run.note(f"step {run.step}: wrote {path.name}")

    def on_train_end(self, run: Running, status: str) -> None:
        run.note(f"{status} after {run.step} steps")
