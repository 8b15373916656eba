"""Recomputing: what a segment of steps starts from, so that its forward can run once more before its backward."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ..contract.layer import Layer, Run
from ..graph.graph import Step
from .remembered import Remembered

AGAIN = " again"  # behind the name of a layer: the owner of the memory of its second forward


@dataclass(frozen=True)
class Start:
    """How everything was when a segment that is recomputed ran for the first time.

    blobs       by number, those from outside that it reads
    remembered  by its layers: their statistics, and what they carry
    run         what keys its random numbers
    """

    blobs: dict[int, Any]
    remembered: Remembered
    run: Run

    @classmethod
    def of(cls, steps: Sequence[Step], values: Sequence[Any]) -> Start:
        """The start of these steps, which are about to run."""
        inside = {i for step in steps for i in step.tops}
        blobs = {i: values[i] for step in steps for i in step.bottoms if i not in inside}
        return cls(blobs, Remembered(step.node.layer for step in steps), replace(steps[0].node.layer.run))

    @contextmanager
    def restored(self, layers: Iterable[Layer], run: Run) -> Iterator[None]:
        """While this lasts, what the layers remember and random numbers are those of the first forward; then as now.

        run  of the layers
        """
        now, keys = Remembered(layers), (run.iteration, run.first_sample)
        self.remembered.put_back()
        run.iteration, run.first_sample = self.run.iteration, self.run.first_sample
        try:
            yield
        finally:
            run.iteration, run.first_sample = keys
            now.put_back()
