"""Gradients of a layer against finite differences: every bottom, every parameter, random upstream gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..backend import NUMPY, Backend
from ..layer import Example, Layer
from .differences import Difference, Tolerance, along, along_element, compare
from .harness import SEED, Probe

REDRAWS = 5
DIRECTIONS = 2
FLOOR = 1e-8  # of the largest gradient around: what is smaller counts as zero in relative errors


@dataclass
class Row:
    """The verdict on one array: its worst absolute and relative error and the comparison that decided."""

    owner: str
    blob: str
    shape: tuple[int, ...]
    scale: float = 0.0  # norm of the analytic gradient
    worst: Difference | None = None
    failed: Difference | None = None
    compared: int = 0
    kinks: int = 0
    differences: list[Difference] = field(default_factory=list, repr=False)

    @property
    def ok(self) -> bool:
        return self.failed is None

    @property
    def decided(self) -> Difference | None:
        return self.failed or self.worst

    def add(self, difference: Difference, tolerance: Tolerance, scale: float) -> None:
        """Take one comparison into account. One that a kink spoils counts only as a kink, unless it agrees anyway."""
        agrees = tolerance.allows(difference, scale)
        if difference.kink and not agrees:
            self.kinks += 1
            return
        self.compared += 1
        if self.worst is None or difference.absolute > self.worst.absolute:
            self.worst = difference
        if not agrees and (self.failed is None or difference.absolute > self.failed.absolute):
            self.failed = difference


def check_array(
    row: Row,
    array: Any,
    gradient: np.ndarray,
    evaluate: Callable[[], list[np.ndarray]],
    cotangents: list[np.ndarray],
    to_device: Callable[[np.ndarray], Any],
    rng: np.random.Generator,
    *,
    tolerance: Tolerance,
    floor: float,
    samples: int = 4,
    exhaustive: bool = False,
) -> None:
    """Compare `gradient` with differences of Σ <cotangents, evaluate()> as `array` is changed in place.

    Random directions of unit norm judge all elements at once; a few elements (all when exhaustive) are judged alone.
    A direction that meets a kink is redrawn, at most REDRAWS times; then elements take its place.
    """
    scale = max(row.scale, floor)
    met_kinks = 0
    for k in range(DIRECTIONS if array.size > 1 else 0):
        for _ in range(REDRAWS):
            r = rng.normal(size=gradient.shape)
            r /= np.linalg.norm(r)
            path = along(array, to_device(r))
            before = row.kinks
            found = compare(float((gradient * r).sum()), evaluate, cotangents, path, f"direction {k + 1}")
            row.add(found, tolerance, scale)
            if row.kinks == before:
                break
        else:
            met_kinks += 1
    everything = exhaustive or not row.ok or met_kinks
    for element in _elements(gradient, rng, array.size if everything else samples):
        path, where = along_element(array, element), f"[{', '.join(map(str, element))}]"
        row.add(compare(float(gradient[element]), evaluate, cotangents, path, where), tolerance, scale)


ELEMENTS_AT_MOST = 4096  # an exhaustive look at a larger array samples this many of its elements


def _elements(gradient: np.ndarray, rng: np.random.Generator, count: int) -> Iterator[tuple[int, ...]]:
    """Element positions to try alone: the largest gradient first, then a random choice without repetition."""
    if gradient.size == 0:
        return
    count = min(count, gradient.size, ELEMENTS_AT_MOST)
    first = int(np.abs(gradient).argmax())
    others = rng.choice(gradient.size, size=count, replace=False)
    for flat in dict.fromkeys([first, *map(int, others)]):
        yield tuple(int(i) for i in np.unravel_index(flat, gradient.shape))


def layer_gradients(
    cls: type[Layer],
    example: Example,
    *,
    backend: Backend = NUMPY,
    tolerance: Tolerance | None = None,
    samples: int = 4,
    exhaustive: bool = False,
    phase: str = "train",
    seed: int = SEED,
) -> list[Row]:
    """A Row for every bottom and parameter of a layer set up for an example, in float64."""
    probe = Probe(cls, example, backend=backend, phase=phase, seed=seed)
    probe.layer.run.keep = True
    cotangents = probe.draw_cotangents(probe.forward())
    gradients = probe.gradients(cotangents)
    weights = [probe.host(c) for c in cotangents if c is not None]
    real = [i for i, s in enumerate(probe.top_specs) if s.is_real]

    def evaluate() -> list[np.ndarray]:
        tops = probe.forward()
        return [probe.backend.to_host(tops[i]) for i in real]

    largest = max((float(np.linalg.norm(g)) for g in gradients.values() if g is not None), default=0.0)
    rng = np.random.default_rng([seed, 4])
    rows = []
    for name, array in probe.arrays().items():
        gradient = gradients[name]
        row = Row(f"{cls.type_name}", name, tuple(array.shape))
        rows.append(row)
        if gradient is None:
            row.failed = Difference(float("nan"), float("nan"), False, where="backward returned None")
            continue
        row.scale = float(np.linalg.norm(gradient))
        check_array(
            row, array, gradient, evaluate, weights, probe.device, rng,
            tolerance=tolerance or Tolerance(), floor=FLOOR * largest, samples=samples, exhaustive=exhaustive,
        )  # fmt: skip
    return rows
