"""A run that is killed in the middle, as a test sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from layerforge import train
from layerforge.solvers.solver import Solver
from layerforge.training.console import Console


class Killed(BaseException):
    """Stands for kill -9: nobody may catch it and save."""


def quiet() -> Console:
    return Console(progress="off", quiet=True)


def run(*overrides: str, **options: Any) -> Path:
    return Path(train("small.yaml", overrides, console=quiet(), **options).run)


def killed(monkeypatch: pytest.MonkeyPatch, step: int, *overrides: str, **options: Any) -> Path:
    """A run that dies in the middle of a step, after the gradients and before the update."""
    update = Solver.update

    def dying(self: Solver, **options: Any) -> None:
        if self.iteration == step:
            raise Killed
        update(self, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Solver, "update", dying)
        with pytest.raises(Killed):
            run(*overrides, **options)
    return Path("runs/small/latest").resolve()
