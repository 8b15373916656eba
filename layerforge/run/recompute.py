"""Recomputing: what a segment of steps starts from, so that its forward can run once more before its backward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ..contract.layer import Run
from ..graph.graph import Step

AGAIN = " again"  # behind the name of a layer: the owner of the memory of its second forward


@dataclass(frozen=True)
class Start:
    """How everything was when a segment that is recomputed ran for the first time.

    blobs       by number, those from outside that it reads
    statistics  (array, its values then): the state of its layers
    run         what keys its random numbers
    """

    blobs: dict[int, Any]
    statistics: list[tuple[Any, Any]]
    run: Run

    @classmethod
    def of(cls, steps: Sequence[Step], values: Sequence[Any]) -> Start:
        """The start of these steps, which are about to run."""
        inside = {i for step in steps for i in step.tops}
        blobs = {i: values[i] for step in steps for i in step.bottoms if i not in inside}
        statistics = [(array, array.copy()) for step in steps for _, array in step.node.layer.state.items()]
        return cls(blobs, statistics, replace(steps[0].node.layer.run))

    @contextmanager
    def restored(self, run: Run) -> Iterator[None]:
        """While this lasts, statistics and random numbers are those of the first forward; afterwards as they are now.

        run  of the layers
        """
        now = [(array, array.copy()) for array, _ in self.statistics]
        keys = run.iteration, run.first_sample
        for array, then in self.statistics:
            array[...] = then
        run.iteration, run.first_sample = self.run.iteration, self.run.first_sample
        try:
            yield
        finally:
            run.iteration, run.first_sample = keys
            for array, values in now:
                array[...] = values
